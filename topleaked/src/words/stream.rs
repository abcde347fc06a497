//! Counting bytes that come only once, while they come.
//!
//! The beginning of the stream is held in memory and tells which words are hot. Those are counted from then on as the
//! words arrive, on all threads; all other words get bounds, and are set aside: in memory as far as a quarter of the
//! budget goes, behind that in a temporary file. Where the bounds prove that none of them matters, nothing is looked at
//! again. Else what was set aside is counted like any file; it holds no word that was counted before, so the two
//! answers only have to be put together.

use std::io::Read;
use std::sync::Mutex;

use crate::task::Task;

use super::aside::Aside;
use super::count::{LEAST_TABLE_BYTES, count_parts, raw_to_value};
use super::kernel::{self, Front};
use super::pass::{BUCKET_LIMIT, Hashed, Summed};
use super::sample::{FRONT_WORDS, Sample};
use super::source::{Parts, Place, Sink, Walk, read_full};
use super::spill::Spooled;
use super::top::Top;
use super::{Cost, Counts, Error, Isa, Keep, Means, Question, Tail};

/// How much of the beginning is held, where the budget allows.
const HEAD_BYTES: u64 = if cfg!(test) { 2 << 10 } else { 64 << 20 };

/// The most frequent words of a stream; see [`super::count_words`].
pub(super) fn count_stream(
    stream: &mut (dyn Read + Send),
    question: &Question<'_>,
    means: Means,
    task: &Task,
) -> Result<Counts, Error> {
    // With less there is no room for counters and what is set aside; and ranges are asked of files only.
    if question.keep != Keep::All || means.table_bytes < LEAST_TABLE_BYTES {
        return count_spooled(stream, question, means, task);
    }
    task.progress.start("counting", 0);
    let width = question.target.width.bytes() as u64;
    let mut total_bytes = 0;
    let head = read_head(stream, (task.memory_budget_bytes / 4).min(HEAD_BYTES) as usize & !511, means, task)?;
    let isa = question.isa.filter(|isa| isa.is_available()).unwrap_or_else(Isa::best);
    let head = match head {
        Head::All(bytes) => {
            let left = Means::share(task.memory_budget_bytes - bytes.capacity() as u64, task, question.n);
            let mut counts = count_parts(Parts::Slices(&[&bytes]), question, left, task)?;
            counts.cost.peak_bytes += bytes.capacity() as u64;
            return Ok(counts);
        }
        Head::Beginning(bytes) => bytes,
    };
    let wanted = (head.len() as u64 / width / 64).clamp(1 << 10, 1 << 17);
    let front = Sample::take(Parts::Slices(&[&head]), width, wanted)?.front();
    let aside = Aside::new(task.memory_budget_bytes / 4);
    // More results than the front holds are never proven.
    let provable = question.n <= FRONT_WORDS as u64;
    let bits = if provable { COUNTER_BITS.min((means.table_bytes / 16).ilog2()) } else { 1 };
    let mut sinks: Vec<_> =
        (0..means.threads).map(|_| Arriving::new(&front, isa, width, bits, &aside, means)).collect();
    let walk = Walk {
        parts: Parts::Slices(&[&head]),
        width,
        tail_counts: false,
        skip_holes: true,
        piece_bytes: means.piece_bytes,
        every: 1,
    };
    walk.run(task, &mut sinks)?;
    total_bytes += head.len() as u64;
    let head_bytes = head.capacity() as u64;
    drop(head);
    total_bytes += pull(stream, total_bytes, width, question.tail, means, task, &mut sinks)?;
    let mut hashed = Vec::with_capacity(sinks.len());
    let mut table_bytes = 0;
    for mut sink in sinks {
        sink.set_aside()?;
        table_bytes += sink.hashed.bytes()
            + (sink.found.len() * 8 + sink.eights.capacity() * 8 + sink.fours.capacity() * 4) as u64;
        hashed.push(sink.hashed);
    }
    let Summed { exact, bounds } = Hashed::sum(hashed);
    let piece_bytes = (means.threads * means.piece_bytes) as u64;
    let mut cost = Cost {
        passes: 1,
        spilled_bytes: aside.spilled_bytes(),
        peak_bytes: table_bytes + piece_bytes + aside.peak_bytes().max(head_bytes),
    };
    let total_words = match question.tail {
        Tail::Zero => total_bytes.div_ceil(width),
        Tail::Ignore => total_bytes / width,
    };
    let mut top = Top::new(question.n, means.result_bytes);
    for (raw, count) in &exact {
        top.offer(raw_to_value(question.target, *raw), *count)?;
    }
    if aside.is_empty() || question.n == 0 || provable && top.least_count() > bounds.greatest() {
        return Ok(Counts { top: top.finish(), total_words, cost });
    }
    drop(bounds);
    let left = Means::share(task.memory_budget_bytes - aside.memory_bytes(), task, question.n);
    let others = aside.with_parts(|parts| count_parts(parts, question, left, task))?;
    for count in others.top {
        top.offer(count.value, count.count)?;
    }
    cost.passes += others.cost.passes;
    cost.peak_bytes = cost.peak_bytes.max(others.cost.peak_bytes + aside.memory_bytes());
    Ok(Counts { top: top.finish(), total_words, cost })
}

/// All of the stream goes to memory or a temporary file, and is counted from there.
fn count_spooled(
    stream: &mut (dyn Read + Send),
    question: &Question<'_>,
    means: Means,
    task: &Task,
) -> Result<Counts, Error> {
    let spooled = Spooled::read(stream, means.piece_bytes, task)?;
    let means = Means::share(task.memory_budget_bytes - spooled.memory_bytes(), task, question.n);
    let mut counts = spooled.with_parts(|parts| count_parts(parts, question, means, task))?;
    counts.cost.spilled_bytes = spooled.spilled_bytes();
    counts.cost.peak_bytes += spooled.memory_bytes();
    Ok(counts)
}

/// Hashed counters of each thread, as a power of 2: they fit the second-level cache.
const COUNTER_BITS: u32 = if cfg!(test) { 12 } else { 17 };

enum Head {
    All(Vec<u8>),
    Beginning(Vec<u8>),
}

/// The first `most` bytes, or all where there are fewer.
fn read_head(stream: &mut dyn Read, most: usize, means: Means, task: &Task) -> Result<Head, Error> {
    let mut head = Vec::new();
    while head.len() < most {
        if task.progress.is_cancelled() {
            return Err(Error::Cancelled);
        }
        let start = head.len();
        // Doubling would take three times the size for a moment.
        let step = (start / 2).clamp(means.piece_bytes, most.max(means.piece_bytes)).min(most - start);
        head.reserve_exact(step);
        head.resize(start + step, 0);
        let room = head.get_mut(start..).unwrap_or_default();
        let filled = read_full(stream, room).map_err(|source| Error::Read { offset: start as u64, source })?;
        task.progress.advance(filled as u64);
        if filled < step {
            head.truncate(start + filled);
            return Ok(Head::All(head));
        }
    }
    Ok(Head::Beginning(head))
}

struct Coming<'a> {
    stream: &'a mut (dyn Read + Send),
    offset: u64,
    ended: bool,
}

/// Reads the rest of a stream, of which `offset` bytes (whole words) are gone, and gives each piece to the sink that asks
/// first, each on a thread of its own. Returns how many bytes there were.
fn pull<S: Sink>(
    stream: &mut (dyn Read + Send),
    offset: u64,
    width: u64,
    tail: Tail,
    means: Means,
    task: &Task,
    sinks: &mut [S],
) -> Result<u64, Error> {
    let coming = Mutex::new(Coming { stream, offset, ended: false });
    let work = |sink: &mut S| -> Result<(), Error> {
        let mut buffer = vec![0; means.piece_bytes];
        loop {
            if task.progress.is_cancelled() {
                return Err(Error::Cancelled);
            }
            let (offset, filled) = {
                let mut coming = coming.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                if coming.ended {
                    return Ok(());
                }
                let offset = coming.offset;
                // So that nobody goes on where this fails.
                coming.ended = true;
                let filled = read_full(coming.stream, &mut buffer).map_err(|source| Error::Read { offset, source })?;
                coming.offset += filled as u64;
                coming.ended = filled < buffer.len();
                (offset, filled)
            };
            let whole = filled - filled % width as usize;
            let outcome = sink.words(Place { part: 0, offset }, buffer.get(..whole).unwrap_or_default());
            let outcome = outcome.and_then(|()| match whole < filled && tail == Tail::Zero {
                true => sink.zeros(Place { part: 0, offset: offset + whole as u64 }, 1),
                false => Ok(()),
            });
            if outcome.is_err() {
                coming.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).ended = true;
            }
            outcome?;
            task.progress.advance(filled as u64);
        }
    };
    match sinks {
        [] => {}
        [only] => work(only)?,
        [first, rest @ ..] => std::thread::scope(|scope| {
            let work = &work;
            let workers: Vec<_> = rest.iter_mut().map(|sink| scope.spawn(move || work(sink))).collect();
            let mut outcome = work(first);
            for worker in workers {
                outcome = outcome.and(worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
            }
            outcome
        })?,
    }
    let coming = coming.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
    Ok(coming.offset - offset)
}

/// Words that are filtered at once.
const FILTERED: usize = 2048;

/// Counts the front, bounds the other words, and sets them aside.
struct Arriving<'a> {
    front: &'a Front,
    isa: Isa,
    width: u64,
    hashed: Hashed<'a>,
    found: Vec<u64>,
    /// Words to be set aside together: of the width at hand in one of the two.
    eights: Vec<[u8; 8]>,
    fours: Vec<[u8; 4]>,
    aside: &'a Aside,
    most_words: usize,
}

impl<'a> Arriving<'a> {
    fn new(front: &'a Front, isa: Isa, width: u64, bits: u32, aside: &'a Aside, means: Means) -> Arriving<'a> {
        Arriving {
            front,
            isa,
            width,
            hashed: Hashed::new(front, isa, width, false, bits, BUCKET_LIMIT),
            found: vec![0; FILTERED + 1],
            eights: Vec::new(),
            fours: Vec::new(),
            aside,
            most_words: means.piece_bytes / 8,
        }
    }

    fn set_aside(&mut self) -> Result<(), Error> {
        self.aside.take(self.eights.as_flattened())?;
        self.aside.take(self.fours.as_flattened())?;
        self.eights.clear();
        self.fours.clear();
        Ok(())
    }
}

impl Sink for Arriving<'_> {
    fn words(&mut self, place: Place, bytes: &[u8]) -> Result<(), Error> {
        for group in bytes.chunks(FILTERED * self.width as usize) {
            let found = kernel::find_others(self.isa, self.width, group, self.front, &mut self.found);
            if self.eights.len() + self.fours.len() + found > self.most_words {
                self.set_aside()?;
            }
            let found = self.found.get(..found).unwrap_or_default();
            match self.width {
                4 => self.fours.extend(found.iter().map(|word| (*word as u32).to_ne_bytes())),
                _ => self.eights.extend(found.iter().map(|word| word.to_ne_bytes())),
            }
        }
        self.hashed.words(place, bytes)
    }

    fn zeros(&mut self, place: Place, count: u64) -> Result<(), Error> {
        self.hashed.zeros(place, count)
    }
}
