//! `/api/v2.0/replication/`: rules, executions and tasks, for whom the system lets read them.

use http::StatusCode;
use http::header::HeaderName;
use serde_json::Value;

use crate::demo::world::accounts::{Caller, Permission};
use crate::demo::world::message::{Answer, Ask, error, json, no_such_path, unauthorized, with};
use crate::demo::world::store::Store;

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
        _ => return no_such_path(path),
    };
    if caller.is_anonymous() {
        return unauthorized();
    }
    if !caller.may_in_system(permission) {
        return error(StatusCode::FORBIDDEN, "FORBIDDEN", caller.name().unwrap_or_default());
    }
    let Some(found) = found else {
        return error(StatusCode::NOT_FOUND, "NOT_FOUND", "replication execution not found");
    };
    let page = ask.page(&found).cloned().collect::<Vec<Value>>();
    with(json(&page.into()), HeaderName::from_static("x-total-count"), &found.len().to_string())
}

/// The newest first, of one rule if the query names one.
fn executions(store: &Store, ask: &Ask) -> Vec<Value> {
    let of: Option<u64> = ask.parameter("policy_id").and_then(|id| id.parse().ok());
    let rules = store.rules.iter().filter(|rule| of.is_none_or(|id| rule.id == id));
    let mut found: Vec<_> =
        rules.flat_map(|rule| rule.executions.iter().map(move |execution| (rule.id, execution))).collect();
    found.sort_by_key(|(_, execution)| std::cmp::Reverse(execution.id));
    found.into_iter().map(|(rule, execution)| execution.render(rule)).collect()
}
