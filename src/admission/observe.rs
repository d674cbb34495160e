//! Policies that only observe. Each is judged separately with its own rules, so that it never changes the answer, and the
//! answer does not wait for it.

use std::borrow::Cow;
use std::pin::pin;
use std::sync::Arc;

use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use tokio::time::Instant;

use super::door::{DoorState, Terms};
use super::judge::{Judge, PodDecisions};
use super::metrics::PodOutcome;
use super::review::{DryRun, Review};
use crate::domain::case::PodContext;
use crate::domain::policy::{Policy, Regime};
use crate::domain::settings::Settings;
use crate::pod::{Slot, audit};

/// An observing policy, and the decisions that it would give for a Pod.
pub(super) type Observed = (Arc<Policy>, PodDecisions);

/// Judges a Pod by the rules in force and, at the same time, by each of the observing policies. Returns the decisions in
/// force, and those of the observing policies that were ready by then, sorted by name.
pub(super) async fn judge_with(
    judge: Judge<'_>,
    observing: &[&Arc<Policy>],
    slots: &[Slot<'_>],
    context: &PodContext,
) -> (PodDecisions, Vec<Observed>) {
    let observe = async |policy: &Arc<Policy>| {
        (policy.clone(), judge.pod(slots, &under(policy, judge.settings, context)).await)
    };
    let mut asked: FuturesUnordered<_> = observing.iter().map(|policy| observe(policy)).collect();
    let mut observed: Vec<Observed> = Vec::new();
    let mut own = pin!(judge.pod(slots, context));
    let decided = loop {
        tokio::select! {
            biased;
            decided = &mut own => break decided,
            Some(one) = asked.next() => observed.push(one),
        }
    };
    while let Some(Some(one)) = asked.next().now_or_never() {
        observed.push(one);
    }
    observed.sort_by(|(a, _), (b, _)| a.name.cmp(&b.name));
    (decided, observed)
}

/// The Pod that a policy observes, for metrics and log.
pub(super) struct Whose<'a> {
    pub(super) dry_run: DryRun,
    pub(super) namespace: &'a str,
    pub(super) pod: Cow<'a, str>,
}

impl<'a> Whose<'a> {
    pub(super) fn of(review: &'a Review<'_>) -> Self {
        Self { dry_run: review.dry_run, namespace: &review.namespace, pod: review.pod.called() }
    }
}

impl DoorState {
    /// Judges a Pod by an observing policy after the Pod was answered, for the metrics and the log. Where too many Pods
    /// are waiting already, the Pod is only counted.
    pub(super) fn observe_later(
        self: &Arc<Self>,
        policy: &Arc<Policy>,
        terms: &Terms,
        review: &Review<'_>,
        slots: &[Slot<'_>],
        context: &PodContext,
    ) {
        let Ok(room) = self.observing.clone().try_acquire_owned() else {
            return self.deps.metrics.dropped(&policy.name);
        };
        let context = under(policy, &terms.settings, context);
        let (door, policy, settings) = (self.clone(), policy.clone(), terms.settings.clone());
        let Whose { dry_run, namespace, pod } = Whose::of(review);
        let (namespace, pod) = (namespace.to_owned(), pod.into_owned());
        let texts: Vec<(Slot<'static>, String, String)> = slots
            .iter()
            .map(|slot| (slot.with_texts("", ""), slot.name.to_owned(), slot.image.to_owned()))
            .collect();
        self.deps.tasks.spawn(async move {
            let _room = room;
            let slots: Vec<Slot<'_>> =
                texts.iter().map(|(slot, name, image)| slot.with_texts(name, image)).collect();
            let now = Instant::now();
            let deadline = now + settings.budget.request;
            let terms = Terms { settings, began: now, deadline };
            let decided = door.judge(&terms, &namespace, context.now).pod(&slots, &context).await;
            let denied = slots.iter().zip(decided.by_slot()).filter(|(_, one)| one.outcome.denies());
            let whose = Whose { dry_run, namespace: &namespace, pod: Cow::Owned(pod) };
            door.observed(whose, &policy, audit::findings(denied));
        });
    }

    /// Counts what a policy would have done. Where it would have denied, logs this and returns the text for the audit log.
    pub(super) fn observed(&self, whose: Whose<'_>, policy: &Policy, denied: String) -> Option<String> {
        let Whose { dry_run, namespace, pod } = whose;
        let outcome = if denied.is_empty() { PodOutcome::Unchanged } else { PodOutcome::Denied };
        if dry_run == DryRun::No {
            self.deps.metrics.observed(&policy.name, outcome);
        }
        if outcome != PodOutcome::Denied {
            return None;
        }
        tracing::info!(pod.namespace = namespace, pod.name = &*pod, policy = %policy.name, denied, "observing policy would deny the Pod");
        Some(format!("{} would deny {denied}", policy.name))
    }
}

/// The context of a Pod as if only this policy existed.
fn under(policy: &Arc<Policy>, settings: &Settings, context: &PodContext) -> PodContext {
    let regime = Arc::new(Regime::of_one(settings.defaults.clone(), policy.clone()));
    PodContext { regime, ..context.clone() }
}
