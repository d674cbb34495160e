//! The code that all admission endpoints share: from the bytes of a request to the bytes of its answer.
//!
//! ```text
//! body ─decode→ Review ─ judge, until the deadline ─► Answer ─encode→ body
//!   │ 4xx: no review     └ unreadable, a panic ► the door's own answer to a fault
//!   └ not ours: allowed unchanged
//! ```
//!
//! Architecture invariant: doors differ only in how they judge and in how they answer a fault.

use std::any::Any;
use std::borrow::Cow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use jiff::Timestamp;
use serde::Deserialize;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::answer::{Answer, AuditKey, Decision, encode};
use super::first_answers::FirstAnswers;
use super::judge::{CachedDecision, Judge};
use super::metrics::{Metrics, PodOutcome};
use super::recent::Recent;
use super::recreations::{PodLoop, Recreations};
use super::review::{Door, DryRun, Review, ReviewError, Unreadable, decode};
use super::selections::Selections;
use super::selectors::Selectors;
use crate::domain::error_chain::error_chain;
use crate::domain::finding::FindingKind;
use crate::domain::name::{PolicyName, RegistryName};
use crate::domain::policy::{Labels, NAMESPACE_NAME, SelectorId};
use crate::domain::settings::Settings;
use crate::domain::text::plain;
use crate::domain::verdict::Reason;
use crate::evidence::{Answers, Asking, Observatory, ObservedAt, Share, VerdictCache};
use crate::ledger::{LedgerMetrics, Recorder};

/// The part of the API server's timeout that is reserved for encoding, the way back and a busy node.
pub const MARGIN: Duration = Duration::from_millis(500);

/// The most observing policies that are judged at once after their Pods were answered.
const OBSERVED_LATER: usize = 64;

/// The audit annotation with what was done with the Pod. Every answer has it, so that a Pod that passes without being
/// judged can be found in the audit log.
const VERDICT: AuditKey = AuditKey::new("verdict");
/// The audit annotation with the most important reason for the verdict.
const REASON: AuditKey = AuditKey::new("reason");
/// The audit annotation with the reason for each image.
pub(super) const IMAGES: AuditKey = AuditKey::new("images");
/// The audit annotation with the findings of each image.
pub(super) const FINDINGS: AuditKey = AuditKey::new("findings");
/// What registries and the network said about denied images. It may name hosts, so the user does not get it.
pub(super) const DETAILS: AuditKey = AuditKey::new("details");

/// Returns the labels of a namespace by its name. Policies select namespaces by these labels.
pub type LabelsOf = Arc<dyn Fn(&str) -> BoxFuture<'static, Arc<Labels>> + Send + Sync>;

/// Is told of a loop, at most once in half an hour for each owner and Pod. It must not wait.
pub type OnLoop = Arc<dyn Fn(PodLoop) + Send + Sync>;

/// Is told of each policy that denied a Pod, or would have denied it if it acted; never of dry runs. It must not wait.
pub type OnDenied = Arc<dyn Fn(&PolicyName) + Send + Sync>;

/// Is told that a Pod of a namespace was admitted with the pull secret that Landfall makes for a registry; never of dry
/// runs. It must not wait.
pub type OnPullSecret = Arc<dyn Fn(&str, &RegistryName) + Send + Sync>;

/// Builds the admission endpoints from their dependencies.
///
/// ```
/// # use std::sync::Arc;
/// # use arc_swap::ArcSwap;
/// # use landfall::facade::admission::{Doors, Metrics};
/// # use landfall::facade::domain::settings::Settings;
/// # use landfall::facade::evidence::Observatory;
/// # fn app(settings: Arc<ArcSwap<Settings>>, observatory: Arc<Observatory>, metrics: Metrics) -> axum::Router {
/// Doors::new(settings, observatory, metrics).own_namespace("landfall").routers().mutate
/// # }
/// ```
#[derive(Clone)]
pub struct Doors {
    /// The settings in force. Each review is judged by one snapshot.
    pub(super) settings: Arc<ArcSwap<Settings>>,
    /// Answers questions about the registries.
    pub(super) observatory: Arc<Observatory>,
    pub(super) labels: LabelsOf,
    pub(super) own_namespace: Option<Box<str>>,
    pub(super) on_loop: OnLoop,
    pub(super) on_denied: OnDenied,
    pub(super) on_pull_secret: OnPullSecret,
    pub(super) recorder: Recorder,
    pub(super) clock: fn() -> Timestamp,
    pub(super) metrics: Metrics,
    pub(super) tasks: TaskTracker,
    pub(super) selectors: Selectors,
    pub(super) recent: Recent,
}

impl Doors {
    /// Creates doors with these settings and registries. The defaults of the other dependencies: a namespace has only the
    /// label of its name, Landfall has no namespace of its own, and the clock is the system's clock.
    #[must_use]
    pub fn new(settings: Arc<ArcSwap<Settings>>, observatory: Arc<Observatory>, metrics: Metrics) -> Self {
        let labels: LabelsOf = Arc::new(|namespace| {
            let name = (NAMESPACE_NAME.to_owned(), namespace.to_owned());
            Box::pin(std::future::ready(Arc::new(Labels::from([name]))))
        });
        let (clock, tasks) = (Timestamp::now as fn() -> Timestamp, TaskTracker::new());
        let (on_loop, on_denied): (OnLoop, OnDenied) = (Arc::new(|_| {}), Arc::new(|_| {}));
        let on_pull_secret: OnPullSecret = Arc::new(|_, _| {});
        let selectors = Selectors::new(settings.load_full());
        let recorder = Recorder::new(LedgerMetrics::default(), clock);
        Self {
            settings,
            observatory,
            labels,
            own_namespace: None,
            on_loop,
            on_denied,
            on_pull_secret,
            recorder,
            clock,
            metrics,
            tasks,
            selectors,
            recent: Recent::default(),
        }
    }

    /// Returns the tracker of background tasks: observing policies that are judged after the answer was given. Each task
    /// ends within `budget.request`. Before the observatory is closed, close the tracker and wait for it.
    #[must_use]
    pub fn tasks(&self) -> TaskTracker {
        self.tasks.clone()
    }

    /// Returns the selectors that the validating door knows. Whoever brings new settings into force tells them.
    #[must_use]
    pub fn selectors(&self) -> Selectors {
        self.selectors.clone()
    }

    /// Returns what was decided last.
    #[must_use]
    pub fn recent(&self) -> Recent {
        self.recent.clone()
    }

    /// Sets the source of namespace labels. It is asked only where there are policies, and must answer quickly.
    #[must_use]
    pub fn labels(self, labels: LabelsOf) -> Self {
        Self { labels, ..self }
    }

    /// Sets the namespace in which Landfall itself runs. The doors do not handle its Pods.
    #[must_use]
    pub fn own_namespace(self, namespace: impl Into<Box<str>>) -> Self {
        Self { own_namespace: Some(namespace.into()), ..self }
    }

    /// Sets who is told of owners that create their Pods again and again.
    #[must_use]
    pub fn on_loop(self, on_loop: OnLoop) -> Self {
        Self { on_loop, ..self }
    }

    /// Sets who is told of policies that deny Pods.
    #[must_use]
    pub fn on_denied(self, on_denied: OnDenied) -> Self {
        Self { on_denied, ..self }
    }

    /// Sets who is told of namespaces that need a pull secret.
    #[must_use]
    pub fn on_pull_secret(self, on_pull_secret: OnPullSecret) -> Self {
        Self { on_pull_secret, ..self }
    }

    /// Sets who takes the gaps of images. By default nobody reads what was taken; it is bounded.
    #[must_use]
    pub fn recorder(self, recorder: Recorder) -> Self {
        Self { recorder, ..self }
    }

    /// Sets the clock for the age of scans and the end of exceptions.
    #[must_use]
    pub fn clock(self, clock: fn() -> Timestamp) -> Self {
        Self { clock, ..self }
    }
}

/// The dependencies of both doors, and their state.
pub(super) struct DoorState {
    pub(super) deps: Doors,
    pub(super) cache: VerdictCache<CachedDecision>,
    /// What the mutating door wrote a moment ago, for the validating one.
    pub(super) first_answers: FirstAnswers,
    /// Which policies select each namespace.
    pub(super) selections: Selections,
    /// Limits the observing policies that are judged after their Pods were answered.
    pub(super) observing: Arc<Semaphore>,
    pub(super) recreations: Recreations,
}

impl DoorState {
    pub(super) fn new(deps: Doors) -> Self {
        Self {
            deps,
            cache: VerdictCache::default(),
            first_answers: FirstAnswers::default(),
            selections: Selections::default(),
            observing: Arc::new(Semaphore::new(OBSERVED_LATER)),
            recreations: Recreations::default(),
        }
    }

    /// Returns the judge for these terms. `date` is the time for the age of scans and the end of exceptions.
    pub(super) fn judge<'a>(&'a self, terms: &'a Terms, namespace: &'a str, date: Timestamp) -> Judge<'a> {
        let Doors { observatory, metrics, .. } = &self.deps;
        let Terms { settings, began, .. } = terms;
        // The generation is read before anything is asked, because the judgement may miss later changes.
        let observed_at = ObservedAt { now: *began, date, generation: observatory.generation() };
        let asking = terms.asking(namespace);
        Judge { settings, observatory, cache: &self.cache, metrics, asking, observed_at }
    }

    /// Counts a Pod, and writes the same words into the answer for the audit log.
    pub(super) fn concluded(
        &self,
        answer: Answer,
        outcome: PodOutcome,
        reason: Reason,
        at: (Door, DryRun),
    ) -> Answer {
        self.deps.metrics.admitted(outcome, reason, at);
        noted(answer, outcome, reason)
    }

    /// Answers a fault as the door does. A status instead of an answer is only counted: it has no audit annotations.
    fn fault(&self, kind: &DoorKind, fault: &Fault<'_>, dry_run: DryRun) -> Result<Answer, StatusCode> {
        let answer = (kind.on_fault)(fault);
        let outcome = match (fault, &answer) {
            (_, Ok(Answer { decision: Decision::Deny { .. }, .. })) => PodOutcome::Denied,
            (Fault::Unreadable(_), _) => PodOutcome::Unchanged,
            (Fault::Panic, _) => PodOutcome::Internal,
        };
        let reason = match fault {
            Fault::Unreadable(_) => Reason::Finding(FindingKind::Unparsable),
            Fault::Panic => Reason::Internal,
        };
        match answer {
            Ok(answer) => Ok(self.concluded(answer, outcome, reason, (kind.door, dry_run))),
            Err(status) => {
                self.deps.metrics.admitted(outcome, reason, (kind.door, dry_run));
                Err(status)
            }
        }
    }
}

/// Says in the audit log what was done, and why. Both words are of closed sets.
fn noted(answer: Answer, outcome: PodOutcome, reason: Reason) -> Answer {
    answer.note(VERDICT, outcome.as_str()).note(REASON, reason.as_str())
}

/// The conditions of one judgement: settings, start and deadline, and at which door.
#[derive(Debug, Clone)]
pub(super) struct Terms {
    /// The snapshot of the settings.
    pub(super) settings: Arc<Settings>,
    /// When the body was complete.
    pub(super) began: Instant,
    /// When the answer must be sent.
    pub(super) deadline: Instant,
    /// At which door.
    pub(super) door: Door,
    /// The selector of the policies for which the API server calls. The mutating door has none.
    pub(super) selector: Option<SelectorId>,
}

impl Terms {
    /// For Pods of this namespace.
    pub(super) fn asking<'a>(&self, namespace: &'a str) -> Asking<'a> {
        let share = match self.door {
            Door::Mutate => Share::Mutating,
            Door::Validate => Share::Validating,
        };
        Asking { share, namespace, deadline: self.deadline, answers: Answers::Cached }
    }
}

/// Why a review could not be judged.
#[derive(Debug)]
pub(super) enum Fault<'a> {
    /// A Pod that should be judged cannot be read.
    Unreadable(&'a Unreadable),
    /// The code of the door panicked.
    Panic,
}

/// The differences between the doors.
pub(super) struct DoorKind {
    /// Decides which reviews the door judges.
    pub(super) door: Door,
    /// Judges a review.
    pub(super) judge: for<'a> fn(&'a Arc<DoorState>, &'a Review<'a>, Terms) -> BoxFuture<'a, Answer>,
    /// Answers a fault. With a status instead of an answer, the API server follows the webhook's failurePolicy.
    pub(super) on_fault: fn(&Fault<'_>) -> Result<Answer, StatusCode>,
}

/// Answers one request to a door.
pub(super) async fn receive(
    state: &Arc<DoorState>,
    kind: &DoorKind,
    (selector, query): (Option<SelectorId>, Option<&str>),
    headers: &HeaderMap,
    body: Bytes,
) -> Response {
    let began = Instant::now();
    if !is_json(headers) {
        return refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE, "the body must be application/json")
            .into_response();
    }
    // A panic in here, also in the decoder or the encoder, ends one review and not the process. Unwinding is safe: shared
    // data is only swapped as a whole or counted, so a panic leaves only data of this review half done.
    let asked = (selector, timeout(query));
    let answered = AssertUnwindSafe(answer(state, kind, asked, &body, began)).catch_unwind().await;
    let said = answered.unwrap_or_else(|panic| panicked(state, kind, &body, &*panic));
    state.deps.metrics.answered(kind.door, began.elapsed());
    match said {
        Ok(said) => ([(header::CONTENT_TYPE, "application/json")], said).into_response(),
        Err(refusal) => refusal.into_response(),
    }
}

async fn answer(
    state: &Arc<DoorState>,
    kind: &DoorKind,
    (selector, asked): (Option<SelectorId>, Option<Duration>),
    body: &[u8],
    began: Instant,
) -> Result<Vec<u8>, Refusal> {
    let metrics = &state.deps.metrics;
    match decode(body, kind.door) {
        Ok(mut review) => {
            let settings = state.deps.settings.load_full();
            review.find_secrets(body, &settings);
            let budget = settings.budget.request;
            let deadline = began + asked.map_or(budget, |asked| asked.saturating_sub(MARGIN).min(budget));
            let terms = Terms { settings, began, deadline, door: kind.door, selector };
            let answer = (kind.judge)(state, &review, terms).await;
            Ok(encode(&answer, &review.uid))
        }
        Err(ReviewError::Malformed(error)) => Err(refuse(StatusCode::BAD_REQUEST, &error_chain(&error))),
        Err(ReviewError::NotOurs { uid, what }) => {
            metrics.not_ours.inc();
            tracing::debug!(what = &*plain(&what.to_string()), "review not judged");
            let answer = noted(Answer::unchanged(), PodOutcome::Unchanged, Reason::Excluded);
            Ok(encode(&answer, &uid))
        }
        Err(ReviewError::Unreadable { uid, source }) => {
            tracing::warn!(error = &*plain(&error_chain(&source)), "Pod cannot be read");
            let answer = state.fault(kind, &Fault::Unreadable(&source), DryRun::No);
            answer.map(|answer| encode(&answer, &uid)).map_err(|status| (status, String::new()))
        }
    }
}

/// The answer to a review whose judgement panicked. Where even its uid cannot be read, the answer is status 500.
fn panicked(
    state: &DoorState,
    kind: &DoorKind,
    body: &[u8],
    panic: &(dyn Any + Send),
) -> Result<Vec<u8>, Refusal> {
    let read = || serde_json::from_slice::<Envelope<'_>>(body).map(|envelope| envelope.request);
    let request = catch_unwind(AssertUnwindSafe(read)).ok().and_then(Result::ok);
    let Request { uid, namespace, dry_run } = request.unwrap_or_default();
    let dry_run = if dry_run == Some(true) { DryRun::Yes } else { DryRun::No };
    state.deps.metrics.panics.inc();
    tracing::error!(pod.namespace = namespace.as_deref(), panic = panic_text(panic), "review panicked");
    let answer = state.fault(kind, &Fault::Panic, dry_run);
    let answer = if uid.is_some() { answer } else { Err(StatusCode::INTERNAL_SERVER_ERROR) };
    answer.map(|answer| encode(&answer, &uid.unwrap_or_default())).map_err(|status| (status, String::new()))
}

/// The fields that are read from a review whose judgement panicked.
#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    request: Request<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Request<'a> {
    #[serde(borrow)]
    uid: Option<Cow<'a, str>>,
    #[serde(borrow)]
    namespace: Option<Cow<'a, str>>,
    dry_run: Option<bool>,
}

/// An HTTP status instead of an AdmissionReview: the API server follows the webhook's failurePolicy.
pub(super) type Refusal = (StatusCode, String);

pub(super) fn refuse(status: StatusCode, why: &str) -> Refusal {
    let why = &*plain(why);
    tracing::debug!(http.status = status.as_u16(), why, "request is not a review");
    (status, format!("{why}\n"))
}

fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = value.split(';').next().unwrap_or_default();
    essence.trim().eq_ignore_ascii_case("application/json")
}

/// The API server's timeout, from the query `timeout=5s`; it rounds up to whole seconds. `None` where there is no readable
/// timeout.
fn timeout(query: Option<&str>) -> Option<Duration> {
    let given =
        query?.split('&').find_map(|pair| pair.split_once('=').filter(|(key, _)| *key == "timeout"))?.1;
    Duration::try_from_secs_f64(given.strip_suffix('s')?.parse().ok()?).ok()
}

/// The message of a panic.
fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no text")
}

#[cfg(test)]
mod tests;
