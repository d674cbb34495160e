//! The condition `Policies`, and the tasks that read LandingPolicies and say how they stand.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::timeout;

use super::leadership::Leadership;
use super::tasks::Tasks;
use crate::admission::OnDenied;
use crate::cluster::{Cluster, Namespaces, PolicyObjects};
use crate::config::watch::Handle;
use crate::controllers::entries::Report;
use crate::controllers::leader::Leading;
use crate::controllers::policies::{
    Denials, Held, PolicyController, PolicyMetrics, Reporter, ReporterNames, Standing,
};
use crate::controllers::settings::Policies;
use crate::domain::settings::Settings;
use crate::server::{Condition, ConditionName, Conditions};

/// How long we wait at the end until the last denied Pods are counted.
const LAST: Duration = Duration::from_secs(5);

/// The policies from objects, if there are any.
pub(super) enum Objects {
    /// The file alone counts.
    None(PolicyMetrics, Handle),
    /// Those of a cluster.
    Some(Box<Read>),
}

/// What reads objects, and what says how they stand.
pub(super) struct Read {
    controller: PolicyController,
    cluster: Cluster,
    names: ReporterNames,
    leading: Leading,
    events: crate::cluster::EventRecorder,
    file: Handle,
}

/// The numbers of denied Pods, and where they go.
pub(super) struct Counted(Option<Counts>);

struct Counts {
    denials: Denials,
    objects: PolicyObjects,
    held: watch::Receiver<Arc<[Held]>>,
}

impl Objects {
    /// Those of this cluster, where we know our own names and may lead.
    pub(super) fn of(
        names: Option<ReporterNames>,
        cluster: Option<&Cluster>,
        leadership: Option<&Leadership>,
        file: &Handle,
        metrics: PolicyMetrics,
    ) -> Self {
        let (Some(names), Some(cluster), Some(leadership)) = (names, cluster, leadership) else {
            return Self::None(metrics, file.clone());
        };
        let own = names.namespace.as_str();
        let controller =
            PolicyController::new(cluster.policies(), file.clone(), own, metrics, Timestamp::now);
        Self::Some(Box::new(Read {
            controller,
            cluster: cluster.clone(),
            names,
            leading: leadership.leading.clone(),
            events: leadership.events.clone(),
            file: file.clone(),
        }))
    }

    /// What the settings are composed of, beside the file.
    pub(super) fn policies(&self) -> watch::Receiver<Policies> {
        match self {
            Self::None(..) => watch::channel(Policies::default()).1,
            Self::Some(read) => read.controller.policies(),
        }
    }

    /// Starts the tasks. What is returned counts denied Pods.
    pub(super) fn spawn(
        self,
        tasks: &mut Tasks,
        settings: Arc<ArcSwap<Settings>>,
        entries: watch::Receiver<Report>,
        namespaces: &Namespaces,
        conditions: Conditions,
    ) -> Counted {
        let read = match self {
            Self::None(metrics, file) => {
                conditions.set(ConditionName::Policies, Condition::good("the file alone counts"));
                tasks.spawn("policies", metrics.of_file(file, Timestamp::now));
                return Counted(None);
            }
            Self::Some(read) => read,
        };
        let Read { controller, cluster, names, leading, events, file } = *read;
        let (held, objects) = (controller.held(), cluster.policies());
        let reporter = Reporter::new(
            &cluster,
            names,
            namespaces.clone(),
            leading,
            events,
            held.clone(),
            entries,
            settings,
            file,
            Timestamp::now,
        );
        let denials = Denials::new(Timestamp::now);
        let show = move |standing| conditions.set(ConditionName::Policies, condition(standing));
        tasks.spawn("policies", controller.run(show));
        tasks.spawn("policy status", reporter.run());
        tasks.spawn("denied Pods", denials.clone().run(objects.clone(), held.clone()));
        Counted(Some(Counts { denials, objects, held }))
    }
}

impl Counted {
    /// What the doors tell of each Pod that a policy denies.
    pub(super) fn on_denied(&self) -> OnDenied {
        match &self.0 {
            None => Arc::new(|_| {}),
            Some(Counts { denials, .. }) => {
                let denials = denials.clone();
                Arc::new(move |policy| denials.count(policy))
            }
        }
    }

    /// Adds what was counted last. Nothing is judged any more.
    pub(super) async fn fold(self) {
        let Self(Some(Counts { denials, objects, held })) = self else { return };
        let held = held.borrow().clone();
        if timeout(LAST, denials.fold(&objects, &held)).await.is_err() {
            tracing::warn!("the last denied Pods were not counted");
        }
    }
}

fn condition(standing: Standing) -> Condition {
    match standing {
        Standing::Unlisted(message) => Condition::unready(message),
        Standing::Good(message) => Condition::good(message),
        Standing::Degraded(message) => Condition::degraded(message),
    }
}
