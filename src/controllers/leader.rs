//! Leadership: of all replicas, the one that holds the Lease leads.
//!
//! The leader renews the Lease every few seconds. Another replica takes it when it has seen it unchanged for as long as
//! the Lease says it lasts, by its own monotonic clock: the times in a Lease come from another machine's wall clock. The
//! leader gives up at two thirds of that time if no renewal was confirmed, so that it has stopped before another one
//! starts.
//!
//! Even so two replicas may act at once, for example after one of them was suspended. Every write names the version of
//! the object that it was computed from, so the second write is refused.

#[cfg(test)]
mod tests;

use std::time::Duration;

use jiff::Timestamp;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry as Page;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::cluster::{Cluster, ClusterError, Lease, Written};
use crate::domain::error_chain::error_chain;

/// How long leadership lasts, and how often it is renewed.
#[derive(Debug, Clone, Copy)]
pub struct Term {
    /// How long others leave an unchanged Lease alone.
    pub lasts: Duration,
    /// The time between two renewals of the leader, and between two looks of the others.
    pub renewed: Duration,
}

impl Default for Term {
    /// 15 s as Kubernetes' own controllers have it, renewed every 4 s instead of every 2 s.
    fn default() -> Self {
        Self { lasts: Duration::from_secs(15), renewed: Duration::from_secs(4) }
    }
}

impl Term {
    /// How long we lead after a renewal that the API server confirmed.
    fn leads(self) -> Duration {
        self.lasts * 2 / 3
    }
}

/// A replica that wants to lead.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// The namespace of the Lease.
    pub namespace: String,
    /// The name of the Lease.
    pub lease: String,
    /// The name of our Pod. No other process holds the Lease by that name.
    pub pod: String,
    /// How long leadership lasts.
    pub term: Term,
}

/// Whether this replica leads. A clone says the same.
#[derive(Debug, Clone)]
pub struct Leading(watch::Receiver<bool>);

impl Leading {
    /// Without a Lease: it leads when the channel says so.
    #[must_use]
    pub fn told_by(leads: watch::Receiver<bool>) -> Self {
        Self(leads)
    }

    /// Whether it leads now. [`changed`](Self::changed) then waits for the next change.
    pub fn now(&mut self) -> bool {
        *self.0.borrow_and_update()
    }

    /// Waits until it begins or ceases to lead; for ever if there is no leader any more.
    pub async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending().await
        }
    }
}

#[cfg(test)]
impl Leading {
    /// It leads, and will not cease to.
    pub fn always() -> Self {
        Self(watch::channel(true).1)
    }
}

/// The metric `landfall_leader`.
#[derive(Debug, Clone, Default)]
pub struct LeaderMetrics {
    leading: Gauge,
}

impl LeaderMetrics {
    /// Registers it. It stays 0 in a replica that wants no Lease.
    pub fn register(page: &mut Page) -> Self {
        let metrics = Self::default();
        page.register("landfall_leader", "1 while this replica holds the Lease", metrics.leading.clone());
        metrics
    }
}

/// Holds the Lease for one replica whenever it can.
#[derive(Debug)]
pub struct Leader {
    lease: Lease,
    term: Term,
    metrics: LeaderMetrics,
    leading: watch::Sender<bool>,
    /// The version of the Lease that was seen last, and since when.
    seen: Option<(String, Instant)>,
}

impl Leader {
    /// For this candidate. It does not lead before [`run`](Self::run) is polled.
    pub fn new(
        cluster: &Cluster,
        candidate: &Candidate,
        metrics: LeaderMetrics,
        clock: fn() -> Timestamp,
    ) -> Self {
        let Candidate { namespace, lease, pod, term } = candidate;
        Self {
            lease: cluster.lease(namespace, lease, pod, clock),
            term: *term,
            metrics,
            leading: watch::Sender::new(false),
            seen: None,
        }
    }

    /// Tells whether it leads.
    pub fn leading(&self) -> Leading {
        Leading(self.leading.subscribe())
    }

    /// Leads whenever it can until `leaving`, then gives the Lease up, so that the next leader need not wait.
    pub async fn run(mut self, leaving: impl Future<Output = ()>) {
        tokio::select! {
            () = self.hold() => {}
            () = leaving => {}
        }
        self.show(false);
        if let Err(error) = self.lease.release().await {
            tracing::warn!(error = error_chain(&error), "the Lease was not given up; it runs out by itself");
        }
    }

    async fn hold(&mut self) {
        let mut until = Instant::now();
        loop {
            let asked = Instant::now();
            self.show(asked < until);
            // Leadership ends in time even while an answer is still missing.
            let patience = asked + self.term.renewed;
            let deadline = if asked < until { patience.min(until) } else { patience };
            match timeout_at(deadline, self.attempt()).await {
                Ok(Ok(true)) => until = asked + self.term.leads(),
                Ok(Ok(false)) => until = asked,
                Ok(Err(error)) => {
                    tracing::warn!(error = error_chain(&error), "the Lease can be neither read nor written");
                }
                Err(_) => tracing::warn!(lease = %self.lease, "the API server does not answer"),
            }
            let now = Instant::now();
            self.show(now < until);
            let next = now + about(self.term.renewed);
            sleep_until(if now < until { next.min(until) } else { next }).await;
        }
    }

    /// Reads the Lease, and writes it if it is ours to hold. Whether we hold it now.
    async fn attempt(&mut self) -> Result<bool, ClusterError> {
        // Whoever renders the chart may leave the Lease out, as Argo CD does.
        let Some(found) = self.lease.read().await? else {
            return Ok(self.lease.create(self.term.lasts).await? == Written::Done);
        };
        let since = match &self.seen {
            Some((seen, since)) if *seen == found.version => *since,
            _ => self.seen.insert((found.version.clone(), Instant::now())).1,
        };
        let lasts = found.lasts.unwrap_or(self.term.lasts);
        match claim(&found.holder, self.lease.me(), lasts, since.elapsed()) {
            Claim::Leave => Ok(false),
            Claim::Hold => Ok(self.lease.hold(&found, self.term.lasts).await? == Written::Done),
        }
    }

    fn show(&self, leads: bool) {
        let changed = self.leading.send_if_modified(|before| std::mem::replace(before, leads) != leads);
        if changed {
            self.metrics.leading.set(leads.into());
            tracing::info!(lease = %self.lease, leads, "leadership changed");
        }
    }
}

/// What to do about a Lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Claim {
    /// Write it: we hold it, or it has no holder, or its holder no longer renews it.
    Hold,
    /// Leave it: another replica holds it.
    Leave,
}

/// Judges a Lease that has not changed for as long as `unchanged`.
fn claim(holder: &str, me: &str, lasts: Duration, unchanged: Duration) -> Claim {
    if holder.is_empty() || holder == me || unchanged >= lasts { Claim::Hold } else { Claim::Leave }
}

/// A time that is up to 20 % shorter or longer, so that replicas do not ask in step.
fn about(time: Duration) -> Duration {
    time.mul_f64(0.8 + 0.4 * fastrand::f64())
}
