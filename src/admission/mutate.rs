//! The door `/mutate`: images of new Pods are rewritten to the nearest copy that is proved to be there.
//!
//! ```text
//! body ─decode→ Review ─ left alone? ─ judged ─┬ one Deny ► denied, every image concerned is named
//!   │ 4xx: no review                           └ else     ► the smallest patch, warnings, audit annotations
//!   └ no Pod that can be read, a panic ► admitted as it is, with a warning
//! ```
//!
//! This is the one place that fails open. A Pod is kept out only because a policy says so; whatever goes wrong
//! in here admits it as it is, and says that it did.

mod ruling;
mod verdict;

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use jiff::Timestamp;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::answer::{Answer, encode};
use super::judged::ImageDecision;
use super::metrics::{Metrics, PodOutcome};
use super::review::{Door, DryRun, Origin, Review, ReviewError, decode};
use crate::domain::error_chain::error_chain;
use crate::domain::policy::Labels;
use crate::domain::settings::Settings;
use crate::domain::verdict::{FindingKind, Reason};
use crate::evidence::{Observatory, VerdictCache};

/// The path of the door.
pub const MUTATE: &str = "/mutate";

/// What the API server's timeout must leave for the way back, encoding and a busy node.
pub const MARGIN: Duration = Duration::from_millis(500);

/// Namespaces that this door leaves alone whatever the webhook configuration says: without them no cluster comes
/// up, and no node stays.
const SYSTEM: [&str; 2] = ["kube-system", "kube-node-lease"];

/// The labels of a namespace, by its name: what policies select by.
pub type LabelsOf = Arc<dyn Fn(&str) -> BoxFuture<'static, Arc<Labels>> + Send + Sync>;

/// What the door needs.
#[derive(Clone)]
pub struct Mutate {
    /// The settings in force; each review is judged by one snapshot.
    pub settings: Arc<ArcSwap<Settings>>,
    /// Who answers for the registries.
    pub observatory: Arc<Observatory>,
    /// The labels of the Pod's namespace. Asked only where there are policies; must not wait long.
    pub labels: LabelsOf,
    /// Our own namespace, which is left alone.
    pub own_namespace: Option<Box<str>>,
    /// The clock that ages of scans and dates of exceptions are measured by.
    pub clock: fn() -> Timestamp,
    /// Where it counts.
    pub metrics: Metrics,
}

impl Mutate {
    /// The door as a router with one route, `POST /mutate`. The size of bodies is for the server to bound.
    pub fn router(self) -> Router {
        let (verdicts, observing) = (VerdictCache::default(), Arc::new(Semaphore::new(verdict::OBSERVED)));
        Router::new().route(MUTATE, post(answer)).with_state(Arc::new(DoorState {
            deps: self,
            verdicts,
            observing,
        }))
    }
}

/// Who keeps the door: what it was given, and what it remembers.
struct DoorState {
    deps: Mutate,
    verdicts: VerdictCache<ImageDecision>,
    /// Places for observing policies that have more to ask than their Pods.
    observing: Arc<Semaphore>,
}

impl DoorState {
    /// Which Pods are left alone before anybody looks at their images.
    fn leaves_alone(&self, review: &Review<'_>, settings: &Settings) -> Option<Reason> {
        let namespace = &*review.namespace;
        let excluded = || settings.exclude.namespaces.iter().any(|name| **name == *namespace);
        let leaving = || review.pod.metadata.as_ref().is_some_and(|have| have.deletion_timestamp.is_some());
        match review.origin() {
            Origin::MirrorPod => Some(Reason::MirrorPod),
            Origin::Client => (SYSTEM.contains(&namespace)
                || self.deps.own_namespace.as_deref() == Some(namespace)
                || excluded()
                || leaving())
            .then_some(Reason::Excluded),
        }
    }

    async fn judge(self: &Arc<Self>, review: &Review<'_>, asked: Option<Duration>, began: Instant) -> Answer {
        let settings = self.deps.settings.load_full();
        if let Some(reason) = self.leaves_alone(review, &settings) {
            self.deps.metrics.admitted(PodOutcome::Unchanged, reason, review.dry_run);
            return Answer::unchanged();
        }
        let budget = settings.budget.request;
        let deadline = began + asked.map_or(budget, |asked| asked.saturating_sub(MARGIN).min(budget));
        self.verdict(review, &settings, began, deadline).await
    }

    /// The net: whatever panics inside costs one review, not the process, and not the Pod.
    async fn guarded(
        self: &Arc<Self>,
        review: &Review<'_>,
        asked: Option<Duration>,
        began: Instant,
    ) -> Answer {
        // What a panic leaves behind is this review's own: everything shared is swapped whole or counted.
        match AssertUnwindSafe(self.judge(review, asked, began)).catch_unwind().await {
            Ok(answer) => answer,
            Err(panic) => {
                self.deps.metrics.panics.inc();
                self.deps.metrics.admitted(PodOutcome::Internal, Reason::Internal, review.dry_run);
                let (namespace, what) = (&*review.namespace, said(&*panic));
                tracing::error!(
                    pod.namespace = namespace,
                    panic = what,
                    "a review panicked; its Pod is admitted as it is"
                );
                Answer::unchanged().warn("landfall: internal error; the Pod is admitted as it is")
            }
        }
    }
}

async fn answer(
    State(door): State<Arc<DoorState>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let began = Instant::now();
    if !is_json(&headers) {
        return refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE, "the body must be application/json");
    }
    let said = match decode(&body, Door::Mutate) {
        Ok(review) => encode(&door.guarded(&review, timeout(query.as_deref()), began).await, &review.uid),
        Err(ReviewError::Malformed(error)) => return refuse(StatusCode::BAD_REQUEST, &error_chain(&error)),
        Err(ReviewError::NotOurs { uid, what }) => {
            door.deps.metrics.not_ours.inc();
            tracing::debug!(%what, "left alone");
            encode(&Answer::unchanged(), &uid)
        }
        Err(ReviewError::Unreadable { uid, source }) => {
            door.deps.metrics.admitted(
                PodOutcome::Unchanged,
                Reason::Finding(FindingKind::Unparsable),
                DryRun::No,
            );
            tracing::warn!(error = error_chain(&source), "a Pod cannot be read; it is admitted as it is");
            encode(&Answer::unchanged().warn(format!("landfall: admitted as it is: {source}")), &uid)
        }
    };
    door.deps.metrics.answered(began.elapsed());
    ([(header::CONTENT_TYPE, "application/json")], said).into_response()
}

fn refuse(status: StatusCode, why: &str) -> Response {
    tracing::debug!(http.status = status.as_u16(), why, "no review");
    (status, format!("{why}\n")).into_response()
}

fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = value.split(';').next().unwrap_or_default();
    essence.trim().eq_ignore_ascii_case("application/json")
}

/// What is left of the API server's patience: `timeout=5s`, rounded up to a second by it. What cannot be read asks for
/// nothing.
fn timeout(query: Option<&str>) -> Option<Duration> {
    let given =
        query?.split('&').find_map(|pair| pair.split_once('=').filter(|(key, _)| *key == "timeout"))?.1;
    Duration::try_from_secs_f64(given.strip_suffix('s')?.parse().ok()?).ok()
}

/// What a panic says.
fn said(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no words")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_api_servers_timeout_is_read() {
        for (query, seconds) in [
            (Some("timeout=5s"), Some(5.0)),
            (Some("x=1&timeout=0.5s"), Some(0.5)),
            (Some("timeout=0s"), Some(0.0)),
            (Some("timeouts=5s"), None),
            (Some("timeout=5"), None),
            (Some("timeout=-5s"), None),
            (Some("timeout=infs"), None),
            (Some("timeout=NaNs"), None),
            (Some("timeout"), None),
            (None, None),
        ] {
            assert_eq!(timeout(query), seconds.map(Duration::from_secs_f64), "{query:?}");
        }
    }
}
