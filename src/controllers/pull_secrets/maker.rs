//! Makes the Secrets that Pods need: in every replica, because a Pod should not wait for the leader. To create twice does no
//! harm: the second is told that there is one.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::sync::Semaphore;
use tokio::sync::mpsc::Receiver;
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::metrics::{PullSecretMetrics, Wrote};
use super::sources::Sources;
use super::wants::{Want, Wants};
use crate::cluster::{Cluster, ClusterError, Made, Namespaces, PullSecretObjects};
use crate::domain::error_chain::error_chain;
use crate::domain::policy::Labels;
use crate::domain::pull_secrets::{Managed, Source};
use crate::domain::settings::Settings;

/// How many are made at once, and how many more wait for their next attempt.
const AT_ONCE: usize = 16;
const WAITING: usize = 1024;

/// The pause between two that are begun: whoever reaches the doors could name namespaces that do not exist.
const PACE: Duration = Duration::from_millis(5);

/// How often one is tried, some nine minutes long: the kubelet tries again, too, and does not ask us. The pauses grow from the
/// first to the last of these.
const ATTEMPTS: u32 = 24;
const FEW: u32 = 3;
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

/// Makes them for as long as it is polled.
pub struct Maker {
    objects: PullSecretObjects,
    namespaces: Namespaces,
    settings: Arc<ArcSwap<Settings>>,
    sources: Sources,
    wants: (Wants, Receiver<Want>),
    metrics: PullSecretMetrics,
}

/// Why one was not made for now.
enum Failure {
    Cluster(ClusterError),
    Labels,
    Credentials(Box<str>),
}

impl Maker {
    /// Of what is told to `wants`.
    pub fn new(
        cluster: &Cluster,
        namespaces: Namespaces,
        settings: Arc<ArcSwap<Settings>>,
        sources: Sources,
        wants: (Wants, Receiver<Want>),
        metrics: PullSecretMetrics,
    ) -> Self {
        Self { objects: cluster.pull_secrets(), namespaces, settings, sources, wants, metrics }
    }

    /// Makes what is told.
    pub async fn run(self) {
        let Self { objects, namespaces, settings, sources, wants: (wants, mut queue), metrics } = self;
        let turns = Semaphore::new(AT_ONCE);
        let making = Making { turns, objects, namespaces, settings, sources, wants, metrics };
        let (mut made, mut pace) = (FuturesUnordered::new(), interval(PACE));
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                Some(()) = made.next(), if !made.is_empty() => {}
                want = queue.recv(), if made.len() < WAITING => {
                    // `making` has a sender of the queue, so it never ends.
                    let Some(want) = want else { return std::future::pending().await };
                    made.push(making.make(want));
                    pace.tick().await;
                }
            }
        }
    }
}

struct Making {
    turns: Semaphore,
    objects: PullSecretObjects,
    namespaces: Namespaces,
    settings: Arc<ArcSwap<Settings>>,
    sources: Sources,
    wants: Wants,
    metrics: PullSecretMetrics,
}

impl Making {
    async fn make(&self, want: Want) {
        let mut pause = PAUSES.0;
        for attempt in 1..=ATTEMPTS {
            let Some(managed) = self.settings.load().pull_secrets.of(&want.registry).cloned() else { return };
            let Err(failure) = self.attempt(&want, &managed).await else { return };
            self.metrics.wrote(&want.registry, Wrote::Failed);
            // Perhaps there is no such namespace: whoever reaches the first door can name any.
            let most = if matches!(failure, Failure::Labels) { FEW } else { ATTEMPTS };
            if attempt >= most {
                let (secret, namespace) = (&managed.secret, &*want.namespace);
                let why = match failure {
                    Failure::Cluster(error) => error_chain(&error),
                    Failure::Labels => "the labels of the namespace are not known".to_owned(),
                    Failure::Credentials(why) => why.into(),
                };
                tracing::warn!(namespace, %secret, why, "the pull secret was not made; the next Pod is a new attempt");
                break;
            }
            sleep(pause.mul_f64(0.8 + 0.4 * fastrand::f64())).await;
            pause = (pause * 2).min(PAUSES.1);
        }
        self.wants.forget(&want);
    }

    async fn attempt(&self, want: &Want, managed: &Managed) -> Result<(), Failure> {
        let Want { namespace, registry } = want;
        let _turn = self.turns.acquire().await;
        let dir = match managed.source(&*labels(&self.namespaces, managed, namespace).await) {
            Source::Dir(dir) => dir.to_owned(),
            Source::None => return Ok(()),
            Source::Unknown => return Err(Failure::Labels),
        };
        let in_force = self.sources.in_force(&managed.registry, &dir).await;
        let Some(content) = in_force.content else {
            return Err(Failure::Credentials(in_force.trouble.unwrap_or_default()));
        };
        let made = self.objects.create(namespace, &managed.secret, registry, &content).await;
        self.metrics.wrote(
            registry,
            match made.map_err(Failure::Cluster)? {
                Made::Created => Wrote::Created,
                Made::Exists => Wrote::Exists,
                Made::NoNamespace => Wrote::NoNamespace,
            },
        );
        Ok(())
    }
}

/// The labels of a namespace, as far as they decide: a namespace that somebody has made up is not asked for.
pub(super) async fn labels(namespaces: &Namespaces, managed: &Managed, namespace: &str) -> Arc<Labels> {
    match managed.some.is_empty() {
        true => Arc::default(),
        false => namespaces.labels(namespace).await,
    }
}
