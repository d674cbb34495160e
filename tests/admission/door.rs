//! A door to knock at: the demo's registries, the settings of a site, and `/mutate` behind the real server.

use std::sync::Arc;

use arc_swap::ArcSwap;
use jiff::Timestamp;
use landfall::admission::{LabelsOf, Metrics, Mutate};
use landfall::config::{self, Files};
use landfall::demo::world::authority::Validity;
use landfall::demo::world::seed::{self, Demo};
use landfall::domain::policy::Labels;
use landfall::domain::registry::CredentialSource;
use landfall::domain::settings::Settings;
use landfall::evidence::Observatory;
use landfall::server::{
    Callers, Drain, Limits, Listener, Pair, Served, ServerMetrics, ServingCertificate, TlsVersions,
    server_config,
};
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// The configuration of a site, `FRA`, `AMS` and `EDGE` still to be filled in.
const SITE: &str = r#"
site: ams
near: {ams: [fra]}
registries:
  fra:  {host: harbor.fra.example.com, site: fra, kind: harbor, pullSecret: harbor-fra-creds, FRA}
  ams:  {host: harbor.ams.example.com, site: ams, kind: harbor, pullSecret: harbor-ams-creds, AMS, aliases: [harbor.example.com]}
  edge: {host: "registry.edge:5000", site: ams, kind: distribution, EDGE}
routes:
  - name: production
    primary: {registry: fra, repositories: "production/**"}
    replicas:
      - {registry: ams, namespace: production, flatten: 1}
      - {registry: edge, namespace: "", tags: "v*", exclude: "production/scratch/**"}
platforms: [linux/amd64, linux/arm64]
defaults: {onUnscanned: Fallback, scan: {required: Auto, maxAge: 720h}}
exclude: {namespaces: [harbor], images: ["harbor.fra.example.com/platform/**"]}
"#;

/// A policy for the namespaces of this tier.
pub fn policy(name: &str, tier: &str, enforcement: &str) -> String {
    format!(
        "  - apiVersion: landfall.dev/v1alpha1
    kind: ImagePolicy
    metadata: {{name: {name}}}
    spec:
      namespaceSelector: {{matchLabels: {{tier: {tier}}}}}
      enforcement: {enforcement}
      onMissing: Block
      onUnknown: Block
      onUnscanned: Block
      onVulnerable: Block
      onUnrouted: Block
      scan: {{required: Always, maxSeverity: Medium}}
"
    )
}

/// Namespace → its tier; nobody can say what `cursed` is.
pub fn labels() -> LabelsOf {
    Arc::new(|namespace| match namespace {
        "bank" => Labels::from([("tier".to_owned(), "regulated".to_owned())]),
        "trial" => Labels::from([("tier".to_owned(), "trial".to_owned())]),
        "cursed" => panic!("on purpose"),
        _ => Labels::new(),
    })
}

/// The running door and all that stands behind it.
pub struct Door {
    pub demo: Demo,
    pub settings: Arc<ArcSwap<Settings>>,
    pub page: Registry,
    url: String,
    client: reqwest::Client,
    task: JoinHandle<Served>,
}

/// What was answered.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub body: String,
}

impl Answer {
    /// The `response` of the review.
    pub fn response(&self) -> Value {
        assert_eq!(self.status, 200, "{}", self.body);
        let body: Value = serde_json::from_str(&self.body).unwrap();
        assert_eq!(
            (&body["apiVersion"], &body["kind"]),
            (&json!("admission.k8s.io/v1"), &json!("AdmissionReview"))
        );
        body["response"].clone()
    }
}

impl Door {
    /// With three policies: `regulated` enforces in `bank`, `trial` observes in `trial`.
    pub async fn open() -> Self {
        let policies = policy("regulated", "regulated", "Enforce") + &policy("trial", "trial", "Observe");
        Self::with(&format!("policies:\n{policies}")).await
    }

    /// With these lines at the end of the configuration.
    pub async fn with(more: &str) -> Self {
        let demo = seed::demo().await.unwrap();
        let settings = settings(&demo, more);
        let mut page = Registry::default();
        let observatory = Arc::new(Observatory::new(&settings, &mut page));
        let settings = Arc::new(ArcSwap::from_pointee(settings));
        let door = Mutate {
            settings: settings.clone(),
            observatory,
            labels: labels(),
            own_namespace: Some("landfall".into()),
            clock: Timestamp::now,
            metrics: Metrics::register(&mut page),
        };
        let metrics = ServerMetrics::register(&mut page);
        let serving = ServingCertificate::new(metrics.clone());
        let identity = demo.world.authority().issue(&["127.0.0.1"], Validity::Current).unwrap();
        serving.install(
            Pair::from_pem(identity.certificate_pem.as_bytes(), identity.key_pem.as_bytes()).unwrap(),
        );
        let tls = server_config(serving, TlsVersions::default(), Callers::Anyone).unwrap();
        let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}", tcp.local_addr().unwrap());
        let (app, limits, drain) = (door.router(), Limits::default(), Drain::default());
        let task = tokio::spawn(Listener { tcp, tls, app, limits, drain, metrics }.serve());
        let ca = reqwest::Certificate::from_pem(demo.world.authority().pem().as_bytes()).unwrap();
        // The API server speaks HTTP/1.1 to webhooks.
        let client = reqwest::Client::builder().tls_certs_only([ca]).no_proxy().http1_only().build().unwrap();
        Self { demo, settings, page, url, client, task }
    }

    /// Sends these bytes.
    pub async fn post(&self, path_and_query: &str, content_type: &str, body: Vec<u8>) -> Answer {
        let request = self.client.post(format!("{}{path_and_query}", self.url));
        let answer = request.header("content-type", content_type).body(body).send().await.unwrap();
        Answer { status: answer.status().as_u16(), body: answer.text().await.unwrap() }
    }

    /// Sends a review as the API server does, and gives back its `response`.
    pub async fn review(&self, review: &Value) -> Value {
        let answer =
            self.post("/mutate?timeout=5s", "application/json", serde_json::to_vec(review).unwrap()).await;
        let response = answer.response();
        assert_eq!(response["uid"], review["request"]["uid"]);
        response
    }

    /// Reviews a new Pod of `namespace` with these images, `c0`, `c1` …
    pub async fn pod(&self, namespace: &str, images: &[&str]) -> Value {
        self.review(&review(namespace, images)).await
    }

    /// The value of one sample on the metrics page; 0 where it has never been counted.
    pub fn metric(&self, sample: &str) -> f64 {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.page).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
        line.map_or(0.0, |value| value.parse().unwrap())
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The settings of the site, its registries where they listen now.
fn settings(demo: &Demo, more: &str) -> Settings {
    let mut text = format!("{SITE}{more}");
    for (name, at) in [("FRA", &demo.fra), ("AMS", &demo.ams), ("EDGE", &demo.edge)] {
        let CredentialSource::Dir(folder) = at.registry("-", "-").credentials else { panic!("a folder") };
        let (ca, folder) = (demo.world.ca_file(), folder.display().to_string());
        let here = format!(
            "url: \"{}\", caFile: \"{}\", credentials: {{dir: \"{folder}\"}}",
            at.url(),
            ca.display()
        );
        text = text.replace(&format!(", {name}"), &format!(", {here}"));
    }
    config::parse(&text, "site.yaml", Files::Check, Timestamp::now())
        .unwrap_or_else(|error| panic!("{error}"))
        .settings
}

/// A review of a new Pod of `namespace` with these images, `c0`, `c1` …
pub fn review(namespace: &str, images: &[&str]) -> Value {
    let containers: Vec<Value> = images
        .iter()
        .enumerate()
        .map(|(n, image)| json!({"name": format!("c{n}"), "image": image}))
        .collect();
    json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": "u-1", "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "resource": {"group": "", "version": "v1", "resource": "pods"},
            "namespace": namespace, "operation": "CREATE", "userInfo": {"username": "admin"}, "dryRun": false,
            "object": {
                "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": namespace},
                "spec": {"containers": containers},
            },
        },
    })
}
