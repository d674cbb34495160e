//! The health of one registry, as a pure state machine. The time and random numbers, from 0 to 1, are arguments.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::domain::breaker::{Breaker, Pass, Phase, Signal};
use crate::domain::evidence::Reachability;
use crate::domain::unknown::{Cause, Unknown};

use super::auth_gate::AuthGate;
use super::report::Health;
use super::storage::{Storage, UNRESPONSIVE_AFTER};

/// The most time of a probe. Connecting is given up earlier, after 3 s.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// How often a healthy registry is probed.
const PACE: Duration = Duration::from_secs(10);
/// How often a registry that is not healthy is probed.
pub(super) const FAST: Duration = Duration::from_secs(1);

/// How long the breaker waits for the prober: its longest pause, the time of a probe, and a margin.
const HOLD: Duration = Duration::from_secs(8);

/// The longest `Retry-After` that is followed.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// The pause after a 429 without `Retry-After`. It doubles each time, up to the longest.
const FIRST_BACKOFF: Duration = Duration::from_secs(1);
const LONGEST_BACKOFF: Duration = Duration::from_secs(30);

/// A retry costs what so many attempts earn, so retries add at most a tenth.
const RETRY: u32 = 10;
/// The most retries that can be saved up.
const SAVED: u32 = 10;

/// Why a registry is not asked now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Limit {
    /// The breaker is open.
    BreakerOpen,
    /// It asked us to wait, or our own budget is spent. The cause holds the time that is left.
    Paused(Unknown),
    /// It rejects our credentials.
    Refused(Unknown),
}

/// What a probe found.
#[derive(Debug, Clone)]
pub struct Found {
    pub health: Health,
    /// What was seen, for people.
    pub detail: Arc<str>,
    pub took: Duration,
    /// Why there was no answer, or an unexpected one.
    pub unknown: Option<Unknown>,
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

struct Pause {
    until: Instant,
    unknown: Unknown,
}

/// The health of one registry.
pub struct HealthState {
    breaker: Breaker,
    probed: Probed,
    /// When the last probe ended, if it found the registry down.
    failed: Option<Instant>,
    /// When an attempt was last answered.
    answered: Option<Instant>,
    /// Attempts in a row that ended at the deadline.
    consecutive_failures: u32,
    pause: Option<Pause>,
    backoff: Duration,
    /// What attempts have earned for retries.
    credit: u32,
    auth_gate: AuthGate,
    /// Whether it serves manifests.
    pub storage: Storage,
}

impl Default for HealthState {
    fn default() -> Self {
        let detail = Arc::from("not probed yet");
        Self {
            breaker: Breaker::default(),
            probed: Probed { health: Health::Unprobed, detail, cause: None, took: Duration::ZERO },
            failed: None,
            answered: None,
            consecutive_failures: 0,
            pause: None,
            backoff: FIRST_BACKOFF,
            credit: RETRY,
            auth_gate: AuthGate::default(),
            storage: Storage::default(),
        }
    }
}

impl HealthState {
    /// The breaker's phase.
    pub fn phase(&self, now: Instant) -> Phase {
        self.breaker.phase(now)
    }

    /// The last probe.
    pub fn probed(&self) -> &Probed {
        &self.probed
    }

    /// Why it may not be asked now. `None`: it may.
    pub fn limit(&self, now: Instant) -> Option<Limit> {
        if let Some(unknown) = self.paused(now) {
            return Some(Limit::Paused(unknown));
        }
        if self.breaker.phase(now) == Phase::Open {
            return Some(Limit::BreakerOpen);
        }
        self.auth_gate.limit(now).map(Limit::Refused)
    }

    /// Lets an attempt through, or says why not.
    pub fn admit(&mut self, now: Instant) -> Result<Pass, Limit> {
        if let Some(unknown) = self.paused(now) {
            return Err(Limit::Paused(unknown));
        }
        if let Some(unknown) = self.auth_gate.limit(now) {
            return Err(Limit::Refused(unknown));
        }
        let pass = self.breaker.admit(now).ok_or(Limit::BreakerOpen)?;
        self.auth_gate.tried(now);
        self.credit = (self.credit + 1).min(SAVED * RETRY);
        Ok(pass)
    }

    /// May an attempt whose connection broke be repeated?
    pub fn may_retry(&mut self) -> bool {
        let Some(left) = self.credit.checked_sub(RETRY) else { return false };
        self.credit = left;
        true
    }

    /// An attempt was abandoned before it ended.
    pub fn abandon(&mut self, pass: Pass, now: Instant) {
        self.breaker.record(pass, Signal::Neutral, now, 0.0);
    }

    /// Records how an attempt ended: with an answer, or with this cause. True: the registry should be probed now.
    pub fn record(&mut self, pass: Pass, unknown: Option<&Unknown>, now: Instant, random: f64) -> bool {
        let before = (self.breaker.phase(now), self.paused(now).is_some());
        let cause = unknown.map(|unknown| unknown.cause);
        self.breaker.record(pass, signal(cause), now, random);
        self.auth_gate.ended(cause, now);
        if is_answer(cause) {
            self.answered = Some(now);
            self.consecutive_failures = 0;
        }
        match unknown {
            None => self.backoff = FIRST_BACKOFF,
            Some(unknown) => self.pause(unknown, now),
        }
        if cause == Some(Cause::Deadline) {
            self.consecutive_failures += 1;
            if self.consecutive_failures >= UNRESPONSIVE_AFTER {
                self.consecutive_failures = 0;
                return true;
            }
        }
        before != (self.breaker.phase(now), self.paused(now).is_some())
    }

    /// The credentials changed, so what it thought of the old ones no longer counts.
    pub fn rotated(&mut self) {
        self.auth_gate = AuthGate::default();
    }

    /// Do look-ups not get through: is the breaker open, or are our credentials rejected?
    pub fn is_closed(&self, now: Instant) -> bool {
        self.breaker.phase(now) == Phase::Open || self.auth_gate.is_rejected()
    }

    /// A probe is running, or starts soon: attempts wait for what it finds.
    pub fn hold(&mut self, now: Instant) {
        self.breaker.hold(now + HOLD);
    }

    /// Records what a probe found.
    pub fn learn(&mut self, found: Found, now: Instant, random: f64) {
        let Found { health, detail, took, unknown } = found;
        let signal = match health {
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
                self.breaker.trip(now, random);
                Signal::Neutral
            }
            Health::Unprobed | Health::Drained | Health::Unusable => Signal::Neutral,
        };
        self.breaker.probed(signal, now, random);
        self.auth_gate.probed(health, &detail);
        if health.is_down() {
            // The next probe comes soon.
            self.hold(now);
        }
        self.consecutive_failures = 0;
        self.failed = health.is_down().then_some(now);
        let cause = unknown.as_ref().map(|unknown| unknown.cause);
        if let Some(unknown) = &unknown {
            self.pause(unknown, now);
        }
        self.probed = Probed { health, detail, cause, took };
    }

    /// It was not probed, for this reason.
    pub fn skip(&mut self, health: Health, detail: Arc<str>) {
        self.probed = Probed { health, detail, cause: None, took: Duration::ZERO };
    }

    /// Why it must not be asked for a while, if so.
    pub fn paused(&self, now: Instant) -> Option<Unknown> {
        let pause = self.pause.as_ref().filter(|pause| now < pause.until)?;
        let left = pause.until - now;
        let cause = match pause.unknown.cause {
            Cause::RateLimited { .. } => Cause::RateLimited { retry_after: Some(left) },
            Cause::Spent { .. } => Cause::Spent { retry_after: left },
            _ => Cause::Unavailable { retry_after: left },
        };
        Some(Unknown { cause, detail: pause.unknown.detail.clone() })
    }

    /// Whether it is up, as far as we know. A registry that was never asked counts as up.
    pub fn reachability(&self, now: Instant) -> Reachability {
        let unavailable =
            self.paused(now).is_some_and(|unknown| matches!(unknown.cause, Cause::Unavailable { .. }));
        let failed = self.failed.is_some_and(|failed| self.answered.is_none_or(|answered| answered < failed));
        if unavailable || failed || !self.breaker.is_up() { Reachability::Down } else { Reachability::Up }
    }

    /// How long the prober waits until the next probe. Probes take at most a tenth of `requestsPerHour`.
    pub fn rest(&self, per_hour: Option<NonZeroU32>, now: Instant, random: f64) -> Duration {
        let well = self.breaker.phase(now) == Phase::Closed && !self.probed.health.is_down();
        let pace = if well && self.probed.health != Health::RateLimited { PACE } else { FAST };
        let metered = per_hour.map(|budget| Duration::from_secs(36_000) / budget.get());
        let rest = pace.max(metered.unwrap_or_default()).mul_f64(0.75 + random / 2.0);
        let pause = self.pause.as_ref().map(|pause| pause.until.saturating_duration_since(now));
        rest.max(pause.unwrap_or_default())
    }

    /// Starts a pause, if this cause asks for one.
    fn pause(&mut self, unknown: &Unknown, now: Instant) {
        let retry_after = match unknown.cause {
            Cause::RateLimited { retry_after } => retry_after.filter(|retry_after| !retry_after.is_zero()),
            Cause::Spent { retry_after } | Cause::Unavailable { retry_after } => Some(retry_after),
            _ => return,
        };
        let already = self.pause.as_ref().map(|pause| pause.until).filter(|until| now < *until);
        let length = match retry_after {
            Some(retry_after) => retry_after.min(LONGEST_PAUSE),
            // Attempts that were in progress together got the same refusal: it counts once.
            None if already.is_some() => return,
            None => {
                let length = self.backoff;
                self.backoff = (length * 2).min(LONGEST_BACKOFF);
                length
            }
        };
        let until = now + length;
        if already.is_none_or(|already| already < until) {
            self.pause = Some(Pause { until, unknown: unknown.clone() });
        }
    }
}

/// What the end of an attempt means for the breaker. Neutral are: an odd answer, which may concern this one image only; what
/// we caused ourselves; and a timeout. Slowness is no failure: three timeouts in a row start a probe, which may open the
/// breaker ([`HealthState::learn`]).
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
