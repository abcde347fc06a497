//! The pass over all memory that can hold a pointer: what each allocation says of itself, and what words elsewhere say
//! of the allocations that they point at.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::addr::{Addr, Span, Target};
use crate::graph::form::{Form, FormVisitor, with_form, words};
use crate::graph::memory::Memory;
use crate::graph::{Root, Roots};
use crate::heap::{AllocId, AllocationTable, Rounding};
use crate::task::Task;

use super::identity::{Catalogue, Code, Confidence, Evidence, Identity};
use super::marks::{Mark, MarkCache, Marks};
use super::shapes::Shapes;
use super::text::{TextKind, may_begin_text, may_begin_wide_text, measured_text, shared_string, text_kind, wide_text};

/// Allocations handed to a thread at once.
const BATCH: u32 = 1 << 14;
/// Bytes of roots handed to a thread at once.
const PIECE_BYTES: u64 = 1 << 20;

/// The identity of each allocation while it is being found: a later offer only takes the place of a weaker one.
#[derive(Debug)]
pub(super) struct Column {
    codes: Vec<AtomicU32>,
}

impl Column {
    pub(super) fn new(length: usize) -> Column {
        let mut codes = Vec::new();
        codes.resize_with(length, AtomicU32::default);
        Column { codes }
    }

    pub(super) fn offer(&self, id: AllocId, code: Code, catalogue: &Catalogue) {
        let Some(place) = self.codes.get(id.0 as usize) else { return };
        let mut held = Code(place.load(Ordering::Relaxed));
        while code.is_some() {
            let winner = if held.is_some() { catalogue.stronger(held, code) } else { code };
            if winner == held {
                return;
            }
            match place.compare_exchange_weak(held.0, winner.0, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => held = Code(now),
            }
        }
    }

    pub(super) fn into_codes(self) -> Vec<AtomicU32> {
        self.codes
    }
}

/// What all identifiers look at.
#[derive(Debug)]
pub(super) struct Ground<'a, 'i> {
    pub(super) table: &'a AllocationTable,
    pub(super) memory: Memory<'a>,
    pub(super) target: Target,
    pub(super) marks: &'a Marks<'a, 'i>,
    texts: [Code; 6],
    /// The first address of an allocation, and from there to the end of the last one.
    low: u64,
    range: u64,
}

impl<'a, 'i> Ground<'a, 'i> {
    pub(super) fn new(
        space: &'a crate::image::AddressSpace,
        table: &'a AllocationTable,
        marks: &'a Marks<'a, 'i>,
    ) -> Ground<'a, 'i> {
        let (low, range) = match table.len() {
            0 => (0, 0),
            length => {
                let first = table.address(AllocId(0)).0;
                (first, table.span(AllocId(length as u32 - 1)).end().0.saturating_sub(first).max(1))
            }
        };
        let text = |name, confidence| marks.catalogue.code(Identity::new(name, Evidence::Text, confidence));
        Ground {
            table,
            memory: Memory::new(space),
            target: space.target(),
            marks,
            texts: [
                text("text", Confidence::Likely),
                text("text, short", Confidence::Possible),
                text("text in a larger buffer", Confidence::Possible),
                text("text behind its length", Confidence::Likely),
                text("wide text", Confidence::Likely),
                text("std::string body (copy-on-write)", Confidence::Likely),
            ],
            low,
            range,
        }
    }

    /// Whether a word may point into an allocation.
    #[inline(always)]
    pub(super) fn may_point(&self, word: u64) -> bool {
        word.wrapping_sub(self.low) < self.range
    }

    /// The used allocation that begins at `addr`, and its usable size.
    pub(super) fn used_at(&self, addr: u64) -> Option<(AllocId, u64)> {
        if !self.may_point(addr) {
            return None;
        }
        let id = self.table.find_start(Addr(addr))?;
        self.table.state(id).is_used().then(|| (id, self.table.usable_size(id)))
    }

    /// What an allocation says of itself.
    pub(super) fn content<F: Form>(&self, bytes: &[u8], rounding: Rounding, cache: &mut MarkCache) -> Code {
        let mut inside = Inside::default();
        for (at, word) in words::<F>(bytes) {
            if self.marks.may_mark(word) {
                let mark = self.marks.mark(word, at == 0, cache);
                inside.take(at as u64, word, mark);
            }
        }
        self.conclude::<F>(bytes, rounding, &inside, cache)
    }

    fn conclude<F: Form>(&self, bytes: &[u8], rounding: Rounding, inside: &Inside, cache: &mut MarkCache) -> Code {
        if let Some((word, code)) = inside.start {
            return match inside.is_row() {
                true => self.marks.array(word, code, cache),
                false => code,
            };
        }
        if inside.other.is_some() {
            return inside.other;
        }
        if let Some(first) = inside.first {
            // `new C[n]` puts n in front, as far before the first object as its alignment asks for (Itanium C++ ABI, 2.7).
            let cookie = first.offset.checked_sub(F::WIDTH as u64).and_then(|at| bytes.get(at as usize..)).map(F::read);
            let is_cookie = first.offset <= 2 * F::WIDTH as u64 && cookie == Some(first.alike);
            return match is_cookie && (first.alike == 1 || first.is_row) {
                true => self.marks.array(first.word, first.code, cache),
                false => self.marks.inner(first.word, first.code, first.offset, cache),
            };
        }
        self.text::<F>(bytes, rounding)
    }

    fn text<F: Form>(&self, bytes: &[u8], rounding: Rounding) -> Code {
        let kind = if may_begin_text(bytes) {
            // An address may well have bytes that are characters.
            let is_address = |word: u64| self.may_point(word) || !self.memory.bytes_from(word).is_empty();
            text_kind(bytes, rounding).filter(|kind| *kind != TextKind::Short || !is_address(F::read(bytes)))
        } else if may_begin_wide_text(bytes) {
            wide_text(bytes, self.target)
        } else {
            None
        };
        let measured = || measured_text(bytes, rounding, self.target);
        match kind.or_else(measured).or_else(|| shared_string(bytes, rounding, self.target)) {
            Some(TextKind::Filling) => self.texts[0],
            Some(TextKind::Short) => self.texts[1],
            Some(TextKind::InBuffer) => self.texts[2],
            Some(TextKind::Measured) => self.texts[3],
            Some(TextKind::Wide) => self.texts[4],
            Some(TextKind::Shared) => self.texts[5],
            None => Code::NONE,
        }
    }

    /// The type of the Rust object that a fat pointer leads to.
    fn fat_pointer(&self, pointer: u64, mark: Mark) -> Option<(AllocId, Code)> {
        let Mark::Trait { code, counted, size, align } = mark else { return None };
        let (id, usable) = self.used_at(pointer)?;
        let align = align.max(1);
        let rounding = self.table.rounding(id);
        let counts = (2 * self.marks.width()).checked_next_multiple_of(align)?;
        let with_counts = counts.checked_add(size)?.checked_next_multiple_of(align.max(self.marks.width()))?;
        let is_plain = rounding.is_for(size, usable) && pointer.is_multiple_of(align);
        // Where sizes leave both open, the words in front tell: how many there are is small and never none.
        if rounding.is_for(with_counts, usable) && self.begins_with_counts(pointer) {
            return Some((id, counted));
        }
        is_plain.then_some((id, code))
    }

    /// Whether the counts of an `Arc` or `Rc` stand there: strong ones, and weak ones, of which there is always one.
    fn begins_with_counts(&self, addr: u64) -> bool {
        let bytes = self.memory.bytes_from(addr);
        let count = |at: usize| self.target.word(bytes.get(at * self.target.width.bytes()..)?);
        let most = 1 << 28;
        let locked = if self.target.width.bytes() == 4 { u64::from(u32::MAX) } else { u64::MAX };
        let (Some(strong), Some(weak)) = (count(0), count(1)) else { return false };
        (1..most).contains(&strong) && ((1..most).contains(&weak) || weak == locked)
    }
}

/// Vtables met in one allocation.
#[derive(Debug, Default)]
pub(super) struct Inside {
    /// The class that the allocation begins with, by its vtable.
    start: Option<(u64, Code)>,
    /// What else it begins with.
    other: Code,
    /// The next object of the same class.
    row: Option<Row>,
    /// The first object inside, where none begins at the start.
    first: Option<First>,
}

/// Objects of one class at equal distances.
#[derive(Clone, Copy, Debug)]
struct Row {
    distance: u64,
    last: u64,
    is_equal: bool,
}

impl Row {
    fn step(row: &mut Option<Row>, first: u64, at: u64) {
        match row {
            None => *row = Some(Row { distance: at - first, last: at, is_equal: true }),
            Some(row) => {
                row.is_equal &= at - row.last == row.distance;
                row.last = at;
            }
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct First {
    offset: u64,
    word: u64,
    code: Code,
    /// How many objects of the class follow, itself among them.
    alike: u64,
    row: Option<Row>,
    is_row: bool,
}

impl Inside {
    #[inline]
    fn take(&mut self, at: u64, word: u64, mark: Mark) {
        let code = match mark {
            Mark::Class { code } | Mark::Control { code, .. } => code,
            Mark::Functions { code } if at == 0 => {
                self.other = code;
                return;
            }
            _ => return,
        };
        if at == 0 {
            self.start = Some((word, code));
        } else if let Some((start, _)) = self.start {
            if start == word {
                Row::step(&mut self.row, 0, at);
            }
        } else {
            match &mut self.first {
                None => {
                    self.first = Some(First { offset: at, word, code, alike: 1, row: None, is_row: false });
                }
                Some(first) if first.word == word => {
                    first.alike += 1;
                    Row::step(&mut first.row, first.offset, at);
                    first.is_row = first.row.is_some_and(|row| row.is_equal);
                }
                Some(_) => {}
            }
        }
    }

    /// A class cannot contain itself: two of it in one allocation are a row.
    fn is_row(&self) -> bool {
        self.row.is_some_and(|row| row.is_equal)
    }
}

/// One thread's share of the pass.
struct Thread<'s, 'a, 'i> {
    ground: &'s Ground<'a, 'i>,
    column: &'s Column,
    shapes: Option<&'s Shapes>,
    cache: MarkCache,
}

impl Thread<'_, '_, '_> {
    fn allocations<F: Form>(&mut self, ids: std::ops::Range<u32>) {
        let table = self.ground.table;
        let mut piece: (u64, &[u8]) = (0, &[]);
        for id in ids.map(AllocId) {
            if !table.state(id).is_used() {
                continue;
            }
            let (address, size) = (table.address(id).0, table.usable_size(id) as usize);
            let within = |piece: (u64, &'_ [u8])| (address.wrapping_sub(piece.0) as usize) < piece.1.len();
            if !within(piece) {
                piece = (address, self.ground.memory.bytes_from(address));
            }
            let bytes = piece.1.get((address.wrapping_sub(piece.0)) as usize..).unwrap_or_default();
            let bytes = bytes.get(..size).unwrap_or(bytes);
            let mut inside = Inside::default();
            self.words::<F>(address, bytes, Some(&mut inside));
            let code = self.ground.conclude::<F>(bytes, table.rounding(id), &inside, &mut self.cache);
            self.column.offer(id, code, &self.ground.marks.catalogue);
        }
    }

    /// Looks at each word; `inside` where they are an allocation's.
    #[inline(always)]
    fn words<F: Form>(&mut self, base: u64, bytes: &[u8], mut inside: Option<&mut Inside>) {
        for (at, word) in words::<F>(bytes) {
            if let Some(shapes) = self.shapes
                && self.ground.may_point(word)
            {
                shapes.look::<F>(self.ground, self.column, (base, bytes, at), word);
            }
            if !self.ground.marks.may_mark(word) {
                continue;
            }
            let is_start = at == 0 && inside.is_some();
            let mark = self.ground.marks.mark(word, is_start, &mut self.cache);
            if mark == Mark::Nothing {
                continue;
            }
            self.points_on::<F>(bytes, at, mark);
            if let Some(inside) = inside.as_deref_mut() {
                inside.take(at as u64, word, mark);
            }
        }
    }

    /// What a mark says of other allocations.
    fn points_on<F: Form>(&self, bytes: &[u8], at: usize, mark: Mark) {
        let found = match mark {
            Mark::Trait { .. } => at
                .checked_sub(F::WIDTH)
                .and_then(|before| bytes.get(before..))
                .and_then(|before| self.ground.fat_pointer(F::read(before), mark)),
            Mark::Control { pointer_offset, owned, .. } => usize::try_from(pointer_offset)
                .ok()
                .and_then(|offset| bytes.get(at.checked_add(offset)?..))
                .and_then(|pointer| self.ground.used_at(F::read(pointer)))
                .map(|(id, _)| (id, owned)),
            _ => None,
        };
        if let Some((id, code)) = found {
            self.column.offer(id, code, &self.ground.marks.catalogue);
        }
    }
}

/// Looks at all used allocations and roots.
pub(super) struct ScanAll<'s, 'a, 'i> {
    pub(super) ground: &'s Ground<'a, 'i>,
    pub(super) column: &'s Column,
    pub(super) shapes: &'s Shapes,
    pub(super) roots: &'s Roots,
    pub(super) task: &'s Task,
}

impl ScanAll<'_, '_, '_> {
    pub(super) fn run(self) {
        with_form(self.ground.target, self);
    }
}

impl FormVisitor for ScanAll<'_, '_, '_> {
    type Output = ();

    fn visit<F: Form>(self) {
        let width = F::WIDTH as u64;
        let mut pieces = Vec::new();
        for root in self.roots.iter() {
            let Root::Memory(memory) = root else { continue };
            // What the program is done with owns nothing.
            if memory.kind.is_stale() {
                continue;
            }
            let mut from = memory.span.start().0.next_multiple_of(width);
            while from < memory.span.end().0 {
                let to = memory.span.end().0.min(from.saturating_add(PIECE_BYTES));
                pieces.extend(Span::new(Addr(from), Addr(to)));
                from = to;
            }
        }
        let length = self.ground.table.len() as u64;
        let batches = length.div_ceil(BATCH.into());
        let progress = &self.task.progress;
        progress.start("identifying", length);
        let next = AtomicU64::new(0);
        self.task.on_all(|| {
            let mut thread = Thread {
                ground: self.ground,
                column: self.column,
                shapes: Some(self.shapes).filter(|shapes| !shapes.is_empty()),
                cache: MarkCache::default(),
            };
            while !progress.is_cancelled() {
                let at = next.fetch_add(1, Ordering::Relaxed);
                if at < batches {
                    let from = at * u64::from(BATCH);
                    let to = (from + u64::from(BATCH)).min(length);
                    thread.allocations::<F>(from as u32..to as u32);
                    progress.advance(to - from);
                } else if let Some(piece) = pieces.get((at - batches) as usize) {
                    for (start, bytes) in self.ground.memory.runs(*piece) {
                        thread.words::<F>(start.0, bytes, None);
                    }
                } else {
                    break;
                }
            }
        });
    }
}
