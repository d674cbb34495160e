//! Replication: the rule that covers an image is found by its own filters and its own mapping, executed, and followed.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::attempt::{may_be_done, refused};
use super::{Healer, Told};
use crate::cluster::GapAction;
use crate::domain::case::{Place, Role, Subject};
use crate::domain::facts::Held;
use crate::domain::finding::FindingKind;
use crate::domain::gap::{Axis, GapKey, GapKind, GapSubject, Version};
use crate::domain::healing::{Cover, HealOutcome, Remedy, Way, covering, outcome_of, remedy};
use crate::domain::name::RegistryName;
use crate::domain::registry::Kind;
use crate::domain::replication::{Execution, Rule, Status};
use crate::domain::unknown::Unknown;
use crate::evidence::{Asked, CopyFacts};
use crate::ledger::heal::{has_passed, is_within};
use crate::ledger::record::{Record, State};

/// The rights that reading rules, reading executions and executing them need. Only a system robot can have them.
const LIST_RULES: &str = "replication-policy:list";
const READ: &str = "replication:list and replication:read";
const EXECUTE: &str = "replication:create";

/// What was found out about the rule for an image.
enum Found {
    Rule(RegistryName, Box<Rule>),
    /// None can be executed, for this reason.
    None(HealOutcome, String),
    /// It could not be learned now.
    Unknown,
}

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
        let Some(kind) = Self::lacks(&standing.presence, Axis::Presence) else { return self.in_order(key) };
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

    /// The rule that brings the image to its Place, of those that its primary and its replica keep.
    async fn rule(&self, key: &GapKey, record: &Record, primary: &Place, place: &Place) -> Found {
        let tags = match self.tags(key, record, primary).await {
            Ok(tags) => tags,
            Err(found) => return found,
        };
        let way = Way {
            primary: &primary.registry,
            source: &primary.repository,
            tags: &tags,
            replica: &place.registry,
            target: &place.repository,
        };
        let mut best = Found::None(HealOutcome::NeedsCopy, Self::copy(key));
        let (mut rank, mut without) = (3, None);
        for keeper in [primary, place] {
            let name = &keeper.registry.name;
            if keeper.registry.kind != Kind::Harbor {
                continue;
            }
            let rules = match self.rules(name).await {
                Ok(rules) => rules,
                Err(Some((HealOutcome::NoCredentials, _))) => {
                    without = without.or(Some(name.clone()));
                    continue;
                }
                Err(Some((outcome, detail))) => {
                    // The replica's robot often has no right to read rules; those of the primary count.
                    if keeper.role == Role::Primary && rank > 2 {
                        (rank, best) = (2, Found::None(outcome, detail));
                    }
                    continue;
                }
                Err(None) => return Found::Unknown,
            };
            let (new, found) = match covering(&rules, name, &way) {
                Cover::By(rule) => (0, Found::Rule(name.clone(), Box::new(rule.clone()))),
                Cover::TooShallow(rule) => {
                    (1, Found::None(HealOutcome::RuleTooShallow, format!("rule `{}` of {name}", rule.name)))
                }
                Cover::Disabled(rule) => {
                    (1, Found::None(HealOutcome::RuleDisabled, format!("rule `{}` of {name}", rule.name)))
                }
                Cover::Nothing => continue,
            };
            if new < rank {
                (rank, best) = (new, found);
            }
        }
        match (&best, without) {
            (Found::None(HealOutcome::NeedsCopy, _), Some(name)) if name == primary.registry.name => {
                Found::None(HealOutcome::NoCredentials, format!("registry `{name}`"))
            }
            _ => best,
        }
    }

    /// The tags that the image has at its primary, as far as is known.
    async fn tags(&self, key: &GapKey, record: &Record, primary: &Place) -> Result<Vec<Box<str>>, Found> {
        let mut tags: Vec<Box<str>> = record.tag.iter().map(|tag| Box::from(tag.as_str())).collect();
        let GapSubject::Image { version, .. } = &key.subject else { return Ok(tags) };
        match version {
            Version::Tag(tag) => Ok(vec![tag.as_str().into()]),
            Version::Digest(digest) => {
                let deadline = Instant::now() + self.terms.poll;
                match self.observatory.facts(primary, digest, deadline).await {
                    Ok(CopyFacts::Known(facts)) => {
                        if let Held::Tags(held) = facts.held {
                            tags = held;
                        }
                        Ok(tags)
                    }
                    Ok(CopyFacts::Plain) => Ok(tags),
                    Ok(CopyFacts::Absent) => {
                        Err(Found::None(HealOutcome::NotFound, "its primary does not have it".to_owned()))
                    }
                    // A right that is missing there is told by the inspection; the tag in use is enough.
                    Err(_) if !tags.is_empty() => Ok(tags),
                    Err(_) => Err(Found::Unknown),
                }
            }
        }
    }

    async fn rules(&self, keeper: &RegistryName) -> Result<Arc<Vec<Rule>>, Option<(HealOutcome, String)>> {
        let known = self.remembered().rules.get(keeper).cloned();
        if let Some((_, rules)) = known.filter(|(read, _)| read.elapsed() < self.terms.rules) {
            return Ok(rules);
        }
        match self.observatory.healing_rules(keeper).await {
            Asked::Done(rules) => {
                let rules = Arc::new(rules);
                self.remembered().rules.insert(keeper.clone(), (Instant::now(), rules.clone()));
                Ok(rules)
            }
            Asked::Refused(refusal) => {
                let right = format!("{LIST_RULES} at {keeper}");
                Err(Some(refused(refusal, Remedy::Replicate, &right)))
            }
            Asked::NoCredentials => Err(Some((HealOutcome::NoCredentials, String::new()))),
            Asked::Unknown(_) => Err(None),
        }
    }

    async fn overrides(&self, keeper: &RegistryName, rule: i64) -> bool {
        let rules = self.rules(keeper).await.unwrap_or_default();
        rules.iter().find(|one| one.id == rule).is_none_or(|rule| rule.overrides)
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
            execution.by_tasks() == Status::InProgress
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
