//! What a developer runs: `cargo xtask test`, `ci`, `fixtures`, `bench`.

fn main() {}
