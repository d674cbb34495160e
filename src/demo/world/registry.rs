//! A plain distribution registry, with the kinds of login that such registries have.

use std::time::Duration;

use http::header::{ALLOW, WWW_AUTHENTICATE};
use http::{Method, StatusCode};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::distribution::{self, Target};
use super::message::{Answer, Ask, Presented, body, empty, error, json, of_distribution, with};
use super::push;
use super::pushes::Writes;
use super::store::{Store, Stored};
use super::tokens::PlainToken;
use crate::domain::digest::Digest;

/// How clients log in to a plain registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Login {
    /// They do not.
    Open,
    /// With Basic authentication, this user and password.
    Basic {
        /// The user.
        user: String,
        /// The password.
        password: String,
    },
    /// With bearer tokens of its own token endpoint, each valid for the requested scopes.
    Bearer {
        /// The user.
        user: String,
        /// The password.
        password: String,
        /// A refresh token that `POST` accepts instead; without one, `POST` is answered 405.
        identity_token: Option<String>,
        /// How long a token is valid.
        lifetime: Duration,
        /// The form of the endpoint's answer.
        answer: TokenAnswer,
    },
}

/// The forms of a token endpoint's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenAnswer {
    /// `token` and `access_token`, both filled.
    Both,
    /// `token` filled, `access_token` present and empty (as Harbor's).
    EmptyAccessToken,
    /// `access_token` only (OAuth 2, as ACR's).
    AccessTokenOnly,
    /// `token` without `expires_in`, which means 60 seconds.
    WithoutExpiry,
}

impl Login {
    /// Bearer with `user` and `password`, tokens of five minutes, no identity token.
    #[must_use]
    pub fn bearer(user: &str, password: &str) -> Self {
        Self::Bearer {
            user: user.into(),
            password: password.into(),
            identity_token: None,
            lifetime: Duration::from_mins(5),
            answer: TokenAnswer::Both,
        }
    }

    /// Basic with `user` and `password`.
    #[must_use]
    pub fn basic(user: &str, password: &str) -> Self {
        Self::Basic { user: user.into(), password: password.into() }
    }

    /// User and password, if the login has them.
    pub(super) fn credentials(&self) -> Option<(&str, &str)> {
        match self {
            Self::Open => None,
            Self::Basic { user, password } | Self::Bearer { user, password, .. } => Some((user, password)),
        }
    }
}

/// Answers one request. `url` is the registry's own address, `user` is set to the user that was recognised.
pub(super) fn answer(
    store: &mut Store,
    login: &Login,
    url: &str,
    ask: &Ask,
    user: &mut Option<String>,
) -> Answer {
    if ask.path == "/token" {
        return token(store, login, ask, user);
    }
    let target = Target::of(&ask.path);
    if let Some(challenge) = challenge(store, login, url, ask, &target, user) {
        let answer = error(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", "authentication required");
        return of_distribution(with(answer, WWW_AUTHENTICATE, &challenge));
    }
    let writes = ask.method != Method::GET && ask.method != Method::HEAD;
    if writes && store.pushes.writes == Writes::Accepted && target.repository().is_some() {
        return push::answer(store, url, ask, &target, |_, _| true);
    }
    if writes {
        return of_distribution(with(empty(StatusCode::METHOD_NOT_ALLOWED), ALLOW, "GET, HEAD"));
    }
    match target {
        Target::Root => of_distribution(body(StatusCode::OK, "application/json; charset=utf-8", "{}")),
        Target::Manifest { repository, reference } => manifest(store, ask, repository, reference),
        Target::Blob { repository, digest } => distribution::blob(store, ask, repository, digest),
        Target::Tags { repository } => match store.repositories.get(repository) {
            Some(found) => of_distribution(distribution::tags(repository, found)),
            None => of_distribution(error(
                StatusCode::NOT_FOUND,
                "NAME_UNKNOWN",
                "repository name not known to registry",
            )),
        },
        Target::Referrers { repository, subject } => push::referrers(store, repository, subject),
        Target::Uploads { .. } | Target::Unknown => {
            body(StatusCode::NOT_FOUND, "text/plain; charset=utf-8", "404 page not found\n")
        }
    }
}

fn manifest(store: &mut Store, ask: &Ask, repository: &str, reference: &str) -> Answer {
    let by_tag = reference.parse::<Digest>().is_err();
    let Some((digest, artifact)) = store.find(repository, reference) else {
        return distribution::manifest_unknown(repository, reference);
    };
    match artifact.stored {
        Stored::Intact => distribution::manifest(ask, &digest, &artifact.content),
        Stored::NotYetPulled if by_tag => {
            let answer = distribution::manifest(ask, &digest, &artifact.content);
            if ask.method == Method::GET {
                store.restore(repository, &digest);
            }
            answer
        }
        Stored::NotYetPulled | Stored::Lost => distribution::manifest_unknown(repository, reference),
    }
}

/// The challenge for this request, or `None` if it is authorised.
fn challenge(
    store: &Store,
    login: &Login,
    url: &str,
    ask: &Ask,
    target: &Target<'_>,
    recognised: &mut Option<String>,
) -> Option<String> {
    match login {
        Login::Open => None,
        Login::Basic { user, password } => match ask.presented() {
            Presented::Basic { user: name, password: secret } if name == *user && secret == *password => {
                *recognised = Some(name);
                None
            }
            _ => Some("Basic realm=\"registry\"".into()),
        },
        Login::Bearer { user, .. } => {
            let actions = if matches!(ask.method, Method::GET | Method::HEAD) { "pull" } else { "pull,push" };
            let scope = target.repository().map(|repository| format!("repository:{repository}:{actions}"));
            // What is mounted must be readable where it is.
            let from = ask.parameter("from").map(|from| format!("repository:{from}:pull"));
            let scopes: Vec<&String> = scope.iter().chain(&from).collect();
            let needed = scopes.iter().map(|scope| scope.as_str()).collect::<Vec<_>>().join(" ");
            let problem = match ask.presented() {
                Presented::Bearer(token) => match store.plain_tokens.given.get(&token) {
                    None => Some("invalid_token"),
                    Some(token) if token.until <= Timestamp::now() => Some("invalid_token"),
                    Some(token) if !scopes.iter().all(|scope| covers(&token.scopes, scope)) => {
                        Some("insufficient_scope")
                    }
                    Some(_) => {
                        *recognised = Some(user.clone());
                        return None;
                    }
                },
                _ => None,
            };
            let mut challenge = format!("Bearer realm=\"{url}/token\",service=\"landfall-world\"");
            for (name, value) in
                [("scope", Some(&*needed).filter(|needed| !needed.is_empty())), ("error", problem)]
            {
                if let Some(value) = value {
                    challenge.push_str(&format!(",{name}=\"{value}\""));
                }
            }
            Some(challenge)
        }
    }
}

/// Whether a token for these scopes allows this.
fn covers(scopes: &[String], needed: &str) -> bool {
    let parts =
        |scope: &str| scope.rsplit_once(':').map(|(what, actions)| (what.to_owned(), actions.to_owned()));
    let Some((what, actions)) = parts(needed) else { return false };
    let given = scopes.iter().filter_map(|scope| parts(scope)).filter(|(other, _)| *other == what);
    let given: Vec<String> = given.map(|(_, actions)| actions).collect();
    actions.split(',').all(|action| given.iter().any(|given| given.split(',').any(|one| one == action)))
}

/// `GET` with Basic, or `POST` with a refresh token (distribution's `docs/spec/auth/{token,oauth}.md`).
fn token(store: &mut Store, login: &Login, ask: &Ask, recognised: &mut Option<String>) -> Answer {
    let Login::Bearer { user, password, identity_token, lifetime, answer } = login else {
        return body(StatusCode::NOT_FOUND, "text/plain; charset=utf-8", "404 page not found\n");
    };
    let form: Vec<(String, String)> = url::form_urlencoded::parse(&ask.body).into_owned().collect();
    let asked = if ask.method == Method::POST { &form } else { &ask.query };
    let value = |name: &str| asked.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    let welcome = if ask.method == Method::POST {
        let Some(identity_token) = identity_token else {
            return with(empty(StatusCode::METHOD_NOT_ALLOWED), ALLOW, "GET");
        };
        value("grant_type") == Some("refresh_token")
            && value("refresh_token") == Some(identity_token.as_str())
    } else {
        matches!(ask.presented(), Presented::Basic { user: name, password: secret } if name == *user && secret == *password)
    };
    if !welcome {
        return error(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", "authentication required");
    }
    *recognised = Some(user.clone());
    let scopes: Vec<String> = asked
        .iter()
        .filter(|(key, _)| key == "scope")
        .flat_map(|(_, value)| value.split(' '))
        .map(str::to_owned)
        .collect();
    let now = Timestamp::now();
    let until = now.checked_add(*lifetime).unwrap_or(Timestamp::MAX);
    let name =
        format!("token-{}-{}", store.plain_tokens.given.len(), super::content::sha256(ask.path.as_bytes()));
    store.plain_tokens.given.insert(name.clone(), PlainToken { scopes, until });
    let mut fields = Map::new();
    let (token, access_token) = match answer {
        TokenAnswer::Both => (Some(name.as_str()), Some(name.as_str())),
        TokenAnswer::EmptyAccessToken => (Some(name.as_str()), Some("")),
        TokenAnswer::AccessTokenOnly => (None, Some(name.as_str())),
        TokenAnswer::WithoutExpiry => (Some(name.as_str()), None),
    };
    fields.extend(token.map(|token| ("token".into(), token.into())));
    fields.extend(access_token.map(|token| ("access_token".into(), token.into())));
    if *answer != TokenAnswer::WithoutExpiry {
        fields.insert("expires_in".into(), lifetime.as_secs().into());
        fields.insert("issued_at".into(), json!(now.to_string()));
    }
    json(&Value::Object(fields))
}
