//! Warm: what one admission costs, and how long it takes, beside the bare server.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use landfall::facade::demo::world::seed;

use crate::Scale;
use crate::driver::{Caller, post};
use crate::open::{open_loop, quantile};
use crate::served::{Served, same};
use crate::site::{ROUTES, Site};
use crate::table::{Row, micros};

/// The reviews, and how often each is sent in a round: one to three seconds of a core.
const REVIEWS: [(&str, &str, usize); 2] = [
    ("deployment-web", include_str!("../vectors/admission/deployment-web.json"), 32_000),
    ("pod-50-containers", include_str!("../vectors/admission/pod-50-containers.json"), 9_600),
];
/// Requests a second of the open loops, and for how many seconds a round.
const RATES: [(u32, &str); 3] = [(1000, "1,000"), (200, "200"), (67, "67")];
const ROUND: u32 = 10;

/// Both servers.
struct Pair {
    bare: Served,
    landfall: Served,
    _site: Site,
}

impl Pair {
    async fn start() -> Result<Self> {
        let site = Site::start().await?;
        for harbor in [&site.fra, &site.ams] {
            let reviews = REVIEWS.map(|(_, body, _)| body);
            seed::hold_reviewed(&mut harbor.store(), "harbor.fra.example.com", &reviews)?;
        }
        let landfall = Served::landfall(&site, &site.configure("warm", ROUTES)?).await?;
        Ok(Self { bare: Served::bare(&site).await?, landfall, _site: site })
    }

    /// The same review for both, and a patch of the same size from both.
    async fn requests(&self, body: &str) -> Result<[Request; 2]> {
        let ours = Request::to(&self.landfall, "/mutate?timeout=5s", body).await?;
        let least = Request::to(&self.bare, &format!("/{}", ours.patch), body).await?;
        ensure!(ours.patch == least.patch, "patches of {} and {} bytes", ours.patch, least.patch);
        Ok([least, ours])
    }
}

/// A review as it is sent to one of the servers, and what that one answers.
struct Request {
    wire: Vec<u8>,
    answer: Vec<u8>,
    patch: usize,
}

impl Request {
    async fn to(served: &Served, path: &str, body: &str) -> Result<Self> {
        let wire = post(path, body);
        let mut caller = served.target.callers(1).remove(0);
        // The second answer is the warm one.
        caller.call(&wire).await?;
        let answer = caller.call(&wire).await?.to_vec();
        let patch = patch_bytes(&answer)?;
        Ok(Self { wire, answer, patch })
    }

    async fn call(&self, caller: &mut Caller) -> Result<()> {
        same(caller, &self.wire, &self.answer).await
    }
}

/// How large the patch of an answer is, in bytes of JSON.
fn patch_bytes(answer: &[u8]) -> Result<usize> {
    let answer: serde_json::Value = serde_json::from_slice(answer)?;
    let patch = answer["response"]["patch"].as_str().with_context(|| format!("no patch: {answer}"))?;
    Ok(STANDARD.decode(patch)?.len())
}

/// CPU per request.
pub async fn cpu(scale: Scale) -> Result<Vec<Row>> {
    let pair = Pair::start().await?;
    let mut rows = Vec::new();
    for (name, body, times) in REVIEWS {
        let [least, ours] = pair.requests(body).await?;
        let measure = async |served: &Served, request: &Request| {
            let callers = served.callers(&request.wire).await?;
            let call = async |caller: &mut Caller, _| request.call(caller).await;
            served.cpu(callers, times / scale.share, call).await.map(micros)
        };
        let mut rounds = Vec::new();
        for round in 0..scale.rounds {
            rounds.push(if round % 2 == 0 {
                let bare = measure(&pair.bare, &least).await?;
                (bare, measure(&pair.landfall, &ours).await?)
            } else {
                let landfall = measure(&pair.landfall, &ours).await?;
                (measure(&pair.bare, &least).await?, landfall)
            });
        }
        let figure = format!("CPU per request, {name} (patch {} B)", ours.patch);
        rows.push(Row::compared(figure, "µs", &rounds, "≤ 1.25"));
    }
    Ok(rows)
}

/// Latencies and CPU at fixed rates. At a low rate most of the CPU is what a server pays to be woken.
pub async fn latency(scale: Scale) -> Result<Vec<Row>> {
    let pair = Pair::start().await?;
    let [least, ours] = pair.requests(REVIEWS[0].1).await?;
    let mut rows = Vec::new();
    for (rate, told) in RATES {
        let requests = rate * ROUND / u32::try_from(scale.share)?;
        let due: Vec<Duration> =
            (0..requests).map(|request| Duration::from_secs(1) * request / rate).collect();
        let measure = async |served: &Served, request: &Request| {
            let callers = served.callers(&request.wire).await?;
            let call = async |caller: &mut Caller, _| request.call(caller).await;
            let before = served.process.cpu()?;
            let mut latencies = Vec::with_capacity(due.len());
            for called in open_loop(&due, callers, call).await {
                called.answer?;
                latencies.push(called.latency);
            }
            let cpu = (served.process.cpu()? - before) / requests;
            latencies.sort_unstable();
            anyhow::Ok([quantile(&latencies, 0.5), quantile(&latencies, 0.99), cpu].map(micros))
        };
        let mut figures = [const { Vec::new() }; 3];
        for round in 0..scale.rounds.min(5) {
            let (bare, landfall) = if round % 2 == 0 {
                let bare = measure(&pair.bare, &least).await?;
                (bare, measure(&pair.landfall, &ours).await?)
            } else {
                let landfall = measure(&pair.landfall, &ours).await?;
                (measure(&pair.bare, &least).await?, landfall)
            };
            for ((rounds, bare), landfall) in figures.iter_mut().zip(bare).zip(landfall) {
                rounds.push((bare, landfall));
            }
        }
        for (name, rounds) in ["p50", "p99", "CPU per request"].into_iter().zip(&figures) {
            rows.push(Row::compared(format!("{name} at {told} requests/s"), "µs", rounds, "told"));
        }
    }
    Ok(rows)
}
