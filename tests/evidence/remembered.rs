//! How long each kind of answer counts.

use std::time::Duration;

use landfall::facade::demo::world::content::Content;
use landfall::facade::demo::world::faults::{Fault, Scope};
use landfall::facade::demo::world::seed::{self, Named};
use landfall::facade::demo::world::{PathClass, Scan};
use landfall::facade::domain::case::Case;
use landfall::facade::domain::evidence::Query;
use landfall::facade::domain::scan::Severity;
use reqwest::StatusCode;

use super::site::{Given, Site, asked, learned, manifests};
use super::support::wait::{HELD, ends, later, until};

const SECOND: Duration = Duration::from_secs(1);

/// How often Amsterdam is asked for manifests of this Case, once so much time has passed.
async fn asked_after(site: &Site, case: &Case, time: Duration) -> usize {
    later(time).await;
    site.demo.ams.clear_log();
    site.judge(case).await;
    manifests(&site.demo.ams)
}

#[tokio::test]
async fn a_digest_counts_for_minutes_and_a_tag_for_seconds() {
    let site = Site::new(Given::default()).await;
    let (pinned, tagged) = (site.pinned(seed::PRESENT), site.case(seed::PRESENT));
    assert_eq!(asked_after(&site, &pinned, Duration::ZERO).await, 1);
    // Up to a tenth less than ten minutes.
    assert_eq!(asked_after(&site, &pinned, 535 * SECOND).await, 0);
    let judgement = site.judge(&pinned).await;
    let (_, age) = learned(&judgement.evidence, |query| matches!(query, Query::Presence(..)));
    assert!(age >= 535 * SECOND, "{age:?}");
    assert_eq!(asked_after(&site, &pinned, 65 * SECOND).await, 1);

    assert_eq!(asked_after(&site, &tagged, Duration::ZERO).await, 1);
    assert_eq!(asked_after(&site, &tagged, 26 * SECOND).await, 0);
    assert_eq!(asked_after(&site, &tagged, 4 * SECOND).await, 1);
}

#[tokio::test]
async fn absence_is_remembered_for_a_moment() {
    let site = Site::new(Given::default()).await;
    let (case, content) = (site.case(seed::MISSING), Content::image("came later"));
    site.demo.fra.store().push(seed::MISSING.repository, seed::MISSING.tag, &content);
    assert_eq!(asked_after(&site, &case, Duration::ZERO).await, 1);
    assert_eq!(asked_after(&site, &case, 8 * SECOND).await, 0);
    let digest = site.demo.ams.store().push(seed::MISSING.repository, seed::MISSING.tag, &content);
    site.demo.ams.store().set_scan(&digest, Scan::clean());
    later(2 * SECOND).await;
    assert_eq!(site.judged(&case).await, "Local(ams) []");
}

#[tokio::test]
async fn a_registry_that_wants_rest_gets_it() {
    let site = Site::new(Given::default()).await;
    let case = site.case(seed::PRESENT);
    let too_many = Fault::RetryAfter(StatusCode::TOO_MANY_REQUESTS, 60);
    site.demo.ams.faults().add(Scope::Only(PathClass::Manifests), too_many);
    assert_eq!(site.judged(&case).await, "Fallback(fra) [RateLimited]");
    site.demo.ams.faults().clear();
    assert_eq!(asked_after(&site, &case, 59 * SECOND).await, 0);
    assert_eq!(asked_after(&site, &case, SECOND).await, 2);

    let case = site.case(seed::MULTI_ARCH);
    let for_ever = Fault::RetryAfter(StatusCode::TOO_MANY_REQUESTS, 1_000_000);
    site.demo.ams.faults().add(Scope::Only(PathClass::Manifests), for_ever);
    assert_eq!(site.judged(&case).await, "Fallback(fra) [RateLimited]");
    site.demo.ams.faults().clear();
    assert_eq!(asked_after(&site, &case, 299 * SECOND).await, 0);
    later(SECOND).await;
    assert_eq!(site.judged(&case).await, "Local(ams) []");
}

#[tokio::test]
async fn a_finished_scan_counts_longer_than_one_under_way() {
    let site = Site::new(Given::default()).await;
    let case = site.case(seed::SCANNING);
    assert_eq!(site.judged(&case).await, "Fallback(fra) [ScanPending]");
    let digest = site.demo.ams.store().digest(seed::SCANNING.repository, seed::SCANNING.tag).unwrap();
    site.demo.ams.store().set_scan(&digest, Scan::clean());
    assert_eq!(site.judged(&case).await, "Fallback(fra) [ScanPending]", "it was asked just now");
    later(10 * SECOND).await;
    assert_eq!(site.judged(&case).await, "Local(ams) []");
    site.demo.ams.store().set_scan(&digest, Scan::NotScanned);
    later(260 * SECOND).await;
    assert_eq!(site.judged(&case).await, "Local(ams) []");
    later(40 * SECOND).await;
    assert_eq!(site.judged(&case).await, "Fallback(fra) [Unscanned]");
}

#[tokio::test]
async fn the_last_finished_scan_is_remembered_behind_newer_silence() {
    let site = Site::new(Given::default()).await;
    let at = |named: Named| site.demo.ams.store().digest(named.repository, named.tag).unwrap();
    let (bad, good) = (site.case(seed::VULNERABLE), site.case(seed::PRESENT));
    assert_eq!(site.judged(&bad).await, "Accepted(ams) [Vulnerable]");
    assert_eq!(site.judged(&good).await, "Local(ams) []");

    // Both count while their rescan runs.
    for named in [seed::VULNERABLE, seed::PRESENT] {
        let digest = at(named);
        site.demo.ams.store().set_scan(&digest, Scan::Running(jiff::Timestamp::now()));
    }
    later(300 * SECOND).await;
    assert_eq!(site.judged(&bad).await, "Accepted(ams) [Vulnerable]");
    assert_eq!(site.judged(&good).await, "Local(ams) []");

    // While Harbor's API is slow, good and bad count alike. The scan alone is silent, the images are there.
    later(10 * SECOND).await;
    let slow = Fault::RetryAfter(StatusCode::TOO_MANY_REQUESTS, 1);
    site.demo
        .ams
        .faults()
        .add(Scope::Only(PathClass::of("/api/v2.0/projects/p/repositories/r/artifacts/a")), slow);
    assert_eq!(site.judged(&bad).await, "Accepted(ams) [Vulnerable]");
    assert_eq!(site.judged(&good).await, "Local(ams) []");

    // A newer success ends it.
    site.demo.ams.faults().clear();
    let digest = at(seed::VULNERABLE);
    site.demo.ams.store().set_scan(&digest, Scan::found(&[("CVE-1", Severity::Low)]));
    later(10 * SECOND).await;
    assert_eq!(site.judged(&bad).await, "Local(ams) []");
}

#[tokio::test]
async fn what_an_index_lists_is_asked_once_a_day() {
    let site = Site::new(Given::default()).await;
    let case = site.pinned(seed::MULTI_ARCH);
    site.judge(&case).await;
    later(3600 * SECOND).await;
    site.demo.ams.clear_log();
    assert_eq!(site.judged(&case).await, "Local(ams) []");
    // The index and its two children are still there? What it lists needs no question: one HEAD each, no GET.
    assert!(asked(&site.demo.ams, PathClass::Manifests).values().all(|count| *count == 1));
    assert!(
        site.demo
            .ams
            .log()
            .iter()
            .filter(|one| one.class == PathClass::Manifests)
            .all(|one| one.method == "HEAD")
    );
}

#[tokio::test]
async fn that_a_harbor_has_a_scanner_is_remembered_whatever_the_image() {
    let site = Site::new(Given::default()).await;
    assert_eq!(site.judged(&site.case(seed::PRESENT)).await, "Local(ams) []");
    let broken = Fault::Status(StatusCode::INTERNAL_SERVER_ERROR);
    let artifacts = PathClass::of("/api/v2.0/projects/p/repositories/r/artifacts/a");
    site.demo.ams.faults().add(Scope::Only(artifacts), broken);
    // Its scan could not be learned, and `required: Auto` requires one: this Harbor has a scanner.
    assert_eq!(site.judged(&site.case(seed::UNSCANNED)).await, "Fallback(fra) [Unreachable]");
}

/// A site that is asked again about an image that it knows, with a budget so long that whoever waits hangs.
async fn known(site: &Site) -> Case {
    let case = site.pinned(seed::PRESENT);
    assert_eq!(site.judged(&case).await, "Local(ams) []");
    later(601 * SECOND).await;
    case
}

/// From now on no attempt ends by itself.
fn patient(site: &Site) {
    let mut settings = site.settings.clone();
    (settings.budget.request, settings.budget.attempt) = (HELD, HELD);
    site.observatory.adopt(&settings);
}

#[tokio::test]
async fn once_a_registry_is_known_to_be_slow_nobody_waits_who_has_an_answer() {
    let site =
        Site::new(Given { budget: "{request: 10s, attempt: 100ms, inFlight: 16}", ..Given::default() });
    let site = site.await;
    let case = known(&site).await;
    site.demo.ams.faults().add(Scope::Everything, Fault::Delay(HELD));
    // The first who asks waits for his attempt.
    assert_eq!(site.judged(&case).await, "Local(ams) []");
    patient(&site);
    later(12 * SECOND).await;
    site.demo.ams.clear_log();
    assert_eq!(ends("it is known to be slow", site.judged(&case)).await, "Local(ams) []");
    until("it is looked up all the same", || site.demo.ams.log().len() >= 2).await;
    // What nobody knows is waited for.
    let other = site.pinned(seed::MULTI_ARCH);
    let waits = tokio::time::timeout(SECOND / 2, site.judge(&other)).await;
    assert!(waits.is_err(), "it was never looked up");
}

#[tokio::test]
async fn whoever_has_an_answer_does_not_wait_in_a_long_queue() {
    let site =
        Site::new(Given { budget: "{request: 10s, attempt: 5s, inFlight: 4}", ..Given::default() }).await;
    let case = known(&site).await;
    patient(&site);
    let new: Vec<_> =
        (0..20).map(|n| site.case_for(&format!("harbor.fra.example.com/production/new:v{n}"))).collect();
    site.demo.ams.faults().add(Scope::Everything, Fault::Delay(HELD));
    let burst = async {
        futures::future::join_all(new.iter().map(|case| site.judge(case))).await;
    };
    let known = async {
        until("no more are asked for at once", || manifests(&site.demo.ams) == 1 + 4).await;
        assert_eq!(ends("the queue is known to be long", site.judged(&case)).await, "Local(ams) []");
    };
    tokio::select! {
        biased;
        () = burst => panic!("nobody answers"),
        () = known => {}
    }
}
