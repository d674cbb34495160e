//! Assesses one local Place: finds every reason not to use its copy.

use super::assessment::Assessment;
use super::{Judge, Step};
use crate::domain::case::{Place, Role};
use crate::domain::digest::Digest;
use crate::domain::evidence::{Ask, Evidence, Observation, Presence, Query, Shape, TagDigest, Wanted};
use crate::domain::finding::{About, Action, FindingKind, PolicyKey};
use crate::domain::place::PlaceIx;
use crate::domain::policy::PolicyView;
use crate::domain::registry::Kind;
use crate::domain::route::{Collision, Serves, TagProof};
use crate::domain::scan::{Detail, Required, ScanAnswer, ScanResult, ScanState, Scanner, Shortfall};
use crate::domain::unknown::Cause;

/// The copy that a Place holds, by its answer to the presence question.
pub(super) struct Copy {
    pub digest: Digest,
    pub shape: Shape,
}

/// What a Place answers for the digest that its tag answered.
pub(super) enum ByDigest<'a> {
    /// It must be asked first.
    Unasked(Query),
    /// The digest is there, or it will not be written.
    Answers,
    /// Something else.
    Other(&'a Presence),
}

/// Looks up evidence, and collects the questions that have no answer yet.
pub(super) struct Lookup<'a> {
    evidence: &'a Evidence,
    pub(super) lacks: Vec<Query>,
}

impl<'a> Lookup<'a> {
    pub(super) fn get(&mut self, query: Query) -> Option<&'a Observation> {
        let known = self.evidence.get(query);
        if known.is_none() && !self.lacks.contains(&query) {
            self.lacks.push(query);
        }
        known
    }

    /// Returns the value, or the questions that have no answer yet.
    pub(super) fn complete<T>(self, value: impl FnOnce() -> T) -> Step<T> {
        if self.lacks.is_empty() { Step::Settle(value()) } else { Step::Ask(self.lacks) }
    }
}

impl<'a> Judge<'a> {
    /// The action of a policy view for a finding; `None` where the view does not cover the finding.
    pub(super) fn action(
        &self,
        view: &PolicyView<'_>,
        (kind, about, place): (FindingKind, About, Option<PlaceIx>),
    ) -> Option<Action> {
        let proxied = |ix| self.routed.place(ix).is_some_and(|place| place.serves == Serves::ProxyCache);
        match (view.on(kind), kind, about) {
            // A Place with `proxy: true` is used in spite of ProxyCache, unless an enforcing policy blocks it.
            (Some(action), FindingKind::ProxyCache, _) if place.is_some_and(proxied) => {
                Some(if view.policy.is_some() && action == Action::Block { action } else { Action::Accept })
            }
            // Where the mapping may collide, a tag that is not proved may be another source's image.
            (Some(action), FindingKind::Stale | FindingKind::Unproved, _)
                if place
                    .and_then(|ix| self.routed.place(ix))
                    .is_some_and(|at| self.may_be_another_source(at)) =>
            {
                Some(action.max(Action::Fallback))
            }
            // A scan that could not be learned is unknown, and there is no proof of a scan: the stricter action counts.
            (action, kind, About::Scan) if kind.is_unknown() => action.max(view.on(FindingKind::Unscanned)),
            (action, ..) => action,
        }
    }

    /// Assesses one local Place. All questions of one stage are asked together.
    pub(super) fn assess(&self, ix: PlaceIx, place: &Place) -> Step<Assessment> {
        let mut lookup = self.lookup();
        let presence = lookup.get(Query::Presence(ix, self.wanted()));
        let proof = self.proof(place);
        let meant = proof.and_then(|ask| lookup.get(Query::TagDigest(ask)));
        if !lookup.lacks.is_empty() {
            return Step::Ask(lookup.lacks);
        }

        let mut assessment = Assessment::of(Some(ix));
        let Some(copy) = self.copy(place, presence, &mut assessment) else { return Step::Settle(assessment) };
        if let (Some(ask), Some(meant)) = (proof, meant) {
            self.prove_tag(ask, meant, &copy, &mut assessment);
        }
        let (held, unasked) = match self.by_digest(ix, copy.digest) {
            ByDigest::Unasked(query) => (Some(copy.digest), Some(query)),
            ByDigest::Answers => (Some(copy.digest), None),
            // The tag of a proxy cache can be pulled, even where its digest cannot be yet.
            ByDigest::Other(_) if assessment.has(FindingKind::ProxyCache) && self.serves_by_tag(place) => {
                (None, None)
            }
            ByDigest::Other(presence) => {
                let absent = "its tag answers, its digest does not";
                self.find_absence(presence, Some(copy.digest), absent, &mut assessment);
                (None, None)
            }
        };
        match (unasked, self.inside(ix, place, &copy, Assessment { held, ..assessment })) {
            (None, step) => step,
            // Both questions are asked at once.
            (Some(query), Step::Ask(mut queries)) => {
                queries.retain(|other| *other != query);
                queries.push(query);
                Step::Ask(queries)
            }
            (Some(query), Step::Settle(_)) => Step::Ask(vec![query]),
        }
    }

    /// Whether a digest that a tag answered is answered itself, if it would be written into the Pod. Some registries answer
    /// for a tag whose manifest is gone, or do not know a digest that nobody has pulled yet.
    pub(super) fn by_digest(&self, ix: PlaceIx, digest: Digest) -> ByDigest<'a> {
        let query = Query::Presence(ix, Wanted::Digest(digest));
        match self.evidence.get(query) {
            _ if !self.writes_digest() => ByDigest::Answers,
            None => ByDigest::Unasked(query),
            Some(Observation::Presence(Presence::Present { .. } | Presence::ProxyCache { .. })) => {
                ByDigest::Answers
            }
            Some(Observation::Presence(other)) => ByDigest::Other(other),
            Some(_) => ByDigest::Other(&Presence::Absent),
        }
    }

    /// Whether a tag may be left without its digest here.
    fn serves_by_tag(&self, place: &Place) -> bool {
        !self.case.regime.enforces() && !self.may_be_another_source(place)
    }

    /// Assesses what the copy consists of: its children and their scans.
    fn inside(
        &self,
        ix: PlaceIx,
        place: &Place,
        copy: &Copy,
        mut assessment: Assessment,
    ) -> Step<Assessment> {
        let (mut open, concerned) = self.children(ix, copy, &mut assessment);
        if assessment
            .findings
            .iter()
            .any(|finding| finding.about == About::Copy && finding.kind != FindingKind::ProxyCache)
        {
            let assessment = Assessment { held: None, ..assessment };
            return if open.is_empty() { Step::Settle(assessment) } else { Step::Ask(open) };
        }
        match self.scan(ix, place, &concerned, assessment) {
            Step::Settle(assessment) if open.is_empty() => Step::Settle(assessment),
            Step::Settle(_) => Step::Ask(open),
            Step::Ask(scans) => {
                open.extend(scans);
                Step::Ask(open)
            }
        }
    }

    pub(super) fn lookup(&self) -> Lookup<'a> {
        Lookup { evidence: self.evidence, lacks: Vec::new() }
    }

    /// How the tag at this Place must be proved; `None` where it needs no proof.
    pub(super) fn proof(&self, place: &Place) -> Option<Ask> {
        if self.digest.is_some() || place.role == Role::Primary || self.routed.primary().is_none() {
            return None;
        }
        let blocks_stale = self.views.iter().any(|view| view.on(FindingKind::Stale) == Some(Action::Block));
        let required = self.routed.tag_proof == TagProof::Required
            || place.collision == Collision::Possible
            || blocks_stale;
        Some(if required { Ask::Now } else { Ask::Remembered })
    }

    /// The copy that a Place holds. Where there is none that can be used, adds the finding that says why.
    fn copy(&self, place: &Place, presence: Option<&Observation>, to: &mut Assessment) -> Option<Copy> {
        let Some(Observation::Presence(presence)) = presence else {
            let detail = "the question whether it is there was not answered";
            to.find(self, FindingKind::Unreachable, About::Copy, self.digest, detail);
            return None;
        };
        match presence {
            Presence::Present { digest, shape } if place.serves == Serves::Copies => {
                Some(Copy { digest: *digest, shape: *shape })
            }
            Presence::Present { digest, .. } | Presence::ProxyCache { digest, .. } => {
                let detail = "a proxy cache is no proof of a local copy";
                to.find(self, FindingKind::ProxyCache, About::Copy, self.digest, detail);
                // The digest that the proxy would serve. Its children are no local copies either, so they are not asked.
                Some(Copy { digest: *digest, shape: Shape::Manifest })
            }
            other => {
                self.find_absence(other, self.digest, "", to);
                None
            }
        }
    }

    /// Adds the finding that says why a manifest cannot be pulled from here.
    fn find_absence(&self, presence: &Presence, digest: Option<Digest>, absent: &str, to: &mut Assessment) {
        let mut found = |kind, detail: &str| to.find(self, kind, About::Copy, digest, detail);
        match presence {
            Presence::Present { .. } | Presence::ProxyCache { .. } => {}
            Presence::Absent => found(FindingKind::Missing, absent),
            Presence::Refused(message) => found(FindingKind::Refused, message),
            Presence::LayerMissing { digest, layer } => {
                let detail = format!("its layer {layer} is lost");
                to.find(self, FindingKind::LayerMissing, About::Copy, Some(*digest), detail);
            }
            Presence::PullFailed { digest } => {
                let detail = "nodes could not pull it from there";
                to.find(self, FindingKind::PullFailed, About::Copy, Some(*digest), detail);
            }
            Presence::Unknown(unknown) => found(unknown.cause.finding(), &unknown.detail),
        }
    }

    fn prove_tag(&self, ask: Ask, meant: &Observation, copy: &Copy, to: &mut Assessment) {
        let mut found = |kind, detail: String| to.find(self, kind, About::Tag, Some(copy.digest), detail);
        match (meant, ask) {
            (Observation::TagDigest(TagDigest::Known(digest)), _) if *digest == copy.digest => {}
            (Observation::TagDigest(TagDigest::Known(digest)), _) => {
                found(
                    FindingKind::Stale,
                    format!("the tag is {} here, {digest} at the primary", copy.digest),
                );
            }
            (_, Ask::Remembered) => {}
            (Observation::TagDigest(TagDigest::Absent), Ask::Now) => {
                found(FindingKind::Unproved, "the primary has no such tag".to_owned());
            }
            (Observation::TagDigest(TagDigest::Unknown(unknown)), Ask::Now) => {
                found(
                    FindingKind::Unproved,
                    format!("the primary did not say what the tag means: {unknown}"),
                );
            }
            (_, Ask::Now) => found(FindingKind::Unproved, "the primary was not asked".to_owned()),
        }
    }

    /// Judges the scans of the digests against each policy that requires a scan.
    ///
    /// Where it could not be learned whether `Auto` requires one, it does if that is blocked. A missing scan that would be
    /// blocked is then told as unknown.
    fn scan(
        &self,
        ix: PlaceIx,
        place: &Place,
        concerned: &[Digest],
        mut assessment: Assessment,
    ) -> Step<Assessment> {
        let proxied = assessment.has(FindingKind::ProxyCache);
        let mut lookup = self.lookup();
        let auto = match self.auto_requires(ix, place, concerned, proxied) {
            Step::Ask(mut queries) => {
                // Nearly every Harbor has a scanner, so the other scans of this Place are asked at the same time.
                for digest in concerned.iter().filter(|_| place.registry.kind.scans()) {
                    lookup.get(Query::Scan(ix, *digest, Detail::Summary));
                }
                lookup.lacks.retain(|query| !queries.contains(query));
                queries.append(&mut lookup.lacks);
                return Step::Ask(queries);
            }
            Step::Settle(auto) => auto,
        };
        // What the API says was deleted is a finding of those policies that made us ask. The others see it when the presence
        // is asked for again.
        let mut gone = Assessment::of(Some(ix));
        for view in self.views {
            let on = |kind| self.action(view, (kind, About::Scan, Some(ix)));
            let unlearned = match (view.rules.scan.required, &auto) {
                (Required::Always, _) | (Required::Auto, Auto::Required) => None,
                (Required::Auto, Auto::Unlearned(why))
                    if self.blocks_unknown() || on(why.kind) == Some(Action::Block) =>
                {
                    Some(why)
                }
                (Required::Never | Required::Auto, _) => continue,
            };
            for digest in concerned {
                let shortfalls = match place.registry.kind {
                    Kind::Distribution => vec![Shortfall {
                        kind: FindingKind::Unscanned,
                        detail: "a plain registry has no scans".into(),
                    }],
                    Kind::Harbor => self.shortfalls(view, ix, *digest, proxied, &mut lookup),
                };
                for shortfall in shortfalls {
                    if shortfall.kind == FindingKind::Missing {
                        let whole = assessment.held == Some(*digest);
                        let kind = if whole { FindingKind::Missing } else { FindingKind::ChildMissing };
                        gone.find_for(self, view, (kind, About::Copy), Some(*digest), shortfall.detail);
                        continue;
                    }
                    assessment.scan_unseen |= shortfall.kind.is_unknown()
                        && view.policy.is_some()
                        && on(shortfall.kind) == Some(Action::Block);
                    let lacks_scan =
                        matches!(shortfall.kind.key(), PolicyKey::OnUnscanned | PolicyKey::OnUnscannable);
                    let is_blocked = lacks_scan && on(shortfall.kind) == Some(Action::Block);
                    let told = unlearned.filter(|_| is_blocked).cloned().unwrap_or(shortfall);
                    let Shortfall { kind, detail } = told;
                    assessment.find_for(self, view, (kind, About::Scan), Some(*digest), detail);
                }
            }
        }
        lookup.complete(|| if gone.findings.is_empty() { assessment } else { assessment.deleted(gone) })
    }

    /// How the scan of one digest falls short of a policy; empty while evidence is missing. `Missing`: the artifact itself is
    /// not there any more.
    fn shortfalls(
        &self,
        view: &PolicyView<'_>,
        ix: PlaceIx,
        digest: Digest,
        proxied: bool,
        lookup: &mut Lookup<'a>,
    ) -> Vec<Shortfall> {
        let requirement = &view.rules.scan;
        let Some(Observation::Scan(summary)) = lookup.get(Query::Scan(ix, digest, Detail::Summary)) else {
            return Vec::new();
        };
        // The API of a proxy cache lists only what somebody has pulled through it.
        if summary.state == ScanState::Absent && !proxied {
            let detail = "it was deleted: the registry's API does not list it any more".into();
            return vec![Shortfall { kind: FindingKind::Missing, detail }];
        }
        let mut judged = requirement.judge(summary, None, self.case.now);
        if judged == ScanResult::TooCoarse {
            let detail = lookup.get(Query::Scan(ix, digest, Detail::Vulnerabilities));
            if let Some(Observation::Scan(detail)) = detail {
                judged = requirement.judge(summary, Some(detail), self.case.now);
            }
        }
        match judged {
            ScanResult::Shortfalls(shortfalls) => shortfalls,
            ScanResult::TooCoarse => Vec::new(),
        }
    }

    /// Whether `required: Auto` requires a scan: it does if any of the local Places is a Harbor with a scanner.
    fn auto_requires(&self, ix: PlaceIx, place: &Place, concerned: &[Digest], proxied: bool) -> Step<Auto> {
        let asked = self.views.iter().any(|view| view.rules.scan.required == Required::Auto);
        // What a proxy cache serves was never scanned there, and need not be.
        let Some(digest) = concerned.first().filter(|_| asked && !proxied) else {
            return Step::Settle(Auto::NotRequired);
        };
        let mut unlearned = None;
        let others = self.locals().filter(|(other, _)| *other != ix);
        for (ix, place) in std::iter::once((ix, place)).chain(others) {
            if !place.registry.kind.scans() || place.serves == Serves::ProxyCache {
                continue;
            }
            let query = Query::Scan(ix, *digest, Detail::Summary);
            match self.evidence.get(query) {
                None => return Step::Ask(vec![query]),
                Some(Observation::Scan(ScanAnswer { scanner: Scanner::Present, .. })) => {
                    return Step::Settle(Auto::Required);
                }
                Some(Observation::Scan(answer)) => {
                    unlearned = unlearned.or_else(|| scanner_unlearned(answer, place));
                }
                Some(_) => {}
            }
        }
        Step::Settle(unlearned.map_or(Auto::NotRequired, Auto::Unlearned))
    }
}

/// Whether `required: Auto` requires a scan.
enum Auto {
    Required,
    NotRequired,
    /// It could not be learned, for this reason, whether one of the Harbors has a scanner.
    Unlearned(Shortfall),
}

/// Why it could not be learned whether a Harbor has a scanner; `None` where it was.
fn scanner_unlearned(answer: &ScanAnswer, place: &Place) -> Option<Shortfall> {
    let of = &place.registry.name;
    let (kind, detail) = match (answer.scanner, &answer.state) {
        (Scanner::Present | Scanner::Absent, _) => return None,
        (Scanner::Hidden, _) => {
            (Cause::Forbidden.finding(), format!("our robot may not see whether {of} has a scanner"))
        }
        (Scanner::Unknown, ScanState::Unknown(unknown)) => {
            (unknown.cause.finding(), format!("it is not known whether {of} has a scanner: {unknown}"))
        }
        (Scanner::Unknown, _) => {
            (FindingKind::Unreachable, format!("it is not known whether {of} has a scanner"))
        }
    };
    Some(Shortfall { kind, detail: detail.into() })
}
