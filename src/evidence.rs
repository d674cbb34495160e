//! The Observatory: asks the registries, caches their answers, and asks once however many callers want to know.
//!
//! ```text
//! judge ── decide ─ Ask ─► look_in_cache ─ hit ────────────────────────────────────► Observation
//!   ▲                         │         │ popular, near its end ─► background ─► lookup
//!   │                         │ miss, stale or outdated
//!   │                         ▼
//!   │                      lookup ── one task for each question ─► queue ─► health ─► registry | harbor
//!   │                         │                                              ▲      bounded by `budget.attempt`
//!   └── Settle ◄── Unknown ◄──┴── at the caller's deadline;                  └── prober
//!         ▲                       the look-up goes on and fills the cache
//!         └── older answers that still count: presence while the registry is slow, tags, the last scan
//! ```
//!
//! | file | what it decides |
//! |---|---|
//! | `ttl` | how long each kind of answer is fresh |
//! | `cached_answer` | whether an answer is fresh, still counts, or is due for renewal |
//! | `invalidation` | what outdates answers early: notifications, credentials, a registry that is back |
//! | `answer_cache` | which answers are evicted |
//! | `lookup` | when a look-up starts, is joined, or is refused |
//! | `upstream` | how one registry is asked: its client, its queue |
//! | `fair_queue` | which look-up is next, and how many are in progress |
//! | `health` | whether a registry is up, from attempts and probes |
//! | `verdict_cache` | which verdicts still hold |
//! | `healing` | what the leader writes to a Harbor, by a robot of its own |
//! | `pull_source` | whether the credentials that Pods pull with are right |
//! | `as_node` | what a node would get, for the drill |
//! | `facts` | what the leader asks a Harbor of copies and rules, through the same queue |
//! | `inventory` | what a replica that starts knows from one that ran before |
//! | `background` | how much is looked up while nobody waits: proofs of tags, renewals, looks at layers |
//! | `layers` | whether an image whose manifest is there can be pulled |
//! | `blobs` | which blobs need not be asked for again |
//! | `damage` | which copies count as damaged, whatever their registry says |
//!
//! The decision itself is [`decide`](crate::domain::decide). Nothing here returns an error: what could not be learned is
//! [`Unknown`](crate::domain::unknown::Unknown). A change of the settings leaves no wrong answer in the cache: a registry
//! that changed gets a new id, which is part of each key, and TTLs are read from the settings on each access.

mod answer_cache;
mod as_node;
mod background;
mod blobs;
mod cached_answer;
mod damage;
mod facts;
mod fair_queue;
mod healing;
mod health;
mod invalidation;
mod inventory;
mod judge;
mod layers;
mod lookup;
mod metrics;
mod notified;
mod observatory;
mod pull_source;
mod question;
mod ttl;
mod upstream;
mod verdict_cache;

pub use damage::{Damage, Damaged};
pub use facts::{Compared, CopyFacts, Replication, Right};
pub use fair_queue::Share;
pub use healing::Asked;
pub use health::{Health, Report};
pub use invalidation::Scope;
#[cfg(test)]
pub use inventory::fingerprint;
pub use inventory::{Imported, Inventory, Reading, Refusal, Unusable, decode, encode};
pub use judge::Judgement;
pub use layers::{Look, Pullable};
pub use observatory::{Answers, Asking, Observatory};
pub use pull_source::{Proof, PullSource};
pub use verdict_cache::{ByHash, ContextId, Key, ObservedAt, Validity, VerdictCache};

/// Parsers for `tests/fuzz`, which otherwise only the API server reaches.
#[cfg(fuzzing)]
pub mod fuzz {
    pub use super::inventory::fuzz::{encode_text, read_all};
}
