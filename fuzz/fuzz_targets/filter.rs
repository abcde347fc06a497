//! Any text is a filter that reads back as it is written, or a fault within the text.
#![no_main]

use libfuzzer_sys::fuzz_target;
use topleaked::insight::filter::Filter;

fuzz_target!(|text: &str| match text.parse::<Filter>() {
    Ok(filter) => assert_eq!(filter.to_string().parse::<Filter>(), Ok(filter)),
    Err(error) => assert!((1..=text.chars().count() + 1).contains(&error.column)),
});
