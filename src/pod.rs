//! The images of a Pod, and the smallest patch that changes them.
//!
//! ```text
//! bytes ─surface→ Pod ─slots→ [Slot] … judged elsewhere … [Change] ─patch→ RFC 6902
//! ```
//!
//! Everything here is pure: bytes and values in, values out. A [`Pod`] borrows from the request, and only the fields that
//! matter here are read. A Pod is never serialized again as a whole, because a typed Pod drops the fields that it does
//! not know.
//!
//! Architecture invariant: nothing here talks to the API server or uses its types.

pub mod annotation;
pub mod audit;
pub mod change;
pub(crate) mod json;
pub mod owner;
pub mod patch;
pub mod plan;
pub mod platform;
pub mod slots;
pub mod surface;
pub mod workload;

pub use annotation::OldEntries;
pub use change::{Change, Entry};
pub use patch::{Patch, patch};
pub use plan::Plan;
pub use slots::{AdmissionKind, Slot};
pub use surface::{Mode, Pod};
