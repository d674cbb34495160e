//! The last decisions, for the status page: whoever looks wants to see what was just decided, and why.
//!
//! It costs admissions nothing that counts: of Pods to which nothing happened at most ten a second are kept, of others a
//! hundred, and texts are cut. No namespace fills it, so that nobody can push out what others should see.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::metrics::PodOutcome;
use super::review::{DryRun, Review};
use crate::domain::decision::ImageDecision;
use crate::domain::finding::{Action, Finding, FindingKind};
use crate::domain::name::RegistryName;
use crate::domain::text::plain;
use crate::domain::verdict::Reason;
use crate::pod::Plan;

/// The most Pods that are kept.
const MOST: usize = 100;
/// The most Pods of one namespace.
const MOST_OF_ONE: usize = 25;
/// The most images of a Pod, those first that were not simply `Local`.
const MOST_IMAGES: usize = 4;
/// The most findings of an image.
const MOST_FINDINGS: usize = 4;
/// The least time between two Pods whose images are all here.
const BETWEEN_GOOD: Duration = Duration::from_millis(100);
/// The least time between any two Pods.
const BETWEEN: Duration = Duration::from_millis(10);

/// A Pod that was judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    /// When.
    pub at: Timestamp,
    /// Its namespace.
    pub namespace: Box<str>,
    /// Its name, or the beginning of it.
    pub pod: Box<str>,
    /// What was done with it: `Patched`, `Unchanged`, `Denied` or `Internal`.
    pub outcome: &'static str,
    /// Whether it was a dry run.
    pub dry_run: bool,
    /// Its first images, those first that were not simply `Local`.
    pub images: Box<[JudgedImage]>,
    /// How many more it has.
    pub more: usize,
}

/// An image of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JudgedImage {
    /// Where the Pod names it: `containers/web`.
    pub slot: Box<str>,
    /// As the Pod wrote it.
    pub was: Box<str>,
    /// What it became; `None`: it stayed.
    pub becomes: Option<Box<str>>,
    /// Why.
    pub reason: Reason,
    /// The registry that serves it.
    pub registry: Option<RegistryName>,
    /// Why copies were not simply used.
    pub findings: Box<[JudgedFinding]>,
}

/// A finding about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JudgedFinding {
    /// Its kind.
    pub kind: FindingKind,
    /// The registry.
    pub registry: Option<RegistryName>,
    /// Details, for people.
    pub detail: Box<str>,
    /// What was done about it.
    pub action: Action,
}

/// The ring. A clone shares it.
#[derive(Debug, Clone, Default)]
pub struct Recent(Arc<Mutex<Ring>>);

#[derive(Debug, Default)]
struct Ring {
    judged: VecDeque<Judged>,
    last: Option<Instant>,
    last_good: Option<Instant>,
}

impl Recent {
    /// The last Pods, the newest first.
    #[must_use]
    pub fn newest(&self) -> Vec<Judged> {
        let ring = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        ring.judged.iter().rev().cloned().collect()
    }

    /// Keeps a Pod, if it is time for one.
    pub(super) fn keep(
        &self,
        (review, plan): (&Review<'_>, &Plan<'_>),
        (outcome, reason): (PodOutcome, Reason),
        (at, now): (Timestamp, Instant),
    ) {
        // Who looks at the page holds the lock for as long as it takes to copy it; no Pod waits for that.
        let Ok(mut ring) = self.0.try_lock() else { return };
        if ring.is_time(is_good(reason), now) {
            ring.push(judged(review, plan, outcome, at));
        }
    }
}

impl Ring {
    fn is_time(&mut self, good: bool, now: Instant) -> bool {
        let is_soon = |last: Option<Instant>, between| last.is_some_and(|last| now < last + between);
        if is_soon(self.last, BETWEEN) || (good && is_soon(self.last_good, BETWEEN_GOOD)) {
            return false;
        }
        self.last = Some(now);
        if good {
            self.last_good = Some(now);
        }
        true
    }

    fn push(&mut self, one: Judged) {
        let of_it = |known: &&Judged| known.namespace == one.namespace;
        if self.judged.iter().filter(of_it).count() >= MOST_OF_ONE {
            if let Some(oldest) = self.judged.iter().position(|known| known.namespace == one.namespace) {
                self.judged.remove(oldest);
            }
        } else if self.judged.len() >= MOST {
            self.judged.pop_front();
        }
        self.judged.push_back(one);
    }
}

/// Whether nothing is to be said of an image with this reason.
fn is_good(reason: Reason) -> bool {
    matches!(reason, Reason::Local | Reason::AlreadyLocal)
}

fn judged(review: &Review<'_>, plan: &Plan<'_>, outcome: PodOutcome, at: Timestamp) -> Judged {
    let mut slots: Vec<_> = plan.by_slot().collect();
    slots.sort_by_key(|(_, decision)| is_good(plan.reason(decision)));
    let images = slots.iter().take(MOST_IMAGES).map(|(slot, decision)| JudgedImage {
        slot: plain(&slot.to_string()).into(),
        was: plain(slot.image).into(),
        becomes: decision.outcome.image.as_deref().map(|image| plain(image).into()),
        reason: plan.reason(decision),
        registry: decision.serving().cloned(),
        findings: findings(decision),
    });
    Judged {
        at,
        namespace: plain(&review.namespace).into(),
        pod: plain(&review.pod.called()).into(),
        outcome: outcome.as_str(),
        dry_run: review.dry_run == DryRun::Yes,
        images: images.collect(),
        more: slots.len().saturating_sub(MOST_IMAGES),
    }
}

fn findings(decision: &ImageDecision) -> Box<[JudgedFinding]> {
    let of = |finding: &Finding| JudgedFinding {
        kind: finding.kind,
        registry: decision.registry_of(finding).cloned(),
        detail: plain(&finding.detail).into(),
        action: finding.action,
    };
    decision.findings.iter().take(MOST_FINDINGS).map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(namespace: &str, n: usize) -> Judged {
        Judged {
            at: Timestamp::UNIX_EPOCH,
            namespace: namespace.into(),
            pod: format!("p{n}").into(),
            outcome: "Denied",
            dry_run: false,
            images: Box::default(),
            more: 0,
        }
    }

    #[test]
    fn one_namespace_pushes_out_nobody_else() {
        let mut ring = Ring::default();
        ring.push(of("quiet", 0));
        (0..10 * MOST).for_each(|n| ring.push(of("loud", n)));
        assert_eq!(ring.judged.len(), 1 + MOST_OF_ONE);
        assert_eq!(&*ring.judged[0].namespace, "quiet");
        assert_eq!(&*ring.judged[MOST_OF_ONE].pod, format!("p{}", 10 * MOST - 1));
        (0..10 * MOST).for_each(|n| ring.push(of(&format!("n{n}"), n)));
        assert_eq!(ring.judged.len(), MOST);
    }

    #[tokio::test(start_paused = true)]
    async fn a_storm_of_pods_is_seen_by_a_few() {
        let (mut ring, began) = (Ring::default(), Instant::now());
        let kept = |ring: &mut Ring, good, from: u64| {
            let times = (from..from + 1_000).map(|ms| began + Duration::from_millis(ms));
            times.filter(|now| ring.is_time(good, *now)).count()
        };
        assert_eq!(kept(&mut ring, true, 0), 10);
        assert_eq!(kept(&mut ring, false, 2_000), 100);
    }
}
