//! Which gaps the leader knows, and when it looks at each again. Nothing here waits.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use super::super::record::{Record, Swept};
use super::super::store::MOST_OBJECTS;
use crate::cluster::{GapChange, GapObject};
use crate::domain::gap::{Axis, GapKey, GapKind, GapSubject};

/// How long after it was seen first a gap is looked at. Replication of most images takes less.
const FIRST: Duration = Duration::from_secs(15);

/// The least time between two looks at a gap that notifications speak of.
const PAUSE: Duration = Duration::from_secs(2);

/// The longest time between two looks at an open gap.
const LONGEST: Duration = Duration::from_mins(15);

/// How many objects may always be created, while there are closed ones to delete.
const ROOM: usize = 100;

/// The objects, and when each is due.
#[derive(Debug, Default)]
pub struct Plan {
    entries: HashMap<GapKey, Entry>,
    /// Whether all objects were listed once.
    pub listed: bool,
}

#[derive(Debug)]
struct Entry {
    object: GapObject,
    /// When it is looked at next; `None`: it need not be, or it is being looked at.
    due: Option<Instant>,
    wait: Duration,
    looking: bool,
    /// When a look has ended last.
    looked_at: Option<Instant>,
    /// Whether something may have changed since the look began that is under way.
    again: bool,
    /// The sightings of a closed gap up to here were looked at.
    looked_until: Timestamp,
}

impl Entry {
    fn new(object: GapObject) -> Self {
        Self {
            object,
            due: None,
            wait: FIRST,
            looking: false,
            looked_at: None,
            again: false,
            looked_until: Timestamp::MIN,
        }
    }

    /// Whether somebody must look: it is open, or it was seen after it was closed.
    fn needs_look(&self) -> bool {
        // How a rule stands is read by whoever watches the rules.
        if matches!(self.object.key.subject, GapSubject::Rule(_)) {
            return false;
        }
        let Some(record) = &self.object.record else { return false };
        record.lacking(Axis::Presence).or(record.lacking(Axis::Scan)).is_some()
            || seen_after_end(record).is_some_and(|seen| seen > self.looked_until)
    }

    fn schedule(&mut self, now: Instant) {
        if !self.needs_look() {
            (self.due, self.wait) = (None, FIRST);
        } else if self.due.is_none() && !self.looking {
            self.due = Some(now + about(self.wait));
        }
    }
}

/// When it was seen last, if that was after it was closed.
fn seen_after_end(record: &Record) -> Option<Timestamp> {
    let axes = [&record.presence, &record.scan].into_iter().flatten();
    axes.filter(|axis| axis.closed_at.is_some_and(|end| axis.last_seen > end))
        .map(|axis| axis.last_seen)
        .max()
}

impl Plan {
    /// Takes what the watch has brought.
    pub fn take(&mut self, change: GapChange, now: Instant) {
        match change {
            GapChange::All(objects) => {
                let mut before = std::mem::take(&mut self.entries);
                for object in objects {
                    let entry = before.remove(&object.key);
                    self.put(entry, object, now);
                }
                self.listed = true;
            }
            GapChange::One(object) => {
                let entry = self.entries.remove(&object.key);
                self.put(entry, *object, now);
            }
            GapChange::Gone(name) => self.entries.retain(|_, entry| entry.object.name != name),
            GapChange::Stale(why) => tracing::warn!(why, "changes of ReplicationGaps do not arrive"),
        }
    }

    fn put(&mut self, entry: Option<Entry>, object: GapObject, now: Instant) {
        let mut entry = match entry.filter(|entry| entry.object.uid == object.uid) {
            Some(entry) => Entry { object, ..entry },
            None => Entry::new(object),
        };
        entry.schedule(now);
        self.entries.insert(entry.object.key.clone(), entry);
    }

    /// The number of objects.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is an object for this key.
    pub fn has(&self, key: &GapKey) -> bool {
        self.entries.contains_key(key)
    }

    /// All records.
    pub fn records(&self) -> impl Iterator<Item = (&GapKey, &Record)> {
        self.entries.iter().filter_map(|(key, entry)| Some((key, entry.object.record.as_ref()?)))
    }

    /// What is known of one gap.
    pub fn record(&self, key: &GapKey) -> Option<&Record> {
        self.entries.get(key)?.object.record.as_ref()
    }

    /// Somebody says that this gap may have changed: it is due at once.
    pub fn hint(&mut self, key: &GapKey, now: Instant) {
        if let Some(entry) = self.entries.get_mut(key) {
            entry.wait = FIRST;
        }
        self.look_now(key, now);
    }

    /// Somebody says so of all gaps that `concerned` names. Who says so may do it as often as he likes, so between two looks is
    /// a [`PAUSE`].
    pub fn hint_those(&mut self, concerned: impl Fn(&GapKey) -> bool, now: Instant) {
        for entry in self.entries.values_mut().filter(|entry| entry.needs_look()) {
            if !concerned(&entry.object.key) {
                continue;
            }
            if entry.looking {
                entry.again = true;
                continue;
            }
            let soon = entry.looked_at.map_or(now, |looked| now.max(looked + PAUSE));
            (entry.wait, entry.due) = (FIRST, Some(entry.due.map_or(soon, |due| due.min(soon))));
        }
    }

    /// This gap is due at once. The pauses between later looks stay as they are.
    pub fn look_now(&mut self, key: &GapKey, now: Instant) {
        if let Some(entry) = self.entries.get_mut(key).filter(|entry| entry.needs_look() && !entry.looking) {
            entry.due = Some(now);
        }
    }

    /// The open gaps of images, but for risks, which this sweep did not find.
    pub fn not_in(&self, swept: &Swept) -> Vec<GapKey> {
        let found: HashSet<(&GapKey, GapKind)> =
            swept.found.iter().map(|(gap, _)| (&gap.key, gap.kind)).collect();
        let axes = [Axis::Presence, Axis::Scan];
        let is_gone = |(key, record): &(&GapKey, &Record)| {
            matches!(key.subject, GapSubject::Image { .. })
                && axes
                    .iter()
                    .filter_map(|axis| record.lacking(*axis))
                    .any(|kind| !found.contains(&(*key, kind)))
        };
        self.records().filter(is_gone).map(|(key, _)| key.clone()).collect()
    }

    /// When the next gap is due.
    pub fn next(&self) -> Option<Instant> {
        self.entries.values().filter_map(|entry| entry.due).min()
    }

    /// How many are being looked at.
    pub fn looking(&self) -> usize {
        self.entries.values().filter(|entry| entry.looking).count()
    }

    /// Those that are due, longest first, but not more than `most`, and not while so many are being looked at.
    pub fn start(&mut self, most: usize, now: Instant) -> Vec<(GapKey, Record)> {
        let looking = self.looking();
        let mut due: Vec<&mut Entry> =
            self.entries.values_mut().filter(|entry| entry.due.is_some_and(|due| due <= now)).collect();
        due.sort_by_key(|entry| entry.due);
        let begin = |entry: &mut Entry| {
            let record = entry.object.record.clone()?;
            (entry.looking, entry.due) = (true, None);
            entry.looked_until = seen_after_end(&record).unwrap_or(entry.looked_until);
            Some((entry.object.key.clone(), record))
        };
        due.into_iter().take(most.saturating_sub(looking)).filter_map(begin).collect()
    }

    /// A look has ended. If the gap is still there, the next one is later.
    pub fn looked(&mut self, key: &GapKey, now: Instant) {
        if let Some(entry) = self.entries.get_mut(key) {
            entry.looking = false;
            entry.looked_at = Some(now);
            entry.wait = (entry.wait * 2).min(LONGEST);
            entry.schedule(now);
            if std::mem::take(&mut entry.again) && entry.due.is_some() {
                (entry.wait, entry.due) = (FIRST, Some(now + PAUSE));
            }
        }
    }

    /// The objects to delete: closed ones after `retention`, or so many of the oldest that there is room for new ones; of open
    /// ones what is beyond the bound, the youngest first: an older one has more to tell.
    pub fn surplus(&self, retention: SignedDuration, now: Timestamp) -> Vec<GapObject> {
        let end = |entry: &Entry| entry.object.record.as_ref().and_then(|record| record.closed_at);
        let (old, kept): (Vec<&Entry>, Vec<&Entry>) = self
            .entries
            .values()
            .partition(|entry| end(entry).is_some_and(|end| now.duration_since(end) > retention));
        let mut kept = kept;
        let first_seen = |entry: &Entry| entry.object.record.as_ref().map(|record| record.first_seen);
        kept.sort_by_key(|entry| (end(entry).is_none(), end(entry), std::cmp::Reverse(first_seen(entry))));
        let closed = kept.iter().filter(|entry| end(entry).is_some()).count();
        let for_room = kept.len().saturating_sub(MOST_OBJECTS - ROOM).min(closed);
        let beyond = kept.len().saturating_sub(MOST_OBJECTS).max(for_room);
        old.into_iter().chain(kept.into_iter().take(beyond)).map(|entry| entry.object.clone()).collect()
    }
}

/// A time that is up to 20 % shorter or longer, so that what was seen at once is not asked at once.
fn about(time: Duration) -> Duration {
    time.mul_f64(0.8 + 0.4 * fastrand::f64())
}
