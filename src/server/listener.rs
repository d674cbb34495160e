//! The listener: accepts connections, as many as allowed, until the drain closes it; then waits for the rest.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::answer::Net;
use super::connection::{self, Ended, Shared};
use super::drain::Drain;
use super::metrics::ServerMetrics;

/// What bounds a listener. The defaults are meant for production; tests tighten one at a time.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Connections at once. Further ones wait in the kernel's queue. An API server keeps 25 idle ones and opens one
    /// for each call beyond.
    pub connections: usize,
    /// For the TLS handshake.
    pub handshake: Duration,
    /// For the head of a request *and*, the same timer in hyper, for the time between two requests. Never under
    /// 120 s: Go keeps idle connections for 90 s and does not retry a POST that meets our close.
    pub idle: Duration,
    /// The largest head of a request, in bytes; beyond it 431.
    pub head: usize,
    /// The largest body, in bytes; beyond it 413. A review carries object and oldObject, each up to 3 MiB.
    pub body: usize,
    /// Bytes of bodies in flight, of all connections together: from their arrival to their answers; beyond them 503.
    pub bodies: usize,
    /// For a request from its head to its answer, as a last resort: the doors have deadlines of their own, and the
    /// API server waits for 30 s at most.
    pub request: Duration,
    /// Answers on one HTTP/1.1 connection before it is recycled, so that new replicas get their share.
    pub recycle_answers: u32,
    /// Age of a connection (± 20 %) after which its next answer is its last. It is never closed for age while idle.
    pub recycle_age: Duration,
    /// For what is still in flight after the drain stopped accepting.
    pub finish: Duration,
}

impl Limits {
    /// How often an h2 connection is pinged, and how long the answer may take: HTTP/1.1 has no such thing.
    pub(super) const PING_EVERY: Duration = Duration::from_secs(30);
    pub(super) const PING_ANSWER: Duration = Duration::from_secs(15);
    /// Requests at once on one h2 connection.
    pub(super) const STREAMS: u32 = 100;
    /// After an `accept` that failed: out of file descriptors, most often, which time mends.
    const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1024,
            handshake: Duration::from_secs(5),
            idle: Duration::from_secs(150),
            head: 64 * 1024,
            body: 8 * 1024 * 1024,
            bodies: 64 * 1024 * 1024,
            request: Duration::from_secs(30),
            recycle_answers: 10_000,
            recycle_age: Duration::from_secs(300),
            finish: Duration::from_secs(30),
        }
    }
}

/// Everything a listener needs.
#[derive(Debug)]
pub struct Listener {
    /// Bound already, so that the caller knows its port.
    pub tcp: TcpListener,
    /// From [`server_config`](super::server_config).
    pub tls: ServerConfig,
    /// The doors.
    pub app: Router,
    /// Its bounds.
    pub limits: Limits,
    /// Its way out.
    pub drain: Drain,
    /// Where it counts.
    pub metrics: ServerMetrics,
}

/// How serving ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub struct Served {
    /// Connections that were cut off because they did not finish in time.
    pub abandoned: usize,
}

impl Listener {
    /// Serves until the drain is closed, then until every connection has ended, at most [`Limits::finish`] longer.
    ///
    /// Not cancel safe: dropping it leaves the connections to the runtime.
    pub async fn serve(self) -> Served {
        let Self { tcp, tls, app, limits, drain, metrics } = self;
        let net = Net {
            app: app.with_state(()),
            body: limits.body,
            room: Arc::new(Semaphore::new(limits.bodies.min(Semaphore::MAX_PERMITS))),
            request: limits.request,
            metrics: metrics.clone(),
        };
        let acceptor = TlsAcceptor::from(Arc::new(tls));
        let abandon = CancellationToken::new();
        let shared = Arc::new(Shared {
            acceptor,
            net,
            limits: limits.clone(),
            drain: drain.clone(),
            abandon: abandon.clone(),
            metrics: metrics.clone(),
        });
        let slots = Arc::new(Semaphore::new(limits.connections));
        let connections = TaskTracker::new();
        let abandoned = Arc::new(AtomicUsize::new(0));
        loop {
            let accepted = tokio::select! {
                biased;
                () = drain.closed() => break,
                accepted = accept(&tcp, &slots, &metrics) => accepted,
            };
            match accepted {
                Ok((stream, slot)) => {
                    let (shared, abandoned) = (Arc::clone(&shared), Arc::clone(&abandoned));
                    connections.spawn(async move {
                        let _open = Open::count(shared.metrics.clone(), slot);
                        if connection::run(stream, shared).await == Ended::Abandoned {
                            abandoned.fetch_add(1, Ordering::Relaxed);
                        }
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    sleep(Limits::ACCEPT_PAUSE).await;
                }
            }
        }
        drop(tcp);
        connections.close();
        if timeout(limits.finish, connections.wait()).await.is_err() {
            abandon.cancel();
            connections.wait().await;
        }
        Served { abandoned: abandoned.load(Ordering::Relaxed) }
    }
}

/// The slot first: a connection that we cannot serve yet stays in the kernel's queue, where it costs nothing.
async fn accept(
    tcp: &TcpListener,
    slots: &Arc<Semaphore>,
    metrics: &ServerMetrics,
) -> io::Result<(TcpStream, OwnedSemaphorePermit)> {
    if slots.available_permits() == 0 {
        metrics.connection_cap_reached.inc();
    }
    let slot = Arc::clone(slots).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, _) = tcp.accept().await?;
    Ok((stream, slot))
}

/// Counts a connection for as long as it lives, and gives its slot back, even if its task panics.
struct Open {
    metrics: ServerMetrics,
    _slot: OwnedSemaphorePermit,
}

impl Open {
    fn count(metrics: ServerMetrics, slot: OwnedSemaphorePermit) -> Self {
        metrics.connections.inc();
        Self { metrics, _slot: slot }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.metrics.connections.dec();
    }
}
