//! The doors: what the API server asks, and what it is told.
//!
//! ```text
//! bytes ─review→ Review … judged … Answer ─answer→ bytes
//! ```
//!
//! Architecture invariant: nothing but a policy denies. Whatever goes wrong here is an error value, and the
//! door that called decides what it means: admit unchanged at `/mutate`, refuse to answer at `/validate`.

pub mod answer;
mod judged;
mod messages;
mod metrics;
pub mod mutate;
pub mod review;

pub use answer::{Answer, AuditKey, Decision, encode};
pub use metrics::Metrics;
pub use mutate::{LabelsOf, Mutate};
pub use review::{Door, Review, ReviewError, decode};
