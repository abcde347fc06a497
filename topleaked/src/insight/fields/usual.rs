//! What is usual in this process: how much of a type's objects one value of a member has, by the kind of member.
//!
//! Where one group stands alone, nothing can be compared but kinds of members: most flags are rarely set, most optional pointers
//! are null in most objects, while states spread. How far that goes is measured from the other types' objects, whose
//! members are inferred from their bytes.

use super::FieldsQuestion;
use super::column::{Sampled, read_sample};
use super::part::Part;
use super::read::{Class, NumberKind, Source};
use crate::types::LeafKind;

use super::super::contrast::{Binning, Cell, MOST_VALUES};

/// Objects of each other type that are looked at.
const MOST_SAMPLED: usize = 512;
/// With fewer objects a type says nothing of what is usual.
const LEAST_OBJECTS: usize = 16;
/// Numbers with more values than this are counters rather than states.
const FEW: usize = 16;
/// What holds where nothing is measured weighs as much as so many members.
const PRIOR: f64 = 4.0;
/// A share from which a member is constant, and no example.
const CONSTANT: f64 = 0.995;

/// Kinds of members whose values spread alike.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum MemberKind {
    /// True or false.
    Flag,
    /// One of a few values: an enumeration, a small number.
    State,
    /// A pointer.
    Pointer,
    /// A text.
    Text,
    /// A number with many values.
    Number,
}

impl MemberKind {
    const ALL: [MemberKind; 5] =
        [MemberKind::Flag, MemberKind::State, MemberKind::Pointer, MemberKind::Text, MemberKind::Number];

    /// Its name, in the plural.
    pub fn name(self) -> &'static str {
        match self {
            MemberKind::Flag => "flags",
            MemberKind::State => "states",
            MemberKind::Pointer => "pointers",
            MemberKind::Text => "texts",
            MemberKind::Number => "numbers",
        }
    }

    pub(super) fn of(source: &Source, distinct: usize) -> MemberKind {
        match (source, source.class()) {
            (Source::Leaf(leaf), _) if leaf.bits.is_some_and(|bits| bits.size == 1) => MemberKind::Flag,
            (Source::Leaf(leaf), _) if matches!(leaf.kind, LeafKind::Bool | LeafKind::Optional(_)) => MemberKind::Flag,
            (_, Class::Plain) => MemberKind::State,
            (_, Class::Pointer) => MemberKind::Pointer,
            (_, Class::Text) => MemberKind::Text,
            (Source::Number { kind: NumberKind::Flag, .. } | Source::Bit { .. }, _) => MemberKind::Flag,
            (_, Class::Ordered(_)) if distinct <= FEW => MemberKind::State,
            (_, Class::Ordered(_)) => MemberKind::Number,
        }
    }

    /// Rough, where the process says nothing.
    fn prior(self) -> f64 {
        match self {
            MemberKind::Flag => 0.85,
            MemberKind::State => 0.5,
            MemberKind::Pointer | MemberKind::Text => 0.75,
            MemberKind::Number => 0.65,
        }
    }
}

/// By kind of member, how much of the objects the most frequent value has as a rule.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Usual {
    shares: [f64; MemberKind::ALL.len()],
    /// Members that were looked at, by kind.
    measured: [u64; MemberKind::ALL.len()],
}

impl Default for Usual {
    /// What holds where nothing was measured.
    fn default() -> Usual {
        Usual { shares: MemberKind::ALL.map(MemberKind::prior), measured: [0; MemberKind::ALL.len()] }
    }
}

impl Usual {
    /// The share of the most frequent value.
    pub fn of(&self, kind: MemberKind) -> f64 {
        self.shares.get(kind as usize).copied().unwrap_or(0.5)
    }

    /// From how many members that was measured; where it is none, it is what holds for programs as a rule.
    pub fn measured(&self, kind: MemberKind) -> u64 {
        self.measured.get(kind as usize).copied().unwrap_or(0)
    }

    /// Measures it in objects of other types, a question each.
    pub fn measure(others: &[FieldsQuestion<'_>]) -> Usual {
        let mut sums = [(0.0, 0u64); MemberKind::ALL.len()];
        for question in others.iter().filter(|question| question.objects.len() >= LEAST_OBJECTS) {
            let part = Part::new(question);
            let step = question.objects.len().div_ceil(MOST_SAMPLED).max(1);
            let positions: Vec<usize> = (0..question.objects.len()).step_by(step).collect();
            for source in question.places.sources() {
                let cells = match read_sample(&part, source, &positions, MOST_VALUES) {
                    Sampled::Cells(cells) => cells,
                    Sampled::Keys { indices, .. } => indices
                        .into_iter()
                        .map(|key| key.map_or(Cell::Missing, |key| Cell::Value(u64::from(key))))
                        .collect(),
                };
                let binning = Binning::of_sample(&cells, &[], false, MOST_SAMPLED);
                let mut counts = vec![0u64; binning.categories().len()];
                let codes = cells.iter().map(|cell| binning.code(*cell));
                let codes: Vec<u16> = codes.filter(|code| usize::from(*code) < counts.len()).collect();
                for code in &codes {
                    if let Some(count) = counts.get_mut(usize::from(*code)) {
                        *count += 1;
                    }
                }
                let most = counts.iter().max().copied().unwrap_or(0) as f64 / codes.len().max(1) as f64;
                if codes.len() >= LEAST_OBJECTS
                    && most < CONSTANT
                    && let Some((sum, count)) = sums.get_mut(MemberKind::of(source, binning.distinct()) as usize)
                {
                    *sum += most;
                    *count += 1;
                }
            }
        }
        let mut usual = Usual::default();
        for (((share, measured), (sum, count)), kind) in
            usual.shares.iter_mut().zip(&mut usual.measured).zip(sums).zip(MemberKind::ALL)
        {
            *share = (kind.prior() * PRIOR + sum) / (PRIOR + count as f64);
            *measured = count;
        }
        usual
    }
}
