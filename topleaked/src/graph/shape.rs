//! Which pointers into the middle of an allocation are as good as pointers to its start.
//!
//! A word that happens to look like a pointer is far more likely to hit the middle of an allocation than its first
//! byte, so a pointer into the middle alone proves little. Some program code holds memory by nothing else, though.
//! Each rule here asks memory for a proof of one such habit; where none is found, the pointer stays a doubtful one.

use crate::addr::Target;
use crate::image::{MemoryKind, Region};

use super::memory::Memory;

/// An object of a pool has the pool's address among so many words at its beginning.
const KNOWS_WITHIN_WORDS: u64 = 8;

/// The longest header in front of a text that a pointer may skip.
const MOST_TEXT_HEADER: u64 = 24;
/// Shorter texts behind a length are taken for chance.
const LEAST_MEASURED: u64 = 4;
/// Longer texts are not read to their end.
const MOST_MEASURED: u64 = 64 << 10;

/// What the rules need to know of the process.
#[derive(Debug)]
pub(super) struct Shapes {
    target: Target,
    width: u64,
    /// Memory of modules that may hold vtables: sorted, first address and the one behind the last.
    data: Vec<(u64, u64)>,
    /// Memory of modules that holds code.
    text: Vec<(u64, u64)>,
}

/// A pointer into the middle of an allocation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Inner {
    /// The allocation's first byte.
    pub(super) base: u64,
    /// Its usable size in bytes.
    pub(super) size: u64,
    /// Where the pointer points: above `base`, below `base + size`.
    pub(super) to: u64,
    /// The smallest request that can have become `size` bytes.
    pub(super) least: u64,
}

impl Inner {
    /// Bytes in front of the target.
    fn front(self) -> u64 {
        self.to - self.base
    }

    /// Whether the allocation can have been asked for with so many bytes from the target on.
    fn is_for(self, behind: u64) -> bool {
        let asked = self.front().checked_add(behind);
        asked.is_some_and(|asked| asked <= self.size && asked >= self.least)
    }
}

impl Shapes {
    pub(super) fn new(target: Target, regions: &[Region]) -> Shapes {
        let spans = |wanted: fn(MemoryKind) -> bool| {
            let mut spans: Vec<(u64, u64)> = Vec::new();
            for region in regions.iter().filter(|region| wanted(region.kind)) {
                let (start, end) = (region.span.start().0, region.span.end().0);
                match spans.last_mut() {
                    Some(last) if last.1 == start => last.1 = end,
                    _ => spans.push((start, end)),
                }
            }
            spans
        };
        Shapes {
            target,
            width: target.width.bytes() as u64,
            data: spans(|kind| matches!(kind, MemoryKind::Relro | MemoryKind::Data | MemoryKind::Rodata)),
            text: spans(|kind| kind == MemoryKind::Text),
        }
    }

    /// Whether memory proves that `inner` holds its allocation.
    #[inline(never)]
    pub(super) fn proves(&self, memory: &Memory<'_>, inner: Inner) -> bool {
        let look = Look { shapes: self, memory };
        (inner.to.is_multiple_of(self.width)
            && (look.is_subobject(inner)
                || look.follows_count(inner)
                || look.follows_start(inner)
                || look.knows_start(inner)
                || look.is_shared_string(inner)
                || look.is_list_hook(inner)))
            || look.is_hash_control(inner)
            || look.is_measured_text(inner)
            || look.is_dynamic_string(inner)
    }
}

struct Look<'a, 'm> {
    shapes: &'a Shapes,
    memory: &'a Memory<'m>,
}

/// A vtable as the Itanium C++ ABI lays it out, seen from its address point.
struct Vtable {
    /// From the subobject that holds the vtable pointer to the whole object: 0 or negative.
    offset_to_top: i64,
    type_info: u64,
}

impl Look<'_, '_> {
    fn word(&self, addr: u64) -> Option<u64> {
        self.shapes.target.word(self.memory.bytes_from(addr))
    }

    /// An object with a vtable begins at the target: a member or an element of its own (offset to top 0), or a base
    /// of a larger object, which is how a pointer to a second or virtual base holds a `new Derived`. A base's
    /// vtable and the whole object's name the same `type_info` (Itanium C++ ABI, 2.5.2 and 2.6).
    fn is_subobject(&self, inner: Inner) -> bool {
        let Some(here) = self.word(inner.to).and_then(|pointer| self.vtable(pointer)) else { return false };
        let top = inner.to.wrapping_add_signed(here.offset_to_top);
        if top < inner.base || top > inner.to {
            return false;
        }
        top == inner.to
            || self
                .word(top)
                .and_then(|pointer| self.vtable(pointer))
                .is_some_and(|whole| whole.offset_to_top == 0 && whole.type_info == here.type_info)
    }

    fn vtable(&self, pointer: u64) -> Option<Vtable> {
        let width = self.shapes.width;
        if !pointer.is_multiple_of(width) || !holds(&self.shapes.data, pointer) {
            return None;
        }
        let type_info = self.word(pointer.checked_sub(width)?)?;
        if type_info != 0 && !holds(&self.shapes.data, type_info) {
            return None;
        }
        let function = self.word(pointer)?;
        if function != 0 && !holds(&self.shapes.text, function) {
            return None;
        }
        let raw = self.word(pointer.checked_sub(2 * width)?)?;
        let offset_to_top = if width == 4 { i64::from(raw as u32 as i32) } else { raw as i64 };
        (offset_to_top <= 0).then_some(Vtable { offset_to_top, type_info })
    }

    /// The word in front of the target counts the elements or bytes that fill the rest of the allocation: what
    /// `new T[n]` does for a class with a destructor (Itanium C++ ABI, 2.7), and allocators with a length in front.
    ///
    /// Elements have a multiple of four bytes, and where more than a word lies in front, of as many as lie there, since that
    /// is their alignment. One element would fit anything, and proves nothing; few prove little.
    fn follows_count(&self, inner: Inner) -> bool {
        let width = self.shapes.width;
        let header = inner.front();
        if header > 64 || !header.is_power_of_two() || header < width {
            return false;
        }
        let Some(count) = self.word(inner.to - width).filter(|count| *count > 1) else { return false };
        let step = if header > width { header } else { 4 };
        let room = inner.size - header;
        // The largest such element of which `count` have room.
        let element = room / count / step * step;
        inner.is_for(count) || element > 0 && inner.is_for(element * count)
    }

    /// The word in front of the target is the allocation's own address: memory that was aligned by hand keeps it
    /// there, to give it back.
    fn follows_start(&self, inner: Inner) -> bool {
        inner.to - inner.base >= self.shapes.width && self.word(inner.to - self.shapes.width) == Some(inner.base)
    }

    /// An object at the target keeps the address of the allocation that it lies in among its first members: it was
    /// allocated from a pool that lives in that memory, and knows its pool (nginx `ngx_cycle_t`, `ngx_connection_t`;
    /// APR's `apr_pool_t` knows its node). A program that keeps all in pools holds nothing by other pointers.
    fn knows_start(&self, inner: Inner) -> bool {
        let width = self.shapes.width;
        let room = (inner.base + inner.size - inner.to) / width;
        (0..room.min(KNOWS_WITHIN_WORDS)).any(|at| self.word(inner.to + at * width) == Some(inner.base))
    }

    /// The target is the text of a copy-on-write `std::string` (libstdc++'s `_Rep`: length, capacity, references).
    fn is_shared_string(&self, inner: Inner) -> bool {
        let header = 3 * self.shapes.width;
        if inner.to - inner.base != header {
            return false;
        }
        let (Some(length), Some(capacity)) = (self.word(inner.base), self.word(inner.base + self.shapes.width)) else {
            return false;
        };
        let references = self.shapes.target.u32(self.memory.bytes_from(inner.base + 2 * self.shapes.width));
        (1..1 << 40).contains(&capacity)
            && length <= capacity
            && inner.is_for(capacity + 1)
            && references.is_some_and(|references| references as i32 >= -1)
            && self.memory.bytes(inner.to + length, 1) == [0]
    }

    /// The target is text that ends with a zero byte, and a length in the header in front of it says where: length,
    /// references and the like, then the characters, held by a pointer to the first of them (`BSTR`, strings of
    /// interpreters). The length is a whole number at its own alignment, and the text fills the allocation.
    fn is_measured_text(&self, inner: Inner) -> bool {
        let header = inner.to - inner.base;
        if header > MOST_TEXT_HEADER || !header.is_multiple_of(4) {
            return false;
        }
        let target = self.shapes.target;
        let front = self.memory.bytes(inner.base, header);
        let halves = front.chunks_exact(4).filter_map(|raw| target.u32(raw)).map(u64::from);
        let words = front.chunks_exact(8).filter_map(|raw| target.u64(raw));
        let fits = |length: &u64| (LEAST_MEASURED..MOST_MEASURED).contains(length) && inner.is_for(length + 1);
        halves.chain(words).filter(fits).any(|length| self.is_text_of(inner, length))
    }

    /// The target is the text of a simple dynamic string (redis and valkey, `sds.h`): in front of it a byte whose low
    /// three bits say how wide the header is, and before that the length and the capacity, packed; the shortest kind has
    /// its length in that byte's other five bits. A zero byte follows the text.
    ///
    /// Text that is skipped over by one byte, which by chance counts the rest, passes for the shortest kind.
    fn is_dynamic_string(&self, inner: Inner) -> bool {
        let header = inner.to - inner.base;
        let front = self.memory.bytes(inner.base, header.min(32));
        let Some(flags) = front.last().copied() else { return false };
        if header == 1 {
            let length = u64::from(flags >> 3);
            return flags & 7 == 0 && length > 0 && self.is_text_of(inner, length);
        }
        let width = match (header, flags) {
            (3, 1) => 1,
            (5, 2) => 2,
            (9, 3) => 4,
            (17, 4) => 8,
            _ => return false,
        };
        let target = self.shapes.target;
        let number = |at: usize| target.number(front.get(at..)?, width as u64);
        let (Some(length), Some(capacity)) = (number(0), number(width)) else { return false };
        // The capacity is what was asked for or, in later versions, all that there is, but no more than the header can say.
        let room = (inner.size - header).saturating_sub(1);
        let least = inner.least.saturating_sub(header + 1);
        length <= capacity
            && capacity <= room
            && capacity >= least / 2
            && self.memory.bytes(inner.to.saturating_add(length), 1) == [0]
    }

    /// Whether `length` characters that are none of them zero, and then a zero, stand at the target.
    fn is_text_of(&self, inner: Inner, length: u64) -> bool {
        let room = inner.size - (inner.to - inner.base);
        let bytes = self.memory.bytes(inner.to, length.saturating_add(1).min(room));
        let at = bytes.iter().position(|byte| *byte == 0);
        at.is_some_and(|at| at as u64 == length)
    }

    /// The target is the hook of a ring of two-way links inside objects: its successor points back at it, and its
    /// predecessor points forward at it.
    fn is_list_hook(&self, inner: Inner) -> bool {
        let width = self.shapes.width;
        if inner.base + inner.size - inner.to < 2 * width {
            return false;
        }
        let (Some(next), Some(previous)) = (self.word(inner.to), self.word(inner.to + width)) else { return false };
        // The last of a chain whose links keep the address of the word that leads to them (Linux's `hlist_node`).
        if next == 0 {
            return previous != inner.to && previous.is_multiple_of(width) && self.word(previous) == Some(inner.to);
        }
        next.checked_add(width).and_then(|back| self.word(back)) == Some(inner.to)
            && self.word(previous) == Some(inner.to)
    }

    /// The target is the control bytes of a Rust `HashMap` (hashbrown, `RawTableInner::ctrl`): the buckets lie in
    /// front of it, one control byte for each bucket behind it, and then the first control bytes again. At least one
    /// bucket is always empty (0xff).
    fn is_hash_control(&self, inner: Inner) -> bool {
        let front = inner.front();
        let behind = inner.size - front;
        // A group of control bytes is a vector register wide, or a word where there is none. What the allocator added
        // leaves several numbers of buckets open.
        [16, 8, 4].into_iter().any(|group: u64| {
            let most = behind.saturating_sub(group).min(front);
            let powers = (1..u64::BITS).map(|exponent| 1_u64 << exponent).take_while(|buckets| *buckets <= most);
            powers
                .filter(|buckets| inner.is_for(buckets + group))
                .any(|buckets| self.are_controls(inner.to, buckets, group))
        })
    }

    /// Whether the control bytes of so many buckets stand at `addr`.
    fn are_controls(&self, addr: u64, buckets: u64, group: u64) -> bool {
        let control = self.memory.bytes(addr, buckets + group);
        let (Ok(buckets), Ok(group)) = (usize::try_from(buckets), usize::try_from(group)) else { return false };
        if control.len() < buckets + group {
            return false;
        }
        let mirrored = buckets.min(group);
        let at = buckets.max(group);
        control.get(..mirrored) == control.get(at..at + mirrored)
            && control.get(buckets..group).unwrap_or_default().iter().all(|byte| *byte == 0xff)
            && control.iter().all(|byte| *byte <= 0x80 || *byte == 0xff)
            && control.contains(&0xff)
    }
}

fn holds(spans: &[(u64, u64)], addr: u64) -> bool {
    let at = spans.partition_point(|(_, end)| *end <= addr);
    spans.get(at).is_some_and(|(start, _)| *start <= addr)
}
