//! Self-managed certificates: an authority in one Secret, and a leaf in the memory of each replica.
//!
//! ```text
//! Secret:   ca.crt ca.key        the authority that signs leaves now
//!           next.crt next.key    the next one; published, but it does not sign yet
//!           previous.crt         those that no longer sign, but whose leaves may still be served
//!           retired.crt          those whose leaves are gone; no longer published
//! ```
//!
//! The purpose of all this: *no replica ever serves a leaf that the published caBundle does not verify.* So an authority
//! is published before it signs, and stays published until its last leaf is gone:
//!
//! ```text
//! Introduce ─► Publish ─► Settle ─► Promote ─────► Publish ─► leaves switch ─► Retire ─► Publish
//! next.*       old, new   10 s      next.* → ca.*  new, old                    previous  new
//!                                   ca.crt → previous.crt                      → retired
//! ```
//!
//! `Publish` is one write for each of the two webhook configurations; the other arrows are one write each, bound to the
//! version that it was computed from. [`rotation::step`] chooses the next one from the state in
//! the cluster alone. So another leader can go on from there, and two leaders at once do no harm. Waiting
//! times are measured on the monotonic clock, by one process that has seen all of the time: a wrong wall clock makes us
//! wait longer, never shorter. Only renewal uses the wall clock, because the dates in certificates do.

mod authority;
mod leaf;
mod metrics;
pub mod rotation;
mod store;

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use thiserror::Error;

pub use authority::{Authority, Certificate};
pub use leaf::{Leaf, LeafDates, Renewal, renewal};
pub use metrics::Metrics;
pub use store::Authorities;

/// Why a certificate or a key cannot be used.
#[derive(Debug, Error)]
pub enum CertsError {
    /// It cannot be made.
    #[error("the {what} cannot be made")]
    Make {
        /// An authority or a leaf.
        what: &'static str,
        /// The cause.
        #[source]
        source: rcgen::Error,
    },
    /// It cannot be read.
    #[error("`{key}` is damaged: {reason}")]
    Damaged {
        /// The key of the Secret.
        key: &'static str,
        /// The cause.
        reason: String,
    },
}

/// How long authorities and leaves live.
#[derive(Debug, Clone, Copy)]
pub struct Periods {
    /// The life of an authority. After half of it the next one is made.
    pub authority: Duration,
    /// The life of a leaf. After about two thirds of it the next one is issued.
    pub leaf: Duration,
    /// The time until every API server uses a published bundle: more than twice the delay of an informer.
    pub settle: Duration,
}

impl Periods {
    /// Certificates are valid from this long before they are made, because the clocks of other machines may be slow.
    pub const BACKDATED: Duration = Duration::from_secs(5 * 60);
}

impl Default for Periods {
    fn default() -> Self {
        const DAY: Duration = Duration::from_secs(24 * 60 * 60);
        Self { authority: DAY * 365, leaf: DAY, settle: Duration::from_secs(10) }
    }
}

/// The time `by` after `moment`, at most the greatest that there is.
fn later(moment: Timestamp, by: Duration) -> Timestamp {
    SignedDuration::try_from(by).ok().and_then(|by| moment.checked_add(by).ok()).unwrap_or(Timestamp::MAX)
}

/// The time `by` before `moment`, at least the smallest that there is.
fn earlier(moment: Timestamp, by: Duration) -> Timestamp {
    SignedDuration::try_from(by).ok().and_then(|by| moment.checked_sub(by).ok()).unwrap_or(Timestamp::MIN)
}
