//! Questions to registries, independent of the Case that asks: the keys of the cache.

use std::sync::LazyLock;

use prometheus_client::encoding::EncodeLabelValue;

use crate::domain::case::{Place, Routed};
use crate::domain::digest::Digest;
use crate::domain::evidence::{Children, Observation, Presence, TagDigest, Wanted};
use crate::domain::image::{Repository, Tag};
use crate::domain::scan::{Detail, ScanAnswer, ScanState, Scanner};
use crate::domain::unknown::Unknown;

use super::invalidation::Scope;

/// The tag of a reference with neither tag nor digest.
static LATEST: LazyLock<Tag> = LazyLock::new(|| Tag::new("latest"));

/// A registry under one configuration. A registry whose configuration changed gets a new id, so that what its
/// predecessor answered, and what is still being asked of it, no longer counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct UpstreamId(pub u32);

/// One question to one registry: the key of its cached answer. A clone allocates nothing.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Question {
    pub upstream: UpstreamId,
    pub repository: Repository,
    pub what: What,
}

/// What is asked about a repository.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum What {
    /// Is this tag here?
    Tag(Tag),
    /// Is this digest here?
    Digest(Digest),
    /// What does this index list?
    Children(Digest),
    /// How does its scan stand?
    Scan(Digest, Detail),
    /// What does the tag mean here, at its primary?
    Meaning(Tag),
}

/// The kind of a question, as a metric label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(super) enum Aspect {
    Presence,
    Children,
    Scan,
    TagDigest,
}

impl Question {
    pub fn presence(upstream: UpstreamId, routed: &Routed, place: &Place, wanted: Wanted) -> Self {
        let what = match wanted {
            Wanted::Tag => What::Tag(tag(routed)),
            Wanted::Digest(digest) => What::Digest(digest),
        };
        Self::of(upstream, place, what)
    }

    pub fn children(upstream: UpstreamId, place: &Place, digest: Digest) -> Self {
        Self::of(upstream, place, What::Children(digest))
    }

    pub fn scan(upstream: UpstreamId, place: &Place, digest: Digest, detail: Detail) -> Self {
        Self::of(upstream, place, What::Scan(digest, detail))
    }

    pub fn meaning(upstream: UpstreamId, routed: &Routed, primary: &Place) -> Self {
        Self::of(upstream, primary, What::Meaning(tag(routed)))
    }

    fn of(upstream: UpstreamId, place: &Place, what: What) -> Self {
        Self { upstream, repository: place.repository.clone(), what }
    }

    /// The same repository's question for a digest.
    pub fn for_digest(&self, digest: Digest) -> Self {
        Self { what: What::Digest(digest), ..self.clone() }
    }

    /// The scopes whose invalidation concerns it, as far as the question tells.
    pub fn scopes(&self) -> impl Iterator<Item = Scope> {
        let repository = self.repository.clone();
        let scope = match &self.what {
            What::Tag(tag) | What::Meaning(tag) => Scope::Tag(repository.clone(), tag.clone()),
            What::Digest(digest) | What::Children(digest) | What::Scan(digest, _) => Scope::Digest(*digest),
        };
        [scope, Scope::Repository(repository)].into_iter()
    }

    pub fn aspect(&self) -> Aspect {
        match self.what {
            What::Tag(_) | What::Digest(_) => Aspect::Presence,
            What::Children(_) => Aspect::Children,
            What::Scan(..) => Aspect::Scan,
            What::Meaning(_) => Aspect::TagDigest,
        }
    }
}

/// The answer to a question of this kind that could not be answered.
pub(super) fn unanswered(aspect: Aspect, unknown: Unknown) -> Observation {
    match aspect {
        Aspect::Presence => Observation::Presence(Presence::Unknown(unknown)),
        Aspect::Children => Observation::Children(Children::Unknown(unknown)),
        Aspect::Scan => {
            let state = ScanState::Unknown(unknown);
            Observation::Scan(ScanAnswer { scanner: Scanner::Unknown, state, last: None })
        }
        Aspect::TagDigest => Observation::TagDigest(TagDigest::Unknown(unknown)),
    }
}

fn tag(routed: &Routed) -> Tag {
    routed.tag.as_ref().unwrap_or(&LATEST).clone()
}

/// Why the answer could not be learned. `None`: it was learned.
pub(super) fn unknown(observation: &Observation) -> Option<&Unknown> {
    match observation {
        Observation::Presence(Presence::Unknown(unknown))
        | Observation::Children(Children::Unknown(unknown))
        | Observation::Scan(ScanAnswer { state: ScanState::Unknown(unknown), .. })
        | Observation::TagDigest(TagDigest::Unknown(unknown)) => Some(unknown),
        _ => None,
    }
}
