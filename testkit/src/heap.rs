//! Writes glibc heaps into memory, chunk by chunk, and remembers what it wrote.
//!
//! The layout is written down here a second time, on purpose: from the comments of glibc 2.36 malloc/malloc.c, by
//! hand, not from the walker that is tested with it.

/// How the words of a heap lie.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Words {
    /// 4 or 8.
    pub width: u64,
    /// Whether the most significant byte comes first.
    pub big: bool,
}

/// What a chunk is to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Piece {
    /// Handed out: this many bytes were asked for.
    Used(u32),
    /// Given back and in a bin: it would hold this many bytes.
    Free(u32),
    /// In this thread's cache: it would hold this many bytes.
    Cached(u32),
    /// In a fastbin: it would hold this many bytes.
    Fast(u32),
}

/// One allocation of a written heap.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Written {
    /// What it is.
    pub piece: Piece,
    /// The memory the program would see.
    pub address: u64,
    /// The bytes it could use.
    pub usable: u64,
    /// Where its header's size word stands.
    pub size_word: u64,
}

/// A process's data and heap.
#[derive(Clone, Debug)]
pub struct Heap {
    /// How its words lie.
    pub words: Words,
    /// Where the data begins that holds the main arena.
    pub data_start: u64,
    /// The data.
    pub data: Vec<u8>,
    /// Where the heap begins.
    pub heap_start: u64,
    /// The heap.
    pub heap: Vec<u8>,
    /// Its allocations, by address, without the cache's own and the top.
    pub written: Vec<Written>,
}

impl Heap {
    /// Puts a word into the heap.
    pub fn put(&mut self, address: u64, word: u64) {
        let at = (address - self.heap_start) as usize;
        put(&mut self.heap, at, word, self.words);
    }
}

fn put(bytes: &mut [u8], at: usize, word: u64, words: Words) {
    let width = words.width as usize;
    if words.big {
        bytes[at..at + width].copy_from_slice(&word.to_be_bytes()[8 - width..]);
    } else {
        bytes[at..at + width].copy_from_slice(&word.to_le_bytes()[..width]);
    }
}

fn put_u16(bytes: &mut [u8], at: usize, value: u16, words: Words) {
    bytes[at..at + 2].copy_from_slice(&if words.big { value.to_be_bytes() } else { value.to_le_bytes() });
}

fn get(bytes: &[u8], at: usize, words: Words) -> u64 {
    let width = words.width as usize;
    let raw = &bytes[at..at + width];
    raw.iter().enumerate().fold(0, |word, (index, byte)| {
        let shift = if words.big { 8 * (width - 1 - index) } else { 8 * index };
        word | u64::from(*byte) << shift
    })
}

/// Versions of glibc that lay out their heaps alike.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Edition {
    /// 2.12 to 2.22: chunks of 32-bit processes are aligned to 8 bytes; no count of threads in an arena.
    From2_12,
    /// 2.23 to 2.25: an arena counts its threads.
    From2_23,
    /// 2.26: threads have caches, with counts of a byte; alignment to 16 bytes.
    From2_26,
    /// 2.27 and 2.28: a flag in front of the fastbins.
    From2_27,
    /// 2.29: chunks in a cache are marked.
    From2_29,
    /// 2.30 and 2.31: counts of two bytes.
    From2_30,
    /// 2.32 to 2.41: links are masked.
    From2_32,
}

impl Edition {
    /// All of them, the oldest first.
    pub const ALL: [Edition; 7] = [
        Edition::From2_12,
        Edition::From2_23,
        Edition::From2_26,
        Edition::From2_27,
        Edition::From2_29,
        Edition::From2_30,
        Edition::From2_32,
    ];

    fn since(self, other: Edition) -> bool {
        self as u8 >= other as u8
    }

    fn has_cache(self) -> bool {
        self.since(Edition::From2_26)
    }

    fn count_bytes(self) -> u64 {
        if self.since(Edition::From2_30) { 2 } else { 1 }
    }
}

const CACHE_BINS: u64 = 64;
const SEVEN: u64 = 7;

/// Writes a heap of glibc 2.32 to 2.41, as [`write_as`] does.
pub fn write(words: Words, pieces: &[Piece]) -> Heap {
    write_as(Edition::From2_32, words, pieces)
}

/// Writes a heap: a main arena, a thread's cache where there are such, chunks, the top.
///
/// Pieces that cannot be (a cached one too large, the eighth in one list of the cache, a fast one too large, a free one
/// next to another) are written as used.
pub fn write_as(edition: Edition, words: Words, pieces: &[Piece]) -> Heap {
    let width = words.width;
    // In 32-bit processes since 2.26 chunks are aligned to four words, and begin in the middle between.
    let align = if width == 4 && !edition.has_cache() { 8 } else { 16 };
    let data_start: u64 = if width == 8 { 0x7f11_2233_4000 } else { 0xf7f1_4000 };
    let heap_start: u64 = if width == 8 { 0x5566_7788_9000 } else { 0x5755_5000 };
    let first = heap_start + if width == 4 && align == 16 { 8 } else { 0 };
    // A mutex and flags of four bytes each, and the flag that came with 2.27.
    let fast_at = 8 + if edition.since(Edition::From2_27) { width } else { 0 };
    let fastbins = if width == 4 && align == 16 { 11 } else { 10 };
    let top_at = fast_at + fastbins * width;
    let bins_at = top_at + 2 * width;
    let next_at = bins_at + 254 * width + 16;
    let arena = data_start + 0x120;
    let mut data = vec![0; 0x2000];
    let at_arena = |offset: u64| (arena - data_start + offset) as usize;
    let chunk_size =
        |bytes: u32| (u64::from(bytes) + width).next_multiple_of(align).max(if width == 8 { 32 } else { 16 });

    // First the sizes: from them follow the addresses, from these the links.
    let cache_entries = CACHE_BINS * edition.count_bytes();
    let cache_bytes = cache_entries + CACHE_BINS * width;
    let cache_size = if edition.has_cache() { (cache_bytes + width).next_multiple_of(align) } else { 0 };
    let cache = first + 2 * width;
    let mut at = first + cache_size;
    let mut written: Vec<Written> = Vec::new();
    let mut in_cache = vec![Vec::new(); CACHE_BINS as usize];
    let mut in_fast = vec![Vec::new(); fastbins as usize];
    for piece in pieces {
        let (Piece::Used(bytes) | Piece::Free(bytes) | Piece::Cached(bytes) | Piece::Fast(bytes)) = *piece;
        let size = chunk_size(bytes);
        let cache_bin = (size - if width == 8 { 32 } else { 16 }) / 16;
        let fast_bin = (size >> if width == 8 { 4 } else { 3 }) - 2;
        let fast_most = if width == 8 { 128 } else { 64 };
        let piece = match piece {
            Piece::Cached(_)
                if edition.has_cache()
                    && cache_bin < CACHE_BINS
                    && in_cache[cache_bin as usize].len() < SEVEN as usize =>
            {
                in_cache[cache_bin as usize].push(at);
                *piece
            }
            Piece::Fast(_) if size <= fast_most => {
                in_fast[fast_bin as usize].push(at);
                *piece
            }
            Piece::Free(_) if written.last().is_some_and(|last| !matches!(last.piece, Piece::Free(_))) => *piece,
            _ => Piece::Used(bytes),
        };
        written.push(Written { piece, address: at + 2 * width, usable: size - width, size_word: at + width });
        at += size;
    }
    // The chunk before the top is in use: a free one would be part of it.
    if let Some(last) = written.last_mut().filter(|last| matches!(last.piece, Piece::Free(_))) {
        last.piece = Piece::Used(0);
    }
    let top = at;
    let end = (top + 64).next_multiple_of(4096);
    let mut heap = vec![0; (end - heap_start) as usize];
    let at_heap = |address: u64| (address - heap_start) as usize;

    // Headers; what the program wrote fills the rest.
    let mut state: u64 = 0x9e37_79b9;
    if edition.has_cache() {
        put(&mut heap, at_heap(first + width), cache_size | 1, words);
    }
    let mut previous_free: Option<u64> = None;
    for chunk in &written {
        let begin = chunk.address - 2 * width;
        let size = chunk.usable + width;
        if !matches!(chunk.piece, Piece::Free(_)) {
            for place in (chunk.address..chunk.address + chunk.usable).step_by(width as usize) {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let word = if state >> 62 == 0 { heap_start + (state >> 40) % 4096 } else { state | 6 };
                put(&mut heap, at_heap(place), word, words);
            }
        }
        if let Some(foot) = previous_free {
            put(&mut heap, at_heap(begin), foot, words);
        }
        put(&mut heap, at_heap(begin + width), size | u64::from(previous_free.is_none()), words);
        previous_free = matches!(chunk.piece, Piece::Free(_)).then_some(size);
    }
    put(&mut heap, at_heap(top + width), (end - top) | 1, words);

    // The arena: flags, top, bins, the ring of one, what it has from the system.
    put(&mut data, at_arena(top_at), top, words);
    for bin in 0..127 {
        let header = arena + bins_at + 2 * bin * width - 2 * width;
        put(&mut data, at_arena(bins_at + 2 * bin * width), header, words);
        put(&mut data, at_arena(bins_at + 2 * bin * width + width), header, words);
    }
    let unsorted = arena + bins_at - 2 * width;
    let mut last = unsorted;
    for chunk in written.iter().filter(|chunk| matches!(chunk.piece, Piece::Free(_))) {
        let begin = chunk.address - 2 * width;
        if last == unsorted {
            put(&mut data, at_arena(bins_at), begin, words);
        } else {
            put(&mut heap, at_heap(last + 2 * width), begin, words);
        }
        put(&mut heap, at_heap(begin + 3 * width), last, words);
        put(&mut heap, at_heap(begin + 2 * width), unsorted, words);
        put(&mut data, at_arena(bins_at + width), begin, words);
        last = begin;
    }
    put(&mut data, at_arena(next_at), arena, words);
    let mut system_at = next_at + 2 * width;
    if edition.since(Edition::From2_23) {
        put(&mut data, at_arena(system_at), 1, words);
        system_at += width;
    }
    put(&mut data, at_arena(system_at), end - heap_start, words);
    put(&mut data, at_arena(system_at + width), end - heap_start, words);

    // Lists are linked from their newest member on, since 2.32 each link masked with where it stands.
    let masked = |place: u64, next: u64| if edition.since(Edition::From2_32) { (place >> 12) ^ next } else { next };
    for (bin, chunks) in in_fast.iter().enumerate() {
        let mut next = 0;
        for chunk in chunks {
            let place = chunk + 2 * width;
            put(&mut heap, at_heap(place), masked(place, next), words);
            next = *chunk;
        }
        put(&mut data, at_arena(fast_at + bin as u64 * width), next, words);
    }
    for (bin, chunks) in in_cache.iter().enumerate() {
        let mut next = 0;
        for chunk in chunks {
            let memory = chunk + 2 * width;
            put(&mut heap, at_heap(memory), masked(memory, next), words);
            // A random number, before 2.34 the cache's address.
            if edition.since(Edition::From2_32) {
                put(&mut heap, at_heap(memory + width), 0x1234_5679_89ab_cdef & get_mask(width), words);
            } else if edition.since(Edition::From2_29) {
                put(&mut heap, at_heap(memory + width), cache, words);
            }
            next = memory;
        }
        if !edition.has_cache() {
            continue;
        }
        if edition.count_bytes() == 2 {
            put_u16(&mut heap, at_heap(cache + 2 * bin as u64), chunks.len() as u16, words);
        } else {
            heap[at_heap(cache + bin as u64)] = chunks.len() as u8;
        }
        put(&mut heap, at_heap(cache + cache_entries + bin as u64 * width), next, words);
    }
    // Where the heap begins, as glibc notes it: behind the counts of mapped chunks.
    let noted = at_arena(next_at + 0x200);
    put(&mut data, noted, heap_start, words);
    debug_assert_eq!(get(&data, noted, words), heap_start);
    Heap { words, data_start, data, heap_start, heap, written }
}

fn get_mask(width: u64) -> u64 {
    if width == 8 { u64::MAX } else { u32::MAX.into() }
}
