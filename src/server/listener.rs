//! The listener: accepts connections until the drain closes it, then waits until the open ones have ended.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::answer::{Net, Told};
use super::body::Memory;
use super::connection::{self, Shared};
use super::drain::Drain;
use super::limits::Limits;
use super::metrics::{Closed, ServerMetrics};
use super::shares::{Share, Shares};

/// What a listener needs.
#[derive(Debug)]
pub struct Listener {
    /// The socket. It is bound already, so that the caller knows its port.
    pub tcp: TcpListener,
    /// How its callers speak.
    pub transport: Transport,
    /// The doors.
    pub app: Router,
    /// Its bounds.
    pub limits: Limits,
    /// When to stop.
    pub drain: Drain,
    /// What it counts.
    pub metrics: ServerMetrics,
}

/// How callers speak.
#[derive(Debug)]
pub enum Transport {
    /// HTTP/1.1 or h2 over TLS. The configuration is from [`server_config`](super::server_config).
    Tls(Arc<ServerConfig>),
    /// HTTP/1.1 without TLS.
    Plain,
}

/// The result of serving.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub struct Served {
    /// The number of connections that were cut off because they did not end in time.
    pub abandoned: usize,
}

impl Listener {
    /// Serves until the drain is closed, then until every connection has ended, at most [`Limits::finish`] longer. If it is
    /// dropped, its connections are cut off.
    pub async fn serve(self) -> Served {
        let Self { tcp, transport, app, limits, drain, metrics } = self;
        let net = Net {
            app: app.with_state(()),
            memory: Memory::new(&limits),
            limits: limits.clone(),
            metrics: metrics.clone(),
            told: Told::default(),
        };
        let acceptor = match transport {
            Transport::Tls(config) => Some(TlsAcceptor::from(config)),
            Transport::Plain => None,
        };
        let slots = Shares::new(limits.connections);
        let finish = limits.finish;
        let shared =
            Arc::new(Shared { acceptor, net, limits, drain: drain.clone(), metrics: metrics.clone() });
        // Cancelled when requests in flight have had their time.
        let abandon = CancellationToken::new();
        let _if_dropped = abandon.clone().drop_guard();
        let connections = TaskTracker::new();
        let abandoned = Arc::new(AtomicUsize::new(0));
        loop {
            let accepted = tokio::select! {
                biased;
                () = drain.closed() => break,
                accepted = accept(&tcp, &slots) => accepted,
            };
            match accepted {
                // Closed at once: whoever waited in the kernel's queue would keep others waiting behind.
                Ok((_, _, None)) => {
                    metrics.closed(Closed::Share).inc();
                }
                Ok((stream, peer, Some(slot))) => {
                    let (shared, abandoned) = (Arc::clone(&shared), Arc::clone(&abandoned));
                    let abandon = abandon.clone();
                    connections.spawn(async move {
                        let _open = Open::count(shared.metrics.clone(), slot);
                        if abandon.run_until_cancelled(connection::run(stream, peer, shared)).await.is_none()
                        {
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
        if timeout(finish, connections.wait()).await.is_err() {
            abandon.cancel();
            connections.wait().await;
        }
        Served { abandoned: abandoned.load(Ordering::Relaxed) }
    }
}

/// The next connection, whose it is, and its slot if its peer has not all of its share.
async fn accept(tcp: &TcpListener, slots: &Arc<Shares>) -> io::Result<(TcpStream, IpAddr, Option<Share>)> {
    let (stream, address) = tcp.accept().await?;
    // On `[::]` an IPv4 peer is written as IPv6.
    let peer = address.ip().to_canonical();
    let slot = slots.take(peer, 1);
    Ok((stream, peer, slot))
}

/// Counts an open connection. Its slot is free again when this is dropped, which also happens if the task panics.
struct Open {
    metrics: ServerMetrics,
    _slot: Share,
}

impl Open {
    fn count(metrics: ServerMetrics, slot: Share) -> Self {
        metrics.connections.inc();
        Self { metrics, _slot: slot }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.metrics.connections.dec();
    }
}
