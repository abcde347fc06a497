//! The most frequent of many counts, in a fixed order.

use super::{Count, Error};

/// Keeps the `n` most frequent: by count descending, then by value ascending.
pub(super) struct Top {
    n: usize,
    most: usize,
    kept: Vec<Count>,
    floor: Option<Count>,
}

fn order(a: &Count, b: &Count) -> std::cmp::Ordering {
    b.count.cmp(&a.count).then(a.value.cmp(&b.value))
}

impl Top {
    /// Room for `n`, within `most_bytes`.
    pub(super) fn new(n: u64, most_bytes: u64) -> Top {
        let most = usize::try_from(most_bytes / size_of::<Count>() as u64).unwrap_or(usize::MAX).max(64);
        Top { n: usize::try_from(n).unwrap_or(usize::MAX), most, kept: Vec::new(), floor: None }
    }

    /// Considers one value, which is never offered twice.
    ///
    /// # Errors
    /// [`Error::Results`] where `n` results do not fit.
    pub(super) fn offer(&mut self, value: u64, count: u64) -> Result<(), Error> {
        let new = Count { value, count };
        if self.n == 0 || count == 0 || self.floor.as_ref().is_some_and(|floor| order(&new, floor).is_gt()) {
            return Ok(());
        }
        if self.kept.len() == self.kept.capacity() {
            if self.kept.len() >= self.n.saturating_mul(2) {
                self.trim();
            } else if self.kept.len() >= self.most / 2 {
                if self.kept.len() > self.n {
                    self.trim();
                } else if self.kept.len() >= self.most {
                    // A quarter of a budget is for results; twice as much is sure to go further.
                    let needed = self.kept.len().saturating_mul(8 * size_of::<Count>()) as u64;
                    return Err(Error::Results { needed });
                }
                self.kept.reserve_exact(self.most.saturating_sub(self.kept.len()).max(1));
            } else {
                self.kept.reserve_exact(self.kept.len().max(32));
            }
        }
        self.kept.push(new);
        Ok(())
    }

    fn trim(&mut self) {
        if let Some(last) = self.n.checked_sub(1).filter(|last| *last < self.kept.len()) {
            self.kept.select_nth_unstable_by(last, order);
            self.kept.truncate(self.n);
            self.floor = self.kept.last().copied();
        }
    }

    /// The last of the `n` so far, as of the last time that they were sorted out.
    pub(super) fn floor(&self) -> Option<Count> {
        self.floor
    }

    /// The count of the last of the `n`; 0 where there are fewer.
    pub(super) fn least_count(&mut self) -> u64 {
        if self.kept.len() < self.n {
            return 0;
        }
        self.trim();
        self.kept.iter().map(|kept| kept.count).min().unwrap_or(u64::MAX)
    }

    /// The most frequent, in order.
    pub(super) fn finish(mut self) -> Vec<Count> {
        self.trim();
        self.kept.sort_unstable_by(order);
        self.kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_are_cut_by_value() {
        let mut top = Top::new(3, 1 << 20);
        for value in (0..1000).rev() {
            top.offer(value, 1 + u64::from(value == 500)).unwrap();
        }
        assert_eq!(top.least_count(), 1);
        let top = top.finish();
        assert_eq!(top.iter().map(|count| count.value).collect::<Vec<_>>(), [500, 0, 1]);
    }

    #[test]
    fn more_results_than_fit_are_an_error() {
        let mut top = Top::new(u64::MAX, 1 << 10);
        let outcome = (0..1000).try_for_each(|value| top.offer(value, 1));
        // What it asks for is more than there was: a quarter of it is for results.
        assert!(matches!(outcome, Err(Error::Results { needed }) if needed / 4 > 1 << 10));
        let mut top = Top::new(10, 1 << 10);
        (0..1000).try_for_each(|value| top.offer(value, 1)).unwrap();
        assert_eq!(top.finish().len(), 10);
    }
}
