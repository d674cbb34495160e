//! Verdicts: what was decided for one image, and the findings that led to it.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::digest::Digest;
use super::evidence::PlaceIx;
use super::policy::PolicyName;

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
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema,
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
    /// Every finding, in the order of the table.
    pub const ALL: [Self; 19] = [
        Self::Missing,
        Self::ChildMissing,
        Self::ProxyCache,
        Self::Refused,
        Self::PullFailed,
        Self::Stale,
        Self::Unreachable,
        Self::Unauthorized,
        Self::RateLimited,
        Self::Deadline,
        Self::Unproved,
        Self::Unscanned,
        Self::ScanPending,
        Self::ScanFailed,
        Self::ScannerDown,
        Self::ScanExpired,
        Self::Vulnerable,
        Self::NotRouted,
        Self::Unparsable,
    ];

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
        match self {
            Self::Missing => "Missing",
            Self::ChildMissing => "ChildMissing",
            Self::ProxyCache => "ProxyCache",
            Self::Refused => "Refused",
            Self::PullFailed => "PullFailed",
            Self::Stale => "Stale",
            Self::Unreachable => "Unreachable",
            Self::Unauthorized => "Unauthorized",
            Self::RateLimited => "RateLimited",
            Self::Deadline => "Deadline",
            Self::Unproved => "Unproved",
            Self::Unscanned => "Unscanned",
            Self::ScanPending => "ScanPending",
            Self::ScanFailed => "ScanFailed",
            Self::ScannerDown => "ScannerDown",
            Self::ScanExpired => "ScanExpired",
            Self::Vulnerable => "Vulnerable",
            Self::NotRouted => "NotRouted",
            Self::Unparsable => "Unparsable",
        }
    }
}

impl fmt::Display for FindingKind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
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

/// One finding: what, where, and in words for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What.
    pub kind: FindingKind,
    /// Of what.
    pub about: About,
    /// At which Place; `None` where the Route has no Place on our site, or there is no Route.
    pub place: Option<PlaceIx>,
    /// The digest concerned, where one is known: the image's, or the child's.
    pub digest: Option<Digest>,
    /// What was seen, in words: `404`, `scan is 9 days old, 7 allowed`; may be empty.
    pub detail: Arc<str>,
}

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
    /// The enforcing policies that denied; empty where the ruling is no `Deny`, or `defaults` denied.
    pub denied_by: Vec<PolicyName>,
}

/// The closed set of reasons: the same word in annotation, audit annotation, metric label, event, CLI and docs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The proved local copy.
    Local,
    /// The reference already named it.
    AlreadyLocal,
    /// A local copy in spite of a finding.
    Accepted,
    /// A local copy because every other is known to be down.
    Presumed,
    /// Another site's copy.
    Fallback,
    /// Denied.
    Denied,
    /// Judged and recorded; nothing was changed.
    Observed,
    /// `exclude.images`.
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
    Finding(FindingKind),
}

impl Reason {
    /// Every reason, each once.
    pub fn all() -> impl Iterator<Item = Self> {
        let own = [
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
        own.into_iter().chain(FindingKind::ALL.into_iter().map(Self::Finding))
    }

    /// The word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Local => "Local",
            Self::AlreadyLocal => "AlreadyLocal",
            Self::Accepted => "Accepted",
            Self::Presumed => "Presumed",
            Self::Fallback => "Fallback",
            Self::Denied => "Denied",
            Self::Observed => "Observed",
            Self::Excluded => "Excluded",
            Self::Exempt => "Exempt",
            Self::PullNever => "PullNever",
            Self::MirrorPod => "MirrorPod",
            Self::Internal => "Internal",
            Self::Finding(kind) => kind.as_str(),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}
