//! The doors: what the API server asks, and what it is told.
//!
//! ```text
//! bytes ─review→ Review … judged … Answer ─answer→ bytes
//! ```
//!
//! Architecture invariant: nothing but a policy denies. Whatever goes wrong here is an error value, and the
//! door that called decides what it means: admit unchanged at `/mutate`, refuse to answer at `/validate`.

pub mod answer;
pub mod review;

pub use answer::{Answer, AuditKey, Decision, encode};
pub use review::{Door, Review, ReviewError, decode};
