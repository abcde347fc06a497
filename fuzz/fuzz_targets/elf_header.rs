//! The recogniser of ELF cores: any bytes give an answer, within the bounds that it promises.
#![no_main]

use libfuzzer_sys::fuzz_target;
use topleaked::image::{core_head_bytes, word_alignment};

fuzz_target!(|data: &[u8]| {
    let wanted = core_head_bytes(data);
    if let Some((remainder, width)) = word_alignment(data) {
        assert!(remainder < width.bytes() as u64);
        assert!(wanted.is_some());
    }
});
