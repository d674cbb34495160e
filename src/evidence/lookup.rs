//! Single lookup: one look-up for each question, in a task of its own that outlives whoever gave up waiting.
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

use super::answer_cache::AnswerCache;
use super::background::{NoSlot, Permit};
use super::cached_answer::CachedAnswer;
use super::invalidation::Epoch;
use super::metrics::{BackgroundTask, Metrics};
use super::question::{Question, What, unanswered};
use super::upstream::{QueueSlot, Upstream};
use super::verdict_cache::Generation;

/// What those who wait for a lookup look at.
pub(super) type LookupResult = watch::Receiver<Option<Arc<CachedAnswer>>>;

/// How long answers live and how long an attempt may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Terms {
    pub life: CacheLife,
    pub attempt: Duration,
}

/// What became of a question that was not answered from memory.
pub(super) enum Joined {
    /// Its lookup answered a moment ago.
    Answered(Arc<CachedAnswer>),
    /// It is under way.
    UnderWay(LookupResult),
    /// It cannot be asked now.
    Refused(Unknown),
}

/// The lookups under way, and the memory that they fill.
pub(super) struct Lookups {
    pub answers: AnswerCache,
    generation: Generation,
    pub metrics: Metrics,
    in_progress: Mutex<HashMap<Question, Lookup>>,
    tasks: TaskTracker,
    end: CancellationToken,
    seed: RandomState,
    rolls: AtomicU64,
}

/// A lookup under way.
struct Lookup {
    result: LookupResult,
    /// Of when it began: what changed since, it may not have seen.
    epoch: Epoch,
}

/// Whether an answer that is still fresh will do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wish {
    Fresh,
    Newer,
}

impl Lookups {
    pub fn new(metrics: Metrics, generation: Generation) -> Self {
        Self {
            answers: AnswerCache::new(),
            generation,
            metrics,
            in_progress: Mutex::default(),
            tasks: TaskTracker::new(),
            end: CancellationToken::new(),
            seed: RandomState::new(),
            rolls: AtomicU64::new(0),
        }
    }

    /// Joins the question's lookup, or starts it.
    pub fn join_or_start(
        self: &Arc<Self>,
        upstream: &Arc<Upstream>,
        question: Question,
        terms: Terms,
    ) -> Joined {
        self.start(upstream, question, terms, Wish::Fresh, None)
    }

    /// Looks it up again though its answer is fresh, if the registry has nothing better to do.
    pub fn renew(self: &Arc<Self>, upstream: &Arc<Upstream>, cached: &CachedAnswer, terms: Terms) {
        if !upstream.is_idle(Instant::now()) {
            return;
        }
        let Some(permit) = upstream.background.at_once() else { return };
        if cached.looked_up_ahead() {
            self.metrics.ran(upstream, BackgroundTask::Renewal);
            self.start(upstream, cached.question.clone(), terms, Wish::Newer, Some(permit));
        }
    }

    /// Asks what a tag means, later, for whoever asks then.
    pub fn prove(self: &Arc<Self>, upstream: &Arc<Upstream>, question: Question, terms: Terms) {
        if upstream.closed().is_some() || upstream.limit(Instant::now()).is_some() {
            return;
        }
        let slot = match upstream.background.queue(&question) {
            Ok(slot) => slot,
            Err(NoSlot::Queued) => return,
            Err(NoSlot::Full) => return self.metrics.ran(upstream, BackgroundTask::Dropped),
        };
        let (lookups, upstream) = (self.clone(), upstream.clone());
        self.tasks.spawn(async move {
            tokio::select! {
                () = lookups.end.cancelled() => {}
                permit = upstream.background.acquire(slot) => {
                    lookups.metrics.ran(&upstream, BackgroundTask::Proof);
                    lookups.start(&upstream, question, terms, Wish::Fresh, permit);
                }
            }
        });
    }

    fn start(
        self: &Arc<Self>,
        upstream: &Arc<Upstream>,
        question: Question,
        terms: Terms,
        wish: Wish,
        permit: Option<Permit>,
    ) -> Joined {
        let now = Instant::now();
        let view = upstream.view(now, &terms.life);
        let epoch = view.epochs.epoch();
        let mut in_progress = self.in_progress();
        // One that began before something changed brings what was before, so it is left to those who wait for it.
        let current = |lookup: &&Lookup| {
            let Lookup { epoch, .. } = **lookup;
            !view.epochs.invalidated(epoch, question.scopes()) && !view.epochs.rotated(epoch)
        };
        if let Some(lookup) = in_progress.get(&question).filter(current) {
            self.metrics.joined(question.aspect());
            return Joined::UnderWay(lookup.result.clone());
        }
        let cached = self.answers.get(&question);
        if let Some(cached) = cached.filter(|cached| wish == Wish::Fresh && cached.is_fresh(&view)) {
            return Joined::Answered(cached);
        }
        if let Some(unknown) = upstream.limit(now) {
            return Joined::Refused(unknown);
        }
        let Some(slot) = upstream.queue() else { return Joined::Refused(upstream.overloaded()) };
        let (sender, result) = watch::channel(None);
        in_progress.insert(question.clone(), Lookup { result: result.clone(), epoch });
        drop(in_progress);
        let (lookups, upstream, registration) = (self.clone(), upstream.clone(), result.clone());
        self.tasks.spawn(async move {
            let registration = Registration { lookups: &lookups, question: &question, result: registration };
            let end = lookups.end.cancelled();
            let _leave = permit;
            tokio::select! {
                () = end => {}
                cached = lookups.look_up(&upstream, &question, slot, epoch, terms) => {
                    // What it learned is remembered by now: who comes after this finds that.
                    drop(registration);
                    sender.send_replace(Some(cached));
                }
            }
        });
        Joined::UnderWay(result)
    }

    /// Asks, and remembers what was answered. That it may not be asked is no answer and is not remembered.
    async fn look_up(
        &self,
        upstream: &Upstream,
        question: &Question,
        slot: QueueSlot,
        epoch: Epoch,
        terms: Terms,
    ) -> Arc<CachedAnswer> {
        let queued = Instant::now();
        let attempt = upstream.attempt(slot).await;
        let began = Instant::now();
        self.metrics.queued(upstream, began - queued);
        let cached = |question: Question, answer, previous: Option<&Arc<CachedAnswer>>| {
            let view = upstream.view(Instant::now(), &terms.life);
            Arc::new(CachedAnswer::new(question, answer, epoch, self.dice(), previous, &view))
        };
        let attempt = match attempt {
            Ok(attempt) => attempt,
            Err(unknown) => {
                let answer = unanswered(question.aspect(), unknown);
                self.metrics.answered(upstream, question, &answer, None);
                return cached(question.clone(), answer, self.answers.get(question).as_ref());
            }
        };
        let deadline = began + terms.attempt;
        let answer = timeout_at(deadline, attempt.ask(question, deadline)).await.unwrap_or_else(|_| {
            let words = format!("`{}` gave no answer within {:?}", upstream.registry.name, terms.attempt);
            unanswered(question.aspect(), Unknown::new(Cause::Deadline, words))
        });
        attempt.end(question, &answer, self.dice());
        upstream.phase(Instant::now());
        self.metrics.answered(upstream, question, &answer, Some(began.elapsed()));
        // A tag that means a digest says of the digest, too, that it is here.
        if let (
            What::Tag(_),
            Observation::Presence(Presence::Present { digest, .. } | Presence::ProxyCache { digest, .. }),
        ) = (&question.what, &answer)
        {
            self.remember(upstream, cached(question.for_digest(*digest), answer.clone(), None), &terms);
        }
        let cached = cached(question.clone(), answer, self.answers.get(question).as_ref());
        self.remember(upstream, cached, &terms)
    }

    /// Remembers it, unless it is silence or outdated and something better is fresh: that is what counts then.
    fn remember(&self, upstream: &Upstream, cached: Arc<CachedAnswer>, terms: &Terms) -> Arc<CachedAnswer> {
        let view = upstream.view(Instant::now(), &terms.life);
        let held = self.answers.get(&cached.question);
        if let Some(held) = held.as_ref().filter(|held| held.is_fresh(&view))
            && (cached.is_silence() || !cached.is_fresh(&view))
        {
            return held.clone();
        }
        let changed = held.is_some_and(|held| held.says_otherwise(&cached));
        self.metrics.stock(self.answers.put(cached.clone(), view.now, &terms.life));
        // Only now: who counts first and looks then sees the new answer.
        if changed {
            self.generation.bump();
        }
        cached
    }

    /// Ends all lookups, and waits until they have ended.
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

    fn in_progress(&self) -> MutexGuard<'_, HashMap<Question, Lookup>> {
        self.in_progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes a lookup off the board, however it ends, unless another took its place.
struct Registration<'a> {
    lookups: &'a Lookups,
    question: &'a Question,
    result: LookupResult,
}

impl Drop for Registration<'_> {
    fn drop(&mut self) {
        let mut in_progress = self.lookups.in_progress();
        if in_progress.get(self.question).is_some_and(|lookup| lookup.result.same_channel(&self.result)) {
            in_progress.remove(self.question);
        }
    }
}
