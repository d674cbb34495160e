//! Copies one image from registry to registry, so that each byte is the same, and proves that it is there.
//!
//! ```text
//! engine ─┬─ tree ──────► the manifests, children before their index   (read from the source, by digest)
//!         ├─ blob ──────► there? mounted? streamed: source ─hash─► target
//!         ├─ engine ────► manifests, then the tag; all of it looked at again at the target
//!         └─ referrers ─► signatures and what else refers to the image, in the same way
//! ```
//!
//! A registry is asked by its [`Client`](crate::registry::Client); `peer` adds retries, and tells the refusals apart.
//! Nothing of a blob is held but some chunks, and no manifest is changed. No other room uses this one but `cli`, because the
//! webhook never copies: it has no credentials that may write.

mod blob;
mod engine;
mod failure;
mod pace;
mod peer;
mod referrers;
mod retry;
mod tell;
mod tree;

pub use engine::{Copier, Options, Outcome, Referrers, Run, Shared, Tags};
pub use failure::{Failure, Side};
pub use pace::Pace;
pub use peer::Peer;
pub use tell::{Blob, Event};
