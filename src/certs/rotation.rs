//! The next step of the leader, chosen from the state in the cluster alone. Pure.

#[cfg(test)]
mod model;

use std::time::Duration;

use jiff::Timestamp;

use super::{Authorities, Authority, Certificate, Periods, earlier};

/// The most previous authorities. One is normal; there are more after damage by hand, or with leaders whose clocks differ
/// by years. The bound keeps the bundle from growing for ever if something empties the Secret again and again.
const PREVIOUS: usize = 16;

/// What was read from the cluster. The bundles must have been read *before* the authorities: then a certificate that the
/// authorities no longer hold was already not needed when the bundles were read.
#[derive(Debug)]
pub struct Look<'a> {
    /// What the Secret holds.
    pub authorities: &'a Authorities,
    /// The `caBundle` of each entry of both configurations, and the one that new entries are written with.
    pub bundles: &'a [Vec<u8>],
    /// The certificates in them.
    pub published: &'a [Vec<Certificate>],
    /// The issuer of the leaf that we serve ourselves.
    pub serving: Option<&'a Certificate>,
    /// How long the Secret and the bundles have been exactly like this, as we saw it on the monotonic clock.
    pub seen: Duration,
    /// The wall clock.
    pub now: Timestamp,
}

/// One step: one write, or none.
#[derive(Debug, Clone, PartialEq, Eq, strum::IntoStaticStr, strum::VariantNames)]
pub enum Step {
    /// Add these to the previous authorities: they are published or in use, but missing from the Secret.
    Adopt(Vec<Certificate>),
    /// Let the current authority not sign: it is not published everywhere, so somebody put it there by hand. It becomes the next one or,
    /// if there is a next one, a previous one.
    Demote,
    /// Create the next authority.
    Introduce(Cause),
    /// Publish the bundle of the Secret, in one configuration.
    Publish,
    /// Wait until every API server uses what is published.
    Settle(Duration),
    /// Let the next authority sign from now on.
    Promote,
    /// Wait until no leaf of a previous authority is served.
    Linger(Duration),
    /// Publish these previous authorities no longer.
    Retire(Vec<Certificate>),
    /// Nothing: all is well.
    Rest,
}

impl Step {
    /// The word for it.
    pub fn as_str(&self) -> &'static str {
        self.into()
    }
}

/// Why an authority is created.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// None can sign: it is the first start, or the Secret is damaged, or the last one has expired.
    Lacking,
    /// Half of the life of the one that signs is over.
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
    // If there are too many, the newest are those whose leaves are served.
    strays.sort_by_key(|one| std::cmp::Reverse(one.not_after()));
    strays.truncate(PREVIOUS.saturating_sub(authorities.previous.len()));
    if !strays.is_empty() {
        return Step::Adopt(strays);
    }
    if let Some(current) = &authorities.current {
        let current = current.certificate();
        // Each for itself: of two configurations, one may have been published without it a moment ago. A bundle without any
        // of ours is new, or somebody has emptied it.
        let lacks = |bundle: &Vec<Certificate>| {
            bundle.iter().any(Certificate::is_ours) && bundle.iter().all(|one| one != current)
        };
        if published.iter().any(lacks) {
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
        // Whatever their dates are: a clock that is ahead would remove authorities that are still needed.
        _ => Step::Retire(authorities.previous.clone()),
    }
}

/// Whether half of its life is over, or it is not valid at all.
fn is_due(authority: &Authority, now: Timestamp, periods: &Periods) -> bool {
    let certificate = authority.certificate();
    !certificate.holds(now) || now >= earlier(certificate.not_after(), periods.authority / 2)
}

impl Authorities {
    /// What the Secret holds after a step. `fresh` is the authority for [`Step::Introduce`].
    #[must_use]
    pub fn after(&self, step: &Step, fresh: Option<Authority>) -> Self {
        let mut after = self.clone();
        match step {
            Step::Adopt(strays) => after.previous.extend(strays.iter().cloned()),
            Step::Demote => {
                let demoted = after.current.take();
                match &after.next {
                    None => after.next = demoted,
                    Some(_) => after.previous.extend(demoted.map(|one| one.certificate().clone())),
                }
            }
            Step::Introduce(_) => {
                // If an older state of the Secret was restored, its next authority may have signed already.
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
