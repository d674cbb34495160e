//! The assessment of one local Place: the copy that it holds, and the findings about it.

use std::sync::Arc;

use super::Judge;
use crate::domain::digest::Digest;
use crate::domain::finding::{About, Action, Finding, FindingKind};
use crate::domain::name::PolicyName;
use crate::domain::place::PlaceIx;
use crate::domain::policy::PolicyView;

/// The assessment of one local Place.
#[derive(Debug, Clone)]
pub(super) struct Assessment {
    /// The Place; `None` where the Route has no Place on our site.
    pub place: Option<PlaceIx>,
    /// The digest of the complete copy at this Place, or of what its proxy serves.
    pub held: Option<Digest>,
    /// Why the copy is not simply used. Empty where the Place qualifies.
    pub findings: Vec<Finding>,
    /// Whether the state of a scan could not be learned, and an enforcing policy blocks that.
    pub scan_unseen: bool,
}

impl Assessment {
    pub fn of(place: Option<PlaceIx>) -> Self {
        Self { place, held: None, findings: Vec::new(), scan_unseen: false }
    }

    /// The assessment of a Route without a Place on our site: the image is Missing.
    pub fn nowhere(judge: &Judge<'_>) -> Self {
        let mut nowhere = Self::of(None);
        let detail = "the route has no place on this site";
        nowhere.find(judge, FindingKind::Missing, About::Image, judge.digest, detail);
        nowhere
    }

    /// The digest of the copy, if there are no findings.
    pub fn qualifies(&self) -> Option<Digest> {
        self.held.filter(|_| self.findings.is_empty())
    }

    /// Whether the right copy is there, so that only findings about its scan remain.
    pub fn is_available(&self) -> bool {
        self.held.is_some() && self.findings.iter().all(|finding| finding.about == About::Scan)
    }

    /// Whether it could not be learned what is here, and an enforcing policy blocks that.
    pub fn is_unseen(&self) -> bool {
        let unseen = |finding: &Finding| {
            finding.kind.is_unknown()
                && finding.about != About::Scan
                && finding.action == Action::Block
                && !finding.policies.is_empty()
        };
        self.findings.iter().any(unseen)
    }

    pub fn has(&self, kind: FindingKind) -> bool {
        self.findings.iter().any(|finding| finding.kind == kind)
    }

    /// The strictest action of all findings.
    pub fn action(&self) -> Action {
        self.findings.iter().map(|finding| finding.action).max().unwrap_or(Action::Accept)
    }

    /// Adds a finding with the strictest action of all policy views that cover it.
    pub fn find(
        &mut self,
        judge: &Judge<'_>,
        kind: FindingKind,
        about: About,
        digest: Option<Digest>,
        detail: impl Into<Arc<str>>,
    ) {
        let detail = detail.into();
        for view in judge.views {
            self.find_for(judge, view, (kind, about), digest, detail.clone());
        }
    }

    /// Adds a finding with the action of one policy view, if that covers it.
    pub fn find_for(
        &mut self,
        judge: &Judge<'_>,
        view: &PolicyView<'_>,
        (kind, about): (FindingKind, About),
        digest: Option<Digest>,
        detail: Arc<str>,
    ) {
        let place = self.place;
        if let Some(action) = judge.action(view, (kind, about, place)) {
            let policies = view.policy.cloned().into_iter().collect();
            self.add(Finding { kind, about, place, digest, detail, action, policies });
        }
    }

    /// The same copy, had it been known that these parts of it were deleted. What their scans showed is said of nothing that
    /// is here.
    pub fn deleted(mut self, gone: Self) -> Self {
        self.findings.retain(|finding| finding.about != About::Scan);
        self.findings.extend(gone.findings);
        Self { held: None, scan_unseen: false, ..self }
    }

    /// Adds a finding. If it is known already, the one with the stricter action is kept, with its detail. If the actions
    /// are equal, the names of all policies that asked for it are kept.
    pub fn add(&mut self, finding: Finding) {
        let same = |one: &&mut Finding| {
            (one.kind, one.about, one.digest) == (finding.kind, finding.about, finding.digest)
        };
        match self.findings.iter_mut().find(same) {
            None => self.findings.push(finding),
            Some(known) if known.action < finding.action => *known = finding,
            Some(known) if known.action == finding.action => name_all(&mut known.policies, finding.policies),
            Some(_) => {}
        }
    }

    /// Copies Vulnerable findings to every local Place with the same digest: what is vulnerable at one Place is
    /// vulnerable at all.
    pub fn share_vulnerability(assessments: &mut [Self]) {
        let vulnerable = |one: &Self| {
            let of = one.findings.iter().filter(|finding| finding.kind == FindingKind::Vulnerable);
            (one.held, of.cloned().collect::<Vec<_>>())
        };
        let known: Vec<_> = assessments.iter().map(vulnerable).collect();
        for one in assessments {
            let (place, held) = (one.place, one.held);
            for (_, findings) in known.iter().filter(|(other, _)| held.is_some() && *other == held) {
                findings.iter().for_each(|finding| one.add(Finding { place, ..finding.clone() }));
            }
        }
    }
}

/// Adds the names that are not there yet.
fn name_all(known: &mut Vec<PolicyName>, more: Vec<PolicyName>) {
    for policy in more {
        if !known.contains(&policy) {
            known.push(policy);
        }
    }
}
