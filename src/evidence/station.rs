//! A station: one registry as it is configured now, the client that asks it, its queue and its breaker.

use std::error::Error;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

use crate::domain::breaker::{Breaker, Outcome, Pass, Phase};
use crate::domain::digest::Digest;
use crate::domain::evidence::{Cause, Children, Observation, Presence, TagDigest, Unknown};
use crate::domain::image::Repository;
use crate::domain::registry::{Kind, Service, SharedRegistry};
use crate::domain::scan::{Detail, ScanAnswer, ScanState, Scanner};
use crate::harbor::Harbor;
use crate::registry::{Client, ClientError, Metrics, Target};

use super::question::{Question, What, unknown};

/// The most questions that wait for one registry; a review has some ten images, so this is some hundred reviews.
const LONGEST_QUEUE: usize = 4096;

/// A station's name in the memory. A registry that changed is another station, so what its predecessor said, and
/// what is still being asked in its name, counts no longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct StationId(pub u32);

/// Who answers.
pub(super) enum Source {
    Distribution(Client),
    Harbor(Harbor),
    /// No client could be made.
    Unusable(ClientError),
}

pub(super) struct Station {
    pub id: StationId,
    pub registry: SharedRegistry,
    pub source: Arc<Source>,
    in_flight: u32,
    gate: Arc<Semaphore>,
    waiting: Arc<AtomicUsize>,
    breaker: Arc<Mutex<Breaker>>,
    /// Whether this Harbor ever named a scanner.
    scans: Arc<AtomicBool>,
}

/// A place in the queue, given back when it is dropped.
pub(super) struct Turn(Arc<AtomicUsize>);

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// An attempt under way.
pub(super) struct Attempt<'a> {
    station: &'a Station,
    pass: Option<Pass>,
    _permit: SemaphorePermit<'a>,
}

impl Attempt<'_> {
    /// It ended: the breaker hears of it, and who waits may go.
    pub fn end(mut self, outcome: Outcome, dice: f64) {
        self.record(outcome, dice);
    }

    fn record(&mut self, outcome: Outcome, dice: f64) {
        if let Some(pass) = self.pass.take() {
            self.station.breaker().record(pass, outcome, Instant::now().into_std(), dice);
        }
    }
}

impl Drop for Attempt<'_> {
    /// Abandoned: its place among the trials is given back.
    fn drop(&mut self) {
        self.record(Outcome::Neutral, 0.0);
    }
}

impl Station {
    /// Reads the CA file and credentials: call it where blocking is allowed.
    pub fn new(id: StationId, registry: &SharedRegistry, in_flight: u32, metrics: &Metrics) -> Self {
        let source = match (Client::new(registry, metrics.clone()), registry.kind) {
            (Ok(client), Kind::Harbor) => Source::Harbor(Harbor::new(Arc::new(client))),
            (Ok(client), Kind::Distribution) => Source::Distribution(client),
            (Err(error), _) => Source::Unusable(error),
        };
        Self {
            id,
            registry: registry.clone(),
            source: Arc::new(source),
            in_flight,
            gate: gate(in_flight),
            waiting: Arc::default(),
            breaker: Arc::default(),
            scans: Arc::default(),
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
            breaker: self.breaker.clone(),
            scans: self.scans.clone(),
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
        self.breaker().phase(now.into_std())
    }

    pub fn breaker_open(&self) -> Unknown {
        Unknown::new(Cause::BreakerOpen, format!("`{}` failed a moment ago", self.registry.name))
    }

    /// A place in the queue; `None`: it is full.
    pub fn queue(&self) -> Option<Turn> {
        let turn = Turn(self.waiting.clone());
        (self.waiting.fetch_add(1, Ordering::Relaxed) < LONGEST_QUEUE).then_some(turn)
    }

    pub fn overloaded(&self) -> Unknown {
        let name = &self.registry.name;
        Unknown::new(Cause::Overloaded, format!("{LONGEST_QUEUE} questions wait for `{name}` already"))
    }

    /// Leaves the queue, first come, first served, when an attempt under way has ended; `None`: the breaker opened
    /// in the meantime.
    pub async fn attempt(&self, turn: Turn) -> Option<Attempt<'_>> {
        let permit = self.gate.acquire().await.ok()?;
        drop(turn);
        let pass = self.breaker().admit(Instant::now().into_std())?;
        Some(Attempt { station: self, pass: Some(pass), _permit: permit })
    }

    /// Asks. Bounded by the deadline.
    pub async fn ask(&self, question: &Question, deadline: Instant) -> Observation {
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

    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a plain registry knows of scans; nobody need be asked.
pub(super) fn no_scans() -> ScanAnswer {
    ScanAnswer { scanner: Scanner::Absent, state: ScanState::NotScanned, last: None }
}

/// What an answer says of the registry's health.
///
/// Slowness says nothing: a registry that is too slow for `budget.attempt` still serves nodes, and to leave it alone
/// would turn a slow site into a dead one in the very hour that matters. (Whether a registry that never answers is
/// down is for health probes, which have the time to wait.) Nor does an answer that only this one image may get: one
/// odd manifest must not close a registry to all others.
pub(super) fn health(observation: &Observation) -> Outcome {
    let Some(unknown) = unknown(observation) else { return Outcome::Success };
    match unknown.cause {
        Cause::Connect | Cause::Tls | Cause::Broken | Cause::ServerError | Cause::Unavailable { .. } => {
            Outcome::Failure
        }
        Cause::Unauthorized | Cause::Forbidden | Cause::RateLimited { .. } => Outcome::Success,
        Cause::NotRegistry
        | Cause::WrongDigest
        | Cause::TooLarge
        | Cause::Redirect
        | Cause::Deadline
        | Cause::Spent { .. }
        | Cause::Overloaded
        | Cause::BreakerOpen
        | Cause::Drained => Outcome::Neutral,
    }
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
    let mut words = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        words = format!("{words}: {inner}");
        source = inner.source();
    }
    Unknown::new(cause, words)
}
