//! Rotation before an API server in memory, and registries that are up and down.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{Method, StatusCode};
use jiff::Timestamp;
use prometheus_client::registry::Registry as Page;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::*;
use crate::cluster::Cluster;
use crate::config::{self, Files};
use crate::controllers::leader::Leading;
use crate::demo::world::faults::{Fault, Scope};
use crate::demo::world::{Account, Embedded, Namespace, Permission, World, entry};
use crate::domain::settings::Settings;
use crate::evidence::Observatory;

/// The Secrets of a cluster by namespace, and what was written, in order.
#[derive(Clone, Default)]
struct Secrets {
    held: Arc<Mutex<BTreeMap<String, Value>>>,
    written: Arc<Mutex<Vec<String>>>,
}

impl Secrets {
    /// One of Landfall's, with content of this hash.
    fn put(&self, namespace: &str, name: &str, registry: &str, hash: &str) {
        let secret = json!({"metadata": {
            "name": name, "namespace": namespace, "uid": "1", "resourceVersion": "1",
            "labels": {"app.kubernetes.io/managed-by": "landfall", "landfall.dev/registry": registry},
            "annotations": {"landfall.dev/pull-credentials": hash},
        }});
        self.held.lock().unwrap().insert(namespace.to_owned(), secret);
    }

    fn hash(&self, namespace: &str) -> String {
        let held = self.held.lock().unwrap();
        held[namespace]["metadata"]["annotations"]["landfall.dev/pull-credentials"]
            .as_str()
            .unwrap()
            .to_owned()
    }

    fn written(&self) -> Vec<String> {
        self.written.lock().unwrap().clone()
    }

    /// The API server.
    fn answer(&self, head: &http::request::Parts, body: &Value) -> (StatusCode, String) {
        let (path, query) = (head.uri.path(), head.uri.query().unwrap_or_default());
        let mut held = self.held.lock().unwrap();
        if path == "/api/v1/secrets" {
            let name =
                query.strip_prefix("fieldSelector=metadata.name%3D").unwrap().split('&').next().unwrap();
            let items: Vec<_> =
                held.values().filter(|one| one["metadata"]["name"] == name).cloned().collect();
            return (StatusCode::OK, json!({"metadata": {}, "items": items}).to_string());
        }
        let namespace = path.split('/').nth(4).unwrap_or_default();
        let immutable = held.get(namespace).is_some_and(|one| one["immutable"] == true);
        let refused = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "metadata": {},
                             "code": 422, "reason": "Invalid", "message": "field is immutable"});
        let dry_run = query.contains("dryRun=All");
        let how = if dry_run { " as a dry run" } else { "" };
        self.written.lock().unwrap().push(format!("{} {namespace}{how}", head.method));
        let status = |code: StatusCode, reason: &str| {
            let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "metadata": {},
                                "code": code.as_u16(), "reason": reason, "message": "as the test has it"});
            (code, status.to_string())
        };
        // Whoever judges objects is asked before it is seen whether there is one of that name.
        if namespace.starts_with("ruled") && head.method != Method::DELETE {
            return status(StatusCode::FORBIDDEN, "Forbidden");
        }
        match head.method {
            Method::POST if dry_run && held.contains_key(namespace) => {
                return status(StatusCode::CONFLICT, "AlreadyExists");
            }
            Method::PATCH if immutable => return (StatusCode::UNPROCESSABLE_ENTITY, refused.to_string()),
            Method::PATCH => json_patch::merge(held.get_mut(namespace).unwrap(), body),
            Method::DELETE => drop(held.remove(namespace)),
            _ => {
                let mut made = body.clone();
                json_patch::merge(
                    &mut made,
                    &json!({"metadata": {"namespace": namespace, "uid": "2", "resourceVersion": "1"}}),
                );
                held.insert(namespace.to_owned(), made);
            }
        }
        let secret = held.get(namespace).cloned();
        (StatusCode::OK, secret.unwrap_or_else(|| json!({"kind": "Status", "status": "Success"})).to_string())
    }
}

struct Site {
    world: World,
    ams: Embedded,
    fra: Embedded,
    settings: Arc<Settings>,
    observatory: Arc<Observatory>,
}

impl Site {
    /// Two Harbors, and credentials of a robot for each.
    async fn new() -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let world = World::new().unwrap();
        let (ams, fra) = (world.harbor("ams").await.unwrap(), world.harbor("fra").await.unwrap());
        let mut entries = Vec::new();
        for (name, harbor) in [("ams", &ams), ("fra", &fra)] {
            harbor.store().add_account(Account::robot("pull", Namespace::All, &[Permission::Pull]));
            give(&world, name, "robot$pull", "pull-Secret1");
            let dir = world.ca_file().with_file_name(format!("pull-{name}"));
            let more = format!(
                "pullSecret: {name}-creds, pullCredentials: {{dir: {:?}}}",
                dir.display().to_string()
            );
            entries.push(format!(
                "{name}: {}",
                entry(&harbor.registry(name, &format!("{name}.example.com")), &more)
            ));
        }
        let text = format!(
            "site: ams\nregistries: {{{}}}\nroutes:\n- name: r\n  primary: {{registry: fra, repositories: '**'}}\n  replicas: [{{registry: ams, namespace: ''}}]\npullSecrets: {{mode: Managed}}\n",
            entries.join(", ")
        );
        let loaded = config::parse(&text, "", Files::Check, Timestamp::now());
        let settings = Arc::new(loaded.unwrap_or_else(|problems| panic!("{problems}")).settings);
        let observatory = Arc::new(Observatory::new(&settings, &mut Page::default()));
        let probed = observatory.clone();
        tokio::spawn(async move { probed.watch(|| {}).await });
        Self { world, ams, fra, settings, observatory }
    }

    fn keep(&self, secrets: &Secrets) -> watch::Receiver<Standing> {
        let secrets = secrets.clone();
        let cluster = Cluster::answered_by(move |head, body| {
            let answer = secrets.answer(&head, &body);
            async move { answer }
        });
        let (metrics, (shown, standing)) =
            (PullSecretMetrics::default(), watch::channel(Standing::Good(String::new())));
        let (wants, queue) = Wants::new(metrics.clone());
        let (surveys, surveyed) = watch::channel(None);
        let (events, _) = cluster.events("landfall-0");
        let settings = Arc::new(ArcSwap::new(self.settings.clone()));
        let sources = Sources::new(self.observatory.clone());
        let keeper = Keeper::new(
            &cluster,
            crate::cluster::Namespaces::nowhere(),
            settings,
            "landfall",
            (sources, wants),
            surveyed,
            (Leading::always(), events),
            metrics,
        );
        tokio::spawn(async move {
            let _open = (queue, surveys);
            keeper.run(|standing| drop(shown.send(standing))).await;
        });
        standing
    }
}

fn give(world: &World, registry: &str, username: &str, password: &str) {
    let dir = world.ca_file().with_file_name(format!("pull-{registry}"));
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(dir.join("username"), username).unwrap();
    std::fs::write(dir.join("password"), password).unwrap();
}

async fn until_said(standing: &mut watch::Receiver<Standing>, what: &str) {
    let says = |standing: &Standing| match standing {
        Standing::Good(said) | Standing::Degraded(said) => said.contains(what),
    };
    let said = timeout(Duration::from_secs(60), standing.wait_for(says)).await.map(drop);
    assert!(said.is_ok(), "never: {what}; {:?}", *standing.borrow());
}

async fn until(what: &str, is_so: impl Fn() -> bool) {
    let so = async {
        while !is_so() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    assert!(timeout(Duration::from_secs(60), so).await.is_ok(), "never: {what}");
}

/// The hash of what the robot's credentials give.
fn hash(host: &str, username: &str, password: &str) -> String {
    crate::domain::pull_secrets::Content::new(host, username, &password.to_owned().into())
        .unwrap()
        .hash()
        .to_owned()
}

/// Somebody's admission takes no such Secret any more: the one that is there still lets Pods pull.
#[tokio::test(flavor = "multi_thread")]
async fn what_somebodys_rules_refuse_is_not_deleted_for_it() {
    let site = Site::new().await;
    let secrets = Secrets::default();
    secrets.put("ruled", "ams-creds", "ams", "old");
    secrets.put("z", "ams-creds", "ams", "old");
    let mut standing = site.keep(&secrets);
    let ams = hash("ams.example.com", "robot$pull", "pull-Secret1");
    until("the others are rotated", || secrets.hash("z") == ams).await;
    assert_eq!(secrets.written(), ["PATCH ruled", "POST ruled as a dry run", "PATCH z"]);
    until_said(&mut standing, "2 are kept").await;
    assert_eq!(secrets.hash("ruled"), "old");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_registry_is_rotated_at_a_time_the_half_done_first_and_only_while_it_is_up() {
    let site = Site::new().await;
    let [ams, fra] =
        ["ams", "fra"].map(|name| hash(&format!("{name}.example.com"), "robot$pull", "pull-Secret1"));
    let secrets = Secrets::default();
    for n in 0..3 {
        secrets.put(&format!("a{n}"), "ams-creds", "ams", "old");
        secrets.put(&format!("f{n}"), "fra-creds", "fra", if n == 1 { &fra } else { "old" });
    }
    // Somebody has made one immutable: it is made anew.
    secrets.held.lock().unwrap().get_mut("a1").unwrap()["immutable"] = json!(true);
    site.fra.faults().add(Scope::Everything, Fault::HangUp);
    let mut standing = site.keep(&secrets);
    until_said(&mut standing, "2 pull secrets of fra wait").await;
    assert!(secrets.written().is_empty(), "what is half done goes first, and its registry is down");
    site.fra.faults().clear();
    let all = [
        "PATCH f0",
        "PATCH f2",
        "PATCH a0",
        "PATCH a1",
        "POST a1 as a dry run",
        "DELETE a1",
        "POST a1",
        "PATCH a2",
    ];
    until("all are rotated", || secrets.written().len() == all.len()).await;
    assert_eq!(secrets.written(), all);
    until_said(&mut standing, "6 are kept").await;
    for n in 0..3 {
        assert_eq!(
            (secrets.hash(&format!("a{n}")), secrets.hash(&format!("f{n}"))),
            (ams.clone(), fra.clone())
        );
    }
    let made = secrets.held.lock().unwrap()["a1"]["data"][".dockerconfigjson"].clone();
    let made = STANDARD.decode(made.as_str().unwrap()).unwrap();
    assert_eq!(made, secrets_of(&secrets, "a0"), "the same bytes");

    // Credentials that the registry rejects are never written, and keep nobody else waiting.
    give(&site.world, "ams", "robot$pull", "wrong");
    until_said(&mut standing, "ams rejects the credentials").await;
    site.fra.store().add_account(Account::robot("next", Namespace::All, &[Permission::Pull]));
    give(&site.world, "fra", "robot$next", "next-Secret1");
    until("fra is rotated", || secrets.written().len() == all.len() + 3).await;
    let next = hash("fra.example.com", "robot$next", "next-Secret1");
    assert_eq!((secrets.hash("f0"), secrets.hash("a0")), (next, ams.clone()));
    // The right ones come.
    site.ams.store().add_account(Account::robot("next", Namespace::All, &[Permission::Pull]));
    give(&site.world, "ams", "robot$next", "next-Secret1");
    until("ams is rotated", || secrets.hash("a2") != ams).await;
    assert_eq!(secrets.hash("a2"), hash("ams.example.com", "robot$next", "next-Secret1"));
}

/// The bytes that stand in a Secret.
fn secrets_of(secrets: &Secrets, namespace: &str) -> Vec<u8> {
    let held = secrets.held.lock().unwrap();
    STANDARD.decode(held[namespace]["data"][".dockerconfigjson"].as_str().unwrap()).unwrap()
}
