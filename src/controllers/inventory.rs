//! The inventory in the cluster: every replica reads it before it is ready, the leader writes it after each sweep.
//!
//! ```text
//! start ─► read, 2 s at most ─► ready ─► follower: read when the head rings
//!                                    └─► leader: sweep or another answer ─► export ─► write, once a minute at most
//! ```
//!
//! An inventory that cannot be read or used is said, and is never a reason not to serve: then this replica starts as it did
//! without one.

mod metrics;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::Notify;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::leader::Leading;
use super::sweep::{Survey, Surveys};
use crate::cluster::{Cluster, Kept, MOST_BYTES, Parts, Written};
use crate::domain::error_chain::error_chain;
use crate::evidence::{Imported, Inventory, Observatory, Reading, Unusable, decode, encode};

pub use metrics::InventoryMetrics;
use metrics::{ReadOutcome, WriteOutcome};

/// How long a replica that starts waits for the inventory.
const FIRST: Duration = Duration::from_secs(2);

/// The pause after a read at the start that failed.
const AGAIN: Duration = Duration::from_millis(200);

/// How long after the start an inventory that could not be read before still counts as read at the start.
const STARTING: Duration = Duration::from_secs(60);

/// The time between two writes.
const PACE: Duration = Duration::from_secs(60);

/// The age at which it is written again though it says the same: ages are counted from the last write.
const REFRESH: Duration = Duration::from_secs(600);

/// How the inventory stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// As it should.
    Good(String),
    /// Somebody should look; this replica serves all the same.
    Degraded(String),
}

/// Reads and writes the inventory for one replica.
pub struct InventoryKeeper {
    parts: Parts,
    observatory: Arc<Observatory>,
    leading: Leading,
    surveys: Surveys,
    metrics: InventoryMetrics,
    clock: fn() -> Timestamp,
    began: Instant,
    /// The write that was read or written last, and whether it can be used.
    known: Option<(Box<str>, Result<(), Unusable>)>,
    /// Whether an inventory was taken in.
    has_read: bool,
    last: Option<Last>,
}

/// What was written last by this process.
#[derive(Debug)]
struct Last {
    content: u64,
    /// Of the evidence, before the export.
    generation: u64,
    sweep: Timestamp,
    at: Instant,
}

/// Why nothing was taken in.
enum Trouble {
    /// The API server cannot be asked, or parts do not belong together: perhaps in a moment.
    Passing(ReadOutcome, String),
    /// What is there cannot be used.
    Unusable(Unusable),
}

impl InventoryKeeper {
    /// For the ConfigMaps of this release.
    pub fn new(
        cluster: &Cluster,
        (namespace, release): (&str, &str),
        observatory: Arc<Observatory>,
        leading: Leading,
        surveys: Surveys,
        metrics: InventoryMetrics,
        clock: fn() -> Timestamp,
    ) -> Self {
        Self {
            parts: cluster.inventory(namespace, release),
            observatory,
            leading,
            surveys,
            metrics,
            clock,
            began: Instant::now(),
            known: None,
            has_read: false,
            last: None,
        }
    }

    /// Keeps it for as long as it is polled. It shows how the inventory stands within 2 s, whatever the API server does.
    pub async fn run(mut self, show: impl Fn(Standing)) {
        let bell = Notify::new();
        let changes = self.parts.changes();
        tokio::select! {
            () = changes.ring(&bell) => {}
            () = self.keep(&bell, show) => {}
        }
    }

    async fn keep(&mut self, bell: &Notify, show: impl Fn(Standing)) {
        let standing = timeout(FIRST, self.first()).await;
        let late = "it could not be read within 2 s; nothing is known beforehand".to_owned();
        show(standing.unwrap_or(Standing::Degraded(late)));
        let mut next_write = Instant::now();
        loop {
            let pause = async {
                let swept = async {
                    if self.surveys.changed().await.is_err() {
                        std::future::pending::<()>().await;
                    }
                };
                tokio::select! {
                    () = bell.notified() => {}
                    () = swept => {}
                    () = self.leading.changed() => {}
                    () = sleep(PACE) => {}
                }
            };
            pause.await;
            if !self.leading.now() {
                self.last = None;
                show(self.follow().await);
                continue;
            }
            sleep_until(next_write).await;
            let Some(survey) = self.surveys.borrow_and_update().clone().filter(|_| self.leading.now()) else {
                continue;
            };
            next_write = Instant::now() + PACE;
            // What was never read may name damage, and no write may end that before somebody has found it mended.
            if self.known.is_none()
                && let Err(Trouble::Passing(ReadOutcome::Unreachable, why)) = self.read(Reading::Later).await
            {
                show(Standing::Degraded(format!("it cannot be read: {why}")));
                continue;
            }
            show(self.write(&survey).await);
        }
    }

    /// Reads until it is whole.
    async fn first(&mut self) -> Standing {
        loop {
            match self.read(Reading::Start).await {
                Ok(standing) => return standing,
                Err(Trouble::Unusable(error)) => return Standing::Degraded(unusable(&error)),
                Err(Trouble::Passing(..)) => sleep(AGAIN).await,
            }
        }
    }

    async fn follow(&mut self) -> Standing {
        let reading =
            if !self.has_read && self.began.elapsed() < STARTING { Reading::Start } else { Reading::Later };
        // The head rings when a write has ended; a watch that comes late may meet the next one.
        let mut read = self.read(reading).await;
        if let Err(Trouble::Passing(ReadOutcome::Torn, _)) = read {
            sleep(FIRST).await;
            read = self.read(reading).await;
        }
        match read {
            Ok(standing) => standing,
            Err(Trouble::Unusable(error)) => Standing::Degraded(unusable(&error)),
            Err(Trouble::Passing(_, why)) => Standing::Degraded(format!("it cannot be read: {why}")),
        }
    }

    async fn read(&mut self, reading: Reading) -> Result<Standing, Trouble> {
        let read = self.parts.read(self.known.as_ref().map(|(id, _)| &**id)).await;
        let (id, whole) = match read {
            Ok(Kept::Whole(id, whole)) => (id, whole),
            Ok(Kept::Known) => {
                let usable = self.known.as_ref().map_or(Ok(()), |(_, usable)| usable.clone());
                return usable.map(|()| good()).map_err(Trouble::Unusable);
            }
            Ok(Kept::Nothing) => {
                self.metrics.read(ReadOutcome::Nothing);
                return Ok(Standing::Good("none was written yet".to_owned()));
            }
            Ok(Kept::Torn(why)) => {
                self.metrics.read(ReadOutcome::Torn);
                return Err(Trouble::Passing(ReadOutcome::Torn, why.to_owned()));
            }
            Err(error) => {
                self.metrics.read(ReadOutcome::Unreachable);
                return Err(Trouble::Passing(ReadOutcome::Unreachable, error_chain(&error)));
            }
        };
        let (observatory, now) = (self.observatory.clone(), (self.clock)());
        let imported = spawn_blocking(move || {
            let inventory = decode(&whole)?;
            observatory.import(&inventory, reading, now)
        });
        let imported = match imported.await {
            Ok(imported) => imported,
            Err(error) => return Err(Trouble::Passing(ReadOutcome::Malformed, error.to_string())),
        };
        // It is not read again, whether it can be used or not.
        self.known = Some((id, imported.as_ref().map(drop).map_err(Unusable::clone)));
        match imported {
            Ok(imported) => {
                self.has_read = true;
                self.took(reading, &imported);
                Ok(good())
            }
            Err(error) => {
                self.metrics.read(ReadOutcome::of(&error));
                Err(Trouble::Unusable(error))
            }
        }
    }

    fn took(&self, reading: Reading, imported: &Imported) {
        self.metrics.read(ReadOutcome::Used);
        self.metrics.imported(imported);
        let Imported { answers, refused } = imported;
        match reading {
            Reading::Start => tracing::info!(answers, ?refused, "read the inventory"),
            Reading::Later => tracing::debug!(answers, ?refused, "read the inventory again"),
        }
    }

    /// Writes what is known of the images of this sweep, if it is another than was written last.
    async fn write(&mut self, survey: &Arc<Survey>) -> Standing {
        let (generation, now) = (self.observatory.generation(), (self.clock)());
        let is_old = self.last.as_ref().is_none_or(|last| last.at.elapsed() >= REFRESH);
        let seen = |last: &Last| (last.generation, last.sweep) == (generation, survey.swept.at);
        if !is_old && self.last.as_ref().is_some_and(seen) {
            return good();
        }
        let (observatory, sweep) = (self.observatory.clone(), survey.clone());
        let exported =
            spawn_blocking(move || observatory.export(sweep.cases.iter(), sweep.swept.at, now)).await;
        let Ok(inventory) = exported else { return Standing::Degraded("it cannot be made".to_owned()) };
        let content = inventory.content();
        match &mut self.last {
            Some(last) if !is_old && last.content == content => {
                (last.generation, last.sweep) = (generation, survey.swept.at);
                return good();
            }
            _ => {}
        }
        let id = format!("{:016x}", fastrand::u64(..));
        match self.put(&id, inventory).await {
            Ok(Written::Done) => {
                self.last = Some(Last { content, generation, sweep: survey.swept.at, at: Instant::now() });
                self.known = Some((id.into(), Ok(())));
                good()
            }
            Ok(Written::Outdated) => good(),
            Err(why) => Standing::Degraded(format!("it cannot be written: {why}")),
        }
    }

    async fn put(&self, id: &str, inventory: Inventory) -> Result<Written, String> {
        let encoded = spawn_blocking(move || encode(inventory, MOST_BYTES)).await;
        let (bytes, inventory) = encoded.map_err(|error| error.to_string())?;
        let written = self.parts.write(id, &bytes).await;
        self.metrics.wrote(match &written {
            Ok(Written::Done) => WriteOutcome::Written,
            Ok(Written::Outdated) => WriteOutcome::Outdated,
            Err(_) => WriteOutcome::Failed,
        });
        if let Ok(Written::Done) = written {
            self.metrics.size(bytes.len(), inventory.left_out);
            let (answers, left_out) = (inventory.answers(), inventory.left_out);
            tracing::debug!(answers, left_out, bytes = bytes.len(), "wrote the inventory");
        }
        written.map_err(|error| error_chain(&error))
    }
}

/// It says nothing that changes from write to write, because each change of a condition is logged.
fn good() -> Standing {
    Standing::Good("kept".to_owned())
}

fn unusable(error: &Unusable) -> String {
    format!("it is not used: {error}")
}
