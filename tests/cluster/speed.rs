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
    /// The mutating door.
    Landfall,
    /// A mutating and a validating webhook that know the answer beforehand.
    Blinds,
    /// Both doors, for a policy enforces.
    Doors,
}

const WAYS: [Way; 5] = [Way::Alone, Way::Blind, Way::Landfall, Way::Blinds, Way::Doors];
/// Which way is compared with which.
const BESIDE: [(Way, Way, &str); 5] = [
    (Way::Landfall, Way::Alone, "one door, beside no webhook"),
    (Way::Landfall, Way::Blind, "… beside a blind webhook"),
    (Way::Doors, Way::Alone, "both doors, beside no webhook"),
    (Way::Doors, Way::Landfall, "… beside one door"),
    (Way::Doors, Way::Blinds, "… beside two blind webhooks"),
];

impl Way {
    fn namespace(self) -> &'static str {
        match self {
            Self::Alone => "speed-alone",
            Self::Blind => "speed-blind",
            Self::Landfall => "speed-pods",
            Self::Blinds => "speed-blinds",
            Self::Doors => "speed-doors",
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "figures, for a quiet machine: tests/cluster/README.md"]
async fn what_landfall_adds_to_a_new_pod() {
    let rounds = std::env::var("LANDFALL_ROUNDS").map_or(ROUNDS, |rounds| rounds.parse().unwrap());
    let apart = Apart::start();
    let plane = apart.0;
    let selected = json!([{
        "key": "kubernetes.io/metadata.name", "operator": "In",
        "values": [Way::Landfall.namespace(), Way::Doors.namespace()],
    }]);
    let selected = format!("--set-json=namespaces.matchExpressions={selected}");
    let _release = Release::install(plane, "speed", &[&selected]).await;
    for way in [Way::Alone, Way::Blind, Way::Blinds, Way::Doors] {
        plane.namespace(way.namespace());
    }
    plane.told(&["label", "namespace", Way::Doors.namespace(), "tier=regulated"]);
    for way in [Way::Blind, Way::Blinds] {
        blind(plane, way).await;
    }
    until("the second door is there", || {
        let names = ["get", "validatingwebhookconfiguration", "speed", "-o", "jsonpath={.webhooks[*].name}"];
        plane.told(&names).contains("validate-").then_some(())
    });
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
            for (ours, other, how) in BESIDE {
                let of = |ways: &[(Way, Measured)], way| of(&ways[way as usize].1);
                let both: Vec<_> =
                    measured[1..].iter().map(|ways| (of(ways, other), of(ways, ours))).collect();
                let title =
                    if how.starts_with('…') { how.to_owned() } else { format!("{name}: {what}, {how}") };
                rows.push(Row::compared(title, unit, &both, ""));
                if unit == "ms" {
                    let mut added: Vec<f64> = both.iter().map(|(other, ours)| ours - other).collect();
                    rows.push(Row::alone("… added", spread(&mut added, unit), ""));
                }
            }
        }
        for (way, doors) in [(Way::Landfall, "one door"), (Way::Doors, "both doors")] {
            let mut own: Vec<f64> = measured[1..].iter().map(|ways| ways[way as usize].1.landfall).collect();
            let title = format!("{name}: CPU of Landfall for a Pod, {doors}");
            rows.push(Row::alone(title, spread(&mut own, "µs"), ""));
        }
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

/// Serves the blind webhooks for the namespace of this way.
async fn blind(plane: &Plane, way: Way) {
    let namespace = way.namespace();
    let ca = other::authority();
    let params = CertificateParams::new(vec![format!("landfall.{namespace}.svc")]).unwrap();
    let image =
        json!([{"op": "replace", "path": "/spec/containers/0/image", "value": "harbor.ams.example.com/web"}]);
    let patch = STANDARD.encode(image.to_string());
    let answer = |review: &str, more: Value| {
        let review: Value = serde_json::from_str(review).unwrap();
        let mut response = json!({"uid": review["request"]["uid"], "allowed": true});
        response.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response})
            .to_string()
    };
    let patched = json!({"patchType": "JSONPatch", "patch": patch});
    let mutates = move |review: String| {
        let patched = patched.clone();
        async move { answer(&review, patched) }
    };
    let validates = move |review: String| async move { answer(&review, json!({})) };
    let doors = Router::new().route("/mutate", post(mutates)).route("/validate", post(validates));
    let port = other::serve(plane, &params, &ca, doors).await;
    let bundle = STANDARD.encode(ca.pem());
    plane.apply(&registration(plane, namespace, "blind.landfall.dev", port, &bundle));
    if way == Way::Blinds {
        let validating = json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
            "metadata": {"name": namespace},
            "webhooks": [{
                "name": "validate.blind.landfall.dev", "failurePolicy": "Fail", "sideEffects": "None",
                "admissionReviewVersions": ["v1"], "timeoutSeconds": 5,
                "clientConfig": {
                    "service": {"name": "landfall", "namespace": namespace, "path": "/validate"}, "caBundle": bundle,
                },
                "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}],
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
            }],
        });
        plane.apply(&validating.to_string());
    }
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
