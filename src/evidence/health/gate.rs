//! Whether one registry, or one project of a registry, may be asked: its breaker, and the pause that it asked for.

use std::time::{Duration, Instant};

use crate::domain::breaker::{Breaker, Pass, Phase};
use crate::domain::unknown::{Cause, Unknown};

/// The longest `Retry-After` that is followed.
pub(super) const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// The pause after a 429 without `Retry-After`. It doubles each time, up to the longest.
const FIRST_BACKOFF: Duration = Duration::from_secs(1);
const LONGEST_BACKOFF: Duration = Duration::from_secs(30);

/// Why a question may not be asked now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Limit {
    /// The registry's breaker is open.
    BreakerOpen,
    /// The breaker of the question's project is open.
    ProjectBreakerOpen,
    /// We were asked to wait, or our own budget is spent. The cause holds the time that is left.
    Paused(Unknown),
    /// The registry rejects our credentials.
    Refused(Unknown),
}

#[derive(Debug)]
struct Pause {
    until: Instant,
    unknown: Unknown,
}

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Gate {
    pub breaker: Breaker,
    pause: Option<Pause>,
    backoff: Duration,
}

impl Default for Gate {
    fn default() -> Self {
        Self { breaker: Breaker::default(), pause: None, backoff: FIRST_BACKOFF }
    }
}

impl Gate {
    /// Why it may not be asked now. `open`: what an open breaker is called here.
    pub fn limit(&self, open: Limit, now: Instant) -> Option<Limit> {
        let is_open = || (self.breaker.phase(now) == Phase::Open).then_some(open);
        self.paused(now).map(Limit::Paused).or_else(is_open)
    }

    /// Lets an attempt through.
    ///
    /// # Errors
    /// The pause that is not over yet; or `open`, while the breaker is open or enough trials are under way.
    pub fn admit(&mut self, open: Limit, now: Instant) -> Result<Pass, Limit> {
        match self.paused(now) {
            Some(unknown) => Err(Limit::Paused(unknown)),
            None => self.breaker.admit(now).ok_or(open),
        }
    }

    /// Do nodes get nothing from it, as far as attempts show?
    pub fn is_down(&self, now: Instant) -> bool {
        let unavailable =
            self.paused(now).is_some_and(|unknown| matches!(unknown.cause, Cause::Unavailable { .. }));
        unavailable || !self.breaker.is_up()
    }

    /// Is every attempt let through?
    pub fn is_open_to_all(&self, now: Instant) -> bool {
        self.paused(now).is_none() && self.breaker.phase(now) == Phase::Closed
    }

    /// Why it must not be asked for a while, if so.
    pub fn paused(&self, now: Instant) -> Option<Unknown> {
        let left = self.rest(now).filter(|left| !left.is_zero())?;
        let unknown = &self.pause.as_ref()?.unknown;
        let cause = match unknown.cause {
            Cause::RateLimited { .. } => Cause::RateLimited { retry_after: Some(left) },
            Cause::Spent { .. } => Cause::Spent { retry_after: left },
            _ => Cause::Unavailable { retry_after: left },
        };
        Some(Unknown { cause, detail: unknown.detail.clone() })
    }

    /// The time that is left of the last pause.
    pub fn rest(&self, now: Instant) -> Option<Duration> {
        self.pause.as_ref().map(|pause| pause.until.saturating_duration_since(now))
    }

    /// An attempt was answered with what it asked for: the next pause is a first one.
    pub fn answered(&mut self) {
        self.backoff = FIRST_BACKOFF;
    }

    /// Starts a pause, if this cause asks for one.
    pub fn pause(&mut self, unknown: &Unknown, now: Instant) {
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
