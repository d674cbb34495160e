//! `/v2/` of a Harbor. Its checks, in order: permission, database, gate (412), storage.

use http::header::{IF_NONE_MATCH, WWW_AUTHENTICATE};
use http::{Method, StatusCode};

use super::Step;
use super::gate;
use crate::demo::world::accounts::{Caller, Permission};
use crate::demo::world::distribution::{self, Target};
use crate::demo::world::message::{Answer, Ask, Presented, body, empty, error, of_distribution, with};
use crate::demo::world::push;
use crate::demo::world::pushes::Writes;
use crate::demo::world::store::{Reachable, Store, Stored};
use crate::domain::digest::Digest;

pub(super) fn answer(store: &mut Store, caller: &Caller, url: &str, ask: &Ask) -> Step {
    let target = Target::of(&ask.path);
    let repository = match target {
        Target::Root => return Step::Done(root(store, caller, url, ask)),
        Target::Manifest { repository, .. }
        | Target::Blob { repository, .. }
        | Target::Uploads { repository, .. }
        | Target::Referrers { repository, .. }
        | Target::Tags { repository } => repository,
        Target::Unknown if ask.path == "/v2/_catalog" => {
            let message = doubled("unauthorized to list catalog");
            return Step::Done(unauthorized("Basic realm=\"harbor\"", &message));
        }
        Target::Unknown => {
            return Step::Done(body(
                StatusCode::NOT_FOUND,
                "text/plain; charset=utf-8",
                "404 page not found\n",
            ));
        }
    };
    if let Some(refusal) = refusal(store, caller, url, ask, repository) {
        return Step::Done(refusal);
    }
    let writes = is_write(ask);
    if writes && store.pushes.writes == Writes::Accepted {
        let may_mount = |store: &Store, from: &str| {
            from.split_once('/').is_some_and(|(project, _)| caller.may(store, project, Permission::Pull))
        };
        return Step::Done(push::answer(store, url, ask, &target, may_mount));
    }
    if writes {
        let message = "The system is in read only mode. Any modification is prohibited.";
        return Step::Done(error(StatusCode::FORBIDDEN, "DENIED", message));
    }
    match target {
        Target::Manifest { repository, reference } => manifest(store, ask, repository, reference),
        Target::Blob { .. } if store.storage == Reachable::Down => Step::Done(empty(StatusCode::BAD_GATEWAY)),
        Target::Blob { repository, digest } => Step::Done(distribution::blob(store, ask, repository, digest)),
        Target::Tags { repository } => Step::Done(match store.repositories.get(repository) {
            Some(found) => distribution::tags(repository, found),
            None => error(StatusCode::NOT_FOUND, "NOT_FOUND", &format!("repository {repository} not found")),
        }),
        Target::Referrers { repository, subject } => Step::Done(push::referrers(store, repository, subject)),
        Target::Root | Target::Uploads { .. } | Target::Unknown => Step::Done(empty(StatusCode::NOT_FOUND)),
    }
}

/// Harbor's own checks, in its order (src/server/middleware/{artifactinfo,v2auth}).
fn refusal(store: &Store, caller: &Caller, url: &str, ask: &Ask, repository: &str) -> Option<Answer> {
    let Some((project, _)) = repository.split_once('/') else {
        let message = format!("bad request: invalid repository name: {repository}");
        return Some(error(StatusCode::BAD_REQUEST, "BAD_REQUEST", &message));
    };
    if matches!(ask.presented(), Presented::Nothing) {
        let message = doubled("authorize header needed to send HEAD to repository");
        return Some(unauthorized(&bearer(url, Some((repository, actions(ask)))), &message));
    }
    if !is_name(repository) {
        let message = doubled(&format!("un-recognized request: {} {}", ask.method, ask.path));
        return Some(unauthorized("", &message));
    }
    if store.database == Reachable::Down {
        let message = doubled("failed to connect to the database: connection refused");
        return Some(unauthorized("", &message));
    }
    if !store.projects.contains_key(project) {
        return Some(unauthorized("", &doubled(&format!("project {project} not found"))));
    }
    let (needed, action) =
        if is_write(ask) { (Permission::Push, "push") } else { (Permission::Pull, "pull") };
    if !caller.may(store, project, needed) {
        let message = doubled(&format!("unauthorized to access repository: {repository}, action: {action}"));
        return Some(unauthorized("Basic realm=\"harbor\"", &message));
    }
    None
}

fn root(store: &Store, caller: &Caller, url: &str, ask: &Ask) -> Answer {
    let message = doubled("unauthorized");
    if matches!(ask.presented(), Presented::Nothing) {
        return unauthorized(&bearer(url, None), &message);
    }
    if caller.is_anonymous() || store.database == Reachable::Down {
        return unauthorized("Basic realm=\"harbor\"", &message);
    }
    if store.storage == Reachable::Down {
        return empty(StatusCode::BAD_GATEWAY);
    }
    of_distribution(body(StatusCode::OK, "application/json; charset=utf-8", "{}"))
}

fn manifest(store: &Store, ask: &Ask, repository: &str, reference: &str) -> Step {
    let upstream = repository
        .split_once('/')
        .and_then(|(project, _)| store.projects.get(project))
        .and_then(|project| project.upstream.clone());
    let local = local_manifest(store, ask, repository, reference);
    match upstream {
        // A digest that is stored here is answered locally; for a tag, the upstream is always asked.
        Some(upstream)
            if store.find(repository, reference).is_none() || reference.parse::<Digest>().is_err() =>
        {
            let (repository, reference) = (repository.into(), reference.into());
            Step::AskUpstream { upstream, repository, reference, local }
        }
        _ => Step::Done(local),
    }
}

fn local_manifest(store: &Store, ask: &Ask, repository: &str, reference: &str) -> Answer {
    let Some((digest, artifact)) = store.find(repository, reference) else {
        return not_found(store, repository, reference);
    };
    if let Some(refusal) = gate::refusal(store, repository, digest, artifact) {
        return error(StatusCode::PRECONDITION_FAILED, "PROJECTPOLICYVIOLATION", &refusal);
    }
    let known = ask.header(IF_NONE_MATCH).map(|tag| tag.trim_matches('"'));
    if known == Some(digest.to_string().as_str()) {
        return empty(StatusCode::NOT_MODIFIED);
    }
    if store.storage == Reachable::Down {
        return empty(StatusCode::BAD_GATEWAY);
    }
    match artifact.stored {
        Stored::Lost | Stored::NotYetPulled => {
            distribution::manifest_unknown(repository, &digest.to_string())
        }
        Stored::Intact => distribution::manifest(ask, &digest, &artifact.content),
    }
}

/// Harbor's own 404. Its message depends on what is missing, and it does not have distribution's header.
pub(super) fn not_found(store: &Store, repository: &str, reference: &str) -> Answer {
    let message = match reference.parse::<Digest>() {
        Ok(_) => format!("artifact {repository}@{reference} not found"),
        Err(_) if store.repositories.contains_key(repository) => {
            format!("artifact {repository}:{reference} not found")
        }
        Err(_) => format!("repository {repository} not found"),
    };
    error(StatusCode::NOT_FOUND, "NOT_FOUND", &message)
}

fn unauthorized(challenge: &str, message: &str) -> Answer {
    let answer = error(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", message);
    of_distribution(with(answer, WWW_AUTHENTICATE, challenge))
}

fn is_write(ask: &Ask) -> bool {
    ask.method != Method::GET && ask.method != Method::HEAD
}

fn actions(ask: &Ask) -> &'static str {
    if is_write(ask) { "pull,push" } else { "pull" }
}

fn bearer(url: &str, scope: Option<(&str, &str)>) -> String {
    let mut challenge = format!("Bearer realm=\"{url}/service/token\",service=\"harbor-registry\"");
    if let Some((repository, actions)) = scope {
        challenge.push_str(&format!(",scope=\"repository:{repository}:{actions}\""));
    }
    challenge
}

/// Harbor nests these errors in one another.
fn doubled(message: &str) -> String {
    format!("{message}: {message}")
}

/// The part of distribution's grammar of names that Harbor's router uses.
fn is_name(repository: &str) -> bool {
    repository.split('/').all(|part| {
        !part.is_empty()
            && part
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte))
    })
}
