//! What the people of a namespace read of it in the form that other tools read, with the definition of that form and without.

use landfall::facade::demo::world::Scan;
use landfall::facade::demo::world::content::Content;
use landfall::facade::demo::world::seed::{self, Named};
use serde_json::Value;

use crate::plane::{Apart, Plane, until};
use crate::release::Release;

const ON: &str = "reports: {mode: OpenReports}\n";

fn image(Named { repository, tag }: Named) -> String {
    format!("harbor.fra.example.com/{repository}:{tag}")
}

fn report(plane: &Plane, namespace: &str) -> Option<Value> {
    let output =
        plane.kubectl(&["get", "reports.openreports.io", "landfall-ams", "-n", namespace, "-o", "json"]);
    output.status.success().then(|| serde_json::from_slice(&output.stdout).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_has_a_report_while_something_is_lacking_there() {
    let apart = Apart::start();
    let plane = apart.0;
    let release = Release::prepare(plane, "reports").await;
    for (namespace, name, named) in [
        ("shop", "checkout", seed::MISSING),
        ("shop", "web", seed::PRESENT),
        ("well", "web", seed::PRESENT),
        ("other", "checkout", seed::MISSING),
    ] {
        if !plane.kubectl(&["get", "namespace", namespace]).status.success() {
            plane.namespace(namespace);
        }
        plane.told(&["run", name, "--image", &image(named), "-n", namespace]);
    }
    let config = release.config() + ON;
    let soon =
        ["--set-json=namespaces.matchExpressions=[]", "--set=sweep.every=3s", "--set=sweep.inspect=5s"];
    release.helm_with("install", &config, &soon);

    // Without the definition everything else goes on, and the leader says what is absent.
    until("it is said", || {
        let log =
            plane.told(&["logs", "-l", "app.kubernetes.io/name=landfall", "-n", release.name, "--tail=-1"]);
        log.contains("no definition of reports.openreports.io").then_some(())
    });
    plane.apply(include_str!("../vectors/openreports.yaml"));
    plane.told(&["wait", "--for=condition=Established", "--timeout=60s", "crd/reports.openreports.io"]);

    let shop = until("the report with the age of its gap", || {
        report(plane, "shop").filter(|report| report["results"][0]["timestamp"].is_object())
    });
    assert_eq!(shop["summary"], serde_json::json!({"pass": 1, "fail": 0, "warn": 1, "error": 0, "skip": 0}));
    assert_eq!(shop["scope"]["name"], "shop");
    let result = &shop["results"][0];
    for (key, expected) in
        [("policy", "defaults"), ("rule", "Missing"), ("result", "warn"), ("severity", "medium")]
    {
        assert_eq!(result[key], expected, "{result}");
    }
    let resources: Vec<_> =
        result["resources"].as_array().unwrap().iter().map(|one| one["name"].clone()).collect();
    assert_eq!(resources, ["checkout"], "{result}");
    let properties = &result["properties"];
    assert_eq!((&properties["place"], &properties["site"]), (&"ams".into(), &"ams".into()));
    plane.told(&["get", "gap", properties["gap"].as_str().unwrap()]);
    until("the other namespace", || report(plane, "other"));
    assert!(report(plane, "well").is_none(), "nothing is lacking there");
    let shown = plane.told(&["get", "reps", "-n", "shop"]);
    assert!(shown.contains("landfall-ams") && shown.contains("PASS"), "{shown}");

    {
        let named = seed::MISSING;
        let mut ams = release.demo.ams.store();
        let digest = ams.push(
            named.repository,
            named.tag,
            &Content::image(&format!("{} {}", named.repository, named.tag)),
        );
        ams.set_scan(&digest, Scan::clean());
    }
    until("the reports are gone", || {
        ["shop", "other"].iter().all(|namespace| report(plane, namespace).is_none()).then_some(())
    });
}
