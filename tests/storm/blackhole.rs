//! The local replica accepts connections and says nothing.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use landfall::facade::demo::world::Scan;
use landfall::facade::demo::world::content::Content;
use serde_json::Value;
use tokio::time::{Instant, timeout};

use crate::driver::{Caller, Target, post};
use crate::open::open_loop;
use crate::process::Process;
use crate::review::review;
use crate::site::{ROUTES, Site};

const REPOSITORY: &str = "production/shop/hole";
/// Pods of a measurement, and how often one comes.
const PODS: usize = 400;
const EVERY: Duration = Duration::from_millis(10);
/// Pods that meet the silence first.
const FIRST: usize = 40;
/// For one Pod: more than an API server waits.
const PATIENCE: Duration = Duration::from_secs(10);
/// For the breaker to open.
const OPENS: Duration = Duration::from_secs(30);

/// Latencies, in ascending order.
pub struct Seen {
    /// Warm, before.
    pub warm: Vec<Duration>,
    /// While nobody knows yet that it is silent.
    pub silent: Vec<Duration>,
    /// Each with an image that nobody has asked for, once the breaker is open.
    pub open: Vec<Duration>,
}

/// Lets it happen.
pub async fn run() -> Result<Seen> {
    let site = Site::start().await?;
    let content = Content::image("hole");
    let digest = site.ams.store().push(REPOSITORY, "1.0", &content);
    site.ams.store().set_scan(&digest, Scan::clean());
    let landfall = Process::landfall(&site.configure("hole", ROUTES)?, &site.folder()?).await?;
    let target = Target::new(landfall.address, &site.authority())?;
    let known = request(&format!("harbor.fra.example.com/{REPOSITORY}@{digest}"))?;
    // No two of them have an image in common.
    let unknown = |which: usize| request(&format!("harbor.fra.example.com/{REPOSITORY}-{which}@{digest}"));
    ensure!(call(&mut target.callers(1)[0], &known).await? == "containers/c0: Local at ams");

    let warm = latencies(&target, PODS, |_| Ok(known.clone())).await?;
    site.ams.freeze().await;
    let silent = latencies(&target, FIRST, unknown).await?;
    let late = Instant::now() + OPENS;
    let mut caller = target.callers(1);
    for which in FIRST.. {
        let began = Instant::now();
        call(&mut caller[0], &unknown(which)?).await?;
        // A look-up waits for `budget.attempt` at least: this one did not take place.
        if began.elapsed() < Duration::from_millis(250) {
            break;
        }
        ensure!(Instant::now() < late, "the breaker did not open in {OPENS:?}");
    }
    let open = latencies(&target, PODS, |which| unknown(PODS + which)).await?;
    Ok(Seen { warm, silent, open })
}

async fn latencies(
    target: &Target,
    pods: usize,
    request: impl Fn(usize) -> Result<Vec<u8>>,
) -> Result<Vec<Duration>> {
    let requests = (0..pods).map(request).collect::<Result<Vec<_>>>()?;
    let due: Vec<Duration> = (0..pods as u32).map(|pod| EVERY * pod).collect();
    let mut callers = target.callers(FIRST);
    for caller in &mut callers {
        caller.connect().await?;
    }
    let called = open_loop(&due, callers, async |caller: &mut Caller, which| {
        call(caller, &requests[which]).await.map(drop)
    });
    let mut latencies = Vec::new();
    for called in called.await {
        called.answer?;
        latencies.push(called.latency);
    }
    latencies.sort_unstable();
    Ok(latencies)
}

fn request(image: &str) -> Result<Vec<u8>> {
    Ok(post("/mutate?timeout=5s", &review(0, &[], &[image])?.to_string()))
}

/// What became of the image of a Pod that was admitted.
async fn call(caller: &mut Caller, request: &[u8]) -> Result<String> {
    let answer = timeout(PATIENCE, caller.call(request)).await.context("no answer")??;
    let answer: Value = serde_json::from_slice(answer)?;
    ensure!(answer["response"]["allowed"] == true, "{answer}");
    Ok(answer["response"]["auditAnnotations"]["images"].as_str().unwrap_or_default().to_owned())
}
