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

use super::background::{Leave, NoPlace};
use super::currency::Stamp;
use super::memories::Memories;
use super::memory::Memory;
use super::metrics::{Errand, Metrics};
use super::question::{Question, What, unanswered};
use super::settled::Changes;
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
    changes: Changes,
    pub metrics: Metrics,
    under_way: Mutex<HashMap<Question, Flight>>,
    tasks: TaskTracker,
    end: CancellationToken,
    seed: RandomState,
    rolls: AtomicU64,
}

/// A flight under way.
struct Flight {
    arrival: Arrival,
    /// Of when it began: what changed since, it may not have seen.
    stamp: Stamp,
}

/// Whether an answer that is still fresh will do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wish {
    Fresh,
    Newer,
}

impl Flights {
    pub fn new(metrics: Metrics, changes: Changes) -> Self {
        Self {
            memories: Memories::new(),
            changes,
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
        self.fly(station, question, terms, Wish::Fresh, None)
    }

    /// Looks it up again though its answer is fresh, if the registry has nothing better to do.
    pub fn renew(self: &Arc<Self>, station: &Arc<Station>, memory: &Memory, terms: Terms) {
        if !station.is_idle(Instant::now()) {
            return;
        }
        let Some(leave) = station.background.at_once() else { return };
        if memory.looked_up_ahead() {
            self.metrics.ran(station, Errand::Renewal);
            self.fly(station, memory.question.clone(), terms, Wish::Newer, Some(leave));
        }
    }

    /// Asks what a tag means, later, for whoever asks then.
    pub fn prove(self: &Arc<Self>, station: &Arc<Station>, question: Question, terms: Terms) {
        if station.closed().is_some() || station.limit(Instant::now()).is_some() {
            return;
        }
        let place = match station.background.queue(&question) {
            Ok(place) => place,
            Err(NoPlace::Queued) => return,
            Err(NoPlace::Full) => return self.metrics.ran(station, Errand::Dropped),
        };
        let (flights, station) = (self.clone(), station.clone());
        self.tasks.spawn(async move {
            tokio::select! {
                () = flights.end.cancelled() => {}
                leave = station.background.turn(place) => {
                    flights.metrics.ran(&station, Errand::Proof);
                    flights.fly(&station, question, terms, Wish::Fresh, leave);
                }
            }
        });
    }

    fn fly(
        self: &Arc<Self>,
        station: &Arc<Station>,
        question: Question,
        terms: Terms,
        wish: Wish,
        leave: Option<Leave>,
    ) -> Boarded {
        let now = Instant::now();
        let view = station.view(now, &terms.life);
        let stamp = view.currency.stamp();
        let mut under_way = self.under_way();
        // One that began before something changed brings what was before, so it is left to those who wait for it.
        let current = |flight: &&Flight| {
            let Flight { stamp, .. } = **flight;
            !view.currency.invalidated(stamp, question.scopes()) && !view.currency.rotated(stamp)
        };
        if let Some(flight) = under_way.get(&question).filter(current) {
            self.metrics.joined(question.aspect());
            return Boarded::UnderWay(flight.arrival.clone());
        }
        let memory = self.memories.get(&question);
        if let Some(memory) = memory.filter(|memory| wish == Wish::Fresh && memory.is_fresh(&view)) {
            return Boarded::Landed(memory);
        }
        if let Some(unknown) = station.limit(now) {
            return Boarded::Refused(unknown);
        }
        let Some(turn) = station.queue() else { return Boarded::Refused(station.overloaded()) };
        let (sender, arrival) = watch::channel(None);
        under_way.insert(question.clone(), Flight { arrival: arrival.clone(), stamp });
        drop(under_way);
        let (flights, station, landing) = (self.clone(), station.clone(), arrival.clone());
        self.tasks.spawn(async move {
            let landing = Landing { flights: &flights, question: &question, arrival: landing };
            let end = flights.end.cancelled();
            let _leave = leave;
            tokio::select! {
                () = end => {}
                memory = flights.look_up(&station, &question, turn, stamp, terms) => {
                    // What it learned is remembered by now: who comes after this finds that.
                    drop(landing);
                    sender.send_replace(Some(memory));
                }
            }
        });
        Boarded::UnderWay(arrival)
    }

    /// Asks, and remembers what was answered. That it may not be asked is no answer and is not remembered.
    async fn look_up(
        &self,
        station: &Station,
        question: &Question,
        turn: Turn,
        stamp: Stamp,
        terms: Terms,
    ) -> Arc<Memory> {
        let queued = Instant::now();
        let attempt = station.attempt(turn).await;
        let began = Instant::now();
        self.metrics.queued(station, began - queued);
        let memory = |question: Question, answer, previous: Option<&Arc<Memory>>| {
            let view = station.view(Instant::now(), &terms.life);
            Arc::new(Memory::new(question, answer, stamp, self.dice(), previous, &view))
        };
        let attempt = match attempt {
            Ok(attempt) => attempt,
            Err(unknown) => {
                let answer = unanswered(question.aspect(), unknown);
                self.metrics.answered(station, question, &answer, None);
                return memory(question.clone(), answer, self.memories.get(question).as_ref());
            }
        };
        let deadline = began + terms.attempt;
        let answer = timeout_at(deadline, attempt.ask(question, deadline)).await.unwrap_or_else(|_| {
            let words = format!("`{}` gave no answer within {:?}", station.registry.name, terms.attempt);
            unanswered(question.aspect(), Unknown::new(Cause::Deadline, words))
        });
        attempt.end(question, &answer, self.dice());
        station.phase(Instant::now());
        self.metrics.answered(station, question, &answer, Some(began.elapsed()));
        // A tag that means a digest says of the digest, too, that it is here.
        if let (
            What::Tag(_),
            Observation::Presence(Presence::Present { digest, .. } | Presence::ProxyCache { digest, .. }),
        ) = (&question.what, &answer)
        {
            self.remember(station, memory(question.for_digest(*digest), answer.clone(), None), &terms);
        }
        let memory = memory(question.clone(), answer, self.memories.get(question).as_ref());
        self.remember(station, memory, &terms)
    }

    /// Remembers it, unless it is silence or outdated and something better is fresh: that is what counts then.
    fn remember(&self, station: &Station, memory: Arc<Memory>, terms: &Terms) -> Arc<Memory> {
        let view = station.view(Instant::now(), &terms.life);
        let held = self.memories.get(&memory.question);
        if let Some(held) = held.as_ref().filter(|held| held.is_fresh(&view))
            && (memory.is_silence() || !memory.is_fresh(&view))
        {
            return held.clone();
        }
        let changed = held.is_some_and(|held| held.says_otherwise(&memory));
        self.metrics.stock(self.memories.put(memory.clone(), view.now, &terms.life));
        // Only now: who counts first and looks then sees the new answer.
        if changed {
            self.changes.turn();
        }
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

    fn under_way(&self) -> MutexGuard<'_, HashMap<Question, Flight>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes a flight off the board, however it ends, unless another took its place.
struct Landing<'a> {
    flights: &'a Flights,
    question: &'a Question,
    arrival: Arrival,
}

impl Drop for Landing<'_> {
    fn drop(&mut self) {
        let mut under_way = self.flights.under_way();
        if under_way.get(self.question).is_some_and(|flight| flight.arrival.same_channel(&self.arrival)) {
            under_way.remove(self.question);
        }
    }
}
