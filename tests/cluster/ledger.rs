//! One gap in the cluster, from the first Pod that meets it to its end.

use landfall::facade::demo::world::Scan;
use landfall::facade::demo::world::content::Content;
use landfall::facade::demo::world::seed::{self, Named};
use serde_json::{Value, json};

use crate::plane::{Plane, plane, until};
use crate::release::Release;

fn image(name: Named) -> String {
    format!("harbor.fra.example.com/{}:{}", name.repository, name.tag)
}

fn deployment(name: &str, image: &str) -> String {
    let labels = json!({"app": name});
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
        "spec": {"replicas": 2, "selector": {"matchLabels": labels}, "template": {
            "metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": image}]}}},
    })
    .to_string()
}

/// The gap of this image, as it is now.
fn gap(plane: &Plane, image: &str) -> Option<Value> {
    let all: Value = serde_json::from_str(&plane.told(&["get", "gaps", "-o", "json"])).unwrap();
    all["items"].as_array().unwrap().iter().find(|gap| gap["spec"]["image"] == image).cloned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gap_is_recorded_with_the_deployment_and_closed_when_the_copy_is_there() {
    let plane = plane();
    let release = Release::install(plane, "ledger", &[]).await;
    let (missing, pods) = (image(seed::MISSING), release.pods.clone());
    let file = plane.write_new(&deployment("checkout", &missing));
    plane.told(&["apply", "-n", &pods, "-f", &file.display().to_string()]);
    let recorded =
        until("both Pods are recorded", || gap(plane, &missing).filter(|gap| gap["status"]["fellBack"] == 2));
    let status = &recorded["status"];
    assert_eq!((&status["state"], &status["presence"]["finding"]), (&json!("Open"), &json!("Missing")));
    assert_eq!((&recorded["spec"]["registry"], &status["namespaces"]), (&json!("ams"), &json!([pods])));
    let [owner] = &status["owners"].as_array().unwrap()[..] else { panic!("{status}") };
    assert_eq!((&owner["kind"], &owner["name"]), (&json!("Deployment"), &json!("checkout")));
    let events = |reason: &str| {
        let only = format!("--field-selector=reason={reason}");
        plane.told(&["get", "events", "-n", &pods, &only, "-o", "jsonpath={.items[*].involvedObject.kind}"])
    };
    until("its owner is told", || (events("ImageFellBack") == "Deployment").then_some(()));
    let table = plane.told(&["get", "gaps"]);
    assert!(table.starts_with("NAME ") && table.contains("FINDING") && table.contains("Missing"), "{table}");

    let content = Content::image(&format!("{} {}", seed::MISSING.repository, seed::MISSING.tag));
    {
        let mut store = release.demo.ams.store();
        let digest = store.push(seed::MISSING.repository, seed::MISSING.tag, &content);
        store.set_scan(&digest, Scan::clean());
    }
    let closed =
        until("it is closed", || gap(plane, &missing).filter(|gap| gap["status"]["state"] == "Closed"));
    let status = &closed["status"];
    assert!(status["closedAt"].is_string() && status["presence"]["was"] == "Missing", "{status}");
    until("its owner is told of the end", || (events("GapClosed") == "Deployment").then_some(()));
}
