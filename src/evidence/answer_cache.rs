//! All answers, in bounded room: so many entries, and so many bytes.
//!
//! Who makes room goes round like the hand of a clock: what was looked at since it last came by stays for another
//! round. Each new entry sweeps a little, too, so that what is of no use any more goes quietly.
//!
//! A cache of its own because of its size and its clock: moka takes 378 B and 200 ns for each entry beside key and
//! value (measured), keeps its bound for good, may refuse what was just learned, and ends lives by another clock than
//! the rest of us. This takes some forty bytes.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, RwLock};

use tokio::time::Instant;

use crate::domain::settings::CacheLife;

use super::cached_answer::CachedAnswer;
use super::question::{Question, UpstreamId};

/// The room of an ordinary entry in bytes; `cache.entries` times this is what all may take together. Lists of
/// vulnerabilities and children count as many.
const ORDINARY: usize = 512;

/// What the map and the ring take for an entry.
const OVERHEAD: usize = 48;

/// How many old entries each new one has looked at for being of no use.
const SWEPT: usize = 2;

/// The answers of all upstreams.
pub(super) struct AnswerCache {
    seed: RandomState,
    entries: RwLock<Entries>,
}

#[derive(Default)]
struct Entries {
    /// Where the memory of a question stands, by the question's hash: two of one hash take turns.
    index: HashMap<u64, usize>,
    slots: Vec<(u64, Arc<CachedAnswer>)>,
    bytes: usize,
    /// Who is asked next to make room.
    clock_hand: usize,
    /// Who is looked at next for being of no use.
    sweep_next: usize,
}

/// What there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CacheSize {
    pub entries: usize,
    pub bytes: usize,
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

    /// Remembers it in place of what was remembered of its question. The bounds are those of the moment.
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
        // What is larger than all room would empty it, and not fit all the same. Room is made first: what was just
        // learned is the last to go.
        if size <= room && most > 0 {
            entries.bound(most - 1, room - size);
            let place = entries.slots.len();
            entries.index.insert(hash, place);
            entries.slots.push((hash, cached));
            entries.bytes += size;
        }
        entries.size()
    }

    /// Keeps to the bounds of new settings, and forgets upstreams that are no more.
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

    /// Makes room until the bounds are kept.
    fn bound(&mut self, entries: usize, bytes: usize) {
        while self.slots.len() > entries || self.bytes > bytes {
            if self.clock_hand >= self.slots.len() {
                self.clock_hand = 0;
            }
            let Some((_, cached)) = self.slots.get(self.clock_hand) else { return };
            if !cached.recent.swap(false, Ordering::Relaxed) {
                self.remove(self.clock_hand);
            }
            // After a removal the youngest stands here: its turn comes with the next round.
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
