//! Harbor's API, one method per question: paths as nginx wants them, statuses as Harbor means them.

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, StatusCode};
use tokio::time::Instant;

use crate::domain::evidence::{Cause, Unknown};
use crate::domain::image::Repository;
use crate::registry::{Answer, Client, Endpoint, Request};

use super::answer::{NotFound, fault, not_found};

/// Artifacts, projects and scanners are a few kilobytes; an index of many children and tags some more.
const SMALL: usize = 1024 * 1024;
/// A stored report: a few kilobytes a vulnerability, of which bad images have thousands.
const REPORT: usize = 8 * 1024 * 1024;
/// The most stored reports of one Harbor that are held at once: with [`REPORT`], the most memory that they take.
pub(super) const REPORTS: usize = 2;

const JSON: &str = "application/json";

/// A question's answer, as far as the status tells.
#[derive(Debug)]
pub(super) enum Said {
    /// 200, with its body.
    Here(Bytes),
    /// 404, in Harbor's own words.
    NotFound,
    /// 403: Harbor knows us, but does not let us look. To all but admins an absent project looks the same.
    Forbidden,
    /// 401: Harbor does not know us.
    Unauthorized,
}

/// Where an artifact lies, as the API wants it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Artifact {
    pub project: Box<str>,
    repository: Repository,
    path: String,
}

impl Artifact {
    /// Splits `project/team/app`.
    ///
    /// The repository is encoded twice (`/` → `%252F`): the nginx in front of Harbor decodes once. The other characters of a
    /// name need no encoding, and `:` may stay as it is.
    ///
    /// # Errors
    /// A name of one component: Harbor answers 400 to it, for nothing lies outside a project.
    pub fn new(repository: &Repository, reference: &str) -> Result<Self, Unknown> {
        let Some((project, name)) = repository.as_str().split_once('/') else {
            let detail =
                format!("`{repository}` names no project, and Harbor keeps nothing outside of projects");
            return Err(Unknown::new(Cause::NotRegistry, detail));
        };
        let name = name.replace('/', "%252F");
        let path = format!("/api/v2.0/projects/{project}/repositories/{name}/artifacts/{reference}");
        Ok(Self { project: project.into(), repository: repository.clone(), path })
    }

    /// What chooses the credentials.
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
    /// The artifact, with its scan overview.
    pub async fn artifact(&self, artifact: &Artifact, deadline: Instant) -> Result<Said, Unknown> {
        let path = format!("{}?with_scan_overview=true", artifact.path);
        self.get(artifact.about(), &path, SMALL, deadline).await
    }

    /// Its stored report.
    pub async fn vulnerabilities(&self, artifact: &Artifact, deadline: Instant) -> Result<Said, Unknown> {
        let path = format!("{}/additions/vulnerabilities", artifact.path);
        self.get(artifact.about(), &path, REPORT, deadline).await
    }

    /// The project.
    pub async fn project(&self, project: &str, deadline: Instant) -> Result<Said, Unknown> {
        self.get(Some(project), &format!("/api/v2.0/projects/{project}"), SMALL, deadline).await
    }

    /// The project's scanner.
    pub async fn scanner(&self, project: &str, deadline: Instant) -> Result<Said, Unknown> {
        self.get(Some(project), &format!("/api/v2.0/projects/{project}/scanner"), SMALL, deadline).await
    }

    /// The system's CVE allowlist.
    pub async fn system_allowlist(&self, deadline: Instant) -> Result<Said, Unknown> {
        self.get(None, "/api/v2.0/system/CVEAllowlist", SMALL, deadline).await
    }

    /// What Harbor tells of itself, whatever the status: its 500 is the surest sign that its database is down.
    pub async fn system_info(&self, endpoint: Endpoint<'_>, deadline: Instant) -> Result<Answer, Unknown> {
        self.ask(Method::GET, "/api/v2.0/systeminfo", endpoint, SMALL, deadline).await
    }

    /// Is there a project of this name? Any caller that Harbor knows may ask.
    pub async fn project_exists(&self, project: &str, deadline: Instant) -> Result<Said, Unknown> {
        let path = format!("/api/v2.0/projects?project_name={project}");
        let answer =
            self.ask(Method::HEAD, &path, Endpoint::HarborApi(Some(project)), SMALL, deadline).await?;
        match answer.status {
            // A HEAD has no body that could say more.
            StatusCode::NOT_FOUND => Ok(Said::NotFound),
            _ => said(answer),
        }
    }

    /// Does Harbor know us? A user is told who he is (200), a robot that it is no user (412), a stranger 401.
    pub async fn is_known(&self, deadline: Instant) -> Result<bool, Unknown> {
        let answer = self
            .ask(Method::GET, "/api/v2.0/users/current", Endpoint::HarborApi(None), SMALL, deadline)
            .await?;
        match answer.status {
            StatusCode::OK | StatusCode::PRECONDITION_FAILED => Ok(true),
            StatusCode::UNAUTHORIZED => Ok(false),
            _ => said(answer).map(|_| false),
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

    async fn get(
        &self,
        about: Option<&str>,
        path: &str,
        limit: usize,
        deadline: Instant,
    ) -> Result<Said, Unknown> {
        said(self.ask(Method::GET, path, Endpoint::HarborApi(about), limit, deadline).await?)
    }
}

/// The statuses that Harbor's API documents for reading, in Harbor's own words; every other answer is a cause.
///
/// What stands in front of Harbor refuses in the same statuses, but not in the same words: its 403 or 404 must not
/// be taken for Harbor's.
fn said(answer: Answer) -> Result<Said, Unknown> {
    let stranger = |answer: &Answer| {
        let detail =
            format!("{}, but not in Harbor's words: something in front of it answers", answer.status);
        Err(Unknown::new(Cause::NotRegistry, detail))
    };
    match answer.status {
        StatusCode::OK => Ok(Said::Here(answer.body)),
        StatusCode::UNAUTHORIZED => Ok(Said::Unauthorized),
        StatusCode::FORBIDDEN if fault(&answer.body).is_some() => Ok(Said::Forbidden),
        StatusCode::FORBIDDEN => stranger(&answer),
        StatusCode::NOT_FOUND => match not_found(&answer.body) {
            NotFound::Absent => Ok(Said::NotFound),
            NotFound::NotHarbor => stranger(&answer),
            NotFound::Mangled => Err(Unknown::new(
                Cause::NotRegistry,
                "Harbor did not get the path that was sent: a proxy in front of it rewrites `%252F`",
            )),
        },
        _ => Err(answer.unexpected()),
    }
}
