//! A site to test against: an authority, a secret as the kubelet mounts it, doors, a listener, and a client that
//! shows each byte of HTTP/1.1.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use axum::Router;
use axum::routing::{get as on_get, post as on_post};
use bytes::Bytes;
use jiff::Timestamp;
use landfall::facade::admission::Recent;
use landfall::facade::config::{self, Files};
use landfall::facade::evidence::Observatory;
use landfall::facade::server::{
    Callers, CertificateFiles, ConditionName, Conditions, Drain, Limits, Listener, Served, ServerMetrics,
    ServingCertificate, State, Status, TlsVersions, Transport, admin, server_config,
};
use prometheus_client::registry::Registry;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::PATIENCE;

/// Waits until `holds`, and says so when it never does.
pub async fn eventually(holds: impl Fn() -> bool) {
    let wait = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    assert!(timeout(PATIENCE, wait).await.is_ok(), "it never came to hold");
}

/// A request without a body.
pub fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: landfall\r\n\r\n")
}

/// A request with an honest body.
pub fn post(path: &str, body: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nhost: landfall\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

// Certificates

/// A leaf and its key, in PEM.
#[derive(Debug, Clone)]
pub struct Leaf {
    pub certificate: String,
    pub key: String,
    pub not_after: Timestamp,
}

/// Signs for both sides.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// Valid since 30 days ago, and for `days` more.
    pub fn leaf(&self, days: i64) -> Leaf {
        let day = Duration::from_secs(24 * 3600);
        let now = SystemTime::now();
        let mut params = CertificateParams::new(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        let span = day * u32::try_from(days.unsigned_abs()).unwrap();
        let end = if days < 0 { now - span } else { now + span };
        params.not_before = (now - 30 * day).into();
        params.not_after = end.into();
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        let not_after = Timestamp::from_second(Timestamp::try_from(end).unwrap().as_second()).unwrap();
        Leaf { certificate: certificate.pem(), key: key.serialize_pem(), not_after }
    }

    pub fn pem(&self) -> String {
        self.0.pem()
    }

    fn client_builder(
        &self,
        versions: &[&'static SupportedProtocolVersion],
    ) -> rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert> {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots)
    }

    /// An HTTP/1.1 client, as the API server is one.
    pub fn client(&self, versions: &[&'static SupportedProtocolVersion]) -> ClientConfig {
        http1(self.client_builder(versions).with_no_client_auth())
    }

    pub fn client_with_identity(&self) -> ClientConfig {
        let leaf = self.leaf(1);
        let chain = vec![CertificateDer::from_pem_slice(leaf.certificate.as_bytes()).unwrap()];
        let key = PrivateKeyDer::from_pem_slice(leaf.key.as_bytes()).unwrap();
        http1(self.client_builder(rustls::ALL_VERSIONS).with_client_auth_cert(chain, key).unwrap())
    }
}

fn http1(mut config: ClientConfig) -> ClientConfig {
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config
}

/// A mounted Secret: `tls.crt` and `tls.key` are links into `..data`, itself a link that is swapped atomically.
pub struct Secret {
    dir: TempDir,
    generation: AtomicUsize,
}

impl Secret {
    fn mount(certificate: &str, key: &str) -> Self {
        let secret = Self { dir: tempfile::tempdir().unwrap(), generation: AtomicUsize::new(0) };
        secret.swap(certificate, key);
        for name in ["tls.crt", "tls.key"] {
            std::os::unix::fs::symlink(Path::new("..data").join(name), secret.dir.path().join(name)).unwrap();
        }
        secret
    }

    /// As the kubelet's AtomicWriter does it, the old directory removed at the end.
    pub fn swap(&self, certificate: &str, key: &str) {
        let generation = self.generation.fetch_add(1, Ordering::Relaxed);
        let root = self.dir.path();
        let target = format!("..2026_11_21_{generation}");
        std::fs::create_dir(root.join(&target)).unwrap();
        std::fs::write(root.join(&target).join("tls.crt"), certificate).unwrap();
        std::fs::write(root.join(&target).join("tls.key"), key).unwrap();
        let old = std::fs::read_link(root.join("..data")).ok();
        std::os::unix::fs::symlink(&target, root.join("..data_tmp")).unwrap();
        std::fs::rename(root.join("..data_tmp"), root.join("..data")).unwrap();
        if let Some(old) = old {
            std::fs::remove_dir_all(root.join(old)).unwrap();
        }
    }

    fn files(&self) -> CertificateFiles {
        let at = |name| self.dir.path().join(name);
        CertificateFiles { certificate: at("tls.crt"), key: at("tls.key") }
    }
}

// The doors

/// A door that lets nobody through until it is opened.
#[derive(Clone)]
pub struct Gate {
    entered: Arc<Semaphore>,
    open: Arc<Semaphore>,
}

impl Gate {
    fn new() -> Self {
        Self { entered: Arc::new(Semaphore::new(0)), open: Arc::new(Semaphore::new(0)) }
    }

    /// Waits for the next one to stand before it.
    pub async fn entered(&self) {
        timeout(PATIENCE, self.entered.acquire()).await.unwrap().unwrap().forget();
    }

    /// Lets so many through.
    pub fn open(&self, how_many: usize) {
        self.open.add_permits(how_many);
    }

    async fn pass(self) -> &'static str {
        self.entered.add_permits(1);
        self.open.acquire().await.unwrap().forget();
        "through"
    }
}

/// The length of a long answer: more than the kernel keeps of what a peer does not read.
pub const LONG: usize = 12 << 20;

fn doors(gate: Gate) -> Router {
    Router::new()
        .route("/hello", on_get(async || "hello"))
        .route("/length", on_post(async |body: Bytes| body.len().to_string()))
        .route("/long", on_get(async || "x".repeat(LONG)))
        .route("/gate", on_get(async move || gate.pass().await))
        .route("/panic", on_get(panics))
}

async fn panics() -> &'static str {
    panic!("on purpose")
}

// The site

/// Metrics, conditions and the registry they are in.
pub fn instruments() -> (ServerMetrics, Conditions, Arc<Registry>) {
    let mut registry = Registry::default();
    let metrics = ServerMetrics::register(&mut registry);
    let conditions = Conditions::register(&mut registry);
    (metrics, conditions, Arc::new(registry))
}

/// A running server and all handles to it.
pub struct Site {
    pub address: SocketAddr,
    pub authority: Authority,
    pub leaf: Leaf,
    pub secret: Secret,
    pub files: CertificateFiles,
    pub serving: Arc<ServingCertificate>,
    pub conditions: Conditions,
    pub registry: Arc<Registry>,
    pub metrics: ServerMetrics,
    pub drain: Drain,
    pub gate: Gate,
    pub task: JoinHandle<Served>,
}

impl Site {
    pub async fn start(limits: Limits) -> Self {
        Self::with(limits, TlsVersions::default(), |_| Callers::Anyone).await
    }

    pub async fn with(
        limits: Limits,
        versions: TlsVersions,
        callers: impl Fn(&Authority) -> Callers,
    ) -> Self {
        let site = Self::build(limits, versions, callers).await;
        let condition = site.files.poll(&site.serving, Timestamp::now()).await;
        assert_eq!(condition.state, State::Good, "{}", condition.message);
        site
    }

    pub async fn without_certificate() -> Self {
        Self::build(Limits::default(), TlsVersions::default(), |_| Callers::Anyone).await
    }

    async fn build(limits: Limits, versions: TlsVersions, callers: impl Fn(&Authority) -> Callers) -> Self {
        let authority = Authority::new();
        let leaf = authority.leaf(60);
        let secret = Secret::mount(&leaf.certificate, &leaf.key);
        let files = secret.files();
        let (metrics, conditions, registry) = instruments();
        let serving = ServingCertificate::new(metrics.clone());
        let tls = server_config(Arc::clone(&serving), versions, callers(&authority)).unwrap();
        let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = tcp.local_addr().unwrap();
        let (drain, gate) = (Drain::default(), Gate::new());
        let (app, transport) = (doors(gate.clone()), Transport::Tls(Arc::new(tls)));
        let listener =
            Listener { tcp, transport, app, limits, drain: drain.clone(), metrics: metrics.clone() };
        let task = tokio::spawn(listener.serve());
        Self {
            address,
            authority,
            leaf,
            secret,
            files,
            serving,
            conditions,
            registry,
            metrics,
            drain,
            gate,
            task,
        }
    }

    pub async fn connect(&self) -> Client {
        Client::connect(self.address, self.authority.client(rustls::ALL_VERSIONS)).await
    }

    pub async fn try_connect(&self) -> io::Result<Client> {
        Client::try_connect(self.address, self.authority.client(rustls::ALL_VERSIONS)).await
    }

    /// A client with another address.
    pub async fn connect_from(&self, peer: IpAddr) -> Client {
        let tls = self.authority.client(rustls::ALL_VERSIONS);
        Client { tls: tls_from(peer, self.address, tls).await.unwrap(), read: Vec::new() }
    }

    /// A connection for h2, on which nothing has been said.
    pub async fn connect_h2(&self) -> TlsStream<TcpStream> {
        let mut tls = self.authority.client(rustls::ALL_VERSIONS);
        tls.alpn_protocols = vec![b"h2".to_vec()];
        tls_from(IpAddr::V4(Ipv4Addr::LOCALHOST), self.address, tls).await.unwrap()
    }

    /// A client that speaks h2 where it is offered.
    pub fn reqwest(&self) -> reqwest::Client {
        let authority = reqwest::Certificate::from_pem(self.authority.pem().as_bytes()).unwrap();
        // The server alone ends idle connections.
        let builder = reqwest::Client::builder().no_proxy().pool_idle_timeout(None);
        builder.tls_certs_only([authority]).build().unwrap()
    }

    pub fn url(&self, path: &str) -> String {
        format!("https://{}{path}", self.address)
    }

    /// The value of one sample; 0 where it has never been counted.
    pub fn metric(&self, wanted: &str) -> f64 {
        sample(&self.registry, wanted)
    }

    pub fn state(&self, name: ConditionName) -> State {
        self.conditions.snapshot()[&name].state
    }
}

/// The value of one sample; 0 where it has never been counted.
pub fn sample(registry: &Registry, wanted: &str) -> f64 {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, registry).unwrap();
    parse(&text).get(wanted).copied().unwrap_or_default()
}

// The client

async fn tls_from(
    peer: IpAddr,
    address: SocketAddr,
    setup: ClientConfig,
) -> io::Result<TlsStream<TcpStream>> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::new(peer, 0))?;
    let tcp = socket.connect(address).await?;
    let name = "localhost".try_into().unwrap();
    timeout(PATIENCE, TlsConnector::from(Arc::new(setup)).connect(name, tcp)).await?
}

/// One connection, HTTP/1.1.
pub struct Client {
    tls: TlsStream<TcpStream>,
    read: Vec<u8>,
}

/// What came back.
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    pub fn says_close(&self) -> bool {
        self.head.to_ascii_lowercase().lines().any(|line| line == "connection: close")
    }
}

impl Client {
    pub async fn try_connect(address: SocketAddr, setup: ClientConfig) -> io::Result<Self> {
        let tls = tls_from(IpAddr::V4(Ipv4Addr::LOCALHOST), address, setup).await?;
        Ok(Self { tls, read: Vec::new() })
    }

    pub async fn connect(address: SocketAddr, setup: ClientConfig) -> Self {
        Self::try_connect(address, setup).await.unwrap()
    }

    /// The certificate that this connection was shown.
    pub fn certificate(&self) -> CertificateDer<'static> {
        self.tls.get_ref().1.peer_certificates().unwrap()[0].clone()
    }

    pub async fn send(&mut self, request: &str) {
        self.try_send(request).await.unwrap();
    }

    pub async fn try_send(&mut self, request: &str) -> io::Result<()> {
        self.tls.write_all(request.as_bytes()).await?;
        self.tls.flush().await
    }

    pub async fn ask(&mut self, request: &str) -> Answer {
        self.send(request).await;
        self.answer().await
    }

    /// Reads one answer, whose length its head must tell.
    pub async fn answer(&mut self) -> Answer {
        timeout(PATIENCE, async {
            loop {
                if let Some(answer) = self.parsed() {
                    return answer;
                }
                assert!(self.tls.read_buf(&mut self.read).await.unwrap() > 0, "closed without an answer");
            }
        })
        .await
        .unwrap()
    }

    /// Reads one answer that comes only when something else goes on, which is done again and again.
    pub async fn answer_after(&mut self, next: impl AsyncFn()) -> Answer {
        let go_on = async {
            loop {
                next().await;
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::select! {
            answer = self.answer() => answer,
            () = go_on => unreachable!("it goes on for ever"),
        }
    }

    fn parsed(&mut self) -> Option<Answer> {
        let end = self.read.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
        let head = String::from_utf8(self.read[..end].to_vec()).unwrap();
        let length: usize = head
            .lines()
            .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ").map(str::to_owned))
            .map_or(0, |length| length.parse().unwrap());
        let body = String::from_utf8(self.read.get(end..end + length)?.to_vec()).unwrap();
        self.read.drain(..end + length);
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Some(Answer { status, head, body })
    }

    /// Whether the server ends the connection without another byte.
    pub async fn is_closed(&mut self) -> bool {
        let mut byte = [0; 1];
        matches!(timeout(PATIENCE, self.tls.read(&mut byte)).await.unwrap(), Ok(0) | Err(_))
    }

    /// Whether a request gets no answer at all.
    pub async fn is_refused(&mut self, request: &str) -> bool {
        // The write may still succeed: the refusal is on its way.
        let _ = self.tls.write_all(request.as_bytes()).await;
        self.is_closed().await
    }
}

// The admin port

/// The admin endpoints on a port of their own.
pub struct Admin {
    address: SocketAddr,
    /// How often the ledger was read for the status page.
    pub asked: Arc<AtomicUsize>,
}

pub async fn admin(conditions: Conditions, registry: Arc<Registry>, metrics: &ServerMetrics) -> Admin {
    let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = tcp.local_addr().unwrap();
    let (metrics, asked) = (metrics.clone(), Arc::new(AtomicUsize::new(0)));
    let status = status(conditions, registry, asked.clone());
    tokio::spawn(async move { admin::serve(tcp, status, &metrics).await });
    Admin { address, asked }
}

/// A status page without a gap and without a decision, of a site with one registry that nobody asks.
fn status(conditions: Conditions, metrics: Arc<Registry>, asked: Arc<AtomicUsize>) -> Status {
    let text =
        "site: ams\nregistries: {ams: {host: harbor.ams.example.com, site: ams, kind: harbor}}\nroutes: []\n";
    let settings = config::parse(text, "site.yaml", Files::Skip, Timestamp::now()).unwrap().settings;
    Status {
        conditions,
        metrics,
        observatory: Arc::new(Observatory::new(&settings, &mut Registry::default())),
        settings: Arc::new(ArcSwap::from_pointee(settings)),
        recent: Recent::default(),
        gaps: Arc::new(move || {
            asked.fetch_add(1, Ordering::SeqCst);
            Box::pin(std::future::ready(Ok(Vec::new())))
        }),
        replica: "landfall-7d4b9".into(),
        clock: Timestamp::now,
    }
}

impl Admin {
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub async fn read(&self, path: &str) -> (u16, String) {
        let answer = reqwest::Client::builder().no_proxy().build().unwrap().get(self.url(path)).send().await;
        let answer = answer.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }
}

/// Reads OpenMetrics strictly: every line is a description of the family that follows, or a sample of the family
/// described last with the suffix of its type; the last line is `# EOF`.
pub fn parse(text: &str) -> BTreeMap<String, f64> {
    let body = text.strip_suffix("# EOF\n").expect("the page ends with EOF");
    let (mut family, mut kind) = (String::new(), String::new());
    let mut samples = BTreeMap::new();
    for line in body.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, text) = help.split_once(' ').unwrap();
            assert!(text.ends_with('.') && name.starts_with("landfall_"), "{line}");
            family = name.to_owned();
        } else if let Some(declared) = line.strip_prefix("# TYPE ") {
            let (name, declared) = declared.split_once(' ').unwrap();
            assert_eq!(name, family, "{line}");
            kind = declared.to_owned();
        } else {
            let (sample, value) = line.rsplit_once(' ').unwrap();
            let suffix = match kind.as_str() {
                "counter" => "_total",
                "info" => "_info",
                "gauge" => "",
                other => panic!("{other} in {line}"),
            };
            let (name, labels) = sample.split_at(sample.find('{').unwrap_or(sample.len()));
            assert_eq!(name, format!("{family}{suffix}"), "{line}");
            assert!(labels.is_empty() || labels.ends_with("\"}"), "{line}");
            let before = samples.insert(sample.to_owned(), value.parse().unwrap());
            assert_eq!(before, None, "twice: {line}");
        }
    }
    samples
}
