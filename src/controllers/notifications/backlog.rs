//! The changes that wait for the next round, each once.

use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use http::header::HeaderValue;
use tokio::sync::Notify;

use crate::domain::name::RegistryName;
use crate::harbor::notification::Change;

/// A change that waits.
#[derive(Debug, Clone)]
pub(super) struct Waiting {
    /// At which registry.
    pub(super) at: RegistryName,
    /// What changed.
    pub(super) change: Change,
    /// The secret under which other replicas should be told; `None`: they were.
    pub(super) relay: Option<HeaderValue>,
}

/// A bounded queue without doubles.
#[derive(Debug)]
pub(super) struct Backlog {
    most: usize,
    queue: Mutex<Queue>,
    news: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Waiting>,
    /// Those that others are told of, apart: one that waits for its turn was passed on, and may happen again.
    known: HashSet<(RegistryName, Change, bool)>,
}

impl Backlog {
    /// For so many.
    pub(super) fn new(most: usize) -> Self {
        Self { most, queue: Mutex::default(), news: Notify::new() }
    }

    /// Adds one, unless it waits already. False: there is no room.
    pub(super) fn put(&self, one: Waiting) -> bool {
        let mut queue = self.queue();
        let key = (one.at.clone(), one.change.clone(), one.relay.is_some());
        if queue.known.contains(&key) {
            return true;
        }
        if queue.waiting.len() >= self.most {
            return false;
        }
        queue.known.insert(key);
        queue.waiting.push_back(one);
        drop(queue);
        self.news.notify_one();
        true
    }

    /// Waits until there is something.
    pub(super) async fn news(&self) {
        self.news.notified().await;
    }

    /// Takes all of them, the oldest first.
    pub(super) fn take(&self) -> Vec<Waiting> {
        std::mem::take(&mut *self.queue()).waiting.into()
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        // No code panics while it holds the lock.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
