//! Where a replicated image lies: Harbor's own mapping of a replication rule, and its inverse.

use super::image::Repository;

/// How many leading path components the destination namespace replaces.
///
/// Harbor's `dest_namespace_replace_count`: the API's default is all (−1), its page's default is 1;
/// so neither is assumed here, and the configuration states it together with the namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Flatten {
    /// "Flatten all levels": only the last component stays.
    All,
    /// "Flatten n levels".
    Levels(u8),
}

/// Destination namespace and flattening of a replication rule.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Mapping {
    /// The destination namespace; empty keeps every path as it is.
    pub namespace: Box<str>,
    /// Which components it replaces.
    pub flatten: Flatten,
}
