//! VerdictCache verdicts, kept for equal Cases: most Pods name images that were judged a observed_at ago.
//!
//! A Case is a function of the settings, of what the images of a Pod have in common, and of the image's text; of the
//! first two a [`ContextId`] stands for, by number. What was verdicts is told again while its [`Validity`] lasts, so that a
//! verdict told from here is the one that judging anew would give.
//!
//! The room is bounded: what was not asked for during the time in which half of it was filled goes.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use jiff::Timestamp;
use tokio::time::Instant;

use crate::domain::case::{Exemption, PodContext, Pull};
use crate::domain::platform::PlatformPattern;
use crate::domain::policy::Regime;
use crate::domain::settings::Settings;

/// So many bytes are kept for each of `cache.entries`: 8 MB of a hundred thousand.
const ROOM: usize = 80;

/// What an entry takes beside its texts.
const ENTRY: usize = 160;

/// So many contexts are open at once: a few sets of policies, times a few platforms. What goes beyond, such as Pods that
/// demand a platform of their own each, closes the oldest.
const CONTEXTS: usize = 64;

/// So many locks, so that threads seldom meet.
const SHARDS: usize = 16;

/// Counts what may change verdicts before their time; a clone counts the same.
#[derive(Debug, Clone, Default)]
pub(super) struct Generation(Arc<AtomicU64>);

impl Generation {
    /// Something did: nothing that was verdicts until now is told again.
    pub fn bump(&self) {
        self.0.fetch_add(1, Ordering::Release);
    }

    pub fn current(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}

/// What the images of a Pod have in common, under one snapshot of the settings; never given twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ContextId(u64);

/// An image on a context_id, hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key(u64);

/// When something is looked at: taken once for a Pod.
#[derive(Debug, Clone, Copy)]
pub struct ObservedAt {
    /// By the clock that evidence ages by.
    pub now: Instant,
    /// By the clock that scans and exceptions are dated by.
    pub date: Timestamp,
    /// [`Observatory::generation`](super::Observatory::generation), read before anything is judged.
    pub generation: u64,
}

/// How long a verdict is kept.
#[derive(Debug, Clone, Copy)]
pub struct Validity {
    /// When it was judged.
    pub since: ObservedAt,
    /// When the first of its observations expires; `None`: it rests on none.
    pub until: Option<Instant>,
    /// From [`expires_at`](crate::domain::decide::expires_at).
    pub date: Option<Timestamp>,
}

impl Validity {
    /// Would judging anew give the same?
    fn holds(&self, at: &ObservedAt) -> bool {
        self.since.generation == at.generation
            && self.until.is_none_or(|until| at.now < until)
            // A clock that was set back: dates that were past may be to come.
            && self.since.date <= at.date
            && self.date.is_none_or(|date| at.date < date)
    }
}

/// What was verdicts, `T` of each image.
#[derive(Debug)]
pub struct VerdictCache<T> {
    contexts: RwLock<Contexts>,
    shards: [Mutex<Shard<T>>; SHARDS],
    seed: RandomState,
}

#[derive(Debug, Default)]
struct Contexts {
    settings: Option<Arc<Settings>>,
    opened: u64,
    open: VecDeque<(ContextId, Common)>,
}

/// What a context_id stands for.
#[derive(Debug)]
struct Common {
    regime: Arc<Regime>,
    platforms: Arc<[PlatformPattern]>,
    exemption: Exemption,
}

impl Common {
    /// Within one snapshot equal rules are the same ones.
    fn is(&self, other: &PodContext) -> bool {
        let (ours, theirs) = (&self.regime, &other.regime);
        self.exemption == other.exemption
            && Arc::ptr_eq(&ours.defaults, &theirs.defaults)
            && ours.enforcing.len() == theirs.enforcing.len()
            && ours.enforcing.iter().zip(&theirs.enforcing).all(|(a, b)| Arc::ptr_eq(a, b))
            && self.platforms == other.platforms
    }
}

impl Contexts {
    fn find(&self, settings: &Arc<Settings>, common: &PodContext) -> Option<ContextId> {
        let ours = self.settings.as_ref().is_some_and(|ours| Arc::ptr_eq(ours, settings));
        let mut open = self.open.iter().filter(|_| ours);
        open.find_map(|(context_id, one)| one.is(common).then_some(*context_id))
    }
}

/// Half of what a shard has room for is filled anew while the other half is still asked.
#[derive(Debug)]
struct Shard<T> {
    young: HashMap<u64, Box<Kept<T>>, ByHash>,
    old: HashMap<u64, Box<Kept<T>>, ByHash>,
    bytes: usize,
}

impl<T> Default for Shard<T> {
    fn default() -> Self {
        Self { young: HashMap::default(), old: HashMap::default(), bytes: 0 }
    }
}

#[derive(Debug)]
struct Kept<T> {
    context_id: ContextId,
    pull: Pull,
    written: Box<str>,
    validity: Validity,
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
pub type ByHash = BuildHasherDefault<IdentityHasher>;

/// See [`ByHash`].
#[derive(Debug, Default)]
pub struct IdentityHasher(u64);

impl Hasher for IdentityHasher {
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

impl<T> Default for VerdictCache<T> {
    fn default() -> Self {
        Self { contexts: RwLock::default(), shards: Default::default(), seed: RandomState::new() }
    }
}

impl<T> VerdictCache<T> {
    /// The context_id of these context. Another snapshot of the settings closes all others.
    pub fn context_id(&self, settings: &Arc<Settings>, common: &PodContext) -> ContextId {
        let known = self.contexts.read().unwrap_or_else(PoisonError::into_inner).find(settings, common);
        if let Some(context_id) = known {
            return context_id;
        }
        let mut contexts = self.contexts.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(context_id) = contexts.find(settings, common) {
            return context_id;
        }
        if !contexts.settings.as_ref().is_some_and(|ours| Arc::ptr_eq(ours, settings)) {
            contexts.settings = Some(settings.clone());
            contexts.open.clear();
        }
        if contexts.open.len() >= CONTEXTS {
            contexts.open.pop_front();
        }
        contexts.opened += 1;
        let context_id = ContextId(contexts.opened);
        let PodContext { regime, platforms, exemption, .. } = common;
        let common = Common { regime: regime.clone(), platforms: platforms.clone(), exemption: *exemption };
        contexts.open.push_back((context_id, common));
        context_id
    }

    /// The key of an image. Two images may share one; what is kept is compared as a whole.
    pub fn key(&self, context_id: ContextId, pull: Pull, written: &str) -> Key {
        Key(self.seed.hash_one((context_id, pull == Pull::Never, written)))
    }

    /// What was verdicts of this image, if it still holds.
    pub fn get(
        &self,
        key: Key,
        context_id: ContextId,
        pull: Pull,
        written: &str,
        at: &ObservedAt,
    ) -> Option<Arc<T>> {
        let mut shard = self.shard(key)?.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = |kept: &Kept<T>| {
            (kept.context_id, kept.pull) == (context_id, pull)
                && *kept.written == *written
                && kept.validity.holds(at)
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

    /// Keeps what was verdicts; `bytes`: what it takes behind its pointers. What no longer holds is not kept.
    pub fn keep(
        &self,
        (key, context_id, pull, written): (Key, ContextId, Pull, &str),
        validity: Validity,
        (what, bytes): (Arc<T>, usize),
        settings: &Settings,
    ) {
        let now = ObservedAt { now: Instant::now(), ..validity.since };
        let Some(shard) = self.shard(key).filter(|_| validity.holds(&now)) else { return };
        let room =
            usize::try_from(settings.cache.entries).unwrap_or(usize::MAX).saturating_mul(ROOM) / SHARDS;
        let size = ENTRY + size_of::<T>() + written.len() + bytes;
        if size > room / 2 {
            return;
        }
        let kept = Box::new(Kept { context_id, pull, written: written.into(), validity, size, what });
        shard.lock().unwrap_or_else(PoisonError::into_inner).keep(key, kept, room);
    }

    fn shard(&self, Key(hash): Key) -> Option<&Mutex<Shard<T>>> {
        // The map takes the low bits and the very highest; these lie between.
        self.shards.get(usize::try_from((hash >> 40) % SHARDS as u64).ok()?)
    }
}

#[cfg(test)]
mod tests;
