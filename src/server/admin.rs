//! What the kubelet, Prometheus and operators ask, on a port of its own without TLS: `/livez`, `/readyz`, `/metrics`, and the
//! status page at `/`.

use std::sync::Arc;

use axum::Router;
use axum::extract::{RawQuery, State as Shared};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;

use super::conditions::{Conditions, State};
use super::drain::Drain;
use super::limits::Limits;
use super::listener::{Listener, Served, Transport};
use super::metrics::ServerMetrics;
use super::status::{self, Status};

/// The content type of `/metrics`.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The admin endpoints. They are served until the process ends, because a replica that leaves must say so.
///
/// - `/livez`: 200 while the process can answer. It checks nothing else, because a restart repairs no registry.
/// - `/readyz`: 200 `ok`, or 503 with a line for each condition that makes us unready. `?verbose` lists all conditions:
///   `[+]` good, `[!]` degraded but serving, `[-]` unready.
/// - `/metrics`: OpenMetrics.
fn router(conditions: Conditions, registry: Arc<Registry>) -> Router {
    Router::new()
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(readyz).with_state(conditions))
        .route("/metrics", get(metrics).with_state(registry))
}

/// Serves them and the status page for as long as it is polled, under the bounds of the other port. The drain does not
/// concern it: who leaves must say so to the end.
pub async fn serve(tcp: TcpListener, status: Status, metrics: &ServerMetrics) -> Served {
    let answers = router(status.conditions.clone(), status.metrics.clone());
    let (page, follow) = status::routes(status);
    let listener = Listener {
        tcp,
        transport: Transport::Plain,
        app: answers.merge(page),
        limits: Limits::admin(),
        drain: Drain::default(),
        metrics: metrics.admin(),
    };
    tokio::select! {
        served = listener.serve() => served,
        never = follow => match never {},
    }
}

async fn readyz(Shared(conditions): Shared<Conditions>, RawQuery(query): RawQuery) -> Response {
    let all = conditions.snapshot();
    let verbose =
        query.is_some_and(|query| query.split('&').any(|pair| pair.split('=').next() == Some("verbose")));
    let unready = all.values().any(|condition| condition.state == State::Unready);
    let mut text = String::new();
    for (name, condition) in all.iter() {
        let sign = match condition.state {
            State::Good => '+',
            State::Degraded => '!',
            State::Unready => '-',
        };
        if verbose || condition.state == State::Unready {
            text += &format!("[{sign}] {name}: {}\n", condition.message);
        }
    }
    let (status, summary) =
        if unready { (StatusCode::SERVICE_UNAVAILABLE, "not ready") } else { (StatusCode::OK, "ok") };
    (status, [(header::CACHE_CONTROL, "no-store")], text + summary + "\n").into_response()
}

async fn metrics(Shared(registry): Shared<Arc<Registry>>) -> Response {
    let mut text = String::new();
    match prometheus_client::encoding::text::encode(&mut text, &registry) {
        Ok(()) => ([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        // A value that cannot be written is a bug in its collector. An error is better than half a page.
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
