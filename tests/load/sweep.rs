//! The sweep: how long it takes and how much memory, by the number of Pods.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use landfall::facade::demo::world::Scan;
use landfall::facade::demo::world::content::Content;
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::Scale;
use crate::api_server::ApiServer;
use crate::driver::{Caller, post};
use crate::memory::{filled, hold, image};
use crate::metrics::Page;
use crate::open::{open_loop, quantile};
use crate::process::Process;
use crate::review::review;
use crate::served::Served;
use crate::site::Site;
use crate::table::{Row, mib, micros};

/// Pods of one workload, each with two images.
const PODS_PER_WORKLOAD: usize = 10;
const NAMESPACES: usize = 500;
/// Requests a second, and the seconds of one measurement, where admissions are measured beside sweeps. One sweep falls into
/// each: that is 45 times as often as it is by default.
const RATE: u32 = 1_000;
const ROUND: u32 = 20;
/// For one sweep of the largest cluster.
const PATIENCE: Duration = Duration::from_secs(600);

/// All figures: of a cluster, and of one ten times as large.
pub async fn rows(scale: Scale) -> Result<Vec<Row>> {
    let site = Site::start().await?;
    let pods = [5_000 / scale.thin, 50_000 / scale.thin];
    let images = pods[1] / PODS_PER_WORKLOAD * 2;
    hold(&mut site.ams.store(), images);
    hold(&mut site.fra.store(), images);
    site.ams.store().set_scan(&Content::image("fill").digest, Scan::clean());
    let mut rows = Vec::new();
    for pods in pods {
        rows.extend(one(&site, pods).await?);
    }
    rows.extend(beside(&site, pods[0], scale).await?);
    Ok(rows)
}

/// Admissions of a Landfall that sweeps often, beside those of one that does not.
async fn beside(site: &Site, pods: usize, scale: Scale) -> Result<Vec<Row>> {
    let api = ApiServer::start().await?;
    api.list("/api/v1/pods", pods, pod);
    let mut served = Vec::new();
    for (name, every) in [("still", "0s".to_owned()), ("sweeping", format!("{ROUND}s"))] {
        api.render(name);
        let mut command = api.command(name, |file, text| written(site, file, text))?;
        command.env("LANDFALL_SWEEP_EVERY", every);
        let config = site.configure(name, &filled(100_000))?;
        served.push(Served::landfall_in(command, site, &config).await?);
    }
    let due: Vec<Duration> = (0..RATE * ROUND).map(|n| Duration::from_secs(1) * n / RATE).collect();
    let wire = post("/mutate", &review(0, &[], &[&image(0), &image(1)])?.to_string());
    let measure = async |served: &Served| {
        let callers = served.callers(&wire).await?;
        let call = async |caller: &mut Caller, _| caller.call(&wire).await.map(drop);
        let before = served.process.cpu()?;
        let mut latencies = Vec::with_capacity(due.len());
        for called in open_loop(&due, callers, call).await {
            called.answer?;
            latencies.push(called.latency);
        }
        latencies.sort_unstable();
        let cpu = (served.process.cpu()? - before) / (RATE * ROUND);
        anyhow::Ok([quantile(&latencies, 0.5), cpu].map(micros))
    };
    let [still, sweeping] = &served[..] else { unreachable!("two were started") };
    let mut rounds = [const { Vec::new() }; 2];
    for round in 0..scale.rounds.min(5) {
        let (one, other) = if round % 2 == 0 {
            let one = measure(still).await?;
            (one, measure(sweeping).await?)
        } else {
            let other = measure(sweeping).await?;
            (measure(still).await?, other)
        };
        for ((rounds, one), other) in rounds.iter_mut().zip(one).zip(other) {
            rounds.push((one, other));
        }
    }
    let figures = ["p50", "CPU per request, that of the sweeps included"].into_iter().zip(&rounds);
    let row = |(name, rounds): (&str, &Vec<(f64, f64)>)| {
        Row::compared(
            format!(
                "{name} at {RATE} requests/s: without a sweep, and with one of {pods} Pods every {ROUND} s"
            ),
            "µs",
            rounds,
            "≤ 1.2",
        )
    };
    Ok(figures.map(row).collect())
}

fn written(site: &Site, file: &str, text: &str) -> Result<std::path::PathBuf> {
    let path = site.folder()?.join(file);
    std::fs::write(&path, text)?;
    Ok(path)
}

async fn one(site: &Site, pods: usize) -> Result<Vec<Row>> {
    let api = ApiServer::start().await?;
    api.list("/api/v1/pods", pods, pod);
    let name = format!("sweep-{pods}");
    api.render(&name);
    let folder = site.folder()?;
    let command = api.command(&name, |file, text| written(site, file, text))?;
    let config = site.configure(&name, &filled(100_000))?;
    let process = Process::landfall_in(command, &config, &folder).await?;
    let idle = process.anonymous_kib()?;
    let (late, mut most) = (Instant::now() + PATIENCE, idle);
    let took = loop {
        most = most.max(process.anonymous_kib()?);
        let answer = process.admin("/metrics").await?;
        let (_, page) = answer.split_once("\r\n\r\n").context("the answer has a body")?;
        let page = Page::read(page);
        let figure = |name: &str| page.metric(name, &[]).unwrap_or_default();
        if figure("landfall_sweep_duration_seconds") > 0.0 {
            ensure!(figure("landfall_sweep_pods") as usize == pods, "{} Pods", figure("landfall_sweep_pods"));
            ensure!(figure("landfall_sweep_images_unknown") == 0.0, "some are unknown");
            break figure("landfall_sweep_duration_seconds");
        }
        ensure!(Instant::now() < late, "no sweep has ended");
        sleep(Duration::from_millis(100)).await;
    };
    let cpu = process.cpu()?.as_secs_f64();
    Ok(vec![
        Row::alone(format!("sweep of {pods} Pods, everything asked: time"), format!("{took:.1} s"), "linear"),
        Row::alone("… CPU, the start included", format!("{cpu:.1} s"), "linear"),
        Row {
            figure: "… anonymous memory: before, at most".to_owned(),
            least: mib(idle),
            ours: mib(most),
            quotient: None,
            bound: "≤ 96 MiB".to_owned(),
        },
    ])
}

/// A Pod of this number, as large as Pods are.
fn pod(number: usize) -> serde_json::Value {
    let workload = number / PODS_PER_WORKLOAD;
    let namespace = format!("team-{}", workload % NAMESPACES);
    let container = |n: usize| {
        json!({
            "name": format!("c{n}"), "image": image(workload * 2 + n),
            "resources": {"limits": {"memory": "128Mi"}, "requests": {"cpu": "10m"}},
            "env": (0..20).map(|n| json!({"name": format!("VARIABLE_{n}"), "value": "a value of some length"})).collect::<Vec<_>>(),
            "volumeMounts": [{"name": "kube-api-access", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}],
        })
    };
    let fields =
        json!({"f:metadata": {"f:labels": {"f:app": {}}}, "f:spec": {"f:containers": "x".repeat(2_000)}});
    json!({
        "metadata": {
            "namespace": namespace, "name": format!("app-{workload}-{number}"),
            "managedFields": [{"manager": "kube-controller-manager", "operation": "Update", "fieldsV1": fields}],
            "ownerReferences": [{
                "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": format!("app-{workload}"),
                "uid": format!("u-{workload}"), "controller": true,
            }],
        },
        "spec": {"containers": [container(0), container(1)]},
        "status": {"phase": "Running", "conditions": "x".repeat(1_000)},
    })
}
