//! Findings: why a Place was not simply used, what is done about it, and who asked for that.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::digest::Digest;
use super::name::PolicyName;
use super::place::PlaceIx;

/// What a policy does about a finding, mildest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Action {
    /// Use the copy in spite of it (for an image outside Landfall: leave it).
    Accept,
    /// Use another site's copy.
    Fallback,
    /// Deny.
    Block,
}

/// Why a Place was not simply used.
// In the order of the table of findings; policies, metrics and documents list them in this order.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    schemars::JsonSchema,
    strum::Display,
    strum::EnumString,
    strum::IntoStaticStr,
    strum::VariantArray,
)]
pub enum FindingKind {
    /// The local Place does not hold it, or the Route has none on our site.
    Missing,
    /// The index is there, a child that the Pod needs is not.
    ChildMissing,
    /// A proxy-cache project: reachable, not proved to be here.
    ProxyCache,
    /// It is there, but the registry refuses to hand it out.
    Refused,
    /// Nodes could not pull it from there.
    PullFailed,
    /// The local tag is proved to be another digest than the primary's.
    Stale,
    /// The registry did not give an answer that can be used.
    Unreachable,
    /// Our credentials do not open it.
    Unauthorized,
    /// The registry asked us to come back later.
    RateLimited,
    /// No answer in time, or too much asked at once.
    Deadline,
    /// The tag needed proof, and the primary was silent.
    Unproved,
    /// Present, never scanned here.
    Unscanned,
    /// Present, its scan is under way.
    ScanPending,
    /// Present, its scan failed.
    ScanFailed,
    /// Present, the scanner does not answer and no report is known.
    ScannerDown,
    /// Present, its scan is too old.
    ScanExpired,
    /// Present, scanned here, too severe.
    Vulnerable,
    /// No Route covers the image.
    NotRouted,
    /// The image is no reference that can be judged.
    Unparsable,
}

/// Which policy key answers for a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PolicyKey {
    /// `onMissing`
    OnMissing,
    /// `onStale`
    OnStale,
    /// `onUnknown`
    OnUnknown,
    /// `onUnscanned`
    OnUnscanned,
    /// `onVulnerable`
    OnVulnerable,
    /// `onUnrouted`
    OnUnrouted,
}

impl FindingKind {
    /// The policy key that answers for it.
    #[must_use]
    pub fn key(self) -> PolicyKey {
        match self {
            Self::Missing | Self::ChildMissing | Self::ProxyCache | Self::Refused | Self::PullFailed => {
                PolicyKey::OnMissing
            }
            Self::Stale => PolicyKey::OnStale,
            Self::Unreachable | Self::Unauthorized | Self::RateLimited | Self::Deadline | Self::Unproved => {
                PolicyKey::OnUnknown
            }
            Self::Unscanned
            | Self::ScanPending
            | Self::ScanFailed
            | Self::ScannerDown
            | Self::ScanExpired => PolicyKey::OnUnscanned,
            Self::Vulnerable => PolicyKey::OnVulnerable,
            Self::NotRouted | Self::Unparsable => PolicyKey::OnUnrouted,
        }
    }

    /// Does it say that something could not be learned?
    #[must_use]
    pub fn is_unknown(self) -> bool {
        self.key() == PolicyKey::OnUnknown
    }

    /// The word, the same in annotation, metric label, event, CLI and docs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// What a finding is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum About {
    /// The image: there is no Route for it, or no Place on our site.
    Image,
    /// The copy at a Place: whether it is there and can be pulled.
    Copy,
    /// The tag at a Place: whether it means what it means at the primary.
    Tag,
    /// The scan of the copy. An unknown here is one about the scan only: the stricter of `onUnknown` and
    /// `onUnscanned` answers for it.
    Scan,
}

/// One finding: what, where, what is done about it, and in words for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What was found.
    pub kind: FindingKind,
    /// What it is about.
    pub about: About,
    /// The Place; `None` where the Route has no Place on our site, or there is no Route.
    pub place: Option<PlaceIx>,
    /// The digest concerned, where one is known: the image's, or the child's.
    pub digest: Option<Digest>,
    /// What was seen, in words: `404`, `scan is 9 days old, 7 allowed`; may be empty.
    pub detail: Arc<str>,
    /// The strictest action that the rules in force ask for.
    pub action: Action,
    /// The enforcing policies that ask for this action; empty where `defaults` do.
    pub policies: Vec<PolicyName>,
}

#[cfg(test)]
mod tests {
    use strum::VariantArray;

    use super::*;

    #[test]
    fn every_finding_is_read_back_from_its_word_and_said_once() {
        let words: std::collections::BTreeSet<_> =
            FindingKind::VARIANTS.iter().map(|kind| kind.as_str()).collect();
        assert_eq!(words.len(), FindingKind::VARIANTS.len());
        for kind in FindingKind::VARIANTS {
            assert_eq!(kind.as_str().parse(), Ok(*kind));
            // Annotation, configuration and schema use serde's word.
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
        }
        assert!("missing".parse::<FindingKind>().is_err(), "words are read as they are written");
    }
}
