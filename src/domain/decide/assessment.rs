//! One local Place, assessed: what it holds, what stands in the way, and the strictest action on that.

use std::sync::Arc;

use super::Judge;
use crate::domain::digest::Digest;
use crate::domain::evidence::PlaceIx;
use crate::domain::policy::{PolicyName, PolicyView};
use crate::domain::verdict::{About, Action, Finding, FindingKind};

/// One local Place, assessed.
#[derive(Debug, Clone)]
pub(super) struct Assessment {
    /// Which; `None`: the Route has no Place on our site.
    pub place: Option<PlaceIx>,
    /// The digest of the copy that it holds whole, or that its proxy serves.
    pub held: Option<Digest>,
    /// Why it is not simply used; empty: it qualifies.
    pub findings: Vec<Finding>,
    /// The strictest action on any of the findings.
    pub action: Action,
    /// The policies whose action is `Block`.
    pub blocked_by: Vec<PolicyName>,
    /// The strictest action on `Vulnerable`, and the policies among them that block.
    vulnerable: Option<(Action, Vec<PolicyName>)>,
}

impl Assessment {
    pub fn of(place: Option<PlaceIx>) -> Self {
        let (findings, blocked_by) = (Vec::new(), Vec::new());
        Self { place, held: None, findings, action: Action::Accept, blocked_by, vulnerable: None }
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

    /// Adds a finding about which everybody speaks.
    pub fn find(
        &mut self,
        judge: &Judge<'_>,
        kind: FindingKind,
        about: About,
        digest: Option<Digest>,
        detail: impl Into<Arc<str>>,
    ) {
        let finding = Finding { kind, about, place: self.place, digest, detail: detail.into() };
        for view in judge.views {
            if let Some(action) = judge.action(view, &finding) {
                self.raise(view, action, finding.clone());
            }
        }
    }

    /// Adds what one PolicyView found, with its action.
    pub fn raise(&mut self, view: &PolicyView<'_>, action: Action, finding: Finding) {
        let policy = view.policy.filter(|_| action == Action::Block);
        self.escalate(action, policy);
        if finding.kind == FindingKind::Vulnerable {
            let (strictest, blocked_by) = self.vulnerable.get_or_insert((action, Vec::new()));
            *strictest = action.max(*strictest);
            blocked_by.extend(policy.cloned());
        }
        let known = |one: &Finding| {
            (one.kind, one.about, one.digest) == (finding.kind, finding.about, finding.digest)
        };
        if !self.findings.iter().any(known) {
            self.findings.push(finding);
        }
    }

    fn escalate<'p>(&mut self, action: Action, blocked_by: impl IntoIterator<Item = &'p PolicyName>) {
        self.action = self.action.max(action);
        for policy in blocked_by {
            if !self.blocked_by.contains(policy) {
                self.blocked_by.push(policy.clone());
            }
        }
    }

    /// A digest known to be vulnerable at one local Place is vulnerable at every other.
    pub fn share_vulnerability(assessments: &mut [Self]) {
        let known: Vec<Self> = assessments.iter().filter(|one| one.vulnerable.is_some()).cloned().collect();
        for one in assessments {
            let held = one.held;
            for other in known.iter().filter(|other| held.is_some() && other.held == held) {
                if one.vulnerable.is_none() {
                    let found =
                        other.findings.iter().filter(|finding| finding.kind == FindingKind::Vulnerable);
                    one.findings.extend(found.map(|finding| Finding { place: one.place, ..finding.clone() }));
                }
                if let Some((action, blocked_by)) = &other.vulnerable {
                    one.escalate(*action, blocked_by);
                }
            }
        }
    }
}
