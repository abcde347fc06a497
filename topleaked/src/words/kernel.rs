//! The loops over words: plain Rust that is compiled once for each path, and one loop by hand for AVX-512.
//!
//! Words are taken raw, as this machine loads them, zero-extended to 64 bits; other byte orders are sorted out
//! with the results.
#![allow(unsafe_code)]

use crate::task::{advise_large_pages, with_large_pages};

use super::Isa;

#[cfg(target_arch = "x86_64")]
mod avx512;

/// Slots of the front; 2 to the power of [`FRONT_BITS`]: as many words as fit eight registers of AVX-512.
pub(super) const FRONT_SLOTS: usize = 1 << FRONT_BITS;
pub(super) const FRONT_BITS: u32 = 6;
/// Counters of one slot: neighbouring words take turns, so that equal ones do not wait for one another.
pub(super) const LANES: usize = 8;
/// Where the hashed counters begin, behind those of the front.
pub(super) const COUNTERS_START: usize = FRONT_SLOTS * LANES;
/// A narrow counter has four bits, and stays here.
pub(super) const NARROW_MAX: u8 = 15;
/// Set in a hashed counter whose words are handed out, to be counted one by one.
pub(super) const WARM: u32 = 1 << 31;

/// The words that are counted one by one; each other word falls into a hashed counter.
#[derive(Clone)]
pub(super) struct Front {
    pub(super) multiplier: u64,
    /// A word lies in the slot that the highest bits of its product name. A free slot holds a word of another slot.
    pub(super) keys: [u64; FRONT_SLOTS],
}

impl Front {
    pub(super) fn slot(multiplier: u64, word: u64) -> usize {
        (word.wrapping_mul(multiplier) >> (64 - FRONT_BITS)) as usize
    }
}

/// Odd, with no pattern in its bits.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// A cheap bijection whose highest bits depend on all bits of the word, and on the process's key.
#[inline(always)]
fn spread(word: u64, key: u64) -> u64 {
    let word = word ^ key;
    (word ^ (word >> 32)).wrapping_mul(SPREAD)
}

/// The word that [`spread`] made into `spread`.
#[inline(always)]
pub(super) fn unspread(spread: u64) -> u64 {
    let folded = spread.wrapping_mul(const { super::table::inverse(SPREAD) });
    folded ^ (folded >> 32) ^ super::table::key()
}

/// A table of zeros, on large pages where the system has them: it is touched at random places, all of it.
pub(super) fn zeroed<T: Copy + Default>(size: usize) -> Vec<T> {
    let mut table: Vec<T> = with_large_pages(size);
    table.resize(size, T::default());
    table
}

/// As [`zeroed`], but what is never touched takes no memory.
pub(super) fn reserved(size: usize) -> Vec<u64> {
    let mut table = vec![0; size];
    advise_large_pages(&mut table);
    table
}

/// Asks for the first `size` of `words`, which are soon read.
#[inline(always)]
pub(super) fn prefetch(words: &[u64], size: usize) {
    #[cfg(target_arch = "x86_64")]
    for line in words.get(..size).unwrap_or(words).chunks(8) {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        // SAFETY: "inside the table": a prefetch reads nothing, and the line is there.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(line.as_ptr().cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (words, size);
}

/// Words per block: a block of zeros is skipped with one test.
const BLOCK: usize = 64;

#[inline(always)]
fn load<const W: usize>(raw: &[u8; W]) -> u64 {
    // Not by way of a slice's copy: that is not always inlined.
    match (raw.first_chunk::<8>(), raw.first_chunk::<4>()) {
        (Some(eight), _) => u64::from_ne_bytes(*eight),
        (None, Some(four)) => u32::from_ne_bytes(*four).into(),
        (None, None) => 0,
    }
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
    counted::<W, false>(bytes, front, shift, counters, &mut []).0
}

/// As [`wide_body`]; collects each word whose counter is [`WARM`] in `out`, which has room for all words, and
/// returns how many those are, too.
#[inline(always)]
fn warm_body<const W: usize>(
    bytes: &[u8],
    front: &Front,
    shift: u32,
    counters: &mut [u32],
    out: &mut [u64],
) -> (u64, usize) {
    counted::<W, true>(bytes, front, shift, counters, out)
}

#[inline(always)]
fn counted<const W: usize, const COLLECT: bool>(
    bytes: &[u8],
    front: &Front,
    shift: u32,
    counters: &mut [u32],
    out: &mut [u64],
) -> (u64, usize) {
    assert!(shift > 32 && counters.len() == COUNTERS_START + (1usize << (64 - shift)));
    assert!(!COLLECT || out.len() > bytes.len() / W);
    let mut zeros = 0;
    let mut found = 0;
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
            // `found` is at most the number of words before this one, and `out` has more room than words.
            unsafe {
                let counter = counters.get_unchecked_mut(index);
                *counter = counter.wrapping_add(1);
                if COLLECT {
                    let warm = (*counter >> 31) as usize;
                    *out.get_unchecked_mut(found) = word;
                    found += warm;
                }
            }
        }
    }
    (zeros, found)
}

/// As [`wide_body`], with two hashed counters in a byte, which stay at [`NARROW_MAX`].
#[inline(always)]
fn narrow_body<const W: usize>(bytes: &[u8], front: &Front, shift: u32, exact: &mut [u32], counters: &mut [u8]) -> u64 {
    assert!(shift > 32 && exact.len() == COUNTERS_START && counters.len() * 2 == 1usize << (64 - shift));
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
        count_narrowly(&misses[..missed], shift, counters);
    }
    zeros
}

/// Adds one to each of the narrow counters that `indices` name, below 2 to the power of `64 - shift`.
#[inline(always)]
fn count_narrowly(indices: &[u32], shift: u32, counters: &mut [u8]) {
    assert!(counters.len() * 2 == 1usize << (64 - shift));
    for index in indices {
        // SAFETY: "in the table": there are two counters a byte, 2 to the power of 64 - `shift` in all, and the index has
        // that many bits.
        let pair = unsafe { counters.get_unchecked_mut(*index as usize / 2) };
        let low = (index & 1) * 4;
        *pair += u8::from(*pair >> low & 15 < NARROW_MAX) << low;
    }
}

/// Which hashed counters are high enough: a bit for each, and a bit for each of the runs of counters whose highest bits
/// are equal, set where one of theirs is. The runs' bits are few enough for a near cache, and most words end there.
pub(super) struct Filter {
    /// 2 to the power of `64 - shift` bits.
    pub(super) bits: Vec<u64>,
    pub(super) shift: u32,
    /// 2 to the power of `64 - run_shift` bits.
    pub(super) runs: Vec<u32>,
    pub(super) run_shift: u32,
}

impl Filter {
    /// 2 to this power of bits for the runs, at most.
    const RUN_BITS: u32 = 20;

    pub(super) fn new(bits: Vec<u64>, shift: u32) -> Filter {
        let run_shift = shift.max(64 - Filter::RUN_BITS);
        let run = 1usize << (run_shift - shift);
        let mut runs = vec![0u32; (1usize << (64 - run_shift)).div_ceil(32)];
        for (at, eight) in bits.iter().enumerate().filter(|(_, bits)| **bits != 0) {
            for bit in (0..64).filter(|bit| eight >> bit & 1 != 0) {
                let of = (at * 64 + bit) / run;
                if let Some(word) = runs.get_mut(of / 32) {
                    *word |= 1 << (of % 32);
                }
            }
        }
        Filter { bits, shift, runs, run_shift }
    }

    /// Bytes that it takes.
    pub(super) fn bytes(&self) -> u64 {
        (self.bits.len() * 8 + self.runs.len() * 4) as u64
    }

    fn has_all_bits(&self) -> bool {
        let enough = |bits: usize, shift: u32| shift > 32 && shift < 64 && bits >= 1usize << (64 - shift);
        enough(self.bits.len() * 64, self.shift) && enough(self.runs.len() * 32, self.run_shift)
    }
}

/// Collects the words that are not in the front, and whose bit in the filter is set, into `out`, which has room for all
/// words. Returns how many.
#[inline(always)]
fn survivors_body<const W: usize>(bytes: &[u8], front: &Front, filter: &Filter, out: &mut [u64]) -> usize {
    assert!(filter.has_all_bits() && out.len() > bytes.len() / W);
    let mut found = 0;
    for block in bytes.chunks(BLOCK * W) {
        if is_zero(block) && front.keys[0] == 0 {
            continue;
        }
        let (words, _) = block.as_chunks::<W>();
        let start = found;
        for raw in words {
            let word = load(raw);
            let product = word.wrapping_mul(front.multiplier);
            let slot = (product >> (64 - FRONT_BITS)) as usize;
            let run = (product >> filter.run_shift) as usize;
            // SAFETY: "in the table": `run` is below 2^(64 - run_shift), which is how many bits there are, as asserted;
            // `found` is at most the number of words before this one, and `out` has more room than words.
            let survives = unsafe {
                *out.get_unchecked_mut(found) = word;
                filter.runs.get_unchecked(run / 32) >> (run % 32) & 1
            };
            found += survives as usize & usize::from(front.keys[slot] != word);
        }
        let kept = select_bits(&mut out[start..found], front, filter);
        found = start + kept;
    }
    found
}

/// Puts in the place of `words` those whose own bit is set; returns how many.
#[inline(always)]
fn select_bits(words: &mut [u64], front: &Front, filter: &Filter) -> usize {
    assert!(filter.has_all_bits());
    let mut kept = 0;
    for at in 0..words.len() {
        let word = words[at];
        let bit = (word.wrapping_mul(front.multiplier) >> filter.shift) as usize;
        words[kept] = word;
        // SAFETY: "in the table": `bit` is below 2^(64 - shift), which is how many bits there are, as asserted.
        kept += unsafe { filter.bits.get_unchecked(bit / 64) >> (bit % 64) & 1 } as usize;
    }
    kept
}

/// Collects the words that are not in the front.
#[inline(always)]
fn others_body<const W: usize>(bytes: &[u8], front: &Front, out: &mut [u64]) -> usize {
    assert!(out.len() > bytes.len() / W);
    let mut found = 0;
    for block in bytes.chunks(BLOCK * W) {
        if is_zero(block) && front.keys[0] == 0 {
            continue;
        }
        let (words, _) = block.as_chunks::<W>();
        for raw in words {
            let word = load(raw);
            let slot = Front::slot(front.multiplier, word);
            // SAFETY: "in the table": `found` is at most the number of words before this one, and `out` has more room.
            unsafe { *out.get_unchecked_mut(found) = word };
            found += usize::from(front.keys[slot] != word);
        }
    }
    found
}

/// Puts in the place of `words` those that lie, [`spread`], from `low` to `high`, both inclusive; returns how many.
#[inline(always)]
fn spread_body<const W: usize>(words: &mut [u64], low: u64, high: u64) -> usize {
    let span = high.wrapping_sub(low);
    let key = super::table::key();
    let mut found = 0;
    for at in 0..words.len() {
        let spread = spread(words[at], key);
        words[found] = spread;
        found += usize::from(spread.wrapping_sub(low) <= span);
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
    for (number, block) in bytes.chunks(BLOCK * W).enumerate() {
        let (words, _) = block.as_chunks::<W>();
        // In pieces that are surely taken as vectors.
        let (eights, rest) = words.as_chunks::<8>();
        let mut hits = 0u64;
        for (at, eight) in eights.iter().enumerate() {
            let mut byte = 0u8;
            for (bit, raw) in eight.iter().enumerate() {
                byte |= u8::from(load(raw) == wanted) << bit;
            }
            hits |= u64::from(byte) << (8 * at);
        }
        for (bit, raw) in rest.iter().enumerate() {
            hits |= u64::from(load(raw) == wanted) << (8 * eights.len() + bit);
        }
        push_hits::<W>(hits, number * BLOCK * W, out);
    }
}

/// The byte offsets of the words of a block whose bits are set.
#[inline(always)]
fn push_hits<const W: usize>(mut hits: u64, start: usize, out: &mut Vec<u32>) {
    while hits != 0 {
        out.push((start + hits.trailing_zeros() as usize * W) as u32);
        hits &= hits - 1;
    }
}

/// Compiles a body for each path and width, and dispatches. For AVX-512 a body by hand may be named.
macro_rules! paths {
    ($(#[$doc:meta])* $name:ident, $body:ident, $($by_hand:ident)::+, ($($arg:ident: $type:ty),*) -> $result:ty) => {
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
                    $($by_hand)::+::<W>($($arg),*)
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
    count_wide, wide_body, avx512::wide, (bytes: &[u8], front: &Front, shift: u32, counters: &mut [u32]) -> u64
);
paths!(
    /// See [`warm_body`].
    count_warm, warm_body, avx512::warm,
    (bytes: &[u8], front: &Front, shift: u32, counters: &mut [u32], out: &mut [u64]) -> (u64, usize)
);
paths!(
    /// See [`narrow_body`].
    count_narrow, narrow_body, avx512::narrow,
    (bytes: &[u8], front: &Front, shift: u32, exact: &mut [u32], counters: &mut [u8]) -> u64
);
paths!(
    /// See [`survivors_body`].
    find_survivors, survivors_body, avx512::survivors,
    (bytes: &[u8], front: &Front, filter: &Filter, out: &mut [u64]) -> usize
);
paths!(
    /// See [`others_body`].
    find_others, others_body, avx512::others, (bytes: &[u8], front: &Front, out: &mut [u64]) -> usize
);
paths!(
    /// See [`spread_body`]; `width` does not matter.
    select_spread, spread_body, avx512::select_spread, (words: &mut [u64], low: u64, high: u64) -> usize
);
paths!(
    /// See [`matches_body`].
    find_matches, matches_body, avx512::matches, (bytes: &[u8], wanted: u64, out: &mut Vec<u32>) -> ()
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
    find_between, between_plain, avx512::between,
    (bytes: &[u8], low: u64, high: u64, out: &mut [u64]) -> usize
);
paths!(
    /// See [`between_body`]: words in the other byte order; what is collected is swapped.
    find_between_swapped, between_swapped, between_swapped,
    (bytes: &[u8], low: u64, high: u64, out: &mut [u64]) -> usize
);
