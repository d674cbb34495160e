//! The inventory: what was proved of the images that this cluster needs, as it is kept for replicas that start later.
//!
//! ```text
//! sweep ─ Cases ─► export ─► document ─► format ─ bytes ─► ConfigMaps ─ bytes ─► format ─► document ─► import ─► cache
//! ```
//!
//! [`Observatory::export`](super::Observatory::export) runs [`decide`](crate::domain::decide::decide) over the answer cache,
//! asks nobody, and notes which answers it used. [`Observatory::import`](super::Observatory::import) puts them into the cache
//! of another process, each with its true age, if its registry is configured exactly as it was then. It never replaces what
//! this process has learned itself.
//!
//! # How an imported answer counts
//!
//! It is remembered evidence, not fresh evidence. Read by a running replica it counts exactly as if this replica had asked
//! at that time. Read at the start it saves waiting as well, for nobody should wait in the hour in which everything starts
//! again:
//!
//! - **A digest, and a finished scan**: told at once while the registry is not known to be down. Each is asked again, by the
//!   first Pod that meets it after a random moment within `cache.present`, in the background, where an eighth of `inFlight`
//!   is used. So the requests are spread over minutes. `cache.present` after that moment it is an ordinary remembered answer:
//!   it is asked and waited for, unless the registry is known to be slow. Thus no Pod rests on the inventory alone for longer
//!   than twice `cache.present` (20 minutes) after the start, while the registry answers.
//! - **While the registry is down** it counts as our own remembered answers do: presence not at all (fall back, or
//!   `Presumed`), the last scan as the last scan.
//! - **A tag** may have moved since it was looked up. For the first five minutes after the start it is told at once, if it was
//!   looked up at most an hour before; four sweeps fit into an hour, so a restart after one that failed is still covered. The
//!   first Pod that names it has it looked up at once, in the Pods' own queue, before all digests; whoever comes after the
//!   answer gets the answer. What can be wrong until then: a Pod that names a tag which moved after the last sweep gets the
//!   digest that the cluster ran before. That digest is here, is scanned as any other, and a node with `IfNotPresent` would
//!   have run it, too. A tag that *needs* proof needs it all the same: what the tag means at the primary is imported as a
//!   remembered meaning and never saves the question.
//! - **What an index lists** is fixed by its digest, so its age does not matter.
//! - **Not taken along**: what is absent, refused or unknown, a scan that has not finished and has none before it, what a proxy
//!   cache said, and a list of more than 64 vulnerabilities. All that is bad news or may change soon; a replica that starts
//!   asks for it, and a policy that blocks what is unknown blocks it until then.
//!
//! # Whom it trusts
//!
//! Whoever may write ConfigMaps in our namespace can write an inventory, and could say that an image is present or scanned
//! that is not. The same person can write the ConfigMap with our configuration, and there name another `url` for a registry,
//! which then says so for ever. So the inventory gives nobody a new power; it is no place for a signature, because the key
//! would lie beside it.

mod document;
mod export;
mod format;
mod import;
#[cfg(test)]
mod tests;

pub use document::Inventory;
#[cfg(test)]
pub use document::fingerprint;
pub use format::{Unusable, decode, encode};
pub use import::{Imported, Reading, Refusal};

/// What `tests/fuzz` needs.
#[cfg(fuzzing)]
pub mod fuzz {
    pub use super::format::encode_text;
    pub use super::import::read_all;
}
