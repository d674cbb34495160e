//! Replication: the rules of a Harbor, their executions, and what was pushed lately.
//!
//! The rights for it are those of the whole Harbor, which no project's robot can have. So each answer may be
//! [`Allowed::Forbidden`], which is not the same as none.

pub(super) mod answers;

use tokio::time::Instant;

use crate::domain::replication::{Execution, Push, Status};
use crate::domain::unknown::{Cause, Unknown};

use super::answer::Malformed;
use super::api::{ApiAnswer, PAGE};
use super::client::Harbor;
use answers::{Page, executions, pushes, rules, tasks};

/// The most pages of rules that are read of one Harbor.
pub const MOST_PAGES: usize = 10;

/// An answer that needs a right of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Allowed<T> {
    /// We have the right.
    Granted(T),
    /// We have not (403).
    Forbidden,
}

impl Harbor {
    /// A page of the rules, the first being 1.
    ///
    /// # Errors
    /// What could not be learned.
    pub async fn rules(&self, page: usize, deadline: Instant) -> Result<Allowed<Page>, Unknown> {
        let answer = self.api.rules(page, deadline).await;
        self.allowed(answer, rules, deadline).await
    }

    /// The newest ten executions of a rule. Of the newest that ended, if it failed, its tasks are counted anew: Harbor
    /// updates the count of an execution later, or not at all if a task succeeds when it is tried again.
    ///
    /// # Errors
    /// What could not be learned.
    pub async fn executions(&self, rule: i64, deadline: Instant) -> Result<Allowed<Vec<Execution>>, Unknown> {
        let answer = self.api.executions(rule, deadline).await;
        let found = self.allowed(answer, executions, deadline).await?;
        let Allowed::Granted(mut executions) = found else { return Ok(found) };
        executions.sort_by_key(|execution| std::cmp::Reverse(execution.id));
        let ended = |execution: &&mut Execution| matches!(execution.status, Status::Succeed | Status::Failed);
        let last = executions.iter_mut().find(ended);
        if let Some(last) =
            last.filter(|last| last.status == Status::Failed && (1..=PAGE).contains(&count(last.tasks.total)))
        {
            let answer = self.api.tasks(last.id, deadline).await;
            if let Allowed::Granted((tasks, about)) = self.allowed(answer, tasks, deadline).await?
                && tasks.total > 0
            {
                last.tasks = tasks;
                if let Some(about) = about.filter(|_| last.reason.is_empty()) {
                    let (failed, total) = (tasks.failed, tasks.total);
                    last.reason =
                        format!("{failed} of {total} tasks failed, the first of them for {about}").into();
                }
            }
        }
        Ok(Allowed::Granted(executions))
    }

    /// What was pushed to a project last: at most a hundred artifacts. A Harbor before 2.12 does not list them: none.
    ///
    /// # Errors
    /// What could not be learned.
    pub async fn pushes(&self, project: &str, deadline: Instant) -> Result<Allowed<Vec<Push>>, Unknown> {
        match self.api.pushes(project, deadline).await {
            Ok(ApiAnswer::NotFound) => Ok(Allowed::Granted(Vec::new())),
            Err(unknown) if unknown.cause == Cause::NotRegistry => Ok(Allowed::Granted(Vec::new())),
            answer => self.allowed(answer, pushes, deadline).await,
        }
    }

    async fn allowed<T>(
        &self,
        answer: Result<ApiAnswer, Unknown>,
        read: fn(&[u8]) -> Result<T, Malformed>,
        deadline: Instant,
    ) -> Result<Allowed<T>, Unknown> {
        match answer? {
            ApiAnswer::Found(body) => Ok(Allowed::Granted(read(&body)?)),
            ApiAnswer::Forbidden => Ok(Allowed::Forbidden),
            ApiAnswer::Unauthorized => Err(self.unauthorized(deadline).await),
            ApiAnswer::NotFound => {
                let detail =
                    "Harbor answered 404 to a question about replication: it does not exist any more";
                Err(Unknown::new(Cause::NotRegistry, detail))
            }
        }
    }
}

fn count(total: u32) -> usize {
    usize::try_from(total).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests;
