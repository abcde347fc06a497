//! What the tables of a heap add up to: groups of like allocations, and what leaked with what.
//!
//! Knows histograms, clusters by their heads, and the shape of a cluster. Refuses to know how any of it is shown.

mod groups;
mod leaks;
mod shape;

pub use groups::{GroupKey, Grouping, Identify};
pub use leaks::{ClusterGroup, LargeCluster, LeakSummary, TypeCounts};
pub use shape::{Shape, ShapeChild};
