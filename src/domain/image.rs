//! Image references: what a Pod writes, parsed as distribution and containerd parse it.

use std::borrow::Cow;

use super::digest::Digest;
use super::registry::name;

name! {
    /// A repository's path at one registry: `project/team/app`, without host, tag and digest.
    Repository
}
name! {
    /// A tag.
    Tag
}

/// A reference as written, and what it means.
///
/// Borrowed from the Pod; nothing is allocated but an implied `library/`. The spelling as written is kept:
/// what Landfall does not change, it leaves byte for byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference<'a> {
    /// The text as it stands in the Pod.
    pub written: &'a str,
    /// The registry host with its port as written, `docker.io` where none is; `index.docker.io` reads `docker.io`.
    /// Empty where the first component only looks like a host (`re_g.io/app`): nobody agrees where such a
    /// reference is pulled from, so it is never judged.
    pub host: &'a str,
    /// The repository path; Docker Hub's implied `library/` included.
    pub path: Cow<'a, str>,
    /// The tag as written; `None` where none is (never an implied `latest`).
    pub tag: Option<&'a str>,
    /// The digest.
    pub digest: Option<Digest>,
}

/// Why a text is no reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// Nothing is there.
    #[error("the reference is empty")]
    Empty,
}
