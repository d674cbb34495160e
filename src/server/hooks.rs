//! The port at which Harbors notify us: `POST /hooks/harbor`, and nothing else.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Extension, Router};
use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use super::answer::Peer;
use crate::controllers::notifications::{Received, Receiver};

/// The door. It answers before anything follows from a notification.
pub fn router(receiver: Arc<Receiver>) -> Router {
    Router::new().route("/hooks/harbor", post(receive)).with_state(receiver)
}

async fn receive(
    State(receiver): State<Arc<Receiver>>,
    Extension(Peer(peer)): Extension<Peer>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    match receiver.receive(peer, &headers, &body).await {
        Received::Accepted => (StatusCode::ACCEPTED, "").into_response(),
        Received::WrongSecret => {
            (StatusCode::UNAUTHORIZED, "the header Authorization holds no secret of a registry\n")
                .into_response()
        }
        Received::TooMany => {
            (StatusCode::TOO_MANY_REQUESTS, "too many wrong secrets from this address\n").into_response()
        }
        Received::MediaType => {
            (StatusCode::UNSUPPORTED_MEDIA_TYPE, "send application/json or application/cloudevents+json\n")
                .into_response()
        }
        Received::Malformed(why) => (StatusCode::BAD_REQUEST, format!("{why}\n")).into_response(),
    }
}
