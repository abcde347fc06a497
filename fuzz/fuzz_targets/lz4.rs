//! The LZ4 decompressors: any bytes behind the magic number of a frame, of the legacy format, or of a frame to skip.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((choice, rest)) = data.split_first() else { return };
    let magic: &[u8] = match choice % 3 {
        0 => b"\x04\x22\x4d\x18",
        1 => b"\x02\x21\x4c\x18",
        // Ten bytes to skip, and a frame behind them.
        _ => b"\x50\x2a\x4d\x18\x0a\0\0\0\0\0\0\0\0\0\0\0\0\0\x04\x22\x4d\x18",
    };
    topleaked_fuzz::unpack_with_magic(magic, rest);
});
