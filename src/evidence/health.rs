//! The health of registries: what attempts and probes tell of it, and what follows for the next question.
//!
//! ```text
//! prober ── every 10 s, every second while it is not well ──► systeminfo | /v2/ ──► Health ─┐
//! attempts ── answered, failed, out of time, limited ───────────────────────────────────────┴► HealthState
//!    ▲                                                                 breaker · pause · silence · retries
//!    └── may it be asked? ◄────────────────────────────────────────────────────────────────────┘ └► Reachable
//! ```
//!
//! Slowness is no failure: a registry that is too slow for `budget.attempt` still serves nodes, and to leave it alone
//! would turn a slow site into a dead one in the very hour that matters. So an attempt out of time says nothing by
//! itself. Several in a row, without any answer between them, call for a probe, which has the time to wait; a registry
//! that gives nothing to that either, while nobody else hears from it, is down. So is one whose front answers a probe,
//! but whose [`storage`] gives it no manifest. One that does not know us is asked by nobody but a trial now and then: see
//! [`auth_gate`].

mod auth_gate;
mod prober;
mod state;
mod storage;

use std::sync::Arc;

use prometheus_client::encoding::EncodeLabelValue;

use crate::domain::evidence::Cause;
use crate::domain::registry::RegistryName;

pub(super) use state::{HealthState, Limit, Probed};

/// How a registry is, as its last probe found it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum Health {
    /// It was not probed yet.
    Unprobed,
    /// It answers, and knows us where we have credentials.
    Up,
    /// It answers, but takes more than half of what an attempt may take.
    Slow,
    /// It wants to be left alone for a while (429), or our own `requestsPerHour` is spent.
    RateLimited,
    /// It answers, but does not know us: the credentials are wrong, expired or unreadable.
    BadCredentials,
    /// Something answers, but not as a registry of this kind does.
    NotARegistry,
    /// A Harbor that cannot read its database: it refuses every pull.
    DatabaseDown,
    /// Refused, no such name, no TLS, or 5xx.
    Down,
    /// It takes connections, or swallows them, and says nothing; or its front answers, and gives no manifest.
    Unresponsive,
    /// `drain: true`: not probed.
    Drained,
    /// It cannot be asked as it is configured.
    Unusable,
}

impl Health {
    pub(super) const ALL: [Self; 11] = [
        Self::Unprobed,
        Self::Up,
        Self::Slow,
        Self::RateLimited,
        Self::BadCredentials,
        Self::NotARegistry,
        Self::DatabaseDown,
        Self::Down,
        Self::Unresponsive,
        Self::Drained,
        Self::Unusable,
    ];

    /// Can nobody pull from it?
    #[must_use]
    pub fn is_down(self) -> bool {
        matches!(self, Self::DatabaseDown | Self::Down | Self::Unresponsive)
    }

    /// Is it as its owners want it?
    #[must_use]
    pub fn is_good(self) -> bool {
        matches!(self, Self::Up | Self::Drained)
    }
}

/// One registry's health, with what was seen, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Which registry.
    pub registry: RegistryName,
    /// How it is.
    pub health: Health,
    /// What was seen.
    pub detail: Arc<str>,
    /// Why there was no answer, or not the one that was hoped for.
    pub cause: Option<Cause>,
}
