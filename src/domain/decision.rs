//! What was decided for one image, without the Case that it was decided for: everything that the doors, the ledger and
//! reports need to know of it, owned, and small enough to be kept for the next Pod that names the image.

use super::case::{Case, Subject};
use super::digest::Digest;
use super::finding::{About, Action, Finding, FindingKind};
use super::gap::{Gap, gaps};
use super::image::Tag;
use super::name::{RegistryName, RouteName};
use super::outcome::Outcome;
use super::place::PlaceIx;
use super::verdict::{Reason, Ruling, Verdict};

/// A Verdict on one image, and what it means for the Pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageDecision {
    /// What the Verdict does to the Pod.
    pub outcome: Outcome,
    /// The Route that covers the image.
    pub route: Option<RouteName>,
    /// The image's name at its primary, `host/repository`; empty where it is no reference.
    pub name: Box<str>,
    /// Its tag, as written.
    pub tag: Option<Tag>,
    /// The digest that was checked, or that the reference names.
    pub digest: Option<Digest>,
    /// What stood in the way of simply using a local copy, in the order of the Places.
    pub findings: Box<[Finding]>,
    /// The local Place that decided.
    pub deciding: Option<PlaceIx>,
    /// What somebody should close.
    pub gaps: Box<[Gap]>,
    /// The registry of each Place.
    registries: Box<[RegistryName]>,
}

impl ImageDecision {
    /// What a Verdict on a Case decides.
    #[must_use]
    pub fn of(case: &Case, verdict: Verdict) -> Self {
        let (outcome, gaps) = (Outcome::of(case, &verdict), gaps(case, &verdict));
        let Verdict { ruling, findings, deciding } = verdict;
        let routed = match &case.subject {
            Subject::Routed(routed) => Some(routed),
            Subject::Kept(_) => None,
        };
        let checked = match ruling {
            Ruling::Local { digest, .. } => Some(digest),
            Ruling::Accepted { digest, .. } | Ruling::Fallback { digest, .. } => digest,
            Ruling::Keep(_) | Ruling::Deny => None,
        };
        let registries =
            routed.iter().flat_map(|routed| &routed.places).map(|place| place.registry.name.clone());
        Self {
            outcome,
            route: routed.map(|routed| routed.route.clone()),
            name: case.name.clone(),
            tag: routed.and_then(|routed| routed.tag.clone()),
            digest: checked.or(routed.and_then(|routed| routed.digest)),
            findings: findings.into(),
            deciding,
            gaps: gaps.into(),
            registries: registries.collect(),
        }
    }

    /// The registry of a Place.
    #[must_use]
    pub fn registry(&self, place: PlaceIx) -> Option<&RegistryName> {
        self.registries.get(usize::from(place.0))
    }

    /// The registry that serves the image now; `None` where it is left alone or denied, or no copy is known.
    #[must_use]
    pub fn serving(&self) -> Option<&RegistryName> {
        self.registry(self.outcome.place?)
    }

    /// The registry that a finding is about.
    #[must_use]
    pub fn registry_of(&self, finding: &Finding) -> Option<&RegistryName> {
        self.registry(finding.place?)
    }

    /// The findings that deny; none where nothing is denied.
    ///
    /// Where a copy is there and only its scan stands in the way, that scan decides, whatever other Places lack. Else no
    /// Place could serve the image, and each has its part in that.
    pub fn blocking(&self) -> impl Iterator<Item = &Finding> {
        let denies = self.outcome.denies();
        let of_deciding = |finding: &&Finding| finding.place == self.deciding;
        let is_there = self.findings.iter().filter(of_deciding).all(|finding| finding.about == About::Scan);
        let blocks = move |finding: &&Finding| {
            denies && finding.action == Action::Block && (!is_there || finding.place == self.deciding)
        };
        self.findings.iter().filter(blocks)
    }

    /// The kinds of its findings, each once.
    #[must_use]
    pub fn kinds(&self) -> Vec<FindingKind> {
        let mut kinds = Vec::new();
        for finding in &self.findings {
            if !kinds.contains(&finding.kind) {
                kinds.push(finding.kind);
            }
        }
        kinds
    }

    /// Is no copy of the image known anywhere, so that it stays as written and may not start?
    #[must_use]
    pub fn has_no_copy(&self) -> bool {
        self.outcome.reason == Reason::Fallback && self.outcome.place.is_none()
    }

    /// What it takes behind its pointers, in bytes; what it shares with the settings is not counted.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        let findings = self.findings.iter().map(|finding| finding.detail.len()).sum::<usize>();
        let gaps = self.gaps.iter().map(|gap| gap.key.image.len()).sum::<usize>();
        size_of_val(&*self.findings)
            + findings
            + size_of_val(&*self.gaps)
            + gaps
            + size_of_val(&*self.registries)
            + self.name.len()
            + self.outcome.image.as_ref().map_or(0, |image| image.len())
    }
}
