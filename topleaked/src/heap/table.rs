//! The allocation table: columns sorted by address, and an index from any address to its allocation.

use std::num::NonZeroUsize;
use std::sync::{Mutex, PoisonError};

use crate::addr::{Addr, Span};
use crate::task::advise_large_pages;

use super::index::Index;
use super::rounding::Rounding;
use super::run::{self, Run};

/// The place of an allocation in its [`AllocationTable`]; ascending with the address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct AllocId(pub u32);

/// Which allocator of the process an allocation belongs to: an index into
/// [`Heap::allocators`](super::Heap::allocators).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct AllocatorId(pub u8);

impl AllocatorId {
    /// How many allocators one table can tell apart.
    pub const LIMIT: usize = 16;
}

/// What an allocation is to its allocator.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum State {
    /// Handed out and not yet given back.
    Used = 0,
    /// Given back, and ready for any thread: in a bin, a free slot.
    Free = 1,
    /// Given back, and kept in a list of its size without being joined with its neighbours (glibc's fastbins).
    FastFree = 2,
    /// Given back, and kept in one thread's cache.
    ThreadCached = 3,
    /// Never handed out since the system gave it, the end of an arena; or given back to the system with its addresses kept.
    Top = 4,
    /// The allocator's own: a thread's cache, tables. Nothing that the program asked for.
    Internal = 5,
    /// A run of memory whose headers are broken: what is used in it and what is free cannot be told.
    Damaged = 6,
}

impl State {
    /// All states, in the order of their numbers.
    pub const ALL: [State; 7] =
        [State::Used, State::Free, State::FastFree, State::ThreadCached, State::Top, State::Internal, State::Damaged];

    /// Its name, the same in all output: `thread-cached`.
    pub fn name(self) -> &'static str {
        match self {
            State::Used => "used",
            State::Free => "free",
            State::FastFree => "fast-free",
            State::ThreadCached => "thread-cached",
            State::Top => "top",
            State::Internal => "internal",
            State::Damaged => "damaged",
        }
    }

    /// Whether the program owns it.
    pub fn is_used(self) -> bool {
        self == State::Used
    }

    /// Whether it was given back, or never handed out.
    pub fn is_free(self) -> bool {
        matches!(self, State::Free | State::FastFree | State::ThreadCached | State::Top)
    }

    fn from_bits(bits: u8) -> State {
        State::ALL.get(usize::from(bits)).copied().unwrap_or(State::Damaged)
    }
}

/// One allocation, as the table has it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Allocation {
    /// Its place in the table.
    pub id: AllocId,
    /// What the program got: the first byte behind the allocator's header.
    pub address: Addr,
    /// How many bytes the program may use from there; for a free one, how many it could.
    pub usable_size: u64,
    /// What it is to its allocator.
    pub state: State,
    /// Whose it is.
    pub allocator: AllocatorId,
}

impl Allocation {
    /// The bytes the program may use.
    pub fn span(&self) -> Span {
        Span::with_size(self.address, self.usable_size).unwrap_or_default()
    }
}

/// Why a table could not be made.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TableError {
    /// There are more allocations than a table can number.
    #[error("more than {limit} allocations: this heap is too large for one table")]
    TooMany {
        /// How many fit.
        limit: u32,
    },
}

/// The low 32 bits of an address in steps of 8 bytes cover one window of 32 GiB.
pub(super) const WINDOW_SHIFT: u32 = 35;
/// Allocations begin at multiples of this.
pub(super) const GRANULE: u64 = 8;
/// Stands in the column of sizes where the size needs more than 32 bits.
pub(super) const LARGE: u32 = u32::MAX;

/// Allocations whose addresses share all bits above [`WINDOW_SHIFT`].
#[derive(Clone, Copy, Debug)]
struct Window {
    first: u32,
    base: u64,
}

/// All allocations of a process, by address, without overlap.
///
/// Nine bytes an allocation and at most two for the index. An allocation is found from any address inside it with a
/// look-up in the index and a scan of the few allocations that begin nearby.
#[derive(Debug, Default)]
pub struct AllocationTable {
    windows: Vec<Window>,
    /// The address in steps of [`GRANULE`], without the bits its window has.
    low: Vec<u32>,
    /// Usable bytes, or [`LARGE`].
    size: Vec<u32>,
    /// State in the low four bits, allocator in the high four.
    kind: Vec<u8>,
    /// Sizes that do not fit the column, by id.
    large: Vec<(u32, u64)>,
    index: Index,
    /// By allocator.
    roundings: Vec<Rounding>,
}

/// A run, and its part of each column.
struct Place<'a> {
    run: Run,
    low: &'a mut [u32],
    size: &'a mut [u32],
    kind: &'a mut [u8],
}

/// The places of all runs, the last one first.
fn places<'a>(
    runs: Vec<Run>,
    mut low: &'a mut [u32],
    mut size: &'a mut [u32],
    mut kind: &'a mut [u8],
) -> Vec<Place<'a>> {
    let mut places = Vec::with_capacity(runs.len());
    for run in runs {
        let (own_low, rest_low) = low.split_at_mut(run.len());
        let (own_size, rest_size) = size.split_at_mut(run.len());
        let (own_kind, rest_kind) = kind.split_at_mut(run.len());
        (low, size, kind) = (rest_low, rest_size, rest_kind);
        places.push(Place { run, low: own_low, size: own_size, kind: own_kind });
    }
    places.reverse();
    places
}

impl AllocationTable {
    /// How many allocations one table can hold.
    pub const LIMIT: u32 = u32::MAX - 1;

    /// A table of allocations that come with ascending addresses: address, usable size, state. For heaps that no walker
    /// found.
    ///
    /// # Errors
    /// [`TableError`] where there are too many.
    pub fn from_allocations(
        allocations: impl IntoIterator<Item = (Addr, u64, State)>,
    ) -> Result<AllocationTable, TableError> {
        let mut runs = run::Runs::new(AllocatorId(0));
        for (address, usable_size, state) in allocations {
            runs.push(address, usable_size, state);
        }
        AllocationTable::from_runs(runs.finish(), NonZeroUsize::MIN).map(|(table, _)| table)
    }

    /// Joins runs into a table. Where two overlap, the allocation that begins first stays; `dropped` says how many
    /// went that way.
    pub(super) fn from_runs(mut runs: Vec<Run>, threads: NonZeroUsize) -> Result<(AllocationTable, u64), TableError> {
        runs.retain(|run| !run.is_empty());
        runs.sort_by_key(Run::first_address);
        let dropped = if run::overlap(&runs) { run::untangle(&mut runs) } else { 0 };
        let total: usize = runs.iter().map(Run::len).sum();
        if total > AllocationTable::LIMIT as usize {
            return Err(TableError::TooMany { limit: AllocationTable::LIMIT });
        }
        let mut table = AllocationTable {
            low: vec![0; total],
            size: vec![0; total],
            kind: vec![0; total],
            ..AllocationTable::default()
        };
        advise_large_pages(&mut table.low);
        advise_large_pages(&mut table.size);
        advise_large_pages(&mut table.kind);
        let mut first = 0_u32;
        for run in &runs {
            if table.windows.last().is_none_or(|window| window.base != run.window_base()) {
                table.windows.push(Window { first, base: run.window_base() });
            }
            table.large.extend(run.large.iter().map(|(at, size)| (first + at, *size)));
            first += run.len() as u32;
        }
        // Each run is freed once it is copied, so that the columns grow in the memory that runs give up.
        let places = Mutex::new(places(runs, &mut table.low, &mut table.size, &mut table.kind));
        let copy = || {
            while let Some(place) = places.lock().unwrap_or_else(PoisonError::into_inner).pop() {
                place.low.copy_from_slice(&place.run.low);
                place.size.copy_from_slice(&place.run.size);
                place.kind.copy_from_slice(&place.run.kind);
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..threads.get() {
                scope.spawn(copy);
            }
            copy();
        });
        table.index = Index::build(&table);
        Ok((table, dropped))
    }

    /// Notes how some allocators round.
    pub(super) fn set_rounding(&mut self, first: AllocatorId, copies: usize, rounding: Rounding) {
        let first = usize::from(first.0);
        if self.roundings.len() < first + copies {
            self.roundings.resize(first + copies, Rounding::default());
        }
        self.roundings.iter_mut().skip(first).take(copies).for_each(|place| *place = rounding);
    }

    /// How the allocator of an allocation rounds; glibc's way where nothing is known.
    #[inline]
    pub fn rounding(&self, id: AllocId) -> Rounding {
        self.roundings.get(usize::from(self.allocator(id).0)).copied().unwrap_or_default()
    }

    /// How many allocations there are, in whatever state.
    pub fn len(&self) -> usize {
        self.low.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.low.is_empty()
    }

    /// Bytes of memory that the table takes.
    pub fn memory_bytes(&self) -> u64 {
        let columns = self.low.capacity() * 4 + self.size.capacity() * 4 + self.kind.capacity();
        (columns + self.large.capacity() * 16 + self.index.memory_bytes()) as u64
    }

    /// The allocation of an id.
    ///
    /// # Panics
    /// Where `id` is not of this table. So do the other functions that take one.
    pub fn get(&self, id: AllocId) -> Allocation {
        Allocation {
            id,
            address: self.address(id),
            usable_size: self.usable_size(id),
            state: self.state(id),
            allocator: self.allocator(id),
        }
    }

    /// Where an allocation begins for the program.
    pub fn address(&self, id: AllocId) -> Addr {
        let low = u64::from(self.low[id.0 as usize]) * GRANULE;
        // A process has two or three windows: its heap lies in one, its mappings in another.
        let at = match self.windows.as_slice() {
            [] => 0,
            [only] => only.base,
            windows => windows[windows.partition_point(|window| window.first <= id.0) - 1].base,
        };
        Addr(at | low)
    }

    /// Bytes from its beginning that the program may use.
    pub fn usable_size(&self, id: AllocId) -> u64 {
        match self.size[id.0 as usize] {
            LARGE => self
                .large
                .binary_search_by_key(&id.0, |(at, _)| *at)
                .map_or(u64::from(LARGE), |place| self.large[place].1),
            size => u64::from(size),
        }
    }

    /// The bytes the program may use.
    pub fn span(&self, id: AllocId) -> Span {
        Span::with_size(self.address(id), self.usable_size(id)).unwrap_or_default()
    }

    /// What it is to its allocator.
    pub fn state(&self, id: AllocId) -> State {
        State::from_bits(self.kind[id.0 as usize] & 0x0f)
    }

    /// Whose it is.
    pub fn allocator(&self, id: AllocId) -> AllocatorId {
        AllocatorId(self.kind[id.0 as usize] >> 4)
    }

    pub(super) fn set_state(&mut self, id: AllocId, state: State) {
        if let Some(kind) = self.kind.get_mut(id.0 as usize) {
            *kind = *kind & 0xf0 | state as u8;
        }
    }

    /// The allocation in which `addr` lies, and how many bytes behind its beginning; 0 for an exact pointer.
    /// Headers and padding belong to none. A few nanoseconds.
    #[inline]
    pub fn find(&self, addr: Addr) -> Option<(AllocId, u64)> {
        let (id, offset) = self.index.floor(self, addr)?;
        // Most sizes fit the column; a large one costs a search.
        let size = match self.size[id.0 as usize] {
            LARGE => self.usable_size(id),
            size => u64::from(size),
        };
        (offset < size).then_some((id, offset))
    }

    /// The allocation that begins exactly at `addr`, also one without bytes.
    pub fn find_start(&self, addr: Addr) -> Option<AllocId> {
        self.index.floor(self, addr).filter(|(_, offset)| *offset == 0).map(|(id, _)| id)
    }

    /// The last allocation that begins at or below `addr`, however far.
    pub fn find_before(&self, addr: Addr) -> Option<AllocId> {
        let next = self.lower_bound(addr.checked_add(1)?);
        next.checked_sub(1).map(AllocId)
    }

    /// All allocations, by address.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Allocation> + '_ {
        self.ids().map(|id| self.get(id))
    }

    /// All ids, by address.
    pub fn ids(&self) -> impl ExactSizeIterator<Item = AllocId> + use<> {
        (0..self.low.len() as u32).map(AllocId)
    }

    /// The ids of allocations that begin in `span`.
    pub fn ids_in(&self, span: Span) -> impl ExactSizeIterator<Item = AllocId> + use<> {
        (self.lower_bound(span.start())..self.lower_bound(span.end())).map(AllocId)
    }

    /// How many allocations begin below `addr`. O(log allocations).
    fn lower_bound(&self, addr: Addr) -> u32 {
        let mut low = 0_u32;
        let mut high = self.low.len() as u32;
        while low < high {
            let middle = low + (high - low) / 2;
            if self.address(AllocId(middle)) < addr { low = middle + 1 } else { high = middle }
        }
        low
    }

    /// The address column: steps of [`GRANULE`] in the window.
    pub(super) fn low_column(&self) -> &[u32] {
        &self.low
    }

    /// The column of sizes: bytes, or [`LARGE`].
    pub(super) fn size_column(&self) -> &[u32] {
        &self.size
    }

    /// The ids of each window, and the window's first address.
    pub(super) fn windows(&self) -> impl Iterator<Item = (std::ops::Range<u32>, u64)> + '_ {
        self.windows.iter().enumerate().map(|(at, window)| {
            let end = self.windows.get(at + 1).map_or(self.low.len() as u32, |next| next.first);
            (window.first..end, window.base)
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::heap::run::Runs;

    fn table(allocations: &[(u64, u64, State)]) -> AllocationTable {
        let mut runs = Runs::new(AllocatorId(1));
        for (address, size, state) in allocations {
            runs.push(Addr(*address), *size, *state);
        }
        AllocationTable::from_runs(runs.finish(), NonZeroUsize::MIN).unwrap().0
    }

    #[test]
    fn an_address_is_found_from_its_first_byte_to_its_last() {
        let table = table(&[(0x1000, 24, State::Used), (0x1020, 8, State::Free)]);
        assert_eq!(table.find(Addr(0xfff)), None);
        assert_eq!(table.find(Addr(0x1000)), Some((AllocId(0), 0)));
        assert_eq!(table.find(Addr(0x1017)), Some((AllocId(0), 23)));
        assert_eq!(table.find(Addr(0x1018)), None);
        assert_eq!(table.find(Addr(0x1027)), Some((AllocId(1), 7)));
        assert_eq!(table.find(Addr(0x1028)), None);
        assert_eq!(table.find_before(Addr(u64::MAX - 1)), Some(AllocId(1)));
        assert_eq!(table.state(AllocId(1)), State::Free);
        assert_eq!(table.allocator(AllocId(0)), AllocatorId(1));
    }

    #[test]
    fn an_allocation_may_be_larger_than_a_window() {
        let huge = 3 << WINDOW_SHIFT;
        let table = table(&[(0x7000_0000_0000, huge, State::Used), (0x7000_0000_0000 + huge + 16, 8, State::Used)]);
        assert_eq!(table.usable_size(AllocId(0)), huge);
        assert_eq!(table.find(Addr(0x7000_0000_0000 + huge - 1)), Some((AllocId(0), huge - 1)));
        assert_eq!(table.find(Addr(0x7000_0000_0000 + huge + 16)), Some((AllocId(1), 0)));
    }

    #[test]
    fn the_first_of_two_that_overlap_stays() {
        let mut low = Runs::new(AllocatorId(0));
        low.push(Addr(0x1000), 0x100, State::Used);
        low.push(Addr(0x2000), 0x10, State::Used);
        let mut high = Runs::new(AllocatorId(1));
        high.push(Addr(0x1080), 0x10, State::Used);
        high.push(Addr(0x1800), 0x10, State::Used);
        let runs = low.finish().into_iter().chain(high.finish()).collect();
        let (table, dropped) = AllocationTable::from_runs(runs, NonZeroUsize::MIN).unwrap();
        let found: Vec<_> = table.iter().map(|allocation| (allocation.address.0, allocation.allocator.0)).collect();
        assert_eq!(found, [(0x1000, 0), (0x1800, 1), (0x2000, 0)]);
        assert_eq!(dropped, 1);
    }

    proptest! {
        #[test]
        fn finding_equals_a_search_through_all(
            steps in prop::collection::vec((0_u64..5, 0_u64..200, 0_u64..40), 1..400),
            probes in prop::collection::vec(any::<prop::sample::Index>(), 50),
        ) {
            let mut at = 0x5500_0000_0000_u64;
            let mut plain = Vec::new();
            for (far, size, gap) in steps {
                at += gap * 8 + if far == 0 { 0x7_0000_0010 } else { 0 };
                plain.push((at, size, State::Used));
                at = (at + size + 8).next_multiple_of(8);
            }
            let table = table(&plain);
            prop_assert_eq!(table.len(), plain.len());
            for probe in probes {
                let (start, size, _) = plain[probe.index(plain.len())];
                for addr in [start.wrapping_sub(1), start, start + size / 2, start + size, start + size + 0x2_0000_0000] {
                    let expected = plain
                        .iter()
                        .position(|(start, size, _)| *start <= addr && addr < start + size)
                        .map(|at| (AllocId(at as u32), addr - plain[at].0));
                    prop_assert_eq!(table.find(Addr(addr)), expected);
                    let below = plain.iter().rposition(|(start, ..)| *start <= addr).map(|at| AllocId(at as u32));
                    prop_assert_eq!(table.find_before(Addr(addr)), below);
                }
            }
        }
    }
}
