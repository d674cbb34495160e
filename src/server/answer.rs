//! What surrounds the doors: every request gets one answer, whatever happens in between.
//!
//! A request that is refused here has no verdict, and the API server follows the `failurePolicy` of the webhook that it
//! called: after a refusal of `/mutate` the Pod passes unchanged, after one of `/validate` (413, 408, 503, 431, 500) the
//! request is denied. Both are right: nothing was learned about the Pod.

use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::DefaultBodyLimit;
use axum::response::{IntoResponse, Response};
use futures::FutureExt;
use http::header::RETRY_AFTER;
use http::{Request, StatusCode, Uri};
use hyper::body::Incoming;
use tokio::time::{Instant, timeout_at};
use tower::Service;

use super::body::{Memory, Room, linger, read};
use super::limits::Limits;
use super::metrics::{Refused, ServerMetrics};
use crate::domain::text::plain;

/// The least time between two lines in the log about requests that were refused for the same reason.
const PAUSE: Duration = Duration::from_secs(60);

/// Who sent a request: an extension of every request that reaches a door.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer(pub IpAddr);

/// The doors, and the bounds of a request to them.
#[derive(Debug)]
pub(super) struct Net {
    pub(super) app: Router,
    pub(super) limits: Limits,
    pub(super) memory: Memory,
    pub(super) metrics: ServerMetrics,
    pub(super) told: Told,
}

/// When a refusal was last logged, for each reason.
#[derive(Debug, Default)]
pub(super) struct Told(Mutex<[(Option<Instant>, u64); Refused::ALL.len()]>);

impl Told {
    /// How many refusals for this reason a line should stand for, if there should be one now: peers decide how often requests
    /// are refused, and must not fill the log.
    fn now(&self, why: Refused) -> Option<u64> {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (last, refused) = told.get_mut(why as usize)?;
        *refused += 1;
        if last.is_some_and(|last| last.elapsed() < PAUSE) {
            return None;
        }
        *last = Some(Instant::now());
        Some(std::mem::take(refused))
    }
}

impl Net {
    /// Always answers: 413 or 408 if the body is too large or too slow, 400 if it ends early, 503 if there is no room for the
    /// request or its answer, or the door takes too long, 500 if the door panics.
    pub(super) async fn answer(&self, peer: IpAddr, request: Request<Incoming>) -> Response {
        let deadline = Instant::now() + self.limits.request;
        let uri = request.uri().clone();
        let answered = match self.whole(peer, request, deadline).await {
            Ok((request, room)) => {
                let response = self.doors(request, &uri, deadline).await;
                // The door may have kept the body so long.
                drop(room);
                self.hold(peer, response)
            }
            Err(refused) => Err(refused),
        };
        let response = answered.unwrap_or_else(|refused| self.refuse(peer, &uri, refused));
        self.metrics.answered(response.status());
        response
    }

    /// Reads the body here and not in the door, so that its size is bounded whatever the door does.
    async fn whole(
        &self,
        peer: IpAddr,
        request: Request<Incoming>,
        deadline: Instant,
    ) -> Result<(Request<Body>, Room<'_>), Refused> {
        let (head, mut body) = request.into_parts();
        let read = async {
            let mut room = self.memory.room(peer, &head)?;
            Ok((read(&mut body, &mut room, &self.limits, deadline).await?, room))
        };
        // What was read of a refused body is dropped here.
        let (bytes, room) = match read.await {
            Ok(read) => read,
            Err(refused) => {
                if matches!(refused, Refused::TooLarge | Refused::NoRoom) {
                    linger(&mut body, self.limits.body).await;
                }
                return Err(refused);
            }
        };
        let mut request = Request::from_parts(head, Body::from(bytes));
        request.extensions_mut().insert(Peer(peer));
        // The size is checked already, and axum's own limit of 2 MiB is smaller.
        DefaultBodyLimit::disable().apply(&mut request);
        Ok((request, room))
    }

    /// An answer counts until it has been sent: the peer may take its time.
    fn hold(&self, peer: IpAddr, response: Response) -> Result<Response, Refused> {
        let (head, body) = response.into_parts();
        Ok(Response::from_parts(head, self.memory.hold(peer, body)?))
    }

    async fn doors(&self, request: Request<Body>, uri: &Uri, deadline: Instant) -> Response {
        // Unwind safe: each request uses its own clone of the router, so a panic leaves nothing half changed.
        let answer = AssertUnwindSafe(self.app.clone().call(request)).catch_unwind();
        match timeout_at(deadline, answer).await {
            Ok(Ok(Ok(response))) => response,
            Ok(Ok(Err(never))) => match never {},
            Ok(Err(_)) => {
                self.metrics.panics.inc();
                tracing::error!(http.path = uri.path(), "the request panicked; answered 500");
                (StatusCode::INTERNAL_SERVER_ERROR, "internal error: the request panicked\n").into_response()
            }
            Err(_) => {
                tracing::error!(http.path = uri.path(), after = ?self.limits.request, "no answer in time; answered 503");
                (StatusCode::SERVICE_UNAVAILABLE, "no answer in time\n").into_response()
            }
        }
    }

    fn refuse(&self, peer: IpAddr, uri: &Uri, refused: Refused) -> Response {
        self.metrics.refused(refused);
        if let Some(times) = self.told.now(refused) {
            tracing::warn!(
                reason = refused.as_str(),
                http.path = &*plain(uri.path()),
                client.address = %peer,
                limit = self.limits.body,
                times,
                "request refused; if it was a review, its Pod has no verdict"
            );
        }
        match refused {
            Refused::TooLarge => {
                let limit = self.limits.body;
                (StatusCode::PAYLOAD_TOO_LARGE, format!("the body is larger than {limit} bytes\n"))
                    .into_response()
            }
            Refused::NoRoom => {
                let later = [(RETRY_AFTER, "1")];
                (StatusCode::SERVICE_UNAVAILABLE, later, "too many requests at once\n").into_response()
            }
            Refused::Slow => {
                (StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time\n").into_response()
            }
            Refused::Broken => (StatusCode::BAD_REQUEST, "the body ended early\n").into_response(),
        }
    }
}
