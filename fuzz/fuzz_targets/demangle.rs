//! Mangled names from hostile bytes: bounded time and length, whatever they stand for.

#![no_main]

use libfuzzer_sys::fuzz_target;
use topleaked::symbols::{demangle, demangle_type};

fuzz_target!(|data: &[u8]| {
    let plain = demangle(data);
    assert!(plain.len() <= (256 << 10).max(3 * data.len()));
    for prefix in [&b"_Z"[..], b"_ZTV", b"_R", b"_ZN"] {
        let _ = demangle(&[prefix, data].concat());
    }
    let _ = demangle_type(data);
});
