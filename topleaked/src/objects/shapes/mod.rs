//! Containers of the standard libraries, by the shape of the object that owns their memory.
//!
//! An owner is found from its first pointer into the heap: the words around it have to be of the kinds that a row of
//! [`ROWS`] asks for, which a few cycles decide; then the row follows the pointers. Sizes that the owner keeps and
//! pointers that lead back prove the shape.
//!
//! What this gets wrong: memory whose owner is gone is not recognised; a program's own type that is laid out as a
//! standard container passes for one.

mod deque;
mod hash;
mod list;
mod string;
mod tree;
mod vector;

use std::sync::atomic::{AtomicU64, Ordering};

use crate::addr::{ByteOrder, Target};
use crate::graph::form::Form;
use crate::heap::AllocId;
use crate::image::{Image, MemoryKind};

use super::identity::{Code, Confidence, Content, Evidence, Identity};
use super::scan::{Column, Ground};

/// Which standard library owners are of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Library {
    /// GCC's.
    Gnu,
    /// LLVM's.
    Llvm,
    /// Either: they agree.
    Both,
}

/// One kind of owner: a container, in one library's layout. A new one is a file, or a row of one.
struct Row {
    library: Library,
    /// The kinds that the words around the pointer have, see [`kind`].
    needs: u32,
    /// What it identifies, without the sizes.
    names: &'static [(&'static str, Confidence)],
    /// Follows an owner, and offers what it owns. `codes` are those of `names`.
    follow: fn(&Finder<'_, '_, '_>, &Window<'_>, codes: &[Code]),
}

static ROWS: [&Row; 9] = [
    &vector::VECTOR,
    &string::GNU,
    &string::LLVM,
    &list::LIST,
    &tree::GNU,
    &tree::LLVM,
    &hash::TABLE,
    &deque::GNU,
    &deque::LLVM,
];

/// The kinds of words around a pointer into the heap.
mod kind {
    /// The word before is zero, or begins with four zero bytes.
    pub(super) const BEFORE_ZERO: u32 = 1;
    /// The word before points into the heap.
    pub(super) const BEFORE_POINTER: u32 = 1 << 1;
    /// The word before is zero or a size.
    pub(super) const BEFORE_NUMBER: u32 = 1 << 2;
    /// The second word before is odd.
    pub(super) const BEFORE_2_ODD: u32 = 1 << 3;
    /// The next word points into the heap.
    pub(super) const NEXT_POINTER: u32 = 1 << 4;
    /// The next word is a size other than zero.
    pub(super) const NEXT_COUNT: u32 = 1 << 5;
    /// The next word is zero or a size.
    pub(super) const NEXT_NUMBER: u32 = 1 << 6;
    /// The second word behind points into the heap.
    pub(super) const NEXT_2_POINTER: u32 = 1 << 7;
    /// The second word behind is a size other than zero.
    pub(super) const NEXT_2_COUNT: u32 = 1 << 8;
    /// The third word behind points into the heap.
    pub(super) const NEXT_3_POINTER: u32 = 1 << 9;
    /// The third word behind is a size other than zero.
    pub(super) const NEXT_3_COUNT: u32 = 1 << 10;
    /// The fourth word behind begins with a load factor: a float between 1/8 and 16.
    pub(super) const NEXT_4_FACTOR: u32 = 1 << 11;
    /// The pointer, the next word and the one behind it ascend.
    pub(super) const ASCENDING: u32 = 1 << 12;
}

/// Larger than any size of a container in 8-byte words.
const MOST_BYTES: u64 = 1 << 40;

/// The rows that are worth while for a process, and what they may cost.
#[derive(Debug)]
pub(super) struct Shapes {
    rows: Vec<Enabled>,
    /// Steps over nodes so far.
    steps: AtomicU64,
    most_steps: u64,
}

#[derive(Clone, Debug)]
struct Enabled {
    needs: u32,
    place: usize,
    codes: Vec<Code>,
}

impl Shapes {
    /// The rows for the libraries that the process has.
    pub(super) fn new(image: &Image, ground: &Ground<'_, '_>) -> Shapes {
        let (gnu, llvm) = libraries(image);
        let mut rows = Vec::new();
        for (place, row) in ROWS.iter().enumerate() {
            let wanted = match row.library {
                Library::Gnu => gnu,
                Library::Llvm => llvm,
                Library::Both => gnu || llvm,
            };
            if wanted {
                let code = |(name, confidence): &(&str, Confidence)| {
                    ground.marks.catalogue.code(Identity::new(*name, Evidence::Container, *confidence))
                };
                rows.push(Enabled { needs: row.needs, place, codes: row.names.iter().map(code).collect() });
            }
        }
        // A program has as many owners as it has, and each node one of them; copies of owners that are gone come on top.
        let most_steps = 16 * ground.table.len() as u64 + (1 << 20);
        Shapes { rows, steps: AtomicU64::new(0), most_steps }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Whether following owners was given up because it took too long.
    pub(super) fn gave_up(&self) -> bool {
        self.steps.load(Ordering::Relaxed) > self.most_steps
    }

    /// Takes the word at `at` of `bytes`, which points into the heap, for the first pointer of an owner.
    #[inline]
    pub(super) fn look<F: Form>(
        &self,
        ground: &Ground<'_, '_>,
        column: &Column,
        (base, bytes, at): (u64, &[u8], usize),
        word: u64,
    ) {
        let have = kinds::<F>(ground, bytes, at, word);
        for enabled in &self.rows {
            if have & enabled.needs == enabled.needs
                && let Some(row) = ROWS.get(enabled.place)
            {
                let finder = Finder { ground, column, shapes: self };
                let window = Window { base, bytes, at, target: ground.target };
                (row.follow)(&finder, &window, &enabled.codes);
            }
        }
    }
}

#[inline(always)]
fn kinds<F: Form>(ground: &Ground<'_, '_>, bytes: &[u8], at: usize, word: u64) -> u32 {
    let read = |at: Option<usize>| at.and_then(|at| bytes.get(at..)).map_or(0, F::read);
    let next = |count: usize| read(Some(at + count * F::WIDTH));
    let (before, before_2) = (read(at.checked_sub(F::WIDTH)), read(at.checked_sub(2 * F::WIDTH)));
    let (next_1, next_2, next_3, next_4) = (next(1), next(2), next(3), next(4));
    let points = |word: u64| ground.may_point(word);
    let most = if F::WIDTH == 4 { 1 << 30 } else { MOST_BYTES };
    let number = |word: u64| word < most;
    let flag = |holds: bool, flag: u32| if holds { flag } else { 0 };
    let is_32 = F::WIDTH == 4;
    // The first four bytes of the word.
    let is_high = ground.target.order == ByteOrder::Big && !is_32;
    let factor = f32::from_bits(if is_high { (next_4 >> 32) as u32 } else { next_4 as u32 });
    flag(before as u32 == 0 || !is_32 && before >> 32 == 0, kind::BEFORE_ZERO)
        | flag(points(before), kind::BEFORE_POINTER)
        | flag(number(before), kind::BEFORE_NUMBER)
        | flag(before_2 & 1 != 0, kind::BEFORE_2_ODD)
        | flag(points(next_1), kind::NEXT_POINTER)
        | flag(number(next_1) && next_1 != 0, kind::NEXT_COUNT)
        | flag(number(next_1), kind::NEXT_NUMBER)
        | flag(points(next_2), kind::NEXT_2_POINTER)
        | flag(number(next_2) && next_2 != 0, kind::NEXT_2_COUNT)
        | flag(points(next_3), kind::NEXT_3_POINTER)
        | flag(number(next_3) && next_3 != 0, kind::NEXT_3_COUNT)
        | flag((0.125..=16.0).contains(&factor), kind::NEXT_4_FACTOR)
        | flag(word <= next_1 && next_1 <= next_2, kind::ASCENDING)
}

/// Which standard libraries the process has: as shared objects, or linked in, by the names of classes in constant data.
fn libraries(image: &Image) -> (bool, bool) {
    let (mut gnu, mut llvm, mut either) = (false, false, false);
    // The list of mapped files as well: it names also what no module could be made of.
    let mapped = image.mapped_files().iter().map(|file| file.path.as_slice());
    for path in image.modules().iter().map(|module| module.path.as_slice()).chain(mapped) {
        let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        gnu |= name.starts_with(b"libstdc++");
        llvm |= name.starts_with(b"libc++.") || name.starts_with(b"libc++_");
    }
    for region in image.regions() {
        if gnu && llvm {
            break;
        }
        if region.kind != MemoryKind::Rodata && region.kind != MemoryKind::Text {
            continue;
        }
        let bytes = image.space().bytes_from(region.span.start());
        let size = usize::try_from(region.span.size_bytes()).unwrap_or(usize::MAX);
        let bytes = bytes.get(..size).unwrap_or(bytes);
        let has = |needle: &[u8]| memchr::memmem::find(bytes, needle).is_some();
        gnu = gnu || has(b"N9__gnu_cxx") || has(b"St7__cxx11");
        llvm = llvm || has(b"NSt3__1");
        either |= has(b"N10__cxxabiv1");
    }
    // A program that has little of either is of the one that is more frequent.
    (gnu || either && !llvm, llvm)
}

/// The words around the first pointer of what may be an owner.
struct Window<'b> {
    base: u64,
    bytes: &'b [u8],
    at: usize,
    target: Target,
}

impl Window<'_> {
    /// The word so many places behind the pointer.
    fn word(&self, places: isize) -> Option<u64> {
        let distance = places.checked_mul(self.target.width.bytes() as isize)?;
        self.target.word(self.bytes.get(self.at.checked_add_signed(distance)?..)?)
    }

    /// Where that word is.
    fn address(&self, places: i64) -> u64 {
        let distance = places * self.target.width.bytes() as i64;
        (self.base + self.at as u64).wrapping_add_signed(distance)
    }
}

/// What rows follow owners with.
struct Finder<'s, 'a, 'i> {
    ground: &'s Ground<'a, 'i>,
    column: &'s Column,
    shapes: &'s Shapes,
}

impl Finder<'_, '_, '_> {
    /// Bytes of a word.
    fn width(&self) -> u64 {
        self.ground.target.width.bytes() as u64
    }

    /// The word at any address.
    fn word(&self, addr: u64) -> Option<u64> {
        self.ground.target.word(self.ground.memory.bytes_from(addr))
    }

    /// The word so many places behind `addr`.
    fn word_at(&self, addr: u64, places: u64) -> Option<u64> {
        self.word(addr.checked_add(places * self.width())?)
    }

    /// The used allocation that begins at `addr`, and its usable size.
    fn used_at(&self, addr: u64) -> Option<(AllocId, u64)> {
        self.ground.used_at(addr)
    }

    /// The same where it can have been made for so many bytes.
    fn made_for(&self, addr: u64, requested: u64) -> Option<AllocId> {
        self.used_at(addr)
            .filter(|(id, usable)| self.ground.table.rounding(*id).is_for(requested, *usable))
            .map(|(id, _)| id)
    }

    fn offer(&self, id: AllocId, code: Code) {
        self.column.offer(id, code, &self.ground.marks.catalogue);
    }

    /// Whether an owner of so many nodes may be followed: it has no more than there are allocations, and following has
    /// not cost too much already.
    fn may_walk(&self, count: u64) -> bool {
        count <= self.ground.table.len() as u64 && !self.shapes.gave_up()
    }

    fn walked(&self, steps: u64) {
        self.shapes.steps.fetch_add(steps, Ordering::Relaxed);
    }

    /// The identity of nodes of one container. Containers differ in what their nodes hold: of that, the size is known,
    /// and the class of an object that begins behind the links, of which there are so many words. `usable` is the least of the nodes' usable sizes.
    fn node_code(&self, name: &str, usable: u64, links: &[u64], first: u64, confidence: Confidence) -> Code {
        let mut held = links.iter().filter_map(|links| {
            let class = self.ground.marks.class_of(self.word_at(first, *links)?)?;
            Some(Content { name: class, offset: links * self.width() })
        });
        let identity = match held.next() {
            Some(content) => Identity {
                content: Some(content.clone()),
                ..Identity::new(format!("{name} of {}", content.name), Evidence::Container, confidence)
            },
            None => Identity::new(format!("{name}, {usable} bytes"), Evidence::Container, confidence),
        };
        self.ground.marks.catalogue.code(identity)
    }
}
