//! Pull secrets that Landfall makes, with the rights of the chart: in 200 namespaces at once, back after somebody has deleted one,
//! rotated while Pods pull, gone when nobody needs them, and never in place of somebody else's.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures::future::join_all;
use k8s_openapi::api::core::v1::{Namespace, Pod, Secret};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use landfall::facade::demo::world::faults::{Fault, Scope};
use landfall::facade::demo::world::{Account, Namespace as Projects, Permission};
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::metrics::Page;
use crate::plane::{Apart, Plane, until};
use crate::release::Release;
use crate::webhook::WEB;

const NAMESPACES: usize = 200;
const NAME: &str = "harbor-ams-creds";
const HOST: &str = "harbor.ams.example.com";
const MANIFEST: &str = "/v2/production/shop/web/manifests/1.4.2";

fn robot(name: &str) -> Account {
    Account::robot(name, Projects::All, &[Permission::Pull])
}

/// Writes the credentials down where Landfall finds them.
fn give(release: &Release, robot: &Account) {
    let [username, password] = [&robot.name, &robot.secret].map(|text| STANDARD.encode(text));
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "landfall-pull-ams", "namespace": release.name},
        "data": {"username": username, "password": password},
    });
    release.plane.apply(&secret.to_string());
}

/// What stands in a pull secret of this robot.
fn content(robot: &Account) -> String {
    let auth = STANDARD.encode(format!("{}:{}", robot.name, robot.secret));
    format!("{{\"auths\":{{\"{HOST}\":{{\"auth\":\"{auth}\"}}}}}}")
}

fn namespace(n: usize) -> String {
    format!("burst-{n}")
}

/// The pull secrets of the cluster: namespace → content.
async fn secrets(client: &Client) -> Vec<(String, String)> {
    let all: Api<Secret> = Api::all(client.clone());
    let named = ListParams::default().fields(&format!("metadata.name={NAME}"));
    let found = all.list(&named).await.unwrap().items.into_iter().map(|secret| {
        let content = secret.data.unwrap().remove(".dockerconfigjson").unwrap().0;
        (secret.metadata.namespace.unwrap(), String::from_utf8(content).unwrap())
    });
    found.collect()
}

/// Looks until that is so.
async fn until_secrets(client: &Client, what: &str, is_so: impl Fn(&[(String, String)]) -> bool) {
    let mut left = 900;
    loop {
        let now = secrets(client).await;
        if is_so(&now) {
            return;
        }
        left -= 1;
        let contents: BTreeSet<_> = now.iter().map(|(_, content)| content).collect();
        assert!(left > 0, "never: {what}; there are {} with {contents:?}", now.len());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Creates a Pod in a namespace that may have begun this moment: its account may not be there yet.
async fn run(client: &Client, namespace: &str, name: &str) -> Pod {
    let pod: Pod = serde_json::from_value(json!({
        "metadata": {"name": name}, "spec": {"containers": [{"name": "web", "image": WEB}]},
    }))
    .unwrap();
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    for _ in 0..3_000 {
        match pods.create(&PostParams::default(), &pod).await {
            Ok(made) => return made,
            Err(kube::Error::Api(status))
                if status.code == 403 && status.message.contains("serviceaccount") =>
            {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Err(error) => panic!("{error}"),
        }
    }
    panic!("{namespace} has no account");
}

/// Pulls as a kubelet does: with the Secrets that the Pod itself names.
async fn pull(client: &Client, registry: &(reqwest::Client, String), pod: &Pod) -> Result<(), String> {
    let (http, url) = registry;
    let namespace = pod.metadata.namespace.clone().unwrap();
    let secrets: Api<Secret> = Api::namespaced(client.clone(), &namespace);
    let mut said = "it names no Secret".to_owned();
    for name in pod.spec.as_ref().unwrap().image_pull_secrets.iter().flatten().map(|one| &one.name) {
        let Some(secret) = secrets.get_opt(name).await.unwrap() else {
            said = format!("there is no Secret {name}");
            continue;
        };
        let file: Value = serde_json::from_slice(&secret.data.unwrap()[".dockerconfigjson"].0).unwrap();
        let auth = file["auths"][HOST]["auth"].as_str().unwrap().to_owned();
        let ask = http.get(format!("{url}{MANIFEST}")).header("authorization", format!("Basic {auth}"));
        let ask = ask.header("accept", "application/vnd.oci.image.manifest.v1+json");
        match ask.send().await.unwrap().status() {
            StatusCode::OK => return Ok(()),
            status => said = format!("{namespace}: {status}"),
        }
    }
    Err(said)
}

/// The sum of a counter over all replicas.
async fn counted(release: &Release, result: &str) -> f64 {
    let mut sum = 0.0;
    for pod in release.replicas().values() {
        let (_, page) = release.admin(pod, "/metrics").await;
        sum += Page::read(&page).sum("landfall_pull_secret_writes_total", &[("result", result)]);
    }
    sum
}

/// Waits until the leader has seen so many of ours.
async fn until_kept(release: &Release, number: usize) {
    for _ in 0..900 {
        let mut kept = 0.0;
        for pod in release.replicas().values() {
            let (_, page) = release.admin(pod, "/metrics").await;
            kept += Page::read(&page).sum("landfall_pull_secrets", &[("state", "Current")]);
        }
        if kept as usize == number {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("the leader never saw {number}");
}

/// What the replicas say of the condition.
async fn said(release: &Release) -> String {
    let mut all = String::new();
    for pod in release.replicas().values() {
        let (_, page) = release.admin(pod, "/readyz?verbose").await;
        all.extend(page.lines().filter(|line| line.contains("PullSecrets")));
    }
    all
}

async fn until_said(release: &Release, what: &str) {
    let mut last = String::new();
    for _ in 0..900 {
        last = said(release).await;
        if last.contains(what) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("never said: {what}; last {last}");
}

/// The rights that Landfall's account has, tried out.
async fn is_held(plane: &Plane, release: &str) {
    let account = format!("--as=system:serviceaccount:{release}:{release}");
    let refused = |arguments: &[&str], why: &str| {
        let output = plane.kubectl(&[arguments, &[&account]].concat());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(why), "{arguments:?}: {said}");
    };
    let make = |name: &str, labels: Value, kind: &str| {
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "type": kind, "metadata": {"name": name, "labels": labels},
            "data": {".dockerconfigjson": STANDARD.encode(r#"{"auths":{}}"#)},
        });
        plane.write_new(&secret.to_string()).display().to_string()
    };
    let ours = json!({"app.kubernetes.io/managed-by": "landfall", "landfall.dev/registry": "ams"});
    let docker = "kubernetes.io/dockerconfigjson";
    let guard = "pull-secrets";
    for (name, labels, kind) in
        [("other", ours.clone(), docker), (NAME, json!({}), docker), (NAME, ours.clone(), "Opaque")]
    {
        refused(&["create", "-n", "default", "-f", &make(name, labels, kind)], guard);
    }
    let label = r#"{"metadata":{"labels":{"app.kubernetes.io/managed-by":"landfall","landfall.dev/registry":"ams"}}}"#;
    // kubectl would read it first.
    let file = Kubeconfig::read_from(plane.kubeconfig_of(release, release)).unwrap();
    let config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await.unwrap();
    let secrets: Api<Secret> = Api::namespaced(Client::try_from(config).unwrap(), "foreign");
    let label: Value = serde_json::from_str(label).unwrap();
    let patched = secrets.patch(NAME, &PatchParams::default(), &Patch::Merge(&label)).await;
    assert!(patched.as_ref().is_err_and(|error| error.to_string().contains(guard)), "{patched:?}");
    let deleted = secrets.delete(NAME, &DeleteParams::default()).await;
    assert!(deleted.as_ref().is_err_and(|error| error.to_string().contains(guard)), "{deleted:?}");
    // RBAC: of Secrets it lists these names alone, and reads no other.
    refused(&["get", "secrets", "-A"], "forbidden");
    refused(&["get", "secrets", "-n", "foreign"], "forbidden");
    refused(&["get", "secret", "other", "-n", "foreign"], "forbidden");
    refused(&["get", "secret", NAME, "-n", "foreign"], "forbidden");
    let patched = secrets.patch("other", &PatchParams::default(), &Patch::Merge(&label)).await;
    assert!(patched.as_ref().is_err_and(|error| error.to_string().contains("forbidden")), "{patched:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn they_are_made_in_time_rotated_with_care_and_never_in_place_of_others() {
    let apart = Apart::start();
    let plane = apart.0;
    let release = Release::prepare(plane, "pulls").await;
    let client = plane.client().await;
    let (old, new) = (robot("pull-1"), robot("pull-2"));
    {
        let mut ams = release.demo.ams.store();
        ams.add_account(old.clone());
        ams.add_account(new.clone());
    }
    give(&release, &old);
    let config = release.config().replace(
        "pullSecret: harbor-ams-creds",
        "pullSecret: harbor-ams-creds, pullCredentials: {dir: /etc/landfall/pull/ams}",
    ) + "pullSecrets: {mode: Managed}\n";
    // Somebody else's was there before.
    plane.namespace("foreign");
    for name in [NAME, "other"] {
        plane.told(&[
            "create",
            "secret",
            "docker-registry",
            name,
            "-n",
            "foreign",
            "--docker-server=harbor.ams.example.com",
            "--docker-username=theirs",
            "--docker-password=theirs",
        ]);
    }
    let foreign = || {
        plane.told(&["get", "secret", NAME, "-n", "foreign", "-o", "jsonpath={.metadata.resourceVersion}"])
    };
    let untouched = foreign();
    let more = [
        "--set=pullCredentials.ams=landfall-pull-ams",
        "--set-json=namespaces.matchExpressions=[]",
        "--set=sweep.every=3s",
    ];
    release.helm_with("install", &config, &more);
    release.until_in_force();
    // Who asked were dry runs.
    assert!(secrets(&client).await.iter().all(|(namespace, _)| namespace == "foreign"));
    is_held(plane, release.name).await;

    // 200 namespaces at once, each with Pods in its first moment.
    let spaces: Api<Namespace> = Api::all(client.clone());
    let made = (0..NAMESPACES).map(|n| {
        let (client, spaces) = (client.clone(), spaces.clone());
        async move {
            let name = namespace(n);
            let object: Namespace = serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
            spaces.create(&PostParams::default(), &object).await.unwrap();
            [run(&client, &name, "first").await, run(&client, &name, "second").await]
        }
    });
    let pods: Vec<Pod> = join_all(made).await.into_iter().flatten().collect();
    run(&client, "foreign", "theirs").await;
    let ours = |now: &[(String, String)], content: &str| {
        now.iter().filter(|(namespace, is)| namespace.starts_with("burst-") && is == content).count()
    };
    let old_content = content(&old);
    until_secrets(&client, "each namespace has its Secret, with the same bytes", |now| {
        ours(now, &old_content) == NAMESPACES && now.len() == NAMESPACES + 1
    })
    .await;
    let (created, exists) = (counted(&release, "Created").await, counted(&release, "Exists").await);
    let failed = counted(&release, "Failed").await;
    eprintln!("{created} created, {exists} were there, {failed} failed, for {} Pods", pods.len());
    // Each replica tells once of a namespace, however many Pods it has.
    assert_eq!(created, NAMESPACES as f64);
    assert!(exists <= (2 * (NAMESPACES + 1) + 1) as f64, "{exists}");

    // Somebody else's is left alone, and its people are told once.
    let events = || {
        let only = "--field-selector=reason=PullSecretLeftAlone";
        plane.told(&[
            "get",
            "events",
            "-n",
            "foreign",
            only,
            "-o",
            "jsonpath={.items[*].involvedObject.name}",
        ])
    };
    until("it is told of", || (events() == NAME).then_some(()));
    assert_eq!(foreign(), untouched);

    // What the leader has seen comes back if somebody deletes it.
    until_kept(&release, NAMESPACES).await;
    plane.told(&["delete", "secret", NAME, "-n", &namespace(7)]);
    until_secrets(&client, "it comes back", |now| ours(now, &old_content) == NAMESPACES).await;

    // The registry is down: other credentials stay where they are.
    release.demo.ams.faults().add(Scope::Everything, Fault::HangUp);
    until("its replicas see that", || {
        let logs = release
            .replicas()
            .keys()
            .map(|pod| std::fs::read_to_string(plane.log(pod)).unwrap())
            .collect::<String>();
        logs.contains("ams: Down").then_some(())
    });
    give(&release, &new);
    until_said(&release, "ams is not up").await;
    until_secrets(&client, "nothing is rotated", |now| ours(now, &old_content) == NAMESPACES).await;
    assert_eq!(counted(&release, "Updated").await, 0.0);

    // It is back, and Pods pull all the time: by the Secrets that they have in that moment.
    let authority = reqwest::Certificate::from_pem(release.demo.world.authority().pem().as_bytes()).unwrap();
    let http = reqwest::Client::builder().tls_certs_only([authority]).no_proxy().build().unwrap();
    let registry = (http, release.demo.ams.url());
    release.demo.ams.faults().clear();
    let (stop, pulled) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let pullers: Vec<_> = (0..4)
        .map(|offset| {
            let (client, registry, pods) = (client.clone(), registry.clone(), pods.clone());
            let (stop, pulled) = (stop.clone(), pulled.clone());
            tokio::spawn(async move {
                let mut failures = BTreeSet::new();
                for n in (offset..).step_by(7) {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    failures.extend(pull(&client, &registry, &pods[n % pods.len()]).await.err());
                    pulled.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                failures
            })
        })
        .collect();
    let new_content = content(&new);
    until_secrets(&client, "all are rotated", |now| ours(now, &new_content) == NAMESPACES).await;
    release.demo.ams.store().remove_account(&old.name);
    let so_far = pulled.load(Ordering::Relaxed);
    until("Pods pull without the old robot", || {
        (pulled.load(Ordering::Relaxed) > so_far + 100).then_some(())
    });
    stop.store(true, Ordering::Relaxed);
    for puller in pullers {
        assert_eq!(puller.await.unwrap(), BTreeSet::new());
    }
    eprintln!(
        "{} pulls while {} Secrets were rotated",
        pulled.load(Ordering::Relaxed),
        counted(&release, "Updated").await
    );
    assert_eq!(counted(&release, "Updated").await, NAMESPACES as f64);

    // Nobody needs it in one of them.
    let empty = namespace(3);
    plane.told(&["delete", "pod", "--all", "-n", &empty, "--force", "--grace-period=0"]);
    until_secrets(&client, "it is gone where no Pod needs it", |now| {
        now.iter().all(|(namespace, _)| *namespace != empty) && ours(now, &new_content) == NAMESPACES - 1
    })
    .await;
    // The next Pod may come at once.
    let back = run(&client, &empty, "again").await;
    until_secrets(&client, "and back for the next Pod", |now| ours(now, &new_content) == NAMESPACES).await;
    pull(&client, &registry, &back).await.unwrap();
    assert_eq!(foreign(), untouched);
    assert_eq!(events(), NAME);
}
