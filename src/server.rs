//! The network side of the process: TLS, connections, the drain, and what an operator reads.
//!
//! ```text
//! TCP ─listener→ connection ─tls→ HTTP/1.1 or h2 ─answer→ the doors (an `axum::Router` built elsewhere)
//!          ▲                                       ▲
//!          └────────────── drain ──────────────────┘        conditions, metrics ─admin→ /livez /readyz /metrics, status page
//! ```
//!
//! The caller is the API server. It speaks HTTP/1.1 (on purpose: kubernetes #75791) and keeps up to 25 idle connections
//! for 90 s. It never repeats a POST that meets a closed connection. So a connection is never closed without notice: the
//! last answer on it says `Connection: close`.
//!
//! Architecture invariant: nothing here knows what the doors answer, and nothing spawned here outlives the listener.
//! `cli/` runs the long-lived futures ([`CertificateFiles::watch`], [`Drain::conduct`], [`Listener::serve`]).

mod answer;
mod body;
mod callers;
mod conditions;
mod connection;
mod drain;
mod error;
mod limits;
mod listener;
mod metrics;
mod shares;
mod stall;
mod status;
mod tls;

pub mod admin;
pub mod hooks;
pub mod logging;

pub use callers::{CallerCheck, CallerFile, Callers};
pub use conditions::{Condition, ConditionName, Conditions, State};
pub use drain::{Drain, Signals};
pub use error::TlsError;
pub use limits::Limits;
pub use listener::{Listener, Served, Transport};
pub use metrics::ServerMetrics;
pub use status::{GapsOf, Status};
pub use tls::{CertificateFiles, Pair, ServingCertificate, TlsVersions, server_config};
