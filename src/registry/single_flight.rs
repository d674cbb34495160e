//! Single flight: one task for each key, however many callers want its result.
//!
//! The task runs to its end whoever gives up waiting. A look-up that ended with its caller would be started anew by
//! the next one, and a question that takes longer than a caller has would never be answered (measured: 8 callers, 8
//! look-ups, nothing remembered).

use std::collections::HashMap;
use std::future::Future;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::tasks::Tasks;

/// The flights by key. `E` is the epoch in which a flight began: a change since then makes its result outdated for
/// callers that come after the change.
pub struct SingleFlight<K, E, V> {
    flights: Flights<K, E, V>,
    tasks: Tasks,
}

type Flights<K, E, V> = Arc<Mutex<HashMap<K, (E, Flight<V>)>>>;

/// A running flight, as a caller sees it.
#[derive(Debug, Clone)]
pub struct Flight<V>(watch::Receiver<Option<V>>);

/// How a caller came to its flight.
#[derive(Debug)]
pub enum Joined<V> {
    /// It was running.
    Running(Flight<V>),
    /// The caller started it.
    Started(Flight<V>),
}

impl<V: Clone> Flight<V> {
    /// Waits for the result. `None`: the task ended without one, because it was cancelled or it panicked.
    pub async fn result(mut self) -> Option<V> {
        let result = self.0.wait_for(Option::is_some).await;
        result.ok().and_then(|result| result.clone())
    }
}

impl<V> Joined<V> {
    /// The flight.
    pub fn flight(self) -> Flight<V> {
        match self {
            Self::Running(flight) | Self::Started(flight) => flight,
        }
    }
}

impl<K, E, V> SingleFlight<K, E, V>
where
    K: Hash + Eq + Clone + Send + 'static,
    E: Copy + Send + 'static,
    V: Send + Sync + 'static,
{
    /// No flights. Their tasks are spawned on `tasks`.
    pub fn new(tasks: Tasks) -> Self {
        Self { flights: Arc::default(), tasks }
    }

    /// Joins the flight of this key if it began in an epoch that `is_current` accepts, else starts the work that
    /// `start` returns, under `epoch`. An outdated flight is left to those who wait for it.
    ///
    /// `start` may look into a cache first and refuse: it is called under a lock, and a flight stores its result
    /// before it ends, so a result that has just arrived is not missed.
    ///
    /// # Errors
    /// What `start` returned instead of work.
    pub fn join_or_start<F, R>(
        &self,
        key: &K,
        epoch: E,
        is_current: impl FnOnce(E) -> bool,
        start: impl FnOnce() -> Result<F, R>,
    ) -> Result<Joined<V>, R>
    where
        F: Future<Output = V> + Send + 'static,
    {
        let mut flights = lock(&self.flights);
        if let Some((began, flight)) = flights.get(key)
            && is_current(*began)
        {
            return Ok(Joined::Running(Flight(flight.0.clone())));
        }
        let work = start()?;
        let (sender, result) = watch::channel(None);
        flights.insert(key.clone(), (epoch, Flight(result.clone())));
        drop(flights);
        let entry = Entry { flights: self.flights.clone(), key: key.clone(), flight: Flight(result.clone()) };
        self.tasks.spawn(async move {
            let entry = entry;
            let result = work.await;
            // First the entry: whoever sees the result and asks again must not join a flight that has ended.
            drop(entry);
            sender.send_replace(Some(result));
        });
        Ok(Joined::Started(Flight(result)))
    }

    /// The keys of the flights that run now.
    pub fn keys(&self) -> Vec<K> {
        lock(&self.flights).keys().cloned().collect()
    }
}

/// Removes a flight from the table when its task ends, however it ends, unless a newer flight took its place.
struct Entry<K: Hash + Eq, E, V> {
    flights: Flights<K, E, V>,
    key: K,
    flight: Flight<V>,
}

impl<K: Hash + Eq, E, V> Drop for Entry<K, E, V> {
    fn drop(&mut self) {
        let mut flights = lock(&self.flights);
        if flights.get(&self.key).is_some_and(|(_, flight)| flight.0.same_channel(&self.flight.0)) {
            flights.remove(&self.key);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
