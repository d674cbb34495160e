//! Why something could not be copied, and what to do about it.

use std::fmt;
use std::time::Duration;

use http::StatusCode;
use serde::Serialize;

use crate::domain::name::RegistryName;
use crate::domain::unknown::{Cause, Unknown};
use crate::registry::Answer;

/// At which end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Side {
    /// Where it is read.
    Source,
    /// Where it is written.
    Target,
}

/// What went wrong. As JSON and for scripts, its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, strum::Display)]
pub enum Kind {
    /// The source does not have the image.
    NotFound,
    /// The source has the image, and not all of its parts.
    Incomplete,
    /// What a registry sends or says does not have the digest that it must have.
    WrongDigest,
    /// The target has taken it, and does not serve it.
    NotServed,
    /// The quota of the target's project is used up.
    Quota,
    /// The target's tag is immutable.
    Immutable,
    /// The target takes no pushes now.
    ReadOnly,
    /// The credentials do not allow it.
    Denied,
    /// The target's tag names another digest.
    TagTaken,
    /// The target does not take an index without all of its children.
    PartialIndex,
    /// The registry refuses what it is asked.
    Refused,
    /// The registry asks for a longer pause than is waited for, or for too many.
    RateLimited,
    /// The registry cannot be reached, or does not answer.
    Unreachable,
    /// More than is copied.
    TooLarge,
}

/// Why something could not be copied.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    /// What went wrong.
    pub kind: Kind,
    /// At which end.
    pub side: Side,
    /// At which registry.
    pub registry: RegistryName,
    /// What was seen.
    pub detail: String,
    /// Whether it may go well a moment later.
    #[serde(skip)]
    pub again: Again,
}

/// Whether a request may go well a moment later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Again {
    /// Not by itself.
    No,
    /// After a pause; of this length if the registry said so.
    After(Option<Duration>),
}

impl Failure {
    /// What a person can do about it.
    #[must_use]
    pub fn advice(&self) -> String {
        let registry = &self.registry;
        match self.kind {
            Kind::NotFound => "name an image that is there, or another Place that holds it by --from".into(),
            Kind::Incomplete => "name another Place that holds it by --from, or push the image again".into(),
            Kind::WrongDigest => format!(
                "the storage of `{registry}`, or something between, changes what it holds: do not trust it before that is found"
            ),
            Kind::NotServed => format!("look at the storage and the caches of `{registry}`, then run it again"),
            Kind::Quota => format!("raise the quota of the project at `{registry}`, or remove what nobody uses there"),
            Kind::Immutable => "a rule of the project keeps its tags: copy the image by its digest, or change the rule".into(),
            Kind::ReadOnly => format!("`{registry}` takes no pushes, such as during maintenance: run it again later"),
            Kind::Denied => match self.side {
                Side::Source => format!("`registries.{registry}.credentials` must allow to pull it"),
                Side::Target => format!(
                    "`registries.{registry}.copy.credentials` must allow to pull and to push there (repository:pull, repository:push), and a Harbor must have the project"
                ),
            },
            Kind::TagTaken => "the image is there under its digest; --move-tag moves the tag".into(),
            Kind::PartialIndex => "nodes can pull these platforms by their own digests only; copy all platforms, without --platform, for the index".into(),
            Kind::Refused => "the registry says why".into(),
            Kind::RateLimited => "run it again later: what is there is not copied twice".into(),
            Kind::Unreachable => "run it again when it answers: what is there is not copied twice".into(),
            Kind::TooLarge => "no node would pull such an image".into(),
        }
    }

    /// A question that has no answer.
    pub(super) fn unknown(side: Side, registry: &RegistryName, what: &str, unknown: &Unknown) -> Self {
        let Unknown { cause, detail } = unknown;
        let (kind, again) = match cause {
            Cause::Connect | Cause::Broken | Cause::ServerError | Cause::Deadline | Cause::Overloaded => {
                (Kind::Unreachable, Again::After(None))
            }
            Cause::Unavailable { retry_after } => (Kind::Unreachable, Again::After(Some(*retry_after))),
            Cause::RateLimited { retry_after } => (Kind::RateLimited, Again::After(*retry_after)),
            Cause::Spent { retry_after } => (Kind::RateLimited, Again::After(Some(*retry_after))),
            Cause::Tls | Cause::Drained | Cause::BreakerOpen | Cause::Internal => {
                (Kind::Unreachable, Again::No)
            }
            Cause::NotRegistry | Cause::Redirect => (Kind::Refused, Again::No),
            Cause::WrongDigest => (Kind::WrongDigest, Again::No),
            Cause::TooLarge => (Kind::TooLarge, Again::No),
            Cause::Unauthorized | Cause::Forbidden => (Kind::Denied, Again::No),
        };
        Self { kind, side, registry: registry.clone(), detail: format!("{what}: {detail}"), again }
    }

    /// A push that was refused. Harbor's refusals differ by their words only (goharbor/harbor: `quota`, `immutable` and
    /// `readonly` of src/server/middleware).
    pub(super) fn refused(side: Side, registry: &RegistryName, what: &str, answer: &Answer) -> Self {
        let unknown = answer.unexpected();
        let words = answer.message().to_ascii_lowercase();
        let said = |text: &str| words.contains(text);
        let kind = match answer.status {
            StatusCode::FORBIDDEN if said("read only") || said("read-only") => Kind::ReadOnly,
            StatusCode::FORBIDDEN if said("quota") || said("upper limit") => Kind::Quota,
            StatusCode::INSUFFICIENT_STORAGE | StatusCode::PAYLOAD_TOO_LARGE => Kind::Quota,
            StatusCode::PRECONDITION_FAILED | StatusCode::CONFLICT | StatusCode::BAD_REQUEST
                if said("immutable") =>
            {
                Kind::Immutable
            }
            StatusCode::METHOD_NOT_ALLOWED => Kind::ReadOnly,
            StatusCode::BAD_REQUEST if answer.code() == "DIGEST_INVALID" => Kind::WrongDigest,
            status if status.is_client_error() && !matches!(status.as_u16(), 401 | 403 | 429) => {
                Kind::Refused
            }
            _ => return Self::unknown(side, registry, what, &unknown),
        };
        let detail = format!("{what}: {}", unknown.detail);
        Self { kind, side, registry: registry.clone(), detail, again: Again::No }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, registry, detail, .. } = self;
        write!(out, "{kind} at {registry}: {detail}")
    }
}
