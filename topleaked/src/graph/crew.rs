//! Several threads at one task: work that begets work, shared out in batches.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Pieces of work that wait for a thread.
///
/// Each worker keeps a list of its own and comes here only to give a part of it away while others are idle, or when
/// it has none left. [`Pool::take`] ends for all once all have none.
#[derive(Debug)]
pub(super) struct Pool<T> {
    inner: Mutex<Inner<T>>,
    changed: Condvar,
    /// How many workers wait: read without the lock, as a hint.
    idle: AtomicUsize,
    workers: usize,
}

#[derive(Debug)]
struct Inner<T> {
    waiting: Vec<T>,
    idle: usize,
    finished: bool,
}

impl<T> Pool<T> {
    pub(super) fn new(workers: NonZeroUsize) -> Pool<T> {
        Pool {
            inner: Mutex::new(Inner { waiting: Vec::new(), idle: 0, finished: false }),
            changed: Condvar::new(),
            idle: AtomicUsize::new(0),
            workers: workers.get(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner<T>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether some worker has nothing to do.
    #[inline]
    pub(super) fn is_hungry(&self) -> bool {
        self.idle.load(Ordering::Relaxed) > 0
    }

    pub(super) fn give(&self, work: T) {
        self.lock().waiting.push(work);
        self.changed.notify_one();
    }

    /// The next piece; waits for one while others still work. `None` once all work is done, or [`Pool::stop`] was called.
    pub(super) fn take(&self) -> Option<T> {
        let mut inner = self.lock();
        loop {
            if inner.finished {
                self.changed.notify_all();
                return None;
            }
            if let Some(work) = inner.waiting.pop() {
                return Some(work);
            }
            inner.idle += 1;
            self.idle.store(inner.idle, Ordering::Relaxed);
            if inner.idle == self.workers {
                inner.finished = true;
                continue;
            }
            inner = self.changed.wait(inner).unwrap_or_else(PoisonError::into_inner);
            if !inner.finished {
                inner.idle -= 1;
                self.idle.store(inner.idle, Ordering::Relaxed);
            }
        }
    }

    /// Lets no worker get another piece.
    pub(super) fn stop(&self) {
        // Under the lock: a worker between its look and its wait would miss the call.
        self.lock().finished = true;
        self.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_work_is_done_whoever_does_it() {
        for threads in [1, 2, 3, 8] {
            let threads = NonZeroUsize::new(threads).unwrap();
            let task = crate::task::Task { threads, ..Default::default() };
            let pool = Pool::new(threads);
            pool.give(vec![20_u32]);
            let done: u64 = task
                .on_all(|| {
                    let mut done = 0_u64;
                    while let Some(batch) = pool.take() {
                        for depth in batch {
                            done += 1;
                            if depth > 6 {
                                pool.give(vec![depth - 1, depth - 2]);
                            }
                        }
                    }
                    done
                })
                .iter()
                .sum();
            // Calls of fib-like recursion from 20 down to 6.
            fn calls(depth: u32) -> u64 {
                1 + if depth > 6 { calls(depth - 1) + calls(depth - 2) } else { 0 }
            }
            assert_eq!(done, calls(20));
        }
    }

    #[test]
    fn whoever_waits_hears_of_the_stop() {
        let threads = NonZeroUsize::new(3).unwrap();
        let task = crate::task::Task { threads, ..Default::default() };
        for _ in 0..2000 {
            let pool = Pool::new(threads);
            pool.give(());
            // Whoever gets the work stops, while the others begin to wait.
            task.on_all(|| {
                if pool.take().is_some() {
                    pool.stop();
                }
            });
        }
    }
}
