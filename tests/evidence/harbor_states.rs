//! States of a Harbor that are no fault of it, and must not be taken for one.

use std::time::Duration;

use landfall::facade::demo::world::content::Content;
use landfall::facade::demo::world::seed;
use landfall::facade::demo::world::{
    Account, Allowlist, Embedded, Namespace, PathClass, Permission, Scan, ScannerState,
};
use landfall::facade::domain::digest::Digest;
use landfall::facade::domain::evidence::{Children, Observation, Query};
use landfall::facade::domain::scan::Severity;

use super::site::{Given, Site, asked, learned, manifests, settings, shown};
use super::support::wait::later;

/// A site with a route for this project, which has the same name at both Harbors.
fn site_with_project(demo: seed::Demo, project: &str) -> Site {
    let route = format!(
        "  - name: numbered\n    primary: {{registry: fra, repositories: \"{project}/**\"}}\n    \
         replicas: [{{registry: ams, namespace: \"{project}\", flatten: 1}}]\n"
    );
    let given = Given { route: route.leak(), ..Given::default() };
    let settings = settings(&demo, given);
    Site::over(demo, settings)
}

fn hold(at: &Embedded, repository: &str, scan: Scan) {
    let digest = at.store().push(repository, "1", &Content::image(repository));
    at.store().set_scan(&digest, scan);
}

#[tokio::test]
async fn a_project_named_by_a_number_is_not_the_project_with_that_id() {
    let demo = seed::demo().await.unwrap();
    // The project with this ID is a proxy cache, and has no allowlist.
    let project = demo.ams.store().project("cache").id.to_string();
    let repository = format!("{project}/app");
    for at in [&demo.fra, &demo.ams] {
        hold(at, &repository, Scan::found(&[("CVE-2026-7", Severity::Critical)]));
    }
    let cves = vec!["CVE-2026-7".to_owned()];
    demo.ams.store().project(&project).allowlist = Some(Allowlist { cves, expires_at: None });
    let site = site_with_project(demo, &project);
    let case = site.case_for(&format!("harbor.fra.example.com/{repository}:1"));
    assert_eq!(site.judged(&case).await, "Local(ams) []");
}

#[tokio::test]
async fn the_scanner_of_a_project_named_by_a_number_is_seen() {
    let demo = seed::demo().await.unwrap();
    for at in [&demo.fra, &demo.ams] {
        hold(at, "12345/app", Scan::NotScanned);
    }
    let site = site_with_project(demo, "12345");
    let case = site.case_for("harbor.fra.example.com/12345/app:1");
    assert_eq!(site.judged(&case).await, "Fallback(fra) [Unscanned]");
}

/// A site over this world that remembers nothing.
fn cold(demo: seed::Demo) -> Site {
    let settings = settings(&demo, Given::default());
    Site::over(demo, settings)
}

#[tokio::test]
async fn a_rescan_takes_no_good_copy_away_and_makes_no_bad_one_good() {
    let site = Site::new(Given::default()).await;
    let (good, bad) = (site.case(seed::PRESENT), site.case(seed::VULNERABLE));
    let index = site.case(seed::MULTI_ARCH);
    for case in [&good, &bad, &index] {
        site.judge(case).await;
    }
    site.demo.ams.store().scan_all();
    // Longer than an answer is fresh, and longer than one that is pending is.
    for seconds in [300, 3600] {
        later(Duration::from_secs(seconds)).await;
        assert_eq!(site.judged(&good).await, "Local(ams) []", "{seconds}");
        assert_eq!(site.judged(&index).await, "Local(ams) []", "{seconds}");
        assert_eq!(site.judged(&bad).await, "Accepted(ams) [Vulnerable]", "{seconds}");
    }
    site.demo.ams.store().finish_scan_all();
    later(Duration::from_secs(10)).await;
    assert_eq!(site.judged(&good).await, "Local(ams) []");
    assert_eq!(site.judged(&bad).await, "Accepted(ams) [Vulnerable]");
}

/// A rescan that somebody starts for one image removes its report at once (recorded), but not what we remember.
#[tokio::test]
async fn a_rescan_without_a_stored_report_does_not_either() {
    let site = Site::new(Given::default()).await;
    let case = site.case(seed::PRESENT);
    site.judge(&case).await;
    set_scan(&site, seed::PRESENT, Scan::Pending);
    later(Duration::from_secs(300)).await;
    assert_eq!(site.judged(&case).await, "Local(ams) []");
    // Only the report could tell, and it is gone.
    let cold = cold(site.demo);
    assert_eq!(cold.judged(&cold.case(seed::PRESENT)).await, "Fallback(fra) [ScanPending]");
}

#[tokio::test]
async fn a_cold_start_in_the_middle_of_a_rescan_reads_the_stored_reports() {
    let demo = seed::demo().await.unwrap();
    demo.ams.store().scan_all();
    let site = cold(demo);
    assert_eq!(site.judged(&site.case(seed::PRESENT)).await, "Local(ams) []");
    assert_eq!(site.judged(&site.case(seed::MULTI_ARCH)).await, "Local(ams) []");
    assert_eq!(site.judged(&site.case(seed::VULNERABLE)).await, "Accepted(ams) [Vulnerable]");
    // Never scanned before, so there is no report.
    assert_eq!(site.judged(&site.case(seed::UNSCANNED)).await, "Fallback(fra) [ScanPending]");

    // Where the robot may not read reports, the scan is under way, and that is all.
    let permissions: Vec<_> =
        Permission::ALL.into_iter().filter(|one| *one != Permission::AdditionRead).collect();
    site.demo.ams.store().add_account(Account::robot("landfall", Namespace::All, &permissions));
    let site = cold(site.demo);
    assert_eq!(site.judged(&site.case(seed::PRESENT)).await, "Fallback(fra) [ScanPending]");
}

/// A scan under way replaces neither a failed one nor "never scanned": what was found before those does not count.
#[tokio::test]
async fn what_was_not_good_before_a_rescan_is_not_good_in_it() {
    for worse in [Scan::NotScanned, Scan::Error(jiff::Timestamp::now())] {
        let site = Site::new(Given::default()).await;
        let (good, bad) = (site.case(seed::PRESENT), site.case(seed::VULNERABLE));
        for scan in [None, Some(worse.clone()), Some(Scan::Pending)] {
            if let Some(scan) = scan {
                set_scan(&site, seed::PRESENT, scan.clone());
                set_scan(&site, seed::VULNERABLE, scan);
            }
            later(Duration::from_secs(300)).await;
            site.judge(&good).await;
            site.judge(&bad).await;
        }
        assert_eq!(site.judged(&good).await, "Fallback(fra) [ScanPending]", "{worse:?}");
        assert_eq!(site.judged(&bad).await, "Fallback(fra) [ScanPending, Vulnerable]", "{worse:?}");
    }
}

/// No report is read where nothing is pending.
#[tokio::test]
async fn an_image_that_is_not_scanned_again_costs_no_more() {
    let site = Site::new(Given::default()).await;
    site.judge(&site.case(seed::PRESENT)).await;
    site.judge(&site.case(seed::UNSCANNED)).await;
    let reports = asked(&site.demo.ams, PathClass::Api);
    assert!(!reports.keys().any(|path| path.contains("/additions/")), "{reports:?}");
}

fn set_scan(site: &Site, named: seed::Named, scan: Scan) {
    let digest = site.demo.ams.store().digest(named.repository, named.tag).unwrap();
    site.demo.ams.store().set_scan(&digest, scan);
}

#[tokio::test]
async fn what_was_deleted_here_is_missing_as_soon_as_the_api_says_so() {
    let site = Site::new(Given::default()).await;
    let case = site.pinned(seed::PRESENT);
    assert_eq!(site.judged(&case).await, "Local(ams) []");
    let digest = site.demo.ams.store().digest(seed::PRESENT.repository, seed::PRESENT.tag).unwrap();
    site.demo.ams.store().delete(seed::PRESENT.repository, &digest);
    // Its scan is asked for again; that it is present would be fresh for five more minutes.
    later(Duration::from_secs(300)).await;
    assert_eq!(site.judged(&case).await, "Fallback(fra) [Missing]");
    site.demo.ams.clear_log();
    assert_eq!(site.judged(&case).await, "Fallback(fra) [Missing]");
    assert_eq!(manifests(&site.demo.ams), 1, "it was asked for again, because it is not present any more");

    site.demo.ams.store().push(seed::PRESENT.repository, seed::PRESENT.tag, &seed::present());
    later(Duration::from_secs(10)).await;
    assert_eq!(site.judged(&case).await, "Local(ams) []");
}

#[tokio::test]
async fn a_child_that_was_deleted_here_is_missing_too() {
    let site = Site::new(Given::default()).await;
    let case = site.pinned(seed::MULTI_ARCH);
    assert_eq!(site.judged(&case).await, "Local(ams) []");
    let Observation::Children(Children::Listed(children)) =
        learned(&site.judge(&case).await.evidence, |query| matches!(query, Query::Children(..))).0
    else {
        panic!("no children")
    };
    site.demo.ams.store().delete(seed::MULTI_ARCH.repository, &children.first().unwrap().digest);
    later(Duration::from_secs(300)).await;
    assert_eq!(site.judged(&case).await, "Fallback(fra) [ChildMissing]");
    assert_eq!(site.judged(&case).await, "Fallback(fra) [ChildMissing]");
}

#[tokio::test]
async fn a_project_that_is_gone_or_closed_is_told_apart() {
    let site = Site::new(Given::default()).await;
    let case = site.pinned(seed::PRESENT);
    site.judge(&case).await;
    // Our robot lost its permissions there: nothing was deleted.
    site.demo.ams.store().add_account(Account::robot("landfall", Namespace::All, &[Permission::Pull]));
    later(Duration::from_secs(300)).await;
    site.demo.ams.clear_log();
    assert_eq!(site.judged(&case).await, "Local(ams) []");
    assert_eq!(manifests(&site.demo.ams), 0, "it counts as present");

    // The project is gone, and everything in it.
    site.demo.ams.store().remove_project("production");
    later(Duration::from_secs(300)).await;
    assert_eq!(site.judged(&case).await, "Fallback(fra) [Missing]");
}

const MODEL: &str = "application/vnd.cncf.model.config.v1+json";
const CHART: &str = "application/vnd.cncf.helm.config.v1+json";
const EMPTY: &str = "application/vnd.oci.empty.v1+json";

/// A site whose Harbors hold artifacts that no scanner can scan, and the names of these.
async fn with_unscannable(defaults: &'static str) -> (Site, Vec<String>) {
    let demo = seed::demo().await.unwrap();
    let mut names = Vec::new();
    for (name, config) in [("model", MODEL), ("chart", CHART), ("files", EMPTY)] {
        let repository = format!("production/ai/{name}");
        for at in [&demo.fra, &demo.ams] {
            at.store().push(&repository, "1", &Content::artifact(name, config));
        }
        names.push(format!("harbor.fra.example.com/{repository}:1"));
    }
    let settings = settings(&demo, Given { defaults, ..Given::default() });
    (Site::over(demo, settings), names)
}

#[tokio::test]
async fn what_no_scanner_can_scan_is_not_unscanned() {
    for (defaults, expected) in [
        ("{}", "Accepted(ams) [Unscannable]"),
        ("{onUnscanned: Block}", "Accepted(ams) [Unscannable]"),
        ("{onUnscanned: Block, scan: {required: Always}}", "Deny [Unscannable]"),
        (
            "{onUnscanned: Block, onUnscannable: Accept, scan: {required: Always}}",
            "Accepted(ams) [Unscannable]",
        ),
        ("{onUnscannable: Fallback}", "Fallback(fra) [Unscannable]"),
        ("{scan: {required: Never}}", "Local(ams) []"),
    ] {
        let (site, names) = with_unscannable(defaults).await;
        for name in names {
            assert_eq!(site.judged(&site.case_for(&name)).await, expected, "{name}, {defaults}");
        }
    }
    // An image that was never scanned stays what it is.
    let (site, _) = with_unscannable("{onUnscannable: Accept}").await;
    assert_eq!(site.judged(&site.case(seed::UNSCANNED)).await, "Fallback(fra) [Unscanned]");
}

#[tokio::test]
async fn what_cannot_be_scanned_does_not_become_scannable_while_the_scanner_is_down() {
    let (site, names) = with_unscannable("{}").await;
    let case = site.case_for(names.first().unwrap());
    assert_eq!(site.judged(&case).await, "Accepted(ams) [Unscannable]");
    site.demo.ams.store().scanner = ScannerState::Unhealthy;
    later(Duration::from_secs(300)).await;
    assert_eq!(site.judged(&case).await, "Accepted(ams) [Unscannable]");
    assert_eq!(site.judged(&site.case(seed::UNSCANNED)).await, "Fallback(fra) [ScannerDown]");
    site.demo.ams.store().scan_all();
    later(Duration::from_secs(300)).await;
    assert_eq!(site.judged(&case).await, "Accepted(ams) [Unscannable]");
}

#[tokio::test]
async fn an_exception_of_the_defaults_lifts_its_findings_until_its_date() {
    let exception = |until: &str| {
        format!(
            "{{onMissing: Block, onUnscanned: Block, exceptions: [{{images: [\"harbor.fra.example.com/production/shop/{{search,checkout}}\"], \
             findings: [Unscanned, Missing], until: \"{until}\", reason: t}}]}}"
        )
    };
    for (until, unscanned, missing) in [
        ("2999-01-01T00:00:00Z", "Accepted(ams) [Unscanned]", "Fallback(fra) [Missing]"),
        ("2020-01-01T00:00:00Z", "Deny [Unscanned]", "Deny [Missing]"),
    ] {
        let site = Site::new(Given { defaults: exception(until).leak(), ..Given::default() }).await;
        assert_eq!(site.judged(&site.case(seed::UNSCANNED)).await, unscanned);
        assert_eq!(site.judged(&site.case(seed::MISSING)).await, missing);
        assert_eq!(site.judged(&site.case(seed::SCAN_FAILED)).await, "Deny [ScanFailed]");
    }
}

/// A site with this replica of `vendor/**`; Frankfurt holds `vendor/kit:1`.
async fn vendor(replica: &str, policy: &str) -> (Site, Digest) {
    let demo = seed::demo().await.unwrap();
    let digest = demo.fra.store().push("vendor/kit", "1", &Content::image("vendor kit"));
    demo.fra.store().set_scan(&digest, Scan::clean());
    let route = format!(
        "  - name: vendor\n    primary: {{registry: fra, repositories: \"vendor/**\"}}\n    replicas: [{{{replica}}}]\n"
    );
    let given = Given { route: route.leak(), defaults: policy.to_owned().leak(), ..Given::default() };
    let settings = settings(&demo, given);
    (Site::over(demo, settings), digest)
}

const KIT: &str = "harbor.fra.example.com/vendor/kit:1";

/// The verdict, and the digest that would be written.
async fn judged_and_pinned(site: &Site, image: &str) -> (String, Option<Digest>) {
    let case = site.case_for(image);
    let verdict = site.judge(&case).await.verdict;
    (shown(&case, &verdict), verdict.ruling.used_copy().1)
}

#[tokio::test]
async fn a_declared_proxy_cache_is_used_though_nothing_was_scanned_there() {
    let (site, digest) = vendor("registry: ams, namespace: cache, flatten: 0, proxy: true", "{}").await;
    let used = judged_and_pinned(&site, KIT).await;
    // By its digest it is answered, too: the upstream has it.
    assert_eq!(used, ("Accepted(ams) [ProxyCache]".to_owned(), Some(digest)));
    // Somebody pulled it, and nothing scanned it.
    site.demo.ams.store().push("cache/vendor/kit", "1", &Content::image("vendor kit"));
    later(Duration::from_secs(300)).await;
    assert_eq!(judged_and_pinned(&site, KIT).await.0, "Accepted(ams) [ProxyCache]");
    // Where a scan is always required, it is required there, too.
    let (site, _) =
        vendor("registry: ams, namespace: cache, flatten: 0, proxy: true", "{scan: {required: Always}}")
            .await;
    assert_eq!(judged_and_pinned(&site, KIT).await.0, "Fallback(fra) [ProxyCache, Unscanned]");
    // One that is not declared is no place to pull from.
    let (site, _) = vendor("registry: ams, namespace: cache, flatten: 0", "{}").await;
    assert_eq!(judged_and_pinned(&site, KIT).await.0, "Fallback(fra) [ProxyCache]");
}

#[tokio::test]
async fn nothing_is_pinned_that_was_not_answered_by_its_digest() {
    let hold = |site: &Site| {
        let mut store = site.demo.edge.store();
        let digest = store.push("ptc/vendor/kit", "1", &Content::image("vendor kit"));
        store.not_yet_pulled("ptc/vendor/kit", &digest);
    };
    let (site, digest) = vendor("registry: edge, namespace: ptc, flatten: 0, proxy: true", "{}").await;
    hold(&site);
    let proxied = "Accepted(edge) [ProxyCache]".to_owned();
    assert_eq!(judged_and_pinned(&site, KIT).await, (proxied.clone(), None));
    // A node has pulled the tag.
    site.demo.edge.store().restore("ptc/vendor/kit", &digest);
    later(Duration::from_secs(30)).await;
    assert_eq!(judged_and_pinned(&site, KIT).await, (proxied, Some(digest)));

    // An ordinary replica that does the same has lost the manifest.
    let (site, _) = vendor("registry: edge, namespace: ptc, flatten: 0", "{}").await;
    hold(&site);
    assert_eq!(judged_and_pinned(&site, KIT).await, ("Fallback(fra) [Missing]".to_owned(), None));
}

#[tokio::test]
async fn what_a_tag_answered_is_asked_by_its_digest_once() {
    let site = Site::new(Given::default()).await;
    let case = site.case(seed::PRESENT);
    site.judge(&case).await;
    assert_eq!(manifests(&site.demo.ams), 2, "by tag, and by digest");
    site.demo.ams.clear_log();
    site.judge(&case).await;
    assert_eq!(manifests(&site.demo.ams), 0);
    // The tag is asked for again, its digest is still known.
    later(Duration::from_secs(30)).await;
    site.judge(&case).await;
    assert_eq!(manifests(&site.demo.ams), 1);
}
