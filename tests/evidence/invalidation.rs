//! What a registry's notification ends, and what it leaves.

use std::time::Duration;

use landfall::facade::demo::world::content::Content;
use landfall::facade::demo::world::faults::{Fault, Scope as Paths};
use landfall::facade::demo::world::seed::{self, Named};
use landfall::facade::demo::world::{Allowlist, PathClass, Scan};
use landfall::facade::domain::case::Case;
use landfall::facade::domain::image::{Repository, Tag};
use landfall::facade::domain::name::RegistryName;
use landfall::facade::evidence::Scope;
use reqwest::StatusCode;

use super::site::{Given, Site, manifests, shown, soon};
use super::support::metrics::name;
use super::support::wait::later;

/// Something changed in Amsterdam.
fn changed(site: &Site, scope: Scope) {
    site.observatory.invalidate(&RegistryName::new("ams"), scope);
}

/// How often Amsterdam is asked for manifests of this Case.
async fn asked(site: &Site, case: &Case) -> usize {
    site.demo.ams.clear_log();
    site.judge(case).await;
    manifests(&site.demo.ams)
}

#[tokio::test]
async fn each_scope_ends_what_it_names_and_nothing_else() {
    let site = Site::new(Given { defaults: "{scan: {required: Never}}", ..Given::default() }).await;
    let (tagged, pinned) = (site.case(seed::PRESENT), site.pinned(seed::PRESENT));
    let other = site.case(seed::VULNERABLE);
    let Named { repository, tag, .. } = seed::PRESENT;
    let digest = site.demo.ams.store().digest(repository, tag).unwrap();
    let (repository, tag) = (Repository::new(repository), Tag::new(tag));
    // What each of the three is asked for again: by tag, by digest, another image.
    for (scope, expected) in [
        (Scope::Tag(repository.clone(), tag.clone()), [1, 0, 0]),
        (Scope::Tag(repository.clone(), Tag::new("another")), [0, 0, 0]),
        // By tag and by the digest that it answers, which answers the second as well.
        (Scope::Digest(digest), [2, 0, 0]),
        (Scope::Repository(repository.clone()), [2, 0, 0]),
        (Scope::Repository(Repository::new("production")), [0, 0, 0]),
        (Scope::Registry, [2, 0, 2]),
    ] {
        for case in [&tagged, &pinned, &other] {
            site.judge(case).await;
        }
        let before = site.observatory.generation();
        changed(&site, scope.clone());
        assert!(site.observatory.generation() > before, "who keeps verdicts is told");
        let found = [asked(&site, &tagged).await, asked(&site, &pinned).await, asked(&site, &other).await];
        assert_eq!(found, expected, "{scope:?}");
    }
    changed(&site, Scope::Digest(digest));
    assert_eq!(asked(&site, &pinned).await, 1, "by digest, where nobody asked by tag");
    site.observatory.invalidate(&RegistryName::new("fra"), Scope::Registry);
    site.observatory.invalidate(&RegistryName::new("nowhere"), Scope::Registry);
    assert_eq!(asked(&site, &pinned).await, 0, "of Amsterdam nobody spoke");
    let ended = site.metric(name::INVALIDATIONS, &[("registry", "ams"), ("scope", "Digest")]);
    assert_eq!(ended, Some(2.0));
}

#[tokio::test]
async fn what_came_is_found_and_what_went_is_missed_at_once() {
    let site = Site::new(Given { defaults: "{scan: {required: Never}}", ..Given::default() }).await;
    let Named { repository, tag, .. } = seed::MISSING;
    let (tagged, pinned) = (site.case(seed::MISSING), site.pinned(seed::MISSING));
    assert_eq!(site.judged(&tagged).await, "Fallback(fra) [Missing]");
    assert_eq!(site.judged(&pinned).await, "Fallback(fra) [Missing]");
    let digest = site.demo.fra.store().digest(repository, tag).unwrap();
    let content = Content::image("came later");
    site.demo.ams.store().claim(repository, Some(tag), digest, &content);
    assert_eq!(site.judged(&pinned).await, "Fallback(fra) [Missing]", "nobody told");
    changed(&site, Scope::Digest(digest));
    assert_eq!(site.judged(&pinned).await, "Local(ams) []");
    changed(&site, Scope::Tag(Repository::new(repository), Tag::new(tag)));
    assert_eq!(site.judged(&tagged).await, "Local(ams) []");

    site.demo.ams.store().delete(repository, &digest);
    assert_eq!(site.judged(&pinned).await, "Local(ams) []", "nobody told");
    changed(&site, Scope::Digest(digest));
    assert_eq!(site.judged(&pinned).await, "Fallback(fra) [Missing]");
    assert_eq!(site.judged(&tagged).await, "Fallback(fra) [Missing]", "the tag that meant it, too");
}

/// What Harbor's own projects say is kept apart, and it is no less a part of the registry.
#[tokio::test]
async fn the_facts_of_a_project_end_with_its_registry() {
    let given = Given {
        defaults: "{scan: {required: Auto, maxSeverity: Low, projectAllowlist: true}}",
        ..Given::default()
    };
    let site = Site::new(given).await;
    let case = site.pinned(seed::VULNERABLE);
    assert_eq!(site.judged(&case).await, "Accepted(ams) [Vulnerable]");
    let cves = [seed::HIGH_CVE, seed::CRITICAL_CVE].map(str::to_owned).to_vec();
    site.demo.ams.store().project("production").allowlist = Some(Allowlist { cves, expires_at: None });
    let digest = site.demo.ams.store().digest(seed::VULNERABLE.repository, seed::VULNERABLE.tag).unwrap();
    changed(&site, Scope::Digest(digest));
    assert_eq!(site.judged(&case).await, "Accepted(ams) [Vulnerable]", "of its project nobody spoke");
    changed(&site, Scope::Registry);
    assert_eq!(site.judged(&case).await, "Local(ams) []");
    // And its next change, too.
    site.demo.ams.store().project("production").allowlist =
        Some(Allowlist { cves: vec![], expires_at: None });
    changed(&site, Scope::Registry);
    assert_eq!(site.judged(&case).await, "Accepted(ams) [Vulnerable]");
}

/// The look-up begins, the registry changes and says so, the old answer arrives.
#[tokio::test]
async fn an_answer_from_before_the_change_is_not_kept() {
    let site = Site::new(Given { defaults: "{scan: {required: Never}}", ..Given::default() }).await;
    let case = site.pinned(seed::PRESENT);
    let Named { repository, tag, .. } = seed::PRESENT;
    let digest = site.demo.ams.store().digest(repository, tag).unwrap();
    let class = Paths::Only(PathClass::Manifests);
    site.demo.ams.faults().add(class, Fault::Delay(Duration::from_millis(300)));
    let (early, late) = tokio::join!(site.judged(&case), async {
        while site.demo.ams.in_flight() == 0 {
            tokio::task::yield_now().await;
        }
        changed(&site, Scope::Digest(digest));
        // Who asks now does not join what began before.
        site.judged(&case).await
    });
    assert_eq!((early.as_str(), late.as_str()), ("Local(ams) []", "Local(ams) []"));
    assert_eq!(manifests(&site.demo.ams), 2);
    site.demo.ams.faults().clear();
    assert_eq!(asked(&site, &case).await, 0, "the second answer is from after the change");

    // And where nobody asks after the change, the old answer is not kept.
    let case = site.pinned(seed::VULNERABLE);
    let Named { repository, tag, .. } = seed::VULNERABLE;
    let digest = site.demo.ams.store().digest(repository, tag).unwrap();
    site.demo.ams.faults().add(class, Fault::Delay(Duration::from_millis(300)));
    let (early, ()) = tokio::join!(site.judged(&case), async {
        while site.demo.ams.in_flight() == 0 {
            tokio::task::yield_now().await;
        }
        changed(&site, Scope::Repository(Repository::new(repository)));
    });
    assert_eq!(early, "Local(ams) []");
    site.demo.ams.store().delete(repository, &digest);
    site.demo.ams.faults().clear();
    assert_eq!(site.judged(&case).await, "Fallback(fra) [Missing]");
}

#[tokio::test]
async fn an_invalidation_takes_remembered_presence_and_leaves_the_last_scan() {
    let site = Site::new(Given::default()).await;
    let (good, bad) = (site.pinned(seed::PRESENT), site.pinned(seed::VULNERABLE));
    assert_eq!(site.judged(&good).await, "Local(ams) []");
    assert_eq!(site.judged(&bad).await, "Accepted(ams) [Vulnerable]");
    let at = |named: Named| site.demo.ams.store().digest(named.repository, named.tag).unwrap();
    let (good_digest, bad_digest) = (at(seed::PRESENT), at(seed::VULNERABLE));

    // The bad one is scanned again: it was bad until then.
    site.demo.ams.store().set_scan(&bad_digest, Scan::Running(jiff::Timestamp::now()));
    changed(&site, Scope::Digest(bad_digest));
    assert_eq!(site.judged(&bad).await, "Accepted(ams) [Vulnerable]");
    site.demo.ams.store().set_scan(&bad_digest, Scan::clean());
    changed(&site, Scope::Digest(bad_digest));
    assert_eq!(site.judged(&bad).await, "Local(ams) []");

    // What is known to have changed is not told behind slowness.
    let slow = Fault::Status(StatusCode::TOO_MANY_REQUESTS);
    later(Duration::from_secs(3600)).await;
    site.demo.ams.faults().add(Paths::Only(PathClass::Manifests), slow);
    changed(&site, Scope::Digest(good_digest));
    assert_eq!(site.judged(&good).await, "Fallback(fra) [RateLimited]");
    assert!(site.judged(&bad).await.starts_with("Local(ams)"), "of this one nobody spoke");
    let late = site.observatory.judge(&good, soon(Duration::ZERO)).await;
    assert!(shown(&good, &late.verdict).starts_with("Fallback"), "{:?}", late.verdict);
}
