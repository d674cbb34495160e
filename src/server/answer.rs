//! What surrounds the doors: every request gets one answer, whatever happens in between.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::DefaultBodyLimit;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::FutureExt;
use http::header::RETRY_AFTER;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::{Body as _, Incoming};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout, timeout_at};
use tower::Service;

use super::metrics::ServerMetrics;

/// How long the rest of a refused body is still read.
const LINGER: Duration = Duration::from_millis(500);

/// The doors, and the bounds of a request to them.
#[derive(Debug)]
pub(super) struct Net {
    pub(super) app: Router,
    pub(super) body: usize,
    /// One permit for each byte of all bodies in flight.
    pub(super) room: Arc<Semaphore>,
    pub(super) request: Duration,
    pub(super) metrics: ServerMetrics,
}

/// Why a request did not reach the doors.
enum Refused {
    TooLarge,
    Overloaded,
    Slow,
    Broken,
}

impl Net {
    /// Always answers: 413 or 408 if the body is too large or too slow, 400 if it ends early, 503 if there is no room for it
    /// or the door takes too long, 500 if the door panics.
    pub(super) async fn answer(&self, request: Request<Incoming>) -> Response {
        let deadline = Instant::now() + self.request;
        let response = match self.whole(request, deadline).await {
            // The room is taken until the door has answered: it may keep the body so long.
            Ok((request, _room)) => self.doors(request, deadline).await,
            Err(refused) => self.refuse(refused),
        };
        self.metrics.answered(response.status());
        response
    }

    /// Reads the body here and not in the door, so that its size is bounded whatever the door does.
    async fn whole(
        &self,
        request: Request<Incoming>,
        deadline: Instant,
    ) -> Result<(Request<Body>, Room), Refused> {
        let (head, mut body) = request.into_parts();
        let read = read(&mut body, self.body, &self.room);
        let (bytes, room) = timeout_at(deadline, read).await.map_err(|_| Refused::Slow)??;
        let mut request = Request::from_parts(head, Body::from(bytes));
        // The size is checked already, and axum's own limit of 2 MiB is smaller.
        DefaultBodyLimit::disable().apply(&mut request);
        Ok((request, room))
    }

    async fn doors(&self, request: Request<Body>, deadline: Instant) -> Response {
        let uri = request.uri().clone();
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
                tracing::error!(http.path = uri.path(), after = ?self.request, "no answer in time; answered 503");
                (StatusCode::SERVICE_UNAVAILABLE, "no answer in time\n").into_response()
            }
        }
    }

    fn refuse(&self, refused: Refused) -> Response {
        match refused {
            Refused::TooLarge => {
                let limit = self.body;
                (StatusCode::PAYLOAD_TOO_LARGE, format!("the body is larger than {limit} bytes\n"))
                    .into_response()
            }
            Refused::Overloaded => {
                self.metrics.bodies_refused.inc();
                let later = [(RETRY_AFTER, "1")];
                (StatusCode::SERVICE_UNAVAILABLE, later, "too many bodies at once\n").into_response()
            }
            Refused::Slow => {
                (StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time\n").into_response()
            }
            Refused::Broken => (StatusCode::BAD_REQUEST, "the body ended early\n").into_response(),
        }
    }
}

/// The room that a body takes; free again when this is dropped.
type Room = Option<OwnedSemaphorePermit>;

/// Reads a body of at most `limit` bytes, whatever its Content-Length says. Room is taken as bytes arrive: bytes that are
/// only announced take none.
async fn read(body: &mut Incoming, limit: usize, room: &Arc<Semaphore>) -> Result<(Bytes, Room), Refused> {
    if body.size_hint().lower() > limit as u64 {
        linger(body, limit).await;
        return Err(Refused::TooLarge);
    }
    let (mut whole, mut held): (Vec<Bytes>, Room) = (Vec::new(), None);
    let mut length = 0;
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| Refused::Broken)?.into_data() else { continue };
        length += data.len();
        if length > limit {
            linger(body, limit).await;
            return Err(Refused::TooLarge);
        }
        let taken =
            u32::try_from(data.len()).ok().and_then(|bytes| room.clone().try_acquire_many_owned(bytes).ok());
        let Some(taken) = taken else {
            drop((whole, held));
            linger(body, limit).await;
            return Err(Refused::Overloaded);
        };
        match &mut held {
            Some(held) => held.merge(taken),
            None => held = Some(taken),
        }
        whole.push(data);
    }
    // Most bodies arrive in one piece. It is not copied.
    let whole = if whole.len() > 1 { Bytes::from(whole.concat()) } else { whole.pop().unwrap_or_default() };
    Ok((whole, held))
}

/// Reads and drops more of a refused body, for a moment and at most `limit` bytes. A peer that still writes when the
/// connection closes gets a reset and may never see the answer.
async fn linger(body: &mut Incoming, limit: usize) {
    let mut rest = Limited::new(body, limit);
    // The answer is the same whether the body ended, or one of the two bounds was reached.
    let _ = timeout(LINGER, async { while let Some(Ok(_)) = rest.frame().await {} }).await;
}
