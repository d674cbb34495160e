//! Gaps: missing or unscanned local copies that somebody should fix.

use super::case::{Case, Role, Routed, Subject};
use super::digest::Digest;
use super::finding::{About, Finding, FindingKind, PolicyKey};
use super::image::{Reference, Tag};
use super::name::RegistryName;
use super::verdict::Verdict;

/// Identifies a Gap: one image at one registry that should hold it. There is one record for each key, however many
/// Pods use the image.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GapKey {
    /// The image's name at its primary, `host/repository`.
    pub image: Box<str>,
    /// The version of the image.
    pub version: Version,
    /// The registry that should hold the image and its scan.
    pub registry: RegistryName,
}

impl GapKey {
    /// Builds the key of an image from its text in a Pod, where nothing else is known about it.
    #[must_use]
    pub fn written(reference: &Reference<'_>, registry: RegistryName) -> Self {
        let version = Version::of(reference.digest, reference.owned_tag());
        Self { image: reference.name().into(), version, registry }
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
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Gap {
    /// The image and the registry.
    pub key: GapKey,
    /// What was found.
    pub finding: FindingKind,
}

/// The two kinds of Gaps. For one image they open and close independently.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Axis {
    /// Whether the right copy is there.
    Presence,
    /// Whether the copy was scanned there, with a result that satisfies the policy.
    Scan,
}

impl Axis {
    /// Returns the kind of Gap that a finding is; `None` where it is not a Gap. An unknown copy may well be there, and an
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

/// Returns the Gaps that a Verdict shows at local replicas, each once. A primary never has a Gap. A site without a Place
/// of the Route has none either, because no copy is expected there.
#[must_use]
pub fn gaps(case: &Case, verdict: &Verdict) -> Vec<Gap> {
    let Subject::Routed(routed) = &case.subject else { return Vec::new() };
    let mut gaps = Vec::new();
    for finding in verdict.findings.iter().filter(|finding| Axis::of(finding.kind).is_some()) {
        let place = finding.place.and_then(|ix| routed.place(ix)).filter(|place| place.role == Role::Replica);
        let Some(place) = place else { continue };
        let version = version(finding, routed);
        let key = GapKey { image: case.name.clone(), version, registry: place.registry.name.clone() };
        let gap = Gap { key, finding: finding.kind };
        if !gaps.contains(&gap) {
            gaps.push(gap);
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
