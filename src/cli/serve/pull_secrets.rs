//! The pull secrets that Landfall makes: what the doors tell, what each replica makes, and what the leader keeps.

use std::sync::Arc;

use arc_swap::ArcSwap;

use super::leadership::Leadership;
use super::tasks::Tasks;
use crate::admission::OnPullSecret;
use crate::cluster::{Cluster, Namespaces};
use crate::controllers::pull_secrets::{Keeper, Maker, PullSecretMetrics, Sources, Standing, Wants};
use crate::controllers::sweep::Surveys;
use crate::domain::settings::Settings;
use crate::evidence::Observatory;
use crate::server::{Condition, ConditionName, Conditions};

/// Starts both, and returns what the doors tell.
pub(super) fn spawn(
    tasks: &mut Tasks,
    (cluster, leadership): (&Cluster, &Leadership),
    namespaces: &Namespaces,
    observatory: &Arc<Observatory>,
    (settings, own_namespace): (Arc<ArcSwap<Settings>>, &str),
    surveys: Surveys,
    (metrics, conditions): (PullSecretMetrics, Conditions),
) -> OnPullSecret {
    let (wants, queue) = Wants::new(metrics.clone());
    let sources = Sources::new(observatory.clone());
    let maker = Maker::new(
        cluster,
        namespaces.clone(),
        settings.clone(),
        sources.clone(),
        (wants.clone(), queue),
        metrics.clone(),
    );
    let (leading, events) = (leadership.leading.clone(), leadership.events.clone());
    let keeper = Keeper::new(
        cluster,
        namespaces.clone(),
        settings,
        own_namespace,
        (sources, wants.clone()),
        surveys,
        (leading, events),
        metrics,
    );
    tasks.spawn("new pull secrets", maker.run());
    tasks.spawn(
        "pull secrets",
        keeper.run(move |standing| {
            let condition = match standing {
                Standing::Good(message) => Condition::good(message),
                Standing::Degraded(message) => Condition::degraded(message),
            };
            conditions.set(ConditionName::PullSecrets, condition);
        }),
    );
    Arc::new(move |namespace, registry| wants.tell(namespace, registry))
}
