//! One Harbor, asked: what it holds, and who we are to it; what it knows of scans, see `scan`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use crate::domain::digest::Digest;
use crate::domain::evidence::{Cause, Children, Presence, Unknown};
use crate::domain::image::Repository;
use crate::domain::route::Serves;
use crate::registry::{Age, Client, Head, LookedUp, SharedLookup, Target};

use super::api::{Api, Artifact, REPORTS, Said};
use super::overview::{ProjectScanner, scanner};
use super::project::{Project, project};
use super::standing::{self, Look, SelfTest, Standing};

/// How long a look-up that many questions share may take, whoever waits for it: Harbor's ping of a scanner that
/// hangs takes 5 s, and lands on the request that happens to come.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long a project's facts count. Whether it is a proxy cache never changes; its allowlist may.
const PROJECT: Duration = Duration::from_secs(60);

/// How long a healthy scanner counts as such. Overviews vanish in the very moment its health turns, and as long as
/// this is behind, scanned images look like images that were never scanned.
const SCANNER_HEALTHY: Duration = Duration::from_secs(2);

/// How long any other scanner's state counts: as long as Harbor itself caches its ping at most.
const SCANNER_OTHER: Duration = Duration::from_secs(15);

/// How long credentials that were proved are not believed to be wrong, and others not tried again.
const PROVED: Duration = Duration::from_secs(60);
const REJECTED: Duration = Duration::from_secs(30);

/// A project that nobody asked about for so long is forgotten.
const IDLE: Duration = Duration::from_secs(24 * 3600);

/// How long it is not asked again what could not be learned.
const UNKNOWN: Duration = Duration::from_secs(1);

/// One Harbor.
///
/// Everything is an answer: absence, refusal, and, as [`Unknown`], whatever could not be learned. It remembers, for
/// seconds, what all artifacts of a project share; presence and scans are remembered by `evidence/`.
pub struct Harbor {
    pub(super) api: Api,
    /// `None`: our robot may not look.
    projects: SharedLookup<Box<str>, Option<Arc<Project>>>,
    /// `None`: our robot may not look.
    scanners: SharedLookup<Box<str>, Option<ProjectScanner>>,
    standing: SharedLookup<(), Standing>,
    /// The version of the credentials under which all this was learned.
    credentials: AtomicU64,
    /// A stored report is read and forgotten under one of its permits.
    pub(super) reports: Semaphore,
}

impl Harbor {
    /// Asks through this client.
    #[must_use]
    pub fn new(client: Arc<Client>) -> Self {
        let tasks = client.tasks().clone();
        Self {
            api: Api { client },
            projects: SharedLookup::new(IDLE, tasks.clone()),
            scanners: SharedLookup::new(IDLE, tasks.clone()),
            standing: SharedLookup::new(IDLE, tasks),
            credentials: AtomicU64::new(0),
            reports: Semaphore::new(REPORTS),
        }
    }

    /// The client that asks its registry.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.api.client
    }

    /// Does this Harbor hold the manifest, and may we pull it?
    pub async fn presence(&self, repository: &Repository, target: Target<'_>, deadline: Instant) -> Presence {
        match self.api.client.head(repository, target, deadline).await {
            Ok(Head::Found { digest, shape }) => match self.project_of(repository, deadline).await {
                Ok(Some(project)) if project.serves == Serves::ProxyCache => {
                    Presence::ProxyCache { digest, shape }
                }
                Ok(Some(_)) => Presence::Present { digest, shape },
                Ok(None) => match self.is_listed(repository, &digest, deadline).await {
                    Ok(true) => Presence::Present { digest, shape },
                    Ok(false) => Presence::ProxyCache { digest, shape },
                    Err(unknown) => Presence::Unknown(unknown),
                },
                Err(unknown) => Presence::Unknown(unknown),
            },
            Ok(Head::NotFound) => Presence::Absent,
            Ok(Head::Refused(message)) => Presence::Refused(message),
            Ok(Head::Unauthorized { challenges, .. }) if challenges.is_empty() => {
                match self.without_challenge(repository, target, deadline).await {
                    Ok(Gone) => Presence::Absent,
                    Err(unknown) => Presence::Unknown(unknown),
                }
            }
            Ok(Head::Unauthorized { .. }) => Presence::Unknown(self.refused(repository, deadline).await),
            Err(unknown) => Presence::Unknown(unknown),
        }
    }

    /// Forgets what all artifacts of a project share: anything may have changed here, even that a project is a proxy
    /// cache, for another may have its name now. Who we are is not forgotten.
    pub fn forget(&self) {
        self.projects.forget();
        self.scanners.forget();
    }

    /// Does Harbor's own list hold what its registry answered for? An ordinary project answers from that list, so only a
    /// proxy cache answers for more (facts: proxy-cache project). What a proxy cache lists it holds: that is a copy.
    ///
    /// A robot that may see neither the project nor its artifacts cannot tell; nearly all projects are ordinary ones.
    async fn is_listed(
        &self,
        repository: &Repository,
        digest: &Digest,
        deadline: Instant,
    ) -> Result<bool, Unknown> {
        let artifact = Artifact::new(repository, &digest.to_string())?;
        match self.api.artifact(&artifact, deadline).await {
            Ok(Said::NotFound) => Ok(false),
            Ok(Said::Here(_) | Said::Forbidden | Said::Unauthorized) => Ok(true),
            // What stands in front of Harbor keeps its API from us: it will not tell later, either.
            Err(unknown) if unknown.cause == Cause::NotRegistry => Ok(true),
            Err(unknown) => Err(unknown),
        }
    }

    /// What does this index list?
    pub async fn children(&self, repository: &Repository, digest: &Digest, deadline: Instant) -> Children {
        match self.api.client.children(repository, digest, deadline).await {
            Children::Unknown(unknown) if unknown.cause == Cause::Unauthorized => {
                match self.without_challenge(repository, Target::Digest(digest), deadline).await {
                    Ok(Gone) => Children::Absent,
                    Err(unknown) => Children::Unknown(unknown),
                }
            }
            children => children,
        }
    }

    /// Is this Harbor up, and who are we to it? Asks it, and remembers.
    pub async fn self_test(&self, look: Look, deadline: Instant) -> SelfTest {
        let found = standing::self_test(&self.api, look, deadline).await;
        if look != Look::Nobody {
            self.standing.put((), held(found.standing.clone()));
        }
        found
    }

    /// A 401 without any challenge: to all callers Harbor says so of a project that does not exist, and to all
    /// callers while its database is down. The API tells them apart.
    async fn without_challenge(
        &self,
        repository: &Repository,
        target: Target<'_>,
        deadline: Instant,
    ) -> Result<Gone, Unknown> {
        let reference = match target {
            Target::Tag(tag) => tag.to_string(),
            Target::Digest(digest) => digest.to_string(),
        };
        let artifact = Artifact::new(repository, &reference)?;
        match self.api.artifact(&artifact, deadline).await? {
            // An admin is told outright.
            Said::NotFound => Ok(Gone),
            Said::Forbidden => self.forbidden(&artifact, deadline).await,
            Said::Unauthorized => Err(self.unauthorized(deadline).await),
            Said::Here(_) => {
                let detail =
                    "its registry refused without a challenge what its API has: its database was down";
                Err(Unknown::new(Cause::ServerError, detail))
            }
        }
    }

    /// The API's 403: to all but admins the same for a project that does not exist and for one that is not ours.
    pub(super) async fn forbidden(&self, artifact: &Artifact, deadline: Instant) -> Result<Gone, Unknown> {
        let project = &artifact.project;
        match self.api.project_exists(project, deadline).await? {
            Said::NotFound => Ok(Gone),
            Said::Here(_) | Said::Forbidden => {
                let detail = format!("our credentials do not reach into the project `{project}`");
                Err(Unknown::new(Cause::Forbidden, detail))
            }
            Said::Unauthorized => Err(self.unauthorized(deadline).await),
        }
    }

    /// A 401 of `/v2` that asks for other credentials, of a project that exists: it is not ours, or nobody is.
    async fn refused(&self, repository: &Repository, deadline: Instant) -> Unknown {
        match self.standing(deadline).await {
            Ok(Standing::Proved) => {
                let detail = format!("our credentials are good, but may not pull from `{repository}`");
                Unknown::new(Cause::Forbidden, detail)
            }
            Ok(standing) => not_proved(standing),
            Err(unknown) => unknown,
        }
    }

    /// A 401 of the API: Harbor does not know us, unless it knew us a moment ago.
    pub(super) async fn unauthorized(&self, deadline: Instant) -> Unknown {
        match self.standing(deadline).await {
            Ok(Standing::Proved) => {
                let detail = "Harbor did not know us, though our credentials were proved a moment ago";
                Unknown::new(Cause::ServerError, detail)
            }
            Ok(standing) => not_proved(standing),
            Err(unknown) => unknown,
        }
    }

    /// Who we are, and where we may look, is another question under other credentials.
    fn notice_rotation(&self) {
        let version = self.client().credentials_seen();
        if self.credentials.swap(version, Ordering::AcqRel) != version {
            self.projects.outdate();
            self.scanners.outdate();
            self.standing.outdate();
        }
    }

    async fn standing(&self, deadline: Instant) -> Result<Standing, Unknown> {
        self.notice_rotation();
        let api = self.api.clone();
        let look_up = async move { held(standing::self_test(&api, Look::Prove, patience()).await.standing) };
        within(deadline, self.standing.get((), look_up)).await
    }

    async fn project_of(
        &self,
        repository: &Repository,
        deadline: Instant,
    ) -> Result<Option<Arc<Project>>, Unknown> {
        self.notice_rotation();
        let Some((project, _)) = repository.as_str().split_once('/') else { return Ok(None) };
        // Whether it is a proxy cache never changes, so a slow API must not hide what the registry holds: what is
        // known is told at once, and looked up for those who come later. That we may not look is known only of the
        // credentials that we have.
        let last = self.projects.last(&project.into());
        let known =
            last.filter(|(facts, age)| facts.is_some() || *age == Age::Current).map(|(facts, _)| facts);
        let deadline = if known.is_some() { Instant::now() } else { deadline };
        match (self.project(project, deadline).await, known) {
            (Err(_), Some(known)) => Ok(known),
            (found, _) => found,
        }
    }

    /// The project's facts; `None` where our robot may not look.
    pub(super) async fn project(
        &self,
        name: &str,
        deadline: Instant,
    ) -> Result<Option<Arc<Project>>, Unknown> {
        self.notice_rotation();
        let (api, key) = (self.api.clone(), name.into());
        let name: Box<str> = name.into();
        let look_up = async move {
            let learned = match api.project(&name, patience()).await {
                Ok(Said::Here(body)) => {
                    project(&body).map(|project| Some(Arc::new(project))).map_err(Unknown::from)
                }
                Ok(Said::NotFound | Said::Forbidden | Said::Unauthorized) => Ok(None),
                Err(unknown) => Err(unknown),
            };
            let ttl = if learned.is_ok() { PROJECT } else { UNKNOWN };
            LookedUp { result: learned, ttl }
        };
        within(deadline, self.projects.get(key, look_up)).await
    }

    /// The project's scanner; `None` where our robot may not look.
    pub(super) async fn scanner(
        &self,
        project: &str,
        deadline: Instant,
    ) -> Result<Option<ProjectScanner>, Unknown> {
        self.notice_rotation();
        let (api, key) = (self.api.clone(), project.into());
        let project: Box<str> = project.into();
        let look_up = async move {
            let learned = match api.scanner(&project, patience()).await {
                Ok(Said::Here(body)) => scanner(&body).map(Some).map_err(Unknown::from),
                // A project that does not exist has no scanner.
                Ok(Said::NotFound) => Ok(Some(ProjectScanner::Absent)),
                Ok(Said::Forbidden | Said::Unauthorized) => Ok(None),
                Err(unknown) => Err(unknown),
            };
            let ttl = match &learned {
                Ok(Some(ProjectScanner::Healthy)) => SCANNER_HEALTHY,
                Ok(_) => SCANNER_OTHER,
                Err(_) => UNKNOWN,
            };
            LookedUp { result: learned, ttl }
        };
        within(deadline, self.scanners.get(key, look_up)).await
    }
}

/// The project does not exist, or Harbor's database does not list the artifact.
pub(super) struct Gone;

/// Waits for what a look-up learns, until the deadline. What is fresh is there at once, whatever the deadline.
async fn within<V>(
    deadline: Instant,
    answer: impl Future<Output = Result<V, Unknown>>,
) -> Result<V, Unknown> {
    timeout_at(deadline, answer)
        .await
        .unwrap_or_else(|_| Err(Unknown::new(Cause::Deadline, "Harbor's API did not answer in time")))
}

fn patience() -> Instant {
    Instant::now() + PATIENCE
}

fn held(standing: Standing) -> LookedUp<Standing> {
    let ttl = match standing {
        Standing::Proved => PROVED,
        Standing::Rejected => REJECTED,
        Standing::DatabaseDown(_) | Standing::Unreachable(_) => UNKNOWN,
    };
    LookedUp { result: Ok(standing), ttl }
}

fn not_proved(standing: Standing) -> Unknown {
    match standing {
        Standing::DatabaseDown(unknown) | Standing::Unreachable(unknown) => unknown,
        Standing::Proved | Standing::Rejected => {
            let detail =
                "Harbor does not know us: no credentials, wrong ones, or a robot that is disabled or expired";
            Unknown::new(Cause::Unauthorized, detail)
        }
    }
}

#[cfg(test)]
mod tests;
