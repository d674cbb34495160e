//! Gaps: what a site lacks that somebody should fix: missing or unscanned local copies, and what will become one.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::case::{Case, Routed, Subject};
use super::digest::Digest;
use super::finding::{About, Finding, FindingKind, PolicyKey};
use super::image::{Reference, Tag};
use super::name::RegistryName;
use super::verdict::Verdict;

/// Identifies a Gap: one image, or one replication rule, and the registry that should hold what is lacking. There is one
/// record for each key, however many Pods use the image.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GapKey {
    /// What it is about.
    pub subject: GapSubject,
    /// The registry that should hold the image and its scan. For a rule: the registry that keeps the rule.
    pub registry: RegistryName,
}

/// What a Gap is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum GapSubject {
    /// An image.
    Image {
        /// The image's name at its primary, `host/repository`.
        name: Box<str>,
        /// The version of the image.
        version: Version,
    },
    /// A replication rule of a Harbor, by its name.
    Rule(Box<str>),
}

impl GapKey {
    /// Builds the key of an image.
    #[must_use]
    pub fn image(name: impl Into<Box<str>>, version: Version, registry: RegistryName) -> Self {
        Self { subject: GapSubject::Image { name: name.into(), version }, registry }
    }

    /// Returns the bytes that it owns on the heap.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        match &self.subject {
            GapSubject::Image { name, .. } | GapSubject::Rule(name) => name.len(),
        }
    }

    /// Builds the key of an image from its text in a Pod, where nothing else is known about it.
    #[must_use]
    pub fn written(reference: &Reference<'_>, registry: RegistryName) -> Self {
        Self::image(reference.name(), Version::of(reference.digest, reference.owned_tag()), registry)
    }
}

impl fmt::Display for GapSubject {
    /// `host/repository@sha256:…`, `host/repository:tag`, or `rule <name>`.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Image { name, version: Version::Digest(digest) } => write!(out, "{name}@{digest}"),
            Self::Image { name, version: Version::Tag(tag) } => write!(out, "{name}:{tag}"),
            Self::Rule(name) => write!(out, "rule {name}"),
        }
    }
}

/// A version of an image: its digest, or its tag where no digest is known.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Version {
    /// The digest is known.
    Digest(Digest),
    /// Only the tag is known, or the Gap is about the tag itself.
    Tag(Tag),
}

impl Version {
    fn of(digest: Option<Digest>, tag: Option<Tag>) -> Self {
        // A reference without tag and digest means `latest`.
        let latest = || Tag::new("latest");
        digest.map_or_else(|| Self::Tag(tag.unwrap_or_else(latest)), Self::Digest)
    }
}

/// A Finding that somebody should fix. The time when it was seen and the number of Pods are not part of it; the code
/// that records Gaps adds them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// The image and the registry.
    pub key: GapKey,
    /// What was found.
    pub kind: GapKind,
    /// Details for people, as in [`Finding::detail`]; may be empty.
    pub detail: Arc<str>,
}

/// What is lacking.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum GapKind {
    /// A finding that decides about Pods. Only findings of [`Axis::of`] are Gaps.
    Finding(FindingKind),
    /// Nothing that decides today.
    Risk(Risk),
}

/// What decides about no Pod today, and will be a finding, or a worse one, some day.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    strum::Display,
    strum::EnumString,
    strum::IntoStaticStr,
    strum::VariantArray,
)]
pub enum Risk {
    /// A signature or another accessory that the primary has, and the replica does not.
    AccessoryMissing,
    /// A digest in use that no tag holds at the replica: its retention or its garbage collection will remove it.
    Untagged,
    /// A replication rule that fills a Place of ours is disabled.
    RuleDisabled,
    /// The last execution of a replication rule failed.
    RuleFailing,
    /// A scheduled replication rule has not run for more than three times its interval.
    RuleOverdue,
    /// A replication rule that runs on each push has not run although something was pushed.
    RuleIdle,
}

/// The kinds of Gaps. For one subject each opens and closes independently.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    strum::Display,
    strum::IntoStaticStr,
    strum::VariantArray,
)]
pub enum Axis {
    /// Whether the right copy is there.
    Presence,
    /// Whether the copy was scanned there, with a result that satisfies the policy.
    Scan,
    /// Whether something will become a finding that is none today.
    Risk,
}

impl GapKind {
    /// Returns the kind of Gap that a finding is; `None` where it is not a Gap.
    #[must_use]
    pub fn of(finding: FindingKind) -> Option<Self> {
        Axis::of(finding).map(|_| Self::Finding(finding))
    }

    /// Returns the axis that it is on.
    #[must_use]
    pub fn axis(self) -> Axis {
        match self {
            Self::Finding(finding) => Axis::of(finding).unwrap_or(Axis::Presence),
            Self::Risk(_) => Axis::Risk,
        }
    }

    /// Returns its name: the same in object, metric label, event, CLI and docs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Finding(finding) => finding.as_str(),
            Self::Risk(risk) => risk.into(),
        }
    }
}

impl FromStr for GapKind {
    type Err = strum::ParseError;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        let finding = word.parse().ok().and_then(Self::of);
        finding.map_or_else(|| word.parse().map(Self::Risk), Ok)
    }
}

impl Axis {
    /// Returns the axis that a finding is on; `None` where it is not a Gap. An unknown copy may well be there, and an
    /// image without a Route is not expected here.
    #[must_use]
    pub fn of(finding: FindingKind) -> Option<Self> {
        match finding.key() {
            PolicyKey::OnMissing | PolicyKey::OnStale => Some(Self::Presence),
            PolicyKey::OnUnscanned | PolicyKey::OnVulnerable => Some(Self::Scan),
            // Nobody can close it: there is nothing to scan.
            PolicyKey::OnUnscannable => None,
            PolicyKey::OnUnknown | PolicyKey::OnUnproved | PolicyKey::OnUnrouted => None,
        }
    }
}

/// Returns the Gaps that a Verdict shows at local replicas, each once. A primary never has a Gap, nor has a replica that is
/// declared to be a proxy cache, or whose filters leave the image out. A site without a Place of the Route has none either,
/// because no copy is expected there. That a plain registry has no scans is no Gap: nobody can close it.
#[must_use]
pub fn gaps(case: &Case, verdict: &Verdict) -> Vec<Gap> {
    let Subject::Routed(routed) = &case.subject else { return Vec::new() };
    let mut gaps: Vec<Gap> = Vec::new();
    for finding in &verdict.findings {
        let Some(kind) = GapKind::of(finding.kind) else { continue };
        let place = finding.place.and_then(|ix| routed.place(ix));
        let Some(place) = place.filter(|place| place.should_hold()) else { continue };
        if kind.axis() == Axis::Scan && !place.registry.kind.scans() {
            continue;
        }
        let version = version(finding, routed);
        let key = GapKey::image(case.name.clone(), version, place.registry.name.clone());
        if !gaps.iter().any(|gap| (&gap.key, gap.kind) == (&key, kind)) {
            gaps.push(Gap { key, kind, detail: finding.detail.clone() });
        }
    }
    gaps
}

/// The version that a finding is about. A finding about a tag gives the tag, although the local digest of the tag is
/// known too.
fn version(finding: &Finding, routed: &Routed) -> Version {
    let digest = finding.digest.or(routed.digest).filter(|_| finding.about != About::Tag);
    Version::of(digest, routed.tag.clone())
}

#[cfg(test)]
mod tests {
    use strum::VariantArray;

    use super::*;

    #[test]
    fn every_kind_of_gap_is_read_back_from_its_word() {
        let findings = FindingKind::VARIANTS.iter().filter_map(|finding| GapKind::of(*finding));
        for kind in findings.chain(Risk::VARIANTS.iter().map(|risk| GapKind::Risk(*risk))) {
            assert_eq!(kind.as_str().parse(), Ok(kind));
        }
        assert!("Unreachable".parse::<GapKind>().is_err(), "what could not be learned is no Gap");
    }
}
