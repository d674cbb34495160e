//! What a replica that starts knows from one that ran before.

use std::time::Duration;

use jiff::Timestamp;
use landfall::facade::demo::world::Scan;
use landfall::facade::demo::world::content::Content;
use landfall::facade::demo::world::faults::{Fault, Scope as Paths};
use landfall::facade::demo::world::seed::{self, Named};
use landfall::facade::domain::case::Case;
use landfall::facade::domain::digest::Digest;
use landfall::facade::domain::name::{RegistryName, Site as SiteName};
use landfall::facade::domain::settings::Settings;
use landfall::facade::evidence::{Imported, Inventory, Observatory, Reading, Refusal, Scope, Unusable};
use prometheus_client::registry::Registry;

use super::site::{Given, Site, manifests};
use super::support::metrics::name;
use super::support::wait::{HELD, ends, later, until};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

/// Judged while all is well, then written.
async fn written(site: &Site, cases: &[Case]) -> Inventory {
    for case in cases {
        site.judge(case).await;
        // Frankfurt's answer comes behind.
        until("the background is done", || waiting(site) <= 0.0).await;
    }
    let now = Timestamp::now();
    site.observatory.export(cases.iter(), now, now)
}

/// Proofs that have begun and have not ended.
fn waiting(site: &Site) -> f64 {
    let page = site.metrics();
    let ran = page.sum(name::BACKGROUND_LOOKUPS, &[("registry", "fra"), ("task", "Proof")]);
    ran - page.sum(name::LOOKUPS, &[("registry", "fra"), ("aspect", "TagDigest")])
}

impl Site {
    /// The process starts again, with these settings, and reads this inventory.
    fn restarted(&mut self, settings: Settings, inventory: &Inventory) -> Result<Imported, Unusable> {
        self.settings = settings;
        self.page = Registry::default();
        self.observatory = Observatory::new(&self.settings, &mut self.page);
        self.demo.ams.clear_log();
        self.observatory.import(inventory, Reading::Start, Timestamp::now())
    }

    /// Likewise, with settings under which no attempt ends by itself: whoever waits hangs.
    fn restarted_patiently(&mut self, inventory: &Inventory) -> Imported {
        let mut settings = self.settings.clone();
        (settings.budget.request, settings.budget.attempt) = (HELD, HELD);
        self.restarted(settings, inventory).unwrap()
    }

    /// From now on nobody here answers, and nobody refuses.
    fn hold(&self) {
        self.demo.ams.faults().add(Paths::Everything, Fault::Delay(HELD));
    }

    fn ams_digest(&self, named: Named) -> Digest {
        self.demo.ams.store().digest(named.repository, named.tag).unwrap()
    }
}

fn only(imported: &Imported, refusal: Refusal) -> bool {
    imported.answers == 0 && imported.refused.keys().eq([&refusal])
}

#[tokio::test]
async fn nobody_waits_after_a_restart_who_names_what_the_cluster_ran() {
    let mut site = Site::new(Given::default()).await;
    let cases = [
        site.pinned(seed::PRESENT),
        site.case(seed::PRESENT),
        site.pinned(seed::MULTI_ARCH),
        site.case(seed::MULTI_ARCH),
        site.case(seed::VULNERABLE),
    ];
    let inventory = written(&site, &cases).await;
    let imported = site.restarted_patiently(&inventory);
    assert_eq!((imported.answers, imported.refused.len()), (inventory.answers(), 0), "{imported:?}");
    site.hold();
    site.demo.fra.down().await;
    let judged = ends("somebody waits", async {
        let mut judged = Vec::new();
        for case in &cases {
            judged.push(site.judged(case).await);
        }
        judged
    });
    let local = "Local(ams) []";
    let expected = [local, local, local, local, "Accepted(ams) [Vulnerable]"];
    assert_eq!(judged.await, expected);
}

#[tokio::test]
async fn a_digest_is_asked_again_behind_and_counts_by_itself_for_minutes_only() {
    let mut site = Site::new(Given::default()).await;
    let case = site.pinned(seed::PRESENT);
    let inventory = written(&site, std::slice::from_ref(&case)).await;
    site.restarted_patiently(&inventory);
    site.hold();
    // All random moments are over, and no time after them.
    later(10 * MINUTE).await;
    assert_eq!(ends("it is told at once", site.judged(&case)).await, "Local(ams) []");
    until("it is looked up behind", || !site.demo.ams.log().is_empty()).await;
    later(10 * MINUTE).await;
    let waits = tokio::time::timeout(SECOND / 2, site.judge(&case)).await;
    assert!(waits.is_err(), "twenty minutes after the start it is an answer like any other");
}

#[tokio::test]
async fn it_is_not_asked_again_at_once() {
    let mut site = Site::new(Given::default()).await;
    let cases: Vec<Case> = (0..40)
        .map(|n| {
            let repository = format!("production/shop/spread-{n}");
            let digest = site.demo.ams.store().push(&repository, "1.0", &Content::image(&repository));
            site.demo.ams.store().set_scan(&digest, Scan::clean());
            site.case_for(&format!("harbor.fra.example.com/{repository}@{digest}"))
        })
        .collect();
    let inventory = written(&site, &cases).await;
    site.restarted_patiently(&inventory);
    let asked = async |site: &Site| {
        for case in &cases {
            assert_eq!(site.judged(case).await, "Local(ams) []");
        }
        site.metrics().sum(name::BACKGROUND_LOOKUPS, &[("registry", "ams"), ("task", "Renewal")])
    };
    let at_first = asked(&site).await;
    assert!(at_first <= 8.0, "{at_first} of 80 at once");
    later(5 * MINUTE).await;
    asked(&site).await;
    until("about half is looked up", || {
        (20.0..=60.0).contains(&site.metrics().sum(name::LOOKUPS, &[("registry", "ams")]))
    })
    .await;
}

#[tokio::test]
async fn while_the_registry_is_down_what_is_remembered_is_not_there() {
    let mut site = Site::new(Given::default()).await;
    let (digest, tag) = (site.pinned(seed::PRESENT), site.case(seed::PRESENT));
    let inventory = written(&site, &[digest.clone(), tag.clone()]).await;
    site.restarted(site.settings.clone(), &inventory).unwrap();
    site.demo.ams.down().await;
    let show = || {};
    tokio::select! {
        () = site.observatory.watch(show) => {}
        () = until("a probe finds it down", || {
            site.observatory.health().iter().any(|report| report.health.is_down())
        }) => {}
    }
    for case in [&digest, &tag] {
        assert_eq!(site.judged(case).await, "Fallback(fra) [Unreachable]");
    }
}

#[tokio::test]
async fn a_tag_is_looked_up_at_once_and_told_meanwhile_for_the_first_minutes() {
    let mut site = Site::new(Given::default()).await;
    let case = site.case(seed::PRESENT);
    let inventory = written(&site, std::slice::from_ref(&case)).await;
    // It moves after the sweep.
    let before = site.ams_digest(seed::PRESENT);
    let moved = Content::image("moved after the sweep");
    let after = site.demo.ams.store().push(seed::PRESENT.repository, seed::PRESENT.tag, &moved);
    site.demo.ams.store().set_scan(&after, Scan::clean());
    site.demo.fra.store().push(seed::PRESENT.repository, seed::PRESENT.tag, &moved);
    site.restarted(site.settings.clone(), &inventory).unwrap();
    let pinned = async |site: &Site| {
        let verdict = site.judge(&case).await.verdict;
        format!("{verdict:?}").contains(&after.to_string())
    };
    assert_ne!(before, after);
    assert!(!pinned(&site).await, "the first Pod gets what the cluster ran");
    until("it is looked up at once", || manifests(&site.demo.ams) >= 1).await;
    until("its answer is there", || {
        site.metrics().sum(name::LOOKUPS, &[("registry", "ams"), ("aspect", "Presence")]) >= 1.0
    })
    .await;
    tokio::task::yield_now().await;
    assert!(pinned(&site).await, "whoever comes later gets what it is now");

    // Beyond the first minutes it is an old tag like any other, and whoever names it waits.
    site.restarted_patiently(&inventory);
    site.hold();
    later(6 * MINUTE).await;
    assert!(tokio::time::timeout(SECOND / 2, site.judge(&case)).await.is_err());
    // So it is if it was looked up hours before.
    let mut old = inventory.clone();
    old.written -= jiff::SignedDuration::from_hours(2);
    site.restarted_patiently(&old);
    assert!(tokio::time::timeout(SECOND / 2, site.judge(&case)).await.is_err());
}

#[tokio::test]
async fn a_tag_survives_a_look_up_that_ends_without_an_answer() {
    let given = Given { budget: "{request: 10s, attempt: 100ms, inFlight: 16}", ..Given::default() };
    let mut site = Site::new(given).await;
    let case = site.case(seed::PRESENT);
    let inventory = written(&site, std::slice::from_ref(&case)).await;
    site.restarted(site.settings.clone(), &inventory).unwrap();
    site.hold();
    assert_eq!(site.judged(&case).await, "Local(ams) []");
    until("the look-up ends", || {
        site.metrics().sum(name::LOOKUPS, &[("registry", "ams"), ("outcome", "Deadline")]) >= 1.0
    })
    .await;
    tokio::task::yield_now().await;
    assert_eq!(site.judged(&case).await, "Local(ams) []");
    later(6 * MINUTE).await;
    assert_ne!(site.judged(&case).await, "Local(ams) []", "the first minutes are over");
}

#[tokio::test]
async fn a_required_proof_is_the_remembered_meaning_and_nothing_less() {
    let given = Given { route: "    tagProof: Required", ..Given::default() };
    let mut site = Site::new(given).await;
    let (case, moved) = (site.case(seed::PRESENT), site.case(seed::MOVED));
    let inventory = written(&site, &[case.clone(), moved.clone()]).await;
    site.demo.fra.down().await;
    site.restarted(site.settings.clone(), &inventory).unwrap();
    assert_eq!(site.judged(&case).await, "Local(ams) []");
    assert!(site.judged(&moved).await.ends_with(" [Stale]"));
    // An inventory without it.
    let mut without = inventory.clone();
    without.repositories.retain(|held| held.at != fra(&inventory));
    site.restarted(site.settings.clone(), &without).unwrap();
    assert!(site.judged(&case).await.ends_with(" [Unproved]"));
}

fn fra(inventory: &Inventory) -> u32 {
    let at = inventory.registries.iter().position(|registry| registry.name == "fra").unwrap();
    u32::try_from(at).unwrap()
}

#[tokio::test]
async fn what_ends_an_answer_ends_an_imported_one() {
    let mut site = Site::new(Given::default()).await;
    let case = site.pinned(seed::PRESENT);
    let inventory = written(&site, std::slice::from_ref(&case)).await;
    let digest = site.ams_digest(seed::PRESENT);
    for scope in [Scope::Registry, Scope::Digest(digest)] {
        site.restarted_patiently(&inventory);
        site.hold();
        site.observatory.invalidate(&RegistryName::new("ams"), scope);
        let waits = tokio::time::timeout(SECOND / 2, site.judge(&case)).await;
        assert!(waits.is_err(), "it was told all the same");
        site.demo.ams.faults().clear();
    }
    // Another answer: it is gone.
    site.restarted(site.settings.clone(), &inventory).unwrap();
    site.demo.ams.store().delete(seed::PRESENT.repository, &digest);
    later(10 * MINUTE).await;
    site.judge(&case).await;
    until("it is looked up behind", || {
        site.metrics().sum(name::LOOKUPS, &[("registry", "ams"), ("outcome", "Absent")]) >= 1.0
    })
    .await;
    tokio::task::yield_now().await;
    assert_eq!(site.judged(&case).await, "Fallback(fra) [Missing]");
}

#[tokio::test]
async fn what_this_process_learned_stays() {
    let mut site = Site::new(Given::default()).await;
    let case = site.pinned(seed::PRESENT);
    let inventory = written(&site, std::slice::from_ref(&case)).await;
    let digest = site.ams_digest(seed::PRESENT);
    site.demo.ams.store().delete(seed::PRESENT.repository, &digest);
    let mut nothing = inventory.clone();
    nothing.keep_first(0);
    site.restarted(site.settings.clone(), &nothing).unwrap();
    assert_eq!(site.judged(&case).await, "Fallback(fra) [Missing]");
    for reading in [Reading::Start, Reading::Later] {
        let imported = site.observatory.import(&inventory, reading, Timestamp::now()).unwrap();
        assert!(imported.refused.contains_key(&Refusal::Known), "{imported:?}");
        assert_eq!(site.judged(&case).await, "Fallback(fra) [Missing]");
    }
}

#[tokio::test]
async fn a_running_replica_takes_answers_as_if_it_had_asked_then() {
    let mut site = Site::new(Given::default()).await;
    let case = site.pinned(seed::PRESENT);
    let inventory = written(&site, std::slice::from_ref(&case)).await;
    let mut nothing = inventory.clone();
    nothing.keep_first(0);
    let reread = |site: &mut Site, age: i64| {
        site.restarted_patiently(&nothing);
        let mut inventory = inventory.clone();
        inventory.written -= jiff::SignedDuration::from_mins(age);
        site.observatory.import(&inventory, Reading::Later, Timestamp::now()).unwrap()
    };
    site.hold();
    assert_eq!(reread(&mut site, 3).answers, inventory.answers());
    assert_eq!(ends("it is three minutes old", site.judged(&case)).await, "Local(ams) []");
    reread(&mut site, 11);
    let waits = tokio::time::timeout(SECOND / 2, site.judge(&case)).await;
    assert!(waits.is_err(), "after ten minutes it is asked and waited for");
}

#[tokio::test]
async fn another_site_registry_or_time_is_not_used_and_said() {
    let mut site = Site::new(Given::default()).await;
    let case = site.pinned(seed::PRESENT);
    let inventory = written(&site, std::slice::from_ref(&case)).await;
    let settings = site.settings.clone();

    let other = Settings { site: SiteName::new("fra"), ..settings.clone() };
    let refused = site.restarted(other, &inventory);
    assert_eq!(refused, Err(Unusable::OtherSite { found: "ams".to_owned() }));

    let mut old = inventory.clone();
    old.written -= jiff::SignedDuration::from_hours(25);
    assert_eq!(site.restarted(settings.clone(), &old), Err(Unusable::TooOld { hours: 25 }));
    let mut ahead = inventory.clone();
    ahead.written += jiff::SignedDuration::from_mins(10);
    let refused = site.restarted(settings.clone(), &ahead);
    assert!(matches!(refused, Err(Unusable::FromFuture { .. })), "{refused:?}");
    // Clocks are never quite the same.
    ahead.written = inventory.written + jiff::SignedDuration::from_mins(2);
    assert_eq!(site.restarted(settings.clone(), &ahead).unwrap().answers, inventory.answers());

    // One answer alone is too old.
    let mut aged = inventory.clone();
    aged.repositories[0].answers[0].0 = 25 * 3600;
    let imported = site.restarted(settings.clone(), &aged).unwrap();
    assert_eq!(imported.refused.get(&Refusal::TooOld), Some(&1), "{imported:?}");

    // It names what it does not have.
    let mut torn = inventory.clone();
    torn.digests.clear();
    assert!(only(&site.restarted(settings.clone(), &torn).unwrap(), Refusal::Malformed));
    torn.registries.clear();
    assert!(only(&site.restarted(settings.clone(), &torn).unwrap(), Refusal::Malformed));

    let mut renamed = inventory.clone();
    renamed.registries.iter_mut().for_each(|registry| registry.name += "-2");
    assert!(only(&site.restarted(settings.clone(), &renamed).unwrap(), Refusal::NotConfigured));
    // The cache has no room.
    let mut small = settings.clone();
    small.cache.entries = 0;
    assert!(only(&site.restarted(small, &inventory).unwrap(), Refusal::Full));
}

#[tokio::test]
async fn a_registry_that_is_configured_otherwise_is_another_one() {
    let mut site = Site::new(Given::default()).await;
    let case = site.pinned(seed::PRESENT);
    let inventory = written(&site, std::slice::from_ref(&case)).await;
    let settings = site.settings.clone();
    type Change = fn(&mut landfall::facade::domain::registry::Registry);
    let changes: [(&str, Change); 5] = [
        ("url", |ams| ams.url.set_path("/elsewhere")),
        ("host", |ams| ams.host = "harbor.ams.example.org".into()),
        ("site", |ams| ams.site = SiteName::new("fra")),
        ("credentials", |ams| {
            ams.credentials = landfall::facade::domain::registry::CredentialSource::Anonymous;
        }),
        ("kind", |ams| ams.kind = landfall::facade::domain::registry::Kind::Distribution),
    ];
    for (what, change) in changes {
        let mut changed = settings.clone();
        let ams = changed.registries.get_mut(&RegistryName::new("ams")).unwrap();
        change(std::sync::Arc::make_mut(ams));
        let imported = site.restarted(changed, &inventory).unwrap();
        assert!(only(&imported, Refusal::ConfiguredOtherwise), "{what}: {imported:?}");
    }
}
