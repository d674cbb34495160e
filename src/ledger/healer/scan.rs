//! Scans: started at the local Harbor, and followed until the artifact says how they ended.

use std::time::Duration;

use super::Healer;
use super::attempt::{may_be_done, refused};
use crate::cluster::GapAction;
use crate::domain::case::{Case, Exemption, Place, PodContext, Pull};
use crate::domain::finding::FindingKind;
use crate::domain::gap::{Axis, GapKey, GapKind, GapSubject, Version};
use crate::domain::healing::{HealOutcome, Remedy, remedy};
use crate::domain::policy::Labels;
use crate::evidence::Asked;
use crate::harbor::Refusal;
use crate::ledger::heal::has_passed;
use crate::ledger::recheck::at_registry;
use crate::ledger::record::{Record, State};

/// The right that starting a scan needs.
const RIGHT: &str = "scan:create";

impl Healer {
    pub(super) async fn begin_scan(&self, key: &GapKey, record: &Record, failed: i32) -> Duration {
        let GapSubject::Image { version: Version::Digest(digest), .. } = &key.subject else {
            // Scans are those of digests.
            return self.terms.rest;
        };
        let Some((_, place)) = self.place(key) else { return self.terms.rest };
        let standing = (self.recheck)(key, record).await;
        let kind = match standing.scan {
            State::Lacking(kind, _) => kind,
            // A registry that does not answer is no failed attempt.
            State::Unknown => return self.terms.poll,
            State::Good | State::NotExpected(_) => return self.in_order(key),
        };
        let is_there = !matches!(standing.presence, State::Lacking(..) | State::NotExpected(_));
        if !is_there || remedy(None, Some(kind)) != Some(Remedy::Scan) {
            // It is another finding now: the keeper notes it.
            return self.in_order(key);
        }
        let action = self.action(Remedy::Scan, Some(kind), failed);
        if !self.observatory.may_heal(&key.registry) {
            let at = format!("registry `{}`", key.registry);
            return self.without_trying(key, record, action, HealOutcome::NoCredentials, &at).await;
        }
        if self.is_barred(&key.registry) || !self.claim(key, record, &action).await {
            return self.terms.poll;
        }
        match self.observatory.start_scan(&place, digest).await {
            // Somebody was faster: that is as good.
            Asked::Done(()) | Asked::Refused(Refusal::Conflict) => self.terms.poll,
            Asked::Refused(refusal) => {
                self.bar(&key.registry, &refusal);
                let right = format!("{RIGHT} in project {}", place.repository.project());
                let (outcome, detail) = refused(refusal, Remedy::Scan, &right);
                self.end(key, &action.id, outcome, &detail).await
            }
            Asked::NoCredentials => self.end(key, &action.id, HealOutcome::NoCredentials, "").await,
            Asked::Unknown(unknown) if may_be_done(&unknown) => self.terms.poll,
            Asked::Unknown(unknown) => {
                self.end(key, &action.id, HealOutcome::RegistryDown, &unknown.to_string()).await
            }
        }
    }

    pub(super) async fn follow_scan(&self, key: &GapKey, record: &Record, action: &GapAction) -> Duration {
        let standing = (self.recheck)(key, record).await;
        let now = (self.clock)();
        let is_late = has_passed(action.at, self.terms.patience, now);
        let is_lost = has_passed(action.at, self.terms.claim, now);
        let (outcome, detail) = match standing.scan {
            // The keeper closes it.
            State::Good | State::NotExpected(_) => return self.in_order(key),
            State::Unknown => (is_late.then_some(HealOutcome::RegistryDown), ""),
            State::Lacking(GapKind::Finding(kind), _) => match kind {
                FindingKind::ScanPending => (is_late.then_some(HealOutcome::StillRunning), ""),
                FindingKind::ScanFailed => (Some(HealOutcome::ScanFailed), ""),
                FindingKind::ScannerDown => (is_late.then_some(HealOutcome::ScannerRefused), ""),
                FindingKind::Vulnerable => {
                    (Some(HealOutcome::Healed), "it was scanned; what was found is not allowed")
                }
                _ => (is_lost.then_some(HealOutcome::ScanWithoutResult), ""),
            },
            State::Lacking(GapKind::Risk(_), _) => (None, ""),
        };
        match outcome {
            Some(outcome) => self.end(key, &action.id, outcome, detail).await,
            None => self.terms.poll,
        }
    }

    /// The Case of a gap's image, and the Place that should hold it.
    pub(super) fn place(&self, key: &GapKey) -> Option<(Case, Place)> {
        let settings = self.settings.load();
        let context = PodContext {
            regime: settings.regime(&Labels::new(), (self.clock)()),
            platforms: settings.platforms.clone(),
            exemption: Exemption::None,
            now: (self.clock)(),
        };
        let case = settings.case_for(&key.subject.to_string(), Pull::Registry, &context);
        let (place, _) = at_registry(&case, key).ok()?;
        Some((case, place))
    }

    /// What is lacking on an axis by a look.
    pub(super) fn lacks(state: &State, axis: Axis) -> Option<GapKind> {
        match state {
            State::Lacking(kind, _) if kind.axis() == axis => Some(*kind),
            _ => None,
        }
    }
}
