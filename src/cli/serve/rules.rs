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

/// Tells what was read. Where no registry keeps rules for us any more, that ends their gaps.
async fn tell(mut reports: watch::Receiver<Arc<RuleReport>>, told: watch::Sender<Option<Arc<RuleReading>>>) {
    while reports.changed().await.is_ok() {
        let report = reports.borrow_and_update().clone();
        told.send_replace(report.looked.then(|| Arc::new(RuleReading::from(&*report))));
    }
    std::future::pending().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn that_no_registry_keeps_rules_any_more_is_told_and_that_nobody_looked_is_not() {
        let (reports, read) = watch::channel(Arc::new(RuleReport::default()));
        let (told, mut rules) = watch::channel(None);
        tokio::spawn(tell(read, told));
        reports.send_replace(Arc::new(RuleReport { looked: true, ..RuleReport::default() }));
        rules.changed().await.unwrap();
        assert_eq!(rules.borrow_and_update().as_deref(), Some(&RuleReading::default()));
        reports.send_replace(Arc::default());
        rules.changed().await.unwrap();
        assert_eq!(*rules.borrow_and_update(), None);
    }
}
