//! What is known of one registry's health, as a pure state machine: the time and the random are arguments.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::domain::breaker::{Breaker, Pass, Phase, Signal};
use crate::domain::evidence::{Cause, Reachability, Unknown};

use super::report::Health;
use super::auth_gate::AuthGate;
use super::storage::{Storage, UNRESPONSIVE_AFTER};

/// How long a probe waits. A connection that is not made is given up earlier, after 3 s.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// How often a registry is probed that is well …
const PACE: Duration = Duration::from_secs(10);
/// … and one that is not.
pub(super) const FAST: Duration = Duration::from_secs(1);

/// Until a prober must have told: its longest rest, its patience, and some air.
const HOLD: Duration = Duration::from_secs(8);

/// However long a registry asks us to stay away, we look again after this.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// How long it is left alone that does not say for how long: at first, doubling up to the longest.
const FIRST_BACKOFF: Duration = Duration::from_secs(1);
const LONGEST_BACKOFF: Duration = Duration::from_secs(30);

/// A retry costs as much as so many attempts earn, so that retries never add more than a tenth.
const RETRY: u32 = 10;
/// The most retries that are saved up.
const SAVED: u32 = 10;

/// Why a registry is not asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Limit {
    /// The breaker is open.
    BreakerOpen,
    /// It wants to be left alone, or we must leave it alone: with what is left of that.
    Paused(Unknown),
    /// It does not know us.
    Refused(Unknown),
}

/// What a probe found.
#[derive(Debug, Clone)]
pub struct Found {
    pub health: Health,
    /// What was seen, in words.
    pub detail: Arc<str>,
    pub took: Duration,
    /// Why there was no answer, or not the one that was hoped for.
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

/// What is known of one registry's health.
pub struct HealthState {
    breaker: Breaker,
    probed: Probed,
    /// When the last probe ended, if it found the registry down.
    failed: Option<Instant>,
    /// When an attempt was answered last.
    answered: Option<Instant>,
    /// Attempts in a row that ended out of time.
    consecutive_failures: u32,
    pause: Option<Pause>,
    backoff: Duration,
    /// What attempts have earned towards retries.
    credit: u32,
    auth_gate: AuthGate,
    /// Whether it hands out what it holds.
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

    /// Why it is not asked now; `None`: it may be.
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

    /// May an attempt whose connection broke be made once more?
    pub fn may_retry(&mut self) -> bool {
        let Some(left) = self.credit.checked_sub(RETRY) else { return false };
        self.credit = left;
        true
    }

    /// An attempt was given up before it ended.
    pub fn abandon(&mut self, pass: Pass, now: Instant) {
        self.breaker.record(pass, Signal::Neutral, now, 0.0);
    }

    /// An attempt ended with an answer, or with this silence. True: somebody should look at the registry now.
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

    /// We have other credentials: what it made of the last ones says nothing.
    pub fn rotated(&mut self) {
        self.auth_gate = AuthGate::default();
    }

    /// Is it down for Pods, or closed to us?
    pub fn is_closed(&self, now: Instant) -> bool {
        self.breaker.phase(now) == Phase::Open || self.auth_gate.is_rejected()
    }

    /// A probe goes on, or will soon.
    pub fn hold(&mut self, now: Instant) {
        self.breaker.hold(now + HOLD);
    }

    /// A probe ended so.
    pub fn learn(&mut self, found: Found, now: Instant, random: f64) {
        let Found { health, detail, took, unknown } = found;
        let signal = match health {
            Health::RateLimited if !is_answer(unknown.as_ref().map(|unknown| unknown.cause)) => {
                Signal::Neutral
            }
            // What something odd answers to a probe, it may answer better to an attempt: that one will tell.
            Health::Up
            | Health::Slow
            | Health::BadCredentials
            | Health::RateLimited
            | Health::NotARegistry => Signal::Success,
            Health::DatabaseDown | Health::Down => Signal::Failure,
            Health::Unresponsive => {
                // Whoever asks pays with all the time that there is. Failures that come at once cost nobody anything:
                // those are counted.
                self.breaker.trip(now, random);
                Signal::Neutral
            }
            Health::Unprobed | Health::Drained | Health::Unusable => Signal::Neutral,
        };
        self.breaker.probed(signal, now, random);
        self.auth_gate.probed(health, &detail);
        if health.is_down() {
            // The next probe comes soon, and tells again.
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

    /// It was not probed, and why.
    pub fn skip(&mut self, health: Health, detail: Arc<str>) {
        self.probed = Probed { health, detail, cause: None, took: Duration::ZERO };
    }

    /// Why it is left alone now, if it is.
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

    /// Is it up, as far as we know? What was never asked is.
    pub fn reachability(&self, now: Instant) -> Reachability {
        let sent_away =
            self.paused(now).is_some_and(|unknown| matches!(unknown.cause, Cause::Unavailable { .. }));
        let failed = self.failed.is_some_and(|failed| self.answered.is_none_or(|answered| answered < failed));
        if sent_away || failed || !self.breaker.is_up() { Reachability::Down } else { Reachability::Up }
    }

    /// How long the prober rests now. A metered registry spends at most a tenth of its budget on probes.
    pub fn rest(&self, per_hour: Option<NonZeroU32>, now: Instant, random: f64) -> Duration {
        let well = self.breaker.phase(now) == Phase::Closed && !self.probed.health.is_down();
        let pace = if well && self.probed.health != Health::RateLimited { PACE } else { FAST };
        let sparing = per_hour.map(|budget| Duration::from_secs(36_000) / budget.get());
        let rest = pace.max(sparing.unwrap_or_default()).mul_f64(0.75 + random / 2.0);
        let pause = self.pause.as_ref().map(|pause| pause.until.saturating_duration_since(now));
        rest.max(pause.unwrap_or_default())
    }

    /// Leaves it alone, where this asks for it.
    fn pause(&mut self, unknown: &Unknown, now: Instant) {
        let wish = match unknown.cause {
            Cause::RateLimited { retry_after } => retry_after.filter(|wish| !wish.is_zero()),
            Cause::Spent { retry_after } | Cause::Unavailable { retry_after } => Some(retry_after),
            _ => return,
        };
        let already = self.pause.as_ref().map(|pause| pause.until).filter(|until| now < *until);
        let length = match wish {
            Some(wish) => wish.min(LONGEST_PAUSE),
            // Those that were under way at once are one and the same refusal.
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

/// What an attempt says of the registry's health. An answer that only this one image may get says nothing: one odd
/// manifest must not close a registry to all others. Nor does our own thrift.
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

/// Did the registry itself answer, and is it up?
fn is_answer(cause: Option<Cause>) -> bool {
    signal(cause) == Signal::Success
        || matches!(cause, Some(Cause::NotRegistry | Cause::WrongDigest | Cause::TooLarge | Cause::Redirect))
}

#[cfg(test)]
mod tests;
