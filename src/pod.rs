//! The Pod's surface: the images that stand in it, and the smallest patch that changes them.
//!
//! ```text
//! bytes ─surface→ Pod ─slots→ [Slot] … judged elsewhere … [Change] ─patch→ RFC 6902
//! ```
//!
//! Pure: bytes and values in, values out. A Pod is read where it stands, borrowed, and only the fields that
//! matter here; it is never written again as a whole, for a typed Pod drops the fields that it does not know.
//!
//! Architecture invariant: nothing here talks to the API server or knows its types.

pub mod annotation;
pub mod audit;
pub mod change;
pub(crate) mod json;
pub mod patch;
pub mod plan;
pub mod platform;
pub mod slots;
pub mod surface;

pub use annotation::OldEntries;
pub use change::{Change, Entry};
pub use patch::{Patch, patch};
pub use plan::Plan;
pub use slots::{AdmissionKind, Field, PullPolicy, Slot};
pub use surface::{Mode, Pod};
