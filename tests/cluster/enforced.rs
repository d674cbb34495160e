//! What a policy blocks stays blocked: when Landfall is away, while policies are edited under load, and while a policy moves
//! from the file into an object.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use landfall::facade::demo::world::seed;

use crate::load::{Counted, Load, clients};
use crate::plane::{Apart, Plane, until};
use crate::release::Release;
use crate::rollout::{SHARE, one_dies};
use crate::webhook::WEB;

/// A policy as an object, for the namespaces with this label `tier`.
pub fn policy(name: &str, tier: &str, rules: Value) -> Value {
    let mut spec = json!({
        "namespaceSelector": {"matchLabels": {"tier": tier}}, "enforcement": "Enforce", "contact": "#security",
    });
    spec.as_object_mut().unwrap().extend(rules.as_object().unwrap().clone());
    json!({"apiVersion": "landfall.dev/v1alpha1", "kind": "LandingPolicy", "metadata": {"name": name}, "spec": spec})
}

/// Blocks what is vulnerable.
pub fn block_vulnerable() -> Value {
    json!({"onVulnerable": "Block", "scan": {"required": "Auto", "maxSeverity": "Medium"}})
}

/// All namespaces but those that are left alone.
const ALL: &str = "--set-json=namespaces.matchExpressions=[]";

/// Gives a namespace this label `tier`.
pub fn tier(plane: &Plane, namespace: &str, tier: &str) {
    plane.told(&["label", "namespace", namespace, &format!("tier={tier}")]);
}

/// Waits until this policy is in force on every replica and at both doors.
pub fn until_enforcing(plane: &Plane, policy: &str) {
    plane.told(&["wait", "--for=condition=Enforcing", &format!("landingpolicy/{policy}"), "--timeout=60s"]);
}

fn vulnerable() -> String {
    format!("harbor.fra.example.com/{}:{}", seed::VULNERABLE.repository, seed::VULNERABLE.tag)
}

fn pod(name: &str, image: &str) -> String {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "finalizers": ["example.com/held"]},
        "spec": {"containers": [{"name": "web", "image": image}]},
    })
    .to_string()
}

/// What `kubectl create` says of a Pod: nothing where it is created.
fn refused(plane: &Plane, namespace: &str, name: &str, image: &str) -> String {
    let file = plane.write_new(&pod(name, image));
    let output = plane.kubectl(&["create", "-n", namespace, "-f", &file.display().to_string()]);
    if output.status.success() { String::new() } else { String::from_utf8(output.stderr).unwrap() }
}

fn get(plane: &Plane, namespace: &str, pod: &str) -> Value {
    let found = plane.told(&["get", "pod", pod, "-n", namespace, "--ignore-not-found", "-o", "json"]);
    if found.is_empty() { Value::Null } else { serde_json::from_str(&found).unwrap() }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_landfall_gone_the_cluster_lives_and_what_is_blocked_stays_blocked() {
    let apart = Apart::start();
    let plane = apart.0;
    let release = Release::install(plane, "gone", &[ALL]).await;
    plane.apply(&policy("strict", "strict", block_vulnerable()).to_string());
    for namespace in ["gone-strict", "gone-free"] {
        plane.namespace(namespace);
    }
    tier(plane, "gone-strict", "strict");
    tier(plane, "gone-free", "free");
    until_enforcing(plane, "strict");
    assert_eq!(refused(plane, "gone-strict", "before", WEB), "");
    assert!(refused(plane, "gone-strict", "bad", &vulnerable()).contains("Vulnerable at ams"));

    plane.told(&["scale", "deployment/gone", "-n", "gone", "--replicas=0"]);
    until("nobody is there", || release.replicas().is_empty().then_some(()));
    plane.kill("kube-apiserver");
    plane.revive("kube-apiserver");
    plane.until_ready();

    let free =
        [("gone-free", "good", WEB), ("gone-free", "bad", &vulnerable()), ("kube-system", "good", WEB)];
    for (namespace, name, image) in free {
        assert_eq!(refused(plane, namespace, name, image), "", "{namespace}");
    }
    for image in [WEB, &vulnerable()] {
        let said = refused(plane, "gone-strict", "meanwhile", image);
        assert!(said.contains("failed calling webhook \"validate-"), "{said}");
        assert_eq!(get(plane, "gone-strict", "meanwhile"), Value::Null);
    }
    // What is there lives and goes.
    let namespace = "gone-strict";
    plane.told(&["label", "pod", "before", "-n", namespace, "seen=yes"]);
    let status = r#"{"status": {"conditions": [{"type": "example.com/Seen", "status": "True"}]}}"#;
    plane.told(&["patch", "pod", "before", "-n", namespace, "--subresource=status", "-p", status]);
    plane.told(&["delete", "pod", "before", "-n", namespace, "--wait=false"]);
    plane.told(&["patch", "pod", "before", "-n", namespace, "-p", r#"{"metadata": {"finalizers": null}}"#]);
    until("it is gone", || get(plane, namespace, "before").is_null().then_some(()));

    // And Landfall comes back, although its own Pods are new ones, too.
    plane.told(&["scale", "deployment/gone", "-n", "gone", "--replicas=3"]);
    release.until_rolled_out();
    until("Pods are admitted again", || refused(plane, namespace, "after", WEB).is_empty().then_some(()));
    assert!(refused(plane, namespace, "bad", &vulnerable()).contains("Vulnerable at ams"));

    // With the release everything of it goes, and nothing stays blocked.
    drop(release);
    until("it may be created", || refused(plane, namespace, "bad", &vulnerable()).is_empty().then_some(()));
    let left = plane.told(&["get", "validatingwebhookconfigurations", "-o", "name"]);
    assert!(!left.contains("gone"), "{left}");
}

/// The old policy blocks the vulnerable, the new one both the vulnerable and what is not routed: the vulnerable is denied all
/// the time, however often one becomes the other.
#[tokio::test(flavor = "multi_thread")]
async fn policies_edited_under_load_never_admit_what_the_old_and_the_new_one_deny() {
    const EDITS: usize = 12;
    let apart = Apart::start();
    let plane = apart.0;
    let release = Release::install(plane, "edited", &[]).await;
    let strict = || policy("edited", "edited", block_vulnerable());
    let mut stricter = block_vulnerable();
    stricter["onUnrouted"] = json!("Block");
    let stricter = || policy("edited", "edited", stricter.clone());
    plane.apply(&strict().to_string());
    tier(plane, &release.pods, "edited");
    until_enforcing(plane, "edited");

    let path = format!("/api/v1/namespaces/{}/pods?dryRun=All", release.pods);
    let (admitted, asked, stop) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
    let bad = vulnerable();
    let callers = clients(plane).await;
    let load = callers.iter().map(|client| {
        let body = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"generateName": "bad-"},
            "spec": {"containers": [{"name": "web", "image": bad}]},
        })
        .to_string()
        .into_bytes();
        let (path, admitted, asked, stop) = (&path, &admitted, &asked, &stop);
        async move {
            while stop.load(Ordering::SeqCst) == 0 {
                let request = http::Request::post(path).header("content-type", "application/json");
                asked.fetch_add(1, Ordering::SeqCst);
                if client.request_text(request.body(body.clone()).unwrap()).await.is_ok() {
                    admitted.fetch_add(1, Ordering::SeqCst);
                }
            }
        }
    });
    let edits = async {
        let client = plane.client().await;
        let mut took = Vec::new();
        for edit in 0..EDITS {
            let next = if edit % 2 == 0 { stricter() } else { strict() };
            plane.apply(&next.to_string());
            let began = Instant::now();
            // In force where every replica that the API server may call says the same, twenty times in a row.
            let mut same = 0;
            while same < 20 {
                let unrouted = json!({
                    "apiVersion": "v1", "kind": "Pod", "metadata": {"generateName": "unrouted-"},
                    "spec": {"containers": [{"name": "web", "image": "quay.io/a/b:1"}]},
                });
                let request = http::Request::post(&path).header("content-type", "application/json");
                let said =
                    client.request_text(request.body(unrouted.to_string().into_bytes()).unwrap()).await;
                same = if said.is_err() == (edit % 2 == 0) { same + 1 } else { 0 };
                assert!(began.elapsed() < Duration::from_secs(60), "an edit has no effect: {said:?}");
            }
            took.push(began.elapsed());
        }
        stop.store(1, Ordering::SeqCst);
        took
    };
    let (_, took) = tokio::join!(futures::future::join_all(load), edits);
    println!("{} Pods; an edit is in force after {took:?}", asked.load(Ordering::SeqCst));
    assert_eq!(admitted.load(Ordering::SeqCst), 0, "of {}", asked.load(Ordering::SeqCst));
    assert!(asked.load(Ordering::SeqCst) > 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_moves_from_the_file_into_an_object_without_a_gap() {
    let apart = Apart::start();
    let plane = apart.0;
    let release = Release::prepare(plane, "moved").await;
    let in_file = "  - metadata: {name: moving}\n    spec:\n      namespaceSelector: {matchLabels: {tier: moving}}\n      \
                   enforcement: Enforce\n      onVulnerable: Block\n      scan: {required: Auto, maxSeverity: Medium}\n";
    release.helm_with("install", &format!("{}{in_file}", release.config()), &[]);
    release.until_in_force();
    tier(plane, &release.pods, "moving");
    let denied = || {
        let said = refused(plane, &release.pods, "bad", &vulnerable());
        assert!(said.contains("Vulnerable at ams") && said.contains("moving"), "{said}");
    };
    until("the second door is there", || {
        plane
            .told(&["get", "validatingwebhookconfiguration", "moved", "-o", "jsonpath={.webhooks[*].name}"])
            .contains("validate-")
            .then_some(())
    });
    denied();
    plane.apply(&policy("moving", "moving", block_vulnerable()).to_string());
    until("the object says that the file has it", || {
        let conditions =
            plane.told(&["get", "landingpolicy", "moving", "-o", "jsonpath={.status.conditions}"]);
        denied();
        conditions.contains("file").then_some(())
    });
    release.helm_with("upgrade", &release.config(), &[]);
    denied();
    until_enforcing(plane, "moving");
    denied();
}

/// Under a policy, a call that is lost is a denial, of either door: a controller tries again.
#[tokio::test(flavor = "multi_thread")]
async fn a_rollout_under_load_denies_nobody_and_a_death_admits_nobody_unjudged() {
    let apart = Apart::start();
    let plane = apart.0;
    let release = Release::install(plane, "pressed", &[]).await;
    tier(plane, &release.pods, "regulated");
    until("the second door is there", || {
        let names =
            ["get", "validatingwebhookconfiguration", "pressed", "-o", "jsonpath={.webhooks[*].name}"];
        plane.told(&names).contains("validate-").then_some(())
    });
    let highest = Load::highest(plane, &release.pods, 5).await;

    let before = Counted::so_far(plane);
    let load = Load::refusable(plane, &release.pods, highest * SHARE).await;
    plane.told(&["rollout", "restart", "deployment/pressed", "-n", "pressed"]);
    release.until_rolled_out();
    until("the old Pods are gone", || (release.replicas().len() == 3).then_some(()));
    let outcome = load.stop().await;
    let counted = Counted::since(plane, &before);
    println!("a rollout at {:.0} of {highest:.0} Pods a second: {outcome:?}, {counted:?}", outcome.rate());
    assert!((outcome.missed, outcome.refused) == (0, 0) && counted.is_clean(), "{outcome:?}, {counted:?}");
    assert!(counted.called >= 2 * outcome.made as u64, "both doors are asked: {counted:?}");

    // One dies without a word.
    let load = Load::refusable(plane, &release.pods, highest * SHARE).await;
    let on_their_way = one_dies(&release, &load);
    let outcome = load.stop().await;
    println!("kill -9 with {on_their_way} on their way: {outcome:?}");
    assert_eq!(outcome.missed, 0, "nobody gets in as written: {outcome:?}");
    assert!(outcome.refused * 20 < outcome.made, "{outcome:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_policies_and_two_thousand_namespaces_fit_into_a_replica() {
    // With the one of the file there are as many selectors as there may be.
    const POLICIES: usize = 199;
    const NAMESPACES: usize = 2_000;
    let apart = Apart::start();
    let plane = apart.0;
    let release = Release::install(plane, "many", &[ALL]).await;
    let anonymous = || {
        let containers = plane.containers.lock().unwrap();
        let of = |process: &u32| {
            let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
            let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
            line.trim().trim_end_matches(" kB").parse::<usize>().unwrap()
        };
        containers.values().map(of).max().unwrap()
    };
    let before = anonymous();
    let list = |items: Vec<Value>| json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string();
    let namespace = |n: usize| {
        let labels = json!({"tier": format!("t{}", n % POLICIES), "team": format!("team-{n}")});
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": format!("many-{n}"), "labels": labels}})
    };
    let mut clients = Vec::new();
    for batch in 0..8 {
        let file = plane.write_new(&list((batch..NAMESPACES).step_by(8).map(namespace).collect()));
        clients.push(std::thread::spawn(move || {
            let output = plane.kubectl(&["create", "-f", &file.display().to_string()]);
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }));
    }
    clients.into_iter().for_each(|client| client.join().unwrap());
    let one = |n: usize| policy(&format!("many-{n}"), &format!("t{n}"), block_vulnerable());
    plane.apply(&list((0..POLICIES).map(one).collect()));
    until("all are in force", || {
        let path = "{range .items[*]}{.status.conditions[?(@.type==\"Enforcing\")]}{\"\\n\"}{end}";
        let said = plane.told(&["get", "landingpolicies", "-o", &format!("jsonpath={path}")]);
        let in_force = said.lines().filter(|line| line.contains("\"status\":\"True\"")).count();
        (in_force == POLICIES).then_some(())
    });
    let selected = plane.told(&["get", "landingpolicy", "many-7", "-o", "jsonpath={.status.namespaces}"]);
    assert_eq!(selected, (0..NAMESPACES).filter(|n| n % POLICIES == 7).count().to_string());
    assert!(refused(plane, "many-7", "bad", &vulnerable()).contains("policy many-7"));
    let after = anonymous();
    println!(
        "anonymous memory of the largest replica: {before} KiB before, {after} KiB with {POLICIES} policies and {NAMESPACES} namespaces"
    );
    assert!(after < 48 * 1024, "{after} KiB");
    drop(release);
}
