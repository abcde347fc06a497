//! The bzip2 decompressor: any bytes behind its magic number.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| topleaked_fuzz::unpack_with_magic(b"BZh9\x31\x41\x59\x26\x53\x59", data));
