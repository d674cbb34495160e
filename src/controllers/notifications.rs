//! What Harbors say by themselves: a push, a deletion, a scan. It ends what is cached before its TTL is over, so that the next
//! Pod is judged by what is there now.
//!
//! ```text
//! POST ─secret→ registry ─read→ changes ─► Backlog ─ every 200 ms ─┬► Observatory::invalidate, what is held here
//!   └ answered at once                     each once, bounded      ├► Keeper::hint_those, open gaps
//!                                                                  └► Relay ─► the other replicas
//! ```
//!
//! A notification is a hint and never evidence: nothing is taken from it but names, and whoever has the secret can do no more
//! than to have registries asked again. So nothing is lost by what is dropped: every answer has a TTL.
//!
//! | bound | why |
//! |---|---|
//! | [`WAITING`] changes wait, each once, half of them of one registry | a flood takes no more memory than this |
//! | only what concerns an answer of ours is invalidated | a registry tells of all its images, and of most of them nothing runs here |
//! | [`budget`]: so many invalidations by one registry at once, and a second; of the same every 1.5 s | a flood must not make caches cold for ever |
//! | a gap is looked at every 2 s at most | a look asks registries |
//! | [`strangers`]: 10 wrong secrets a minute of one peer are told so and logged | the others cost nothing more |

mod backlog;
mod budget;
mod gaps;
mod metrics;
mod places;
mod relay;
mod strangers;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};

use crate::domain::error_chain::error_chain;
use crate::domain::name::RegistryName;
use crate::domain::settings::Settings;
use crate::evidence::{Observatory, Scope};
use crate::harbor::notification::{Change, Event, notification};
use crate::ledger::Keeper;
use crate::registry::{Secret, SecretFile};

use backlog::{Backlog, Waiting};
use budget::{Budget, Pace};
use gaps::Concerned;
pub use metrics::NotificationMetrics;
use metrics::{ChangeResult, Refusal};
use places::resolved;
pub use relay::{Addresses, Relay, Trusted};
use strangers::Strangers;

/// The most changes that wait.
const WAITING: usize = 4096;

/// The time from one round to the next.
const PAUSE: Duration = Duration::from_millis(200);

/// How often the files of secrets are looked at, and the settings for others.
const LOOK: Duration = Duration::from_secs(2);

/// The answer to one notification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Received {
    /// It is a registry's of ours. What follows from it, if anything, follows later.
    Accepted,
    /// It shows no secret of ours.
    WrongSecret,
    /// Likewise, and its sender did so often of late.
    TooMany,
    /// It is neither JSON nor a CloudEvent.
    MediaType,
    /// It cannot be read: why.
    Malformed(String),
}

/// Takes notifications.
pub struct Receiver {
    settings: Arc<ArcSwap<Settings>>,
    secrets: ArcSwap<Secrets>,
    strangers: Strangers,
    backlog: Arc<Backlog>,
    metrics: NotificationMetrics,
}

/// The files with the secrets of registries.
#[derive(Debug, Default)]
struct Secrets {
    configured: BTreeMap<RegistryName, PathBuf>,
    files: Vec<(RegistryName, SecretFile)>,
}

/// Does what follows from notifications.
pub struct Worker {
    settings: Arc<ArcSwap<Settings>>,
    observatory: Arc<Observatory>,
    backlog: Arc<Backlog>,
    keeper: Option<Keeper>,
    relay: Option<Relay>,
    budgets: HashMap<RegistryName, Budget>,
    pace: Pace,
    metrics: NotificationMetrics,
}

impl Receiver {
    /// A receiver under these settings, and what does the work behind it. `keeper` is told of gaps, and `relay` of what other
    /// replicas should know.
    #[must_use]
    pub fn new(
        settings: Arc<ArcSwap<Settings>>,
        observatory: Arc<Observatory>,
        keeper: Option<Keeper>,
        relay: Option<Relay>,
        metrics: NotificationMetrics,
    ) -> (Arc<Self>, Worker) {
        let backlog = Arc::new(Backlog::new(WAITING));
        let worker = Worker {
            settings: settings.clone(),
            observatory,
            backlog: backlog.clone(),
            keeper,
            relay,
            budgets: HashMap::new(),
            pace: Pace::default(),
            metrics: metrics.clone(),
        };
        let (secrets, strangers) = (ArcSwap::default(), Strangers::default());
        (Arc::new(Self { settings, secrets, strangers, backlog, metrics }), worker)
    }

    /// Takes one notification. It waits for a file to be read again at most.
    pub async fn receive(&self, peer: IpAddr, headers: &HeaderMap, body: &[u8]) -> Received {
        let shown = headers.get(AUTHORIZATION);
        let registry = match shown {
            Some(shown) => self.registry_of(shown).await,
            None => None,
        };
        let Some((registry, shown)) = registry.zip(shown) else { return self.stranger(peer) };
        if !is_json(headers) {
            self.metrics.refused(Refusal::MediaType);
            return Received::MediaType;
        }
        let read = match notification(body) {
            Ok(read) => read,
            Err(malformed) => {
                self.metrics.refused(Refusal::Malformed);
                return Received::Malformed(error_chain(&malformed));
            }
        };
        self.metrics.received(&registry, read.event);
        // What another replica has passed on is not passed on again.
        let relay = (read.event != Event::Relayed).then(|| shown.clone());
        let settings = self.settings.load();
        let mut dropped = 0;
        for (at, change) in resolved(&settings, &registry, read.changed) {
            dropped += u64::from(!self.backlog.put(Waiting {
                by: registry.clone(),
                at,
                change,
                relay: relay.clone(),
            }));
        }
        self.metrics.changes(ChangeResult::Dropped, dropped);
        Received::Accepted
    }

    /// Whose secret it is: compared with all of them. One that two registries have is nobody's.
    async fn registry_of(&self, shown: &HeaderValue) -> Option<RegistryName> {
        let shown = Secret::shown(shown);
        let secrets = self.secrets.load_full();
        let mut found = Vec::new();
        for (registry, file) in &secrets.files {
            if file.current().await.is_ok_and(|secret| secret == shown) {
                found.push(registry);
            }
        }
        match found.as_slice() {
            [one] => Some((*one).clone()),
            _ => None,
        }
    }

    fn stranger(&self, peer: IpAddr) -> Received {
        if !self.strangers.may_be_told(peer, Instant::now()) {
            self.metrics.refused(Refusal::TooMany);
            return Received::TooMany;
        }
        self.metrics.refused(Refusal::WrongSecret);
        if let Some(times) = self.strangers.may_be_logged(Instant::now()) {
            tracing::warn!(client.address = %peer, times, "a notification without a secret of ours was refused");
        }
        Received::WrongSecret
    }

    /// Keeps the secrets in step with the settings, for as long as it is polled. `show` gets what is wrong with them, one
    /// sentence each, and how many there are.
    pub async fn keep_secrets(&self, show: impl Fn(&[String], usize)) {
        loop {
            let problems = self.look_at_secrets().await;
            show(&problems, self.secrets.load().files.len());
            sleep(LOOK).await;
        }
    }

    /// Takes over the secrets of the settings. Returns what is wrong with them.
    pub async fn look_at_secrets(&self) -> Vec<String> {
        let configured = self.settings.load().notifications.clone();
        if self.secrets.load().configured != configured {
            // The first read of a file blocks.
            let open = move || Secrets {
                files: configured
                    .iter()
                    .map(|(name, path)| (name.clone(), SecretFile::new(path.clone())))
                    .collect(),
                configured,
            };
            if let Ok(secrets) = spawn_blocking(open).await {
                self.secrets.store(Arc::new(secrets));
            }
        }
        let secrets = self.secrets.load_full();
        let (mut problems, mut known) = (Vec::new(), Vec::<(&RegistryName, Secret)>::new());
        for (registry, file) in &secrets.files {
            match file.current().await {
                Err(error) => problems.push(format!("{registry}: {error}")),
                Ok(secret) => {
                    if let Some((other, _)) = known.iter().find(|(_, known)| *known == secret) {
                        problems.push(format!(
                            "{registry} has the secret of {other}: neither is believed until they differ"
                        ));
                    }
                    known.push((registry, secret));
                }
            }
        }
        problems
    }
}

/// Whether the body says that it is one of Harbor's two formats.
fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    ["application/json", "application/cloudevents+json"].iter().any(|known| kind.eq_ignore_ascii_case(known))
}

impl Worker {
    /// Does what follows, in rounds, for as long as it is polled.
    pub async fn run(mut self) {
        let relay = self.relay.take();
        let (passed, relaying) = match relay {
            Some(relay) => {
                let (passed, relaying) = relay.start(self.metrics.clone());
                (Some(passed), Some(relaying))
            }
            None => (None, None),
        };
        let relaying = async {
            match relaying {
                Some(relaying) => relaying.await,
                None => std::future::pending().await,
            }
        };
        let rounds = async {
            loop {
                self.backlog.news().await;
                let batch = self.backlog.take();
                if let Some(passed) = &passed {
                    passed.pass_on(&batch, &self.metrics);
                }
                let began = Instant::now();
                self.round(batch).await;
                // Whoever floods us gets a fifth of one processor at most.
                sleep(PAUSE.max(began.elapsed() * 4)).await;
            }
        };
        tokio::join!(relaying, rounds);
    }

    async fn round(&mut self, batch: Vec<Waiting>) {
        let mut by_registry: HashMap<(RegistryName, RegistryName), Vec<Change>> = HashMap::new();
        for Waiting { by, at, change, relay: _ } in batch {
            by_registry.entry((by, at)).or_default().push(change);
        }
        let mut all = Concerned::default();
        for ((by, at), changes) in by_registry {
            for change in &changes {
                all.add(&at, change);
            }
            for change in self.held(&at, changes).await {
                if let Change::Digest(_, digest) = &change {
                    all.add_digest(&at, *digest);
                }
                self.outdate(&by, &at, change);
            }
        }
        if let Some(keeper) = &self.keeper {
            let settings = self.settings.load_full();
            keeper.hint_those(move |key| all.concerns(&settings, key));
        }
    }

    /// Those changes that concern an answer of ours, in their order, and before them the indexes that list one of them.
    async fn held(&self, at: &RegistryName, changes: Vec<Change>) -> Vec<Change> {
        let asked: HashSet<Scope> = changes.iter().map(scope).collect();
        let (observatory, of) = (self.observatory.clone(), at.clone());
        // It reads the whole cache.
        let look = spawn_blocking(move || (observatory.concerned(&of, &asked), asked)).await;
        let Ok((concerned, asked)) = look else { return Vec::new() };
        let unused = asked.iter().filter(|scope| !concerned.contains(scope)).count();
        self.metrics.changes(ChangeResult::Unused, unused as u64);
        let Some(repository) = changes.first().map(|change| change.repository().clone()) else {
            return Vec::new();
        };
        // A digest counts in any repository.
        let parent = |scope: &Scope| match scope {
            Scope::Digest(index) if !asked.contains(scope) => {
                Some(Change::Digest(repository.clone(), *index))
            }
            _ => None,
        };
        let parents = concerned.iter().filter_map(parent);
        parents.chain(changes.into_iter().filter(|change| concerned.contains(&scope(change)))).collect()
    }

    /// Outdates what is cached of it; or lets it wait for its turn.
    fn outdate(&mut self, by: &RegistryName, at: &RegistryName, change: Change) {
        let now = Instant::now();
        let budget = self.budgets.entry(by.clone()).or_insert_with(|| Budget::full(now));
        budget.refill(now);
        let scope = scope(&change);
        if budget.has_one() && self.pace.may(at, &scope, now) {
            budget.take();
            self.observatory.invalidate(at, scope);
            self.metrics.changes(ChangeResult::Invalidated, 1);
            return;
        }
        // The other replicas were told already.
        let waits = Waiting { by: by.clone(), at: at.clone(), change, relay: None };
        self.metrics.changes(ChangeResult::Dropped, u64::from(!self.backlog.put(waits)));
    }
}

fn scope(change: &Change) -> Scope {
    match change {
        Change::Digest(_, digest) => Scope::Digest(*digest),
        Change::Tag(repository, tag) => Scope::Tag(repository.clone(), tag.clone()),
        Change::Repository(repository) => Scope::Repository(repository.clone()),
    }
}
