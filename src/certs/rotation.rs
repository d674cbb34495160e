//! What the leader does next, from nothing but what is there. Pure.

#[cfg(test)]
mod model;

use std::time::Duration;

use jiff::Timestamp;

use super::{Authorities, Authority, Certificate, Periods, earlier};

/// Previous authorities up to which strays are taken up. One is normal; more come of damage by hand, or of leaders whose
/// clocks are years apart. Whatever empties the Secret again and again must not let the bundle grow for ever.
const PREVIOUS: usize = 16;

/// What one look at the cluster shows. The published bundles were read *before* the authorities: then whatever the
/// authorities no longer hold was no longer needed when the bundles were read.
#[derive(Debug)]
pub struct Look<'a> {
    /// What the Secret holds.
    pub authorities: &'a Authorities,
    /// The `caBundle` of each entry, as it is written.
    pub bundles: &'a [Vec<u8>],
    /// The certificates in them.
    pub published: &'a [Vec<Certificate>],
    /// Who signed the leaf that we serve ourselves.
    pub serving: Option<&'a Certificate>,
    /// How long we have seen exactly this, Secret and bundles, on the monotonic clock.
    pub seen: Duration,
    /// The wall clock.
    pub now: Timestamp,
}

/// One step. Each is one write, or none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Write down these as previous authorities: they are published, or serve, but the Secret knows nothing of them.
    Adopt(Vec<Certificate>),
    /// Make the current authority the next one: nobody has published it, so it was put there by hand.
    Demote,
    /// Make a next authority.
    Introduce(Cause),
    /// Publish the bundle of the Secret.
    Publish,
    /// Wait until every API server goes by what is published.
    Settle(Duration),
    /// The next authority signs from now on.
    Promote,
    /// Wait until no leaf of a previous authority is served.
    Linger(Duration),
    /// Publish these previous authorities no longer.
    Retire(Vec<Certificate>),
    /// Nothing is to be done.
    Rest,
}

/// Why another authority is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// There is none that could sign: the first start, or damage, or the last one has expired.
    Lacking,
    /// The one that signs is half through its life.
    Due,
}

/// The next step.
pub fn step(look: &Look<'_>, periods: &Periods) -> Step {
    let Look { authorities, bundles, published, serving, seen, now } = *look;
    let known = |one: &Certificate| authorities.published().chain(&authorities.retired).any(|has| has == one);
    let usable = |one: &Option<Authority>| one.as_ref().is_some_and(|one| one.certificate().holds(now));

    let mut strays: Vec<Certificate> = Vec::new();
    for one in published.iter().flatten().filter(|one| one.is_ours()).chain(serving) {
        if !known(one) && !strays.contains(one) {
            strays.push(one.clone());
        }
    }
    // Where there is no room for all, the newest are the ones that are served.
    strays.sort_by_key(|one| std::cmp::Reverse(one.not_after()));
    strays.truncate(PREVIOUS.saturating_sub(authorities.previous.len()));
    if !strays.is_empty() {
        return Step::Adopt(strays);
    }
    if let (Some(current), None) = (&authorities.current, &authorities.next) {
        let current = current.certificate();
        let mut ours = published.iter().flatten().filter(|one| one.is_ours()).peekable();
        if ours.peek().is_some() && ours.all(|one| one != current) {
            return Step::Demote;
        }
    }
    if !usable(&authorities.current) && !usable(&authorities.next) {
        return Step::Introduce(Cause::Lacking);
    }
    let wanted = authorities.bundle();
    if bundles.iter().any(|bundle| *bundle != wanted.as_bytes()) {
        return Step::Publish;
    }
    if let Some(next) = &authorities.next {
        return match (is_due(next, now, periods), periods.settle.checked_sub(seen)) {
            (true, _) => Step::Introduce(Cause::Due),
            (false, Some(left)) if !left.is_zero() => Step::Settle(left),
            (false, _) => Step::Promote,
        };
    }
    if authorities.current.as_ref().is_some_and(|current| is_due(current, now, periods)) {
        return Step::Introduce(Cause::Due);
    }
    match periods.leaf.saturating_add(periods.settle).checked_sub(seen) {
        _ if authorities.previous.is_empty() => Step::Rest,
        Some(left) if !left.is_zero() => Step::Linger(left),
        // Not by their dates: a clock that is ahead would take them from those who still need them.
        _ => Step::Retire(authorities.previous.clone()),
    }
}

/// Is it half through its life, or not to be used at all?
fn is_due(authority: &Authority, now: Timestamp, periods: &Periods) -> bool {
    let certificate = authority.certificate();
    !certificate.holds(now) || now >= earlier(certificate.not_after(), periods.authority / 2)
}

impl Authorities {
    /// What the Secret holds after a step that writes it; `fresh` is the authority for [`Step::Introduce`].
    #[must_use]
    pub fn after(&self, step: &Step, fresh: Option<Authority>) -> Self {
        let mut after = self.clone();
        match step {
            Step::Adopt(strays) => after.previous.extend(strays.iter().cloned()),
            Step::Demote => after.next = after.current.take(),
            Step::Introduce(_) => {
                // Where the Secret was put back to an older state, what it calls next may have signed already.
                let replaced = std::mem::replace(&mut after.next, fresh);
                after.previous.extend(replaced.map(|one| one.certificate().clone()));
                after.retired.clear();
            }
            Step::Promote => {
                let signed = std::mem::replace(&mut after.current, after.next.take());
                after.previous.extend(signed.map(|one| one.certificate().clone()));
            }
            Step::Retire(gone) => {
                after.previous.retain(|one| !gone.contains(one));
                after.retired = gone.clone();
            }
            Step::Publish | Step::Settle(_) | Step::Linger(_) | Step::Rest => {}
        }
        after
    }
}

impl Step {
    /// The closed set, for a metric.
    pub const ALL: [&'static str; 9] =
        ["Adopt", "Demote", "Introduce", "Publish", "Settle", "Promote", "Linger", "Retire", "Rest"];

    /// Its word.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Adopt(_) => "Adopt",
            Self::Demote => "Demote",
            Self::Introduce(_) => "Introduce",
            Self::Publish => "Publish",
            Self::Settle(_) => "Settle",
            Self::Promote => "Promote",
            Self::Linger(_) => "Linger",
            Self::Retire(_) => "Retire",
            Self::Rest => "Rest",
        }
    }
}
