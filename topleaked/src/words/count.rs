//! The most frequent words: which way they are counted.
//!
//! A sample names the hottest words. They are counted one by one (the *front*); every other word falls into a hashed
//! counter, which is an upper bound for each of its words. Where the n-th count of the front is greater than every
//! bound, that is the answer, after one pass. Else the words whose bound is high enough (the *survivors*) are counted
//! exactly in another pass; where too many survive, they are partitioned, in as many passes as the budget asks.

use std::sync::Mutex;

use crate::addr::{Addr, ByteOrder, Span, Target, Width};
use crate::task::Task;

use super::aside::{Aside, Gather};
use super::kernel;
use super::pass::{self, BUCKET_LIMIT, Bounds, Few, Hashed, Summed, Survive, Survivors, Warm};
use super::radix::{Floor, Partitions, Pool, count_pools};
use super::sample::{FRONT_WORDS, Sample};
use super::search::Find;
use super::source::{Parts, Place, Sink, UNIT_BYTES, Walk};
use super::stream::count_stream;
use super::table::{Range, Table};
use super::top::Top;
use super::{Cost, Count, Counts, Error, Isa, Keep, Means, Question, Source, Tail};

/// The most frequent words of a source, exactly.
///
/// Memory stays within the task's budget: what does not fit is settled in further passes; of a stream that can be read
/// only once, the words that may matter later go to a temporary file where they do not fit. Progress is in bytes.
///
/// # Errors
/// [`Error`]; there are no counts that are only nearly right.
pub fn count_words(source: Source<'_>, question: &Question<'_>, task: &Task) -> Result<Counts, Error> {
    let means = Means::of(task, question.n)?;
    match source {
        Source::Extents(extents) => count_parts(Parts::Extents(extents), question, means, task),
        Source::Slices(slices) => count_parts(Parts::Slices(slices), question, means, task),
        Source::Mapped(extents) => count_parts(Parts::Mapped(extents), question, means, task),
        Source::Stream(stream) => count_stream(stream, question, means, task),
    }
}

/// With less for its tables, a thread counts everything in one table, in as many passes as it takes.
pub(super) const LEAST_TABLE_BYTES: u64 = 256 << 10;

/// Fewer words than this are counted in a table at once. Tests go the long way with fewer.
pub(super) const FEW_WORDS: u64 = if cfg!(test) { 1 << 6 } else { 1 << 14 };

pub(super) fn count_parts(
    parts: Parts<'_>,
    question: &Question<'_>,
    means: Means,
    task: &Task,
) -> Result<Counts, Error> {
    let width = question.target.width.bytes() as u64;
    let tail_counts = question.tail == Tail::Zero;
    let total_words = parts.total_words(width, tail_counts);
    let run = Run {
        walk: Walk { parts, width, tail_counts, skip_holes: true, piece_bytes: means.piece_bytes, every: 1 },
        found: None,
        width,
        question,
        means,
        task,
        isa: question.isa.filter(|isa| isa.is_available()).unwrap_or_else(Isa::best),
    };
    let mut cost = Cost::default();
    let top = if question.n == 0 || total_words == 0 {
        Vec::new()
    } else if question.keep != Keep::All || total_words < FEW_WORDS || means.table_bytes < LEAST_TABLE_BYTES {
        run.table(&mut cost)?
    } else {
        run.fast(run.sample(total_words)?, &mut cost)?
    };
    Ok(Counts { top, total_words, cost })
}

/// The most frequent of the values that `find` finds on its walk.
pub(super) fn count_found(
    walk: Walk<'_>,
    find: &Find<'_>,
    means: Means,
    task: &Task,
    cost: &mut Cost,
) -> Result<Vec<Count>, Error> {
    let order = if cfg!(target_endian = "little") { ByteOrder::Little } else { ByteOrder::Big };
    let question = Question { target: Target { width: Width::W8, order }, ..Question::top(find.search.n) };
    let run = Run { walk, found: Some(find), width: 8, question: &question, means, task, isa: find.isa };
    if means.table_bytes < LEAST_TABLE_BYTES {
        return run.table(cost);
    }
    let sample = run.sample_found()?;
    if sample.total() < FEW_WORDS {
        return run.table(cost);
    }
    // Where one pass over few hot values will hardly do, all values are gathered in one, if they have room: they are few
    // beside the words among which they are found.
    let others = sample.words - sample.mass(FRONT_WORDS);
    let bytes = sample.total().saturating_mul(8);
    if others > sample.words / 64 && bytes + bytes / 4 < means.table_bytes.saturating_mul(means.threads as u64) / 2 {
        return run.gathered(cost);
    }
    run.fast(sample, cost)
}

struct Run<'a> {
    walk: Walk<'a>,
    /// Where the words that are counted are found on the walk, and are not its own words.
    found: Option<&'a Find<'a>>,
    /// Of the words that are counted.
    width: u64,
    question: &'a Question<'a>,
    means: Means,
    task: &'a Task,
    isa: Isa,
}

/// Units of the walk in which a sample of what is found is taken.
const SAMPLED_UNITS: u64 = 16;
/// From this many results on, the front alone does not hold them.
const SCOUTED_FROM: u64 = 24;
/// The least size that is worth a look at a part of it, in units of the walk.
const SCOUTED_UNITS: u64 = if cfg!(test) { 4 } else { 64 };
/// Hashed counters where there was such a look, as a power of 2: they fit the second-level cache.
const SCOUT_BITS: u32 = if cfg!(test) { 12 } else { 17 };
/// Where many results are wanted: from more hashed counters than 2 to this power on, how frequent the last of them is
/// decides what kind they are of.
const MANY_BITS: u32 = if cfg!(test) { 12 } else { 20 };
/// Hashed counters of a full kind, as a power of 2, beyond which they are too slow.
const MOST_WIDE_BITS: u32 = MANY_BITS + 3;
/// Where that many different words survive, at most, they are counted in a table.
const FEW_DIFFERENT: u64 = if cfg!(test) { 1 << 16 } else { 1 << 20 };

impl Run<'_> {
    fn start_pass(&self, cost: &mut Cost) {
        let stage = if self.found.is_some() { "searching" } else { "counting" };
        self.task.progress.start(stage, self.walk.parts.total_bytes());
        cost.passes += 1;
    }

    /// One walk that gives every word to one of the sinks.
    fn walk<S: Sink>(&self, walk: &Walk<'_>, sinks: &mut [S]) -> Result<(), Error> {
        match self.found {
            Some(find) => find.run_values(walk, self.task, sinks),
            None => walk.run(self.task, sinks),
        }
    }

    fn sample(&self, total_words: u64) -> Result<Sample, Error> {
        let wanted = self.question.n.saturating_mul(4096).clamp(1 << 16, 1 << 17).min(total_words / 64);
        let affordable = self.means.table_bytes / 64;
        Sample::take(self.walk.parts, self.walk.width, wanted.min(affordable).max(1 << 10))
    }

    /// A sample of what is found in some units of the walk.
    fn sample_found(&self) -> Result<Sample, Error> {
        let units = self.walk.parts.total_bytes() / UNIT_BYTES;
        let walk = Walk { every: (units / SAMPLED_UNITS).max(1), ..self.walk };
        let most = usize::try_from(self.means.table_bytes / 64).unwrap_or(usize::MAX).min(1 << 17);
        self.task.progress.start("searching", 0);
        let mut sinks: Vec<_> = (0..self.means.threads).map(|_| Seen { words: Vec::new(), most, all: 0 }).collect();
        self.walk(&walk, &mut sinks)?;
        let all: u64 = sinks.iter().map(|sink| sink.all).sum();
        Ok(Sample::of(sinks.into_iter().flat_map(|sink| sink.words).collect(), all * walk.every))
    }

    fn note_bytes(&self, cost: &mut Cost, bytes: u64) {
        let buffers = match self.walk.parts {
            Parts::Extents(_) => (self.means.threads * self.walk.piece_bytes) as u64,
            Parts::Mapped(_) | Parts::Slices(_) => 0,
        };
        cost.peak_bytes = cost.peak_bytes.max(bytes + buffers);
    }

    /// The word as the process would load it.
    fn value(&self, raw: u64) -> u64 {
        raw_to_value(self.question.target, raw)
    }

    fn top(&self) -> Top {
        Top::new(self.question.n, self.means.result_bytes)
    }

    /// As many passes as it takes, a table's worth at a time.
    fn table(&self, cost: &mut Cost) -> Result<Vec<Count>, Error> {
        let mut top = self.top();
        let mut first = 0;
        loop {
            self.start_pass(cost);
            let range = Range::from(first);
            let mut sinks: Vec<_> = (0..self.means.threads)
                .map(|_| Exact::new(self.question, self.isa, Table::new(self.means.table_bytes, &range), &range))
                .collect();
            self.walk(&self.walk, &mut sinks)?;
            sinks.iter_mut().for_each(Exact::settle);
            self.note_bytes(cost, sinks.iter().map(|sink| sink.table.peak_bytes()).sum());
            let mut sinks = sinks.into_iter();
            let Some(mut all) = sinks.next() else { break };
            for other in sinks {
                all.table.merge(&other.table, &range);
            }
            for (value, count) in all.table.counts() {
                top.offer(value, count)?;
            }
            match range.last().checked_add(1) {
                Some(next) => first = next,
                None => break,
            }
        }
        Ok(top.finish())
    }

    /// One walk that sets all words aside; they are counted from there.
    fn gathered(&self, cost: &mut Cost) -> Result<Vec<Count>, Error> {
        let all = self.means.table_bytes * self.means.threads as u64;
        let aside = Aside::new(all / 2);
        self.start_pass(cost);
        let mut sinks: Vec<_> =
            (0..self.means.threads).map(|_| Gather::new(&aside, 2 * self.means.piece_bytes)).collect();
        self.walk(&self.walk, &mut sinks)?;
        sinks.into_iter().try_for_each(Gather::finish)?;
        let held = aside.memory_bytes();
        let means = Means { table_bytes: (all - held) / self.means.threads as u64, ..self.means };
        let counts = aside.with_parts(|parts| count_parts(parts, self.question, means, self.task))?;
        cost.spilled_bytes += aside.spilled_bytes();
        self.note_bytes(cost, counts.cost.peak_bytes + held);
        cost.passes += counts.cost.passes;
        Ok(counts.top)
    }

    fn fast(&self, sample: Sample, cost: &mut Cost) -> Result<Vec<Count>, Error> {
        let n = self.question.n;
        let total_words = sample.total();
        let seen = sample.nth(n);
        // Too few words repeat to be a front for n, or to keep the tail out of the counters.
        let hopeless = seen < 2 && (sample.repeated.len() as u64) < n.min(16) || n > total_words / 64;
        if hopeless {
            let misses = 1.0 - sample.mass(FRONT_WORDS) as f64 / sample.words.max(1) as f64;
            let mass = (total_words as f64 * misses) as u64;
            return self.survivors(&sample.front(), None, mass, &mut |_| Ok(()), cost);
        }
        let front = sample.front();
        let Summed { exact, bounds } = self.bound(&sample, &front, cost)?;
        let mut top = self.top();
        for (raw, count) in &exact {
            top.offer(self.value(*raw), *count)?;
        }
        let least = top.least_count();
        if least > bounds.greatest() {
            return Ok(top.finish());
        }
        let levels = bounds.levels();
        let afford = self.means.table_bytes * self.means.threads as u64 / 64;
        let known = u64::try_from(exact.len()).unwrap_or(n);
        let likely = pass::likely(&levels, n.saturating_sub(known).max(1));
        let affordable =
            if self.are_few(&bounds, &levels, likely.max(least)) { 1 } else { pass::threshold(&levels, afford) };
        let threshold = affordable.max(likely).min(bounds.most_threshold()).max(least).max(1);
        // Offered again in each round: the results are counted from nothing.
        let mut offer_exact = |top: &mut Top| {
            exact.iter().try_for_each(|(raw, count)| top.offer(raw_to_value(self.question.target, *raw), *count))
        };
        if threshold < BUCKET_LIMIT && threshold > least.max(1) {
            let top = self.survivors(&front, Some(&bounds), threshold, &mut offer_exact, cost)?;
            let full = top.len() as u64 >= n;
            let found = top.last().map_or(0, |last| last.count);
            if full && found >= threshold {
                return Ok(top);
            }
            let least = if full { found } else { 1 };
            return self.survivors(&front, Some(&bounds), least, &mut offer_exact, cost);
        }
        self.survivors(&front, Some(&bounds), least.max(1), &mut offer_exact, cost)
    }

    /// One pass over all words: exact counts of the front, bounds for the rest.
    fn bound(&self, sample: &Sample, front: &kernel::Front, cost: &mut Cost) -> Result<Summed, Error> {
        let n = self.question.n;
        let front_words = sample.mass(FRONT_WORDS);
        let misses = sample.total() as f64 * (1.0 - front_words as f64 / sample.words.max(1) as f64);
        let seen = sample.nth(n);
        // A word that was seen twice may have been lucky.
        let nth = if seen < 3 { 8.0 } else { f64::from(seen) * sample.ratio * 0.5 };
        let wanted = (1.5 * misses / nth).max(1.0).log2().ceil() as u32;
        let mut narrow = false;
        let mut bits = wanted.max(10);
        let units = self.walk.parts.total_bytes() / UNIT_BYTES;
        let scouts = (SCOUTED_FROM..=1000).contains(&n) && units >= SCOUTED_UNITS;
        if scouts {
            bits = bits.clamp(SCOUT_BITS, SCOUT_BITS + 1);
        } else if wanted > MANY_BITS {
            let wide = self.wide_bits(front, misses, cost)?;
            narrow = wide.is_none();
            bits = wide.unwrap_or(((misses / 3.5).max(1.0).log2().ceil() as u32).clamp(MANY_BITS, 26));
        }
        let bits = bits.min(self.affordable_bits(narrow));
        let (isa, width, threads) = (self.isa, self.width, self.means.threads);
        let hashed = |_| Hashed::new(front, isa, width, narrow, bits, BUCKET_LIMIT);
        let mut warm = Vec::new();
        if scouts {
            // A part of the whole shows which counters are worth a look at their words.
            let mut sinks: Vec<_> = (0..threads).map(hashed).collect();
            let walk = Walk { every: (units / SCOUTED_UNITS * 2).min(16), ..self.walk };
            self.walk(&walk, &mut sinks)?;
            self.note_bytes(cost, sinks.iter().map(Hashed::bytes).sum());
            warm = Hashed::sum(sinks)
                .bounds
                .hot(usize::try_from(n).unwrap_or(0), front.keys.iter().filter(|key| **key != 0).count() + 1);
        }
        let range = Range::from(0);
        let warm = Warm { counters: &warm, range: &range, table_bytes: self.means.table_bytes / 4 };
        self.start_pass(cost);
        let mut sinks: Vec<_> = (0..threads).map(hashed).collect();
        if scouts {
            sinks = sinks.into_iter().map(|sink| sink.with_warm(&warm)).collect();
        }
        self.walk(&self.walk, &mut sinks)?;
        self.note_bytes(cost, sinks.iter().map(Hashed::bytes).sum());
        Ok(Hashed::sum(sinks))
    }

    fn affordable_bits(&self, narrow: bool) -> u32 {
        (self.means.table_bytes * 2 / if narrow { 2 } else { 16 }).max(1 << 12).ilog2()
    }

    /// As what power of 2 wide counters are worth their memory, if at all: narrow ones tell no counts above 15 apart. For a
    /// word too rare for the sample, a look at a part of the walk shows how frequent it is. `misses` are not in the front.
    fn wide_bits(&self, front: &kernel::Front, misses: f64, cost: &mut Cost) -> Result<Option<u32>, Error> {
        let units = self.walk.parts.total_bytes() / UNIT_BYTES;
        if units < SCOUTED_UNITS {
            return Ok(None);
        }
        let most = MOST_WIDE_BITS.min(self.affordable_bits(false));
        let every = (units * 4 / SCOUTED_UNITS).clamp(1, 16);
        let (isa, width) = (self.isa, self.width);
        let scouts = (0..self.means.threads)
            .map(|_| Hashed::new(front, isa, width, false, most.min(MOST_WIDE_BITS - 1), BUCKET_LIMIT));
        let mut sinks: Vec<_> = scouts.collect();
        self.walk(&Walk { every, ..self.walk }, &mut sinks)?;
        self.note_bytes(cost, sinks.iter().map(Hashed::bytes).sum());
        let levels = Hashed::sum(sinks).bounds.levels();
        let nth = pass::surely(&levels, self.question.n).saturating_mul(every) as f64;
        // A counter's other words must not hide the word.
        let bits = (4.0 * misses / nth.max(1.0)).max(1.0).log2().ceil() as u32;
        let bits = bits.clamp(MANY_BITS.min(most), most);
        let noise = misses / f64::from(1u32 << bits);
        Ok((nth >= noise + 4.0 * noise.sqrt() + 16.0).then_some(bits))
    }

    /// Whether the different words that survive are few enough to be counted in a table.
    fn are_few(&self, bounds: &Bounds, levels: &[pass::Level], threshold: u64) -> bool {
        let threads = self.means.threads as u64;
        // A filter has at most an eighth of a byte for each counter; the bounds have more.
        let room = (self.means.table_bytes * threads).saturating_sub(2 * bounds.bytes()) / threads;
        let different = pass::different(levels, threshold.min(bounds.most_threshold()));
        different <= FEW_DIFFERENT && different.saturating_mul(96) <= room
    }

    /// [`Run::survivors`] in a table; nothing where it would not hold them.
    fn few_survivors(
        &self,
        front: &kernel::Front,
        filter: &kernel::Filter,
        held: u64,
        top: &mut Top,
        cost: &mut Cost,
    ) -> Result<bool, Error> {
        let threads = self.means.threads as u64;
        let room = (self.means.table_bytes * threads).saturating_sub(held) / threads;
        self.start_pass(cost);
        let range = Range::from(0);
        let table = |_| Few::new(front, filter, self.isa, self.width, room, &range);
        let mut sinks: Vec<_> = (0..threads).map(table).collect();
        self.walk(&self.walk, &mut sinks)?;
        let mut sinks = sinks.into_iter();
        let Some(mut all) = sinks.next() else { return Ok(false) };
        let mut bytes = all.table.peak_bytes();
        for other in sinks {
            bytes += other.table.peak_bytes();
            all.table.merge(&other.table, &range);
        }
        self.note_bytes(cost, bytes.max(all.table.peak_bytes()) + held);
        if range.last() < u64::MAX {
            return Ok(false);
        }
        all.table.counts().try_for_each(|(raw, count)| top.offer(self.value(raw), count))?;
        Ok(true)
    }

    /// Counts the words whose bound is at least `threshold` (all that are not in the front, where there are no bounds),
    /// and the front. Where there are no bounds, `threshold` is about how many words those are.
    fn survivors(
        &self,
        front: &kernel::Front,
        bounds: Option<&Bounds>,
        threshold: u64,
        offer_exact: &mut dyn FnMut(&mut Top) -> Result<(), Error>,
        cost: &mut Cost,
    ) -> Result<Vec<Count>, Error> {
        let filter = bounds.map(|bounds| bounds.filter(threshold));
        let survive = match &filter {
            Some(filter) => Survive::Bounded(front, filter),
            None if front.keys.iter().all(|key| *key == 0) => Survive::NotZero,
            None => Survive::NotInFront(front),
        };
        let mut top = self.top();
        offer_exact(&mut top)?;
        let held = filter.as_ref().map_or(0, kernel::Filter::bytes) + bounds.map_or(0, Bounds::bytes);
        if let (Some(bounds), Some(filter)) = (bounds, &filter)
            && self.are_few(bounds, &bounds.levels(), threshold)
            && self.few_survivors(front, filter, held, &mut top, cost)?
        {
            return Ok(top.finish());
        }
        let top = Mutex::new(top);
        let threads = self.means.threads;
        let room = (self.means.table_bytes * threads as u64).saturating_sub(held) / threads as u64;
        let mass = bounds.map_or(threshold, |bounds| pass::mass(&bounds.levels(), threshold));
        // Walking over all words again is cheaper than fresh memory for all of them, but not where they have to be looked
        // up in a large bitmap.
        let wanted = Partitions::pools_bytes(mass, if bounds.is_some() { 1 } else { 3 });
        // Threads take unequal shares.
        let pool_bytes = (wanted / threads as u64).saturating_mul(5) / 4;
        let pool_bytes = pool_bytes.min(room / 4 * 3);
        let bits = Partitions::bits(mass, pool_bytes);
        let mut pools: Vec<Pool> = Vec::new();
        let mut first = 0;
        loop {
            self.start_pass(cost);
            let partitions = Partitions::new(first, bits, mass, wanted.min(pool_bytes * threads as u64));
            pools.resize_with(threads, || Pool::new(pool_bytes, &partitions));
            let counts_others = first == 0 && bounds.is_none();
            let (isa, width) = (self.isa, self.width);
            let mut sinks: Vec<_> = pools
                .iter_mut()
                .map(|pool| Survivors::new(survive, isa, width, pool, &partitions, counts_others))
                .collect();
            self.walk(&self.walk, &mut sinks)?;
            let exact = sinks.into_iter().flat_map(Survivors::exact).filter(|_| counts_others);
            let exact: Vec<(u64, u64)> = exact.collect();
            if partitions.has_failed() {
                drop(pools);
                return self.table(cost);
            }
            let mut front_counts = std::collections::BTreeMap::new();
            for (raw, count) in exact {
                *front_counts.entry(raw).or_insert(0) += count;
            }
            {
                let mut top = top.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                for (raw, count) in front_counts {
                    top.offer(self.value(raw), count)?;
                }
            }
            let offer = |batch: &mut Vec<(u64, u64)>| {
                let mut top = top.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                batch.drain(..).try_for_each(|(raw, count)| top.offer(self.value(raw), count))?;
                Ok(top.floor().map_or(Floor::NONE, |last| Floor { count: last.count, value: last.value }))
            };
            let full: Vec<&Pool> = pools.iter().collect();
            let tables =
                count_pools(&full, &partitions, room - pool_bytes, threads, self.question.target, self.task, &offer)?;
            let pooled: u64 = pools.iter().map(Pool::used_bytes).sum();
            self.note_bytes(cost, pooled + tables + held);
            if partitions.is_complete() {
                break;
            }
            first = partitions.end();
        }
        Ok(top.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner()).finish())
    }
}

/// Keeps the first of the words that it is given.
struct Seen {
    words: Vec<u64>,
    most: usize,
    all: u64,
}

impl Sink for Seen {
    fn words(&mut self, _: Place, bytes: &[u8]) -> Result<(), Error> {
        let (words, _) = bytes.as_chunks::<8>();
        self.all += words.len() as u64;
        let room = self.most.saturating_sub(self.words.len());
        self.words.extend(words.iter().take(room).map(|raw| u64::from_ne_bytes(*raw)));
        Ok(())
    }

    fn zeros(&mut self, _: Place, count: u64) -> Result<(), Error> {
        self.all += count;
        Ok(())
    }
}

/// The word as the process would load it, from the word as this machine did.
#[inline(always)]
pub(super) fn raw_to_value(target: Target, raw: u64) -> u64 {
    match (target.order, cfg!(target_endian = "little")) {
        (ByteOrder::Little, true) | (ByteOrder::Big, false) => raw,
        _ => match target.width {
            Width::W8 => raw.swap_bytes(),
            Width::W4 => u64::from((raw as u32).swap_bytes()),
        },
    }
}

/// Whether `value` lies in one of the sorted spans.
fn is_within(spans: &[Span], value: u64) -> bool {
    let at = spans.partition_point(|span| span.end().0 <= value);
    spans.get(at).is_some_and(|span| span.contains(Addr(value)))
}

/// Calls `each` with every word of `bytes`.
#[inline(always)]
pub(super) fn for_each_word(target: Target, bytes: &[u8], mut each: impl FnMut(u64)) {
    let (fours, _) = bytes.as_chunks::<4>();
    let (eights, _) = bytes.as_chunks::<8>();
    match (target.width, target.order) {
        (Width::W8, ByteOrder::Little) => eights.iter().for_each(|raw| each(u64::from_le_bytes(*raw))),
        (Width::W8, ByteOrder::Big) => eights.iter().for_each(|raw| each(u64::from_be_bytes(*raw))),
        (Width::W4, ByteOrder::Little) => fours.iter().for_each(|raw| each(u32::from_le_bytes(*raw).into())),
        (Width::W4, ByteOrder::Big) => fours.iter().for_each(|raw| each(u32::from_be_bytes(*raw).into())),
    }
}

/// Words that were met before, in front of the table: value and count.
const RECENT: usize = 512;
/// Words that are filtered at once.
const FILTERED: usize = 4096;

/// Counts every word, or those in given ranges, in a table.
struct Exact<'a> {
    table: Table,
    range: &'a Range,
    target: Target,
    isa: Isa,
    spans: Option<&'a [Span]>,
    recent: Vec<(u64, u64)>,
    kept: Vec<u64>,
}

impl<'a> Exact<'a> {
    fn new(question: &Question<'a>, isa: Isa, table: Table, range: &'a Range) -> Exact<'a> {
        let spans = match question.keep {
            Keep::All => None,
            Keep::Within(spans) => Some(spans),
        };
        let room = if spans.is_some() { FILTERED + 1 } else { 0 };
        Exact { table, range, target: question.target, isa, spans, recent: vec![(0, 0); RECENT], kept: vec![0; room] }
    }

    #[inline]
    fn add(&mut self, value: u64) {
        let at = (value.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 55) as usize;
        let recent = &mut self.recent[at];
        if recent.0 == value && recent.1 > 0 {
            recent.1 += 1;
            return;
        }
        if self.spans.is_some_and(|spans| !is_within(spans, value)) {
            return;
        }
        let (old, count) = std::mem::replace(recent, (value, 1));
        if count > 0 {
            self.table.add(old, count, self.range);
        }
    }

    /// Hands what is still in front of the table to it.
    fn settle(&mut self) {
        for (value, count) in std::mem::replace(&mut self.recent, vec![(0, 0); RECENT]) {
            if count > 0 {
                self.table.add(value, count, self.range);
            }
        }
    }
}

impl Sink for Exact<'_> {
    fn words(&mut self, _: Place, bytes: &[u8]) -> Result<(), Error> {
        self.table.follow(self.range);
        let Some(spans) = self.spans else {
            for_each_word(self.target, bytes, |word| self.add(word));
            return Ok(());
        };
        let (Some(low), Some(high)) = (spans.first(), spans.last()) else { return Ok(()) };
        let (low, high) = (low.start().0, high.end().0.saturating_sub(1));
        let width = self.target.width.bytes();
        let plain = raw_to_value(self.target, 1) == 1;
        let mut kept = std::mem::take(&mut self.kept);
        for group in bytes.chunks(FILTERED * width) {
            let found = if plain {
                kernel::find_between(self.isa, width as u64, group, low, high, &mut kept)
            } else {
                kernel::find_between_swapped(self.isa, width as u64, group, low, high, &mut kept)
            };
            kept.iter().take(found).for_each(|word| self.add(*word));
        }
        self.kept = kept;
        Ok(())
    }

    fn zeros(&mut self, _: Place, count: u64) -> Result<(), Error> {
        if self.spans.is_none_or(|spans| is_within(spans, 0)) {
            self.table.add(0, count, self.range);
        }
        Ok(())
    }
}
