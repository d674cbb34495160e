//! When an attempt to heal a gap is due: judged from its record alone, so that a new leader goes on where the last one was.
//! Nothing here reads a clock or talks to anybody.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::record::Record;
use crate::cluster::GapAction;
use crate::domain::gap::{GapKey, GapSubject};
use crate::domain::healing::{MOST_FAILURES, Remedy, is_same_trouble, remedy};
use crate::domain::settings::{Healing, HealingMode};

/// So much the clocks of two machines may differ. What is later than that was written before a clock was set back.
const SKEW: SignedDuration = SignedDuration::from_mins(5);

/// How long everything takes. Only tests have others than [`Terms::default`].
#[derive(Debug, Clone)]
pub struct Terms {
    /// How often due gaps are looked for.
    pub tick: Duration,
    /// How often an attempt under way is looked at.
    pub poll: Duration,
    /// An attempt that shows no sign of life for so long was never started.
    pub claim: Duration,
    /// An attempt that has not ended after so long is given up.
    pub patience: Duration,
    /// The pauses after one, two … failed attempts.
    pub pauses: [Duration; 5],
    /// After so long nothing is remembered of attempts.
    pub forgets: Duration,
    /// A replication rule is executed at most once in this time.
    pub rule: Duration,
    /// So long a gap rests about which nothing can be tried.
    pub rest: Duration,
    /// Between two starts of scans, and how many may start at once.
    pub scans: (Duration, u32),
    /// Between two executions of rules.
    pub executions: (Duration, u32),
    /// Between two looks at attempts under way, and how many at once.
    pub looks: (Duration, u32),
    /// For so long the rules of a registry are not read again.
    pub rules: Duration,
}

impl Default for Terms {
    fn default() -> Self {
        let minutes = Duration::from_mins;
        Self {
            tick: Duration::from_secs(1),
            poll: Duration::from_secs(15),
            claim: minutes(2),
            patience: minutes(30),
            pauses: [minutes(1), minutes(2), minutes(5), minutes(15), minutes(60)],
            forgets: Duration::from_hours(24),
            rule: minutes(10),
            rest: minutes(60),
            scans: (Duration::from_secs(1), 5),
            executions: (Duration::from_secs(10), 1),
            looks: (Duration::from_millis(500), 10),
            rules: minutes(1),
        }
    }
}

impl Terms {
    /// The pause after so many failed attempts.
    pub fn pause(&self, failed: i32) -> Duration {
        let last = self.pauses.len() - 1;
        let nth = usize::try_from(failed - 1).unwrap_or(0).min(last);
        self.pauses.get(nth).copied().unwrap_or(self.rest)
    }
}

/// What is to be done about a gap now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Nothing.
    Rest,
    /// An attempt is due, after so many that have failed.
    Begin {
        /// Which.
        remedy: Remedy,
        /// How many have failed in a row.
        failed: i32,
    },
    /// One is under way.
    Follow,
}

/// Returns what is to be done about a gap.
pub fn stage(record: &Record, key: &GapKey, healing: &Healing, terms: &Terms, now: Timestamp) -> Stage {
    if !matches!(key.subject, GapSubject::Image { .. }) {
        return Stage::Rest;
    }
    if record.under_way().is_some() {
        return Stage::Follow;
    }
    let of = |axis| record.lacking(axis);
    let (presence, scan) = (of(Remedy::Replicate.axis()), of(Remedy::Scan.axis()));
    let Some(remedy) = remedy(presence, scan) else { return Stage::Rest };
    let is_allowed = match healing.mode {
        HealingMode::Off => false,
        HealingMode::Scan => remedy == Remedy::Scan,
        HealingMode::Replicate => true,
    };
    let since = record.axis(remedy.axis()).map(|axis| axis.since);
    if !is_allowed || !since.is_some_and(|since| has_passed(since, healing.after, now)) {
        return Stage::Rest;
    }
    match last(record, remedy, terms, now) {
        None => Stage::Begin { remedy, failed: 0 },
        Some(action) if action.attempts >= MOST_FAILURES => Stage::Rest,
        Some(action) if action.attempts > 0 && !has_passed(action.at, terms.pause(action.attempts), now) => {
            Stage::Rest
        }
        Some(action) => Stage::Begin { remedy, failed: action.attempts },
    }
}

/// The last attempt, if it still counts: it was for the same trouble, since that was found, and not long ago.
fn last<'a>(record: &'a Record, remedy: Remedy, terms: &Terms, now: Timestamp) -> Option<&'a GapAction> {
    let action = record.action.as_ref().filter(|action| action.what == remedy)?;
    let axis = record.axis(remedy.axis())?;
    let is_same = is_same_trouble(action.finding?, axis.finding?);
    let is_old = now.duration_since(action.at).abs() >= signed(terms.forgets);
    (is_same && axis.since <= action.at && !is_old).then_some(action)
}

/// Whether so much time has passed. A moment that is later than now was written before a clock was set back, and then nothing
/// waits for it.
pub fn has_passed(from: Timestamp, time: Duration, now: Timestamp) -> bool {
    let passed = now.duration_since(from);
    passed >= signed(time) || passed < -SKEW
}

/// Whether two moments, perhaps of two clocks, are no further apart than this.
pub fn is_within(one: Timestamp, other: Timestamp, time: Duration) -> bool {
    one.duration_since(other).abs() < signed(time)
}

fn signed(time: Duration) -> SignedDuration {
    SignedDuration::try_from(time).unwrap_or(SignedDuration::MAX)
}

#[cfg(test)]
mod tests;
