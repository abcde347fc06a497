//! A look at few of the words, which decides how the rest are counted: the speed, never the answer.

use super::Error;
use super::kernel::{FRONT_SLOTS, Front};
use super::source::Parts;

/// Words that are read at one place.
const PLACE_WORDS: u64 = 64;

/// Words that the front is made for. The coldest of them may find no slot of their own.
pub(super) const FRONT_WORDS: usize = 48;

/// What was seen.
pub(super) struct Sample {
    /// The raw words that were seen at least twice, most frequent first, with how often.
    pub(super) repeated: Vec<(u64, u32)>,
    /// How many words were looked at.
    pub(super) words: u64,
    /// How many words there are for each that was looked at.
    pub(super) ratio: f64,
}

impl Sample {
    /// Reads some `wanted` words at places spread over all parts.
    pub(super) fn take(parts: Parts<'_>, width: u64, wanted: u64) -> Result<Sample, Error> {
        let total = parts.total_words(width, false);
        let places = (wanted / PLACE_WORDS).clamp(1, (total / PLACE_WORDS).max(1));
        let stride = (total / places).max(1);
        let mut seen = Vec::with_capacity((places * PLACE_WORDS) as usize);
        let mut bytes = [0; (PLACE_WORDS * 8) as usize];
        let mut part = 0;
        let mut part_start = 0;
        let mut jitter = 0x2545_f491_4f6c_dd1du64;
        for place in 0..places {
            jitter ^= jitter << 13;
            jitter ^= jitter >> 7;
            jitter ^= jitter << 17;
            let at = place * stride + jitter % stride.saturating_sub(PLACE_WORDS).max(1);
            while part < parts.len() && at >= part_start + parts.size_bytes(part) / width {
                part_start += parts.size_bytes(part) / width;
                part += 1;
            }
            let words = (parts.size_bytes(part) / width).saturating_sub(at - part_start).min(PLACE_WORDS);
            let Some(room) = bytes.get_mut(..(words * width) as usize) else { continue };
            parts.read(part, (at - part_start) * width, room)?;
            if width == 4 {
                seen.extend(room.as_chunks::<4>().0.iter().map(|raw| u64::from(u32::from_ne_bytes(*raw))));
            } else {
                seen.extend(room.as_chunks::<8>().0.iter().map(|raw| u64::from_ne_bytes(*raw)));
            }
        }
        Ok(Sample::of(seen, total))
    }

    /// Of `seen`, which stand for `total` words.
    pub(super) fn of(mut seen: Vec<u64>, total: u64) -> Sample {
        seen.sort_unstable();
        let runs = seen.chunk_by(|a, b| a == b).filter(|run| run.len() > 1);
        let mut repeated: Vec<(u64, u32)> =
            runs.filter_map(|run| Some((*run.first()?, u32::try_from(run.len()).unwrap_or(u32::MAX)))).collect();
        repeated.sort_unstable_by_key(|(word, count)| (u32::MAX - count, *word));
        let words = seen.len() as u64;
        Sample { repeated, words, ratio: total as f64 / words.max(1) as f64 }
    }

    /// About how many words there are in all.
    pub(super) fn total(&self) -> u64 {
        (self.words as f64 * self.ratio) as u64
    }

    /// How often the `n`-th most frequent word (from 1) was seen; 1 or 0 where it was not seen twice.
    pub(super) fn nth(&self, n: u64) -> u32 {
        let at = usize::try_from(n).unwrap_or(usize::MAX).saturating_sub(1);
        self.repeated.get(at).map_or(1, |(_, count)| *count)
    }

    /// How many of the sample's words are among its `n` most frequent.
    pub(super) fn mass(&self, n: usize) -> u64 {
        self.repeated.iter().take(n).map(|(_, count)| u64::from(*count)).sum()
    }

    /// A front for the most frequent words; 0 is always in it.
    pub(super) fn front(&self) -> Front {
        let wanted = self.repeated.get(..self.repeated.len().min(FRONT_WORDS)).unwrap_or_default();
        let (multiplier, keys) = place(wanted, FRONT_SLOTS, 4000, Front::slot);
        let mut front = Front { multiplier, keys: [0; FRONT_SLOTS] };
        front.keys.iter_mut().zip(keys).for_each(|(slot, key)| *slot = key);
        front
    }
}

/// Tries multipliers until the hottest words lie in slots of their own; those that still collide are left out.
/// A free slot holds 0, whose own slot is the first.
fn place(wanted: &[(u64, u32)], slots: usize, tries: u32, slot: fn(u64, u64) -> usize) -> (u64, Vec<u64>) {
    let mut multiplier = 0x9e37_79b9_7f4a_7c15u64;
    let mut best = (u64::MAX, multiplier);
    let mut taken = vec![0u32; slots];
    for attempt in 1..=tries {
        // The cost of a collision is how hot the hottest word is that it leaves out.
        let mut lost = 0;
        let mut first_lost = 0;
        if let Some(first) = taken.first_mut() {
            *first = attempt;
        }
        for (word, count) in wanted.iter().filter(|(word, _)| *word != 0) {
            match taken.get_mut(slot(multiplier, *word)) {
                Some(mark) if *mark != attempt => *mark = attempt,
                _ => {
                    lost += u64::from(*count);
                    first_lost = first_lost.max(u64::from(*count));
                }
            }
        }
        let cost = first_lost << 32 | lost.min(u32::MAX.into());
        if cost < best.0 {
            best = (cost, multiplier);
        }
        if cost == 0 {
            break;
        }
        multiplier = super::table::mix(multiplier.wrapping_add(u64::from(attempt))) | 1;
    }
    let multiplier = best.1;
    let mut keys = vec![0; slots];
    for (word, _) in wanted {
        match keys.get_mut(slot(multiplier, *word)) {
            // The first slot is taken by 0.
            Some(key) if *key == 0 && slot(multiplier, *word) != 0 => *key = *word,
            _ => {}
        }
    }
    (multiplier, keys)
}
