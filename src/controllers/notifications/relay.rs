//! Passes on to the other replicas what this one was told: Harbor reaches one of them, and all have a cache.
//!
//! What goes on is what changed, not the notification: in a storm one post says what a thousand notifications said. It goes
//! with the secret of the registry that notified, to the port that would have got the notification, and is marked by its type:
//! nobody passes it on again. What cannot be passed on is dropped: the others' answers end with their TTL.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use http::header::HeaderValue;
use rustls::pki_types::CertificateDer;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::backlog::Waiting;
use super::metrics::{NotificationMetrics, Passed};
use crate::domain::error_chain::error_chain;
use crate::domain::name::RegistryName;
use crate::harbor::notification::{Change, MOST_RELAYED, relayed};
use crate::registry::{PeerError, Peers};

/// Returns where the other replicas listen, or why that is not known.
pub type Addresses = Box<dyn Fn() -> BoxFuture<'static, Result<Vec<SocketAddr>, String>> + Send + Sync>;

/// Returns the certificates that a replica may show, or that signed those.
pub type Trusted = Arc<dyn Fn() -> Vec<CertificateDer<'static>> + Send + Sync>;

/// The path of the port.
const PATH: &str = "/hooks/harbor";

/// How many posts wait.
const WAITING: usize = 8;

/// The most replicas that are told.
const REPLICAS: usize = 32;

/// How long the list of replicas counts.
const KNOWN: Duration = Duration::from_secs(5);

/// For so long a replica that did not take a post is left out: the others must not wait for it each time.
const SILENT: Duration = Duration::from_secs(5);

/// The least time between two lines in the log.
const LOG: Duration = Duration::from_secs(60);

/// Knows the other replicas.
pub struct Relay {
    addresses: Addresses,
    trusted: Trusted,
    name: Box<str>,
}

/// Takes what is to be passed on.
pub(super) struct Sender(mpsc::Sender<(HeaderValue, Bytes)>);

impl Sender {
    /// Passes on what of this batch others do not know. It never waits.
    pub(super) fn pass_on(&self, batch: &[Waiting], metrics: &NotificationMetrics) {
        let mut by_secret: HashMap<&HeaderValue, Vec<(RegistryName, Change)>> = HashMap::new();
        for Waiting { by: _, at, change, relay } in batch {
            if let Some(secret) = relay {
                by_secret.entry(secret).or_default().push((at.clone(), change.clone()));
            }
        }
        for (secret, changes) in by_secret {
            for some in changes.chunks(MOST_RELAYED) {
                if self.0.try_send((secret.clone(), relayed(some).into())).is_err() {
                    metrics.passed(Passed::Dropped);
                }
            }
        }
    }
}

impl Relay {
    /// To the replicas at these addresses, whose certificates are for `name`.
    #[must_use]
    pub fn new(name: &str, addresses: Addresses, trusted: Trusted) -> Self {
        Self { addresses, trusted, name: name.into() }
    }

    /// What takes batches, and what sends them for as long as it is polled.
    pub(super) fn start(self, metrics: NotificationMetrics) -> (Sender, impl Future<Output = ()> + Send) {
        let (sender, receiver) = mpsc::channel(WAITING);
        (Sender(sender), self.run(receiver, metrics))
    }

    async fn run(self, mut posts: mpsc::Receiver<(HeaderValue, Bytes)>, metrics: NotificationMetrics) {
        let mut peers = Peers::new(&self.name);
        let mut known: Option<(Instant, Vec<SocketAddr>)> = None;
        let mut logged: Option<Instant> = None;
        let mut silent: HashMap<SocketAddr, Instant> = HashMap::new();
        while let Some((mut secret, body)) = posts.recv().await {
            secret.set_sensitive(true);
            let mut problem = None;
            if known.as_ref().is_none_or(|(since, _)| since.elapsed() >= KNOWN) {
                match (self.addresses)().await {
                    Ok(mut found) => {
                        found.truncate(REPLICAS);
                        known = Some((Instant::now(), found));
                    }
                    Err(error) => {
                        metrics.passed(Passed::Failed);
                        problem = Some(format!("the other replicas are not known: {error}"));
                        known = known.map(|(_, found)| (Instant::now(), found));
                    }
                }
            }
            let addresses = known.as_ref().map(|(_, found)| found.as_slice()).unwrap_or_default();
            peers.keep(addresses, (self.trusted)());
            let mut sending = FuturesUnordered::new();
            silent.retain(|_, since| since.elapsed() < SILENT);
            for address in addresses.iter().filter(|address| !silent.contains_key(*address)) {
                let post = peers.post(*address, PATH, secret.clone(), body.clone());
                let address = *address;
                sending.push(async move {
                    let sent = match post {
                        Ok(post) => post.await,
                        Err(error) => Err(error),
                    };
                    (address, sent)
                });
            }
            while let Some((address, sent)) = sending.next().await {
                match sent {
                    Ok(()) => metrics.passed(Passed::Sent),
                    Err(error) => {
                        metrics.passed(Passed::Failed);
                        silent.insert(address, Instant::now());
                        problem = Some(said(address, &error));
                    }
                }
            }
            if let Some(problem) = problem.filter(|_| logged.is_none_or(|last| last.elapsed() >= LOG)) {
                logged = Some(Instant::now());
                tracing::warn!(
                    problem,
                    "a notification was not passed on; the others' answers end with their TTL"
                );
            }
        }
    }
}

fn said(address: SocketAddr, error: &PeerError) -> String {
    format!("{address}: {}", error_chain(error))
}
