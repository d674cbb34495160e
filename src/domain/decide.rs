//! The decision.

use super::evidence::Query;

/// One step of a judgement: it names the evidence that it still lacks, or settles.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Step<T> {
    /// These questions must be answered first; never empty, and none of them is answered already.
    Ask(Vec<Query>),
    /// Settled.
    Settle(T),
}
