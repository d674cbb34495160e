//! Harbor's API, one method per question: how its paths are encoded, and what its statuses mean.

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, StatusCode};
use tokio::time::Instant;

use crate::domain::digest::Digest;
use crate::domain::image::Repository;
use crate::domain::unknown::{Cause, Unknown};
use crate::registry::{Answer, Client, Endpoint, Request};

use super::answer::{NotFound, fault, not_found};

/// The limit of most bodies. Artifacts, projects and scanners are a few kilobytes, an index with many children more.
const SMALL: usize = 1024 * 1024;
/// The limit of a page of rules or artifacts, of which each has some kilobytes.
const LIST: usize = 4 * 1024 * 1024;
/// Harbor's longest page.
pub(super) const PAGE: usize = 100;
/// The limit of a stored report: a few kilobytes for each vulnerability, and some images have thousands.
const REPORT: usize = 8 * 1024 * 1024;
/// The most stored reports of one Harbor in memory at once. Times [`REPORT`] it is the most memory that they take.
pub(super) const REPORTS: usize = 2;

const JSON: &str = "application/json";

/// An answer of the API, by its status.
#[derive(Debug)]
pub(super) enum ApiAnswer {
    /// 200, with its body.
    Found(Bytes),
    /// 404, in Harbor's error format.
    NotFound,
    /// 403: our credentials are right, but do not allow this. To all but admins a project that does not exist looks the
    /// same.
    Forbidden,
    /// 401: Harbor rejected the credentials.
    Unauthorized,
}

/// The path of an artifact in the API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Artifact {
    pub project: Box<str>,
    repository: Repository,
    path: String,
}

impl Artifact {
    /// Splits `project/team/app`.
    ///
    /// The repository is encoded twice (`/` → `%252F`), because the nginx in front of Harbor decodes once. Other characters
    /// of a name need no encoding.
    ///
    /// # Errors
    /// A name of one component. Harbor answers 400 to it: each repository belongs to a project.
    pub fn new(repository: &Repository, reference: &str) -> Result<Self, Unknown> {
        let Some((project, name)) = repository.as_str().split_once('/') else {
            let detail =
                format!("`{repository}` names no project: at a Harbor it must be `project/{repository}`");
            return Err(Unknown::new(Cause::NotRegistry, detail));
        };
        let name = name.replace('/', "%252F");
        let path = format!("/api/v2.0/projects/{project}/repositories/{name}/artifacts/{reference}");
        Ok(Self { project: project.into(), repository: repository.clone(), path })
    }

    /// Decides which credentials are used.
    fn about(&self) -> Option<&str> {
        Some(self.repository.as_str())
    }
}

/// The API of one Harbor.
#[derive(Clone)]
pub(super) struct Api {
    pub client: Arc<Client>,
}

impl Api {
    /// The artifact with its scan overview.
    pub async fn artifact(&self, artifact: &Artifact, deadline: Instant) -> Result<ApiAnswer, Unknown> {
        let path = format!("{}?with_scan_overview=true", artifact.path);
        self.get(artifact.about(), &path, SMALL, deadline).await
    }

    /// The artifact with its tags and accessories.
    pub async fn facts(&self, artifact: &Artifact, deadline: Instant) -> Result<ApiAnswer, Unknown> {
        let path = format!("{}?with_tag=true&with_accessory=true", artifact.path);
        self.get(artifact.about(), &path, SMALL, deadline).await
    }

    /// The artifacts of this digest in its repository: none if an index lists it, and it has no tag.
    pub async fn top_level(
        &self,
        artifact: &Artifact,
        digest: &Digest,
        deadline: Instant,
    ) -> Result<ApiAnswer, Unknown> {
        let list = artifact.path.rsplit_once('/').map_or("", |(list, _)| list);
        let path = format!("{list}?q=digest%3D{digest}&page_size=1");
        self.get(artifact.about(), &path, SMALL, deadline).await
    }

    /// The artifacts that were pushed to a project last: Harbor lists the newest first (`GetDefaultSorts` in
    /// `src/pkg/artifact/dao/model.go`). It has this list since 2.12.
    pub async fn pushes(&self, project: &str, deadline: Instant) -> Result<ApiAnswer, Unknown> {
        let path = format!("/api/v2.0/projects/{project}/artifacts?page_size={PAGE}&with_tag=true");
        self.get(Some(project), &path, LIST, deadline).await
    }

    /// A page of the replication rules, with a hundred of them.
    pub async fn rules(&self, page: usize, deadline: Instant) -> Result<ApiAnswer, Unknown> {
        let path = format!("/api/v2.0/replication/policies?page={page}&page_size={PAGE}");
        self.get(None, &path, LIST, deadline).await
    }

    /// The newest executions of a rule.
    pub async fn executions(&self, rule: i64, deadline: Instant) -> Result<ApiAnswer, Unknown> {
        let path = format!("/api/v2.0/replication/executions?policy_id={rule}&page_size=10");
        self.get(None, &path, SMALL, deadline).await
    }

    /// The first hundred tasks of an execution.
    pub async fn tasks(&self, execution: i64, deadline: Instant) -> Result<ApiAnswer, Unknown> {
        let path = format!("/api/v2.0/replication/executions/{execution}/tasks?page_size={PAGE}");
        self.get(None, &path, SMALL, deadline).await
    }

    /// Starts the scan of an artifact, whatever the status.
    pub async fn start_scan(&self, artifact: &Artifact, deadline: Instant) -> Result<Answer, Unknown> {
        let path = format!("{}/scan", artifact.path);
        self.post(artifact.about(), &path, None, deadline).await
    }

    /// Starts an execution, whatever the status.
    pub async fn start_execution(&self, body: Bytes, deadline: Instant) -> Result<Answer, Unknown> {
        self.post(None, "/api/v2.0/replication/executions", Some(body), deadline).await
    }

    /// The newest executions of a rule that somebody started, whatever the status.
    pub async fn started_executions(&self, rule: i64, deadline: Instant) -> Result<Answer, Unknown> {
        let path = format!("/api/v2.0/replication/executions?policy_id={rule}&trigger=manual&page_size=10");
        self.ask(Method::GET, &path, Endpoint::HarborApi(None), SMALL, deadline).await
    }

    /// One execution, whatever the status.
    pub async fn execution(&self, execution: i64, deadline: Instant) -> Result<Answer, Unknown> {
        let path = format!("/api/v2.0/replication/executions/{execution}");
        self.ask(Method::GET, &path, Endpoint::HarborApi(None), SMALL, deadline).await
    }

    /// The first hundred tasks of an execution, whatever the status.
    pub async fn all_tasks(&self, execution: i64, deadline: Instant) -> Result<Answer, Unknown> {
        let path = format!("/api/v2.0/replication/executions/{execution}/tasks?page_size={PAGE}");
        self.ask(Method::GET, &path, Endpoint::HarborApi(None), SMALL, deadline).await
    }

    /// The first task of an execution that failed, whatever the status.
    pub async fn failed_tasks(&self, execution: i64, deadline: Instant) -> Result<Answer, Unknown> {
        let path = format!("/api/v2.0/replication/executions/{execution}/tasks?status=Failed&page_size=1");
        self.ask(Method::GET, &path, Endpoint::HarborApi(None), SMALL, deadline).await
    }

    /// The log of a task, as text, whatever the status.
    pub async fn log(&self, execution: i64, task: i64, deadline: Instant) -> Result<Answer, Unknown> {
        let path = format!("/api/v2.0/replication/executions/{execution}/tasks/{task}/log");
        self.ask(Method::GET, &path, Endpoint::HarborApi(None), LIST, deadline).await
    }

    /// The stored report of its last scan.
    pub async fn vulnerabilities(
        &self,
        artifact: &Artifact,
        deadline: Instant,
    ) -> Result<ApiAnswer, Unknown> {
        let path = format!("{}/additions/vulnerabilities", artifact.path);
        self.get(artifact.about(), &path, REPORT, deadline).await
    }

    /// The project.
    pub async fn project(&self, project: &str, deadline: Instant) -> Result<ApiAnswer, Unknown> {
        self.get(Some(project), &format!("/api/v2.0/projects/{project}"), SMALL, deadline).await
    }

    /// The project's scanner.
    pub async fn scanner(&self, project: &str, deadline: Instant) -> Result<ApiAnswer, Unknown> {
        self.get(Some(project), &format!("/api/v2.0/projects/{project}/scanner"), SMALL, deadline).await
    }

    /// The system's CVE allowlist.
    pub async fn system_allowlist(&self, deadline: Instant) -> Result<ApiAnswer, Unknown> {
        self.get(None, "/api/v2.0/system/CVEAllowlist", SMALL, deadline).await
    }

    /// `systeminfo`, whatever the status.
    pub async fn system_info(&self, endpoint: Endpoint<'_>, deadline: Instant) -> Result<Answer, Unknown> {
        self.ask(Method::GET, "/api/v2.0/systeminfo", endpoint, SMALL, deadline).await
    }

    /// One of the public projects, whatever the status: it is read from the database.
    pub async fn public_projects(&self, deadline: Instant) -> Result<Answer, Unknown> {
        let path = "/api/v2.0/projects?page_size=1";
        self.ask(Method::GET, path, Endpoint::Anonymous, SMALL, deadline).await
    }

    /// Does a project of this name exist? Any caller with valid credentials may ask.
    pub async fn project_exists(&self, project: &str, deadline: Instant) -> Result<ApiAnswer, Unknown> {
        let path = format!("/api/v2.0/projects?project_name={project}");
        let answer =
            self.ask(Method::HEAD, &path, Endpoint::HarborApi(Some(project)), SMALL, deadline).await?;
        match answer.status {
            // A HEAD has no body, so there is no error format to check.
            StatusCode::NOT_FOUND => Ok(ApiAnswer::NotFound),
            _ => read(answer),
        }
    }

    /// Are our credentials right? Harbor answers 200 to a user, 412 to a robot, 401 to anybody else.
    pub async fn credentials_are_valid(&self, deadline: Instant) -> Result<bool, Unknown> {
        let answer = self
            .ask(Method::GET, "/api/v2.0/users/current", Endpoint::HarborApi(None), SMALL, deadline)
            .await?;
        match answer.status {
            StatusCode::OK | StatusCode::PRECONDITION_FAILED => Ok(true),
            StatusCode::UNAUTHORIZED => Ok(false),
            _ => read(answer).map(|_| false),
        }
    }

    /// An answer of any status.
    async fn ask(
        &self,
        method: Method,
        path: &str,
        endpoint: Endpoint<'_>,
        limit: usize,
        deadline: Instant,
    ) -> Result<Answer, Unknown> {
        let request = Request {
            method,
            path_and_query: path,
            endpoint,
            accept: Some(JSON),
            body: None,
            body_limit: limit,
        };
        self.client.send(request, deadline).await
    }

    async fn post(
        &self,
        about: Option<&str>,
        path: &str,
        body: Option<Bytes>,
        deadline: Instant,
    ) -> Result<Answer, Unknown> {
        let request = Request {
            method: Method::POST,
            path_and_query: path,
            endpoint: Endpoint::HarborApi(about),
            accept: Some(JSON),
            body,
            body_limit: SMALL,
        };
        self.client.send(request, deadline).await
    }

    async fn get(
        &self,
        about: Option<&str>,
        path: &str,
        limit: usize,
        deadline: Instant,
    ) -> Result<ApiAnswer, Unknown> {
        read(self.ask(Method::GET, path, Endpoint::HarborApi(about), limit, deadline).await?)
    }
}

/// Reads the statuses that Harbor's API documents. Every other answer is a cause.
///
/// A proxy in front of Harbor uses the same statuses, but not Harbor's error format. Its 403 or 404 must not be taken
/// for Harbor's.
fn read(answer: Answer) -> Result<ApiAnswer, Unknown> {
    let not_harbor = |answer: &Answer| {
        let detail = format!(
            "{} without Harbor's error format: a proxy in front of Harbor answers, or this is no Harbor",
            answer.status
        );
        Err(Unknown::new(Cause::NotRegistry, detail))
    };
    match answer.status {
        StatusCode::OK => Ok(ApiAnswer::Found(answer.body)),
        StatusCode::UNAUTHORIZED => Ok(ApiAnswer::Unauthorized),
        StatusCode::FORBIDDEN if fault(&answer.body).is_some() => Ok(ApiAnswer::Forbidden),
        StatusCode::FORBIDDEN => not_harbor(&answer),
        StatusCode::NOT_FOUND => match not_found(&answer.body) {
            NotFound::Absent => Ok(ApiAnswer::NotFound),
            NotFound::NotHarbor => not_harbor(&answer),
            NotFound::Mangled => Err(Unknown::new(
                Cause::NotRegistry,
                "a proxy in front of Harbor rewrites `%252F` in paths; it must pass the path on unchanged",
            )),
        },
        _ => Err(answer.unexpected()),
    }
}
