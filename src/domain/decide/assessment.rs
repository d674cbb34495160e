//! One local Place, assessed: what it holds, and what stands in the way of using it.

use std::sync::Arc;

use super::Judge;
use crate::domain::digest::Digest;
use crate::domain::finding::{About, Action, Finding, FindingKind};
use crate::domain::name::PolicyName;
use crate::domain::place::PlaceIx;

/// One local Place, assessed.
#[derive(Debug, Clone)]
pub(super) struct Assessment {
    /// Which; `None`: the Route has no Place on our site.
    pub place: Option<PlaceIx>,
    /// The digest of the copy that it holds whole, or that its proxy serves.
    pub held: Option<Digest>,
    /// Why it is not simply used; empty: it qualifies.
    pub findings: Vec<Finding>,
}

impl Assessment {
    pub fn of(place: Option<PlaceIx>) -> Self {
        Self { place, held: None, findings: Vec::new() }
    }

    /// The Route has no Place on our site.
    pub fn nowhere(judge: &Judge<'_>) -> Self {
        let mut nowhere = Self::of(None);
        let detail = "the route has no place on this site";
        nowhere.find(judge, FindingKind::Missing, About::Image, judge.digest, detail);
        nowhere
    }

    /// The digest, where nothing stands in the way.
    pub fn qualifies(&self) -> Option<Digest> {
        self.held.filter(|_| self.findings.is_empty())
    }

    /// Is the right copy there, as far as can be known and proved, so that only its scan may stand in the way?
    pub fn is_available(&self) -> bool {
        self.held.is_some() && self.findings.iter().all(|finding| finding.about == About::Scan)
    }

    /// Is this finding among them?
    pub fn has(&self, kind: FindingKind) -> bool {
        self.findings.iter().any(|finding| finding.kind == kind)
    }

    /// The strictest action on any of the findings.
    pub fn action(&self) -> Action {
        self.findings.iter().map(|finding| finding.action).max().unwrap_or(Action::Accept)
    }

    /// Adds a finding with the strictest action of every view that speaks about it.
    pub fn find(
        &mut self,
        judge: &Judge<'_>,
        kind: FindingKind,
        about: About,
        digest: Option<Digest>,
        detail: impl Into<Arc<str>>,
    ) {
        let (place, detail) = (self.place, detail.into());
        for view in judge.views {
            if let Some(action) = judge.action(view, (kind, about, place)) {
                let policies = view.policy.cloned().into_iter().collect();
                self.add(Finding { kind, about, place, digest, detail: detail.clone(), action, policies });
            }
        }
    }

    /// Adds a finding. Where it is known already, the stricter of the two actions counts, with the words that go
    /// with it; of equal actions, everybody who asked for it is named.
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

    /// A digest known to be vulnerable at one local Place is vulnerable at every other.
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
