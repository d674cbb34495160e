//! What the leader asks of a Harbor beside what Pods need: facts of single copies, replication rules and their executions.
//!
//! It goes through the registry's queue like every look-up, in the share of background work, and it counts for breaker and
//! health. It is not cached: whoever asks does so at a pace of his own.

use std::collections::{BTreeMap, BTreeSet};

use tokio::time::{Instant, timeout_at};

use crate::domain::case::Place;
use crate::domain::digest::Digest;
use crate::domain::facts::Facts;
use crate::domain::found::Copy;
use crate::domain::image::Repository;
use crate::domain::name::RegistryName;
use crate::domain::replication::{Copies, Observed, Push, Rule, Standing, Trigger, fills};
use crate::domain::route::Route;
use crate::domain::settings::Settings;
use crate::domain::unknown::{Cause, Unknown};
use crate::harbor::{Allowed, Harbor, MOST_PAGES};

use super::fair_queue::Asker;
use super::observatory::Observatory;
use super::upstream::{Source, Upstream};

/// The most rules of one Harbor that are looked at, of those that concern us.
const MOST_RULES: usize = 64;

/// The most projects of one Harbor whose pushes are compared with executions.
const MOST_PROJECTS: usize = 16;

/// What a registry says of one copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CopyFacts {
    /// These facts.
    Known(Facts),
    /// It has no such copy.
    Absent,
    /// Nothing: it is a plain registry.
    Plain,
}

/// The facts of a copy, and of the primary's.
#[derive(Debug)]
pub struct Compared {
    /// Those of the copy.
    pub here: Facts,
    /// Those of the primary's; `None` where it tells none.
    pub primary: Result<Option<Facts>, Unknown>,
}

/// What a registry says of its replication rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Replication {
    /// These rules, of those that fill a Place at our site: at most 64. What our robot may not read is in `lacking`, and its
    /// absence says nothing.
    Read {
        /// The rules with what is known of them.
        rules: Vec<Observed>,
        /// The rights that our robot lacks.
        lacking: BTreeSet<Right>,
    },
    /// Nothing: it is a plain registry.
    Plain,
}

/// A right of Harbor that replication is read with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, strum::Display)]
pub enum Right {
    /// To list rules; a system right.
    #[strum(serialize = "replication-policy:list")]
    Rules,
    /// To list executions and tasks; a system right.
    #[strum(serialize = "replication:list")]
    Executions,
    /// To list the artifacts of a project.
    #[strum(serialize = "artifact:list")]
    Artifacts,
}

impl Observatory {
    /// Asks the registry of a Place when the copy was pushed, what keeps it, and which accessories it has.
    ///
    /// # Errors
    /// What could not be learned by the deadline.
    pub async fn facts(
        &self,
        place: &Place,
        digest: &Digest,
        deadline: Instant,
    ) -> Result<CopyFacts, Unknown> {
        let upstream = self.upstream(&place.registry.name)?;
        let Some(harbor) = harbor(&upstream)? else { return Ok(CopyFacts::Plain) };
        let repository = &place.repository;
        let ask = |deadline| harbor.facts(repository, digest, deadline);
        let found = self.in_turn(&upstream, repository, deadline, ask).await?;
        Ok(found.map_or(CopyFacts::Absent, CopyFacts::Known))
    }

    /// Asks for the facts of a copy and of the primary's. `None`: what a plain registry keeps, and what is not there, has none.
    ///
    /// # Errors
    /// What could not be learned of the copy by the deadline.
    pub async fn compared(&self, copy: &Copy, deadline: Instant) -> Result<Option<Compared>, Unknown> {
        let CopyFacts::Known(here) = self.facts(&copy.place, &copy.digest, deadline).await? else {
            return Ok(None);
        };
        let primary = match &copy.primary {
            Some(primary) => self.facts(primary, &copy.digest, deadline).await,
            None => Ok(CopyFacts::Plain),
        };
        let known = |facts| if let CopyFacts::Known(facts) = facts { Some(facts) } else { None };
        Ok(Some(Compared { here, primary: primary.map(known) }))
    }

    /// Asks a registry for the replication rules that fill Places at our site, for their newest executions, and for what
    /// was pushed where a rule runs on each push.
    ///
    /// Pushes are those of the projects that the rule's Routes name. A Route of all projects has none, so there no push is
    /// called missed.
    ///
    /// # Errors
    /// What could not be learned by the deadline.
    pub async fn replication(
        &self,
        registry: &RegistryName,
        settings: &Settings,
        deadline: Instant,
    ) -> Result<Replication, Unknown> {
        let upstream = self.upstream(registry)?;
        let Some(harbor) = harbor(&upstream)? else { return Ok(Replication::Plain) };
        // No project of a Harbor has this name: its failures are not those of a project.
        let api = Repository::new("api/v2.0/replication");
        let mut lacking = BTreeSet::new();
        let mut rules: Vec<Rule> = Vec::new();
        for page in 1..=MOST_PAGES {
            let ask = |deadline| harbor.rules(page, deadline);
            let Allowed::Granted(page) = self.in_turn(&upstream, &api, deadline, ask).await? else {
                lacking.insert(Right::Rules);
                break;
            };
            let ours = page.rules.into_iter().filter(|rule| fills(rule, registry, settings).next().is_some());
            rules.extend(ours);
            if !page.full {
                break;
            }
        }
        // Pages may move while they are read.
        rules.sort_by_key(|rule| rule.id);
        rules.dedup_by_key(|rule| rule.id);
        rules.truncate(MOST_RULES);

        let mut pushes: BTreeMap<Box<str>, Vec<Push>> = BTreeMap::new();
        let mut observed = Vec::with_capacity(rules.len());
        for rule in rules {
            let ask = |deadline| harbor.executions(rule.id, deadline);
            let executions = match self.in_turn(&upstream, &api, deadline, ask).await? {
                Allowed::Granted(executions) => Some(executions),
                Allowed::Forbidden => {
                    lacking.insert(Right::Executions);
                    None
                }
            };
            for project in watched(&rule, registry, settings) {
                if pushes.contains_key(&project) || pushes.len() >= MOST_PROJECTS {
                    continue;
                }
                let repository = Repository::new(format!("{project}/"));
                let ask = |deadline| harbor.pushes(&project, deadline);
                let found = match self.in_turn(&upstream, &repository, deadline, ask).await? {
                    Allowed::Granted(found) => found,
                    Allowed::Forbidden => {
                        lacking.insert(Right::Artifacts);
                        Vec::new()
                    }
                };
                pushes.insert(project, found);
            }
            let ours = |push: &&Push| {
                let routes = || fills(&rule, registry, settings);
                let routed = |route: &Route| route.repositories.matches(&push.repository);
                rule.covers(push) == Some(true) && routes().any(routed)
            };
            let pushed = match rule.trigger {
                Trigger::OnPush => pushes.values().flatten().filter(ours).map(|push| push.at).collect(),
                _ => Vec::new(),
            };
            observed.push(Observed { rule, executions, pushed });
        }
        Ok(Replication::Read { rules: observed, lacking })
    }

    pub(super) fn upstream(&self, name: &RegistryName) -> Result<std::sync::Arc<Upstream>, Unknown> {
        let upstreams = self.upstreams.load();
        upstreams.upstreams.get(name).cloned().ok_or_else(|| {
            Unknown::new(Cause::Drained, format!("the registry `{name}` is no longer configured"))
        })
    }

    /// Asks once it is our turn: one question that takes no more than an attempt may.
    async fn in_turn<T, F: Future<Output = Result<T, Unknown>>>(
        &self,
        upstream: &Upstream,
        repository: &Repository,
        deadline: Instant,
        ask: impl FnOnce(Instant) -> F,
    ) -> Result<T, Unknown> {
        let name = &upstream.registry.name;
        let late = || Unknown::new(Cause::Deadline, format!("`{name}` did not answer in time"));
        if let Some(limit) = upstream.limit(repository, Instant::now()) {
            return Err(limit);
        }
        let turn = async {
            let permit = upstream.background.permit().await;
            let queued = upstream.join_queue(upstream.queue.next_id(), Asker::Background)?;
            Ok((permit, upstream.attempt(queued, repository).await?))
        };
        let (_permit, attempt) = timeout_at(deadline, turn).await.unwrap_or_else(|_| Err(late()))?;
        let deadline = deadline.min(Instant::now() + self.upstreams.load().terms.attempt);
        let answer = timeout_at(deadline, ask(deadline)).await.unwrap_or_else(|_| Err(late()));
        attempt.end_api(answer.as_ref().err(), fastrand::f64());
        self.lookups.metrics.phase(upstream);
        answer
    }
}

/// The projects whose pushes a rule has to follow, as far as its Routes name them.
fn watched(rule: &Rule, keeper: &RegistryName, settings: &Settings) -> Vec<Box<str>> {
    let runs = rule.standing == Standing::Enabled && matches!(rule.copies, Copies::To(_));
    if rule.trigger != Trigger::OnPush || !runs {
        return Vec::new();
    }
    let project = |route: &Route| route.repositories.leading().first().map(|project| Box::from(*project));
    fills(rule, keeper, settings).filter_map(project).collect()
}

/// The Harbor that an upstream is; `None`: it is a plain registry.
fn harbor(upstream: &Upstream) -> Result<Option<&Harbor>, Unknown> {
    if let Some(unknown) = upstream.unavailable() {
        return Err(unknown);
    }
    Ok(match &*upstream.source {
        Source::Harbor(harbor) => Some(harbor),
        Source::Distribution(_) | Source::Unusable(_) => None,
    })
}
