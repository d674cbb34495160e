//! What the status of an object says, from what is known: pure, so that two leaders say the same.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{Held, Instead, Reading};
use crate::cluster::{
    Endpoints, EventReason, LandingPolicyStatus, PolicyCondition, PolicyObject, Severity, seconds,
};
use crate::config::Problem;
use crate::controllers::entries::{EntryState, Report};
use crate::domain::policy::{Enforcement, NAMESPACE_NAME, Policy};

/// The condition that says whether the object could be understood.
const ACCEPTED: &str = "Accepted";
/// The condition that says whether it acts, at every replica.
const ENFORCING: &str = "Enforcing";
/// The condition that says what somebody should look at.
const WARNINGS: &str = "Warnings";

/// The longest message of a condition, in characters.
const LONGEST: usize = 2048;

/// How many names one message lists.
const LISTED: usize = 5;

/// What is known beside the object itself.
#[derive(Debug, Clone, Copy)]
pub(super) struct Facts<'a> {
    /// What the replicas hold and which of them are called; or why that is not known.
    pub(super) replicas: Result<&'a Fleet, &'a str>,
    /// How the entries of the validating webhook stand.
    pub(super) entries: &'a Report,
    /// Where the object's name stands.
    pub(super) name: Name,
    /// The namespaces that it selects.
    pub(super) selected: &'a [Box<str>],
    /// `exclude.namespaces` of the file.
    pub(super) excluded: &'a [Box<str>],
    /// Our own namespace.
    pub(super) own_namespace: &'a str,
    pub(super) now: Timestamp,
}

/// Whether another policy has the name of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Name {
    /// None has.
    Own,
    /// One of the configuration file has, which applies.
    InFile,
}

/// What the replicas hold, and which of them are called.
#[derive(Debug, Clone, Default)]
pub(super) struct Fleet {
    /// What each replica has written, by the name of its Pod.
    pub(super) written: BTreeMap<String, String>,
    /// The Pods of our Service.
    pub(super) endpoints: Endpoints,
}

/// What a replica writes for one object that it has in force: the beginning of its uid, and the generation.
pub(super) fn mark(object: &PolicyObject) -> String {
    let uid = object.uid.get(..8).unwrap_or(&object.uid);
    format!("{uid}:{}", object.generation)
}

/// One condition without its times.
struct Said {
    status: &'static str,
    reason: &'static str,
    message: String,
}

impl Said {
    fn new(status: &'static str, reason: &'static str, message: impl Into<String>) -> Self {
        Self { status, reason, message: message.into() }
    }
}

/// The status of an object, without the numbers of denied Pods.
pub(super) fn status(held: &Held, facts: &Facts<'_>) -> LandingPolicyStatus {
    let object = &held.object;
    let condition = |kind: &str, said: Said| {
        let before = object.status.conditions.iter().find(|condition| condition.kind == kind);
        let since = before.filter(|before| before.status == said.status);
        PolicyCondition {
            kind: kind.to_owned(),
            status: said.status.to_owned(),
            observed_generation: Some(object.generation),
            last_transition_time: since
                .map_or_else(|| seconds(facts.now), |before| before.last_transition_time.clone()),
            reason: said.reason.to_owned(),
            message: cut(said.message),
        }
    };
    LandingPolicyStatus {
        observed_generation: Some(object.generation),
        conditions: vec![
            condition(ACCEPTED, accepted(held)),
            condition(ENFORCING, enforcing(held, facts)),
            condition(WARNINGS, warnings(held, facts)),
        ],
        namespaces: Some(i32::try_from(facts.selected.len()).unwrap_or(i32::MAX)),
        denied: None,
        last_denied: None,
    }
}

fn accepted(held: &Held) -> Said {
    match &held.reading {
        Reading::Accepted(_) => Said::new("True", "Valid", "the policy is understood"),
        Reading::Refused(problems, instead) => {
            let wrong: Vec<String> = problems.errors().map(problem).collect();
            let instead = match instead {
                Instead::Earlier(generation) => format!("generation {generation} stays in force"),
                Instead::Strictest => {
                    "until it is mended, a replica that has seen no earlier text of it blocks everything where it may apply"
                        .to_owned()
                }
            };
            Said::new("False", "Invalid", format!("{}; {instead}", wrong.join("; ")))
        }
        Reading::TooMany => Said::new(
            "False",
            "TooMany",
            "there are too many LandingPolicies, and this is not one of the oldest: it is not in force. Delete others, or put their rules together",
        ),
    }
}

/// What is wrong and where. The line is left out: it would be one of our own text, not of the one that somebody wrote.
fn problem(problem: &Problem) -> String {
    let path = if problem.path.is_empty() { String::new() } else { format!("{}: ", problem.path) };
    let hint = problem.hint.as_ref().map(|hint| format!(" ({hint})")).unwrap_or_default();
    format!("{path}{}{hint}", problem.message)
}

fn enforcing(held: &Held, facts: &Facts<'_>) -> Said {
    let Some(policy) = &held.policy else {
        return Said::new("False", "NotAccepted", "the policy is not in force");
    };
    if facts.name == Name::InFile {
        return Said::new(
            "False",
            "FileApplies",
            "the configuration file has a policy of this name, which applies instead",
        );
    }
    match held.reading {
        Reading::Refused(_, Instead::Earlier(generation)) => {
            return Said::new(
                "False",
                "EarlierGeneration",
                format!("generation {generation} stays in force"),
            );
        }
        Reading::Refused(_, Instead::Strictest) => {
            return Said::new("False", "Strictest", "everything is blocked where the policy may apply");
        }
        Reading::Accepted(_) | Reading::TooMany => {}
    }
    if policy.enforcement == Enforcement::Observe {
        return Said::new("False", "Observing", "the policy only reports what it would deny");
    }
    if let Some(glass) = policy.break_glass.as_ref().filter(|glass| facts.now < glass.until) {
        let place = match &*glass.namespaces {
            [] => "in all namespaces".to_owned(),
            names => format!("in {}", list(names.iter().map(|name| &**name))),
        };
        return Said::new(
            "False",
            "BreakGlass",
            format!("until {} the policy only reports {place}: {}", seconds(glass.until), glass.reason),
        );
    }
    match lacking(held, policy, facts) {
        Some(said) => said,
        None => Said::new("True", "Enforced", "every replica that is called has it in force"),
    }
}

/// What is still missing until the policy acts everywhere.
fn lacking(held: &Held, policy: &Policy, facts: &Facts<'_>) -> Option<Said> {
    let unknown = |why: &str| Some(Said::new("Unknown", "Unknown", format!("it is not known: {why}")));
    let fleet = match facts.replicas {
        Ok(fleet) => fleet,
        Err(why) => return unknown(why),
    };
    if fleet.endpoints.ready.is_empty() {
        return Some(Said::new(
            "False",
            "NoReplicas",
            "no replica is ready: Pods that it selects are refused",
        ));
    }
    let mark = mark(&held.object);
    let holds = |pod: &&String| {
        let written = fleet.written.get(*pod);
        !written.is_some_and(|written| written.split_whitespace().any(|one| one == mark))
    };
    let others: Vec<&str> = fleet.endpoints.ready.iter().filter(holds).map(String::as_str).collect();
    if !others.is_empty() {
        let message = format!("not yet in force at {}", list(others.iter().copied()));
        return Some(Said::new("False", "WaitingForReplicas", message));
    }
    match facts.entries.entries.get(&policy.selector.id()) {
        Some(EntryState::Standing) => None,
        Some(EntryState::Refused) => Some(Said::new(
            "False",
            "TooManyEntries",
            "it has no entry of the validating webhook, because there are too many: let policies share a namespaceSelector",
        )),
        Some(EntryState::Missing) => Some(Said::new(
            "False",
            "WaitingForEntry",
            "its entry of the validating webhook is missing, or is not as it should be",
        )),
        None => unknown(
            facts
                .entries
                .trouble
                .as_deref()
                .unwrap_or("its entry of the validating webhook was not looked at yet"),
        ),
    }
}

fn warnings(held: &Held, facts: &Facts<'_>) -> Said {
    let mut said: Vec<String> = Vec::new();
    if facts.name == Name::InFile {
        said.push(
            "the configuration file has a policy of this name, which applies instead: remove one of them"
                .to_owned(),
        );
    }
    let own = held
        .policy
        .iter()
        .any(|policy| policy.selector.names(facts.own_namespace))
        .then_some(facts.own_namespace);
    let excluded = facts.selected.iter().filter(|name| facts.excluded.contains(name)).map(|name| &**name);
    let left_alone: Vec<&str> = excluded.chain(own).collect();
    if !left_alone.is_empty() {
        said.push(format!(
            "it selects namespaces that Landfall leaves alone: {}",
            list(left_alone.into_iter())
        ));
    }
    if let Some(policy) = &held.policy {
        let mut keys: Vec<&str> = policy.selector.requirements().iter().map(|one| &*one.key).collect();
        keys.retain(|key| *key != NAMESPACE_NAME);
        keys.dedup();
        if !keys.is_empty() {
            said.push(format!(
                "whoever may edit a namespace can take it out by its labels ({}), unless guard.namespaceLabels of the chart guards them",
                list(keys.into_iter())
            ));
        }
    }
    if let Reading::Accepted(problems) = &held.reading {
        said.extend(problems.warnings().map(problem));
    }
    if said.is_empty() {
        Said::new("False", "None", "there is nothing to look at")
    } else {
        Said::new("True", "Warned", said.join("; "))
    }
}

/// Some names, and how many more there are.
fn list<'n>(names: impl Iterator<Item = &'n str>) -> String {
    let names: Vec<&str> = names.collect();
    let shown = names.iter().take(LISTED).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(LISTED) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

fn cut(text: String) -> String {
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}

/// Whether this is what the status of the object says already.
pub(super) fn is_shown(before: &LandingPolicyStatus, after: &LandingPolicyStatus) -> bool {
    let mut shown = before.clone();
    (shown.denied, shown.last_denied) = (None, None);
    // The API server keeps the order in which the conditions were applied first.
    shown.conditions.sort_by(|a, b| a.kind.cmp(&b.kind));
    shown == *after
}

/// What an event says about the change from one status to the next.
pub(super) fn news(
    before: &LandingPolicyStatus,
    after: &LandingPolicyStatus,
) -> Vec<(EventReason, Severity, String)> {
    fn find<'s>(status: &'s LandingPolicyStatus, kind: &str) -> Option<&'s PolicyCondition> {
        status.conditions.iter().find(|condition| condition.kind == kind)
    }
    let mut news = Vec::new();
    if let Some(now) = find(after, ACCEPTED) {
        let was = find(before, ACCEPTED);
        let is_other = was.is_none_or(|was| was.status != now.status || was.message != now.message);
        match now.status.as_str() {
            "True" if is_other => {
                news.push((EventReason::PolicyAccepted, Severity::Normal, now.message.clone()))
            }
            "False" if is_other => {
                news.push((EventReason::PolicyRefused, Severity::Warning, now.message.clone()))
            }
            _ => {}
        }
    }
    let is_open =
        |condition: Option<&PolicyCondition>| condition.is_some_and(|one| one.reason == "BreakGlass");
    let (was, now) = (find(before, ENFORCING), find(after, ENFORCING));
    let message = now.map(|now| now.message.clone()).unwrap_or_default();
    match (is_open(was), is_open(now)) {
        (false, true) => news.push((EventReason::PolicyOpened, Severity::Warning, message)),
        (true, true) if was.map(|was| &was.message) != Some(&message) => {
            news.push((EventReason::PolicyOpened, Severity::Warning, message));
        }
        (true, false) => news.push((EventReason::PolicyClosed, Severity::Normal, message)),
        _ => {}
    }
    news
}
