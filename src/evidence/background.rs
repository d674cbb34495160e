//! Background look-ups: proofs of tags, renewals of answers that end soon, facts and rules of a Harbor, looks at layers. No
//! Pod waits for them.
//!
//! They get a small share of the registry's `inFlight` and a queue of their own, so that they hardly delay a Pod.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::question::Question;

/// Background work may use 1/8 of `inFlight`, and at least 1.
const SHARE: u32 = 8;

/// The most questions that wait in the background of one registry.
const LONGEST_QUEUE: usize = 1024;

/// The limits of one registry's background look-ups.
pub(super) struct Background {
    share: Arc<Semaphore>,
    /// The share of looks at layers: they keep no proof of a tag waiting.
    looks: Arc<Semaphore>,
    /// The questions that wait or are being asked, so that none is queued twice.
    queue: Arc<Mutex<HashSet<Question>>>,
}

/// A question's slot in the queue, given back when it is dropped.
pub(super) struct QueueSlot {
    queue: Arc<Mutex<HashSet<Question>>>,
    question: Question,
}

/// Permit to ask, given back when it is dropped.
pub(super) struct Permit {
    _permit: OwnedSemaphorePermit,
    _slot: Option<QueueSlot>,
}

/// Why there is no slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoSlot {
    /// The question is queued already.
    Queued,
    /// The queue is full.
    Full,
}

impl Background {
    pub fn new(in_flight: u32) -> Self {
        let permits = usize::try_from((in_flight / SHARE).max(1)).unwrap_or(1).min(Semaphore::MAX_PERMITS);
        let share = || Arc::new(Semaphore::new(permits));
        Self { share: share(), looks: share(), queue: Arc::default() }
    }

    /// A permit without waiting, if one is free.
    pub fn at_once(&self) -> Option<Permit> {
        let permit = self.share.clone().try_acquire_owned().ok()?;
        Some(Permit { _permit: permit, _slot: None })
    }

    /// Waits for a permit, first come, first served. Whoever waits so bounds how many do.
    pub async fn permit(&self) -> Option<Permit> {
        // The semaphore is never closed.
        let permit = self.share.clone().acquire_owned().await.ok()?;
        Some(Permit { _permit: permit, _slot: None })
    }

    /// Waits for the permit of a look at layers, first come, first served.
    pub async fn look(&self) -> Option<Permit> {
        // The semaphore is never closed.
        let permit = self.looks.clone().acquire_owned().await.ok()?;
        Some(Permit { _permit: permit, _slot: None })
    }

    /// A slot in the queue.
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

    /// Waits for a permit, first come, first served.
    pub async fn acquire(&self, slot: QueueSlot) -> Option<Permit> {
        let permit = self.permit().await?;
        Some(Permit { _slot: Some(slot), ..permit })
    }
}

impl Drop for QueueSlot {
    fn drop(&mut self) {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.question);
    }
}
