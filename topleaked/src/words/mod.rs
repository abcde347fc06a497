//! Exact counts of the most frequent words, and of the values at an offset from each match of a word.
//!
//! Knows how to count in bounded memory, on all threads, near the speed at which the bytes can be read. Refuses to
//! know what a word means.
//!
//! What can be read again (files, memory) is walked over as often as it takes, mostly once. What comes only once is counted
//! while it comes; see `stream` and `stream_search`.
//!
//! ```
//! use topleaked::task::Task;
//! use topleaked::words::{Question, Source, count_words};
//!
//! let bytes: Vec<u8> = [7u64, 9, 7].iter().flat_map(|word| word.to_le_bytes()).collect();
//! let counts = count_words(Source::Slices(&[&bytes]), &Question::top(1), &Task::default())?;
//! assert_eq!((counts.top[0].value, counts.top[0].count), (7, 2));
//! # Ok::<(), topleaked::words::Error>(())
//! ```

mod aside;
mod count;
mod given;
mod hottest;
mod kernel;
mod pass;
mod radix;
mod sample;
mod search;
mod source;
mod spill;
mod stream;
mod stream_search;
mod table;
#[cfg(test)]
mod tests;
mod top;

use std::io;

use crate::addr::{Span, Target};

pub use count::count_words;
pub use given::{GivenCounts, count_given};
pub use hottest::{HottestCounts, count_hottest};
pub use search::{Member, MemberAt, MemberCounts, Search, StringCount, count_members};
pub use source::{Extent, Parts, Source};

/// What 1 to 7 (or 1 to 3) bytes at the end of an extent, a slice or a stream mean.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Tail {
    /// One word of value 0, as the classic form has it.
    #[default]
    Zero,
    /// Nothing.
    Ignore,
}

/// Which words count.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Keep<'a> {
    /// Every word.
    #[default]
    All,
    /// Only words whose value lies in one of these spans: sorted, without overlap, some hundreds at most.
    Within(&'a [Span]),
}

/// The instructions that a count uses; by default the best that the processor has.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Isa {
    /// Plain Rust.
    Portable,
    /// x86-64 with AVX2.
    Avx2,
    /// x86-64 with AVX-512 F, BW, DQ and VL.
    Avx512,
}

impl Isa {
    /// Every path, whether or not this processor has it.
    pub const ALL: [Isa; 3] = [Isa::Portable, Isa::Avx2, Isa::Avx512];

    /// Whether this processor can go this path.
    pub fn is_available(self) -> bool {
        #[cfg(target_arch = "x86_64")]
        return match self {
            Isa::Portable => true,
            // What `kernel` is compiled for.
            Isa::Avx2 => {
                std::arch::is_x86_feature_detected!("avx2")
                    && std::arch::is_x86_feature_detected!("bmi1")
                    && std::arch::is_x86_feature_detected!("bmi2")
                    && std::arch::is_x86_feature_detected!("popcnt")
            }
            Isa::Avx512 => {
                Isa::Avx2.is_available()
                    && std::arch::is_x86_feature_detected!("avx512f")
                    && std::arch::is_x86_feature_detected!("avx512bw")
                    && std::arch::is_x86_feature_detected!("avx512dq")
                    && std::arch::is_x86_feature_detected!("avx512vl")
            }
        };
        #[cfg(not(target_arch = "x86_64"))]
        return self == Isa::Portable;
    }

    /// The best path that this processor has.
    pub fn best() -> Isa {
        Isa::ALL.into_iter().rev().find(|isa| isa.is_available()).unwrap_or(Isa::Portable)
    }
}

/// What [`count_words`] is asked.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// How many of the most frequent words are wanted; any number.
    pub n: u64,
    /// The width and byte order of the words. The step from word to word is the width.
    pub target: Target,
    /// What leftover bytes mean.
    pub tail: Tail,
    /// Which words count.
    pub keep: Keep<'a>,
    /// A path that is forced, for tests and measurements; one that the processor does not have is not taken.
    pub isa: Option<Isa>,
}

impl Question<'_> {
    /// The `n` most frequent of all 8-byte little-endian words, as the classic form takes them.
    pub fn top(n: u64) -> Question<'static> {
        Question { n, target: Target::LITTLE_8, tail: Tail::Zero, keep: Keep::All, isa: None }
    }
}

/// How often a value occurs.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Count {
    /// The value as the process would load it, zero-extended.
    pub value: u64,
    /// How many times it occurs, at least once.
    pub count: u64,
}

/// What a count cost.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Cost {
    /// How many times the words were walked over.
    pub passes: u64,
    /// Bytes written to a temporary file, which is unlinked from the start.
    pub spilled_bytes: u64,
    /// The most bytes that tables and buffers took at once, over all threads.
    pub peak_bytes: u64,
}

/// The answer of [`count_words`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Counts {
    /// The most frequent words: by count descending, then by value ascending.
    pub top: Vec<Count>,
    /// How many words were looked at, those that [`Keep`] left out included.
    pub total_words: u64,
    /// What it cost.
    pub cost: Cost,
}

/// Why a count has no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The system refused to read.
    #[error("cannot read at byte {offset}: {source}")]
    Read {
        /// From the start of the file or stream.
        offset: u64,
        /// What the system said.
        source: io::Error,
    },
    /// The file ended before the bytes that it had at first.
    #[error("the file shrank while it was read: nothing at byte {offset}")]
    Shrunk {
        /// From the start of the file.
        offset: u64,
    },
    /// The memory budget is too small for anything.
    #[error("a memory budget of {given} bytes is too small: {needed} bytes is the least that works")]
    Budget {
        /// The least that works.
        needed: u64,
        /// What was given.
        given: u64,
    },
    /// The results alone do not fit in the memory budget.
    #[error("that many results do not fit in the memory budget: ask for fewer, or give at least {needed} bytes")]
    Results {
        /// A budget with which the work goes on further.
        needed: u64,
    },
    /// What did not fit in memory could not be written to a temporary file.
    #[error("cannot use a temporary file of {size_bytes} bytes in {folder} for what does not fit in memory: {source}")]
    Spill {
        /// The size that it had reached.
        size_bytes: u64,
        /// Where it was; the variable TMPDIR names another place.
        folder: String,
        /// What the system said.
        source: io::Error,
    },
    /// The stage was asked to stop.
    #[error("cancelled")]
    Cancelled,
}

/// How a budget is shared out.
#[derive(Clone, Copy, Debug)]
struct Means {
    threads: usize,
    piece_bytes: usize,
    /// For the tables of one thread.
    table_bytes: u64,
    /// For the results.
    result_bytes: u64,
}

impl Means {
    /// The least budget that works.
    const LEAST_BYTES: u64 = 1 << 20;
    /// Small buffers of fixed size that each thread has.
    const FIXED_BYTES: u64 = 64 << 10;

    fn of(task: &crate::task::Task, n: u64) -> Result<Means, Error> {
        let given = task.memory_budget_bytes;
        if given < Means::LEAST_BYTES {
            return Err(Error::Budget { needed: Means::LEAST_BYTES, given });
        }
        Ok(Means::share(given, task, n))
    }

    /// Shares out what is left of a budget that is large enough: at least three quarters of the least.
    fn share(budget: u64, task: &crate::task::Task, n: u64) -> Means {
        let threads = task.threads.get().min(usize::try_from(budget / Means::LEAST_BYTES).unwrap_or(usize::MAX)).max(1);
        let share = budget / threads as u64;
        let piece = usize::try_from(share / 8).unwrap_or(usize::MAX);
        let piece_bytes = piece.clamp(source::MIN_PIECE_BYTES, source::PIECE_BYTES) & !511;
        let result_bytes = n.saturating_mul(64).clamp(4 << 10, budget / 4);
        let table_bytes = (budget - result_bytes) / threads as u64 - piece_bytes as u64 - Means::FIXED_BYTES;
        Means { threads, piece_bytes, table_bytes, result_bytes }
    }
}
