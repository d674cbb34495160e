//! What an admission costs, beside the least that it could: see `README.md`.
//!
//! ```text
//! driver (this process) ── TLS, 32 connections ──┬► bare      a process of its own: the physical limit
//!   └ the demo's registries ◄────────────────────┴─ landfall  likewise: the real door, warm
//! ```
#![expect(clippy::print_stdout, clippy::indexing_slicing, reason = "a bench prints, and may stop at once")]

mod bare;
mod driver;
mod landfall;
mod process;
mod site;
mod table;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tokio::runtime::Runtime;
use tokio::time::timeout;

use crate::driver::{Connection, Target, post};
use crate::process::{Process, end_with_parent};
use crate::site::Site;
use crate::table::{Compared, Round, Sample, Size};

/// As many as an API server keeps, and a few more.
const CONNECTIONS: usize = 32;
/// Pairs of measurements; which server goes first alternates, so that a drift of the machine falls on both.
const ROUNDS: usize = 9;
/// The reviews, and how often each is sent in a round: about a second of a core.
const REVIEWS: [(&str, &str, usize); 2] = [
    ("deployment-web", include_str!("../vectors/admission/deployment-web.json"), 32_000),
    ("pod-50-containers", include_str!("../vectors/admission/pod-50-containers.json"), 9_600),
];
/// For one measurement, which takes seconds.
const PATIENCE: Duration = Duration::from_secs(120);
/// The roles this binary plays in other processes.
const BARE: &str = "bare";
const LANDFALL: &str = "landfall";

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.as_slice() {
        [role, folder] if role == BARE => serve(bare::serve(Path::new(folder))),
        [role, folder] if role == LANDFALL => serve(landfall::serve(Path::new(folder))),
        _ => compare(),
    }
}

/// A server's process.
fn serve(server: impl Future<Output = Result<()>>) -> Result<()> {
    end_with_parent();
    Runtime::new()?.block_on(server)
}

/// A server under load, and how it is talked to.
struct Served {
    process: Process,
    target: Target,
    idle_kib: u64,
}

impl Served {
    async fn start(role: &str, site: &Site) -> Result<Self> {
        let process = Process::start(role, &site.folder()?)?;
        let target = Target::new(process.address, &site.authority())?;
        // A handshake waits until the server is put together; then it has done nothing yet.
        drop(target.connect().await?);
        let idle_kib = process.anonymous_kib()?;
        Ok(Self { process, target, idle_kib })
    }

    /// One measurement: connections first, then nothing but requests.
    async fn measure(&self, request: &Request) -> Result<Sample> {
        let mut connections = Vec::with_capacity(CONNECTIONS);
        for _ in 0..CONNECTIONS {
            connections.push(self.warm(request).await?);
        }
        let before = self.process.cpu()?;
        let Request { wire, answer, times, .. } = request;
        let requests = self.target.closed_loop(&mut connections, wire, *times, answer);
        let seen = timeout(PATIENCE, requests).await.context("the server no longer answers")??;
        let cpu = self.process.cpu()? - before;
        Ok(Sample::of(cpu, &seen))
    }

    async fn warm(&self, request: &Request) -> Result<Connection> {
        let mut connection = self.target.connect().await?;
        connection.ask(&request.wire).await?;
        Ok(connection)
    }
}

/// A review as it is sent to one of the servers, and what that one answers.
struct Request {
    wire: Vec<u8>,
    answer: Vec<u8>,
    patch: usize,
    times: usize,
}

impl Request {
    async fn to(served: &Served, path: &str, body: &str, times: usize) -> Result<Self> {
        let wire = post(path, body);
        let mut connection = served.target.connect().await?;
        // The second answer is the warm one.
        connection.ask(&wire).await?;
        let answer = connection.ask(&wire).await?;
        let patch = patch_bytes(&answer)?;
        Ok(Self { wire, answer, patch, times })
    }
}

/// How large the patch of an answer is, in bytes of JSON.
fn patch_bytes(answer: &[u8]) -> Result<usize> {
    let answer: serde_json::Value = serde_json::from_slice(answer)?;
    let patch = answer["response"]["patch"].as_str().with_context(|| format!("no patch: {answer}"))?;
    Ok(STANDARD.decode(patch)?.len())
}

fn compare() -> Result<()> {
    let runtime = Runtime::new()?;
    let bodies = REVIEWS.map(|(_, body, _)| body);
    let site = runtime.block_on(Site::start(&bodies))?;
    let landfall = runtime.block_on(Served::start(LANDFALL, &site))?;
    let bare = runtime.block_on(Served::start(BARE, &site))?;
    let mut compared = Vec::new();
    for (name, body, times) in REVIEWS {
        compared.push(runtime.block_on(async {
            let ours = Request::to(&landfall, "/mutate?timeout=5s", body, times).await?;
            let least = Request::to(&bare, &format!("/{}", ours.patch), body, times).await?;
            ensure!(ours.patch == least.patch, "patches of {} and {} bytes", ours.patch, least.patch);
            let mut rounds = Vec::new();
            for round in 0..ROUNDS {
                rounds.push(if round % 2 == 0 {
                    let bare = bare.measure(&least).await?;
                    Round { bare, landfall: landfall.measure(&ours).await? }
                } else {
                    let landfall = landfall.measure(&ours).await?;
                    Round { landfall, bare: bare.measure(&least).await? }
                });
            }
            let answers = (least.answer.len(), ours.answer.len());
            anyhow::Ok(Compared { name, body: body.len(), patch: ours.patch, answers, rounds })
        })?);
    }
    println!("{}", table::admissions(&compared));
    let memory = |served: &Served| anyhow::Ok((served.idle_kib, served.process.anonymous_kib()?));
    println!("{}", table::memory(memory(&bare)?, memory(&landfall)?));
    drop((landfall, bare));
    println!("{}", table::sizes(&sizes()?));
    Ok(())
}

/// The release binary as it is built by default, and as it goes into the image.
fn sizes() -> Result<[Size; 2]> {
    let size = |name, features: &[&str]| {
        let cargo = std::env::var_os("CARGO").context("run it by cargo")?;
        let mut build = Command::new(cargo);
        build.args(["build", "--quiet", "--locked", "--release", "--bin", "landfall"]).args(features);
        ensure!(build.current_dir(env!("CARGO_MANIFEST_DIR")).status()?.success(), "{build:?} failed");
        Ok(Size { name, bytes: std::fs::metadata(env!("CARGO_BIN_EXE_landfall"))?.len() })
    };
    // In this order, so that what lies there in the end is what lies there by default.
    let without = size("without feature demo", &["--no-default-features"])?;
    Ok([size("with feature demo", &[])?, without])
}
