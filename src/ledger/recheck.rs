//! Judges one image at one registry again, for the leader's look at a gap.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use futures::FutureExt;
use futures::future::BoxFuture;
use jiff::Timestamp;
use tokio::time::Instant;

use super::record::{Recheck, Record, Standing, State};
use crate::domain::case::{Case, Exemption, Locality, Place, PodContext, Pull, Role, Subject};
use crate::domain::finding::{About, FindingKind};
use crate::domain::gap::{Axis, GapKey, GapKind, GapSubject, Version, gaps};
use crate::domain::place::PlaceIx;
use crate::domain::policy::{Labels, Regime};
use crate::domain::route::TagProof;
use crate::domain::settings::Settings;
use crate::domain::verdict::Verdict;
use crate::evidence::{Answers, Asking, Look, Observatory, Share};

/// Returns the labels of a namespace by its name.
type LabelsOf = Arc<dyn Fn(&str) -> BoxFuture<'static, Arc<Labels>> + Send + Sync>;

/// How long a look may take: nobody waits for it.
const PATIENCE: Duration = Duration::from_secs(10);

/// Judges under the rules of the namespaces that the record names, from the registry's answers of now.
#[must_use]
pub fn recheck(
    settings: Arc<ArcSwap<Settings>>,
    observatory: Arc<Observatory>,
    labels: LabelsOf,
    clock: fn() -> Timestamp,
) -> Recheck {
    Arc::new(move |key: &GapKey, record: &Record| {
        let (key, record) = (key.clone(), record.clone());
        let (settings, observatory, labels) = (settings.load_full(), observatory.clone(), labels.clone());
        async move {
            let labels: Vec<Arc<Labels>> =
                futures::future::join_all(record.namespaces.iter().map(|namespace| labels(namespace))).await;
            look((&key, &record), &settings, &observatory, &labels, clock()).await
        }
        .boxed()
    })
}

async fn look(
    (key, record): (&GapKey, &Record),
    settings: &Settings,
    observatory: &Observatory,
    namespaces: &[Arc<Labels>],
    now: Timestamp,
) -> Standing {
    // A rule is read by whoever watches the rules.
    let GapSubject::Image { version, .. } = &key.subject else { return Standing::UNKNOWN };
    let written = key.subject.to_string();
    let mut regimes: Vec<Arc<Regime>> = Vec::new();
    for labels in namespaces {
        let regime = settings.regime(labels, now);
        if !regimes.contains(&regime) {
            regimes.push(regime);
        }
    }
    if regimes.is_empty() {
        regimes.push(settings.regime(&Labels::new(), now));
    }
    let mut standing: Option<Standing> = None;
    for regime in regimes {
        let platforms = settings.platforms.clone();
        let context = PodContext { regime, platforms, exemption: Exemption::None, now };
        let case = settings.case_for(&written, Pull::Registry, &context);
        let one = match at_registry(&case, key) {
            Err(why) => Standing::not_expected(why),
            Ok((place, case)) => {
                if standing.is_none() {
                    look_at_damage(record, version, &place, observatory).await;
                }
                let deadline = Instant::now() + PATIENCE;
                let answers = Answers::New;
                let asking = Asking { share: Share::Mutating, namespace: "", deadline, answers };
                let verdict = observatory.judge(&case, asking).await.verdict;
                let mut standing = stands(&case, &verdict, key);
                let missing =
                    matches!(standing.presence, State::Lacking(GapKind::Finding(FindingKind::Missing), _));
                // Anybody may name a tag that was never there. What runs, and is nowhere any more, stays.
                if missing
                    && record.pods.is_none_or(|pods| pods == 0)
                    && !is_at_primary(&case, observatory, asking).await
                {
                    standing.presence = State::NotExpected("its primary does not have it either".into());
                }
                standing
            }
        };
        standing = Some(standing.map_or(one.clone(), |before| worse(before, one)));
    }
    standing.unwrap_or(Standing::UNKNOWN)
}

/// Damage stands until a look finds the image whole, so a judgement alone would find it for ever.
async fn look_at_damage(record: &Record, version: &Version, place: &Place, observatory: &Observatory) {
    let Version::Digest(digest) = version else { return };
    let deadline = Instant::now() + PATIENCE;
    match record.lacking(Axis::Presence) {
        Some(GapKind::Finding(FindingKind::LayerMissing)) => {
            observatory.layers(place, *digest, Look::Deep, deadline).await;
        }
        Some(GapKind::Finding(FindingKind::PullFailed)) => {
            observatory.pullable(place, *digest, deadline).await;
        }
        _ => {}
    }
}

/// The Case with this registry's Place as its first, and that Place; or why no copy is expected there.
pub(super) fn at_registry(case: &Case, key: &GapKey) -> Result<(Place, Case), &'static str> {
    let Subject::Routed(routed) = &case.subject else {
        return Err("no route covers the image any more");
    };
    let is_it = |place: &Place| place.registry.name == key.registry && place.locality == Locality::Local;
    let found = routed.iter().find(|(_, place)| is_it(place) && place.should_hold());
    let found = found.and_then(|(ix, place)| Some((place.clone(), case.at(ix)?)));
    let Some((place, mut case)) = found else {
        return Err("no route has copies of the image there any more");
    };
    if let Subject::Routed(routed) = &mut case.subject {
        // Without a proof, a tag that was stale would seem to be in order.
        routed.tag_proof = TagProof::Required;
    }
    Ok((place, case))
}

/// Whether the primary has the image, or may have it: only its own answer says that it has not.
async fn is_at_primary(case: &Case, observatory: &Observatory, asking: Asking<'_>) -> bool {
    let mut there = case.clone();
    let Subject::Routed(routed) = &mut there.subject else { return true };
    let Some((ix, _)) = routed.primary() else { return true };
    for place in &mut routed.places {
        let is_primary = place.role == Role::Primary;
        place.locality = if is_primary { Locality::Local } else { Locality::Remote };
    }
    let verdict = observatory.judge(&there, asking).await.verdict;
    let absent = |kind| kind == FindingKind::Missing;
    !verdict.findings.iter().any(|finding| finding.place == Some(ix) && absent(finding.kind))
}

/// What a Verdict says of its first Place.
fn stands(case: &Case, verdict: &Verdict, key: &GapKey) -> Standing {
    let found = gaps(case, verdict);
    let lacking = |axis: Axis| {
        let mut of_axis = found.iter().filter(|gap| gap.key == *key && gap.kind.axis() == axis);
        of_axis.next().map(|gap| State::Lacking(gap.kind, gap.detail.clone()))
    };
    let here = || verdict.findings.iter().filter(|finding| finding.place == Some(PlaceIx(0)));
    let is_of_copy = |about: About| matches!(about, About::Copy | About::Tag);
    let presence = lacking(Axis::Presence).unwrap_or_else(|| {
        let in_doubt = here().any(|finding| {
            is_of_copy(finding.about) && (finding.kind.is_unknown() || finding.kind == FindingKind::Unproved)
        });
        if in_doubt { State::Unknown } else { State::Good }
    });
    let scan = lacking(Axis::Scan).unwrap_or_else(|| {
        let is_scan = |about: About| about == About::Scan;
        let in_doubt = here().any(|finding| finding.kind.is_unknown() && is_scan(finding.about));
        let unscannable = here().any(|finding| finding.kind == FindingKind::Unscannable);
        // Of a copy that is not there, or that nobody could look at, no scan is known.
        let no_copy =
            here().any(|finding| is_of_copy(finding.about) && finding.kind != FindingKind::Unproved);
        if unscannable {
            State::NotExpected("no scanner there can scan it".into())
        } else if in_doubt || no_copy {
            State::Unknown
        } else {
            State::Good
        }
    });
    Standing { presence, scan, risk: State::Unknown }
}

/// Under two sets of rules: what is lacking under one of them is lacking.
fn worse(one: Standing, other: Standing) -> Standing {
    let weight = |state: &State| match state {
        State::Lacking(..) => 0,
        State::Unknown => 1,
        State::Good => 2,
        State::NotExpected(_) => 3,
    };
    let of = |one: State, other: State| if weight(&other) < weight(&one) { other } else { one };
    Standing {
        presence: of(one.presence, other.presence),
        scan: of(one.scan, other.scan),
        risk: of(one.risk, other.risk),
    }
}
