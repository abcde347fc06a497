//! What the memory of a process says about types, without debug information where there is none.
//!
//! Knows vtables and the run-time type information beside them (C++), vtables of trait objects (Rust) and tables of
//! functions (C), all by their shape in the dump, and objects of JavaScript (V8) by what the engine tells debuggers; symbols and debug information make their names better. Knows what debug
//! information says of types ([`Types`]): members, sizes, enumerators. Refuses to know allocations.
//!
//! ```no_run
//! use std::path::Path;
//! use topleaked::addr::Addr;
//! use topleaked::image::{Image, OpenOptions};
//! use topleaked::symbols::{SymbolOptions, Symbols};
//! use topleaked::task::Task;
//! use topleaked::types::Vtables;
//!
//! let image = Image::open(Path::new("core"), &OpenOptions::default(), &Task::default())?;
//! let symbols = Symbols::new(&image, SymbolOptions::default());
//! let vtables = Vtables::new(&image, &symbols);
//! if let Some(vtable) = vtables.classify(Addr(0x5555_5555_7d98)) {
//!     println!("{vtable}"); // vtable of net::Client
//! }
//! # Ok::<(), topleaked::image::ImageError>(())
//! ```

mod arena;
mod dwarf;
mod flatten;
mod functions;
mod layout;
mod outline;
mod pointers;
mod rtti;
mod rust;
mod rust_names;
mod shapes;
#[cfg(test)]
mod tests;
mod v8;
mod value;
mod vtable;

pub use arena::Types;
pub use dwarf::{DebugInfo, DebugInput, Found, FoundLayout, FoundName, TypeName, Variable};
pub use flatten::{Guard, Leaf, LeafKind, Leaves, WideFloat};
pub use functions::{FunctionEntry, FunctionTable};
pub use layout::{
    Bits, Completeness, Encoding, Enumerator, Layout, Member, MemberPlace, MemberRole, Qualifier, TemplateArgument,
    TypeId, TypeKind, Variant, Variants,
};
pub use outline::{Outline, Row, RowKind};
pub use pointers::{Lead, NodeKind, PointerMap, PointerSlot, PointerTarget};
pub use shapes::{Field, LengthShape, Shape, TextShape};
pub use v8::V8Objects;
pub use value::{MOST_TEXT_BYTES, Value, date, float_text, same_type, seconds_of_date};
pub use vtable::{Base, Confidence, Evidence, ServedBase, Vtable, VtableKind, Vtables};
