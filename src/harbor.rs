//! Harbor's own API beside its registry: what `/v2` cannot say, and what it says misleadingly.
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
//! How `domain::scan` reads a scanner that is down: the state is `ScannerDown` whether or not Harbor's stored report
//! could be read; the report, where it could, is `last`, and counts, good or bad.
//!
//! What may not be assumed: a 401 is not "wrong password" (an absent project and a dead database answer so, too), a 200
//! is not "right password" (a public project answers anybody), and a missing overview is not "never scanned".

mod answer;
mod api;
mod client;
mod overview;
mod project;
#[cfg(test)]
mod recordings;
#[cfg(test)]
mod replay;
mod report;
mod scan;
mod standing;

pub use client::Harbor;
pub use standing::{Look, SelfTest, Standing};

/// What `tests/fuzz` feeds: readers of bodies that are otherwise reached over the network alone.
#[cfg(fuzzing)]
pub mod fuzz {
    pub use super::overview::{Overview, overview, scanner};
    pub use super::project::project;
    pub use super::report::stored;
}
