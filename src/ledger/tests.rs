//! The ledger before an API server with optimistic locking. Time is paused.

mod api;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt;
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use strum::VariantArray as _;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::keeper::LagOf;
use super::record::{Tally, after, fold};
use super::*;
use crate::cluster::{EventReason, GapState, ObjectRef};
use crate::domain::digest::Digest;
use crate::domain::finding::FindingKind;
use crate::domain::gap::{Axis, Gap, GapKey, GapKind, GapSubject, Risk, Version};
use crate::domain::image::Tag;
use crate::domain::name::RegistryName;
use api::{Mode, Server};

/// When the tests take place. The clock of the ledger stands still; only tokio's goes on.
fn noon() -> Timestamp {
    "2026-11-27T12:00:00Z".parse().unwrap()
}

fn at(seconds: i64) -> Timestamp {
    noon() + SignedDuration::from_secs(seconds)
}

fn key(n: usize) -> GapKey {
    let digest: Digest = format!("sha256:{n:064x}").parse().unwrap();
    GapKey::image("harbor.fra.example.com/shop/web", Version::Digest(digest), RegistryName::new("ams"))
}

fn gap(n: usize, kind: FindingKind) -> Gap {
    Gap { key: key(n), kind: GapKind::Finding(kind), detail: "404".into() }
}

fn rule(kind: Risk) -> Gap {
    let key = GapKey { subject: GapSubject::Rule("to-ams".into()), registry: RegistryName::new("fra") };
    Gap { key, kind: GapKind::Risk(kind), detail: "".into() }
}

fn owner(name: &str) -> ObjectRef {
    ObjectRef {
        api_version: "apps/v1".into(),
        kind: "Deployment".into(),
        namespace: Some("shop".to_owned()),
        name: name.to_owned(),
        uid: None,
    }
}

fn see(recorder: &Recorder, gap: &Gap, met: Met) {
    let owner = Owner { api_version: "apps/v1", kind: "Deployment", name: "web", uid: None };
    let gaps = std::slice::from_ref(gap);
    recorder.see(&Sighting { gaps, tag: None, met, namespace: "shop", owner: Some(owner) });
}

/// One replica, and its own part of everything.
struct Replica {
    recorder: Recorder,
    writer: Writer,
    metrics: LedgerMetrics,
    pace: Pace,
    notices: Notices,
}

fn replica(server: &Server, name: &str) -> Replica {
    let (metrics, pace, cluster) = (LedgerMetrics::default(), Pace::default(), server.cluster());
    let recorder = Recorder::new(metrics.clone(), noon);
    let (events, writing) = cluster.events(name);
    tokio::spawn(writing.run());
    let notices = Notices::new(events);
    let writer = Writer::new(
        cluster.gaps(),
        recorder.clone(),
        cluster.owners(),
        notices.clone(),
        pace.clone(),
        metrics.clone(),
    );
    Replica { recorder, writer, metrics, pace, notices }
}

fn count(of: &LedgerMetrics, family: &str) -> u64 {
    let mut page = prometheus_client::registry::Registry::default();
    of.clone().on(&mut page);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &page).unwrap();
    let lines = text.lines().filter(|line| line.starts_with(family) && !line.starts_with('#'));
    lines.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
}

// ---------------------------------------------------------------------------------------------------------- folding

fn sightings() -> impl Strategy<Value = Vec<(usize, usize, i64, usize)>> {
    prop::collection::vec((0..5_usize, 0..3_usize, 0..400_i64, 0..40_usize), 0..60)
}

fn tally_of(seen: &[(usize, usize, i64, usize)]) -> Tally {
    let kinds = [
        FindingKind::Missing,
        FindingKind::ChildMissing,
        FindingKind::Stale,
        FindingKind::Unscanned,
        FindingKind::Vulnerable,
    ];
    let mets = [Met::Used, Met::FellBack, Met::Denied];
    let mut tally = Tally::default();
    for (kind, met, second, who) in seen {
        tally.see(&gap(0, kinds[*kind]), mets[*met], at(*second));
        tally.used_by(None, &format!("ns-{who}"), Some((&owner(&format!("web-{who}")), mets[*met])));
    }
    tally
}

proptest! {
    #[test]
    fn in_whatever_order_three_replicas_fold_the_record_is_the_same(
        [a, b, c] in [sightings(), sightings(), sightings()], again in any::<bool>()
    ) {
        let tallies = [tally_of(&a), tally_of(&b), tally_of(&c)];
        let before = again.then(|| fold(None, &tally_of(&[(0, 0, 3, 7)]), &key(0)));
        let in_order = |order: [usize; 3]| {
            let mut record = before.clone();
            for n in order {
                // An empty tally is never folded.
                if tallies[n] != Tally::default() {
                    record = Some(fold(record.as_ref(), &tallies[n], &key(0)));
                }
            }
            record
        };
        let expected = in_order([0, 1, 2]);
        for order in [[0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
            prop_assert_eq!(&in_order(order), &expected);
        }
        // What could not be written is put back, and folded together with what came later.
        let mut together = tallies[0].clone();
        together.merge(tallies[1].clone());
        together.merge(tallies[2].clone());
        if together != Tally::default() {
            prop_assert_eq!(Some(fold(before.as_ref(), &together, &key(0))), expected.clone());
        }
        if let Some(record) = expected {
            let seen = a.len() + b.len() + c.len() + usize::from(again);
            prop_assert_eq!(usize::try_from(record.used + record.fell_back + record.denied).unwrap(), seen);
            prop_assert!(record.namespaces.len() <= 16 && record.owners.len() <= 16);
        }
    }
}

#[test]
fn it_opens_closes_by_evidence_alone_and_opens_again() {
    let tally = |kind, second| {
        let mut tally = Tally::default();
        tally.see(&gap(0, kind), Met::FellBack, at(second));
        tally
    };
    let (key, good) = (key(0), || State::Good);
    let record = fold(None, &tally(FindingKind::Missing, 0), &key);
    let record = fold(Some(&record), &tally(FindingKind::Unscanned, 60), &key);
    let look = |record: &Record, presence, scan, second| {
        let standing = Standing { presence, scan, risk: State::Unknown };
        after(record, &key, &standing, Some(Duration::from_secs(720)), at(second))
    };
    // Unknown closes nothing, however long it lasts, and what is found again changes nothing.
    assert_eq!(look(&record, State::Unknown, State::Unknown, 1_000_000), None);
    let again = State::Lacking(GapKind::Finding(FindingKind::Missing), "404".into());
    assert_eq!(look(&record, again, State::Unknown, 1_000), None);
    // One axis closes, the other stays.
    let half = look(&record, good(), State::Unknown, 3_600).unwrap();
    assert_eq!((half.state, half.closed_at, half.lag_seconds), (GapState::Open, None, None));
    assert_eq!(half.lacking(Axis::Scan), Some(GapKind::Finding(FindingKind::Unscanned)));
    assert_eq!(half.lacking(Axis::Presence), None);
    // No copy is expected there any more: the rest closes, too.
    let closed = look(&half, good(), State::NotExpected("no route".into()), 7_200).unwrap();
    assert_eq!((closed.state, closed.closed_at), (GapState::Closed, Some(at(7_200))));
    assert_eq!(closed.lag_seconds, Some(720));
    let scan = closed.scan.as_ref().unwrap();
    assert_eq!((scan.was, &*scan.detail), (Some(GapKind::Finding(FindingKind::Unscanned)), "no route"));
    assert_eq!(look(&closed, good(), good(), 8_000), None);
    // A door that rests on an older answer opens nothing; what is seen later does, with a new age.
    let late = fold(Some(&closed), &tally(FindingKind::Unscanned, 7_210), &key);
    assert_eq!((late.state, late.fell_back), (GapState::Closed, 3));
    let opened = fold(Some(&late), &tally(FindingKind::Missing, 9_000), &key);
    assert_eq!((opened.state, opened.closed_at, opened.first_seen), (GapState::Open, None, at(0)));
    assert_eq!(opened.presence.as_ref().unwrap().since, at(9_000));
    // So does a look, at once.
    let gone = State::Lacking(GapKind::Finding(FindingKind::LayerMissing), "".into());
    let lost = look(&late, gone, State::Unknown, 7_300).unwrap();
    assert_eq!((lost.state, lost.presence.unwrap().since), (GapState::Open, at(7_300)));
}

#[test]
fn of_an_index_a_missing_child_stays_what_it_is_when_the_child_is_looked_at() {
    let mut tally = Tally::default();
    tally.see(&gap(0, FindingKind::ChildMissing), Met::FellBack, at(0));
    let record = fold(None, &tally, &key(0));
    let missing = State::Lacking(GapKind::Finding(FindingKind::Missing), "404".into());
    let standing = Standing { presence: missing, ..Standing::UNKNOWN };
    assert_eq!(after(&record, &key(0), &standing, None, at(60)), None);
}

#[test]
fn what_people_who_create_pods_write_cannot_make_an_object_that_is_refused() {
    let long = "x".repeat(10_000);
    let mut tally = Tally::default();
    let detail = format!("\u{202e}{long}\n");
    let gap = Gap { detail: detail.into(), ..gap(0, FindingKind::Missing) };
    tally.see(&gap, Met::Denied, at(0));
    for (kind, name) in [(&*long, "web"), ("Deployment", &*long), ("", "web"), ("Deployment", "w\neb")] {
        let forged = ObjectRef { kind: kind.to_owned().into(), name: name.to_owned(), ..owner("web") };
        tally.used_by(Some(&Tag::new("1.4.2")), "shop", Some((&forged, Met::Denied)));
    }
    let record = fold(None, &tally, &key(0));
    assert_eq!(record.owners, []);
    assert!(record.presence.unwrap().detail.chars().count() <= 300);
    assert!(record.message.len() <= 1_024 && !record.message.contains('\n'));
}

// --------------------------------------------------------------------------------------------------------- sentences

#[test]
fn a_record_is_a_sentence_without_hosts_for_people() {
    let mut tally = Tally::default();
    tally.see(&gap(0, FindingKind::Missing), Met::Denied, at(0));
    tally.used_by(Some(&Tag::new("1.4.2")), "shop", None);
    let mut record = fold(None, &tally, &key(0));
    let now = Some(at(3 * 3_600));
    record.denied = 3;
    assert_eq!(
        sentence(&key(0), &record, now),
        "shop/web 1.4.2 is not in ams. 3 Pods were denied because of it. Open for 3 h."
    );
    (record.pods, record.denied) = (Some(12), 0);
    assert_eq!(
        sentence(&key(0), &record, now),
        "shop/web 1.4.2 is not in ams: 12 Pods that run now could not start again there if its primary were lost. Open for 3 h."
    );
    (record.pods, record.tag) = (Some(1), None);
    assert_eq!(
        sentence(&key(0), &record, None),
        "shop/web (sha256:000000000000) is not in ams: 1 Pod that runs now could not start again there if its primary were lost. Open since 2026-11-27 12:00 UTC."
    );
    let standing = Standing { presence: State::Good, ..Standing::UNKNOWN };
    let closed = after(&record, &key(0), &standing, Some(Duration::from_secs(720)), at(3 * 3_600)).unwrap();
    assert_eq!(
        sentence(&key(0), &closed, now),
        "Closed 2026-11-27 15:00 UTC, after 3 h: shop/web (sha256:000000000000) in ams was Missing; it is there now as it should be. It came 12 min after it was pushed to its primary."
    );
    let rule = rule(Risk::RuleDisabled);
    let mut tally = Tally::default();
    tally.also(&rule, at(0));
    let record = fold(None, &tally, &rule.key);
    assert_eq!(
        sentence(&rule.key, &record, now),
        "the replication rule `to-ams` of fra is disabled. Open for 3 h."
    );
    for finding in <FindingKind as strum::VariantArray>::VARIANTS {
        let Some(kind) = GapKind::of(*finding) else { continue };
        let mut tally = Tally::default();
        tally.also(&Gap { kind, ..gap(0, *finding) }, at(0));
        let said = sentence(&key(0), &fold(None, &tally, &key(0)), now);
        assert!(!said.contains("harbor.fra") && !said.contains(": Missing"), "{said}");
        assert!(!said.contains(finding.as_str()), "a sentence, not a word: {said}");
    }
}

// ------------------------------------------------------------------------------------------------------- every replica

#[tokio::test(start_paused = true)]
async fn three_replicas_count_five_thousand_sightings_of_fifty_gaps_and_write_slowly() {
    let server = Server::start();
    let replicas: Vec<Replica> = (0..3).map(|n| replica(&server, &format!("landfall-{n}"))).collect();
    let recorders: Vec<Recorder> = replicas.iter().map(|replica| replica.recorder.clone()).collect();
    let writing: Vec<_> = replicas.into_iter().map(|replica| tokio::spawn(replica.writer.run())).collect();
    for n in 0..5_000 {
        see(&recorders[n % 3], &gap(n % 50, FindingKind::Missing), [Met::FellBack, Met::Denied][n % 2]);
        if n % 10 == 0 {
            sleep(Duration::from_millis(100)).await;
        }
    }
    sleep(Duration::from_secs(120)).await;
    writing.iter().for_each(tokio::task::JoinHandle::abort);
    let records = server.records();
    assert_eq!(records.len(), 50);
    for record in records.values() {
        assert_eq!((record.fell_back + record.denied, &*record.namespaces), (100, &["shop".to_owned()][..]));
        assert_eq!(record.owners, [owner("web")]);
    }
    let most = server.most_writes_in_a_second();
    println!("at most {most} writes a second, {} conflicts", server.with(|state| state.conflicts));
    assert!(most <= 9, "{most}");
    // Each replica tells each owner of each image once.
    let events = server.with(|state| state.events.clone());
    assert!(events.iter().all(|(_, owner, _)| owner == "web") && !events.is_empty());
}

#[tokio::test(start_paused = true)]
async fn without_the_resource_sightings_wait_and_are_recorded_once_it_is_there() {
    let server = Server::start();
    server.with(|state| state.mode = Mode::NoKind);
    let Replica { recorder, writer, metrics, .. } = replica(&server, "landfall-0");
    tokio::spawn(writer.run());
    see(&recorder, &gap(0, FindingKind::Missing), Met::FellBack);
    sleep(Duration::from_secs(600)).await;
    assert_eq!((recorder.len(), server.with(|state| state.writes.len())), (1, 0));
    assert_eq!(server.with(|state| state.events.len()), 1, "its owner is told all the same, once in a while");
    server.with(|state| state.mode = Mode::Serving);
    see(&recorder, &gap(0, FindingKind::Missing), Met::FellBack);
    sleep(Duration::from_secs(100)).await;
    let records = server.records();
    assert_eq!(records.values().map(|record| record.fell_back).collect::<Vec<_>>(), [2]);
    assert_eq!((recorder.len(), count(&metrics, "landfall_gaps_unrecorded")), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn while_the_api_server_is_away_nothing_is_lost() {
    let server = Server::start();
    let Replica { recorder, writer, metrics, .. } = replica(&server, "landfall-0");
    tokio::spawn(writer.run());
    for second in 0..180 {
        if second == 30 {
            server.with(|state| state.mode = Mode::Away);
        } else if second == 90 {
            server.with(|state| state.mode = Mode::Serving);
        }
        see(&recorder, &gap(second % 20, FindingKind::Missing), Met::FellBack);
        sleep(Duration::from_secs(1)).await;
    }
    sleep(Duration::from_secs(60)).await;
    let seen: i64 = server.records().values().map(|record| record.fell_back).sum();
    assert_eq!(seen, 180);
    assert!(count(&metrics, "landfall_gap_write_failures") > 0);
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_gaps_are_bounded_in_memory_and_in_the_cluster_and_the_rest_is_counted() {
    let server = Server::start();
    let Replica { recorder, writer, metrics, .. } = replica(&server, "landfall-0");
    for n in 0..10_000 {
        see(&recorder, &gap(n, FindingKind::Missing), Met::FellBack);
    }
    assert_eq!((recorder.len(), count(&metrics, "landfall_gaps_unrecorded")), (1_000, 9_000));
    tokio::spawn(writer.run());
    sleep(Duration::from_secs(3_600)).await;
    assert_eq!((server.records().len(), recorder.len()), (1_000, 0));
    assert_eq!(count(&metrics, "landfall_gaps_unrecorded"), 9_000);
    assert_eq!(count(&metrics, "landfall_gap_sightings"), 10_000);
}

#[tokio::test(start_paused = true)]
async fn a_writer_that_is_stopped_keeps_what_it_had_in_its_hand() {
    let server = Server::start();
    let Replica { recorder, mut writer, .. } = replica(&server, "landfall-0");
    for n in 0..20 {
        see(&recorder, &gap(n, FindingKind::Missing), Met::FellBack);
    }
    drop(tokio::time::timeout(Duration::from_millis(3_010), writer.fold()).await);
    writer.fold().await;
    let counts: Vec<i64> = server.records().values().map(|record| record.fell_back).collect();
    assert_eq!(counts, [1; 20]);
}

#[tokio::test(start_paused = true)]
async fn an_owner_is_told_once_in_half_an_hour_and_not_too_many_at_once() {
    let server = Server::start();
    let Replica { notices, .. } = replica(&server, "landfall-0");
    let tell =
        |name: &str, n| notices.tell(&owner(name), &key(n), EventReason::ImageFellBack, || "x".to_owned());
    let told = || server.with(|state| state.events.len());
    (0..10).for_each(|_| tell("web", 0));
    sleep(Duration::from_secs(1)).await;
    assert_eq!(told(), 1);
    sleep(Duration::from_secs(29 * 60)).await;
    tell("web", 0);
    sleep(Duration::from_secs(1)).await;
    assert_eq!(told(), 1);
    // Others are told meanwhile, in one burst, and then one a second.
    (0..100).for_each(|n| tell(&format!("other-{n}"), 0));
    sleep(Duration::from_secs(10)).await;
    assert_eq!(told(), 31);
    (0..100).for_each(|n| tell(&format!("other-{n}"), 0));
    sleep(Duration::from_secs(1)).await;
    assert_eq!(told(), 41);
    sleep(Duration::from_secs(60)).await;
    tell("web", 0);
    sleep(Duration::from_secs(1)).await;
    assert_eq!(told(), 42);
}

// ----------------------------------------------------------------------------------------------------------- the leader

/// A leader whose looks find what the test says.
struct Led {
    server: Server,
    replica: Replica,
    keeper: Keeper,
    rules: watch::Sender<Option<Arc<RuleReading>>>,
    found: Arc<Mutex<Standing>>,
    looks: Arc<Mutex<Vec<u64>>>,
}

fn lead(server: &Server, name: &str) -> Led {
    let replica = replica(server, name);
    let found = Arc::new(Mutex::new(Standing::UNKNOWN));
    let (looks, began) = (Arc::new(Mutex::new(Vec::new())), Instant::now());
    let recheck: Recheck = Arc::new({
        let (found, looks) = (found.clone(), looks.clone());
        move |_, _| {
            looks.lock().unwrap().push(began.elapsed().as_secs());
            std::future::ready(found.lock().unwrap().clone()).boxed()
        }
    });
    let lag: LagOf = Arc::new(|_| std::future::ready(Some(Duration::from_secs(720))).boxed());
    let (rules, read) = watch::channel(None);
    let (keeper, mut keeping) = Keeping::new(
        server.cluster().gaps(),
        replica.notices.clone(),
        replica.pace.clone(),
        recheck,
        lag,
        read,
        SignedDuration::from_hours(168),
        replica.metrics.clone(),
        noon,
    );
    tokio::spawn(async move { keeping.keep().await });
    Led { server: server.clone(), replica, keeper, rules, found, looks }
}

impl Led {
    /// One gap is seen and recorded.
    async fn seen(&mut self, kind: FindingKind) {
        see(&self.replica.recorder, &gap(0, kind), Met::FellBack);
        self.replica.writer.fold().await;
    }

    fn record(&self) -> Record {
        self.server.records().into_values().next().unwrap()
    }

    fn find(&self, presence: State) {
        *self.found.lock().unwrap() = Standing { presence, ..Standing::UNKNOWN };
    }
}

#[tokio::test(start_paused = true)]
async fn an_open_gap_is_looked_at_less_and_less_often_and_closed_by_what_is_found() {
    let server = Server::start();
    let mut led = lead(&server, "landfall-0");
    led.seen(FindingKind::Missing).await;
    sleep(Duration::from_secs(24 * 3_600)).await;
    let looks = led.looks.lock().unwrap().clone();
    assert!((10..=24).contains(&looks[0]), "{looks:?}");
    let pauses: Vec<u64> = looks.windows(2).map(|two| two[1] - two[0]).collect();
    assert!((20..=45).contains(&pauses[0]) && pauses[1] > pauses[0], "{pauses:?}");
    assert!(pauses[8..].iter().all(|pause| (700..=1_100).contains(pause)), "{pauses:?}");
    assert_eq!(led.record().state, GapState::Open, "no clock closes it");
    // Somebody says that it may have changed.
    led.find(State::Good);
    led.keeper.hint(key(0));
    sleep(Duration::from_secs(5)).await;
    let closed = led.record();
    assert_eq!(
        (closed.state, closed.closed_at, closed.lag_seconds),
        (GapState::Closed, Some(noon()), Some(720))
    );
    sleep(Duration::from_secs(3_600)).await;
    assert_eq!(led.looks.lock().unwrap().len(), looks.len() + 1, "nobody looks at what is closed");
    let events = server.with(|state| state.events.clone());
    let reasons: Vec<&str> = events.iter().map(|(reason, ..)| reason.as_str()).collect();
    assert_eq!(reasons, ["ImageFellBack", "GapClosed"]);
    assert!(events[1].2.contains("It came 12 min after it was pushed"), "{events:?}");
    assert_eq!(count(&led.replica.metrics, "landfall_gaps_closed"), 1);
}

#[tokio::test(start_paused = true)]
async fn gaps_that_notifications_speak_of_are_looked_at_soon_and_not_as_often_as_they_are_spoken_of() {
    let server = Server::start();
    let mut led = lead(&server, "landfall-0");
    led.seen(FindingKind::Missing).await;
    sleep(Duration::from_secs(3_600)).await;
    let before = led.looks.lock().unwrap().len();
    led.keeper.hint_those(|key| key.registry.as_str() == "elsewhere");
    sleep(Duration::from_secs(5)).await;
    assert_eq!(led.looks.lock().unwrap().len(), before, "it is another's");
    // A minute of five notifications a second.
    for _ in 0..300 {
        led.keeper.hint_those(|named| *named == key(0));
        sleep(Duration::from_millis(200)).await;
    }
    let looks = led.looks.lock().unwrap().len() - before;
    assert!((25..=31).contains(&looks), "{looks}");
    led.find(State::Good);
    led.keeper.hint_those(|named| *named == key(0));
    sleep(Duration::from_secs(4)).await;
    assert_eq!(led.record().state, GapState::Closed);
    let closed = led.looks.lock().unwrap().len();
    led.keeper.hint_those(|_| true);
    sleep(Duration::from_secs(60)).await;
    assert_eq!(led.looks.lock().unwrap().len(), closed, "nobody looks at what is closed");
}

#[tokio::test(start_paused = true)]
async fn two_leaders_at_once_do_no_harm() {
    let server = Server::start();
    let mut one = lead(&server, "landfall-0");
    let other = lead(&server, "landfall-1");
    one.seen(FindingKind::Missing).await;
    let swept = |at| Swept {
        found: vec![(gap(0, FindingKind::Missing), Running { pods: 12, ..Running::default() })],
        good: Vec::new(),
        unlearned: Vec::new(),
        complete: true,
        at,
    };
    sleep(Duration::from_secs(5)).await;
    one.keeper.swept(swept(at(1)));
    other.keeper.swept(swept(at(2)));
    one.find(State::Good);
    other.find(State::Good);
    sleep(Duration::from_secs(60)).await;
    let record = one.record();
    assert_eq!((record.state, record.pods, record.fell_back), (GapState::Closed, Some(12), 1));
    let closed = |led: &Led| count(&led.replica.metrics, "landfall_gaps_closed");
    assert_eq!(closed(&one) + closed(&other), 1);
}

#[tokio::test(start_paused = true)]
async fn a_sweep_counts_pods_opens_what_is_new_and_tells_what_was_lost() {
    let server = Server::start();
    let mut led = lead(&server, "landfall-0");
    led.seen(FindingKind::Missing).await;
    sleep(Duration::from_secs(5)).await;
    let running = |pods| Running { pods, owners: [owner("db")].into(), ..Running::default() };
    let lost = gap(1, FindingKind::LayerMissing);
    led.keeper.swept(Swept {
        found: vec![(gap(0, FindingKind::Missing), running(12)), (lost.clone(), running(3))],
        good: Vec::new(),
        unlearned: Vec::new(),
        complete: true,
        at: at(60),
    });
    sleep(Duration::from_secs(10)).await;
    let pods = || server.records().into_values().map(|record| record.pods).collect::<Vec<_>>();
    assert_eq!(pods(), [Some(12), Some(3)]);
    let events = server.with(|state| state.events.clone());
    let (reason, owner, note) = events.last().unwrap();
    assert_eq!((&**reason, &**owner), ("ImageLost", "db"));
    assert!(note.contains("a layer of it is lost"), "{note}");
    // An incomplete one says nothing of what it has not seen; the same again is not written again.
    let writes = server.with(|state| state.writes.len());
    let again = |complete| Swept {
        found: vec![(lost.clone(), running(3))],
        good: Vec::new(),
        unlearned: Vec::new(),
        complete,
        at: at(960),
    };
    led.keeper.swept(again(false));
    sleep(Duration::from_secs(10)).await;
    assert_eq!((pods(), server.with(|state| state.writes.len())), (vec![Some(12), Some(3)], writes));
    led.keeper.swept(again(true));
    sleep(Duration::from_secs(10)).await;
    assert_eq!(pods(), [Some(0), Some(3)]);
    assert_eq!(led.record().state, GapState::Open, "that nothing runs does not close it");
    let said = led.record().message;
    assert!(said.contains("no Pod runs with it now"), "{said}");
}

#[tokio::test(start_paused = true)]
async fn a_risk_closes_when_a_sweep_has_looked_and_found_nothing() {
    let server = Server::start();
    let led = lead(&server, "landfall-0");
    sleep(Duration::from_secs(5)).await;
    let risk = Gap { kind: GapKind::Risk(Risk::AccessoryMissing), ..gap(0, FindingKind::Missing) };
    let running = Running { pods: 1, ..Running::default() };
    let found = vec![(risk, running)];
    led.keeper.swept(Swept { found, good: Vec::new(), unlearned: Vec::new(), complete: true, at: at(0) });
    sleep(Duration::from_secs(10)).await;
    assert_eq!(led.record().lacking(Axis::Risk), Some(GapKind::Risk(Risk::AccessoryMissing)));
    let good = vec![(key(0), Axis::Risk)];
    led.keeper.swept(Swept { found: Vec::new(), good, unlearned: Vec::new(), complete: true, at: at(900) });
    sleep(Duration::from_secs(10)).await;
    assert_eq!(led.record().state, GapState::Closed);
    assert_eq!(*led.looks.lock().unwrap(), Vec::<u64>::new());
}

#[tokio::test(start_paused = true)]
async fn sweeps_that_find_far_more_gaps_than_there_is_room_for_keep_nobody_from_closing_one() {
    let server = Server::start();
    let mut led = lead(&server, "landfall-0");
    led.seen(FindingKind::Missing).await;
    sleep(Duration::from_secs(5)).await;
    let running = Running { pods: 1, ..Running::default() };
    // A site that lacks everything: three sweeps, a quarter of an hour apart.
    for n in 0..3 {
        let found = (0..3_000).map(|n| (gap(n, FindingKind::Missing), running.clone())).collect();
        led.keeper.swept(Swept {
            found,
            good: Vec::new(),
            unlearned: Vec::new(),
            complete: true,
            at: at(n * 900),
        });
        sleep(Duration::from_secs(900)).await;
    }
    led.find(State::Good);
    sleep(Duration::from_secs(20 * 60)).await;
    let closed = server.records().into_values().filter(|record| record.state == GapState::Closed).count();
    let all = server.records().len();
    // About a tenth of a full ledger is deleted again, to have room. Each of a thousand is looked at every quarter of an hour.
    assert!(all >= 800 && closed * 10 >= all * 9, "{closed} of {all} are closed");
}

#[tokio::test(start_paused = true)]
async fn a_risk_of_an_image_that_runs_no_more_ends() {
    let server = Server::start();
    let led = lead(&server, "landfall-0");
    sleep(Duration::from_secs(5)).await;
    let risk = Gap { kind: GapKind::Risk(Risk::AccessoryMissing), ..gap(0, FindingKind::Missing) };
    let found = vec![(risk, Running { pods: 1, ..Running::default() })];
    led.keeper.swept(Swept { found, good: Vec::new(), unlearned: Vec::new(), complete: true, at: at(0) });
    sleep(Duration::from_secs(900)).await;
    // The next release runs: no sweep meets this image again, and nobody looks at its copy.
    for n in 1..96 {
        led.keeper.swept(Swept {
            found: Vec::new(),
            good: Vec::new(),
            unlearned: Vec::new(),
            complete: true,
            at: at(n * 900),
        });
        sleep(Duration::from_secs(900)).await;
    }
    assert_eq!(led.record().state, GapState::Closed);
}

#[tokio::test(start_paused = true)]
async fn after_a_change_of_the_leader_a_risk_keeps_its_pods_until_its_copy_was_inspected() {
    let server = Server::start();
    let led = lead(&server, "landfall-0");
    sleep(Duration::from_secs(5)).await;
    let risk = Gap { kind: GapKind::Risk(Risk::AccessoryMissing), ..gap(0, FindingKind::Missing) };
    let found = vec![(risk, Running { pods: 5, ..Running::default() })];
    led.keeper.swept(Swept { found, good: Vec::new(), unlearned: Vec::new(), complete: true, at: at(0) });
    sleep(Duration::from_secs(10)).await;
    let unlearned = vec![key(0)];
    led.keeper.swept(Swept { found: Vec::new(), good: Vec::new(), unlearned, complete: true, at: at(900) });
    sleep(Duration::from_secs(10)).await;
    assert_eq!((led.record().state, led.record().pods), (GapState::Open, Some(5)));
}

#[tokio::test(start_paused = true)]
async fn what_a_sweep_no_longer_finds_is_looked_at_at_once() {
    let server = Server::start();
    let led = lead(&server, "landfall-0");
    // What was told before it led is old.
    sleep(Duration::from_secs(5)).await;
    let swept = |found: Vec<(Gap, Running)>| Swept {
        found,
        good: Vec::new(),
        unlearned: Vec::new(),
        complete: true,
        at: at(0),
    };
    let running = Running { pods: 1, ..Running::default() };
    led.keeper.swept(swept(vec![(gap(0, FindingKind::Missing), running)]));
    // The pauses between its looks are minutes by now.
    sleep(Duration::from_secs(1_000)).await;
    let looks = led.looks.lock().unwrap().len();
    led.keeper.swept(swept(Vec::new()));
    sleep(Duration::from_secs(1)).await;
    assert_eq!(led.looks.lock().unwrap().len(), looks + 1);
}

#[tokio::test(start_paused = true)]
async fn rules_open_and_close_by_what_was_read_of_them() {
    let server = Server::start();
    let led = lead(&server, "landfall-0");
    let registry = rule(Risk::RuleIdle).key.registry;
    let all: Vec<Risk> = Risk::VARIANTS.to_vec();
    let read_of = async |gaps: &[Gap], keeper: &RegistryName, judged: &[Risk]| {
        let judged = judged.iter().map(|risk| (keeper.clone(), GapKind::Risk(*risk))).collect();
        let reading = RuleReading { gaps: gaps.to_vec(), keepers: [keeper.clone()].into(), judged };
        led.rules.send_replace(Some(Arc::new(reading)));
        sleep(Duration::from_secs(10)).await;
        let records: BTreeMap<String, Record> = server.records();
        records.get("to-ams").map(|record| (record.state, record.lacking(Axis::Risk)))
    };
    let read = async |gaps: &[Gap]| read_of(gaps, &registry, &all).await;
    sleep(Duration::from_secs(60)).await;
    assert_eq!(server.records().len(), 0);
    let disabled = GapKind::Risk(Risk::RuleDisabled);
    assert_eq!(read(&[rule(Risk::RuleDisabled)]).await, Some((GapState::Open, Some(disabled))));
    let writes = server.with(|state| state.writes.len());
    assert_eq!(read(&[rule(Risk::RuleDisabled)]).await, Some((GapState::Open, Some(disabled))));
    assert_eq!(server.with(|state| state.writes.len()), writes);
    let failing = GapKind::Risk(Risk::RuleFailing);
    assert_eq!(read(&[rule(Risk::RuleFailing)]).await, Some((GapState::Open, Some(failing))));
    // That it may not be read says nothing of it.
    assert_eq!(read_of(&[], &registry, &[Risk::RuleDisabled]).await, Some((GapState::Open, Some(failing))));
    assert_eq!(read(&[]).await, Some((GapState::Closed, None)));
    assert_eq!(read(&[rule(Risk::RuleFailing)]).await, Some((GapState::Open, Some(failing))));
    // Nobody needs its rules any more.
    let other = RegistryName::new("other");
    assert_eq!(read_of(&[], &other, &[]).await, Some((GapState::Closed, None)));
}

#[tokio::test(start_paused = true)]
async fn closed_gaps_are_kept_for_some_time_and_beyond_the_bound_the_oldest_closed_ones_go_first() {
    let server = Server::start();
    let objects = server.cluster().gaps();
    let standing = Standing { presence: State::Good, ..Standing::UNKNOWN };
    let hours = |hours: i64| noon() - SignedDuration::from_hours(hours);
    // 3 closed long ago, 10 closed lately, and 892 open.
    for n in 0..905 {
        let (key, gap) = (key(n), gap(n, FindingKind::Missing));
        let mut tally = Tally::default();
        let first = if n < 13 { hours(400) } else { hours(1) };
        tally.see(&gap, Met::FellBack, first);
        let record = fold(None, &tally, &key);
        let closed = |end| after(&record, &key, &standing, None, end);
        let record = match n {
            0..3 => closed(hours(200)).unwrap(),
            3..13 => closed(hours(i64::try_from(n).unwrap())).unwrap(),
            _ => record.clone(),
        };
        let made = objects.create(&key).await.unwrap();
        objects.write(&made, &record).await.unwrap();
    }
    server.with(|state| state.writes.clear());
    let _led = lead(&server, "landfall-0");
    sleep(Duration::from_secs(60)).await;
    // Some room is left for new ones, by the closed ones.
    let records = server.records();
    assert_eq!((records.len(), records.values().filter(|record| record.is_open()).count()), (900, 892));
    let ends: Vec<_> = records.values().filter_map(|record| record.closed_at).collect();
    assert_eq!(ends.iter().min(), Some(&hours(10)), "the oldest go first");
    assert!(server.most_writes_in_a_second() <= 3);
    // Of open ones, only what is beyond the bound: the youngest.
    for n in 905..1_020 {
        let mut tally = Tally::default();
        tally.see(&gap(n, FindingKind::Missing), Met::FellBack, noon());
        let made = objects.create(&key(n)).await.unwrap();
        objects.write(&made, &fold(None, &tally, &key(n))).await.unwrap();
    }
    sleep(Duration::from_secs(60)).await;
    let records = server.records();
    assert_eq!(records.len(), 1_000);
    assert!(records.values().all(Record::is_open));
    assert_eq!(records.values().filter(|record| record.first_seen == hours(1)).count(), 892);
}

// ------------------------------------------------------------------------------------------------------------ in memory

#[test]
fn the_book_keeps_the_same_records_without_a_cluster() {
    let (book, recorder) = (Book::default(), Recorder::new(LedgerMetrics::default(), noon));
    see(&recorder, &gap(0, FindingKind::Missing), Met::FellBack);
    see(&recorder, &gap(0, FindingKind::Missing), Met::Denied);
    book.fold(&recorder);
    let running = Running { pods: 4, ..Running::default() };
    let found = vec![(gap(0, FindingKind::Missing), running)];
    book.swept(&Swept { found, good: Vec::new(), unlearned: Vec::new(), complete: true, at: at(60) });
    let [(_, record)] = &book.entries()[..] else { panic!() };
    assert_eq!((record.fell_back, record.denied, record.pods), (1, 1, Some(4)));
    let standing = Standing { presence: State::Good, ..Standing::UNKNOWN };
    book.stands(&key(0), &standing, Some(Duration::from_secs(60)), at(600));
    assert_eq!(book.entries()[0].1.state, GapState::Closed);
    book.swept(&Swept {
        found: Vec::new(),
        good: Vec::new(),
        unlearned: Vec::new(),
        complete: true,
        at: at(700),
    });
    assert_eq!(book.entries()[0].1.pods, Some(0));
}
