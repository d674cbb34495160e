//! The scan question: one answer, however many requests it takes.

use std::sync::Arc;

use jiff::Timestamp;
use tokio::time::{Instant, timeout_at};

use crate::domain::digest::Digest;
use crate::domain::evidence::{Cause, Unknown};
use crate::domain::image::Repository;
use crate::domain::scan::{Detail, Report, ScanAnswer, ScanState, Scanner, Vulnerabilities};

use super::api::{Artifact, Said};
use super::client::{Gone, Harbor};
use super::overview::{Overview, ProjectScanner, overview};
use super::project::{Forgives, system_allowlist};
use super::report::{Stored, stored};

impl Harbor {
    /// What does this Harbor know of the artifact's scan?
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
            Said::Here(body) => match overview(&body, digest)? {
                Overview::State(ScanState::Done(report)) => Ok(self.done(report).await),
                Overview::State(state) => Ok(answer(Scanner::Present, state)),
                Overview::Swept => {
                    Ok(ScanAnswer { last: self.last().await, ..answer(Scanner::Present, ScanState::Failed) })
                }
                Overview::Missing => Ok(self.without_overview().await),
            },
            Said::NotFound => Ok(answer(self.scanner().await, ScanState::NotScanned)),
            Said::Forbidden => match self.harbor.forbidden(&self.artifact, self.deadline).await {
                // A project that does not exist has neither artifacts nor a scanner.
                Ok(Gone) => Ok(answer(Scanner::Absent, ScanState::NotScanned)),
                Err(unknown) if unknown.cause == Cause::Forbidden => {
                    Ok(answer(Scanner::Hidden, ScanState::Hidden))
                }
                Err(unknown) => Err(unknown),
            },
            Said::Unauthorized => Err(self.harbor.unauthorized(self.deadline).await),
        }
    }

    /// A finished scan, with what was asked for beyond its summary.
    async fn done(&self, report: Report) -> ScanAnswer {
        if self.detail == Detail::Summary {
            return answer(Scanner::Present, ScanState::Done(report));
        }
        let vulnerabilities = match self.stored().await {
            Ok(Some(stored)) => self.vulnerabilities(stored).await.map(Some),
            // Not for our robot: the summary must do.
            Ok(None) => Ok(None),
            Err(unknown) => Err(unknown),
        };
        match vulnerabilities {
            Ok(vulnerabilities) => {
                answer(Scanner::Present, ScanState::Done(Report { vulnerabilities, ..report }))
            }
            // The summary alone was too severe, so it must not pass for the whole answer: it would be remembered.
            Err(unknown) => {
                ScanAnswer { last: Some(report), ..answer(Scanner::Present, ScanState::Unknown(unknown)) }
            }
        }
    }

    /// Never scanned, or the scanner is down, or there is none.
    async fn without_overview(&self) -> ScanAnswer {
        match self.harbor.scanner(&self.artifact.project, self.deadline).await {
            Ok(Some(ProjectScanner::Unhealthy)) => {
                ScanAnswer { last: self.last().await, ..answer(Scanner::Present, ScanState::ScannerDown) }
            }
            Ok(found) => answer(seen(found), ScanState::NotScanned),
            Err(unknown) => answer(Scanner::Unknown, ScanState::Unknown(unknown)),
        }
    }

    async fn scanner(&self) -> Scanner {
        self.harbor.scanner(&self.artifact.project, self.deadline).await.map_or(Scanner::Unknown, seen)
    }

    /// The stored report as a finished scan, where there is one that we may and can read.
    async fn last(&self) -> Option<Report> {
        let stored = self.stored().await.ok().flatten()?;
        let (severity, finished) = (stored.severity, stored.generated);
        let vulnerabilities = match self.detail {
            Detail::Summary => None,
            // Where the allowlist could not be learned, the report as a whole still counts.
            Detail::Vulnerabilities => self.vulnerabilities(stored).await.ok(),
        };
        Some(Report { severity, finished, vulnerabilities })
    }

    /// Harbor's stored report; `None` where there is none, or our robot may not read it.
    async fn stored(&self) -> Result<Option<Stored>, Unknown> {
        let permit = timeout_at(self.deadline, self.harbor.reports.acquire()).await;
        let Ok(Ok(_held)) = permit else {
            let detail = "other stored reports of this Harbor were read until the deadline";
            return Err(Unknown::new(Cause::Overloaded, detail));
        };
        match self.harbor.api.vulnerabilities(&self.artifact, self.deadline).await? {
            Said::Here(body) => Ok(stored(&body)?),
            Said::NotFound | Said::Forbidden | Said::Unauthorized => Ok(None),
        }
    }

    async fn vulnerabilities(&self, stored: Stored) -> Result<Arc<Vulnerabilities>, Unknown> {
        Ok(Arc::new(Vulnerabilities { items: stored.items, allowlist: self.allowlist().await? }))
    }

    /// What the project forgives now; what our robot may not read forgives nothing.
    async fn allowlist(&self) -> Result<Vec<Box<str>>, Unknown> {
        let Some(project) = self.harbor.project(&self.artifact.project, self.deadline).await? else {
            return Ok(Vec::new());
        };
        let list = match &project.forgives {
            Forgives::Own(list) => list.clone(),
            Forgives::System => match self.harbor.api.system_allowlist(self.deadline).await? {
                Said::Here(body) => system_allowlist(&body)?,
                Said::NotFound | Said::Forbidden | Said::Unauthorized => return Ok(Vec::new()),
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
