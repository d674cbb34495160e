//! Unknown: why a question to a registry has no answer. It is never treated as absence.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::finding::FindingKind;

/// Why a question has no answer: one closed cause, and the detail for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unknown {
    /// The cause.
    pub cause: Cause,
    /// What was seen, in words, without secrets: the status, the TLS error, the challenge.
    pub detail: Arc<str>,
}

impl Unknown {
    /// A cause with what was seen.
    pub fn new(cause: Cause, detail: impl Into<Arc<str>>) -> Self {
        Self { cause, detail: detail.into() }
    }
}

impl fmt::Display for Unknown {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.detail)
    }
}

/// The closed list of causes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// Nothing listens, the name does not resolve, there is no route.
    Connect,
    /// The TLS handshake failed: unknown authority, expired, wrong name, not TLS at all.
    Tls,
    /// The connection broke in the middle of an answer, or the answer was cut short.
    Broken,
    /// A 5xx.
    ServerError,
    /// A 503 that says when to come back. It is down all the same: nodes are sent away, too.
    Unavailable {
        /// `Retry-After`.
        retry_after: Duration,
    },
    /// An answer that no registry gives: HTML, an undocumented status, a malformed body.
    NotRegistry,
    /// The registry answered with another digest than its content has, or than was asked.
    WrongDigest,
    /// The answer is larger than we read.
    TooLarge,
    /// Too many redirects, or one we do not follow.
    Redirect,
    /// The breaker is open: it failed a moment ago.
    BreakerOpen,
    /// `drain: true`.
    Drained,
    /// Our credentials are missing or wrong (401).
    Unauthorized,
    /// Our credentials are right, but do not allow this (403).
    Forbidden,
    /// 429, with the registry's wish when to come back.
    RateLimited {
        /// `Retry-After`.
        retry_after: Option<Duration>,
    },
    /// Our own budget for this registry, `requestsPerHour`, is spent.
    Spent {
        /// How long until the next request.
        retry_after: Duration,
    },
    /// No answer within the time we had.
    Deadline,
    /// Our own queue for this registry is full.
    Overloaded,
    /// Our own look-up ended without an answer, as at shutdown. It says nothing of the registry.
    Internal,
}

/// What a registry's silence means for pulling from it: does a remembered answer still count?
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Silence {
    /// Slow or overloaded: nodes can pull, so what we knew still counts.
    Slow,
    /// Down or refusing: nodes could not pull either.
    Down,
}

impl Cause {
    /// The finding that it makes.
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

    /// Slow, or down?
    #[must_use]
    pub fn silence(self) -> Silence {
        match self.finding() {
            FindingKind::Deadline | FindingKind::RateLimited => Silence::Slow,
            _ => Silence::Down,
        }
    }
}
