//! The status page of a replica: what needs attention, the registries, the gaps, what was just decided and why.
//!
//! ```text
//! conditions, Observatory, gaps, last decisions ─┐
//! metrics ─numbers→ ─────────────────────────────┼─► Snapshot ─attention→ ─page→ HTML, at most once a second
//! metrics ─every five minutes→ trend ────────────┘
//! ```
//!
//! Images, namespaces and hosts stand on it, so it is for those alone who may forward a port to our Pod: a forwarded
//! connection comes from the Pod's own loopback address, and nobody else's does. Its `Host` must be that of a loopback, too,
//! or a page of another origin could read it in an administrator's browser by a name that it lets point there.

mod attention;
mod numbers;
mod page;
mod snapshot;
mod sources;
mod trend;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State as Shared};
use axum::http::{HeaderName, HeaderValue, StatusCode, Uri, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use moka::future::Cache;

use super::answer::Peer;
use attention::attention;
use numbers::Numbers;
use snapshot::Snapshot;
use sources::Gaps;
pub use sources::{GapsOf, Status};
use trend::Trend;

/// How long a page is shown again: however often it is asked for, it is made so often.
const PAGE_LIVES: Duration = Duration::from_secs(1);
/// How long the list of gaps is used again. It is read from the API server.
const GAPS_LIVE: Duration = Duration::from_secs(10);

const STYLE: &str = include_str!("status/status.css");
const SCRIPT: &str = include_str!("status/status.js");

/// Nothing from elsewhere, nothing inline, and no frame around it.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

struct Page {
    status: Status,
    trend: Trend,
    pages: Cache<(), Arc<str>>,
    gaps: Cache<(), Gaps>,
}

/// The routes of the page, and what must be polled beside them to keep its trend.
pub(super) fn routes(status: Status) -> (Router, impl Future<Output = Infallible>) {
    let page = Arc::new(Page {
        status,
        trend: Trend::default(),
        pages: Cache::builder().max_capacity(1).time_to_live(PAGE_LIVES).build(),
        gaps: Cache::builder().max_capacity(1).time_to_live(GAPS_LIVE).build(),
    });
    let router = Router::new()
        .route("/", get(show))
        .route("/status.css", get(async || text("text/css; charset=utf-8", STYLE)))
        .route("/status.js", get(async || text("text/javascript; charset=utf-8", SCRIPT)))
        .layer(middleware::from_fn(guard))
        .with_state(page.clone());
    (router, async move { page.follow().await })
}

impl Page {
    async fn follow(&self) -> Infallible {
        loop {
            tokio::time::sleep(trend::EVERY).await;
            self.trend.take(&Numbers::of(&self.status.metrics), (self.status.clock)());
        }
    }

    async fn html(&self) -> Arc<str> {
        let gaps = self.gaps.get_with((), async { Arc::new((self.status.gaps)().await) }).await;
        let now = (self.status.clock)();
        let snapshot = Snapshot::of(&self.status, &self.trend, &gaps, now);
        page::page(&snapshot, &attention(&snapshot)).into_string().into()
    }
}

async fn show(Shared(page): Shared<Arc<Page>>) -> Response {
    let html = page.pages.get_with((), page.html()).await;
    text("text/html; charset=utf-8", html.to_string())
}

fn text(kind: &'static str, body: impl IntoResponse) -> Response {
    let headers: [(HeaderName, HeaderValue); 5] = [
        (header::CONTENT_TYPE, HeaderValue::from_static(kind)),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    ];
    (headers, body).into_response()
}

/// Lets those in who come from this Pod's loopback address.
async fn guard(request: Request, next: Next) -> Response {
    let near = request.extensions().get::<Peer>().is_some_and(|Peer(peer)| peer.is_loopback());
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    if near && is_loopback(host) {
        return next.run(request).await;
    }
    let why = "the status page is shown to who forwards a port to this Pod: `landfall open`, or `kubectl -n landfall port-forward deploy/landfall 8080`, then http://localhost:8080/\n";
    (StatusCode::FORBIDDEN, why).into_response()
}

/// Whether a `Host` is one of a loopback address, with or without a port.
fn is_loopback(host: &str) -> bool {
    let uri: Option<Uri> = Uri::builder().scheme("http").authority(host).path_and_query("/").build().ok();
    let name = uri.as_ref().and_then(Uri::host).unwrap_or_default();
    let address = name.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    name.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_a_loopback_are_let_in() {
        for good in ["localhost", "localhost:8080", "LOCALHOST", "127.0.0.1:38211", "[::1]:8080", "127.9.9.9"]
        {
            assert!(is_loopback(good), "{good}");
        }
        for wrong in [
            "",
            "landfall",
            "10.0.0.7:8080",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "evil.example:8080",
            "[::2]",
            "user@",
        ] {
            assert!(!is_loopback(wrong), "{wrong}");
        }
    }
}
