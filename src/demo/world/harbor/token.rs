//! `/service/token`. Harbor issues a token to everybody; whether it permits anything shows only when it is used.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{Method, StatusCode};
use jiff::Timestamp;
use serde_json::json;

use crate::demo::world::accounts::{Caller, Permission};
use crate::demo::world::message::{Answer, Ask, body, empty};
use crate::demo::world::store::{Reachable, Store};

const LIFETIME: Duration = Duration::from_mins(30);

pub(super) fn answer(store: &mut Store, caller: &Caller, ask: &Ask) -> Answer {
    if ask.path != "/service/token" {
        return body(StatusCode::NOT_FOUND, "text/plain; charset=utf-8", "404 page not found\n");
    }
    if ask.method != Method::GET {
        return body(StatusCode::METHOD_NOT_ALLOWED, "text/plain; charset=utf-8", "Method Not Allowed\n");
    }
    let service = ask.parameter("service").unwrap_or_default();
    if service != "harbor-registry" {
        let message = format!("Unable to handle service: {service}");
        return body(StatusCode::BAD_REQUEST, "text/plain; charset=utf-8", message);
    }
    // Without its database Harbor recognises nobody, and still issues a token.
    let caller = match store.database {
        Reachable::Up => caller.clone(),
        Reachable::Down => Caller::Anonymous,
    };
    let scopes: Vec<&str> =
        ask.query.iter().filter(|(key, _)| key == "scope").map(|(_, scope)| scope.as_str()).collect();
    if scopes.is_empty() && caller.is_anonymous() {
        return empty(StatusCode::UNAUTHORIZED);
    }
    let access: Vec<_> = scopes.iter().filter_map(|scope| granted(store, &caller, scope)).collect();
    let now = Timestamp::now();
    let until = now.checked_add(LIFETIME).unwrap_or(Timestamp::MAX);
    let serial = store.harbor_tokens.given.len();
    let claims = json!({
        "iss": "harbor-token-issuer", "sub": caller.name().unwrap_or_default(), "aud": service,
        "iat": now.as_second(), "nbf": now.as_second(), "exp": until.as_second(),
        "jti": format!("demo-{serial}"), "access": access,
    });
    let part = |value: &serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
    // Nobody checks the signature: a token is valid because it was issued here.
    let token = format!(
        "{}.{}.{}",
        part(&json!({"alg": "RS256", "typ": "JWT"})),
        part(&claims),
        part(&json!(serial))
    );
    store.harbor_tokens.given.insert(token.clone(), (caller, until));
    let answer = json!({
        "token": token, "access_token": "", "expires_in": LIFETIME.as_secs(),
        "issued_at": now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
    });
    body(StatusCode::OK, "application/json; charset=utf-8", answer.to_string())
}

/// The part of a scope that is granted: all permissions of the caller, whatever was requested.
fn granted(store: &Store, caller: &Caller, scope: &str) -> Option<serde_json::Value> {
    let mut parts = scope.splitn(3, ':');
    let (kind, name) = (parts.next()?, parts.next()?);
    let project = name.split('/').next().unwrap_or_default();
    let known = store.database == Reachable::Up && store.projects.contains_key(project);
    let may = |permission| known && caller.may(store, project, permission);
    let actions = [(Permission::Pull, "pull"), (Permission::Push, "push")];
    let actions: Vec<&str> =
        actions.into_iter().filter(|(permission, _)| may(*permission)).map(|(_, action)| action).collect();
    Some(json!({"type": kind, "name": name, "actions": actions}))
}
