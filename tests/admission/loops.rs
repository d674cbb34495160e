//! Owners that create the same Pod again and again because its images were changed.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use landfall::facade::admission::PodLoop;

use super::support::door::Door;
use super::support::site::review;

const PRESENT: &str = "harbor.fra.example.com/production/shop/web:1.4.2";

/// How often a Pod must come until that is a loop.
const MANY: usize = 10;

fn owner(api_version: &str, kind: &str) -> Value {
    json!([{"apiVersion": api_version, "kind": kind, "name": "one", "uid": "u", "controller": true}])
}

/// A new Pod with this name, or with a name that the API server makes from the prefix, if it ends with `-`.
fn pod(called: &str, owners: Value, image: &str) -> Value {
    let mut review = review("shop", &[image]);
    let key = if called.ends_with('-') { "generateName" } else { "name" };
    review["request"]["object"]["metadata"] =
        json!({key: called, "namespace": "shop", "ownerReferences": owners});
    review
}

/// The warnings of each of so many answers.
async fn warnings(door: &Door, review: &Value, count: usize) -> Vec<String> {
    let mut warnings = Vec::new();
    for _ in 0..count {
        let response = door.review(review).await;
        assert!(response["allowed"] == true, "{response}");
        warnings.push(response["warnings"].as_array().map_or("", |all| all[0].as_str().unwrap()).to_owned());
    }
    warnings
}

fn counted(door: &Door, preset: &str) -> f64 {
    let preset = if preset.is_empty() { "none" } else { preset };
    door.metric("landfall_admission_recreated_pods_total", &[("preset", preset)])
}

/// A door, and what it tells of loops.
async fn door() -> (Door, Arc<Mutex<Vec<PodLoop>>>) {
    let told = Arc::new(Mutex::new(Vec::new()));
    let hears = told.clone();
    let door = Door::telling(Arc::new(move |one| hears.lock().unwrap().push(one))).await;
    (door, told)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loop_is_warned_of_told_once_and_counted_with_the_preset_that_helps() {
    let (door, told) = door().await;
    for (called, api_version, kind, preset) in [
        ("catalog-", "operators.coreos.com/v1alpha1", "CatalogSource", "olm"),
        ("nifi-0-node", "nifi.konpyutaika.com/v1", "NifiCluster", "nifikop"),
        ("virt-launcher-vm-", "kubevirt.io/v1", "VirtualMachineInstance", "kubevirt"),
        ("db-1", "postgresql.cnpg.io/v1", "Cluster", "cnpg"),
        // Nobody knows this operator, but two Pods of one name cannot exist at once.
        ("broker-0", "example.com/v1", "Broker", ""),
    ] {
        let review = pod(called, owner(api_version, kind), PRESENT);
        let warnings = warnings(&door, &review, MANY + 5).await;
        assert!(warnings[..MANY - 1].iter().all(String::is_empty), "{kind}: {warnings:?}");
        let said = if preset.is_empty() { "compare images" } else { &format!("preset {preset}.yaml") };
        assert!(warnings[MANY - 1..].iter().all(|warning| warning.contains(said)), "{kind}: {warnings:?}");
        let told = std::mem::take(&mut *told.lock().unwrap());
        let [one] = &told[..] else { panic!("{kind}: {told:?}") };
        assert_eq!(
            (&*one.kind, &*one.name, &*one.namespace, one.uid.as_deref()),
            (kind, "one", "shop", Some("u"))
        );
        assert_eq!(one.api_version, api_version);
        let helps = if preset.is_empty() { "pods.leaveAlone" } else { &format!("presets/{preset}.yaml") };
        assert!(one.message.contains(called) && one.message.contains(helps), "{one:?}");
        assert!(counted(&door, preset) >= 6.0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_loop_is_not_told() {
    let (door, told) = door().await;
    let catalog = || owner("operators.coreos.com/v1alpha1", "CatalogSource");
    let mut dry_run = pod("catalog-", catalog(), PRESENT);
    dry_run["request"]["dryRun"] = json!(true);
    for (what, review) in [
        ("a dry run", dry_run),
        ("nothing is changed", pod("catalog-", catalog(), "quay.io/catalog:1")),
        ("a Deployment scales", pod("web-", owner("apps/v1", "ReplicaSet"), PRESENT)),
        ("a StatefulSet", pod("web-0", owner("apps/v1", "StatefulSet"), PRESENT)),
        ("a Job tries again", pod("job-", owner("batch/v1", "Job"), PRESENT)),
        ("a driver and its executors", pod("exec-1", owner("v1", "Pod"), PRESENT)),
        ("another owner scales", pod("worker-", owner("ray.io/v1", "RayCluster"), PRESENT)),
        ("CI jobs", pod("runner-", json!([]), PRESENT)),
        ("somebody tries again", pod("debug", json!([]), PRESENT)),
    ] {
        let warnings = warnings(&door, &review, 3 * MANY + 5).await;
        assert!(warnings.iter().all(String::is_empty), "{what}: {warnings:?}");
    }
    // Different Pods of one owner, and different images of one Pod.
    for n in 0..2 * MANY {
        let review = pod(&format!("step-{n}"), owner("argoproj.io/v1alpha1", "Workflow"), PRESENT);
        assert_eq!(warnings(&door, &review, 1).await, [""]);
        let image = PRESENT.replace(":1.4.2", &format!(":{n}"));
        assert_eq!(
            warnings(&door, &pod("db-1", owner("postgresql.cnpg.io/v1", "Cluster"), &image), 1).await,
            [""]
        );
    }
    assert_eq!(*told.lock().unwrap(), []);
    assert!(["none", "olm", "cnpg"].into_iter().all(|preset| counted(&door, preset) == 0.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_owners_neither_deny_nor_break() {
    let door = Door::open().await;
    for owners in [
        json!(null),
        json!([]),
        json!([null]),
        json!([{}]),
        json!([{"apiVersion": "/", "kind": "\u{7}", "name": "n".repeat(5000), "controller": true}]),
    ] {
        let said = warnings(&door, &pod("db-1", owners.clone(), PRESENT), MANY).await;
        assert!(said[..MANY - 1].iter().all(String::is_empty), "{owners}");
    }
}
