//! `landfall drill` as a process: what it says at each width, and what it says of what it cannot know.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, Output};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use landfall::facade::demo::world::seed::{Demo, demo};
use serde_json::{Value, json};

use super::{cluster, site};

const SHOP: &str = "harbor.fra.example.com/production/shop";

/// The world, its configuration and manifests.
struct Ground {
    world: Demo,
    config: PathBuf,
    manifests: PathBuf,
}

fn workload(kind: &str, namespace: &str, name: &str, spec: Value) -> Value {
    let template = json!({"metadata": {}, "spec": spec});
    let (version, spec) = match kind {
        "CronJob" => ("batch/v1", json!({"jobTemplate": {"spec": {"template": template}}})),
        _ => ("apps/v1", json!({"replicas": 0, "template": template})),
    };
    json!({"apiVersion": version, "kind": kind, "metadata": {"name": name, "namespace": namespace}, "spec": spec})
}

fn one(image: &str) -> Value {
    json!({"containers": [{"name": "main", "image": image}]})
}

/// One workload of each kind of ending.
fn workloads() -> Vec<Value> {
    let mut init = one(&format!("{SHOP}/web:1.4.2"));
    init["initContainers"] = json!([{"name": "schema", "image": format!("{SHOP}/render:4.0.0")}]);
    init["volumes"] = json!([{"name": "model", "image": {"reference": format!("{SHOP}/checkout:5.0.0")}}]);
    let mut never = one(&format!("{SHOP}/web:1.4.2"));
    never["containers"][0]["imagePullPolicy"] = json!("Never");
    let mut spoilt = one(&format!("{SHOP}/web:1.4.2"));
    spoilt["imagePullSecrets"] = json!([{"name": "spoilt"}]);
    vec![
        workload("Deployment", "shop", "web", one(&format!("{SHOP}/web:1.4.2"))),
        workload("Deployment", "shop", "api", one(&format!("{SHOP}/api:2.0.0"))),
        workload("CronJob", "shop", "checkout", one(&format!("{SHOP}/checkout:5.0.0"))),
        workload("Deployment", "shop", "init", init),
        workload("DaemonSet", "shop", "agent", never),
        workload("StatefulSet", "shop", "spoilt", spoilt),
        workload("Deployment", "bank", "checkout", one(&format!("{SHOP}/checkout:5.0.0"))),
        workload("Deployment", "lab", "odd", one("harbor.fra.example.com/\u{202e}gnp.exe:\u{1b}[31m")),
        workload("Deployment", "lab", "web", one(&format!("{SHOP}/web:1.4.2"))),
    ]
}

fn keys() -> Vec<Value> {
    let secret = |name: &str, body: &str| {
        json!({"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/dockerconfigjson",
               "metadata": {"name": name, "namespace": "shop"}, "data": {".dockerconfigjson": STANDARD.encode(body)}})
    };
    let auth = STANDARD.encode("robot$landfall:landfall-Secret1");
    vec![
        secret("harbor-ams-creds", &json!({"auths": {"harbor.ams.example.com": {"auth": auth}}}).to_string()),
        secret("spoilt", r#"{"auths":{"elsewhere.example.com":{"auth":"?"}}}"#),
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": "shop"}}),
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "bank", "labels": {"tier": "regulated"}}}),
    ]
}

impl Ground {
    async fn lay() -> Self {
        let world = demo().await.unwrap();
        let config = world.world.write("site.yaml", &site::configuration(&world)).unwrap();
        let documents = workloads().into_iter().chain(keys()).map(|object| object.to_string());
        let text = documents.collect::<Vec<_>>().join("\n---\n");
        let manifests = world.world.write("manifests/all.yaml", &text).unwrap();
        Self { world, config, manifests }
    }

    async fn drill(&self, columns: Option<&str>, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_landfall"));
        command.arg("drill").args(arguments).arg("--config").arg(&self.config);
        command.env_remove("KUBECONFIG").env_remove("COLUMNS").env("NO_COLOR", "1");
        command.envs(columns.map(|columns| ("COLUMNS", columns)));
        // The world answers on this runtime meanwhile.
        tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
    }

    fn of_manifests<'a>(&'a self, more: &[&'a str]) -> Vec<&'a str> {
        let file = self.manifests.to_str().unwrap();
        let mut arguments = vec!["--lose=fra", "--bandwidth=100MiB/s", "--offline", "-f", file];
        arguments.extend(more);
        arguments
    }
}

fn said(Output { status, stdout, stderr }: Output) -> (String, Option<i32>) {
    (String::from_utf8(stdout).unwrap() + &String::from_utf8(stderr).unwrap(), status.code())
}

#[tokio::test(flavor = "multi_thread")]
async fn it_fits_each_terminal() {
    let ground = Ground::lay().await;
    for (name, columns) in [("60", Some("60")), ("80", Some("80")), ("200", Some("200")), ("pipe", None)] {
        let (text, code) = said(ground.drill(columns, &ground.of_manifests(&[])).await);
        assert_eq!(code, Some(1), "{text}");
        let most = columns.map_or(usize::MAX, |columns| columns.parse().unwrap());
        // What has no blank is not broken: it can be copied.
        let fits = |line: &&str| line.chars().count() <= most || line.trim().split(' ').count() <= 2;
        assert_eq!(text.lines().find(|line| !fits(line)), None);
        assert!(!text.contains(['\u{1b}', '\u{202e}']), "{text}");
        insta::assert_snapshot!(name, text);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn scripts_get_json() {
    let ground = Ground::lay().await;
    let Output { stdout, .. } = ground.drill(None, &ground.of_manifests(&["-o", "json"])).await;
    let printed: Value = serde_json::from_slice(&stdout).unwrap();
    let schema: Value = serde_json::from_str(include_str!("../../manifests/schemas/drill.json")).unwrap();
    let known = schema["properties"].as_object().unwrap();
    assert!(printed.as_object().unwrap().keys().all(|key| known.contains_key(key)));
    assert!(printed["method"].as_str().unwrap().contains("a forecast, not a switchover"));
    assert_eq!((&printed["total"], &printed["lost"]), (&json!(9), &json!(["fra"])));
    let named = |name: &str, namespace: &str| {
        let all = printed["workloads"].as_array().unwrap();
        all.iter().find(|one| one["name"] == name && one["namespace"] == namespace).unwrap().clone()
    };
    assert_eq!(named("web", "shop")["prospect"], "Starts");
    assert_eq!(named("checkout", "bank")["images"][0]["obstacle"], "Denied");
    assert_eq!(named("agent", "shop")["images"][0]["obstacle"], "NeverPulled");
    assert_eq!(named("spoilt", "shop")["images"][0]["obstacle"], "MalformedSecret");
    // All start: the exit status says so.
    let (text, code) = said(
        ground
            .drill(
                None,
                &["--lose=edge", "-n", "shop", "--offline", "-f", &{
                    let file = ground.world.world.write("one.yaml", &workloads()[0].to_string()).unwrap();
                    file.to_str().unwrap().to_owned()
                }],
            )
            .await,
    );
    assert_eq!(code, Some(0), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_used_is_said() {
    let ground = Ground::lay().await;
    let empty = ground.world.world.write("empty.yaml", "kind: ConfigMap\n").unwrap();
    let broken = ground
        .world
        .world
        .write("broken.yaml", "kind: Deployment\napiVersion: apps/v1\nmetadata: {name: x}\n")
        .unwrap();
    for (arguments, expected) in [
        (vec!["--offline"], "--lose <NAME,…>"),
        (
            vec!["--lose=nowhere", "--offline", "-f", empty.to_str().unwrap()],
            "`nowhere` is no registry of the configuration; it has ams, edge, fra",
        ),
        (vec!["--lose=fra", "--offline"], "name manifests with -f"),
        (vec!["--lose=fra", "--offline", "-f", "/nowhere.yaml"], "cannot read `/nowhere.yaml`"),
        (vec!["--lose=fra", "--offline", "-f", empty.to_str().unwrap()], "there is no workload to drill"),
        (vec!["--lose=fra", "--offline", "-f", broken.to_str().unwrap()], "has no template of Pods"),
        (vec!["--lose=fra", "--bandwidth=fast", "--offline"], "is no rate such as `100MiB/s`"),
    ] {
        let (text, code) = said(ground.drill(None, &arguments).await);
        assert!(code == Some(2) && text.contains(expected), "{arguments:?}: {text}");
    }
}

/// With the rights of the role `view`: workloads and ServiceAccounts, no Secrets and no LandingPolicies.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_viewer_may_not_read_is_said() {
    let ground = Ground::lay().await;
    let mut objects = BTreeMap::new();
    for path in [
        "/api/v1/pods",
        "/api/v1/replicationcontrollers",
        "/apis/apps/v1/statefulsets",
        "/apis/apps/v1/daemonsets",
        "/apis/apps/v1/replicasets",
        "/apis/batch/v1/cronjobs",
        "/apis/batch/v1/jobs",
    ] {
        objects.insert(path.to_owned(), cluster::list(vec![]));
    }
    objects.insert(
        "/apis/apps/v1/deployments".to_owned(),
        cluster::list(workloads().into_iter().take(2).collect()),
    );
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": "shop"}});
    objects.insert("/api/v1/namespaces/shop/serviceaccounts/default".to_owned(), account);
    objects.insert(
        "/api/v1/namespaces/shop".to_owned(),
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}),
    );
    for path in [
        "/api/v1/namespaces/shop/secrets/harbor-ams-creds",
        "/apis/landfall.dev/v1alpha1/replicationgaps",
        "/apis/landfall.dev/v1alpha1/landingpolicies",
    ] {
        objects.insert(path.to_owned(), Value::Null);
    }
    let server = cluster::serve(objects).await;
    let kubeconfig = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "c", "users": [{"name": "u", "user": {}}],
        "clusters": [{"name": "c", "cluster": {"server": server}}], "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
    });
    let file = ground.world.world.write("kubeconfig", &kubeconfig.to_string()).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_landfall"));
    command.args(["drill", "--lose=fra", "--bandwidth=1GB/s", "--config"]).arg(&ground.config);
    command.env("KUBECONFIG", file).env_remove("COLUMNS");
    let (text, code) = said(tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap());
    assert_eq!(code, Some(0), "{text}");
    for expected in [
        "2 of 2 workloads would start without fra",
        "Secret shop/harbor-ams-creds could not be read (you may not read it)",
        "since when copies are lacking is not known",
        "the LandingPolicies of the cluster do not count here",
    ] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
}
