//! The proof of tags in the background: nobody waits for the primary, and everybody learns from it.

use std::sync::Arc;
use std::time::Duration;

use landfall::facade::demo::world::content::Content;
use landfall::facade::demo::world::faults::{Fault, Scope as Paths};
use landfall::facade::demo::world::seed;
use landfall::facade::demo::world::{PathClass, Scan};
use landfall::facade::domain::case::Case;
use landfall::facade::domain::image::{Repository, Tag};
use landfall::facade::domain::name::RegistryName;
use landfall::facade::domain::registry::{Registry, Service};
use landfall::facade::evidence::Scope;

use super::site::{Given, Site, asked, manifests};
use super::support::metrics::name;
use super::support::wait::{HELD, ends, later, until};

const SECOND: Duration = Duration::from_secs(1);

/// Waits until the background has done so many look-ups of this kind.
async fn ran(site: &Site, task: &str, registry: &str, count: u32) {
    let labels = [("registry", registry), ("task", task)];
    let count = Some(f64::from(count));
    until("the background looks it up", || site.metric(name::BACKGROUND_LOOKUPS, &labels) == count).await;
}

/// How many questions to Frankfurt what a tag means have ended so.
fn ended(site: &Site, outcome: &str) -> f64 {
    let labels = [("registry", "fra"), ("aspect", "TagDigest"), ("outcome", outcome)];
    site.metric(name::LOOKUPS, &labels).unwrap_or_default()
}

/// Until Frankfurt's answer to so many questions is remembered.
async fn learned(site: &Site, count: u32) {
    until("Frankfurt answers", || ended(site, "Answered") == f64::from(count)).await;
    // The answer is counted a moment before it is remembered, in the same poll of its task.
    tokio::task::yield_now().await;
}

#[tokio::test]
async fn the_first_pod_does_not_wait_and_the_second_knows() {
    let site = Site::patient(Given::default()).await;
    let case = site.case(seed::MOVED);
    site.demo.fra.freeze().await;
    for _ in 0..2 {
        let first = ends("who waits for Frankfurt waits for ever", site.judged(&case)).await;
        assert_eq!(first, "Local(ams) []", "nothing is known of the primary yet");
    }
    site.demo.fra.up().await;
    learned(&site, 1).await;
    assert_eq!(site.judged(&case).await, "Fallback(fra) [Stale]");
    assert_eq!(manifests(&site.demo.fra), 1, "{:?}", asked(&site.demo.fra, PathClass::Manifests));
}

#[tokio::test]
async fn what_is_known_is_told_while_it_is_proved_anew() {
    let site = Site::new(Given::default()).await;
    let case = site.case(seed::MOVED);
    site.judged(&case).await;
    learned(&site, 1).await;
    assert_eq!(site.judged(&case).await, "Fallback(fra) [Stale]");
    // Frankfurt's tag is moved back to what Amsterdam holds.
    let digest = site.demo.ams.store().digest(seed::MOVED.repository, seed::MOVED.tag).unwrap();
    let content = Content::image("moved back");
    site.demo.fra.store().claim(seed::MOVED.repository, Some(seed::MOVED.tag), digest, &content);
    later(31 * SECOND).await;
    assert_eq!(site.judged(&case).await, "Fallback(fra) [Stale]", "what it meant half a minute ago");
    learned(&site, 2).await;
    assert_eq!(site.judged(&case).await, "Local(ams) []");
    // And a notification makes it sooner than the clock.
    let moved = Scope::Tag(Repository::new(seed::MOVED.repository), Tag::new(seed::MOVED.tag));
    site.observatory.invalidate(&RegistryName::new("fra"), moved);
    assert_eq!(site.judged(&case).await, "Local(ams) []", "what it meant is known to be over");
    learned(&site, 3).await;
}

#[tokio::test]
async fn a_hundred_pods_prove_a_tag_once() {
    let site = Site::new(Given::default()).await;
    site.demo.fra.faults().add(Paths::Everything, Fault::Delay(Duration::from_millis(50)));
    let case = site.case(seed::PRESENT);
    for _ in 0..100 {
        site.judged(&case).await;
    }
    learned(&site, 1).await;
    assert_eq!(site.judged(&case).await, "Local(ams) []");
    assert_eq!(manifests(&site.demo.fra), 1);
}

#[tokio::test]
async fn a_primary_that_is_drained_is_left_alone() {
    let site = Site::new(Given::default()).await;
    let mut drained = site.settings.clone();
    let fra = drained.registries.values_mut().find(|one| one.name.as_str() == "fra").unwrap();
    *fra = Arc::new(Registry { service: Service::Drained, ..(**fra).clone() });
    site.observatory.adopt(&drained);
    let site = Site { settings: drained, ..site };
    assert_eq!(site.judged(&site.case(seed::MOVED)).await, "Local(ams) []");
    assert_eq!(site.metrics().sum(name::BACKGROUND_LOOKUPS, &[]), 0.0);
    assert!(site.demo.fra.log().is_empty());
}

#[tokio::test]
async fn a_primary_that_is_down_is_left_alone_and_heals() {
    let site = Site::new(Given { defaults: "{scan: {required: Never}}", ..Given::default() }).await;
    let names: Vec<String> = (0..8).map(|n| format!("v{n}")).collect();
    let cases: Vec<Case> = names
        .iter()
        .map(|tag| {
            let digest = site.demo.ams.store().push("production/many", tag, &Content::image(tag));
            site.demo.ams.store().set_scan(&digest, Scan::clean());
            site.demo.fra.store().push("production/many", tag, &Content::image("another"));
            site.case_for(&format!("harbor.fra.example.com/production/many:{tag}"))
        })
        .collect();
    site.demo.fra.down().await;
    for (n, case) in (0..).zip(&cases) {
        assert_eq!(site.judged(case).await, "Local(ams) []");
        // Five failures open the breaker; from then on nothing is started.
        ran(&site, "Proof", "fra", 5.min(n + 1)).await;
        until("it fails", || ended(&site, "Unreachable") == f64::from(5.min(n + 1))).await;
    }
    assert_eq!(site.metric(name::BREAKER, &[("registry", "fra")]), Some(2.0));
    site.demo.fra.up().await;
    later(2 * SECOND).await;
    let healed = async {
        for case in &cases {
            while site.judged(case).await != "Fallback(fra) [Stale]" {
                tokio::task::yield_now().await;
            }
        }
    };
    ends("it never healed", healed).await;
}

#[tokio::test]
async fn the_background_has_a_share_of_its_own_and_no_more() {
    // An eighth of sixteen: two at a time, however many tags.
    let site = Site::new(Given { defaults: "{scan: {required: Never}}", ..Given::default() }).await;
    let tags: Vec<String> = (0..30).map(|n| format!("v{n}")).collect();
    site.demo.fra.faults().add(Paths::Everything, Fault::Delay(Duration::from_millis(20)));
    for tag in &tags {
        site.demo.ams.store().push("production/many", tag, &Content::image(tag));
        site.demo.fra.store().push("production/many", tag, &Content::image(tag));
        let case = site.case_for(&format!("harbor.fra.example.com/production/many:{tag}"));
        assert_eq!(site.judged(&case).await, "Local(ams) []");
    }
    learned(&site, 30).await;
    assert!(site.demo.fra.peak_in_flight() <= 2, "{}", site.demo.fra.peak_in_flight());
}

#[tokio::test]
async fn beyond_a_thousand_that_wait_proofs_are_dropped_and_counted() {
    let given = Given { defaults: "{scan: {required: Never}}", ..Given::default() };
    let site = Site::patient(given).await;
    site.demo.fra.faults().add(Paths::Everything, Fault::Delay(HELD));
    for n in 0..1100 {
        let case = site.case_for(&format!("harbor.fra.example.com/production/many:v{n}"));
        site.demo.ams.store().push("production/many", &format!("v{n}"), &Content::image("many"));
        assert_eq!(site.judged(&case).await, "Local(ams) []");
    }
    let dropped = site.metric(name::BACKGROUND_LOOKUPS, &[("registry", "fra"), ("task", "Dropped")]);
    // 1,024 have a place, with the two that are under way. None of them ends before the test does.
    assert_eq!(dropped, Some(76.0));
    site.observatory.close().await;
}
