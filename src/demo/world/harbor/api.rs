//! `/api/v2.0/`: the part that readers use.

use std::collections::HashSet;

use http::header::HeaderName;
use http::{Method, StatusCode};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::artifact::render;
use super::replication;
use super::v2::not_found;
use super::webhook;
use crate::demo::world::accounts::{Caller, Permission};
use crate::demo::world::message::{
    Answer, Ask, body, empty, error, json, no_such_path, unauthorized, unescape, with,
};
use crate::demo::world::scan::{self, Scan, stamp};
use crate::demo::world::store::{Allowlist, Configuration, Reachable, ScannerState, Store, Visibility};
use crate::domain::digest::Digest;

pub(super) fn answer(store: &mut Store, caller: &Caller, url: &str, ask: &Ask) -> Answer {
    // nginx decodes the path once, matches it and escapes it again. So the router sees `%2F` as a slash, and `%252F` not.
    let path = unescape(&ask.path);
    let path = path.strip_suffix('/').unwrap_or(&path);
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    let ["api", "v2.0", rest @ ..] = segments.as_slice() else { return no_such_path(path) };
    let reads = ask.method == Method::GET;
    match rest {
        ["ping"] => return body(StatusCode::OK, "text/plain", "Pong"),
        ["health"] => return health(),
        ["users", "current"] => return current_user(store, caller),
        ["systeminfo"]
            if reads && store.database == Reachable::Down && store.configuration == Configuration::Cached =>
        {
            return systeminfo(&Caller::Anonymous, url);
        }
        _ if store.database == Reachable::Down => {
            return error(StatusCode::INTERNAL_SERVER_ERROR, "UNKNOWN", "internal server error");
        }
        _ => {}
    }
    if ask.parameter("page_size").and_then(|size| size.parse().ok()).is_some_and(|size: u64| size > 100) {
        let message = "validation failure list:\npage_size in query should be less than or equal to 100";
        return error(StatusCode::UNPROCESSABLE_ENTITY, "UNPROCESSABLE_ENTITY", message);
    }
    match rest {
        ["replication", rest @ ..] if reads => replication::answer(store, caller, ask, rest, path),
        ["systeminfo"] if reads => systeminfo(caller, url),
        ["system", "CVEAllowlist"] if reads && caller.is_anonymous() => unauthorized(),
        ["system", "CVEAllowlist"] if reads => json(&allowlist(0, &store.allowlist)),
        ["projects"] if ask.method == Method::HEAD => project_exists(store, caller, ask),
        ["projects"] if reads => projects(store, caller),
        ["projects", project] if reads => read_project(store, caller, &named(store, ask, project)),
        ["projects", project, "scanner"] if reads => scanner(store, caller, &named(store, ask, project)),
        ["projects", project, "webhook", "policies", rest @ ..] => {
            let project = named(store, ask, project);
            match refusal(store, caller, &project, Permission::NotificationPolicy) {
                Some(refusal) => refusal,
                None => webhook::answer(store, ask, &project, rest, path),
            }
        }
        ["projects", project, "artifacts"] if reads => {
            project_artifacts(store, caller, ask, &named(store, ask, project))
        }
        ["projects", project, "repositories", repository, "artifacts"] if reads => {
            repository_artifacts(store, caller, ask, project, &full_name(project, repository))
        }
        ["projects", project, "repositories", repository, "artifacts", reference, tail @ ..] => {
            let name = full_name(project, repository);
            one_artifact(store, caller, ask, project, &name, reference, tail, path)
        }
        _ => no_such_path(path),
    }
}

/// The name of the project that `name_or_id` means: one of digits alone is an ID, unless the header `X-Is-Resource-Name` says
/// that it is a name (handler/base.go, `parseProjectNameOrID`). Paths with `repositories` take names only.
fn named(store: &Store, ask: &Ask, name_or_id: &str) -> String {
    let is_name = ask.header("x-is-resource-name").is_some_and(|value| value.eq_ignore_ascii_case("true"));
    match name_or_id.parse::<u64>() {
        Ok(id) if !is_name => {
            let found = store.projects.iter().find(|(_, project)| project.id == id);
            // No project has an empty name.
            found.map(|(name, _)| name.clone()).unwrap_or_default()
        }
        _ => name_or_id.to_owned(),
    }
}

/// The repository's whole name. The handler decodes its parameter once more than the router.
fn full_name(project: &str, repository: &str) -> String {
    format!("{project}/{}", unescape(repository))
}

#[expect(clippy::too_many_arguments, reason = "the parts of one path, taken apart by the caller's pattern")]
fn one_artifact(
    store: &mut Store,
    caller: &Caller,
    ask: &Ask,
    project: &str,
    name: &str,
    reference: &str,
    tail: &[&str],
    path: &str,
) -> Answer {
    let permission = match (&ask.method, tail) {
        (&Method::GET, []) => Permission::ArtifactRead,
        (&Method::GET, ["additions", "vulnerabilities"]) => Permission::AdditionRead,
        (&Method::POST, ["scan"]) => Permission::ScanCreate,
        (_, [] | ["scan"] | ["additions", "vulnerabilities"]) => {
            let message = format!("method {} is not allowed, but [GET] are", ask.method);
            return error(StatusCode::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED", &message);
        }
        _ => return no_such_path(path),
    };
    if let Some(refusal) = refusal(store, caller, project, permission) {
        return refusal;
    }
    let Some((digest, artifact)) = store.find(name, reference) else {
        return not_found(store, name, reference);
    };
    match permission {
        Permission::ArtifactRead => json(&render(store, ask, name, digest, artifact)),
        Permission::AdditionRead => json(&scan::addition(&store.scan_parts(digest, artifact))),
        _ => start_scan(store, digest, name),
    }
}

/// `POST …/scan`: the old report is removed at once, and the state is `Pending` until a story changes it.
fn start_scan(store: &mut Store, digest: Digest, name: &str) -> Answer {
    let Some((_, artifact)) = store.find(name, &digest.to_string()) else {
        return empty(StatusCode::NOT_FOUND);
    };
    let parts = store.scan_parts(digest, artifact);
    if store.scanner != ScannerState::Healthy || parts.is_empty() {
        let message = format!(
            "the configured scanner DemoScan does not support scanning artifact with mime type {}",
            artifact.content.media_type
        );
        return error(StatusCode::BAD_REQUEST, "BAD_REQUEST", &message);
    }
    if let Some(status @ ("Pending" | "Scheduled" | "Running")) = scan::merged_status(&parts) {
        let message = format!("a previous scan process is {status}");
        return error(StatusCode::CONFLICT, "CONFLICT", &message);
    }
    if store.job_service == Reachable::Down {
        return error(StatusCode::INTERNAL_SERVER_ERROR, "UNKNOWN", "internal server error");
    }
    store.set_scan(&digest, Scan::Pending);
    empty(StatusCode::ACCEPTED)
}

fn repository_artifacts(store: &Store, caller: &Caller, ask: &Ask, project: &str, name: &str) -> Answer {
    if let Some(refusal) = refusal(store, caller, project, Permission::ArtifactList) {
        return refusal;
    }
    list(store, ask, |candidate| candidate == name)
}

fn project_artifacts(store: &Store, caller: &Caller, ask: &Ask, project: &str) -> Answer {
    // Anonymous readers of a public project may read an artifact, but not list (handler/project.go).
    if caller.is_anonymous() {
        return unauthorized();
    }
    if let Some(refusal) = refusal(store, caller, project, Permission::ArtifactList) {
        return refusal;
    }
    list(store, ask, |candidate| candidate.split('/').next() == Some(project))
}

/// The artifacts of the repositories that `counts` names, by `q=digest=…` if given; children only with `base=*`.
fn list(store: &Store, ask: &Ask, counts: impl Fn(&str) -> bool) -> Answer {
    let q = ask.parameter("q").unwrap_or_default();
    let term =
        |name: &str| q.split(',').find_map(|term| term.split_once('=').filter(|(key, _)| *key == name));
    let wanted = term("digest").map(|(_, digest)| digest);
    let with_children = term("base").is_some_and(|(_, value)| value == "*");
    let mut found = Vec::new();
    for (name, repository) in store.repositories.iter().filter(|(name, _)| counts(name)) {
        let children = repository.artifacts.values().flat_map(|parent| &parent.content.children);
        let children: HashSet<Digest> = children.map(|child| child.content.digest).collect();
        for (digest, artifact) in &repository.artifacts {
            let tagged = repository.tags.values().any(|tag| tag.digest == *digest);
            let shown = with_children || tagged || !children.contains(digest);
            if shown && wanted.is_none_or(|wanted| digest.to_string() == wanted) {
                found.push((name, digest, artifact));
            }
        }
    }
    // Harbor's default order.
    found.sort_by_key(|(_, _, artifact)| std::cmp::Reverse((artifact.pushed, artifact.id)));
    let shown = ask.page(&found).map(|(name, digest, artifact)| render(store, ask, name, **digest, artifact));
    let shown: Vec<Value> = shown.collect();
    with(json(&shown.into()), HeaderName::from_static("x-total-count"), &found.len().to_string())
}

fn project_exists(store: &Store, caller: &Caller, ask: &Ask) -> Answer {
    let name = ask.parameter("project_name").unwrap_or_default();
    match store.projects.get(name) {
        _ if caller.is_anonymous() => unauthorized(),
        Some(_) => empty(StatusCode::OK),
        None => error(StatusCode::NOT_FOUND, "NOT_FOUND", &format!("project {name} not found")),
    }
}

/// The projects that the caller may read.
fn projects(store: &Store, caller: &Caller) -> Answer {
    let readable = store.projects.iter().filter(|(name, _)| caller.may(store, name, Permission::ProjectRead));
    let listed: Vec<Value> =
        readable.map(|(name, project)| json!({"name": name, "project_id": project.id})).collect();
    json(&listed.into())
}

fn read_project(store: &Store, caller: &Caller, name: &str) -> Answer {
    if let Some(refusal) = refusal(store, caller, name, Permission::ProjectRead) {
        return refusal;
    }
    let Some(project) = store.projects.get(name) else {
        return error(StatusCode::NOT_FOUND, "NOT_FOUND", &format!("project {name} not found"));
    };
    let mut metadata = json!({"public": (project.visibility == Visibility::Public).to_string()});
    if let (Some(severity), Some(fields)) = (project.prevent_vul, metadata.as_object_mut()) {
        fields.insert("prevent_vul".into(), "true".into());
        fields.insert("severity".into(), format!("{severity:?}").to_lowercase().into());
    }
    // Harbor leaves the key out if nobody has set it. Then the system's list applies.
    if let (Some(_), Some(fields)) = (&project.allowlist, metadata.as_object_mut()) {
        fields.insert("reuse_sys_cve_allowlist".into(), "false".into());
    }
    let repositories =
        store.repositories.keys().filter(|repository| repository.split('/').next() == Some(name));
    let mut answer = json!({
        "project_id": project.id, "name": name, "owner_id": 1, "owner_name": "admin",
        "creation_time": "2026-01-01T00:00:00.000Z", "update_time": "2026-01-01T00:00:00.000Z",
        "current_user_role_ids": null, "repo_count": repositories.count(), "metadata": metadata,
        "cve_allowlist": allowlist(project.id, &project.allowlist.clone().unwrap_or_default()),
    });
    if let (Some(_), Some(fields)) = (&project.upstream, answer.as_object_mut()) {
        fields.insert("registry_id".into(), 1.into());
    }
    json(&answer)
}

fn allowlist(project: u64, list: &Allowlist) -> Value {
    let items: Vec<Value> = list.cves.iter().map(|id| json!({"cve_id": id})).collect();
    let mut answer = json!({
        "id": project, "project_id": project, "items": items,
        "creation_time": "0001-01-01T00:00:00.000Z", "update_time": "0001-01-01T00:00:00.000Z",
    });
    if let (Some(end), Some(fields)) = (list.expires_at, answer.as_object_mut()) {
        fields.insert("expires_at".into(), end.as_second().into());
    }
    answer
}

fn scanner(store: &Store, caller: &Caller, project: &str) -> Answer {
    if caller.is_anonymous() {
        return unauthorized();
    }
    if let Some(refusal) = refusal(store, caller, project, Permission::ScannerRead) {
        return refusal;
    }
    let mut answer = json!({
        "uuid": "56a9ace8-e576-11f1-9a23-14f735b90143", "name": "DemoScan", "description": "demo",
        "url": "http://127.0.0.1:9090", "auth": "", "access_credential": "", "is_default": true,
        "skip_certVerify": true, "use_internal_addr": true, "disabled": store.scanner == ScannerState::Disabled,
        "create_time": "2026-01-01T00:00:00.000Z", "update_time": "2026-01-01T00:00:00.000Z",
        "health": "unhealthy", "capabilities": null,
    });
    match store.scanner {
        ScannerState::None => return json(&json!({})),
        ScannerState::Unhealthy => {}
        ScannerState::Healthy | ScannerState::Disabled => {
            if let Some(fields) = answer.as_object_mut() {
                fields.insert("health".into(), "healthy".into());
                fields.insert("adapter".into(), "DemoScan".into());
                fields.insert("vendor".into(), "Landfall".into());
                fields.insert("version".into(), "1.0.0".into());
                fields.insert("capabilities".into(), json!({"support_vulnerability": true}));
            }
        }
    }
    json(&answer)
}

fn systeminfo(caller: &Caller, url: &str) -> Answer {
    let mut answer = json!({
        "auth_mode": "db_auth", "banner_message": "", "oidc_provider_name": "",
        "primary_auth_mode": false, "self_registration": false,
    });
    if let (false, Some(fields)) = (caller.is_anonymous(), answer.as_object_mut()) {
        fields.insert("current_time".into(), stamp(Timestamp::now()).into());
        fields.insert("external_url".into(), url.into());
        fields.insert("harbor_version".into(), "v2.15.2-demo".into());
        fields.insert("has_ca_root".into(), false.into());
        fields.insert("notification_enable".into(), false.into());
        fields.insert("project_creation_restriction".into(), "adminonly".into());
        fields.insert("read_only".into(), true.into());
        fields.insert("registry_storage_provider_name".into(), "memory".into());
        let host = url.split_once("://").map_or(url, |(_, host)| host);
        fields.insert("registry_url".into(), host.into());
    }
    json(&answer)
}

fn current_user(store: &Store, caller: &Caller) -> Answer {
    if caller.is_anonymous() || store.database == Reachable::Down {
        return unauthorized();
    }
    if caller.is_robot() {
        let message = "get current user not available for security context: robot";
        return error(StatusCode::PRECONDITION_FAILED, "PRECONDITION", message);
    }
    json(&json!({
        "username": caller.name(), "sysadmin_flag": caller.is_admin(), "user_id": 1,
        "creation_time": "2026-01-01T00:00:00.000Z", "update_time": "2026-01-01T00:00:00.000Z",
    }))
}

/// Always healthy: a real Harbor notices the failure of its own parts seconds later, and that of its scanner never.
fn health() -> Answer {
    let parts = ["core", "database", "jobservice", "portal", "redis", "registry", "registryctl"];
    let components: Vec<Value> =
        parts.iter().map(|name| json!({"name": name, "status": "healthy"})).collect();
    json(&json!({"components": components, "status": "healthy"}))
}

/// handler/base.go: an unknown caller gets 401, a known one 403. A project that does not exist is answered in the same way.
fn refusal(store: &Store, caller: &Caller, project: &str, permission: Permission) -> Option<Answer> {
    match (caller.may(store, project, permission), caller.is_anonymous()) {
        (true, _) => None,
        (false, true) => Some(unauthorized()),
        (false, false) => Some(error(StatusCode::FORBIDDEN, "FORBIDDEN", "forbidden")),
    }
}
