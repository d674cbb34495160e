//! The changes that wait for the next round, each once.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use http::header::HeaderValue;
use tokio::sync::Notify;

use crate::domain::name::RegistryName;
use crate::harbor::notification::Change;

/// A change that waits.
#[derive(Debug, Clone)]
pub(super) struct Waiting {
    /// Whose notification said so.
    pub(super) by: RegistryName,
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
    /// How many of each registry's notifications wait.
    of: HashMap<RegistryName, usize>,
    /// Those that others are told of, apart: one that waits for its turn was passed on, and may happen again.
    known: HashSet<(RegistryName, Change, bool)>,
}

impl Backlog {
    /// For so many.
    pub(super) fn new(most: usize) -> Self {
        Self { most, queue: Mutex::default(), news: Notify::new() }
    }

    /// Adds one, unless it waits already. False: there is no room, or one registry would have more than half of it.
    pub(super) fn put(&self, one: Waiting) -> bool {
        let mut queue = self.queue();
        let key = (one.at.clone(), one.change.clone(), one.relay.is_some());
        if queue.known.contains(&key) {
            return true;
        }
        let of = queue.of.get(&one.by).copied().unwrap_or_default();
        if queue.waiting.len() >= self.most || of >= self.most / 2 {
            return false;
        }
        queue.of.insert(one.by.clone(), of + 1);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::image::Repository;

    #[test]
    fn each_waits_once_and_one_registry_leaves_room_for_the_others() {
        let backlog = Backlog::new(10);
        let one = |by: &str, n: usize| Waiting {
            by: RegistryName::new(by),
            at: RegistryName::new("ams"),
            change: Change::Repository(Repository::new(format!("shop/{n}"))),
            relay: None,
        };
        for _ in 0..100 {
            assert!(backlog.put(one("ams", 0)));
        }
        assert_eq!((1..100).filter(|n| backlog.put(one("ams", *n))).count(), 4);
        assert_eq!((100..200).filter(|n| backlog.put(one("fra", *n))).count(), 5);
        let names: Vec<_> = backlog.take().into_iter().map(|one| one.change).collect();
        assert_eq!((names.len(), names[0].repository().as_str()), (10, "shop/0"), "the oldest first");
        assert!(backlog.take().is_empty() && backlog.put(one("ams", 0)));
    }
}
