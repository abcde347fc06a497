//! The binary: arguments, terminal, exit codes.

fn main() {}
