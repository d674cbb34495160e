//! Verdicts: the decision for one image, and the findings that led to it.

use strum::VariantArray;

use super::digest::Digest;
use super::finding::{Finding, FindingKind};
use super::place::PlaceIx;

/// Why an image is left unchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeepReason {
    /// No Route covers the image.
    NotRouted,
    /// `exclude.images` covers the image.
    Excluded,
    /// The Pod asks to be left alone: `landfall.dev/mode: Skip`.
    Exempt,
    /// `imagePullPolicy: Never`: the node must have the image already.
    PullNever,
    /// The image is `auto`, in whose place an injector puts the real one.
    Placeholder,
    /// The text is not a reference that can be judged.
    Unparsable,
}

/// The decision for one image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ruling {
    /// Use the proved local copy.
    Local {
        /// The Place of the copy.
        place: PlaceIx,
        /// The digest that was checked.
        digest: Digest,
    },
    /// Use a local copy in spite of a finding.
    Accepted {
        /// The Place of the copy.
        place: PlaceIx,
        /// The digest that was checked, or that the reference names; `None` where a tag could not be resolved.
        digest: Option<Digest>,
        /// Whether an action accepted it, or every other target is down.
        ground: Ground,
    },
    /// Use another site's copy.
    Fallback {
        /// The Place of the copy; `None` where no copy is known anywhere, so the image stays as written.
        place: Option<PlaceIx>,
        /// The digest found there, where it was asked.
        digest: Option<Digest>,
    },
    /// Leave the image unchanged.
    Keep(KeepReason),
    /// Deny the Pod.
    Deny,
}

impl Ruling {
    /// The Place whose copy is used, and the digest of that copy, as far as they are known.
    #[must_use]
    pub fn used_copy(&self) -> (Option<PlaceIx>, Option<Digest>) {
        match *self {
            Self::Local { place, digest } => (Some(place), Some(digest)),
            Self::Accepted { place, digest, .. } => (Some(place), digest),
            Self::Fallback { place, digest } => (place, digest),
            Self::Keep(_) | Self::Deny => (None, None),
        }
    }
}

/// Why a copy with a finding is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ground {
    /// The action for its findings is `Accept`, an exception allows them, or the primary itself is local.
    Accepted,
    /// Every target of the Fallback is known to be down.
    Presumed,
}

/// The decision for one image, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct Verdict {
    /// The decision.
    pub ruling: Ruling,
    /// Why local copies were not simply used, in the order of the Places.
    pub findings: Vec<Finding>,
    /// The local Place that decided: the one that qualified, else the one whose findings gave the action. `None` where
    /// the image has no local Place.
    pub deciding: Option<PlaceIx>,
}

/// The closed set of reasons. A reason is the same word in annotation, audit annotation, metric label, event, CLI and
/// docs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, strum::Display, strum::IntoStaticStr)]
pub enum Reason {
    /// The proved local copy is used.
    Local,
    /// The reference already named the proved local copy.
    AlreadyLocal,
    /// A local copy is used in spite of a finding.
    Accepted,
    /// A local copy is used because every other one is known to be down.
    Presumed,
    /// Another site's copy is used.
    Fallback,
    /// A policy denied the image.
    Denied,
    /// The image was judged and recorded, but not changed.
    Observed,
    /// Landfall does not handle it: the image is in `exclude.images`, the Pod in a namespace that is left alone or being
    /// deleted already, or the review about something else than new images of a Pod.
    Excluded,
    /// The Pod has `landfall.dev/mode: Skip`.
    Exempt,
    /// The container has `imagePullPolicy: Never`.
    PullNever,
    /// The image is `auto`: an injector (Istio's) puts the real image in its place.
    Placeholder,
    /// The Pod is a mirror Pod of the kubelet.
    MirrorPod,
    /// Landfall failed; the Pod was admitted unchanged.
    Internal,
    /// The reason is a finding, for example `NotRouted` or `Unparsable`.
    #[strum(transparent)]
    Finding(FindingKind),
}

impl Reason {
    /// The reasons that are not findings.
    const OWN: [Self; 13] = [
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
        Self::Placeholder,
        Self::MirrorPod,
        Self::Internal,
    ];

    /// Iterates over all reasons, each once.
    pub fn all() -> impl Iterator<Item = Self> {
        Self::OWN.into_iter().chain(FindingKind::VARIANTS.iter().copied().map(Self::Finding))
    }

    /// Returns the most important reason among those of a Pod's images: that of the Pod in metrics. A Pod without images
    /// has nothing that a Route could cover.
    #[must_use]
    pub fn of_pod(images: impl Iterator<Item = Self>) -> Self {
        images.min_by_key(|reason| reason.weight()).unwrap_or(Self::Finding(FindingKind::NotRouted))
    }

    /// The more important, the lower.
    fn weight(self) -> u8 {
        match self {
            Self::Internal => 0,
            Self::Denied => 1,
            Self::Fallback => 2,
            Self::Presumed => 3,
            Self::Accepted => 4,
            Self::Local => 5,
            Self::AlreadyLocal => 6,
            Self::Observed => 7,
            Self::MirrorPod | Self::Excluded | Self::Exempt | Self::PullNever | Self::Placeholder => 8,
            Self::Finding(_) => 9,
        }
    }

    /// Returns the reason as one word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// Parses the word that [`Reason::as_str`] returns.
impl std::str::FromStr for Reason {
    type Err = strum::ParseError;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        Self::all().find(|reason| reason.as_str() == word).ok_or(strum::ParseError::VariantNotFound)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The index of each variant that is not a finding. A new variant does not compile until it is added here.
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
            Reason::Placeholder => 10,
            Reason::MirrorPod => 11,
            Reason::Internal => 12,
            Reason::Finding(_) => return None,
        })
    }

    #[test]
    fn every_reason_is_listed_once_and_read_back_from_its_word() {
        let own: Vec<_> = Reason::all().filter_map(position).collect();
        assert_eq!(own, (0..own.len()).collect::<Vec<_>>(), "a reason is missing, or listed twice");
        let all: Vec<_> = Reason::all().collect();
        assert_eq!(all.len(), own.len() + FindingKind::VARIANTS.len());
        for reason in all {
            assert_eq!(reason.as_str().parse(), Ok(reason));
            assert_eq!(reason.to_string(), reason.as_str());
        }
    }
}
