//! Addresses, spans of them, and how the dead process laid out a word.
//!
//! Knows checked arithmetic on 64-bit addresses and the target's width and
//! byte order. Refuses to know files, or where bytes come from.
//!
//! ```
//! use topleaked::addr::{Addr, Span};
//!
//! let page = Span::new(Addr(0x1000), Addr(0x2000)).unwrap();
//! assert!(page.contains(Addr(0x1fff)));
//! assert_eq!(Addr(0x1234).align_down(0x1000), page.start());
//! ```

mod span;
mod target;

pub use span::{Addr, Span};
pub use target::{ByteOrder, Target, Width};
