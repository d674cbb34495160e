//! The sweep, where this replica may lead and knows its own namespace.

use std::sync::Arc;

use arc_swap::ArcSwap;
use jiff::Timestamp;

use super::leadership::Leadership;
use crate::cluster::{Cluster, Namespaces};
use crate::controllers::sweep::{SweepMetrics, Sweeper, Terms};
use crate::domain::settings::Settings;
use crate::evidence::Observatory;

/// What sweeps, if anything does.
pub(super) fn sweeper(
    (cluster, leadership): (&Cluster, &Leadership),
    namespaces: &Namespaces,
    observatory: &Arc<Observatory>,
    settings: Arc<ArcSwap<Settings>>,
    own_namespace: &str,
    (terms, metrics): (Terms, SweepMetrics),
) -> Sweeper {
    Sweeper::new(
        cluster.workloads(),
        namespaces.clone(),
        observatory.clone(),
        settings,
        leadership.leading.clone(),
        own_namespace,
        terms,
        metrics,
        Timestamp::now,
    )
}
