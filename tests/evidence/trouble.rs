//! Registries that are down, drained, changed or unusable.

use std::sync::Arc;
use std::time::Duration;

use landfall::facade::demo::world::content::Content;
use landfall::facade::demo::world::seed;
use landfall::facade::domain::evidence::{Observation, Presence, Query, Wanted};
use landfall::facade::domain::unknown::Cause;

use super::site::{Given, Site, learned, manifests, settings};
use super::support::metrics::name;
use super::support::wait::later;

/// Why Amsterdam did not say whether it holds this tag.
async fn cause(site: &Site, tag: &str) -> Option<Cause> {
    let case = site.case_for(&format!("harbor.fra.example.com/production/many:{tag}"));
    let judgement = site.judge(&case).await;
    match learned(&judgement.evidence, |query| matches!(query, Query::Presence(_, Wanted::Tag))).0 {
        Observation::Presence(Presence::Unknown(unknown)) => Some(unknown.cause),
        _ => None,
    }
}

#[tokio::test]
async fn the_breaker_opens_on_refused_connections_and_recovers() {
    let site = Site::new(Given { defaults: "{scan: {required: Never}}", ..Given::default() }).await;
    for n in 0..8 {
        site.demo.ams.store().push("production/many", &format!("v{n}"), &Content::image("many"));
    }
    site.demo.ams.down().await;
    for tag in ["v0", "v1", "v2", "v3", "v4"] {
        assert_eq!(cause(&site, tag).await, Some(Cause::Connect), "{tag}");
    }
    assert_eq!(cause(&site, "v5").await, Some(Cause::BreakerOpen));
    assert_eq!(cause(&site, "v0").await, Some(Cause::Connect), "what is remembered is told");
    site.demo.ams.up().await;
    assert_eq!(cause(&site, "v5").await, Some(Cause::BreakerOpen), "its period is not over");
    later(Duration::from_millis(1250)).await;
    assert_eq!(cause(&site, "v5").await, None);
    assert_eq!(cause(&site, "v6").await, None);
    assert_eq!(cause(&site, "v7").await, None);
    assert_eq!(site.metric(name::BREAKER, &[("registry", "ams")]), Some(0.0));
}

#[tokio::test]
async fn a_copy_is_presumed_where_the_primary_is_known_to_be_down() {
    let site = Site::new(Given { route: "    tagProof: Required", ..Given::default() }).await;
    site.demo.ams.down().await;
    site.demo.fra.down().await;
    for n in 0..5 {
        cause(&site, &format!("v{n}")).await;
    }
    let case = site.case(seed::PRESENT);
    assert_eq!(site.judged(&case).await, "Presumed(ams) [Unreachable]");
}

#[tokio::test]
async fn silence_opens_no_breaker() {
    let budget = "{request: 10s, attempt: 50ms, inFlight: 16}";
    let site = Site::new(Given { budget, ..Given::default() }).await;
    site.demo.ams.freeze().await;
    for n in 0..8 {
        assert_eq!(cause(&site, &format!("v{n}")).await, Some(Cause::Deadline));
    }
}

#[tokio::test]
async fn a_drained_registry_is_not_asked() {
    let site = Site::new(Given { ams: "drain: true", ..Given::default() }).await;
    let case = site.case(seed::PRESENT);
    assert_eq!(site.judged(&case).await, "Fallback(fra) [Unreachable]");
    assert!(site.demo.ams.log().is_empty());
}

#[tokio::test]
async fn a_registry_that_changed_starts_anew_and_no_other() {
    let site = Site::new(Given { route: "    tagProof: Required", ..Given::default() }).await;
    let pinned = site.pinned(seed::PRESENT);
    let tagged = site.case(seed::PRESENT);
    site.judge(&tagged).await;
    site.judge(&pinned).await;
    let (ams, fra) = (manifests(&site.demo.ams), manifests(&site.demo.fra));

    site.observatory.adopt(&site.settings);
    site.judge(&tagged).await;
    assert_eq!((manifests(&site.demo.ams), manifests(&site.demo.fra)), (ams, fra));

    let given =
        Given { ams: "aliases: [harbor.example.com]", route: "    tagProof: Required", ..Given::default() };
    site.observatory.adopt(&settings(&site.demo, given));
    site.judge(&tagged).await;
    assert_eq!((manifests(&site.demo.ams), manifests(&site.demo.fra)), (ams + 2, fra));
}

#[tokio::test]
async fn a_registry_that_is_gone_from_the_settings_is_not_asked() {
    let site = Site::new(Given::default()).await;
    let case = site.case(seed::PRESENT);
    site.judge(&case).await;
    let mut without = site.settings.clone();
    without.registries.retain(|name, _| name.as_str() != "ams");
    site.observatory.adopt(&without);
    assert_eq!(site.judged(&case).await, "Fallback(fra) [Unreachable]");
}

#[tokio::test]
async fn a_registry_without_a_usable_ca_file_is_a_problem_and_no_crash() {
    let site = Site::new(Given::default()).await;
    let broken = site.demo.world.write("broken.pem", "no certificate").unwrap();
    let mut settings = site.settings.clone();
    let ams = settings.registries.values_mut().find(|one| one.name.as_str() == "ams").unwrap();
    let mut changed = (**ams).clone();
    changed.ca_file = Some(broken);
    *ams = Arc::new(changed);
    site.observatory.adopt(&settings);
    let problems = site.observatory.problems();
    assert_eq!(problems.iter().map(|one| one.registry.as_str()).collect::<Vec<_>>(), ["ams"]);
    assert_eq!(cause(&site, "v0").await, Some(Cause::Tls));
    // The file is mended, and the same settings are read again.
    let mended = std::fs::read_to_string(site.demo.world.ca_file()).unwrap();
    site.demo.world.write("broken.pem", &mended).unwrap();
    site.observatory.adopt(&settings);
    assert!(site.observatory.problems().is_empty());
    let case = site.case(seed::PRESENT);
    assert_eq!(site.judged(&case).await, "Local(ams) []");
}
