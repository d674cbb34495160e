//! `/api/v2.0/projects/{project}/webhook/policies`.

use http::header::{HeaderName, LOCATION};
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::demo::world::message::{Answer, Ask, empty, error, json, no_such_path, with};
use crate::demo::world::store::Store;
use crate::demo::world::webhook::{Body, Policy};

/// Answers a request of somebody who may. `rest` is the path below `webhook/policies`.
pub(super) fn answer(store: &mut Store, ask: &Ask, project: &str, rest: &[&str], path: &str) -> Answer {
    match (&ask.method, rest) {
        (&Method::GET, []) => {
            let of = store.hooks.policies.iter().filter(|policy| policy.project == project);
            let found: Vec<Value> = of.map(shown).collect();
            let page = ask.page(&found).cloned().collect::<Vec<Value>>();
            with(json(&page.into()), HeaderName::from_static("x-total-count"), &found.len().to_string())
        }
        (&Method::POST, []) => {
            let body = match accepted(&ask.body) {
                Ok(body) => body,
                Err(why) => return error(StatusCode::BAD_REQUEST, "BAD_REQUEST", why),
            };
            let is_taken = |policy: &Policy| policy.project == project && policy.body.name == body.name;
            if store.hooks.policies.iter().any(is_taken) {
                let message = format!("notification policy named {} already exists", body.name);
                return error(StatusCode::CONFLICT, "CONFLICT", &message);
            }
            let id = store.next_policy();
            store.hooks.policies.push(Policy { id, project: project.into(), body });
            with(
                empty(StatusCode::CREATED),
                LOCATION,
                &format!("/api/v2.0/projects/{project}/webhook/policies/{id}"),
            )
        }
        (&Method::PUT, [id]) => {
            let body = match accepted(&ask.body) {
                Ok(body) => body,
                Err(why) => return error(StatusCode::BAD_REQUEST, "BAD_REQUEST", why),
            };
            let is_it = |policy: &&mut Policy| policy.project == project && policy.id.to_string() == *id;
            match store.hooks.policies.iter_mut().find(is_it) {
                Some(policy) => {
                    policy.body = body;
                    empty(StatusCode::OK)
                }
                None => {
                    error(StatusCode::NOT_FOUND, "NOT_FOUND", &format!("the webhook policy {id} not found"))
                }
            }
        }
        _ => no_such_path(path),
    }
}

fn shown(policy: &Policy) -> Value {
    let mut body = json!(policy.body);
    if let Some(fields) = body.as_object_mut() {
        fields.insert("id".into(), policy.id.into());
    }
    body
}

/// The body without what only the server sets.
fn accepted(body: &[u8]) -> Result<Body, &'static str> {
    let body: Body = serde_json::from_slice(body).map_err(|_| "invalid character")?;
    if body.targets.is_empty() {
        return Err("empty notification target");
    }
    if body.event_types.is_empty() {
        return Err("empty event type");
    }
    Ok(body)
}
