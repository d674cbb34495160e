//! Replication rules and their executions, as a Harbor stores them. Only what a request starts is copied; else stories and tests
//! say what happened.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::scan::stamp;
use crate::domain::pattern::Pattern;

/// A replication rule that pushes on each push until a builder says otherwise.
#[derive(Debug, Clone)]
pub struct ReplicationRule {
    pub(super) id: u64,
    name: String,
    enabled: bool,
    trigger: Value,
    filters: Vec<Value>,
    pull: bool,
    remote: String,
    created: Timestamp,
    pub(super) overrides: bool,
    pub(super) destination: (String, i64),
    pub(super) ending: Ending,
    pub(super) executions: Vec<Execution>,
}

/// How executions end that a request has started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// What the filters let through is copied to the registry that [`Embedded::replicates`](super::Embedded::replicates) names.
    Copied,
    /// Nothing is copied, and the execution succeeds.
    Nothing,
    /// It fails before it has a task, with this `status_text`.
    Refused(&'static str),
    /// Its tasks fail, with this in their log.
    Failed(&'static str),
    /// It does not end.
    Never,
}

/// One run of a rule.
#[derive(Debug, Clone)]
pub struct Execution {
    pub(super) id: u64,
    status: &'static str,
    reason: String,
    started: Timestamp,
    trigger: &'static str,
    pub(super) log: String,
    tasks: Vec<(&'static str, String)>,
}

impl ReplicationRule {
    /// A rule that pushes to the registry at this URL.
    #[must_use]
    pub fn to(name: &str, url: &str) -> Self {
        Self {
            id: 0,
            name: name.into(),
            enabled: true,
            trigger: json!({"type": "event_based"}),
            filters: Vec::new(),
            pull: false,
            remote: url.into(),
            created: Timestamp::UNIX_EPOCH,
            overrides: true,
            destination: (String::new(), -1),
            ending: Ending::Copied,
            executions: Vec::new(),
        }
    }

    /// A rule that pulls from the registry at this URL, when somebody starts it.
    #[must_use]
    pub fn from(name: &str, url: &str) -> Self {
        Self { pull: true, trigger: json!({"type": "manual"}), ..Self::to(name, url) }
    }

    /// Runs by this schedule.
    #[must_use]
    pub fn scheduled(self, cron: &str) -> Self {
        let trigger = json!({"type": "scheduled", "trigger_settings": {"cron": cron}});
        Self { trigger, ..self }
    }

    /// Is disabled.
    #[must_use]
    pub fn disabled(self) -> Self {
        Self { enabled: false, ..self }
    }

    /// Has this filter: `name` or `tag` and a pattern.
    #[must_use]
    pub fn filter(mut self, kind: &str, value: &str) -> Self {
        self.filters.push(json!({"type": kind, "value": value}));
        self
    }

    /// Leaves tags that are at its destination as they are.
    #[must_use]
    pub fn without_override(self) -> Self {
        Self { overrides: false, ..self }
    }

    /// Has this destination namespace, and flattens so many levels; -1: all.
    #[must_use]
    pub fn into_namespace(self, namespace: &str, levels: i64) -> Self {
        Self { destination: (namespace.into(), levels), ..self }
    }

    /// Its executions end so, if a request starts them.
    #[must_use]
    pub fn ending(self, ending: Ending) -> Self {
        Self { ending, ..self }
    }

    /// Whether it is enabled.
    /// Only what is not so (Harbor: `decoration: excludes`).
    #[must_use]
    pub fn excluding(mut self, kind: &str, value: &str) -> Self {
        self.filters.push(json!({"type": kind, "value": value, "decoration": "excludes"}));
        self
    }

    /// Only what has this label. Its value is a list.
    #[must_use]
    pub fn labelled(mut self, label: &str) -> Self {
        self.filters.push(json!({"type": "label", "value": [label]}));
        self
    }

    pub(super) fn is_enabled(&self) -> bool {
        self.enabled
    }

    /// Whether a filter of this kind lets this text through; without such a filter, each is.
    pub(super) fn lets_through(&self, kind: &str, text: Option<&str>) -> bool {
        let mut of_kind =
            self.filters.iter().filter(|filter| filter.get("type").is_some_and(|of| of == kind));
        of_kind.all(|filter| {
            let pattern =
                filter.get("value").and_then(Value::as_str).and_then(|value| Pattern::new(value).ok());
            let excludes = filter.get("decoration").is_some_and(|of| of == "excludes");
            text.is_some_and(|text| pattern.is_none_or(|pattern| pattern.matches(text) != excludes))
        })
    }

    /// Was made at this time; else long ago.
    #[must_use]
    pub fn created(self, created: Timestamp) -> Self {
        Self { created, ..self }
    }

    /// As the API shows it. Harbor leaves out what is false.
    pub(super) fn render(&self) -> Value {
        let registry = |id: u64, name: &str, url: &str, at: Timestamp| {
            json!({
                "id": id, "name": name, "type": "harbor", "url": url, "insecure": true, "status": "healthy",
                "credential": {"access_secret": "*****", "type": "secret"},
                "creation_time": stamp(at), "update_time": stamp(at),
            })
        };
        let there = registry(1, "there", &self.remote, self.created);
        let mut here = registry(0, "Local", "http://core:8080", self.created);
        for field in ["creation_time", "update_time"] {
            if let Some(fields) = here.as_object_mut() {
                fields.insert(field.into(), NEVER.into());
            }
        }
        let (source, destination) = if self.pull { (there, here) } else { (here, there) };
        let mut rule = json!({
            "id": self.id, "name": self.name, "copy_by_chunk": false, "single_active_replication": false, "speed": 0,
            "creation_time": stamp(self.created), "update_time": stamp(self.created), "trigger": self.trigger,
            "src_registry": source, "dest_registry": destination, "dest_namespace_replace_count": self.destination.1,
        });
        if let Some(fields) = rule.as_object_mut() {
            if self.overrides {
                fields.insert("override".into(), true.into());
            }
            if !self.destination.0.is_empty() {
                fields.insert("dest_namespace".into(), self.destination.0.clone().into());
            }
            if self.enabled {
                fields.insert("enabled".into(), true.into());
            }
            if !self.filters.is_empty() {
                fields.insert("filters".into(), self.filters.clone().into());
            }
        }
        rule
    }
}

impl Execution {
    /// One that succeeded, with one task.
    #[must_use]
    pub fn succeeded(started: Timestamp) -> Self {
        Self::new("Succeed", "", started, &[("Succeed", "one")])
    }

    /// One that failed before it had a task, for this reason.
    #[must_use]
    pub fn failed(started: Timestamp, reason: &str) -> Self {
        Self::new("Failed", reason, started, &[])
    }

    /// One with this status and these tasks: status and repository.
    #[must_use]
    pub fn new(
        status: &'static str,
        reason: &str,
        started: Timestamp,
        tasks: &[(&'static str, &str)],
    ) -> Self {
        let task =
            |(status, about): &(&'static str, &str)| (*status, format!("{about} [1 item(s) in total]"));
        let tasks = tasks.iter().map(task).collect();
        let (reason, log) = (reason.into(), String::new());
        Self { id: 0, status, reason, started, trigger: "event_based", log, tasks }
    }

    /// Somebody, not a push, has started it.
    #[must_use]
    pub fn by_hand(self) -> Self {
        Self { trigger: "manual", ..self }
    }

    /// How it was started.
    pub(super) fn trigger(&self) -> &str {
        self.trigger
    }

    /// Ends it, with what its tasks' log says.
    pub(super) fn ends(&mut self, ended: &Self, log: &str) {
        (self.status, self.log) = (ended.status, log.to_owned());
        self.reason.clone_from(&ended.reason);
        self.tasks.clone_from(&ended.tasks);
    }

    /// As the API shows it.
    pub(super) fn render(&self, rule: u64) -> Value {
        let count = |status: &str| self.tasks.iter().filter(|(of, _)| *of == status).count();
        json!({
            "id": self.id, "policy_id": rule, "status": self.status, "status_text": self.reason,
            "trigger": self.trigger, "start_time": stamp(self.started), "end_time": self.ended(),
            "total": self.tasks.len(), "succeed": count("Succeed"), "failed": count("Failed"),
            "in_progress": count("InProgress"), "stopped": count("Stopped"),
        })
    }

    /// Its tasks, as the API shows them.
    pub(super) fn tasks(&self) -> Vec<Value> {
        let task = |(number, (status, about)): (usize, &(&'static str, String))| {
            json!({
                "id": self.id * 100 + u64::try_from(number).unwrap_or_default(), "execution_id": self.id,
                "status": status, "job_id": "4b08f0b7", "operation": "copy", "resource_type": "artifact",
                "src_resource": about, "dst_resource": about, "start_time": stamp(self.started),
                "end_time": self.ended(),
            })
        };
        self.tasks.iter().enumerate().map(task).collect()
    }

    fn ended(&self) -> String {
        if self.status == "InProgress" { NEVER.into() } else { stamp(self.started) }
    }
}

/// A time that is not set.
const NEVER: &str = "0001-01-01T00:00:00.000Z";
