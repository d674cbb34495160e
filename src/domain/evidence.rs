//! Evidence: the questions that judgement asks of registries, and their answers as values.
//!
//! An answer is never an error. What could not be learned is [`Unknown`], with its cause; it is never
//! treated as absent.

use std::sync::Arc;
use std::time::Duration;

use super::digest::Digest;
pub use super::place::PlaceIx;
use super::platform::Platform;
use super::scan::{Detail, ScanAnswer};
pub use super::unknown::{Cause, Silence, Unknown};

/// What is wanted at a Place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Wanted {
    /// The Case's tag (`latest` where the reference has neither tag nor digest).
    Tag,
    /// This digest: the reference's own, a child's, or the one a tag was found to mean.
    Digest(Digest),
}

/// One question to one registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Query {
    /// Does this Place hold it?
    Presence(PlaceIx, Wanted),
    /// What does this index list?
    Children(PlaceIx, Digest),
    /// What does this Harbor know of the artifact's scan?
    Scan(PlaceIx, Digest, Detail),
    /// What does the Case's tag mean at the primary?
    TagDigest(Ask),
    /// Is this Place's registry up, as far as we know? Answered from memory.
    Reachable(PlaceIx),
}

/// How hard the primary is asked for a tag's digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Ask {
    /// Answer from memory; asking happens off the request path.
    Remembered,
    /// Ask it now; where it is silent, memory counts.
    Now,
}

/// The answer to a [`Query`] of the same name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Observation {
    /// To [`Query::Presence`].
    Presence(Presence),
    /// To [`Query::Children`].
    Children(Children),
    /// To [`Query::Scan`].
    Scan(ScanAnswer),
    /// To [`Query::TagDigest`].
    TagDigest(TagDigest),
    /// To [`Query::Reachable`].
    Reachable(Reachability),
}

/// Does a Place hold an image?
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Presence {
    /// It does: the manifest's digest (equal to the wanted one where a digest was wanted), and what it is.
    Present {
        /// The verified digest.
        digest: Digest,
        /// Index or plain manifest.
        shape: Shape,
    },
    /// It does not.
    Absent,
    /// A proxy-cache project answers for it: it can be pulled through while its upstream lives,
    /// which is no proof of a local copy.
    ProxyCache {
        /// The digest that the proxy names.
        digest: Digest,
        /// Index or plain manifest.
        shape: Shape,
    },
    /// It is there, but Harbor refuses to hand it out (412), with its message.
    Refused(Arc<str>),
    /// Nodes reported that it cannot be pulled from there, in spite of what the registry says.
    PullFailed,
    /// We could not learn it.
    Unknown(Unknown),
}

/// What a manifest is, by its media type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Shape {
    /// One image.
    Manifest,
    /// An image index or manifest list.
    Index,
}

/// What an index lists. Immutable: the digest names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Children {
    /// Its children, attestations and other non-images left out.
    Listed(Arc<[Child]>),
    /// The registry no longer has it.
    Absent,
    /// We could not learn it.
    Unknown(Unknown),
}

/// One image of an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Child {
    /// Its manifest's digest.
    pub digest: Digest,
    /// Its platform; `None` where the index does not say.
    pub platform: Option<Platform>,
}

/// What a tag means at the primary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TagDigest {
    /// This digest, now or remembered.
    Known(Digest),
    /// The primary answered that it has no such tag.
    Absent,
    /// Nothing is remembered; only to [`Ask::Remembered`].
    NotRemembered,
    /// It was asked and did not answer, and nothing is remembered.
    Unknown(Unknown),
}

/// Whether a registry is up, as far as we know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reachability {
    /// It answered last time, or was never asked.
    Up,
    /// It is known to be down.
    Down,
}

/// The Observations known for a Case, each with its age.
#[derive(Debug, Clone, Default)]
pub struct Evidence {
    known: Vec<(Query, Observation, Duration)>,
}

impl Evidence {
    /// Adds an answer. The first answer to a question stands: judgement must not see one question answered two ways.
    pub fn learn(&mut self, query: Query, observation: Observation, age: Duration) {
        if self.get(query).is_none() {
            self.known.push((query, observation, age));
        }
    }

    /// The answer to a question, if it is known.
    #[must_use]
    pub fn get(&self, query: Query) -> Option<&Observation> {
        // A Case asks a handful of questions: a walk beats a map.
        self.known.iter().find(|(known, ..)| *known == query).map(|(_, observation, _)| observation)
    }

    /// All of it, in the order in which it was learned.
    pub fn iter(&self) -> impl Iterator<Item = (Query, &Observation, Duration)> {
        self.known.iter().map(|(query, observation, age)| (*query, observation, *age))
    }
}
