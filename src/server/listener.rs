//! The listener: accepts connections until the drain closes it, then waits until the open ones have ended.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

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
use super::limits::Limits;
use super::metrics::ServerMetrics;

/// What a listener needs.
#[derive(Debug)]
pub struct Listener {
    /// The socket. It is bound already, so that the caller knows its port.
    pub tcp: TcpListener,
    /// From [`server_config`](super::server_config).
    pub tls: ServerConfig,
    /// The doors.
    pub app: Router,
    /// Its bounds.
    pub limits: Limits,
    /// When to stop.
    pub drain: Drain,
    /// What it counts.
    pub metrics: ServerMetrics,
}

/// The result of serving.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub struct Served {
    /// The number of connections that were cut off because they did not end in time.
    pub abandoned: usize,
}

impl Listener {
    /// Serves until the drain is closed, then until every connection has ended, at most [`Limits::finish`] longer.
    ///
    /// Not cancel safe: if it is dropped, its connections live on.
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

/// Takes a slot before it accepts: a connection that we cannot serve yet stays in the kernel's queue, where it costs
/// nothing.
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

/// Counts an open connection. Its slot is free again when this is dropped, which also happens if the task panics.
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
