//! Evidence: the questions that a judgement asks registries, and their answers as values.
//!
//! An answer is never an error. Where the answer could not be learned it is [`Unknown`], with the cause. Unknown is never
//! treated as absent.

use std::sync::Arc;
use std::time::Duration;

use super::digest::Digest;
use super::place::PlaceIx;
use super::platform::Platform;
use super::scan::{Detail, ScanAnswer};
use super::unknown::Unknown;

/// Which manifest a presence question is about.
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
    /// Does this Place hold the image?
    Presence(PlaceIx, Wanted),
    /// Which images does this index list?
    Children(PlaceIx, Digest),
    /// What does this Harbor know about the artifact's scan?
    Scan(PlaceIx, Digest, Detail),
    /// Which digest does the Case's tag have at the primary?
    TagDigest(Ask),
    /// Is this Place's registry up? Answered from memory, without a request.
    Reachable(PlaceIx),
}

/// Whether the primary is asked for a tag's digest while the Pod waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Ask {
    /// Answer from memory. The primary is asked in the background.
    Remembered,
    /// Ask the primary now. If it does not answer, memory counts.
    Now,
}

/// The answer to a [`Query`] of the same name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Observation {
    /// Answers [`Query::Presence`].
    Presence(Presence),
    /// Answers [`Query::Children`].
    Children(Children),
    /// Answers [`Query::Scan`].
    Scan(ScanAnswer),
    /// Answers [`Query::TagDigest`].
    TagDigest(TagDigest),
    /// Answers [`Query::Reachable`].
    Reachable(Reachability),
}

/// Whether a Place holds an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Presence {
    /// The Place holds the image.
    Present {
        /// The verified digest; equal to the wanted one where a digest was wanted.
        digest: Digest,
        /// Whether it is an index or a plain manifest.
        shape: Shape,
    },
    /// The Place does not hold the image.
    Absent,
    /// A proxy-cache project answers for the image. It can be pulled while the proxy's upstream is up, but this does not
    /// prove a local copy.
    ProxyCache {
        /// The digest that the proxy names.
        digest: Digest,
        /// Whether it is an index or a plain manifest.
        shape: Shape,
    },
    /// The image is there, but Harbor refuses to serve it (412). Holds Harbor's message.
    Refused(Arc<str>),
    /// The manifest is there, but a look at all its layers found that one is lost.
    LayerMissing {
        /// The digest of the manifest.
        digest: Digest,
        /// The layer. Apart, so that all other answers stay small.
        layer: Box<Digest>,
    },
    /// The registry says that the image is present, but a look at it, after nodes reported that they cannot pull it there,
    /// found that it cannot be pulled.
    PullFailed {
        /// The digest of the manifest.
        digest: Digest,
    },
    /// The presence could not be learned.
    Unknown(Unknown),
}

/// What a manifest is, by its media type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Shape {
    /// The manifest of one image.
    Manifest,
    /// An image index or manifest list.
    Index,
}

/// The images that an index lists. They never change, because the digest of the index covers them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Children {
    /// All that the index lists, without attestations.
    Listed(Arc<[Child]>),
    /// The registry does not have the index any more.
    Absent,
    /// The list could not be learned.
    Unknown(Unknown),
}

/// One image of an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Child {
    /// The digest of the image's manifest.
    pub digest: Digest,
    /// The image's platform; `None` where the index does not name it.
    pub platform: Option<Platform>,
}

/// How the layers of a manifest stand at a Place. No judgement asks: a look at all of them takes a request for each. What it
/// finds lost is known to later judgements as [`Presence::LayerMissing`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Layers {
    /// Its config and all layers that a node pulls from there are there. An index has none of its own.
    Complete {
        /// Their sizes together, as the manifest states them.
        bytes: u64,
    },
    /// The manifest is there, and this layer or config is not.
    Lost(Digest),
    /// The Place does not have the manifest any more.
    Absent,
    /// It could not be learned, or not for all of them. None was found lost.
    Unknown(Unknown),
}

/// The digest that a tag has at the primary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TagDigest {
    /// The tag has this digest, by a fresh or a remembered answer.
    Known(Digest),
    /// The primary answered that it has no such tag.
    Absent,
    /// Nothing is remembered. Only [`Ask::Remembered`] gets this answer.
    NotRemembered,
    /// The primary was asked and did not answer, and nothing is remembered.
    Unknown(Unknown),
}

/// Whether a registry is up, as far as we know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reachability {
    /// The registry answered last time, or was never asked.
    Up,
    /// The registry is known to be down.
    Down,
}

/// The Observations known for a Case, each with its age.
#[derive(Debug, Clone, Default)]
pub struct Evidence {
    known: Vec<(Query, Observation, Duration)>,
}

impl Evidence {
    /// Adds an answer. If the question has an answer already, the first one stays: a judgement must never see two
    /// different answers to one question.
    pub fn learn(&mut self, query: Query, observation: Observation, age: Duration) {
        if self.get(query).is_none() {
            self.known.push((query, observation, age));
        }
    }

    /// Returns the answer to a question, if it is known.
    #[must_use]
    pub fn get(&self, query: Query) -> Option<&Observation> {
        // A Case asks only a few questions, so a linear search is faster than a map.
        self.known.iter().find(|(known, ..)| *known == query).map(|(_, observation, _)| observation)
    }

    /// Iterates over all answers with their ages, in the order in which they were added.
    pub fn iter(&self) -> impl Iterator<Item = (Query, &Observation, Duration)> {
        self.known.iter().map(|(query, observation, age)| (*query, observation, *age))
    }
}
