//! A upstream: one registry as it is configured now, the client that asks it, its queue and its health.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, Semaphore, SemaphorePermit};
use tokio::time::Instant;

use crate::domain::breaker::{Pass, Phase};
use crate::domain::digest::Digest;
use crate::domain::error_chain::error_chain;
use crate::domain::evidence::{Cause, Children, Observation, Presence, Reachability, TagDigest, Unknown};
use crate::domain::image::Repository;
use crate::domain::registry::{Kind, Service, SharedRegistry};
use crate::domain::scan::{Detail, ScanAnswer, ScanState, Scanner};
use crate::domain::settings::CacheLife;
use crate::harbor::Harbor;
use crate::registry::{Client, ClientError, Head, Metrics, Target};

use super::background::Background;
use super::cached_answer::View;
use super::health::{Health, HealthState, Limit};
use super::invalidation::{Epochs, Scope};
use super::question::{Question, What, unknown};
use super::verdict_cache::Generation;

/// The most questions that wait for one registry; a review has some ten images, so this is some hundred reviews.
const LONGEST_QUEUE: usize = 4096;

/// A upstream's name in the memory. A registry that changed is another upstream, so what its predecessor said, and
/// what is still being asked in its name, counts no longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct UpstreamId(pub u32);

/// Who answers.
pub(super) enum Source {
    Distribution(Client),
    Harbor(Harbor),
    /// No client could be made.
    Unusable(ClientError),
}

pub(super) struct Upstream {
    pub id: UpstreamId,
    pub registry: SharedRegistry,
    pub source: Arc<Source>,
    in_flight: u32,
    gate: Arc<Semaphore>,
    waiting: Arc<AtomicUsize>,
    health: Arc<Mutex<HealthState>>,
    /// Calls the prober.
    call: Arc<Notify>,
    /// Whether this Harbor ever named a scanner.
    scans: Arc<AtomicBool>,
    /// How far things have come: what was learned before may not count any more.
    epochs: Arc<Epochs>,
    pub background: Arc<Background>,
}

/// A place in the queue, given back when it is dropped.
pub(super) struct QueueSlot(Arc<AtomicUsize>);

impl Drop for QueueSlot {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// An attempt under way.
pub(super) struct Attempt<'a> {
    upstream: &'a Upstream,
    pass: Option<Pass>,
    _permit: SemaphorePermit<'a>,
}

impl Attempt<'_> {
    /// Asks. Bounded by the deadline. A connection that broke at once is tried once more, as far as the retry budget
    /// goes: silence, 429 and 5xx never are, for there more requests would do harm.
    pub async fn ask(&self, question: &Question, deadline: Instant) -> Observation {
        let half = Instant::now() + deadline.saturating_duration_since(Instant::now()) / 2;
        let answer = self.upstream.ask(question, deadline).await;
        let broke = |unknown: &Unknown| matches!(unknown.cause, Cause::Connect | Cause::Broken);
        if unknown(&answer).is_some_and(broke) && Instant::now() < half && self.upstream.health().may_retry()
        {
            return self.upstream.ask(question, deadline).await;
        }
        answer
    }

    /// It ended: the registry's health hears of it, and who waits may go.
    pub fn end(mut self, question: &Question, answer: &Observation, dice: f64) {
        let Some(pass) = self.pass.take() else { return };
        let now = Instant::now().into_std();
        let mut health = self.upstream.health();
        let odd = health.record(pass, unknown(answer), now, dice);
        if health.storage.ended(question, answer) || odd {
            self.upstream.call();
        }
    }
}

impl Drop for Attempt<'_> {
    /// Abandoned: its place among the trials is given back.
    fn drop(&mut self) {
        if let Some(pass) = self.pass.take() {
            self.upstream.health().abandon(pass, Instant::now().into_std());
        }
    }
}

impl Upstream {
    /// Reads the CA file and credentials: call it where blocking is allowed.
    pub fn new(
        id: UpstreamId,
        registry: &SharedRegistry,
        in_flight: u32,
        metrics: &Metrics,
        generation: &Generation,
    ) -> Self {
        let source = match (Client::new(registry, metrics.clone()), registry.kind) {
            (Ok(client), Kind::Harbor) => Source::Harbor(Harbor::new(Arc::new(client))),
            (Ok(client), Kind::Distribution) => Source::Distribution(client),
            (Err(error), _) => Source::Unusable(error),
        };
        let mut health = HealthState::default();
        if registry.service == Service::Drained {
            health.skip(Health::Drained, "drained: neither asked nor used".into());
        } else if let Source::Unusable(error) = &source {
            health.skip(Health::Unusable, unusable(error).detail);
        }
        Self {
            id,
            registry: registry.clone(),
            source: Arc::new(source),
            in_flight,
            gate: gate(in_flight),
            waiting: Arc::default(),
            health: Arc::new(Mutex::new(health)),
            call: Arc::default(),
            scans: Arc::default(),
            epochs: Arc::new(Epochs::counted(generation)),
            background: Arc::new(Background::new(in_flight)),
        }
    }

    /// The same registry under a new budget: only the gate is another. What is under way leaves by the old one.
    pub fn with_budget(&self, in_flight: u32) -> Self {
        let same = self.in_flight == in_flight;
        Self {
            id: self.id,
            registry: self.registry.clone(),
            source: self.source.clone(),
            in_flight,
            gate: if same { self.gate.clone() } else { gate(in_flight) },
            waiting: self.waiting.clone(),
            health: self.health.clone(),
            call: self.call.clone(),
            scans: self.scans.clone(),
            epochs: self.epochs.clone(),
            background: if same { self.background.clone() } else { Arc::new(Background::new(in_flight)) },
        }
    }

    /// Why it is not asked at all, whatever the question.
    pub fn closed(&self) -> Option<Unknown> {
        let name = &self.registry.name;
        if self.registry.service == Service::Drained {
            return Some(Unknown::new(Cause::Drained, format!("`{name}` is drained")));
        }
        match &*self.source {
            Source::Unusable(error) => Some(unusable(error)),
            Source::Distribution(_) | Source::Harbor(_) => None,
        }
    }

    /// Remembers that there is a scanner, and says so where a scan could not be learned: `required: Auto` goes by it,
    /// and one silence must not open what was closed a moment ago. That there is none any more, silence does not tell.
    pub fn with_scanner(&self, observation: Observation) -> Observation {
        let Observation::Scan(mut answer) = observation else { return observation };
        match (answer.scanner, &answer.state) {
            (Scanner::Present, _) => self.scans.store(true, Ordering::Relaxed),
            (Scanner::Unknown, ScanState::Unknown(_)) if self.scans.load(Ordering::Relaxed) => {
                answer.scanner = Scanner::Present;
            }
            _ => {}
        }
        Observation::Scan(answer)
    }

    /// The breaker's phase.
    pub fn phase(&self, now: Instant) -> Phase {
        let (phase, closed) = {
            let health = self.health();
            (health.phase(now.into_std()), health.is_closed(now.into_std()))
        };
        self.epochs.notice_down(closed);
        phase
    }

    /// Has it nothing better to do than what nobody waits for?
    pub fn is_idle(&self, now: Instant) -> bool {
        self.waiting.load(Ordering::Relaxed) == 0
            && self.phase(now) == Phase::Closed
            && self.limit(now).is_none()
    }

    /// From where its answers are looked at.
    pub fn view<'a>(&'a self, now: Instant, life: &'a CacheLife) -> View<'a> {
        self.notice_credentials(match &*self.source {
            Source::Distribution(client) => client.credentials_seen(),
            Source::Harbor(harbor) => harbor.credentials_seen(),
            Source::Unusable(_) => 0,
        });
        View { now, life, epochs: &self.epochs }
    }

    fn notice_credentials(&self, version: u64) {
        if self.epochs.notice_credentials(version) {
            self.health().rotated();
        }
    }

    /// Looks at the files of its credentials, if nobody did a moment ago, and says which content they have.
    pub async fn look_at_credentials(&self) -> u64 {
        let version = match &*self.source {
            Source::Distribution(client) => client.credentials_version().await,
            Source::Harbor(harbor) => harbor.credentials_version().await,
            Source::Unusable(_) => 0,
        };
        self.notice_credentials(version);
        version
    }

    /// Outdates what was learned, and what is being learned, of this scope.
    pub fn invalidate(&self, scope: Scope) {
        if let (Scope::Registry, Source::Harbor(harbor)) = (&scope, &*self.source) {
            harbor.forget();
        }
        self.epochs.invalidate(scope);
    }

    /// Why it is not asked now.
    pub fn limit(&self, now: Instant) -> Option<Unknown> {
        self.health().limit(now.into_std()).map(|limit| self.limited(limit))
    }

    fn limited(&self, limit: Limit) -> Unknown {
        match limit {
            Limit::BreakerOpen => {
                Unknown::new(Cause::BreakerOpen, format!("`{}` failed a moment ago", self.registry.name))
            }
            Limit::Paused(unknown) | Limit::Refused(unknown) => unknown,
        }
    }

    /// Is it up, as far as we know? What is drained is not.
    pub fn reachability(&self, now: Instant) -> Reachability {
        if self.registry.service == Service::Drained {
            return Reachability::Down;
        }
        self.health().reachability(now.into_std())
    }

    /// What is known of its health. Let go of the guard before you wait for anything.
    pub fn health(&self) -> MutexGuard<'_, HealthState> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When it began to answer a request for the last time, a probe's or anybody's.
    pub fn heard(&self) -> Option<Instant> {
        match &*self.source {
            Source::Distribution(client) => client.heard(),
            Source::Harbor(harbor) => harbor.heard(),
            Source::Unusable(_) => None,
        }
    }

    /// Somebody should look at it.
    pub fn call(&self) {
        self.call.notify_one();
    }

    /// Waits until somebody should look at it; for its one prober.
    pub async fn wanted(&self) {
        self.call.notified().await;
    }

    /// A place in the queue; `None`: it is full.
    pub fn queue(&self) -> Option<QueueSlot> {
        let slot = QueueSlot(self.waiting.clone());
        (self.waiting.fetch_add(1, Ordering::Relaxed) < LONGEST_QUEUE).then_some(slot)
    }

    pub fn overloaded(&self) -> Unknown {
        let name = &self.registry.name;
        Unknown::new(Cause::Overloaded, format!("{LONGEST_QUEUE} questions wait for `{name}` already"))
    }

    /// Leaves the queue, first come, first served, when an attempt under way has ended.
    ///
    /// # Errors
    /// It may not be asked any more.
    pub async fn attempt(&self, slot: QueueSlot) -> Result<Attempt<'_>, Unknown> {
        let permit = self.gate.acquire().await.map_err(|_| self.overloaded())?;
        drop(slot);
        let admitted = self.health().admit(Instant::now().into_std());
        let pass = admitted.map_err(|limit| self.limited(limit))?;
        Ok(Attempt { upstream: self, pass: Some(pass), _permit: permit })
    }

    async fn ask(&self, question: &Question, deadline: Instant) -> Observation {
        let repository = &question.repository;
        match &question.what {
            What::Tag(tag) => {
                Observation::Presence(self.presence(repository, Target::Tag(tag), deadline).await)
            }
            What::Digest(digest) => {
                Observation::Presence(self.presence(repository, Target::Digest(digest), deadline).await)
            }
            What::Children(digest) => {
                Observation::Children(self.children(repository, digest, deadline).await)
            }
            What::Scan(digest, detail) => {
                Observation::Scan(self.scan(repository, digest, *detail, deadline).await)
            }
            What::Meaning(tag) => {
                Observation::TagDigest(meaning(self.presence(repository, Target::Tag(tag), deadline).await))
            }
        }
    }

    /// Asks for the manifest that a question is about, and for nothing else.
    ///
    /// # Errors
    /// There was no answer that says anything of it.
    pub async fn head(&self, question: &Question, deadline: Instant) -> Result<Head, Unknown> {
        let target = match &question.what {
            What::Tag(tag) | What::Meaning(tag) => Target::Tag(tag),
            What::Digest(digest) | What::Children(digest) | What::Scan(digest, _) => Target::Digest(digest),
        };
        match &*self.source {
            Source::Distribution(client) => client.head(&question.repository, target, deadline).await,
            Source::Harbor(harbor) => harbor.head(&question.repository, target, deadline).await,
            Source::Unusable(error) => Err(unusable(error)),
        }
    }

    async fn presence(&self, repository: &Repository, target: Target<'_>, deadline: Instant) -> Presence {
        match &*self.source {
            Source::Distribution(client) => client.presence(repository, target, deadline).await,
            Source::Harbor(harbor) => harbor.presence(repository, target, deadline).await,
            Source::Unusable(error) => Presence::Unknown(unusable(error)),
        }
    }

    async fn children(&self, repository: &Repository, digest: &Digest, deadline: Instant) -> Children {
        match &*self.source {
            Source::Distribution(client) => client.children(repository, digest, deadline).await,
            Source::Harbor(harbor) => harbor.children(repository, digest, deadline).await,
            Source::Unusable(error) => Children::Unknown(unusable(error)),
        }
    }

    async fn scan(
        &self,
        repository: &Repository,
        digest: &Digest,
        detail: Detail,
        deadline: Instant,
    ) -> ScanAnswer {
        match &*self.source {
            Source::Harbor(harbor) => harbor.scan(repository, digest, detail, deadline).await,
            Source::Distribution(_) => no_scans(),
            Source::Unusable(error) => ScanAnswer {
                scanner: Scanner::Unknown,
                state: ScanState::Unknown(unusable(error)),
                last: None,
            },
        }
    }
}

/// What a plain registry knows of scans; nobody need be asked.
pub(super) fn no_scans() -> ScanAnswer {
    ScanAnswer { scanner: Scanner::Absent, state: ScanState::NotScanned, last: None }
}

/// What the primary's presence of a tag says of its meaning.
fn meaning(presence: Presence) -> TagDigest {
    match presence {
        Presence::Present { digest, .. } | Presence::ProxyCache { digest, .. } => TagDigest::Known(digest),
        Presence::Absent => TagDigest::Absent,
        // A 412 names no digest.
        Presence::Refused(message) => TagDigest::Unknown(Unknown::new(Cause::Forbidden, message)),
        Presence::PullFailed => TagDigest::NotRemembered,
        Presence::Unknown(unknown) => TagDigest::Unknown(unknown),
    }
}

fn gate(in_flight: u32) -> Arc<Semaphore> {
    let permits = usize::try_from(in_flight).unwrap_or(usize::MAX).clamp(1, Semaphore::MAX_PERMITS);
    Arc::new(Semaphore::new(permits))
}

fn unusable(error: &ClientError) -> Unknown {
    let cause = match error {
        ClientError::CaUnreadable { .. } | ClientError::CaMalformed { .. } => Cause::Tls,
        ClientError::Http { .. } => Cause::Connect,
    };
    Unknown::new(cause, error_chain(error))
}
