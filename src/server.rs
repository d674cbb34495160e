//! The process towards the network: TLS, connections, the way out, and what an operator reads.
//!
//! ```text
//! TCP ─listener→ connection ─tls→ HTTP/1.1 or h2 ─answer→ the doors (an `axum::Router` built elsewhere)
//!          ▲                                       ▲
//!          └────────────── drain ──────────────────┘        conditions, metrics ─admin→ /livez /readyz /metrics
//! ```
//!
//! Who calls: the API server, over HTTP/1.1 (on purpose: kubernetes #75791), with up to 25 idle connections that it
//! keeps for 90 s. It never retries a POST that meets a close, so a connection is never closed silently: the last
//! answer on it says `Connection: close`.
//!
//! Architecture invariant: nothing here knows what the doors say, and nothing here spawns anything that outlives
//! the listener. The long-lived futures ([`CertificateFiles::watch`], [`Drain::conduct`], [`Listener::serve`]) are
//! run by `cli/`.

mod answer;
mod callers;
mod conditions;
mod connection;
mod drain;
mod listener;
mod metrics;
mod tls;

pub mod admin;
pub mod logging;

pub use callers::{CallerCheck, CallerFile, Callers};
pub use conditions::{Condition, ConditionName, Conditions, State};
pub use drain::{Drain, Signals};
pub use listener::{Limits, Listener, Served};
pub use metrics::ServerMetrics;
pub use tls::{CertificateFiles, Pair, ServingCertificate, TlsError, TlsVersions, server_config};
