//! What Harbor's answers have in common: the error envelope, and bodies that are not what they should be.

use std::borrow::Cow;

use serde::Deserialize;

use crate::domain::evidence::{Cause, Unknown};
use crate::registry::{Object, object};

/// A body that is not what was asked for.
#[derive(Debug, thiserror::Error)]
pub enum Malformed {
    /// Not the JSON that Harbor documents.
    #[error("the {what} is not the JSON that Harbor documents")]
    Json {
        /// What was asked for.
        what: &'static str,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// JSON without the field that makes it one.
    #[error("the {what} has no `{field}`: this is not Harbor's answer")]
    Field {
        /// What was asked for.
        what: &'static str,
        /// What is missing.
        field: &'static str,
    },
    /// Another artifact than the one that was asked for.
    #[error("Harbor answered with the artifact {found}")]
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
    /// For people; Harbor masks what a 500 was about.
    #[serde(borrow, default)]
    pub message: Cow<'a, str>,
}

/// What a 404 of the API means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotFound {
    /// Harbor has no such artifact, repository or project.
    Absent,
    /// The repository did not arrive as it was sent: something between us and Harbor decodes, collapses or encodes
    /// `%252F`. This says nothing of the artifact.
    Mangled,
    /// Not Harbor's envelope: somebody else answered.
    NotHarbor,
}

/// Reads the error envelope; `None` where the body is none (HTML, empty, truncated).
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
        // Decoded once too often, the router finds no route: "path /api/… was not found". Once too little, the name
        // that is looked up holds an escape, which no name can: "artifact priv/team%2Fapp@… not found".
        // A real absence reads "artifact …", "repository …" or "project … not found".
        Some(fault) if fault.message.split(' ').next() == Some("path") || fault.message.contains('%') => {
            NotFound::Mangled
        }
        Some(_) => NotFound::Absent,
    }
}

#[cfg(test)]
mod tests;
