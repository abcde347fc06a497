//! Any bytes as an input: recognised by their beginning, or taken as they are.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| topleaked_fuzz::unpack(data.to_vec()));
