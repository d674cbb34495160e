//! The sweep, where this replica may lead and knows its own namespace.

use std::sync::Arc;

use arc_swap::ArcSwap;
use jiff::Timestamp;
use tokio::sync::watch;

use super::leadership::Leadership;
use super::tasks::Tasks;
use crate::cluster::{Cluster, Namespaces};
use crate::controllers::replication::ReplicationMetrics;
use crate::controllers::sweep::{Survey, Surveys, SweepMetrics, Sweeper, Terms};
use crate::domain::settings::Settings;
use crate::evidence::Observatory;
use crate::ledger::Keeper;

/// Starts the sweep. Its surveys go to `surveys`, whoever reads them.
pub(super) fn spawn(
    tasks: &mut Tasks,
    (cluster, leadership): (&Cluster, &Leadership),
    namespaces: &Namespaces,
    observatory: &Arc<Observatory>,
    (settings, own_namespace): (Arc<ArcSwap<Settings>>, &str),
    (terms, metrics): (Terms, (SweepMetrics, ReplicationMetrics)),
    surveys: watch::Sender<Option<Arc<Survey>>>,
) {
    let sweeper = Sweeper::new(
        cluster,
        namespaces.clone(),
        observatory.clone(),
        settings,
        leadership.leading.clone(),
        own_namespace,
        terms,
        metrics,
        Timestamp::now,
        surveys,
    );
    tasks.spawn("sweep", sweeper.run());
}

/// Tells the ledger what sweeps find, for as long as it is polled.
pub(super) async fn tell(keeper: Keeper, mut surveys: Surveys) {
    while surveys.changed().await.is_ok() {
        let survey = surveys.borrow_and_update().clone();
        if let Some(survey) = survey {
            keeper.swept(survey.swept.clone());
        }
    }
    std::future::pending().await
}
