//! Allocations as a walker finds them, before they are joined into a table.

use crate::addr::Addr;

use super::table::{AllocatorId, GRANULE, LARGE, State, WINDOW_SHIFT};

/// A run is closed at this length, so that joining runs frees memory as it goes.
const RUN_LENGTH: usize = 1 << 18;

/// Some allocations of one window, ascending and without overlap: the table's columns in small.
#[derive(Debug)]
pub(super) struct Run {
    window: u64,
    pub(super) low: Vec<u32>,
    pub(super) size: Vec<u32>,
    pub(super) kind: Vec<u8>,
    pub(super) large: Vec<(u32, u64)>,
}

impl Run {
    pub(super) fn len(&self) -> usize {
        self.low.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.low.is_empty()
    }

    pub(super) fn window_base(&self) -> u64 {
        self.window << WINDOW_SHIFT
    }

    pub(super) fn address(&self, at: usize) -> u64 {
        self.window_base() | (u64::from(self.low[at]) * GRANULE)
    }

    fn size(&self, at: usize) -> u64 {
        match self.size[at] {
            LARGE => {
                let found = self.large.binary_search_by_key(&(at as u32), |(at, _)| *at);
                found.map_or(u64::from(LARGE), |place| self.large[place].1)
            }
            size => u64::from(size),
        }
    }

    pub(super) fn first_address(&self) -> u64 {
        if self.is_empty() { u64::MAX } else { self.address(0) }
    }

    /// The first address behind the last allocation.
    fn end(&self) -> u64 {
        self.len().checked_sub(1).map_or(0, |last| self.address(last).saturating_add(self.size(last)))
    }

    /// The first place whose allocation begins at or above `address`.
    pub(super) fn lower_bound(&self, address: u64) -> usize {
        match (address >> WINDOW_SHIFT).cmp(&self.window) {
            std::cmp::Ordering::Less => 0,
            std::cmp::Ordering::Greater => self.len(),
            std::cmp::Ordering::Equal => {
                let low = (address & ((1 << WINDOW_SHIFT) - 1)).div_ceil(GRANULE);
                self.low.partition_point(|other| u64::from(*other) < low)
            }
        }
    }

    /// Drops the allocations before `at`.
    pub(super) fn drop_front(&mut self, at: usize) {
        self.low.drain(..at);
        self.size.drain(..at);
        self.kind.drain(..at);
        self.large.retain_mut(|(place, _)| {
            let keep = *place as usize >= at;
            *place = place.saturating_sub(at as u32);
            keep
        });
    }
}

/// What a walker writes allocations into. They have to come with ascending addresses.
#[derive(Debug)]
pub(super) struct Runs {
    allocator: u8,
    done: Vec<Run>,
    current: Option<Run>,
}

impl Runs {
    pub(super) fn new(allocator: AllocatorId) -> Runs {
        Runs { allocator: allocator.0 << 4, done: Vec::new(), current: None }
    }

    /// An empty one for the same allocator.
    pub(super) fn like(other: &Runs) -> Runs {
        Runs { allocator: other.allocator, done: Vec::new(), current: None }
    }

    /// Adds an allocation. One that does not begin at a multiple of [`GRANULE`] is left out: no allocator known here
    /// hands such out.
    #[inline]
    pub(super) fn push(&mut self, address: Addr, usable_size: u64, state: State) {
        debug_assert!(address.is_aligned(GRANULE));
        if !address.is_aligned(GRANULE) {
            return;
        }
        let window = address.0 >> WINDOW_SHIFT;
        let run = match &mut self.current {
            Some(run) if run.window == window && run.low.len() < RUN_LENGTH => run,
            current => {
                self.done.extend(current.take());
                current.insert(Run {
                    window,
                    low: Vec::with_capacity(64),
                    size: Vec::with_capacity(64),
                    kind: Vec::with_capacity(64),
                    large: Vec::new(),
                })
            }
        };
        let size = match u32::try_from(usable_size) {
            Ok(size) if size != LARGE => size,
            _ => {
                run.large.push((run.low.len() as u32, usable_size));
                LARGE
            }
        };
        run.low.push((address.0 / GRANULE) as u32);
        run.size.push(size);
        run.kind.push(self.allocator | state as u8);
    }

    pub(super) fn finish(mut self) -> Vec<Run> {
        self.done.extend(self.current);
        self.done
    }
}

/// Whether any two of the runs, sorted by their first address, share an address.
pub(super) fn overlap(runs: &[Run]) -> bool {
    runs.windows(2).any(|pair| pair[0].end() > pair[1].first_address())
}

/// Makes the runs free of overlap, and sorted; says how many allocations went.
pub(super) fn untangle(runs: &mut Vec<Run>) -> u64 {
    let mut all: Vec<(u64, u64, u8)> = Vec::new();
    for run in runs.iter() {
        all.extend((0..run.len()).map(|at| (run.address(at), run.size(at), run.kind[at])));
    }
    all.sort_unstable();
    runs.clear();
    let mut end = 0;
    let mut dropped = 0;
    let mut fresh = Runs::new(AllocatorId(0));
    for (address, size, kind) in all {
        if address < end {
            dropped += 1;
            continue;
        }
        end = address.saturating_add(size.max(1));
        fresh.push(Addr(address), size, State::Used);
        if let Some(last) = fresh.current.as_mut().and_then(|run| run.kind.last_mut()) {
            *last = kind;
        }
    }
    *runs = fresh.finish();
    dropped
}
