//! The loops over words: plain Rust that is compiled once for each path, and one loop by hand for AVX-512.
//!
//! Words are taken raw, as this machine loads them, zero-extended to 64 bits; other byte orders are sorted out
//! with the results.
#![allow(unsafe_code)]

use super::Isa;

/// Slots of the front; 2 to the power of [`FRONT_BITS`].
pub(super) const FRONT_SLOTS: usize = 1 << FRONT_BITS;
pub(super) const FRONT_BITS: u32 = 10;
/// Counters of one slot: neighbouring words take turns, so that equal ones do not wait for one another.
pub(super) const LANES: usize = 8;
/// Where the hashed counters begin, behind those of the front.
pub(super) const COUNTERS_START: usize = FRONT_SLOTS * LANES;
/// Slots of the small front, and its classes: a word is in the class of its slot, or in one of the rest by its hash.
pub(super) const SMALL_SLOTS: usize = 64;
pub(super) const CLASSES: usize = 256;

/// The words that are counted one by one; each other word falls into a hashed counter.
#[derive(Clone)]
pub(super) struct Front {
    pub(super) multiplier: u64,
    /// A word lies in the slot that the highest bits of its product name. A free slot holds a word of another slot.
    pub(super) keys: Box<[u64; FRONT_SLOTS]>,
}

impl Front {
    pub(super) fn slot(multiplier: u64, word: u64) -> usize {
        (word.wrapping_mul(multiplier) >> (64 - FRONT_BITS)) as usize
    }
}

/// The smaller of the two fronts, for AVX-512.
#[derive(Clone)]
pub(super) struct SmallFront {
    pub(super) multiplier: u64,
    pub(super) keys: [u64; SMALL_SLOTS],
}

impl SmallFront {
    pub(super) fn slot(multiplier: u64, word: u64) -> usize {
        (word.wrapping_mul(multiplier) >> 58) as usize
    }
}

/// A table of zeros, on large pages where the system has them: it is touched at random places.
pub(super) fn zeroed<T: Copy + Default>(size: usize) -> Vec<T> {
    let mut table: Vec<T> = Vec::with_capacity(size);
    let bytes = size * size_of::<T>();
    if bytes >= 4 << 20 {
        const PAGE: usize = 4096;
        let start = table.as_mut_ptr().addr().next_multiple_of(PAGE);
        let skipped = start - table.as_mut_ptr().addr();
        if bytes > skipped + PAGE {
            // SAFETY: "inside the table": whole pages of its own allocation. The advice does not change their content,
            // and where the system refuses it, nothing is lost.
            let _ = unsafe {
                rustix::mm::madvise(
                    table.as_mut_ptr().byte_add(skipped).cast(),
                    (bytes - skipped) & !(PAGE - 1),
                    rustix::mm::Advice::LinuxHugepage,
                )
            };
        }
    }
    table.resize(size, T::default());
    table
}

/// Words per block: a block of zeros is skipped with one test.
const BLOCK: usize = 64;

#[inline(always)]
fn load<const W: usize>(raw: &[u8; W]) -> u64 {
    let mut word = [0; 8];
    word[..W].copy_from_slice(raw);
    u64::from_ne_bytes(word)
}

#[inline(always)]
fn is_zero(block: &[u8]) -> bool {
    // In pieces that are surely taken as vectors.
    let (eights, rest) = block.as_chunks::<8>();
    eights.iter().fold(0, |all, raw| all | u64::from_ne_bytes(*raw)) == 0 && rest.iter().all(|byte| *byte == 0)
}

/// Counts into `counters`: [`COUNTERS_START`] of the front, then 2 to the power of `64 - shift`. Returns how many
/// zeros were skipped; they are counted nowhere yet.
#[inline(always)]
fn wide_body<const W: usize>(bytes: &[u8], front: &Front, shift: u32, counters: &mut [u32]) -> u64 {
    assert!(shift > 32 && counters.len() == COUNTERS_START + (1usize << (64 - shift)));
    let mut zeros = 0;
    for block in bytes.chunks(BLOCK * W) {
        if is_zero(block) {
            zeros += (block.len() / W) as u64;
            continue;
        }
        let (words, _) = block.as_chunks::<W>();
        for (at, raw) in words.iter().enumerate() {
            let word = load(raw);
            let product = word.wrapping_mul(front.multiplier);
            let slot = (product >> (64 - FRONT_BITS)) as usize;
            let hit = front.keys[slot] == word;
            let exact = slot * LANES + at % LANES;
            let hashed = COUNTERS_START + (product >> shift) as usize;
            let index = std::hint::select_unpredictable(hit, exact, hashed);
            // SAFETY: "in the table": `exact` is below COUNTERS_START since `slot` has FRONT_BITS bits, and `hashed`
            // is below COUNTERS_START + 2^(64 - shift); the assertion above says that the table has that many.
            let counter = unsafe { counters.get_unchecked_mut(index) };
            *counter = counter.wrapping_add(1);
        }
    }
    zeros
}

/// As [`wide_body`], with hashed counters of one byte that stay at 255.
#[inline(always)]
fn narrow_body<const W: usize>(bytes: &[u8], front: &Front, shift: u32, exact: &mut [u32], counters: &mut [u8]) -> u64 {
    assert!(shift > 32 && exact.len() == COUNTERS_START && counters.len() == 1usize << (64 - shift));
    let mut zeros = 0;
    let mut misses = [0u32; BLOCK * 8];
    for group in bytes.chunks(BLOCK * 8 * W) {
        let mut missed = 0;
        for block in group.chunks(BLOCK * W) {
            if is_zero(block) {
                zeros += (block.len() / W) as u64;
                continue;
            }
            let (words, _) = block.as_chunks::<W>();
            for (at, raw) in words.iter().enumerate() {
                let word = load(raw);
                let product = word.wrapping_mul(front.multiplier);
                let slot = (product >> (64 - FRONT_BITS)) as usize;
                let hit = front.keys[slot] == word;
                let lane = slot * LANES + at % LANES;
                // SAFETY: "in the table": as in `wide_body`; and at most BLOCK * 8 words are in a group.
                unsafe {
                    let counter = exact.get_unchecked_mut(lane);
                    *counter = counter.wrapping_add(u32::from(hit));
                    *misses.get_unchecked_mut(missed) = (product >> shift) as u32;
                }
                missed += usize::from(!hit);
            }
        }
        for index in &misses[..missed] {
            // SAFETY: "in the table": the index has 64 - `shift` bits, and the table 2 to that power.
            let counter = unsafe { counters.get_unchecked_mut(*index as usize) };
            *counter = counter.saturating_add(1);
        }
    }
    zeros
}

/// Collects the words that are not in the front, and whose bit in `bitmap` (one for each hashed counter) is set, into
/// `out`, which has room for all words. Returns how many.
#[inline(always)]
fn survivors_body<const W: usize>(bytes: &[u8], front: &Front, shift: u32, bitmap: &[u64], out: &mut [u64]) -> usize {
    assert!(shift > 32 && bitmap.len() * 64 >= 1usize << (64 - shift) && out.len() > bytes.len() / W);
    let mut found = 0;
    for block in bytes.chunks(BLOCK * W) {
        if is_zero(block) && front.keys[0] == 0 {
            continue;
        }
        let (words, _) = block.as_chunks::<W>();
        for raw in words {
            let word = load(raw);
            let product = word.wrapping_mul(front.multiplier);
            let slot = (product >> (64 - FRONT_BITS)) as usize;
            let bit = (product >> shift) as usize;
            // SAFETY: "in the table": `bit` is below 2^(64 - shift), the bits of the bitmap; `found` is at most the
            // number of words before this one, and `out` has more room than words.
            let survives = unsafe {
                *out.get_unchecked_mut(found) = word;
                bitmap.get_unchecked(bit / 64) >> (bit % 64) & 1
            };
            found += survives as usize & usize::from(front.keys[slot] != word);
        }
    }
    found
}

/// Collects the words from `low` to `high`, both inclusive, into `out`, which has room for all words.
#[inline(always)]
fn between_body<const W: usize, const SWAP: bool>(bytes: &[u8], low: u64, high: u64, out: &mut [u64]) -> usize {
    assert!(out.len() > bytes.len() / W);
    let span = high.wrapping_sub(low);
    let mut found = 0;
    for block in bytes.chunks(16 * W) {
        let (words, _) = block.as_chunks::<W>();
        let value = |raw: &[u8; W]| match (SWAP, W) {
            (false, _) => load(raw),
            (true, 4) => u64::from((load(raw) as u32).swap_bytes()),
            (true, _) => load(raw).swap_bytes(),
        };
        let any = words.iter().fold(false, |any, raw| any | (value(raw).wrapping_sub(low) <= span));
        if !any {
            continue;
        }
        for raw in words {
            let word = value(raw);
            // SAFETY: "in the table": `found` is at most the number of words before this one, and `out` has more room.
            unsafe { *out.get_unchecked_mut(found) = word };
            found += usize::from(word.wrapping_sub(low) <= span);
        }
    }
    found
}

/// Byte offsets of the words equal to `wanted` (raw), appended to `out`.
#[inline(always)]
fn matches_body<const W: usize>(bytes: &[u8], wanted: u64, out: &mut Vec<u32>) {
    for (number, block) in bytes.chunks(32 * W).enumerate() {
        let (words, _) = block.as_chunks::<W>();
        let any = words.iter().fold(false, |any, raw| any | (load(raw) == wanted));
        if any {
            let start = number * 32 * W;
            let hits = words.iter().enumerate().filter(|(_, raw)| load(raw) == wanted);
            out.extend(hits.map(|(at, _)| (start + at * W) as u32));
        }
    }
}

/// Compiles a body for each path and width, and dispatches.
macro_rules! paths {
    ($(#[$doc:meta])* $name:ident, $body:ident, ($($arg:ident: $type:ty),*) -> $result:ty) => {
        $(#[$doc])*
        pub(super) fn $name(isa: Isa, width: u64, $($arg: $type),*) -> $result {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx2,bmi1,bmi2,popcnt")]
                fn avx2<const W: usize>($($arg: $type),*) -> $result {
                    $body::<W>($($arg),*)
                }
                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,bmi1,bmi2,popcnt")]
                fn avx512<const W: usize>($($arg: $type),*) -> $result {
                    $body::<W>($($arg),*)
                }
                // SAFETY: "the processor has it": asked right here.
                match (isa, width) {
                    (Isa::Avx512, 4) if isa.is_available() => return unsafe { avx512::<4>($($arg),*) },
                    (Isa::Avx512, _) if isa.is_available() => return unsafe { avx512::<8>($($arg),*) },
                    (Isa::Avx2, 4) if isa.is_available() => return unsafe { avx2::<4>($($arg),*) },
                    (Isa::Avx2, _) if isa.is_available() => return unsafe { avx2::<8>($($arg),*) },
                    _ => {}
                }
            }
            let _ = isa;
            if width == 4 { $body::<4>($($arg),*) } else { $body::<8>($($arg),*) }
        }
    };
}

paths!(
    /// See [`wide_body`].
    count_wide, wide_body, (bytes: &[u8], front: &Front, shift: u32, counters: &mut [u32]) -> u64
);
paths!(
    /// See [`narrow_body`].
    count_narrow, narrow_body,
    (bytes: &[u8], front: &Front, shift: u32, exact: &mut [u32], counters: &mut [u8]) -> u64
);
paths!(
    /// See [`survivors_body`].
    find_survivors, survivors_body,
    (bytes: &[u8], front: &Front, shift: u32, bitmap: &[u64], out: &mut [u64]) -> usize
);
paths!(
    /// See [`matches_body`].
    find_matches, matches_body, (bytes: &[u8], wanted: u64, out: &mut Vec<u32>) -> ()
);

#[inline(always)]
fn between_plain<const W: usize>(bytes: &[u8], low: u64, high: u64, out: &mut [u64]) -> usize {
    between_body::<W, false>(bytes, low, high, out)
}

#[inline(always)]
fn between_swapped<const W: usize>(bytes: &[u8], low: u64, high: u64, out: &mut [u64]) -> usize {
    between_body::<W, true>(bytes, low, high, out)
}

paths!(
    /// See [`between_body`]: words in this machine's byte order.
    find_between, between_plain, (bytes: &[u8], low: u64, high: u64, out: &mut [u64]) -> usize
);
paths!(
    /// See [`between_body`]: words in the other byte order; what is collected is swapped.
    find_between_swapped, between_swapped, (bytes: &[u8], low: u64, high: u64, out: &mut [u64]) -> usize
);

/// Counts pairs of neighbouring words by their classes: one counter is touched for two words, and the sums over rows
/// and columns are the counts of the classes. Exact for the classes of the small front; an upper bound of each other
/// word. `table` has [`CLASSES`] squared counters. Takes blocks of 64 words and returns how many bytes it took, and how
/// many zeros it skipped. Only where [`Isa::Avx512`] is available; else it takes nothing.
pub(super) fn count_pairs(width: u64, bytes: &[u8], front: &SmallFront, table: &mut [u32]) -> (usize, u64) {
    #[cfg(target_arch = "x86_64")]
    if Isa::Avx512.is_available() {
        // SAFETY: "the processor has it": asked right here.
        return unsafe { if width == 4 { pairs::<4>(bytes, front, table) } else { pairs::<8>(bytes, front, table) } };
    }
    let _ = (width, bytes, front, table);
    (0, 0)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,bmi1,bmi2,popcnt")]
fn pairs<const W: usize>(bytes: &[u8], front: &SmallFront, table: &mut [u32]) -> (usize, u64) {
    use std::arch::x86_64::*;
    const GROUP: usize = 16;
    assert!(table.len() == CLASSES * CLASSES);
    // SAFETY: "eight at a time": each load takes 8 of the 64 keys.
    let keys: [__m512i; 8] =
        std::array::from_fn(|at| unsafe { _mm512_loadu_si512(front.keys[at * 8..].as_ptr().cast()) });
    let multiplier = _mm512_set1_epi64(front.multiplier as i64);
    let rest = _mm512_set1_epi64((CLASSES - SMALL_SLOTS) as i64);
    let small = _mm512_set1_epi64(SMALL_SLOTS as i64);
    let sixteen = _mm512_set1_epi64(16);
    let thirty_two = _mm512_set1_epi64(32);
    let mut zeros = 0;
    let mut classes = [0u64; GROUP * BLOCK / 8];
    let (blocks, _) = bytes.as_chunks::<8>();
    let blocks = blocks.chunks_exact(BLOCK * W / 8);
    let taken = blocks.len() * BLOCK * W;
    let mut filled = 0;
    for (number, block) in blocks.enumerate() {
        let start = number * BLOCK * W;
        let raw: [__m512i; BLOCK / 8] = std::array::from_fn(|at| {
            let from = start + at * 8 * W;
            debug_assert!(from + 8 * W <= bytes.len());
            // SAFETY: "inside the bytes": a block is BLOCK words from `start` on, and this loads 8 of them.
            unsafe {
                match W {
                    4 => _mm512_cvtepu32_epi64(_mm256_loadu_si256(bytes.as_ptr().add(from).cast())),
                    _ => _mm512_loadu_si512(bytes.as_ptr().add(from).cast()),
                }
            }
        });
        let any = raw.iter().fold(_mm512_setzero_si512(), |any, words| _mm512_or_si512(any, *words));
        if _mm512_test_epi64_mask(any, any) == 0 {
            zeros += (block.len() * 8 / W) as u64;
        } else {
            for words in raw {
                let product = _mm512_mullo_epi64(words, multiplier);
                let slot = _mm512_srli_epi64::<58>(product);
                let high = _mm512_test_epi64_mask(slot, thirty_two);
                let odd = _mm512_test_epi64_mask(slot, sixteen);
                let low_half = look_up(keys, slot, odd, 0);
                let high_half = look_up(keys, slot, odd, 4);
                let key = _mm512_mask_blend_epi64(high, low_half, high_half);
                let hit = _mm512_cmpeq_epi64_mask(key, words);
                // The upper half of the product, spread evenly over the classes that are left.
                let spread = _mm512_mul_epu32(_mm512_srli_epi64::<32>(product), rest);
                let hashed = _mm512_add_epi64(_mm512_srli_epi64::<32>(spread), small);
                let class = _mm512_mask_blend_epi64(hit, hashed, slot);
                let packed = _mm_cvtsi128_si64(_mm512_cvtepi64_epi8(class)) as u64;
                if let Some(place) = classes.get_mut(filled) {
                    *place = packed;
                }
                filled += 1;
            }
        }
        if filled == classes.len() || (number + 1) * BLOCK * W == taken {
            for packed in &classes[..filled] {
                for pair in 0..4 {
                    let index = (packed >> (pair * 16)) as u16;
                    let counter = &mut table[usize::from(index)];
                    *counter = counter.wrapping_add(1);
                }
            }
            filled = 0;
        }
    }
    (taken, zeros)
}

/// Looks `slot`'s low 4 bits up in two or four of the registers.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
#[inline]
fn look_up(
    keys: [std::arch::x86_64::__m512i; 8],
    slot: std::arch::x86_64::__m512i,
    odd: u8,
    from: usize,
) -> std::arch::x86_64::__m512i {
    use std::arch::x86_64::*;
    let even = _mm512_permutex2var_epi64(keys[from], slot, keys[from + 1]);
    let other = _mm512_permutex2var_epi64(keys[from + 2], slot, keys[from + 3]);
    _mm512_mask_blend_epi64(odd, even, other)
}
