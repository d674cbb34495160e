//! The entries of the second door, before a real API server and with no more rights than the chart gives: they come with the
//! first policy that enforces, hold against whoever edits them, refuse while nobody answers, and go with the last policy.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::plane::{plane, until};
use crate::release::Release;
use crate::webhook::WEB;

/// An image that the policy forbids.
const VULNERABLE: &str = "harbor.fra.example.com/production/legacy/billing:1.0.7";

/// The entries of a release's second door.
fn entries(release: &Release) -> Vec<Value> {
    let found = release.get(&["validatingwebhookconfiguration", release.name]);
    found["webhooks"].as_array().cloned().unwrap_or_default()
}

/// The configuration of the release with one policy for the namespaces of this label.
fn config(release: &Release, label: &str, enforcement: &str) -> String {
    let config = release.config();
    let (site, _) = config.split_once("policies:\n").unwrap();
    format!(
        "{site}policies:\n  - metadata: {{name: bank}}\n    spec: {{namespaceSelector: {{matchLabels: {{{label}: bank}}}}, \
         enforcement: {enforcement}, onVulnerable: Block, onUnscanned: Block, onUnrouted: Block, \
         scan: {{required: Auto, maxSeverity: Medium}}}}\n"
    )
}

fn configure(release: &Release, text: &str) {
    let patch = json!({"data": {"landfall.yaml": text}}).to_string();
    release.plane.told(&[
        "patch",
        "configmap",
        release.name,
        "-n",
        release.name,
        "--type=merge",
        "-p",
        &patch,
    ]);
}

/// What the API server says against a new Pod; nothing if it takes it.
fn tries(namespace: &str, more: &[&str]) -> Result<(), String> {
    let run = [&["run", "probe", "-n", namespace, "--dry-run=server"], more].concat();
    let output = plane().kubectl(&run);
    if output.status.success() { Ok(()) } else { Err(String::from_utf8(output.stderr).unwrap()) }
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_come_with_the_first_policy_hold_and_go_with_the_last() {
    let selected = "namespaces.matchExpressions[0].values={entries-pods,entries-bank}";
    let release = Release::install(plane(), "entries", &["--set", selected]).await;
    let plane = release.plane;
    // Both doors select the first one; the second one alone the other.
    let (bank, skipped) = ("entries-bank", "entries-skipped");
    plane.namespace(bank);
    plane.namespace(skipped);
    many(skipped);
    for namespace in [bank, skipped] {
        plane.told(&["label", "namespace", namespace, "entries=bank"]);
    }
    configure(&release, &config(&release, "entries", "Enforce"));
    until("the entry of the policy stands alone", || {
        let found = entries(&release);
        (found.len() == 1 && found[0]["namespaceSelector"]["matchExpressions"][0]["key"] == "entries")
            .then_some(())
    });
    let good = entries(&release);
    let other =
        release.get(&["mutatingwebhookconfiguration", "entries"])["webhooks"][0]["clientConfig"].clone();
    assert_eq!(good[0]["clientConfig"]["caBundle"], other["caBundle"]);
    assert_eq!(good[0]["failurePolicy"], "Fail");
    until("the second door denies", || {
        let said = tries(skipped, &["--image", VULNERABLE]).err()?;
        said.contains(&format!(
            "admission webhook \"{}\" denied the request",
            good[0]["name"].as_str().unwrap()
        ))
        .then_some(())
    });
    until_shown(&release, "[+] Entries: 1 stand").await;

    is_taken_back(&release, &good);
    until("Pods pass both doors", || tries(bank, &["--image", WEB]).is_ok().then_some(()));
    is_closed_while_nobody_answers(&release, bank, skipped);

    // The last policy only reports: its entry goes, and the namespace is as any other.
    configure(&release, &config(&release, "entries", "Observe"));
    until("the entry is gone", || {
        // Meanwhile no Pod is refused for want of a policy.
        let said = tries(skipped, &["--image", VULNERABLE]).err().unwrap_or_default();
        assert!(!said.contains("failed calling"), "{said}");
        entries(&release).is_empty().then_some(())
    });
    until_shown(&release, "[+] Entries: no policy needs one").await;
    assert_eq!(tries(skipped, &["--image", VULNERABLE]), Ok(()));

    let output = plane.helm(&["uninstall", "entries", "-n", "entries"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let left = plane.kubectl(&["get", "validatingwebhookconfiguration", "entries"]);
    assert!(!left.status.success(), "nothing is left");
    plane.told(&["delete", "namespace", bank, skipped, "--wait=false"]);
}

/// A Pod of thousands of containers, in a namespace that no policy selects yet.
fn many(namespace: &str) {
    let containers: Vec<_> =
        (0..4000).map(|number| json!({"name": format!("c{number}"), "image": WEB})).collect();
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "many", "namespace": namespace},
                     "spec": {"containers": containers, "schedulingGates": [{"name": "example.com/never"}]}});
    let file = plane().write_new(&pod.to_string()).display().to_string();
    plane().told(&["create", "-f", &file]);
}

/// Every replica says this.
async fn until_shown(release: &Release, line: &str) {
    for (name, pod) in release.replicas() {
        let shown = async {
            loop {
                let (_, text) = release.admin(&pod, "/readyz?verbose").await;
                if text.contains(line) {
                    return;
                }
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        };
        let shown = tokio::time::timeout(std::time::Duration::from_secs(120), shown).await;
        assert!(shown.is_ok(), "{name} never says: {line}");
    }
}

/// Somebody edits the entries, as the administrator.
fn is_taken_back(release: &Release, good: &[Value]) {
    let what = ["validatingwebhookconfiguration", release.name];
    for edit in [
        json!([{"op": "replace", "path": "/webhooks/0/failurePolicy", "value": "Ignore"}]),
        json!([{"op": "replace", "path": "/webhooks/0/namespaceSelector", "value": {"matchLabels": {"none": "here"}}}]),
        json!([{"op": "add", "path": "/webhooks/0/matchConditions/-", "value": {"name": "none", "expression": "false"}}]),
        json!([{"op": "add", "path": "/webhooks/0/objectSelector", "value": {"matchLabels": {"none": "here"}}}]),
        json!([{"op": "remove", "path": "/webhooks/0/clientConfig/caBundle"}]),
        json!([{"op": "replace", "path": "/webhooks/0/name", "value": "other.example.com"}]),
        json!([{"op": "remove", "path": "/webhooks"}]),
    ] {
        let edit = edit.to_string();
        release.plane.told(&[&["patch"], &what[..], &["--type=json", "-p", &edit]].concat());
        until("the entry is as it was", || (entries(release) == good).then_some(()));
    }
    // Somebody else owns a field of it: it is taken back all the same, and can go later.
    let mut theirs = good[0].clone();
    theirs["failurePolicy"] = json!("Ignore");
    let theirs = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
                        "metadata": {"name": release.name}, "webhooks": [theirs]});
    let file = release.plane.write_new(&theirs.to_string()).display().to_string();
    release.plane.told(&[
        "apply",
        "--server-side",
        "--force-conflicts",
        "--field-manager=somebody",
        "-f",
        &file,
    ]);
    until("the entry is as it was", || (entries(release) == good).then_some(()));
    until("the Event is there", || {
        let events = release.plane.told(&[
            "get",
            "events",
            "-A",
            "-o",
            "json",
            "--field-selector=reason=EntriesRestored",
        ]);
        events.contains("ValidatingWebhookConfiguration").then_some(())
    });
}

/// `landfall doctor` says that nobody answers, and what of an entry is not as it should be.
fn is_found_by_doctor(release: &Release, bank: &str) {
    let plane = release.plane;
    let config = plane.write_new(&config(release, "entries", "Enforce")).display().to_string();
    let doctor = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_landfall"));
        command.args(["doctor", "--no-files", "--release", release.name, "--namespace", release.name]);
        command.args(["--pods-in", bank, "--config", &config]).env("KUBECONFIG", plane.kubeconfig_of_admin());
        String::from_utf8(command.output().unwrap().stdout).unwrap()
    };
    let wrong = |said: &str, words: &str| {
        let mut lines = said.lines().filter(|line| line.starts_with("WRONG    second door"));
        assert!(lines.any(|line| line.contains(words)), "{words}: {said}");
    };
    wrong(&doctor(), "failed calling webhook");
    let what = ["validatingwebhookconfiguration", release.name];
    let good = json!([{"op": "replace", "path": "/webhooks", "value": entries(release)}]).to_string();
    for (path, value, words) in [
        ("failurePolicy", json!("Ignore"), "failurePolicy Ignore: it is open where nobody answers"),
        ("objectSelector", json!({"matchLabels": {"a": "b"}}), "it has an objectSelector"),
        ("namespaceSelector", json!({"matchLabels": {"a": "b"}}), "its namespaceSelector is not the one"),
        ("clientConfig/service/path", json!("/mutate"), "it does not call `/validate/"),
        ("timeoutSeconds", json!(1), "the API server waits 1s"),
        ("name", json!("other.example.com"), "policy `bank` has no entry"),
    ] {
        let edit = json!([{"op": "add", "path": format!("/webhooks/0/{path}"), "value": value}]).to_string();
        plane.told(&[&["patch"], &what[..], &["--type=json", "-p", &edit]].concat());
        wrong(&doctor(), words);
        plane.told(&[&["patch"], &what[..], &["--type=json", "-p", &good]].concat());
    }
}

/// No replica is there. Pods of the namespace do not start; what runs can change, and go.
fn is_closed_while_nobody_answers(release: &Release, bank: &str, skipped: &str) {
    let plane = release.plane;
    plane.told(&["run", "runs", "--image", WEB, "-n", bank]);
    plane.told(&["scale", "deployment", release.name, "-n", release.name, "--replicas=0"]);
    until("the last replica is gone", || release.replicas().is_empty().then_some(()));
    let closed = |said: Result<(), String>| {
        let said = said.err().unwrap_or_default();
        assert!(said.contains("failed calling webhook \"validate-"), "{said}");
    };
    closed(tries(bank, &["--image", WEB]));
    let debug = json!({"spec": {"ephemeralContainers": [{"name": "debug", "image": WEB}]}}).to_string();
    let by = |arguments: &[&str]| {
        let output = plane.kubectl(arguments);
        if output.status.success() { Ok(()) } else { Err(String::from_utf8(output.stderr).unwrap()) }
    };
    closed(by(&["patch", "pod", "runs", "-n", bank, "--subresource=ephemeralcontainers", "-p", &debug]));
    closed(by(&["set", "image", "pod/runs", "-n", bank, &format!("runs={VULNERABLE}")]));
    // Odd Pods: nothing in a condition fails on them.
    for odd in [
        json!({"containers": [{"name": "c", "image": WEB}], "volumes": [{"name": "v", "image": {"reference": WEB}}]}),
        json!({"containers": [{"name": "c", "image": WEB}], "initContainers": [{"name": "i", "image": WEB}]}),
        json!({"containers": [{"name": "c"}]}),
    ] {
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"generateName": "odd-", "namespace": bank}, "spec": odd});
        let said = by(&[
            "create",
            "--dry-run=server",
            "-f",
            &plane.write_new(&pod.to_string()).display().to_string(),
        ]);
        let said = said.unwrap_err();
        assert!(!said.contains("matchCondition") && !said.contains("expression"), "{said}");
    }
    // What needs no call.
    for fine in [
        &["label", "pod", "runs", "-n", bank, "a=b"][..],
        &["annotate", "pod", "runs", "-n", bank, "a=b"],
        &["patch", "pod", "runs", "-n", bank, "-p", r#"{"metadata": {"finalizers": ["example.com/stay"]}}"#],
        &["patch", "pod", "runs", "-n", bank, "--type=merge", "-p", r#"{"metadata": {"finalizers": null}}"#],
        &[
            "patch",
            "pod",
            "runs",
            "-n",
            bank,
            "--subresource=status",
            "-p",
            r#"{"status": {"message": "well"}}"#,
        ],
        &["delete", "pod", "runs", "-n", bank, "--now"],
    ] {
        assert_eq!(by(fine), Ok(()), "{fine:?}");
    }
    assert_eq!(by(&["label", "pod", "many", "-n", skipped, "c=d"]), Ok(()), "the conditions cost too much");
    assert_eq!(by(&["delete", "pod", "many", "-n", skipped, "--now"]), Ok(()));
    assert_eq!(tries("default", &["--image", WEB]), Ok(()), "other namespaces");
    assert_eq!(entries(release).len(), 1, "nobody took it away");

    is_found_by_doctor(release, bank);

    // Somebody opens it by hand; whoever leads closes it again.
    let open = [
        "patch",
        "validatingwebhookconfiguration",
        release.name,
        "--type=merge",
        "-p",
        r#"{"webhooks": []}"#,
    ];
    plane.told(&open);
    until("it is open", || tries(skipped, &["--image", VULNERABLE]).is_ok().then_some(()));
    plane.told(&["scale", "deployment", release.name, "-n", release.name, "--replicas=3"]);
    release.until_rolled_out();
    until("it is closed again", || {
        let said = tries(skipped, &["--image", VULNERABLE]).err()?;
        said.contains("denied the request").then_some(())
    });
}

#[test]
fn a_policy_is_opened_by_one_command_with_the_rights_of_whoever_types_it() {
    let plane = plane();
    let crds = Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests/crds.yaml").display().to_string();
    plane.told(&["apply", "--server-side", "--force-conflicts", "-f", &crds]);
    plane.told(&["wait", "--for=condition=Established", "--timeout=60s", "-f", &crds]);
    let policy = |name: &str, enforcement: &str| {
        json!({"apiVersion": "landfall.dev/v1alpha1", "kind": "LandingPolicy", "metadata": {"name": name},
               "spec": {"namespaceSelector": {"matchLabels": {"glass": "none"}}, "enforcement": enforcement, "onMissing": "Block"}})
    };
    let both = [policy("glass-acts", "Enforce"), policy("glass-watches", "Observe")];
    plane.apply(&json!({"apiVersion": "v1", "kind": "List", "items": both}).to_string());
    let glass = |name: &str| -> Value {
        let found = plane.told(&["get", "landingpolicies.landfall.dev", name, "-o", "json"]);
        serde_json::from_str::<Value>(&found).unwrap()["spec"]["breakGlass"].take()
    };
    let run = |kubeconfig: &Path, line: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_landfall"));
        command.arg("break-glass").args(line.split(' ')).env("KUBECONFIG", kubeconfig);
        let output = command.output().unwrap();
        let said = [output.stdout, output.stderr].map(|said| String::from_utf8(said).unwrap()).concat();
        (output.status.code(), said)
    };
    let admin = plane.kubeconfig_of_admin();
    let open = "--for 1h --reason INC-42 --namespace shop --policy glass-acts";
    let (status, said) = run(&admin, open);
    assert!(status == Some(0) && said.contains("opened `glass-acts` until "), "{said}");
    let opened = glass("glass-acts");
    assert_eq!((&opened["reason"], &opened["namespaces"]), (&json!("INC-42"), &json!(["shop"])));
    // The command that it prints does the same.
    let by_hand = said.lines().find_map(|line| line.split_once("by hand: ")).unwrap().1;
    plane.told(&[
        "patch",
        "landingpolicies.landfall.dev",
        "glass-acts",
        "--type=merge",
        "-p",
        r#"{"spec": {"breakGlass": null}}"#,
    ]);
    plane.shell(plane.folder(), by_hand);
    assert_eq!(glass("glass-acts"), opened);
    let (status, said) = run(&admin, "--close --policy glass-acts");
    assert!(status == Some(0) && said.contains("closed `glass-acts`"), "{said}");
    assert_eq!(glass("glass-acts"), Value::Null);

    let (status, said) = run(&admin, "--for 1h --reason INC-42 --policy glass-watches");
    assert!(status == Some(1) && said.contains("nothing is done"), "{said}");
    let (status, said) = run(&admin, "--for 1h --reason INC-42 --policy glass-acts --policy other");
    assert!(status == Some(2) && said.contains("there is no LandingPolicy `other`"), "{said}");
    assert_eq!(glass("glass-acts"), Value::Null, "not one of them");
    plane.namespace("glass");
    let nobody = plane.kubeconfig_of("glass", "default");
    let (status, said) = run(&nobody, open);
    assert!(status == Some(2) && said.contains("cannot list LandingPolicies"), "{said}");
    plane.told(&["delete", "landingpolicies.landfall.dev", "glass-acts", "glass-watches"]);
}
