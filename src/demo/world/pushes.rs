//! What a registry does about pushes over the network. Stories and tests change it between steps.

use std::collections::HashMap;

use super::object::Object;
use crate::domain::digest::Digest;

/// What a registry does about pushes.
#[derive(Debug)]
pub struct Pushes {
    /// Whether it takes any.
    pub writes: Writes,
    /// The most bytes of all blobs in a Harbor's project.
    pub quota: Option<u64>,
    /// Whether it knows the API of referrers.
    pub referrers: ReferrersApi,
    /// Whether it takes an index without all of its children.
    pub partial_indexes: PartialIndexes,
    /// Whether a rule keeps every tag that there is.
    pub tags: ImmutableTags,
    /// The bytes of uploads, by their number. `None`: nothing has arrived yet.
    pub(super) uploads: HashMap<String, Option<(Object, Digest)>>,
}

/// Whether a registry takes pushes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writes {
    /// It does.
    Accepted,
    /// It is in read-only mode.
    ReadOnly,
}

/// Whether a registry knows the API of referrers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReferrersApi {
    /// It does.
    Served,
    /// It answers 404: clients keep the list under a tag.
    Absent,
}

/// Whether a registry takes an index without all of its children.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PartialIndexes {
    /// It does not, as Harbor.
    Refused,
    /// It does, as ECR.
    Accepted,
}

/// Whether tags can be moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImmutableTags {
    /// They can.
    None,
    /// An immutability rule covers all of them.
    All,
}

impl Pushes {
    pub(super) fn new() -> Self {
        Self {
            writes: Writes::Accepted,
            quota: None,
            referrers: ReferrersApi::Served,
            partial_indexes: PartialIndexes::Refused,
            tags: ImmutableTags::None,
            uploads: HashMap::new(),
        }
    }
}
