//! What the leader asks of a Harbor to heal a gap, by a robot of its own: the only requests that change anything there.
//!
//! They take their turns as background work does, and wait for nobody's Pod. What becomes of them says nothing of the
//! registry's health: another robot asks.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use crate::domain::case::Place;
use crate::domain::digest::Digest;
use crate::domain::image::Repository;
use crate::domain::name::RegistryName;
use crate::domain::replication::{Execution, Rule};
use crate::domain::unknown::{Cause, Unknown};
use crate::harbor::{Allowed, Harbor, Heard, MOST_PAGES, Refusal};

use super::fair_queue::Asker;
use super::observatory::Observatory;

/// The most time for one request. Harbor pings its scanner before it starts a scan, which takes up to 5 s.
const PATIENCE: Duration = Duration::from_secs(15);

/// What a registry says to the healing robot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked<T> {
    /// It does it, or it tells.
    Done(T),
    /// It does not.
    Refused(Refusal),
    /// It was not asked: no healing credentials are configured.
    NoCredentials,
    /// There was no answer that counts. It may have been done all the same.
    Unknown(Unknown),
}

impl Observatory {
    /// Whether a registry has healing credentials.
    #[must_use]
    pub fn may_heal(&self, registry: &RegistryName) -> bool {
        let upstreams = self.upstreams.load();
        upstreams.upstreams.get(registry).is_some_and(|upstream| upstream.healer.is_some())
    }

    /// Starts the scan of an image. Its registry deletes the last report first.
    pub async fn start_scan(&self, place: &Place, digest: &Digest) -> Asked<()> {
        let repository = &place.repository;
        let ask = async |harbor: Arc<Harbor>, deadline| harbor.start_scan(repository, digest, deadline).await;
        self.heal(&place.registry.name, repository, ask).await
    }

    /// Reads the replication rules that a registry keeps: all of them.
    pub async fn healing_rules(&self, keeper: &RegistryName) -> Asked<Vec<Rule>> {
        let mut rules: Vec<Rule> = Vec::new();
        for page in 1..=MOST_PAGES {
            let ask = async |harbor: Arc<Harbor>, deadline| match harbor.rules(page, deadline).await {
                Ok(Allowed::Granted(page)) => Ok(Heard::Done(page)),
                Ok(Allowed::Forbidden) => Ok(Heard::Refused(Refusal::Forbidden)),
                Err(unknown) if unknown.cause == Cause::Unauthorized => {
                    Ok(Heard::Refused(Refusal::Unauthorized))
                }
                Err(unknown) => Err(unknown),
            };
            let page = match self.heal(keeper, &api(), ask).await {
                Asked::Done(page) => page,
                Asked::Refused(refusal) => return Asked::Refused(refusal),
                Asked::NoCredentials => return Asked::NoCredentials,
                Asked::Unknown(unknown) => return Asked::Unknown(unknown),
            };
            rules.extend(page.rules);
            if !page.full {
                break;
            }
        }
        // Pages may move while they are read.
        rules.sort_by_key(|rule| rule.id);
        rules.dedup_by_key(|rule| rule.id);
        Asked::Done(rules)
    }

    /// The newest execution of a rule that somebody started.
    pub async fn last_started(&self, keeper: &RegistryName, rule: i64) -> Asked<Option<Execution>> {
        let ask = async |harbor: Arc<Harbor>, deadline| harbor.last_started(rule, deadline).await;
        self.heal(keeper, &api(), ask).await
    }

    /// How an execution stands, and the end of the log of a task that failed.
    pub async fn execution(&self, keeper: &RegistryName, id: i64) -> Asked<(Execution, Box<str>)> {
        let ask = async |harbor: Arc<Harbor>, deadline| harbor.execution(id, deadline).await;
        self.heal(keeper, &api(), ask).await
    }

    /// Executes a rule, and returns the number of the execution, if its Harbor says it.
    pub async fn start_execution(&self, keeper: &RegistryName, rule: i64) -> Asked<Option<i64>> {
        let ask = async |harbor: Arc<Harbor>, deadline| harbor.start_execution(rule, deadline).await;
        self.heal(keeper, &api(), ask).await
    }

    async fn heal<T>(
        &self,
        registry: &RegistryName,
        repository: &Repository,
        ask: impl AsyncFnOnce(Arc<Harbor>, Instant) -> Result<Heard<T>, Unknown>,
    ) -> Asked<T> {
        let Some(upstream) = self.upstreams.load().upstreams.get(registry).cloned() else {
            let detail = format!("the registry `{registry}` is no longer configured");
            return Asked::Unknown(Unknown::new(Cause::Drained, detail));
        };
        let Some(healer) = upstream.healer.clone() else { return Asked::NoCredentials };
        if let Some(unknown) = upstream.unavailable().or_else(|| upstream.limit(repository, Instant::now())) {
            return Asked::Unknown(unknown);
        }
        let deadline = Instant::now() + PATIENCE;
        let late = || Unknown::new(Cause::Deadline, format!("`{registry}` did not answer in time"));
        let turn = async {
            let permit = upstream.background.permit().await;
            let queued = upstream.join_queue(upstream.queue.next_id(), Asker::Background)?;
            Ok((permit, upstream.attempt(queued, repository).await?))
        };
        // An attempt that is dropped says nothing of the registry's health.
        let (_permit, _attempt) = match timeout_at(deadline, turn).await {
            Ok(Ok(turn)) => turn,
            Ok(Err(unknown)) => return Asked::Unknown(unknown),
            Err(_) => {
                // It was never asked.
                let detail = format!("`{registry}` is busy: nobody was let through in time");
                return Asked::Unknown(Unknown::new(Cause::Overloaded, detail));
            }
        };
        let deadline = Instant::now() + PATIENCE;
        match timeout_at(deadline, ask(healer, deadline)).await.unwrap_or_else(|_| Err(late())) {
            Ok(Heard::Done(done)) => Asked::Done(done),
            Ok(Heard::Refused(refusal)) => Asked::Refused(refusal),
            Err(unknown) => Asked::Unknown(unknown),
        }
    }
}

/// No project of a Harbor has this name.
fn api() -> Repository {
    Repository::new("api/v2.0/replication")
}
