//! New Pods at a rate, from clients that the API server knows nothing special of, and what became of each.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use kube::Client;
use serde_json::json;
use tokio::task::JoinSet;

use crate::plane::Plane;
use crate::webhook::WEB;

/// How many Pods may be on their way at once.
pub const CLIENTS: usize = 32;

/// Pods that are created, dry: the API server does all that it does for a Pod but write it down, and asks webhooks as ever.
pub struct Load {
    tally: Arc<Tally>,
    began: Instant,
    clients: JoinSet<Vec<Duration>>,
}

#[derive(Default)]
struct Tally {
    stop: AtomicBool,
    /// The number of the next Pod: it says when it is due.
    next: AtomicU64,
    set_out: AtomicUsize,
    made: AtomicUsize,
    missed: AtomicUsize,
    refused: AtomicUsize,
}

/// What a Pod that is refused means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The test fails.
    Fails,
    /// It is counted, as a controller would try again.
    Counts,
}

/// What the API server itself has counted of webhooks, on a plane that has ours alone.
#[derive(Debug, PartialEq, Eq)]
pub struct Counted {
    /// Calls, whatever came of them.
    pub called: u64,
    /// Those that it went on without.
    pub failed_open: u64,
    pub rejected: u64,
    /// Certificates that it did not like.
    pub x509: u64,
}

impl Counted {
    pub fn so_far(plane: &Plane) -> Self {
        let count = |what: &str| plane.count(&format!("apiserver_admission_webhook_{what}"));
        let x509 = ["missing_san", "insecure_sha1"]
            .map(|what| plane.count(&format!("apiserver_webhooks_x509_{what}_total")));
        Self {
            called: count("request_total"),
            failed_open: count("fail_open_count"),
            rejected: count("rejection_count"),
            x509: x509.iter().sum(),
        }
    }

    /// Since then.
    pub fn since(plane: &Plane, before: &Self) -> Self {
        let now = Self::so_far(plane);
        Self {
            called: now.called - before.called,
            failed_open: now.failed_open - before.failed_open,
            rejected: now.rejected - before.rejected,
            x509: now.x509 - before.x509,
        }
    }

    /// Whether each of its calls was answered.
    pub fn is_clean(&self) -> bool {
        (self.failed_open, self.rejected, self.x509) == (0, 0, 0)
    }
}

/// How far it has come.
#[derive(Debug, Clone, Copy)]
pub struct SoFar {
    pub made: usize,
    /// Those that were stored as written.
    pub missed: usize,
}

/// What became of them.
#[derive(Debug, Clone, Copy)]
pub struct Outcome {
    pub made: usize,
    /// Those that were stored as written.
    pub missed: usize,
    /// Those that were not stored.
    pub refused: usize,
    pub took: Duration,
    /// From a Pod's departure to its arrival, the median.
    pub p50: Duration,
    /// The same, of one in a hundred.
    pub p99: Duration,
}

impl Outcome {
    /// In a second.
    pub fn rate(&self) -> f64 {
        self.made as f64 / self.took.as_secs_f64()
    }
}

/// Clients of the API server, each with a connection of its own.
pub async fn clients(plane: &Plane) -> Vec<Client> {
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        clients.push(plane.client().await);
    }
    clients
}

impl Load {
    /// Starts it in this namespace, at so many a second: `f64::INFINITY` is as many as there can be. A Pod that is refused
    /// fails the test.
    pub async fn start(plane: &Plane, namespace: &str, rate: f64) -> Self {
        Self::in_bursts(plane, namespace, rate, 1).await
    }

    /// The same, so many at once: the API server keeps 25 connections of a webhook, and makes the rest anew each time.
    pub async fn in_bursts(plane: &Plane, namespace: &str, rate: f64, burst: u64) -> Self {
        Self::by(&clients(plane).await, namespace, (rate, burst), Refusal::Fails)
    }

    /// The same, where Pods may be refused.
    pub async fn refusable(plane: &Plane, namespace: &str, rate: f64) -> Self {
        Self::by(&clients(plane).await, namespace, (rate, 1), Refusal::Counts)
    }

    /// The same, by clients that are there.
    pub fn by(callers: &[Client], namespace: &str, pace: (f64, u64), refusal: Refusal) -> Self {
        let (tally, began, mut clients) = (Arc::new(Tally::default()), Instant::now(), JoinSet::new());
        for client in callers {
            let path = format!("/api/v1/namespaces/{namespace}/pods?dryRun=All");
            clients.spawn(run(client.clone(), tally.clone(), path, began, pace, refusal));
        }
        Self { tally, began, clients }
    }

    /// The highest rate of some seconds.
    pub async fn highest(plane: &Plane, namespace: &str, seconds: u64) -> f64 {
        let load = Self::start(plane, namespace, f64::INFINITY).await;
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        load.stop().await.rate()
    }

    /// Does something, and says how many Pods at the most were on their way when it was done: those that were when it
    /// began, and those that set out meanwhile.
    pub fn on_their_way_when<T>(&self, done: impl FnOnce() -> T) -> usize {
        let arrived = self.so_far().made;
        done();
        self.tally.set_out.load(Ordering::SeqCst) - arrived
    }

    pub fn so_far(&self) -> SoFar {
        let [made, missed] = [&self.tally.made, &self.tally.missed].map(|count| count.load(Ordering::SeqCst));
        SoFar { made, missed }
    }

    /// Ends it, when all that are on their way have arrived.
    pub async fn stop(mut self) -> Outcome {
        self.tally.stop.store(true, Ordering::SeqCst);
        let mut latencies = Vec::new();
        while let Some(ended) = self.clients.join_next().await {
            latencies.extend(ended.unwrap());
        }
        latencies.sort_unstable();
        let took = self.began.elapsed();
        let SoFar { made, missed } = self.so_far();
        let of = |share: f64| latencies[((latencies.len() - 1) as f64 * share) as usize];
        let refused = self.tally.refused.load(Ordering::SeqCst);
        Outcome { made, missed, refused, took, p50: of(0.5), p99: of(0.99) }
    }
}

/// One client's Pods: how long each was on its way.
async fn run(
    client: Client,
    tally: Arc<Tally>,
    path: String,
    began: Instant,
    (rate, burst): (f64, u64),
    refusal: Refusal,
) -> Vec<Duration> {
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"generateName": "load-"},
        "spec": {"containers": [{"name": "web", "image": WEB}]},
    })
    .to_string()
    .into_bytes();
    let mut latencies = Vec::new();
    while !tally.stop.load(Ordering::SeqCst) {
        let number = tally.next.fetch_add(1, Ordering::SeqCst);
        let due = began + Duration::from_secs_f64((number / burst * burst) as f64 / rate);
        tokio::time::sleep_until(due.into()).await;
        let request = http::Request::post(&path).header("content-type", "application/json").body(pod.clone());
        tally.set_out.fetch_add(1, Ordering::SeqCst);
        let departed = Instant::now();
        let stored = client.request_text(request.unwrap()).await;
        latencies.push(departed.elapsed());
        let stored = match stored {
            Ok(stored) => stored,
            Err(error) => {
                assert!(refusal == Refusal::Counts, "a Pod is refused: {error}");
                tally.refused.fetch_add(1, Ordering::SeqCst);
                continue;
            }
        };
        tally.made.fetch_add(1, Ordering::SeqCst);
        if !stored.contains("\"image\":\"harbor.ams.example.com/") {
            tally.missed.fetch_add(1, Ordering::SeqCst);
        }
    }
    latencies
}
