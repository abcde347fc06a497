//! From an address to the last allocation that begins at or below it.

use crate::addr::Addr;

use super::table::{AllocId, AllocationTable, GRANULE};

/// A gap wider than this between two allocations ends an extent, so that buckets cover little empty space.
const GAP_BYTES: u64 = 1 << 20;
/// How many allocations a bucket has on average.
const PER_BUCKET: u64 = 3;
/// A bucket with more than this many is searched by halves, not in a row.
const SCAN_LIMIT: u32 = 16;

/// Allocations that lie close together, and the buckets that cut their addresses into equal parts.
#[derive(Clone, Copy, Debug)]
struct Extent {
    /// The first allocation's address.
    start: u64,
    /// The first address behind the last allocation.
    end: u64,
    /// The first address of the allocations' window.
    window_base: u64,
    first_bucket: u32,
    /// A bucket covers two to this power bytes.
    shift: u32,
}

/// The index over one table.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// The extents' starts, apart from the rest: what a search touches.
    starts: Vec<u64>,
    extents: Vec<Extent>,
    /// For each bucket how many allocations of the table begin before it; one more at each extent's end.
    buckets: Vec<u32>,
}

impl Index {
    pub(super) fn memory_bytes(&self) -> usize {
        self.starts.capacity() * 8 + self.extents.capacity() * size_of::<Extent>() + self.buckets.capacity() * 4
    }

    pub(super) fn build(table: &AllocationTable) -> Index {
        let mut index = Index::default();
        let low = table.low_column();
        let size = table.size_column();
        for (ids, window_base) in table.windows() {
            let mut first = ids.start;
            while first < ids.end {
                let mut last = first;
                let mut end = end_of(table, size, low, window_base, last);
                while last + 1 < ids.end {
                    let next = window_base + u64::from(low[last as usize + 1]) * GRANULE;
                    if next.saturating_sub(end) > GAP_BYTES {
                        break;
                    }
                    last += 1;
                    end = end_of(table, size, low, window_base, last);
                }
                index.add(low, first..last + 1, window_base, end);
                first = last + 1;
            }
        }
        index.buckets.shrink_to_fit();
        index
    }

    fn add(&mut self, low: &[u32], ids: std::ops::Range<u32>, window_base: u64, end: u64) {
        let start = window_base + u64::from(low[ids.start as usize]) * GRANULE;
        let last_start = window_base + u64::from(low[ids.end as usize - 1]) * GRANULE;
        let wanted = (u64::from(ids.end - ids.start) / PER_BUCKET).max(1);
        let mut shift = 6;
        while ((last_start - start) >> shift) + 1 > wanted && shift < 63 {
            shift += 1;
        }
        let first_bucket = self.buckets.len() as u32;
        let buckets = ((last_start - start) >> shift) + 1;
        let mut id = ids.start;
        for bucket in 0..buckets {
            let from = start + (bucket << shift);
            while id < ids.end && window_base + u64::from(low[id as usize]) * GRANULE < from {
                id += 1;
            }
            self.buckets.push(id);
        }
        self.buckets.push(ids.end);
        self.starts.push(start);
        self.extents.push(Extent { start, end, window_base, first_bucket, shift });
    }

    /// The last allocation that begins at or below `addr` in the extent around `addr`, and the bytes between.
    #[inline]
    pub(super) fn floor(&self, table: &AllocationTable, addr: Addr) -> Option<(AllocId, u64)> {
        let place = self.starts.partition_point(|start| *start <= addr.0).checked_sub(1)?;
        let extent = &self.extents[place];
        // An allocation without bytes may begin where the extent ends.
        if addr.0 > extent.end {
            return None;
        }
        let low = table.low_column();
        let key = (addr.0 - extent.window_base) / GRANULE;
        let last_bucket = match self.extents.get(place + 1) {
            Some(next) => next.first_bucket - 2,
            None => self.buckets.len() as u32 - 2,
        };
        let bucket = (extent.first_bucket as u64 + ((addr.0 - extent.start) >> extent.shift)).min(last_bucket.into());
        let from = self.buckets[bucket as usize];
        let to = self.buckets[bucket as usize + 1];
        // The allocations from..to begin in the bucket; the one before them may reach into it.
        let mut next = from;
        if to - from > SCAN_LIMIT {
            next += low[from as usize..to as usize].partition_point(|other| u64::from(*other) <= key) as u32;
        } else {
            while next < to && u64::from(low[next as usize]) <= key {
                next += 1;
            }
        }
        let id = next.checked_sub(1)?;
        let begins = extent.window_base + u64::from(low[id as usize]) * GRANULE;
        Some((AllocId(id), addr.0.checked_sub(begins)?))
    }
}

fn end_of(table: &AllocationTable, size: &[u32], low: &[u32], window_base: u64, id: u32) -> u64 {
    let begins = window_base + u64::from(low[id as usize]) * GRANULE;
    let size = match size[id as usize] {
        super::table::LARGE => table.usable_size(AllocId(id)),
        size => u64::from(size),
    };
    begins.saturating_add(size)
}
