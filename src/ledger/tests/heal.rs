//! Healing before the embedded Harbors, over HTTP, in real time with short terms.

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};

use arc_swap::ArcSwap;
use http::StatusCode;
use tokio::task::JoinHandle;

use super::*;
use crate::demo::world::content::Content;
use crate::demo::world::{Embedded, Ending, Permission, ReplicationRule, Request, Scan, ScannerState, World};
use crate::domain::healing::HealOutcome;
use crate::domain::mapping::{Flatten, Mapping};
use crate::domain::name::{RouteName, Site};
use crate::domain::pattern::Pattern;
use crate::domain::policy::{Labels, Rules};
use crate::domain::registry::Registry;
use crate::domain::route::{Collision, Filter, Pin, Replica, Rewrite, Route, RouteIndex, Serves, TagProof};
use crate::domain::scan::Required;
use crate::domain::settings::{Healing, HealingMode, Settings, sample};
use crate::evidence::Observatory;

/// What the healing robot may do, unless a test says otherwise.
const RIGHTS: [Permission; 4] = [
    Permission::ScanCreate,
    Permission::ReplicationPolicyList,
    Permission::ReplicationList,
    Permission::ReplicationCreate,
];

thread_local! {
    /// How many seconds the wall clock is wrong. A test has one thread.
    static WRONG: Cell<i64> = const { Cell::new(0) };
}

fn wall() -> Timestamp {
    Timestamp::now() + SignedDuration::from_secs(WRONG.get())
}

/// What takes minutes takes milliseconds. Moments in records are whole seconds, so a claim lasts some.
fn terms() -> Terms {
    let ms = Duration::from_millis;
    Terms {
        tick: ms(5),
        poll: ms(20),
        claim: ms(3_000),
        patience: ms(6_000),
        pauses: [ms(20); 5],
        forgets: Duration::from_hours(24),
        rule: Duration::from_mins(10),
        rest: ms(50),
        scans: (ms(1), 5),
        executions: (ms(1), 1),
        looks: (ms(1), 10),
        rules: ms(1),
    }
}

/// A primary, a replica, and the API server of the replica's cluster.
struct Place {
    /// Its folder goes with it.
    _world: World,
    fra: Embedded,
    ams: Embedded,
    server: Server,
    settings: Arc<ArcSwap<Settings>>,
    observatory: Arc<Observatory>,
    digest: Digest,
}

struct How {
    mode: HealingMode,
    required: Required,
    rights: &'static [Permission],
    /// Whether the registries have healing credentials.
    healed: bool,
}

impl Default for How {
    fn default() -> Self {
        Self { mode: HealingMode::Replicate, required: Required::Never, rights: &RIGHTS, healed: true }
    }
}

const REPOSITORY: &str = "shop/web";

impl Place {
    async fn new(how: How) -> Self {
        let world = World::new().unwrap();
        let (fra, ams) = (world.harbor("fra").await.unwrap(), world.harbor("ams").await.unwrap());
        let healer = |harbor: &Embedded| how.healed.then(|| world.robot(harbor, "heal", how.rights).unwrap());
        let registry = |harbor: &Embedded, name: &str| {
            let healing = healer(harbor);
            Arc::new(Registry { healing, ..harbor.registry(name, &format!("harbor.{name}.example.com")) })
        };
        let (primary, replica) = (registry(&fra, "fra"), registry(&ams, "ams"));
        let mut settings = sample::settings(Duration::from_secs(5));
        settings.budget.in_flight = 16;
        settings.cache.entries = 10_000;
        settings.site = Site::new("ams");
        settings.registries =
            [&primary, &replica].map(|registry| (registry.name.clone(), registry.clone())).into();
        let rules = sample::rules();
        let scan = crate::domain::scan::Requirement { required: how.required, ..rules.scan.clone() };
        settings.defaults = Arc::new(Rules { scan, ..rules });
        settings.routes = [Arc::new(Route {
            name: RouteName::new("shop"),
            primary,
            repositories: Pattern::new("shop/**").unwrap(),
            replicas: vec![Replica {
                registry: replica,
                mapping: Mapping { namespace: "".into(), flatten: Flatten::Levels(0) },
                filter: Filter::default(),
                serves: Serves::Copies,
                collision: Collision::Impossible,
            }],
            tag_proof: TagProof::Background,
            pin: Pin::TagAndDigest,
            rewrite: Rewrite::Apply,
        })]
        .into();
        settings.index = Arc::new(RouteIndex::of(&settings.routes));
        settings.healing = Healing { mode: how.mode, after: Duration::ZERO };
        let copy = settings.clone();
        let observatory = tokio::task::spawn_blocking(move || {
            Observatory::new(&copy, &mut prometheus_client::registry::Registry::default())
        });
        let digest = fra.store().push(REPOSITORY, "1.4.2", &Content::image("web"));
        ams.store().project("shop");
        Self {
            fra,
            ams,
            server: Server::start(),
            settings: Arc::new(ArcSwap::from_pointee(settings)),
            observatory: Arc::new(observatory.await.unwrap()),
            digest,
            _world: world,
        }
    }

    /// The image is in Amsterdam, too, and was never scanned there.
    async fn unscanned(how: How) -> Self {
        let place = Self::new(How { required: Required::Always, ..how }).await;
        place.ams.store().push(REPOSITORY, "1.4.2", &Content::image("web"));
        place.seen(place.digest, FindingKind::Unscanned).await;
        place
    }

    fn key(digest: Digest) -> GapKey {
        let name = format!("harbor.fra.example.com/{REPOSITORY}");
        GapKey::image(name, Version::Digest(digest), RegistryName::new("ams"))
    }

    /// A gap is recorded that was seen a minute ago.
    async fn seen(&self, digest: Digest, kind: FindingKind) {
        let key = Self::key(digest);
        let mut tally = Tally::default();
        let minute_ago = wall() - SignedDuration::from_mins(1);
        tally.see(
            &Gap { key: key.clone(), kind: GapKind::Finding(kind), detail: "".into() },
            Met::FellBack,
            minute_ago,
        );
        tally.used_by(Some(&Tag::new("1.4.2")), "shop", Some((&owner("web"), Met::FellBack)));
        let objects = self.server.cluster().gaps();
        let made = objects.create(&key).await.unwrap();
        objects.write(&made, &fold(None, &tally, &key)).await.unwrap();
    }

    fn lead(&self, name: &str, terms: Terms) -> Leader {
        let (metrics, pace) = (LedgerMetrics::default(), Pace::of(Duration::from_millis(1)));
        let cluster = self.server.cluster();
        let (events, writing) = cluster.events(name);
        tokio::spawn(writing.run());
        let notices = Notices::new(events);
        let labels = Arc::new(|_: &str| std::future::ready(Arc::new(Labels::new())).boxed());
        let rechecks = Arc::new(AtomicUsize::new(0));
        let asked = recheck(self.settings.clone(), self.observatory.clone(), labels, wall);
        let looks: Recheck = Arc::new({
            let rechecks = rechecks.clone();
            move |key: &GapKey, record: &Record| {
                rechecks.fetch_add(1, Ordering::Relaxed);
                asked(key, record)
            }
        });
        let lag: LagOf = Arc::new(|_| std::future::ready(None).boxed());
        let healer = Healer::new(
            self.settings.clone(),
            self.observatory.clone(),
            cluster.gaps(),
            notices.clone(),
            pace.clone(),
            looks.clone(),
            metrics.clone(),
            wall,
            terms,
        );
        let (rules, read) = watch::channel(None);
        let retention = SignedDuration::from_hours(168);
        let (keeper, keeping) =
            Keeping::new(cluster.gaps(), notices, pace, looks, lag, read, retention, metrics.clone(), wall);
        let mut keeping = keeping.healed_by(healer);
        let leading = tokio::spawn(async move {
            let _rules = rules;
            keeping.keep().await;
        });
        Leader { keeper, metrics, rechecks, leading }
    }

    fn record(&self) -> Record {
        let of = format!("{}@{}", "harbor.fra.example.com/shop/web", self.digest);
        self.server.records().remove(&of).unwrap()
    }

    fn outcome(&self) -> Option<HealOutcome> {
        self.record().action.and_then(|action| action.outcome)
    }

    /// Waits until the attempt came to this.
    async fn came_to(&self, outcome: HealOutcome) -> Record {
        until(&format!("{outcome}"), || self.outcome() == Some(outcome), || format!("{:?}", self.record()))
            .await;
        self.record()
    }

    /// The writes that one of the Harbors has got.
    fn writes(harbor: &Embedded) -> Vec<Request> {
        harbor.log().into_iter().filter(|request| request.method == http::Method::POST).collect()
    }
}

struct Leader {
    keeper: Keeper,
    metrics: LedgerMetrics,
    rechecks: Arc<AtomicUsize>,
    leading: JoinHandle<()>,
}

impl Leader {
    /// Waits until gaps were looked at so often again.
    async fn looks_again(&self, times: usize, key: &GapKey) {
        for _ in 0..times {
            let before = self.rechecks.load(Ordering::Relaxed);
            let looked = || {
                self.keeper.hint(key.clone());
                self.rechecks.load(Ordering::Relaxed) > before
            };
            until("another look", looked, String::new).await;
        }
    }
}

impl Drop for Leader {
    fn drop(&mut self) {
        self.leading.abort();
    }
}

/// Waits for a state. It is no measure of time: only a test that would never end fails by it.
async fn until(what: &str, is_so: impl Fn() -> bool, found: impl Fn() -> String) {
    let waited = tokio::time::timeout(Duration::from_secs(60), async {
        while !is_so() {
            sleep(Duration::from_millis(10)).await;
        }
    });
    assert!(waited.await.is_ok(), "never: {what}; {}", found());
}

fn to_ams(place: &Embedded) -> ReplicationRule {
    ReplicationRule::to("to-ams", &place.url())
}

/// The rule needs the address of a Harbor that does not run yet, so it is given once it does.
async fn missing(how: How, make: impl FnOnce(ReplicationRule) -> ReplicationRule) -> (Place, u64) {
    let place = Place::new(how).await;
    let rule = make(to_ams(&place.ams));
    let rule = place.fra.store().add_rule(rule);
    place.fra.replicates(rule, &place.ams);
    place.seen(place.digest, FindingKind::Missing).await;
    (place, rule)
}

// ----------------------------------------------------------------------------------------------------------------- scans

#[tokio::test]
async fn a_scan_is_started_by_its_own_robot_and_the_gap_closed_by_its_result() {
    let place = Place::unscanned(How::default()).await;
    let leader = place.lead("landfall-0", terms());
    let pending = || place.ams.log().iter().any(|request| request.status == Some(StatusCode::ACCEPTED));
    until("a scan is started", pending, || format!("{:?}", place.record())).await;
    until("Healing", || place.record().state == GapState::Healing, String::new).await;
    place.ams.store().set_scan(&place.digest, Scan::clean());
    until("closed", || place.record().state == GapState::Closed, || format!("{:?}", place.record())).await;
    let record = place.came_to(HealOutcome::Healed).await;
    assert!(record.message.contains("Landfall had started the scan"), "{}", record.message);
    let writes = Place::writes(&place.ams);
    assert_eq!(writes.len(), 1, "{writes:?}");
    assert_eq!(writes[0].user.as_deref(), Some("robot$heal"), "the robot that reads writes nothing");
    println!("a scan: {} requests to its Harbor", place.ams.log().len());
    assert_eq!(count(&leader.metrics, "landfall_healing_attempts"), 1);
}

#[tokio::test]
async fn what_is_scanned_is_never_scanned_again() {
    let place = Place::unscanned(How::default()).await;
    place.ams.store().set_scan(&place.digest, Scan::clean());
    let _leader = place.lead("landfall-0", terms());
    until("closed", || place.record().state == GapState::Closed, || format!("{:?}", place.record())).await;
    assert_eq!(Place::writes(&place.ams), []);
    assert_eq!(place.record().action, None);
}

#[tokio::test]
async fn each_way_in_which_a_scan_is_refused_is_told_apart() {
    type Change = fn(&Place);
    type Answer = (Option<StatusCode>, &'static str);
    type Row = (HealOutcome, Answer, Change, &'static str);
    let refused = |status, code| (Some(status), code);
    let cases: [Row; 6] = [
        (HealOutcome::ScannerRefused, refused(StatusCode::BAD_REQUEST, "BAD_REQUEST"), |_| {}, "scanner"),
        (HealOutcome::NotFound, refused(StatusCode::NOT_FOUND, "NOT_FOUND"), |_| {}, "know it"),
        (HealOutcome::RegistryDown, refused(StatusCode::INTERNAL_SERVER_ERROR, "UNKNOWN"), |_| {}, "500"),
        (
            HealOutcome::NoScanner,
            (None, ""),
            |place| place.ams.store().scanner = ScannerState::None,
            "enable",
        ),
        (
            HealOutcome::NoScanner,
            (None, ""),
            |place| place.ams.store().scanner = ScannerState::Disabled,
            "deactivated",
        ),
        (
            HealOutcome::Unauthorized,
            (None, ""),
            |place| place.ams.store().remove_account("robot$heal"),
            "renew the robot",
        ),
    ];
    for (outcome, (status, code), change, said) in cases {
        let place = Place::unscanned(How::default()).await;
        place.ams.store().scan_starts = status.map(|status| (status, code));
        change(&place);
        let _leader = place.lead("landfall-0", terms());
        let record = place.came_to(outcome).await;
        assert_ne!(record.state, GapState::Closed);
        assert!(record.message.contains(said), "{outcome}: {}", record.message);
    }
    // The robot lacks the right, which is named.
    let place = Place::unscanned(How { rights: &[Permission::ReplicationCreate], ..How::default() }).await;
    let _leader = place.lead("landfall-0", terms());
    let record = place.came_to(HealOutcome::Forbidden).await;
    assert!(record.message.contains("`scan:create in project shop`"), "{}", record.message);
}

#[tokio::test]
async fn a_scan_that_runs_already_is_as_good_and_one_that_fails_is_told() {
    let place = Place::unscanned(How::default()).await;
    place.ams.store().scan_starts = Some((StatusCode::CONFLICT, "CONFLICT"));
    let _leader = place.lead("landfall-0", terms());
    let asked = || !Place::writes(&place.ams).is_empty();
    until("it is asked", asked, || format!("{:?}", place.record())).await;
    assert_eq!(place.outcome(), None, "somebody else's scan is followed");
    place.ams.store().set_scan(&place.digest, Scan::Error(Timestamp::now()));
    place.came_to(HealOutcome::ScanFailed).await;
}

#[tokio::test]
async fn without_credentials_nothing_is_written_to_a_registry_and_that_is_said_once() {
    let place = Place::unscanned(How { healed: false, ..How::default() }).await;
    let leader = place.lead("landfall-0", terms());
    let record = place.came_to(HealOutcome::NoCredentials).await;
    assert!(record.message.contains("`healing.credentials`"), "{}", record.message);
    let action = record.action.clone();
    leader.looks_again(5, &Place::key(place.digest)).await;
    assert_eq!(place.record().action, action, "it is not said again");
    assert_eq!(Place::writes(&place.ams), []);
}

#[tokio::test]
async fn a_registry_that_rejects_the_credentials_is_not_asked_again_for_each_gap() {
    let place = Place::unscanned(How::default()).await;
    for n in 0..30 {
        let content = Content::image(&format!("web {n}"));
        let digest = place.ams.store().push(REPOSITORY, &format!("n{n}"), &content);
        place.seen(digest, FindingKind::Unscanned).await;
    }
    place.ams.store().remove_account("robot$heal");
    let ms = Duration::from_millis;
    let pauses = [ms(20), ms(20), ms(20), Duration::from_hours(1), ms(20)];
    let leader = place.lead("landfall-0", Terms { pauses, ..terms() });
    until("it is told", || count(&leader.metrics, "landfall_healing_attempts") > 0, String::new).await;
    leader.looks_again(40, &Place::key(place.digest)).await;
    // Those that were begun at once.
    let asked = Place::writes(&place.ams).len();
    assert!((1..=4).contains(&asked), "{asked}");
}

#[tokio::test]
async fn while_the_scanner_is_down_or_the_mode_is_off_nothing_is_tried() {
    let place = Place::unscanned(How::default()).await;
    place.ams.store().scanner = ScannerState::Unhealthy;
    let leader = place.lead("landfall-0", terms());
    leader.looks_again(5, &Place::key(place.digest)).await;
    assert_eq!((Place::writes(&place.ams), place.record().action), (Vec::new(), None));
    let off = Place::unscanned(How { mode: HealingMode::Off, ..How::default() }).await;
    let leader = off.lead("landfall-0", terms());
    leader.looks_again(5, &Place::key(off.digest)).await;
    assert_eq!((Place::writes(&off.ams), off.record().action), (Vec::new(), None));
}

// ----------------------------------------------------------------------------------------------------------- replication

#[tokio::test]
async fn the_rule_that_covers_an_image_is_executed_and_the_gap_closed_by_the_copy() {
    let (place, rule) =
        missing(How::default(), |rule| rule.filter("name", "shop/**").filter("tag", "1.*")).await;
    // Others that do not bring it.
    for other in [
        to_ams(&place.ams).filter("name", "db/**"),
        to_ams(&place.ams).filter("tag", "2.*"),
        to_ams(&place.ams).into_namespace("mirror", 1),
        ReplicationRule::to("to-par", "https://harbor.par.example.com"),
    ] {
        place.fra.store().add_rule(other);
    }
    let leader = place.lead("landfall-0", terms());
    let record = place.came_to(HealOutcome::Healed).await;
    assert_eq!(record.state, GapState::Closed);
    assert!(record.message.contains("Landfall had executed its replication rule"), "{}", record.message);
    let writes = Place::writes(&place.fra);
    assert_eq!(writes.len(), 1, "{writes:?}");
    assert_eq!(writes[0].user.as_deref(), Some("robot$heal"));
    assert_eq!((place.fra.store().started_by_hand(rule), Place::writes(&place.ams).len()), (1, 0));
    let (fra, ams) = (place.fra.log().len(), place.ams.log().len());
    println!("a replication: {fra} requests to the primary, {ams} to the replica");
    assert_eq!(count(&leader.metrics, "landfall_healing_attempts"), 1);
}

#[tokio::test]
async fn each_way_in_which_an_execution_does_not_help_is_told_apart() {
    type Make = fn(ReplicationRule) -> ReplicationRule;
    let cases: [(HealOutcome, Make, &str, usize); 9] = [
        (HealOutcome::WithoutArtifact, |rule| rule.ending(Ending::Nothing), "landfall copy --gap web-", 1),
        (
            HealOutcome::DestinationDown,
            |rule| rule.ending(Ending::Refused("Get \"https://ams/v2/\": dial tcp: connection refused")),
            "connection refused",
            1,
        ),
        (
            HealOutcome::QuotaExceeded,
            |rule| {
                rule.ending(Ending::Failed(
                    "http status code: 403, body: DENIED adding 2.1 MiB will exceed the configured upper limit of 10.0 MiB.",
                ))
            },
            "raise its quota",
            1,
        ),
        (
            HealOutcome::TagImmutable,
            |rule| {
                rule.ending(Ending::Failed("http status code: 412, body: '1.4.2' configured as immutable."))
            },
            "immutable",
            1,
        ),
        (
            HealOutcome::DestinationRefused,
            |rule| rule.ending(Ending::Failed("http status code: 401, body: unauthorized")),
            "renew the credentials",
            1,
        ),
        (HealOutcome::ExecutionFailed, |rule| rule.ending(Ending::Failed("EOF")), "EOF", 1),
        (HealOutcome::RuleTooShallow, |rule| rule.into_namespace("shop", 5), "flattens more levels", 0),
        (HealOutcome::RuleDisabled, ReplicationRule::disabled, "enable it", 0),
        (HealOutcome::StillRunning, |rule| rule.ending(Ending::Never), "not ended in its time", 1),
    ];
    for (outcome, make, said, executed) in cases {
        let (place, rule) = missing(How::default(), make).await;
        let _leader = place.lead("landfall-0", terms());
        let record = place.came_to(outcome).await;
        assert_eq!(
            (record.state, record.action.as_ref().unwrap().attempts),
            (GapState::Open, 1),
            "{outcome}"
        );
        assert!(record.message.contains(said), "{outcome}: {}", record.message);
        assert_eq!(place.fra.store().started_by_hand(rule), executed, "{outcome}");
    }
}

#[tokio::test]
async fn a_rule_that_does_not_override_succeeds_and_leaves_the_old_image() {
    let (place, _) = missing(How::default(), ReplicationRule::without_override).await;
    place.ams.store().push(REPOSITORY, "1.4.2", &Content::image("the old one"));
    let _leader = place.lead("landfall-0", terms());
    let record = place.came_to(HealOutcome::OverrideOff).await;
    assert!(record.message.contains("switch `override` on"), "{}", record.message);
}

#[tokio::test]
async fn what_no_rule_covers_and_a_lost_layer_need_a_copy() {
    let (place, rule) = missing(How::default(), |rule| rule.filter("name", "db/**")).await;
    let _leader = place.lead("landfall-0", terms());
    let record = place.came_to(HealOutcome::NeedsCopy).await;
    let command =
        format!("`landfall copy --gap {}`", crate::cluster::GapObjects::name_of(&Place::key(place.digest)));
    assert!(record.message.contains(&command), "{}", record.message);
    assert_eq!(place.fra.store().started_by_hand(rule), 0);

    let place = Place::new(How::default()).await;
    place.ams.store().push(REPOSITORY, "1.4.2", &Content::image("web"));
    let layer = place.ams.store().layers(REPOSITORY, &place.digest)[1];
    place.ams.store().lose_layer(REPOSITORY, &layer);
    let rule = place.fra.store().add_rule(to_ams(&place.ams));
    place.seen(place.digest, FindingKind::LayerMissing).await;
    let _leader = place.lead("landfall-0", terms());
    place.came_to(HealOutcome::NeedsCopy).await;
    assert_eq!(place.fra.store().started_by_hand(rule), 0);
}

#[tokio::test]
async fn rights_and_credentials_that_are_missing_for_replication_are_named() {
    for (rights, said) in [
        (&[Permission::ReplicationList][..], "`replication-policy:list at fra`"),
        (&[Permission::ReplicationPolicyList], "replication:read"),
        (&[Permission::ReplicationPolicyList, Permission::ReplicationList], "`replication:create`"),
    ] {
        let (place, _) = missing(How { rights, ..How::default() }, |rule| rule).await;
        let _leader = place.lead("landfall-0", terms());
        let record = place.came_to(HealOutcome::Forbidden).await;
        assert!(record.message.contains(said), "{said}: {}", record.message);
    }
    let (place, _) = missing(How { healed: false, ..How::default() }, |rule| rule).await;
    let _leader = place.lead("landfall-0", terms());
    let record = place.came_to(HealOutcome::NoCredentials).await;
    assert!(record.message.contains("registry `fra`"), "{}", record.message);
}

#[tokio::test]
async fn in_the_mode_scan_no_rule_is_executed() {
    let (place, rule) = missing(How { mode: HealingMode::Scan, ..How::default() }, |rule| rule).await;
    let leader = place.lead("landfall-0", terms());
    leader.looks_again(5, &Place::key(place.digest)).await;
    assert_eq!((place.fra.store().started_by_hand(rule), place.record().action), (0, None));
}

#[tokio::test]
async fn two_hundred_gaps_of_one_rule_are_one_execution() {
    let (place, rule) = missing(How::default(), |rule| rule).await;
    for n in 0..199 {
        let digest =
            place.fra.store().push(REPOSITORY, &format!("n{n}"), &Content::image(&format!("web {n}")));
        place.seen(digest, FindingKind::Missing).await;
    }
    let _leader = place.lead("landfall-0", terms());
    let closed = || place.server.records().into_values().filter(|record| !record.is_open()).count();
    until("all are closed", || closed() == 200, || closed().to_string()).await;
    assert_eq!(place.fra.store().started_by_hand(rule), 1);
    let (fra, ams) = (place.fra.log().len(), place.ams.log().len());
    println!("200 gaps: {fra} requests to the primary, {ams} to the replica");
}

#[tokio::test]
async fn what_one_execution_did_not_bring_waits_until_the_rule_may_be_executed_again() {
    let (place, rule) = missing(How::default(), |rule| rule.ending(Ending::Nothing)).await;
    for n in 0..20 {
        let digest =
            place.fra.store().push(REPOSITORY, &format!("n{n}"), &Content::image(&format!("web {n}")));
        place.seen(digest, FindingKind::Missing).await;
    }
    let leader = place.lead("landfall-0", terms());
    let told = || {
        let outcome = |record: Record| record.action.and_then(|action| action.outcome);
        let records = place.server.records().into_values();
        records.filter(|record| outcome(record.clone()) == Some(HealOutcome::WithoutArtifact)).count()
    };
    until("all are told", || told() == 21, || told().to_string()).await;
    leader.looks_again(5, &Place::key(place.digest)).await;
    assert_eq!(place.fra.store().started_by_hand(rule), 1);
    let attempts = place.server.records().into_values().map(|record| record.action.unwrap().attempts).max();
    assert_eq!(attempts, Some(1), "one execution is one attempt");
}

// --------------------------------------------------------------------------------------------- leaders, clocks, and the end

#[tokio::test]
async fn of_two_leaders_at_once_one_acts() {
    let place = Place::unscanned(How::default()).await;
    let _leaders = [place.lead("landfall-0", terms()), place.lead("landfall-1", terms())];
    let started = || !Place::writes(&place.ams).is_empty();
    until("a scan is started", started, || format!("{:?}", place.record())).await;
    place.ams.store().set_scan(&place.digest, Scan::clean());
    place.came_to(HealOutcome::Healed).await;
    assert_eq!(Place::writes(&place.ams).len(), 1);

    let (place, rule) = missing(How::default(), |rule| rule).await;
    for n in 0..30 {
        let digest =
            place.fra.store().push(REPOSITORY, &format!("n{n}"), &Content::image(&format!("web {n}")));
        place.seen(digest, FindingKind::Missing).await;
    }
    let _leaders = [place.lead("landfall-0", terms()), place.lead("landfall-1", terms())];
    let closed = || place.server.records().into_values().filter(|record| !record.is_open()).count();
    until("all are closed", || closed() == 31, || closed().to_string()).await;
    assert_eq!(place.fra.store().started_by_hand(rule), 1);
}

#[tokio::test]
async fn a_new_leader_goes_on_where_the_last_one_was_and_starts_nothing_twice() {
    let (place, rule) = missing(How::default(), |rule| rule.ending(Ending::Never)).await;
    let first = place.lead("landfall-0", terms());
    let noted = || place.record().action.is_some_and(|action| action.execution.is_some());
    until("an execution is noted", noted, || format!("{:?}", place.record())).await;
    drop(first);
    let second = place.lead("landfall-1", terms());
    second.looks_again(3, &Place::key(place.digest)).await;
    assert_eq!(place.fra.store().started_by_hand(rule), 1);
    // It is not said to have ended; the artifact is there all the same.
    place.ams.store().push(REPOSITORY, "1.4.2", &Content::image("web"));
    let record = place.came_to(HealOutcome::Healed).await;
    assert_eq!((record.state, place.fra.store().started_by_hand(rule)), (GapState::Closed, 1));
}

#[tokio::test]
async fn a_claim_of_a_leader_that_was_stopped_before_it_acted_runs_out() {
    let (place, rule) = missing(How::default(), |rule| rule).await;
    let objects = place.server.cluster().gaps();
    let found = objects.get(&Place::key(place.digest)).await.unwrap().unwrap();
    let action = crate::cluster::GapAction {
        id: "gone".into(),
        what: crate::domain::healing::Remedy::Replicate,
        finding: Some(GapKind::Finding(FindingKind::Missing)),
        at: super::super::record::whole(wall()),
        attempts: 0,
        keeper: Some("fra".into()),
        rule: Some("to-ams".into()),
        rule_id: Some(rule.try_into().unwrap()),
        execution: None,
        ended: None,
        outcome: None,
        result: String::new(),
    };
    let key = Place::key(place.digest);
    let claimed = super::super::record::acted(found.record.as_ref().unwrap(), &key, Some(action));
    objects.write(&found, &claimed).await.unwrap();
    let leader = place.lead("landfall-1", terms());
    leader.looks_again(3, &key).await;
    assert_eq!(place.fra.store().started_by_hand(rule), 0, "the claim is another's");
    let record = place.came_to(HealOutcome::Healed).await;
    assert_eq!((record.action.unwrap().attempts, place.fra.store().started_by_hand(rule)), (1, 1));
    assert_eq!(count(&leader.metrics, "landfall_healing_attempts"), 2, "one was interrupted");
}

#[tokio::test]
async fn a_wall_clock_that_jumps_starts_nothing_twice() {
    let (place, rule) = missing(How::default(), |rule| rule.ending(Ending::Never)).await;
    let patient = Terms { patience: Duration::from_hours(1_000), ..terms() };
    let leader = place.lead("landfall-0", patient);
    let noted = || place.record().action.is_some_and(|action| action.execution.is_some());
    until("an execution is noted", noted, || format!("{:?}", place.record())).await;
    for wrong in [3_600, 86_400 * 3, -86_400 * 3, 0] {
        WRONG.set(wrong);
        leader.looks_again(5, &Place::key(place.digest)).await;
        assert_eq!(place.fra.store().started_by_hand(rule), 1, "{wrong}");
    }
    place.ams.store().push(REPOSITORY, "1.4.2", &Content::image("web"));
    place.came_to(HealOutcome::Healed).await;
}

#[tokio::test]
async fn after_five_failures_a_person_is_asked_and_there_is_no_sixth() {
    let failing = |rule: ReplicationRule| rule.ending(Ending::Failed("EOF"));
    let (place, rule) = missing(How::default(), failing).await;
    let leader = place.lead("landfall-0", Terms { rule: Duration::ZERO, ..terms() });
    let attempts = || place.record().action.map_or(0, |action| action.attempts);
    until("five attempts", || attempts() == 5, || format!("{:?}", place.record())).await;
    let told = |about: &str| {
        let events = place.server.with(|state| state.events.clone());
        events.iter().any(|(reason, owner, _)| reason == "HealingGaveUp" && owner.starts_with(about))
    };
    until("its owner and the gap are told", || told("web") && told("web-"), String::new).await;
    leader.looks_again(5, &Place::key(place.digest)).await;
    let record = place.record();
    assert_eq!((attempts(), place.fra.store().started_by_hand(rule)), (5, 5), "there is no sixth");
    assert!(record.message.contains("5 attempts failed"), "{}", record.message);
    assert!(record.has_given_up() && record.state == GapState::Open);
    assert_eq!(count(&leader.metrics, "landfall_healing_attempts"), 5);
}
