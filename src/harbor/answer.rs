//! What Harbor's answers have in common: the error format, and bodies that are not what was asked for.

use std::borrow::Cow;

use serde::Deserialize;

use crate::domain::unknown::{Cause, Unknown};
use crate::registry::{Object, object};

/// A body that is not what was asked for.
#[derive(Debug, thiserror::Error)]
pub enum Malformed {
    /// It is not the JSON that Harbor documents.
    #[error("the {what} is not the JSON that Harbor documents")]
    Json {
        /// What was asked for.
        what: &'static str,
        /// The parser's error.
        #[source]
        source: serde_json::Error,
    },
    /// JSON, but a field is missing that each answer of Harbor has.
    #[error("the {what} has no `{field}`: what answers is not Harbor")]
    Field {
        /// What was asked for.
        what: &'static str,
        /// What is missing.
        field: &'static str,
    },
    /// It is another artifact than the one that was asked for.
    #[error("Harbor answered with another artifact, {found}")]
    OtherDigest {
        /// Its digest.
        found: Box<str>,
    },
}

impl Malformed {
    pub(super) fn json(what: &'static str, source: serde_json::Error) -> Self {
        Self::Json { what, source }
    }
}

impl From<Malformed> for Unknown {
    fn from(malformed: Malformed) -> Self {
        let (cause, detail) = match &malformed {
            Malformed::Json { source, .. } => (Cause::NotRegistry, format!("{malformed}: {source}")),
            Malformed::Field { .. } => (Cause::NotRegistry, malformed.to_string()),
            Malformed::OtherDigest { .. } => (Cause::WrongDigest, malformed.to_string()),
        };
        Self::new(cause, detail)
    }
}

/// The first entry of Harbor's `{"errors":[{code,message}]}`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Fault<'a> {
    /// `NOT_FOUND`, `FORBIDDEN`, `UNKNOWN` …
    #[serde(borrow)]
    pub code: Cow<'a, str>,
    /// For people. Harbor hides the cause of a 500.
    #[serde(borrow, default)]
    pub message: Cow<'a, str>,
}

/// What a 404 of the API means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotFound {
    /// Harbor has no such artifact, repository or project.
    Absent,
    /// The path did not arrive as it was sent: a proxy in front of Harbor decodes, collapses or encodes `%252F`. The
    /// artifact may exist.
    Mangled,
    /// It is not Harbor's error format: something else answered.
    NotHarbor,
}

/// Reads the error format. `None`: the body is something else, such as HTML.
#[must_use]
pub fn fault(body: &[u8]) -> Option<Fault<'_>> {
    #[derive(Deserialize)]
    struct Envelope<'a> {
        #[serde(borrow)]
        errors: Vec<Object<Fault<'a>>>,
    }
    object::<Envelope<'_>>(body).ok()?.errors.into_iter().next().map(|Object(fault)| fault)
}

/// Tells the three kinds of 404 apart.
#[must_use]
pub fn not_found(body: &[u8]) -> NotFound {
    match fault(body) {
        None => NotFound::NotHarbor,
        // If `%252F` was decoded once too often, the router finds no route: "path /api/… was not found". If it was
        // decoded once too little, the message has an escape, which no name can have: "artifact priv/team%2Fapp@… not
        // found". The message of a real absence begins with "artifact", "repository" or "project".
        Some(fault) if fault.message.split(' ').next() == Some("path") || fault.message.contains('%') => {
            NotFound::Mangled
        }
        Some(_) => NotFound::Absent,
    }
}

#[cfg(test)]
mod tests;
