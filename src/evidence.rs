//! The Observatory: what the registries answer, kept for a while, and asked for once however many want to know.
//!
//! ```text
//! judge ── decide ─ Ask ─► observe ─► memory ── fresh ──────────────────────────► Observation
//!   ▲                         │ stale or nothing
//!   │                         ▼
//!   │                      flight ── one task for each question ─► gate ─► health ─► registry | harbor
//!   │                         │                                  (queue)     ▲       bounded by `budget.attempt`
//!   └── Settle ◄── Unknown ◄──┴── at the caller's deadline;                  └── prober
//!                                 the flight goes on and fills the memory
//! ```
//!
//! Nothing here decides: [`decide`](crate::domain::decide) does. Nothing here fails: what could not be learned is
//! [`Unknown`](crate::domain::evidence::Unknown). What it remembers is never wrong after a change of settings, for
//! every registry that changed is a new [station](station), and memories belong to stations.

mod flight;
mod health;
mod judge;
mod memory;
mod metrics;
mod observatory;
mod question;
mod station;

pub use health::{Health, Report};
pub use judge::{Judged, Judgement};
pub use observatory::{Observatory, Problem};
