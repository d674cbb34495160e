//! What surrounds the doors: every request gets one answer, whatever happens in between.

use std::net::IpAddr;
use std::panic::AssertUnwindSafe;

use axum::Router;
use axum::body::Body;
use axum::extract::DefaultBodyLimit;
use axum::response::{IntoResponse, Response};
use futures::FutureExt;
use http::header::RETRY_AFTER;
use http::{Request, StatusCode};
use hyper::body::Incoming;
use tokio::time::{Instant, timeout_at};
use tower::Service;

use super::body::{Memory, Room, linger, read};
use super::limits::Limits;
use super::metrics::{Refused, ServerMetrics};

/// The doors, and the bounds of a request to them.
#[derive(Debug)]
pub(super) struct Net {
    pub(super) app: Router,
    pub(super) limits: Limits,
    pub(super) memory: Memory,
    pub(super) metrics: ServerMetrics,
}

impl Net {
    /// Always answers: 413 or 408 if the body is too large or too slow, 400 if it ends early, 503 if there is no room for the
    /// request or its answer, or the door takes too long, 500 if the door panics.
    pub(super) async fn answer(&self, peer: IpAddr, request: Request<Incoming>) -> Response {
        let deadline = Instant::now() + self.limits.request;
        let response = match self.whole(peer, request, deadline).await {
            Ok((request, room)) => {
                let response = self.doors(request, deadline).await;
                // The door may have kept the body so long.
                drop(room);
                self.hold(peer, response)
            }
            Err(refused) => self.refuse(refused),
        };
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
        // The size is checked already, and axum's own limit of 2 MiB is smaller.
        DefaultBodyLimit::disable().apply(&mut request);
        Ok((request, room))
    }

    /// An answer counts until it has been sent: the peer may take its time.
    fn hold(&self, peer: IpAddr, response: Response) -> Response {
        let (head, body) = response.into_parts();
        match self.memory.hold(peer, body) {
            Ok(body) => Response::from_parts(head, body),
            Err(refused) => self.refuse(refused),
        }
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
                tracing::error!(http.path = uri.path(), after = ?self.limits.request, "no answer in time; answered 503");
                (StatusCode::SERVICE_UNAVAILABLE, "no answer in time\n").into_response()
            }
        }
    }

    fn refuse(&self, refused: Refused) -> Response {
        self.metrics.refused(refused);
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
