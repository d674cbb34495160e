//! TTLs: how long each kind of answer is fresh. Pure.
//!
//! | answer | fresh for |
//! |---|---|
//! | present, by digest | `cache.present` |
//! | present, by tag; what a tag means; a proxy cache's answer | `cache.tag` |
//! | absent, refused | `cache.absent` |
//! | a finished scan, and that there will be none | `cache.scan` |
//! | any other scan, because it may end soon | `cache.scan`, at most `cache.absent` |
//! | what an index lists, because its digest names it | until it is evicted |
//! | unknown, for a cause that may pass by itself | a second, doubled by each further one, at most `cache.absent` |
//! | unknown, for a cause that somebody must fix | `cache.absent` |
//! | 429 or 503 with `Retry-After`, or `requestsPerHour` is spent | as long as that says, at least `cache.absent`, at most [`LONGEST_RETRY_AFTER`] |
//!
//! All but the last row are shortened by up to a tenth, so that answers learned together do not expire together.
//!
//! Other TTLs: what all artifacts of a Harbor project share (project, scanner, credentials) in `harbor/client.rs`; tokens in
//! `registry/token.rs`, as their server says.

use std::time::Duration;

use crate::domain::evidence::{Children, Observation, Presence, TagDigest};

use crate::domain::scan::{ScanAnswer, ScanState, Scanner};
use crate::domain::settings::CacheLife;
use crate::domain::unknown::Cause;

use super::question::{What, unknown};

/// The longest `Retry-After` that is followed.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(300);

/// The TTL of the first of several unknown answers.
const FIRST_UNKNOWN: Duration = Duration::from_secs(1);

/// The part of a TTL that is taken off at random.
const JITTER: f64 = 0.1;

/// The part of a TTL after which a popular answer is renewed.
const AHEAD: f64 = 0.8;

/// So long that only eviction ends it.
const FOR_EVER: Duration = Duration::from_secs(365 * 24 * 3600);

/// The TTL of an answer. `consecutive_failures`: the unknown answers in a row before this one. `random`: from 0 to 1.
pub(super) fn ttl(
    what: &What,
    answer: &Observation,
    consecutive_failures: u8,
    life: &CacheLife,
    random: f64,
) -> Duration {
    let whole = match unknown(answer).map(|unknown| unknown.cause) {
        // Never shorter than the registry asked for.
        Some(
            Cause::RateLimited { retry_after: Some(retry_after) }
            | Cause::Unavailable { retry_after }
            | Cause::Spent { retry_after },
        ) => {
            return retry_after.min(LONGEST_RETRY_AFTER).max(life.absent);
        }
        Some(cause) if passes(cause) => FIRST_UNKNOWN
            .saturating_mul(1_u32.wrapping_shl(consecutive_failures.min(16).into()))
            .min(life.absent),
        Some(_) => life.absent,
        None => answered(what, answer, life),
    };
    whole.mul_f64(1.0 - JITTER * random)
}

/// The age at which a popular answer is renewed.
pub(super) fn ahead(fresh: Duration) -> Duration {
    fresh.mul_f64(AHEAD)
}

fn answered(what: &What, answer: &Observation, life: &CacheLife) -> Duration {
    match answer {
        Observation::Presence(Presence::Present { .. }) if !matches!(what, What::Tag(_)) => life.present,
        // A proxy cache answers for its upstream, which may lose the image.
        Observation::Presence(Presence::Present { .. } | Presence::ProxyCache { .. })
        | Observation::TagDigest(TagDigest::Known(_)) => life.tag,
        Observation::Children(Children::Listed(_)) => FOR_EVER,
        Observation::Scan(ScanAnswer {
            state: ScanState::Done(_) | ScanState::Hidden | ScanState::Unscannable,
            ..
        })
        | Observation::Scan(ScanAnswer { scanner: Scanner::Absent, state: ScanState::NotScanned, .. }) => {
            life.scan
        }
        Observation::Scan(_) => life.scan.min(life.absent),
        Observation::Presence(_) | Observation::Children(_) | Observation::TagDigest(_) => life.absent,
        // Never cached.
        Observation::Reachable(_) => Duration::ZERO,
    }
}

/// May this cause pass by itself at any moment? The others need somebody to fix them, and asking again does harm: wrong
/// credentials take a Harbor 1.5 s and may lock an account.
fn passes(cause: Cause) -> bool {
    matches!(
        cause,
        Cause::Connect
            | Cause::Broken
            | Cause::ServerError
            | Cause::Deadline
            | Cause::Overloaded
            | Cause::Internal
    )
}
