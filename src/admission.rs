//! The doors: what the API server asks, and what it is told.
//!
//! ```text
//! bytes ─door─review→ Review ─mutate─ judge … pod::Plan ─► Answer ─answer→ bytes
//! ```
//!
//! Architecture invariant: nothing but a policy denies. Whatever goes wrong here is a fault, and each door has one
//! function that says what it answers to that: `/mutate` admits the Pod unchanged.

pub mod answer;
mod door;
mod judge;
mod metrics;
mod mutate;
mod observe;
pub mod review;
mod router;

pub use answer::{Answer, AuditKey, Decision, encode};
pub use door::{Doors, LabelsOf, MARGIN};
pub use metrics::Metrics;
pub use mutate::MUTATE;
pub use review::{Door, Review, ReviewError, decode};
