//! The gzip decompressor: any bytes behind its magic number.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| topleaked_fuzz::unpack_with_magic(b"\x1f\x8b\x08", data));
