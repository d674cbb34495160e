//! A door to knock at: the demo's registries, the settings of a site, and `/mutate` behind the real server.
#![expect(clippy::indexing_slicing, reason = "a test says what is wrong by failing")]

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use arc_swap::ArcSwap;
use jiff::{SignedDuration, Timestamp};
use landfall::facade::admission::{Doors, LabelsOf, Metrics, OnLoop};
use landfall::facade::config::{self, Files};
use landfall::facade::demo::world::authority::Validity;
use landfall::facade::demo::world::seed::{self, Demo};
use landfall::facade::domain::policy::Labels;
use landfall::facade::domain::settings::Settings;
use landfall::facade::domain::verdict::Reason;
use landfall::facade::evidence::Observatory;
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
        let labels = match namespace {
            "moving" => return Box::pin(std::future::ready(moving.load_full())),
            "bank" => Labels::from([("tier".to_owned(), "regulated".to_owned())]),
            "trial" => Labels::from([("tier".to_owned(), "trial".to_owned())]),
            "cursed" => panic!("on purpose"),
            _ => Labels::new(),
        };
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
    url: String,
    client: reqwest::Client,
    task: JoinHandle<Served>,
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
        let doors = Doors::new(settings.clone(), observatory.clone(), Metrics::register(&mut page))
            .labels(labels(moving.clone()))
            .own_namespace("landfall")
            .on_loop(on_loop)
            .clock(clock);
        let metrics = ServerMetrics::register(&mut page);
        let serving = ServingCertificate::new(metrics.clone());
        let identity = demo.world.authority().issue(&["127.0.0.1"], Validity::Current).unwrap();
        serving.install(
            Pair::from_pem(identity.certificate_pem.as_bytes(), identity.key_pem.as_bytes()).unwrap(),
        );
        let tls = server_config(serving, TlsVersions::default(), Callers::Anyone).unwrap();
        let transport = Transport::Tls(Arc::new(tls));
        let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}", tcp.local_addr().unwrap());
        let (app, limits, drain) = (doors.router(), Limits::default(), Drain::default());
        let task = tokio::spawn(Listener { tcp, transport, app, limits, drain, metrics }.serve());
        let ca = reqwest::Certificate::from_pem(demo.world.authority().pem().as_bytes()).unwrap();
        // The API server speaks HTTP/1.1 to webhooks.
        let client = reqwest::Client::builder().tls_certs_only([ca]).no_proxy().http1_only().build().unwrap();
        Self { demo, page, settings, observatory, moving, url, client, task }
    }

    /// Where it listens.
    pub fn address(&self) -> &str {
        self.url.trim_start_matches("https://")
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
    pub fn metric(&self, name: &str, labels: metrics::Labels<'_>) -> f64 {
        Page::of(&self.page).metric(name, labels).unwrap_or_default()
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.task.abort();
    }
}
