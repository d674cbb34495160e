//! Facts that many questions share: single flight, and each answer kept for as long as its look-up says.

use std::future::Future;
use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use moka::ops::compute::Op;
use moka::sync::Cache;
use tokio::time::Instant;

use crate::domain::unknown::{Cause, Unknown};

use super::single_flight::SingleFlight;
use super::tasks::Tasks;

/// The most keys that are kept.
const ENTRIES: u64 = 10_000;

/// A cache with single flight.
///
/// ```
/// use std::time::Duration;
/// use landfall::facade::registry::{LookedUp, SharedLookup, Tasks};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let hour = Duration::from_secs(3600);
/// let lengths: SharedLookup<&str, usize> = SharedLookup::new(hour, Tasks::default());
/// let look_up = |word: &'static str| async move { LookedUp { result: Ok(word.len()), ttl: hour } };
/// assert_eq!(lengths.get("harbor", look_up("harbor")).await, Ok(6));
/// assert_eq!(lengths.fresh(&"harbor"), Some(Ok(6)));
/// lengths.outdate();
/// assert_eq!(lengths.fresh(&"harbor"), None);
/// # }
/// ```
pub struct SharedLookup<K, V> {
    answers: Cache<K, Arc<Answer<V>>>,
    flights: SingleFlight<K, u64, Result<V, Unknown>>,
    /// Incremented by each [`outdate`](Self::outdate): answers of an older epoch are not fresh.
    epoch: AtomicU64,
    /// Answers of an older epoch than this are forgotten.
    forgotten: AtomicU64,
}

/// What a look-up returned, and for how long it is fresh.
#[derive(Debug, Clone)]
pub struct LookedUp<V> {
    /// The result. A failure is kept as well, for its `ttl`.
    pub result: Result<V, Unknown>,
    /// Zero: only those who waited for this look-up get its result.
    pub ttl: Duration,
}

/// Whether something outdated an answer since it was learned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Age {
    /// Nothing did.
    Current,
    /// The epoch changed.
    Outdated,
}

struct Answer<V> {
    looked_up: LookedUp<V>,
    at: Instant,
    epoch: u64,
    /// The last success, however old, and its epoch.
    last: Option<(V, u64)>,
}

impl<K, V> SharedLookup<K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// An empty one. An entry that nobody asked for during `idle` is dropped. Look-ups run on `tasks`.
    #[must_use]
    pub fn new(idle: Duration, tasks: Tasks) -> Self {
        Self {
            answers: Cache::builder().max_capacity(ENTRIES).time_to_idle(idle).build(),
            flights: SingleFlight::new(tasks),
            epoch: AtomicU64::new(0),
            forgotten: AtomicU64::new(0),
        }
    }

    /// The fresh answer, else the result of the look-up that runs, else of `look_up`, which is started. The look-up
    /// runs to its end even if the caller stops waiting.
    ///
    /// # Errors
    /// What the look-up could not learn. [`Cause::Internal`]: its task ended without a result.
    pub async fn get<F>(&self, key: K, look_up: F) -> Result<V, Unknown>
    where
        F: Future<Output = LookedUp<V>> + Send + 'static,
    {
        if let Some(fresh) = self.fresh(&key) {
            return fresh;
        }
        let epoch = self.epoch();
        let start = || match self.fresh(&key) {
            Some(fresh) => Err(fresh),
            None => {
                let (answers, key) = (self.answers.clone(), key.clone());
                Ok(async move {
                    let looked_up = look_up.await;
                    let result = looked_up.result.clone();
                    store(&answers, key, looked_up, epoch);
                    result
                })
            }
        };
        match self.flights.join_or_start(&key, epoch, |began| began == epoch, start) {
            Err(fresh) => fresh,
            Ok(joined) => joined.flight().result().await.unwrap_or_else(|| {
                Err(Unknown::new(Cause::Internal, "Landfall's own look-up ended without an answer"))
            }),
        }
    }

    /// The answer, if it is fresh.
    pub fn fresh(&self, key: &K) -> Option<Result<V, Unknown>> {
        let answer = self.answers.get(key)?;
        let fresh = answer.epoch == self.epoch() && answer.at.elapsed() < answer.looked_up.ttl;
        fresh.then(|| answer.looked_up.result.clone())
    }

    /// The last success, however old, and whether something outdated it since.
    pub fn last(&self, key: &K) -> Option<(V, Age)> {
        let (value, epoch) = self.answers.get(key)?.last.clone()?;
        if epoch < self.forgotten.load(Ordering::Acquire) {
            return None;
        }
        Some((value, if epoch == self.epoch() { Age::Current } else { Age::Outdated }))
    }

    /// Stores an answer that was learned elsewhere.
    pub fn put(&self, key: K, looked_up: LookedUp<V>) {
        store(&self.answers, key, looked_up, self.epoch());
    }

    /// Forgets the answer of one key, if `matches` its last success.
    pub fn forget_if(&self, key: &K, matches: impl FnOnce(&V) -> bool) {
        let last = self.answers.get(key).and_then(|answer| answer.last.clone());
        if last.is_some_and(|(value, _)| matches(&value)) {
            self.answers.invalidate(key);
        }
    }

    /// Forgets all answers, and those of the look-ups that run.
    pub fn forget(&self) {
        self.outdate();
        // A look-up that runs may store its answer after `invalidate_all`: its epoch tells.
        self.forgotten.store(self.epoch(), Ordering::Release);
        self.answers.invalidate_all();
    }

    /// Makes all answers outdated, and those of the look-ups that run. [`last`](Self::last) still has them.
    pub fn outdate(&self) {
        self.epoch.fetch_add(1, Ordering::AcqRel);
    }

    fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }
}

/// Stores an answer, unless one of a later epoch is there already.
fn store<K, V>(answers: &Cache<K, Arc<Answer<V>>>, key: K, looked_up: LookedUp<V>, epoch: u64)
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    let at = Instant::now();
    answers.entry(key).and_compute_with(|entry| {
        let held = entry.map(moka::Entry::into_value);
        if held.as_ref().is_some_and(|held| held.epoch > epoch) {
            return Op::Nop;
        }
        let last = match &looked_up.result {
            Ok(value) => Some((value.clone(), epoch)),
            Err(_) => held.and_then(|held| held.last.clone()),
        };
        Op::Put(Arc::new(Answer { looked_up, at, epoch, last }))
    });
}

#[cfg(test)]
mod tests;
