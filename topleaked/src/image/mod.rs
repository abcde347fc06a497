//! What a dump says about one process: its memory, modules and threads.
//!
//! Knows how any input becomes an [`Image`]. Refuses to know heaps, types and
//! what a word means. Memory is read by virtual address through [`AddressSpace`].

mod backing;
mod space;

pub use backing::{Backing, BackingId};
pub use space::{AddressSpace, Content, MissingReason, Permissions, Segment, SegmentError};
