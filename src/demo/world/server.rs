//! The socket of a registry: listening, TLS, HTTP/1.1, the log and the faults; and the handle that owns it all.

mod wire;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};

use super::faults::Faults;
use super::log::{Log, Request};
use super::registry::Login;
use super::store::{Project, Store, Upstream};
use super::webhook::deliver;
use super::{Certificate, World, WorldError};
use crate::domain::name::{RegistryName, Site};
use crate::domain::registry::{CredentialSource, Kind, Registry, Service};

/// The protocol of a registry.
pub(super) enum Protocol {
    Harbor,
    Distribution(Login),
}

/// The state of the process behind the port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Power {
    Up,
    /// It accepts connections and does not answer.
    Frozen,
    /// Nothing listens. The port stays bound, so that no other process can take it.
    Down,
}

/// What the tasks of one registry share.
struct Shared {
    protocol: Protocol,
    address: SocketAddr,
    tls: ArcSwapOption<ServerConfig>,
    store: Mutex<Store>,
    faults: Mutex<Faults>,
    log: Log,
    wanted: watch::Sender<Power>,
    actual: watch::Sender<Power>,
}

/// A running registry. Dropping it ends it.
pub struct Embedded {
    name: String,
    url: url::Url,
    ca_file: std::path::PathBuf,
    credentials: CredentialSource,
    shared: Arc<Shared>,
    listening: JoinHandle<()>,
    delivering: JoinHandle<()>,
}

/// Starts a registry on a free port.
pub(super) async fn start(
    world: &World,
    name: &str,
    protocol: Protocol,
    store: Store,
    credentials: CredentialSource,
) -> Result<Embedded, WorldError> {
    let identity = world.identity(name, Certificate::Valid)?;
    let socket = |source| WorldError::Socket { name: name.into(), source };
    let listener = TcpListener::bind((world.address, 0)).await.map_err(socket)?;
    let shared = Arc::new(Shared {
        protocol,
        address: listener.local_addr().map_err(socket)?,
        tls: ArcSwapOption::new(identity.map(|identity| identity.server_config())),
        store: Mutex::new(store),
        faults: Mutex::default(),
        log: Log::default(),
        wanted: watch::Sender::new(Power::Up),
        actual: watch::Sender::new(Power::Up),
    });
    let url =
        shared.url().parse().map_err(|error| socket(std::io::Error::other::<url::ParseError>(error)))?;
    let listening = tokio::spawn(listen(Arc::clone(&shared), listener));
    let (outbox, deliveries) = mpsc::unbounded_channel();
    lock(&shared.store).hooks.outbox = Some(outbox);
    let delivering = tokio::spawn(deliver(deliveries, world.authority().pem()));
    let (name, ca_file) = (name.into(), world.ca_file());
    Ok(Embedded { name, url, ca_file, credentials, shared, listening, delivering })
}

impl Embedded {
    /// The name that it was started with. Its credentials are stored under the same name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// `https://address:port`, or `http://…` while it shows [`Certificate::Plaintext`].
    #[must_use]
    pub fn url(&self) -> String {
        self.shared.url()
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.shared.address
    }

    /// The registry as a configuration would describe it, for references that name it `host`.
    #[must_use]
    pub fn registry(&self, site: &str, host: &str) -> Registry {
        let mut url = self.url.clone();
        if self.shared.tls.load().is_none() {
            // Cannot fail: both schemes are web schemes.
            let _ = url.set_scheme("http");
        }
        Registry {
            name: RegistryName::new(self.name.as_str()),
            host: host.into(),
            aliases: Vec::new(),
            url,
            kind: match self.shared.protocol {
                Protocol::Harbor => Kind::Harbor,
                Protocol::Distribution(_) => Kind::Distribution,
            },
            site: Site::new(site),
            credentials: self.credentials.clone(),
            ca_file: Some(self.ca_file.clone()),
            pull_secret: None,
            realm: None,
            service: Service::Open,
            requests_per_hour: None,
        }
    }

    /// Its content, to read and to change. Drop the guard before you await anything.
    pub fn store(&self) -> MutexGuard<'_, Store> {
        lock(&self.shared.store)
    }

    /// The faults between it and its clients, to change.
    pub fn faults(&self) -> MutexGuard<'_, Faults> {
        lock(&self.shared.faults)
    }

    /// Every request since the start or the last [`clear_log`](Self::clear_log), in the order of arrival.
    #[must_use]
    pub fn log(&self) -> Vec<Request> {
        self.shared.log.requests()
    }

    /// How many requests are being answered now.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.shared.log.in_flight()
    }

    /// The most requests that were being answered at once.
    #[must_use]
    pub fn peak_in_flight(&self) -> usize {
        self.shared.log.peak()
    }

    /// Clears the log and the peak.
    pub fn clear_log(&self) {
        self.shared.log.clear();
    }

    /// Stops the process: the listener and all connections are closed, and new connections are refused.
    pub async fn down(&self) {
        self.set(Power::Down).await;
    }

    /// Freezes the process: the kernel accepts connections, and nothing answers until [`up`](Self::up).
    pub async fn freeze(&self) {
        self.set(Power::Frozen).await;
    }

    /// Starts it again, on the same port. Frozen requests are answered now.
    pub async fn up(&self) {
        self.set(Power::Up).await;
    }

    /// Presents another certificate, from the next connection on.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn present(&self, world: &World, certificate: Certificate) -> Result<(), WorldError> {
        let identity = world.identity(&self.name, certificate)?;
        self.shared.tls.store(identity.map(|identity| identity.server_config()));
        Ok(())
    }

    /// Makes `project` of this Harbor a proxy cache of `upstream`, which it asks with the account `robot$landfall` (a Harbor)
    /// or its Basic login.
    ///
    /// # Errors
    /// If the client cannot be built with the world's authority.
    pub fn proxy(&self, world: &World, project: &str, upstream: &Self) -> Result<(), WorldError> {
        let unusable = |source: reqwest::Error| WorldError::Socket {
            name: self.name.clone(),
            source: std::io::Error::other(source),
        };
        let ca = reqwest::Certificate::from_pem(world.authority().pem().as_bytes()).map_err(unusable)?;
        let client = reqwest::Client::builder().tls_certs_only([ca]).no_proxy().build().map_err(unusable)?;
        let (user, password) = match &upstream.shared.protocol {
            Protocol::Harbor => {
                let store = upstream.store();
                let account = store.accounts.get("robot$landfall");
                account.map(|account| (account.name.clone(), account.secret.clone())).unwrap_or_default()
            }
            Protocol::Distribution(login) => login
                .credentials()
                .map(|(user, password)| (user.to_owned(), password.to_owned()))
                .unwrap_or_default(),
        };
        let upstream = Upstream { url: upstream.url(), client, user, password };
        let mut store = self.store();
        let found: &mut Project = store.project(project);
        found.upstream = Some(upstream);
        Ok(())
    }

    async fn set(&self, power: Power) {
        let mut actual = self.shared.actual.subscribe();
        self.shared.wanted.send_replace(power);
        // Fails only when the listening task is gone, and then nothing listens.
        let _ = actual.wait_for(|now| *now == power).await;
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        // The connections belong to this task, and end with it.
        self.listening.abort();
        self.delivering.abort();
    }
}

impl Shared {
    fn url(&self) -> String {
        let scheme = if self.tls.load().is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// Waits until the process is not frozen.
    async fn thawed(&self) {
        let _ = self.wanted.subscribe().wait_for(|power| *power != Power::Frozen).await;
    }
}

async fn listen(shared: Arc<Shared>, listener: TcpListener) {
    let mut wanted = shared.wanted.subscribe();
    let mut connections = JoinSet::new();
    let mut listener = Some(listener);
    loop {
        let power = *wanted.borrow_and_update();
        if power == Power::Down {
            drop(listener.take());
            connections.shutdown().await;
            // Bound, but not listening: the kernel refuses connections, and no other process can take the port.
            let Ok(reserved) = bind(shared.address).await else { return };
            shared.actual.send_replace(Power::Down);
            if wanted.wait_for(|power| *power != Power::Down).await.is_err() {
                return;
            }
            listener = reserved.listen(1024).ok();
            continue;
        }
        shared.actual.send_replace(power);
        let Some(open) = &listener else { return };
        tokio::select! {
            // Cancel-safe: a connection not yet accepted waits in the kernel's queue.
            accepted = open.accept() => if let Ok((stream, _)) = accepted {
                connections.spawn(connection(Arc::clone(&shared), stream));
            },
            changed = wanted.changed() => if changed.is_err() { return },
            // Removes ended connections, so that the set does not grow.
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Binds our own port again. A connection that was just closed may still hold it for a moment.
async fn bind(address: SocketAddr) -> std::io::Result<TcpSocket> {
    for _ in 0..100 {
        let socket = TcpSocket::new_v4()?;
        socket.set_reuseaddr(true)?;
        if socket.bind(address).is_ok() {
            return Ok(socket);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Err(std::io::Error::other("the port is taken"))
}

async fn connection(shared: Arc<Shared>, stream: TcpStream) {
    shared.thawed().await;
    let _ = stream.set_nodelay(true);
    let tls = shared.tls.load_full();
    let reset = wire::ResetFlag::default();
    let stream = wire::Wire::new(stream, reset.clone());
    match tls {
        None => wire::serve(shared, stream, reset).await,
        Some(config) => {
            // A client that does not trust us, or goes away, ends its connection: the server has nothing to do.
            if let Ok(stream) = tokio_rustls::TlsAcceptor::from(config).accept(stream).await {
                wire::serve(shared, stream, reset).await;
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
