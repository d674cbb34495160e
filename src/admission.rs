//! The doors: the admission endpoints that the API server calls.
//!
//! ```text
//! bytes ─door─review→ Review ─┬ mutate ─ judge … pod::Plan ─┬► Answer ─answer→ bytes
//!                             └ validate ─ examine ─────────┘
//! ```
//!
//! Architecture invariant: only a policy denies. Any other failure here is a fault, and each door has one function that
//! gives its answer to a fault: `/mutate` admits the Pod unchanged, `/validate` denies it or leaves that to the API server.

pub mod answer;
mod beyond;
mod door;
mod examine;
mod first_answers;
mod judge;
mod metrics;
mod mutate;
mod observe;
mod recent;
mod recreations;
pub mod review;
mod router;
mod scope;
mod seen;
mod selections;
mod selectors;
mod validate;

pub use door::{Doors, LabelsOf, MARGIN, OnDenied, OnLoop, OnPullSecret};
pub use metrics::Metrics;
pub use mutate::MUTATE;
pub use recent::{Judged, JudgedImage, Recent};
pub use recreations::PodLoop;
pub use router::Routers;
pub use selectors::Selectors;
