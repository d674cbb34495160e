//! What every admission endpoint shares: from the bytes of a request to the bytes of its answer.
//!
//! ```text
//! body ─decode→ Review ─ judge, until the deadline ─► Answer ─encode→ body
//!   │ 4xx: no review     └ unreadable, a panic ► the door's own answer to a fault
//!   └ not ours: allowed as it is
//! ```
//!
//! Architecture invariant: doors differ in how they judge, and in what they answer to a fault. Nothing else.

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

use super::answer::{Answer, encode};
use super::judge::{CachedDecision, Judge};
use super::metrics::{Metrics, PodOutcome};
use super::review::{Door, DryRun, Review, ReviewError, Unreadable, decode};
use crate::domain::error_chain::error_chain;
use crate::domain::policy::{Labels, NAMESPACE_NAME};
use crate::domain::settings::Settings;
use crate::domain::verdict::{FindingKind, Reason};
use crate::evidence::{Observatory, ObservedAt, VerdictCache};

/// What the API server's timeout must leave for the way back, encoding and a busy node.
pub const MARGIN: Duration = Duration::from_millis(500);

/// The most Pods whose observing policies are still judged when the Pods are on their way.
const OBSERVED_LATER: usize = 64;

/// The labels of a namespace, by its name: what policies select by.
pub type LabelsOf = Arc<dyn Fn(&str) -> BoxFuture<'static, Arc<Labels>> + Send + Sync>;

/// The admission endpoints, and what they need.
///
/// ```ignore
/// let app = Doors::new(settings, observatory, metrics).own_namespace("landfall").router();
/// ```
#[derive(Clone)]
pub struct Doors {
    /// The settings in force; each review is judged by one snapshot.
    pub(super) settings: Arc<ArcSwap<Settings>>,
    /// Who answers for the registries.
    pub(super) observatory: Arc<Observatory>,
    pub(super) labels: LabelsOf,
    pub(super) own_namespace: Option<Box<str>>,
    pub(super) clock: fn() -> Timestamp,
    pub(super) metrics: Metrics,
    pub(super) tasks: TaskTracker,
}

impl Doors {
    /// With these settings and registries. Of a namespace only its name is known, no namespace is our own, and scans and
    /// exceptions age by the system's clock, unless said otherwise.
    #[must_use]
    pub fn new(settings: Arc<ArcSwap<Settings>>, observatory: Arc<Observatory>, metrics: Metrics) -> Self {
        let labels: LabelsOf = Arc::new(|namespace| {
            let name = (NAMESPACE_NAME.to_owned(), namespace.to_owned());
            Box::pin(std::future::ready(Arc::new(Labels::from([name]))))
        });
        let (clock, tasks) = (Timestamp::now as fn() -> Timestamp, TaskTracker::new());
        Self { settings, observatory, labels, own_namespace: None, clock, metrics, tasks }
    }

    /// What goes on behind answers that are given: observing policies that had more to ask. Each task ends within
    /// `budget.request`; close the tracker and wait for it before the registries are left.
    #[must_use]
    pub fn tasks(&self) -> TaskTracker {
        self.tasks.clone()
    }

    /// Who knows the labels of namespaces. Asked only where there are policies; must not wait long.
    #[must_use]
    pub fn labels(self, labels: LabelsOf) -> Self {
        Self { labels, ..self }
    }

    /// Our own namespace, which is left alone.
    #[must_use]
    pub fn own_namespace(self, namespace: impl Into<Box<str>>) -> Self {
        Self { own_namespace: Some(namespace.into()), ..self }
    }

    /// The clock that ages of scans and dates of exceptions are measured by.
    #[must_use]
    pub fn clock(self, clock: fn() -> Timestamp) -> Self {
        Self { clock, ..self }
    }
}

/// What a door was given, and what it remembers.
pub(super) struct DoorState {
    pub(super) deps: Doors,
    pub(super) cache: VerdictCache<CachedDecision>,
    /// Room for observing policies that have more to ask than their Pods.
    pub(super) observing: Arc<Semaphore>,
}

impl DoorState {
    pub(super) fn new(deps: Doors) -> Self {
        Self { deps, cache: VerdictCache::default(), observing: Arc::new(Semaphore::new(OBSERVED_LATER)) }
    }

    /// Who judges by these terms, scans and exceptions dated by `date`.
    pub(super) fn judge<'a>(&'a self, terms: &'a Terms, date: Timestamp) -> Judge<'a> {
        let Doors { observatory, metrics, .. } = &self.deps;
        let Terms { settings, began, deadline } = terms;
        // Read before anything is asked: what changes from now on may not have been seen.
        let observed_at = ObservedAt { now: *began, date, generation: observatory.generation() };
        Judge { settings, observatory, cache: &self.cache, metrics, deadline: *deadline, observed_at }
    }
}

/// What is the same for everything that one review asks.
#[derive(Debug, Clone)]
pub(super) struct Terms {
    /// The snapshot that the review is judged by.
    pub(super) settings: Arc<Settings>,
    /// When the body was complete.
    pub(super) began: Instant,
    /// When the answer must be on its way.
    pub(super) deadline: Instant,
}

/// Why a review could not be judged.
#[derive(Debug)]
pub(super) enum Fault<'a> {
    /// A Pod that should be judged cannot be read.
    Unreadable(&'a Unreadable),
    /// Something in here panicked.
    Panic,
}

/// One door.
pub(super) struct DoorKind {
    /// Which reviews it judges.
    pub(super) door: Door,
    /// How it judges them.
    pub(super) judge: for<'a> fn(&'a Arc<DoorState>, &'a Review<'a>, Terms) -> BoxFuture<'a, Answer>,
    /// What it answers where it cannot. A status makes the API server follow the webhook's failurePolicy.
    pub(super) on_fault: fn(&Fault<'_>) -> Result<Answer, StatusCode>,
}

/// Answers one request.
pub(super) async fn receive(
    state: &Arc<DoorState>,
    kind: &DoorKind,
    query: Option<&str>,
    headers: &HeaderMap,
    body: Bytes,
) -> Response {
    let began = Instant::now();
    if !is_json(headers) {
        return refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE, "the body must be application/json")
            .into_response();
    }
    // The net: whatever panics in here, the decoder and the encoder included, costs one review, not the process. What a
    // panic leaves behind is this review's own: everything shared is swapped whole or counted.
    let answered = AssertUnwindSafe(answer(state, kind, timeout(query), &body, began)).catch_unwind().await;
    let said = answered.unwrap_or_else(|panic| panicked(state, kind, &body, &*panic));
    state.deps.metrics.answered(began.elapsed());
    match said {
        Ok(said) => ([(header::CONTENT_TYPE, "application/json")], said).into_response(),
        Err(refusal) => refusal.into_response(),
    }
}

async fn answer(
    state: &Arc<DoorState>,
    kind: &DoorKind,
    asked: Option<Duration>,
    body: &[u8],
    began: Instant,
) -> Result<Vec<u8>, Refusal> {
    let metrics = &state.deps.metrics;
    match decode(body, kind.door) {
        Ok(review) => {
            let settings = state.deps.settings.load_full();
            let budget = settings.budget.request;
            let deadline = began + asked.map_or(budget, |asked| asked.saturating_sub(MARGIN).min(budget));
            let answer = (kind.judge)(state, &review, Terms { settings, began, deadline }).await;
            Ok(encode(&answer, &review.uid))
        }
        Err(ReviewError::Malformed(error)) => Err(refuse(StatusCode::BAD_REQUEST, &error_chain(&error))),
        Err(ReviewError::NotOurs { uid, what }) => {
            metrics.not_ours.inc();
            tracing::debug!(%what, "not judged");
            Ok(encode(&Answer::unchanged(), &uid))
        }
        Err(ReviewError::Unreadable { uid, source }) => {
            metrics.admitted(PodOutcome::Unchanged, Reason::Finding(FindingKind::Unparsable), DryRun::No);
            tracing::warn!(error = error_chain(&source), "a Pod cannot be read");
            let answer = (kind.on_fault)(&Fault::Unreadable(&source));
            answer.map(|answer| encode(&answer, &uid)).map_err(|status| (status, String::new()))
        }
    }
}

/// The answer to a review that panicked. Where not even its uid can be read, the API server hears of an error of ours.
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
    state.deps.metrics.admitted(PodOutcome::Internal, Reason::Internal, dry_run);
    tracing::error!(pod.namespace = namespace.as_deref(), panic = panic_text(panic), "a review panicked");
    let answer = match &uid {
        Some(_) => (kind.on_fault)(&Fault::Panic),
        None => Err(StatusCode::INTERNAL_SERVER_ERROR),
    };
    answer.map(|answer| encode(&answer, &uid.unwrap_or_default())).map_err(|status| (status, String::new()))
}

/// What is read of a review that panicked.
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

/// An answer that is no review: the API server follows the webhook's failurePolicy.
type Refusal = (StatusCode, String);

fn refuse(status: StatusCode, why: &str) -> Refusal {
    tracing::debug!(http.status = status.as_u16(), why, "not a review");
    (status, format!("{why}\n"))
}

fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = value.split(';').next().unwrap_or_default();
    essence.trim().eq_ignore_ascii_case("application/json")
}

/// What is left of the API server's patience: `timeout=5s`, which it rounds up to a second. What cannot be read asks for
/// nothing.
fn timeout(query: Option<&str>) -> Option<Duration> {
    let given =
        query?.split('&').find_map(|pair| pair.split_once('=').filter(|(key, _)| *key == "timeout"))?.1;
    Duration::try_from_secs_f64(given.strip_suffix('s')?.parse().ok()?).ok()
}

/// The text that a panic carries.
fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no text")
}

#[cfg(test)]
mod tests;
