//! Whether a registry is asked by Pods that does not know us.
//!
//! ```text
//!            a probe: a stranger           an attempt: refused, or out of time
//!   Known ───────────────────────► Doubted ───────────────────────────────────► Refused ─┐ one trial
//!     ▲                               │ an attempt: answered                       │  ▲───┘ in a while
//!     └── a probe: known;             └──────────────────► Vouched ◄───────────────┘
//!         other credentials
//! ```
//!
//! A wrong attempt costs a Harbor 1.5 s, which is more than a Pod has, and keeps a user's account locked. So where a
//! probe and an attempt agree, Pods are told what is known. An attempt that is answered all the same says more than a
//! probe: public images are everybody's, and some registries show nothing but single repositories to a pull robot.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::domain::evidence::{Cause, Unknown};

use super::Health;

/// How often one question tries its luck.
const TRIAL: Duration = Duration::from_secs(30);

/// See the module.
#[derive(Debug, Default)]
pub enum Welcome {
    /// It knows us, as far as we know.
    #[default]
    Known,
    /// A probe says that it does not: the next attempts will tell.
    Doubted {
        /// What the probe saw, in words.
        why: Arc<str>,
    },
    /// Attempts say so, too.
    Refused {
        /// What the probe saw, in words.
        why: Arc<str>,
        /// When a question may try its luck.
        trial: Instant,
    },
    /// A probe says that it does not, and an attempt was answered all the same.
    Vouched,
}

impl Welcome {
    /// A probe found this.
    pub fn probed(&mut self, health: Health, detail: &Arc<str>) {
        match (health, &mut *self) {
            (Health::Up | Health::Slow, _) => *self = Self::Known,
            (Health::Stranger, Self::Known) => *self = Self::Doubted { why: detail.clone() },
            // What is down, or wants to be left alone, says nothing of credentials.
            _ => {}
        }
    }

    /// Is everybody told that it does not know us?
    pub fn is_refused(&self) -> bool {
        matches!(self, Self::Refused { .. })
    }

    /// Why it is not asked now.
    pub fn limit(&self, now: Instant) -> Option<Unknown> {
        match self {
            Self::Refused { why, trial } if now < *trial => {
                Some(Unknown::new(Cause::Unauthorized, why.clone()))
            }
            _ => None,
        }
    }

    /// An attempt begins: where it is the trial, it is the only one.
    pub fn tried(&mut self, now: Instant) {
        if let Self::Refused { trial, .. } = self {
            *trial = now + TRIAL;
        }
    }

    /// An attempt ended; `None`: with an answer.
    pub fn ended(&mut self, cause: Option<Cause>, now: Instant) {
        let next = match (cause, &*self) {
            (None, Self::Doubted { .. } | Self::Refused { .. }) => Self::Vouched,
            (Some(Cause::Unauthorized | Cause::Deadline), Self::Doubted { why }) => {
                Self::Refused { why: why.clone(), trial: now + TRIAL }
            }
            _ => return,
        };
        *self = next;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn why() -> Arc<str> {
        "who are you?".into()
    }

    fn refused(now: Instant) -> Welcome {
        let mut welcome = Welcome::default();
        welcome.probed(Health::Stranger, &why());
        assert_eq!(welcome.limit(now), None, "a probe alone closes nothing");
        welcome.ended(Some(Cause::Unauthorized), now);
        welcome
    }

    #[test]
    fn what_a_probe_and_an_attempt_agree_on_is_told_and_tried_now_and_then() {
        let now = Instant::now();
        let mut welcome = refused(now);
        assert_eq!(welcome.limit(now).map(|unknown| unknown.cause), Some(Cause::Unauthorized));
        let due = now + TRIAL;
        assert!(welcome.limit(due - SECOND).is_some() && welcome.limit(due).is_none());
        welcome.tried(due);
        assert!(welcome.limit(due).is_some(), "one is enough");
        for cause in [Cause::Unauthorized, Cause::Deadline, Cause::ServerError] {
            welcome.ended(Some(cause), due);
            assert!(welcome.is_refused(), "{cause:?}");
        }
        // What is down says nothing of it.
        welcome.probed(Health::Silent, &why());
        welcome.probed(Health::Stranger, &why());
        assert!(welcome.limit(due + SECOND).is_some());
        welcome.probed(Health::Up, &why());
        assert!(!welcome.is_refused() && welcome.limit(due).is_none());
    }

    #[test]
    fn an_answer_says_more_than_a_probe() {
        let now = Instant::now();
        let mut welcome = refused(now);
        welcome.ended(None, now);
        for _ in 0..3 {
            welcome.probed(Health::Stranger, &why());
            welcome.ended(Some(Cause::Unauthorized), now);
            assert_eq!(
                welcome.limit(now),
                None,
                "that one repository is not ours says nothing of the others"
            );
        }
        welcome.probed(Health::Up, &why());
        welcome.probed(Health::Stranger, &why());
        welcome.ended(Some(Cause::Deadline), now);
        assert!(welcome.limit(now).is_some(), "known since, and not any more");
    }

    #[test]
    fn attempts_alone_close_nothing() {
        let now = Instant::now();
        let mut welcome = Welcome::default();
        welcome.ended(Some(Cause::Unauthorized), now);
        welcome.tried(now);
        assert_eq!(welcome.limit(now), None);
    }
}
