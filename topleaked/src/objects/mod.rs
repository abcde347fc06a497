//! What each allocation is.
//!
//! Knows identities: by vtables at an allocation's start and in its middle, tables of functions, Rust's fat pointers,
//! control blocks of shared pointers, the shapes of standard containers, text, and types that spread along pointers
//! where debug information tells them. Each has evidence and a confidence; of two that disagree the stronger
//! stays. Refuses to know how any of it is counted or shown.
//!
//! ```no_run
//! use std::path::Path;
//! use topleaked::image::{Image, OpenOptions};
//! use topleaked::session::Session;
//! use topleaked::task::Task;
//!
//! let (options, task) = (OpenOptions::default(), Task::default());
//! let image = Image::open(Path::new("core"), &options, &task)?;
//! let session = Session::new(&image, &options, &task);
//! let (heap, objects) = (session.heap()?, session.objects()?);
//! for id in heap.table.ids() {
//!     if let Some(identity) = objects.of(id) {
//!         println!("{} is {}", heap.table.address(id), objects.identity(identity).name);
//!     }
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod identity;
mod known_types;
mod marks;
mod scan;
mod shapes;
mod shared_pointer;
pub mod spread;
mod text;

use std::sync::atomic::AtomicU32;

use crate::graph::Roots;
use crate::graph::form::{Form, FormVisitor, with_form};
use crate::heap::{AllocId, AllocationTable};
use crate::image::Image;
use crate::task::{Diagnostic, Task};
use crate::types::Vtables;

pub use identity::{Confidence, Content, Evidence, Identity, IdentityId, confidence_word};
pub(crate) use marks::WordHasher;

use identity::Code;
use marks::{MarkCache, Marks};
use scan::{Column, Ground, ScanAll};
use shapes::Shapes;

/// The identity of each allocation of a process.
#[derive(Debug, Default)]
pub struct Objects {
    identities: Vec<Identity>,
    /// For each place of the catalogue the place in `identities`.
    places: Vec<u32>,
    /// By allocation: a [`Code`].
    codes: Vec<AtomicU32>,
    diagnostics: Vec<Diagnostic>,
}

impl Objects {
    /// Finds out what the used allocations of `table` are. Reads each of them and all roots once.
    ///
    /// Takes four bytes an allocation.
    pub fn build(
        image: &Image,
        vtables: Vtables<'_, '_>,
        table: &AllocationTable,
        roots: &Roots,
        task: &Task,
    ) -> Objects {
        let marks = Marks::new(image, vtables);
        let column = Column::new(table.len());
        let ground = Ground::new(image.space(), table, &marks);
        let shapes = Shapes::new(image, &ground);
        ScanAll { ground: &ground, column: &column, shapes: &shapes, roots, task }.run();
        let gave_up = shapes.gave_up();
        drop(ground);
        let (identities, places) = marks.catalogue.into_sorted();
        let diagnostics = if gave_up { vec![took_too_long()] } else { Vec::new() };
        Objects { identities, places, codes: column.into_codes(), diagnostics }
    }

    /// What an allocation is; `None` where that is not known, or it is not in use.
    #[inline]
    pub fn of(&self, id: AllocId) -> Option<IdentityId> {
        let code = Code(self.codes.get(id.0 as usize)?.load(std::sync::atomic::Ordering::Relaxed));
        if !code.is_some() {
            return None;
        }
        self.places.get(code.place()).map(|place| IdentityId(*place))
    }

    /// The identity with this id.
    ///
    /// # Panics
    /// Where `id` is not of these objects.
    pub fn identity(&self, id: IdentityId) -> &Identity {
        &self.identities[id.0 as usize]
    }

    /// All identities that were considered, by name. Some may have lost every allocation to a stronger one.
    pub fn identities(&self) -> &[Identity] {
        &self.identities
    }

    /// What weakens the answer.
    pub fn diagnostics(&self) -> &[Diagnostic] {
        &self.diagnostics
    }

    /// Bytes of memory that the answer takes.
    pub fn memory_bytes(&self) -> u64 {
        self.codes.len() as u64 * 4
    }
}

fn took_too_long() -> Diagnostic {
    Diagnostic {
        code: "containers-given-up",
        at: "heap".to_owned(),
        effect: "more memory looks like owners of containers than any program has: some nodes stay unidentified"
            .to_owned(),
    }
}

/// What single allocations say of themselves, without a look at the rest of the heap.
#[derive(Debug)]
pub struct Glance<'a, 'i> {
    image: &'a Image,
    table: &'a AllocationTable,
    marks: Marks<'a, 'i>,
}

impl<'a, 'i> Glance<'a, 'i> {
    /// Reads nothing yet.
    pub fn new(image: &'a Image, vtables: Vtables<'a, 'i>, table: &'a AllocationTable) -> Glance<'a, 'i> {
        Glance { image, table, marks: Marks::new(image, vtables) }
    }

    /// What an allocation of the table is by its own bytes. Reads it.
    pub fn identity(&self, id: AllocId) -> Option<Identity> {
        if !self.table.state(id).is_used() {
            return None;
        }
        let ground = Ground::new(self.image.space(), self.table, &self.marks);
        let code = with_form(self.image.target(), ReadOne { ground: &ground, id });
        self.marks.catalogue.get(code)
    }
}

struct ReadOne<'s, 'a, 'i> {
    ground: &'s Ground<'a, 'i>,
    id: AllocId,
}

impl FormVisitor for ReadOne<'_, '_, '_> {
    type Output = Code;

    fn visit<F: Form>(self) -> Code {
        let table = self.ground.table;
        let (address, size) = (table.address(self.id).0, table.usable_size(self.id));
        let bytes = self.ground.memory.bytes(address, size);
        self.ground.content::<F>(bytes, table.rounding(self.id), &mut MarkCache::default())
    }
}
