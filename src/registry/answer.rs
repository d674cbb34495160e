//! An answer: its content, its error message, and the cause of an unexpected status.

use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http::header::{CONTENT_TYPE, DATE, HeaderMap, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use jiff::Timestamp;
use jiff::fmt::rfc2822;
use serde::Deserialize;

use crate::domain::unknown::{Cause, Unknown};

use super::challenge::{Challenge, Scheme, challenges};
use super::json::{Object, object};

/// The most characters of a registry's message that are passed on.
const MESSAGE_LIMIT: usize = 300;

/// An answer, whatever its status.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body. Of an error at most the first 64 KiB.
    pub body: Bytes,
    /// How the server wants us to authenticate. Empty if it sent no challenge that can be parsed.
    pub challenges: Vec<Challenge>,
    /// The kind of credentials that we had sent.
    pub sent: Sent,
    /// Whose answer it is.
    pub by: By,
}

/// Whose answer it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// The registry's own.
    Registry,
    /// That of another host, to which the registry redirected: its storage.
    Other,
}

/// The kind of credentials of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// None: we have no credentials, or not the kind that the registry asks for.
    Nothing,
    /// User name and password.
    Basic,
    /// A token.
    Bearer,
}

impl Answer {
    /// The cause of an unexpected status, with the registry's message.
    #[must_use]
    pub fn unexpected(&self) -> Unknown {
        unexpected(self.status, &self.headers, &self.body)
    }

    /// The first error message of the body, in the format of registries and Harbor. Empty if there is none.
    #[must_use]
    pub fn message(&self) -> String {
        message(&self.body)
    }

    /// The code of that error, such as `DENIED`. Empty if there is none.
    #[must_use]
    pub fn code(&self) -> String {
        first_error(&self.body).and_then(|Entry { code, .. }| code).unwrap_or_default()
    }

    /// The media type of `Content-Type` without its parameters. `None`: the header is missing or empty.
    #[must_use]
    pub fn content_type(&self) -> Option<&str> {
        let value = self.headers.get(CONTENT_TYPE)?.to_str().ok()?;
        value.split(';').next().map(str::trim).filter(|kind| !kind.is_empty())
    }
}

/// The challenges in these headers.
pub(super) fn offered(headers: &HeaderMap) -> Vec<Challenge> {
    challenges(headers.get_all(WWW_AUTHENTICATE).iter().map(HeaderValue::as_bytes))
}

/// See [`Answer::unexpected`].
pub(super) fn unexpected(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Unknown {
    let cause = match status.as_u16() {
        401 => Cause::Unauthorized,
        // 412 and 451: it exists, but we may not have it. `manifest` reads the 412 of a manifest before.
        403 | 412 | 451 => Cause::Forbidden,
        429 => Cause::RateLimited { retry_after: retry_after(headers) },
        // A 503 may have `Retry-After`, too (RFC 9110, and the distribution specification).
        503 => match retry_after(headers) {
            Some(retry_after) => Cause::Unavailable { retry_after },
            None => Cause::ServerError,
        },
        300..=399 => Cause::Redirect,
        500.. => Cause::ServerError,
        _ => Cause::NotRegistry,
    };
    let mut detail = status.to_string();
    if status == StatusCode::UNAUTHORIZED {
        detail.push_str(&asking(&offered(headers)));
    }
    let message = message(body);
    if !message.is_empty() {
        detail.push_str(": ");
        detail.push_str(&message);
    }
    Unknown::new(cause, detail)
}

/// A 401 that our credentials could not prevent.
pub(super) fn unauthorized(challenges: &[Challenge], sent: Sent) -> Unknown {
    let sent = match sent {
        Sent::Nothing => "no credentials were sent",
        Sent::Basic => "user name and password were rejected",
        Sent::Bearer => "the token was rejected",
    };
    Unknown::new(Cause::Unauthorized, format!("401 Unauthorized{}; {sent}", asking(challenges)))
}

fn asking(challenges: &[Challenge]) -> String {
    let schemes: Vec<_> = challenges
        .iter()
        .map(|challenge| match &challenge.scheme {
            Scheme::Basic => "Basic",
            Scheme::Bearer => "Bearer",
            Scheme::Other(other) => other,
        })
        .collect();
    if schemes.is_empty() {
        " with no challenge".into()
    } else {
        format!(" asking for {}", schemes.join(", "))
    }
}

/// `Retry-After`: seconds or a date. A date is compared with the server's own clock, if the answer has a `Date`.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let date = |value: &str| rfc2822::DateTimeParser::new().parse_timestamp(value).ok();
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let value = text(RETRY_AFTER)?.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let now = text(DATE).and_then(date).unwrap_or_else(Timestamp::now);
    Some(Duration::try_from(date(value)?.duration_since(now)).unwrap_or_default())
}

/// The first message of `{"errors":[{"code":…,"message":…}]}`, the format of distribution and Harbor.
pub(super) fn message(body: &[u8]) -> String {
    let Some(Entry { code, message }) = first_error(body) else { return String::new() };
    let words = message.filter(|message| !message.is_empty()).or(code).unwrap_or_default();
    words.chars().filter(|letter| !letter.is_control()).take(MESSAGE_LIMIT).collect()
}

#[derive(Deserialize)]
struct Entry {
    code: Option<String>,
    message: Option<String>,
}

fn first_error(body: &[u8]) -> Option<Entry> {
    #[derive(Deserialize)]
    struct Errors {
        errors: Vec<Object<Entry>>,
    }
    let first = object::<Errors>(body).ok()?.errors.into_iter().next();
    first.map(|Object(entry)| entry)
}
