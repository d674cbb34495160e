//! Single flight, the queue, and deadlines.

use std::time::Duration;

use futures::future::join_all;
use landfall::facade::demo::world::content::{Content, Flavour};
use landfall::facade::demo::world::faults::{Fault, Scope};
use landfall::facade::demo::world::seed;
use landfall::facade::demo::world::{PathClass, Scan};
use landfall::facade::domain::finding::FindingKind;

use super::site::{Given, Site, asked, manifests, shown, soon};
use super::support::metrics::name;
use super::support::wait::{ends, until};

#[tokio::test]
async fn a_hundred_who_ask_at_once_ask_once() {
    let site = Site::new(Given::default()).await;
    site.demo.ams.faults().add(Scope::Everything, Fault::Delay(Duration::from_millis(50)));
    let case = site.case(seed::MULTI_ARCH);
    let judgements = join_all((0..100).map(|_| site.judge(&case))).await;
    assert!(judgements.iter().all(|one| shown(&case, &one.verdict) == "Local(ams) []"));
    // The tag, the index and both children; nothing twice but the index, whose body is another question.
    let asked = asked(&site.demo.ams, PathClass::Manifests);
    assert_eq!(asked.len(), 4, "{asked:?}");
    assert_eq!(asked.values().sum::<usize>(), 5, "{asked:?}");
    assert_eq!(site.metric(name::COALESCED, &[("aspect", "Presence")]), Some(396.0));
}

/// What does not depend on each other is asked at once: the longest chain of a cold image is as short as it can be.
#[tokio::test]
async fn each_answer_is_waited_for_once() {
    let site = Site::new(Given { route: "    tagProof: Required", ..Given::default() }).await;
    // The tag here and at the primary; the index, and the digest by itself; its children, and their scans.
    assert_eq!(site.judge(&site.case(seed::MULTI_ARCH)).await.rounds, 3);
    // The tag here and at the primary; the digest by itself, and its scan.
    assert_eq!(site.judge(&site.case(seed::PRESENT)).await.rounds, 2);
    // The digest; its scan.
    let digest = site.demo.ams.store().push("production/many", "1", &Content::image("new"));
    site.demo.ams.store().set_scan(&digest, Scan::clean());
    let pinned = site.case_for(&format!("harbor.fra.example.com/production/many@{digest}"));
    assert_eq!(site.judge(&pinned).await.rounds, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn and_so_they_do_on_many_threads() {
    let site = std::sync::Arc::new(Site::new(Given::default()).await);
    let case = std::sync::Arc::new(site.case(seed::PRESENT));
    let tasks = (0..100).map(|_| {
        let (site, case) = (site.clone(), case.clone());
        tokio::spawn(async move { site.judged(&case).await })
    });
    assert!(join_all(tasks).await.into_iter().all(|shown| shown.unwrap() == "Local(ams) []"));
    assert_eq!(manifests(&site.demo.ams), 2, "by tag, and by digest");
}

#[tokio::test]
async fn a_look_up_survives_its_caller_and_fills_the_memory() {
    let site = Site::patient(Given::default()).await;
    let case = site.case(seed::PRESENT);
    site.demo.ams.freeze().await;
    for _ in 0..3 {
        let judged = site.observatory.judge(&case, soon(Duration::from_millis(100)));
        let late = ends("the caller's deadline", judged).await;
        assert_eq!(shown(&case, &late.verdict), "Fallback(fra) [Deadline]");
    }
    site.demo.ams.up().await;
    assert_eq!(site.judged(&case).await, "Local(ams) []");
    assert_eq!(manifests(&site.demo.ams), 2, "by tag, and by digest");
}

#[tokio::test]
async fn an_attempt_ends_though_its_caller_would_wait() {
    let budget = "{request: 10s, attempt: 100ms, inFlight: 16}";
    let site = Site::new(Given { budget, ..Given::default() }).await;
    site.demo.ams.freeze().await;
    let judgement = ends("the attempt", site.judge(&site.case(seed::PRESENT))).await;
    assert_eq!(judgement.verdict.findings.first().unwrap().kind, FindingKind::Deadline);
}

#[tokio::test]
async fn after_the_deadline_nobody_is_asked() {
    let site = Site::new(Given::default()).await;
    let known = site.case(seed::PRESENT);
    site.judge(&known).await;
    site.demo.ams.clear_log();
    let past = soon(Duration::ZERO);
    let verdict = site.observatory.judge(&known, past).await.verdict;
    assert_eq!(shown(&known, &verdict), "Local(ams) []", "what is remembered needs no time");
    let unknown = site.case(seed::MULTI_ARCH);
    let verdict = site.observatory.judge(&unknown, past).await.verdict;
    assert_eq!(shown(&unknown, &verdict), "Fallback(fra) [Deadline]");
    assert!(site.demo.ams.log().is_empty());
}

#[tokio::test]
async fn no_more_than_in_flight_are_asked_at_once_and_waiting_is_no_attempt() {
    // Forty images, four at a time, 60 ms each: the last waits three times as long as an attempt may take.
    let budget = "{request: 30s, attempt: 300ms, inFlight: 4}";
    let site = Site::new(Given { budget, defaults: "{scan: {required: Never}}", ..Given::default() }).await;
    let tags: Vec<String> = (0..40).map(|n| format!("v{n}")).collect();
    for tag in &tags {
        site.demo.ams.store().push("production/many", tag, &Content::image(tag));
    }
    // The project and the connection are known before it counts.
    site.judge(&site.case(seed::PRESENT)).await;
    site.demo.ams.clear_log();
    let class = Scope::Only(PathClass::Manifests);
    site.demo.ams.faults().add(class, Fault::Delay(Duration::from_millis(60)));
    let cases: Vec<_> = tags
        .iter()
        .map(|tag| site.case_for(&format!("harbor.fra.example.com/production/many:{tag}")))
        .collect();
    let judgements = join_all(cases.iter().map(|case| site.judge(case))).await;
    for (case, judgement) in cases.iter().zip(&judgements) {
        assert_eq!(shown(case, &judgement.verdict), "Local(ams) []");
    }
    assert_eq!(manifests(&site.demo.ams), 80, "each by tag, and by digest");
    assert_eq!(site.demo.ams.peak_in_flight(), 4);
}

#[tokio::test]
async fn an_index_of_a_thousand_children_is_not_asked_for_one_by_one() {
    let site = Site::new(Given { defaults: "{scan: {required: Never}}", ..Given::default() }).await;
    for (children, shows) in [(64, "Local(ams) []"), (65, "Fallback(fra) [Unreachable]")] {
        let platforms: Vec<String> = (0..children).map(|n| format!("linux/amd64/v{n}")).collect();
        let platforms: Vec<&str> = platforms.iter().map(String::as_str).collect();
        let tag = format!("of{children}");
        let index = Content::index(&tag, Flavour::Oci, &platforms);
        let digest = site.demo.ams.store().push("production/many", &tag, &index);
        site.demo.ams.clear_log();
        let case = site.case_for(&format!("harbor.fra.example.com/production/many@{digest}"));
        let judgement = site.judge(&case).await;
        assert_eq!(shown(&case, &judgement.verdict), shows);
        if children > 64 {
            let found = &judgement.verdict.findings.first().unwrap().detail;
            assert!(found.contains("65 images") && found.contains("no more than 64"), "{found}");
            // The index, its headers and its body.
            assert_eq!(manifests(&site.demo.ams), 2);
        }
    }
}

#[tokio::test]
async fn closing_ends_what_is_under_way() {
    let site = Site::patient(Given::default()).await;
    site.demo.ams.freeze().await;
    let case = site.case(seed::PRESENT);
    let closed = async {
        until("a look-up is under way", || site.metrics().sum(name::QUEUE_WAITS, &[]) > 0.0).await;
        site.observatory.close().await;
    };
    let (judgement, ()) = ends("closing", async { tokio::join!(site.judge(&case), closed) }).await;
    assert_eq!(shown(&case, &judgement.verdict), "Fallback(fra) [Deadline]");
}
