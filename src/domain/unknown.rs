//! Unknown: why a question to a registry has no answer. It is never treated as absent.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::finding::FindingKind;

/// Why a question has no answer: the cause, and the details for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unknown {
    /// The cause, from a closed list.
    pub cause: Cause,
    /// What was seen, without secrets: the status, the TLS error, the challenge.
    pub detail: Arc<str>,
}

impl Unknown {
    /// Combines a cause with what was seen.
    pub fn new(cause: Cause, detail: impl Into<Arc<str>>) -> Self {
        Self { cause, detail: detail.into() }
    }
}

impl fmt::Display for Unknown {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.detail)
    }
}

/// The closed list of causes of an [`Unknown`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// Nothing listens, the name does not resolve, there is no route.
    Connect,
    /// The TLS handshake failed: unknown authority, expired certificate, wrong name, or no TLS at all.
    Tls,
    /// The connection broke in the middle of an answer, or the answer was cut short.
    Broken,
    /// The registry answered with a 5xx status.
    ServerError,
    /// The registry answered 503 with `Retry-After`. It counts as down, because nodes get the same answer.
    Unavailable {
        /// The value of `Retry-After`.
        retry_after: Duration,
    },
    /// The answer cannot come from a registry: HTML, an undocumented status, a malformed body.
    NotRegistry,
    /// The registry answered with a digest that differs from its content or from the question.
    WrongDigest,
    /// The answer is larger than the limit.
    TooLarge,
    /// There were too many redirects, or one that is not followed.
    Redirect,
    /// The breaker is open, because the registry failed a moment ago.
    BreakerOpen,
    /// The configuration says `drain: true` for the registry.
    Drained,
    /// Our credentials are missing or wrong (401).
    Unauthorized,
    /// Our credentials are right, but do not allow this (403).
    Forbidden,
    /// The registry answered 429.
    RateLimited {
        /// The value of `Retry-After`, where the registry sent it.
        retry_after: Option<Duration>,
    },
    /// Our own quota for this registry, `requestsPerHour`, is used up.
    Spent {
        /// How long until the next request.
        retry_after: Duration,
    },
    /// There was no answer before the deadline.
    Deadline,
    /// Our own queue for this registry is full.
    Overloaded,
    /// Our own look-up ended without an answer, for example at shutdown. This says nothing about the registry.
    Internal,
}

/// Whether nodes can pull from a registry that does not answer, so that a remembered answer still counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Silence {
    /// The registry is slow or overloaded. Nodes can pull, so a remembered answer still counts.
    Slow,
    /// The registry is down or refuses. Nodes cannot pull either.
    Down,
}

impl Cause {
    /// Returns the finding for this cause.
    #[must_use]
    pub fn finding(self) -> FindingKind {
        match self {
            Self::Unauthorized | Self::Forbidden => FindingKind::Unauthorized,
            Self::RateLimited { .. } | Self::Spent { .. } => FindingKind::RateLimited,
            Self::Deadline | Self::Overloaded | Self::Internal => FindingKind::Deadline,
            Self::Connect
            | Self::Tls
            | Self::Broken
            | Self::ServerError
            | Self::Unavailable { .. }
            | Self::NotRegistry
            | Self::WrongDigest
            | Self::TooLarge
            | Self::Redirect
            | Self::BreakerOpen
            | Self::Drained => FindingKind::Unreachable,
        }
    }

    /// Returns whether this cause means that the registry is slow or down.
    #[must_use]
    pub fn silence(self) -> Silence {
        match self.finding() {
            FindingKind::Deadline | FindingKind::RateLimited => Silence::Slow,
            _ => Silence::Down,
        }
    }
}
