//! Asks one Harbor: presence and children, and whether our credentials are right. Scans are in `scan`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use crate::domain::digest::Digest;
use crate::domain::evidence::{Children, Presence};
use crate::domain::image::Repository;
use crate::domain::route::Serves;
use crate::domain::unknown::{Cause, Unknown};
use crate::registry::{Age, Client, Head, Listed, LookedUp, SharedLookup, Target};

use super::api::{Api, ApiAnswer, Artifact, REPORTS};
use super::overview::{ProjectScanner, scanner};
use super::project::{Project, project};
use super::self_test::{self, Check, SelfTest, SelfTestResult};

// The TTLs of presence and scans are in `evidence/ttl.rs`. These here are of facts that all artifacts of a project share.

/// The most time of a look-up that many questions share, however long each of them waits. Harbor pings its scanner
/// while it answers, and the ping of a scanner that hangs takes 5 s.
const PATIENCE: Duration = Duration::from_secs(10);

/// TTL of a project's facts. Whether it is a proxy cache never changes, its allowlist may.
const PROJECT: Duration = Duration::from_secs(60);

/// TTL of a healthy scanner. Scan overviews disappear as soon as the scanner becomes unhealthy. Until we notice, scanned
/// images look as if they had never been scanned.
const SCANNER_HEALTHY: Duration = Duration::from_secs(2);

/// TTL of any other state of a scanner: as long as Harbor itself caches its ping.
const SCANNER_OTHER: Duration = Duration::from_secs(15);

/// TTL of credentials that were proved: so long a 401 is not taken for wrong credentials.
const PROVED: Duration = Duration::from_secs(60);
/// TTL of credentials that were rejected: so long they are not tried again.
const REJECTED: Duration = Duration::from_secs(30);

/// A project that nobody asked about for so long is forgotten.
const IDLE: Duration = Duration::from_secs(24 * 3600);

/// TTL of a failed look-up.
const UNKNOWN: Duration = Duration::from_secs(1);

/// One Harbor.
///
/// Every outcome is a value: absence, refusal, and, as [`Unknown`], what could not be learned. It caches for seconds what
/// all artifacts of a project share. Presence and scans are cached in `evidence/`.
///
/// ```no_run
/// # use std::{sync::Arc, time::Duration};
/// # use landfall::facade::domain::{digest::Digest, image::Repository};
/// use landfall::facade::harbor::Harbor;
/// use landfall::facade::registry::{Client, Target};
///
/// # async fn example(client: Client, digest: Digest) {
/// let harbor = Harbor::new(Arc::new(client));
/// let deadline = tokio::time::Instant::now() + Duration::from_secs(1);
/// let app = Repository::new("project/app");
/// let presence = harbor.presence(&app, Target::Digest(&digest), deadline).await;
/// # let _ = presence;
/// # }
/// ```
pub struct Harbor {
    pub(super) api: Api,
    /// `None`: our robot may not read projects.
    projects: SharedLookup<Box<str>, Option<Arc<Project>>>,
    /// `None`: our robot may not read scanners.
    scanners: SharedLookup<Box<str>, Option<ProjectScanner>>,
    self_test: SharedLookup<(), SelfTestResult>,
    /// The version of the credentials under which all this was learned.
    credentials: AtomicU64,
    /// Limits how many stored reports are in memory at once.
    pub(super) reports: Semaphore,
}

impl Harbor {
    /// A Harbor that is asked through this client.
    #[must_use]
    pub fn new(client: Arc<Client>) -> Self {
        let tasks = client.tasks().clone();
        Self {
            api: Api { client },
            projects: SharedLookup::new(IDLE, tasks.clone()),
            scanners: SharedLookup::new(IDLE, tasks.clone()),
            self_test: SharedLookup::new(IDLE, tasks),
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

    /// Forgets what is cached of projects and scanners. Even whether a project is a proxy cache may differ, because
    /// another project may have its name now. Whether our credentials are right is not forgotten.
    pub fn forget(&self) {
        self.projects.forget();
        self.scanners.forget();
    }

    /// Does Harbor's API list the artifact? Used where we may not read the project. An ordinary project answers `/v2`
    /// from that list, so only a proxy cache answers for artifacts that are not in it. What a proxy cache lists, it
    /// holds: that is a copy.
    ///
    /// A robot that may read neither the project nor its artifacts gets `true`, because nearly all projects are ordinary.
    async fn is_listed(
        &self,
        repository: &Repository,
        digest: &Digest,
        deadline: Instant,
    ) -> Result<bool, Unknown> {
        let artifact = Artifact::new(repository, &digest.to_string())?;
        match self.api.artifact(&artifact, deadline).await {
            Ok(ApiAnswer::NotFound) => Ok(false),
            Ok(ApiAnswer::Found(_) | ApiAnswer::Forbidden | ApiAnswer::Unauthorized) => Ok(true),
            // A proxy hides the API from us, and will do so later as well.
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

    /// What this manifest lists, by a GET. Harbor counts it as a pull.
    ///
    /// # Errors
    /// It could not be learned.
    pub async fn listed(
        &self,
        repository: &Repository,
        digest: &Digest,
        deadline: Instant,
    ) -> Result<Listed, Unknown> {
        match self.api.client.listed(repository, digest, deadline).await {
            Err(unknown) if unknown.cause == Cause::Unauthorized => self
                .without_challenge(repository, Target::Digest(digest), deadline)
                .await
                .map(|Gone| Listed::Absent),
            listed => listed,
        }
    }

    /// Is this Harbor up, and does it accept our credentials? Asks it, and caches the result.
    pub async fn self_test(&self, check: Check, deadline: Instant) -> SelfTest {
        let found = self_test::self_test(&self.api, check, deadline).await;
        if check != Check::Anonymous {
            self.self_test.put((), held(found.result.clone()));
        }
        found
    }

    /// What a 401 without a challenge means. Harbor answers so for a project that does not exist, and for everything
    /// while its database is down. The API tells the two apart.
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
            // Only an admin gets 404 for a project that does not exist.
            ApiAnswer::NotFound => Ok(Gone),
            ApiAnswer::Forbidden => self.forbidden(&artifact, deadline).await,
            ApiAnswer::Unauthorized => Err(self.unauthorized(deadline).await),
            ApiAnswer::Found(_) => {
                let detail = "Harbor's registry answered 401 without a challenge for an artifact that its API lists: \
                     its database was down a moment ago";
                Err(Unknown::new(Cause::ServerError, detail))
            }
        }
    }

    /// What a 403 of the API means. To all but admins it is the same for a project that does not exist and for one that
    /// we may not read.
    pub(super) async fn forbidden(&self, artifact: &Artifact, deadline: Instant) -> Result<Gone, Unknown> {
        let project = &artifact.project;
        match self.api.project_exists(project, deadline).await? {
            ApiAnswer::NotFound => Ok(Gone),
            ApiAnswer::Found(_) | ApiAnswer::Forbidden => {
                let detail = format!(
                    "Harbor answered 403 for the project `{project}`: our robot has no permission there"
                );
                Err(Unknown::new(Cause::Forbidden, detail))
            }
            ApiAnswer::Unauthorized => Err(self.unauthorized(deadline).await),
        }
    }

    /// What a 401 of `/v2` with a challenge means. The project exists: we may not pull from it, or our credentials are
    /// wrong.
    async fn refused(&self, repository: &Repository, deadline: Instant) -> Unknown {
        match self.proved(deadline).await {
            Ok(SelfTestResult::Proved) => {
                let detail =
                    format!("Harbor accepts our credentials, but they may not pull from `{repository}`");
                Unknown::new(Cause::Forbidden, detail)
            }
            Ok(result) => not_proved(result),
            Err(unknown) => unknown,
        }
    }

    /// What a 401 of the API means: wrong credentials, unless they were proved a moment ago.
    pub(super) async fn unauthorized(&self, deadline: Instant) -> Unknown {
        match self.proved(deadline).await {
            Ok(SelfTestResult::Proved) => {
                let detail = "Harbor answered 401, but it accepted the same credentials a moment ago";
                Unknown::new(Cause::ServerError, detail)
            }
            Ok(result) => not_proved(result),
            Err(unknown) => unknown,
        }
    }

    /// Other credentials may have other permissions, so nothing that is cached is fresh any more.
    fn notice_rotation(&self) {
        let version = self.client().credentials_seen();
        if self.credentials.swap(version, Ordering::AcqRel) != version {
            self.projects.outdate();
            self.scanners.outdate();
            self.self_test.outdate();
        }
    }

    async fn proved(&self, deadline: Instant) -> Result<SelfTestResult, Unknown> {
        self.notice_rotation();
        let api = self.api.clone();
        let look_up =
            async move { held(self_test::self_test(&api, Check::Credentials, patience()).await.result) };
        within(deadline, self.self_test.get((), look_up)).await
    }

    async fn project_of(
        &self,
        repository: &Repository,
        deadline: Instant,
    ) -> Result<Option<Arc<Project>>, Unknown> {
        self.notice_rotation();
        let Some((project, _)) = repository.as_str().split_once('/') else { return Ok(None) };
        // Whether it is a proxy cache never changes, so nobody waits for a slow API if there is an old answer: that is
        // used at once, and refreshed for later callers. That we may not read the project holds only for the
        // credentials that we have now.
        let last = self.projects.last(&project.into());
        let known =
            last.filter(|(facts, age)| facts.is_some() || *age == Age::Current).map(|(facts, _)| facts);
        let deadline = if known.is_some() { Instant::now() } else { deadline };
        match (self.project(project, deadline).await, known) {
            (Err(_), Some(known)) => Ok(known),
            (found, _) => found,
        }
    }

    /// The project's facts. `None`: our robot may not read it.
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
                Ok(ApiAnswer::Found(body)) => {
                    project(&body).map(|project| Some(Arc::new(project))).map_err(Unknown::from)
                }
                Ok(ApiAnswer::NotFound | ApiAnswer::Forbidden | ApiAnswer::Unauthorized) => Ok(None),
                Err(unknown) => Err(unknown),
            };
            let ttl = if learned.is_ok() { PROJECT } else { UNKNOWN };
            LookedUp { result: learned, ttl }
        };
        within(deadline, self.projects.get(key, look_up)).await
    }

    /// The project's scanner. `None`: our robot may not read it.
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
                Ok(ApiAnswer::Found(body)) => scanner(&body).map(Some).map_err(Unknown::from),
                // A project that does not exist has no scanner.
                Ok(ApiAnswer::NotFound) => Ok(Some(ProjectScanner::Absent)),
                Ok(ApiAnswer::Forbidden | ApiAnswer::Unauthorized) => Ok(None),
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

/// The project does not exist, or Harbor does not list the artifact.
pub(super) struct Gone;

/// Waits for an answer until the deadline. An answer that is cached is returned even after it.
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

fn held(result: SelfTestResult) -> LookedUp<SelfTestResult> {
    let ttl = match result {
        SelfTestResult::Proved => PROVED,
        SelfTestResult::Rejected => REJECTED,
        SelfTestResult::DatabaseDown(_) | SelfTestResult::Unreachable(_) => UNKNOWN,
    };
    LookedUp { result: Ok(result), ttl }
}

fn not_proved(result: SelfTestResult) -> Unknown {
    match result {
        SelfTestResult::DatabaseDown(unknown) | SelfTestResult::Unreachable(unknown) => unknown,
        SelfTestResult::Proved | SelfTestResult::Rejected => {
            let detail = "Harbor rejected the credentials (401): they are missing or wrong, or the robot is disabled, \
                 expired or deleted";
            Unknown::new(Cause::Unauthorized, detail)
        }
    }
}

#[cfg(test)]
mod tests;
