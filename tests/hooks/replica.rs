//! A replica of Landfall: what it knows of the registries, and its port of notifications.

use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use futures::FutureExt as _;
use landfall::facade::controllers::notifications::{NotificationMetrics, Receiver, Relay};
use landfall::facade::demo::world::authority::Validity;
use landfall::facade::demo::world::seed::{self, Demo, Named};
use landfall::facade::domain::name::RegistryName;
use landfall::facade::domain::settings::Settings;
use landfall::facade::evidence::Observatory;
use landfall::facade::server::{
    Callers, Drain, Limits, Listener, Pair, ServerMetrics, ServingCertificate, TlsVersions, Transport, hooks,
    server_config,
};
use prometheus_client::registry::Registry;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::site::{Given, shown, soon};
use super::support::case_for;
use super::support::metrics::{Labels, Page};
use super::support::wait::HELD;

/// What Amsterdam shows.
pub const AMS: &str = "Bearer the-secret-of-amsterdam-0001";
/// What Frankfurt shows.
pub const FRA: &str = "Bearer the-secret-of-frankfurt-0002";

/// The name in the certificates of all replicas.
const NAME: &str = "landfall.landfall.svc";

/// The demo's world and the settings of its site.
pub struct Town {
    pub demo: Demo,
    pub settings: Settings,
}

pub struct Replica {
    pub observatory: Arc<Observatory>,
    pub settings: Arc<ArcSwap<Settings>>,
    pub address: SocketAddr,
    pub receiver: Arc<Receiver>,
    page: Registry,
    client: reqwest::Client,
    _tasks: JoinSet<()>,
}

impl Town {
    pub async fn new(defaults: &'static str) -> Self {
        let demo = seed::demo().await.unwrap();
        let mut settings = super::site::settings(&demo, Given { defaults, ..Given::default() });
        let life = &mut settings.cache;
        (life.present, life.remember, life.tag, life.absent, life.scan) = (HELD, HELD, HELD, HELD, HELD);
        for (name, secret) in [("ams", AMS), ("fra", FRA)] {
            let file = demo.world.write(&format!("notifications/{name}"), &format!("{secret}\n")).unwrap();
            settings.notifications.insert(RegistryName::new(name), file);
        }
        Self { demo, settings }
    }

    pub async fn replica(&self) -> Replica {
        self.replica_beside(Arc::default(), Limits::hooks()).await
    }

    /// One that knows the others at these addresses, which may be known later.
    pub async fn replica_beside(&self, others: Arc<ArcSwap<Vec<SocketAddr>>>, limits: Limits) -> Replica {
        let mut page = Registry::default();
        let observatory = Arc::new(Observatory::new(&self.settings, &mut page));
        let settings = Arc::new(ArcSwap::from_pointee(self.settings.clone()));
        let authority = self.demo.world.authority();
        let trusted = CertificateDer::from_pem_slice(authority.pem().as_bytes()).unwrap();
        let addresses = Box::new(move || {
            let others = others.load_full();
            async move { Ok(others.to_vec()) }.boxed()
        });
        let relay = Relay::new(NAME, addresses, Arc::new(move || vec![trusted.clone()]));
        let counted = NotificationMetrics::register(&mut page);
        let (receiver, worker) =
            Receiver::new(settings.clone(), observatory.clone(), None, Some(relay), counted);
        assert_eq!(receiver.look_at_secrets().await, Vec::<String>::new());

        let metrics = ServerMetrics::register(&mut page);
        let serving = ServingCertificate::new(metrics.clone());
        let identity = authority.issue(&["127.0.0.1", NAME], Validity::Current).unwrap();
        let (chain, key) = (identity.certificate_pem.as_bytes(), identity.key_pem.as_bytes());
        serving.install(Pair::from_pem(chain, key).unwrap());
        let tls = Arc::new(server_config(serving, TlsVersions::default(), Callers::Anyone).unwrap());
        let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = tcp.local_addr().unwrap();
        let listener = Listener {
            tcp,
            transport: Transport::Tls(tls),
            app: hooks::router(receiver.clone()),
            limits,
            drain: Drain::default(),
            metrics: metrics.hooks(),
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(async {
            let _ = listener.serve().await;
        });
        tasks.spawn(worker.run());
        let ca = reqwest::Certificate::from_pem(authority.pem().as_bytes()).unwrap();
        let client = reqwest::Client::builder().tls_certs_only([ca]).no_proxy().build().unwrap();
        Replica { observatory, settings, address, receiver, page, client, _tasks: tasks }
    }
}

impl Replica {
    pub fn url(&self) -> String {
        format!("https://{}/hooks/harbor", self.address)
    }

    /// Posts a notification, and returns the status.
    pub async fn post(&self, secret: Option<&str>, media_type: &str, body: impl Into<reqwest::Body>) -> u16 {
        let mut request = self.client.post(self.url()).header(CONTENT_TYPE, media_type).body(body);
        if let Some(secret) = secret {
            request = request.header(AUTHORIZATION, secret);
        }
        request.send().await.unwrap().status().as_u16()
    }

    /// Posts a good one of Amsterdam.
    pub async fn tell(&self, body: &serde_json::Value) {
        assert_eq!(self.post(Some(AMS), "application/json", body.to_string()).await, 202);
    }

    /// How an image of Frankfurt is judged now, by its tag.
    pub async fn judged(&self, named: Named) -> String {
        let image = format!("harbor.fra.example.com/{}:{}", named.repository, named.tag);
        let case = case_for(&self.settings.load(), &image);
        shown(&case, &self.observatory.judge(&case, soon(HELD)).await.verdict)
    }

    /// Judges until it is judged so.
    pub async fn until(&self, named: Named, wanted: &str) {
        let judged = async {
            while self.judged(named).await != wanted {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        };
        super::support::wait::ends(wanted, judged).await;
    }

    pub fn metric(&self, name: &str, labels: Labels<'_>) -> f64 {
        Page::of(&self.page).metric(name, labels).unwrap_or_default()
    }

    pub fn sum(&self, name: &str) -> f64 {
        Page::of(&self.page).sum(name, &[])
    }
}
