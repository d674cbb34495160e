//! Facts that many questions share: one look-up for all who ask at once, one answer for all who ask soon after.

use std::future::Future;
use std::hash::Hash;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use moka::sync::Cache;
use tokio::sync::Mutex as Turn;
use tokio::time::{Instant, timeout_at};

use crate::domain::evidence::{Cause, Unknown};

/// Projects of one Harbor that are remembered at once.
const ENTRIES: u64 = 10_000;

/// What nobody asked for so long is forgotten.
const IDLE: Duration = Duration::from_secs(24 * 3600);

/// A short memory with single flight.
pub(super) struct Shared<K, V> {
    facts: Cache<K, Arc<Fact<V>>>,
    /// Counts what outdated all that was learned.
    epoch: AtomicU64,
}

/// What was learned, and how long it may be told on.
#[derive(Clone)]
pub(super) struct Held<V> {
    pub learned: Result<V, Unknown>,
    pub fresh: Duration,
}

/// Whether what was learned last is of the present epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Age {
    Current,
    Outdated,
}

struct Fact<V> {
    known: Mutex<Known<V>>,
    /// Held by the look-up under way.
    flight: Arc<Turn<()>>,
}

struct Known<V> {
    now: Option<Landed<V>>,
    /// What was learned last, however long ago, and in which epoch.
    last: Option<(V, u64)>,
}

struct Landed<V> {
    held: Held<V>,
    at: Instant,
    epoch: u64,
}

impl<V: Clone> Fact<V> {
    fn new() -> Self {
        Self { known: Mutex::new(Known { now: None, last: None }), flight: Arc::default() }
    }

    fn known(&self) -> MutexGuard<'_, Known<V>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, held: Held<V>, epoch: u64) {
        let mut known = self.known();
        if let Ok(learned) = &held.learned {
            known.last = Some((learned.clone(), epoch));
        }
        known.now = Some(Landed { held, at: Instant::now(), epoch });
    }

    /// What is fresh; to those who asked before it was learned, it is.
    fn told(&self, asked: Option<Instant>, epoch: u64) -> Option<Result<V, Unknown>> {
        let known = self.known();
        let landed = known.now.as_ref().filter(|landed| landed.epoch == epoch)?;
        let fresh = landed.at.elapsed() < landed.held.fresh || asked.is_some_and(|asked| asked <= landed.at);
        fresh.then(|| landed.held.learned.clone())
    }
}

impl<K, V> Shared<K, V>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    pub fn new() -> Self {
        let facts = Cache::builder().max_capacity(ENTRIES).time_to_idle(IDLE).build();
        Self { facts, epoch: AtomicU64::new(0) }
    }

    /// What is known, else what `look_up` learns, waited for until `deadline`.
    ///
    /// The look-up runs to its end whoever gives up waiting: one that ended with its caller would be started anew by
    /// the next, and a question that takes longer than a caller has would never be answered.
    pub async fn get<F>(&self, key: K, deadline: Instant, look_up: F) -> Result<V, Unknown>
    where
        F: Future<Output = Held<V>> + Send + 'static,
    {
        let (asked, epoch) = (Instant::now(), self.epoch.load(Ordering::Acquire));
        let fact = self.facts.get_with(key, || Arc::new(Fact::new()));
        if let Some(told) = fact.told(None, epoch) {
            return told;
        }
        let mut look_up = Some(look_up);
        // The one under way may be of another epoch; the next one is ours.
        for _ in 0..2 {
            if let Ok(turn) = fact.flight.clone().try_lock_owned()
                && let Some(look_up) = look_up.take()
            {
                let fact = fact.clone();
                tokio::spawn(async move {
                    fact.put(look_up.await, epoch);
                    drop(turn);
                });
            }
            if timeout_at(deadline, fact.flight.lock()).await.is_err() {
                return Err(Unknown::new(Cause::Deadline, "Harbor's API did not answer in time"));
            }
            if let Some(told) = fact.told(Some(asked), epoch) {
                return told;
            }
        }
        Err(Unknown::new(Cause::Broken, "the look-up was abandoned"))
    }

    /// What was learned last, however long ago, and whether anything outdated it since.
    pub fn last(&self, key: &K) -> Option<(V, Age)> {
        let (learned, epoch) = self.facts.get(key)?.known().last.clone()?;
        let age = if epoch == self.epoch.load(Ordering::Acquire) { Age::Current } else { Age::Outdated };
        Some((learned, age))
    }

    /// Replaces what is known.
    pub fn put(&self, key: K, held: Held<V>) {
        let fact = self.facts.get_with(key, || Arc::new(Fact::new()));
        fact.put(held, self.epoch.load(Ordering::Acquire));
    }

    /// Nothing that was learned, or is being learned, is known any more.
    pub fn forget(&self) {
        // Who looks a fact up just now has it in hand, and finds that it is of another epoch.
        self.outdate();
        self.facts.invalidate_all();
    }

    /// Nothing that was learned, or is being learned, is fresh any more.
    pub fn outdate(&self) {
        self.epoch.fetch_add(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::Semaphore;

    use super::*;

    const LONG: Duration = Duration::from_secs(3600);

    /// The measured trap: callers that give up must neither abort the look-up nor repeat it.
    #[tokio::test]
    async fn a_look_up_survives_its_callers() {
        let shared: Arc<Shared<u8, u32>> = Arc::new(Shared::new());
        let (asked, gate) = (Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(0)));
        let look_up = || {
            let (asked, gate) = (asked.clone(), gate.clone());
            async move {
                asked.fetch_add(1, Ordering::SeqCst);
                let learned = gate.acquire().await.map(|_| 7).map_err(|_| unreachable!());
                Held { learned, fresh: LONG }
            }
        };
        let late = tokio::time::Instant::now();
        for _ in 0..8 {
            let given_up = shared.get(1, late, look_up()).await.unwrap_err();
            assert_eq!(given_up.cause, Cause::Deadline);
        }
        gate.add_permits(1);
        let patient = late + LONG;
        assert_eq!(shared.get(1, patient, look_up()).await, Ok(7));
        assert_eq!(shared.get(1, late, look_up()).await, Ok(7), "known: no waiting");
        assert_eq!(asked.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn what_is_no_longer_fresh_is_asked_again() {
        let shared: Shared<u8, u32> = Shared::new();
        let patient = tokio::time::Instant::now() + LONG;
        let once = |learned| async move { Held { learned: Ok(learned), fresh: Duration::ZERO } };
        assert_eq!(shared.get(1, patient, once(1)).await, Ok(1));
        assert_eq!(shared.get(1, patient, once(2)).await, Ok(2));
        shared.put(1, Held { learned: Ok(3), fresh: LONG });
        assert_eq!(shared.get(1, patient, once(4)).await, Ok(3));
        shared.outdate();
        assert_eq!(shared.get(1, patient, once(5)).await, Ok(5));
    }

    #[tokio::test]
    async fn what_was_learned_last_is_known_behind_silence() {
        let shared: Shared<u8, u32> = Shared::new();
        let patient = tokio::time::Instant::now() + LONG;
        let learns = |learned| async move { Held { learned, fresh: Duration::ZERO } };
        let silence = || Err(Unknown::new(Cause::Deadline, "slow"));
        assert_eq!(shared.get(1, patient, learns(silence())).await, silence());
        assert_eq!(shared.last(&1), None);
        assert_eq!(shared.get(1, patient, learns(Ok(1))).await, Ok(1));
        assert_eq!(shared.get(1, patient, learns(silence())).await, silence());
        assert_eq!(shared.last(&1), Some((1, Age::Current)));
        shared.outdate();
        assert_eq!(shared.last(&1), Some((1, Age::Outdated)));
        shared.forget();
        assert_eq!(shared.last(&1), None);
        assert_eq!(shared.get(1, patient, learns(Ok(2))).await, Ok(2));
        assert_eq!(shared.last(&1), Some((2, Age::Current)));
    }

    /// Who asks after the change is not told what was asked before it.
    #[tokio::test]
    async fn a_look_up_from_before_a_change_is_not_told_after_it() {
        let shared: Arc<Shared<u8, u32>> = Arc::new(Shared::new());
        let gate = Arc::new(Semaphore::new(0));
        let old = {
            let gate = gate.clone();
            async move {
                gate.acquire().await.unwrap().forget();
                Held { learned: Ok(1), fresh: LONG }
            }
        };
        let now = tokio::time::Instant::now();
        assert_eq!(shared.get(1, now, old).await.unwrap_err().cause, Cause::Deadline);
        shared.outdate();
        let new = async { Held { learned: Ok(2), fresh: LONG } };
        let (told, ()) = tokio::join!(shared.get(1, now + LONG, new), async {
            tokio::task::yield_now().await;
            gate.add_permits(1);
        });
        assert_eq!(told, Ok(2));
    }
}
