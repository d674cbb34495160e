//! An audit of a cluster: what runs, what stands in it, and what the rights of a user leave out.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::{Ground, Output, Path, ended};

/// An API server with these answers by path; the others are forbidden. Returns a kubeconfig for it.
async fn api_server(folder: &Path, answers: BTreeMap<&'static str, Value>) -> std::path::PathBuf {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = Router::new().fallback(answer).with_state(Arc::new(answers));
    tokio::spawn(async move { axum::serve(listener, app).await });
    let file = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{"name": "c", "cluster": {"server": format!("http://{address}")}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c"}}],
        "users": [{"name": "c", "user": {}}],
    });
    let path = folder.join("kubeconfig.yaml");
    std::fs::write(&path, file.to_string()).unwrap();
    path
}

async fn answer(State(answers): State<Arc<BTreeMap<&'static str, Value>>>, uri: Uri) -> Response {
    let (code, body) = match answers.get(uri.path()) {
        Some(body) => (StatusCode::OK, body.clone()),
        None => {
            let message = format!("User \"viewer\" cannot list resource at {}", uri.path());
            let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                                "reason": "Forbidden", "code": 403, "message": message});
            (StatusCode::FORBIDDEN, status)
        }
    };
    (code, [("content-type", "application/json")], body.to_string()).into_response()
}

fn list(items: Value) -> Value {
    json!({"kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": "1"}, "items": items})
}

fn pod(name: &str, owner: &str, image: &str, annotation: Option<Value>) -> Value {
    let owner = json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": owner, "uid": owner, "controller": true});
    let annotations = annotation.map(|text| json!({"landfall.dev/images": text.to_string()}));
    json!({"metadata": {"name": name, "namespace": "shop", "ownerReferences": [owner], "annotations": annotations},
           "spec": {"containers": [{"name": "main", "image": image}]}})
}

fn template(name: &str, owner: Option<&str>, image: &str) -> Value {
    let owners = owner.map(
        |owner| json!([{"apiVersion": "apps/v1", "kind": "Deployment", "name": owner, "controller": true}]),
    );
    json!({"metadata": {"name": name, "namespace": "shop", "ownerReferences": owners},
           "spec": {"template": {"spec": {"containers": [{"name": "main", "image": image}]}}}})
}

const SHOP: &str = "harbor.fra.example.com/production/shop";

/// What a plain `view` role sees, but for the CronJobs and the policies.
async fn shop(ground: &Ground, folder: &Path) -> std::path::PathBuf {
    let (web, api, gone) =
        (format!("{SHOP}/web:1.4.2"), format!("{SHOP}/api:2.0.0"), format!("{SHOP}/checkout:5.0.0"));
    let digest = ground.world.ams.store().digest("production/shop/api", "2.0.0").unwrap();
    let moved = format!("harbor.ams.example.com/production/shop/api:2.0.0@{digest}");
    let entry = json!({"containers/main": {"was": api, "is": moved, "why": "Local", "place": "ams"}});
    let namespace = json!({"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": "shop", "labels": {"kubernetes.io/metadata.name": "shop"}}});
    let answers = BTreeMap::from([
        (
            "/apis/apps/v1/deployments",
            list(json!([
                template("web", None, &web),
                template("api", None, &api),
                template("idle", None, &gone)
            ])),
        ),
        (
            "/apis/apps/v1/replicasets",
            list(json!([template("web-1", Some("web"), &web), template("api-1", Some("api"), &api)])),
        ),
        ("/apis/apps/v1/statefulsets", list(json!([]))),
        ("/apis/apps/v1/daemonsets", list(json!([]))),
        ("/apis/batch/v1/jobs", list(json!([]))),
        ("/api/v1/replicationcontrollers", list(json!([]))),
        // The two of `web` were created while Amsterdam was down; those of `api` before, and one since.
        (
            "/api/v1/pods",
            list(json!([
                pod("web-1-a", "web-1", &web, None),
                pod("web-1-b", "web-1", &web, None),
                pod("api-1-a", "api-1", &moved, Some(entry)),
            ])),
        ),
        ("/api/v1/namespaces/shop", namespace),
    ]);
    api_server(folder, answers).await
}

async fn audit(ground: &Ground, kubeconfig: &Path, arguments: &[&str]) -> (String, Option<i32>) {
    let mut command = ground.command(arguments);
    command.env("KUBECONFIG", kubeconfig);
    let Output { status, stdout, stderr } = ended(command).await;
    (String::from_utf8(stdout).unwrap() + &String::from_utf8(stderr).unwrap(), status.code())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_runs_is_told_with_what_stands_in_it() {
    let (ground, folder) = (Ground::lay().await, tempfile::tempdir().unwrap());
    let kubeconfig = shop(&ground, folder.path()).await;
    let (said, code) = audit(&ground, &kubeconfig, &["--fail-on", "missing"]).await;
    assert_eq!(code, Some(1), "{said}");
    insta::assert_snapshot!("live", said);
    let (said, _) = audit(&ground, &kubeconfig, &["-o", "json"]).await;
    let report: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(
        report["complete"], false,
        "the CronJobs and the policies of the cluster may not be read: {said}"
    );
    let row = report["rows"].as_array().unwrap().iter().find(|row| row["class"] == "RunsElsewhere").unwrap();
    assert_eq!(
        row["workloads"][0]["runs"][0],
        json!({"image": format!("{SHOP}/web:1.4.2"), "registry": "fra", "here": false, "pods": 2})
    );
    let (said, code) = audit(&ground, &kubeconfig, &["--fail-on", "unknown"]).await;
    assert_eq!(code, Some(1), "what could not be read is not known: {said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_an_outage_it_is_told_what_to_restart() {
    let (ground, folder) = (Ground::lay().await, tempfile::tempdir().unwrap());
    let kubeconfig = shop(&ground, folder.path()).await;
    let (said, code) = audit(&ground, &kubeconfig, &["--on-fallback"]).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("Deployment shop/web ×2") && said.contains("kubectl rollout restart"), "{said}");
    assert!(!said.contains("checkout:5.0.0") && !said.contains("shop/api"), "{said}");
}

/// The tag has moved on, and what the Pod runs with is gone: a new Pod is fine, this one would not start again.
#[tokio::test(flavor = "multi_thread")]
async fn what_stands_is_judged_where_it_is_worse() {
    let (ground, folder) = (Ground::lay().await, tempfile::tempdir().unwrap());
    let web = format!("{SHOP}/web:1.4.2");
    let old = format!("harbor.ams.example.com/production/shop/web:1.4.2@sha256:{}", "ab".repeat(32));
    let entry = json!({"containers/main": {"was": web, "is": old, "why": "Local", "place": "ams"}});
    let answers = BTreeMap::from([
        ("/apis/apps/v1/deployments", list(json!([template("web", None, &web)]))),
        ("/apis/apps/v1/replicasets", list(json!([template("web-1", Some("web"), &web)]))),
        ("/api/v1/pods", list(json!([pod("web-1-a", "web-1", &old, Some(entry))]))),
    ]);
    let kubeconfig = api_server(folder.path(), answers).await;
    let (said, _) = audit(&ground, &kubeconfig, &["-o", "json"]).await;
    let report: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((&report["summary"]["images"], &report["summary"]["fine"]), (&json!(1), &json!(1)), "{said}");
    let rows = report["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 1, "{said}");
    assert_eq!(
        (&rows[0]["standing"], &rows[0]["image"], &rows[0]["finding"]),
        (&json!(true), &json!(old), &json!("Missing")),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nothing_may_be_read_there_is_no_report() {
    let (ground, folder) = (Ground::lay().await, tempfile::tempdir().unwrap());
    let kubeconfig = api_server(folder.path(), BTreeMap::new()).await;
    let (said, code) = audit(&ground, &kubeconfig, &[]).await;
    assert!(code == Some(2) && said.contains("name it with -n"), "{said}");
}
