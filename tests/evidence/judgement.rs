//! End to end: every trouble of the seed, judged.

use std::time::Duration;

use landfall::facade::demo::world::seed;
use landfall::facade::domain::decide::Admission;
use landfall::facade::domain::evidence::{Observation, Presence, Query, TagDigest};

use super::site::{Given, Site, learned, shown, soon};
use super::support::wait::later;

#[tokio::test]
async fn every_trouble_of_the_seed_has_its_verdict() {
    let site = Site::new(Given::default()).await;
    for (named, expected) in [
        (seed::PRESENT, "Local(ams) []"),
        (seed::MULTI_ARCH, "Local(ams) []"),
        (seed::MISSING, "Fallback(fra) [Missing]"),
        (seed::UNSCANNED, "Fallback(fra) [Unscanned]"),
        (seed::SCANNING, "Fallback(fra) [ScanPending]"),
        (seed::SCAN_FAILED, "Fallback(fra) [ScanFailed]"),
        (seed::VULNERABLE, "Accepted(ams) [Vulnerable]"),
        (seed::CHILD_LOST, "Fallback(fra) [ChildMissing]"),
        (seed::REFUSED, "Fallback(fra) [Refused]"),
        // `Auto` requires no scan of what a proxy serves.
        (seed::PROXIED, "Fallback(fra) [ProxyCache]"),
    ] {
        assert_eq!(site.judged(&site.case(named)).await, expected, "{named:?}");
        assert_eq!(site.judged(&site.case(named)).await, expected, "{named:?}, from memory");
    }
}

#[tokio::test]
async fn the_validating_door_accepts_what_the_mutating_one_pins() {
    let site = Site::new(Given::default()).await;
    let deadline = soon(Duration::from_secs(10));
    let by_tag = site.observatory.admission(&site.case(seed::PRESENT), deadline).await;
    assert!(matches!(by_tag.verdict, Admission::NotPinned(_)), "{:?}", by_tag.verdict);
    let pinned = site.observatory.admission(&site.pinned(seed::PRESENT), deadline).await;
    assert!(matches!(pinned.verdict, Admission::Admitted(_)), "{:?}", pinned.verdict);
}

#[tokio::test]
async fn a_tag_that_must_be_proved_is_asked_for_at_the_primary_and_remembered() {
    let site = Site::new(Given { route: "    tagProof: Required", ..Given::default() }).await;
    assert_eq!(site.judged(&site.case(seed::MOVED)).await, "Fallback(fra) [Stale]");
    assert_eq!(site.judged(&site.case(seed::PRESENT)).await, "Local(ams) []");
    site.demo.fra.down().await;
    assert_eq!(site.judged(&site.case(seed::MULTI_ARCH)).await, "Fallback(fra) [Unproved]");
    // What was proved an hour ago still counts; its age says so.
    later(Duration::from_secs(3600)).await;
    let case = site.case(seed::PRESENT);
    let judgement = site.judge(&case).await;
    assert_eq!(shown(&case, &judgement.verdict), "Local(ams) []");
    let (meaning, age) = learned(&judgement.evidence, |query| matches!(query, Query::TagDigest(_)));
    assert!(matches!(meaning, Observation::TagDigest(TagDigest::Known(_))));
    assert!(age >= Duration::from_secs(3600), "{age:?}");
    // But not for ever.
    later(Duration::from_secs(24 * 3600)).await;
    assert!(site.judged(&site.case(seed::PRESENT)).await.ends_with("[Unproved]"));
}

#[tokio::test]
async fn what_was_proved_for_one_is_remembered_by_those_who_only_remember() {
    let site = Site::new(Given { route: "    tagProof: Required", ..Given::default() }).await;
    assert_eq!(site.judged(&site.case(seed::MOVED)).await, "Fallback(fra) [Stale]");
    let relaxed = super::site::settings(&site.demo, Given::default());
    site.observatory.adopt(&relaxed);
    let site = Site { settings: relaxed, ..site };
    assert_eq!(site.judged(&site.case(seed::MOVED)).await, "Fallback(fra) [Stale]");
}

#[tokio::test]
async fn the_second_local_place_stands_in_for_the_first() {
    let defaults = "{scan: {required: Never}}";
    let site = Site::new(Given { edge: true, defaults, ..Given::default() }).await;
    assert_eq!(site.judged(&site.case(seed::PRESENT)).await, "Local(ams) []");
    site.demo.ams.down().await;
    assert_eq!(site.judged(&site.case(seed::MULTI_ARCH)).await, "Local(edge) [Unreachable]");
}

#[tokio::test]
async fn a_plain_registry_is_never_asked_for_scans() {
    let defaults = "{scan: {required: Always}}";
    let site = Site::new(Given { edge: true, defaults, ..Given::default() }).await;
    site.demo.ams.down().await;
    assert_eq!(site.judged(&site.case(seed::PRESENT)).await, "Fallback(fra) [Unreachable, Unscanned]");
    assert!(site.demo.edge.log().iter().all(|request| request.path.split('/').nth(1) == Some("v2")));
}

#[tokio::test]
async fn a_tag_that_means_a_digest_answers_for_that_digest() {
    let site = Site::new(Given::default()).await;
    site.judge(&site.case(seed::PRESENT)).await;
    site.demo.ams.clear_log();
    let pinned = site.pinned(seed::PRESENT);
    let judgement = site.judge(&pinned).await;
    assert_eq!(shown(&pinned, &judgement.verdict), "Local(ams) []");
    let (presence, _) = learned(&judgement.evidence, |query| matches!(query, Query::Presence(..)));
    assert!(matches!(presence, Observation::Presence(Presence::Present { .. })));
    assert!(site.demo.ams.log().is_empty());
}
