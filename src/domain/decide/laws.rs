//! The laws of the decision, tested over generated Cases and worlds (a world holds the answers of all registries).
//!
//! Every Case and every world is a function of one seed, so a failure names the seed that repeats it. The worlds
//! are consistent (a tag that answers a digest also answers for that digest); otherwise they fail in every way that
//! registries fail. The test counts what the generator reaches, and each finding and ruling must be reached often.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use jiff::Timestamp;
use strum::VariantArray;

use super::{Admission, Step, admits, decide, expires_at, too_many};
use crate::domain::case::{Case, Expected, Locality, Place, Role, Routed, Spelling, Subject};
use crate::domain::digest::Digest;
use crate::domain::evidence::{
    Ask, Child, Children, Evidence, Observation, Presence, Query, Reachability, Shape, TagDigest, Wanted,
};
use crate::domain::finding::{Action, FindingKind};
use crate::domain::image::{Reference, Repository, Tag};
use crate::domain::name::PolicyName;
use crate::domain::name::RouteName;
use crate::domain::name::{RegistryName, Site};
use crate::domain::outcome::{Effect, Outcome};
use crate::domain::pattern::ImagePattern;
use crate::domain::place::PlaceIx;
use crate::domain::platform::{Platform, PlatformPattern};
use crate::domain::policy::{
    Actions, Enforcement, Exception, OnUnknown, OnUnscannable, Policy, PolicyView, Regime, Rules, Selector,
    Warning,
};
use crate::domain::registry::{CredentialSource, Kind, Registry, Service};
use crate::domain::route::{Collision, Pin, Rewrite, Serves, TagProof};
use crate::domain::scan::{
    Allowlist, Detail, Report, Required, Requirement, ScanAnswer, ScanState, Scanner, Severity,
    Vulnerabilities,
};
use crate::domain::unknown::{Cause, Unknown};
use crate::domain::verdict::{Ground, KeepReason, Reason, Ruling, Verdict};

const SEEDS: u64 = 120_000;
static NOW: LazyLock<Timestamp> = LazyLock::new(|| "2026-11-21T12:00:00Z".parse().unwrap());
static NEXT_WEEK: LazyLock<Timestamp> = LazyLock::new(|| "2026-11-26T09:00:00Z".parse().unwrap());
static NEXT_YEAR: LazyLock<Timestamp> = LazyLock::new(|| "2027-01-01T00:00:00Z".parse().unwrap());
static YESTERDAY: LazyLock<Timestamp> = LazyLock::new(|| "2026-11-20T12:00:00Z".parse().unwrap());
static LONG_AGO: LazyLock<Timestamp> = LazyLock::new(|| "2026-01-01T00:00:00Z".parse().unwrap());
static PLATFORMS: LazyLock<Arc<[PlatformPattern]>> =
    LazyLock::new(|| ["linux/amd64", "linux/arm64"].map(|text| text.parse().unwrap()).into());
static EXCEPTED: LazyLock<ImagePattern> =
    LazyLock::new(|| ImagePattern::new("home.example/production/**").unwrap());
const NAME: &str = "home.example/production/app";

/// SplitMix64: a small seeded generator, good enough to vary the cases.
#[derive(Clone)]
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.roll() % n
    }

    /// True once in `n`.
    fn once_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    fn pick<T: Clone>(&mut self, of: &[T]) -> T {
        of[usize::try_from(self.below(of.len() as u64)).unwrap()].clone()
    }
}

fn digest(n: u8) -> Digest {
    Digest::Sha256([n; 32])
}

fn number(digest: Digest) -> u8 {
    digest.bytes()[0]
}

/// Manifests 0 and 1; index 2 with a child for each Linux; index 3 with a child for Windows only; index 4 with none.
fn shape(digest: Digest) -> Shape {
    match number(digest) {
        2..=4 => Shape::Index,
        _ => Shape::Manifest,
    }
}

fn children(of: Digest) -> Vec<Child> {
    let child = |n, os: &str, architecture: &str| Child {
        digest: digest(n),
        platform: Some(Platform { os: os.into(), architecture: architecture.into(), variant: None }),
    };
    match number(of) {
        2 => vec![child(20, "linux", "amd64"), child(21, "linux", "arm64"), child(22, "windows", "amd64")],
        3 => vec![child(30, "windows", "amd64")],
        _ => vec![],
    }
}

const IMAGES: [u8; 5] = [0, 1, 2, 3, 4];

/// The registries of one seed: an answer to every question, keyed by the registry's name, not by its index in a Case.
struct World {
    seed: u64,
    mood: Mood,
}

/// What kind of answers a world gives.
#[derive(Clone, Copy, PartialEq)]
enum Mood {
    /// Any answer may occur.
    Mixed,
    /// Every answer is `Unknown`.
    Silent,
}

impl World {
    /// The random generator of one question to one registry.
    fn dice(&self, registry: &str, question: &str, about: u8) -> Dice {
        let mut key = self.seed.wrapping_mul(0x100_0000_01b3) ^ u64::from(about);
        for byte in registry.bytes().chain([0]).chain(question.bytes()) {
            key = (key ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        }
        let mut dice = Dice(key);
        dice.roll();
        dice
    }

    fn answer(&self, case: &Case, query: Query) -> Observation {
        let routed = routed(case);
        let of = |ix: PlaceIx| routed.place(ix).unwrap();
        match query {
            Query::Presence(ix, wanted) => Observation::Presence(self.presence(of(ix), wanted)),
            Query::Children(ix, digest) => Observation::Children(self.children(of(ix), digest)),
            Query::Scan(ix, digest, detail) => Observation::Scan(self.scan(of(ix), digest, detail)),
            Query::TagDigest(ask) => Observation::TagDigest(self.tag(ask)),
            Query::Reachable(ix) => Observation::Reachable(self.reachable(of(ix))),
        }
    }

    fn unknown(dice: &mut Dice) -> Unknown {
        let causes = [
            Cause::Connect,
            Cause::Tls,
            Cause::ServerError,
            Cause::WrongDigest,
            Cause::BreakerOpen,
            Cause::Unauthorized,
            Cause::RateLimited { retry_after: None },
            Cause::Spent { retry_after: std::time::Duration::from_secs(60) },
            Cause::Deadline,
        ];
        Unknown::new(dice.pick(&causes), "generated")
    }

    fn presence(&self, place: &Place, wanted: Wanted) -> Presence {
        let name = place.registry.name.as_str();
        let tagged = self.presence_in(&mut self.dice(name, "tag", 0), None);
        match (wanted, &tagged) {
            (Wanted::Tag, _) => tagged,
            (
                Wanted::Digest(wanted),
                Presence::Present { digest, .. } | Presence::ProxyCache { digest, .. },
            ) if *digest == wanted && !self.only_by_tag(name, wanted) => tagged,
            // Such a registry does not have it in another way.
            (
                Wanted::Digest(wanted),
                Presence::Present { digest, .. } | Presence::ProxyCache { digest, .. },
            ) if *digest == wanted => {
                let mut dice = self.dice(name, "digest", number(wanted));
                match self.presence_in(&mut dice, Some(wanted)) {
                    Presence::Present { .. } | Presence::ProxyCache { .. } => Presence::Absent,
                    other => other,
                }
            }
            (Wanted::Digest(wanted), _) => {
                self.presence_in(&mut self.dice(name, "digest", number(wanted)), Some(wanted))
            }
        }
    }

    /// A registry that answers a tag, and something else for the digest that the tag means.
    fn only_by_tag(&self, name: &str, digest: Digest) -> bool {
        self.dice(name, "only by tag", number(digest)).once_in(5)
    }

    fn presence_in(&self, dice: &mut Dice, wanted: Option<Digest>) -> Presence {
        if self.mood == Mood::Silent {
            return Presence::Unknown(Self::unknown(dice));
        }
        let digest = wanted.unwrap_or_else(|| digest(dice.pick(&IMAGES)));
        let shape = shape(digest);
        match dice.below(21) {
            20 => Presence::LayerMissing { digest, layer: Box::new(digest) },
            0..=12 => Presence::Present { digest, shape },
            13 | 14 => Presence::Absent,
            15 => Presence::ProxyCache { digest, shape },
            16 => Presence::Refused("generated".into()),
            17 => Presence::PullFailed { digest },
            _ => Presence::Unknown(Self::unknown(dice)),
        }
    }

    fn children(&self, place: &Place, digest: Digest) -> Children {
        let mut dice = self.dice(place.registry.name.as_str(), "children", number(digest));
        match dice.below(12) {
            _ if self.mood == Mood::Silent => Children::Unknown(Self::unknown(&mut dice)),
            0 => Children::Absent,
            1 => Children::Unknown(Self::unknown(&mut dice)),
            _ => Children::Listed(children(digest).into()),
        }
    }

    fn scan(&self, place: &Place, digest: Digest, detail: Detail) -> ScanAnswer {
        let name = place.registry.name.as_str();
        let scanner = match self.dice(name, "scanner", 0).below(6) {
            _ if self.mood == Mood::Silent => Scanner::Unknown,
            0 => Scanner::Absent,
            1 => Scanner::Hidden,
            2 => Scanner::Unknown,
            _ => Scanner::Present,
        };
        let mut dice = self.dice(name, "scan", number(digest));
        let report = |dice: &mut Dice| {
            let severities =
                [Severity::None, Severity::Low, Severity::Medium, Severity::High, Severity::Critical];
            let severity = dice.pick(&severities);
            let finished = dice.pick(&[*NOW, *YESTERDAY, *LONG_AGO]);
            let items = vec![("CVE-1".into(), severity), ("CVE-2".into(), Severity::Low)];
            let vulnerabilities = (detail == Detail::Vulnerabilities)
                .then(|| Arc::new(Vulnerabilities { items, allowlist: vec![] }));
            Report { severity, finished: Some(finished), vulnerabilities }
        };
        let state = match dice.below(17) {
            _ if self.mood == Mood::Silent => ScanState::Unknown(Self::unknown(&mut dice)),
            // The summary does not show that a report of an earlier scan is stored.
            6 if detail == Detail::Summary => ScanState::Pending,
            6 | 7 => ScanState::Rescan,
            8 => ScanState::Absent,
            9 => ScanState::Unscannable,
            0 => ScanState::NotScanned,
            1 => ScanState::Pending,
            2 => ScanState::Failed,
            3 => ScanState::ScannerDown,
            4 => ScanState::Hidden,
            5 => ScanState::Unknown(Self::unknown(&mut dice)),
            _ => ScanState::Done(report(&mut dice)),
        };
        let stored = state == ScanState::Rescan;
        let last = (stored || self.mood == Mood::Mixed && dice.once_in(3)).then(|| report(&mut dice));
        ScanAnswer { scanner, state, last }
    }

    fn tag(&self, ask: Ask) -> TagDigest {
        let mut dice = self.dice("", "what the tag means", 0);
        let known = TagDigest::Known(digest(dice.pick(&IMAGES)));
        match (dice.below(6), ask) {
            (_, Ask::Now) if self.mood == Mood::Silent => TagDigest::Unknown(Self::unknown(&mut dice)),
            (_, Ask::Remembered) if self.mood == Mood::Silent => TagDigest::NotRemembered,
            (0, _) => TagDigest::Absent,
            (1 | 2, Ask::Remembered) => TagDigest::NotRemembered,
            (1, Ask::Now) => TagDigest::Unknown(Self::unknown(&mut dice)),
            _ => known,
        }
    }

    fn reachable(&self, place: &Place) -> Reachability {
        let mut dice = self.dice(place.registry.name.as_str(), "reachable", 0);
        if dice.once_in(2) { Reachability::Down } else { Reachability::Up }
    }
}

fn routed(case: &Case) -> &Routed {
    match &case.subject {
        Subject::Routed(routed) => routed,
        Subject::Kept(_) => panic!("only a routed image asks questions"),
    }
}

fn routed_mut(case: &mut Case) -> &mut Routed {
    match &mut case.subject {
        Subject::Routed(routed) => routed,
        Subject::Kept(_) => panic!("only a routed image has places"),
    }
}

fn registry(name: &str, kind: Kind) -> Arc<Registry> {
    static URL: LazyLock<url::Url> = LazyLock::new(|| "https://registry.example".parse().unwrap());
    Arc::new(Registry {
        name: RegistryName::new(name),
        host: format!("{name}.example").into(),
        aliases: vec![],
        url: URL.clone(),
        kind,
        site: Site::new("x"),
        credentials: CredentialSource::Anonymous,
        ca_file: None,
        pull_secret: None,
        realm: None,
        service: Service::Open,
        healing: None,
        requests_per_hour: None,
    })
}

fn place(dice: &mut Dice, name: &str, locality: Locality, role: Role) -> Place {
    let kind = if dice.once_in(3) { Kind::Distribution } else { Kind::Harbor };
    let copies = role == Role::Primary || !dice.once_in(8);
    Place {
        registry: registry(name, kind),
        repository: Repository::new("production/app"),
        locality,
        role,
        serves: if copies { Serves::Copies } else { Serves::ProxyCache },
        collision: if dice.once_in(6) { Collision::Possible } else { Collision::Impossible },
        expected: Expected::Copied,
    }
}

fn actions(dice: &mut Dice) -> Actions {
    let mut of = |actions: &[Action]| dice.pick(actions);
    use Action::{Accept, Block, Fallback};
    let unknown = of(&[Fallback, Block]);
    Actions {
        on_missing: of(&[Fallback, Block]),
        on_stale: of(&[Accept, Fallback, Block]),
        on_unknown: match of(&[Accept, Block]) {
            Block => OnUnknown::Inherited(unknown),
            _ => OnUnknown::Stated(unknown),
        },
        on_unproved: of(&[Accept, Fallback, Block]),
        on_unscanned: of(&[Accept, Fallback, Block]),
        on_unscannable: OnUnscannable::Stated(of(&[Accept, Fallback, Block])),
        on_vulnerable: of(&[Accept, Block]),
        on_unrouted: of(&[Accept, Block]),
    }
}

fn rules(dice: &mut Dice) -> Rules {
    let exceptions = dice.once_in(4).then(|| Exception {
        images: vec![EXCEPTED.clone()],
        findings: vec![dice.pick(FindingKind::VARIANTS), dice.pick(FindingKind::VARIANTS)],
        until: dice.pick(&[*NEXT_WEEK, *NEXT_YEAR, *LONG_AGO]),
        reason: "generated".into(),
    });
    let ignore: &[&str] = if dice.once_in(3) { &["CVE-1"] } else { &[] };
    Rules {
        actions: actions(dice),
        scan: Requirement {
            required: dice.pick(&[Required::Never, Required::Auto, Required::Auto, Required::Always]),
            max_severity: dice.pick(&[None, Some(Severity::None), Some(Severity::Medium)]),
            max_age: dice.pick(&[None, Some(Duration::from_secs(7 * 86400))]),
            ignore: ignore.iter().map(|id| Box::from(*id)).collect(),
            allowlist: Allowlist::Disregarded,
        },
        exceptions: exceptions.into_iter().collect(),
    }
}

fn regime(dice: &mut Dice) -> Regime {
    let mut defaults = rules(dice);
    // Nothing is inherited by `defaults`.
    defaults.actions.on_unknown = OnUnknown::Stated(defaults.actions.unknown());
    let defaults = Arc::new(defaults);
    let enforcing = (0..dice.pick(&[0, 0, 1, 1, 2]))
        .map(|n| {
            Arc::new(Policy {
                name: PolicyName::new(format!("p{n}")),
                selector: Selector::default(),
                enforcement: Enforcement::Enforce,
                rules: rules(dice),
                contact: None,
                warning: Warning::Withheld,
                break_glass: None,
            })
        })
        .collect();
    Regime { defaults, enforcing }
}

fn case(seed: u64) -> Case {
    let mut dice = Dice(seed ^ 0xca5e);
    let regime = Arc::new(regime(&mut dice));
    if dice.once_in(20) {
        use KeepReason::{Excluded, Exempt, NotRouted, PullNever, Unparsable};
        let reason = dice.pick(&[NotRouted, NotRouted, Unparsable, Unparsable, Excluded, Exempt, PullNever]);
        let subject = Subject::Kept(reason);
        return Case { written: "x".into(), name: NAME.into(), subject, regime, now: *NOW };
    }
    let locals = dice.pick(&[0, 1, 1, 1, 1, 2, 2, 2, 3]);
    let remotes = dice.pick(&[0, 1, 1, 2]);
    let primary = (!dice.once_in(10)).then(|| dice.below((locals + remotes).max(1)));
    let mut places = Vec::new();
    for n in 0..(locals + remotes).max(1) {
        let role = if primary == Some(n) { Role::Primary } else { Role::Replica };
        let locality = if n < locals { Locality::Local } else { Locality::Remote };
        places.push(place(&mut dice, &format!("r{n}"), locality, role));
    }
    let digest = dice.once_in(2).then(|| digest(dice.pick(&IMAGES)));
    let tagged = digest.is_none() || dice.once_in(2);
    let mut named = PlaceIx(u8::try_from(dice.below(places.len() as u64)).unwrap());
    if u64::from(named.0) < locals {
        // A local Place that the reference names comes first.
        let first = places.remove(usize::from(named.0));
        places.insert(0, first);
        named = PlaceIx(0);
    }
    let routed = Routed {
        route: RouteName::new("production"),
        tag: tagged.then(|| Tag::new("1")),
        digest,
        places,
        named,
        spelling: dice.pick(&[Spelling::Canonical, Spelling::Canonical, Spelling::Alias]),
        tag_proof: dice.pick(&[TagProof::Background, TagProof::Required]),
        pin: dice.pick(&[Pin::TagAndDigest, Pin::TagAndDigest, Pin::Digest, Pin::Off]),
        rewrite: dice.pick(&[Rewrite::Apply, Rewrite::Apply, Rewrite::Apply, Rewrite::Observe]),
        platforms: PLATFORMS.clone(),
    };
    let written = written(&routed);
    Case { written, name: NAME.into(), subject: Subject::Routed(routed), regime, now: *NOW }
}

/// The reference that a Pod with this image would write.
fn written(routed: &Routed) -> Box<str> {
    let place = routed.place(routed.named).unwrap();
    let host = match routed.spelling {
        Spelling::Canonical => &*place.registry.host,
        Spelling::Alias => "alias.example",
    };
    let tag = routed.tag.as_ref().map(|tag| format!(":{tag}")).unwrap_or_default();
    let digest = routed.digest.map(|digest| format!("@{digest}")).unwrap_or_default();
    format!("{host}/{}{tag}{digest}", place.repository).into()
}

/// Runs a judgement against a world; checks law 1 on the way.
fn judged<T>(case: &Case, world: &World, judge: fn(&Case, &Evidence) -> Step<T>) -> (T, Evidence) {
    let mut evidence = Evidence::default();
    for _ in 0..64 {
        match judge(case, &evidence) {
            Step::Settle(settled) => return (settled, evidence),
            Step::Ask(queries) => {
                assert!(!queries.is_empty(), "law 1: asked for nothing");
                let distinct: BTreeSet<_> = queries.iter().collect();
                assert_eq!(distinct.len(), queries.len(), "law 1: asked twice in one breath");
                for query in queries {
                    assert!(evidence.get(query).is_none(), "law 1: asked again for {query:?}");
                    evidence.learn(query, world.answer(case, query), Duration::ZERO);
                }
            }
        }
    }
    panic!("law 1: no verdict after 64 rounds")
}

fn verdict(case: &Case, world: &World) -> Verdict {
    judged(case, world, decide).0
}

fn denied(verdict: &Verdict) -> bool {
    verdict.ruling == Ruling::Deny
}

fn worlds() -> impl Iterator<Item = (u64, Case, World)> {
    (0..SEEDS).map(|seed| (seed, case(seed), World { seed, mood: Mood::Mixed }))
}

fn ruling_name(verdict: &Verdict) -> &'static str {
    match verdict.ruling {
        Ruling::Local { .. } => "Local",
        Ruling::Accepted { ground: Ground::Accepted, .. } => "Accepted",
        Ruling::Accepted { ground: Ground::Presumed, .. } => "Presumed",
        Ruling::Fallback { place: Some(_), .. } => "Fallback",
        Ruling::Fallback { place: None, .. } => "Fallback, nowhere",
        Ruling::Keep(_) => "Keep",
        Ruling::Deny => "Deny",
    }
}

#[test]
fn laws_1_and_2_it_settles_and_the_generator_reaches_every_finding_and_ruling() {
    let mut reached: BTreeMap<String, u32> = BTreeMap::new();
    for (seed, case, world) in worlds() {
        let verdict = match judged(&case, &world, admits).0 {
            Admission::NotPinned(verdict) | Admission::Denied(verdict) | Admission::Admitted(verdict) => {
                verdict
            }
        };
        *reached.entry(ruling_name(&verdict).into()).or_default() += 1;
        for finding in &verdict.findings {
            *reached.entry(format!("{:?}: {}", finding.about, finding.kind)).or_default() += 1;
        }
        let finding = too_many(&case.regime, &case.name, case.now);
        *reached.entry(format!("{:?}: {}", finding.about, finding.kind)).or_default() += 1;
        let silent = World { seed, mood: Mood::Silent };
        let _settles = judged(&case, &silent, decide);
    }
    println!("{reached:#?}");
    for kind in FindingKind::VARIANTS {
        let times: u32 =
            reached.iter().filter(|(name, _)| name.ends_with(&format!(": {kind}"))).map(|(_, n)| n).sum();
        assert!(times >= 300, "{kind} was reached only {times} times");
    }
    for ruling in ["Local", "Accepted", "Presumed", "Fallback", "Fallback, nowhere", "Keep", "Deny"] {
        assert!(reached.get(ruling).is_some_and(|times| *times >= 300), "{ruling}");
    }
}

/// The verdict stays exactly the same until the moment that `expires_at` names, and often changes at that moment: so the
/// moment is neither too late nor named without need.
#[test]
fn a_verdict_stands_until_the_edge_that_is_named() {
    let nanosecond = Duration::from_nanos(1);
    let (mut changed, mut unchanged, mut timeless) = (0, 0, 0);
    for (seed, case, world) in worlds() {
        let (settled, evidence) = judged(&case, &world, decide);
        let at = |now: Timestamp| decide(&Case { now, ..case.clone() }, &evidence);
        let edge = expires_at(&case, &evidence);
        let last = edge.map_or(*NEXT_YEAR + Duration::from_secs(1), |edge| edge - nanosecond);
        let mut dice = Dice(seed ^ 0xed9e);
        let room = u64::try_from(last.duration_since(case.now).as_secs()).unwrap();
        for now in [last, case.now + Duration::from_secs(dice.below(room.max(1)))] {
            assert_eq!(at(now), Step::Settle(settled.clone()), "seed {seed}, at {now}, edge {edge:?}");
        }
        match edge.map(at) {
            None => timeless += 1,
            Some(Step::Settle(then)) if then == settled => unchanged += 1,
            // The verdict changed, or questions were asked that were not asked before.
            Some(_) => changed += 1,
        }
    }
    println!("{changed} changed, {unchanged} did not, {timeless} have no edge");
    assert!(changed >= 5_000 && timeless >= 10_000, "{changed} changed, {timeless} have no edge");
}

/// A dozen of the questions that could be asked of these Places.
fn other_queries(case: &Case, dice: &mut Dice) -> Vec<Query> {
    let places: Vec<_> = routed(case).iter().map(|(ix, _)| ix).collect();
    let digests = [0, 1, 2, 3, 4, 20, 21, 22, 30].map(digest);
    (0..12)
        .map(|_| {
            let (ix, digest) = (dice.pick(&places), dice.pick(&digests));
            dice.pick(&[
                Query::Presence(ix, Wanted::Tag),
                Query::Presence(ix, Wanted::Digest(digest)),
                Query::Children(ix, digest),
                Query::Scan(ix, digest, Detail::Summary),
                Query::Scan(ix, digest, Detail::Vulnerabilities),
                Query::TagDigest(Ask::Now),
                Query::TagDigest(Ask::Remembered),
                Query::Reachable(ix),
            ])
        })
        .collect()
}

#[test]
fn law_3_evidence_that_nobody_asked_for_changes_nothing() {
    for (seed, case, world) in worlds() {
        if !matches!(case.subject, Subject::Routed(_)) {
            continue;
        }
        let (settled, mut evidence) = judged(&case, &world, decide);
        for query in other_queries(&case, &mut Dice(seed ^ 0x07e5)) {
            evidence.learn(query, world.answer(&case, query), Duration::ZERO);
        }
        assert_eq!(decide(&case, &evidence), Step::Settle(settled), "seed {seed}");
    }
}

/// Law 4, written independently of the code under test.
fn law_4(case: &Case, world: &World, ix: PlaceIx, found: Digest) -> Result<(), String> {
    let routed = routed(case);
    let place = routed.place(ix).unwrap();
    if place.locality != Locality::Local || place.serves == Serves::ProxyCache {
        return Err("not here".into());
    }
    let wanted = routed.digest.map_or(Wanted::Tag, Wanted::Digest);
    let Presence::Present { digest, shape } = world.presence(place, wanted) else {
        return Err("not present".into());
    };
    if digest != found || routed.digest.is_some_and(|pinned| pinned != digest) {
        return Err("another digest".into());
    }
    let pins = routed.pin != Pin::Off || case.regime.enforces();
    let by_digest = world.presence(place, Wanted::Digest(digest));
    if pins && !matches!(by_digest, Presence::Present { .. } | Presence::ProxyCache { .. }) {
        return Err("its tag answers, its digest does not".into());
    }
    let views = case.regime.views(&case.name, case.now);
    if routed.digest.is_none() && place.role == Role::Replica && routed.primary().is_some() {
        let blocks = views.iter().any(|view| view.on(FindingKind::Stale) == Some(Action::Block));
        let required =
            blocks || routed.tag_proof == TagProof::Required || place.collision == Collision::Possible;
        match world.tag(if required { Ask::Now } else { Ask::Remembered }) {
            TagDigest::Known(known) if known != digest => return Err("stale".into()),
            TagDigest::Known(_) => {}
            _ if required => return Err("unproved".into()),
            _ => {}
        }
    }
    let mut concerned = vec![digest];
    if shape == Shape::Index {
        let Children::Listed(listed) = world.children(place, digest) else { return Err("no list".into()) };
        let linux = |child: &&Child| child.platform.as_ref().is_some_and(|platform| &*platform.os == "linux");
        let needed: Vec<_> = listed.iter().filter(linux).map(|child| child.digest).collect();
        for child in &needed {
            if !matches!(world.presence(place, Wanted::Digest(*child)), Presence::Present { .. }) {
                return Err("a child is not present".into());
            }
        }
        if !listed.is_empty() {
            concerned =
                if needed.is_empty() { listed.iter().map(|child| child.digest).collect() } else { needed };
        }
    }
    let harbors = routed.places.iter().filter(|place| place.registry.kind == Kind::Harbor);
    let harbors = harbors.filter(|place| place.locality == Locality::Local);
    let harbors = harbors.filter(|place| place.serves == Serves::Copies);
    let answers: Vec<_> = harbors.map(|place| world.scan(place, concerned[0], Detail::Summary)).collect();
    let any_scanner = answers.iter().any(|answer| answer.scanner == Scanner::Present);
    let any_unlearned = answers.iter().any(|answer| answer.scanner != Scanner::Absent);
    let guarded = views.iter().any(PolicyView::blocks_unknown);
    for view in &views {
        let required = match view.rules.scan.required {
            Required::Never => false,
            Required::Auto => any_scanner || any_unlearned && (guarded || blocks_unknown_scans(view)),
            Required::Always => true,
        };
        // With an exception the policy has two views, and neither shows all of it.
        let lifted = FindingKind::VARIANTS.iter().any(|kind| view.on(*kind).is_none());
        if !required || lifted {
            continue;
        }
        for child in &concerned {
            let answer = world.scan(place, *child, Detail::Vulnerabilities);
            let slow = matches!(&answer.state, ScanState::Unknown(unknown)
                if matches!(unknown.cause, Cause::Deadline | Cause::RateLimited { .. } | Cause::Spent { .. }));
            let report = match &answer.state {
                ScanState::Done(report) => Some(report),
                ScanState::ScannerDown | ScanState::Rescan => answer.last.as_ref(),
                _ if slow => answer.last.as_ref(),
                _ => None,
            };
            let Some(report) = report.filter(|_| place.registry.kind == Kind::Harbor) else {
                return Err(format!("a scan is required, {child} has none"));
            };
            let ignored = |id: &str| view.rules.scan.ignore.iter().any(|one| **one == *id);
            let items = &report.vulnerabilities.as_ref().unwrap().items;
            let worst =
                items.iter().filter(|(id, _)| !ignored(id)).map(|(_, severity)| *severity).max().unwrap();
            // The overall severity counts where it is within bounds; the list only where it is not.
            let severity = worst.min(report.severity);
            if view.rules.scan.max_severity.is_some_and(|max| severity > max) {
                return Err(format!("{child} is too severe"));
            }
            let old = report.finished.unwrap() == *LONG_AGO;
            if view.rules.scan.max_age.is_some() && old {
                return Err(format!("the scan of {child} is too old"));
            }
        }
    }
    Ok(())
}

/// Whether a view without exceptions blocks a scan that is unknown: all causes of that have one action.
fn blocks_unknown_scans(view: &PolicyView<'_>) -> bool {
    let actions = [FindingKind::Deadline, FindingKind::Unscanned].map(|kind| view.on(kind));
    actions.contains(&Some(Action::Block))
}

#[test]
fn law_4_local_is_what_is_present_proved_and_scanned_here() {
    let mut locals = 0;
    for (seed, case, world) in worlds() {
        if let Ruling::Local { place, digest } = verdict(&case, &world).ruling {
            locals += 1;
            let law = law_4(&case, &world, place, digest);
            assert_eq!(law, Ok(()), "seed {seed}: {case:#?} {:#?}", judged(&case, &world, decide).1);
        }
    }
    assert!(locals > 1_000, "{locals}");
}

/// The same Case with one Place moved to the front.
fn with_first(case: &Case, first: PlaceIx) -> Case {
    let mut case = case.clone();
    let routed = routed_mut(&mut case);
    let (from, named) = (usize::from(first.0), routed.named.0);
    let place = routed.places.remove(from);
    routed.places.insert(0, place);
    routed.named = match named {
        _ if named == first.0 => PlaceIx(0),
        _ if named < first.0 => PlaceIx(named + 1),
        _ => PlaceIx(named),
    };
    case
}

#[test]
fn law_5_the_first_that_qualifies_wins() {
    let mut passed_over = 0;
    for (seed, case, world) in worlds() {
        let Ruling::Local { place, .. } = verdict(&case, &world).ruling else { continue };
        // Law 4 does not cover a policy with an exception.
        let views = case.regime.views(&case.name, case.now);
        if views.iter().any(|view| FindingKind::VARIANTS.iter().any(|kind| view.on(*kind).is_none())) {
            continue;
        }
        for earlier in (0..place.0).map(PlaceIx) {
            let wanted = routed(&case).digest.map_or(Wanted::Tag, Wanted::Digest);
            let presence = world.presence(routed(&case).place(earlier).unwrap(), wanted);
            let Presence::Present { digest, .. } = presence else { continue };
            passed_over += 1;
            let law = law_4(&case, &world, earlier, digest);
            assert!(
                law.is_err(),
                "seed {seed}: {earlier:?} qualifies, but was passed over: {:?}",
                verdict(&case, &world)
            );
        }
    }
    assert!(passed_over > 500, "{passed_over}");
}

/// A Gap is looked for at each local Place, as the first: what is used today has none, and is used there, too.
#[test]
fn a_place_that_is_first_tells_of_its_own_copy() {
    let (mut used, mut lacking) = (0, 0);
    for (seed, case, world) in worlds() {
        let Subject::Routed(routed) = &case.subject else { continue };
        let today = verdict(&case, &world);
        for (ix, place) in routed.iter() {
            let Some(at) = case.at(ix) else {
                assert_eq!(place.locality, Locality::Remote, "seed {seed}");
                continue;
            };
            let there = verdict(&at, &world);
            let Ruling::Local { place: PlaceIx(0), .. } = there.ruling else {
                let of_place = there.findings.iter().filter(|finding| finding.place == Some(PlaceIx(0)));
                assert!(of_place.count() > 0 || there.ruling == Ruling::Deny, "seed {seed}: {there:?}");
                lacking += 1;
                continue;
            };
            assert!(there.findings.is_empty(), "seed {seed}: {there:?}");
            if matches!(today.ruling, Ruling::Local { place, .. } if place == ix) {
                let (today, there) = (Outcome::of(&case, &today), Outcome::of(&at, &there));
                assert_eq!((today.reason, today.image), (there.reason, there.image), "seed {seed}");
                used += 1;
            }
        }
    }
    assert!(used > 5_000 && lacking > 5_000, "{used} used, {lacking} lacking");
}

fn stricter(rules: &Rules, dice: &mut Dice) -> Rules {
    let more_missing = actions(dice);
    let Actions {
        on_missing,
        on_stale,
        on_unknown,
        on_unproved,
        on_unscanned,
        on_unscannable: _,
        on_vulnerable,
        on_unrouted,
    } = rules.actions;
    let unscannable = rules.actions.unscannable().max(more_missing.unscannable());
    let Requirement { required, max_severity, max_age, ignore, allowlist } = rules.scan.clone();
    Rules {
        actions: Actions {
            on_missing: on_missing.max(more_missing.on_missing),
            on_stale: on_stale.max(more_missing.on_stale),
            on_unknown: match on_unknown {
                OnUnknown::Stated(action) => OnUnknown::Stated(action.max(more_missing.unknown())),
                OnUnknown::Inherited(action) => OnUnknown::Inherited(action.max(more_missing.unknown())),
            },
            on_unproved: on_unproved.max(more_missing.on_unproved),
            on_unscanned: on_unscanned.max(more_missing.on_unscanned),
            on_unscannable: OnUnscannable::Stated(unscannable),
            on_vulnerable: on_vulnerable.max(more_missing.on_vulnerable),
            on_unrouted: on_unrouted.max(more_missing.on_unrouted),
        },
        scan: Requirement {
            required: if dice.once_in(2) { Required::Always } else { required },
            max_severity: if dice.once_in(2) { Some(Severity::None) } else { max_severity },
            max_age: if dice.once_in(2) { Some(Duration::from_secs(7 * 86400)) } else { max_age },
            ignore: if dice.once_in(2) { Arc::default() } else { ignore },
            allowlist,
        },
        exceptions: rules.exceptions.clone(),
    }
}

#[test]
fn law_6_a_stricter_policy_never_turns_a_denial_into_an_admission() {
    let (mut denials, mut tightened) = (0, 0);
    for (seed, case, world) in worlds() {
        let Some(policy) = case.regime.enforcing.first() else { continue };
        let mut dice = Dice(seed ^ 0x57_1c7);
        let mut stricter_policy = Policy { rules: stricter(&policy.rules, &mut dice), ..(**policy).clone() };
        if dice.once_in(2) {
            stricter_policy.rules.exceptions.clear();
        }
        let mut enforcing = case.regime.enforcing.clone();
        enforcing[0] = Arc::new(stricter_policy);
        let defaults = case.regime.defaults.clone();
        let mut strict = Case { regime: Arc::new(Regime { defaults, enforcing }), ..case.clone() };
        // Blocking on Stale requires a proof that was not required before. The proof is different evidence, not a
        // different judgement. So both sides get the same requirement for proof.
        let proves = |case: &Case| {
            let views = case.regime.views(&case.name, case.now);
            views.iter().any(|view| view.on(FindingKind::Stale) == Some(Action::Block))
        };
        let mut case = case;
        if proves(&case) != proves(&strict) && matches!(case.subject, Subject::Routed(_)) {
            routed_mut(&mut case).tag_proof = TagProof::Required;
            routed_mut(&mut strict).tag_proof = TagProof::Required;
        }
        tightened += 1;
        if denied(&verdict(&case, &world)) {
            denials += 1;
            let verdicts = (verdict(&case, &world), verdict(&strict, &world));
            assert!(denied(&verdicts.1), "seed {seed}: {verdicts:#?}\n{case:#?}\n{strict:#?}");
        }
    }
    assert!(denials > 1_000 && tightened > denials, "{denials} of {tightened}");
}

#[test]
fn law_7_another_local_place_that_is_unknown_or_absent_never_turns_an_admission_into_a_denial() {
    let mut added = 0;
    for (seed, case, world) in worlds() {
        if !matches!(verdict(&case, &world).ruling, Ruling::Local { .. }) {
            continue;
        }
        let mut dice = Dice(seed ^ 0xadd);
        let name = format!("added{}", dice.below(50));
        let place =
            Place { serves: Serves::Copies, ..place(&mut dice, &name, Locality::Local, Role::Replica) };
        let wanted = routed(&case).digest.map_or(Wanted::Tag, Wanted::Digest);
        if !matches!(world.presence(&place, wanted), Presence::Absent | Presence::Unknown(_)) {
            continue;
        }
        // A Harbor whose scanner answers makes `Auto` require a scan of every local copy, and so does one whose scanner is
        // unknown where that is blocked: that is what Auto means, not what this law is about.
        let views = case.regime.views(&case.name, case.now);
        let guarded = views.iter().any(PolicyView::blocks_unknown);
        let auto = |view: &PolicyView<'_>| match world.scan(&place, digest(0), Detail::Summary).scanner {
            Scanner::Present => true,
            Scanner::Absent => false,
            Scanner::Hidden | Scanner::Unknown => {
                view.rules.scan.required == Required::Auto && (guarded || blocks_unknown_scans(view))
            }
        };
        if place.registry.kind == Kind::Harbor && views.iter().any(auto) {
            continue;
        }
        let mut more = case.clone();
        let routed = routed_mut(&mut more);
        let at = dice.below(routed.places.len() as u64 + 1);
        routed.places.insert(usize::try_from(at).unwrap(), place);
        if u64::from(routed.named.0) >= at {
            routed.named.0 += 1;
        }
        added += 1;
        assert!(!denied(&verdict(&more, &world)), "seed {seed}");
    }
    assert!(added > 1_000, "{added}");
}

#[test]
fn law_9_where_a_mapping_may_collide_no_tag_is_used_that_is_not_proved() {
    let mut reached: BTreeMap<String, u32> = BTreeMap::new();
    for (seed, mut case, world) in worlds() {
        if !matches!(case.subject, Subject::Routed(_)) {
            continue;
        }
        let replicas = routed_mut(&mut case).places.iter_mut().filter(|place| place.role == Role::Replica);
        replicas.for_each(|place| place.collision = Collision::Possible);
        let routed = routed(&case);
        if routed.digest.is_some() || routed.primary().is_none() {
            continue;
        }
        for world in [world, World { seed, mood: Mood::Silent }] {
            let (verdict, evidence) = judged(&case, &world, decide);
            let (ix, used) = match verdict.ruling {
                Ruling::Local { place, digest } => (place, Some(digest)),
                Ruling::Accepted { place, digest, .. } => (place, digest),
                Ruling::Fallback { place: Some(place), digest } => (place, digest),
                Ruling::Fallback { place: None, .. } | Ruling::Keep(_) | Ruling::Deny => continue,
            };
            let place = routed.place(ix).unwrap();
            if place.role == Role::Primary || place.collision == Collision::Impossible {
                continue;
            }
            let proved = [Ask::Now, Ask::Remembered].iter().any(|ask| {
                let meant = evidence.get(Query::TagDigest(*ask));
                matches!(meant, Some(Observation::TagDigest(TagDigest::Known(meant))) if Some(*meant) == used)
            });
            assert!(proved, "seed {seed}: {verdict:?} by {evidence:#?}\n{case:#?}");
            *reached.entry(ruling_name(&verdict).into()).or_default() += 1;
        }
    }
    println!("{reached:?}");
    for ruling in ["Local", "Accepted", "Presumed", "Fallback"] {
        assert!(reached.get(ruling).is_some_and(|times| *times >= 30), "{ruling}: {reached:?}");
    }
}

/// Judges with one answer of the world replaced by Unknown.
fn judged_without(case: &Case, world: &World, hidden: Query, why: &Unknown) -> Verdict {
    let mut evidence = Evidence::default();
    for _ in 0..64 {
        match decide(case, &evidence) {
            Step::Settle(verdict) => return verdict,
            Step::Ask(queries) => {
                for query in queries {
                    let answer = world.answer(case, query);
                    let answer = if query == hidden { unlearned(&answer, why) } else { answer };
                    evidence.learn(query, answer, Duration::ZERO);
                }
            }
        }
    }
    panic!("no verdict after 64 rounds")
}

/// The same answer, had it not been learned.
fn unlearned(answer: &Observation, why: &Unknown) -> Observation {
    match answer {
        Observation::Presence(_) => Observation::Presence(Presence::Unknown(why.clone())),
        Observation::Children(_) => Observation::Children(Children::Unknown(why.clone())),
        Observation::Scan(_) => Observation::Scan(ScanAnswer {
            scanner: Scanner::Unknown,
            state: ScanState::Unknown(why.clone()),
            last: None,
        }),
        Observation::TagDigest(_) | Observation::Reachable(_) => answer.clone(),
    }
}

#[test]
fn law_10_what_a_policy_blocks_is_not_opened_by_keeping_us_from_looking() {
    let (mut denials, mut hidden): (u32, BTreeMap<&str, u32>) = (0, BTreeMap::new());
    for (seed, case, world) in worlds() {
        // Another policy that states `onUnknown: Fallback` opens what it alone blocks; so does an exception.
        let guards = |policy: &Arc<Policy>| {
            let actions = &policy.rules.actions;
            matches!(actions.on_unknown, OnUnknown::Inherited(_)) || !actions.blocks_known()
        };
        let opens = |view: &PolicyView<'_>| {
            FindingKind::VARIANTS.iter().any(|kind| kind.is_unknown() && view.on(*kind).is_none())
        };
        let views = case.regime.views(&case.name, case.now);
        let regime = &case.regime;
        if !regime.enforces() || !regime.enforcing.iter().all(guards) || views.iter().any(opens) {
            continue;
        }
        let (verdict, evidence) = judged(&case, &world, decide);
        if !denied(&verdict) || !matches!(case.subject, Subject::Routed(_)) {
            continue;
        }
        denials += 1;
        let why = World::unknown(&mut Dice(seed ^ 0xb11d));
        for (query, ..) in evidence.iter() {
            let what = match query {
                Query::Presence(..) => "presence",
                Query::Children(..) => "children",
                Query::Scan(..) => "scan",
                // Unproved is apart; reachability is always known.
                Query::TagDigest(_) | Query::Reachable(_) => continue,
            };
            *hidden.entry(what).or_default() += 1;
            let then = judged_without(&case, &world, query, &why);
            assert!(
                denied(&then),
                "seed {seed}: without {query:?} {verdict:?}\nbecame {then:?}\n{evidence:#?}\n{case:#?}"
            );
        }
    }
    println!("{denials} denials, {hidden:?}");
    assert!(denials >= 5_000 && hidden.values().all(|times| *times >= 500), "{denials} denials, {hidden:?}");
}

/// The Case of the reference that a verdict writes into the Pod, built from that reference as the next door builds it.
fn rewritten(case: &Case, verdict: &Verdict) -> Option<Case> {
    if matches!(verdict.ruling, Ruling::Keep(_) | Ruling::Deny) {
        return None;
    }
    let outcome = Outcome::of(case, verdict);
    let text = outcome.image.unwrap_or_else(|| case.written.clone());
    let reference = Reference::parse(&text).unwrap();
    let of_host = |place: &Place| *place.registry.host == *reference.host;
    let at = routed(case).iter().find(|(_, place)| of_host(place)).map(|(ix, _)| ix);
    let (at, spelling) = at.map_or((routed(case).named, Spelling::Alias), |ix| (ix, Spelling::Canonical));
    let local = routed(case).place(at).unwrap().locality == Locality::Local;
    let mut next = if local { with_first(case, at) } else { case.clone() };
    let routed = routed_mut(&mut next);
    routed.named = if local { PlaceIx(0) } else { at };
    (routed.tag, routed.digest, routed.spelling) = (reference.owned_tag(), reference.digest, spelling);
    next.written = text;
    Some(next)
}

/// What an outcome writes into the Pod, for every combination of pin, rewrite and spelling.
#[test]
fn an_outcome_writes_the_place_that_serves_pinned_as_asked_and_nothing_where_it_only_observes() {
    let mut reached: BTreeMap<&str, u32> = BTreeMap::new();
    let mut reach = |what| *reached.entry(what).or_default() += 1;
    for (seed, case, world) in worlds() {
        let Subject::Routed(routed) = &case.subject else { continue };
        let verdict = verdict(&case, &world);
        let outcome = Outcome::of(&case, &verdict);
        let what = format!("seed {seed}: {verdict:?} {outcome:?} of {}", case.written);
        let enforces = case.regime.enforces();
        if routed.rewrite == Rewrite::Observe && !enforces {
            reach("observed");
            assert_eq!((outcome.reason, outcome.effect), (Reason::Observed, Effect::Observed), "{what}");
            assert_eq!((outcome.image, outcome.place, outcome.pull_secret), (None, None, None), "{what}");
            continue;
        }
        assert_eq!(outcome.effect, Effect::Applied, "{what}");
        let Some(ix) = outcome.place else {
            reach("not served");
            assert_eq!(outcome.image, None, "{what}");
            continue;
        };
        let (place, checked) = match verdict.ruling {
            Ruling::Local { place, digest } => (Some(place), Some(digest)),
            Ruling::Accepted { place, digest, .. } => (Some(place), digest),
            Ruling::Fallback { place, digest } => (place, digest),
            Ruling::Keep(_) | Ruling::Deny => (None, None),
        };
        assert_eq!(Some(ix), place, "{what}");
        let is = outcome.image.as_deref().unwrap_or(&case.written);
        let is = Reference::parse(is).unwrap();
        let stays = ix == routed.named && routed.spelling == Spelling::Canonical;
        assert_eq!(*is.host, *routed.place(ix).unwrap().registry.host, "an alias is never left: {what}");
        let left_out = routed.pin == Pin::Digest && outcome.image.is_some() && is.digest.is_some();
        let tag = routed.tag.clone().filter(|_| !left_out);
        assert_eq!(is.owned_tag(), tag, "the tag as written, but for `pin: Digest`: {what}");
        if left_out && routed.tag.is_some() {
            reach(if stays { "without its tag, in place" } else { "without its tag, moved" });
        }
        let pins = routed.pin != Pin::Off || enforces;
        assert_eq!(is.digest, checked.filter(|_| pins).or(routed.digest), "{what}");
        assert_eq!(
            outcome.reason == Reason::AlreadyLocal,
            stays && matches!(verdict.ruling, Ruling::Local { .. }),
            "{what}"
        );
        reach(match (stays, pins, routed.digest.is_some()) {
            (_, _, true) => "digest as written",
            (true, true, _) => "pinned in place",
            (false, true, _) => "moved and pinned",
            (true, false, _) => "left by its tag",
            (false, false, _) => "moved by its tag",
        });
        // After it is written, a second judgement changes nothing.
        let next = rewritten(&case, &verdict).unwrap();
        let again = Outcome::of(&next, &self::verdict(&next, &world));
        let elsewhere = again.place.is_some_and(|place| place != self::routed(&next).named);
        assert!(again.image.is_none() || elsewhere, "{what}, then {again:?}");
    }
    for what in [
        "observed",
        "not served",
        "digest as written",
        "pinned in place",
        "moved and pinned",
        "left by its tag",
        "moved by its tag",
        "without its tag, in place",
        "without its tag, moved",
    ] {
        assert!(reached.get(what).is_some_and(|times| *times >= 300), "{what}: {reached:?}");
    }
}

/// An injector may still replace `auto` behind the mutating door. The validating door judges it as any image.
#[test]
fn a_placeholder_is_kept_by_decide_whatever_covers_it_and_judged_by_admits() {
    for (_, case, world) in worlds().step_by(16) {
        let placeholder = Case { written: "auto".into(), ..case.clone() };
        let kept =
            Verdict { ruling: Ruling::Keep(KeepReason::Placeholder), findings: Vec::new(), deciding: None };
        let outcome = Outcome::of(&placeholder, &kept);
        assert_eq!(decide(&placeholder, &Evidence::default()), Step::Settle(kept));
        assert_eq!((outcome.reason, outcome.image), (Reason::Placeholder, None), "{case:?}");
        assert_eq!(judged(&placeholder, &world, admits).0, judged(&case, &world, admits).0, "{case:?}");
    }
}

/// What a tag answered is written as a digest only where that digest is answered, too.
#[test]
fn law_11_no_digest_is_written_that_was_not_answered_by_digest() {
    let mut reached: BTreeMap<String, u32> = BTreeMap::new();
    for (seed, case, world) in worlds() {
        let Subject::Routed(routed) = &case.subject else { continue };
        if routed.digest.is_some() || routed.pin == Pin::Off && !case.regime.enforces() {
            continue;
        }
        let verdict = verdict(&case, &world);
        let (Some(ix), digest) = verdict.ruling.used_copy() else { continue };
        let place = routed.place(ix).unwrap();
        let Some(digest) = digest else {
            *reached.entry(format!("{}, by tag", ruling_name(&verdict))).or_default() += 1;
            continue;
        };
        let answered = world.presence(place, Wanted::Digest(digest));
        let there = matches!(answered, Presence::Present { .. } | Presence::ProxyCache { .. });
        assert!(there, "seed {seed}: {verdict:?} though {answered:?}\n{case:#?}");
        *reached.entry(ruling_name(&verdict).into()).or_default() += 1;
    }
    println!("{reached:?}");
    for (ruling, often) in
        [("Local", 1_000), ("Accepted", 1_000), ("Accepted, by tag", 10), ("Fallback", 500)]
    {
        assert!(reached.get(ruling).is_some_and(|times| *times >= often), "{ruling}: {reached:?}");
    }
}

#[test]
fn law_8_what_decide_produces_admits_accepts() {
    let mut accepted: BTreeMap<&str, u32> = BTreeMap::new();
    for (seed, case, world) in worlds() {
        if !matches!(case.subject, Subject::Routed(_)) || !case.regime.enforces() {
            continue;
        }
        let verdict = verdict(&case, &world);
        let Some(output) = rewritten(&case, &verdict) else { continue };
        let (admission, _) = judged(&output, &world, admits);
        assert!(matches!(admission, Admission::Admitted(_)), "seed {seed}: {verdict:?} then {admission:?}");
        *accepted.entry(ruling_name(&verdict)).or_default() += 1;
    }
    for ruling in ["Local", "Accepted", "Presumed", "Fallback"] {
        assert!(accepted.get(ruling).is_some_and(|times| *times >= 300), "{accepted:?}");
    }
}

#[test]
fn a_fallback_is_never_a_copy_whose_tag_is_proved_to_be_another() {
    let mut reached = 0;
    for (seed, case, world) in worlds() {
        let Ruling::Fallback { place: Some(ix), digest: Some(found) } = verdict(&case, &world).ruling else {
            continue;
        };
        let routed = routed(&case);
        let replica = routed.place(ix).is_some_and(|place| place.role == Role::Replica);
        if routed.digest.is_some() || routed.primary().is_none() || !replica {
            continue;
        }
        if let TagDigest::Known(meant) = world.tag(Ask::Remembered) {
            reached += 1;
            assert_eq!(meant, found, "seed {seed}: {case:?}");
        }
    }
    assert!(reached > 100, "only {reached}");
}

#[test]
fn a_silent_primary_on_our_own_site_is_still_where_to_fall_back_to() {
    let mut reached = 0;
    for (seed, case, world) in worlds() {
        let Subject::Routed(routed) = &case.subject else { continue };
        let Some((ix, primary)) = routed.primary() else { continue };
        let wanted = routed.digest.map_or(Wanted::Tag, Wanted::Digest);
        let silent = matches!(world.presence(primary, wanted), Presence::Unknown(_));
        if primary.locality != Locality::Local || !silent || world.reachable(primary) == Reachability::Down {
            continue;
        }
        reached += 1;
        let ruling = verdict(&case, &world).ruling;
        assert_ne!(ruling, Ruling::Fallback { place: None, digest: None }, "seed {seed}: {ix:?} {case:?}");
    }
    assert!(reached > 100, "only {reached}");
}
