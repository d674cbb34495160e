//! Harbor's own API beside its registry: what `/v2` does not tell, and where it misleads.
//!
//! ```text
//! presence ─ HEAD /v2 ┬ 200 ─ project: a proxy cache? ─ Present | ProxyCache
//!                     ├ 404, 412 ─────────────────────── Absent, Refused
//!                     └ 401 ─ artifact API, projects, credentials ─ Absent | Unknown(Forbidden | Unauthorized | ServerError)
//! scan ───── artifact API ┬ overview ───────────────────── Done | Pending | Failed
//!                         └ none ─ the project's scanner ┬ healthy ── NotScanned
//!                                                        ├ down ───── ScannerDown, last = stored report
//!                                                        └ none ───── NotScanned, Scanner::Absent
//! ```
//!
//! While a scanner is down the state is `ScannerDown`, whether or not Harbor's stored report could be read. The report, if
//! it could be read, is `last` and counts, good or bad.
//!
//! What may not be assumed: a 401 does not mean a wrong password (a missing project and a database that is down answer
//! the same), a 200 does not mean a right password (a public project answers anybody), and a missing overview does not
//! mean that the image was never scanned.
//!
//! What it says by itself, through its webhook, is read in `notification`, and is never evidence.
//!
//! Facts of artifacts and replication rules (`facts`, `replication`) decide about no Pod: the leader asks for them. A right
//! that is missing there is an answer of its own, never an empty list.

mod answer;
mod api;
mod client;
mod facts;
pub mod notification;
mod overview;
mod project;
#[cfg(test)]
mod recordings;
#[cfg(test)]
mod replay;
mod replication;
mod report;
mod scan;
mod self_test;
pub mod webhook;

pub use client::Harbor;
pub use replication::{Allowed, MOST_PAGES};
pub use self_test::{Check, SelfTestResult};

/// Parsers for `tests/fuzz`, which otherwise only the network reaches.
#[cfg(fuzzing)]
pub mod fuzz {
    pub use super::facts::facts;
    pub use super::notification::notification;
    pub use super::overview::{Overview, overview, scanner};
    pub use super::project::project;
    pub use super::replication::answers::{executions, pushes, rules, tasks};
    pub use super::report::stored;
}
