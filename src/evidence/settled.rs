//! Settled verdicts, kept for equal Cases: most Pods name images that were judged a moment ago.
//!
//! A Case is a function of the settings, of what the images of a Pod have in common, and of the image's text; of the
//! first two a [`Docket`] stands for, by number. What was settled is told again while its [`Life`] lasts, so that a
//! verdict told from here is the one that judging anew would give.
//!
//! The room is bounded: what was not asked for during the time in which half of it was filled goes.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use jiff::Timestamp;
use tokio::time::Instant;

use crate::domain::frame::{Circumstances, Exemption, Pull};
use crate::domain::platform::PlatformPattern;
use crate::domain::policy::Regime;
use crate::domain::settings::Settings;

/// So many bytes are kept for each of `cache.entries`: 8 MB of a hundred thousand.
const ROOM: usize = 80;

/// What an entry takes beside its texts.
const SHELF: usize = 160;

/// So many dockets are open at once: a few sets of policies, times a few platforms. What goes beyond, such as Pods that
/// demand a platform of their own each, closes the oldest.
const DOCKETS: usize = 64;

/// So many locks, so that threads seldom meet.
const SHARDS: usize = 16;

/// Counts what may change verdicts before their time; a clone counts the same.
#[derive(Debug, Clone, Default)]
pub(super) struct Changes(Arc<AtomicU64>);

impl Changes {
    /// Something did: nothing that was settled until now is told again.
    pub fn turn(&self) {
        self.0.fetch_add(1, Ordering::Release);
    }

    pub fn count(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}

/// What the images of a Pod have in common, under one snapshot of the settings; never given twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Docket(u64);

/// An image on a docket, hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key(u64);

/// When something is looked at: taken once for a Pod.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// By the clock that evidence ages by.
    pub now: Instant,
    /// By the clock that scans and exceptions are dated by.
    pub date: Timestamp,
    /// [`Observatory::changes`](super::Observatory::changes), read before anything is judged.
    pub changes: u64,
}

/// How long a verdict is kept.
#[derive(Debug, Clone, Copy)]
pub struct Life {
    /// When it was judged.
    pub since: Moment,
    /// When the first of its observations expires; `None`: it rests on none.
    pub until: Option<Instant>,
    /// From [`holds_until`](crate::domain::decide::holds_until).
    pub date: Option<Timestamp>,
}

impl Life {
    /// Would judging anew give the same?
    fn holds(&self, at: &Moment) -> bool {
        self.since.changes == at.changes
            && self.until.is_none_or(|until| at.now < until)
            // A clock that was set back: dates that were past may be to come.
            && self.since.date <= at.date
            && self.date.is_none_or(|date| at.date < date)
    }
}

/// What was settled, `T` of each image.
#[derive(Debug)]
pub struct Settled<T> {
    dockets: RwLock<Dockets>,
    shards: [Mutex<Shard<T>>; SHARDS],
    seed: RandomState,
}

#[derive(Debug, Default)]
struct Dockets {
    settings: Option<Arc<Settings>>,
    opened: u64,
    open: VecDeque<(Docket, Common)>,
}

/// What a docket stands for.
#[derive(Debug)]
struct Common {
    regime: Arc<Regime>,
    platforms: Arc<[PlatformPattern]>,
    exemption: Exemption,
}

impl Common {
    /// Within one snapshot equal rules are the same ones.
    fn is(&self, other: &Circumstances) -> bool {
        let (ours, theirs) = (&self.regime, &other.regime);
        self.exemption == other.exemption
            && Arc::ptr_eq(&ours.defaults, &theirs.defaults)
            && ours.enforcing.len() == theirs.enforcing.len()
            && ours.enforcing.iter().zip(&theirs.enforcing).all(|(a, b)| Arc::ptr_eq(a, b))
            && self.platforms == other.platforms
    }
}

impl Dockets {
    fn find(&self, settings: &Arc<Settings>, common: &Circumstances) -> Option<Docket> {
        let ours = self.settings.as_ref().is_some_and(|ours| Arc::ptr_eq(ours, settings));
        let mut open = self.open.iter().filter(|_| ours);
        open.find_map(|(docket, one)| one.is(common).then_some(*docket))
    }
}

/// Half of what a shard has room for is filled anew while the other half is still asked.
#[derive(Debug)]
struct Shard<T> {
    young: HashMap<u64, Box<Kept<T>>, Hashed>,
    old: HashMap<u64, Box<Kept<T>>, Hashed>,
    bytes: usize,
}

impl<T> Default for Shard<T> {
    fn default() -> Self {
        Self { young: HashMap::default(), old: HashMap::default(), bytes: 0 }
    }
}

#[derive(Debug)]
struct Kept<T> {
    docket: Docket,
    pull: Pull,
    written: Box<str>,
    life: Life,
    size: usize,
    what: Arc<T>,
}

impl<T> Shard<T> {
    fn keep(&mut self, key: Key, kept: Box<Kept<T>>, room: usize) {
        if self.bytes + kept.size > room / 2 {
            self.old = std::mem::take(&mut self.young);
            self.bytes = 0;
        }
        self.bytes += kept.size;
        if let Some(before) = self.young.insert(key.0, kept) {
            self.bytes = self.bytes.saturating_sub(before.size);
        }
    }
}

/// For keys that are hashes already.
pub type Hashed = BuildHasherDefault<AsItIs>;

/// See [`Hashed`].
#[derive(Debug, Default)]
pub struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(self.0.rotate_left(8) ^ u64::from(*byte)));
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

impl<T> Default for Settled<T> {
    fn default() -> Self {
        Self { dockets: RwLock::default(), shards: Default::default(), seed: RandomState::new() }
    }
}

impl<T> Settled<T> {
    /// The docket of these circumstances. Another snapshot of the settings closes all others.
    pub fn docket(&self, settings: &Arc<Settings>, common: &Circumstances) -> Docket {
        let known = self.dockets.read().unwrap_or_else(PoisonError::into_inner).find(settings, common);
        if let Some(docket) = known {
            return docket;
        }
        let mut dockets = self.dockets.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(docket) = dockets.find(settings, common) {
            return docket;
        }
        if !dockets.settings.as_ref().is_some_and(|ours| Arc::ptr_eq(ours, settings)) {
            dockets.settings = Some(settings.clone());
            dockets.open.clear();
        }
        if dockets.open.len() >= DOCKETS {
            dockets.open.pop_front();
        }
        dockets.opened += 1;
        let docket = Docket(dockets.opened);
        let Circumstances { regime, platforms, exemption, .. } = common;
        let common = Common { regime: regime.clone(), platforms: platforms.clone(), exemption: *exemption };
        dockets.open.push_back((docket, common));
        docket
    }

    /// The key of an image. Two images may share one; what is kept is compared as a whole.
    pub fn key(&self, docket: Docket, pull: Pull, written: &str) -> Key {
        Key(self.seed.hash_one((docket, pull == Pull::Never, written)))
    }

    /// What was settled of this image, if it still holds.
    pub fn get(&self, key: Key, docket: Docket, pull: Pull, written: &str, at: &Moment) -> Option<Arc<T>> {
        let mut shard = self.shard(key)?.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = |kept: &Kept<T>| {
            (kept.docket, kept.pull) == (docket, pull) && *kept.written == *written && kept.life.holds(at)
        };
        if let Some(kept) = shard.young.get(&key.0) {
            return fits(kept).then(|| kept.what.clone());
        }
        let kept = shard.old.remove(&key.0).filter(|kept| fits(kept))?;
        let what = kept.what.clone();
        // It was asked for, so it stays; by then there is as much room as it left.
        shard.bytes += kept.size;
        shard.young.insert(key.0, kept);
        Some(what)
    }

    /// Keeps what was settled; `bytes`: what it takes behind its pointers. What no longer holds is not kept.
    pub fn keep(
        &self,
        (key, docket, pull, written): (Key, Docket, Pull, &str),
        life: Life,
        (what, bytes): (Arc<T>, usize),
        settings: &Settings,
    ) {
        let now = Moment { now: Instant::now(), ..life.since };
        let Some(shard) = self.shard(key).filter(|_| life.holds(&now)) else { return };
        let room =
            usize::try_from(settings.cache.entries).unwrap_or(usize::MAX).saturating_mul(ROOM) / SHARDS;
        let size = SHELF + size_of::<T>() + written.len() + bytes;
        if size > room / 2 {
            return;
        }
        let kept = Box::new(Kept { docket, pull, written: written.into(), life, size, what });
        shard.lock().unwrap_or_else(PoisonError::into_inner).keep(key, kept, room);
    }

    fn shard(&self, Key(hash): Key) -> Option<&Mutex<Shard<T>>> {
        // The map takes the low bits and the very highest; these lie between.
        self.shards.get(usize::try_from((hash >> 40) % SHARDS as u64).ok()?)
    }
}

#[cfg(test)]
mod tests;
