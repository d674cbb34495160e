//! Folds what this replica's doors have seen into the objects, and tells the owners.

use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};

use super::met::Met;
use super::metrics::LedgerMetrics;
use super::notices::Notices;
use super::record::{Tally, fold};
use super::recorder::Recorder;
use super::sentence::at_the_door;
use super::store::{Absent, Pace, Room, Stored, update};
use crate::cluster::{ClusterError, EventReason, GapObjects, Owners};
use crate::domain::error_chain::error_chain;
use crate::domain::gap::GapKey;

/// How often sightings are folded.
const EVERY: Duration = Duration::from_secs(10);

/// How long we wait where the API server does not know the resource.
const NO_KIND: Duration = Duration::from_mins(1);

/// How many owners are looked up in one round.
const LOOKS: u32 = 20;

/// Folds sightings. A clone folds what the same recorder takes.
#[derive(Debug, Clone)]
pub struct Writer {
    objects: GapObjects,
    recorder: Recorder,
    owners: Owners,
    notices: Notices,
    pace: Pace,
    metrics: LedgerMetrics,
    sight: Sight,
}

/// Whether the objects can be written: what was said of it last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sight {
    Good,
    NoKind(Instant),
    Away,
}

/// A tally that is being folded. It is put back unless it was.
struct InHand<'a> {
    recorder: &'a Recorder,
    held: Option<(GapKey, Tally)>,
}

impl Drop for InHand<'_> {
    fn drop(&mut self) {
        if let Some((key, tally)) = self.held.take() {
            self.recorder.put_back(key, tally);
        }
    }
}

impl Writer {
    /// For what this recorder takes.
    #[must_use]
    pub fn new(
        objects: GapObjects,
        recorder: Recorder,
        owners: Owners,
        notices: Notices,
        pace: Pace,
        metrics: LedgerMetrics,
    ) -> Self {
        Self { objects, recorder, owners, notices, pace, metrics, sight: Sight::Good }
    }

    /// Folds for as long as it is polled.
    pub async fn run(mut self) {
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.fold().await;
        }
    }

    /// Folds once. What could not be folded is kept for the next time.
    pub async fn fold(&mut self) {
        let keys = self.recorder.keys();
        if keys.is_empty() {
            return;
        }
        if matches!(self.sight, Sight::NoKind(since) if since.elapsed() < NO_KIND) {
            return;
        }
        let room = match self.objects.count().await {
            Ok(Some(existing)) => Some(Room::beside(existing)),
            Ok(None) => {
                self.without_kind();
                None
            }
            Err(error) => return self.away(&error),
        };
        let mut looks = LOOKS;
        for key in keys {
            let Some(tally) = self.recorder.take(&key) else { continue };
            let mut hand = InHand { recorder: &self.recorder, held: Some((key, tally)) };
            if let Some((key, tally)) = &mut hand.held {
                self.tell(key, tally, &mut looks).await;
            }
            let (Some(room), Some((key, tally))) = (&room, &hand.held) else { continue };
            let change = |record: Option<&_>| Some(fold(record, tally, key));
            let stored = update(&self.objects, &self.pace, key, Absent::Create(room), change).await;
            match stored {
                Ok(Stored::Done(_) | Stored::Same) => hand.held = None,
                Ok(Stored::NoRoom) => {
                    self.metrics.unrecorded(tally.kinds());
                    hand.held = None;
                }
                Ok(Stored::Busy) => {}
                Err(error) if error.is_invalid() => {
                    tracing::error!(error = error_chain(&error), "a gap cannot be recorded");
                    self.metrics.failed();
                    self.metrics.unrecorded(tally.kinds());
                    hand.held = None;
                }
                Err(error) => {
                    drop(hand);
                    return self.away(&error);
                }
            }
        }
        if room.is_some() && self.sight != Sight::Good {
            tracing::info!("gaps are recorded again");
            self.sight = Sight::Good;
        }
    }

    fn without_kind(&mut self) {
        if !matches!(self.sight, Sight::NoKind(_)) {
            tracing::warn!(
                "the cluster does not know the resource ReplicationGap: gaps are only counted; it comes with the chart or the manifests"
            );
        }
        self.sight = Sight::NoKind(Instant::now());
    }

    /// What was seen is kept; of what does not fit only the number.
    fn away(&mut self, error: &ClusterError) {
        self.metrics.failed();
        if self.sight != Sight::Away {
            tracing::warn!(error = error_chain(error), "gaps are not recorded yet");
        }
        self.sight = Sight::Away;
    }

    /// Puts the owners that people know in place of those that the Pods name, and tells them.
    async fn tell(&self, key: &GapKey, tally: &mut Tally, looks: &mut u32) {
        for (owner, met) in std::mem::take(&mut tally.owners) {
            let top = match self.owners.known(&owner) {
                Some(top) => top,
                None if *looks == 0 => owner,
                None => {
                    *looks -= 1;
                    self.owners.top(&owner).await
                }
            };
            let reason = match met {
                Met::Used => None,
                Met::FellBack => Some(EventReason::ImageFellBack),
                Met::Denied => Some(EventReason::ImageDenied),
            };
            if let Some(reason) = reason {
                self.notices.tell(&top, key, reason, || at_the_door(key, tally.tag(), tally.kinds(), met));
            }
            tally.used_by(None, "", Some((&top, met)));
        }
    }
}
