//! Many Pods of one image at once, and nobody knows it yet.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use landfall::facade::demo::world::content::Content;
use landfall::facade::demo::world::faults::{Fault, Scope};
use landfall::facade::demo::world::{PathClass, Scan};
use serde_json::Value;
use tokio::time::timeout;

use crate::driver::{Caller, Target, post};
use crate::open::open_loop;
use crate::process::Process;
use crate::review::review;
use crate::site::{ROUTES, Site};

/// Pods at once.
pub const PODS: usize = 500;
const LATENCY: Duration = Duration::from_millis(100);
const REPOSITORY: &str = "production/shop/cold";
/// More than an API server waits.
const PATIENCE: Duration = Duration::from_secs(10);

/// What was seen.
pub struct Seen {
    /// Pods that got the local copy.
    pub local: usize,
    /// What the registry was asked about the image, and how often.
    pub asked: BTreeMap<String, usize>,
    /// The longest answer.
    pub slowest: Duration,
}

/// An index by its tag: presence of the tag, and of the digest that it answered, the list, presence and scan of each of two
/// children.
pub const ASPECTS: usize = 7;

/// Lets them come.
pub async fn run() -> Result<Seen> {
    let site = Site::start().await?;
    let content = Content::index_with_attestation("cold", &["linux/amd64", "linux/arm64"]);
    let digest = site.ams.store().push(REPOSITORY, "1.0", &content);
    site.ams.store().set_scan(&digest, Scan::clean());
    let landfall = Process::landfall(&site.configure("cold", ROUTES)?, &site.folder()?).await?;
    site.ams.faults().add(Scope::Everything, Fault::Delay(LATENCY));
    site.ams.clear_log();
    let image = format!("harbor.fra.example.com/{REPOSITORY}:1.0");
    let request = post("/mutate?timeout=5s", &review(0, &[], &[&image])?.to_string());
    let mut callers = Target::new(landfall.address, &site.authority())?.callers(PODS);
    for caller in &mut callers {
        caller.connect().await?;
    }
    let call = async |caller: &mut Caller, _| local(caller, &request).await;
    let called = open_loop(&vec![Duration::ZERO; PODS], callers, call).await;
    let slowest = called.iter().map(|called| called.latency).max().unwrap_or_default();
    let mut local = 0;
    for called in called {
        local += usize::from(called.answer?);
    }
    let mut asked = BTreeMap::new();
    for request in site.ams.log() {
        let about = matches!(request.class, PathClass::Manifests | PathClass::Api);
        if about && request.path.contains("cold") {
            *asked.entry(format!("{} {}", request.method, request.path)).or_default() += 1;
        }
    }
    Ok(Seen { local, asked, slowest })
}

/// Does the answer bring the image here?
async fn local(caller: &mut Caller, request: &[u8]) -> Result<bool> {
    let answer = timeout(PATIENCE, caller.call(request)).await.context("no answer")??;
    let answer: Value = serde_json::from_slice(answer)?;
    ensure!(answer["response"]["allowed"] == true, "{answer}");
    Ok(answer["response"]["auditAnnotations"]["images"] == "containers/c0: Local at ams")
}
