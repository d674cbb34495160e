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
mod report;
mod state;
mod storage;

pub use report::{Health, Report};
pub(super) use state::{HealthState, Limit, Probed};
