//! The decision: takes a Case and the Evidence known so far, and returns the next questions or a Verdict.
//!
//! ```text
//! for each local Place, in order:  assess ─ qualifies ────────────────────────────► Local
//!                                     └ findings, each with the strictest action of the policies
//! none qualifies:  a Place that could have decided is unknown, and a policy blocks that ─► Deny
//!                  a copy without availability findings? its action : the mildest action of all Places
//!                                     Accept ► Accepted    Block ► Deny
//!                                     Fallback ► another site ► the primary ► Presumed
//! ```
//!
//! [`decide`] and [`admits`] are total and pure. Their laws are property-tested in `decide/laws.rs`.
//!
//! ```
//! # use landfall::facade::config::{self, Files};
//! # use landfall::facade::domain::case::{Exemption, PodContext, Pull};
//! # use landfall::facade::domain::policy::Labels;
//! use landfall::facade::domain::decide::{Step, decide};
//! use landfall::facade::domain::evidence::{Evidence, Observation, Presence, Query, Reachability};
//! use landfall::facade::domain::finding::FindingKind;
//! use landfall::facade::domain::verdict::Ruling;
//! # let text = "site: ams
//! # registries:
//! #   fra: {host: fra.example.com, site: fra, kind: harbor}
//! #   ams: {host: ams.example.com, site: ams, kind: harbor}
//! # routes:
//! # - name: shop
//! #   primary: {registry: fra, repositories: 'shop/**'}
//! #   replicas: [{registry: ams, namespace: ''}]
//! # ";
//! # let now = "2026-11-21T12:00:00Z".parse()?;
//! # let settings = config::parse(text, "site.yaml", Files::Skip, now)?.settings;
//! # let (regime, platforms) = (settings.regime(&Labels::new(), now), settings.platforms.clone());
//! # let context = PodContext { regime, platforms, exemption: Exemption::None, now };
//!
//! let digest = format!("sha256:{}", "ab".repeat(32));
//! let case = settings.case_for(&format!("fra.example.com/shop/web@{digest}"), Pull::Registry, &context);
//! let mut evidence = Evidence::default();
//! let verdict = loop {
//!     match decide(&case, &evidence) {
//!         Step::Settle(verdict) => break verdict,
//!         Step::Ask(queries) => queries.into_iter().for_each(|query| {
//!             // A real caller asks the registries; here the local copy is missing and the primary is up.
//!             let observation = match query {
//!                 Query::Reachable(_) => Observation::Reachable(Reachability::Up),
//!                 _ => Observation::Presence(Presence::Absent),
//!             };
//!             evidence.learn(query, observation, std::time::Duration::ZERO);
//!         }),
//!     }
//! };
//! assert!(matches!(verdict.ruling, Ruling::Fallback { .. }));
//! assert_eq!(verdict.findings[0].kind, FindingKind::Missing);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod assess;
mod assessment;
mod children;
mod expiry;
#[cfg(test)]
mod laws;
mod too_many;

use std::sync::Arc;

use super::case::{Case, Locality, Place, Role, Routed, Subject};
use super::digest::Digest;
use super::evidence::{Evidence, Observation, Presence, Query, Reachability, TagDigest, Wanted};
use super::finding::{About, Action, Finding, FindingKind, PolicyKey};
use super::place::PlaceIx;
use super::policy::PolicyView;
use super::route::{Collision, Pin, Serves};
use super::unknown::{Silence, Unknown};
use super::verdict::{Ground, KeepReason, Ruling, Verdict};
use assess::ByDigest;
use assessment::Assessment;

pub use expiry::expires_at;
pub use too_many::too_many;

/// Findings with which a copy is known not to start a Pod, so that it is never presumed right.
const GONE: [FindingKind; 3] = [FindingKind::Missing, FindingKind::LayerMissing, FindingKind::PullFailed];

/// One step of a judgement: it names the evidence that is still missing, or gives the result.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Step<T> {
    /// These questions must be answered first. The list is never empty, and none of them is answered already.
    Ask(Vec<Query>),
    /// The result; more evidence does not change it.
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

/// The image that Istio's injector replaces, in the Pods of gateways:
/// <https://istio.io/latest/docs/setup/additional-setup/gateway/>.
pub const PLACEHOLDER: &str = "auto";

/// The answer of the validating door for an image as written.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Admission {
    /// The image may run.
    Admitted(Verdict),
    /// The image may not run: [`decide`] denies it as written.
    Denied(Verdict),
    /// The image has no digest, though a local copy could have been pinned. So the mutating door was skipped, and the
    /// client should try again.
    NotPinned(Verdict),
}

/// Judges an image, or names the evidence that is still missing. See the [module](self) for an example.
pub fn decide(case: &Case, evidence: &Evidence) -> Step<Verdict> {
    // An injector may still replace it, and the webhook is called again with the result. No policy changes that: it could
    // only deny Pods that will be good. The validating door judges what the Pod has in the end.
    if &*case.written == PLACEHOLDER {
        Step::Settle(keep(KeepReason::Placeholder))
    } else {
        judged(case, evidence)
    }
}

/// Judges an image, whatever injectors may do.
fn judged(case: &Case, evidence: &Evidence) -> Step<Verdict> {
    match &case.subject {
        Subject::Kept(KeepReason::NotRouted) => Step::Settle(unrouted(case, FindingKind::NotRouted)),
        // An injector may still replace what is no reference; the validating door judges the result.
        Subject::Kept(reason) => Step::Settle(keep(*reason)),
        Subject::Routed(routed) => {
            let views = case.regime.views(&case.name, case.now);
            Judge { case, routed, evidence, views: &views, digest: routed.digest }.verdict()
        }
    }
}

/// Judges an image for the validating door. It denies exactly where [`decide`] denies the reference as written, or
/// where the reference has no digest while `decide` finds a local copy that could be pinned. What `decide` keeps because
/// an injector may still replace it (`auto`, and what is no reference) is judged here, for nobody replaces it any more: a
/// node would pull `docker.io/library/auto`.
///
/// ```
/// # use landfall::facade::config::{self, Files};
/// # use landfall::facade::domain::case::{Exemption, PodContext, Pull};
/// # use landfall::facade::domain::policy::Labels;
/// use landfall::facade::domain::decide::{Admission, Step, admits};
/// use landfall::facade::domain::evidence::Evidence;
/// # let text = "site: ams
/// # registries: {ams: {host: ams.example.com, site: ams, kind: harbor}}
/// # routes: []
/// # defaults: {onUnrouted: Block}
/// # ";
/// # let now = "2026-11-21T12:00:00Z".parse()?;
/// # let settings = config::parse(text, "site.yaml", Files::Skip, now)?.settings;
/// # let (regime, platforms) = (settings.regime(&Labels::new(), now), settings.platforms.clone());
/// # let context = PodContext { regime, platforms, exemption: Exemption::None, now };
///
/// // The settings say `onUnrouted: Block`, and no Route covers Docker Hub.
/// let case = settings.case_for("nginx:1.27", Pull::Registry, &context);
/// let Step::Settle(Admission::Denied(verdict)) = admits(&case, &Evidence::default()) else { panic!() };
/// assert_eq!(verdict.findings[0].kind.as_str(), "NotRouted");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn admits(case: &Case, evidence: &Evidence) -> Step<Admission> {
    let admitted = |verdict: Verdict| match verdict.ruling {
        Ruling::Deny => Admission::Denied(verdict),
        _ => Admission::Admitted(verdict),
    };
    match &case.subject {
        Subject::Kept(KeepReason::Unparsable) => {
            Step::Settle(admitted(unrouted(case, FindingKind::Unparsable)))
        }
        Subject::Kept(_) => judged(case, evidence).and_then(|verdict| Step::Settle(admitted(verdict))),
        Subject::Routed(routed) => judged(case, evidence).and_then(|verdict| {
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

/// The verdict for an image that Landfall cannot prove: it is kept as written, unless a policy blocks it.
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

/// One judgement: the Case, the evidence, the policies that apply, and the wanted digest.
#[derive(Clone, Copy)]
struct Judge<'a> {
    case: &'a Case,
    routed: &'a Routed,
    evidence: &'a Evidence,
    views: &'a [PolicyView<'a>],
    /// The digest in the reference, or the one that the verdict would pin.
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

    /// Chooses the verdict when no local Place qualifies.
    fn resolve(&self, assessments: &[Assessment]) -> Step<Verdict> {
        let alone = self.unseen(assessments).or_else(|| assessments.iter().find(|one| one.is_available()));
        let deciding = match alone {
            Some(deciding) => Some(deciding),
            None => match self.mildest(assessments) {
                Step::Ask(queries) => return Step::Ask(queries),
                Step::Settle(mildest) => mildest,
            },
        };
        let Some(deciding) = deciding else { return Step::Settle(keep(KeepReason::NotRouted)) };
        let verdict = |ruling| {
            let findings = assessments.iter().flat_map(|one| one.findings.iter().cloned()).collect();
            Step::Settle(Verdict { ruling, findings, deciding: deciding.place })
        };
        if deciding.action() == Action::Block {
            return verdict(Ruling::Deny);
        }
        self.denial_when_pinned(deciding.held).and_then(|denial| {
            let accepted =
                |place| Ruling::Accepted { place, digest: deciding.held, ground: Ground::Accepted };
            match (deciding.action(), deciding.place, denial) {
                // The digest of the local copy is denied, so its tag is denied too.
                (_, _, Some(denial)) if deciding.is_available() => Step::Settle(denial),
                (Action::Accept, Some(place), None) => verdict(accepted(place)),
                (_, Some(place), None) if deciding.is_available() && self.primary_is_local() => {
                    verdict(accepted(place))
                }
                _ => self.fall_back(assessments).and_then(|target| match target {
                    Target::Unseen(unseen) => verdict(Ruling::Deny).and_then(|mut verdict| {
                        verdict.findings.extend(unseen.findings);
                        Step::Settle(verdict)
                    }),
                    Target::Found(ruling @ Ruling::Fallback { digest: Some(digest), .. }) => self
                        .denial_when_pinned(Some(digest))
                        .and_then(|denial| denial.map_or_else(|| verdict(ruling), Step::Settle)),
                    Target::Found(ruling) => verdict(ruling),
                }),
            }
        })
    }

    /// The Place with the mildest action; of equals, the first. Where its copy would be accepted, but its digest is denied,
    /// the next of them is taken: otherwise a copy that can be used would count only while nobody knows of the other one.
    fn mildest<'b>(&self, assessments: &'b [Assessment]) -> Step<Option<&'b Assessment>> {
        // `min_by_key` keeps the first of equals.
        let Some(first) = assessments.iter().min_by_key(|one| one.action()) else {
            return Step::Settle(None);
        };
        if first.action() == Action::Accept {
            for one in assessments.iter().filter(|one| one.action() == Action::Accept) {
                match self.denial_when_pinned(one.held) {
                    Step::Ask(queries) => return Step::Ask(queries),
                    Step::Settle(None) => return Step::Settle(Some(one)),
                    Step::Settle(Some(_)) => {}
                }
            }
        }
        Step::Settle(Some(first))
    }

    /// The first local Place that is unknown, where a policy blocks that and the answer could have decided. Beside an
    /// available copy only an earlier Place could, or a scan that shows the digest of another copy to be vulnerable.
    fn unseen<'b>(&self, assessments: &'b [Assessment]) -> Option<&'b Assessment> {
        let scans = |one: &Assessment| {
            one.place.and_then(|ix| self.routed.place(ix)).is_some_and(|place| place.registry.kind.scans())
        };
        let available = assessments.iter().position(Assessment::is_available);
        let first = available.unwrap_or(assessments.len());
        let shares = |at: usize, one: &Assessment| {
            let decides = |other: usize| other != at && available.is_none_or(|first| first == other);
            let mut others = assessments.iter().enumerate().filter(|(other, _)| decides(*other));
            one.scan_unseen && others.any(|(_, other)| other.held == one.held)
        };
        let mut ordered = assessments.iter().enumerate();
        let unseen =
            ordered.find(|(at, one)| one.is_unseen() && (*at < first || scans(one)) || shares(*at, one));
        unseen.map(|(_, one)| one)
    }

    /// Whether an enforcing policy blocks what could not be learned.
    fn blocks_unknown(&self) -> bool {
        self.views.iter().any(PolicyView::blocks_unknown)
    }

    /// Whether the copy at this Place may be another source's: it is named by tag, and the mapping may collide.
    fn may_be_another_source(&self, place: &Place) -> bool {
        self.digest.is_none() && place.collision == Collision::Possible
    }

    /// Whether a digest that a tag answers is written into the Pod.
    fn writes_digest(&self) -> bool {
        self.digest.is_none() && (self.routed.pin != Pin::Off || self.case.regime.enforces())
    }

    /// Judges a tag again as the digest that the verdict would pin; the result is the verdict that denies it, if any.
    /// The validating door sees only the digest, so the Pod must not get a digest that this door denies. (A proved
    /// local copy needs no second judgement: what it satisfies as a tag, it satisfies as a digest.)
    fn denial_when_pinned(&self, digest: Option<Digest>) -> Step<Option<Verdict>> {
        if !self.writes_digest() || digest.is_none() {
            return Step::Settle(None);
        }
        let again = Judge { digest, ..*self }.verdict();
        again.and_then(|again| Step::Settle(Some(again).filter(|again| again.ruling == Ruling::Deny)))
    }

    fn primary_is_local(&self) -> bool {
        self.places().any(|(_, place)| place.role == Role::Primary && place.locality == Locality::Local)
    }

    /// Chooses the nearest copy on another site, or the local copy where every other one is known to be down.
    fn fall_back(&self, assessments: &[Assessment]) -> Step<Target> {
        let found = |place, digest| Step::Settle(Target::Found(Ruling::Fallback { place, digest }));
        let mut down = false;
        for (ix, place) in self.places().filter(|(_, place)| place.locality == Locality::Remote) {
            if place.role == Role::Primary {
                let query = Query::Reachable(ix);
                match self.evidence.get(query) {
                    Some(Observation::Reachable(Reachability::Up)) => {
                        return found(Some(ix), self.digest);
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
                        Step::Settle(true) => continue,
                        Step::Settle(false) => {}
                    }
                    match self.by_digest(ix, *digest) {
                        ByDigest::Unasked(query) => return Step::Ask(vec![query]),
                        ByDigest::Answers => return found(Some(ix), Some(*digest)),
                        ByDigest::Other(Presence::Unknown(unknown)) => {
                            if let Some(unseen) = self.unseen_there(ix, place, unknown) {
                                return Step::Settle(Target::Unseen(unseen));
                            }
                            down |= unknown.cause.silence() == Silence::Down;
                        }
                        ByDigest::Other(_) => {}
                    }
                }
                Some(Observation::Presence(Presence::Unknown(unknown))) => {
                    if let Some(unseen) = self.unseen_there(ix, place, unknown) {
                        return Step::Settle(Target::Unseen(unseen));
                    }
                    down |= unknown.cause.silence() == Silence::Down;
                }
                Some(_) => {}
                None => return Step::Ask(vec![query]),
            }
        }
        match self.silent_primary_here() {
            Step::Ask(queries) => return Step::Ask(queries),
            Step::Settle(Some(ix)) => return found(Some(ix), self.digest),
            Step::Settle(None) => {}
        }
        let nowhere = Ruling::Fallback { place: None, digest: None };
        let ruling = if down { self.presume(assessments, nowhere) } else { Step::Settle(nowhere) };
        ruling.and_then(|ruling| Step::Settle(Target::Found(ruling)))
    }

    /// A Place of another site that is unknown, where a policy blocks that. By its digest nothing would be learned of the image
    /// there. A tag may mean a digest that is denied.
    fn unseen_there(&self, ix: PlaceIx, place: &Place, unknown: &Unknown) -> Option<Assessment> {
        let mut unseen = Assessment::of(Some(ix));
        unseen.find(self, unknown.cause.finding(), About::Copy, self.digest, unknown.detail.clone());
        (self.digest.is_none() && place.serves == Serves::Copies && unseen.is_unseen()).then_some(unseen)
    }

    /// Whether the tag of a copy is another digest than the primary's: proved to be, or not proved to be the same where
    /// the mapping may collide. Such a copy is not taken from another site either.
    fn is_another(&self, place: &Place, digest: Digest) -> Step<bool> {
        let Some(query) = self.proof(place).map(Query::TagDigest) else { return Step::Settle(false) };
        match self.evidence.get(query) {
            None => Step::Ask(vec![query]),
            Some(Observation::TagDigest(TagDigest::Known(meant))) => Step::Settle(*meant != digest),
            Some(_) => Step::Settle(self.may_be_another_source(place)),
        }
    }

    /// The primary, where it is on our own site and it is unknown whether it holds the image. It is a Fallback target
    /// like a primary on another site, which is not asked at all.
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

    /// Every target of the Fallback is known to be down. Takes the local copy, unless something forbids it: the same
    /// digest elsewhere would be no safer, and a primary that is down cannot serve it.
    fn presume(&self, assessments: &[Assessment], otherwise: Ruling) -> Step<Ruling> {
        let mut candidates: Vec<_> = assessments
            .iter()
            .filter(|one| one.action() < Action::Block)
            .filter(|one| !GONE.iter().any(|kind| one.has(*kind)))
            .filter(|one| self.may_presume(one))
            .collect();
        candidates.sort_by_key(|one| (!one.is_available(), one.held.is_none()));
        for candidate in candidates {
            let (Some(place), digest) = (candidate.place, candidate.held.or(self.digest)) else { continue };
            match self.denial_when_pinned(digest) {
                Step::Ask(queries) => return Step::Ask(queries),
                Step::Settle(Some(_)) => {}
                Step::Settle(None) => {
                    return Step::Settle(Ruling::Accepted { place, digest, ground: Ground::Presumed });
                }
            }
        }
        Step::Settle(otherwise)
    }

    /// Whether a copy may be presumed right. Where a policy blocks what could not be learned, a copy with a known
    /// finding is not; only its tag may be unproved. Where the mapping may collide, a tag must be proved.
    fn may_presume(&self, assessment: &Assessment) -> bool {
        let Some(place) = assessment.place.and_then(|ix| self.routed.place(ix)) else { return false };
        let is_proved = assessment.held.is_some()
            && assessment.findings.iter().all(|finding| finding.about != About::Tag);
        let is_known = |finding: &Finding| {
            !matches!(finding.kind.key(), PolicyKey::OnUnknown | PolicyKey::OnUnproved)
                && finding.action != Action::Accept
        };
        (is_proved || !self.may_be_another_source(place))
            && !(self.blocks_unknown() && assessment.findings.iter().any(is_known))
    }
}

/// Where a Fallback leads.
enum Target {
    /// To this ruling.
    Found(Ruling),
    /// Nowhere: a Place of another site is unknown, and a policy blocks that.
    Unseen(Assessment),
}
