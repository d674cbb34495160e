//! `landfall serve` with 128 MiB, attacked on all ports with everything at once while ordinary Pods come from elsewhere.
//!
//! It counts answers and looks at no clock: an ordinary review that waits longer than an API server does is not answered.
//! The rounds of the attack are counted, too, so it ends by itself.
#![cfg(feature = "demo")]
#![expect(clippy::unwrap_used, reason = "a test says what is wrong by failing")]

#[path = "attack/cell.rs"]
mod cell;
#[path = "support/h2.rs"]
mod h2;
#[path = "load/process.rs"]
#[expect(dead_code, reason = "the bench asks for more")]
mod process;
#[path = "load/site.rs"]
#[expect(dead_code, reason = "the bench asks for more")]
mod site;

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use cell::Cell;
use landfall::facade::demo::world::Scan;
use landfall::facade::demo::world::content::Content;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use serde_json::json;
use site::{ROUTES, Site};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

const MIB: usize = 1024 * 1024;
/// What a replica has (`resources.limits` of the chart).
const MEMORY: usize = 128 * MIB;
/// An API server waits so long for `/mutate`.
const BUDGET: Duration = Duration::from_secs(5);
/// So many sockets, and their peers', are open at the same time.
const FILES: u64 = 4096;
/// Ordinary reviews during each round.
const REVIEWS: usize = 40;

const ATTACKER: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const API_SERVER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

/// The ports, and how to speak to those of the doors.
#[derive(Clone)]
struct Target {
    webhook: SocketAddr,
    validate: SocketAddr,
    admin: SocketAddr,
    tls: Arc<ClientConfig>,
}

impl Target {
    async fn tcp(from: IpAddr, to: SocketAddr) -> io::Result<TcpStream> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::new(from, 0))?;
        socket.connect(to).await
    }

    async fn connect(
        &self,
        from: IpAddr,
        to: SocketAddr,
        protocol: &[u8],
    ) -> io::Result<TlsStream<TcpStream>> {
        let tcp = Self::tcp(from, to).await?;
        let mut tls = (*self.tls).clone();
        tls.alpn_protocols = vec![protocol.to_vec()];
        TlsConnector::from(Arc::new(tls)).connect("127.0.0.1".try_into().unwrap(), tcp).await
    }

    /// An ordinary review on a connection of its own; whether it was answered with a patch in time.
    async fn ordinary(&self, review: &[u8]) -> Result<(), String> {
        let ask = async {
            let mut tls = self.connect(API_SERVER, self.webhook, b"http/1.1").await?;
            tls.write_all(review).await?;
            tls.flush().await?;
            let mut answer = Vec::new();
            tls.read_to_end(&mut answer).await?;
            Ok::<_, io::Error>(String::from_utf8_lossy(&answer).into_owned())
        };
        match timeout(BUDGET, ask).await {
            Ok(Ok(said)) if said.starts_with("HTTP/1.1 200") && said.contains("JSONPatch") => Ok(()),
            Ok(Ok(said)) => Err(said),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("no answer within the budget".to_owned()),
        }
    }
}

/// A way to attack. Each keeps what it has for as long as it lives, whatever the server says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// A connection on which nothing is said.
    Idle,
    /// A TCP connection without a handshake.
    Mute,
    /// A body of 8 MiB whose last byte never comes.
    SlowBody,
    /// A body of 20 KiB of which one byte comes.
    SlowSmallBody,
    /// As many large heads as h2 allows and more, without their bodies.
    LargeHeads,
    /// Bodies on h2 that fill the windows.
    Windows,
    /// A complete review of 8 MiB, and nobody reads the answer.
    LargeReview,
    /// A complete review of 20 MiB.
    LargestReview,
    /// An idle connection to the validating door.
    SecondIdle,
    /// A body of 8 MiB there, whose last byte never comes.
    SecondSlowBody,
    /// As many large heads there as h2 allows and more.
    SecondHeads,
    /// The largest review there.
    SecondLargest,
    /// An idle connection to the admin port.
    AdminIdle,
    /// A part of a head at the admin port.
    AdminHead,
    /// The metrics, again and again, which nobody reads.
    AdminDeaf,
}

/// What each round brings, and how often.
const WAYS: [(Way, usize); 15] = [
    (Way::Idle, 600),
    (Way::Mute, 200),
    (Way::SlowBody, 9),
    (Way::SlowSmallBody, 100),
    (Way::LargeHeads, 40),
    (Way::Windows, 40),
    (Way::LargeReview, 12),
    (Way::LargestReview, 4),
    (Way::SecondIdle, 300),
    (Way::SecondSlowBody, 9),
    (Way::SecondHeads, 40),
    (Way::SecondLargest, 6),
    (Way::AdminIdle, 200),
    (Way::AdminHead, 50),
    (Way::AdminDeaf, 50),
];

enum Held {
    Tcp(#[expect(dead_code, reason = "it is held")] TcpStream),
    Tls(#[expect(dead_code, reason = "it is held")] Box<TlsStream<TcpStream>>),
}

async fn attack(target: Target, way: Way) -> io::Result<Held> {
    let admin = async |said: &[u8]| {
        let mut tcp = Target::tcp(ATTACKER, target.admin).await?;
        tcp.write_all(said).await?;
        Ok(Held::Tcp(tcp))
    };
    let door = async |to: SocketAddr, protocol: &[u8], said: &[u8]| {
        let mut tls = target.connect(ATTACKER, to, protocol).await?;
        tls.write_all(said).await?;
        tls.flush().await?;
        Ok(Held::Tls(Box::new(tls)))
    };
    let webhook = async |protocol: &[u8], said: &[u8]| door(target.webhook, protocol, said).await;
    let second = async |protocol: &[u8], said: &[u8]| door(target.validate, protocol, said).await;
    match way {
        Way::Idle => webhook(b"http/1.1", b"").await,
        Way::Mute => Ok(Held::Tcp(Target::tcp(ATTACKER, target.webhook).await?)),
        Way::SlowBody => webhook(b"http/1.1", &part(8 * MIB, &vec![b' '; 8 * MIB - 1])).await,
        Way::SlowSmallBody => webhook(b"http/1.1", &part(20_000, b"{")).await,
        Way::LargeHeads => webhook(b"h2", &large_heads()).await,
        Way::Windows => {
            let head = h2::head(1, "POST", "/mutate", &[("content-type", "application/json")]);
            let data = (0..4).flat_map(|_| h2::frame(0, 0, 1, &[b' '; 16_000]));
            webhook(b"h2", &h2::hello(&[]).into_iter().chain(head).chain(data).collect::<Vec<_>>()).await
        }
        Way::LargeReview => webhook(b"http/1.1", &large(8 * MIB)).await,
        Way::LargestReview => webhook(b"http/1.1", &large(20 * MIB)).await,
        Way::SecondIdle => second(b"http/1.1", b"").await,
        Way::SecondSlowBody => second(b"http/1.1", &part(8 * MIB, &vec![b' '; 8 * MIB - 1])).await,
        Way::SecondHeads => second(b"h2", &large_heads()).await,
        Way::SecondLargest => second(b"http/1.1", &large(10 * MIB)).await,
        Way::AdminIdle => admin(b"").await,
        Way::AdminHead => admin(b"GET /readyz?verbose HTTP/1.1\r\nhost: ").await,
        Way::AdminDeaf => admin(&b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n".repeat(200)).await,
    }
}

/// Many small fields: a head is larger in memory than on the wire.
fn large_heads() -> Vec<u8> {
    let fields: Vec<_> = (0..300).map(|n| format!("x-{n}")).collect();
    let fields: Vec<_> = fields.iter().map(|name| (name.as_str(), "y")).collect();
    let heads = (0..100).flat_map(|n| h2::head(2 * n + 1, "POST", "/mutate", &fields));
    h2::hello(&[]).into_iter().chain(heads).collect()
}

fn part(length: usize, sent: &[u8]) -> Vec<u8> {
    let head = "POST /mutate?timeout=5s HTTP/1.1\r\nhost: landfall\r\ncontent-type: application/json\r\n";
    [format!("{head}content-length: {length}\r\n\r\n").as_bytes(), sent].concat()
}

fn review(annotation: &str) -> Vec<u8> {
    let review = json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": "u-1", "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "resource": {"group": "", "version": "v1", "resource": "pods"},
            "namespace": "shop", "operation": "CREATE", "userInfo": {"username": "admin"}, "dryRun": false,
            "object": {
                "apiVersion": "v1", "kind": "Pod",
                "metadata": {"name": "p", "namespace": "shop", "annotations": {"note": annotation}},
                "spec": {"containers": [{"name": "c0", "image": "harbor.fra.example.com/production/shop/web:1.0"}]},
            },
        },
    });
    serde_json::to_vec(&review).unwrap()
}

/// A review of this size, written as Go does: `<` takes six bytes.
fn large(size: usize) -> Vec<u8> {
    let text = review("FILLER");
    let filler = "\\u003c".repeat((size - text.len()) / 6);
    let text = String::from_utf8(text).unwrap().replace("FILLER", &filler);
    part(text.len(), text.as_bytes())
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_may_only_reach_the_ports_ends_nobody_and_keeps_no_pod_waiting() {
    if cell::open_files() < FILES {
        cell::say(&format!("skipped: attack: it needs {FILES} open files (`ulimit -n`)"));
        return;
    }
    let site = Site::start().await.unwrap();
    let digest = site.ams.store().push("production/shop/web", "1.0", &Content::image("web"));
    site.ams.store().set_scan(&digest, Scan::clean());
    let config = site.configure("attacked", ROUTES).unwrap();
    let Some(cell) = Cell::start(&config, &site.folder().unwrap(), MEMORY).await else { return };

    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(site.authority()).unwrap()).unwrap();
    let tls = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
    let tls = tls.with_safe_default_protocol_versions().unwrap().with_root_certificates(roots);
    let target = Target {
        webhook: cell.process.address,
        validate: cell.process.validate.unwrap(),
        admin: cell.process.admin_address().unwrap(),
        tls: Arc::new(tls.with_no_client_auth()),
    };
    let ordinary = review("none");
    let ordinary = String::from_utf8(part(ordinary.len(), &ordinary)).unwrap();
    let ordinary = ordinary.replacen("\r\n\r\n", "\r\nconnection: close\r\n\r\n", 1).into_bytes();
    assert_eq!(target.ordinary(&ordinary).await, Ok(()), "before the attack");

    let mut held = Vec::new();
    for round in 0..2 {
        let mut attackers = JoinSet::new();
        let mut unanswered = Vec::new();
        for number in 0..REVIEWS {
            // Each way in even steps: what is to be seen is what the server does, and not how fast we are.
            for (way, times) in WAYS {
                for _ in times * number / REVIEWS..times * (number + 1) / REVIEWS {
                    attackers.spawn(timeout(BUDGET, attack(target.clone(), way)));
                }
            }
            if let Err(why) = target.ordinary(&ordinary).await {
                unanswered.push(format!("{number}: {why}"));
            }
        }
        assert!(cell.lives(), "round {round}: the process is gone ({})", cell.bound());
        assert!(unanswered.is_empty(), "round {round}: {} of {REVIEWS}: {unanswered:?}", unanswered.len());
        // All that it lets them have goes on, and the next round comes on top.
        while let Some(attacker) = attackers.join_next().await {
            held.extend(attacker.unwrap().ok().and_then(Result::ok));
        }
        assert_eq!(target.ordinary(&ordinary).await, Ok(()), "round {round}: when all of it stands");
        let ready = Target::tcp(API_SERVER, target.admin).await.unwrap();
        assert!(ready_on(ready).await.starts_with("HTTP/1.1 200"), "round {round}: the kubelet");
    }
    drop(held);
    assert_eq!(target.ordinary(&ordinary).await, Ok(()), "after the attack");
    cell::say(&format!("attack: {}, at most {} MiB", cell.bound(), cell.peak() / MIB));
}

async fn ready_on(mut tcp: TcpStream) -> String {
    tcp.write_all(b"GET /readyz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut said = String::new();
    timeout(BUDGET, tcp.read_to_string(&mut said)).await.unwrap().unwrap();
    said
}
