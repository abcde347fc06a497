//! The most frequent words.

use crate::addr::{ByteOrder, Span, Target, Width};
use crate::task::Task;

use super::source::{Parts, Place, Sink, Walk};
use super::spill::Spooled;
use super::table::{Range, Table};
use super::top::Top;
use super::{Cost, Counts, Error, Keep, Means, Question, Source, Tail};

/// The most frequent words of a source, exactly.
///
/// Memory stays within the task's budget: what does not fit is settled in further passes; a stream that can be read
/// only once goes to a temporary file where it does not fit. Progress is in bytes.
///
/// # Errors
/// [`Error`]; there are no counts that are only nearly right.
pub fn count_words(source: Source<'_>, question: &Question<'_>, task: &Task) -> Result<Counts, Error> {
    match source {
        Source::Extents(extents) => count_parts(Parts::Extents(extents), question, task),
        Source::Slices(slices) => count_parts(Parts::Slices(slices), question, task),
        Source::Stream(stream) => {
            let means = Means::of(task, question.n)?;
            let spooled = Spooled::read(stream, means.piece_bytes, task)?;
            let mut counts = spooled.with_parts(|parts| count_parts(parts, question, task))?;
            counts.cost.spilled_bytes = spooled.spilled_bytes();
            Ok(counts)
        }
    }
}

fn count_parts(parts: Parts<'_>, question: &Question<'_>, task: &Task) -> Result<Counts, Error> {
    let means = Means::of(task, question.n)?;
    let width = question.target.width.bytes() as u64;
    let tail_counts = question.tail == Tail::Zero;
    let total_words = parts.total_words(width, tail_counts);
    let mut cost = Cost::default();
    let mut top = Top::new(question.n, means.result_bytes);
    let walk = Walk { parts, width, tail_counts, skip_holes: true, piece_bytes: means.piece_bytes };
    let mut first = 0;
    if question.n == 0 || total_words == 0 {
        return Ok(Counts { top: Vec::new(), total_words, cost });
    }
    loop {
        task.progress.start("counting", parts.total_bytes());
        let range = Range::from(first);
        let mut sinks: Vec<_> = (0..means.threads)
            .map(|_| Exact {
                table: Table::new(means.table_bytes, &range),
                range: &range,
                target: question.target,
                keep: question.keep,
            })
            .collect();
        walk.run(task, &mut sinks)?;
        cost.passes += 1;
        let bytes: u64 = sinks.iter().map(|sink| sink.table.peak_bytes()).sum();
        cost.peak_bytes = cost.peak_bytes.max(bytes);
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
    Ok(Counts { top: top.finish(), total_words, cost })
}

/// Whether `value` lies in one of the sorted spans.
pub(super) fn is_within(spans: &[Span], value: u64) -> bool {
    let at = spans.partition_point(|span| span.end().0 <= value);
    spans.get(at).is_some_and(|span| span.start().0 <= value)
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

struct Exact<'a> {
    table: Table,
    range: &'a Range,
    target: Target,
    keep: Keep<'a>,
}

impl Sink for Exact<'_> {
    fn words(&mut self, _: Place, bytes: &[u8]) -> Result<(), Error> {
        self.table.follow(self.range);
        let Exact { table, range, target, keep } = self;
        match keep {
            Keep::All => for_each_word(*target, bytes, |word| table.add(word, 1, range)),
            Keep::Within(spans) => for_each_word(*target, bytes, |word| {
                if is_within(spans, word) {
                    table.add(word, 1, range);
                }
            }),
        }
        Ok(())
    }

    fn zeros(&mut self, _: Place, count: u64) -> Result<(), Error> {
        if self.keep == Keep::All || matches!(self.keep, Keep::Within(spans) if is_within(spans, 0)) {
            self.table.add(0, count, self.range);
        }
        Ok(())
    }
}
