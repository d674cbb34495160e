//! What Landfall adds to a new Pod, from its client to the API server and back: see `README.md`.

use std::fs;
use std::time::Duration;

use axum::Router;
use axum::routing::post;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kube::Client;
use rcgen::CertificateParams;
use serde_json::{Value, json};

use crate::load::{self, Load, Outcome, Refusal};
use crate::other;
use crate::plane::{Apart, Plane, until};
use crate::release::Release;
use crate::table::{Row, table};
use crate::webhook::registration;

/// The rate that every machine is to reach.
const STEADY: f64 = 200.0;

/// How often each way is measured, in turn; which goes first changes, so that a drift of the machine falls on all.
const ROUNDS: usize = 9;

/// One measurement of one way.
struct Measured {
    outcome: Outcome,
    /// CPU of the API server and of all replicas of Landfall, for one Pod (µs).
    api_server: f64,
    landfall: f64,
}

/// A figure of one way in one round, and its unit.
type Figure = (&'static str, &'static str, fn(&Measured) -> f64);

const FIGURES: [Figure; 5] = [
    ("p50", "ms", |measured| millis(measured.outcome.p50)),
    ("p99", "ms", |measured| millis(measured.outcome.p99)),
    ("Pods a second", "", |measured| measured.outcome.rate()),
    ("CPU of the API server for a Pod", "µs", |measured| measured.api_server),
    ("CPU of API server and Landfall for a Pod", "µs", |measured| measured.api_server + measured.landfall),
];

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// The ways that a Pod can take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// No webhook is asked.
    Alone,
    /// A webhook that knows the answer beforehand: what the API server takes for asking anybody.
    Blind,
    Landfall,
}

const WAYS: [Way; 3] = [Way::Alone, Way::Blind, Way::Landfall];

impl Way {
    fn namespace(self) -> &'static str {
        match self {
            Self::Alone => "speed-alone",
            Self::Blind => "speed-blind",
            Self::Landfall => "speed-pods",
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "figures, for a quiet machine: tests/cluster/README.md"]
async fn what_landfall_adds_to_a_new_pod() {
    let rounds = std::env::var("LANDFALL_ROUNDS").map_or(ROUNDS, |rounds| rounds.parse().unwrap());
    let apart = Apart::start();
    let plane = apart.0;
    let _release = Release::install(plane, "speed", &[]).await;
    plane.namespace(Way::Alone.namespace());
    plane.namespace(Way::Blind.namespace());
    blind(plane, Way::Blind.namespace()).await;
    let clients = load::clients(plane).await;
    let mut rows = Vec::new();
    for (name, rate, lasts) in [("200 a second", STEADY, 8), ("as many as there can be", f64::INFINITY, 5)] {
        let mut measured = Vec::new();
        // The first round warms everything, and counts for nothing.
        for round in 0..=rounds {
            eprintln!("{name}: {round} of {rounds}");
            let mut ways = Vec::new();
            for turn in 0..WAYS.len() {
                let way = WAYS[(round + turn) % WAYS.len()];
                ways.push((way, measure(plane, &clients, way, rate, lasts).await));
            }
            ways.sort_by_key(|(way, _)| WAYS.iter().position(|one| one == way));
            measured.push(ways);
        }
        for (what, unit, of) in FIGURES {
            let mut beside = |other: usize, title: String| {
                let both: Vec<_> =
                    measured[1..].iter().map(|ways| (of(&ways[other].1), of(&ways[2].1))).collect();
                rows.push(Row::compared(title, unit, &both, ""));
                if unit == "ms" {
                    let mut added: Vec<f64> = both.iter().map(|(other, ours)| ours - other).collect();
                    rows.push(Row::alone("… added", spread(&mut added, unit), ""));
                }
            };
            beside(0, format!("{name}: {what}, beside no webhook"));
            beside(1, "… beside a blind webhook".to_owned());
        }
        let mut own: Vec<f64> = measured[1..].iter().map(|ways| ways[2].1.landfall).collect();
        rows.push(Row::alone(format!("{name}: CPU of Landfall for a Pod"), spread(&mut own, "µs"), ""));
    }
    println!("{}", table(&rows));
}

async fn measure(plane: &Plane, clients: &[Client], way: Way, rate: f64, seconds: u64) -> Measured {
    let before = (cpu(plane.process("kube-apiserver")), of_landfall(plane));
    let load = Load::by(clients, way.namespace(), (rate, 1), Refusal::Fails);
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    let outcome = load.stop().await;
    let each = |used: Duration| used.as_secs_f64() * 1e6 / outcome.made as f64;
    let after = (cpu(plane.process("kube-apiserver")), of_landfall(plane));
    let missed = if way == Way::Alone { outcome.made } else { 0 };
    assert_eq!(outcome.missed, missed, "{way:?}: {outcome:?}");
    Measured { outcome, api_server: each(after.0 - before.0), landfall: each(after.1 - before.1) }
}

/// Serves the blind webhook for this namespace.
async fn blind(plane: &Plane, namespace: &str) {
    let ca = other::authority();
    let params = CertificateParams::new(vec![format!("landfall.{namespace}.svc")]).unwrap();
    let image =
        json!([{"op": "replace", "path": "/spec/containers/0/image", "value": "harbor.ams.example.com/web"}]);
    let patch = STANDARD.encode(image.to_string());
    let answer = move |review: String| async move {
        let review: Value = serde_json::from_str(&review).unwrap();
        let uid = &review["request"]["uid"];
        let response = json!({"uid": uid, "allowed": true, "patchType": "JSONPatch", "patch": patch});
        json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response})
            .to_string()
    };
    let port = other::serve(plane, &params, &ca, Router::new().route("/mutate", post(answer))).await;
    plane.apply(&registration(plane, namespace, "blind.landfall.dev", port, &STANDARD.encode(ca.pem())));
    let probe = ["run", "probe", "--image", "web", "-n", namespace, "--dry-run=server", "-o", "yaml"];
    until("it is called", || plane.told(&probe).contains("harbor.ams.example.com/").then_some(()));
}

/// Median and extremes.
fn spread(figures: &mut [f64], unit: &str) -> String {
    figures.sort_unstable_by(f64::total_cmp);
    let (least, most) = (figures[0], figures[figures.len() - 1]);
    format!("{:.2} ({least:.2} … {most:.2}) {unit}", figures[figures.len() / 2])
}

/// The CPU time of all replicas.
fn of_landfall(plane: &Plane) -> Duration {
    plane.containers.lock().unwrap().values().map(|process| cpu(*process)).sum()
}

/// The CPU time that a process has used, all threads, in user and kernel mode. The kernel counts in steps of 10 ms.
fn cpu(process: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    // The second field, the name in parentheses, may hold anything; the rest are numbers. proc_pid_stat(5)
    let (_, rest) = stat.rsplit_once(") ").unwrap();
    let ticks: u64 = rest.split(' ').skip(11).take(2).map(|ticks| ticks.parse::<u64>().unwrap()).sum();
    Duration::from_millis(ticks * 10)
}
