//! The gate on what a warm admission costs: instructions of decode, settled verdicts, patch and encode, without TLS
//! and sockets. They are counted, not timed, so a busy machine tells the same.
//!
//! Each review is answered some times and a thousand times more, each in a process of its own under callgrind; in the
//! difference of the two counts the start cancels out. It prints what `tests/run` reads of a test.
#![expect(clippy::print_stdout, reason = "a bench prints")]

#[expect(dead_code, reason = "here no server runs as a process of its own")]
mod site;

use std::process::{Command, ExitCode};
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use arc_swap::ArcSwap;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{Request, header};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::Parser;
use futures::FutureExt;
use http_body_util::BodyExt;
use jiff::Timestamp;
use landfall::facade::admission::{Doors, Metrics};
use landfall::facade::config::{self, Files};
use landfall::facade::demo::world::seed;
use landfall::facade::domain::policy::Labels;
use landfall::facade::evidence::Observatory;
use prometheus_client::registry::Registry;
use tower::ServiceExt;

use crate::site::{ROUTES, Site};

/// A recorded review, and what answering it once more may cost.
struct Gate {
    name: &'static str,
    body: &'static str,
    images: u64,
    /// So many policies that select other namespaces.
    policies: usize,
    /// Instructions that were counted on x86-64, profile `count`; write down anew what was made cheaper.
    counted: u64,
}

impl Gate {
    /// Half as much again: other CPUs, allocators and compilers count otherwise, but not by that much.
    fn bound(&self) -> u64 {
        self.counted * 3 / 2
    }
}

const GATES: [Gate; 3] = [
    Gate {
        name: "deployment-web",
        body: include_str!("../vectors/admission/deployment-web.json"),
        images: 4,
        policies: 0,
        counted: 190_800,
    },
    Gate {
        name: "pod-50-containers",
        body: include_str!("../vectors/admission/pod-50-containers.json"),
        images: 60,
        policies: 0,
        counted: 814_000,
    },
    Gate {
        name: "200-policies",
        body: include_str!("../vectors/admission/deployment-web.json"),
        images: 4,
        policies: 200,
        counted: 192_000,
    },
];

/// What is answered in both processes, and what is answered in one only.
const FEW: u64 = 10;
const MORE: u64 = 1000;

/// Under callgrind everything is slow, registries included: a look-up may take as long as a configuration can say.
const PATIENT: &str = "budget: {request: 30s, attempt: 30s}\n";

/// Instructions of a warm admission, as a gate.
#[derive(Debug, Parser)]
struct Args {
    /// Only reviews whose line has one of these words
    filters: Vec<String>,
    /// Answer this review, and count nothing (what the gate runs under callgrind)
    #[arg(long, hide = true, requires = "requests")]
    answer: Option<String>,
    /// So many times
    #[arg(long, hide = true)]
    requests: Option<u64>,
    /// What cargo says to every bench
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<ExitCode> {
    let args = Args::parse();
    if let (Some(name), Some(requests)) = (&args.answer, args.requests) {
        let gate = GATES.iter().find(|gate| gate.name == name).context("no such review")?;
        return answer(gate, requests).map(|()| ExitCode::SUCCESS);
    }
    let (mut passed, mut failed) = (0, 0);
    for gate in &GATES {
        let title = format!("instructions: {}", gate.name);
        if !args.filters.is_empty() && !args.filters.iter().any(|word| title.contains(word)) {
            continue;
        }
        let each = count(gate, FEW + MORE)?.saturating_sub(count(gate, FEW)?) / MORE;
        let over = each > gate.bound();
        *(if over { &mut failed } else { &mut passed }) += 1;
        println!(
            "test {title}: {each} a request, {} an image, bound {} a request ... {}",
            each / gate.images,
            gate.bound(),
            if over { "FAILED" } else { "ok" },
        );
    }
    let result = if failed == 0 { "ok" } else { "FAILED" };
    println!("test result: {result}. {passed} passed; {failed} failed");
    Ok(ExitCode::from(u8::from(failed > 0)))
}

/// The instructions of a process that answers the review so many times.
fn count(gate: &Gate, requests: u64) -> Result<u64> {
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).arg(std::env::current_exe()?);
    valgrind.args(["--answer", gate.name, "--requests", &requests.to_string()]);
    let output = valgrind.output().context("valgrind cannot be run")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{valgrind:?}: {}\n{said}", output.status);
    let collected = said.lines().find_map(|line| line.split_once("Collected :"));
    let (_, count) = collected.with_context(|| format!("callgrind counted nothing:\n{said}"))?;
    Ok(count.trim().parse()?)
}

/// Answers the review so many times, warm.
fn answer(gate: &Gate, requests: u64) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (_site, door) = runtime.block_on(warm(gate))?;
    let _entered = runtime.enter();
    // What is remembered stays so, however slowly the time passes here.
    tokio::time::pause();
    let expected = at_once(&door, gate)?;
    let answer: serde_json::Value = serde_json::from_slice(&expected)?;
    let patch = STANDARD
        .decode(answer.pointer("/response/patch").and_then(|patch| patch.as_str()).context("no patch")?)?;
    let patch = String::from_utf8(patch)?;
    ensure!(patch.contains("harbor.ams.example.com/") && !patch.contains("Fallback"), "not local: {patch}");
    for _ in 0..requests {
        ensure!(at_once(&door, gate)? == expected, "another answer");
    }
    Ok(())
}

fn policy(n: usize) -> String {
    format!(
        "- metadata: {{name: p{n}}}\n  spec: {{namespaceSelector: {{matchLabels: {{tier: t{n}}}}}, enforcement: Enforce, \
         onVulnerable: Block, onUnknown: Block}}\n"
    )
}

/// The door with the memory of this review's images.
async fn warm(gate: &Gate) -> Result<(Site, Router)> {
    let site = Site::start().await?;
    for harbor in [&site.fra, &site.ams] {
        seed::hold_reviewed(&mut harbor.store(), "harbor.fra.example.com", &[gate.body])?;
    }
    let policies: String = (0..gate.policies).map(policy).collect();
    let policies = if gate.policies == 0 { String::new() } else { format!("policies:\n{policies}") };
    let text = std::fs::read_to_string(site.configure("counted", &format!("{ROUTES}{PATIENT}{policies}"))?)?;
    let settings = config::parse(&text, "counted.yaml", Files::Check, Timestamp::now())?.settings;
    let mut page = Registry::default();
    let observatory = Arc::new(Observatory::new(&settings, &mut page));
    let settings = Arc::new(ArcSwap::from_pointee(settings));
    let label = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    let labels = [label("kubernetes.io/metadata.name", "shop"), label("team", "shop"), label("tier", "open")];
    let labels = Arc::new(Labels::from(labels));
    let door = Doors::new(settings, observatory, Metrics::register(&mut page))
        .labels(Arc::new(move |_| Box::pin(std::future::ready(labels.clone()))))
        .routers()
        .mutate;
    call(&door, gate).await?;
    Ok((site, door))
}

/// An answer that waits for nothing: who waits has not everything in memory.
fn at_once(door: &Router, gate: &Gate) -> Result<Bytes> {
    call(door, gate).now_or_never().context("a warm review waited")?
}

async fn call(door: &Router, gate: &Gate) -> Result<Bytes> {
    let request = Request::post("/mutate").header(header::CONTENT_TYPE, "application/json");
    let answer = door.clone().oneshot(request.body(Body::from(gate.body))?).await?;
    ensure!(answer.status().is_success(), "{}", answer.status());
    Ok(answer.into_body().collect().await?.to_bytes())
}
