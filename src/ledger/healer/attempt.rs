//! An attempt in its gap: claimed, released, ended; and who is told.

use std::time::Duration;

use super::Healer;
use crate::cluster::{ClusterError, EventReason, GapAction, GapObject, Written};
use crate::domain::error_chain::error_chain;
use crate::domain::gap::{GapKey, GapKind};
use crate::domain::healing::{HealOutcome, MOST_FAILURES, Remedy};
use crate::domain::name::RegistryName;
use crate::domain::replication::Rule;
use crate::domain::unknown::{Cause, Unknown};
use crate::harbor::Refusal;
use crate::ledger::record::{Record, acted, whole};
use crate::ledger::sentence::sentence;
use crate::ledger::store::{Absent, Stored, update};

impl Healer {
    /// A new attempt.
    pub fn action(&self, remedy: Remedy, finding: Option<GapKind>, failed: i32) -> GapAction {
        GapAction {
            id: format!("{:016x}", fastrand::u64(..)),
            what: remedy,
            finding,
            at: whole((self.clock)()),
            attempts: failed,
            keeper: None,
            rule: None,
            rule_id: None,
            execution: None,
            ended: None,
            outcome: None,
            result: String::new(),
        }
    }

    /// Writes an attempt into its gap, if nobody has changed the gap's attempts since it was seen. Who gets `true` may act.
    pub async fn claim(&self, key: &GapKey, seen: &Record, action: &GapAction) -> bool {
        self.pace.turn().await;
        let written = async {
            let Some(found) = self.objects.get(key).await? else { return Ok(false) };
            let Some(before) = found.record.clone() else { return Ok(false) };
            if before.action != seen.action || before.lacking(action.what.axis()).is_none() {
                return Ok(false);
            }
            let now = acted(&before, key, Some(action.clone()));
            let done = self.objects.write(&found, &now).await? == Written::Done;
            if done && action.outcome.is_some() {
                self.tell(key, &found, &now);
            }
            Ok(done)
        };
        written.await.unwrap_or_else(|error: ClusterError| {
            self.failed(&error);
            false
        })
    }

    /// Changes this attempt, while it is under way.
    pub async fn change(&self, key: &GapKey, id: &str, change: impl Fn(&mut GapAction)) {
        let changed = |record: Option<&Record>| {
            let record = record?;
            let mut action = record.action.clone().filter(|action| action.id == id)?;
            if action.outcome.is_some() {
                return None;
            }
            change(&mut action);
            Some(acted(record, key, Some(action)))
        };
        match update(&self.objects, &self.pace, key, Absent::Leave, changed).await {
            Ok(Stored::Done(change)) => {
                let (_, now) = &*change;
                if now.action.as_ref().is_some_and(|action| action.outcome.is_some()) {
                    match self.objects.get(key).await {
                        Ok(Some(object)) => self.tell(key, &object, now),
                        Ok(None) => {}
                        Err(error) => self.failed(&error),
                    }
                }
            }
            Ok(Stored::Same | Stored::NoRoom | Stored::Busy) => {}
            Err(error) => self.failed(&error),
        }
    }

    /// Ends this attempt.
    pub async fn end(&self, key: &GapKey, id: &str, outcome: HealOutcome, detail: &str) -> Duration {
        let now = whole((self.clock)());
        self.change(key, id, |action| action.end(outcome, detail, now)).await;
        self.after(outcome)
    }

    /// Takes back a claim with which nothing was done.
    pub async fn release(&self, key: &GapKey, id: &str, before: Option<GapAction>) {
        let change = |record: Option<&Record>| {
            let record = record?;
            let ours = record.action.as_ref().is_some_and(|action| action.id == id);
            ours.then(|| acted(record, key, before.clone()))
        };
        if let Err(error) = update(&self.objects, &self.pace, key, Absent::Leave, change).await {
            self.failed(&error);
        }
    }

    /// Notes that nothing could be tried, and why. The same is not written twice.
    pub async fn without_trying(
        &self,
        key: &GapKey,
        seen: &Record,
        mut action: GapAction,
        outcome: HealOutcome,
        detail: &str,
    ) -> Duration {
        action.end(outcome, detail, action.at);
        let is_known = seen.action.as_ref().is_some_and(|before| {
            (before.what, before.outcome, &before.result) == (action.what, action.outcome, &action.result)
        });
        if outcome.is_failure() || !is_known {
            self.claim(key, seen, &action).await;
        }
        self.after(outcome)
    }

    /// The words for `landfall copy`, which heals what Harbor cannot.
    pub fn copy(key: &GapKey) -> String {
        format!("`landfall copy --gap {}`", crate::cluster::GapObjects::name_of(key))
    }

    /// The attempt with its rule.
    pub fn with_rule(mut action: GapAction, keeper: &RegistryName, rule: &Rule) -> GapAction {
        action.keeper = Some(keeper.to_string());
        action.rule = Some(rule.name.to_string());
        action.rule_id = Some(rule.id);
        action
    }

    /// How long a gap rests after this.
    fn after(&self, outcome: HealOutcome) -> Duration {
        if outcome.is_failure() { self.terms.pause(1) } else { self.terms.rest }
    }

    fn tell(&self, key: &GapKey, object: &GapObject, now: &Record) {
        let Some(action) = &now.action else { return };
        let Some(outcome) = action.outcome else { return };
        self.metrics.attempted(&key.registry, action.what, outcome);
        if action.attempts < MOST_FAILURES || !outcome.is_failure() {
            return;
        }
        tracing::warn!(gap = %object.name, "healing has failed {MOST_FAILURES} times; somebody must look");
        let about = std::iter::once(object.reference()).chain(now.owners.iter().cloned());
        for about in about {
            self.notices.tell(&about, key, EventReason::HealingGaveUp, || sentence(key, now, None));
        }
    }

    fn failed(&self, error: &ClusterError) {
        self.metrics.failed();
        tracing::warn!(error = error_chain(error), "an attempt to heal a gap is not noted");
    }
}

/// What a refusal means. `right`: the right that the request needs.
pub fn refused(refusal: Refusal, remedy: Remedy, right: &str) -> (HealOutcome, String) {
    match (refusal, remedy) {
        (Refusal::Unauthorized, _) => (HealOutcome::Unauthorized, String::new()),
        (Refusal::Forbidden, _) => (HealOutcome::Forbidden, format!("`{right}`")),
        (Refusal::NotFound, _) => (HealOutcome::NotFound, String::new()),
        (Refusal::Conflict, _) => (HealOutcome::StillRunning, String::new()),
        (Refusal::Precondition(said), Remedy::Scan) => (HealOutcome::NoScanner, said.into()),
        (Refusal::Precondition(said), Remedy::Replicate) => (HealOutcome::RuleDisabled, said.into()),
        (Refusal::BadRequest(said), Remedy::Scan) => (HealOutcome::ScannerRefused, said.into()),
        (Refusal::BadRequest(said), Remedy::Replicate) => (HealOutcome::ExecutionFailed, said.into()),
    }
}

/// Whether a request may have been done although there was no answer.
pub fn may_be_done(unknown: &Unknown) -> bool {
    matches!(unknown.cause, Cause::Deadline | Cause::Broken)
}
