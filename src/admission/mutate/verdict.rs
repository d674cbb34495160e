//! From the images of a Pod to its answer: judged, written down, counted.

use std::collections::HashSet;
use std::pin::pin;
use std::sync::Arc;

use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use jiff::Timestamp;
use tokio::time::Instant;

use super::ruling::Ruling;
use super::{DoorState, Mutate};
use crate::admission::answer::{Answer, AuditKey};
use crate::admission::judged::{Judge, JudgedPod};
use crate::admission::messages;
use crate::admission::metrics::PodOutcome;
use crate::admission::review::{DryRun, Review};
use crate::domain::case::{Exemption, PodContext};
use crate::domain::policy::{Labels, Policy, Regime};
use crate::domain::settings::Settings;
use crate::domain::verdict::{FindingKind, Reason};
use crate::evidence::ObservedAt;
use crate::pod::surface::Mode;
use crate::pod::{Slot, platform};

const VERDICT: AuditKey = AuditKey::new("verdict");
const IMAGES: AuditKey = AuditKey::new("images");
const FINDINGS: AuditKey = AuditKey::new("findings");
const WOULD_DENY: AuditKey = AuditKey::new("observed");

/// The most images of a Pod that are judged, equal ones counted apart. etcd's limit for an object leaves room for some
/// ten thousand containers; a kubelet runs a few hundred in all its Pods.
const MOST_SLOTS: usize = 4096;
/// The most different ones: each may ask registries.
const MOST_IMAGES: usize = 512;

/// What the observing policies of this many Pods would have said is still worked out when the Pods are on their way.
pub(super) const OBSERVED: usize = 64;

/// What an observing policy makes of a Pod.
type Observed = (Arc<Policy>, JudgedPod);

impl DoorState {
    /// Judges a Pod and says what becomes of it.
    pub(super) async fn verdict(
        self: &Arc<Self>,
        review: &Review<'_>,
        settings: &Arc<Settings>,
        began: Instant,
        deadline: Instant,
    ) -> Answer {
        let slots = review.slots();
        if is_beyond(&slots) {
            return self.beyond(review, slots.len());
        }
        let labels = if settings.policies.is_empty() {
            Arc::new(Labels::new())
        } else {
            (self.deps.labels)(&review.namespace).await
        };
        let context = PodContext {
            regime: settings.regime(&labels),
            platforms: settings.platforms(&platform::demand(&review.pod)),
            exemption: match review.pod.mode() {
                Mode::Judge => Exemption::None,
                Mode::Skip => Exemption::Skip,
            },
            now: (self.deps.clock)(),
        };
        let judge = self.judge_at(settings, began, context.now, deadline);
        // Apart, each with a regime of its own: nothing that an observing policy asks changes the answer, nor does the
        // answer wait for it. What it says by the time that the Pod's own verdict is there is told with it.
        let observe = async |policy: &Arc<Policy>| {
            (policy.clone(), judge.pod(&slots, &under(policy, settings, &context)).await)
        };
        let policies: Vec<&Arc<Policy>> = settings.observing(&labels).collect();
        let mut observing: FuturesUnordered<_> = policies.iter().map(|policy| observe(policy)).collect();
        let mut observed: Vec<Observed> = Vec::new();
        let mut own = pin!(judge.pod(&slots, &context));
        let judged = loop {
            tokio::select! {
                biased;
                judged = &mut own => break judged,
                Some(one) = observing.next() => observed.push(one),
            }
        };
        while let Some(Some(one)) = observing.next().now_or_never() {
            observed.push(one);
        }
        drop(observing);
        for policy in policies {
            if review.dry_run == DryRun::No && !observed.iter().any(|(done, _)| done.name == policy.name) {
                self.observe_later(policy, settings, review, &slots, &context);
            }
        }
        observed.sort_by(|(a, _), (b, _)| a.name.cmp(&b.name));

        let ruling = Ruling { review, settings, context: &context, slots: &slots, judged: &judged };
        let (mut answer, outcome) = ruling.answer();
        let mut note = |key, text: String| {
            if !text.is_empty() {
                answer.audit.insert(key, text);
            }
        };
        note(VERDICT, outcome.as_str().to_owned());
        note(IMAGES, messages::images(ruling.by_slot(), |image| ruling.leaves(image)));
        note(FINDINGS, messages::findings(ruling.by_slot()));
        let would_deny = observed.iter().filter_map(|(policy, judged)| {
            let denied = ruling.slots_of(judged).filter(|(_, judged)| judged.outcome.denies());
            let whose =
                Whose { dry_run: review.dry_run, namespace: &review.namespace, pod: review.pod.called() };
            self.observed(whose, policy, messages::findings(denied))
        });
        note(WOULD_DENY, would_deny.collect::<Vec<_>>().join("; "));
        self.record(&ruling, outcome);
        answer
    }

    /// A Pod with more images than any node would run is nobody's workload. To judge it would cost more than it is worth.
    fn beyond(&self, review: &Review<'_>, images: usize) -> Answer {
        let metrics = &self.deps.metrics;
        metrics.beyond.inc();
        metrics.admitted(PodOutcome::Unchanged, Reason::Internal, review.dry_run);
        let (namespace, pod) = (&*review.namespace, review.pod.called());
        tracing::warn!(
            pod.namespace = namespace,
            pod.name = pod,
            images,
            "too many images; admitted as it is"
        );
        Answer::unchanged()
            .warn(format!("landfall: {images} images are too many; the Pod is admitted as it is"))
    }

    fn judge_at<'a>(
        &'a self,
        settings: &'a Arc<Settings>,
        now: Instant,
        date: Timestamp,
        deadline: Instant,
    ) -> Judge<'a> {
        let Mutate { observatory, metrics, .. } = &self.deps;
        // First of all: what changes from now on may not have been seen.
        let observed_at = ObservedAt { now, date, generation: observatory.generation() };
        Judge { settings, observatory, verdicts: &self.verdicts, metrics, deadline, observed_at }
    }

    /// Works out what an observing policy would have said, for the metrics and the log, when the Pod is on its way. So
    /// many at once; what is beyond is counted, and nothing more.
    fn observe_later(
        self: &Arc<Self>,
        policy: &Arc<Policy>,
        settings: &Arc<Settings>,
        review: &Review<'_>,
        slots: &[Slot<'_>],
        context: &PodContext,
    ) {
        let Ok(place) = self.observing.clone().try_acquire_owned() else {
            return self.deps.metrics.dropped(&policy.name);
        };
        let context = under(policy, settings, context);
        let (door, policy, settings) = (self.clone(), policy.clone(), settings.clone());
        let (dry_run, namespace, pod) =
            (review.dry_run, review.namespace.to_string(), review.pod.called().to_owned());
        let texts: Vec<(Slot<'static>, String, String)> = slots
            .iter()
            .map(|slot| (slot.with_texts("", ""), slot.name.to_owned(), slot.image.to_owned()))
            .collect();
        tokio::spawn(async move {
            let _place = place;
            let slots: Vec<Slot<'_>> =
                texts.iter().map(|(slot, name, image)| slot.with_texts(name, image)).collect();
            let now = Instant::now();
            let judge = door.judge_at(&settings, now, context.now, now + settings.budget.request);
            let judged = judge.pod(&slots, &context).await;
            let denied = slots.iter().zip(judged.by_slot()).filter(|(_, judged)| judged.outcome.denies());
            door.observed(
                Whose { dry_run, namespace: &namespace, pod: &pod },
                &policy,
                messages::findings(denied),
            );
        });
    }

    /// Says what a policy would have done, if it would have denied.
    fn observed(&self, whose: Whose<'_>, policy: &Policy, denied: String) -> Option<String> {
        let Whose { dry_run, namespace, pod } = whose;
        let outcome = if denied.is_empty() { PodOutcome::Unchanged } else { PodOutcome::Denied };
        if dry_run == DryRun::No {
            self.deps.metrics.observed(&policy.name, outcome);
        }
        if outcome != PodOutcome::Denied {
            return None;
        }
        tracing::info!(pod.namespace = namespace, pod.name = pod, policy = %policy.name, denied, "would deny");
        Some(format!("{} would deny {denied}", policy.name))
    }

    /// Counts and logs. A dry run is no Pod: its images and findings are not counted, and nobody need act on it.
    fn record(&self, ruling: &Ruling<'_>, outcome: PodOutcome) {
        let (review, judged) = (ruling.review, ruling.judged);
        let weightiest =
            judged.images.iter().map(|image| ruling.reason(image)).min_by_key(|reason| weight(*reason));
        let reason = weightiest.unwrap_or(Reason::Finding(FindingKind::NotRouted));
        self.deps.metrics.admitted(outcome, reason, review.dry_run);
        let (namespace, pod) = (&*review.namespace, review.pod.called());
        tracing::debug!(
            pod.namespace = namespace,
            pod.name = pod,
            verdict = outcome.as_str(),
            reason = reason.as_str(),
            images = judged.images.len(),
            "judged"
        );
        if review.dry_run == DryRun::Yes {
            return;
        }
        for image in &judged.images {
            if ruling.leaves(image) {
                // No registry serves it now.
                self.deps.metrics.left(image);
            } else {
                self.deps.metrics.judged(image);
            }
        }
        // What is Presumed gets no line: the registry that is down has its own, and there may be thousands of Pods.
        for (slot, _) in ruling.by_slot().filter(|(_, image)| image.has_no_copy()) {
            let image = slot.image;
            tracing::warn!(
                pod.namespace = namespace,
                pod.name = pod,
                image,
                "no copy is known; left as written"
            );
        }
    }
}

/// Are these more images, or more different ones, than are judged?
fn is_beyond(slots: &[Slot<'_>]) -> bool {
    let different = || slots.iter().map(|slot| slot.image).collect::<HashSet<_>>().len();
    slots.len() > MOST_SLOTS || (slots.len() > MOST_IMAGES && different() > MOST_IMAGES)
}

/// Whose Pod a policy observes.
#[derive(Clone, Copy)]
struct Whose<'a> {
    dry_run: DryRun,
    namespace: &'a str,
    pod: &'a str,
}

/// The context of a Pod, were this policy the only one.
fn under(policy: &Arc<Policy>, settings: &Settings, context: &PodContext) -> PodContext {
    let regime = Arc::new(Regime::of_one(settings.defaults.clone(), policy.clone()));
    PodContext { regime, ..context.clone() }
}

/// Which of a Pod's reasons stands for it: the lightest number.
fn weight(reason: Reason) -> u8 {
    match reason {
        Reason::Internal => 0,
        Reason::Denied => 1,
        Reason::Fallback => 2,
        Reason::Presumed => 3,
        Reason::Accepted => 4,
        Reason::Local => 5,
        Reason::AlreadyLocal => 6,
        Reason::Observed => 7,
        Reason::MirrorPod | Reason::Excluded | Reason::Exempt | Reason::PullNever => 8,
        Reason::Finding(_) => 9,
    }
}
