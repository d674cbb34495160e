//! The cache of verdicts, kept for equal Cases: most Pods name images that were judged a moment ago.
//!
//! A verdict depends on the settings, the Pod context and the image text. [`ContextId`] numbers the first two, so the key
//! is (context, image text). An entry is served only while its [`Validity`] holds; so it equals what a new judgement would
//! give.
//!
//! What invalidates a cached verdict:
//!
//! - other settings or policies, another Pod context: it has another key ([`VerdictCache::context_id`]);
//! - the first of its observations expires, an exception ends, a scan grows too old ([`Validity`]);
//! - the generation of the evidence is bumped: a look-up brought another answer than before (`lookup.rs`), answers were
//!   invalidated, a registry came back or went down, its credentials changed (`invalidation.rs`), or registries were
//!   added, removed or made usable (`observatory.rs`). That ends all cached verdicts, of every registry: it is rare, and
//!   to judge anew from cached answers is cheap.
//!
//! Eviction: memory is bounded by two generations of entries: while the young half is filled, entries of the old half that are read move over,
//! and the rest is dropped when the young half is full.
//!
//! Why not a crate: measured with 50,000 entries on two shared cores, moka 0.12 (`sync::Cache` with a weigher) takes 390 B
//! for each entry and 1.6 µs for a get, this takes 167 B and 0.1 µs. A get is on the path of each admission. quick_cache
//! 0.6 comes close (220 B, 0.12 µs with one thread, 0.36 µs with two), but its bound is fixed when it is built, while ours
//! is read from the settings.

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

/// The bytes of verdicts for each of `cache.entries`: 8 MB for a hundred thousand.
const ROOM: usize = 80;

/// The bytes of an entry beside its texts.
const ENTRY: usize = 160;

/// The most contexts at once: each of 200 selectors that policies may have makes one at least, times a few platforms. A
/// further one, as of Pods that each demand another platform, closes the oldest, and what the mutating door wrote under it
/// is judged again at the validating one.
const CONTEXTS: usize = 512;

/// The number of locks, so that threads seldom wait for each other.
const SHARDS: usize = 16;

/// Counts what may change verdicts before they expire. Clones share the counter.
#[derive(Debug, Clone, Default)]
pub(super) struct Generation(Arc<AtomicU64>);

impl Generation {
    /// Starts a new generation: no verdict of an older one is served again.
    pub fn bump(&self) {
        self.0.fetch_add(1, Ordering::Release);
    }

    pub fn current(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}

/// The number of a Pod context under one snapshot of the settings. It is never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ContextId(u64);

impl ContextId {
    /// Returns the number.
    #[must_use]
    pub fn number(self) -> u64 {
        self.0
    }
}

/// The hash of an image in a context.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key(u64);

/// The moment at which a Pod is judged. Taken once for each Pod.
#[derive(Debug, Clone, Copy)]
pub struct ObservedAt {
    /// By the monotonic clock: TTLs.
    pub now: Instant,
    /// By the wall clock: scans and exceptions have dates.
    pub date: Timestamp,
    /// [`Observatory::generation`](super::Observatory::generation), read before the judgement.
    pub generation: u64,
}

/// How long a verdict is kept.
#[derive(Debug, Clone, Copy)]
pub struct Validity {
    /// When it was judged.
    pub since: ObservedAt,
    /// When the first of its observations expires. `None`: it has none.
    pub until: Option<Instant>,
    /// From [`expires_at`](crate::domain::decide::expires_at).
    pub date: Option<Timestamp>,
}

impl Validity {
    /// Would judging anew give the same?
    fn holds(&self, at: &ObservedAt) -> bool {
        self.since.generation == at.generation
            && self.until.is_none_or(|until| at.now < until)
            // If the clock was set back, dates that were past may be in the future again.
            && self.since.date <= at.date
            && self.date.is_none_or(|date| at.date < date)
    }
}

/// The verdicts: a `T` for each image.
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

/// What a [`ContextId`] stands for.
#[derive(Debug)]
struct Common {
    regime: Arc<Regime>,
    platforms: Arc<[PlatformPattern]>,
    exemption: Exemption,
}

impl Common {
    fn is(&self, other: &PodContext) -> bool {
        self.exemption == other.exemption
            && self.regime.is_same(&other.regime)
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

/// Two generations: `young` is filled while `old` is still read.
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

/// A hasher for keys that are hashes already.
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
    /// The number of this context. A new snapshot of the settings closes all contexts of the old one.
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

    /// The key of an image. Two images may share one: [`get`](Self::get) compares the whole.
    pub fn key(&self, context_id: ContextId, pull: Pull, written: &str) -> Key {
        Key(self.seed.hash_one((context_id, pull == Pull::Never, written)))
    }

    /// The verdict of this image, if it still holds.
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
        // It was read, so it moves to the young half.
        shard.bytes += kept.size;
        shard.young.insert(key.0, kept);
        Some(what)
    }

    /// Keeps a verdict, unless it no longer holds. `bytes`: its size on the heap.
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
        // The map uses the low bits and the highest seven; these lie between.
        self.shards.get(usize::try_from((hash >> 40) % SHARDS as u64).ok()?)
    }
}

#[cfg(test)]
mod tests;
