//! All tests of the program in one executable: each more would link the whole library again.

mod bad_input;
mod classic;
mod common;
mod demo;
mod fields;
mod gdb;
mod help;
mod info;
mod inputs;
mod json_schema;
mod sigbus;
mod top;
