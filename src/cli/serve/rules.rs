//! The replication rules: read by the leader, and told to the ledger.

use std::sync::Arc;

use arc_swap::ArcSwap;
use jiff::Timestamp;
use tokio::sync::watch;

use super::leadership::Leadership;
use super::tasks::Tasks;
use crate::controllers::replication::{ReplicationMetrics, RuleReport, RuleWatch};
use crate::domain::settings::Settings;
use crate::evidence::Observatory;
use crate::ledger::{RuleReading, Rules};

/// Starts to read the rules. What is returned tells the ledger of them.
pub(super) fn spawn(
    tasks: &mut Tasks,
    leadership: &Leadership,
    settings: Arc<ArcSwap<Settings>>,
    observatory: Arc<Observatory>,
    metrics: ReplicationMetrics,
) -> Rules {
    let watch = RuleWatch::new(observatory, settings, leadership.leading.clone(), Timestamp::now, metrics);
    let (told, rules) = watch::channel(None);
    tasks.spawn("rules and ledger", tell(watch.report(), told));
    tasks.spawn("rules", watch.run());
    rules
}

/// Tells what was read. An empty report says that nothing was read: another replica leads.
async fn tell(mut reports: watch::Receiver<Arc<RuleReport>>, told: watch::Sender<Option<Arc<RuleReading>>>) {
    while reports.changed().await.is_ok() {
        let report = reports.borrow_and_update().clone();
        told.send_replace((!report.read.is_empty()).then(|| Arc::new(RuleReading::from(&*report))));
    }
    std::future::pending().await
}
