//! What is asked of a registry though nobody waits for it: proofs of tags, and look-ups ahead of an answer's end.
//!
//! It has a small share of the registry's `inFlight` and a queue of its own, so that no Pod waits behind it for
//! more than that.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::question::Question;

/// One in so many of `inFlight`, and at least one.
const SHARE: u32 = 8;

/// The most questions that wait in the background of one registry.
const LONGEST_QUEUE: usize = 1024;

/// The background of one registry.
pub(super) struct Background {
    share: Arc<Semaphore>,
    /// What waits or is under way: nothing is asked twice at once.
    queue: Arc<Mutex<HashSet<Question>>>,
}

/// A question's place in the queue, given back when it is dropped.
pub(super) struct QueueSlot {
    queue: Arc<Mutex<HashSet<Question>>>,
    question: Question,
}

/// Permit to ask, given back when it is dropped.
pub(super) struct Permit {
    _permit: OwnedSemaphorePermit,
    _slot: Option<QueueSlot>,
}

/// Why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoSlot {
    /// The question has one.
    Queued,
    /// The queue is full.
    Full,
}

impl Background {
    pub fn new(in_flight: u32) -> Self {
        let permits = usize::try_from((in_flight / SHARE).max(1)).unwrap_or(1).min(Semaphore::MAX_PERMITS);
        Self { share: Arc::new(Semaphore::new(permits)), queue: Arc::default() }
    }

    /// Permit to ask at once, if there is any.
    pub fn at_once(&self) -> Option<Permit> {
        let permit = self.share.clone().try_acquire_owned().ok()?;
        Some(Permit { _permit: permit, _slot: None })
    }

    /// A place in the queue.
    pub fn queue(&self, question: &Question) -> Result<QueueSlot, NoSlot> {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        if queue.contains(question) {
            return Err(NoSlot::Queued);
        }
        if queue.len() >= LONGEST_QUEUE {
            return Err(NoSlot::Full);
        }
        queue.insert(question.clone());
        Ok(QueueSlot { queue: self.queue.clone(), question: question.clone() })
    }

    /// Permit to ask, first come, first served.
    pub async fn acquire(&self, slot: QueueSlot) -> Option<Permit> {
        // It is never closed.
        let permit = self.share.clone().acquire_owned().await.ok()?;
        Some(Permit { _permit: permit, _slot: Some(slot) })
    }
}

impl Drop for QueueSlot {
    fn drop(&mut self) {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.question);
    }
}
