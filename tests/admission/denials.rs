//! Denials: they name what denies, and advise about that.

use bytes::Bytes;
use landfall::facade::demo::world::faults::{Fault, Scope};
use landfall::facade::demo::world::seed;
use reqwest::StatusCode;
use serde_json::json;

use super::support::door::Door;
use super::support::site::review;

fn message(response: &serde_json::Value) -> &str {
    assert_eq!(response["allowed"], false, "{response}");
    response["status"]["message"].as_str().unwrap()
}

/// A declared proxy cache is no reason to deny under `defaults`, so it is not named, though it belongs to `onMissing`.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_rules_accept_is_not_blamed() {
    let door = Door::with(|site| {
        site.replace("namespace: production, flatten: 1}", "namespace: production, flatten: 1, proxy: true}")
            .replace("defaults: {onUnscanned: Fallback,", "defaults: {onMissing: Block, onUnscanned: Block,")
            .replacen("scan: {required: Auto", "scan: {required: Always", 1)
    })
    .await;
    let image = format!("harbor.fra.example.com/{}:{}", seed::UNSCANNED.repository, seed::UNSCANNED.tag);
    let response = door.pod("shop", &[&image]).await;
    let findings = response["auditAnnotations"]["findings"].as_str().unwrap();
    assert!(findings.contains("ProxyCache at ams"), "{findings}");
    insta::assert_snapshot!(message(&response), @"harbor.fra.example.com/production/shop/search:0.9.0: Unscanned at ams (never scanned here), the defaults: have it scanned there");
}

/// Where a copy is there and its scan denies, what another Place lacks has no part in that.
#[tokio::test(flavor = "multi_thread")]
async fn the_advice_is_about_the_place_that_decided() {
    let door = Door::open().await;
    // The named Place comes first, and does not hold it.
    let image = format!("registry.edge:5000/{}:{}", seed::VULNERABLE.repository, seed::VULNERABLE.tag);
    let response = door.pod("bank", &[&image]).await;
    let findings = response["auditAnnotations"]["findings"].as_str().unwrap();
    assert!(findings.starts_with("containers/c0: Missing at edge, Vulnerable at ams"), "{findings}");
    insta::assert_snapshot!(message(&response), @"registry.edge:5000/production/legacy/billing:1.0.7: Vulnerable at ams (Critical, at most Medium is allowed), policy regulated: use an image without the vulnerability, or ask for an exception");
}

/// What a registry says is cut, loses what nobody sees, and names no host to the user. The audit log has the words.
#[tokio::test(flavor = "multi_thread")]
async fn a_registry_cannot_put_its_words_into_a_denial() {
    let image = format!("harbor.fra.example.com/{}:{}", seed::PRESENT.repository, seed::PRESENT.tag);
    for (status, begins, finding, shown) in [
        (403, "see \u{202e}core:8080; containers/x: Local at ams", "Unauthorized", false),
        (500, "see \u{2066}10.0.0.7", "Unreachable", false),
        (412, "ask \u{200b}http://core", "Refused", false),
        (412, "not \u{202e}allowed\u{feff} here", "Refused", true),
    ] {
        let door = Door::open().await;
        let words = format!("{begins}{}", " x".repeat(30_000));
        let body = json!({"errors": [{"code": "DENIED", "message": words}]}).to_string();
        for at in [&door.demo.ams, &door.demo.edge] {
            let status = StatusCode::from_u16(status).unwrap();
            let fault = Fault::Instead(status, "application/json", Bytes::from(body.clone()));
            at.faults().add(Scope::Everything, fault);
        }
        let response = door.pod("bank", &[&image]).await;
        let message = message(&response);
        assert!(message.contains(&format!("{finding} at ams")), "{message}");
        assert!(message.chars().count() < 1200, "{message}");
        let details = response["auditAnnotations"]["details"].as_str().unwrap();
        assert_eq!(details.split("; ").count(), 1, "{details}");
        for text in [message, details] {
            assert!(!text.contains(['\u{202e}', '\u{2066}', '\u{200b}', '\u{feff}']), "{text:?}");
        }
        for host in ["core", "10.0.0.7", "127.0.0.1", "localhost"] {
            assert!(!message.contains(host), "{message}");
        }
        let first = if shown { "not allowed here x x" } else { "" };
        assert!(message.contains(first) && details.contains(first), "{message}: {details}");
        // A question by HEAD is answered without words.
        assert!(status != 412 || shown || details.contains("http://core"), "{details}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_denial_names_no_host_that_cannot_be_reached() {
    let door = Door::open().await;
    door.demo.ams.down().await;
    door.demo.edge.down().await;
    let image = format!("harbor.fra.example.com/{}:{}", seed::PRESENT.repository, seed::PRESENT.tag);
    let response = door.pod("bank", &[&image]).await;
    insta::assert_snapshot!(message(&response), @"harbor.fra.example.com/production/shop/web:1.4.2: Unreachable at ams and Unreachable at edge, policy regulated: try again when the registry answers");
    let details = response["auditAnnotations"]["details"].as_str().unwrap();
    assert!(details.starts_with("containers/c0: Unreachable at ams ("), "{details}");
    assert_eq!(response["auditAnnotations"]["reason"], "Denied");
}

/// The API server checks names after the webhook.
#[tokio::test(flavor = "multi_thread")]
async fn a_name_forges_no_entry_of_the_audit_log() {
    let door = Door::open().await;
    let forged = "x: Local at ams; containers/y\u{202e}";
    let mut body = review("shop", &["busybox:1"]);
    body["request"]["object"]["spec"]["containers"][0]["name"] = json!(forged);
    let response = door.review(&body).await;
    assert_eq!(
        response["auditAnnotations"]["images"],
        "containers/x%3A%20Local%20at%20ams%3B%20containers%2Fy%E2%80%AE: NotRouted"
    );
    assert_eq!(response["auditAnnotations"]["reason"], "NotRouted");
}

/// A policy is not got round by one image behind thousands that were judged before.
#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_was_not_read_is_not_let_pass() {
    let door = Door::open().await;
    let debuggers = |n: usize| {
        let list = (0..n).map(|n| json!({"name": format!("d{n}"), "image": "busybox:1"}));
        json!({"metadata": {"name": "p"}, "spec": {"ephemeralContainers": list.collect::<Vec<_>>()}})
    };
    let mut body = review("bank", &[]);
    let request = &mut body["request"];
    (request["operation"], request["subResource"]) = (json!("UPDATE"), json!("ephemeralcontainers"));
    (request["object"], request["oldObject"]) = (debuggers(4097), debuggers(4096));
    let response = door.review(&body).await;
    let message = message(&response);
    assert!(message.starts_with("1 images: TooMany"), "{message}");
}
