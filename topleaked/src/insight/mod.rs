//! What the words and tables of a dump add up to: the answers behind the verbs, without their form.
//!
//! Knows how a word is read for a person ([`Reader`]), which words a process is full of ([`top_words`]), histograms,
//! clusters by their heads, the shape of a cluster, and which members tell one group of objects from another ([`Study`]).
//! Refuses to know how any of it is shown.

pub mod contrast;
mod fields;
pub mod filter;
mod groups;
mod inferred;
mod known;
mod leaks;
mod number;
mod pieces;
mod reading;
mod shape;
mod text;
mod top;
mod usage;

pub use fields::{
    ConditionError, CrossTable, CrossValues, FieldMember, FieldRule, FieldValue, FieldsQuestion, Meaning, MemberKind,
    MemberPlaces, Names, ObjectConditions, RuleCondition, RuleTest, Study, Usual, alike,
};
pub use groups::{GroupKey, Grouping};
pub use inferred::{InferredMember, Pointed, PointsTo, Role, TimeUnit, infer_layout};
pub use leaks::{ClusterGroup, LargeCluster, LeakSummary};
pub use pieces::MemoryPieces;
pub use reading::{Reader, Reading, WordKind};
pub use shape::{Shape, ShapeChild};
pub use text::{plausible_text, text_in_word};
pub use top::{DATA_MEMORY, FoundWord, Noise, TopAnswer, TopError, TopQuestion, top_words};
pub use usage::{Selection, TypeCounts, Usage};
