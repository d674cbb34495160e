//! What a mutating webhook cannot hold: it is asked before others have written, only where somebody answers, and not about
//! updates. The second door does.

use std::process::Command;

use axum::Router;
use axum::routing::post;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use landfall::facade::demo::world::seed;
use rcgen::CertificateParams;
use serde_json::{Value, json};

use super::{As, BANK, BLOCKS, WELL, forbidden, fra, images, is_denied, pod, start, stored, under};
use crate::metrics::{Page, name};
use crate::other;
use crate::plane::plane;
use crate::webhook::registration;

#[tokio::test(flavor = "multi_thread")]
async fn an_update_of_the_image_is_denied() {
    let _ = &*WELL;
    plane().told(&["create", "role", "edits", "--verb=patch", "--resource=pods", "-n", BANK]);
    plane().told(&["create", "rolebinding", "edits", "--role=edits", "--user=editor", "-n", BANK]);
    let mut pod = pod("updated", &[&fra(seed::PRESENT)]);
    pod["spec"]["initContainers"] = json!([{"name": "i", "image": fra(seed::PRESENT)}]);
    images(BANK, "clean", &pod).await;
    let editor = As::new("editor");
    for field in ["containers", "initContainers"] {
        let name = if field == "containers" { "c0" } else { "i" };
        let patch = json!({"spec": {field: [{"name": name, "image": forbidden()}]}});
        let said = editor.patches(&format!("namespaces/{BANK}/pods/updated"), &patch).await;
        let message = said.denied_as_it_stands();
        assert!(message.contains("Vulnerable at ams") && message.contains("of-tenant-bank"), "{message}");
        assert_eq!(said.of("verdict"), "", "the first door is not asked");
        assert_ne!(stored(BANK, "updated").await["spec"][field][0]["image"], forbidden());
    }
    // What changes no image is nobody's business.
    let label = json!({"metadata": {"labels": {"a": "b"}}});
    let said = editor.patches(&format!("namespaces/{BANK}/pods/updated"), &label).await;
    assert_eq!(said.status, 200, "{}", said.body);
}

/// A debug container on a Pod that is near the limit of etcd: 35 MB. It is too long to be stored, too.
#[tokio::test(flavor = "multi_thread")]
async fn a_review_longer_than_the_limit_is_denied() {
    let (_, landfall) = &*WELL;
    let text = |name: &str, length: usize| json!([{"name": name, "value": "<".repeat(length)}]);
    let mut pod = pod("longest", &[&fra(seed::PRESENT)]);
    pod["spec"]["containers"][0]["env"] = text("A", 1_400_000);
    images(BANK, "long", &pod).await;
    let refused = async || {
        let page = landfall.admin("/metrics").await.unwrap();
        let labels = [("port", "Webhook"), ("reason", "TooLarge")];
        Page::read(&page).metric(name::REQUESTS_REFUSED, &labels).unwrap_or(0.0)
    };
    let before = refused().await;
    let debug = json!({"name": "debug", "image": forbidden(), "env": text("B", 3_000_000)});
    let path = format!("namespaces/{BANK}/pods/longest/ephemeralcontainers");
    let patch = json!({"spec": {"ephemeralContainers": [debug]}});
    let said = As::tenant().patches(&format!("{path}?dryRun=All"), &patch).await;
    assert!(said.status >= 400 && said.failed_open(), "{said:?}");
    assert_eq!(refused().await, before + 1.0, "it leaves a trace");
    // Nothing of it could be kept, either.
    let said = As::tenant().patches(&path, &patch).await;
    assert!(said.status >= 400, "{}", said.status);
    assert_eq!(stored(BANK, "longest").await["spec"]["ephemeralContainers"], Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_after_ours_gets_nothing_past_the_second_door() {
    const OWN: &str = "tenant-overridden";
    let landfall = start(&[OWN], |demo| under(demo, &[(OWN, BLOCKS)])).await;
    let plane = plane();
    let signer = other::authority();
    let params = CertificateParams::new(vec![format!("theirs.{OWN}.svc")]).unwrap();
    let port = other::serve(plane, &params, &signer, Router::new().route("/mutate", post(overrides))).await;
    let theirs = registration(plane, OWN, "override.example.com", port, &STANDARD.encode(signer.pem()));
    // A Service of its own: that of ours leads to us.
    let theirs = theirs
        .replace("name: landfall,", "name: theirs,")
        .replace("service-name: landfall", "service-name: theirs")
        .replace("name: landfall-tenant", "name: z-override-tenant");
    plane.apply(&theirs);
    let dry = pod("probe", &[&fra(seed::PRESENT)]);
    super::until("they are called", async || {
        let said = As::tenant().would_create(OWN, &dry).await;
        said.body["metadata"]["labels"]["overridden"].is_string()
    })
    .await;
    // At first it is the forbidden image, so that we are asked again.
    let said = As::tenant().creates(OWN, &pod("once", &[&fra(seed::PRESENT)])).await;
    let message = said.body["message"].as_str().unwrap();
    assert!(said.status == 403 && message.contains("Vulnerable at ams"), "{message}");
    assert_eq!(stored(OWN, "once").await, Value::Null);
    // Of each key the audit log keeps what was said first.
    assert_eq!(said.of("verdict"), "Patched");
    // And at last: nobody is asked a third time.
    let said = As::tenant().creates(OWN, &pod("twice", &[&fra(seed::PRESENT)])).await;
    let message = said.denied_as_it_stands();
    assert!(message.contains("Vulnerable at ams"), "{message}");
    assert_eq!(stored(OWN, "twice").await, Value::Null);
    plane.told(&["delete", "mutatingwebhookconfiguration", &format!("z-override-{OWN}")]);
    drop(landfall);
}

/// Writes the forbidden image into the Pod `once` at once, and into `twice` when we were asked twice.
async fn overrides(body: axum::body::Bytes) -> String {
    let review: Value = serde_json::from_slice(&body).unwrap();
    let (request, pod) = (&review["request"], &review["request"]["object"]);
    let image = json!({"op": "replace", "path": "/spec/containers/0/image", "value": forbidden()});
    let sidecar = json!({"op": "add", "path": "/spec/containers/-", "value": {"name": "s", "image": fra(seed::MULTI_ARCH)}});
    let patch = match (pod["metadata"]["name"].as_str(), pod["spec"]["containers"].as_array().map(Vec::len)) {
        (Some("once"), _) => json!([image]),
        (Some("twice"), Some(1)) => json!([sidecar]),
        (Some("twice"), _) => json!([image]),
        _ => json!([{"op": "add", "path": "/metadata/labels", "value": {"overridden": "yes"}}]),
    };
    let response = json!({
        "uid": request["uid"], "allowed": true, "patchType": "JSONPatch", "patch": STANDARD.encode(patch.to_string()),
    });
    json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response}).to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_landfall_that_does_not_answer_admits_nobody() {
    const OWN: &str = "tenant-alone";
    let mut landfall = start(&[OWN], |demo| under(demo, &[(OWN, BLOCKS)])).await;
    is_denied(OWN, "answered", &pod("answered", &[&forbidden()])).await;
    let signal = |signal: &str| {
        let process = landfall.process.id().to_string();
        assert!(Command::new("kill").args([signal, &process]).status().unwrap().success());
    };
    // It has stopped: the API server waits until its timeout.
    signal("-STOP");
    let stopped = As::tenant().creates(OWN, &pod("stopped", &[&forbidden()])).await;
    signal("-CONT");
    landfall.process.kill().unwrap();
    landfall.process.wait().unwrap();
    let gone = As::tenant().creates(OWN, &pod("gone", &[&forbidden()])).await;
    for (name, said) in [("stopped", stopped), ("gone", gone)] {
        let message = said.body["message"].as_str().unwrap();
        assert!(message.contains("failed calling webhook \"validate-"), "{message}");
        assert!(
            said.status >= 500 && said.of("verdict").is_empty() && said.failed_open(),
            "{:?}",
            said.audit
        );
        assert_eq!(stored(OWN, name).await, Value::Null);
    }
}

/// As after one of them was suspended: each holds a Lease.
#[tokio::test(flavor = "multi_thread")]
async fn two_leaders_neither_fight_over_the_entries_nor_open_them() {
    const OWN: &str = "tenant-led";
    let landfall = start(&[OWN], |demo| under(demo, &[(OWN, BLOCKS)])).await;
    let configuration = format!("landfall-{}", landfall.namespace);
    let read = |path: &str| {
        let get =
            ["get", "validatingwebhookconfiguration", &configuration, "-o", &format!("jsonpath={path}")];
        plane().told(&get)
    };
    let (mut twin, log) = landfall.twin();
    let said = || std::fs::read_to_string(&log).unwrap_or_default();
    super::until("both lead", async || {
        assert!(twin.is_alive(), "the twin ended: {}", said());
        said().contains("leadership changed")
    })
    .await;
    let (names, before) = (read("{.webhooks[*].name}"), read("{.metadata.resourceVersion}"));
    assert!(names.starts_with("validate-"), "{names}");
    // Both take back what somebody takes away, and then rest.
    for empty in [r#"{"webhooks": []}"#, r#"{"webhooks": null}"#] {
        plane().told(&[
            "patch",
            "validatingwebhookconfiguration",
            &configuration,
            "--type=merge",
            "-p",
            empty,
        ]);
        super::until("the entry stands again", async || read("{.webhooks[*].name}") == names).await;
    }
    assert_ne!(read("{.metadata.resourceVersion}"), before);
    let rested = || (read("{.metadata.resourceVersion}"), read("{.metadata.generation}"));
    let at_rest = rested();
    for n in 0..20 {
        is_denied(OWN, "under two leaders", &pod(&format!("bad-{n}"), &[&forbidden()])).await;
    }
    assert_eq!(rested(), at_rest, "nobody writes what stands");
    drop(twin);
}
