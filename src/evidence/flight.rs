//! Single flight: one look-up for each question, in a task of its own that outlives whoever gave up waiting.
//!
//! A look-up that ended with its caller would be started anew by the next one, and a question that takes longer
//! than a caller has would never be answered (measured: 8 callers, 8 look-ups, nothing remembered).

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::domain::evidence::{Cause, Observation, Presence, Unknown};
use crate::domain::settings::CacheLife;

use super::memory::{Memories, Memory};
use super::metrics::Metrics;
use super::question::{Question, What, unanswered};
use super::station::{Station, Turn};

/// What those who wait for a flight look at.
pub(super) type Arrival = watch::Receiver<Option<Arc<Memory>>>;

/// How long answers live and how long an attempt may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Terms {
    pub life: CacheLife,
    pub attempt: Duration,
}

/// What became of a question that was not answered from memory.
pub(super) enum Boarded {
    /// Its flight landed a moment ago.
    Landed(Arc<Memory>),
    /// It is under way.
    UnderWay(Arrival),
    /// It cannot be asked now.
    Refused(Unknown),
}

/// The flights under way, and the memory that they fill.
pub(super) struct Flights {
    pub memories: Memories,
    pub metrics: Metrics,
    under_way: Mutex<HashMap<Question, Arrival>>,
    tasks: TaskTracker,
    end: CancellationToken,
    seed: RandomState,
    rolls: AtomicU64,
}

impl Flights {
    pub fn new(entries: u64, metrics: Metrics) -> Self {
        Self {
            memories: Memories::new(entries),
            metrics,
            under_way: Mutex::default(),
            tasks: TaskTracker::new(),
            end: CancellationToken::new(),
            seed: RandomState::new(),
            rolls: AtomicU64::new(0),
        }
    }

    /// Joins the question's flight, or starts it.
    pub fn board(self: &Arc<Self>, station: &Arc<Station>, question: Question, terms: Terms) -> Boarded {
        let mut under_way = self.under_way();
        if let Some(arrival) = under_way.get(&question) {
            self.metrics.joined(question.aspect());
            return Boarded::UnderWay(arrival.clone());
        }
        let now = Instant::now();
        if let Some(memory) = self.memories.get(&question).filter(|memory| memory.is_fresh(now)) {
            return Boarded::Landed(memory);
        }
        if let Some(unknown) = station.limit(now) {
            return Boarded::Refused(unknown);
        }
        let Some(turn) = station.queue() else { return Boarded::Refused(station.overloaded()) };
        let (sender, arrival) = watch::channel(None);
        under_way.insert(question.clone(), arrival.clone());
        drop(under_way);
        let (flights, station) = (self.clone(), station.clone());
        self.tasks.spawn(async move {
            let landing = Landing { flights: &flights, question: &question };
            let end = flights.end.cancelled();
            tokio::select! {
                () = end => {}
                memory = flights.look_up(&station, &question, turn, terms) => {
                    // What it learned is remembered by now: who comes after this finds that.
                    drop(landing);
                    sender.send_replace(Some(memory));
                }
            }
        });
        Boarded::UnderWay(arrival)
    }

    /// Asks, and remembers what was answered. That it may not be asked is no answer and is not remembered.
    async fn look_up(&self, station: &Station, question: &Question, turn: Turn, terms: Terms) -> Arc<Memory> {
        let queued = Instant::now();
        let attempt = station.attempt(turn).await;
        let began = Instant::now();
        self.metrics.queued(station, began - queued);
        let previous = self.memories.get(question);
        let remember = |question: &Question, answer, previous: Option<&Arc<Memory>>| {
            Arc::new(Memory::new(question, answer, Instant::now(), &terms.life, self.dice(), previous))
        };
        let attempt = match attempt {
            Ok(attempt) => attempt,
            Err(unknown) => {
                let answer = unanswered(question.aspect(), unknown);
                self.metrics.answered(station, question, &answer, None);
                return remember(question, answer, previous.as_ref());
            }
        };
        let deadline = began + terms.attempt;
        let answer = timeout_at(deadline, attempt.ask(question, deadline)).await.unwrap_or_else(|_| {
            let words = format!("`{}` gave no answer within {:?}", station.registry.name, terms.attempt);
            unanswered(question.aspect(), Unknown::new(Cause::Deadline, words))
        });
        attempt.end(&answer, self.dice());
        self.metrics.answered(station, question, &answer, Some(began.elapsed()));
        // A tag that means a digest says of the digest, too, that it is here.
        if let (
            What::Tag(_),
            Observation::Presence(Presence::Present { digest, .. } | Presence::ProxyCache { digest, .. }),
        ) = (&question.what, &answer)
        {
            let question = question.for_digest(*digest);
            let memory = remember(&question, answer.clone(), None);
            self.memories.put(question, memory);
        }
        let memory = remember(question, answer, previous.as_ref());
        self.memories.put(question.clone(), memory.clone());
        self.metrics.entries(self.memories.len());
        memory
    }

    /// Ends all flights, and waits until they have ended.
    pub async fn close(&self) {
        self.end.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// From 0 to 1; not for secrets.
    pub fn dice(&self) -> f64 {
        let roll = self.seed.hash_one(self.rolls.fetch_add(1, Ordering::Relaxed));
        f64::from((roll >> 32) as u32) / f64::from(u32::MAX)
    }

    fn under_way(&self) -> MutexGuard<'_, HashMap<Question, Arrival>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes a flight off the board, however it ends.
struct Landing<'a> {
    flights: &'a Flights,
    question: &'a Question,
}

impl Drop for Landing<'_> {
    fn drop(&mut self) {
        self.flights.under_way().remove(self.question);
    }
}
