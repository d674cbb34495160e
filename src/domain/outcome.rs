//! Outcomes: what a Verdict does to the Pod, and the one word for why.

use super::case::{Case, Place, Routed, Spelling, Subject};
use super::digest::Digest;
use super::evidence::PlaceIx;
use super::registry::PullSecret;
use super::route::{Pin, Rewrite};
use super::verdict::{FindingKind, Ground, KeepReason, Reason, Ruling, Verdict};

/// Whether a Verdict changes anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Effect {
    /// It does.
    Applied,
    /// `rewrite: false`, and no policy enforces: it is recorded only.
    Observed,
}

/// What becomes of one image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The word.
    pub reason: Reason,
    /// The reference as it shall stand in the Pod; `None`: as it is.
    pub image: Option<Box<str>>,
    /// The Place that serves it now; `None` where it is left alone, denied, or nobody knows.
    pub place: Option<PlaceIx>,
    /// The Secret that the Pod needs for that Place.
    pub pull_secret: Option<PullSecret>,
    /// Applied, or only observed.
    pub effect: Effect,
}

impl Outcome {
    /// What a Verdict does.
    #[must_use]
    pub fn of(case: &Case, verdict: &Verdict) -> Self {
        let reason = reason(verdict);
        let nothing = |reason, effect| Self { reason, image: None, place: None, pull_secret: None, effect };
        let Subject::Routed(routed) = &case.subject else { return nothing(reason, Effect::Applied) };
        if routed.rewrite == Rewrite::Observe && !case.regime.enforces() {
            return nothing(Reason::Observed, Effect::Observed);
        }
        let (ix, digest) = match verdict.ruling {
            Ruling::Local { place, digest } => (Some(place), Some(digest)),
            Ruling::Accepted { place, digest, .. } => (Some(place), digest),
            Ruling::Fallback { place, digest } => (place, digest),
            Ruling::Keep(_) | Ruling::Deny => (None, None),
        };
        let Some((ix, place)) = ix.and_then(|ix| Some((ix, routed.place(ix)?))) else {
            return nothing(reason, Effect::Applied);
        };
        let named = ix == routed.named && routed.spelling == Spelling::Canonical;
        let pin = digest.filter(|_| routed.pin == Pin::Digest || case.regime.enforces()).or(routed.digest);
        Self {
            reason: if named && reason == Reason::Local { Reason::AlreadyLocal } else { reason },
            image: if named { pinned(&case.written, routed, pin) } else { Some(moved(place, routed, pin)) },
            place: Some(ix),
            pull_secret: place.registry.pull_secret.clone(),
            effect: Effect::Applied,
        }
    }

    /// Does it deny the Pod?
    #[must_use]
    pub fn denies(&self) -> bool {
        self.reason == Reason::Denied
    }

    /// Is the image left alone for a reason of its own, so that the Pod need not even be annotated?
    #[must_use]
    pub fn keeps(&self) -> bool {
        match self.reason {
            Reason::Finding(FindingKind::NotRouted | FindingKind::Unparsable)
            | Reason::Excluded
            | Reason::Exempt
            | Reason::PullNever
            | Reason::MirrorPod
            | Reason::Internal => true,
            Reason::Local
            | Reason::AlreadyLocal
            | Reason::Accepted
            | Reason::Presumed
            | Reason::Fallback
            | Reason::Denied
            | Reason::Observed
            | Reason::Finding(_) => false,
        }
    }
}

fn reason(verdict: &Verdict) -> Reason {
    match verdict.ruling {
        Ruling::Local { .. } => Reason::Local,
        Ruling::Accepted { ground: Ground::Accepted, .. } => Reason::Accepted,
        Ruling::Accepted { ground: Ground::Presumed, .. } => Reason::Presumed,
        Ruling::Fallback { .. } => Reason::Fallback,
        Ruling::Deny => Reason::Denied,
        Ruling::Keep(KeepReason::NotRouted) => Reason::Finding(FindingKind::NotRouted),
        Ruling::Keep(KeepReason::Unparsable) => Reason::Finding(FindingKind::Unparsable),
        Ruling::Keep(KeepReason::Excluded) => Reason::Excluded,
        Ruling::Keep(KeepReason::Exempt) => Reason::Exempt,
        Ruling::Keep(KeepReason::PullNever) => Reason::PullNever,
    }
}

/// The reference as written, at most pinned.
fn pinned(written: &str, routed: &Routed, pin: Option<Digest>) -> Option<Box<str>> {
    let pin = pin.filter(|_| routed.digest.is_none())?;
    Some(format!("{written}@{pin}").into())
}

/// The reference at another Place: the tag as written (never an invented `:latest`), and the digest.
fn moved(place: &Place, routed: &Routed, pin: Option<Digest>) -> Box<str> {
    let mut image = format!("{}/{}", place.registry.host, place.repository);
    if let Some(tag) = &routed.tag {
        image.extend([":", tag.as_str()]);
    }
    if let Some(pin) = pin {
        image.push_str(&format!("@{pin}"));
    }
    image.into()
}
