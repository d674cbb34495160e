//! Reports of what a sweep found, over an API server in memory.

use std::sync::Mutex;

use http::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::*;
use crate::controllers::sweep::Tally;
use crate::domain::finding::{About, Action, Finding};
use crate::domain::gap::{GapKey, Version};
use crate::domain::image::Tag;
use crate::domain::name::{PolicyName, RegistryName};
use crate::domain::place::PlaceIx;
use crate::domain::settings::sample;
use crate::domain::verdict::Ground;

const PATH: &str = "/apis/openreports.io/v1alpha1/namespaces/";

fn standing(written: &str, kind: FindingKind, ruling: Ruling, namespaces: &[&str]) -> Standing {
    let finding = Finding {
        kind,
        about: About::Copy,
        place: Some(PlaceIx(0)),
        digest: None,
        detail: "404".into(),
        action: Action::Fallback,
        policies: Vec::new(),
    };
    Standing {
        written: written.into(),
        finding,
        ruling,
        place: Some(RegistryName::new("ams")),
        gap: None,
        namespaces: namespaces.iter().map(|name| Box::from(*name)).collect(),
        owners: Vec::new(),
    }
}

fn missing(written: &str, namespaces: &[&str]) -> Standing {
    standing(written, FindingKind::Missing, Ruling::Fallback { place: None, digest: None }, namespaces)
}

fn standings(lacking: Vec<Standing>) -> Standings {
    Standings { namespaces: BTreeMap::new(), lacking, whole: true }
}

fn site() -> Site {
    Site::new("Ams_1")
}

/// An API server that keeps reports, and counts what it was asked.
#[derive(Clone, Default)]
struct Kept {
    reports: Arc<Mutex<BTreeMap<String, Value>>>,
    asked: Arc<Mutex<Vec<String>>>,
    /// Whether there is no definition; namespaces that take no object.
    absent: Arc<Mutex<bool>>,
    closed: Arc<Mutex<Vec<String>>>,
}

impl Kept {
    fn cluster(&self) -> Cluster {
        let kept = self.clone();
        Cluster::answered_by(move |head, body| std::future::ready(kept.answer(&head, body)))
    }

    fn answer(&self, head: &http::request::Parts, body: Value) -> (StatusCode, String) {
        let failed = |code: StatusCode| {
            let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code.as_u16(),
                "message": "no", "reason": "no"});
            (code, status.to_string())
        };
        let path = head.uri.path();
        if path.ends_with("/replicationgaps") {
            let gap = |name: &str| {
                let axis = json!({"finding": "Missing", "since": "2026-01-01T00:00:00Z", "lastSeen": "2026-01-01T00:00:00Z"});
                json!({"apiVersion": "landfall.dev/v1alpha1", "kind": "ReplicationGap",
                    "metadata": {"name": name, "uid": "u", "resourceVersion": "1"},
                    "spec": {"image": "fra.example.com/shop/web:1", "registry": "ams"},
                    "status": {"state": "Open", "presence": axis, "firstSeen": "2026-01-01T00:00:00Z", "lastSeen": "2026-01-01T00:00:00Z", "message": ""}})
            };
            let list = json!({"metadata": {}, "items": [gap(&GapObjects::name_of(&key()))]});
            return (StatusCode::OK, list.to_string());
        }
        if *self.absent.lock().unwrap() {
            return failed(StatusCode::NOT_FOUND);
        }
        let mut reports = self.reports.lock().unwrap();
        let Some(rest) = path.strip_prefix(PATH) else {
            let meta = |(namespace, report): (&String, &Value)| json!({"metadata": {"namespace": namespace, "annotations": report["metadata"]["annotations"]}});
            let items: Vec<Value> = reports.iter().map(meta).collect();
            return (StatusCode::OK, json!({"metadata": {}, "items": items}).to_string());
        };
        let namespace = rest.split('/').next().unwrap().to_owned();
        self.asked.lock().unwrap().push(format!("{} {namespace}", head.method));
        assert!(path.ends_with("/reports/landfall-ams-1"), "{path}");
        if self.closed.lock().unwrap().contains(&namespace) {
            return failed(StatusCode::FORBIDDEN);
        }
        if head.method == Method::DELETE {
            reports.remove(&namespace);
            return (
                StatusCode::OK,
                json!({"kind": "Status", "apiVersion": "v1", "status": "Success"}).to_string(),
            );
        }
        reports.insert(namespace, body.clone());
        (StatusCode::OK, body.to_string())
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }

    fn reporter(&self) -> Reporter {
        let settings = Arc::new(ArcSwap::from_pointee(sample::settings(PAUSE)));
        Reporter::new(&self.cluster(), settings, tokio::sync::watch::channel(None).1, Leading::always())
    }
}

fn key() -> GapKey {
    GapKey::image("fra.example.com/shop/web", Version::Tag(Tag::new("1")), RegistryName::new("ams"))
}

#[test]
fn a_report_says_what_a_person_must_know_the_worst_first() {
    let digest = format!("sha256:{}", "ab".repeat(32)).parse().unwrap();
    let owner = |namespace: &str| {
        Arc::new(ObjectRef {
            api_version: "apps/v1".into(),
            kind: "Deployment".into(),
            namespace: Some(namespace.into()),
            name: "web".into(),
            uid: None,
        })
    };
    let mut denied =
        standing("fra.example.com/shop/web:1\u{202e}", FindingKind::Missing, Ruling::Deny, &["shop"]);
    denied.finding.policies = vec![PolicyName::new("regulated")];
    denied.finding.digest = Some(digest);
    denied.gap = Some(key());
    denied.owners = vec![owner("shop"), owner("bank")];
    let accepted = |kind| {
        let ruling = Ruling::Accepted { place: PlaceIx(0), digest: None, ground: Ground::Accepted };
        standing("a", kind, ruling, &["shop"])
    };
    let mut vulnerable = accepted(FindingKind::Vulnerable);
    vulnerable.finding.detail = "Critical, at most High is allowed".into();
    let all = [missing("b", &["shop"]), accepted(FindingKind::Unreachable), vulnerable, denied];
    let since = Since::from([(GapObjects::name_of(&key()), "2026-01-01T00:00:00Z".parse().unwrap())]);
    let report = report("shop", &site(), (7, 2), all.iter().collect(), &since);
    assert_eq!(report.summary, Summary { pass: 7, fail: 1, warn: 2, error: 1, skip: 2 });
    let said: Vec<_> =
        report.results.iter().map(|result| (result.rule, result.result, result.severity)).collect();
    assert_eq!(
        said,
        [
            ("Missing", Status::Fail, ReportSeverity::High),
            ("Unreachable", Status::Error, ReportSeverity::Medium),
            ("Vulnerable", Status::Warn, ReportSeverity::Critical),
            ("Missing", Status::Warn, ReportSeverity::Medium),
        ]
    );
    let worst = &report.results[0];
    assert_eq!((worst.policy.as_str(), report.results[3].policy.as_str()), ("regulated", "defaults"));
    assert_eq!(
        worst.message,
        "fra.example.com/shop/web:1: Missing at ams (404): a new Pod with it is denied"
    );
    assert_eq!(worst.resources, [(*owner("shop")).clone()], "owners elsewhere are nobody's business here");
    let keys: Vec<_> = worst.properties.keys().copied().collect();
    assert_eq!(keys, ["digest", "gap", "image", "place", "since", "site"]);
    assert_eq!(worst.timestamp.unwrap().seconds, 1_767_225_600);
}

#[test]
fn a_report_is_bounded_whatever_people_write() {
    let many: Vec<Standing> = (0..2_000).map(|n| missing(&format!("{n:05}"), &["shop"])).collect();
    let all = report("shop", &site(), (0, 0), many.iter().collect(), &Since::new());
    assert_eq!((all.results.len(), all.summary.warn), (MOST_RESULTS, 2_000));
    let mut long = missing(&"\u{10ffff}".repeat(1_000), &["shop"]);
    long.finding.detail = "\u{10ffff}".repeat(1_000).into();
    let owner = |n: usize| ObjectRef {
        api_version: "x".repeat(300).into(),
        kind: "k".repeat(63).into(),
        namespace: Some("shop".into()),
        name: format!("{n}{}", "n".repeat(250)),
        uid: Some("u".repeat(64)),
    };
    long.owners = (0..16).map(|n| Arc::new(owner(n))).collect();
    let long = report("shop", &site(), (0, 0), vec![&long; 500], &Since::new());
    let bytes = serde_json::to_string(&long).unwrap().len();
    assert!(bytes < MOST_BYTES + 10_000 && !long.results.is_empty(), "{bytes}");
}

#[tokio::test(start_paused = true)]
async fn a_report_is_written_only_when_it_says_something_new_and_deleted_when_it_says_nothing() {
    let (kept, mut known) = (Kept::default(), Known::default());
    let reporter = kept.reporter();
    let two = standings(vec![missing("a", &["shop", "bank"]), missing("b", &["bank"])]);
    reporter.round(&two, &site(), &mut known).await.unwrap();
    assert_eq!(kept.asked(), ["PATCH bank", "PATCH shop"]);
    reporter.round(&two, &site(), &mut known).await.unwrap();
    assert!(kept.asked().is_empty(), "nothing is new");
    // Another leader knows what was written by its hash.
    known = Known::default();
    reporter.round(&two, &site(), &mut known).await.unwrap();
    assert!(kept.asked().is_empty(), "nothing is new to the next leader");
    let fewer = standings(vec![missing("a", &["bank"])]);
    reporter.round(&fewer, &site(), &mut known).await.unwrap();
    assert_eq!(kept.asked(), ["PATCH bank", "DELETE shop"]);
    // Not everything was read.
    let unread = Standings { whole: false, ..Standings::default() };
    reporter.round(&unread, &site(), &mut known).await.unwrap();
    assert!(kept.asked().is_empty(), "what was not read is not known to be well");
    reporter.round(&standings(Vec::new()), &site(), &mut known).await.unwrap();
    assert_eq!(kept.asked(), ["DELETE bank"]);
    assert!(kept.reports.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn one_namespace_that_takes_no_report_keeps_none_waiting() {
    let (kept, mut known) = (Kept::default(), Known::default());
    kept.closed.lock().unwrap().push("bank".to_owned());
    let all = standings(vec![missing("a", &["bank", "shop"])]);
    let trouble = kept.reporter().round(&all, &site(), &mut known).await.unwrap_err();
    assert!(trouble.contains("`bank`"), "{trouble}");
    assert_eq!(kept.asked(), ["PATCH bank", "PATCH shop"]);
    kept.closed.lock().unwrap().clear();
    kept.reporter().round(&all, &site(), &mut known).await.unwrap();
    assert_eq!(kept.asked(), ["PATCH bank"]);
}

#[tokio::test(start_paused = true)]
async fn without_a_definition_nothing_is_written() {
    let (kept, mut known) = (Kept::default(), Known::default());
    *kept.absent.lock().unwrap() = true;
    let all = standings(vec![missing("a", &["shop"])]);
    let trouble = kept.reporter().round(&all, &site(), &mut known).await.unwrap_err();
    assert!(trouble.contains("no definition of reports.openreports.io: install it"), "{trouble}");
    assert!(kept.asked().is_empty());
    *kept.absent.lock().unwrap() = false;
    kept.reporter().round(&all, &site(), &mut known).await.unwrap();
    assert_eq!(kept.asked(), ["PATCH shop"]);
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_findings_are_written_at_a_bounded_rate() {
    let (kept, mut known) = (Kept::default(), Known::default());
    let namespaces: Vec<String> = (0..500).map(|n| format!("team-{n:03}")).collect();
    let found = |n: usize| missing(&format!("fra.example.com/shop/{n}:1"), &[&namespaces[n % 500]]);
    let all = Standings {
        namespaces: namespaces
            .iter()
            .map(|name| (name.as_str().into(), Tally { passed: 1, skipped: 0 }))
            .collect(),
        ..standings((0..10_000).map(found).collect())
    };
    let began = Instant::now();
    kept.reporter().round(&all, &site(), &mut known).await.unwrap();
    // The clock stands still but for the pauses, so this counts them.
    assert_eq!((kept.asked().len(), began.elapsed()), (500, PAUSE * 500));
    let reports = kept.reports.lock().unwrap();
    let bytes: Vec<usize> = reports.values().map(|report| report.to_string().len()).collect();
    assert!(bytes.iter().all(|bytes| *bytes < 20_000), "{bytes:?}");
}
