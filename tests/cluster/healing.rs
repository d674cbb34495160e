//! Healing on a real API server: what is missing is replicated and scanned, and the next Pod is local.

use http::{Method, StatusCode};
use landfall::facade::demo::world::seed;
use landfall::facade::demo::world::{Embedded, Permission, ReplicationRule, Scan};
use serde_json::{Value, json};

use crate::plane::{Apart, until};
use crate::release::Release;

const SOON: [&str; 4] = [
    "--set-json=namespaces.matchExpressions=[]",
    "--set=sweep.every=3s",
    "--set=credentials.fra-heal=landfall-fra-heal",
    "--set=credentials.ams-heal=landfall-ams-heal",
];

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_is_replicated_and_scanned_and_the_next_pod_is_local() {
    let apart = Apart::start();
    let plane = apart.0;
    let release = Release::prepare(plane, "healed").await;
    let demo = &release.demo;
    let rights = [
        Permission::ScanCreate,
        Permission::ReplicationPolicyList,
        Permission::ReplicationList,
        Permission::ReplicationCreate,
    ];
    let mut config = release.config();
    for harbor in [&demo.fra, &demo.ams] {
        let name = harbor.name();
        demo.world.robot(harbor, "heal", &rights).unwrap();
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret",
            "metadata": {"name": format!("landfall-{name}-heal"), "namespace": release.name},
            "stringData": {"username": "robot$heal", "password": "heal-Secret1"},
        });
        plane.apply(&secret.to_string());
        let reads = format!("credentials: {{dir: \"/etc/landfall/credentials/{name}\"}}");
        assert!(config.contains(&reads), "{config}");
        let heals = format!("healing: {{credentials: {{dir: \"/etc/landfall/credentials/{name}-heal\"}}}}");
        config = config.replace(&reads, &format!("{reads}, {heals}"));
    }
    config += "\nhealing: {mode: Replicate, after: 1s}\n";
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
    release.helm_with("install", &config, &SOON);

    let gap = || -> Option<Value> {
        let all: Value = serde_json::from_str(&plane.told(&["get", "gaps", "-o", "json"])).unwrap();
        let is_it =
            |gap: &&Value| gap["spec"]["image"].as_str().is_some_and(|image| image.contains("checkout"));
        all["items"].as_array().unwrap().iter().find(is_it).cloned()
    };
    let copied = until("the copy", || demo.ams.store().digest(missing.repository, missing.tag));
    let started = |harbor: &Embedded| {
        let is_start = |status| matches!(status, Some(StatusCode::ACCEPTED | StatusCode::CREATED));
        let log = harbor.log().into_iter();
        log.filter(|request| request.method == Method::POST && is_start(request.status)).count()
    };
    until("its scan is started", || (started(&demo.ams) > 0).then_some(()));
    demo.ams.store().set_scan(&copied, Scan::clean());
    let closed = until("the gap is closed", || gap().filter(|gap| gap["status"]["state"] == "Closed"));
    let status = &closed["status"];
    assert_eq!(status["action"]["outcome"], "Healed", "{status}");
    println!("{}", status["message"]);
    assert_eq!((demo.fra.store().started_by_hand(rule), started(&demo.fra)), (1, 1));
    until("the next Pod is local", || {
        let pod =
            plane.told(&["run", "next", "--image", &image, "-n", "shop", "--dry-run=server", "-o", "json"]);
        pod.contains("harbor.ams.example.com/production/shop/checkout").then_some(())
    });
}
