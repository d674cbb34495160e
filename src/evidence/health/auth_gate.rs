//! Whether a registry is asked by Pods that does not know us.
//!
//! ```text
//!            a probe: a stranger           an attempt: refused, or out of time
//!   Known ───────────────────────► Suspect ───────────────────────────────────► Rejected ┐ one trial
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

use super::report::Health;

/// How often one question tries its luck.
const TRIAL: Duration = Duration::from_secs(30);

/// See the module.
#[derive(Debug, Default)]
pub enum AuthGate {
    /// It knows us, as far as we know.
    #[default]
    Known,
    /// A probe says that it does not: the next attempts will tell.
    Suspect {
        /// What the probe saw, in words.
        why: Arc<str>,
    },
    /// Attempts say so, too.
    Rejected {
        /// What the probe saw, in words.
        why: Arc<str>,
        /// When a question may try its luck.
        trial: Instant,
    },
    /// A probe says that it does not, and an attempt was answered all the same.
    Vouched,
}

impl AuthGate {
    /// A probe found this.
    pub fn probed(&mut self, health: Health, detail: &Arc<str>) {
        match (health, &mut *self) {
            (Health::Up | Health::Slow, _) => *self = Self::Known,
            (Health::BadCredentials, Self::Known) => *self = Self::Suspect { why: detail.clone() },
            // What is down, or wants to be left alone, says nothing of credentials.
            _ => {}
        }
    }

    /// Is everybody told that it does not know us?
    pub fn is_rejected(&self) -> bool {
        matches!(self, Self::Rejected { .. })
    }

    /// Why it is not asked now.
    pub fn limit(&self, now: Instant) -> Option<Unknown> {
        match self {
            Self::Rejected { why, trial } if now < *trial => {
                Some(Unknown::new(Cause::Unauthorized, why.clone()))
            }
            _ => None,
        }
    }

    /// An attempt begins: where it is the trial, it is the only one.
    pub fn tried(&mut self, now: Instant) {
        if let Self::Rejected { trial, .. } = self {
            *trial = now + TRIAL;
        }
    }

    /// An attempt ended; `None`: with an answer.
    pub fn ended(&mut self, cause: Option<Cause>, now: Instant) {
        let next = match (cause, &*self) {
            (None, Self::Suspect { .. } | Self::Rejected { .. }) => Self::Vouched,
            (Some(Cause::Unauthorized | Cause::Deadline), Self::Suspect { why }) => {
                Self::Rejected { why: why.clone(), trial: now + TRIAL }
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

    fn refused(now: Instant) -> AuthGate {
        let mut auth_gate = AuthGate::default();
        auth_gate.probed(Health::BadCredentials, &why());
        assert_eq!(auth_gate.limit(now), None, "a probe alone closes nothing");
        auth_gate.ended(Some(Cause::Unauthorized), now);
        auth_gate
    }

    #[test]
    fn what_a_probe_and_an_attempt_agree_on_is_told_and_tried_now_and_then() {
        let now = Instant::now();
        let mut auth_gate = refused(now);
        assert_eq!(auth_gate.limit(now).map(|unknown| unknown.cause), Some(Cause::Unauthorized));
        let due = now + TRIAL;
        assert!(auth_gate.limit(due - SECOND).is_some() && auth_gate.limit(due).is_none());
        auth_gate.tried(due);
        assert!(auth_gate.limit(due).is_some(), "one is enough");
        for cause in [Cause::Unauthorized, Cause::Deadline, Cause::ServerError] {
            auth_gate.ended(Some(cause), due);
            assert!(auth_gate.is_rejected(), "{cause:?}");
        }
        // What is down says nothing of it.
        auth_gate.probed(Health::Unresponsive, &why());
        auth_gate.probed(Health::BadCredentials, &why());
        assert!(auth_gate.limit(due + SECOND).is_some());
        auth_gate.probed(Health::Up, &why());
        assert!(!auth_gate.is_rejected() && auth_gate.limit(due).is_none());
    }

    #[test]
    fn an_answer_says_more_than_a_probe() {
        let now = Instant::now();
        let mut auth_gate = refused(now);
        auth_gate.ended(None, now);
        for _ in 0..3 {
            auth_gate.probed(Health::BadCredentials, &why());
            auth_gate.ended(Some(Cause::Unauthorized), now);
            assert_eq!(
                auth_gate.limit(now),
                None,
                "that one repository is not ours says nothing of the others"
            );
        }
        auth_gate.probed(Health::Up, &why());
        auth_gate.probed(Health::BadCredentials, &why());
        auth_gate.ended(Some(Cause::Deadline), now);
        assert!(auth_gate.limit(now).is_some(), "known since, and not any more");
    }

    #[test]
    fn attempts_alone_close_nothing() {
        let now = Instant::now();
        let mut auth_gate = AuthGate::default();
        auth_gate.ended(Some(Cause::Unauthorized), now);
        auth_gate.tried(now);
        assert_eq!(auth_gate.limit(now), None);
    }
}
