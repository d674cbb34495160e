//! The life of answers beyond their time: remembered behind slowness, looked up ahead, ended by other credentials.

use std::time::Duration;

use landfall::facade::demo::world::faults::{Fault, Scope as Paths};
use landfall::facade::demo::world::seed::{self, Named};
use landfall::facade::demo::world::{PathClass, Scan};
use landfall::facade::domain::case::Case;
use landfall::facade::domain::evidence::{Observation, Presence, Query};
use landfall::facade::domain::unknown::Cause;
use reqwest::StatusCode;

use super::site::{Given, Site, asked, learned, manifests, settings, shown, soon};
use super::support::metrics::name;
use super::support::wait::{later, until};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

const SLOW: Fault = Fault::Status(StatusCode::TOO_MANY_REQUESTS);

#[tokio::test]
async fn a_digest_that_was_here_counts_while_the_registry_is_slow() {
    let budget = "{request: 10s, attempt: 150ms, inFlight: 16}";
    let site = Site::new(Given { budget, ..Given::default() }).await;
    let case = site.pinned(seed::MULTI_ARCH);
    assert_eq!(site.judged(&case).await, "Local(ams) []");
    later(HOUR).await;
    // It accepts and says nothing: the index, both children and their scans are all as they were.
    site.demo.ams.freeze().await;
    let judgement = site.judge(&case).await;
    assert_eq!(shown(&case, &judgement.verdict), "Local(ams) []");
    let ages: Vec<_> = judgement
        .evidence
        .iter()
        .filter(|(query, ..)| matches!(query, Query::Presence(..)))
        .map(|(_, _, age)| age)
        .collect();
    assert!(ages.len() == 3 && ages.iter().all(|age| *age >= HOUR), "{ages:?}");
    // Who has no time at all is told the same.
    later(HOUR).await;
    let late = site.observatory.judge(&case, soon(Duration::ZERO)).await;
    assert_eq!(shown(&case, &late.verdict), "Local(ams) []");
    // But not for ever.
    later(23 * HOUR).await;
    assert_eq!(site.judged(&case).await, "Fallback(fra) [Deadline]");
}

#[tokio::test]
async fn and_not_while_it_is_down_or_says_otherwise() {
    let site = Site::new(Given { defaults: "{scan: {required: Never}}", ..Given::default() }).await;
    let case = site.pinned(seed::PRESENT);
    assert_eq!(site.judged(&case).await, "Local(ams) []");
    later(HOUR).await;
    site.demo.ams.down().await;
    assert_eq!(site.judged(&case).await, "Fallback(fra) [Unreachable]");
    // It is back, and slow.
    site.demo.ams.up().await;
    site.demo.ams.faults().add(Paths::Everything, SLOW);
    later(20 * SECOND).await;
    assert_eq!(site.judged(&case).await, "Local(ams) []");
    // It says no, and is slow again.
    let digest = site.demo.ams.store().digest(seed::PRESENT.repository, seed::PRESENT.tag).unwrap();
    site.demo.ams.store().delete(seed::PRESENT.repository, &digest);
    site.demo.ams.faults().clear();
    later(20 * SECOND).await;
    assert_eq!(site.judged(&case).await, "Fallback(fra) [Missing]");
    site.demo.ams.faults().add(Paths::Everything, SLOW);
    later(20 * SECOND).await;
    assert_eq!(site.judged(&case).await, "Fallback(fra) [RateLimited]");
}

#[tokio::test]
async fn another_digest_ends_the_memory() {
    let site = Site::new(Given { defaults: "{scan: {required: Never}}", ..Given::default() }).await;
    let case = site.pinned(seed::PRESENT);
    assert_eq!(site.judged(&case).await, "Local(ams) []");
    for fault in [Fault::WrongDigest, SLOW] {
        later(HOUR).await;
        site.demo.ams.faults().clear();
        site.demo.ams.faults().add(Paths::Everything, fault);
        assert!(site.judged(&case).await.starts_with("Fallback(fra)"));
    }
}

#[tokio::test]
async fn a_bad_scan_stays_bad_for_days_until_a_newer_one() {
    let site = Site::new(Given::default()).await;
    let case = site.pinned(seed::VULNERABLE);
    assert_eq!(site.judged(&case).await, "Accepted(ams) [Vulnerable]");
    let digest = site.demo.ams.store().digest(seed::VULNERABLE.repository, seed::VULNERABLE.tag).unwrap();
    site.demo.ams.store().set_scan(&digest, Scan::Running(jiff::Timestamp::now()));
    for _ in 0..3 {
        later(30 * HOUR).await;
        assert_eq!(site.judged(&case).await, "Accepted(ams) [Vulnerable]");
    }
    site.demo.ams.store().set_scan(&digest, Scan::clean());
    later(10 * SECOND).await;
    assert_eq!(site.judged(&case).await, "Local(ams) []");
}

#[tokio::test]
async fn what_is_asked_for_often_never_keeps_a_pod_waiting() {
    let site = Site::new(Given { defaults: "{scan: {required: Never}}", ..Given::default() }).await;
    let (hot, cold) = (site.pinned(seed::PRESENT), site.pinned(seed::VULNERABLE));
    site.judged(&hot).await;
    site.judged(&cold).await;
    let renewals = || site.metrics().sum(name::BACKGROUND_LOOKUPS, &[("task", "Renewal")]);
    let lookups = |outcome: &str| {
        let labels = [("registry", "ams"), ("aspect", "Presence"), ("outcome", outcome)];
        site.metric(name::LOOKUPS, &labels).unwrap_or_default()
    };
    for round in 1..=3 {
        site.demo.ams.clear_log();
        // Nine tenths of the shortest life that ten minutes have, each tenth shortened.
        later(530 * SECOND).await;
        for _ in 0..5 {
            assert_eq!(site.judged(&hot).await, "Local(ams) []");
        }
        until("the answer is looked up again", || lookups("Answered") == f64::from(2 + round)).await;
        assert_eq!(renewals(), f64::from(round));
        let asked = asked(&site.demo.ams, PathClass::Manifests);
        assert_eq!(asked.values().sum::<usize>(), 1, "once, and the cold one not at all: {asked:?}");
    }
    // And if its time comes while the registry says nothing, the old answer stands to its end.
    site.demo.ams.faults().add(Paths::Everything, Fault::Status(StatusCode::SERVICE_UNAVAILABLE));
    later(530 * SECOND).await;
    for _ in 0..5 {
        assert_eq!(site.judged(&hot).await, "Local(ams) []");
    }
    until("the registry is asked once more", || renewals() == 4.0).await;
    until("it says nothing", || lookups("Unreachable") == 1.0).await;
    tokio::task::yield_now().await;
    assert_eq!(site.judged(&hot).await, "Local(ams) []");
    later(70 * SECOND).await;
    assert_eq!(site.judged(&hot).await, "Fallback(fra) [Unreachable]");
}

/// Five failures open the breaker, and the first four are remembered: all are asked again once it is back.
#[tokio::test]
async fn what_being_down_left_behind_ends_with_it() {
    let site = Site::new(Given { defaults: "{scan: {required: Never}}", ..Given::default() }).await;
    let pinned = [seed::PRESENT, seed::MULTI_ARCH, seed::VULNERABLE, seed::UNSCANNED, seed::SCANNING];
    let cases: Vec<Case> = pinned.into_iter().map(|named| site.pinned(named)).collect();
    site.demo.ams.down().await;
    // Twice, so that the second silence is longer than the breaker's period.
    for case in cases.iter().take(2) {
        site.judged(case).await;
    }
    later(1010 * Duration::from_millis(1)).await;
    for case in &cases {
        assert_eq!(site.judged(case).await, "Fallback(fra) [Unreachable]");
    }
    site.demo.ams.up().await;
    later(1250 * Duration::from_millis(1)).await;
    for case in &cases {
        assert_eq!(site.judged(case).await, "Local(ams) []");
    }
}

/// Nobody waits ten seconds for what a mended password would answer at once.
#[tokio::test]
async fn other_credentials_end_what_was_refused_under_the_old_ones() {
    let site = Site::new(Given { defaults: "{scan: {required: Never}}", ..Given::default() }).await;
    let landfall::facade::domain::registry::CredentialSource::Dir(dir) =
        site.demo.ams.registry("ams", "harbor.ams.example.com").credentials
    else {
        panic!("a folder")
    };
    let right = std::fs::read_to_string(dir.join("password")).unwrap();
    std::fs::write(dir.join("password"), "wrong").unwrap();
    let site = Site { observatory: reopened(&site), ..site };
    let (first, second) = (site.pinned(seed::PRESENT), site.pinned(seed::VULNERABLE));
    let cause = async |case: &Case| match learned(&site.judge(case).await.evidence, |query| {
        matches!(query, Query::Presence(..))
    })
    .0
    {
        Observation::Presence(Presence::Unknown(unknown)) => Some(unknown.cause),
        _ => None,
    };
    assert_eq!(cause(&first).await, Some(Cause::Unauthorized));
    std::fs::write(dir.join("password"), right).unwrap();
    // The files are looked at by whoever asks next, two seconds after the last look, in real time, or when refused.
    assert_eq!(cause(&second).await, None);
    assert_eq!(cause(&first).await, None);
}

/// An Observatory that begins with what the files say now.
fn reopened(site: &Site) -> landfall::facade::evidence::Observatory {
    landfall::facade::evidence::Observatory::new(
        &site.settings,
        &mut prometheus_client::registry::Registry::default(),
    )
}

#[tokio::test]
async fn shorter_lives_count_for_what_is_remembered_already() {
    let site = Site::new(Given { defaults: "{scan: {required: Never}}", ..Given::default() }).await;
    let case = site.pinned(seed::PRESENT);
    site.judged(&case).await;
    later(60 * SECOND).await;
    site.demo.ams.clear_log();
    let mut shorter =
        settings(&site.demo, Given { defaults: "{scan: {required: Never}}", ..Given::default() });
    site.observatory.adopt(&shorter);
    site.judged(&case).await;
    assert_eq!(manifests(&site.demo.ams), 0);
    shorter.cache.present = 30 * SECOND;
    shorter.cache.entries = 1;
    site.observatory.adopt(&shorter);
    site.judged(&case).await;
    assert_eq!(manifests(&site.demo.ams), 1);
    site.judged(&site.pinned(seed::VULNERABLE)).await;
    assert_eq!(site.metric(name::CACHE_ENTRIES, &[]), Some(1.0));
}

/// Whether it is a proxy cache never changes: a slow API does not take away what `/v2` holds.
#[tokio::test]
async fn a_slow_api_does_not_hide_what_the_registry_holds() {
    let budget = "{request: 10s, attempt: 300ms, inFlight: 16}";
    let defaults = "{scan: {required: Never}}";
    let site = Site::new(Given { budget, defaults, ..Given::default() }).await;
    let Named { repository, .. } = seed::PRESENT;
    assert_eq!(site.judged(&site.pinned(seed::PRESENT)).await, "Local(ams) []");
    assert_eq!(site.judged(&site.case(seed::PROXIED)).await, "Fallback(fra) [ProxyCache]");
    let project = repository.split('/').next().unwrap();
    let projects = Paths::Only(PathClass::of(&format!("/api/v2.0/projects/{project}")));
    site.demo.ams.faults().add(projects, Fault::Delay(60 * SECOND));
    later(HOUR).await;
    assert_eq!(site.judged(&site.pinned(seed::VULNERABLE)).await, "Local(ams) []");
    assert_eq!(site.judged(&site.case(seed::PROXIED)).await, "Fallback(fra) [ProxyCache]");
}
