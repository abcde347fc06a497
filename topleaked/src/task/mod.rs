//! What every stage is given beside its input, and what it hands back beside its answer.
//!
//! Knows the number of threads, the memory budget, progress and cancellation
//! ([`Task`]), and weakened conclusions ([`Diagnostic`]). Refuses to know what
//! the stage does, and how progress is shown.
//!
//! ```
//! use topleaked::task::Task;
//!
//! let task = Task::default();
//! task.progress.start("counting", 4096);
//! task.progress.advance(1024);
//! assert_eq!(task.progress.snapshot().done, 1024);
//! ```

mod large_pages;

use std::num::NonZeroUsize;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

pub(crate) use large_pages::{advise_large_pages, with_large_pages};

/// The means a stage may use.
#[derive(Debug)]
pub struct Task {
    /// How many threads may run at once.
    pub threads: NonZeroUsize,
    /// How many bytes the stage's own tables and buffers may take in all, over all
    /// its threads; mapped files do not count.
    pub memory_budget_bytes: u64,
    /// How far the work has come.
    pub progress: Progress,
}

impl Default for Task {
    /// All processors and 512 MiB.
    fn default() -> Task {
        Task {
            threads: std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
            memory_budget_bytes: Task::DEFAULT_MEMORY_BUDGET_BYTES,
            progress: Progress::default(),
        }
    }
}

impl Task {
    /// The memory budget where the user names none: 512 MiB.
    pub const DEFAULT_MEMORY_BUDGET_BYTES: u64 = 512 << 20;

    /// Runs `work` once on each of the task's threads, this one among them, and hands back what they return, in no
    /// order that means anything. A panic in one of them goes on in the caller.
    pub fn on_all<R: Send>(&self, work: impl Fn() -> R + Sync) -> Vec<R> {
        if self.threads.get() == 1 {
            return vec![work()];
        }
        std::thread::scope(|scope| {
            let others: Vec<_> = (1..self.threads.get()).map(|_| scope.spawn(&work)).collect();
            let mut results = vec![work()];
            for other in others {
                match other.join() {
                    Ok(result) => results.push(result),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
            results
        })
    }
}

/// How far one stage has come; written by the workers, read by whoever shows it.
///
/// A worker calls [`Progress::advance`] once for some megabytes, never for each word.
#[derive(Debug, Default)]
pub struct Progress {
    stage: Mutex<&'static str>,
    done: AtomicU64,
    total: AtomicU64,
    cancelled: AtomicBool,
}

/// The state of a [`Progress`] at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Snapshot {
    /// What is being done, for people: "counting".
    pub stage: &'static str,
    /// Units done, bytes as a rule.
    pub done: u64,
    /// Units in all; 0 where that is not known.
    pub total: u64,
}

impl Progress {
    /// Begins a stage of `total` units (0 where that is not known).
    pub fn start(&self, stage: &'static str, total: u64) {
        if let Ok(mut current) = self.stage.lock() {
            *current = stage;
        }
        self.done.store(0, Ordering::Relaxed);
        self.total.store(total, Ordering::Relaxed);
    }

    /// Counts `units` more as done.
    pub fn advance(&self, units: u64) {
        self.done.fetch_add(units, Ordering::Relaxed);
    }

    /// Asks the stage to stop at its next check.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    /// Whether the stage was asked to stop.
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }

    /// Where the work stands now.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            stage: self.stage.lock().map(|stage| *stage).unwrap_or_default(),
            done: self.done.load(Ordering::Relaxed),
            total: self.total.load(Ordering::Relaxed),
        }
    }
}

/// Something that did not stop the work but weakens its conclusions.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Diagnostic {
    /// A stable code, in kebab case: `stack-missing`.
    pub code: &'static str,
    /// Where it was met: "thread 7", an address, a path. Text from the dump is not yet made
    /// safe for a terminal: the renderers do that.
    pub at: String,
    /// What it does to the answer: "leaks may be overstated".
    pub effect: String,
}
