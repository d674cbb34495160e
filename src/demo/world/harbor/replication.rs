//! `/api/v2.0/replication/`: rules, executions and tasks, for whom the system lets read them.

use http::StatusCode;
use http::header::{HeaderName, LOCATION};
use serde_json::Value;

use crate::demo::world::accounts::{Caller, Permission};
use crate::demo::world::message::{Answer, Ask, body, empty, error, json, no_such_path, unauthorized, with};
use crate::demo::world::replication::ReplicationRule;
use crate::demo::world::store::{Reachable, Store};

/// Answers a `GET`. `rest` is the path below `replication`.
pub(super) fn answer(store: &Store, caller: &Caller, ask: &Ask, rest: &[&str], path: &str) -> Answer {
    let (permission, found): (_, Option<Vec<Value>>) = match rest {
        ["policies"] => (
            Permission::ReplicationPolicyList,
            Some(store.rules.iter().rev().map(|rule| rule.render()).collect()),
        ),
        ["executions"] => (Permission::ReplicationList, Some(executions(store, ask))),
        ["executions", number, "tasks"] => {
            let executions = store.rules.iter().flat_map(|rule| &rule.executions);
            let found =
                number.parse().ok().and_then(|id: u64| executions.into_iter().find(|one| one.id == id));
            (Permission::ReplicationList, found.map(|execution| execution.tasks()))
        }
        ["executions", number] => {
            let Some(found) = number.parse().ok().and_then(|id| one(store, id)) else {
                return refusal(caller, Permission::ReplicationList).unwrap_or_else(not_found);
            };
            return refusal(caller, Permission::ReplicationList).unwrap_or_else(|| json(&found));
        }
        ["executions", number, "tasks", _, "log"] => {
            let found = number.parse().ok().and_then(|id: u64| {
                store.rules.iter().flat_map(|rule| &rule.executions).find(|one| one.id == id)
            });
            let log = found.map(|execution| execution.log.clone()).unwrap_or_default();
            return refusal(caller, Permission::ReplicationList)
                .unwrap_or_else(|| body(StatusCode::OK, "text/plain", log));
        }
        _ => return no_such_path(path),
    };
    if let Some(refusal) = refusal(caller, permission) {
        return refusal;
    }
    let Some(mut found) = found else { return not_found() };
    if let (["executions", _, "tasks"], Some(status)) = (rest, ask.parameter("status")) {
        found.retain(|task| task.get("status").is_some_and(|of| of == status));
    }
    let page = ask.page(&found).cloned().collect::<Vec<Value>>();
    with(json(&page.into()), HeaderName::from_static("x-total-count"), &found.len().to_string())
}

/// `POST /replication/executions`: the whole rule is executed, by the job service (handler/replication.go, `StartReplication`).
pub(super) fn start(store: &mut Store, caller: &Caller, ask: &Ask) -> Answer {
    if let Some(refusal) = refusal(caller, Permission::ReplicationCreate) {
        return refusal;
    }
    let asked: Value = serde_json::from_slice(&ask.body).unwrap_or_default();
    let wanted = asked.get("policy_id").and_then(Value::as_u64);
    let rule = store.rules.iter().find(|rule| Some(rule.id) == wanted);
    let Some((id, enabled)) = rule.map(|rule| (rule.id, rule.is_enabled())) else {
        return error(StatusCode::NOT_FOUND, "NOT_FOUND", "replication policy not found");
    };
    if !enabled {
        return error(StatusCode::PRECONDITION_FAILED, "PRECONDITION", "the policy is disabled");
    }
    if store.job_service == Reachable::Down {
        return error(StatusCode::INTERNAL_SERVER_ERROR, "UNKNOWN", "internal server error");
    }
    let execution = store.start_execution(id);
    let location = format!("/api/v2.0/replication/executions/{execution}");
    with(empty(StatusCode::CREATED), LOCATION, &location)
}

fn refusal(caller: &Caller, permission: Permission) -> Option<Answer> {
    if caller.is_anonymous() {
        return Some(unauthorized());
    }
    let name = caller.name().unwrap_or_default();
    (!caller.may_in_system(permission)).then(|| error(StatusCode::FORBIDDEN, "FORBIDDEN", name))
}

fn not_found() -> Answer {
    error(StatusCode::NOT_FOUND, "NOT_FOUND", "replication execution not found")
}

fn one(store: &Store, id: u64) -> Option<Value> {
    let of = |rule: &ReplicationRule| {
        rule.executions.iter().find(|one| one.id == id).map(|one| one.render(rule.id))
    };
    store.rules.iter().find_map(of)
}

/// The newest first, of one rule if the query names one.
fn executions(store: &Store, ask: &Ask) -> Vec<Value> {
    let of: Option<u64> = ask.parameter("policy_id").and_then(|id| id.parse().ok());
    let rules = store.rules.iter().filter(|rule| of.is_none_or(|id| rule.id == id));
    let trigger = ask.parameter("trigger");
    let mut found: Vec<_> =
        rules.flat_map(|rule| rule.executions.iter().map(move |execution| (rule.id, execution))).collect();
    found.retain(|(_, execution)| trigger.is_none_or(|trigger| execution.trigger() == trigger));
    found.sort_by_key(|(_, execution)| std::cmp::Reverse(execution.id));
    found.into_iter().map(|(rule, execution)| execution.render(rule)).collect()
}
