//! The terms of Landfall and its decisions. Everything here is pure: no clock, no I/O, no log.
//!
//! ```text
//! text ─image→ Reference ─settings→ Case ─decide→ Ask([Query]) … Observation … Settle(Verdict)
//! ```
//!
//! Architecture invariant: nothing here imports another module of this crate, and nothing here is async.

pub mod api_group;
pub mod breaker;
pub mod case;
pub mod copying;
pub mod credential;
pub mod decide;
pub mod decision;
pub mod digest;
pub mod error_chain;
pub mod evidence;
pub mod facts;
pub mod finding;
pub mod found;
pub mod gap;
pub mod healing;
pub mod image;
pub mod keyring;
pub mod mapping;
pub mod messages;
pub mod name;
pub mod outcome;
pub mod pattern;
pub mod place;
pub mod platform;
pub mod policy;
pub mod proxy;
pub mod pull_secrets;
pub mod registry;
pub mod replication;
pub mod route;
pub mod scan;
pub mod settings;
pub mod text;
pub mod unknown;
pub mod verdict;
