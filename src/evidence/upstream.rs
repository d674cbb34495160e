//! An upstream: one registry as it is configured now, the client that asks it, its queue and its health.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::domain::breaker::Phase;
use crate::domain::digest::Digest;
use crate::domain::error_chain::error_chain;
use crate::domain::evidence::{Children, Observation, Presence, Reachability, TagDigest};
use crate::domain::image::Repository;
use crate::domain::registry::{Kind, Registry, Service, SharedRegistry};
use crate::domain::scan::{Detail, ScanAnswer, ScanState, Scanner};
use crate::domain::settings::CacheLife;
use crate::domain::unknown::{Cause, Unknown};
use crate::harbor::Harbor;
use crate::registry::{Blob, Client, ClientError, Depth, Head, Listed, Metrics, Target, Tasks};

use super::background::Background;
use super::fair_queue::{Asker, FairQueue, LONGEST, Overfull, Permit, Ticket as QueueTicket, TicketId};
use super::health::{Health, HealthState, Limit, Ticket};
use super::invalidation::{Epoch, Epochs, Scope, View};
use super::question::{Question, UpstreamId, What, unknown};
use super::verdict_cache::Generation;

/// What asks the registry.
pub(super) enum Source {
    Distribution(Client),
    Harbor(Harbor),
    /// No client could be made.
    Unusable(ClientError),
}

impl Source {
    /// The client of the distribution protocol, which every registry speaks.
    ///
    /// # Errors
    /// Why there is none.
    pub fn client(&self) -> Result<&Client, &ClientError> {
        match self {
            Self::Distribution(client) => Ok(client),
            Self::Harbor(harbor) => Ok(harbor.client()),
            Self::Unusable(error) => Err(error),
        }
    }
}

/// What all upstreams share.
pub(super) struct Deps {
    pub requests: Metrics,
    pub tasks: Tasks,
    pub generation: Generation,
}

pub(super) struct Upstream {
    pub id: UpstreamId,
    pub registry: SharedRegistry,
    pub source: Arc<Source>,
    /// Asks this Harbor to heal, with credentials of its own.
    pub healer: Option<Arc<Harbor>>,
    in_flight: u32,
    pub queue: FairQueue,
    health: Arc<Mutex<HealthState>>,
    /// Wakes the prober.
    probe_now: Arc<Notify>,
    /// Whether this Harbor ever named a scanner.
    scans: Arc<AtomicBool>,
    /// Tells which answers something has outdated.
    epochs: Arc<Epochs>,
    pub background: Arc<Background>,
}

/// An attempt in progress.
pub(super) struct Attempt<'a> {
    upstream: &'a Upstream,
    repository: &'a Repository,
    ticket: Option<Ticket>,
    _permit: Permit,
}

impl Attempt<'_> {
    /// Asks, until the deadline. If the connection broke at once, asks a second time if the retry budget allows it. A
    /// timeout, a 429 and a 5xx are never retried, because more requests would do harm there.
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

    /// Ends a look at layers, which asks no question of its own.
    pub fn end_look(mut self, unknown: Option<&Unknown>) {
        let Some(ticket) = self.ticket.take() else { return };
        let now = Instant::now().into_std();
        self.upstream.health().looked(ticket, self.repository, unknown, now);
    }

    /// Ends the attempt: records the answer in the registry's health, and lets the next question in. `random` is from
    /// 0 to 1.
    pub fn end(mut self, question: &Question, answer: &Observation, random: f64) {
        let Some(ticket) = self.ticket.take() else { return };
        let now = Instant::now().into_std();
        if self.upstream.health().record(ticket, question, answer, now, random) {
            self.upstream.request_probe();
        }
    }

    /// Ends the attempt of a question to Harbor's API, which says nothing of the storage. `unknown`: why there is no answer.
    pub fn end_api(mut self, unknown: Option<&Unknown>, random: f64) {
        let Some(ticket) = self.ticket.take() else { return };
        let now = Instant::now().into_std();
        if self.upstream.health().record_api(ticket, self.repository, unknown, now, random) {
            self.upstream.request_probe();
        }
    }
}

impl Drop for Attempt<'_> {
    /// An attempt that was abandoned gives its place in the breaker back.
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            let now = Instant::now().into_std();
            self.upstream.health().abandon(ticket, self.repository, now);
        }
    }
}

impl Upstream {
    /// Reads the CA file and credentials: call it where blocking is allowed.
    pub fn new(id: UpstreamId, registry: &SharedRegistry, in_flight: u32, deps: &Deps) -> Self {
        let client = Client::new(registry, deps.requests.clone(), deps.tasks.clone());
        let source = match (client, registry.kind) {
            (Ok(client), Kind::Harbor) => Source::Harbor(Harbor::new(Arc::new(client))),
            (Ok(client), Kind::Distribution) => Source::Distribution(client),
            (Err(error), _) => Source::Unusable(error),
        };
        let healer = match (&source, &registry.healing) {
            (Source::Harbor(_), Some(credentials)) => {
                let registry = Registry { credentials: credentials.clone(), ..(**registry).clone() };
                let client = Client::new(&Arc::new(registry), deps.requests.clone(), deps.tasks.clone());
                client.ok().map(|client| Arc::new(Harbor::new(Arc::new(client))))
            }
            _ => None,
        };
        let mut health = HealthState::default();
        if registry.service == Service::Drained {
            health.skip(Health::Drained, "drained: neither asked nor used".into());
        } else if let Err(error) = source.client() {
            health.skip(Health::Unusable, unusable(error).detail);
        }
        Self {
            id,
            registry: registry.clone(),
            source: Arc::new(source),
            healer,
            in_flight,
            queue: FairQueue::new(in_flight),
            health: Arc::new(Mutex::new(health)),
            probe_now: Arc::default(),
            scans: Arc::default(),
            epochs: Arc::new(Epochs::new(&deps.generation)),
            background: Arc::new(Background::new(in_flight)),
        }
    }

    /// The same registry under a new budget.
    pub fn with_budget(&self, in_flight: u32) -> Self {
        let same = self.in_flight == in_flight;
        self.queue.resize(in_flight);
        Self {
            id: self.id,
            registry: self.registry.clone(),
            source: self.source.clone(),
            healer: self.healer.clone(),
            in_flight,
            queue: self.queue.clone(),
            health: self.health.clone(),
            probe_now: self.probe_now.clone(),
            scans: self.scans.clone(),
            epochs: self.epochs.clone(),
            background: if same { self.background.clone() } else { Arc::new(Background::new(in_flight)) },
        }
    }

    /// The most attempts in progress.
    pub fn in_flight(&self) -> u32 {
        self.in_flight
    }

    /// Why it cannot be asked at all: it is drained, or there is no client.
    pub fn unavailable(&self) -> Option<Unknown> {
        let name = &self.registry.name;
        if self.registry.service == Service::Drained {
            return Some(Unknown::new(Cause::Drained, format!("`{name}` is drained")));
        }
        self.source.client().err().map(unusable)
    }

    /// Remembers that there is a scanner, and adds it to an answer whose scan could not be learned. `required: Auto`
    /// depends on it, so one failed look-up must not lift the requirement. Only an answer tells that a scanner is gone.
    pub fn with_scanner(&self, observation: Observation) -> Observation {
        let Observation::Scan(mut answer) = observation else { return observation };
        match (answer.scanner, &answer.state) {
            (Scanner::Present, _) => self.scans.store(true, Ordering::Relaxed),
            (Scanner::Unknown, _) if self.scans.load(Ordering::Relaxed) => {
                answer.scanner = Scanner::Present;
            }
            _ => {}
        }
        Observation::Scan(answer)
    }

    /// The breaker's phase. Also records in `epochs` whether look-ups get through.
    pub fn phase(&self, now: Instant) -> Phase {
        let (phase, closed) = {
            let health = self.health();
            (health.phase(now.into_std()), health.is_closed(now.into_std()))
        };
        self.epochs.notice_down(closed);
        phase
    }

    /// Does nobody wait for it, and is it healthy for this repository? Only then are answers renewed in the background.
    pub fn is_idle(&self, repository: &Repository, now: Instant) -> bool {
        self.phase(now);
        self.queue.waiting() == 0 && self.health().is_well(repository, now.into_std())
    }

    /// What decides now whether its answers count.
    pub fn view<'a>(&'a self, now: Instant, life: &'a CacheLife) -> View<'a> {
        self.notice_credentials(self.source.client().map_or(0, Client::credentials_seen));
        View { now, life, epochs: &self.epochs }
    }

    fn notice_credentials(&self, version: u64) {
        if self.epochs.notice_credentials(version) {
            self.health().rotated();
        }
    }

    /// Reads the credentials' files, unless that was done a moment ago, and returns their version.
    pub async fn check_credentials(&self) -> u64 {
        let version = match self.source.client() {
            Ok(client) => client.credentials_version().await,
            Err(_) => 0,
        };
        self.notice_credentials(version);
        version
    }

    /// Outdates all answers of this scope, those of look-ups in progress as well.
    pub fn invalidate(&self, scope: Scope) {
        if let (Scope::Registry, Source::Harbor(harbor)) = (&scope, &*self.source) {
            harbor.forget();
        }
        self.epochs.invalidate(scope);
    }

    /// The epoch of an answer that is learned now.
    pub fn epoch(&self) -> Epoch {
        self.epochs.epoch()
    }

    /// Why this repository is not asked for now.
    pub fn limit(&self, repository: &Repository, now: Instant) -> Option<Unknown> {
        let limit = self.health().limit(repository, now.into_std());
        limit.map(|limit| self.limited(limit, repository))
    }

    fn limited(&self, limit: Limit, repository: &Repository) -> Unknown {
        let name = &self.registry.name;
        match limit {
            Limit::BreakerOpen => Unknown::new(
                Cause::BreakerOpen,
                format!("`{name}` failed a moment ago, so it is not asked now"),
            ),
            Limit::ProjectBreakerOpen => Unknown::new(
                Cause::BreakerOpen,
                format!(
                    "`{name}` failed a moment ago for `{}/`, so it is not asked for that now",
                    repository.project()
                ),
            ),
            Limit::Paused(unknown) | Limit::Refused(unknown) => unknown,
        }
    }

    /// Why nothing of this repository is looked at now while nobody waits for it. Looks begin where every attempt is let through:
    /// the trials of a breaker are for those who wait.
    pub fn not_well(&self, repository: &Repository, now: Instant) -> Option<Unknown> {
        self.phase(now);
        if let Some(unknown) = self.unavailable().or_else(|| self.limit(repository, now)) {
            return Some(unknown);
        }
        let well = self.health().is_well(repository, now.into_std());
        (!well).then(|| self.limited(Limit::BreakerOpen, repository))
    }

    /// Is it known that whoever asks for this repository now waits long, because the registry is slow or its queue is long?
    pub fn is_slow(&self, repository: &Repository, asker: &Asker) -> bool {
        self.queue.is_long_for(asker) || self.health().is_slow(repository)
    }

    /// Whether nodes get images of this repository, as far as we know. A drained registry counts as down.
    pub fn reachability(&self, repository: &Repository, now: Instant) -> Reachability {
        if self.registry.service == Service::Drained {
            return Reachability::Down;
        }
        self.health().reachability(repository, now.into_std())
    }

    /// Its health. Drop the guard before any `await`.
    pub fn health(&self) -> MutexGuard<'_, HealthState> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The proxy by which it is asked.
    pub fn proxy(&self) -> Option<Box<str>> {
        Some(self.source.client().ok()?.proxy()?.to_string().into())
    }

    /// When it last began to answer a request, of a probe or of anybody.
    pub fn last_response(&self) -> Option<Instant> {
        self.source.client().ok().and_then(Client::last_response)
    }

    /// Asks its prober to probe now.
    pub fn request_probe(&self) {
        self.probe_now.notify_one();
    }

    /// Waits for [`request_probe`](Self::request_probe). Only its one prober waits.
    pub async fn probe_requested(&self) {
        self.probe_now.notified().await;
    }

    /// Joins the queue.
    ///
    /// # Errors
    /// It is full.
    pub fn join_queue(&self, id: TicketId, asker: Asker) -> Result<QueueTicket, Unknown> {
        self.queue.join(id, asker).map_err(|Overfull| self.overloaded())
    }

    fn overloaded(&self) -> Unknown {
        let name = &self.registry.name;
        Unknown::new(Cause::Overloaded, format!("the queue for `{name}` is full: {LONGEST} questions wait"))
    }

    /// Waits in the queue until this repository may be asked for.
    ///
    /// # Errors
    /// The queue became full, or the registry may no longer be asked.
    pub async fn attempt<'a>(
        &'a self,
        queued: QueueTicket,
        repository: &'a Repository,
    ) -> Result<Attempt<'a>, Unknown> {
        let permit = queued.permit().await.ok_or_else(|| self.overloaded())?;
        let admitted = self.health().admit(repository, Instant::now().into_std());
        let ticket = admitted.map_err(|limit| self.limited(limit, repository))?;
        Ok(Attempt { upstream: self, repository, ticket: Some(ticket), _permit: permit })
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

    /// Asks for the manifest of a question, and for nothing else.
    ///
    /// # Errors
    /// There was no answer, or one that does not tell.
    pub async fn head(&self, question: &Question, deadline: Instant) -> Result<Head, Unknown> {
        let target = match &question.what {
            What::Tag(tag) | What::Meaning(tag) => Target::Tag(tag),
            What::Digest(digest) | What::Children(digest) | What::Scan(digest, _) => Target::Digest(digest),
        };
        self.source.client().map_err(unusable)?.head(&question.repository, target, deadline).await
    }

    pub async fn presence(&self, repository: &Repository, target: Target<'_>, deadline: Instant) -> Presence {
        match &*self.source {
            Source::Distribution(client) => client.presence(repository, target, deadline).await,
            Source::Harbor(harbor) => harbor.presence(repository, target, deadline).await,
            Source::Unusable(error) => Presence::Unknown(unusable(error)),
        }
    }

    /// What this manifest lists.
    ///
    /// # Errors
    /// It could not be learned.
    pub async fn listed(
        &self,
        repository: &Repository,
        digest: &Digest,
        deadline: Instant,
    ) -> Result<Listed, Unknown> {
        match &*self.source {
            Source::Distribution(client) => client.listed(repository, digest, deadline).await,
            Source::Harbor(harbor) => harbor.listed(repository, digest, deadline).await,
            Source::Unusable(error) => Err(unusable(error)),
        }
    }

    /// Is this blob there?
    ///
    /// # Errors
    /// It could not be learned.
    pub async fn blob(
        &self,
        repository: &Repository,
        digest: &Digest,
        depth: Depth,
        deadline: Instant,
    ) -> Result<Blob, Unknown> {
        self.source.client().map_err(unusable)?.blob(repository, digest, depth, deadline).await
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

/// The scan answer of a registry without scans. Nobody is asked.
pub(super) fn no_scans() -> ScanAnswer {
    ScanAnswer { scanner: Scanner::Absent, state: ScanState::NotScanned, last: None }
}

/// What a tag means, from its presence at the primary.
fn meaning(presence: Presence) -> TagDigest {
    match presence {
        Presence::Present { digest, .. } | Presence::ProxyCache { digest, .. } => TagDigest::Known(digest),
        Presence::Absent => TagDigest::Absent,
        // A 412 names no digest.
        Presence::Refused(message) => TagDigest::Unknown(Unknown::new(Cause::Forbidden, message)),
        Presence::LayerMissing { .. } | Presence::PullFailed { .. } => TagDigest::NotRemembered,
        Presence::Unknown(unknown) => TagDigest::Unknown(unknown),
    }
}

fn unusable(error: &ClientError) -> Unknown {
    let cause = match error {
        ClientError::CaUnreadable { .. } | ClientError::CaMalformed { .. } => Cause::Tls,
        ClientError::Http { .. } => Cause::Connect,
    };
    Unknown::new(cause, error_chain(error))
}
