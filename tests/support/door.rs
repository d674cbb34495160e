//! Doors to knock at: the demo's registries, the settings of a site, and `/mutate` and `/validate` behind the real server.
#![expect(clippy::indexing_slicing, reason = "a test says what is wrong by failing")]

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::{SignedDuration, Timestamp};
use landfall::facade::admission::{Doors, LabelsOf, Metrics, OnLoop, Selectors};
use landfall::facade::config::{self, Files};
use landfall::facade::demo::world::authority::Validity;
use landfall::facade::demo::world::seed::{self, Demo};
use landfall::facade::domain::name::PolicyName;
use landfall::facade::domain::policy::{Labels, Policy};
use landfall::facade::domain::settings::Settings;
use landfall::facade::domain::verdict::Reason;
use landfall::facade::evidence::Observatory;
use landfall::facade::ledger::{LedgerMetrics, Recorder};
use landfall::facade::server::{
    Callers, Drain, Limits, Listener, Pair, Served, ServerMetrics, ServingCertificate, TlsVersions,
    Transport, server_config,
};
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::metrics::{self, Page};
use super::site::{configuration, review};
use super::wait::HELD;

/// So many seconds the door's clock is ahead.
static AHEAD: AtomicI64 = AtomicI64::new(0);

/// The door's clock.
fn clock() -> Timestamp {
    Timestamp::now() + SignedDuration::from_secs(AHEAD.load(Ordering::Relaxed))
}

/// Puts the clock of every door on by two hours: nothing that a test here does not date itself is as old as that, or ends
/// so soon.
pub fn two_hours_later() {
    AHEAD.fetch_add(2 * 3600, Ordering::Relaxed);
}

/// Namespace → its tier; nobody can say what `cursed` is, and `moving` is what it is at the moment.
fn labels(moving: Arc<ArcSwap<Labels>>) -> LabelsOf {
    Arc::new(move |namespace| {
        let tier = match namespace {
            "moving" => return Box::pin(std::future::ready(moving.load_full())),
            "bank" => Some("regulated"),
            "trial" => Some("trial"),
            "cursed" => panic!("on purpose"),
            _ => None,
        };
        let name = ("kubernetes.io/metadata.name".to_owned(), namespace.to_owned());
        let tier = tier.map(|tier| ("tier".to_owned(), tier.to_owned()));
        let labels: Labels = tier.into_iter().chain([name]).collect();
        Box::pin(std::future::ready(Arc::new(labels)))
    })
}

/// The running door and all that stands behind it.
pub struct Door {
    pub demo: Demo,
    pub page: Registry,
    pub settings: Arc<ArcSwap<Settings>>,
    pub observatory: Arc<Observatory>,
    /// The labels of the namespace `moving`.
    pub moving: Arc<ArcSwap<Labels>>,
    /// The policies that denied a Pod, or would have, in this order.
    pub denied: Arc<Mutex<Vec<String>>>,
    /// Takes the gaps that the doors tell of.
    pub recorder: Recorder,
    selectors: Selectors,
    url: String,
    /// Where the second door listens.
    second: String,
    client: reqwest::Client,
    tasks: [JoinHandle<Served>; 2],
}

/// Nobody is told of loops.
fn quiet() -> OnLoop {
    Arc::new(|_| {})
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
        // Every answer says why, in a word of the closed set.
        let reason = &body["response"]["auditAnnotations"]["reason"];
        assert!(reason.as_str().is_some_and(|word| word.parse::<Reason>().is_ok()), "{reason}");
        body["response"].clone()
    }
}

impl Door {
    /// With two policies: `regulated` enforces in `bank`, `trial` observes in `trial`.
    pub async fn open() -> Self {
        Self::with(|site| site).await
    }

    /// With another configuration of the site.
    pub async fn with(change: impl FnOnce(String) -> String) -> Self {
        let demo = seed::demo().await.unwrap();
        let text = change(configuration(&demo));
        let settings = config::parse(&text, "site.yaml", Files::Check, Timestamp::now());
        let settings = settings.unwrap_or_else(|error| panic!("{error}")).settings;
        Self::over(demo, settings, quiet()).await
    }

    /// With somebody who is told of loops.
    pub async fn telling(on_loop: OnLoop) -> Self {
        let demo = seed::demo().await.unwrap();
        let settings = config::parse(&configuration(&demo), "site.yaml", Files::Check, Timestamp::now());
        let settings = settings.unwrap_or_else(|error| panic!("{error}")).settings;
        Self::over(demo, settings, on_loop).await
    }

    /// With no limit of its own on how long a review may take: whoever waits for a registry hangs.
    pub async fn patient() -> Self {
        let demo = seed::demo().await.unwrap();
        let settings = config::parse(&configuration(&demo), "site.yaml", Files::Check, Timestamp::now());
        let mut settings = settings.unwrap_or_else(|error| panic!("{error}")).settings;
        (settings.budget.request, settings.budget.attempt) = (HELD, HELD);
        Self::over(demo, settings, quiet()).await
    }

    async fn over(demo: Demo, settings: Settings, on_loop: OnLoop) -> Self {
        let mut page = Registry::default();
        let observatory = Arc::new(Observatory::new(&settings, &mut page));
        let settings = Arc::new(ArcSwap::from_pointee(settings));
        let moving = Arc::new(ArcSwap::from_pointee(Labels::new()));
        let denied = Arc::new(Mutex::new(Vec::new()));
        let seen = denied.clone();
        let on_denied = Arc::new(move |policy: &_| {
            let policy: &PolicyName = policy;
            seen.lock().unwrap().push(policy.to_string());
        });
        let recorder = Recorder::new(LedgerMetrics::register(&mut page), clock);
        let doors = Doors::new(settings.clone(), observatory.clone(), Metrics::register(&mut page))
            .labels(labels(moving.clone()))
            .own_namespace("landfall")
            .on_loop(on_loop)
            .on_denied(on_denied)
            .recorder(recorder.clone())
            .clock(clock);
        let selectors = doors.selectors();
        let metrics = ServerMetrics::register(&mut page);
        let serving = ServingCertificate::new(metrics.clone());
        let identity = demo.world.authority().issue(&["127.0.0.1"], Validity::Current).unwrap();
        serving.install(
            Pair::from_pem(identity.certificate_pem.as_bytes(), identity.key_pem.as_bytes()).unwrap(),
        );
        let tls = Arc::new(server_config(serving, TlsVersions::default(), Callers::Anyone).unwrap());
        let drain = Drain::default();
        let open = async |app, limits, metrics| {
            let (transport, drain) = (Transport::Tls(tls.clone()), drain.clone());
            let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let url = format!("https://{}", tcp.local_addr().unwrap());
            (url, tokio::spawn(Listener { tcp, transport, app, limits, drain, metrics }.serve()))
        };
        let routers = doors.routers();
        let (second, at_second) = open(routers.validate, Limits::validate(), metrics.validate()).await;
        let (url, at_first) = open(routers.mutate, Limits::default(), metrics).await;
        let tasks = [at_first, at_second];
        let ca = reqwest::Certificate::from_pem(demo.world.authority().pem().as_bytes()).unwrap();
        // The API server speaks HTTP/1.1 to webhooks.
        let client = reqwest::Client::builder().tls_certs_only([ca]).no_proxy().http1_only().build().unwrap();
        Self {
            demo,
            page,
            settings,
            observatory,
            moving,
            denied,
            recorder,
            selectors,
            url,
            second,
            client,
            tasks,
        }
    }

    /// Where it listens.
    pub fn address(&self) -> &str {
        self.url.trim_start_matches("https://")
    }

    /// Sends these bytes.
    pub async fn post(&self, path_and_query: &str, content_type: &str, body: Vec<u8>) -> Answer {
        self.send(&self.url, path_and_query, content_type, body).await
    }

    /// Sends these bytes to the port of the second door.
    pub async fn post_to_second(&self, path_and_query: &str, body: Vec<u8>) -> Answer {
        self.send(&self.second, path_and_query, "application/json", body).await
    }

    async fn send(&self, url: &str, path_and_query: &str, content_type: &str, body: Vec<u8>) -> Answer {
        let request = self.client.post(format!("{url}{path_and_query}"));
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

    /// Sends a review to the second door, as the API server does for the entry of this policy's selector, and gives back its
    /// `response`.
    pub async fn validate(&self, policy: &str, review: &Value) -> Value {
        let body = serde_json::to_vec(review).unwrap();
        let response = self.post_to_second(&self.entry(policy), body).await.response();
        assert_eq!(response["uid"], review["request"]["uid"]);
        assert_eq!((&response["patch"], &response["patchType"]), (&Value::Null, &Value::Null));
        response
    }

    /// The path and query of the entry of this policy's selector.
    pub fn entry(&self, policy: &str) -> String {
        let settings = self.settings.load();
        let policy = settings.policies.iter().find(|one| one.name.as_str() == policy).unwrap();
        format!("/validate/{}?timeout=5s", policy.selector.id())
    }

    /// Sends a review to the first door, and what it made of the Pod to the second one. Gives back both responses; the
    /// second is null where the first one denied.
    pub async fn both(&self, policy: &str, review: &Value) -> (Value, Value) {
        let first = self.review(review).await;
        if first["allowed"] != true {
            return (first, Value::Null);
        }
        let second = self.validate(policy, &became(review, &first)).await;
        (first, second)
    }

    /// Brings other policies into force, as the settings' controller does.
    pub fn edit(&self, change: impl FnOnce(&mut Vec<Arc<Policy>>)) {
        let settings = self.settings.load_full();
        let mut policies = settings.policies.clone();
        change(&mut policies);
        self.settings.store(Arc::new(settings.with_policies(policies)));
        self.selectors.notice(&self.settings.load());
    }

    /// Brings a change of one policy into force.
    pub fn edit_policy(&self, name: &str, change: impl FnOnce(&mut Policy)) {
        self.edit(|policies| {
            let policy = policies.iter_mut().find(|one| one.name.as_str() == name).unwrap();
            change(Arc::make_mut(policy));
        });
    }

    /// The policies that denied since this was asked last.
    pub fn denied(&self) -> Vec<String> {
        std::mem::take(&mut self.denied.lock().unwrap())
    }

    /// How many questions the registries were asked.
    pub fn asked(&self) -> usize {
        [&self.demo.fra, &self.demo.ams, &self.demo.edge].map(|registry| registry.log().len()).iter().sum()
    }

    /// Reviews a new Pod of `namespace` with these images, `c0`, `c1` …
    pub async fn pod(&self, namespace: &str, images: &[&str]) -> Value {
        self.review(&review(namespace, images)).await
    }

    /// The value of one sample on the metrics page; 0 where it has never been counted.
    pub fn metric(&self, name: &str, labels: metrics::Labels<'_>) -> f64 {
        Page::of(&self.page).metric(name, labels).unwrap_or_default()
    }
}

/// The review of what this response makes of a Pod.
pub fn became(review: &Value, response: &Value) -> Value {
    let mut became = review.clone();
    if let Some(patch) = response["patch"].as_str() {
        let patch: json_patch::Patch = serde_json::from_slice(&STANDARD.decode(patch).unwrap()).unwrap();
        json_patch::patch(&mut became["request"]["object"], &patch).unwrap();
    }
    became
}

impl Drop for Door {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}
