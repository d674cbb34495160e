//! The Observatory: what the registries answer, kept for a while, and asked for once however many want to know.
//!
//! ```text
//! judge ── decide ─ Ask ─► observe ─► memories ── fresh ──────────────────────────► Observation
//!   ▲                         │         │ often asked for, near its end ─► background ─► lookup
//!   │                         │ not fresh, or outdated
//!   │                         ▼
//!   │                      lookup ── one task for each question ─► gate ─► health ─► registry | harbor
//!   │                         │                                  (queue)     ▲       bounded by `budget.attempt`
//!   └── Settle ◄── Unknown ◄──┴── at the caller's deadline;                  └── prober
//!         ▲                       the lookup goes on and fills the memory
//!         └── what is remembered behind the silence: presence while the registry is slow, tags, the last scan
//! ```
//!
//! | file | what it knows |
//! |---|---|
//! | `life` | how long each kind of answer is fresh |
//! | `memory` | what one answer is worth: fresh, remembered, due |
//! | `currency` | what ends the life of answers before their time: notifications, credentials, a return |
//! | `memories` | the room of all of them |
//! | `lookup` | one look-up for each question |
//! | `health` | whether a registry is up, by its attempts and its prober |
//! | `settled` | verdicts that still hold, so that nothing need be judged |
//! | `background` | what is looked up though nobody waits: proofs of tags, and renewals |
//!
//! Nothing here decides: [`decide`](crate::domain::decide) does. Nothing here fails: what could not be learned is
//! [`Unknown`](crate::domain::evidence::Unknown). What it remembers is never wrong after a change of settings, for
//! every registry that changed is a new station, memories belong to stations, and how long one lives is read from
//! the settings whenever it is looked at.

mod answer_cache;
mod background;
mod cached_answer;
mod health;
mod invalidation;
mod judge;
mod lookup;
mod metrics;
mod observatory;
mod question;
mod ttl;
mod upstream;
mod verdict_cache;

pub use health::{Health, Report};
pub use invalidation::Scope;
pub use judge::{Judged, Judgement};
pub use observatory::{Observatory, Problem};
pub use verdict_cache::{ByHash, ContextId, Key, ObservedAt, Validity, VerdictCache};
