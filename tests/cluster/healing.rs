//! What is missing is closed on a real API server, as README's chapter says: replicated, scanned, copied.

use std::fs;
use std::path::Path;

use http::{Method, StatusCode};
use landfall::facade::demo::world::seed;
use landfall::facade::demo::world::{Embedded, Permission, ReplicationRule, Scan};
use landfall::facade::domain::registry::CredentialSource;
use serde_json::Value;

use crate::chapter::Chapter;
use crate::plane::{Apart, until};
use crate::release::Release;
use crate::site;

const SOON: [&str; 2] = ["--set-json=namespaces.matchExpressions=[]", "--set=sweep.every=3s"];

const RULES: [Permission; 3] =
    [Permission::ReplicationPolicyList, Permission::ReplicationList, Permission::ReplicationCreate];

/// The configuration with more said of a registry.
fn with(config: &str, harbor: &Embedded, more: &str) -> String {
    let host = format!("host: \"harbor.{}.example.com\"", harbor.name());
    assert!(config.contains(&host), "{config}");
    config.replace(&host, &format!("{more}, {host}"))
}

/// What a stranger has at hand before he follows the chapter.
fn lay_out(desk: &Path, release: &Release) {
    let demo = &release.demo;
    let mut config = release.config();
    for (harbor, rights) in [(&demo.fra, RULES.as_slice()), (&demo.ams, &[Permission::ScanCreate])] {
        let name = harbor.name();
        demo.world.robot(harbor, "heal", rights).unwrap();
        fs::write(desk.join(format!("{name}-heal.txt")), "heal-Secret1").unwrap();
        let heals = format!("healing: {{credentials: {{dir: /etc/landfall/credentials/{name}-heal}}}}");
        config = with(&config, harbor, &heals);
    }
    fs::write(desk.join("landfall.yaml"), config + "\nhealing: {mode: Replicate, after: 1s}\n").unwrap();
    let writer = demo.world.robot(&demo.ams, "copy", &[Permission::Pull, Permission::Push]).unwrap();
    let CredentialSource::Dir(writer) = writer else { unreachable!("a robot has a folder") };
    let secret = desk.join("notifications.txt");
    fs::write(&secret, "Bearer 0123456789abcdef0123456789abcdef").unwrap();
    let more =
        format!("copy: {{credentials: {{dir: {writer:?}}}}}, notifications: {{secretFile: {secret:?}}}");
    fs::write(desk.join("admin.yaml"), with(&site::configuration(demo), &demo.ams, &more)).unwrap();
    std::os::unix::fs::symlink(Path::new(env!("CARGO_MANIFEST_DIR")).join("helm"), desk.join("helm"))
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_readme_says_of_closing_what_is_missing_is_what_happens() {
    let apart = Apart::start();
    let plane = apart.0;
    let release = Release::prepare(plane, "landfall").await;
    let demo = &release.demo;
    let desk = tempfile::tempdir().unwrap();
    lay_out(desk.path(), &release);
    let rule = ReplicationRule::to("to-amsterdam", &demo.ams.url()).filter("name", "production/**");
    let rule = demo.fra.store().add_rule(rule);
    demo.fra.replicates(rule, &demo.ams);

    let missing = seed::MISSING;
    // The seed has scanned it before it was deleted: then no scan would be started.
    let digest = demo.fra.store().digest(missing.repository, missing.tag).unwrap();
    demo.ams.store().set_scan(&digest, Scan::NotScanned);
    let image = format!("harbor.fra.example.com/{}:{}", missing.repository, missing.tag);
    plane.namespace("shop");
    plane.told(&["run", "checkout", "--image", &image, "-n", "shop"]);
    release.helm("install", &SOON);

    let mut chapter = Chapter::open(plane, "Close what is missing").typed_in(desk.path());
    assert!(chapter.next("yaml").contains("healing: {mode: Replicate, after: 1m}"));
    chapter.follow();
    let copied = until("the copy", || demo.ams.store().digest(missing.repository, missing.tag));
    let started = |harbor: &Embedded| {
        let is_start = |status| matches!(status, Some(StatusCode::ACCEPTED | StatusCode::CREATED));
        let log = harbor.log().into_iter();
        log.filter(|request| request.method == Method::POST && is_start(request.status)).count()
    };
    until("its scan is started", || (started(&demo.ams) > 0).then_some(()));
    demo.ams.store().set_scan(&copied, Scan::clean());
    let (_, said) = chapter.follow();
    assert!(said.contains("condition met") && said.contains("Healed"), "{said}");
    let all: Value = serde_json::from_str(&plane.told(&["get", "gaps", "-o", "json"])).unwrap();
    let of_checkout = |gap: &&Value| gap["spec"]["image"].as_str().unwrap().contains("checkout");
    let gap = all["items"].as_array().unwrap().iter().find(of_checkout).unwrap();
    assert_eq!(gap["status"]["action"]["outcome"], "Healed", "{gap}");
    assert_eq!((demo.fra.store().started_by_hand(rule), started(&demo.fra)), (1, 1));
    until("the next Pod is local", || {
        let pod =
            plane.told(&["run", "next", "--image", &image, "-n", "shop", "--dry-run=server", "-o", "json"]);
        pod.contains("harbor.ams.example.com/production/shop/checkout").then_some(())
    });

    let report = seed::SCAN_FAILED;
    {
        let mut ams = demo.ams.store();
        let digest = ams.digest(report.repository, report.tag).unwrap();
        ams.lose_layers(report.repository, &digest);
    }
    let (_, said) = chapter.follow();
    assert!(said.contains("2 blobs copied") && said.contains("verified at the target"), "{said}");
    let (_, said) = chapter.follow();
    assert!(said.contains("PUSH_ARTIFACT") && !said.contains("0123456789abcdef"), "{said}");
    assert!(chapter.is_over(), "not all of it was followed");
}
