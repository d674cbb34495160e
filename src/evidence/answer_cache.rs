//! The cache of all answers, bounded by a number of entries and of bytes.
//!
//! Eviction is CLOCK (second chance): an entry that was read since the hand last passed survives one more round. Each
//! insert also checks two entries, so that useless ones leave without a timer.
//!
//! Why not a crate: moka takes 378 B for each entry beside key and value, this takes some 40 B (measured). Its
//! bound is fixed when it is built, while ours is read from the settings. It may refuse an answer that was just learned,
//! which is the one that a Pod needs. And it expires entries by another clock than the rest of this module.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, RwLock};

use tokio::time::Instant;

use crate::domain::settings::CacheLife;

use super::cached_answer::CachedAnswer;
use super::question::{Question, UpstreamId};

/// The bytes of an ordinary entry. All entries together take at most `cache.entries` times this; a long list of
/// vulnerabilities or children takes the place of many.
const ORDINARY: usize = 512;

/// The bytes that the map and the ring take for an entry.
const OVERHEAD: usize = 48;

/// How many entries each insert checks for being useless.
const SWEPT: usize = 2;

/// How many entries are shown under one lock.
const PIECE: usize = 1024;

/// The answers of all upstreams.
pub(super) struct AnswerCache {
    seed: RandomState,
    entries: RwLock<Entries>,
}

#[derive(Default)]
struct Entries {
    /// The slot of a question, by the question's hash. Of two questions with one hash only one is held.
    index: HashMap<u64, usize>,
    slots: Vec<(u64, Arc<CachedAnswer>)>,
    bytes: usize,
    /// The slot that is next considered for eviction.
    clock_hand: usize,
    /// The slot that is next checked for being useless.
    sweep_next: usize,
}

/// How much the cache holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CacheSize {
    pub entries: usize,
    pub bytes: usize,
}

/// Why an answer of the inventory was not stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NotStored {
    /// There is one that counts more.
    Known,
    /// There is no room.
    Full,
}

impl AnswerCache {
    pub fn new() -> Self {
        Self { seed: RandomState::new(), entries: RwLock::default() }
    }

    pub fn get(&self, question: &Question) -> Option<Arc<CachedAnswer>> {
        let hash = self.seed.hash_one(question);
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        let (_, cached) = entries.slots.get(*entries.index.get(&hash)?)?;
        if cached.question != *question {
            return None;
        }
        if !cached.recent.load(Ordering::Relaxed) {
            cached.recent.store(true, Ordering::Relaxed);
        }
        Some(cached.clone())
    }

    /// Stores an answer in place of the one of the same question. The bounds are those of the current settings.
    pub fn put(&self, cached: Arc<CachedAnswer>, now: Instant, life: &CacheLife) -> CacheSize {
        let hash = self.seed.hash_one(&cached.question);
        let (most, room) = (max_entries(life), max_bytes(life));
        let size = OVERHEAD + cached.bytes();
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = entries.index.get(&hash).copied() {
            entries.remove(place);
        }
        for _ in 0..SWEPT {
            entries.sweep(now, life);
        }
        // An answer larger than the whole cache would evict everything and still not fit. Eviction comes first, so that
        // it cannot hit the answer that was just learned.
        if size <= room && most > 0 {
            entries.bound(most - 1, room - size);
            entries.add(hash, cached, size);
        }
        entries.size()
    }

    /// Stores an answer of the inventory where it evicts nothing, and where `gives_way` says so of the answer in its place.
    ///
    /// # Errors
    /// Why it was not stored.
    pub fn put_inherited(
        &self,
        cached: Arc<CachedAnswer>,
        life: &CacheLife,
        gives_way: impl FnOnce(&CachedAnswer) -> bool,
    ) -> Result<CacheSize, NotStored> {
        let hash = self.seed.hash_one(&cached.question);
        let size = OVERHEAD + cached.bytes();
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        let place = entries.index.get(&hash).copied();
        let held = place.and_then(|place| entries.slots.get(place)).map(|(_, held)| held.clone());
        if held.is_some_and(|held| !gives_way(&held)) {
            return Err(NotStored::Known);
        }
        if let Some(place) = place {
            entries.remove(place);
        }
        if entries.slots.len() >= max_entries(life) || entries.bytes + size > max_bytes(life) {
            return Err(NotStored::Full);
        }
        entries.add(hash, cached, size);
        Ok(entries.size())
    }

    /// Shows every answer that is held from the beginning to the end of the call, in pieces, so that nobody waits long.
    /// Answers that come or go meanwhile may be shown or not.
    pub fn each(&self, mut show: impl FnMut(&CachedAnswer)) {
        // Backwards: where one is removed, the last one takes its slot.
        let mut end = usize::MAX;
        while end > 0 {
            let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
            end = end.min(entries.slots.len());
            let begin = end.saturating_sub(PIECE);
            for (_, cached) in entries.slots.get(begin..end).unwrap_or_default() {
                show(cached);
            }
            end = begin;
        }
    }

    /// Whether answers had to go for lack of room, or will soon.
    pub fn is_full(&self, life: &CacheLife) -> bool {
        let size = self.entries.read().unwrap_or_else(PoisonError::into_inner).size();
        size.entries >= max_entries(life) || size.bytes + max_bytes(life) / 16 >= max_bytes(life)
    }

    /// Applies the bounds of new settings, and drops the answers of upstreams that are gone.
    pub fn adopt(&self, life: &CacheLife, gone: impl Fn(UpstreamId) -> bool) -> CacheSize {
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        let mut at = 0;
        while let Some((_, cached)) = entries.slots.get(at) {
            if gone(cached.question.upstream) {
                entries.remove(at);
            } else {
                at += 1;
            }
        }
        entries.bound(max_entries(life), max_bytes(life));
        entries.slots.shrink_to_fit();
        entries.index.shrink_to_fit();
        entries.size()
    }
}

fn max_entries(life: &CacheLife) -> usize {
    usize::try_from(life.entries).unwrap_or(usize::MAX)
}

fn max_bytes(life: &CacheLife) -> usize {
    max_entries(life).saturating_mul(ORDINARY)
}

impl Entries {
    fn size(&self) -> CacheSize {
        CacheSize { entries: self.slots.len(), bytes: self.bytes }
    }

    fn add(&mut self, hash: u64, cached: Arc<CachedAnswer>, size: usize) {
        self.index.insert(hash, self.slots.len());
        self.slots.push((hash, cached));
        self.bytes += size;
    }

    /// Evicts until the bounds are kept.
    fn bound(&mut self, entries: usize, bytes: usize) {
        while self.slots.len() > entries || self.bytes > bytes {
            if self.clock_hand >= self.slots.len() {
                self.clock_hand = 0;
            }
            let Some((_, cached)) = self.slots.get(self.clock_hand) else { return };
            if !cached.recent.swap(false, Ordering::Relaxed) {
                self.remove(self.clock_hand);
            }
            // After a removal the youngest entry is in this slot: it is considered in the next round.
            self.clock_hand += 1;
        }
    }

    fn sweep(&mut self, now: Instant, life: &CacheLife) {
        if self.sweep_next >= self.slots.len() {
            self.sweep_next = 0;
        }
        match self.slots.get(self.sweep_next) {
            Some((_, cached)) if !cached.is_of_use(now, life) => self.remove(self.sweep_next),
            _ => self.sweep_next += 1,
        }
    }

    fn remove(&mut self, at: usize) {
        if at >= self.slots.len() {
            return;
        }
        let (hash, cached) = self.slots.swap_remove(at);
        self.index.remove(&hash);
        self.bytes = self.bytes.saturating_sub(OVERHEAD + cached.bytes());
        if let Some((moved, _)) = self.slots.get(at) {
            self.index.insert(*moved, at);
        }
    }
}

#[cfg(test)]
mod tests;
