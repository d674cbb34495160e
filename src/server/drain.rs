//! The drain: become unready, go on serving until the endpoints are updated, stop accepting, finish.
//!
//! ```text
//! signal ── begin ─────────── propagation ─────────── close ─── requests in flight ─── end
//!           not ready          every answer says       no new connections, idle ones closed
//!                              `Connection: close`
//! ```
//!
//! Endpoints are updated some time after readiness changes, and the API server keeps its connections to a Pod that is no
//! longer among them (kubernetes #127335). Only an answer with `Connection: close` makes it go elsewhere without losing a
//! request.

use std::io;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::conditions::{Condition, ConditionName, Conditions};
use super::metrics::ServerMetrics;

/// How far the drain is. A clone shares it.
#[derive(Debug, Clone, Default)]
pub struct Drain {
    begun: CancellationToken,
    closed: CancellationToken,
}

impl Drain {
    /// The time until a Pod that is not ready gets no new connections, with a margin.
    pub const PROPAGATION: Duration = Duration::from_secs(20);

    /// From now on every answer is the last one on its connection.
    pub fn begin(&self) {
        self.begun.cancel();
    }

    /// From now on no connection is accepted. Implies [`begin`](Self::begin).
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

    /// The whole drain: waits for `signal`, makes us unready at once, and stops accepting after `propagation`.
    /// [`Listener::serve`](super::Listener::serve) then finishes the requests in flight.
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
    /// Handles the signals. From now on they no longer end the process.
    ///
    /// # Errors
    /// If the handlers cannot be installed.
    pub fn take() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits for the next signal and returns its name.
    pub async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
