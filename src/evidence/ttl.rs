//! How long each kind of answer lives. Pure: what it depends on are its arguments.
//!
//! | answer | fresh for |
//! |---|---|
//! | present, by digest | `cache.present` |
//! | present, by tag; what a tag means; a proxy cache's answer | `cache.tag` |
//! | absent, refused | `cache.absent` |
//! | a finished scan, and that there is none to come | `cache.scan` |
//! | any other scan: somebody waits for it to end | `cache.scan`, at most `cache.absent` |
//! | what an index lists: its digest names it | for ever; only room ends it |
//! | no answer, for a cause that may pass at any moment | a second; doubled by each further one, at most `cache.absent` |
//! | no answer, for a cause that somebody must mend | `cache.absent` |
//! | 429 with `Retry-After` | as long as it says, at least `cache.absent`, at most [`LONGEST_RETRY_AFTER`] |
//!
//! Each but the last is shortened by up to a tenth, so that what was learned together is not asked again together.

use std::time::Duration;

use crate::domain::evidence::{Cause, Children, Observation, Presence, TagDigest};
use crate::domain::scan::{ScanAnswer, ScanState, Scanner};
use crate::domain::settings::CacheLife;

use super::question::{What, unknown};

/// However long a registry asks us to stay away, we look again after this.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(300);

/// How long the first silence keeps from asking again.
const FIRST_SILENCE: Duration = Duration::from_secs(1);

/// By so much of its life an entry may be shorter.
const JITTER: f64 = 0.1;

/// From this part of its life on, what is asked for often is looked up again before it ends.
const AHEAD: f64 = 0.8;

/// So long that nothing else than room ends it.
const FOR_EVER: Duration = Duration::from_secs(365 * 24 * 3600);

/// How long an answer is fresh. `consecutive_failures`: how many there were in a row, this one not counted; `random`: from 0 to 1.
pub(super) fn ttl(
    what: &What,
    answer: &Observation,
    consecutive_failures: u8,
    life: &CacheLife,
    random: f64,
) -> Duration {
    let whole = match unknown(answer).map(|unknown| unknown.cause) {
        // Not a moment before the registry wants us back.
        Some(
            Cause::RateLimited { retry_after: Some(wish) }
            | Cause::Unavailable { retry_after: wish }
            | Cause::Spent { retry_after: wish },
        ) => {
            return wish.min(LONGEST_RETRY_AFTER).max(life.absent);
        }
        Some(cause) if passes(cause) => FIRST_SILENCE
            .saturating_mul(1_u32.wrapping_shl(consecutive_failures.min(16).into()))
            .min(life.absent),
        Some(_) => life.absent,
        None => answered(what, answer, life),
    };
    whole.mul_f64(1.0 - JITTER * random)
}

/// When, counted from when it was learned, what is asked for often is looked up again.
pub(super) fn ahead(fresh: Duration) -> Duration {
    fresh.mul_f64(AHEAD)
}

fn answered(what: &What, answer: &Observation, life: &CacheLife) -> Duration {
    match answer {
        Observation::Presence(Presence::Present { .. }) if !matches!(what, What::Tag(_)) => life.present,
        // A proxy cache answers for its upstream, which may forget.
        Observation::Presence(Presence::Present { .. } | Presence::ProxyCache { .. })
        | Observation::TagDigest(TagDigest::Known(_)) => life.tag,
        Observation::Children(Children::Listed(_)) => FOR_EVER,
        Observation::Scan(ScanAnswer { state: ScanState::Done(_) | ScanState::Hidden, .. })
        | Observation::Scan(ScanAnswer { scanner: Scanner::Absent, state: ScanState::NotScanned, .. }) => {
            life.scan
        }
        Observation::Scan(_) => life.scan.min(life.absent),
        Observation::Presence(_) | Observation::Children(_) | Observation::TagDigest(_) => life.absent,
        // Answered from memory, never kept.
        Observation::Reachable(_) => Duration::ZERO,
    }
}

/// May this cause pass by itself at any moment? The others need somebody, and the question does no good: wrong
/// credentials cost a Harbor 1.5 s and may lock an account.
fn passes(cause: Cause) -> bool {
    matches!(cause, Cause::Connect | Cause::Broken | Cause::ServerError | Cause::Deadline | Cause::Overloaded)
}
