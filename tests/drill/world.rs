//! A world from a seed: registries, images with gaps of every kind, namespaces with pull secrets of every kind, and workloads.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fastrand::Rng;
use landfall::facade::demo::world::content::{Content, Flavour};
use landfall::facade::demo::world::{
    Account, Descriptors, Embedded, Login, Namespace, Permission, Scan, Visibility, World, entry,
};
use landfall::facade::domain::digest::Digest;
use landfall::facade::domain::scan::Severity;
use serde_json::{Value, json};

/// What a seed grows into.
pub struct Ground {
    pub world: World,
    pub fra: Embedded,
    pub ams: Embedded,
    pub edge: Embedded,
    /// Configured, and named by no Route.
    pub hub: Embedded,
    /// Configured, and down from the beginning.
    pub gone: Embedded,
    /// The registries that are lost.
    pub lost: Vec<&'static str>,
    pub configuration: String,
    /// The labels of each namespace.
    pub namespaces: BTreeMap<String, BTreeMap<String, String>>,
    /// The pull secrets of the default ServiceAccount of each namespace.
    pub accounts: BTreeMap<String, Vec<String>>,
    pub secrets: BTreeMap<(String, String), Value>,
    pub workloads: Vec<Workload>,
}

/// A workload.
pub struct Workload {
    pub kind: &'static str,
    pub namespace: String,
    pub name: String,
    /// `{"metadata": …, "spec": …}`
    pub template: Value,
}

/// The namespaces, and the tier whose policies select them.
const NAMESPACES: [(&str, Option<&str>); 8] = [
    ("shop", None),
    ("web", None),
    ("bank", Some("regulated")),
    ("pay", Some("strict")),
    ("lab", Some("trial")),
    ("data", None),
    ("harbor", None),
    ("kube-system", None),
];

/// How the images of a Route are named at Amsterdam.
#[derive(Clone, Copy)]
enum Layout {
    /// `{namespace: mirror, flatten: 1}`
    Level,
    /// The same paths.
    Same,
    /// `{namespace: mirror, flatten: 0}`
    Below,
    /// `{namespace: mirror, flatten: all}`: two sources may meet.
    Flat,
}

impl Layout {
    fn yaml(self) -> &'static str {
        match self {
            Self::Level => "namespace: mirror, flatten: 1",
            Self::Same => "namespace: \"\"",
            Self::Below => "namespace: mirror, flatten: 0",
            Self::Flat => "namespace: mirror, flatten: all",
        }
    }

    fn place(self, path: &str) -> String {
        match self {
            Self::Level => format!("mirror/{}", path.split_once('/').unwrap().1),
            Self::Same => path.to_owned(),
            Self::Below => format!("mirror/{path}"),
            Self::Flat => format!("mirror/{}", path.rsplit('/').next().unwrap()),
        }
    }
}

fn host(registry: &Embedded) -> String {
    registry.address().to_string()
}

fn docker_config(entries: &[(&str, &str, &str)]) -> Value {
    let auths: serde_json::Map<String, Value> = entries
        .iter()
        .map(|(key, user, secret)| {
            ((*key).to_owned(), json!({"auth": STANDARD.encode(format!("{user}:{secret}"))}))
        })
        .collect();
    json!({"auths": auths})
}

fn secret(namespace: &str, name: &str, kind: &str, key: &str, body: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": namespace},
        "type": kind, "data": {key: STANDARD.encode(body)},
    })
}

fn config_secret(namespace: &str, name: &str, body: &str) -> Value {
    secret(namespace, name, "kubernetes.io/dockerconfigjson", ".dockerconfigjson", body)
}

impl Ground {
    pub async fn grow(seed: u64, images: usize, workloads: usize) -> Self {
        let mut random = Rng::with_seed(seed);
        let world = World::new().unwrap();
        let (fra, ams) = (world.harbor("fra").await.unwrap(), world.harbor("ams").await.unwrap());
        let edge = world.plain("edge", Login::bearer("edge-user", "edge-Secret1")).await.unwrap();
        let hub = world
            .plain(
                "hub",
                if seed.is_multiple_of(2) { Login::Open } else { Login::basic("hub-user", "hub-Secret1") },
            )
            .await
            .unwrap();
        let gone = world.plain("gone", Login::Open).await.unwrap();
        gone.down().await;
        let layout = [Layout::Level, Layout::Same, Layout::Below, Layout::Flat][seed as usize % 4];
        let lost = match seed % 8 {
            3 => vec!["edge", "fra"],
            5 => vec!["edge"],
            6 => vec!["ams"],
            _ => vec!["fra"],
        };
        for harbor in [&fra, &ams] {
            let mut store = harbor.store();
            store.descriptors = if random.bool() { Descriptors::Storage } else { Descriptors::Cache };
            store.add_account(Account::robot("puller", Namespace::All, &[Permission::Pull]));
            store.add_account(Account::robot(
                "limited",
                Namespace::Project("mirror".into()),
                &[Permission::Pull],
            ));
            store.add_account(Account::user("jane", "jane-Secret1"));
        }
        ams.store().project("mirror");
        ams.store().project("public").visibility = Visibility::Public;
        ams.store().project("gated").prevent_vul = Some(Severity::High);
        ams.proxy(&world, "cache", &fra).unwrap();
        let configuration = configuration(&fra, &ams, &edge, &hub, &gone, layout, seed);
        let mut ground = Self {
            world,
            fra,
            ams,
            edge,
            hub,
            gone,
            lost,
            configuration,
            namespaces: BTreeMap::new(),
            accounts: BTreeMap::new(),
            secrets: BTreeMap::new(),
            workloads: Vec::new(),
        };
        ground.namespaces(&mut random);
        let mut names = Vec::new();
        for n in 0..images {
            names.extend(ground.image(n, layout, &mut random));
        }
        for n in 0..workloads {
            let one = ground.workload(n, &names, &mut random);
            ground.workloads.push(one);
        }
        ground
    }

    fn namespaces(&mut self, random: &mut Rng) {
        let (fra, ams, edge, hub) = (host(&self.fra), host(&self.ams), host(&self.edge), host(&self.hub));
        for (name, tier) in NAMESPACES {
            let mut labels = BTreeMap::from([("kubernetes.io/metadata.name".to_owned(), name.to_owned())]);
            labels.extend(tier.map(|tier| ("tier".to_owned(), tier.to_owned())));
            self.namespaces.insert(name.to_owned(), labels);
            let good = ("robot$puller", "puller-Secret1");
            for (registry, host) in [("ams", &ams), ("fra", &fra)] {
                let named = format!("{registry}-creds");
                let body = match random.u8(0..12) {
                    0 => continue,
                    1 => docker_config(&[(host, good.0, "wrong")]).to_string(),
                    2 => docker_config(&[(host, "robot$mirror+limited", "limited-Secret1")]).to_string(),
                    3 => docker_config(&[(&format!("https://{host}/mirror"), good.0, good.1)]).to_string(),
                    4 => docker_config(&[(&format!("someone@{host}"), good.0, good.1)]).to_string(),
                    5 => docker_config(&[
                        (host, "jane", "jane-Secret1"),
                        (&format!("https://{host}"), good.0, good.1),
                    ])
                    .to_string(),
                    6 => "null".to_owned(),
                    _ => docker_config(&[(host, good.0, good.1)]).to_string(),
                };
                self.secrets.insert((name.to_owned(), named.clone()), config_secret(name, &named, &body));
            }
            let edge_user = ("edge-user", "edge-Secret1");
            if random.u8(0..6) > 0 {
                let body = docker_config(&[(&edge, edge_user.0, edge_user.1)]).to_string();
                self.secrets.insert(
                    (name.to_owned(), "edge-creds".to_owned()),
                    config_secret(name, "edge-creds", &body),
                );
            }
            let others = [
                (
                    "hub-creds",
                    config_secret(
                        name,
                        "hub-creds",
                        &docker_config(&[(&hub, "hub-user", "hub-Secret1")]).to_string(),
                    ),
                ),
                ("old-creds", {
                    let body = json!({&ams: {"username": good.0, "password": good.1}}).to_string();
                    secret(name, "old-creds", "kubernetes.io/dockercfg", ".dockercfg", &body)
                }),
                (
                    "opaque",
                    secret(
                        name,
                        "opaque",
                        "Opaque",
                        ".dockerconfigjson",
                        &docker_config(&[(&ams, good.0, good.1)]).to_string(),
                    ),
                ),
                (
                    "malformed",
                    config_secret(
                        name,
                        "malformed",
                        r#"{"auths":{"elsewhere.example.com":{"auth":"not base64"}}}"#,
                    ),
                ),
                (
                    "wrong-first",
                    config_secret(
                        name,
                        "wrong-first",
                        &docker_config(&[(&format!("{ams}/"), "robot$nobody", "x"), (&ams, good.0, good.1)])
                            .to_string(),
                    ),
                ),
                (
                    "every",
                    config_secret(
                        name,
                        "every",
                        &docker_config(&[
                            (&ams, good.0, good.1),
                            (&fra, good.0, good.1),
                            (&edge, edge_user.0, edge_user.1),
                            (&hub, "hub-user", "hub-Secret1"),
                        ])
                        .to_string(),
                    ),
                ),
            ];
            for (named, object) in others {
                self.secrets.insert((name.to_owned(), named.to_owned()), object);
            }
            let account = match random.u8(0..6) {
                0 => vec![],
                1 => vec!["absent".to_owned()],
                2 => vec!["old-creds".to_owned(), "edge-creds".to_owned()],
                _ => vec!["every".to_owned()],
            };
            self.accounts.insert(name.to_owned(), account);
        }
    }

    /// One image, where it lies, and by which names workloads may name it.
    fn image(&self, n: usize, layout: Layout, random: &mut Rng) -> Vec<String> {
        let (fra, ams, edge, hub) = (host(&self.fra), host(&self.ams), host(&self.edge), host(&self.hub));
        let tag = ["v1.0", "1.4.2", "latest"][random.usize(0..3)];
        let text = format!("image {n} {}", random.u64(..));
        let content = match random.u8(0..6) {
            0 => Content::docker_image(&text),
            1 => Content::index(&text, Flavour::Oci, &["linux/amd64", "linux/arm64"]),
            2 => Content::index_with_attestation(&text, &["linux/amd64", "linux/arm64"]),
            3 => Content::image(&text).with_layer(&format!("more {text}")),
            4 => Content::index(&text, Flavour::Docker, &["linux/amd64"]),
            _ => Content::image(&text).with_layer("a layer that many have"),
        };
        let digest = content.digest;
        let ways = |host: &str, path: &str, random: &mut Rng| match random.u8(0..4) {
            0 => format!("{host}/{path}:{tag}@{digest}"),
            1 => format!("{host}/{path}@{digest}"),
            _ => format!("{host}/{path}:{tag}"),
        };
        match random.u8(0..20) {
            // Of a proxy cache.
            0 | 1 => {
                let path = format!("platform/base{n}");
                self.fra.store().push(&path, tag, &content);
                if random.bool() {
                    self.ams.store().push(&format!("cache/{path}"), tag, &content);
                }
                vec![ways(&fra, &path, random)]
            }
            // Of no replica.
            2 => {
                let path = format!("vendor/app{n}");
                self.fra.store().push(&path, tag, &content);
                vec![ways(&fra, &path, random)]
            }
            // Of a primary at our site.
            3 | 4 => {
                let path = format!("tools/app{n}");
                self.edge.store().push(&path, tag, &content);
                let copy = format!("tools-mirror/app{n}");
                match random.u8(0..3) {
                    0 => {}
                    1 => drop(self.ams.store().push(&copy, tag, &content)),
                    _ => drop(self.ams.store().push(&copy, tag, &Content::image(&format!("old {text}")))),
                }
                self.scan(&self.ams, digest, random);
                vec![ways(&edge, &path, random)]
            }
            // Of no Route.
            5 => {
                let path = format!("library/app{n}");
                if random.u8(0..4) > 0 {
                    self.hub.store().push(&path, tag, &content);
                }
                vec![ways(&hub, &path, random)]
            }
            6 => {
                let path = format!("{}/app{n}", ["public", "gated", "unrouted"][random.usize(0..3)]);
                self.ams.store().push(&path, tag, &content);
                self.scan(&self.ams, digest, random);
                vec![ways(&ams, &path, random)]
            }
            // Nowhere.
            7 => vec![match random.u8(0..4) {
                0 => format!("{}/some/app:{tag}", host(&self.gone)),
                1 => format!("nothing.invalid/some/app{n}:{tag}"),
                2 => format!("{fra}/Production/Upper{n}:{tag}"),
                _ => format!("{fra}/production/team/never-pushed{n}:{tag}"),
            }],
            _ => self.replicated(n, tag, &text, content, layout, random),
        }
    }

    fn replicated(
        &self,
        n: usize,
        tag: &str,
        text: &str,
        content: Content,
        layout: Layout,
        random: &mut Rng,
    ) -> Vec<String> {
        let (fra, ams) = (host(&self.fra), host(&self.ams));
        let path = format!("production/team{}/app{n}", n % 3);
        let (copy, digest) = (layout.place(&path), content.digest);
        self.fra.store().push(&path, tag, &content);
        self.scan(&self.fra, digest, random);
        let children: Vec<Digest> = content.children.iter().map(|child| child.content.digest).collect();
        let mut arrived = true;
        {
            let mut store = self.ams.store();
            match random.u8(0..20) {
                0 => arrived = false,
                1 => drop(store.push(&copy, tag, &Content::image(&format!("stale {text}")))),
                2 => {
                    store.push(&copy, tag, &content);
                    store.lose(&copy, &digest);
                }
                3 => {
                    store.push(&copy, tag, &content);
                    let of = children.first().copied().unwrap_or(digest);
                    let layers = store.layers(&copy, &of);
                    store.lose_layer(&copy, layers.last().unwrap());
                }
                4 => {
                    store.push(&copy, tag, &content);
                    let of = children.last().copied().unwrap_or(digest);
                    let layers = store.layers(&copy, &of);
                    store.lose_layer(&copy, &layers[0]);
                }
                5 if !children.is_empty() => {
                    store.push(&copy, tag, &content);
                    store.lose(&copy, &children[random.usize(0..children.len())]);
                }
                6 => {
                    // Only by its digest.
                    store.push_untagged(&copy, &content);
                }
                _ => drop(store.push(&copy, tag, &content)),
            }
        }
        if arrived {
            self.scan(&self.ams, digest, random);
        }
        if random.u8(0..3) == 0 {
            self.edge.store().push(&path, tag, &content);
        }
        let named = |host: &str, path: &str, random: &mut Rng| match random.u8(0..4) {
            0 => format!("{host}/{path}:{tag}@{digest}"),
            1 => format!("{host}/{path}@{digest}"),
            _ => format!("{host}/{path}:{tag}"),
        };
        let mut names = vec![named(&fra, &path, random)];
        if random.u8(0..4) == 0 {
            names.push(named(&ams, &copy, random));
        }
        names
    }

    fn scan(&self, at: &Embedded, digest: Digest, random: &mut Rng) {
        let scan = match random.u8(0..10) {
            0 => return,
            1 => Scan::Error(jiff::Timestamp::now()),
            2 => Scan::found(&[("CVE-2026-0001", Severity::Critical)]),
            _ => Scan::clean(),
        };
        at.store().set_scan(&digest, scan);
    }

    fn workload(&self, n: usize, names: &[String], random: &mut Rng) -> Workload {
        let kinds = ["Deployment", "StatefulSet", "DaemonSet", "CronJob", "Job", "Pod"];
        let kind = kinds[random.usize(0..kinds.len())];
        let (namespace, _) = NAMESPACES[random.usize(0..NAMESPACES.len())];
        let image = |random: &mut Rng| {
            let name = random.choice(names).unwrap().clone();
            let policy = match random.u8(0..30) {
                0 => "Never",
                1..15 => "IfNotPresent",
                _ => "Always",
            };
            (name, policy)
        };
        let mut spec = json!({"containers": []});
        for c in 0..random.usize(1..3) {
            let (name, policy) = image(random);
            let container = json!({"name": format!("c{c}"), "image": name, "imagePullPolicy": policy});
            spec["containers"].as_array_mut().unwrap().push(container);
        }
        if random.u8(0..5) == 0 {
            let (name, policy) = image(random);
            spec["initContainers"] = json!([{"name": "init", "image": name, "imagePullPolicy": policy}]);
        }
        if random.u8(0..6) == 0 {
            let (name, policy) = image(random);
            spec["volumes"] = json!([{"name": "empty"}, {"name": "model", "image": {"reference": name, "pullPolicy": policy}}]);
        }
        if random.u8(0..8) == 0 {
            let arch = if random.bool() { "arm64" } else { "amd64" };
            spec["nodeSelector"] = json!({"kubernetes.io/arch": arch});
        }
        let secrets: &[&str] = match random.u8(0..16) {
            0 => &["ams-creds"],
            1 => &["old-creds"],
            2 => &["opaque"],
            3 => &["every", "malformed"],
            4 => &["wrong-first"],
            5 => &["absent", "hub-creds"],
            6 => &["hub-creds", "edge-creds", "fra-creds"],
            _ => &[],
        };
        if !secrets.is_empty() {
            spec["imagePullSecrets"] = secrets.iter().map(|name| json!({"name": name})).collect();
        }
        let mut metadata = json!({"name": format!("w{n}")});
        if random.u8(0..20) == 0 {
            metadata["annotations"] = json!({"landfall.dev/mode": "Skip"});
        }
        let template = json!({"metadata": metadata, "spec": spec});
        Workload { kind, namespace: namespace.to_owned(), name: format!("w{n}"), template }
    }

    /// Takes the lost registries away.
    pub async fn lose(&self) {
        for name in &self.lost {
            match *name {
                "fra" => self.fra.down().await,
                "edge" => self.edge.down().await,
                _ => self.ams.down().await,
            }
        }
    }
}

fn configuration(
    fra: &Embedded,
    ams: &Embedded,
    edge: &Embedded,
    hub: &Embedded,
    gone: &Embedded,
    layout: Layout,
    seed: u64,
) -> String {
    let of =
        |registry: &Embedded, site: &str, more: &str| entry(&registry.registry(site, &host(registry)), more);
    let policy = |name: &str, tier: &str, enforcement: &str, more: &str| {
        format!(
            "- apiVersion: landfall.dev/v1alpha1\n  kind: LandingPolicy\n  metadata: {{name: {name}}}\n  spec:\n    namespaceSelector: {{matchLabels: {{tier: {tier}}}}}\n    enforcement: {enforcement}\n{more}"
        )
    };
    let all = "    onMissing: Block\n    onStale: Block\n    onUnscanned: Block\n    onVulnerable: Block\n    onUnrouted: Block\n    scan: {required: Always, maxSeverity: Medium}\n";
    let policies = policy("regulated", "regulated", "Enforce", all)
        + &policy("strict", "strict", "Enforce", "    onMissing: Block\n    onUnknown: Fallback\n")
        + &policy("trial", "trial", "Observe", all);
    let proof = if seed % 5 == 2 { "Required" } else { "Background" };
    let pin = ["TagAndDigest", "Off", "Digest"][seed as usize % 3];
    let also = if seed % 3 == 1 { "\n  - {registry: edge, tags: \"v*\"}" } else { "" };
    format!(
        "site: ams\nnear: {{ams: [fra]}}\nregistries:\n  fra: {}\n  ams: {}\n  edge: {}\n  hub: {}\n  gone: {}\nroutes:\n\
         - name: production\n  primary: {{registry: fra, repositories: \"production/**\"}}\n  tagProof: {proof}\n  pin: {pin}\n  replicas:\n  - {{registry: ams, {}}}{also}\n\
         - name: platform\n  primary: {{registry: fra, repositories: \"platform/**\"}}\n  replicas:\n  - {{registry: ams, namespace: cache, flatten: 0, proxy: true}}\n\
         - name: vendor\n  primary: {{registry: fra, repositories: \"vendor/**\"}}\n\
         - name: tools\n  primary: {{registry: edge, repositories: \"tools/**\"}}\n  replicas:\n  - {{registry: ams, namespace: tools-mirror, flatten: 1}}\n\
         platforms: [linux/amd64, linux/arm64]\nexclude: {{namespaces: [harbor]}}\nbudget: {{attempt: 5s, request: 9s}}\npolicies:\n{policies}",
        of(fra, "fra", "pullSecret: fra-creds"),
        of(ams, "ams", "pullSecret: ams-creds"),
        of(edge, "ams", "pullSecret: edge-creds"),
        of(hub, "ams", ""),
        of(gone, "ams", ""),
        layout.yaml(),
    )
}
