//! What the status page is made of.

use std::sync::Arc;

use arc_swap::ArcSwap;
use futures::future::BoxFuture;
use jiff::Timestamp;
use prometheus_client::registry::Registry;

use crate::admission::Recent;
use crate::domain::gap::GapKey;
use crate::domain::settings::Settings;
use crate::evidence::Observatory;
use crate::ledger::Record;
use crate::server::conditions::Conditions;

/// Tells the gaps of the ledger, or why they cannot be told.
pub type GapsOf = Arc<dyn Fn() -> BoxFuture<'static, Result<Vec<(GapKey, Record)>, String>> + Send + Sync>;

/// What the page is made of.
#[derive(Clone)]
pub struct Status {
    /// What should be true of this replica.
    pub conditions: Conditions,
    /// The metrics page.
    pub metrics: Arc<Registry>,
    /// The registries.
    pub observatory: Arc<Observatory>,
    /// The settings in force.
    pub settings: Arc<ArcSwap<Settings>>,
    /// The last decisions.
    pub recent: Recent,
    /// The ledger.
    pub gaps: GapsOf,
    /// The name of this replica.
    pub replica: Arc<str>,
    /// The clock.
    pub clock: fn() -> Timestamp,
}

impl std::fmt::Debug for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Status").field("replica", &self.replica).finish_non_exhaustive()
    }
}

/// The gaps as they were read last.
pub(super) type Gaps = Arc<Result<Vec<(GapKey, Record)>, String>>;
