//! The way out: say it, go on answering while the news spreads, stop accepting, finish.
//!
//! ```text
//! signal ── begin ─────────── propagation ─────────── close ─── what is in flight ─── end
//!           not ready          every answer says       no new connections, idle ones closed
//!                              `Connection: close`
//! ```
//!
//! Endpoints lag behind readiness, and the API server keeps its connections to a Pod that left them
//! (kubernetes #127335): only an answer with `Connection: close` sends it elsewhere without losing a request.

use std::io;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::conditions::{Condition, ConditionName, Conditions};
use super::metrics::ServerMetrics;

/// Where on its way out the server is. A clone is a handle to the same.
#[derive(Debug, Clone, Default)]
pub struct Drain {
    begun: CancellationToken,
    closed: CancellationToken,
}

impl Drain {
    /// How long it takes, with margin, until a Pod that is not ready gets no new connections.
    pub const PROPAGATION: Duration = Duration::from_secs(20);

    /// From here on every answer is the last one on its connection.
    pub fn begin(&self) {
        self.begun.cancel();
    }

    /// From here on nothing is accepted; implies [`begin`](Self::begin).
    pub fn close(&self) {
        self.begin();
        self.closed.cancel();
    }

    /// Whether every answer is the last one on its connection.
    pub fn has_begun(&self) -> bool {
        self.begun.is_cancelled()
    }

    /// Waits for [`begin`](Self::begin). Cancel safe.
    pub async fn begun(&self) {
        self.begun.cancelled().await;
    }

    /// Waits for [`close`](Self::close). Cancel safe.
    pub async fn closed(&self) {
        self.closed.cancelled().await;
    }

    /// The whole way: waits for `signal`, is not ready at once, and stops accepting `propagation` later.
    /// What is in flight then is [`Listener::serve`](super::Listener::serve)'s to finish.
    pub async fn conduct(
        &self,
        signal: impl Future<Output = &'static str>,
        propagation: Duration,
        conditions: &Conditions,
        metrics: &ServerMetrics,
    ) {
        let name = signal.await;
        conditions.set(ConditionName::Serving, Condition::unready(format!("draining since {name}")));
        metrics.draining.set(1);
        self.begin();
        tokio::time::sleep(propagation).await;
        self.close();
    }
}

/// The signals that ask us to leave: SIGTERM and SIGINT.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Takes the signals over; from here on they no longer end the process.
    ///
    /// # Errors
    /// When the handlers cannot be installed.
    pub fn take() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// The name of the next signal.
    pub async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
