//! The demo's seed is what it says, and its Harbors change as stories change them.

use landfall::facade::demo::world::content::Content;
use landfall::facade::demo::world::seed::{self, Named};
use landfall::facade::demo::world::{
    Account, Allowlist, Embedded, Namespace, Permission, Scan, ScannerState, World,
};
use landfall::facade::domain::registry::{CredentialSource, Kind};
use landfall::facade::domain::scan::Severity;
use reqwest::Client;
use serde_json::Value;

use super::ask::{api, client, head};
use super::support::wait::{HELD, ends, later, until};

async fn present(client: &Client, at: &Embedded, name: Named) -> bool {
    head(client, at, &format!("{}/manifests/{}", name.repository, name.tag)).await == 200
}

/// The scan overview of an image, `null` where there is none.
async fn overview(client: &Client, at: &Embedded, name: Named) -> Value {
    let (project, repository) = name.repository.split_once('/').unwrap();
    let path = format!(
        "projects/{project}/repositories/{}/artifacts/{}",
        repository.replace('/', "%252F"),
        name.tag
    );
    let artifact = api(client, at, &format!("{path}?with_scan_overview=true")).await;
    let overviews = artifact["scan_overview"].as_object().into_iter().flatten();
    overviews.map(|(_, overview)| overview.clone()).next().unwrap_or_default()
}

#[tokio::test]
async fn the_seed_is_what_it_says() {
    let demo = seed::demo().await.unwrap();
    let client = client(&demo.world);
    let (fra, ams) = (&demo.fra, &demo.ams);
    for name in [seed::PRESENT, seed::MULTI_ARCH] {
        for harbor in [fra, ams] {
            assert!(present(&client, harbor, name).await);
            let overview = overview(&client, harbor, name).await;
            assert_eq!(
                (&overview["scan_status"], &overview["complete_percent"]),
                (&"Success".into(), &100.into())
            );
        }
        assert!(demo.edge.store().digest(name.repository, name.tag).is_some());
    }
    assert!(present(&client, fra, seed::MISSING).await);
    assert!(!present(&client, ams, seed::MISSING).await);
    let at = |harbor: &Embedded, name: Named| harbor.store().digest(name.repository, name.tag).unwrap();
    assert_ne!(at(fra, seed::MOVED), at(ams, seed::MOVED));
    assert_eq!(overview(&client, ams, seed::UNSCANNED).await, Value::Null);
    assert_eq!(overview(&client, ams, seed::SCANNING).await["scan_status"], "Running");
    assert_eq!(overview(&client, ams, seed::SCAN_FAILED).await["scan_status"], "Error");
    assert_eq!(overview(&client, fra, seed::SCAN_FAILED).await["scan_status"], "Success");
    assert_eq!(overview(&client, ams, seed::VULNERABLE).await["severity"], "Critical");
    assert!(present(&client, ams, seed::CHILD_LOST).await);
    let children =
        api(&client, ams, "projects/production/repositories/shop%252Frender/artifacts/4.0.0").await;
    let mut found = Vec::new();
    for child in children["references"].as_array().unwrap() {
        let path =
            format!("{}/manifests/{}", seed::CHILD_LOST.repository, child["child_digest"].as_str().unwrap());
        found.push(head(&client, ams, &path).await);
    }
    assert_eq!(found, [200, 404]);
    let refused = format!("{}/manifests/{}", seed::REFUSED.repository, seed::REFUSED.tag);
    assert_eq!(head(&client, ams, &refused).await, 412);
    fra.clear_log();
    assert!(present(&client, ams, seed::PROXIED).await);
    assert_eq!(fra.log().len(), 1, "the proxy asked its upstream");
    assert_eq!(api(&client, ams, "projects/cache").await["registry_id"], 1);
}

#[tokio::test]
async fn reviews_are_held_everywhere() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/admission");
    let files =
        std::fs::read_dir(folder).unwrap().map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap());
    let reviews: Vec<String> = files.collect();
    assert_eq!(reviews.len(), 17);
    let reviews: Vec<&str> = reviews.iter().map(String::as_str).collect();
    let demo = seed::demo().await.unwrap();
    for registry in [&demo.fra, &demo.ams, &demo.edge] {
        let held = seed::hold_reviewed(&mut registry.store(), "harbor.fra.example.com", &reviews).unwrap();
        assert_eq!(held, 65);
    }
    let client = client(&demo.world);
    let pinned =
        "platform/agent/manifests/sha256:14c2529eb4498c5d1ffd6915d05bf58a91bdda796af59f41d480d11c099d0479";
    for harbor in [&demo.fra, &demo.ams] {
        for path in ["production/team6/svc34/manifests/1.34", "production/models/bert/manifests/7", pinned] {
            assert_eq!(head(&client, harbor, path).await, 200, "{path}");
        }
    }
}

#[tokio::test]
async fn a_scanner_that_dies_hides_overviews_and_keeps_reports() {
    let world = World::new().unwrap();
    let harbor = world.harbor("one").await.unwrap();
    let name = Named { repository: "p/app", tag: "v1" };
    let digest = harbor.store().push(name.repository, name.tag, &Content::image("app"));
    harbor.store().set_scan(&digest, Scan::clean());
    let client = client(&world);
    assert_eq!(overview(&client, &harbor, name).await["scan_status"], "Success");
    harbor.store().scanner = ScannerState::Unhealthy;
    assert_eq!(overview(&client, &harbor, name).await, Value::Null);
    assert_eq!(api(&client, &harbor, "projects/p/scanner").await["health"], "unhealthy");
    let report =
        api(&client, &harbor, "projects/p/repositories/app/artifacts/v1/additions/vulnerabilities").await;
    assert_eq!(report.as_object().unwrap().len(), 1);
    harbor.store().scanner = ScannerState::None;
    assert_eq!(api(&client, &harbor, "projects/p/scanner").await, serde_json::json!({}));
}

#[tokio::test]
async fn allowlists_forgive_until_they_expire() {
    let world = World::new().unwrap();
    let harbor = world.harbor("one").await.unwrap();
    let client = client(&world);
    let digest = harbor.store().push("p/app", "v1", &Content::image("app"));
    harbor.store().set_scan(&digest, Scan::found(&[("CVE-2026-1", Severity::High)]));
    harbor.store().project("p").prevent_vul = Some(Severity::High);
    let pull = async || head(&client, &harbor, "p/app/manifests/v1").await;
    assert_eq!(pull().await, 412);
    let list = |expires_at| Allowlist { cves: vec!["CVE-2026-1".into()], expires_at };
    harbor.store().allowlist = list(None);
    assert_eq!(pull().await, 200);
    assert_eq!(api(&client, &harbor, "system/CVEAllowlist").await["items"][0]["cve_id"], "CVE-2026-1");
    // The project's own list takes the place of the system's; this one was over in 1970.
    harbor.store().project("p").allowlist = Some(list(Some(jiff::Timestamp::UNIX_EPOCH)));
    assert_eq!(pull().await, 412);
    let project = api(&client, &harbor, "projects/p").await;
    assert_eq!(project["metadata"]["reuse_sys_cve_allowlist"], "false");
    assert_eq!(project["cve_allowlist"]["expires_at"], 0);
}

#[tokio::test]
async fn a_wrong_password_takes_its_time_where_a_test_wants_it() {
    let world = World::new().unwrap();
    let harbor = world.harbor("one").await.unwrap();
    harbor.store().wrong_password_delay = HELD;
    let url = format!("{}/api/v2.0/users/current", harbor.url());
    let client = client(&world);
    let ask = |password| client.get(&url).basic_auth("robot$landfall", Some(password)).send();
    let wrong = tokio::spawn(ask("wrong"));
    until("the wrong one has come", || harbor.in_flight() == 1).await;
    let right = ends("the right one", ask("landfall-Secret1")).await.unwrap();
    assert_eq!((right.status().as_u16(), wrong.is_finished()), (412, false));
    later(HELD).await;
    assert_eq!(ends("the wrong one", wrong).await.unwrap().unwrap().status(), 401);
}

#[tokio::test]
async fn a_registry_describes_itself_as_a_configuration_would() {
    let world = World::new().unwrap();
    let harbor = world.harbor("ams").await.unwrap();
    let registry = harbor.registry("amsterdam", "harbor.ams.example.com");
    assert_eq!((registry.kind, &*registry.host), (Kind::Harbor, "harbor.ams.example.com"));
    assert_eq!(registry.url.as_str(), format!("{}/", harbor.url()));
    assert_eq!(std::fs::read_to_string(registry.ca_file.unwrap()).unwrap(), world.authority().pem());
    let CredentialSource::Dir(folder) = registry.credentials else { panic!("a folder") };
    let read = |file| std::fs::read_to_string(folder.join(file)).unwrap();
    assert_eq!(
        (read("username").as_str(), read("password").as_str()),
        ("robot$landfall", "landfall-Secret1")
    );
    // Rotated: the account's secret and the files change, the path stays.
    let mut robot = Account::robot("landfall", Namespace::All, &[Permission::Pull]);
    robot.secret = "New-Secret1".into();
    harbor.store().add_account(robot);
    world.credentials("ams", "robot$landfall", "New-Secret1").unwrap();
    assert_eq!(read("password"), "New-Secret1");
}
