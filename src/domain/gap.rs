//! Gaps: findings that somebody should close.

use super::case::{Case, Place, Role, Subject};
use super::digest::Digest;
use super::verdict::{Finding, FindingKind, PolicyKey, Verdict};

/// A Finding that somebody should close: what, and where.
///
/// One Gap stands for one image (by digest, or by tag where no digest is known) at one Place, however many Pods
/// meet it; when it was first and last seen, and by whom, is for whoever records it.
#[derive(Debug, Clone)]
pub struct Gap<'a> {
    /// What.
    pub finding: &'a Finding,
    /// The image's name at its primary, `host/repository`.
    pub image: &'a str,
    /// Its tag, as written.
    pub tag: Option<&'a str>,
    /// The digest concerned, where one is known.
    pub digest: Option<Digest>,
    /// The Place that should hold it, scanned.
    pub place: &'a Place,
}

/// The Gaps that a Verdict shows: those at local replicas. A primary never has a Gap, and neither has a site on
/// which the Route has no Place: nobody promised a copy there.
pub fn gaps<'a>(case: &'a Case, verdict: &'a Verdict) -> impl Iterator<Item = Gap<'a>> {
    let routed = match &case.subject {
        Subject::Routed(routed) => Some(routed),
        Subject::Kept(_) => None,
    };
    verdict.findings.iter().filter(|finding| can_be_closed(finding.kind)).filter_map(move |finding| {
        let routed = routed?;
        let place = routed.place(finding.place?).filter(|place| place.role == Role::Replica)?;
        let tag = routed.tag.as_ref().map(|tag| tag.as_str());
        Some(Gap { finding, image: &case.name, tag, digest: finding.digest, place })
    })
}

/// What could not be learned is no Gap: the copy may well be there.
fn can_be_closed(finding: FindingKind) -> bool {
    match finding.key() {
        PolicyKey::OnMissing | PolicyKey::OnStale | PolicyKey::OnUnscanned | PolicyKey::OnVulnerable => true,
        PolicyKey::OnUnknown | PolicyKey::OnUnrouted => false,
    }
}
