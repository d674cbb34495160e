//! The pull secrets that Landfall makes (`pullSecrets.mode: Managed`): one Secret of a registry in each namespace whose Pods
//! pull from it, with the same bytes everywhere.
//!
//! ```text
//! /mutate ─Wants, never waits─► Maker, each replica: creates what is not there
//! leader: Keeper ─ each half minute ─ list by name ─┬ other credentials in force ─► written again, registry by registry
//!                                                   ├ lacking where Pods have its name ─► Maker
//!                                                   └ no Pod has its name in two sweeps ─► deleted
//! ```
//!
//! What stands in a Secret is known by a hash in its annotation, so the next leader goes on where one ended. New credentials
//! come into force only after their registry has accepted them ([`sources`]), and are written only while it is up, one
//! registry after the other: a node asks the registry about credentials that it has not seen
//! (`KubeletEnsureSecretPulledImages`), so until then it could start nothing.

mod keeper;
mod maker;
mod metrics;
mod removal;
mod sources;
#[cfg(test)]
mod tests;
mod wants;

pub use keeper::{Keeper, Standing};
pub use maker::Maker;
pub use metrics::{Count, PullSecretMetrics, Wrote};
pub use sources::Sources;
pub use wants::Wants;
