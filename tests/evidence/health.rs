//! Probes, the breaker, pauses and budgets: what registries in every state cost, and what follows.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use landfall::facade::demo::world::content::{Content, Flavour};
use landfall::facade::demo::world::faults::{Fault, Scope};
use landfall::facade::demo::world::seed;
use landfall::facade::demo::world::{
    Account, Authorization, Certificate, Configuration, Login, Namespace, PathClass, Permission, Reachable,
    World,
};
use landfall::facade::domain::evidence::{Observation, Presence, TagDigest};
use landfall::facade::domain::name::RegistryName;
use landfall::facade::domain::registry::{CredentialSource, Registry};
use landfall::facade::domain::unknown::Cause;
use landfall::facade::evidence::Health;
use reqwest::StatusCode;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use super::site::{Given, Site, manifests, settings, shown};
use super::support::metrics::name;
use super::support::wait::{HELD, ends, later, until};

const SECOND: Duration = Duration::from_secs(1);

/// An image of another project than those of [`many`].
const ANOTHER_PROJECTS: &str = "harbor.fra.example.com/regulated/payments/ledger:7.3.0";

/// Does this while the registries are probed.
pub async fn watching<T>(site: &Site, body: impl Future<Output = T>) -> T {
    tokio::select! {
        biased;
        done = body => done,
        () = site.observatory.watch(|| {}) => panic!("it never ends"),
    }
}

pub fn health(site: &Site, name: &str) -> Health {
    let reports = site.observatory.health();
    reports.iter().find(|report| report.registry.as_str() == name).unwrap().health
}

/// Waits for the first probe of all.
pub async fn probed(site: &Site) {
    until("probed", || site.observatory.health().iter().all(|report| report.health != Health::Unprobed))
        .await;
}

/// What the first probe finds.
async fn found(site: &Site) -> BTreeMap<String, Health> {
    watching(site, probed(site)).await;
    let reports = site.observatory.health();
    reports.into_iter().map(|report| (report.registry.to_string(), report.health)).collect()
}

/// Lets the next probe of Amsterdam come, and end. Its duration is never twice the same.
async fn next_probe(site: &Site) {
    let took = || site.metric(name::PROBE_DURATION, &[("registry", "ams")]);
    let before = took();
    later(13 * SECOND).await;
    until("the next probe", || took() != before && site.demo.ams.in_flight() == 0).await;
}

/// Many images in both Harbors: `production/many:v0` …
fn many(site: &Site, count: usize) -> Vec<String> {
    (0..count)
        .map(|n| {
            let (tag, content) = (format!("v{n}"), Content::image(&format!("many {n}")));
            site.demo.ams.store().push("production/many", &tag, &content);
            site.demo.fra.store().push("production/many", &tag, &content);
            format!("harbor.fra.example.com/production/many:{tag}")
        })
        .collect()
}

async fn judged(site: &Site, image: &str) -> String {
    let case = site.case_for(image);
    ends("nobody answers, and no attempt ends", site.judged(&case)).await
}

/// Why Frankfurt did not say what this tag means.
async fn unproved(site: &Site, image: &str) -> Option<Cause> {
    let judgement = site.judge(&site.case_for(image)).await;
    judgement.evidence.iter().find_map(|(_, observation, _)| match observation {
        Observation::TagDigest(TagDigest::Unknown(unknown)) => Some(unknown.cause),
        _ => None,
    })
}

/// Why Amsterdam, which is asked first, did not say whether it holds this image.
async fn cause(site: &Site, image: &str) -> Option<Cause> {
    let case = site.case_for(image);
    let judgement = ends("nobody answers, and no attempt ends", site.judge(&case)).await;
    let mut presences = judgement.evidence.iter().filter_map(|(_, observation, _)| match observation {
        Observation::Presence(presence) => Some(presence),
        _ => None,
    });
    match presences.next().unwrap() {
        Presence::Unknown(unknown) => Some(unknown.cause),
        _ => None,
    }
}

fn unscanned() -> Given {
    Given { defaults: "{scan: {required: Never}}", edge: true, ..Given::default() }
}

/// 0: closed, 1: half open, 2: open.
pub fn breaker(site: &Site, registry: &str) -> f64 {
    site.metric(name::BREAKER, &[("registry", registry)]).unwrap()
}

/// Whether Amsterdam has asked to be left alone.
fn pauses(site: &Site) -> bool {
    site.metric(name::BACKOFF, &[("registry", "ams")]) == Some(1.0)
}

#[tokio::test]
async fn every_state_is_told_apart() {
    let all = |state| [("ams", state), ("edge", state), ("fra", Health::Up)];
    let expect = async |what: &str, site: &Site, want: [(&str, Health); 3]| {
        let want: BTreeMap<_, _> = want.into_iter().map(|(name, health)| (name.to_owned(), health)).collect();
        assert_eq!(found(site).await, want, "{what}");
    };
    let site = Site::new(unscanned()).await;
    expect("well", &site, all(Health::Up)).await;
    assert_eq!(site.metric(name::HEALTH, &[("registry", "ams"), ("state", "Up")]), Some(1.0));
    assert!(site.metric(name::PROBE_DURATION, &[("registry", "ams")]).unwrap() > 0.0);

    let faults = [
        (Fault::Html(StatusCode::BAD_GATEWAY), Health::Down),
        (Fault::Status(StatusCode::TOO_MANY_REQUESTS), Health::RateLimited),
        (Fault::RetryAfter(StatusCode::SERVICE_UNAVAILABLE, 60), Health::Down),
    ];
    for (fault, want) in faults {
        let site = Site::new(unscanned()).await;
        for at in [&site.demo.ams, &site.demo.edge] {
            at.faults().add(Scope::Everything, fault.clone());
        }
        expect(&format!("{fault:?}"), &site, all(want)).await;
    }
    let site = Site::new(unscanned()).await;
    site.demo.ams.down().await;
    site.demo.edge.down().await;
    expect("refused", &site, all(Health::Down)).await;

    for certificate in [Certificate::Foreign, Certificate::Expired, Certificate::WrongName] {
        let site = Site::new(unscanned()).await;
        for at in [&site.demo.ams, &site.demo.edge] {
            at.present(&site.demo.world, certificate).unwrap();
        }
        expect("TLS", &site, all(Health::Down)).await;
    }
    let site = Site::new(Given { budget: "{request: 10s, attempt: 4s, inFlight: 16}", ..unscanned() }).await;
    for at in [&site.demo.ams, &site.demo.edge] {
        at.faults().add(Scope::Everything, Fault::Delay(Duration::from_millis(1500)));
    }
    expect("slow", &site, all(Health::Slow)).await;

    let site = Site::new(unscanned()).await;
    site.demo.ams.store().database = Reachable::Down;
    site.demo.edge.faults().add(Scope::Everything, Fault::Status(StatusCode::INTERNAL_SERVER_ERROR));
    let want = [("ams", Health::DatabaseDown), ("edge", Health::Down), ("fra", Health::Up)];
    expect("500", &site, want).await;

    let site = Site::new(unscanned()).await;
    site.demo.ams.faults().add(Scope::Only(PathClass::Api), Fault::Html(StatusCode::NOT_FOUND));
    site.demo.edge.faults().add(Scope::Everything, Fault::Html(StatusCode::OK));
    expect("its API is hidden, and a portal", &site, all(Health::NotARegistry)).await;
    let case = site.case(seed::PRESENT);
    assert_eq!(site.judged(&case).await, "Fallback(fra) [Unreachable, Unreachable]");
}

#[tokio::test]
async fn who_accepts_and_says_nothing_is_silent() {
    let site = Site::new(unscanned()).await;
    site.demo.ams.freeze().await;
    site.demo.edge.freeze().await;
    let found = found(&site).await;
    assert_eq!((found["ams"], found["edge"]), (Health::Unresponsive, Health::Unresponsive));
    // Nobody had to try: the first Pod finds the way closed.
    assert_eq!(
        cause(&site, "harbor.ams.example.com/production/shop/web:1.4.2").await,
        Some(Cause::BreakerOpen)
    );
}

#[tokio::test]
async fn a_black_hole_that_swallows_connections_is_silent_too() {
    // A full queue of connections that nobody accepts: the kernel drops what comes after.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let hole = socket.listen(0).unwrap();
    let address = hole.local_addr().unwrap();
    let mut queue = Vec::new();
    while let Ok(stream) = timeout(SECOND / 2, TcpStream::connect(address)).await {
        queue.push(stream.unwrap());
        assert!(queue.len() < 1000, "this kernel has no bound");
    }
    let demo = seed::demo().await.unwrap();
    let given = Given { budget: "{request: 10s, attempt: 200ms, inFlight: 16}", ..unscanned() };
    let mut settings = settings(&demo, Given { edge: false, ..given });
    let ams = settings.registries.values_mut().find(|one| one.name.as_str() == "ams").unwrap();
    let url = format!("https://{address}").parse().unwrap();
    *ams = Arc::new(Registry { url, ..Registry::clone(ams) });
    let site = Site::over(demo, settings);
    let images = many(&site, 4);
    for image in &images[..3] {
        assert_eq!(cause(&site, image).await, Some(Cause::Deadline), "attempts cannot tell");
    }
    assert_eq!(found(&site).await["ams"], Health::Unresponsive);
    assert_eq!(cause(&site, &images[3]).await, Some(Cause::BreakerOpen));
}

#[tokio::test]
async fn wrong_credentials_of_a_user_are_shown_rarely_and_right_ones_at_once() {
    let demo = seed::demo().await.unwrap();
    demo.ams.store().add_account(Account::user("landfall", "landfall-Secret1"));
    demo.world.credentials("ams", "landfall", "wrong").unwrap();
    demo.world.credentials("edge", "edge", "wrong").unwrap();
    let settings = settings(&demo, unscanned());
    let site = Site::over(demo, settings);
    watching(&site, async {
        probed(&site).await;
        assert_eq!(
            (health(&site, "ams"), health(&site, "edge")),
            (Health::BadCredentials, Health::BadCredentials)
        );
        for probes in 1..=5 {
            next_probe(&site).await;
            until("the edge, too", || site.demo.edge.log().len() > probes).await;
        }
        // A Harbor is asked a second time before it is said: its database may have been down.
        for (at, times) in [(&site.demo.ams, 2), (&site.demo.edge, 1)] {
            let log = at.log();
            let shown = log.iter().filter(|request| request.authorization != Authorization::Absent).count();
            assert!(shown == times && log.len() > 5, "{log:#?}");
        }
        assert_eq!(health(&site, "ams"), Health::BadCredentials);
        site.demo.world.credentials("ams", "landfall", "landfall-Secret1").unwrap();
        until("the mended file is noticed", || health(&site, "ams") == Health::Up).await;
    })
    .await;
}

/// A wrong attempt takes a Harbor 1.5 s: once that is known, no Pod pays for it again.
#[tokio::test]
async fn wrong_credentials_cost_a_pod_its_attempt_at_most_and_then_nothing() {
    let demo = seed::demo().await.unwrap();
    demo.ams.store().wrong_password_delay = Duration::from_millis(1500);
    demo.world.credentials("ams", "robot$landfall", "wrong").unwrap();
    let given = Given { edge: false, budget: "{request: 10s, attempt: 1s, inFlight: 4}", ..unscanned() };
    let settings = settings(&demo, given);
    let site = Site::over(demo, settings);
    let images = many(&site, 80);
    watching(&site, async {
        until("known to be wrong", || health(&site, "ams") == Health::BadCredentials).await;
        assert_eq!(cause(&site, &images[0]).await, Some(Cause::Deadline), "the first to ask tries");
        site.demo.ams.clear_log();
        for image in &images[1..41] {
            assert_eq!(judged(&site, image).await, "Fallback(fra) [Unauthorized]");
        }
        assert_eq!(manifests(&site.demo.ams), 0);

        // A while later one of many tries its luck.
        later(31 * SECOND).await;
        let found = join_all(images[41..61].iter().map(|image| cause(&site, image))).await;
        let tried = found.iter().filter(|cause| **cause == Some(Cause::Deadline)).count();
        let told = found.iter().filter(|cause| **cause == Some(Cause::Unauthorized)).count();
        assert_eq!((tried, told), (1, 19), "{found:?}");

        let changes = site.observatory.generation();
        site.demo.world.credentials("ams", "robot$landfall", "landfall-Secret1").unwrap();
        until("known", || health(&site, "ams") == Health::Up).await;
        assert_ne!(site.observatory.generation(), changes, "who keeps verdicts is told");
        for image in [&images[0], &images[1], &images[70]] {
            assert_eq!(judged(&site, image).await, "Local(ams) []");
        }
    })
    .await;
}

#[tokio::test]
async fn a_robot_that_is_known_again_is_used_at_once() {
    let given = Given { edge: false, ..unscanned() };
    let site = Site::new(given).await;
    let images = many(&site, 8);
    site.demo.ams.store().remove_account("robot$landfall");
    watching(&site, async {
        until("unknown", || health(&site, "ams") == Health::BadCredentials).await;
        for image in &images {
            assert_eq!(judged(&site, image).await, "Fallback(fra) [Unauthorized]");
        }
        let changes = site.observatory.generation();
        let robot = Account::robot("landfall", Namespace::All, &Permission::ALL);
        site.demo.ams.store().add_account(robot);
        // Nobody was told: the next probe finds out.
        next_probe(&site).await;
        until("known", || health(&site, "ams") == Health::Up).await;
        assert_ne!(site.observatory.generation(), changes, "who keeps verdicts is told");
        for image in &images {
            assert_eq!(judged(&site, image).await, "Local(ams) []");
        }
    })
    .await;
}

/// Harbor takes longer for a wrong secret than an attempt may take, so attempts cannot tell what is wrong.
#[tokio::test]
async fn a_secret_that_was_replaced_at_harbor_is_told_as_what_it_is() {
    let given = Given { edge: false, budget: "{request: 10s, attempt: 1s, inFlight: 4}", ..unscanned() };
    let site = Site::new(given).await;
    let images = many(&site, 8);
    watching(&site, async {
        probed(&site).await;
        site.demo.ams.store().wrong_password_delay = Duration::from_millis(1500);
        site.demo.ams.store().remove_account("robot$landfall");
        assert_eq!(judged(&site, &images[0]).await, "Fallback(fra) [Deadline]");
        // No other Pod has to try: that attempt and the probe agree.
        until("the probe that it called for", || health(&site, "ams") == Health::BadCredentials).await;
        assert_eq!(judged(&site, &images[1]).await, "Fallback(fra) [Unauthorized]");
    })
    .await;
}

/// For a minute `systeminfo` is answered as to a caller with wrong credentials.
#[tokio::test]
async fn a_harbor_without_its_database_is_never_taken_for_one_that_rejects_us() {
    for configuration in [Configuration::Cached, Configuration::Expired] {
        let site = Site::new(Given { edge: false, ..unscanned() }).await;
        let images = many(&site, 80);
        watching(&site, async {
            probed(&site).await;
            assert_eq!(judged(&site, &images[0]).await, "Local(ams) []");
            let down = |database| {
                let mut store = site.demo.ams.store();
                (store.database, store.configuration) = (database, configuration);
            };
            down(Reachable::Down);
            let mut asked = 1;
            let known = async {
                while health(&site, "ams") != Health::DatabaseDown {
                    assert_ne!(health(&site, "ams"), Health::BadCredentials);
                    assert_eq!(judged(&site, &images[1 + asked % 39]).await, "Fallback(fra) [Unreachable]");
                    asked += 1;
                }
            };
            ends("the first Pods call for a probe", known).await;
            for _ in 0..3 {
                next_probe(&site).await;
                assert_eq!(health(&site, "ams"), Health::DatabaseDown, "{configuration:?}");
                assert_eq!(judged(&site, &images[40]).await, "Fallback(fra) [Unreachable]");
            }
            down(Reachable::Up);
            next_probe(&site).await;
            until("up", || health(&site, "ams") == Health::Up).await;
            for image in &images[40..60] {
                assert_eq!(judged(&site, image).await, "Local(ams) []", "{configuration:?}");
            }
        })
        .await;
    }
}

/// The database comes back between the two requests of a test.
#[tokio::test]
async fn credentials_that_were_right_a_moment_ago_are_wrong_only_if_a_second_test_says_so() {
    let site = Site::new(Given { edge: false, ..unscanned() }).await;
    watching(&site, async {
        probed(&site).await;
        assert_eq!(health(&site, "ams"), Health::Up);
        // What is answered late was not recognised when the request came.
        site.demo.ams.store().remove_account("robot$landfall");
        site.demo.ams.clear_log();
        site.demo.ams.store().wrong_password_delay = SECOND;
        later(13 * SECOND).await;
        let shown =
            || site.demo.ams.log().iter().any(|request| request.authorization != Authorization::Absent);
        until("the first test is under way", shown).await;
        site.demo.ams.store().add_account(Account::robot("landfall", Namespace::All, &Permission::ALL));
        let tested = || site.demo.ams.log().iter().filter(|one| one.path.ends_with("/systeminfo")).count();
        until("a second test", || tested() >= 2 && site.demo.ams.in_flight() == 0).await;
        assert_eq!(health(&site, "ams"), Health::Up);
    })
    .await;
}

#[tokio::test]
async fn credentials_are_no_matter_where_a_token_is_asked_for() {
    let world = World::new().unwrap();
    let plain = world.plain("plain", Login::bearer("user", "pa55")).await.unwrap();
    let mut registry = plain.registry("ams", "registry.example.com");
    let look = async |registry: &Registry| {
        let demo = seed::demo().await.unwrap();
        let mut settings = settings(&demo, unscanned());
        let registry = Arc::new(Registry { name: RegistryName::new("edge"), ..registry.clone() });
        settings.registries.insert(registry.name.clone(), registry);
        found(&Site::over(demo, settings)).await["edge"]
    };
    assert_eq!(look(&registry).await, Health::Up);
    let log = plain.log();
    assert!(log.iter().any(|request| request.class == PathClass::Token), "{log:#?}");
    registry.credentials = world.credentials("other", "user", "wrong").unwrap();
    assert_eq!(look(&registry).await, Health::BadCredentials);
    registry.credentials = CredentialSource::Anonymous;
    assert_eq!(look(&registry).await, Health::Up);
}

#[tokio::test]
async fn a_frozen_primary_costs_a_pod_its_attempt_at_most_and_then_nothing() {
    let given = Given {
        route: "    tagProof: Required",
        budget: "{request: 10s, attempt: 1s, inFlight: 16}",
        ..unscanned()
    };
    let site = Site::new(Given { edge: false, ..given }).await;
    let images = many(&site, 80);
    watching(&site, async {
        probed(&site).await;
        assert_eq!(judged(&site, &images[0]).await, "Local(ams) []");
        site.demo.fra.freeze().await;
        let mut asked = 1;
        let wait = async {
            while health(&site, "fra") != Health::Unresponsive {
                let verdict = judged(&site, &images[asked]).await;
                assert!(verdict.ends_with("[Unproved]"), "{verdict}");
                asked += 1;
            }
        };
        ends("its breaker stays closed", wait).await;
        assert_eq!(breaker(&site, "fra"), 2.0);
        site.demo.fra.clear_log();
        for image in &images[asked..asked + 10] {
            assert_eq!(judged(&site, image).await, "Presumed(ams) [Unproved]");
            assert_eq!(unproved(&site, image).await, Some(Cause::BreakerOpen));
        }
        assert_eq!(manifests(&site.demo.fra), 0);

        site.demo.fra.up().await;
        until("up", || health(&site, "fra") == Health::Up).await;
        until("closed", || breaker(&site, "fra") == 0.0).await;
        assert_eq!(judged(&site, &images[asked + 11]).await, "Local(ams) []");
    })
    .await;
}

/// Its API answers whatever its storage does, so an ordinary probe finds it well.
#[tokio::test]
async fn a_harbor_whose_storage_hangs_costs_a_pod_its_attempt_at_most_and_then_nothing() {
    let site =
        Site::new(Given { edge: false, budget: "{request: 10s, attempt: 1s, inFlight: 16}", ..unscanned() });
    let site = site.await;
    let images = many(&site, 80);
    watching(&site, async {
        probed(&site).await;
        assert_eq!(judged(&site, &images[0]).await, "Local(ams) []");
        site.demo.ams.faults().add(Scope::Only(PathClass::Manifests), Fault::Delay(HELD));
        let mut asked = 1;
        let wait = async {
            while health(&site, "ams") != Health::Unresponsive {
                let verdict = judged(&site, &images[asked]).await;
                assert!(verdict.starts_with("Fallback(fra) ["), "{verdict}");
                asked += 1;
            }
        };
        ends("its breaker stays closed", wait).await;
        assert!(asked > 3, "{asked}: silence of an attempt alone closes nothing");
        assert_eq!(breaker(&site, "ams"), 2.0);
        site.demo.ams.clear_log();
        for image in &images[asked..asked + 10] {
            assert_eq!(cause(&site, image).await, Some(Cause::BreakerOpen));
        }
        // Its API answers, and still no Pod is sent there.
        let probes = || site.demo.ams.log().iter().filter(|one| one.class == PathClass::Manifests).count();
        until("some probes of its storage", || {
            assert_eq!(health(&site, "ams"), Health::Unresponsive);
            assert_ne!(breaker(&site, "ams"), 0.0);
            probes() >= 2
        })
        .await;
        // All ask for the manifest that answered last.
        let log = site.demo.ams.log();
        let probes: HashSet<_> = log
            .iter()
            .filter(|one| one.class == PathClass::Manifests)
            .map(|one| (one.method.clone(), one.path.clone()))
            .collect();
        assert!(probes.len() == 1 && probes.iter().all(|(method, _)| method == "HEAD"), "{probes:?}");

        site.demo.ams.faults().clear();
        until("closed", || breaker(&site, "ams") == 0.0).await;
        assert_eq!(judged(&site, &images[asked + 11]).await, "Local(ams) []");
    })
    .await;
}

#[tokio::test]
async fn a_storage_that_is_slow_closes_nothing() {
    let given = Given { budget: "{request: 30s, attempt: 150ms, inFlight: 4}", ..unscanned() };
    let site = Site::new(Given { edge: false, ..given }).await;
    let images = many(&site, 24);
    site.demo.ams.faults().add(Scope::Only(PathClass::Manifests), Fault::Delay(SECOND / 2));
    watching(&site, async {
        probed(&site).await;
        for image in &images {
            assert_eq!(cause(&site, image).await, Some(Cause::Deadline));
            assert!(breaker(&site, "ams") == 0.0 && !health(&site, "ams").is_down());
        }
    })
    .await;
}

#[tokio::test]
async fn an_open_breaker_is_tried_by_probes_and_never_by_pods() {
    let site = Site::new(unscanned()).await;
    let images = many(&site, 20);
    watching(&site, async {
        probed(&site).await;
        site.demo.ams.faults().add(Scope::Everything, Fault::Html(StatusCode::BAD_GATEWAY));
        for image in &images[..5] {
            judged(&site, image).await;
        }
        until("down", || health(&site, "ams") == Health::Down).await;
        site.demo.ams.clear_log();
        for image in &images[5..8] {
            assert_eq!(cause(&site, image).await, Some(Cause::BreakerOpen));
            later(Duration::from_millis(700)).await;
        }
        until("the prober tries", || !site.demo.ams.log().is_empty()).await;
        assert_eq!(manifests(&site.demo.ams), 0, "its period of a second is over, and nobody had to try");
        site.demo.ams.faults().clear();
        until("closed", || breaker(&site, "ams") == 0.0).await;
        assert_eq!(cause(&site, &images[8]).await, None);
    })
    .await;
}

#[tokio::test]
async fn a_dead_primary_is_known_before_the_first_pod_asks() {
    let site = Site::new(Given::default()).await;
    site.demo.fra.down().await;
    let case = site.case(seed::UNSCANNED);
    assert_eq!(site.judged(&case).await, "Fallback(fra) [Unscanned]");
    watching(&site, probed(&site)).await;
    assert_eq!(site.judged(&case).await, "Presumed(ams) [Unscanned]");
    site.demo.fra.up().await;
    watching(&site, until("up", || health(&site, "fra") == Health::Up)).await;
    assert_eq!(site.judged(&case).await, "Fallback(fra) [Unscanned]");
}

#[tokio::test]
async fn a_slow_registry_is_never_closed() {
    // 300 ms a request, 150 answers a second, and a long queue before it.
    let given = Given { budget: "{request: 30s, attempt: 10s, inFlight: 16}", ..unscanned() };
    let site = Site::new(Given { edge: false, ..given }).await;
    let images = many(&site, 150);
    for fault in [Fault::Delay(Duration::from_millis(300)), Fault::Pace(150)] {
        site.demo.ams.faults().add(Scope::Everything, fault);
    }
    watching(&site, async {
        let cases: Vec<_> = images.iter().map(|image| site.case_for(image)).collect();
        let verdicts = join_all(cases.iter().map(|case| site.judge(case))).await;
        for (case, judgement) in cases.iter().zip(verdicts) {
            assert_eq!(shown(case, &judgement.verdict), "Local(ams) []");
        }
        assert_eq!(breaker(&site, "ams"), 0.0);
    })
    .await;

    // Slower than any attempt may be: every one is out of time, and still it is only slow.
    let given = Given { budget: "{request: 30s, attempt: 150ms, inFlight: 4}", ..unscanned() };
    let site = Site::new(Given { edge: false, ..given }).await;
    let images = many(&site, 40);
    site.demo.ams.faults().add(Scope::Everything, Fault::Delay(Duration::from_millis(300)));
    watching(&site, async {
        for four in images.chunks(4) {
            for cause in join_all(four.iter().map(|image| cause(&site, image))).await {
                assert_eq!(cause, Some(Cause::Deadline));
            }
        }
        assert_eq!((breaker(&site, "ams"), health(&site, "ams")), (0.0, Health::Slow));
    })
    .await;
}

/// One request in time, two not: what begins to answer is not silent.
#[tokio::test]
async fn a_probe_that_runs_out_of_time_half_way_finds_it_slow() {
    let site = Site::new(unscanned()).await;
    for at in [&site.demo.ams, &site.demo.edge] {
        at.faults().add(Scope::Everything, Fault::Delay(SECOND * 3));
    }
    let found = found(&site).await;
    assert_eq!((found["ams"], found["edge"]), (Health::Slow, Health::Slow));
    assert_eq!((breaker(&site, "ams"), breaker(&site, "edge")), (0.0, 0.0));
}

#[tokio::test]
async fn a_429_of_two_projects_pauses_the_registry_as_a_whole() {
    let site = Site::new(Given { edge: false, ..unscanned() }).await;
    let images = many(&site, 10);
    watching(&site, async {
        probed(&site).await;
        let limit = Fault::RetryAfter(StatusCode::TOO_MANY_REQUESTS, 60);
        site.demo.ams.faults().add(Scope::Only(PathClass::Manifests), limit);
        assert_eq!(judged(&site, &images[0]).await, "Fallback(fra) [RateLimited]");
        assert_eq!(judged(&site, ANOTHER_PROJECTS).await, "Fallback(fra) [RateLimited]");
        until("no probe is under way", || site.demo.ams.in_flight() == 0).await;
        site.demo.ams.faults().clear();
        site.demo.ams.clear_log();
        for image in &images[1..5] {
            assert_eq!(judged(&site, image).await, "Fallback(fra) [RateLimited]");
        }
        until("paused", || pauses(&site)).await;
        // Frankfurt is probed twice meanwhile, so Amsterdam would have been, too.
        for _ in 0..2 {
            site.demo.fra.clear_log();
            later(25 * SECOND).await;
            until("Frankfurt is probed", || !site.demo.fra.log().is_empty()).await;
        }
        assert_eq!(judged(&site, &images[5]).await, "Fallback(fra) [RateLimited]");
        assert!(site.demo.ams.log().is_empty(), "not even the prober asks: {:#?}", site.demo.ams.log());
        later(10 * SECOND).await;
        assert_eq!(judged(&site, &images[6]).await, "Local(ams) []");
        until("the pause is over", || !pauses(&site)).await;
    })
    .await;
}

#[tokio::test]
async fn who_waits_in_the_queue_hears_of_a_429_without_asking() {
    let given = Given { budget: "{request: 10s, attempt: 5s, inFlight: 4}", ..unscanned() };
    let site = Site::new(Given { edge: false, ..given }).await;
    let images = many(&site, 60);
    let limit = Fault::RetryAfter(StatusCode::TOO_MANY_REQUESTS, 60);
    for fault in [Fault::Delay(SECOND), limit] {
        site.demo.ams.faults().add(Scope::Only(PathClass::Manifests), fault);
    }
    for cause in join_all(images.iter().map(|image| cause(&site, image))).await {
        assert!(matches!(cause, Some(Cause::RateLimited { .. })), "{cause:?}");
    }
    assert_eq!(manifests(&site.demo.ams), 4, "those that were under way when the first answer came");
}

#[tokio::test]
async fn a_429_that_names_no_time_pauses_it_for_a_moment_and_then_for_longer() {
    let site = Site::new(Given { edge: false, ..unscanned() }).await;
    let images = many(&site, 10);
    let limit = Fault::Status(StatusCode::TOO_MANY_REQUESTS);
    site.demo.ams.faults().add(Scope::Only(PathClass::Manifests), limit);
    let asked = async |image: &str, after: Duration| {
        later(after).await;
        let before = manifests(&site.demo.ams);
        assert_eq!(judged(&site, image).await, "Fallback(fra) [RateLimited]");
        manifests(&site.demo.ams) - before
    };
    assert_eq!(asked(&images[0], Duration::ZERO).await, 1);
    assert_eq!(asked(&images[1], SECOND / 2).await, 0);
    assert_eq!(asked(&images[2], SECOND / 2).await, 1);
    assert_eq!(asked(&images[3], SECOND).await, 0);
    assert_eq!(asked(&images[4], SECOND).await, 1);
}

#[tokio::test]
async fn a_503_that_says_when_to_come_back_is_down_until_then() {
    let site = Site::new(Given { edge: false, ..unscanned() }).await;
    let images = many(&site, 3);
    let limit = Fault::RetryAfter(StatusCode::SERVICE_UNAVAILABLE, 60);
    site.demo.ams.faults().add(Scope::Only(PathClass::Manifests), limit);
    assert_eq!(judged(&site, &images[0]).await, "Fallback(fra) [Unreachable]");
    site.demo.ams.faults().clear();
    site.demo.ams.clear_log();
    later(59 * SECOND).await;
    assert_eq!(judged(&site, &images[1]).await, "Fallback(fra) [Unreachable]");
    assert!(site.demo.ams.log().is_empty());
    later(SECOND).await;
    assert_eq!(judged(&site, &images[2]).await, "Local(ams) []");
}

#[tokio::test]
async fn a_metered_registry_is_asked_no_more_often_than_it_may_be() {
    let site = Site::new(Given { ams: "requestsPerHour: 20", edge: false, ..unscanned() }).await;
    let images = many(&site, 100);
    watching(&site, async {
        probed(&site).await;
        let mut local = 0;
        for image in &images[..50] {
            match judged(&site, image).await.as_str() {
                "Local(ams) []" => local += 1,
                "Fallback(fra) [RateLimited]" => {}
                other => panic!("{other}"),
            }
        }
        assert_eq!(site.demo.ams.log().len(), 10, "half of it at once");
        assert!((3..5).contains(&local), "{local}: two questions each, and some of the probe");
        for image in &images[50..] {
            later(71 * SECOND).await;
            judged(&site, image).await;
        }
        let asked = site.demo.ams.log().len();
        assert!((15..=20).contains(&asked), "{asked} in the hour");
    })
    .await;
}

#[tokio::test]
async fn a_broken_connection_is_tried_once_more_and_nothing_else_is() {
    let site = Site::new(Given { edge: false, ..unscanned() }).await;
    let indexes: Vec<String> = (0..20)
        .map(|n| {
            let content = Content::index(&format!("index {n}"), Flavour::Oci, &["linux/amd64"]);
            site.demo.ams.store().push("production/many", &format!("i{n}"), &content);
            format!("harbor.fra.example.com/production/many:i{n}")
        })
        .collect();
    let bodies = || {
        let log = site.demo.ams.log();
        log.iter().filter(|one| one.class == PathClass::Manifests && one.method == "GET").count()
    };
    site.demo.ams.faults().add(Scope::Only(PathClass::Manifests), Fault::Reset);
    judged(&site, &indexes[0]).await;
    assert_eq!(bodies(), 2, "once more");
    for index in &indexes {
        judged(&site, index).await;
    }
    // The breaker may have closed the way in between: then there are fewer.
    // Twenty bodies, and the retries that forty more questions (by tag, by digest) allow.
    assert!(bodies() <= 20 + 1 + 12, "{} for 20 questions", bodies());

    for fault in [
        Fault::Html(StatusCode::BAD_GATEWAY),
        Fault::Status(StatusCode::TOO_MANY_REQUESTS),
        Fault::Delay(SECOND * 3),
    ] {
        let given = Given { budget: "{request: 10s, attempt: 2s, inFlight: 16}", ..unscanned() };
        let site = Site::new(Given { edge: false, ..given }).await;
        let images = many(&site, 1);
        site.demo.ams.faults().add(Scope::Only(PathClass::Manifests), fault.clone());
        judged(&site, &images[0]).await;
        assert_eq!(manifests(&site.demo.ams), 1, "{fault:?}");
    }
}

#[tokio::test]
async fn a_drained_registry_is_not_probed_either() {
    let site = Site::new(Given { ams: "drain: true", ..Given::default() }).await;
    assert_eq!(found(&site).await["ams"], Health::Drained);
    assert!(site.demo.ams.log().is_empty());
}

#[tokio::test]
async fn probers_follow_the_settings() {
    let site = Site::new(unscanned()).await;
    watching(&site, async {
        probed(&site).await;
        assert_eq!(site.observatory.health().len(), 3);
        site.observatory.adopt(&settings(&site.demo, Given { edge: false, ..unscanned() }));
        assert_eq!(site.observatory.health().len(), 2);
        until("gone", || site.metric(name::HEALTH, &[("registry", "edge"), ("state", "Up")]).is_none()).await;
        site.demo.edge.clear_log();
        next_probe(&site).await;
        assert!(site.demo.edge.log().is_empty());
        site.observatory.adopt(&settings(&site.demo, unscanned()));
        probed(&site).await;
        until("there again", || !site.demo.edge.log().is_empty()).await;
    })
    .await;
}
