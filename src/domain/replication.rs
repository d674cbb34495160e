//! Replication as a Harbor keeps it: rules, their executions, and which of them are a Risk for the Places of our site.
//!
//! A rule belongs to the Harbor that keeps it. It pushes to another registry, or pulls from one.

pub mod cron;

use std::time::Duration;

use jiff::Timestamp;
use url::Url;

use super::gap::{GapKey, GapSubject, Risk};
use super::name::RegistryName;
use super::pattern::Pattern;
use super::registry::{Registry, folded};
use super::route::{Route, Serves};
use super::settings::Settings;
use super::text::plain;
use cron::Cron;

/// A scheduled rule that has not run for so many of its intervals is overdue.
const INTERVALS: u32 = 3;

/// A push that a rule has not followed for so long was missed. When a Harbor is not busy, it takes seconds.
const PATIENCE: Duration = Duration::from_secs(15 * 60);

/// A replication rule (Harbor: "replication policy").
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Its number in its Harbor.
    pub id: i64,
    /// Its name, as one short line.
    pub name: Box<str>,
    /// Whether it runs at all.
    pub standing: Standing,
    /// When it runs.
    pub trigger: Trigger,
    /// Which way it copies, and the registry at the other end.
    pub copies: Copies,
    /// What it copies.
    pub filters: Vec<Filter>,
    /// The namespace at its destination, and how many components it replaces.
    pub destination: (Box<str>, i64),
    /// Whether it moves a tag that is at its destination already.
    pub overrides: bool,
    /// When it was made.
    pub created: Option<Timestamp>,
    /// When it was last changed: enabled, for example.
    pub updated: Option<Timestamp>,
}

/// Whether a rule runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It does.
    Enabled,
    /// Somebody has disabled it.
    Disabled,
}

/// When a rule runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trigger {
    /// When somebody starts it.
    Manual,
    /// By a schedule.
    Scheduled(Cron),
    /// On each push (Harbor: "event based").
    OnPush,
    /// As this text says, which we cannot read.
    Unread(Box<str>),
}

/// Which way a rule copies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Copies {
    /// From the Harbor that keeps it to this one.
    To(Remote),
    /// From this one to the Harbor that keeps it.
    From(Remote),
}

/// The registry at the other end of a rule, as the Harbor that keeps the rule knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remote {
    /// Its name there.
    pub name: Box<str>,
    /// Where it is.
    pub url: Box<str>,
    /// Harbor's word for what it speaks: `harbor`, `docker-registry`, `docker-hub`, `aws-ecr`.
    pub kind: Box<str>,
}

/// A filter of a rule. All filters must let an image through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    /// What it looks at.
    pub on: On,
    /// Whether it lets through what matches, or what does not.
    pub selects: Selects,
}

/// What a filter looks at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum On {
    /// The name of the repository.
    Name(Pattern),
    /// The tags.
    Tag(Pattern),
    /// Labels, kinds of artifacts, or what newer Harbors have: it cannot be told what it lets through.
    Other(Box<str>),
}

/// Whether a filter lets through what matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Selects {
    /// `matches`
    Matching,
    /// `excludes`
    Others,
}

/// One run of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Execution {
    /// Its number in its Harbor. A later one has a greater number.
    pub id: i64,
    /// How it stands.
    pub status: Status,
    /// Why it failed before it had tasks; empty if it says nothing.
    pub reason: Box<str>,
    /// When it started.
    pub started: Option<Timestamp>,
    /// When it ended; `None`: it has not.
    pub ended: Option<Timestamp>,
    /// Its tasks. Zero tasks: nothing was to do, or it failed before.
    pub tasks: Tasks,
}

/// How an execution or a task stands.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    strum::IntoStaticStr,
    strum::EnumString,
    strum::VariantArray,
)]
pub enum Status {
    /// It runs or waits.
    InProgress,
    /// It ended well.
    Succeed,
    /// It ended badly.
    Failed,
    /// Somebody stopped it.
    Stopped,
}

/// How many tasks of an execution stand how.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tasks {
    /// All of them.
    pub total: u32,
    /// That ended well.
    pub succeeded: u32,
    /// That ended badly.
    pub failed: u32,
    /// That run or wait.
    pub in_progress: u32,
    /// That somebody stopped.
    pub stopped: u32,
}

/// A push that a rule may have to follow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Push {
    /// The repository.
    pub repository: Box<str>,
    /// The tags of the artifact.
    pub tags: Vec<Box<str>>,
    /// When it was pushed.
    pub at: Timestamp,
}

/// What is wrong with a rule: a Gap's key, kind and detail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleGap {
    /// The rule, and the registry that keeps it.
    pub key: GapKey,
    /// What is wrong.
    pub risk: Risk,
    /// Details for people.
    pub detail: Box<str>,
}

/// What is known of one rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed {
    /// The rule.
    pub rule: Rule,
    /// Its newest executions. `None`: we may not read them.
    pub executions: Option<Vec<Execution>>,
    /// When something was pushed that it covers, as far as is known.
    pub pushed: Vec<Timestamp>,
}

/// Returns the Routes that a rule fills: it copies from their primary to a replica of theirs that is at our site. Rules of
/// other sites, and rules for other repositories, fill none.
pub fn fills<'a>(
    rule: &'a Rule,
    keeper: &'a RegistryName,
    settings: &'a Settings,
) -> impl Iterator<Item = &'a Route> {
    settings.routes.iter().map(AsRef::as_ref).filter(move |route| {
        let names = rule.filters.iter().filter_map(|filter| match (&filter.on, filter.selects) {
            (On::Name(pattern), Selects::Matching) => Some(pattern),
            _ => None,
        });
        let covered = names.into_iter().all(|pattern| pattern.may_overlap(&route.repositories));
        covered
            && route.replicas.iter().any(|replica| {
                let local = replica.registry.site == settings.site && replica.serves == Serves::Copies;
                local
                    && match &rule.copies {
                        Copies::To(remote) => route.primary.name == *keeper && remote.is(&replica.registry),
                        Copies::From(remote) => replica.registry.name == *keeper && remote.is(&route.primary),
                    }
            })
    })
}

/// Returns the registries that may keep rules which concern us: the primaries of Routes with a replica at our site, and
/// those replicas. Each once.
#[must_use]
pub fn keepers(settings: &Settings) -> Vec<RegistryName> {
    let mut keepers = Vec::new();
    for route in settings.routes.iter() {
        let here = |replica: &&super::route::Replica| {
            replica.registry.site == settings.site && replica.serves == Serves::Copies
        };
        let mut local = route.replicas.iter().filter(here).map(|replica| &replica.registry).peekable();
        if local.peek().is_some() {
            keepers.push(route.primary.name.clone());
        }
        keepers.extend(local.map(|registry| registry.name.clone()));
    }
    keepers.sort();
    keepers.dedup();
    keepers
}

/// Returns what is wrong with these rules, all kept by `keeper` and all of them filling Places of ours.
///
/// A rule is judged by its newest execution that ended: an earlier one that failed says nothing any more (what it did not
/// copy is missing at the replica, which is a Gap of the image). A clock that is set back shows no Gap that was none.
#[must_use]
pub fn rule_gaps(keeper: &RegistryName, rules: &[Observed], now: Timestamp) -> Vec<RuleGap> {
    let mut gaps = Vec::new();
    for observed in rules {
        let Observed { rule, .. } = observed;
        let key = || GapKey { subject: GapSubject::Rule(rule.name.clone()), registry: keeper.clone() };
        let mut say = |risk, detail: Option<String>| {
            gaps.extend(detail.map(|detail| RuleGap { key: key(), risk, detail: plain(&detail).into() }));
        };
        if rule.standing == Standing::Disabled {
            if !rules.iter().any(|other| rule.is_replaced_by(&other.rule)) {
                say(Risk::RuleDisabled, Some("it is disabled, so it copies nothing".into()));
            }
            continue;
        }
        say(Risk::RuleFailing, observed.failing());
        say(Risk::RuleOverdue, observed.overdue(now));
        say(Risk::RuleIdle, observed.idle(now));
    }
    gaps
}

impl Rule {
    /// Whether the rule copies what was pushed; `None` if a filter cannot be judged.
    #[must_use]
    pub fn covers(&self, push: &Push) -> Option<bool> {
        let mut all = true;
        for filter in &self.filters {
            let matches = match &filter.on {
                On::Name(pattern) => pattern.matches(&push.repository),
                // A rule with a filter of tags leaves out what has none.
                On::Tag(_) if push.tags.is_empty() => return Some(false),
                On::Tag(pattern) => {
                    let mut tags = push.tags.iter();
                    match filter.selects {
                        Selects::Matching => tags.any(|tag| pattern.matches(tag)),
                        Selects::Others => tags.all(|tag| pattern.matches(tag)),
                    }
                }
                On::Other(_) => return None,
            };
            all &= matches == (filter.selects == Selects::Matching);
        }
        Some(all)
    }

    /// Whether another rule that is enabled copies the same from the same to the same.
    fn is_replaced_by(&self, other: &Self) -> bool {
        other.standing == Standing::Enabled
            && other.copies == self.copies
            && other.filters == self.filters
            && other.destination == self.destination
    }
}

impl Execution {
    /// Takes what a list of its tasks says, if it is all of them: a list holds `most`. Harbor works out its own numbers later.
    pub fn take_listed(&mut self, listed: Tasks, most: u32) {
        if listed.total < most && listed.total >= self.tasks.total {
            self.tasks = listed;
        }
        self.status = self.by_tasks();
    }

    /// How it stands by its tasks: Harbor works out the state of an execution later.
    #[must_use]
    pub fn by_tasks(&self) -> Status {
        let Tasks { total, succeeded, failed, stopped, .. } = self.tasks;
        if self.status != Status::InProgress || total == 0 || succeeded + failed + stopped < total {
            return self.status;
        }
        match (failed, stopped) {
            (0, 0) => Status::Succeed,
            (0, _) => Status::Stopped,
            _ => Status::Failed,
        }
    }
}

impl Remote {
    /// Whether it is this registry: by the host or an alias of it, or by the address at which we ask it.
    #[must_use]
    pub fn is(&self, registry: &Registry) -> bool {
        let Some(authority) = authority(&self.url) else { return false };
        let known = std::iter::once(&registry.host).chain(&registry.aliases).map(|host| folded(host));
        let asked = self::authority(registry.url.as_str());
        known.into_iter().any(|host| *host == *authority) || asked.is_some_and(|asked| asked == authority)
    }
}

/// The host of a URL, with its port unless its scheme implies it; in folded form.
fn authority(url: &str) -> Option<Box<str>> {
    if !url.contains("://") {
        let host = url.split('/').next().filter(|host| !host.is_empty())?;
        return Some(folded(host).into());
    }
    let url = Url::parse(url).ok()?;
    let host = url.host_str()?;
    let host = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
    Some(folded(&host).into())
}

impl Observed {
    /// The last execution that ended by itself. One that somebody stopped says nothing.
    fn last_ended(&self) -> Option<&Execution> {
        let ended = |execution: &&Execution| matches!(execution.status, Status::Succeed | Status::Failed);
        self.executions.iter().flatten().filter(ended).max_by_key(|execution| execution.id)
    }

    /// When it last started by itself or was started.
    #[must_use]
    pub fn last_started(&self) -> Option<Timestamp> {
        self.executions.iter().flatten().filter_map(|execution| execution.started).max()
    }

    fn failing(&self) -> Option<String> {
        let last = self.last_ended().filter(|last| last.status == Status::Failed)?;
        let Tasks { total, failed, succeeded, .. } = last.tasks;
        // Harbor calls an execution failed although the retry of its task succeeded (goharbor/harbor#15355).
        if total > 0 && succeeded == total {
            return None;
        }
        let when = last.ended.or(last.started).map(|at| format!(" at {}", minute(at))).unwrap_or_default();
        let why = match &*last.reason {
            "" if total == 0 => ", before it copied anything; Harbor gives no reason".to_owned(),
            "" => format!(": {failed} of {total} tasks failed"),
            reason => format!(": {reason}"),
        };
        Some(format!("its last execution failed{when}{why}"))
    }

    fn overdue(&self, now: Timestamp) -> Option<String> {
        let Trigger::Scheduled(cron) = &self.rule.trigger else { return None };
        let since = self.since()?;
        let interval = cron.interval(now)?;
        let waited = later(since, now)?;
        if waited <= interval.checked_mul(INTERVALS)? {
            return None;
        }
        Some(match self.last_started() {
            Some(last) => {
                format!("its schedule is `{cron}`, and it last ran at {}", minute(last))
            }
            None => format!("its schedule is `{cron}`, and it has never run since {}", minute(since)),
        })
    }

    fn idle(&self, now: Timestamp) -> Option<String> {
        let (Trigger::OnPush, Copies::To(_)) = (&self.rule.trigger, &self.rule.copies) else { return None };
        let since = self.since()?;
        // The oldest of what it did not follow: on a busy day something was always pushed a moment ago.
        let pushed = self.pushed.iter().copied().filter(|pushed| *pushed > since).min()?;
        (later(pushed, now)? > PATIENCE).then(|| {
            format!("it runs on each push, and has not run since what was pushed at {}", minute(pushed))
        })
    }

    /// Since when it could have run and did not: its last start, or the last time somebody changed it. `None` if nothing
    /// is known, or its executions cannot be read.
    fn since(&self) -> Option<Timestamp> {
        self.executions.as_ref()?;
        [self.last_started(), self.rule.created, self.rule.updated].into_iter().flatten().max()
    }
}

/// The time from one moment to another; `None` if the other is earlier.
fn later(from: Timestamp, to: Timestamp) -> Option<Duration> {
    Duration::try_from(to.duration_since(from)).ok()
}

/// A time for people: UTC, to the minute.
fn minute(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M UTC").to_string()
}

#[cfg(test)]
mod tests;
