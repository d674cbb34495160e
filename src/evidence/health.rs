//! The health of registries: what attempts and probes show, and whether the next question may be asked.
//!
//! ```text
//! prober ── every 10 s, every second while it is unhealthy ─► systeminfo | /v2/ ──► Health ─┐
//! attempts ── answered, failed, timed out, limited ─────────────────────────────────────────┴► HealthState
//!    ▲                                                                 breaker · pause · timeouts · retries
//!    └── may it be asked? ◄────────────────────────────────────────────────────────────────────┘ └► Reachable
//! ```
//!
//! Slowness is no failure. A registry that is too slow for `budget.attempt` still serves nodes, and to treat it as down
//! would make a slow site a dead one when it is needed most. So an attempt that times out counts for nothing by itself.
//! It starts a probe, which waits longer. If the registry does not answer that
//! either, nor any other request, it is down. It is also down if it answers the probe but serves no manifest. Trouble is one
//! project's at first, and the registry's only when a second project or a probe says the same: see [`projects`]. A registry that rejects our credentials is asked only once in a while: see [`auth_gate`].

mod auth_gate;
mod gate;
mod prober;
mod projects;
mod report;
mod state;

pub(super) use gate::Limit;
pub use report::{Health, Report};
pub(super) use state::{HealthState, Probed, Ticket};
