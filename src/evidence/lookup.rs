//! Look-ups: one for each question, in a task of its own that fills the answer cache.
//!
//! [`SingleFlight`] runs them. What is added here is what only a registry needs: the queue, the health, the budget, and
//! epochs that tell which repositories changed.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use crate::domain::evidence::Observation;

use crate::domain::settings::CacheLife;
use crate::domain::unknown::{Cause, Unknown};
use crate::registry::{Flight, Joined, SingleFlight, Tasks};

use super::answer_cache::AnswerCache;
use super::background::{NoSlot, Permit};
use super::cached_answer::{CachedAnswer, gone};
use super::fair_queue::{Asker, Ticket, TicketId};
use super::invalidation::{Epoch, Scope};
use super::metrics::{BackgroundTask, Metrics};
use super::question::{Question, unanswered};
use super::upstream::Upstream;
use super::verdict_cache::Generation;

/// What the settings say about look-ups.
#[derive(Debug, Clone, Copy)]
pub(super) struct Terms {
    pub life: CacheLife,
    /// The most time of one attempt.
    pub attempt: Duration,
}

/// What became of a question that the cache could not answer.
pub(super) enum Start {
    /// An answer arrived a moment ago.
    Cached(Arc<CachedAnswer>),
    /// A look-up is in progress.
    InProgress(Flight<Arc<CachedAnswer>>),
    /// The registry cannot be asked now.
    Refused(Unknown),
}

/// The look-ups in progress, and the cache that they fill.
pub(super) struct Lookups {
    pub answers: AnswerCache,
    generation: Generation,
    pub metrics: Metrics,
    flights: SingleFlight<Question, Begun, Arc<CachedAnswer>>,
    tasks: Tasks,
}

/// How a look-up in progress began.
#[derive(Debug, Clone, Copy)]
struct Begun {
    epoch: Epoch,
    /// Its number in the queue.
    id: TicketId,
}

/// Whether an answer that is still fresh is enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Accept {
    Fresh,
    OnlyNewer,
}

impl Lookups {
    /// Look-ups run on `tasks`.
    pub fn new(metrics: Metrics, generation: Generation, tasks: Tasks) -> Self {
        Self {
            answers: AnswerCache::new(),
            generation,
            metrics,
            flights: SingleFlight::new(tasks.clone()),
            tasks,
        }
    }

    /// Joins the question's look-up, or starts it.
    pub fn join_or_start(
        self: &Arc<Self>,
        upstream: &Arc<Upstream>,
        question: Question,
        terms: Terms,
        (accept, asker): (Accept, Asker),
    ) -> Start {
        self.start(upstream, question, terms, accept, (asker, None))
    }

    /// Looks a question up again though its answer is fresh, if the registry is idle.
    pub fn renew(self: &Arc<Self>, upstream: &Arc<Upstream>, cached: &CachedAnswer, terms: Terms) {
        if !upstream.is_idle(&cached.question.repository, Instant::now()) {
            return;
        }
        let Some(permit) = upstream.background.at_once() else { return };
        if cached.start_renewal() {
            self.metrics.ran(upstream, BackgroundTask::Renewal);
            self.start(
                upstream,
                cached.question.clone(),
                terms,
                Accept::OnlyNewer,
                (Asker::Background, Some(permit)),
            );
        }
    }

    /// Looks up in the background, for later callers.
    pub fn look_up_later(
        self: &Arc<Self>,
        upstream: &Arc<Upstream>,
        question: Question,
        terms: Terms,
        task: BackgroundTask,
    ) {
        if upstream.unavailable().is_some() || upstream.limit(&question.repository, Instant::now()).is_some()
        {
            return;
        }
        let slot = match upstream.background.queue(&question) {
            Ok(slot) => slot,
            Err(NoSlot::Queued) => return,
            Err(NoSlot::Full) => return self.metrics.ran(upstream, BackgroundTask::Dropped),
        };
        let (lookups, upstream) = (self.clone(), upstream.clone());
        self.tasks.spawn(async move {
            let permit = upstream.background.acquire(slot).await;
            lookups.metrics.ran(&upstream, task);
            lookups.start(&upstream, question, terms, Accept::Fresh, (Asker::Background, permit));
        });
    }

    fn start(
        self: &Arc<Self>,
        upstream: &Arc<Upstream>,
        question: Question,
        terms: Terms,
        accept: Accept,
        (asker, permit): (Asker, Option<Permit>),
    ) -> Start {
        let now = Instant::now();
        let view = upstream.view(now, &terms.life);
        let began = Begun { epoch: view.epochs.epoch(), id: upstream.queue.next_id() };
        // A look-up that began before a change brings what was before it.
        let is_current = |Begun { epoch, id }: Begun| {
            let current = !view.epochs.invalidated(epoch, question.scopes()) && !view.epochs.rotated(epoch);
            if current {
                upstream.queue.also_for(id, asker.clone());
            }
            current
        };
        let joined = self.flights.join_or_start(&question, began, is_current, || {
            let cached = self.answers.get(&question);
            if let Some(cached) = cached.filter(|cached| accept == Accept::Fresh && cached.is_fresh(&view)) {
                return Err(Start::Cached(cached));
            }
            if let Some(unknown) = upstream.limit(&question.repository, now) {
                return Err(Start::Refused(unknown));
            }
            let queued = upstream.join_queue(began.id, asker.clone()).map_err(Start::Refused)?;
            let (lookups, upstream, question) = (self.clone(), upstream.clone(), question.clone());
            Ok(async move {
                let _permit = permit;
                lookups.look_up(&upstream, &question, queued, began.epoch, terms).await
            })
        });
        match joined {
            Ok(Joined::Running(flight)) => {
                self.metrics.joined(question.aspect());
                Start::InProgress(flight)
            }
            Ok(Joined::Started(flight)) => Start::InProgress(flight),
            Err(start) => start,
        }
    }

    /// Asks the registry and stores its answer. That it may not be asked now is no answer, and is not stored.
    async fn look_up(
        &self,
        upstream: &Upstream,
        question: &Question,
        ticket: Ticket,
        epoch: Epoch,
        terms: Terms,
    ) -> Arc<CachedAnswer> {
        let queued = Instant::now();
        let attempt = upstream.attempt(ticket, &question.repository).await;
        let began = Instant::now();
        self.metrics.queued(upstream, began - queued);
        let cached = |question: Question, answer, epoch, previous: Option<&Arc<CachedAnswer>>| {
            let view = upstream.view(Instant::now(), &terms.life);
            Arc::new(CachedAnswer::new(question, answer, epoch, fastrand::f64(), previous, &view))
        };
        let attempt = match attempt {
            Ok(attempt) => attempt,
            Err(unknown) => {
                let answer = unanswered(question.aspect(), unknown);
                self.metrics.answered(upstream, question, &answer, None);
                return cached(question.clone(), answer, epoch, self.answers.get(question).as_ref());
            }
        };
        let deadline = began + terms.attempt;
        let answer = timeout_at(deadline, attempt.ask(question, deadline)).await.unwrap_or_else(|_| {
            let detail = format!("`{}` gave no answer within {:?}", upstream.registry.name, terms.attempt);
            unanswered(question.aspect(), Unknown::new(Cause::Deadline, detail))
        });
        attempt.end(question, &answer, fastrand::f64());
        upstream.phase(Instant::now());
        self.metrics.answered(upstream, question, &answer, Some(began.elapsed()));
        let epoch = self.end_presence(upstream, question, &answer).unwrap_or(epoch);
        let cached = cached(question.clone(), answer, epoch, self.answers.get(question).as_ref());
        self.store(upstream, cached, &terms)
    }

    /// If the answer says that a digest is gone that is cached as present, outdates what is cached of it. Returns the epoch
    /// after that, in which the answer itself counts.
    fn end_presence(&self, upstream: &Upstream, question: &Question, answer: &Observation) -> Option<Epoch> {
        let digest = gone(question, answer)?;
        self.answers.get(&question.for_digest(digest)).filter(|held| held.is_presence())?;
        upstream.invalidate(Scope::Digest(digest));
        Some(upstream.epoch())
    }

    /// Stores an answer, and returns the one that counts. An unknown or an outdated answer does not replace a fresh
    /// one, and our own failure replaces nothing.
    fn store(&self, upstream: &Upstream, cached: Arc<CachedAnswer>, terms: &Terms) -> Arc<CachedAnswer> {
        let view = upstream.view(Instant::now(), &terms.life);
        let held = self.answers.get(&cached.question);
        if let Some(held) = held.as_ref().filter(|held| held.is_fresh(&view))
            && (cached.is_unknown() || !cached.is_fresh(&view))
        {
            return held.clone();
        }
        if cached.is_internal() {
            return cached;
        }
        let changed = held.is_some_and(|held| held.differs_from(&cached));
        self.metrics.cache_size(self.answers.put(cached.clone(), view.now, &terms.life));
        // After the store: whoever sees the new generation also sees the new answer.
        if changed {
            self.generation.bump();
        }
        cached
    }

    /// The questions that are being looked up.
    pub fn in_progress(&self) -> Vec<Question> {
        self.flights.keys()
    }

    /// Cancels all look-ups, and waits until they have ended.
    pub async fn close(&self) {
        self.tasks.close().await;
    }
}
