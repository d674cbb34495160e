//! The door `/mutate`: it rewrites the images of new Pods to the nearest copy that is proved to be there.
//!
//! ```text
//! Review ─ excluded? ─ judged ─┬ one Deny ► denied, the message names every denied image
//!                              └ else     ► the smallest patch, warnings, audit annotations
//! ```
//!
//! Only this door fails open. A Pod is denied only if a policy says so. On any other failure the Pod is admitted
//! unchanged, with a warning.

use std::collections::HashSet;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::routing::post;
use futures::FutureExt;
use futures::future::BoxFuture;

use super::answer::{Answer, AuditKey, Decision};
use super::door::{DoorKind, DoorState, Doors, Fault, Terms, receive};
use super::judge::PodDecisions;
use super::metrics::PodOutcome;
use super::observe::{Whose, judge_with};
use super::review::{Door, DryRun, Origin, Review};
use crate::domain::case::{Exemption, PodContext};
use crate::domain::finding::FindingKind;
use crate::domain::policy::{Labels, Policy};
use crate::domain::settings::Settings;
use crate::domain::text::plain;
use crate::domain::verdict::Reason;
use crate::pod::surface::{self, Mode};
use crate::pod::{Plan, Slot, audit, platform};

/// The path of the door.
pub const MUTATE: &str = "/mutate";

/// Namespaces that this door never handles, whatever the webhook configuration says. Without their Pods no cluster starts
/// and no node stays ready.
const SYSTEM: [&str; 2] = ["kube-system", "kube-node-lease"];

const IMAGES: AuditKey = AuditKey::new("images");
const FINDINGS: AuditKey = AuditKey::new("findings");
const WOULD_DENY: AuditKey = AuditKey::new("observed");
/// What registries and the network said about denied images. It may name hosts, so the user does not get it.
const DETAILS: AuditKey = AuditKey::new("details");

/// The most images of a Pod that are judged; equal images count separately. etcd's limit for an object allows about ten
/// thousand containers; a kubelet runs a few hundred in all its Pods.
const MOST_SLOTS: usize = surface::MOST_IMAGES;
/// The most different images of a Pod that are judged. Each may cause questions to registries.
const MOST_IMAGES: usize = 512;

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
    receive(&state, &KIND, query.as_deref(), &headers, body).await
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
            return state.concluded(Answer::unchanged(), PodOutcome::Unchanged, reason, review.dry_run);
        }
        let slots = review.slots();
        let unread = review.unread();
        if unread > 0 || is_beyond(&slots) {
            return state.beyond(review, slots.len() + unread);
        }
        state.verdict(review, &slots, &terms).await
    }
    .boxed()
}

impl Doors {
    /// Returns why the door does not handle a Pod at all, if so.
    fn leaves_alone(&self, review: &Review<'_>, settings: &Settings) -> Option<Reason> {
        let namespace = &*review.namespace;
        let excluded = || settings.exclude.namespaces.iter().any(|name| **name == *namespace);
        let leaving = || review.pod.metadata.as_ref().is_some_and(|have| have.deletion_timestamp.is_some());
        match review.origin() {
            Origin::MirrorPod => Some(Reason::MirrorPod),
            Origin::Client => (SYSTEM.contains(&namespace)
                || self.own_namespace.as_deref() == Some(namespace)
                || excluded()
                || leaving())
            .then_some(Reason::Excluded),
        }
    }
}

impl DoorState {
    /// Judges a Pod and returns the answer.
    async fn verdict(self: &Arc<Self>, review: &Review<'_>, slots: &[Slot<'_>], terms: &Terms) -> Answer {
        let settings = &terms.settings;
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
        let observing: Vec<&Arc<Policy>> = settings.observing(&labels).collect();
        let judge = self.judge(terms, context.now);
        let (decided, observed) = judge_with(judge, &observing, slots, &context).await;
        for policy in observing {
            let is_done = observed.iter().any(|(done, _)| done.name == policy.name);
            if review.dry_run == DryRun::No && !is_done {
                self.observe_later(policy, terms, review, slots, &context);
            }
        }
        let decisions = decided.by_slot().collect();
        let plan =
            Plan { pod: &review.pod, kind: review.kind, slots, decisions, settings, context: &context };
        let (answer, outcome) = apply(&plan);
        let would_deny = observed.iter().filter_map(|(policy, decided)| {
            let denied = slots.iter().zip(decided.by_slot()).filter(|(_, one)| one.outcome.denies());
            self.observed(Whose::of(review), policy, audit::findings(denied))
        });
        let details = audit::details(plan.by_slot());
        let answer = answer
            .note(IMAGES, audit::images(plan.by_slot(), |decision| plan.reason(decision)))
            .note(FINDINGS, audit::findings(plan.by_slot()))
            .note(WOULD_DENY, would_deny.collect::<Vec<_>>().join("; "));
        self.record(review, &plan, &decided, (outcome, &details));
        let reason = most_important(&plan, &decided);
        self.concluded(answer.note(DETAILS, details), outcome, reason, review.dry_run)
    }

    /// Admits a Pod with too many images unchanged. No node could run it, so it is no real workload and not worth the cost
    /// of judging it.
    fn beyond(&self, review: &Review<'_>, images: usize) -> Answer {
        self.deps.metrics.beyond.inc();
        tracing::warn!(
            pod.namespace = &*review.namespace,
            pod.name = &*review.pod.called(),
            images,
            "Pod has too many images to judge; admitted unchanged"
        );
        let answer = Answer::unchanged()
            .warn(format!("landfall: {images} images are too many to judge; the Pod is admitted unchanged"));
        self.concluded(answer, PodOutcome::Unchanged, Reason::Internal, review.dry_run)
    }

    /// Counts the images, and logs the outcome. The images and findings of a dry run are not counted, because no Pod will run.
    fn record(
        &self,
        review: &Review<'_>,
        plan: &Plan<'_>,
        decided: &PodDecisions,
        (outcome, details): (PodOutcome, &str),
    ) {
        let (namespace, pod) = (&*review.namespace, &*review.pod.called());
        tracing::debug!(
            pod.namespace = namespace,
            pod.name = pod,
            verdict = outcome.as_str(),
            reason = most_important(plan, decided).as_str(),
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

/// Whether these are more images, or more different images, than are judged.
fn is_beyond(slots: &[Slot<'_>]) -> bool {
    let different = || slots.iter().map(|slot| slot.image).collect::<HashSet<_>>().len();
    slots.len() > MOST_SLOTS || (slots.len() > MOST_IMAGES && different() > MOST_IMAGES)
}

/// The most important reason among a Pod's images.
fn most_important(plan: &Plan<'_>, decided: &PodDecisions) -> Reason {
    let reasons = decided.images.iter().map(|image| plan.reason(&image.decision));
    let most_important = reasons.min_by_key(|reason| weight(*reason));
    most_important.unwrap_or(Reason::Finding(FindingKind::NotRouted))
}

/// The importance of a reason. The reason with the lowest number among a Pod's images is the Pod's label in the metrics.
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
