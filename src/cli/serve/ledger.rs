//! The ledger: what records gaps in every replica, and what keeps them in the leader.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use jiff::{SignedDuration, Timestamp};
use tokio::time::timeout;

use super::leadership::Leadership;
use super::tasks::Tasks;
use crate::cluster::{Cluster, Namespaces};
use crate::controllers::leader::Leading;
use crate::domain::settings::Settings;
use crate::evidence::Observatory;
use crate::ledger::{
    Healer, Keeper, Keeping, LedgerMetrics, Notices, Pace, Recorder, Rules, Terms, Writer, lag_of, recheck,
};

/// How long we wait at the end until the last sightings are recorded.
const LAST: Duration = Duration::from_secs(5);

/// Takes what the doors see. Without a cluster nobody reads it; it is bounded, and counted all the same.
pub(super) struct Ledger {
    recorder: Recorder,
    metrics: LedgerMetrics,
    kept: Option<Kept>,
}

struct Kept {
    cluster: Cluster,
    leading: Leading,
    notices: Notices,
    pace: Pace,
    writer: Writer,
}

/// The ledger at work.
pub(super) struct Recorded {
    /// Tells the leader's part what others have found; `None` where no objects are kept.
    pub(super) keeper: Option<Keeper>,
    last: Option<Writer>,
}

impl Ledger {
    /// Of this cluster, where we may lead and `--policies` says that our resources are used.
    pub(super) fn of(
        cluster: Option<&Cluster>,
        leadership: Option<&Leadership>,
        uses_resources: bool,
        metrics: LedgerMetrics,
    ) -> Self {
        let recorder = Recorder::new(metrics.clone(), Timestamp::now);
        let kept = cluster.zip(leadership).filter(|_| uses_resources).map(|(cluster, leadership)| {
            let (notices, pace) = (Notices::new(leadership.events.clone()), Pace::default());
            let writer = Writer::new(
                cluster.gaps(),
                recorder.clone(),
                cluster.owners(),
                notices.clone(),
                pace.clone(),
                metrics.clone(),
            );
            Kept { cluster: cluster.clone(), leading: leadership.leading.clone(), notices, pace, writer }
        });
        Self { recorder, metrics, kept }
    }

    /// What the doors tell.
    pub(super) fn recorder(&self) -> Recorder {
        self.recorder.clone()
    }

    /// Starts the tasks. Closed gaps are kept for `retention`.
    pub(super) fn spawn(
        self,
        tasks: &mut Tasks,
        settings: Arc<ArcSwap<Settings>>,
        observatory: Arc<Observatory>,
        namespaces: &Namespaces,
        rules: Rules,
        retention: SignedDuration,
    ) -> Recorded {
        let Self { recorder: _, metrics, kept } = self;
        let Some(Kept { cluster, leading, notices, pace, writer }) = kept else {
            return Recorded { keeper: None, last: None };
        };
        let labels = namespaces.clone();
        let labels = Arc::new(move |namespace: &str| labels.labels(namespace));
        let lag = lag_of(settings.clone(), observatory.clone(), Timestamp::now);
        let looks = recheck(settings.clone(), observatory.clone(), labels, Timestamp::now);
        let healer = Healer::new(
            settings,
            observatory,
            cluster.gaps(),
            notices.clone(),
            pace.clone(),
            looks.clone(),
            metrics.clone(),
            Timestamp::now,
            Terms::default(),
        );
        let (keeper, keeping) = Keeping::new(
            cluster.gaps(),
            notices,
            pace,
            looks,
            lag,
            rules,
            retention,
            metrics,
            Timestamp::now,
        );
        tasks.spawn("gaps", writer.clone().run());
        tasks.spawn("ledger", keep(keeping.healed_by(healer), leading));
        Recorded { keeper: Some(keeper), last: Some(writer) }
    }
}

/// Keeps the ledger while this replica leads.
async fn keep(mut keeping: Keeping, mut leading: Leading) {
    loop {
        if leading.now() {
            tokio::select! {
                () = keeping.keep() => {}
                () = leading.changed() => {}
            }
        } else {
            leading.changed().await;
        }
    }
}

impl Recorded {
    /// Records what was seen last. Nothing is judged any more.
    pub(super) async fn fold(self) {
        let Some(mut writer) = self.last else { return };
        if timeout(LAST, writer.fold()).await.is_err() {
            tracing::warn!("the last sightings of gaps were not recorded");
        }
    }
}
