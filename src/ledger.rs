//! The ledger: every gap has a record, with an age and an end.
//!
//! ```text
//! doors ─see─► Recorder ─ every 10 s ─► Writer ─┬─► ReplicationGap objects ─watch─► Keeping (leader) ─ re-checks ─► closed
//!              bounded, never waits             └─► Events on the owners              ▲ sweep, rules, hints
//! ```
//!
//! | file | what it does |
//! |---|---|
//! | `record` | what a sighting or a re-check changes in a record: pure |
//! | `sentence` | a record as a sentence for people |
//! | `recorder` | takes sightings from the doors |
//! | `writer` | in every replica: folds sightings into the objects |
//! | `keeper` | in the leader: re-checks, closes, counts Pods, deletes what is old |
//! | `recheck` | judges one image at one registry again |
//! | `heal` | when an attempt to heal a gap is due: pure |
//! | `healer` | in the leader: starts scans, executes replication rules, tells what came of it |
//! | `lag` | how late a copy came |
//! | `store` | reads an object, changes it, writes it, until nobody was faster |
//! | `notices` | Events on owners, each once in a while |
//! | `book` | the same ledger in memory |

mod book;
mod heal;
mod healer;
mod keeper;
mod lag;
mod met;
mod metrics;
mod notices;
mod recheck;
mod record;
mod recorder;
mod sentence;
mod store;
#[cfg(test)]
mod tests;
mod writer;

pub use book::Book;
pub use heal::Terms;
pub use healer::Healer;
pub use keeper::{Keeper, Keeping, RuleReading, Rules};
pub use lag::lag_of;
pub use met::Met;
pub use metrics::LedgerMetrics;
pub use notices::Notices;
pub use recheck::recheck;
#[cfg(feature = "demo")]
pub use record::Recheck;
pub use record::{Record, Running, Standing, State, Swept, fits};
pub use recorder::{Owner, Recorder, Sighting};
pub use sentence::{age, sentence};
pub use store::Pace;
pub use writer::Writer;
