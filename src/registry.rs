//! The OCI distribution client: asks one registry one question, and returns exactly what it answered.
//!
//! ```text
//! Client ─ presence, children, listed, blob ─► head / get ──► send ──► transport ──► reqwest
//!                                                   │  ▲        one HTTP client per registry, with its CA
//!                                          tokens ──┘  └── credentials, re-read when their files change
//! ```
//!
//! Absence is an answer: [`Presence`](crate::domain::evidence::Presence) and
//! [`Children`](crate::domain::evidence::Children) are values, and what could not be learned is
//! [`Unknown`](crate::domain::unknown::Unknown) with one cause of a closed list. Nothing but tokens is cached here, and
//! nothing is retried or queued: `evidence/` does that. Each HTTP request, including those for tokens and redirects,
//! counts towards the registry's `requestsPerHour`.
//!
//! [`SharedLookup`], [`SingleFlight`] and [`Tasks`] are here because this is the innermost room that needs them.

mod address;
mod answer;
mod base;
mod challenge;
mod client;
mod credentials;
mod error;
mod failure;
#[cfg(fuzzing)]
pub mod fuzz;
mod http;
mod json;
mod layers;
mod manifest;
mod meter;
mod metrics;
mod peers;
mod plugin;
mod provider;
mod secret_file;
mod shared_lookup;
mod single_flight;
mod tasks;
#[cfg(test)]
mod tests;
mod token;
mod transport;
mod trust;
mod watched;

pub use answer::{Answer, Sent};
pub use challenge::{Challenge, Scheme, challenges};
pub use client::{Client, Endpoint, Request};
pub use error::ClientError;
pub use json::{Object, object};
pub use layers::{Blob, Depth, Layer, Listed};
pub use manifest::{Head, Target};
pub use metrics::Metrics;
pub use peers::{PeerError, Peers};
pub use secret_file::{Secret, SecretFile};
pub use shared_lookup::{Age, LookedUp, SharedLookup};
pub use single_flight::{Flight, Joined, SingleFlight};
pub use tasks::Tasks;
