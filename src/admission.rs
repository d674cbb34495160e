//! The doors: the admission endpoints that the API server calls.
//!
//! ```text
//! bytes ─door─review→ Review ─mutate─ judge … pod::Plan ─► Answer ─answer→ bytes
//! ```
//!
//! Architecture invariant: only a policy denies. Any other failure here is a fault, and each door has one function that
//! gives its answer to a fault: `/mutate` admits the Pod unchanged.

pub mod answer;
mod door;
mod judge;
mod metrics;
mod mutate;
mod observe;
mod recreations;
pub mod review;
mod router;

pub use door::{Doors, LabelsOf, MARGIN, OnLoop};
pub use metrics::Metrics;
pub use mutate::MUTATE;
pub use recreations::PodLoop;
