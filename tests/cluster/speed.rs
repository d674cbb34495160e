//! What Landfall adds to a new Pod, from its client to the API server and back: see `README.md`.

use std::fs;
use std::time::Duration;

use crate::load::{self, Load, Outcome};
use crate::plane::{Apart, Plane};
use crate::release::Release;
use crate::table::{Row, table};

/// The rate that every machine is to reach.
const STEADY: f64 = 200.0;

/// How often both ways are measured, in turn; which goes first alternates, so that a drift of the machine falls on both.
const ROUNDS: usize = 9;

/// One measurement of one way.
struct Measured {
    outcome: Outcome,
    /// CPU of the API server and of all replicas of Landfall, for one Pod (µs).
    api_server: f64,
    landfall: f64,
}

/// A figure of the two ways of one round, and its unit.
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

#[tokio::test(flavor = "multi_thread")]
#[ignore = "figures, for a quiet machine: tests/cluster/README.md"]
async fn what_landfall_adds_to_a_new_pod() {
    let rounds = std::env::var("LANDFALL_ROUNDS").map_or(ROUNDS, |rounds| rounds.parse().unwrap());
    let apart = Apart::start();
    let plane = apart.0;
    let release = Release::install(plane, "speed", &[]).await;
    plane.namespace("speed-without");
    let (with, without) = (release.pods.clone(), "speed-without".to_owned());
    let clients = load::clients(plane).await;
    let mut rows = Vec::new();
    for (name, rate, lasts) in [("200 a second", STEADY, 8), ("as many as there can be", f64::INFINITY, 5)] {
        let measure = async |namespace: &String| {
            let before = (cpu(plane.process("kube-apiserver")), of_landfall(plane));
            let load = Load::by(&clients, namespace, rate, 1);
            tokio::time::sleep(Duration::from_secs(lasts)).await;
            let outcome = load.stop().await;
            let each = |used: Duration| used.as_secs_f64() * 1e6 / outcome.made as f64;
            let (api_server, landfall) =
                (cpu(plane.process("kube-apiserver")) - before.0, of_landfall(plane) - before.1);
            let rewritten = outcome.made - outcome.missed;
            assert_eq!(rewritten, if *namespace == with { outcome.made } else { 0 }, "{outcome:?}");
            Measured { outcome, api_server: each(api_server), landfall: each(landfall) }
        };
        measure(&with).await;
        let mut measured = Vec::new();
        for round in 0..rounds {
            eprintln!("{name}: {} of {rounds}", round + 1);
            measured.push(if round % 2 == 0 {
                (measure(&without).await, measure(&with).await)
            } else {
                let with = measure(&with).await;
                (measure(&without).await, with)
            });
        }
        for (what, unit, of) in FIGURES {
            let both: Vec<_> = measured.iter().map(|(without, with)| (of(without), of(with))).collect();
            rows.push(Row::compared(format!("{name}: {what}"), unit, &both, ""));
            if unit == "ms" {
                let mut added: Vec<f64> = both.iter().map(|(without, with)| with - without).collect();
                rows.push(Row::alone(format!("… added {what}"), spread(&mut added, "ms"), ""));
            }
        }
        let mut own: Vec<f64> = measured.iter().map(|(_, with)| with.landfall).collect();
        rows.push(Row::alone(format!("{name}: CPU of Landfall for a Pod"), spread(&mut own, "µs"), ""));
    }
    println!("{}", table(&rows));
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
