//! Damage as a walk finds it: all is counted, and the first of it kept.

use crate::addr::Addr;

use super::model::{Damage, DamageKind};

/// A walk keeps this many damages in full.
pub(super) const DAMAGE_LIMIT: usize = 1000;

/// What is wrong with a heap.
#[derive(Clone, Debug, Default)]
pub(super) struct DamageLog {
    pub(super) damage: Vec<Damage>,
    pub(super) count: u64,
}

impl DamageLog {
    pub(super) fn note(&mut self, damage: Damage) {
        self.count += 1;
        if self.damage.len() < DAMAGE_LIMIT {
            self.damage.push(damage);
        }
    }

    /// Notes damage that costs no memory: a word that is not what it should be.
    pub(super) fn note_word(&mut self, kind: DamageKind, at: u64, found: u64, expected: Option<u64>) {
        let at = Addr(at);
        self.note(Damage { kind, at, found, expected, in_front: None, resumed: None, lost_bytes: 0 });
    }

    pub(super) fn append(&mut self, other: DamageLog) {
        let room = DAMAGE_LIMIT.saturating_sub(self.damage.len());
        self.damage.extend(other.damage.into_iter().take(room));
        self.count += other.count;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_is_counted_and_the_first_of_it_kept() {
        let mut log = DamageLog::default();
        (0..1500).for_each(|at| log.note_word(DamageKind::Header, at, 0, None));
        let mut all = DamageLog::default();
        all.note_word(DamageKind::Footer, 7, 0, None);
        all.append(log);
        assert_eq!((all.count, all.damage.len()), (1501, DAMAGE_LIMIT));
        assert_eq!((all.damage[0].at, all.damage[1].at), (Addr(7), Addr(0)));
    }
}
