//! Facts that many questions share: one look-up for all who ask at once, one answer for all who ask soon after.

use std::future::Future;
use std::hash::Hash;
use std::time::{Duration, Instant};

use moka::future::Cache;
use tokio::time::timeout_at;

use crate::domain::evidence::{Cause, Unknown};

/// Projects of one Harbor that are remembered at once.
const ENTRIES: u64 = 10_000;

/// A short memory with single flight.
pub(super) struct Shared<K, V>(Cache<K, Held<V>>);

/// What was learned, and how long it may be told on.
#[derive(Clone)]
pub(super) struct Held<V> {
    pub learned: Result<V, Unknown>,
    pub fresh: Duration,
}

struct ByEntry;

impl<K, V> moka::Expiry<K, Held<V>> for ByEntry {
    fn expire_after_create(&self, _key: &K, held: &Held<V>, _now: Instant) -> Option<Duration> {
        Some(held.fresh)
    }
}

impl<K, V> Shared<K, V>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    pub fn new() -> Self {
        Self(Cache::builder().max_capacity(ENTRIES).expire_after(ByEntry).build())
    }

    /// What is known, else what `look_up` learns, waited for until `deadline`.
    ///
    /// The look-up runs to its end whoever gives up waiting: dropped with its caller, moka would start it anew for
    /// the next one, and a question that takes longer than a caller has would never be answered.
    pub async fn get<F>(&self, key: K, deadline: tokio::time::Instant, look_up: F) -> Result<V, Unknown>
    where
        F: Future<Output = Held<V>> + Send + 'static,
    {
        if let Some(held) = self.0.get(&key).await {
            return held.learned;
        }
        let cache = self.0.clone();
        let flight = tokio::spawn(async move { cache.get_with(key, look_up).await });
        match timeout_at(deadline, flight).await {
            Ok(Ok(held)) => held.learned,
            Ok(Err(_)) => Err(Unknown::new(Cause::Broken, "the look-up was abandoned")),
            Err(_) => Err(Unknown::new(Cause::Deadline, "Harbor's API did not answer in time")),
        }
    }

    /// Replaces what is known.
    pub async fn put(&self, key: K, held: Held<V>) {
        self.0.insert(key, held).await;
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
        shared.put(1, Held { learned: Ok(3), fresh: LONG }).await;
        assert_eq!(shared.get(1, patient, once(4)).await, Ok(3));
    }
}
