//! What the targets for compressed input share.

use std::io::{Cursor, Read};

use topleaked::image::Input;
use topleaked::task::Task;

/// The most that is taken from one stream: a few bytes can unpack to terabytes of zeros.
const MOST_BYTES: u64 = 16 << 20;

/// Reads `packed` as an input to its end; it gives bytes or an error, never a panic (which would look like the error
/// of a lost thread).
pub fn unpack(packed: Vec<u8>) {
    let task = Task { memory_budget_bytes: 64 << 20, ..Task::default() };
    let Ok(mut input) = Input::from_reader(Cursor::new(packed), &task) else { return };
    let head = input.head(64);
    let Input::Stream(stream) = &mut input else { return };
    let mut first = Vec::new();
    let read = stream.take(MOST_BYTES).read_to_end(&mut first);
    match (head, read) {
        (Ok(head), Ok(_)) => assert!(first.starts_with(&head)),
        (_, Err(error)) => assert_ne!(error.to_string(), "the reading thread is gone"),
        (Err(_), Ok(_)) => {}
    }
}

/// The same behind a magic number that leads to one decompressor.
pub fn unpack_with_magic(magic: &[u8], rest: &[u8]) {
    unpack([magic, rest].concat());
}
