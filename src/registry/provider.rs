//! Credentials of one registry from a credential provider: run once for all who ask, kept for as long as it says, and
//! asked again before that ends.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::domain::registry::Plugin;
use crate::domain::text::plain;
use crate::domain::unknown::{Cause, Unknown};

use super::plugin::{self, Scope};
use super::single_flight::{Flight, SingleFlight};
use super::tasks::Tasks;
use crate::domain::credential::Credential;
use crate::domain::keyring::Keyring;

/// How long an answer is used that does not say. Cloud tokens live for an hour at least.
const DEFAULT_DURATION: Duration = Duration::from_secs(600);

/// How long an answer is used at least. The kubelet asks once for a pull; we would run a program for every request where
/// it answers `0s`, as that of GAR does unless it is told otherwise.
const LEAST_DURATION: Duration = Duration::from_secs(10);

/// How long a failure counts: a program that fails is not run for every question.
const FAILED_FOR: Duration = Duration::from_secs(5);

/// How old credentials must be before a refusal of the registry makes us ask for others. Some registries answer 403 for
/// every image that does not exist.
const REFUSED_AFTER: Duration = Duration::from_secs(30);

/// How many programs run at once, where each image needs its own credentials.
const AT_ONCE: usize = 4;

/// The most images whose credentials are kept.
const MOST: usize = 1024;

/// Whom a run or its answer serves: one image, where each needs its own credentials; `None`: all of the registry.
type Key = Option<Box<str>>;

/// See the module's documentation. Clones share what they know.
#[derive(Clone)]
pub(super) struct Provider(Arc<Inner>);

struct Inner {
    plugin: Arc<Plugin>,
    host: Box<str>,
    known: Mutex<Known>,
    runs: SingleFlight<Key, (), Result<Arc<Provided>, Unknown>>,
    at_once: Semaphore,
    /// The number of the last content.
    contents: AtomicU64,
    /// How often credentials came that may do what the ones before could not.
    changes: AtomicU64,
}

#[derive(Default)]
struct Known {
    provided: HashMap<Key, Arc<Provided>>,
    /// Whether the last answer was for one image only.
    by_image: bool,
    /// The last failures, until a run succeeds.
    failed: HashMap<Key, (Instant, Unknown)>,
    /// Whether what we have was of no use: the registry refused it, or it is for other hosts.
    refused: bool,
}

/// An answer.
struct Provided {
    keyring: Keyring,
    auth: String,
    version: u64,
    at: Instant,
    duration: Duration,
}

impl Provided {
    fn is_fresh(&self) -> bool {
        self.at.elapsed() < self.duration
    }

    /// Its last fifth has begun.
    fn is_due(&self) -> bool {
        self.at.elapsed() >= self.duration / 5 * 4
    }
}

impl Provider {
    /// Runs nothing yet. The programs are waited for on `tasks`.
    pub fn new(plugin: Arc<Plugin>, host: &str, tasks: Tasks) -> Self {
        Self(Arc::new(Inner {
            plugin,
            host: host.into(),
            known: Mutex::default(),
            runs: SingleFlight::new(tasks),
            at_once: Semaphore::new(AT_ONCE),
            contents: AtomicU64::new(0),
            changes: AtomicU64::new(0),
        }))
    }

    /// Grows when credentials come after a failure, and when others come after those that were of no use. That a
    /// short-lived credential is renewed outdates no answer.
    pub fn changes(&self) -> u64 {
        self.0.changes.load(Ordering::Acquire)
    }

    /// Runs the program again in the background, if it failed a while ago.
    pub fn retry(&self) {
        let due = {
            let known = self.0.known();
            known.failed.contains_key(&None) && known.failure(&None).is_none()
        };
        if due {
            let _goes_on = self.start(None);
        }
    }

    /// The credential for a repository, with the version of its content. `None`: for the registry as a whole.
    ///
    /// # Errors
    /// Why there is none, as [`Cause::Unauthorized`].
    pub async fn current(&self, about: Option<&str>) -> Result<(u64, Credential), Unknown> {
        let provided = self.provided(about).await?;
        self.choose(&provided, about)
    }

    /// As [`current`](Self::current), after the registry refused what we have.
    ///
    /// # Errors
    /// Those of [`current`](Self::current).
    pub async fn refreshed(&self, about: Option<&str>) -> Result<(u64, Credential), Unknown> {
        let outdated = {
            let mut known = self.0.known();
            known.refused = true;
            let old = known.find(about).is_none_or(|held| held.at.elapsed() >= REFUSED_AFTER);
            old && known.failure(&known.key(about)).is_none()
        };
        if outdated {
            // Where it fails, what we have is used until it ends: the registry may refuse only this one request.
            let _failed = self.run(about).await;
        }
        self.current(about).await
    }

    async fn provided(&self, about: Option<&str>) -> Result<Arc<Provided>, Unknown> {
        let (held, failure) = {
            let known = self.0.known();
            (known.find(about), known.failure(&known.key(about)))
        };
        match (held, failure) {
            (Some(held), failure) if held.is_fresh() => {
                if held.is_due() && failure.is_none() {
                    let _goes_on = self.start(about);
                }
                Ok(held)
            }
            (_, Some(failure)) => Err(failure),
            (_, None) => self.run(about).await,
        }
    }

    /// Waits for a run. Before the first answer nobody knows whether one serves all images, so all wait for one run; who
    /// got none by it waits for another.
    async fn run(&self, about: Option<&str>) -> Result<Arc<Provided>, Unknown> {
        let shared = !self.0.known().by_image;
        let provided = result(self.start(about)).await?;
        let held = {
            let known = self.0.known();
            if !(shared && known.by_image) {
                return Ok(provided);
            }
            known.find(about).filter(|held| held.is_fresh())
        };
        match held {
            Some(held) => Ok(held),
            None => result(self.start(about)).await,
        }
    }

    /// Joins the run for this question, or starts it. It goes on if nobody waits for it.
    fn start(&self, about: Option<&str>) -> Flight<Result<Arc<Provided>, Unknown>> {
        let key = self.0.known().key(about);
        let work = || {
            let (inner, key, about) = (self.0.clone(), key.clone(), about.map(Box::<str>::from));
            Ok::<_, Infallible>(async move { inner.ask(key, about).await })
        };
        match self.0.runs.join_or_start(&key, (), |()| true, work) {
            Ok(joined) => joined.flight(),
            Err(never) => match never {},
        }
    }

    fn choose(&self, provided: &Provided, about: Option<&str>) -> Result<(u64, Credential), Unknown> {
        let Inner { host, plugin, .. } = &*self.0;
        let found = match about {
            Some(path) => provided.keyring.lookup(host, path).first().copied(),
            None => provided.keyring.any(host),
        };
        if let Some(credential) = found {
            return Ok((provided.version, credential.clone()));
        }
        self.0.known().refused = true;
        let image = about.map_or_else(|| host.to_string(), |path| format!("{host}/{path}"));
        let keys: Vec<_> = provided.keyring.keys().map(plain).collect();
        let keys = if keys.is_empty() { "nothing".to_owned() } else { format!("`{}`", keys.join("`, `")) };
        let detail = format!(
            "the credential provider {} answered no credentials for `{image}`, but for {}",
            plugin.command.display(),
            plain(&keys)
        );
        Err(Unknown::new(Cause::Unauthorized, detail))
    }
}

impl Inner {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn ask(&self, run: Key, about: Option<Box<str>>) -> Result<Arc<Provided>, Unknown> {
        let image =
            about.as_ref().map_or_else(|| self.host.to_string(), |path| format!("{}/{path}", self.host));
        let _permit = self.at_once.acquire().await;
        let answer = plugin::run(&self.plugin, &image).await;
        let mut known = self.known();
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => {
                let detail = format!("the credential provider {} {error}", self.plugin.command.display());
                tracing::warn!("{detail}");
                let unknown = Unknown::new(Cause::Unauthorized, detail);
                known.fail(run, unknown.clone());
                return Err(unknown);
            }
        };
        known.by_image = answer.scope == Scope::Image;
        let key = known.by_image.then(|| about.unwrap_or_default());
        let held = known.provided.get(&key).filter(|held| held.auth == answer.auth);
        let same = held.map(|held| held.version);
        let provided = Arc::new(Provided {
            keyring: answer.keyring,
            auth: answer.auth,
            version: same.unwrap_or_else(|| self.contents.fetch_add(1, Ordering::AcqRel) + 1),
            at: Instant::now(),
            duration: answer.duration.unwrap_or(DEFAULT_DURATION).max(LEAST_DURATION),
        });
        let works_again = known.failed.remove(&run).is_some() && run.is_none();
        let replaced = same.is_none() && known.provided.contains_key(&key);
        if works_again || known.refused && replaced {
            known.refused = false;
            self.changes.fetch_add(1, Ordering::AcqRel);
        }
        known.keep(key, provided.clone());
        Ok(provided)
    }
}

/// Waits for a run.
async fn result(run: Flight<Result<Arc<Provided>, Unknown>>) -> Result<Arc<Provided>, Unknown> {
    run.result().await.unwrap_or_else(|| {
        Err(Unknown::new(Cause::Internal, "the run of the credential provider ended without an answer"))
    })
}

impl Known {
    /// Whom a run for this question serves, as far as we know.
    fn key(&self, about: Option<&str>) -> Key {
        about.filter(|_| self.by_image).map(Box::from)
    }

    /// What is held for a question, fresh or not. What was answered for the host alone serves no image.
    fn find(&self, about: Option<&str>) -> Option<Arc<Provided>> {
        let own = self.provided.get(&Some(about.unwrap_or_default().into()));
        own.or_else(|| self.provided.get(&None)).cloned()
    }

    /// The last failure, while it counts.
    fn failure(&self, key: &Key) -> Option<Unknown> {
        let (at, unknown) = self.failed.get(key)?;
        (at.elapsed() < FAILED_FOR).then(|| unknown.clone())
    }

    fn fail(&mut self, key: Key, unknown: Unknown) {
        if self.failed.len() >= MOST {
            self.failed.clear();
        }
        self.failed.insert(key, (Instant::now(), unknown));
    }

    fn keep(&mut self, key: Key, provided: Arc<Provided>) {
        if self.provided.len() >= MOST {
            self.provided.retain(|_, held| held.is_fresh());
        }
        if self.provided.len() >= MOST {
            self.provided.clear();
        }
        self.provided.insert(key, provided);
    }
}
