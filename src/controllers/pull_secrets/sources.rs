//! The credentials that are in force: of each folder those that its registry has accepted last.
//!
//! ```text
//! files ─ changed? ─ registry up? ─ asked ─┬ accepted ─► in force
//!                                          ├ rejected ─► those before stay in force; with none, nothing is made
//!                                          └ no answer ► those before stay; with none, they are taken as they are
//! ```
//!
//! The last: a replica that starts while the registry is down cannot ask, and a Secret with credentials that every node
//! knows lets Pods start without the registry.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::Instant;

use crate::domain::name::RegistryName;
use crate::domain::pull_secrets::Content;
use crate::domain::registry::{Registry, SharedRegistry};
use crate::domain::unknown::Unknown;
use crate::evidence::{Observatory, Proof, PullSource};

/// The longest time for one proof.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long it takes until a registry that did not answer is asked again.
const AGAIN: Duration = Duration::from_secs(5);

/// How long it takes until rejected credentials are tried again: a robot may be enabled later. A wrong attempt keeps a user's
/// account locked, and Harbor takes 1.5 s for each.
const REJECTED: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(600));

/// All credentials of this replica. A clone is a handle to the same.
#[derive(Clone)]
pub struct Sources {
    observatory: Arc<Observatory>,
    known: Arc<Mutex<Known>>,
}

/// By registry and folder.
type Known = HashMap<(RegistryName, PathBuf), Arc<Source>>;

/// The credentials in one folder.
struct Source {
    registry: SharedRegistry,
    files: PullSource,
    held: tokio::sync::Mutex<Held>,
}

#[derive(Default)]
struct Held {
    in_force: Option<Content>,
    /// The version of the files that was looked at last, what the registry said of it, and when.
    seen: Option<(u64, Seen, Instant)>,
}

#[derive(Clone, PartialEq, Eq)]
enum Seen {
    Accepted,
    Rejected,
    /// Why it is not known.
    Unknown(Arc<str>),
}

/// The credentials for Secrets now.
#[derive(Debug, Clone)]
pub(super) struct InForce {
    /// What is in force; `None` where nothing can be.
    pub(super) content: Option<Content>,
    /// Whether that is what the files hold, and the registry accepts it.
    pub(super) proved: bool,
    /// What keeps what the files hold from coming into force, for people.
    pub(super) trouble: Option<Box<str>>,
}

impl Sources {
    /// Of the registries that this observatory asks.
    #[must_use]
    pub fn new(observatory: Arc<Observatory>) -> Self {
        Self { observatory, known: Arc::default() }
    }

    /// What of this folder is in force. It asks the registry where that is not known.
    pub(super) async fn in_force(&self, registry: &SharedRegistry, dir: &Path) -> InForce {
        let Some(source) = self.source(registry, dir).await else {
            return InForce { content: None, proved: false, trouble: None };
        };
        let mut held = source.held.lock().await;
        held.look(&source, &self.observatory).await
    }

    /// The version of the files, which are read unless that was done a moment ago.
    pub(super) async fn version(&self, registry: &SharedRegistry, dir: &Path) -> u64 {
        match self.source(registry, dir).await {
            Some(source) => source.files.version().await,
            None => 0,
        }
    }

    /// Whether the registry is as it should be.
    pub(super) fn is_up(&self, registry: &Registry) -> bool {
        self.observatory.is_up(&registry.name)
    }

    async fn source(&self, registry: &SharedRegistry, dir: &Path) -> Option<Arc<Source>> {
        let key = (registry.name.clone(), dir.to_owned());
        let known = |known: &Known| known.get(&key).filter(|source| source.registry == *registry).cloned();
        if let Some(source) = known(&self.known.lock().unwrap_or_else(PoisonError::into_inner)) {
            return Some(source);
        }
        let (observatory, registry, dir) = (self.observatory.clone(), registry.clone(), dir.to_owned());
        // It reads files.
        let made = spawn_blocking(move || {
            let files = observatory.pull_source(&registry, &dir);
            Arc::new(Source { registry, files, held: tokio::sync::Mutex::default() })
        });
        let made = made.await.ok()?;
        let mut all = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        Some(known(&all).unwrap_or_else(|| {
            all.insert(key, made.clone());
            made
        }))
    }

    /// Forgets those that the settings no longer name.
    pub(super) fn keep(&self, is_named: impl Fn(&RegistryName, &Path) -> bool) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|(registry, dir), _| is_named(registry, dir));
    }
}

impl Held {
    async fn look(&mut self, source: &Source, observatory: &Observatory) -> InForce {
        let version = source.files.version().await;
        let is_current = match &self.seen {
            Some((seen, what, at)) if *seen == version => at.elapsed() < what.counts(&source.files).await,
            _ => false,
        };
        if !is_current {
            let seen = self.prove(source, observatory).await;
            // Files that changed meanwhile are looked at again.
            self.seen = Some((version, seen, Instant::now()));
        }
        let seen = self.seen.as_ref().map(|(_, seen, _)| seen);
        let (name, stays) = (
            &source.registry.name,
            if self.in_force.is_some() { "; those before stay in force" } else { "" },
        );
        let trouble = match seen {
            Some(Seen::Accepted) | None => None,
            Some(Seen::Rejected) => {
                Some(format!("{name} rejects the credentials for pull secrets{stays}").into())
            }
            Some(Seen::Unknown(why)) => {
                Some(format!("the credentials for pull secrets of {name} are not proved: {why}").into())
            }
        };
        InForce { content: self.in_force.clone(), proved: seen == Some(&Seen::Accepted), trouble }
    }

    async fn prove(&mut self, source: &Source, observatory: &Observatory) -> Seen {
        let before = source.files.version().await;
        let content = match source.files.content().await {
            Ok(content) => content,
            Err(Unknown { detail, .. }) => return Seen::Unknown(detail),
        };
        let proof = if observatory.is_up(&source.registry.name) {
            source.files.prove(Instant::now() + PATIENCE).await
        } else {
            let why = format!("{} is not up", source.registry.name);
            Proof::Unknown(Unknown::new(crate::domain::unknown::Cause::Connect, why))
        };
        if source.files.version().await != before {
            // It is not known which of the two the registry has seen.
            return Seen::Unknown("they changed a moment ago".into());
        }
        match proof {
            Proof::Accepted => {
                self.in_force = Some(content);
                Seen::Accepted
            }
            Proof::Rejected => {
                // Taken while the registry could not be asked.
                if self.in_force.as_ref().is_some_and(|held| held.hash() == content.hash()) {
                    self.in_force = None;
                }
                Seen::Rejected
            }
            Proof::Unknown(Unknown { detail, .. }) => {
                self.in_force.get_or_insert(content);
                Seen::Unknown(detail)
            }
        }
    }
}

impl Seen {
    /// How long it counts while the files stay the same. What was accepted is what stands in the Secrets; the probes of
    /// `doctor` tell when it no longer is.
    async fn counts(&self, files: &PullSource) -> Duration {
        match self {
            Self::Accepted => Duration::MAX,
            Self::Rejected if files.is_robot().await => REJECTED.0,
            Self::Rejected => REJECTED.1,
            Self::Unknown(_) => AGAIN,
        }
    }
}
