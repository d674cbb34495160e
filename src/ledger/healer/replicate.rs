//! Replication: the rule that covers an image is found by its own filters and its own mapping, executed, and followed.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::attempt::{may_be_done, refused};
use super::rule::Found;
use super::{Healer, Told};
use crate::cluster::GapAction;
use crate::domain::case::Subject;
use crate::domain::finding::FindingKind;
use crate::domain::gap::{Axis, GapKey, GapKind};
use crate::domain::healing::{HealOutcome, Remedy, outcome_of, remedy};
use crate::domain::name::RegistryName;
use crate::domain::replication::{Execution, Rule, Status};
use crate::domain::unknown::Unknown;
use crate::evidence::Asked;
use crate::ledger::heal::{has_passed, is_within};
use crate::ledger::record::{Record, State};

/// The rights that reading executions and executing rules need. Only a system robot can have them.
const READ: &str = "replication:list and replication:read";
const EXECUTE: &str = "replication:create";

/// How a rule was executed lately.
enum Lately {
    /// This execution is young enough, or still runs: no other is started.
    By(Execution),
    /// It was, and what it has done is judged already: nothing is started before its time.
    Judged,
    /// Not.
    No,
}

impl Healer {
    pub(super) async fn begin_replication(&self, key: &GapKey, record: &Record, failed: i32) -> Duration {
        let Some((case, place)) = self.place(key) else { return self.terms.rest };
        let Subject::Routed(routed) = &case.subject else { return self.terms.rest };
        let Some((_, primary)) = routed.primary() else { return self.terms.rest };
        let standing = (self.recheck)(key, record).await;
        let kind = match standing.presence {
            State::Lacking(kind, _) => kind,
            // A registry that does not answer is no failed attempt.
            State::Unknown => return self.terms.poll,
            State::Good | State::NotExpected(_) => return self.in_order(key),
        };
        if remedy(Some(kind), None) != Some(Remedy::Replicate) {
            return self.terms.rest;
        }
        // A finding of an index is told of its child, too.
        let finding = record.lacking(Axis::Presence).or(Some(kind));
        let action = self.action(Remedy::Replicate, finding, failed);
        if kind == GapKind::Finding(FindingKind::LayerMissing) {
            // Where the same digest is, Harbor's replication copies nothing (facts of 2.15: transfer.go).
            let copy = Self::copy(key);
            return self.without_trying(key, record, action, HealOutcome::NeedsCopy, &copy).await;
        }
        let (keeper, rule) = match self.rule(key, record, primary, &place).await {
            Found::Rule(keeper, rule) => (keeper, rule),
            Found::None(outcome, detail) => {
                return self.without_trying(key, record, action, outcome, &detail).await;
            }
            Found::Unknown => return self.terms.poll,
        };
        let action = Self::with_rule(action, &keeper, &rule);
        match self.lately(record, &keeper, &rule).await {
            Ok(Lately::By(execution)) => {
                let action = GapAction { execution: Some(execution.id), ..action };
                self.claim(key, record, &action).await;
                self.terms.poll
            }
            Ok(Lately::Judged) => self.terms.rule / 10,
            Ok(Lately::No) => self.execute(key, record, action, &keeper, &rule).await,
            Err(Some((outcome, detail))) => self.without_trying(key, record, action, outcome, &detail).await,
            Err(None) => self.terms.poll,
        }
    }

    /// Executes a rule for this gap, unless another leader is about to.
    async fn execute(
        &self,
        key: &GapKey,
        record: &Record,
        action: GapAction,
        keeper: &RegistryName,
        rule: &Rule,
    ) -> Duration {
        if !self.remembered().starts.take() {
            return self.terms.executions.0;
        }
        if !self.claim(key, record, &action).await {
            return self.terms.poll;
        }
        // Another leader may have claimed another gap of the same rule. Whoever sees the other's claim beside his own lets
        // go; both may, and try again after different times. Who sees none was first.
        match self.others(key, &action).await {
            Ok(None) => {}
            Ok(Some(other))
                if other.is_some() && other != record.action.as_ref().and_then(|last| last.execution) =>
            {
                self.change(key, &action.id, |action| action.execution = other).await;
                return self.terms.poll;
            }
            Ok(Some(other)) => {
                self.release(key, &action.id, record.action.clone()).await;
                return if other.is_some() { self.terms.rule / 10 } else { self.terms.poll };
            }
            Err(()) => {
                self.release(key, &action.id, record.action.clone()).await;
                return self.terms.poll;
            }
        }
        let asked = self.observatory.start_execution(keeper, rule.id).await;
        let is_started = match &asked {
            Asked::Done(_) => true,
            Asked::Unknown(unknown) => may_be_done(unknown),
            Asked::Refused(_) | Asked::NoCredentials => false,
        };
        if is_started {
            self.remembered().executed.insert((keeper.clone(), rule.id), Instant::now());
        }
        match asked {
            Asked::Done(id) => {
                if id.is_some() {
                    self.change(key, &action.id, |action| action.execution = id).await;
                }
                self.terms.poll
            }
            Asked::Refused(refusal) => {
                let (outcome, detail) = refused(refusal, Remedy::Replicate, EXECUTE);
                self.end(key, &action.id, outcome, &detail).await
            }
            Asked::NoCredentials => self.end(key, &action.id, HealOutcome::NoCredentials, "").await,
            Asked::Unknown(unknown) if may_be_done(&unknown) => self.terms.poll,
            Asked::Unknown(unknown) => self.down(key, &action, &unknown).await,
        }
    }

    /// The execution of another gap's attempt with the same rule, if there is one that was begun lately: `None` within, if
    /// nothing was started with it yet.
    async fn others(&self, key: &GapKey, action: &GapAction) -> Result<Option<Option<i64>>, ()> {
        let now = (self.clock)();
        let listed = self.objects.list().await.map_err(|error| {
            tracing::warn!(%error, "whether another leader executes the same rule is not known");
        })?;
        let same_rule = |other: &GapAction| {
            (other.what, &other.keeper, other.rule_id) == (action.what, &action.keeper, action.rule_id)
        };
        let is_young = |other: &GapAction| {
            let time = if other.execution.is_some() { self.terms.rule } else { self.terms.claim };
            is_within(other.at, now, time) && (other.outcome.is_none() || other.execution.is_some())
        };
        let others = listed.into_iter().flatten().filter(|object| object.key != *key);
        let others = others.filter_map(|object| object.record?.action);
        Ok(others.filter(|other| same_rule(other) && is_young(other)).map(|other| other.execution).max())
    }

    pub(super) async fn follow_execution(
        &self,
        key: &GapKey,
        record: &Record,
        action: &GapAction,
    ) -> Duration {
        let now = (self.clock)();
        let (Some(keeper), Some(rule)) = (&action.keeper, action.rule_id) else {
            return self.end(key, &action.id, HealOutcome::Interrupted, "").await;
        };
        let keeper = RegistryName::new(keeper.as_str());
        // First the execution: then what the artifact says is newer.
        let told = match action.execution {
            Some(id) => self.stands(&keeper, id).await,
            None => match self.observatory.last_started(&keeper, rule).await {
                Asked::Done(Some(execution))
                    if execution
                        .started
                        .is_some_and(|started| is_within(started, action.at, self.terms.claim)) =>
                {
                    let id = Some(execution.id);
                    self.change(key, &action.id, |action| action.execution = id).await;
                    return self.terms.poll;
                }
                Asked::Done(_) => Ok(None),
                other => Err(unheard(other)),
            },
        };
        let standing = (self.recheck)(key, record).await;
        if matches!(standing.presence, State::Good | State::NotExpected(_)) {
            // The keeper closes it.
            return self.in_order(key);
        }
        let is_late = has_passed(action.at, self.terms.patience, now);
        let told = match told {
            Ok(told) => told,
            Err(Some((outcome, detail))) => return self.end(key, &action.id, outcome, &detail).await,
            Err(None) if is_late => return self.end(key, &action.id, HealOutcome::RegistryDown, "").await,
            Err(None) => return self.terms.poll,
        };
        let Some(told) = told else {
            let is_lost = has_passed(action.at, self.terms.claim, now);
            return match is_lost {
                true => self.end(key, &action.id, HealOutcome::Interrupted, "").await,
                false => self.terms.poll,
            };
        };
        let (execution, log) = &*told;
        if execution.status != Status::InProgress && Self::lacks(&standing.presence, Axis::Presence).is_none()
        {
            // Only the artifact tells, and it could not be asked.
            return match is_late {
                true => self.end(key, &action.id, HealOutcome::RegistryDown, "").await,
                false => self.terms.poll,
            };
        }
        let overrides = self.overrides(&keeper, rule).await;
        match outcome_of(execution, log, overrides) {
            Some(outcome) => {
                let detail = match outcome {
                    HealOutcome::WithoutArtifact => Self::copy(key),
                    _ if execution.reason.is_empty() => log.to_string(),
                    _ => execution.reason.to_string(),
                };
                self.end(key, &action.id, outcome, &detail).await
            }
            None if is_late => self.end(key, &action.id, HealOutcome::StillRunning, "").await,
            None => self.terms.poll,
        }
    }

    /// How an execution stands; asked once for all gaps that wait for it.
    async fn stands(
        &self,
        keeper: &RegistryName,
        id: i64,
    ) -> Result<Option<Told>, Option<(HealOutcome, String)>> {
        let key = (keeper.clone(), id);
        let known = self.remembered().executions.get(&key).cloned();
        let is_final = |told: &Told| told.0.status != Status::InProgress;
        if let Some((_, told)) =
            known.filter(|(asked, told)| is_final(told) || asked.elapsed() < self.terms.poll)
        {
            return Ok(Some(told));
        }
        match self.observatory.execution(keeper, id).await {
            Asked::Done(told) => {
                let told = Arc::new(told);
                let mut memory = self.remembered();
                let patience = self.terms.patience;
                memory.executions.retain(|_, (asked, _)| asked.elapsed() < patience);
                memory.executions.insert(key, (Instant::now(), told.clone()));
                Ok(Some(told))
            }
            other => Err(unheard(other)),
        }
    }

    /// How the rule was executed lately. Harbor's own list tells: so a new leader knows it, too.
    async fn lately(
        &self,
        record: &Record,
        keeper: &RegistryName,
        rule: &Rule,
    ) -> Result<Lately, Option<(HealOutcome, String)>> {
        let last = match self.observatory.last_started(keeper, rule.id).await {
            Asked::Done(last) => last,
            other => return Err(unheard(other)),
        };
        let executed = self.remembered().executed.get(&(keeper.clone(), rule.id)).copied();
        let ours = executed.is_some_and(|at| at.elapsed() < self.terms.rule);
        let now = (self.clock)();
        let is_young = |execution: &Execution| {
            // One that seems to run for ever keeps no other from being started.
            let runs = execution.by_tasks() == Status::InProgress;
            let is_stuck =
                execution.started.is_some_and(|started| !is_within(started, now, self.terms.patience));
            runs && !is_stuck
                || ours
                || execution.started.is_some_and(|started| is_within(started, now, self.terms.rule))
        };
        let Some(execution) = last.filter(is_young) else {
            return Ok(if ours { Lately::Judged } else { Lately::No });
        };
        let is_judged = record.action.as_ref().is_some_and(|action| action.execution == Some(execution.id));
        let since = record.axis(Axis::Presence).map(|axis| axis.since);
        let is_older = execution.started.zip(since).is_some_and(|(started, since)| started < since);
        let has_ended = execution.by_tasks() != Status::InProgress;
        Ok(if is_judged || (is_older && has_ended && execution.by_tasks() == Status::Succeed) {
            Lately::Judged
        } else {
            Lately::By(execution)
        })
    }

    async fn down(&self, key: &GapKey, action: &GapAction, unknown: &Unknown) -> Duration {
        self.end(key, &action.id, HealOutcome::RegistryDown, &unknown.to_string()).await
    }
}

/// Why executions could not be read; `None`: there was no answer that counts.
fn unheard<T>(asked: Asked<T>) -> Option<(HealOutcome, String)> {
    match asked {
        Asked::Done(_) | Asked::Unknown(_) => None,
        Asked::Refused(refusal) => Some(refused(refusal, Remedy::Replicate, READ)),
        Asked::NoCredentials => Some((HealOutcome::NoCredentials, String::new())),
    }
}
