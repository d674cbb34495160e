//! Requests and answers as the services see them: parsed once, with their whole bodies in memory.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use serde_json::{Value, json};

use super::object::Object;
use crate::domain::digest::Digest;

/// An answer with its whole body.
pub(super) type Answer = Response<Bytes>;

/// A request with its whole body.
pub(super) struct Ask {
    pub method: Method,
    /// The path as sent, still escaped.
    pub path: String,
    pub query: Vec<(String, String)>,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// The body of a part of an upload, and its digest, instead.
    pub spooled: Option<(Object, Digest)>,
}

/// The content of an `Authorization` header.
pub(super) enum Presented {
    Nothing,
    Basic { user: String, password: String },
    Bearer(String),
    Unreadable,
}

impl Ask {
    /// The first value of a query parameter.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The page of a list that the query asks for, as Harbor's API reads it: of ten, unless it says otherwise.
    pub fn page<'a, T>(&self, found: &'a [T]) -> impl Iterator<Item = &'a T> + use<'a, T> {
        let number = |name: &str, default: usize| {
            let value = self.parameter(name).and_then(|value| value.parse().ok());
            value.filter(|value| *value > 0).unwrap_or(default)
        };
        let (page, size) = (number("page", 1), number("page_size", 10));
        found.iter().skip((page - 1).saturating_mul(size)).take(size)
    }

    /// A header as text.
    pub fn header(&self, name: impl http::header::AsHeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// All values of `Accept`, split at commas, without parameters.
    pub fn accepts(&self) -> Vec<&str> {
        self.headers
            .get_all(http::header::ACCEPT)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .map(|value| value.split(';').next().unwrap_or_default().trim())
            .filter(|value| !value.is_empty())
            .collect()
    }

    /// The credentials of the request. The scheme is compared without regard to case, as Harbor does.
    pub fn presented(&self) -> Presented {
        let Some(value) = self.headers.get(AUTHORIZATION) else { return Presented::Nothing };
        let Some((scheme, rest)) = value.to_str().ok().and_then(|value| value.split_once(' ')) else {
            return Presented::Unreadable;
        };
        if scheme.eq_ignore_ascii_case("bearer") {
            return Presented::Bearer(rest.trim().into());
        }
        if !scheme.eq_ignore_ascii_case("basic") {
            return Presented::Unreadable;
        }
        let decoded = STANDARD.decode(rest.trim()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        match decoded.as_deref().and_then(|pair| pair.split_once(':')) {
            Some((user, password)) => Presented::Basic { user: user.into(), password: password.into() },
            None => Presented::Unreadable,
        }
    }
}

/// An answer without body.
pub(super) fn empty(status: StatusCode) -> Answer {
    let mut answer = Response::new(Bytes::new());
    *answer.status_mut() = status;
    answer
}

/// An answer with a body.
pub(super) fn body(status: StatusCode, media_type: &'static str, bytes: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(bytes.into());
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    answer
}

/// 200 with a JSON body, as in Harbor's API.
pub(super) fn json(value: &Value) -> Answer {
    body(StatusCode::OK, "application/json", value.to_string())
}

/// An error in the envelope that distribution and Harbor share.
pub(super) fn error(status: StatusCode, code: &str, message: &str) -> Answer {
    errors(status, &json!({"errors": [{"code": code, "message": message}]}))
}

/// The 401 of Harbor's API.
pub(super) fn unauthorized() -> Answer {
    error(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", "unauthorized")
}

/// The 404 of Harbor's router.
pub(super) fn no_such_path(path: &str) -> Answer {
    error(StatusCode::NOT_FOUND, "NOT_FOUND", &format!("path {path} was not found"))
}

/// Errors in their envelope.
pub(super) fn errors(status: StatusCode, envelope: &Value) -> Answer {
    body(status, "application/json; charset=utf-8", envelope.to_string())
}

/// The answer with another header. An invalid header value is left out.
pub(super) fn with(mut answer: Answer, name: HeaderName, value: &str) -> Answer {
    if let Ok(value) = HeaderValue::from_str(value) {
        answer.headers_mut().insert(name, value);
    }
    answer
}

/// Adds the header that every answer of a distribution registry has.
pub(super) fn of_distribution(answer: Answer) -> Answer {
    with(answer, HeaderName::from_static("docker-distribution-api-version"), "registry/2.0")
}

/// Percent-decodes once. Anything that is not an escape stays.
pub(super) fn unescape(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let escaped = (byte == b'%')
            .then(|| text.get(at + 1..at + 3).and_then(|hex| u8::from_str_radix(hex, 16).ok()))
            .flatten();
        out.push(escaped.unwrap_or(byte));
        at += if escaped.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&out).into_owned()
}
