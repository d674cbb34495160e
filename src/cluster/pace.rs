//! Bounds on every request of our client: an answer begins within 10 s, and the same watch is opened at most every 2 s.
//!
//! The second bound is needed because kube's `watcher` opens a watch again at once when the API server, or a proxy in
//! front of it, ends it without an error; it pauses only after errors (kube-runtime 5.0.0, `watcher.rs`:
//! `None => (None, State::InitListed { .. })`). Behind a proxy that ends each watch at once this would be a loop without
//! a pause.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;
use http::{Request, Uri};
use tokio::time::{Instant, sleep_until, timeout};
use tower::{BoxError, Layer, Service};

use super::PATIENCE;

/// The shortest time between two starts of the same watch.
const PAUSE: Duration = Duration::from_secs(2);

/// Puts the bounds around the client of the API server.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace;

impl<S> Layer<S> for Pace {
    type Service = Paced<S>;

    fn layer(&self, inner: S) -> Paced<S> {
        Paced { inner, next: Arc::default() }
    }
}

/// A client with the bounds.
#[derive(Debug)]
pub(super) struct Paced<S> {
    inner: S,
    /// When each watch may be opened again. It grows with the number of watches in the code, not with time.
    next: Arc<Mutex<HashMap<String, Instant>>>,
}

impl<S> Paced<S> {
    /// When this request may be sent.
    fn start(&self, uri: &Uri) -> Instant {
        let now = Instant::now();
        let Some(watch) = watch(uri) else { return now };
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let start = next.get(&watch).map_or(now, |next| now.max(*next));
        next.insert(watch, start + PAUSE);
        start
    }
}

/// What is watched, if this is the request for a watch: the path and the query without the version, which changes.
fn watch(uri: &Uri) -> Option<String> {
    let query = uri.query()?;
    query.split('&').any(|part| part == "watch=true").then(|| {
        let parts = query.split('&').filter(|part| part.split('=').next() != Some("resourceVersion"));
        parts.fold(uri.path().to_owned(), |key, part| key + "&" + part)
    })
}

impl<S, B> Service<Request<B>> for Paced<S>
where
    S: Service<Request<B>>,
    S::Response: 'static,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<S::Response, BoxError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let start = self.start(request.uri());
        // Nothing is sent before this future is polled.
        let answer = self.inner.call(request);
        Box::pin(async move {
            sleep_until(start).await;
            let late = || io::Error::new(io::ErrorKind::TimedOut, "no answer within 10 s");
            timeout(PATIENCE, answer).await.map_err(|_| late())?.map_err(Into::into)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// When each of these requests, sent one after the other, reaches the API server.
    async fn arrivals(paths: &[&'static str]) -> Vec<u64> {
        let began = Instant::now();
        let server =
            tower::service_fn(move |_: Request<()>| async move { Ok::<_, BoxError>(began.elapsed()) });
        let mut client = Pace.layer(server);
        let mut seconds = Vec::new();
        for path in paths {
            let request = Request::builder().uri(*path).body(()).unwrap();
            seconds.push(client.call(request).await.unwrap().as_secs());
        }
        seconds
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_that_ends_at_once_is_opened_again_after_a_pause() {
        let (old, new) = (
            "/api/v1/namespaces?watch=true&resourceVersion=1",
            "/api/v1/namespaces?watch=true&resourceVersion=2",
        );
        let other = "/api/v1/namespaces/a/secrets?watch=true&fieldSelector=metadata.name%3Dca";
        assert_eq!(arrivals(&[old, new, new, other]).await, [0, 2, 4, 4]);
        let (list, get) = ("/api/v1/namespaces?limit=500", "/api/v1/namespaces/a");
        assert_eq!(arrivals(&[list, list, get, get]).await, [0, 0, 0, 0]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_does_not_begin_is_an_error() {
        let silent = tower::service_fn(|_: Request<()>| std::future::pending::<Result<(), BoxError>>());
        let request = Request::builder().uri("/api/v1/namespaces?watch=true").body(()).unwrap();
        let error = Pace.layer(silent).call(request).await.unwrap_err();
        assert_eq!(error.to_string(), "no answer within 10 s");
    }
}
