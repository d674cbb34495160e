//! Gaps: findings that somebody should close.

use super::case::{Case, Role, Routed, Subject};
use super::digest::Digest;
use super::finding::{About, Finding, FindingKind, PolicyKey};
use super::image::{Reference, Tag};
use super::name::RegistryName;
use super::verdict::Verdict;

/// What a Gap is about: one image at one registry that should hold it. There is one record for each key, however many
/// Pods meet it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GapKey {
    /// The image's name at its primary, `host/repository`.
    pub image: Box<str>,
    /// Which version of it.
    pub version: Version,
    /// The registry that should hold it, scanned.
    pub registry: RegistryName,
}

impl GapKey {
    /// The key of an image as a Pod writes it, where no more is known of it than that.
    #[must_use]
    pub fn written(reference: &Reference<'_>, registry: RegistryName) -> Self {
        let version = Version::of(reference.digest, reference.owned_tag());
        Self { image: reference.name().into(), version, registry }
    }
}

/// A version of an image: its digest, or its tag where no digest is known.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Version {
    /// A digest.
    Digest(Digest),
    /// A tag.
    Tag(Tag),
}

impl Version {
    fn of(digest: Option<Digest>, tag: Option<Tag>) -> Self {
        // A reference without tag and digest means `latest`.
        let latest = || Tag::new("latest");
        digest.map_or_else(|| Self::Tag(tag.unwrap_or_else(latest)), Self::Digest)
    }
}

/// A Finding that somebody should close, and what it is about. When it was first and last seen, and by whom, is for
/// whoever records it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Gap {
    /// What it is about.
    pub key: GapKey,
    /// What was found.
    pub finding: FindingKind,
}

/// A Gap has two sides that open and close independently.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Axis {
    /// Is the right copy there?
    Presence,
    /// Was it scanned there, with a result that satisfies?
    Scan,
}

impl Axis {
    /// The side on which a finding is a Gap; `None` where it is none: what could not be learned may well be there, and
    /// what no Route covers nobody promised.
    #[must_use]
    pub fn of(finding: FindingKind) -> Option<Self> {
        match finding.key() {
            PolicyKey::OnMissing | PolicyKey::OnStale => Some(Self::Presence),
            PolicyKey::OnUnscanned | PolicyKey::OnVulnerable => Some(Self::Scan),
            PolicyKey::OnUnknown | PolicyKey::OnUnrouted => None,
        }
    }
}

/// The Gaps that a Verdict shows, each once: those at local replicas. A primary never has a Gap, and neither has a site
/// on which the Route has no Place: nobody promised a copy there.
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

/// What the finding is about. Of a tag it is that tag, though the digest that the tag means here is known, too.
fn version(finding: &Finding, routed: &Routed) -> Version {
    let digest = finding.digest.or(routed.digest).filter(|_| finding.about != About::Tag);
    Version::of(digest, routed.tag.clone())
}
