//! The embedded Harbor. To a reading client it answers as a real Harbor 2.15.2 behind its nginx: `tests/world.rs` replays
//! the recordings.

pub(super) mod access;
mod api;
mod artifact;
mod gate;
mod replication;
pub(super) mod token;
mod v2;
mod webhook;

use std::sync::{Mutex, MutexGuard, PoisonError};

use http::header::{CONTENT_TYPE, ETAG};
use http::{Method, StatusCode};

use super::accounts::Caller;
use super::distribution::CONTENT_DIGEST;
use super::message::{Answer, Ask, body, error, with};
use super::store::{Store, Upstream};
use access::Attempt;

/// An answer, or the upstream that must be asked first.
enum Step {
    Done(Answer),
    /// A proxy-cache project does not hold it, or was asked for a tag. `local` is the answer if the upstream fails.
    AskUpstream {
        upstream: Upstream,
        repository: String,
        reference: String,
        local: Answer,
    },
}

/// Answers one request. `url` is the Harbor's own address, `user` is set to the account that was recognised.
pub(super) async fn answer(store: &Mutex<Store>, url: &str, ask: &Ask, user: &mut Option<String>) -> Answer {
    let (caller, attempt, delay) = {
        let store = lock(store);
        let (caller, attempt) = access::recognise(&store, ask);
        (caller, attempt, store.wrong_password_delay)
    };
    if attempt == Attempt::Wrong && !delay.is_zero() {
        tokio::time::sleep(delay).await;
    }
    *user = caller.name().map(str::to_owned);
    let step = route(&mut lock(store), &caller, url, ask);
    match step {
        Step::Done(answer) => answer,
        Step::AskUpstream { upstream, repository, reference, local } => {
            ask_upstream(&upstream, ask, &repository, &reference, local).await
        }
    }
}

fn route(store: &mut Store, caller: &Caller, url: &str, ask: &Ask) -> Step {
    let first = ask.path.split('/').nth(1);
    match first {
        Some("v2") => v2::answer(store, caller, url, ask),
        Some("service") => Step::Done(token::answer(store, caller, ask)),
        Some("api") => Step::Done(api::answer(store, caller, url, ask)),
        _ => Step::Done(body(StatusCode::OK, "text/html", "<!doctype html><title>Harbor</title>\n")),
    }
}

/// `HEAD` and `GET` of what a proxy-cache project does not hold go to its upstream (src/server/middleware/repoproxy).
///
/// The result is *not* cached here. A real Harbor caches it about 20 s later; a story pushes it if it needs it.
async fn ask_upstream(up: &Upstream, ask: &Ask, repository: &str, reference: &str, local: Answer) -> Answer {
    let inside = repository.split_once('/').map_or(repository, |(_, inside)| inside);
    let asked = up
        .client
        .request(ask.method.clone(), format!("{}/v2/{inside}/manifests/{reference}", up.url))
        .basic_auth(&up.user, Some(&up.password))
        .header(http::header::ACCEPT, ask.accepts().join(", "))
        .send()
        .await;
    let Ok(answer) = asked else { return local };
    match answer.status() {
        StatusCode::OK => {}
        StatusCode::NOT_FOUND => {
            let message = format!("resource not found: repo {repository}, tag  not found");
            return error(StatusCode::NOT_FOUND, "NOT_FOUND", &message);
        }
        _ => return local,
    }
    let header = |name| answer.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let (media_type, digest) = (header(CONTENT_TYPE), header(CONTENT_DIGEST));
    let length = answer.content_length();
    let Ok(bytes) = answer.bytes().await else { return local };
    let mut proxied = body(StatusCode::OK, "application/json", bytes);
    if ask.method == Method::HEAD {
        let length = length.unwrap_or_default().to_string();
        proxied = with(proxied, http::header::CONTENT_LENGTH, &length);
    }
    let digest = digest.unwrap_or_default();
    let proxied = with(proxied, CONTENT_TYPE, &media_type.unwrap_or_default());
    with(with(proxied, CONTENT_DIGEST, &digest), ETAG, &digest)
}

fn lock(store: &Mutex<Store>) -> MutexGuard<'_, Store> {
    store.lock().unwrap_or_else(PoisonError::into_inner)
}
