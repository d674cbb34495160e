//! What passes is in the audit log; what others write into answers stays theirs.

use landfall::facade::demo::world::seed;
use serde_json::{Value, json};

use super::{As, BANK, EXCLUDED, FREE, WELL, forbidden, fra, is_denied, pod};
use crate::plane::plane;

/// A Pod with more of its own.
fn with(mut pod: Value, pointer: &str, value: Value) -> Value {
    let (object, key) = pointer.rsplit_once('/').unwrap();
    pod.pointer_mut(object).unwrap()[key] = value;
    pod
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_is_in_the_audit_log() {
    let _ = &*WELL;
    let (clean, forbidden) = (fra(seed::PRESENT), forbidden());
    let many: Vec<String> = (0..513).map(|n| format!("busybox:{n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let of = |images: &[&str]| pod("said", images);
    let leaving = json!("2026-11-21T00:00:00Z");
    let mode = json!({"landfall.dev/mode": "Skip"});
    let mirror = json!({"kubernetes.io/config.mirror": "x"});
    let never = json!([{"name": "c0", "image": forbidden, "imagePullPolicy": "Never"}]);
    for (namespace, what, pod, verdict, reason) in [
        (FREE, "judged", of(&[&clean]), "Patched", "Local"),
        (BANK, "denied", of(&[&forbidden]), "Denied", "Denied"),
        (FREE, "another's image", of(&["busybox:1"]), "Unchanged", "NotRouted"),
        (FREE, "too many", of(&many), "Unchanged", "TooMany"),
        (BANK, "too many", of(&many), "Denied", "Denied"),
        (FREE, "no image", of(&["a b"]), "Unchanged", "Unparsable"),
        (FREE, "skip", with(of(&[&clean]), "/metadata/annotations", mode.clone()), "Unchanged", "Exempt"),
        (FREE, "never", with(of(&[]), "/spec/containers", never), "Unchanged", "PullNever"),
        (FREE, "excluded image", of(&[&forbidden]), "Unchanged", "Excluded"),
        // The API server takes this off before it asks anybody.
        (FREE, "leaving", with(of(&[&clean]), "/metadata/deletionTimestamp", leaving), "Patched", "Local"),
        (EXCLUDED, "excluded namespace", of(&[&forbidden]), "Unchanged", "Excluded"),
        // Whoever is no node makes no mirror Pod.
        (
            FREE,
            "mirror",
            with(with(of(&[&clean]), "/spec/nodeName", json!("a")), "/metadata/annotations", mirror.clone()),
            "Patched",
            "Local",
        ),
    ] {
        let said = As::tenant().would_create(namespace, &pod).await;
        assert_eq!((said.of("verdict"), said.of("reason")), (verdict, reason), "{what}: {said:#?}");
    }
    let node = As::new("node");
    plane().told(&[
        "create",
        "rolebinding",
        "node",
        "--role=creates",
        "--user=system:node:tenant",
        "-n",
        BANK,
    ]);
    let mirror =
        with(with(of(&[&forbidden]), "/spec/nodeName", json!("tenant")), "/metadata/annotations", mirror);
    node.until_called(BANK).await;
    let said = node.would_create(BANK, &mirror).await;
    assert_eq!((said.of("verdict"), said.of("reason")), ("Unchanged", "MirrorPod"), "{said:#?}");
}

/// The API server checks names after webhooks, and writes down what these said.
#[tokio::test(flavor = "multi_thread")]
async fn a_name_forges_no_entry_of_the_audit_log() {
    let _ = &*WELL;
    for forged in ["x: Local at ams; containers/y", "x\u{202e}y", "a; b", "x\ny", "a,b: Local"] {
        let named = json!([{"name": forged, "image": forbidden()}]);
        for (namespace, key) in [(FREE, "images"), (BANK, "images"), (BANK, "findings")] {
            let pod = with(pod("forged", &[]), "/spec/containers", named.clone());
            let said = As::tenant().creates(namespace, &pod).await;
            assert!(said.status == 422 || said.status == 403, "{said:?}");
            let (name, found) = said.of(key).split_once(": ").unwrap();
            let name = name.strip_prefix("containers/").unwrap();
            let is_escaped = |sign: char| sign.is_ascii_alphanumeric() || "%.-_".contains(sign);
            assert!(name.chars().all(is_escaped) && !found.contains(['/', ';']), "{:?}", said.audit);
        }
    }
    // A text that is no image at all is nobody's word either.
    let image = format!("{}\u{202e}; containers/c9: Local at ams", "x".repeat(2_000));
    let said = is_denied(BANK, "image", &pod("forged", &[&image, &forbidden()])).await;
    for text in [said.denied(), said.of("images"), said.of("findings"), said.of("details")] {
        assert!(!text.contains('\u{202e}') && !text.contains("c9"), "{text}");
    }
}
