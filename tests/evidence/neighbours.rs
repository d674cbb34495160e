//! Somebody else's trouble: what one tenant's images do to a registry must not reach the images of others.

use std::time::Duration;

use futures::future::join_all;
use futures::stream::{FuturesUnordered, StreamExt};
use http::StatusCode;
use landfall::facade::demo::world::content::Content;
use landfall::facade::demo::world::faults::{Fault, Scope};
use landfall::facade::demo::world::{PathClass, Scan, seed};
use landfall::facade::evidence::{Answers, Asking, Health, Share};
use tokio::time::Instant;

use super::health::{breaker, health, probed, watching};
use super::site::{Given, Site, manifests, shown};
use super::support::metrics::name;
use super::support::wait::{HELD, ends, until};

const UNSCANNED: Given = Given {
    ams: "",
    route: "",
    edge: false,
    defaults: "{scan: {required: Never}}",
    budget: "{request: 10s, attempt: 5s, inFlight: 16}",
};

/// Images of one tenant, in both Harbors: `regulated/many:v0` …
fn theirs(site: &Site, count: usize) -> Vec<String> {
    let image = |n| {
        let (tag, content) = (format!("v{n}"), Content::image(&format!("theirs {n}")));
        let digest = site.demo.ams.store().push("regulated/many", &tag, &content);
        site.demo.ams.store().set_scan(&digest, Scan::clean());
        site.demo.fra.store().push("regulated/many", &tag, &content);
        format!("harbor.fra.example.com/regulated/many:{tag}")
    };
    (0..count).map(image).collect()
}

async fn judged(site: &Site, namespace: &str, image: &str) -> String {
    let case = site.case_for(image);
    let asking = Asking {
        share: Share::Mutating,
        namespace,
        deadline: Instant::now() + HELD,
        answers: Answers::Cached,
    };
    shown(&case, &site.observatory.judge(&case, asking).await.verdict)
}

/// An image of another tenant that nobody asked for yet.
async fn ours(site: &Site, tag: &str) -> String {
    let content = Content::image(&format!("ours {tag}"));
    site.demo.ams.store().push("production/ours", tag, &content);
    judged(site, "ours", &format!("harbor.fra.example.com/production/ours:{tag}")).await
}

const BROKEN: [Fault; 4] = [
    Fault::Status(StatusCode::INTERNAL_SERVER_ERROR),
    Fault::Html(StatusCode::BAD_GATEWAY),
    Fault::HangUp,
    Fault::RetryAfter(StatusCode::SERVICE_UNAVAILABLE, 300),
];

#[tokio::test]
async fn failing_images_of_one_project_close_it_alone() {
    for fault in BROKEN {
        let site = Site::new(UNSCANNED).await;
        let theirs = theirs(&site, 12);
        site.demo.ams.faults().add(Scope::ManifestsOf("regulated/"), fault.clone());
        for image in &theirs {
            assert_eq!(judged(&site, "theirs", image).await, "Fallback(fra) [Unreachable]", "{fault:?}");
        }
        assert!(manifests(&site.demo.ams) < 12, "it is closed: {fault:?}");
        assert_eq!(site.metric(name::LIMITED_PROJECTS, &[("registry", "ams")]), Some(1.0), "{fault:?}");
        assert_eq!(ours(&site, "1").await, "Local(ams) []", "{fault:?}");
        assert_eq!(judged(&site, "ours", &image(seed::PRESENT)).await, "Local(ams) []", "{fault:?}");
    }
}

/// The prober must not take one project's word for the registry either.
#[tokio::test]
async fn a_probe_asks_for_a_manifest_of_another_project_too() {
    for fault in [Fault::Status(StatusCode::BAD_GATEWAY), Fault::Delay(HELD)] {
        let site =
            Site::new(Given { budget: "{request: 10s, attempt: 1s, inFlight: 16}", ..UNSCANNED }).await;
        let theirs = theirs(&site, 80);
        watching(&site, async {
            probed(&site).await;
            assert_eq!(ours(&site, "1").await, "Local(ams) []");
            site.demo.ams.faults().add(Scope::ManifestsOf("regulated/"), fault.clone());
            let mut asked = 0;
            let closes = async {
                while breaker(&site, "ams") < 2.0 {
                    judged(&site, "theirs", &theirs[asked]).await;
                    asked += 1;
                }
            };
            ends("it is closed", closes).await;
            assert_eq!(ours(&site, "2").await, "Local(ams) []", "{fault:?}");
            let tells = || site.observatory.health().iter().any(|one| one.detail.contains("`regulated/`"));
            until("the probe says whose trouble it is", tells).await;
            assert!(!health(&site, "ams").is_down(), "{fault:?}");
            assert_eq!(ours(&site, "3").await, "Local(ams) []", "{fault:?}");
            site.demo.ams.faults().clear();
            until("it is open again", || breaker(&site, "ams") == 0.0).await;
            assert_eq!(judged(&site, "theirs", &theirs[asked]).await, "Local(ams) []");
        })
        .await;
    }
}

/// Its core answers, and the registry behind it is down: nodes get nothing.
#[tokio::test]
async fn a_registry_behind_a_healthy_core_that_is_down_is_down_and_back_within_a_probe() {
    let site = Site::new(UNSCANNED).await;
    let theirs = theirs(&site, 20);
    watching(&site, async {
        probed(&site).await;
        assert_eq!(ours(&site, "1").await, "Local(ams) []");
        assert_eq!(judged(&site, "theirs", &theirs[0]).await, "Local(ams) []");
        let bad = Fault::Html(StatusCode::BAD_GATEWAY);
        site.demo.ams.faults().add(Scope::Only(PathClass::Manifests), bad);
        let asks = async {
            for image in &theirs[1..4] {
                judged(&site, "theirs", image).await;
            }
            until("down", || health(&site, "ams") == Health::Down).await;
        };
        ends("Pods of one project are enough", asks).await;
        site.demo.ams.clear_log();
        assert_eq!(ours(&site, "2").await, "Fallback(fra) [Unreachable]");
        assert_eq!(judged(&site, "theirs", &theirs[5]).await, "Fallback(fra) [Unreachable]");
        let asked = site.demo.ams.log();
        let by_pods = |path: &str| path.contains("/ours/manifests/2") || path.ends_with("/v5");
        assert!(!asked.iter().any(|one| by_pods(&one.path)), "no Pod tries: {asked:#?}");
        site.demo.ams.faults().clear();
        until("up", || health(&site, "ams") == Health::Up && breaker(&site, "ams") < 2.0).await;
        assert_eq!(ours(&site, "3").await, "Local(ams) []");
        assert_eq!(judged(&site, "theirs", &theirs[6]).await, "Local(ams) []");
    })
    .await;
}

#[tokio::test]
async fn one_repositorys_rate_limit_rests_its_project_alone() {
    let site = Site::new(UNSCANNED).await;
    let theirs = theirs(&site, 3);
    let limit = Fault::RetryAfter(StatusCode::TOO_MANY_REQUESTS, 300);
    site.demo.ams.faults().add(Scope::ManifestsOf("regulated/many"), limit);
    for image in &theirs {
        assert_eq!(judged(&site, "theirs", image).await, "Fallback(fra) [RateLimited]");
    }
    assert_eq!(manifests(&site.demo.ams), 1);
    assert_eq!(ours(&site, "1").await, "Local(ams) []");
}

/// Slow images of one namespace, more than there are permits, and none of them ends.
#[tokio::test]
async fn whoever_asks_for_slow_images_keeps_nobody_else_waiting() {
    let site = Site::patient(UNSCANNED).await;
    let theirs = theirs(&site, 200);
    site.demo.ams.faults().add(Scope::ManifestsOf("regulated/"), Fault::Delay(HELD));
    let mut slow: FuturesUnordered<_> = theirs.iter().map(|image| judged(&site, "theirs", image)).collect();
    let others = async {
        until("all permits of one namespace are taken", || manifests(&site.demo.ams) == 14).await;
        for tag in ["1", "2", "3"] {
            assert_eq!(ours(&site, tag).await, "Local(ams) []");
        }
    };
    tokio::select! {
        biased;
        ended = slow.next() => panic!("{ended:?} ended"),
        () = ends("the others", others) => {}
    }
}

/// He asks for the image of somebody else before its owner does, behind all his own.
#[tokio::test]
async fn nobody_puts_an_image_of_others_to_the_end_of_his_own_line() {
    let site = Site::patient(Given { budget: "{request: 10s, attempt: 5s, inFlight: 1}", ..UNSCANNED }).await;
    let theirs = theirs(&site, 30);
    site.demo.ams.faults().add(Scope::ManifestsOf("regulated/"), Fault::Delay(Duration::from_millis(100)));
    let wanted = image(seed::PRESENT);
    let before = theirs.iter().map(|image| judged(&site, "theirs", image));
    let line = join_all(before.chain([judged(&site, "theirs", &wanted)]));
    let owner = async {
        until("the line stands", || manifests(&site.demo.ams) > 0).await;
        let verdict = judged(&site, "ours", &wanted).await;
        (verdict, manifests(&site.demo.ams))
    };
    let (_, (verdict, asked)) = ends("all", futures::future::join(line, owner)).await;
    assert_eq!(verdict, "Local(ams) []");
    assert!(asked < 10, "{asked} were asked for before it");
}

/// The image of the seed, as Frankfurt names it.
fn image(named: seed::Named) -> String {
    format!("harbor.fra.example.com/{}:{}", named.repository, named.tag)
}
