//! States of a Harbor that are no fault of it, and must not be taken for one.

use landfall::facade::demo::world::content::Content;
use landfall::facade::demo::world::seed;
use landfall::facade::demo::world::{Allowlist, Embedded, Scan};
use landfall::facade::domain::scan::Severity;

use super::site::{Given, Site, settings};

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
