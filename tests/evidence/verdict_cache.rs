//! What ends settled verdicts before their time is counted, and nothing else is.

use std::time::Duration;

use landfall::facade::demo::world::{PathClass, seed};
use landfall::facade::domain::name::RegistryName;
use landfall::facade::evidence::Scope;

use super::site::{Given, Site, asked, shown};
use super::support::wait::later;

#[tokio::test]
async fn a_judgement_says_until_when_its_answers_hold_and_changes_nothing_by_itself() {
    let site = Site::new(Given::default()).await;
    let case = site.case(seed::PRESENT);
    let judgement = site.judge(&case).await;
    let before = site.observatory.generation();
    let now = tokio::time::Instant::now();
    let until = judgement.until.unwrap();
    assert!(until <= now + Duration::from_secs(30), "a tag is asked for again after 30 s");
    let again = site.judge(&case).await;
    assert!(again.until.unwrap() > now, "all of it is remembered");
    later(Duration::from_secs(31)).await;
    site.judge(&case).await;
    assert_eq!(site.observatory.generation(), before, "the same answers, learned again");
    // Silence may end at any moment.
    site.demo.ams.down().await;
    later(Duration::from_secs(3600)).await;
    let silent = site.judge(&case).await;
    assert_eq!(shown(&case, &silent.verdict), "Fallback(fra) [Unreachable]");
    assert!(silent.until.unwrap() <= tokio::time::Instant::now());
}

#[tokio::test]
async fn settings_notifications_and_other_answers_are_changes() {
    let site = Site::new(Given::default()).await;
    let case = site.case(seed::PRESENT);
    site.judge(&case).await;
    let mut before = site.observatory.generation();
    let mut changed = |what: &str| {
        let now = site.observatory.generation();
        assert_ne!(std::mem::replace(&mut before, now), now, "{what}");
    };
    site.observatory.adopt(&site.settings);
    changed("settings");
    site.observatory.invalidate(&RegistryName::new("ams"), Scope::Registry);
    changed("a notification");

    site.judge(&case).await;
    let known: Vec<String> = asked(&site.demo.ams, PathClass::Manifests).into_keys().collect();
    for path in known {
        let repository = path.trim_start_matches("/v2/").split("/manifests/").next().unwrap();
        site.demo.ams.store().delete_repository(repository);
    }
    later(Duration::from_secs(31)).await;
    assert_eq!(site.judged(&case).await, "Fallback(fra) [Missing]");
    changed("another answer");
}

#[tokio::test]
async fn a_registry_that_goes_and_comes_is_a_change() {
    let site = Site::new(Given::default()).await;
    let before = site.observatory.generation();
    site.demo.ams.down().await;
    for named in
        [seed::PRESENT, seed::MULTI_ARCH, seed::MISSING, seed::UNSCANNED, seed::VULNERABLE, seed::MOVED]
    {
        site.judge(&site.case(named)).await;
    }
    assert_ne!(site.observatory.generation(), before, "its breaker opened");
}
