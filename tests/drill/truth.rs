//! The truth: the registries are gone, every Pod is created again through both doors, and skopeo pulls what nodes would pull.
//!
//! Nothing here is of the forecast: which credentials the kubelet would use is written down a second time, for the Secrets that
//! these worlds have.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;

use arc_swap::ArcSwap;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::StreamExt as _;
use jiff::Timestamp;
use landfall::facade::admission::{Doors, LabelsOf, Metrics};
use landfall::facade::domain::policy::Labels;
use landfall::facade::domain::settings::Settings;
use landfall::facade::evidence::{Health, Observatory};
use prometheus_client::registry::Registry as Page;
use serde_json::{Value, json};
use tokio::process::Command;

use super::wait::until;
use super::world::{Ground, Workload};

/// How many skopeos run at once.
const AT_ONCE: usize = 4;

/// A pull that skopeo tries.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Pull {
    image: String,
    /// User and password, one after the other; none: without.
    credentials: Vec<(String, String)>,
    architecture: &'static str,
}

/// A pull, and what came of it.
type Tried<'a> = (&'a Pull, &'a Result<(), String>);

/// Which workloads start, by their names.
pub async fn starts(ground: &Ground, settings: &Settings) -> BTreeMap<String, Result<(), String>> {
    let pods = created(ground, settings).await;
    let mut started = BTreeMap::new();
    let mut wanted: BTreeMap<&str, Vec<Pull>> = BTreeMap::new();
    for (workload, pod) in ground.workloads.iter().zip(&pods) {
        let pulls = pod.as_ref().map_err(Clone::clone).and_then(|pod| pulls(ground, workload, pod));
        match pulls {
            Ok(pulls) => drop(wanted.insert(&workload.name, pulls)),
            Err(why) => drop(started.insert(workload.name.clone(), Err(why))),
        }
    }
    let each: BTreeSet<Pull> = wanted.values().flatten().cloned().collect();
    let folder = ground.world.write("trust/ca.crt", &ground.world.authority().pem()).unwrap();
    let trust = folder.parent().unwrap().to_owned();
    let found: BTreeMap<Pull, Result<(), String>> = futures::stream::iter(each.into_iter().enumerate())
        .map(|(n, pull)| {
            let trust = trust.clone();
            async move {
                let outcome = pulled(ground, n, &pull, &trust).await;
                (pull, outcome)
            }
        })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    for (name, pulls) in wanted {
        // A Pod without a nodeSelector may come to any node. Where an index never listed a platform, its Pods never ran there.
        let mut images: BTreeMap<&str, Vec<Tried<'_>>> = BTreeMap::new();
        for pull in &pulls {
            images.entry(&pull.image).or_default().push((pull, &found[pull]));
        }
        let is_elsewhere = |why: &str| why.contains("no image found in manifest list for architecture");
        let failed = images.values().find_map(|all| {
            let any = all.iter().any(|(_, outcome)| outcome.is_ok());
            all.iter().find_map(|(pull, outcome)| {
                let why = outcome.as_ref().err().filter(|why| !any || !is_elsewhere(why))?;
                Some(format!("{} for {}: {why}", pull.image, pull.architecture))
            })
        });
        started.insert(name.to_owned(), failed.map_or(Ok(()), Err));
    }
    started
}

/// Creates every Pod, as an API server would: its ServiceAccount's pull secrets, the first door, the second.
async fn created(ground: &Ground, settings: &Settings) -> Vec<Result<Value, String>> {
    let settings = Arc::new(ArcSwap::from_pointee(settings.clone()));
    let observatory = {
        let settings = settings.load_full();
        Arc::new(
            tokio::task::spawn_blocking(move || Observatory::new(&settings, &mut Page::default()))
                .await
                .unwrap(),
        )
    };
    let watching = observatory.clone();
    let watch = tokio::spawn(async move { watching.watch(|| {}).await });
    let probed = || observatory.health().iter().all(|report| report.health != Health::Unprobed);
    until("every registry is probed", probed).await;
    let namespaces = ground.namespaces.clone();
    let labels: LabelsOf = Arc::new(move |namespace| {
        let labels: Labels = namespaces.get(namespace).cloned().unwrap_or_default().into_iter().collect();
        Box::pin(std::future::ready(Arc::new(labels)))
    });
    let mut last: Option<Vec<Result<Value, String>>> = None;
    loop {
        // Doors that just opened remember no verdict.
        let doors =
            Doors::new(settings.clone(), observatory.clone(), Metrics::register(&mut Page::default()));
        let routers = doors.labels(labels.clone()).own_namespace("landfall").routers();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let app = routers.mutate.merge(routers.validate);
        let serving = tokio::spawn(async move { axum::serve(listener, app).await });
        let mut pods = Vec::new();
        for workload in &ground.workloads {
            pods.push(create(ground, &settings.load(), workload, &url).await);
        }
        serving.abort();
        // What is looked up behind is known once nothing changes any more.
        if last.as_ref() == Some(&pods) {
            watch.abort();
            observatory.close().await;
            return pods;
        }
        last = Some(pods);
    }
}

async fn create(
    ground: &Ground,
    settings: &Settings,
    workload: &Workload,
    url: &str,
) -> Result<Value, String> {
    let Workload { namespace, template, name, .. } = workload;
    let mut pod = template.clone();
    pod["apiVersion"] = json!("v1");
    pod["kind"] = json!("Pod");
    pod["metadata"]["namespace"] = json!(namespace);
    if pod["spec"]["imagePullSecrets"].is_null() && !ground.accounts[namespace].is_empty() {
        pod["spec"]["imagePullSecrets"] =
            ground.accounts[namespace].iter().map(|name| json!({"name": name})).collect();
    }
    if settings.leaves_alone(namespace, Some("landfall")) {
        return Ok(pod);
    }
    let review = |pod: &Value| {
        json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
            "uid": name, "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "resource": {"group": "", "version": "v1", "resource": "pods"}, "name": name, "namespace": namespace,
            "operation": "CREATE", "userInfo": {"username": "jane"}, "object": pod, "dryRun": false}})
    };
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let ask = async |path: String, body: Value| {
        let answer = client
            .post(format!("{url}{path}?timeout=9s"))
            .header("content-type", "application/json")
            .body(body.to_string());
        let answer = answer.send().await.unwrap().error_for_status().unwrap().bytes().await.unwrap();
        serde_json::from_slice::<Value>(&answer).unwrap()["response"].clone()
    };
    let denied = |response: &Value| {
        (response["allowed"] == false).then(|| format!("denied: {}", response["status"]["message"]))
    };
    let first = ask("/mutate".into(), review(&pod)).await;
    if let Some(denied) = denied(&first) {
        return Err(denied);
    }
    if let Some(patch) = first["patch"].as_str() {
        let patch: json_patch::Patch = serde_json::from_slice(&STANDARD.decode(patch).unwrap()).unwrap();
        json_patch::patch(&mut pod, &patch).unwrap();
    }
    let labels: Labels = ground.namespaces[namespace].clone().into_iter().collect();
    let regime = settings.regime(&labels, Timestamp::now());
    let entries: BTreeSet<String> =
        regime.enforcing.iter().map(|policy| policy.selector.id().to_string()).collect();
    for entry in entries {
        let second = ask(format!("/validate/{entry}"), review(&pod)).await;
        if let Some(denied) = denied(&second) {
            return Err(format!("at the second door: {denied}"));
        }
    }
    // What Landfall tells in its annotation is not what a node looks at.
    pod["metadata"]["annotations"] = Value::Null;
    Ok(pod)
}

/// What the nodes would pull for a Pod.
fn pulls(ground: &Ground, workload: &Workload, pod: &Value) -> Result<Vec<Pull>, String> {
    let spec = &pod["spec"];
    let mut images: Vec<(&Value, &Value)> = Vec::new();
    for list in ["containers", "initContainers"] {
        images.extend(
            spec[list].as_array().into_iter().flatten().map(|one| (&one["image"], &one["imagePullPolicy"])),
        );
    }
    let volumes =
        spec["volumes"].as_array().into_iter().flatten().filter(|volume| volume.get("image").is_some());
    images.extend(volumes.map(|volume| (&volume["image"]["reference"], &volume["image"]["pullPolicy"])));
    let keys = keys(ground, &workload.namespace, spec)?;
    let architectures: &[&str] = match spec["nodeSelector"]["kubernetes.io/arch"].as_str() {
        Some("arm64") => &["arm64"],
        Some(_) => &["amd64"],
        None => &["amd64", "arm64"],
    };
    let mut pulls = Vec::new();
    for (image, policy) in images {
        let image = image.as_str().unwrap();
        if policy == "Never" {
            return Err(format!("{image} is never pulled"));
        }
        let Some((host, path)) = image.split_once('/') else { return Err(format!("{image} has no host")) };
        let path = path.split_once('@').map_or(path, |(path, _)| path);
        let path = path.rsplit_once(':').map_or(path, |(path, _)| path);
        let mut found: Vec<&Key> =
            keys.iter().filter(|key| key.host == host && format!("/{path}").starts_with(&key.path)).collect();
        found.sort_by(|a, b| (&b.host, &b.path).cmp(&(&a.host, &a.path)));
        let credentials: Vec<_> =
            found.into_iter().map(|key| (key.user.clone(), key.password.clone())).collect();
        for architecture in architectures {
            pulls.push(Pull {
                image: image.to_owned(),
                credentials: credentials.clone(),
                architecture: if *architecture == "arm64" { "arm64" } else { "amd64" },
            });
        }
    }
    Ok(pulls)
}

struct Key {
    host: String,
    path: String,
    user: String,
    password: String,
}

/// The entries of the Secrets that the Pod names, in its order.
fn keys(ground: &Ground, namespace: &str, spec: &Value) -> Result<Vec<Key>, String> {
    let mut keys = Vec::new();
    for named in spec["imagePullSecrets"].as_array().into_iter().flatten() {
        let name = named["name"].as_str().unwrap();
        let Some(secret) = ground.secrets.get(&(namespace.to_owned(), name.to_owned())) else { continue };
        let body = |key: &str| {
            let bytes = STANDARD.decode(secret["data"][key].as_str().unwrap()).unwrap();
            serde_json::from_slice::<Value>(&bytes).map_err(|error| format!("{name}: {error}"))
        };
        let auths = match secret["type"].as_str().unwrap() {
            "kubernetes.io/dockerconfigjson" => body(".dockerconfigjson")?["auths"].clone(),
            "kubernetes.io/dockercfg" => body(".dockercfg")?,
            _ => continue,
        };
        for (key, entry) in auths.as_object().into_iter().flatten() {
            let (user, password) = match entry["auth"].as_str() {
                Some(auth) => {
                    let pair = STANDARD.decode(auth).map_err(|_| format!("{name} is malformed"))?;
                    let pair = String::from_utf8(pair).unwrap();
                    let (user, password) = pair.split_once(':').unwrap();
                    (user.to_owned(), password.to_owned())
                }
                None => (
                    entry["username"].as_str().unwrap().to_owned(),
                    entry["password"].as_str().unwrap().to_owned(),
                ),
            };
            let place = key.trim_start_matches("https://");
            let place = place.rsplit_once('@').map_or(place, |(_, place)| place);
            let (host, path) = place.find('/').map_or((place, ""), |slash| place.split_at(slash));
            let path = if path == "/" { "" } else { path };
            keys.push(Key { host: host.to_owned(), path: path.to_owned(), user, password });
        }
    }
    Ok(keys)
}

/// Pulls with one of the credentials after the other.
async fn pulled(ground: &Ground, n: usize, pull: &Pull, trust: &std::path::Path) -> Result<(), String> {
    let mut said = Vec::new();
    let none = [(String::new(), String::new())];
    let all = if pull.credentials.is_empty() { &none[..] } else { &pull.credentials };
    for (attempt, (user, password)) in all.iter().enumerate() {
        match skopeo(ground, &format!("{n}-{attempt}"), pull, (user, password), trust).await {
            Ok(()) => return Ok(()),
            Err(why) => said.push(why),
        }
    }
    Err(said.join(" | "))
}

async fn skopeo(
    ground: &Ground,
    name: &str,
    pull: &Pull,
    (user, password): (&str, &str),
    trust: &std::path::Path,
) -> Result<(), String> {
    let host = pull.image.split_once('/').unwrap().0;
    let to: PathBuf = trust.parent().unwrap().join(format!("pulled-{name}"));
    let mut command = Command::new("skopeo");
    command.args(["--insecure-policy", "--command-timeout=120s", "--override-os=linux"]);
    command.arg(format!("--override-arch={}", pull.architecture)).arg("copy");
    command.arg("--src-cert-dir").arg(trust);
    if user.is_empty() {
        command.arg("--src-no-creds");
    } else {
        let auth = STANDARD.encode(format!("{user}:{password}"));
        let file = ground
            .world
            .write(&format!("auth/{name}.json"), &json!({"auths": {host: {"auth": auth}}}).to_string());
        command.arg("--src-authfile").arg(file.unwrap());
    }
    // skopeo refuses a reference with a tag and a digest; nodes take the digest.
    let (named, digest) =
        pull.image.split_once('@').map_or((&*pull.image, None), |(named, digest)| (named, Some(digest)));
    let image = match digest {
        Some(digest) => {
            let untagged = named.rfind('/').map_or(named, |slash| {
                named[slash..].rfind(':').map_or(named, |colon| &named[..slash + colon])
            });
            format!("{untagged}@{digest}")
        }
        None => named.to_owned(),
    };
    command.arg(format!("docker://{image}")).arg(format!("dir:{}", to.display()));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
    let output = command.output().await.unwrap();
    let _ = std::fs::remove_dir_all(&to);
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(said.lines().last().unwrap_or_default().to_owned())
}
