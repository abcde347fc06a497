//! The bodies by hand for AVX-512: the front lies in eight registers, and eight words are looked up at once. What is
//! left over at the end of the bytes goes to the plain bodies.

use std::arch::x86_64::*;

use super::{BLOCK, COUNTERS_START, FRONT_BITS, FRONT_SLOTS, Filter, Front, LANES};

/// The front in registers.
struct Registers {
    keys: [__m512i; FRONT_SLOTS / 8],
    multiplier: __m512i,
    shift: __m128i,
}

/// What eight words are.
struct Looked {
    /// Which of them are in the front.
    hits: __mmask8,
    slots: __m512i,
    /// The indices of their hashed counters.
    hashed: __m512i,
}

impl Registers {
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,bmi1,bmi2,popcnt")]
    #[inline]
    fn new(front: &Front, shift: u32) -> Registers {
        let (eights, _) = front.keys.as_chunks::<8>();
        Registers {
            // SAFETY: "eight at a time": each load takes 8 of the 64 keys.
            keys: std::array::from_fn(|at| unsafe { _mm512_loadu_si512(eights[at].as_ptr().cast()) }),
            multiplier: _mm512_set1_epi64(front.multiplier as i64),
            shift: _mm_cvtsi32_si128(shift as i32),
        }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,bmi1,bmi2,popcnt")]
    #[inline]
    fn look_up(&self, words: __m512i) -> Looked {
        let keys = &self.keys;
        let product = _mm512_mullo_epi64(words, self.multiplier);
        let slots = _mm512_srli_epi64::<{ 64 - FRONT_BITS }>(product);
        // The permutations look at the low 4 bits of a slot; the other 2 choose among 4 pairs of registers.
        let odd = _mm512_test_epi64_mask(slots, _mm512_set1_epi64(16));
        let high = _mm512_test_epi64_mask(slots, _mm512_set1_epi64(32));
        let first = _mm512_permutex2var_epi64(keys[0], slots, keys[1]);
        let second = _mm512_permutex2var_epi64(keys[2], slots, keys[3]);
        let third = _mm512_permutex2var_epi64(keys[4], slots, keys[5]);
        let fourth = _mm512_permutex2var_epi64(keys[6], slots, keys[7]);
        let low_half = _mm512_mask_blend_epi64(odd, first, second);
        let high_half = _mm512_mask_blend_epi64(odd, third, fourth);
        let key = _mm512_mask_blend_epi64(high, low_half, high_half);
        let hits = _mm512_cmpeq_epi64_mask(key, words);
        Looked { hits, slots, hashed: _mm512_srl_epi64(product, self.shift) }
    }
}

/// Eight words from `from` on, zero-extended.
///
/// # Safety
/// Eight words of `W` bytes can be read there.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,bmi1,bmi2,popcnt")]
#[inline]
unsafe fn load_eight<const W: usize>(from: *const u8) -> __m512i {
    // SAFETY: "eight at a time": the caller says so.
    unsafe {
        match W {
            4 => _mm512_cvtepu32_epi64(_mm256_loadu_si256(from.cast())),
            _ => _mm512_loadu_si512(from.cast()),
        }
    }
}

/// Eight words of a block, from the `at`-th eight on.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,bmi1,bmi2,popcnt")]
#[inline]
fn eight_of<const W: usize>(block: &[u8], at: usize) -> __m512i {
    assert!(block.len() >= (at + 1) * 8 * W);
    // SAFETY: "inside the bytes": as just asserted.
    unsafe { load_eight::<W>(block.as_ptr().add(at * 8 * W)) }
}

/// Whether a block is all zeros. Its words are loaded again where they are looked at: keeping them costs more.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,bmi1,bmi2,popcnt")]
#[inline]
fn is_zero(block: &[u8]) -> bool {
    let mut any = _mm512_setzero_si512();
    for run in block.chunks_exact(64) {
        // SAFETY: "eight at a time": as long as what is loaded.
        any = _mm512_or_si512(any, unsafe { _mm512_loadu_si512(run.as_ptr().cast()) });
    }
    _mm512_test_epi64_mask(any, any) == 0
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,bmi1,bmi2,popcnt")]
#[inline]
fn lanes() -> __m512i {
    _mm512_setr_epi64(0, 1, 2, 3, 4, 5, 6, 7)
}

/// See [`super::wide_body`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,bmi1,bmi2,popcnt")]
#[inline]
pub(super) fn wide<const W: usize>(bytes: &[u8], front: &Front, shift: u32, counters: &mut [u32]) -> u64 {
    counted::<W, false>(bytes, front, shift, counters, &mut []).0
}

/// See [`super::warm_body`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,bmi1,bmi2,popcnt")]
#[inline]
pub(super) fn warm<const W: usize>(
    bytes: &[u8],
    front: &Front,
    shift: u32,
    counters: &mut [u32],
    out: &mut [u64],
) -> (u64, usize) {
    counted::<W, true>(bytes, front, shift, counters, out)
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,bmi1,bmi2,popcnt")]
#[inline]
fn counted<const W: usize, const COLLECT: bool>(
    bytes: &[u8],
    front: &Front,
    shift: u32,
    counters: &mut [u32],
    out: &mut [u64],
) -> (u64, usize) {
    assert!(shift > 32 && shift < 64 && counters.len() == COUNTERS_START + (1usize << (64 - shift)));
    assert!(!COLLECT || out.len() > bytes.len() / W);
    const { assert!(LANES == 8) };
    let registers = Registers::new(front, shift);
    let base = _mm512_set1_epi64(COUNTERS_START as i64);
    let (mut zeros, mut found) = (0, 0);
    let mut indices = [0u32; BLOCK];
    let blocks = bytes.chunks_exact(BLOCK * W);
    let rest = blocks.remainder();
    for block in blocks {
        if is_zero(block) {
            zeros += BLOCK as u64;
            continue;
        }
        for (at, eight) in indices.as_chunks_mut::<8>().0.iter_mut().enumerate() {
            let looked = registers.look_up(eight_of::<W>(block, at));
            let exact = _mm512_add_epi64(_mm512_slli_epi64::<3>(looked.slots), lanes());
            let hashed = _mm512_add_epi64(looked.hashed, base);
            let index = _mm512_mask_blend_epi64(looked.hits, hashed, exact);
            // SAFETY: "eight at a time": `eight` is as long as what is stored.
            unsafe { _mm256_storeu_si256(eight.as_mut_ptr().cast(), _mm512_cvtepi64_epi32(index)) };
        }
        let mut hot = 0u64;
        for (at, index) in indices.iter().enumerate() {
            // SAFETY: "in the table": an exact index is below COUNTERS_START since a slot has FRONT_BITS bits, and a
            // hashed one below COUNTERS_START + 2^(64 - shift), which is how many counters there are, as asserted.
            unsafe {
                let counter = counters.get_unchecked_mut(*index as usize);
                *counter = counter.wrapping_add(1);
                if COLLECT {
                    hot |= u64::from(*counter >> 31) << at;
                }
            }
        }
        if COLLECT {
            while hot != 0 {
                let at = hot.trailing_zeros() as usize;
                hot &= hot - 1;
                // SAFETY: "in the table": `found` is at most the number of words before this one, and `out` has more room
                // than words; the word lies in the block, which has BLOCK of them.
                unsafe {
                    *out.get_unchecked_mut(found) = super::load(&*block.as_ptr().add(at * W).cast::<[u8; W]>());
                }
                found += 1;
            }
        }
    }
    let out = out.get_mut(found..).unwrap_or_default();
    let (more_zeros, more) = super::counted::<W, COLLECT>(rest, front, shift, counters, out);
    (zeros + more_zeros, found + more)
}

/// Blocks whose hashed counters are touched at once, long after they were asked for.
const GROUP: usize = 8;

/// See [`super::narrow_body`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,bmi1,bmi2,popcnt")]
#[inline]
pub(super) fn narrow<const W: usize>(
    bytes: &[u8],
    front: &Front,
    shift: u32,
    exact: &mut [u32],
    counters: &mut [u8],
) -> u64 {
    assert!(shift > 32 && shift < 64 && exact.len() == COUNTERS_START);
    assert!(counters.len() * 2 == 1usize << (64 - shift));
    let registers = Registers::new(front, shift);
    let mut zeros = 0;
    // Misses go to lanes of their own behind the front's, which nobody reads.
    let mut sums = [0u32; COUNTERS_START + LANES];
    let aside = _mm512_set1_epi64(COUNTERS_START as i64);
    let mut misses = [0u32; BLOCK * GROUP + 8];
    let groups = bytes.chunks(BLOCK * GROUP * W);
    for group in groups {
        let mut missed = 0usize;
        let blocks = group.chunks_exact(BLOCK * W);
        let rest = blocks.remainder();
        for block in blocks {
            if is_zero(block) {
                zeros += BLOCK as u64;
                continue;
            }
            let mut indices = [0u16; BLOCK];
            for (at, eight) in indices.as_chunks_mut::<8>().0.iter_mut().enumerate() {
                let looked = registers.look_up(eight_of::<W>(block, at));
                let slot = _mm512_slli_epi64::<3>(looked.slots);
                let index = _mm512_add_epi64(_mm512_mask_blend_epi64(looked.hits, aside, slot), lanes());
                let hashed = _mm512_cvtepi64_epi32(_mm512_maskz_compress_epi64(!looked.hits, looked.hashed));
                // SAFETY: "eight at a time": `eight` is as long as what is stored; `missed` grows by at most 8 for
                // each of the BLOCK * GROUP / 8 rounds, and 8 more fit.
                unsafe {
                    _mm_storeu_si128(eight.as_mut_ptr().cast(), _mm512_cvtepi64_epi16(index));
                    _mm256_storeu_si256(misses.as_mut_ptr().add(missed).cast(), hashed);
                }
                missed += (!looked.hits).count_ones() as usize;
            }
            for index in indices {
                // SAFETY: "in the table": a slot has FRONT_BITS bits, and what is aside has LANES more.
                let counter = unsafe { sums.get_unchecked_mut(usize::from(index)) };
                *counter += 1;
            }
        }
        let misses = misses.get(..missed).unwrap_or_default();
        for index in misses {
            _mm_prefetch::<_MM_HINT_T0>(counters.as_ptr().wrapping_add(*index as usize / 2).cast());
        }
        super::count_narrowly(misses, shift, counters);
        zeros += super::narrow_body::<W>(rest, front, shift, exact, counters);
    }
    exact.iter_mut().zip(sums).for_each(|(to, from)| *to = to.wrapping_add(from));
    zeros
}

/// See [`super::survivors_body`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,bmi1,bmi2,popcnt")]
#[inline]
pub(super) fn survivors<const W: usize>(bytes: &[u8], front: &Front, filter: &Filter, out: &mut [u64]) -> usize {
    assert!(filter.has_all_bits() && out.len() > bytes.len() / W);
    let registers = Registers::new(front, filter.run_shift);
    let mut found = 0;
    let mut kept = [0u64; BLOCK * GROUP + 8];
    for group in bytes.chunks(BLOCK * GROUP * W) {
        let mut left = 0usize;
        let blocks = group.chunks_exact(BLOCK * W);
        let rest = blocks.remainder();
        for block in blocks {
            if front.keys[0] == 0 && is_zero(block) {
                continue;
            }
            for at in 0..BLOCK / 8 {
                let words = eight_of::<W>(block, at);
                let looked = registers.look_up(words);
                let run = _mm512_cvtepi64_epi32(looked.hashed);
                // SAFETY: "in the table": a run is below 2^(64 - run_shift), which is how many bits there are, as
                // asserted, and they lie in groups of 32. "eight at a time": `left` grows by at most 8 for each of the
                // BLOCK * GROUP / 8 rounds, and 8 more fit.
                unsafe {
                    let group = _mm256_srli_epi32::<5>(run);
                    let bits = _mm256_i32gather_epi32::<4>(filter.runs.as_ptr().cast(), group);
                    let bit = _mm256_sllv_epi32(_mm256_set1_epi32(1), _mm256_and_si256(run, _mm256_set1_epi32(31)));
                    let survive = _mm256_test_epi32_mask(bits, bit) & !looked.hits;
                    _mm512_storeu_si512(
                        kept.as_mut_ptr().add(left).cast(),
                        _mm512_maskz_compress_epi64(survive, words),
                    );
                    left += survive.count_ones() as usize;
                }
            }
        }
        let kept = kept.get_mut(..left).unwrap_or_default();
        for word in kept.iter() {
            let bit = (word.wrapping_mul(front.multiplier) >> filter.shift) as usize;
            _mm_prefetch::<_MM_HINT_T0>(filter.bits.as_ptr().wrapping_add(bit / 64).cast());
        }
        let more = super::select_bits(kept, front, filter);
        let room = out.get_mut(found..).unwrap_or_default();
        room.iter_mut().zip(kept).take(more).for_each(|(to, from)| *to = *from);
        found += more;
        let room = out.get_mut(found..).unwrap_or_default();
        found += super::survivors_body::<W>(rest, front, filter, room);
    }
    found
}

/// See [`super::matches_body`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,bmi1,bmi2,popcnt")]
#[inline]
pub(super) fn matches<const W: usize>(bytes: &[u8], wanted: u64, out: &mut Vec<u32>) {
    let key = _mm512_set1_epi64(wanted as i64);
    let blocks = bytes.chunks_exact(BLOCK * W);
    let rest = blocks.remainder();
    for (number, block) in blocks.enumerate() {
        let [a, b, c, d, e, f, g, h]: [__mmask8; 8] = {
            let mut masks = [0; BLOCK / 8];
            for (at, mask) in masks.iter_mut().enumerate() {
                *mask = _mm512_cmpeq_epi64_mask(eight_of::<W>(block, at), key);
            }
            masks
        };
        // Joined as masks: as bytes they would be put together one by one.
        let low =
            _mm512_kunpackw(_mm512_kunpackb(d.into(), c.into()).into(), _mm512_kunpackb(b.into(), a.into()).into());
        let high =
            _mm512_kunpackw(_mm512_kunpackb(h.into(), g.into()).into(), _mm512_kunpackb(f.into(), e.into()).into());
        super::push_hits::<W>(_mm512_kunpackd(high.into(), low.into()), number * BLOCK * W, out);
    }
    let done = bytes.len() - rest.len();
    let before = out.len();
    super::matches_body::<W>(rest, wanted, out);
    out.iter_mut().skip(before).for_each(|position| *position += done as u32);
}

/// See [`super::between_body`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,bmi1,bmi2,popcnt")]
#[inline]
pub(super) fn between<const W: usize>(bytes: &[u8], low: u64, high: u64, out: &mut [u64]) -> usize {
    assert!(out.len() > bytes.len() / W);
    let mut found = 0;
    let span = _mm512_set1_epi64(high.wrapping_sub(low) as i64);
    let start = _mm512_set1_epi64(low as i64);
    let blocks = bytes.chunks_exact(BLOCK * W);
    let rest = blocks.remainder();
    for block in blocks {
        let room = out.get_mut(found..).unwrap_or_default();
        if room.len() < BLOCK + 8 {
            // The last eight would be stored beyond the end.
            let mut kept = [0; BLOCK + 8];
            let more = super::between_body::<W, false>(block, low, high, &mut kept);
            room.iter_mut().zip(kept).take(more).for_each(|(to, from)| *to = from);
            found += more;
            continue;
        }
        let mut more = 0;
        for at in 0..BLOCK / 8 {
            let words = eight_of::<W>(block, at);
            let inside = _mm512_cmple_epu64_mask(_mm512_sub_epi64(words, start), span);
            // SAFETY: "in the table": at most BLOCK words go before the last eight, and there is room for 8 more.
            unsafe {
                let kept = _mm512_maskz_compress_epi64(inside, words);
                _mm512_storeu_si512(room.as_mut_ptr().add(more).cast(), kept);
            }
            more += inside.count_ones() as usize;
        }
        found += more;
    }
    let room = out.get_mut(found..).unwrap_or_default();
    found + super::between_body::<W, false>(rest, low, high, room)
}

/// See [`super::others_body`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,bmi1,bmi2,popcnt")]
#[inline]
pub(super) fn others<const W: usize>(bytes: &[u8], front: &Front, out: &mut [u64]) -> usize {
    assert!(out.len() > bytes.len() / W);
    let registers = Registers::new(front, 63);
    let mut found = 0;
    let blocks = bytes.chunks_exact(BLOCK * W);
    let rest = blocks.remainder();
    for block in blocks {
        if front.keys[0] == 0 && is_zero(block) {
            continue;
        }
        let room = out.get_mut(found..).unwrap_or_default();
        if room.len() < BLOCK + 8 {
            // The last eight would be stored beyond the end.
            let mut kept = [0; BLOCK + 8];
            let more = super::others_body::<W>(block, front, &mut kept);
            room.iter_mut().zip(kept).take(more).for_each(|(to, from)| *to = from);
            found += more;
            continue;
        }
        let mut more = 0;
        for at in 0..BLOCK / 8 {
            let words = eight_of::<W>(block, at);
            let missed = !registers.look_up(words).hits;
            // SAFETY: "in the table": at most BLOCK words go before the last eight, and there is room for 8 more.
            unsafe {
                let kept = _mm512_maskz_compress_epi64(missed, words);
                _mm512_storeu_si512(room.as_mut_ptr().add(more).cast(), kept);
            }
            more += missed.count_ones() as usize;
        }
        found += more;
    }
    let room = out.get_mut(found..).unwrap_or_default();
    found + super::others_body::<W>(rest, front, room)
}

/// See [`super::spread_body`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,bmi1,bmi2,popcnt")]
#[inline]
pub(super) fn select_spread<const W: usize>(words: &mut [u64], low: u64, high: u64) -> usize {
    let factor = _mm512_set1_epi64(super::SPREAD as i64);
    let span = _mm512_set1_epi64(high.wrapping_sub(low) as i64);
    let start = _mm512_set1_epi64(low as i64);
    let key = _mm512_set1_epi64(super::super::table::key() as i64);
    let eights = words.len() / 8;
    let mut found = 0;
    for eight in 0..eights {
        // SAFETY: "eight at a time": words 8 * eight to 8 * eight + 7 are there. What is stored begins at `found`, which
        // is at most 8 * eight: it ends where what was just loaded does, or before, and overwrites nothing to come.
        unsafe {
            let word = _mm512_xor_si512(_mm512_loadu_si512(words.as_ptr().add(eight * 8).cast()), key);
            let folded = _mm512_xor_si512(word, _mm512_srli_epi64::<32>(word));
            let spread = _mm512_mullo_epi64(folded, factor);
            let inside = _mm512_cmple_epu64_mask(_mm512_sub_epi64(spread, start), span);
            let kept = _mm512_maskz_compress_epi64(inside, spread);
            _mm512_storeu_si512(words.as_mut_ptr().add(found).cast(), kept);
            found += inside.count_ones() as usize;
        }
    }
    let mut rest = [0; 8];
    let rest = rest.get_mut(..words.len() - eights * 8).unwrap_or_default();
    rest.copy_from_slice(words.get(eights * 8..).unwrap_or_default());
    let more = super::spread_body::<W>(rest, low, high);
    words.iter_mut().skip(found).zip(rest).take(more).for_each(|(to, from)| *to = *from);
    found + more
}
