//! The Lease, and the events of whoever holds it.

use jiff::Timestamp;

use super::tasks::Tasks;
use crate::cluster::{Cluster, EventRecorder};
use crate::controllers::leader::{Candidate, Leader, LeaderMetrics, Leading};
use crate::server::Drain;

/// For whatever acts only in the leader or writes events.
pub(super) struct Leadership {
    pub(super) leading: Leading,
    pub(super) events: EventRecorder,
}

/// Starts to compete for the Lease, and to write events.
pub(super) fn lead(
    cluster: &Cluster,
    candidate: &Candidate,
    metrics: &LeaderMetrics,
    tasks: &mut Tasks,
    drain: &Drain,
) -> Leadership {
    let leader = Leader::new(cluster, candidate, metrics.clone(), Timestamp::now);
    let leading = leader.leading();
    let leaving = drain.clone();
    tasks.spawn("leader", leader.run(async move { leaving.begun().await }));
    let (events, writer) = cluster.events(&candidate.pod);
    tasks.spawn("events", {
        // Keeps the queue open: without a recorder the writer would end.
        let open = events.clone();
        async move {
            writer.run().await;
            drop(open);
        }
    });
    Leadership { leading, events }
}
