//! All memories, in bounded room: so many entries, and so many bytes.
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

use super::memory::Memory;
use super::question::Question;
use super::station::StationId;

/// The room of an ordinary entry in bytes; `cache.entries` times this is what all may take together. Lists of
/// vulnerabilities and children count as many.
const ORDINARY: usize = 512;

/// What the map and the ring take for an entry.
const SHELF: usize = 48;

/// How many old entries each new one has looked at for being of no use.
const SWEPT: usize = 2;

/// The memories of all stations.
pub(super) struct Memories {
    seed: RandomState,
    shelf: RwLock<Shelf>,
}

#[derive(Default)]
struct Shelf {
    /// Where the memory of a question stands, by the question's hash: two of one hash take turns.
    places: HashMap<u64, usize>,
    slots: Vec<(u64, Arc<Memory>)>,
    bytes: usize,
    /// Who is asked next to make room.
    hand: usize,
    /// Who is looked at next for being of no use.
    broom: usize,
}

/// What there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stock {
    pub entries: usize,
    pub bytes: usize,
}

impl Memories {
    pub fn new() -> Self {
        Self { seed: RandomState::new(), shelf: RwLock::default() }
    }

    pub fn get(&self, question: &Question) -> Option<Arc<Memory>> {
        let hash = self.seed.hash_one(question);
        let shelf = self.shelf.read().unwrap_or_else(PoisonError::into_inner);
        let (_, memory) = shelf.slots.get(*shelf.places.get(&hash)?)?;
        if memory.question != *question {
            return None;
        }
        if !memory.recent.load(Ordering::Relaxed) {
            memory.recent.store(true, Ordering::Relaxed);
        }
        Some(memory.clone())
    }

    /// Remembers it in place of what was remembered of its question. The bounds are those of the moment.
    pub fn put(&self, memory: Arc<Memory>, now: Instant, life: &CacheLife) -> Stock {
        let hash = self.seed.hash_one(&memory.question);
        let (entries, room) = (entries(life), room(life));
        let size = SHELF + memory.bytes();
        let mut shelf = self.shelf.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = shelf.places.get(&hash).copied() {
            shelf.remove(place);
        }
        for _ in 0..SWEPT {
            shelf.sweep(now, life);
        }
        // What is larger than all room would empty it, and not fit all the same. Room is made first: what was just
        // learned is the last to go.
        if size <= room && entries > 0 {
            shelf.bound(entries - 1, room - size);
            let place = shelf.slots.len();
            shelf.places.insert(hash, place);
            shelf.slots.push((hash, memory));
            shelf.bytes += size;
        }
        shelf.stock()
    }

    /// Keeps to the bounds of new settings, and forgets stations that are no more.
    pub fn adopt(&self, life: &CacheLife, gone: impl Fn(StationId) -> bool) -> Stock {
        let mut shelf = self.shelf.write().unwrap_or_else(PoisonError::into_inner);
        let mut at = 0;
        while let Some((_, memory)) = shelf.slots.get(at) {
            if gone(memory.question.station) {
                shelf.remove(at);
            } else {
                at += 1;
            }
        }
        shelf.bound(entries(life), room(life));
        shelf.slots.shrink_to_fit();
        shelf.places.shrink_to_fit();
        shelf.stock()
    }
}

fn entries(life: &CacheLife) -> usize {
    usize::try_from(life.entries).unwrap_or(usize::MAX)
}

fn room(life: &CacheLife) -> usize {
    entries(life).saturating_mul(ORDINARY)
}

impl Shelf {
    fn stock(&self) -> Stock {
        Stock { entries: self.slots.len(), bytes: self.bytes }
    }

    /// Makes room until the bounds are kept.
    fn bound(&mut self, entries: usize, bytes: usize) {
        while self.slots.len() > entries || self.bytes > bytes {
            if self.hand >= self.slots.len() {
                self.hand = 0;
            }
            let Some((_, memory)) = self.slots.get(self.hand) else { return };
            if !memory.recent.swap(false, Ordering::Relaxed) {
                self.remove(self.hand);
            }
            // After a removal the youngest stands here: its turn comes with the next round.
            self.hand += 1;
        }
    }

    fn sweep(&mut self, now: Instant, life: &CacheLife) {
        if self.broom >= self.slots.len() {
            self.broom = 0;
        }
        match self.slots.get(self.broom) {
            Some((_, memory)) if !memory.is_of_use(now, life) => self.remove(self.broom),
            _ => self.broom += 1,
        }
    }

    fn remove(&mut self, at: usize) {
        if at >= self.slots.len() {
            return;
        }
        let (hash, memory) = self.slots.swap_remove(at);
        self.places.remove(&hash);
        self.bytes = self.bytes.saturating_sub(SHELF + memory.bytes());
        if let Some((moved, _)) = self.slots.get(at) {
            self.places.insert(*moved, at);
        }
    }
}

#[cfg(test)]
mod tests;
