//! Certificates of our own: an authority in one Secret, a leaf in each replica's memory.
//!
//! ```text
//! Secret:   ca.crt ca.key        the authority that signs leaves now
//!           next.crt next.key    the one that will; published, but it does not sign yet
//!           previous.crt         those that no longer sign, but whose leaves may still be served
//!           retired.crt          those whose leaves are gone: no longer published
//! ```
//!
//! The rule that everything here serves: *no replica ever serves a leaf that the published caBundle does not verify.*
//! So an authority is published before it signs, and stays published until its last leaf is gone:
//!
//! ```text
//! Introduce ─► Publish ─► Settle ─► Promote ─► leaves switch ─► Retire ─► Publish
//! next.*       old+new    10 s      next.* → ca.*               previous → retired
//!                                   ca.crt → previous.crt
//! ```
//!
//! Each arrow is one write, bound to the version that it was computed from; [`rotation::step`] says which is next, from
//! nothing but what is there. So whoever looks next goes on from there, and two who look at once do no harm. What is
//! waited for is waited for on the monotonic clock, by one process that saw all of it: a clock that is set wrong makes
//! us wait longer, never shorter. Only renewal asks the wall clock, as certificates do.

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

/// Why a certificate or a key is not usable.
#[derive(Debug, Error)]
pub enum CertsError {
    /// It could not be made.
    #[error("the {what} could not be made")]
    Make {
        /// Which: an authority or a leaf.
        what: &'static str,
        /// Why.
        #[source]
        source: rcgen::Error,
    },
    /// It cannot be read.
    #[error("`{key}` is damaged: {reason}")]
    Damaged {
        /// The key of the Secret.
        key: &'static str,
        /// Why.
        reason: String,
    },
}

/// How long everything lasts.
#[derive(Debug, Clone, Copy)]
pub struct Periods {
    /// The life of an authority; at half of it the next one is introduced.
    pub authority: Duration,
    /// The life of a leaf; at two thirds of it, a little more or less, the next one is issued.
    pub leaf: Duration,
    /// From a published bundle until every API server goes by it: twice the delay of an informer, generously.
    pub settle: Duration,
}

impl Periods {
    /// Certificates begin this long before they are made: other machines' clocks are slow.
    pub const BACKDATED: Duration = Duration::from_secs(5 * 60);
}

impl Default for Periods {
    fn default() -> Self {
        const DAY: Duration = Duration::from_secs(24 * 60 * 60);
        Self { authority: DAY * 365, leaf: DAY, settle: Duration::from_secs(10) }
    }
}

/// `moment` and `by` later; at the end of time where that is beyond it.
fn later(moment: Timestamp, by: Duration) -> Timestamp {
    SignedDuration::try_from(by).ok().and_then(|by| moment.checked_add(by).ok()).unwrap_or(Timestamp::MAX)
}

/// `moment` and `by` earlier.
fn earlier(moment: Timestamp, by: Duration) -> Timestamp {
    SignedDuration::try_from(by).ok().and_then(|by| moment.checked_sub(by).ok()).unwrap_or(Timestamp::MIN)
}
