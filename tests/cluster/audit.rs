//! `landfall audit` and `landfall drill` on an administrator's machine, with the rights of a plain `view` role: what they can read,
//! they judge; what they may not read, they say.

use std::process::Command;

use landfall::facade::demo::world::seed;
use serde_json::Value;

use crate::plane::{plane, until};
use crate::site;

/// A Deployment that runs, one that is scaled down, and a CronJob.
const OBJECTS: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: 'harbor.fra.example.com/production/shop/web:1.4.2'}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: idle}
spec:
  replicas: 0
  selector: {matchLabels: {app: idle}}
  template:
    metadata: {labels: {app: idle}}
    spec: {containers: [{name: idle, image: 'harbor.fra.example.com/production/shop/checkout:5.0.0'}]}
---
apiVersion: batch/v1
kind: CronJob
metadata: {name: nightly}
spec:
  schedule: '0 3 1 1 *'
  jobTemplate:
    spec:
      template:
        spec:
          restartPolicy: Never
          containers: [{name: search, image: 'harbor.fra.example.com/production/shop/search:0.9.0'}]
";

#[tokio::test(flavor = "multi_thread")]
async fn a_plain_view_role_is_enough_for_an_audit_and_a_drill_of_its_namespace() {
    let plane = plane();
    let world = seed::demo().await.unwrap();
    let config = world.world.write("site.yaml", &site::configuration(&world)).unwrap();
    plane.namespace("viewed");
    plane.create("viewed", OBJECTS);
    plane.told(&["create", "serviceaccount", "viewer", "-n", "viewed"]);
    let role = [
        "create",
        "rolebinding",
        "viewer",
        "--clusterrole=view",
        "--serviceaccount=viewed:viewer",
        "-n",
        "viewed",
    ];
    plane.told(&role);
    let kubeconfig = plane.kubeconfig_of("viewed", "viewer");
    let may =
        ["auth", "can-i", "list", "cronjobs", "-n", "viewed", "--as=system:serviceaccount:viewed:viewer"];
    until("its rights are known", || plane.kubectl(&may).status.success().then_some(()));
    let running = ["get", "pods", "-n", "viewed", "-o", "name"];
    until("two Pods are there", || (plane.told(&running).lines().count() == 2).then_some(()));
    let landfall = async |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_landfall"));
        command.env_clear().env("KUBECONFIG", &kubeconfig).args(arguments);
        command.arg("--config").arg(&config);
        // The world answers on this runtime meanwhile.
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(said).unwrap())
    };
    let (status, said) = landfall(&["audit", "-n", "viewed", "-o", "json", "--fail-on", "missing"]).await;
    assert_eq!(status, Some(1), "{said}");
    let report: Value = serde_json::from_str(&said).unwrap();
    let summary = &report["summary"];
    let counts = ["workloads", "pods", "images", "missing", "scan", "runsElsewhere"]
        .map(|key| summary[key].as_u64().unwrap());
    assert_eq!(counts, [3, 2, 3, 1, 1, 1], "{said}");
    let found: Vec<_> = report["rows"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| {
            let user = &row["workloads"][0];
            format!("{} {}/{} {}", row["finding"], user["kind"], user["name"], row["pods"])
        })
        .collect();
    assert_eq!(
        found,
        [
            r#""Missing" "Deployment"/"idle" 0"#,
            r#""Unscanned" "CronJob"/"nightly" 0"#,
            r#""RunsElsewhere" "Deployment"/"web" 2"#,
        ]
    );
    let notes = report["notes"].to_string();
    assert!(
        !notes.contains("you lack the right to list the "),
        "a view role reads all that makes Pods: {notes}"
    );
    // With a right in one namespace alone, the others are not read in silence.
    let (status, said) = landfall(&["audit"]).await;
    assert!(status == Some(2) && said.contains("name it with -n"), "{status:?}: {said}");
    // Without Frankfurt: what has a copy here starts, scaled down or not, as far as Secrets are good that a viewer may not read.
    let drill = ["drill", "--lose=fra", "-n", "viewed", "-o", "json", "--bandwidth=1GB/s"];
    let (status, said) = landfall(&drill).await;
    assert_eq!(status, Some(1), "{said}");
    let forecast: Value = serde_json::from_str(&said).unwrap();
    let found: Vec<_> = forecast["workloads"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| format!("{} {} {}", one["name"], one["prospect"], one["images"][0]["obstacle"]))
        .collect();
    assert_eq!(
        found,
        [r#""idle" "Fails" "RegistryLost""#, r#""nightly" "Starts" null"#, r#""web" "Starts" null"#,],
        "{said}"
    );
    let assumed = forecast["assumptions"].to_string();
    assert!(
        assumed.contains("Secret viewed/harbor-ams-creds could not be read (you may not read it)"),
        "{assumed}"
    );
    plane.told(&["delete", "namespace", "viewed", "--wait=false"]);
}
