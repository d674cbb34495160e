//! Verdicts: what was decided for one image, and the findings that led to it.

use strum::VariantArray;

use super::digest::Digest;
pub use super::finding::{About, Action, Finding, FindingKind, PolicyKey};
use super::place::PlaceIx;

/// Why an image was left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeepReason {
    /// No Route covers it.
    NotRouted,
    /// `exclude.images` covers it.
    Excluded,
    /// The Pod asked to be skipped.
    Exempt,
    /// `imagePullPolicy: Never`: the node has it or it does not start.
    PullNever,
    /// It is no reference.
    Unparsable,
}

/// What was decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ruling {
    /// The proved local copy.
    Local {
        /// Where.
        place: PlaceIx,
        /// The digest that was checked.
        digest: Digest,
    },
    /// A local copy in spite of a finding.
    Accepted {
        /// Where.
        place: PlaceIx,
        /// The digest that was checked, or that the reference names; `None` where a tag could not be resolved.
        digest: Option<Digest>,
        /// Accepted by an action, or presumed because every other target is down.
        ground: Ground,
    },
    /// Another site's copy.
    Fallback {
        /// Where; `None`: nowhere is a copy known, the image stays as written.
        place: Option<PlaceIx>,
        /// The digest found there, where it was asked.
        digest: Option<Digest>,
    },
    /// Left alone.
    Keep(KeepReason),
    /// Denied.
    Deny,
}

/// Why a copy with a finding was used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ground {
    /// The action for its findings is `Accept`, was lifted by an exception, or the primary itself is local.
    Accepted,
    /// Every target of the Fallback is known to be down.
    Presumed,
}

/// What was decided for one image, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct Verdict {
    /// The decision.
    pub ruling: Ruling,
    /// What stood in the way of simply using a local copy, in the order of the Places.
    pub findings: Vec<Finding>,
    /// The local Place that decided: the one that qualified, else the one whose findings did. `None` where the image
    /// has no local Place.
    pub deciding: Option<PlaceIx>,
}

/// The closed set of reasons: the same word in annotation, audit annotation, metric label, event, CLI and docs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, strum::Display, strum::IntoStaticStr)]
pub enum Reason {
    /// The proved local copy.
    Local,
    /// The reference already named the proved local copy.
    AlreadyLocal,
    /// A local copy in spite of a finding.
    Accepted,
    /// A local copy, because every other one is known to be down.
    Presumed,
    /// Another site's copy.
    Fallback,
    /// Denied by a policy.
    Denied,
    /// Judged and recorded; nothing was changed.
    Observed,
    /// `exclude.images`, or a namespace that Landfall leaves alone.
    Excluded,
    /// `landfall.dev/mode: Skip`.
    Exempt,
    /// `imagePullPolicy: Never`.
    PullNever,
    /// A mirror Pod of the kubelet.
    MirrorPod,
    /// Landfall failed; the Pod was admitted unchanged.
    Internal,
    /// A finding (`NotRouted` and `Unparsable` among them).
    #[strum(transparent)]
    Finding(FindingKind),
}

impl Reason {
    /// Those that are no finding.
    const OWN: [Self; 12] = [
        Self::Local,
        Self::AlreadyLocal,
        Self::Accepted,
        Self::Presumed,
        Self::Fallback,
        Self::Denied,
        Self::Observed,
        Self::Excluded,
        Self::Exempt,
        Self::PullNever,
        Self::MirrorPod,
        Self::Internal,
    ];

    /// Every reason, each once.
    pub fn all() -> impl Iterator<Item = Self> {
        Self::OWN.into_iter().chain(FindingKind::VARIANTS.iter().copied().map(Self::Finding))
    }

    /// The word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// The reason of this word.
impl std::str::FromStr for Reason {
    type Err = strum::ParseError;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        Self::all().find(|reason| reason.as_str() == word).ok_or(strum::ParseError::VariantNotFound)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts the variants that are no finding: a new one does not compile until it stands here.
    fn position(reason: Reason) -> Option<usize> {
        Some(match reason {
            Reason::Local => 0,
            Reason::AlreadyLocal => 1,
            Reason::Accepted => 2,
            Reason::Presumed => 3,
            Reason::Fallback => 4,
            Reason::Denied => 5,
            Reason::Observed => 6,
            Reason::Excluded => 7,
            Reason::Exempt => 8,
            Reason::PullNever => 9,
            Reason::MirrorPod => 10,
            Reason::Internal => 11,
            Reason::Finding(_) => return None,
        })
    }

    #[test]
    fn every_reason_is_listed_once_and_read_back_from_its_word() {
        let own: Vec<_> = Reason::all().filter_map(position).collect();
        assert_eq!(own, (0..own.len()).collect::<Vec<_>>(), "a reason is missing, or stands twice");
        let all: Vec<_> = Reason::all().collect();
        assert_eq!(all.len(), own.len() + FindingKind::VARIANTS.len());
        for reason in all {
            assert_eq!(reason.as_str().parse(), Ok(reason));
            assert_eq!(reason.to_string(), reason.as_str());
        }
    }
}
