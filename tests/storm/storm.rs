//! The hour that Landfall exists for: the primary is gone, three fresh Landfalls, thousands of Pods, a slow Harbor.

use std::collections::BTreeMap;
use std::fmt;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use landfall::facade::demo::world::faults::{Fault, Scope};
use landfall::facade::demo::world::{Embedded, PathClass};
use serde_json::Value;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::api_server::ApiServer;
use crate::driver::{Caller, Target, post};
use crate::known;
use crate::open::{Called, open_loop, quantile};
use crate::plan::{self, Image, Order, Pod, fill, images, pods};
use crate::process::Process;
use crate::site::{ROUTES, Site, robot};

/// Landfall's replicas.
pub const LANDFALLS: usize = 3;
/// `budget.inFlight`, as by default.
pub const IN_FLIGHT: usize = 16;
/// `budget.request`, as by default.
pub const BUDGET: Duration = Duration::from_millis(2500);
/// What Amsterdam answers in a second, whoever asks.
pub const PACE: u32 = 150;
/// And how late.
pub const LATENCY: Duration = Duration::from_millis(300);
/// For each Landfall: a third of the Pods, each waiting for twice the budget, and as many again.
const CALLERS: usize = 256;
/// For one Pod: more than an API server waits.
const PATIENCE: Duration = Duration::from_secs(10);

/// A policy for all namespaces that lets nothing pass of which Landfall knows nothing.
const STRICT: &str = "policies:
- metadata: {name: strict}
  spec: {namespaceSelector: {}, enforcement: Enforce, onUnknown: Block}
";

/// Which storm.
#[derive(Debug, Clone, Copy)]
pub enum Storm {
    /// Amsterdam is slow, and no Landfall knows any image.
    Slow,
    /// Likewise, but each Landfall has seen each image once before.
    Remembered,
    /// Amsterdam is slow, and each Landfall reads at its start what the cluster knew before.
    Inventory,
    /// Amsterdam is down for so long, and slow then; a policy blocks what is unknown.
    Down(Duration),
}

/// What became of a Pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PodResult {
    /// Admitted: for each image, why, and whether it comes from Amsterdam.
    Admitted(Vec<(String, Where)>),
    /// Not admitted, and this was said.
    Denied(String),
    /// No answer that an API server could use.
    Failed(String),
}

/// Where an image comes from now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Where {
    Amsterdam,
    Elsewhere,
}

/// One Pod's story.
#[derive(Debug)]
pub struct Told {
    /// When it came.
    pub due: Duration,
    /// From then to its answer.
    pub latency: Duration,
    pub result: PodResult,
}

/// What was seen of a storm.
pub struct Seen {
    pub pods: Vec<Told>,
    /// The most requests that Amsterdam had to answer at once.
    pub peak: usize,
    /// Requests that Amsterdam got about images, for each image and Landfall.
    pub asked: BTreeMap<(usize, usize), usize>,
    /// Other requests that it got: probes, projects, scanners.
    pub others: usize,
    /// What Amsterdam answered in its busiest five seconds, each second.
    pub busiest: f64,
    /// The most anonymous memory of a Landfall at the end, in KiB.
    pub anonymous_kib: u64,
    /// The CPU time of all Landfalls.
    pub cpu: Duration,
    pub images: Vec<Image>,
}

impl Storm {
    /// Lets it come.
    pub async fn run(self) -> Result<Seen> {
        let images = images();
        let site = Site::start().await?;
        fill(&mut site.ams.store(), &images);
        check_pace(&site).await?;
        let (order, down, policies) = match self {
            Self::Slow | Self::Remembered | Self::Inventory => (Order::AllAtOnce, Duration::ZERO, ""),
            Self::Down(time) => (Order::ByWorkload, time, STRICT),
        };
        let pods = pods(&images, order)?;
        if let Self::Remembered | Self::Inventory = self {
            fill(&mut site.fra.store(), &images);
        } else {
            become_slow(&site).await;
        }
        if !down.is_zero() {
            site.ams.down().await;
        }
        let api = ApiServer::start().await?;
        let mut configs = Vec::new();
        for number in 0..LANDFALLS {
            let config = site.configure(&name(number), &format!("{ROUTES}{policies}"))?;
            if let Self::Inventory = self {
                known::keep(&api, &name(number), &config, &images).await?;
            }
            configs.push(config);
        }
        if let Self::Inventory = self {
            become_slow(&site).await;
        }
        let mut landfalls = Vec::new();
        for (number, config) in configs.iter().enumerate() {
            let command = match self {
                Self::Inventory => api.command(&name(number), |name, text| site.write(name, text))?,
                _ => Command::new("env"),
            };
            landfalls.push(Process::landfall_in(command, config, &site.folder()?).await?);
        }
        let authority = site.authority();
        if let Self::Remembered = self {
            for landfall in &landfalls {
                remember(&Target::new(landfall.address, &authority)?, &images).await?;
            }
            become_slow(&site).await;
        }
        site.ams.clear_log();
        let end = async {
            sleep(down).await;
            if !down.is_zero() {
                site.ams.up().await;
            }
        };
        let share = async |number: usize| {
            let mine: Vec<usize> = (number..pods.len()).step_by(LANDFALLS).collect();
            let due: Vec<Duration> = mine.iter().map(|pod| plan::due(*pod)).collect();
            let landfall = landfalls.get(number).context("a Landfall")?;
            let callers = Target::new(landfall.address, &authority)?.callers(CALLERS);
            let call = async |caller: &mut Caller, which: usize| admit(caller, &pods[mine[which]]).await;
            let called = open_loop(&due, callers, call).await;
            let told = called.into_iter().map(|called| tell(&due, &pods, &mine, called));
            anyhow::Ok(told.collect::<Vec<_>>())
        };
        let (one, two, three, answered, ()) =
            tokio::join!(share(0), share(1), share(2), watch(&site.ams), end);
        let mut told = [one?, two?, three?].into_iter().flatten().collect::<Vec<_>>();
        told.sort_by_key(|told| told.due);
        let (asked, others) = count(&site.ams, &images);
        let mut seen = Seen {
            pods: told,
            peak: site.ams.peak_in_flight(),
            asked,
            others,
            busiest: busiest(&answered),
            anonymous_kib: 0,
            cpu: Duration::ZERO,
            images,
        };
        for landfall in &landfalls {
            seen.anonymous_kib = seen.anonymous_kib.max(landfall.anonymous_kib()?);
            seen.cpu += landfall.cpu()?;
        }
        Ok(seen)
    }
}

fn name(number: usize) -> String {
    format!("landfall-{number}")
}

/// The hour begins: the primary is gone, and Amsterdam far away and busy.
async fn become_slow(site: &Site) {
    for fault in [Fault::Pace(PACE), Fault::Delay(LATENCY)] {
        site.ams.faults().add(Scope::Everything, fault);
    }
    site.fra.down().await;
}

/// One Pod of each workload, while all is well.
async fn remember(landfall: &Target, images: &[Image]) -> Result<()> {
    const AT_ONCE: usize = 16;
    let pods = pods(images, Order::ByWorkload)?;
    let pods: Vec<&Pod> = pods.iter().step_by(plan::PODS / images.len()).collect();
    let at_once = vec![Duration::ZERO; pods.len()];
    let call =
        async |caller: &mut Caller, which: usize| result(pods[which], &admit(caller, pods[which]).await?);
    for called in open_loop(&at_once, landfall.callers(AT_ONCE), call).await {
        match called.answer? {
            PodResult::Admitted(images) if images.iter().all(|(why, _)| why == "Local") => {}
            other => bail!("before the storm: {other:?}"),
        }
    }
    Ok(())
}

/// Does the registry pace as it says? A storm before one that is faster, or itself too slow, shows nothing.
async fn check_pace(site: &Site) -> Result<()> {
    const CLIENTS: usize = 30;
    let paced = Duration::from_secs(2);
    site.ams.faults().add(Scope::Everything, Fault::Pace(PACE));
    let mut callers = Target::new(site.ams.address(), &site.authority())?.callers(CLIENTS);
    for caller in &mut callers {
        caller.connect().await?;
    }
    let began = Instant::now();
    let due = vec![Duration::ZERO; PACE as usize * paced.as_secs() as usize];
    let get = b"GET / HTTP/1.1\r\nhost: ams\r\n\r\n";
    let answers = open_loop(&due, callers, async |caller, _| caller.call(get).await.map(<[u8]>::len)).await;
    for answer in answers {
        answer.answer?;
    }
    let took = began.elapsed().as_secs_f64() / paced.as_secs_f64();
    site.ams.faults().clear();
    ensure!((0.98..1.2).contains(&took), "the registry answers {PACE} requests in {took:.2} s");
    Ok(())
}

async fn admit(caller: &mut Caller, pod: &Pod) -> Result<Vec<u8>> {
    let request = post("/mutate?timeout=5s", &pod.review());
    let answer = timeout(PATIENCE, caller.call(&request)).await.context("no answer")??;
    Ok(answer.to_vec())
}

/// How many answers Amsterdam has given, second by second, until all Pods have come.
async fn watch(ams: &Embedded) -> Vec<usize> {
    let began = Instant::now();
    let mut answered = Vec::new();
    for second in 0..=plan::OVER.as_secs() {
        sleep_until(began + Duration::from_secs(second)).await;
        answered.push(ams.log().iter().filter(|request| request.status.is_some()).count());
    }
    answered
}

fn busiest(answered: &[usize]) -> f64 {
    const SECONDS: usize = 5;
    let windows = answered.windows(SECONDS + 1).map(|window| window[SECONDS] - window[0]);
    windows.max().unwrap_or_default() as f64 / SECONDS as f64
}

/// How often each image was asked about by each Landfall; and all other requests.
fn count(ams: &Embedded, images: &[Image]) -> (BTreeMap<(usize, usize), usize>, usize) {
    let numbers: BTreeMap<&str, usize> = images
        .iter()
        .enumerate()
        .filter_map(|(number, image)| Some((image.repository.rsplit('/').next()?, number)))
        .collect();
    let landfalls: BTreeMap<String, usize> =
        (0..LANDFALLS).map(|number| (robot(&name(number)), number)).collect();
    let (mut asked, mut others) = (BTreeMap::new(), 0);
    for request in ams.log() {
        let about = matches!(request.class, PathClass::Manifests | PathClass::Api);
        let image = request.path.split('/').find_map(|part| numbers.get(part)).filter(|_| about);
        // A request that nobody waited for to its end has no user.
        let user = request.user.as_ref().and_then(|user| landfalls.get(user));
        match (image, user) {
            (Some(image), Some(user)) => *asked.entry((*image, *user)).or_default() += 1,
            _ => others += 1,
        }
    }
    (asked, others)
}

fn tell(due: &[Duration], pods: &[Pod], mine: &[usize], called: Called<Result<Vec<u8>>>) -> Told {
    let Called { which, latency, answer } = called;
    let pod = &pods[mine[which]];
    let result = match answer.and_then(|answer| result(pod, &answer)) {
        Ok(result) => result,
        Err(error) => PodResult::Failed(format!("{error:#}")),
    };
    Told { due: due[which], latency, result }
}

/// What the answer makes of the Pod.
fn result(pod: &Pod, answer: &[u8]) -> Result<PodResult> {
    let answer: Value = serde_json::from_slice(answer)?;
    let response = &answer["response"];
    if response["allowed"] != true {
        return Ok(PodResult::Denied(response["status"]["message"].as_str().unwrap_or_default().to_owned()));
    }
    let patch = response["patch"].as_str().with_context(|| format!("no patch: {answer}"))?;
    let patch: json_patch::Patch = serde_json::from_slice(&STANDARD.decode(patch)?)?;
    let mut object = pod.object().clone();
    json_patch::patch(&mut object, &patch)?;
    let said = object["metadata"]["annotations"]["landfall.dev/images"].as_str().context("no annotation")?;
    let said: BTreeMap<String, Value> = serde_json::from_str(said)?;
    ensure!(said.len() == pod.images, "{} of {} images: {said:?}", said.len(), pod.images);
    let results = said.iter().map(|(slot, said)| {
        let (field, name) = slot.split_once('/').context("a slot")?;
        let containers = object["spec"][field].as_array().context("containers")?;
        let container =
            containers.iter().find(|container| container["name"] == name).context("a container")?;
        let image = container["image"].as_str().context("an image")?;
        let at = match image.split_once('/') {
            Some(("harbor.ams.example.com", _)) => Where::Amsterdam,
            _ => Where::Elsewhere,
        };
        Ok((said["why"].as_str().context("why")?.to_owned(), at))
    });
    Ok(PodResult::Admitted(results.collect::<Result<_>>()?))
}

impl Seen {
    /// Images by reason and place; denied and failed Pods among them, by what was said.
    pub fn results(&self) -> BTreeMap<String, usize> {
        let mut results = BTreeMap::new();
        for told in &self.pods {
            match &told.result {
                PodResult::Admitted(images) => {
                    for (why, at) in images {
                        *results.entry(format!("{why} {at:?}")).or_default() += 1;
                    }
                }
                PodResult::Denied(_) => *results.entry("Denied".to_owned()).or_default() += 1,
                PodResult::Failed(why) => *results.entry(format!("Failed: {why}")).or_default() += 1,
            }
        }
        results
    }

    /// How many requests about images Amsterdam got.
    pub fn asked_about_images(&self) -> usize {
        self.asked.values().sum()
    }

    /// When the last Pod came that was denied.
    pub fn last_denied(&self) -> Option<Duration> {
        self.pods.iter().filter(|told| matches!(told.result, PodResult::Denied(_))).map(|told| told.due).max()
    }

    /// In ascending order.
    pub fn latencies(&self) -> Vec<Duration> {
        let mut latencies: Vec<Duration> = self.pods.iter().map(|told| told.latency).collect();
        latencies.sort_unstable();
        latencies
    }

    /// Images that a Landfall asked about more often than it may: how often, and what was allowed.
    pub fn too_often(&self) -> Vec<(&str, usize, usize, usize)> {
        let over = |((image, landfall), asked): (&(usize, usize), &usize)| {
            let image = &self.images[*image];
            let most = image.most_requests(plan::OVER);
            (*asked > most).then_some((&*image.repository, *landfall, *asked, most))
        };
        self.asked.iter().filter_map(over).collect()
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let latencies = self.latencies();
        let latency = |share| quantile(&latencies, share).as_millis();
        let asked = self.asked_about_images();
        write!(
            f,
            "{} Pods, images {:?}; last denied {:?}; ms p50 {} p99 {} max {}; Amsterdam: peak {}, {asked} requests \
             about images, {} others, {:.0}/s at its busiest; Landfalls: {:.1} s CPU, {} KiB at most",
            self.pods.len(),
            self.results(),
            self.last_denied(),
            latency(0.5),
            latency(0.99),
            latency(1.0),
            self.peak,
            self.others,
            self.busiest,
            self.cpu.as_secs_f64(),
            self.anonymous_kib,
        )
    }
}
