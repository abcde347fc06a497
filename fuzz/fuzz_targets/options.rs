//! The option parser: any arguments are normalised and parsed without a panic, and normalising again changes nothing.
#![no_main]

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use libfuzzer_sys::fuzz_target;
use topleaked_cli::{command_line, syntax};

fuzz_target!(|data: &[u8]| {
    // No argument of a program holds a zero byte.
    let arguments: Vec<OsString> = data.split(|byte| *byte == 0).map(|part| OsString::from_vec(part.to_vec())).collect();
    let command = command_line::classic_command();
    let mut normal = syntax::normalise(&command, arguments);
    normal.insert(0, "topleaked".into());
    let parsed = command.clone().try_get_matches_from(&normal);
    let again = syntax::normalise(&command, normal.split_off(1));
    let parsed_again = command.try_get_matches_from(std::iter::once("topleaked".into()).chain(again));
    assert_eq!(parsed.is_ok(), parsed_again.is_ok());
});
