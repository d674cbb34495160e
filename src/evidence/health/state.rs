//! The health of one registry, as a pure state machine. The time and random numbers, from 0 to 1, are arguments.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::domain::breaker::{Pass, Phase, Signal};
use crate::domain::evidence::{Observation, Reachability};
use crate::domain::image::Repository;
use crate::domain::unknown::{Cause, Unknown};
use crate::evidence::question::{Question, unknown};

use super::auth_gate::AuthGate;
use super::gate::{Gate, Limit};
use super::projects::{Doubts, ProjectPass, Projects, Served};
use super::report::Health;

/// The most time of a probe. Connecting is given up earlier, after 3 s.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// How often a healthy registry is probed.
const PACE: Duration = Duration::from_secs(10);
/// How often a registry that is not healthy is probed.
pub(super) const FAST: Duration = Duration::from_secs(1);

/// How long the breaker waits for the prober: its longest pause, the time of a probe, and a margin.
const HOLD: Duration = Duration::from_secs(8);

/// An answer that took longer is noticed by who waits for it: with what is remembered, a Pod is to be answered within 50 ms.
const NOTICED: Duration = Duration::from_millis(50);

/// A retry costs what so many attempts earn, so retries add at most a tenth.
const RETRY: u32 = 10;
/// The most retries that can be saved up.
const SAVED: u32 = 10;

/// What a probe found.
#[derive(Debug, Clone)]
pub struct Found {
    pub health: Health,
    /// What was seen, for people.
    pub detail: Arc<str>,
    pub took: Duration,
    /// Why there was no answer, or an unexpected one.
    pub unknown: Option<Unknown>,
    /// What it speaks for.
    pub whose: Whose,
}

/// The last probe.
#[derive(Debug, Clone)]
pub struct Probed {
    pub health: Health,
    pub detail: Arc<str>,
    /// Why there was no answer.
    pub cause: Option<Cause>,
    pub took: Duration,
}

/// The permission for one attempt. Give it back by [`HealthState::record`] or [`HealthState::abandon`].
#[derive(Debug)]
#[must_use = "an attempt that is never recorded keeps its slot while the breaker is half-open"]
pub struct Ticket {
    pass: Pass,
    project: Option<ProjectPass>,
    began: Instant,
}

/// Manifests that a registry which answers probes did not serve to a probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unserved {
    /// What happened instead.
    pub unknown: Unknown,
    pub whose: Whose,
}

/// What an answer to a probe speaks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whose {
    /// The registry as a whole.
    Registry,
    /// One project, while another was served.
    OneOfSome(Box<str>),
    /// One project, and no other is known.
    OnlyKnown(Box<str>),
}

/// The health of one registry.
pub struct HealthState {
    whole: Gate,
    projects: Projects,
    probed: Probed,
    /// When the last probe ended, if it found the registry down.
    failed: Option<Instant>,
    /// When an attempt was last answered.
    answered: Option<Instant>,
    /// How long that answer took.
    took: Duration,
    /// What attempts have earned for retries.
    credit: u32,
    auth_gate: AuthGate,
}

impl Default for HealthState {
    fn default() -> Self {
        let detail = Arc::from("not probed yet");
        Self {
            whole: Gate::default(),
            projects: Projects::default(),
            probed: Probed { health: Health::Unprobed, detail, cause: None, took: Duration::ZERO },
            failed: None,
            answered: None,
            took: Duration::ZERO,
            credit: RETRY,
            auth_gate: AuthGate::default(),
        }
    }
}

impl HealthState {
    /// The phase of the breaker: of the registry or of one of its projects, whichever is worse.
    pub fn phase(&self, now: Instant) -> Phase {
        self.whole.breaker.phase(now).max(self.projects.phase(now))
    }

    /// Was the registry, or a project of it, asked to be left alone for a while?
    pub fn is_pausing(&self, now: Instant) -> bool {
        self.whole.paused(now).is_some() || self.projects.paused(now) > 0
    }

    /// How many of its projects may not be asked now, though the registry may.
    pub fn limited_projects(&self, now: Instant) -> usize {
        self.projects.limited(now)
    }

    /// The last probe.
    pub fn probed(&self) -> &Probed {
        &self.probed
    }

    /// Why this repository may not be asked for now. `None`: it may.
    pub fn limit(&self, repository: &Repository, now: Instant) -> Option<Limit> {
        let refused = || self.auth_gate.limit(now).map(Limit::Refused);
        let whole = self.whole.limit(Limit::BreakerOpen, now);
        whole.or_else(refused).or_else(|| self.projects.limit(repository, now))
    }

    /// May this repository be asked for without any limit?
    pub fn is_well(&self, repository: &Repository, now: Instant) -> bool {
        self.whole.is_open_to_all(now)
            && self.projects.is_open_to_all(repository, now)
            && self.auth_gate.limit(now).is_none()
    }

    /// Lets an attempt through.
    ///
    /// # Errors
    /// Why it may not be made now.
    pub fn admit(&mut self, repository: &Repository, now: Instant) -> Result<Ticket, Limit> {
        if let Some(unknown) = self.auth_gate.limit(now) {
            return Err(Limit::Refused(unknown));
        }
        let pass = self.whole.admit(Limit::BreakerOpen, now)?;
        let project = match self.projects.admit(repository, now) {
            Ok(project) => project,
            Err(limit) => {
                self.whole.breaker.record(pass, Signal::Neutral, now, 0.0);
                return Err(limit);
            }
        };
        self.auth_gate.tried(now);
        self.credit = (self.credit + 1).min(SAVED * RETRY);
        Ok(Ticket { pass, project, began: now })
    }

    /// May an attempt whose connection broke be repeated?
    pub fn may_retry(&mut self) -> bool {
        let Some(left) = self.credit.checked_sub(RETRY) else { return false };
        self.credit = left;
        true
    }

    /// An attempt was abandoned before it ended.
    pub fn abandon(&mut self, ticket: Ticket, repository: &Repository, now: Instant) {
        self.whole.breaker.record(ticket.pass, Signal::Neutral, now, 0.0);
        self.projects.record(ticket.project, repository, Signal::Neutral, now, 0.0);
    }

    /// Records how an attempt ended. True: the registry should be probed now.
    pub fn record(
        &mut self,
        ticket: Ticket,
        question: &Question,
        answer: &Observation,
        now: Instant,
        random: f64,
    ) -> bool {
        let unknown = unknown(answer);
        let changed = self.record_api(ticket, &question.repository, unknown, now, random);
        let cause = unknown.map(|unknown| unknown.cause);
        self.projects.stored(question, answer, cause, now) || changed
    }

    /// Records how an attempt at the API ended, which says nothing of the storage. `unknown`: why there is no answer. True:
    /// the registry should be probed now.
    pub fn record_api(
        &mut self,
        ticket: Ticket,
        repository: &Repository,
        unknown: Option<&Unknown>,
        now: Instant,
        random: f64,
    ) -> bool {
        let cause = unknown.map(|unknown| unknown.cause);
        let (before, began) = (self.limits(now), ticket.began);
        self.count(ticket, repository, signal(cause), now, random);
        self.auth_gate.ended(cause, now);
        if is_answer(cause) {
            self.answered = Some(now);
        }
        match unknown {
            None => {
                self.took = now.saturating_duration_since(began);
                self.whole.answered();
                self.projects.answered(repository, now);
            }
            Some(unknown) => self.pause(repository, unknown, now),
        }
        // It may be down, or take its time to reject our credentials: a probe finds out, and waits longer than an attempt.
        cause == Some(Cause::Deadline) || before != self.limits(now)
    }

    /// Records how a look at layers ended. It counts neither for nor against the registry, because blobs may come from a storage
    /// that nodes reach and we do not; only what asks us to wait counts.
    pub fn looked(
        &mut self,
        ticket: Ticket,
        repository: &Repository,
        unknown: Option<&Unknown>,
        now: Instant,
    ) {
        self.abandon(ticket, repository, now);
        if let Some(unknown) = unknown {
            self.pause(repository, unknown, now);
        }
    }

    /// Counts how an attempt ended. A failure counts for its project. Only if another project is failing as well, it
    /// counts for the registry.
    fn count(&mut self, ticket: Ticket, repository: &Repository, signal: Signal, now: Instant, random: f64) {
        let Ticket { pass, project, began: _ } = ticket;
        let is_trial = self.whole.breaker.phase(now) == Phase::HalfOpen;
        self.projects.record(project, repository, signal, now, random);
        if signal != Signal::Failure {
            return self.whole.breaker.record(pass, signal, now, random);
        }
        self.whole.breaker.record(pass, Signal::Neutral, now, random);
        if is_trial {
            // The registry was down a moment ago, so one failure is enough to stop asking for this project.
            self.projects.trip(repository, now, random);
        }
        if self.projects.failing(now) > 1 {
            self.close(now, random);
        }
    }

    /// Stops asking the registry as a whole.
    fn close(&mut self, now: Instant, random: f64) {
        self.whole.breaker.trip(now, random);
        self.projects.start_anew(now);
    }

    /// Starts a pause, if this cause asks for one: of the project, or of the registry if another project pauses, too. Our
    /// own `requestsPerHour` is one for the whole registry.
    fn pause(&mut self, repository: &Repository, unknown: &Unknown, now: Instant) {
        match unknown.cause {
            Cause::Spent { .. } => self.whole.pause(unknown, now),
            Cause::RateLimited { .. } | Cause::Unavailable { .. } => {
                self.projects.pause(repository, unknown, now);
                if self.projects.paused(now) > 1 {
                    self.whole.pause(unknown, now);
                }
            }
            _ => {}
        }
    }

    /// What is limited now. If that changes, the prober looks.
    fn limits(&self, now: Instant) -> (Phase, bool, usize) {
        (self.whole.breaker.phase(now), self.whole.paused(now).is_some(), self.projects.limited(now))
    }

    /// The credentials changed, so what it thought of the old ones no longer counts.
    pub fn rotated(&mut self) {
        self.auth_gate = AuthGate::default();
    }

    /// Do some look-ups not get through: is a breaker open, or are our credentials rejected?
    pub fn is_closed(&self, now: Instant) -> bool {
        self.phase(now) == Phase::Open || self.auth_gate.is_rejected()
    }

    /// A probe is running, or starts soon: attempts wait for what it finds.
    pub fn hold(&mut self, now: Instant) {
        self.whole.breaker.hold(now + HOLD);
        self.projects.hold(now + HOLD);
    }

    /// Records what a probe found.
    pub fn learn(&mut self, found: Found, now: Instant, random: f64) {
        let Found { health, detail, took, unknown, whose } = found;
        // What one project's manifests show says nothing of the others.
        let is_whole = whose == Whose::Registry;
        let is_down = health.is_down() && is_whole;
        let signal = match health {
            _ if !is_whole => Signal::Success,
            Health::RateLimited if !is_answer(unknown.as_ref().map(|unknown| unknown.cause)) => {
                Signal::Neutral
            }
            // It answers: whether it serves look-ups, attempts will show, even if the answer to the probe was odd.
            Health::Up
            | Health::Slow
            | Health::BadCredentials
            | Health::RateLimited
            | Health::NotARegistry => Signal::Success,
            Health::DatabaseDown | Health::Down => Signal::Failure,
            Health::Unresponsive => {
                // Each attempt would wait until its deadline, so the breaker opens at once. Failures that come quickly
                // cost little, so those are counted first.
                self.close(now, random);
                Signal::Neutral
            }
            Health::Unprobed | Health::Drained | Health::Unusable => Signal::Neutral,
        };
        if signal == Signal::Failure && self.projects.failing(now) > 0 {
            // The probe says the same as the attempts.
            self.close(now, random);
        } else {
            self.whole.breaker.probed(signal, now, random);
        }
        self.auth_gate.probed(health, &detail, now);
        if health.is_down() {
            // The next probe comes soon.
            self.hold(now);
        }
        self.failed = is_down.then_some(now);
        let cause = unknown.as_ref().map(|unknown| unknown.cause);
        if let Some(unknown) = unknown.as_ref().filter(|_| is_whole) {
            self.whole.pause(unknown, now);
        }
        self.probed = Probed { health, detail, cause, took };
    }

    /// It was not probed, for this reason.
    pub fn skip(&mut self, health: Health, detail: Arc<str>) {
        self.probed = Probed { health, detail, cause: None, took: Duration::ZERO };
    }

    /// Why the registry must not be asked for a while, if so.
    pub fn paused(&self, now: Instant) -> Option<Unknown> {
        self.whole.paused(now)
    }

    /// The manifests that a probe should ask for.
    pub fn doubts(&self) -> Doubts {
        self.projects.doubts()
    }

    /// Records which manifests a registry that answers probes served to this one. Returns what that says of the
    /// registry, if it is worse than what the probe found otherwise.
    pub fn tested(
        &mut self,
        doubted: &[(Question, Served)],
        witness: Option<&Served>,
        now: Instant,
        random: f64,
    ) -> Option<Unserved> {
        let mut unserved = Vec::new();
        for (question, served) in doubted {
            if self.projects.probed(question, served, now, random)
                && let Served::No(unknown) = served
            {
                unserved.push((question, unknown));
            }
        }
        let served = doubted.iter().map(|(_, served)| served).chain(witness);
        let (yes, no) = served.fold((0, 0), |(yes, no), served| match served {
            Served::Yes => (yes + 1, no),
            Served::Gone => (yes, no),
            Served::No(_) => (yes, no + 1),
        });
        let (first, unknown) = unserved.first()?;
        let (name, unknown) = (first.repository.project().into(), (*unknown).clone());
        for (question, _) in &unserved {
            self.projects.trip(&question.repository, now, random);
        }
        self.projects.hold(now + HOLD);
        let whose = match (yes, no) {
            (0, 2..) => Whose::Registry,
            (0, _) => Whose::OnlyKnown(name),
            _ => Whose::OneOfSome(name),
        };
        Some(Unserved { unknown, whose })
    }

    /// Is it known that an answer about this repository takes long: from the last probe, or from the last look-ups?
    pub fn is_slow(&self, repository: &Repository) -> bool {
        self.probed.health == Health::Slow || self.took > NOTICED || self.projects.is_late(repository)
    }

    /// Whether nodes get images of this repository, as far as we know. A registry that was never asked counts as up.
    pub fn reachability(&self, repository: &Repository, now: Instant) -> Reachability {
        let failed = self.failed.is_some_and(|failed| self.answered.is_none_or(|answered| answered < failed));
        if failed || self.whole.is_down(now) || self.projects.is_down(repository, now) {
            Reachability::Down
        } else {
            Reachability::Up
        }
    }

    /// How long the prober waits until the next probe. Probes take at most a tenth of `requestsPerHour`.
    pub fn rest(&self, per_hour: Option<NonZeroU32>, now: Instant, random: f64) -> Duration {
        let well = self.whole.breaker.phase(now) == Phase::Closed
            && !self.probed.health.is_down()
            && !self.projects.are_doubted();
        let pace = if well && self.probed.health != Health::RateLimited { PACE } else { FAST };
        let metered = per_hour.map(|budget| Duration::from_secs(36_000) / budget.get());
        let rest = pace.max(metered.unwrap_or_default()).mul_f64(0.75 + random / 2.0);
        rest.max(self.whole.rest(now).unwrap_or_default())
    }
}

/// What the end of an attempt means for the breaker. Neutral are: an odd answer, which may concern this one image only; what
/// we caused ourselves; and a timeout. Slowness is no failure: a timeout starts a probe, which may open the breaker ([`HealthState::learn`]).
fn signal(cause: Option<Cause>) -> Signal {
    match cause {
        None | Some(Cause::Unauthorized | Cause::Forbidden | Cause::RateLimited { .. }) => Signal::Success,
        Some(
            Cause::Connect | Cause::Tls | Cause::Broken | Cause::ServerError | Cause::Unavailable { .. },
        ) => Signal::Failure,
        Some(
            Cause::NotRegistry
            | Cause::WrongDigest
            | Cause::TooLarge
            | Cause::Redirect
            | Cause::Spent { .. }
            | Cause::Deadline
            | Cause::Overloaded
            | Cause::Internal
            | Cause::BreakerOpen
            | Cause::Drained,
        ) => Signal::Neutral,
    }
}

/// Did the registry answer, so that it is up?
fn is_answer(cause: Option<Cause>) -> bool {
    signal(cause) == Signal::Success
        || matches!(cause, Some(Cause::NotRegistry | Cause::WrongDigest | Cause::TooLarge | Cause::Redirect))
}

#[cfg(test)]
mod tests;
