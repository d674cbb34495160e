//! Routes: a set of images and the Places that hold them.

use super::mapping::Mapping;
use super::pattern::Pattern;
use super::registry::{SharedRegistry, name};

name! {
    /// The name of a Route.
    RouteName
}

/// Whether a tag's digest must be proved against the primary before a local copy is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TagProof {
    /// The primary is asked off the request path; what is remembered counts.
    Background,
    /// It is asked before settling; without an answer or a memory the tag is Unproved.
    Required,
}

/// Whether rewritten references are pinned to the digest that was checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Pin {
    /// `tag@digest`.
    Digest,
    /// The tag alone; an enforcing policy pins all the same.
    Tag,
}

/// Whether verdicts change Pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Rewrite {
    /// They do.
    Apply,
    /// They are recorded; an enforcing policy applies them all the same.
    Observe,
}

/// What a replica is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Serves {
    /// Copies that were replicated to it.
    Copies,
    /// `proxy: true`: a proxy-cache project, usable though it proves nothing.
    ProxyCache,
}

/// Can two sources land in one repository of this replica?
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Collision {
    /// Never: the mapping is one to one.
    Impossible,
    /// They can: a tag there needs proof.
    Possible,
}

/// A set of images: one primary, any number of replicas.
#[derive(Debug, Clone)]
pub struct Route {
    /// Its name.
    pub name: RouteName,
    /// The registry where the images are at home.
    pub primary: SharedRegistry,
    /// Which of its repositories.
    pub repositories: Pattern,
    /// The replicas, as configured.
    pub replicas: Vec<Replica>,
    /// Proof of tags.
    pub tag_proof: TagProof,
    /// Pinning.
    pub pin: Pin,
    /// Apply or observe.
    pub rewrite: Rewrite,
}

/// A registry that holds a Route's images under a mapping.
#[derive(Debug, Clone)]
pub struct Replica {
    /// The registry.
    pub registry: SharedRegistry,
    /// Where the images lie there.
    pub mapping: Mapping,
    /// What the replication rule copies.
    pub filter: Filter,
    /// Copies, or a proxy cache.
    pub serves: Serves,
    /// Whether two sources may land in one repository there.
    pub collision: Collision,
}

/// The filters of a replication rule: patterns over the primary's repositories and over tags.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Only these repositories.
    pub repositories: Option<Pattern>,
    /// Not these repositories.
    pub exclude: Option<Pattern>,
    /// Only these tags; never applies to a reference with a digest.
    pub tags: Option<Pattern>,
    /// Not these tags; likewise.
    pub exclude_tags: Option<Pattern>,
}
