//! Changes an object: reads it, computes the change, writes it; again where somebody was faster.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::{Instant, sleep_until};

use super::record::Record;
use crate::cluster::{ClusterError, GapObject, GapObjects, Written};
use crate::domain::gap::GapKey;

/// The most objects. What is beyond is counted by its finding.
pub const MOST_OBJECTS: usize = 1_000;

/// The shortest time between two writes of one replica. Three replicas with their Events stay below ten writes a second.
const PAUSE: Duration = Duration::from_millis(450);

/// How often an object is read again because another replica wrote it first.
const ATTEMPTS: u32 = 5;

/// Spaces the writes of one replica. A clone shares the turns.
#[derive(Debug, Clone)]
pub struct Pace {
    next: Arc<Mutex<Instant>>,
    pause: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self::of(PAUSE)
    }
}

impl Pace {
    /// With this pause.
    pub(super) fn of(pause: Duration) -> Self {
        Self { next: Arc::new(Mutex::new(Instant::now())), pause }
    }

    /// Waits for the next turn; in the order of the calls.
    pub async fn turn(&self) {
        let mut next = self.next.lock().await;
        sleep_until(*next).await;
        *next = Instant::now() + self.pause;
    }
}

/// How many objects may still be created.
#[derive(Debug)]
pub struct Room(AtomicUsize);

impl Room {
    /// Where so many exist.
    pub fn beside(existing: usize) -> Self {
        Self::of(MOST_OBJECTS.saturating_sub(existing))
    }

    /// For so many.
    pub fn of(new: usize) -> Self {
        Self(AtomicUsize::new(new))
    }

    fn take(&self) -> bool {
        let one_less = |left: usize| left.checked_sub(1);
        self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, one_less).is_ok()
    }
}

/// What is done about an object that does not exist.
#[derive(Debug, Clone, Copy)]
pub enum Absent<'a> {
    /// It is created, while there is room.
    Create(&'a Room),
    /// Nothing.
    Leave,
}

/// What became of a change.
#[derive(Debug)]
pub enum Stored {
    /// It was written: what the object said before, and what it says now.
    Done(Box<(Option<Record>, Record)>),
    /// There was nothing to change.
    Same,
    /// The object does not exist, and must not be created.
    NoRoom,
    /// Others were faster each time.
    Busy,
}

/// Changes the object for this key.
///
/// # Errors
/// If the API server cannot be asked or refuses it.
pub async fn update(
    objects: &GapObjects,
    pace: &Pace,
    key: &GapKey,
    absent: Absent<'_>,
    change: impl Fn(Option<&Record>) -> Option<Record>,
) -> Result<Stored, ClusterError> {
    let mut made: Option<GapObject> = None;
    for _ in 0..ATTEMPTS {
        // First the turn, so that no time passes between reading and writing.
        pace.turn().await;
        let found = match made.take() {
            Some(made) => Some(made),
            None => objects.get(key).await?,
        };
        let Some(found) = found else {
            match absent {
                Absent::Create(room) if room.take() => made = Some(objects.create(key).await?),
                Absent::Create(_) | Absent::Leave => return Ok(Stored::NoRoom),
            }
            continue;
        };
        let Some(now) = change(found.record.as_ref()) else { return Ok(Stored::Same) };
        match objects.write(&found, &now).await? {
            Written::Done => return Ok(Stored::Done(Box::new((found.record, now)))),
            Written::Outdated => {}
        }
    }
    Ok(Stored::Busy)
}
