//! What writes to a Harbor, asked by a robot of its own: the start of a scan, the start of an execution; and what becomes of
//! an execution.
//!
//! Harbor has no way to replicate one image: a whole rule is executed. The state of an execution is worked out by Harbor every
//! 30 s, so its tasks are counted here while it seems to be in progress.

use bytes::Bytes;
use http::StatusCode;
use http::header::LOCATION;
use tokio::time::Instant;

use crate::domain::digest::Digest;
use crate::domain::image::Repository;
use crate::domain::replication::{Execution, Status};
use crate::domain::text::plain;
use crate::domain::unknown::{Cause, Unknown};
use crate::registry::Answer;

use super::answer::{Malformed, NotFound, fault, not_found};
use super::api::{Artifact, PAGE};
use super::client::Harbor;
use super::replication::answers::{execution, executions, failed_task, tasks};

/// The most characters that are kept of what Harbor says about a refusal, or of a log.
const WORDS: usize = 400;

/// What Harbor says to a request of the healing robot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard<T> {
    /// It does it, or it tells.
    Done(T),
    /// It does not.
    Refused(Refusal),
}

/// Why Harbor does not do it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// 401: it rejected the credentials.
    Unauthorized,
    /// 403: the robot lacks a right. A project that does not exist looks the same.
    Forbidden,
    /// 404: there is no such artifact, rule or execution.
    NotFound,
    /// 409: it is under way already.
    Conflict,
    /// 412: there is no scanner, or the rule is disabled. With Harbor's words.
    Precondition(Box<str>),
    /// 400: the scanner is down, or cannot scan this kind of artifact. With Harbor's words.
    BadRequest(Box<str>),
}

impl<T> Heard<T> {
    fn then<U>(self, read: impl FnOnce(T) -> Result<U, Unknown>) -> Result<Heard<U>, Unknown> {
        match self {
            Self::Done(done) => read(done).map(Heard::Done),
            Self::Refused(refusal) => Ok(Heard::Refused(refusal)),
        }
    }
}

impl Harbor {
    /// Starts the scan of an image. Harbor deletes its last report first.
    ///
    /// # Errors
    /// There was no answer that tells; the scan may have been started.
    pub async fn start_scan(
        &self,
        repository: &Repository,
        digest: &Digest,
        deadline: Instant,
    ) -> Result<Heard<()>, Unknown> {
        let artifact = Artifact::new(repository, &digest.to_string())?;
        heard(self.api.start_scan(&artifact, deadline).await)?.then(|_| Ok(()))
    }

    /// Executes a rule, and returns the number of the execution; `None`: it was started, and Harbor does not say under which.
    ///
    /// # Errors
    /// There was no answer that tells; the rule may have been executed.
    pub async fn start_execution(&self, rule: i64, deadline: Instant) -> Result<Heard<Option<i64>>, Unknown> {
        let body = Bytes::from(format!("{{\"policy_id\":{rule}}}"));
        heard(self.api.start_execution(body, deadline).await)?.then(|answer| {
            let location = answer.headers.get(LOCATION).and_then(|value| value.to_str().ok());
            Ok(location.and_then(|path| path.rsplit('/').next()?.parse().ok()))
        })
    }

    /// The newest execution of a rule that somebody started: those of single pushes are others.
    ///
    /// # Errors
    /// What could not be learned.
    pub async fn last_started(
        &self,
        rule: i64,
        deadline: Instant,
    ) -> Result<Heard<Option<Execution>>, Unknown> {
        heard(self.api.started_executions(rule, deadline).await)?
            .then(|answer| Ok(executions(&answer.body)?.into_iter().max_by_key(|execution| execution.id)))
    }

    /// How an execution stands; and of one that failed, the end of the log of its first task that failed.
    ///
    /// # Errors
    /// What could not be learned.
    pub async fn execution(
        &self,
        id: i64,
        deadline: Instant,
    ) -> Result<Heard<(Execution, Box<str>)>, Unknown> {
        let mut found = match heard(self.api.execution(id, deadline).await)? {
            Heard::Done(answer) => {
                let gone = || Malformed::Field { what: "replication execution", field: "id" };
                execution(&answer.body)?.ok_or_else(gone)?
            }
            Heard::Refused(refusal) => return Ok(Heard::Refused(refusal)),
        };
        if found.status == Status::InProgress
            && let Heard::Done(answer) = heard(self.api.all_tasks(id, deadline).await)?
        {
            let most = u32::try_from(PAGE).unwrap_or(u32::MAX);
            found.take_listed(tasks(&answer.body)?.0, most);
        }
        let log = match found.status {
            // Without it, it failed all the same.
            Status::Failed => self.failed_log(id, deadline).await.unwrap_or_default(),
            _ => Box::default(),
        };
        Ok(Heard::Done((found, log)))
    }

    /// The end of the log of the first task that failed; `None` where it cannot be read.
    async fn failed_log(&self, id: i64, deadline: Instant) -> Option<Box<str>> {
        let Heard::Done(answer) = heard(self.api.failed_tasks(id, deadline).await).ok()? else { return None };
        let task = failed_task(&answer.body).ok()??;
        let Heard::Done(answer) = heard(self.api.log(id, task, deadline).await).ok()? else { return None };
        Some(end(&answer.body))
    }
}

/// Reads the statuses that Harbor's API documents. A proxy in front of it uses the same statuses, but not its error format.
fn heard(answer: Result<Answer, Unknown>) -> Result<Heard<Answer>, Unknown> {
    let answer = match answer {
        Ok(answer) => answer,
        // The files of the credentials cannot be used.
        Err(unknown) if unknown.cause == Cause::Unauthorized => {
            return Ok(Heard::Refused(Refusal::Unauthorized));
        }
        Err(unknown) => return Err(unknown),
    };
    let words = || fault(&answer.body).map(|fault| short(&fault.message));
    let refusal = match (answer.status, words()) {
        (StatusCode::OK | StatusCode::CREATED | StatusCode::ACCEPTED, _) => return Ok(Heard::Done(answer)),
        (StatusCode::UNAUTHORIZED, _) => Refusal::Unauthorized,
        (StatusCode::FORBIDDEN, Some(_)) => Refusal::Forbidden,
        (StatusCode::NOT_FOUND, _) if not_found(&answer.body) == NotFound::Absent => Refusal::NotFound,
        (StatusCode::CONFLICT, Some(_)) => Refusal::Conflict,
        (StatusCode::PRECONDITION_FAILED, Some(words)) => Refusal::Precondition(words),
        (StatusCode::BAD_REQUEST, Some(words)) => Refusal::BadRequest(words),
        _ => return Err(answer.unexpected()),
    };
    Ok(Heard::Refused(refusal))
}

fn short(text: &str) -> Box<str> {
    plain(text.trim()).chars().take(WORDS).collect::<String>().into()
}

/// The end of a log, where the reason stands.
fn end(log: &[u8]) -> Box<str> {
    let log = String::from_utf8_lossy(log);
    let log = log.trim_end();
    let from = log.char_indices().rev().nth(WORDS - 1).map_or(0, |(at, _)| at);
    plain(log.get(from..).unwrap_or_default()).into()
}

#[cfg(test)]
mod tests;
