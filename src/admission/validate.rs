//! The door `/validate/<selector>`: it denies Pods whose images a policy blocks, as they stand after all mutation.
//!
//! ```text
//! Review ─ excluded? ─ a policy enforces? ─ changed images ─┬ written by /mutate a moment ago ► admitted
//!                                                           └ else judged as they stand by `domain::admits`
//! one is denied, or has no digest ► denied, the message names every such image
//! ```
//!
//! The API server has one entry for each selector of an enforcing policy, with `failurePolicy: Fail`. So whoever skips,
//! outlasts or overrides the mutating door meets this one. It changes nothing.
//!
//! It fails closed: what cannot be read is denied with words. An unknown selector, a panic, and whatever the server refuses
//! before a review is read (too long, too slow, no room) is an HTTP status of 4xx or 5xx, after which the API server denies
//! the request.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, stream};
use jiff::Timestamp;

use super::answer::{Answer, Decision};
use super::beyond::is_beyond;
use super::door::{DETAILS, DoorKind, DoorState, FINDINGS, Fault, IMAGES, Terms, receive, refuse};
use super::examine::Examined;
use super::metrics::PodOutcome;
use super::observe::{judge_with, told};
use super::review::{Door, DryRun, Review};
use super::scope::context;
use crate::domain::case::{PodContext, with_enforcement};
use crate::domain::decision::ImageDecision;
use crate::domain::messages::{self, Unpinned};
use crate::domain::name::PolicyName;
use crate::domain::policy::{Enforcement, Policy, SelectorId, VALIDATE};
use crate::domain::verdict::Reason;
use crate::pod::{AdmissionKind, Slot, audit, plan};

/// The most images of one Pod that are judged at once.
const AT_ONCE: usize = 64;

static KIND: DoorKind = DoorKind { door: Door::Validate, judge, on_fault };

pub(super) fn router(state: Arc<DoorState>) -> Router {
    Router::new().route(&format!("{VALIDATE}/{{selector}}"), post(handle)).with_state(state)
}

async fn handle(
    State(state): State<Arc<DoorState>>,
    Path(selector): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let known = |id: &SelectorId| state.deps.selectors.knows(*id, &state.deps.settings.load());
    match selector.parse().ok().filter(known) {
        Some(selector) => receive(&state, &KIND, (Some(selector), query.as_deref()), &headers, body).await,
        None => {
            // A policy that this replica has not seen yet. The API server must not let the Pod in for that.
            state.deps.metrics.admitted(PodOutcome::Internal, Reason::Internal, (KIND.door, DryRun::No));
            refuse(StatusCode::SERVICE_UNAVAILABLE, "no policy known here has this selector").into_response()
        }
    }
}

fn on_fault(fault: &Fault<'_>) -> Result<Answer, StatusCode> {
    match fault {
        Fault::Unreadable(why) => {
            let message = format!("Landfall cannot read the Pod: {why}");
            Ok(Answer::of(Decision::Deny { message }))
        }
        Fault::Panic => Err(StatusCode::INTERNAL_SERVER_ERROR),
    }
}

fn judge<'a>(state: &'a Arc<DoorState>, review: &'a Review<'a>, terms: Terms) -> BoxFuture<'a, Answer> {
    async move {
        let at = (terms.door, review.dry_run);
        let unchanged = |reason| state.concluded(Answer::unchanged(), PodOutcome::Unchanged, reason, at);
        if let Some(reason) = state.deps.leaves_alone(review, &terms.settings) {
            return unchanged(reason);
        }
        let labels = state.labels(review, &terms.settings).await;
        let now = (state.deps.clock)();
        let selected = state.selections.of(&terms.settings, &review.namespace, &labels);
        let is_selected = |id| selected.iter().any(|policy| policy.selector.id() == id);
        let regime = match terms.selector {
            // The API server knows labels that we do not.
            Some(selector) if !is_selected(selector) => {
                terms.settings.regime_selected_by(selector, &labels, now)
            }
            _ => terms.settings.regime_of(&*selected, labels.namespace(), now),
        };
        // The mutating door has told what they would have denied of a new Pod, and counted it. It sees no update.
        let observing: Vec<&Arc<Policy>> = match review.kind {
            AdmissionKind::Update => {
                with_enforcement(Enforcement::Observe, &*selected, labels.namespace(), now).collect()
            }
            AdmissionKind::Create | AdmissionKind::Ephemeral => Vec::new(),
        };
        if !regime.enforces() && observing.is_empty() {
            return unchanged(Reason::Observed);
        }
        let slots = review.slots();
        if review.unread() > 0 || is_beyond(&slots) {
            return state.too_many(review, &slots, &terms, (&regime, &observing), now);
        }
        let context = context(review, &terms.settings, regime, now);
        state.admission(review, &slots, (&terms, &context), &observing, now).await
    }
    .boxed()
}

/// The images of a Pod, as they stand.
struct Stands {
    /// Each different image, in the order of its first slot.
    images: Vec<Examined>,
    /// For each slot, the index of its image.
    of: Vec<usize>,
}

impl Stands {
    fn by_slot<'a, 'p>(
        &'a self,
        slots: &'a [Slot<'p>],
    ) -> impl Iterator<Item = (&'a Slot<'p>, &'a Examined)> {
        slots.iter().zip(&self.of).filter_map(|(slot, at)| Some((slot, self.images.get(*at)?)))
    }

    /// The images that deny the Pod, each with its first slot.
    fn denied<'a, 'p>(&'a self, slots: &'a [Slot<'p>]) -> Vec<(&'a Slot<'p>, &'a Examined)> {
        let mut seen = vec![false; self.images.len()];
        let first = |at: &usize| seen.get_mut(*at).is_some_and(|seen| !std::mem::replace(seen, true));
        let firsts: Vec<bool> = self.of.iter().map(first).collect();
        let slots = self.by_slot(slots).zip(firsts);
        slots.filter(|((_, image), first)| *first && image.denies()).map(|(one, _)| one).collect()
    }

    /// The policies that deny the Pod, each once.
    fn denying(&self, context: &PodContext) -> Vec<PolicyName> {
        if self.images.iter().any(|image| matches!(image, Examined::NotPinned { .. })) {
            return context.regime.enforcing.iter().map(|policy| policy.name.clone()).collect();
        }
        plan::denying(self.images.iter().filter_map(Examined::decision))
    }
}

impl DoorState {
    /// Judges the images of a Pod as they stand, and says whether it is admitted.
    async fn admission(
        self: &Arc<Self>,
        review: &Review<'_>,
        slots: &[Slot<'_>],
        (terms, context): (&Terms, &PodContext),
        observing: &[&Arc<Policy>],
        now: Timestamp,
    ) -> Answer {
        let judge = self.judge(terms, &review.namespace, now);
        let own = self.stands(review, slots, terms, context);
        let (stands, ready) = judge_with(own, judge, observing, slots, context).await;
        let observed = self.all_observed(observing, &ready, (review, terms), slots, context);
        let denied = stands.denied(slots);
        let (answer, outcome) = if denied.is_empty() {
            (Answer::unchanged(), PodOutcome::Unchanged)
        } else {
            let how = match review.kind {
                AdmissionKind::Create => Unpinned::New,
                AdmissionKind::Update | AdmissionKind::Ephemeral => Unpinned::Added,
            };
            let line = |(slot, image): &(&Slot<'_>, &Examined)| match image {
                Examined::NotPinned { decision } => {
                    messages::not_pinned(slot.image, decision.digest, how, &context.regime)
                }
                Examined::Judged(decision) => messages::denial(slot.image, decision),
                Examined::Written(_) => String::new(),
            };
            let by = stands.denying(context);
            self.denied_by(review.dry_run, &by);
            let judged = denied.iter().filter_map(|(_, image)| image.decision());
            self.seen(review, judged.filter(|image| image.outcome.denies()));
            let message = messages::pod_denied(denied.iter().map(line), &by, &context.regime);
            (Answer::of(Decision::Deny { message }), PodOutcome::Denied)
        };
        let reason = Reason::of_pod(stands.images.iter().map(Examined::reason));
        let decisions = || stands.by_slot(slots).filter_map(with_decision);
        let details = audit::details(decisions());
        let reasons = stands.by_slot(slots).map(|(slot, image)| (slot, (image.reason(), image.serving())));
        let answer = answer.note(IMAGES, audit::images(reasons)).note(FINDINGS, audit::findings(decisions()));
        if outcome == PodOutcome::Denied && review.dry_run == DryRun::No {
            let (namespace, pod) = (&*review.namespace, &*review.pod.called());
            tracing::info!(pod.namespace = namespace, pod.name = pod, details, "Pod denied as it stands");
        }
        let answer = told(answer.note(DETAILS, details), &observed);
        self.concluded(answer, outcome, reason, (terms.door, review.dry_run))
    }

    /// Judges each different image, several at once.
    async fn stands(
        &self,
        review: &Review<'_>,
        slots: &[Slot<'_>],
        terms: &Terms,
        context: &PodContext,
    ) -> Stands {
        let (mut different, mut of) = (Vec::new(), Vec::with_capacity(slots.len()));
        if context.regime.enforces() {
            let mut known: HashMap<&str, usize> = HashMap::with_capacity(slots.len());
            for slot in slots {
                let at = *known.entry(slot.image).or_insert(different.len());
                if at == different.len() {
                    different.push(slot.image.to_owned());
                }
                of.push(at);
            }
        }
        let id = self.cache.context_id(&terms.settings, context);
        let asking = terms.asking(&review.namespace);
        let examined = stream::iter(different).map(|image| self.examine(image, (id, context), terms, asking));
        Stands { images: examined.buffered(AT_ONCE).collect().await, of }
    }
}

/// An image that was judged now, with its decision.
fn with_decision<'a, 'p>(
    (slot, image): (&'a Slot<'p>, &'a Examined),
) -> Option<(&'a Slot<'p>, &'a ImageDecision)> {
    Some((slot, image.decision()?))
}
