//! The scan of an artifact: one answer, from as many requests as it takes.

use std::sync::Arc;

use jiff::Timestamp;
use tokio::time::{Instant, timeout_at};

use crate::domain::digest::Digest;
use crate::domain::image::Repository;
use crate::domain::scan::{Detail, Report, ScanAnswer, ScanState, Scanner, Vulnerabilities};
use crate::domain::unknown::{Cause, Unknown};

use super::api::{ApiAnswer, Artifact};
use super::client::{Gone, Harbor};
use super::overview::{Overview, ProjectScanner, overview};
use super::project::{AllowlistOf, system_allowlist};
use super::report::{Stored, stored};

impl Harbor {
    /// The state of the artifact's scan, and its last finished report where the API still has one.
    pub async fn scan(
        &self,
        repository: &Repository,
        digest: &Digest,
        detail: Detail,
        deadline: Instant,
    ) -> ScanAnswer {
        let found = match Artifact::new(repository, &digest.to_string()) {
            Ok(artifact) => Question { harbor: self, artifact, detail, deadline }.ask(digest).await,
            Err(unknown) => Err(unknown),
        };
        found.unwrap_or_else(|unknown| answer(Scanner::Unknown, ScanState::Unknown(unknown)))
    }
}

struct Question<'a> {
    harbor: &'a Harbor,
    artifact: Artifact,
    detail: Detail,
    deadline: Instant,
}

impl Question<'_> {
    async fn ask(&self, digest: &Digest) -> Result<ScanAnswer, Unknown> {
        match self.harbor.api.artifact(&self.artifact, self.deadline).await? {
            ApiAnswer::Found(body) => match overview(&body, digest)? {
                Overview::State(ScanState::Done(report)) => Ok(self.done(report).await),
                Overview::State(ScanState::Pending) if self.detail == Detail::Vulnerabilities => {
                    Ok(self.pending().await)
                }
                Overview::State(state) => Ok(answer(Scanner::Present, state)),
                Overview::Swept => {
                    Ok(ScanAnswer { last: self.last().await, ..answer(Scanner::Present, ScanState::Failed) })
                }
                Overview::Missing => Ok(self.without_overview(ScanState::NotScanned).await),
                Overview::Unscannable => Ok(self.without_overview(ScanState::Unscannable).await),
            },
            ApiAnswer::NotFound => Ok(answer(self.scanner().await, ScanState::Absent)),
            ApiAnswer::Forbidden => match self.harbor.forbidden(&self.artifact, self.deadline).await {
                // A project that does not exist has neither artifacts nor a scanner.
                Ok(Gone) => Ok(answer(Scanner::Absent, ScanState::Absent)),
                Err(unknown) if unknown.cause == Cause::Forbidden => {
                    Ok(answer(Scanner::Hidden, ScanState::Hidden))
                }
                Err(unknown) => Err(unknown),
            },
            ApiAnswer::Unauthorized => Err(self.harbor.unauthorized(self.deadline).await),
        }
    }

    /// A finished scan, with its vulnerabilities if they were asked for.
    async fn done(&self, report: Report) -> ScanAnswer {
        if self.detail == Detail::Summary {
            return answer(Scanner::Present, ScanState::Done(report));
        }
        let vulnerabilities = match self.stored().await {
            Ok(Some(stored)) => self.vulnerabilities(stored).await.map(Some),
            // There is none, or our robot may not read it: the summary is used.
            Ok(None) => Ok(None),
            Err(unknown) => Err(unknown),
        };
        match vulnerabilities {
            Ok(vulnerabilities) => {
                answer(Scanner::Present, ScanState::Done(Report { vulnerabilities, ..report }))
            }
            // The list was asked for because the summary was too severe. The summary alone must not be cached as the
            // whole answer.
            Err(unknown) => {
                ScanAnswer { last: Some(report), ..answer(Scanner::Present, ScanState::Unknown(unknown)) }
            }
        }
    }

    /// A scan that is under way. Harbor's daily "scan all" turns every artifact into this state, and keeps the reports.
    async fn pending(&self) -> ScanAnswer {
        let (state, last) = match self.stored().await {
            Ok(Some(stored)) => (ScanState::Rescan, Some(self.report(stored).await)),
            // There is none, or our robot may not read it.
            Ok(None) => (ScanState::Pending, None),
            Err(unknown) => (ScanState::Unknown(unknown), None),
        };
        ScanAnswer { last, ..answer(Scanner::Present, state) }
    }

    /// Without an overview: it is in this state, or the scanner is down.
    async fn without_overview(&self, state: ScanState) -> ScanAnswer {
        match self.harbor.scanner(&self.artifact.project, self.deadline).await {
            Ok(Some(ProjectScanner::Unhealthy)) => {
                ScanAnswer { last: self.last().await, ..answer(Scanner::Present, ScanState::ScannerDown) }
            }
            Ok(found) => answer(seen(found), state),
            Err(unknown) => answer(Scanner::Unknown, ScanState::Unknown(unknown)),
        }
    }

    async fn scanner(&self) -> Scanner {
        self.harbor.scanner(&self.artifact.project, self.deadline).await.map_or(Scanner::Unknown, seen)
    }

    /// The stored report as a finished scan, if there is one that we may read.
    async fn last(&self) -> Option<Report> {
        Some(self.report(self.stored().await.ok().flatten()?).await)
    }

    async fn report(&self, stored: Stored) -> Report {
        let (severity, finished) = (stored.severity, stored.generated);
        let vulnerabilities = match self.detail {
            Detail::Summary => None,
            // If the allowlist could not be learned, the severity of the report still counts.
            Detail::Vulnerabilities => self.vulnerabilities(stored).await.ok(),
        };
        Report { severity, finished, vulnerabilities }
    }

    /// Harbor's stored report. `None`: there is none, or our robot may not read it.
    async fn stored(&self) -> Result<Option<Stored>, Unknown> {
        let permit = timeout_at(self.deadline, self.harbor.reports.acquire()).await;
        let Ok(Ok(_held)) = permit else {
            let detail = "Landfall was still reading other stored reports of this Harbor at the deadline";
            return Err(Unknown::new(Cause::Overloaded, detail));
        };
        match self.harbor.api.vulnerabilities(&self.artifact, self.deadline).await? {
            ApiAnswer::Found(body) => Ok(stored(&body)?),
            ApiAnswer::NotFound | ApiAnswer::Forbidden | ApiAnswer::Unauthorized => Ok(None),
        }
    }

    async fn vulnerabilities(&self, stored: Stored) -> Result<Arc<Vulnerabilities>, Unknown> {
        Ok(Arc::new(Vulnerabilities { items: stored.items, allowlist: self.allowlist().await? }))
    }

    /// The vulnerabilities that the project's allowlist allows now: none if our robot may not read it.
    async fn allowlist(&self) -> Result<Vec<Box<str>>, Unknown> {
        let Some(project) = self.harbor.project(&self.artifact.project, self.deadline).await? else {
            return Ok(Vec::new());
        };
        let list = match &project.allowlist {
            AllowlistOf::Own(list) => list.clone(),
            AllowlistOf::System => match self.harbor.api.system_allowlist(self.deadline).await? {
                ApiAnswer::Found(body) => system_allowlist(&body)?,
                ApiAnswer::NotFound | ApiAnswer::Forbidden | ApiAnswer::Unauthorized => return Ok(Vec::new()),
            },
        };
        Ok(list.in_force(Timestamp::now()))
    }
}

fn seen(found: Option<ProjectScanner>) -> Scanner {
    match found {
        Some(ProjectScanner::Healthy | ProjectScanner::Unhealthy) => Scanner::Present,
        Some(ProjectScanner::Absent) => Scanner::Absent,
        None => Scanner::Hidden,
    }
}

fn answer(scanner: Scanner, state: ScanState) -> ScanAnswer {
    ScanAnswer { scanner, state, last: None }
}

#[cfg(test)]
mod tests;
