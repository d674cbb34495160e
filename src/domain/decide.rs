//! The decision: from a Case and the Evidence known so far to the next questions, or a Verdict.
//!
//! ```text
//! for each local Place, in order:  assess ─ qualifies ────────────────────────────► Local
//!                                     └ findings, each with the strictest action that is asked for
//! none qualifies:  a copy without availability findings? its action : the mildest of all
//!                                     Accept ► Accepted    Block ► Deny
//!                                     Fallback ► another site ► the primary ► Presumed
//! ```
//!
//! Both functions are total and pure; the laws they obey are property-tested in `decide/laws.rs`.

mod assess;
mod assessment;
mod expiry;
#[cfg(test)]
mod laws;

use std::sync::Arc;

use super::case::{Case, Locality, Place, Role, Routed, Subject};
use super::digest::Digest;
use super::evidence::{
    Evidence, Observation, PlaceIx, Presence, Query, Reachability, Silence, TagDigest, Wanted,
};
use super::policy::PolicyView;
use super::route::{Pin, Serves};
use super::verdict::{About, Action, Finding, FindingKind, Ground, KeepReason, Ruling, Verdict};
use assessment::Assessment;

pub use expiry::expires_at;

/// One step of a judgement: it names the evidence that it still lacks, or settles.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Step<T> {
    /// These questions must be answered first; never empty, and none of them is answered already.
    Ask(Vec<Query>),
    /// Settled.
    Settle(T),
}

impl<T> Step<T> {
    fn and_then<U>(self, next: impl FnOnce(T) -> Step<U>) -> Step<U> {
        match self {
            Self::Ask(queries) => Step::Ask(queries),
            Self::Settle(value) => next(value),
        }
    }
}

/// What the validating door says of an image as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Admission {
    /// It may run.
    Admitted(Verdict),
    /// It may not: judging it as it stands denies it.
    Denied(Verdict),
    /// It has no digest, though a local copy could have been pinned: the mutating door was skipped; try again.
    NotPinned(Verdict),
}

/// Judges an image, or names the evidence that it still lacks.
pub fn decide(case: &Case, evidence: &Evidence) -> Step<Verdict> {
    match &case.subject {
        Subject::Kept(KeepReason::NotRouted) => Step::Settle(unrouted(case, FindingKind::NotRouted)),
        // Whether it can be judged later (an injector may still replace `auto`) is for the validating door.
        Subject::Kept(reason) => Step::Settle(keep(*reason)),
        Subject::Routed(routed) => {
            let views = case.regime.views(&case.name, case.now);
            Judge { case, routed, evidence, views: &views, digest: routed.digest }.verdict()
        }
    }
}

/// Judges an image for the validating door: it denies exactly where [`decide`] would deny the reference as it
/// stands, or where the reference has no digest while `decide` finds a local copy that could be pinned.
pub fn admits(case: &Case, evidence: &Evidence) -> Step<Admission> {
    let admitted = |verdict: Verdict| match verdict.ruling {
        Ruling::Deny => Admission::Denied(verdict),
        _ => Admission::Admitted(verdict),
    };
    match &case.subject {
        Subject::Kept(KeepReason::Unparsable) => {
            Step::Settle(admitted(unrouted(case, FindingKind::Unparsable)))
        }
        Subject::Kept(_) => decide(case, evidence).and_then(|verdict| Step::Settle(admitted(verdict))),
        Subject::Routed(routed) => decide(case, evidence).and_then(|verdict| {
            Step::Settle(match verdict.ruling {
                Ruling::Local { .. } | Ruling::Accepted { ground: Ground::Accepted, .. }
                    if routed.digest.is_none() =>
                {
                    Admission::NotPinned(verdict)
                }
                _ => admitted(verdict),
            })
        }),
    }
}

fn keep(reason: KeepReason) -> Verdict {
    Verdict { ruling: Ruling::Keep(reason), findings: Vec::new(), deciding: None }
}

/// An image outside what Landfall can prove: left alone, unless a policy blocks it.
fn unrouted(case: &Case, kind: FindingKind) -> Verdict {
    let views = case.regime.views(&case.name, case.now);
    let blocks = |view: &&PolicyView<'_>| view.on(kind) == Some(Action::Block);
    if !views.iter().any(|view| blocks(&view)) {
        return keep(match kind {
            FindingKind::Unparsable => KeepReason::Unparsable,
            _ => KeepReason::NotRouted,
        });
    }
    let finding = Finding {
        kind,
        about: About::Image,
        place: None,
        digest: None,
        detail: Arc::default(),
        action: Action::Block,
        policies: views.iter().filter(blocks).filter_map(|view| view.policy.cloned()).collect(),
    };
    Verdict { ruling: Ruling::Deny, findings: vec![finding], deciding: None }
}

/// One judgement: the Case, what is known, who speaks, and the digest that is wanted.
#[derive(Clone, Copy)]
struct Judge<'a> {
    case: &'a Case,
    routed: &'a Routed,
    evidence: &'a Evidence,
    views: &'a [PolicyView<'a>],
    /// The reference's own digest, or the one that a Fallback would pin.
    digest: Option<Digest>,
}

impl<'a> Judge<'a> {
    fn wanted(&self) -> Wanted {
        self.digest.map_or(Wanted::Tag, Wanted::Digest)
    }

    fn places(&self) -> impl Iterator<Item = (PlaceIx, &'a Place)> {
        self.routed.iter()
    }

    fn locals(&self) -> impl Iterator<Item = (PlaceIx, &'a Place)> {
        self.places().filter(|(_, place)| place.locality == Locality::Local)
    }

    fn verdict(&self) -> Step<Verdict> {
        let mut assessments = Vec::new();
        for (ix, place) in self.locals() {
            let assessment = match self.assess(ix, place) {
                Step::Ask(queries) => return Step::Ask(queries),
                Step::Settle(assessment) => assessment,
            };
            if let Some(digest) = assessment.qualifies() {
                return Step::Settle(Verdict {
                    ruling: Ruling::Local { place: ix, digest },
                    findings: assessments.into_iter().flat_map(|one: Assessment| one.findings).collect(),
                    deciding: Some(ix),
                });
            }
            assessments.push(assessment);
        }
        if assessments.is_empty() {
            assessments.push(Assessment::nowhere(self));
        }
        Assessment::share_vulnerability(&mut assessments);
        self.resolve(&assessments)
    }

    /// No local Place qualifies: what now?
    fn resolve(&self, assessments: &[Assessment]) -> Step<Verdict> {
        // `min_by_key` keeps the first of equals, so order decides among Places that are equally mild.
        let deciding = assessments
            .iter()
            .find(|one| one.is_available())
            .or_else(|| assessments.iter().min_by_key(|one| one.action()));
        let Some(deciding) = deciding else { return Step::Settle(keep(KeepReason::NotRouted)) };
        let verdict = |ruling| {
            let findings = assessments.iter().flat_map(|one| one.findings.iter().cloned()).collect();
            Step::Settle(Verdict { ruling, findings, deciding: deciding.place })
        };
        if deciding.action() == Action::Block {
            return verdict(Ruling::Deny);
        }
        self.veto(deciding.held).and_then(|veto| {
            let accepted =
                |place| Ruling::Accepted { place, digest: deciding.held, ground: Ground::Accepted };
            match (deciding.action(), deciding.place, veto) {
                // What the tag means here is denied as what it is.
                (_, _, Some(denial)) if deciding.is_available() => Step::Settle(denial),
                (Action::Accept, Some(place), None) => verdict(accepted(place)),
                (_, Some(place), None) if deciding.is_available() && self.primary_is_local() => {
                    verdict(accepted(place))
                }
                _ => self.fall_back(assessments).and_then(|ruling| match ruling {
                    Ruling::Fallback { digest: Some(digest), .. } => self
                        .veto(Some(digest))
                        .and_then(|veto| veto.map_or_else(|| verdict(ruling), Step::Settle)),
                    _ => verdict(ruling),
                }),
            }
        })
    }

    /// A verdict that pins a tag is first judged again as that digest: the validating door sees only the digest, and
    /// what it would deny must not be put into the Pod. (What the proved local copy satisfies as a tag, it satisfies
    /// as a digest: no veto there.)
    fn veto(&self, digest: Option<Digest>) -> Step<Option<Verdict>> {
        let pins = self.digest.is_none() && (self.routed.pin == Pin::Digest || self.case.regime.enforces());
        if !pins || digest.is_none() {
            return Step::Settle(None);
        }
        let again = Judge { digest, ..*self }.verdict();
        again.and_then(|again| Step::Settle(Some(again).filter(|again| again.ruling == Ruling::Deny)))
    }

    fn primary_is_local(&self) -> bool {
        self.places().any(|(_, place)| place.role == Role::Primary && place.locality == Locality::Local)
    }

    /// The nearest copy on another site; the local one where every other is known to be down.
    fn fall_back(&self, assessments: &[Assessment]) -> Step<Ruling> {
        let mut down = false;
        for (ix, place) in self.places().filter(|(_, place)| place.locality == Locality::Remote) {
            if place.role == Role::Primary {
                let query = Query::Reachable(ix);
                match self.evidence.get(query) {
                    Some(Observation::Reachable(Reachability::Up)) => {
                        return Step::Settle(Ruling::Fallback { place: Some(ix), digest: self.digest });
                    }
                    Some(_) => down = true,
                    None => return Step::Ask(vec![query]),
                }
                continue;
            }
            let query = Query::Presence(ix, self.wanted());
            match self.evidence.get(query) {
                Some(Observation::Presence(Presence::Present { digest, .. }))
                    if place.serves == Serves::Copies =>
                {
                    match self.is_another(place, *digest) {
                        Step::Ask(queries) => return Step::Ask(queries),
                        Step::Settle(true) => {}
                        Step::Settle(false) => {
                            return Step::Settle(Ruling::Fallback { place: Some(ix), digest: Some(*digest) });
                        }
                    }
                }
                Some(Observation::Presence(Presence::Unknown(unknown))) => {
                    down |= unknown.cause.silence() == Silence::Down;
                }
                Some(_) => {}
                None => return Step::Ask(vec![query]),
            }
        }
        match self.silent_primary_here() {
            Step::Ask(queries) => return Step::Ask(queries),
            Step::Settle(Some(ix)) => {
                return Step::Settle(Ruling::Fallback { place: Some(ix), digest: self.digest });
            }
            Step::Settle(None) => {}
        }
        let nowhere = Ruling::Fallback { place: None, digest: None };
        if down { self.presume(assessments, nowhere) } else { Step::Settle(nowhere) }
    }

    /// Is the tag of a copy proved to be another digest than the primary's? What is not taken from here for that
    /// reason is not taken from there.
    fn is_another(&self, place: &Place, digest: Digest) -> Step<bool> {
        let Some(query) = self.proof(place).map(Query::TagDigest) else { return Step::Settle(false) };
        match self.evidence.get(query) {
            None => Step::Ask(vec![query]),
            Some(Observation::TagDigest(TagDigest::Known(meant))) => Step::Settle(*meant != digest),
            Some(_) => Step::Settle(false),
        }
    }

    /// The primary, where it stands on our own site and did not say whether it holds the image: it is no less a
    /// target than one elsewhere, which is not even asked.
    fn silent_primary_here(&self) -> Step<Option<PlaceIx>> {
        let primary = self.routed.primary().filter(|(_, place)| place.locality == Locality::Local);
        let silent = primary.filter(|(ix, _)| {
            let presence = self.evidence.get(Query::Presence(*ix, self.wanted()));
            matches!(presence, Some(Observation::Presence(Presence::Unknown(_))))
        });
        let Some((ix, _)) = silent else { return Step::Settle(None) };
        match self.evidence.get(Query::Reachable(ix)) {
            None => Step::Ask(vec![Query::Reachable(ix)]),
            Some(Observation::Reachable(Reachability::Up)) => Step::Settle(Some(ix)),
            Some(_) => Step::Settle(None),
        }
    }

    /// Every target of the Fallback is known to be down: the same digest elsewhere is no safer, and a dead primary
    /// helps nobody. So the local copy, unless something forbids that copy.
    fn presume(&self, assessments: &[Assessment], otherwise: Ruling) -> Step<Ruling> {
        let mut candidates: Vec<_> = assessments
            .iter()
            .filter(|one| one.action() < Action::Block)
            .filter(|one| !one.has(FindingKind::Missing) && !one.has(FindingKind::PullFailed))
            .collect();
        candidates.sort_by_key(|one| (!one.is_available(), one.held.is_none()));
        for candidate in candidates {
            let (Some(place), digest) = (candidate.place, candidate.held.or(self.digest)) else { continue };
            match self.veto(digest) {
                Step::Ask(queries) => return Step::Ask(queries),
                Step::Settle(Some(_)) => {}
                Step::Settle(None) => {
                    return Step::Settle(Ruling::Accepted { place, digest, ground: Ground::Presumed });
                }
            }
        }
        Step::Settle(otherwise)
    }
}
