//! Whether look-ups still ask a registry that rejects our credentials.
//!
//! ```text
//!            a probe: rejected             an attempt: refused, or at the deadline
//!   Known ───────────────────────► Suspect ───────────────────────────────────► Rejected ┐ one trial
//!     ▲                               │ an attempt: answered                       │  ▲───┘ in 30 s
//!     └── a probe: accepted;          └──────────────────► Vouched ◄───────────────┘
//!         other credentials
//! ```
//!
//! The attempt may come before the probe: what was not answered since the last answer agrees with it as well.
//!
//! An attempt with wrong credentials takes a Harbor 1.5 s, which is more than a Pod has, and keeps a user's account
//! locked. So once a probe and an attempt agree, look-ups are refused without asking. An attempt that is answered counts
//! more than a probe: anybody may pull public images, and some registries let a pull robot see single repositories only.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::domain::unknown::{Cause, Unknown};

use super::report::Health;

/// How often one question is let through while the credentials count as wrong.
const TRIAL: Duration = Duration::from_secs(30);

/// See the module's documentation.
#[derive(Debug)]
pub enum AuthGate {
    /// No probe speaks against our credentials.
    Known {
        /// The last attempt was refused or ended at the deadline.
        doubted: bool,
    },
    /// A probe was rejected. The next attempts decide.
    Suspect {
        /// What the probe saw, for people.
        why: Arc<str>,
    },
    /// Attempts were rejected as well.
    Rejected {
        /// What the probe saw, for people.
        why: Arc<str>,
        /// When a question is let through next.
        trial: Instant,
    },
    /// A probe was rejected, but an attempt was answered.
    Vouched,
}

impl Default for AuthGate {
    fn default() -> Self {
        Self::Known { doubted: false }
    }
}

impl AuthGate {
    /// Records what a probe found.
    pub fn probed(&mut self, health: Health, detail: &Arc<str>, now: Instant) {
        match (health, &mut *self) {
            (Health::Up | Health::Slow, Self::Known { .. }) => {}
            (Health::Up | Health::Slow, _) => *self = Self::default(),
            (Health::BadCredentials, Self::Known { doubted: false }) => {
                *self = Self::Suspect { why: detail.clone() };
            }
            (Health::BadCredentials, Self::Known { doubted: true }) => {
                *self = Self::Rejected { why: detail.clone(), trial: now + TRIAL };
            }
            // A registry that is down or limits us tells nothing about credentials.
            _ => {}
        }
    }

    /// Are look-ups refused because the credentials are wrong?
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

    /// An attempt begins. If it is the trial, no other is let through.
    pub fn tried(&mut self, now: Instant) {
        if let Self::Rejected { trial, .. } = self {
            *trial = now + TRIAL;
        }
    }

    /// Records how an attempt ended. `None`: with an answer.
    pub fn ended(&mut self, cause: Option<Cause>, now: Instant) {
        let unanswered = matches!(cause, Some(Cause::Unauthorized | Cause::Deadline));
        let next = match (cause, &*self) {
            (_, Self::Known { .. }) if cause.is_none() || unanswered => Self::Known { doubted: unanswered },
            (None, Self::Suspect { .. } | Self::Rejected { .. }) => Self::Vouched,
            (_, Self::Suspect { why }) if unanswered => {
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
        auth_gate.probed(Health::BadCredentials, &why(), now);
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
        auth_gate.probed(Health::Unresponsive, &why(), now);
        auth_gate.probed(Health::BadCredentials, &why(), now);
        assert!(auth_gate.limit(due + SECOND).is_some());
        auth_gate.probed(Health::Up, &why(), now);
        assert!(!auth_gate.is_rejected() && auth_gate.limit(due).is_none());
    }

    #[test]
    fn an_answer_says_more_than_a_probe() {
        let now = Instant::now();
        let mut auth_gate = refused(now);
        auth_gate.ended(None, now);
        for _ in 0..3 {
            auth_gate.probed(Health::BadCredentials, &why(), now);
            auth_gate.ended(Some(Cause::Unauthorized), now);
            assert_eq!(
                auth_gate.limit(now),
                None,
                "that one repository is not ours says nothing of the others"
            );
        }
        auth_gate.probed(Health::Up, &why(), now);
        auth_gate.probed(Health::BadCredentials, &why(), now);
        auth_gate.ended(Some(Cause::Deadline), now);
        assert!(auth_gate.limit(now).is_some(), "known since, and not any more");
    }

    #[test]
    fn an_attempt_before_the_probe_agrees_with_it_too() {
        let now = Instant::now();
        for cause in [Cause::Unauthorized, Cause::Deadline] {
            let mut auth_gate = AuthGate::default();
            auth_gate.ended(Some(cause), now);
            auth_gate.probed(Health::BadCredentials, &why(), now);
            assert!(auth_gate.is_rejected());
            let mut auth_gate = AuthGate::default();
            auth_gate.ended(Some(cause), now);
            auth_gate.ended(None, now);
            auth_gate.probed(Health::BadCredentials, &why(), now);
            assert!(!auth_gate.is_rejected(), "it was answered since");
        }
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
