//! What the tests look at: synthetic images, and native programs that crash.
//!
//! For tests alone. It writes layouts down a second time, by hand, on purpose:
//! a mistake shared by the writer and the reader would go unseen.

pub mod dwarf;
pub mod elf_core;
pub mod heap;
pub mod native;
pub mod random;
pub mod recorder;
pub mod slabs;
