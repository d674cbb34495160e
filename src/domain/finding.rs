//! Findings: why a Place was not simply used, what is done about it, and which policies asked for that.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::digest::Digest;
use super::name::PolicyName;
use super::place::PlaceIx;

/// What a policy does about a finding, mildest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, strum::Display)]
pub enum Action {
    /// Use the copy in spite of the finding. An image without a Route is left unchanged.
    Accept,
    /// Use another site's copy.
    Fallback,
    /// Deny the Pod.
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
    /// The manifest is there, a layer of it is lost: nodes could not pull it.
    LayerMissing,
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
    /// The Pod has more images than are judged.
    TooMany,
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
    /// Present, and no scanner here can scan its kind: a model, a chart.
    Unscannable,
    /// Present, scanned here, too severe.
    Vulnerable,
    /// No Route covers the image.
    NotRouted,
    /// The image is no reference that can be judged.
    Unparsable,
}

/// The key of a policy that sets the action for a finding. Its text is the key as people write it, such as `onMissing`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, strum::Display)]
#[strum(serialize_all = "camelCase")]
pub enum PolicyKey {
    /// `onMissing`: a local Place cannot serve the image.
    OnMissing,
    /// `onStale`: the local tag is another digest than the primary's.
    OnStale,
    /// `onUnknown`: the answer could not be learned.
    OnUnknown,
    /// `onUnproved`: the local tag could not be compared with the primary's.
    OnUnproved,
    /// `onUnscanned`: the image is present but not scanned as required.
    OnUnscanned,
    /// `onUnscannable`: the image is present, and no scanner there can scan its kind.
    OnUnscannable,
    /// `onVulnerable`: the scan found something too severe.
    OnVulnerable,
    /// `onUnrouted`: no Route covers the image, or it cannot be parsed.
    OnUnrouted,
}

impl FindingKind {
    /// Returns the policy key that sets the action for this finding.
    #[must_use]
    pub fn key(self) -> PolicyKey {
        match self {
            Self::Missing
            | Self::ChildMissing
            | Self::LayerMissing
            | Self::ProxyCache
            | Self::Refused
            | Self::PullFailed => PolicyKey::OnMissing,
            Self::Stale => PolicyKey::OnStale,
            Self::Unreachable | Self::Unauthorized | Self::RateLimited | Self::Deadline | Self::TooMany => {
                PolicyKey::OnUnknown
            }
            Self::Unproved => PolicyKey::OnUnproved,
            Self::Unscanned
            | Self::ScanPending
            | Self::ScanFailed
            | Self::ScannerDown
            | Self::ScanExpired => PolicyKey::OnUnscanned,
            Self::Unscannable => PolicyKey::OnUnscannable,
            Self::Vulnerable => PolicyKey::OnVulnerable,
            Self::NotRouted | Self::Unparsable => PolicyKey::OnUnrouted,
        }
    }

    /// Whether this finding says that something could not be learned.
    #[must_use]
    pub fn is_unknown(self) -> bool {
        self.key() == PolicyKey::OnUnknown
    }

    /// Returns the finding's name: the same in annotation, metric label, event, CLI and docs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// The part of an image's state that a finding describes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum About {
    /// The image as a whole: it has no Route, or its Route has no Place on our site.
    Image,
    /// The copy at a Place: whether it is there and can be pulled.
    Copy,
    /// The tag at a Place: whether it has the same digest as at the primary.
    Tag,
    /// The scan of the copy. If the scan is unknown, the stricter of `onUnknown` and `onUnscanned` is the action.
    Scan,
}

/// One finding: what was found at which Place, and the action taken for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What was found.
    pub kind: FindingKind,
    /// The part of the image's state that the finding describes.
    pub about: About,
    /// The Place; `None` where the Route has no Place on our site, or there is no Route.
    pub place: Option<PlaceIx>,
    /// The digest concerned, where one is known: the image's, or the child's.
    pub digest: Option<Digest>,
    /// Details for people, for example `404` or `scanned 216 h ago, at most 168 h are allowed`; may be empty.
    pub detail: Arc<str>,
    /// The strictest action that the rules in force ask for.
    pub action: Action,
    /// The enforcing policies that ask for this action; empty where it comes from `defaults`.
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
        assert!("missing".parse::<FindingKind>().is_err(), "the names are case-sensitive");
    }
}
