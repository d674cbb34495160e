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
use jiff::Timestamp;

use super::answer::{Answer, AuditKey, Decision};
use super::door::{DoorKind, DoorState, Doors, Fault, Terms, receive};
use super::judge::PodDecisions;
use super::metrics::PodOutcome;
use super::observe::{Whose, judge_with};
use super::recreations::{PodLoop, Seen, message, warning};
use super::review::{Door, DryRun, Origin, Review};
use crate::domain::case::{Exemption, PodContext, Pull};
use crate::domain::decide::too_many;
use crate::domain::finding::{Action, Finding, FindingKind};
use crate::domain::messages;
use crate::domain::policy::{Labels, Policy, Regime, SYSTEM_NAMESPACES};
use crate::domain::settings::Settings;
use crate::domain::text::plain;
use crate::domain::verdict::Reason;
use crate::pod::owner::OwnerReference;
use crate::pod::surface::{self, Mode};
use crate::pod::{AdmissionKind, Plan, Slot, audit, platform};

/// The path of the door.
pub const MUTATE: &str = "/mutate";

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
        let labels = state.labels(review, &terms.settings).await;
        let now = (state.deps.clock)();
        let regime = terms.settings.regime(&labels, now);
        if review.is_leaving() && !regime.enforces() {
            let unchanged = Answer::unchanged();
            return state.concluded(unchanged, PodOutcome::Unchanged, Reason::Excluded, review.dry_run);
        }
        let slots = review.slots();
        if review.unread() > 0 || is_beyond(&slots) {
            return state.too_many(review, &slots, &terms, (&labels, &regime), now);
        }
        state.verdict(review, &slots, &terms, (&labels, regime), now).await
    }
    .boxed()
}

impl Doors {
    /// Returns why the door does not handle a Pod at all, if so.
    fn leaves_alone(&self, review: &Review<'_>, settings: &Settings) -> Option<Reason> {
        let namespace = &*review.namespace;
        let excluded = || settings.exclude.namespaces.iter().any(|name| **name == *namespace);
        match review.origin() {
            Origin::MirrorPod => Some(Reason::MirrorPod),
            Origin::Client => (SYSTEM_NAMESPACES.contains(&namespace)
                || self.own_namespace.as_deref() == Some(namespace)
                || excluded())
            .then_some(Reason::Excluded),
        }
    }
}

impl DoorState {
    /// The labels of the Pod's namespace. Nobody is asked where no policy could select it.
    async fn labels(&self, review: &Review<'_>, settings: &Settings) -> Arc<Labels> {
        if settings.policies.is_empty() {
            Arc::new(Labels::new())
        } else {
            (self.deps.labels)(&review.namespace).await
        }
    }

    /// Judges a Pod and says what becomes of it.
    async fn verdict(
        self: &Arc<Self>,
        review: &Review<'_>,
        slots: &[Slot<'_>],
        terms: &Terms,
        (labels, regime): (&Labels, Arc<Regime>),
        now: Timestamp,
    ) -> Answer {
        let settings = &terms.settings;
        let context = PodContext {
            regime,
            platforms: settings.platforms(&platform::demand(&review.pod)),
            exemption: match review.pod.mode() {
                Mode::Judge => Exemption::None,
                Mode::Skip => Exemption::Skip,
            },
            now,
        };
        let observing: Vec<&Arc<Policy>> = settings.observing(labels, now).collect();
        let judge = self.judge(terms, &review.namespace, now);
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
        let (details, reason) = (audit::details(plan.by_slot()), most_important(&plan, &decided));
        let answer = answer
            .note(IMAGES, audit::images(plan.by_slot(), |decision| plan.reason(decision)))
            .note(FINDINGS, audit::findings(plan.by_slot()))
            .note(WOULD_DENY, would_deny.collect::<Vec<_>>().join("; "));
        self.record(review, &plan, &decided, (outcome, reason, &details));
        let looping = if outcome == PodOutcome::Patched { self.looping(review, &plan, terms) } else { None };
        let answer = looping.into_iter().fold(answer, Answer::warn);
        self.concluded(answer.note(DETAILS, details), outcome, reason, review.dry_run)
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

    /// A Pod with more images than any node would run: each is TooMany, and nobody is asked. It is admitted as it is,
    /// unless a rule blocks that for one of its images.
    fn too_many(
        &self,
        review: &Review<'_>,
        slots: &[Slot<'_>],
        terms: &Terms,
        (labels, regime): (&Labels, &Arc<Regime>),
        now: Timestamp,
    ) -> Answer {
        let (settings, unread) = (&terms.settings, review.unread());
        let (namespace, pod, images) = (&*review.namespace, &*review.pod.called(), slots.len() + unread);
        self.deps.metrics.beyond.inc();
        tracing::warn!(pod.namespace = namespace, pod.name = pod, images, "Pod has too many images to judge");
        let observed = settings.observing(labels, now).filter_map(|policy| {
            let regime = Arc::new(Regime::of_one(settings.defaults.clone(), policy.clone()));
            let blocked = blocked((slots, unread), settings, &regime, now);
            let denied = blocked.map(|_| format!("{images} images: {}", FindingKind::TooMany));
            self.observed(Whose::of(review), policy, denied.unwrap_or_default())
        });
        let observed = observed.collect::<Vec<_>>().join("; ");
        let (answer, outcome, reason) = match blocked((slots, unread), settings, regime, now) {
            Some(finding) => {
                let message = messages::too_many(images, [MOST_IMAGES, MOST_SLOTS], &finding);
                (Answer::of(Decision::Deny { message }), PodOutcome::Denied, Reason::Denied)
            }
            None => {
                let words =
                    format!("landfall: {images} images are too many to judge; the Pod is admitted unchanged");
                let reason = Reason::Finding(FindingKind::TooMany);
                (Answer::unchanged().warn(words), PodOutcome::Unchanged, reason)
            }
        };
        let answer = answer.note(FINDINGS, format!("{images} images: {}", FindingKind::TooMany));
        self.concluded(answer.note(WOULD_DENY, observed), outcome, reason, review.dry_run)
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

/// The first image of a Pod with too many that these rules block. Exceptions differ from image to image, so without any
/// the first image stands for all. Images that were not kept have no name, so that no exception for an image lifts theirs.
fn blocked(
    (slots, unread): (&[Slot<'_>], usize),
    settings: &Settings,
    regime: &Arc<Regime>,
    now: Timestamp,
) -> Option<Finding> {
    let context = PodContext {
        regime: regime.clone(),
        platforms: settings.platforms.clone(),
        exemption: Exemption::None,
        now,
    };
    let has_exceptions = regime.exceptions().next().is_some();
    let mut seen = HashSet::new();
    let images = slots
        .iter()
        .map(|slot| slot.image)
        .chain((unread > 0).then_some(""))
        .filter(|image| seen.insert(*image))
        .take(if has_exceptions { usize::MAX } else { 1 });
    let mut findings = images.map(|image| {
        let name = settings.case_for(image, Pull::Registry, &context).name;
        too_many(regime, &name, now)
    });
    findings.find(|finding| finding.action == Action::Block)
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
        Reason::MirrorPod | Reason::Excluded | Reason::Exempt | Reason::PullNever | Reason::Placeholder => 8,
        Reason::Finding(_) => 9,
    }
}
