//! Policies that only observe. Each is judged separately with its own rules, so that it never changes the answer, and the
//! answer does not wait for it.

use std::borrow::Cow;
use std::pin::pin;
use std::sync::Arc;

use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use tokio::time::Instant;

use super::answer::{Answer, AuditKey};
use super::door::{DoorState, Terms};
use super::judge::{Judge, PodDecisions};
use super::metrics::ByObserving;
use super::review::{Door, DryRun, Review};
use crate::domain::case::PodContext;
use crate::domain::finding::FindingKind;
use crate::domain::messages;
use crate::domain::name::PolicyName;
use crate::domain::policy::{BreakGlass, Enforcement, Policy, Regime, Warning};
use crate::domain::settings::Settings;
use crate::domain::text::plain;
use crate::pod::{Slot, audit};

/// The audit annotation with what observing policies would have denied.
const WOULD_DENY: AuditKey = AuditKey::new("observed");
/// The audit annotation of a Pod that runs only because somebody opened a policy: which policy, until when, and why.
const BREAK_GLASS: AuditKey = AuditKey::new("break-glass");

/// An observing policy, and what it would have denied.
pub(super) type Observed = (Arc<Policy>, WouldDeny);

/// What a policy would have denied of a Pod.
#[derive(Debug)]
pub(super) struct WouldDeny {
    /// How many slots.
    images: usize,
    kinds: Vec<FindingKind>,
    /// For the audit log and the log: each image with its findings.
    findings: String,
}

impl WouldDeny {
    /// `None`: it would not have denied the Pod.
    pub(super) fn of(slots: &[Slot<'_>], decided: &PodDecisions) -> Option<Self> {
        let denied = || slots.iter().zip(decided.by_slot()).filter(|(_, one)| one.outcome.denies());
        let images = denied().count();
        let mut kinds = Vec::new();
        for finding in denied().flat_map(|(_, one)| one.blocking()) {
            if !kinds.contains(&finding.kind) {
                kinds.push(finding.kind);
            }
        }
        (images > 0).then(|| Self { images, kinds, findings: audit::findings(denied()) })
    }

    /// It would have denied a Pod with so many images, because it blocks what is not judged.
    pub(super) fn too_many(images: usize) -> Self {
        let kind = FindingKind::TooMany;
        Self { images, kinds: vec![kind], findings: format!("{images} images: {kind}") }
    }
}

/// Somebody opened this policy, which only observes at the moment. `None`: it is written to observe.
fn opened(policy: &Policy) -> Option<&BreakGlass> {
    policy.break_glass.as_ref().filter(|_| policy.enforcement == Enforcement::Enforce)
}

/// Says in an answer what observing policies would have denied: for the audit log, and for the developer where the policy
/// wants that.
pub(super) fn told(mut answer: Answer, observed: &[Observed]) -> Answer {
    if observed.is_empty() {
        return answer;
    }
    let (mut would, mut glass) = (Vec::new(), Vec::new());
    for (policy, WouldDeny { images, kinds, findings }) in observed {
        would.push(format!("{} would deny {findings}", policy.name));
        if let Some(BreakGlass { until, reason, .. }) = opened(policy) {
            // A `;` would begin another entry.
            let reason = plain(reason).replace(';', ",");
            glass.push(format!("{} is open until {until}: {reason}", policy.name));
        }
        if policy.warning == Warning::Sent {
            answer = answer.warn(messages::would_deny(&policy.name, *images, kinds));
        }
    }
    answer.note(WOULD_DENY, would.join("; ")).note(BREAK_GLASS, glass.join("; "))
}

/// Runs `own` and, at the same time, judges a Pod by each of the observing policies. Returns the result of `own`, and the
/// decisions of the observing policies that were ready by then, sorted by name.
pub(super) async fn judge_with<T>(
    own: impl Future<Output = T>,
    judge: Judge<'_>,
    observing: &[&Arc<Policy>],
    slots: &[Slot<'_>],
    context: &PodContext,
) -> (T, Vec<(Arc<Policy>, PodDecisions)>) {
    let observe = async |policy: &Arc<Policy>| {
        (policy.clone(), judge.pod(slots, &under(policy, judge.settings, context)).await)
    };
    let mut asked: FuturesUnordered<_> = observing.iter().map(|policy| observe(policy)).collect();
    let mut observed: Vec<(Arc<Policy>, PodDecisions)> = Vec::new();
    let mut own = pin!(own);
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
            let terms = Terms { settings, began: now, deadline, door: Door::Mutate, selector: None };
            let decided = door.judge(&terms, &namespace, context.now).pod(&slots, &context).await;
            let whose = Whose { dry_run, namespace: &namespace, pod: Cow::Owned(pod) };
            door.observed(&whose, &policy, WouldDeny::of(&slots, &decided));
        });
    }

    /// Tells what the observing policies that were ready would have denied, and judges by the others later.
    pub(super) fn all_observed(
        self: &Arc<Self>,
        observing: &[&Arc<Policy>],
        ready: &[(Arc<Policy>, PodDecisions)],
        (review, terms): (&Review<'_>, &Terms),
        slots: &[Slot<'_>],
        context: &PodContext,
    ) -> Vec<Observed> {
        for policy in observing {
            let is_ready = ready.iter().any(|(ready, _)| ready.name == policy.name);
            if review.dry_run == DryRun::No && !is_ready {
                self.observe_later(policy, terms, review, slots, context);
            }
        }
        let would = ready.iter().filter_map(|(policy, decided)| {
            let would = self.observed(&Whose::of(review), policy, WouldDeny::of(slots, decided))?;
            Some((policy.clone(), would))
        });
        would.collect()
    }

    /// Tells who wants to know it that these policies denied a Pod, or would have.
    pub(super) fn denied_by(&self, dry_run: DryRun, policies: &[PolicyName]) {
        if dry_run == DryRun::No {
            policies.iter().for_each(|policy| (self.deps.on_denied)(policy));
        }
    }

    /// Counts what a policy would have done. Where it would have denied, it is also logged, and returned.
    pub(super) fn observed(
        &self,
        whose: &Whose<'_>,
        policy: &Policy,
        would: Option<WouldDeny>,
    ) -> Option<WouldDeny> {
        let Whose { dry_run, namespace, pod } = whose;
        let glass = opened(policy);
        if *dry_run == DryRun::No {
            self.deps.metrics.observed(
                &policy.name,
                match (&would, glass) {
                    (None, _) => ByObserving::Allowed,
                    (Some(_), None) => ByObserving::Denied,
                    (Some(_), Some(_)) => ByObserving::Opened,
                },
            );
        }
        let would = would?;
        self.denied_by(*dry_run, std::slice::from_ref(&policy.name));
        let (denied, pod) = (&*would.findings, &**pod);
        match glass {
            None => {
                tracing::info!(pod.namespace = namespace, pod.name = pod, policy = %policy.name, denied, "observing policy would deny the Pod");
            }
            Some(BreakGlass { until, reason, .. }) => {
                let reason = &*plain(reason);
                tracing::warn!(pod.namespace = namespace, pod.name = pod, policy = %policy.name, denied, %until, reason, "policy would deny the Pod, but is open");
            }
        }
        Some(would)
    }
}

/// The context of a Pod as if only this policy existed.
fn under(policy: &Arc<Policy>, settings: &Settings, context: &PodContext) -> PodContext {
    let regime = Arc::new(Regime::of_one(settings.defaults.clone(), policy.clone()));
    PodContext { regime, ..context.clone() }
}
