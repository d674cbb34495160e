//! The door `/mutate`: it rewrites the images of new Pods to the nearest copy that is proved to be there.
//!
//! ```text
//! Review ─ excluded? ─ judged ─┬ one Deny ► denied, the message names every denied image
//!                              └ else     ► the smallest patch, warnings, audit annotations
//! ```
//!
//! Only this door fails open. A Pod is denied only if a policy says so. On any other failure the Pod is admitted
//! unchanged, with a warning.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::routing::post;
use futures::FutureExt;
use futures::future::BoxFuture;
use jiff::Timestamp;

use super::answer::{Answer, Decision};
use super::beyond::is_beyond;
use super::door::{DETAILS, DoorKind, DoorState, FINDINGS, Fault, IMAGES, Terms, receive};
use super::first_answers::FirstAnswer;
use super::judge::PodDecisions;
use super::metrics::PodOutcome;
use super::observe::{judge_with, told};
use super::recreations::{PodLoop, Seen, message, warning};
use super::review::{Door, DryRun, Review};
use super::scope::context;
use crate::domain::case::with_enforcement;
use crate::domain::decision::ImageDecision;
use crate::domain::policy::{Enforcement, Policy, Regime};
use crate::domain::text::plain;
use crate::domain::verdict::Reason;
use crate::pod::owner::OwnerReference;
use crate::pod::{AdmissionKind, Plan, Slot, audit};

/// The path of the door.
pub const MUTATE: &str = "/mutate";

static KIND: DoorKind = DoorKind { door: Door::Mutate, judge, on_fault };

pub(super) fn router(state: Arc<DoorState>) -> Router {
    Router::new().route(MUTATE, post(handle)).with_state(state)
}

async fn handle(
    State(state): State<Arc<DoorState>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    receive(&state, &KIND, (None, query.as_deref()), &headers, body).await
}

fn on_fault(fault: &Fault<'_>) -> Result<Answer, StatusCode> {
    Ok(Answer::unchanged().warn(match fault {
        Fault::Unreadable(why) => format!("landfall: the Pod is admitted unchanged: {why}"),
        Fault::Panic => "landfall: internal error; the Pod is admitted unchanged".to_owned(),
    }))
}

fn judge<'a>(state: &'a Arc<DoorState>, review: &'a Review<'a>, terms: Terms) -> BoxFuture<'a, Answer> {
    async move {
        if let Some(reason) = state.deps.leaves_alone(review, &terms.settings) {
            let at = (terms.door, review.dry_run);
            return state.concluded(Answer::unchanged(), PodOutcome::Unchanged, reason, at);
        }
        let labels = state.labels(review, &terms.settings).await;
        let now = (state.deps.clock)();
        let selected = state.selections.of(&terms.settings, &review.namespace, &labels);
        let regime = terms.settings.regime_of(&*selected, labels.namespace(), now);
        let observing: Vec<&Arc<Policy>> =
            with_enforcement(Enforcement::Observe, &*selected, labels.namespace(), now).collect();
        if review.is_leaving() && !regime.enforces() {
            let (unchanged, at) = (Answer::unchanged(), (terms.door, review.dry_run));
            return state.concluded(unchanged, PodOutcome::Unchanged, Reason::Excluded, at);
        }
        let slots = review.slots();
        if review.unread() > 0 || is_beyond(&slots) {
            return state.too_many(review, &slots, &terms, (&regime, &observing), now);
        }
        state.verdict(review, &slots, &terms, (regime, &observing), now).await
    }
    .boxed()
}

impl DoorState {
    /// Judges a Pod and says what becomes of it.
    async fn verdict(
        self: &Arc<Self>,
        review: &Review<'_>,
        slots: &[Slot<'_>],
        terms: &Terms,
        (regime, observing): (Arc<Regime>, &[&Arc<Policy>]),
        now: Timestamp,
    ) -> Answer {
        let settings = &terms.settings;
        let context = context(review, settings, regime, now);
        let judge = self.judge(terms, &review.namespace, now);
        let own = judge.pod(slots, &context);
        let (decided, ready) = judge_with(own, judge, observing, slots, &context).await;
        let observed = self.all_observed(observing, &ready, (review, terms), slots, &context);
        let decisions = decided.by_slot().collect();
        let plan =
            Plan { pod: &review.pod, kind: review.kind, slots, decisions, settings, context: &context };
        let (answer, outcome) = apply(&plan);
        if outcome == PodOutcome::Denied {
            self.denied_by(review.dry_run, &plan.denying());
        } else if context.regime.enforces() {
            self.keep_first_answers(review, &plan, terms);
        }
        let serving = |(slot, decision)| (slot, (plan.reason(decision), decision.serving()));
        let (details, reason) = (audit::details(plan.by_slot()), most_important(&plan, &decided));
        let answer = answer
            .note(IMAGES, audit::images(plan.by_slot().map(serving)))
            .note(FINDINGS, audit::findings(plan.by_slot()));
        let answer = told(answer, &observed);
        self.record(review, &plan, &decided, (outcome, reason, &details));
        self.deps.recent.keep((review, &plan), (outcome, reason), (now, terms.began));
        // Of a Pod that is denied, only the images that deny it: the others are not used.
        let is_told = |image: &&ImageDecision| outcome != PodOutcome::Denied || image.outcome.denies();
        self.seen(review, decided.images.iter().map(|image| &image.decision).filter(is_told));
        if outcome != PodOutcome::Denied {
            self.needs_secrets(review, &plan);
        }
        let looping = if outcome == PodOutcome::Patched { self.looping(review, &plan, terms) } else { None };
        let answer = looping.into_iter().fold(answer, Answer::warn);
        self.concluded(answer.note(DETAILS, details), outcome, reason, (terms.door, review.dry_run))
    }

    /// Tells of the pull secrets that Landfall makes and the Pod has from now on.
    fn needs_secrets(&self, review: &Review<'_>, plan: &Plan<'_>) {
        let managed = &plan.settings.pull_secrets;
        if review.dry_run == DryRun::Yes || managed.is_empty() {
            return;
        }
        for (_, decision) in plan.written().filter(|(_, decision)| decision.outcome.pull_secret.is_some()) {
            if let Some(registry) = decision.serving().filter(|registry| managed.of(registry).is_some()) {
                (self.deps.on_pull_secret)(&review.namespace, registry);
            }
        }
    }

    /// Keeps what is written into a Pod for the validating door, which is called next.
    fn keep_first_answers(&self, review: &Review<'_>, plan: &Plan<'_>, terms: &Terms) {
        let context = self.cache.context_id(&terms.settings, plan.context);
        for (image, decision) in plan.written() {
            let answer =
                FirstAnswer { reason: decision.outcome.reason, serving: decision.serving().cloned() };
            self.first_answers.keep(context, &review.namespace, image, answer);
        }
    }

    /// Returns the warning where somebody creates this Pod again and again because its images are changed, and tells the
    /// owner of the Pod.
    fn looping(&self, review: &Review<'_>, plan: &Plan<'_>, terms: &Terms) -> Option<String> {
        let rewrites = || plan.decisions.iter().any(|decision| decision.outcome.image.is_some());
        if review.dry_run == DryRun::Yes || review.kind != AdmissionKind::Create || !rewrites() {
            return None;
        }
        let seen = self.recreations.created(review, plan.slots, terms.began);
        if seen == Seen::Ordinary {
            return None;
        }
        let owner = review.pod.metadata.as_ref().and_then(|metadata| metadata.owner_references.first());
        let preset = owner.and_then(OwnerReference::preset);
        self.deps.metrics.recreated(preset);
        if seen == Seen::Loop {
            let (namespace, pods) = (&*review.namespace, &*review.pod.called());
            tracing::warn!(pod.namespace = namespace, pod.name = pods, "{}", message(pods, preset));
            if let Some(owner) = owner {
                (self.deps.on_loop)(PodLoop::of(owner, namespace, pods));
            }
        }
        Some(warning(preset))
    }

    /// Counts the images, and logs the outcome. The images and findings of a dry run are not counted, because no Pod will run.
    fn record(
        &self,
        review: &Review<'_>,
        plan: &Plan<'_>,
        decided: &PodDecisions,
        (outcome, reason, details): (PodOutcome, Reason, &str),
    ) {
        let (namespace, pod) = (&*review.namespace, &*review.pod.called());
        tracing::debug!(
            pod.namespace = namespace,
            pod.name = pod,
            verdict = outcome.as_str(),
            reason = reason.as_str(),
            images = decided.images.len(),
            "Pod judged"
        );
        if review.dry_run == DryRun::Yes {
            return;
        }
        if !details.is_empty() {
            tracing::info!(pod.namespace = namespace, pod.name = pod, details, "Pod denied");
        }
        for image in &decided.images {
            if plan.lacks_secret(&image.decision) {
                self.deps.metrics.left(&image.decision, &image.counters);
            } else {
                image.counters.count();
            }
        }
        // Presumed images are not logged: the registry that is down is logged already, and there may be thousands of Pods.
        for (slot, _) in plan.by_slot().filter(|(_, decision)| decision.has_no_copy()) {
            let image = &*plain(slot.image);
            tracing::warn!(
                pod.namespace = namespace,
                pod.name = pod,
                image,
                "no copy of the image is known; left as written"
            );
        }
    }
}

/// Returns the answer for a Pod, without its audit annotations.
fn apply(plan: &Plan<'_>) -> (Answer, PodOutcome) {
    if let Some(message) = plan.denial() {
        return (Answer::of(Decision::Deny { message }), PodOutcome::Denied);
    }
    let patch = plan.patch();
    let outcome = if patch.is_empty() { PodOutcome::Unchanged } else { PodOutcome::Patched };
    let mut answer = Answer::of(Decision::Allow(patch));
    answer.warnings = plan.warnings();
    (answer, outcome)
}

/// The most important reason among a Pod's images.
fn most_important(plan: &Plan<'_>, decided: &PodDecisions) -> Reason {
    Reason::of_pod(decided.images.iter().map(|image| plan.reason(&image.decision)))
}
