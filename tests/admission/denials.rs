//! Denials: they name what denies, and advise about that.

use bytes::Bytes;
use landfall::facade::demo::world::faults::{Fault, Redirect, Scope};
use landfall::facade::demo::world::seed;
use landfall::facade::domain::finding::FindingKind;
use landfall::facade::domain::messages::advice;
use reqwest::StatusCode;
use serde_json::json;
use strum::VariantArray as _;

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

/// What a registry says may name its inner hosts in any way, so none of it is for users. The audit log has the words, cut and
/// without what nobody sees.
#[tokio::test(flavor = "multi_thread")]
async fn a_registry_cannot_put_its_words_into_a_denial() {
    const SAYS: [&str; 16] = [
        "harbor-core",
        "registry",
        "localhost",
        "LOCALHOST",
        "core:8080",
        "10.0.0.7",
        "[fe80::1]:443",
        "fe80::2",
        "core.harbor.svc.",
        "http://robot:secret@core/x",
        "//core/v2/",
        "xn--hrbor-gra",
        "h\u{e4}rbor",
        "core\u{ff0e}svc",
        "core%2Esvc",
        "containers/x: Local at ams",
    ];
    let image = format!("harbor.fra.example.com/{}:{}", seed::PRESENT.repository, seed::PRESENT.tag);
    let words = SAYS.join(", \u{202e}\u{feff}");
    let body = json!({"errors": [{"code": "DENIED", "message": format!("{words}{}", " x".repeat(30_000))}]});
    let to = |to: &str| Fault::Redirect(Redirect::To(to.into()));
    let instead = |status: u16| {
        let status = StatusCode::from_u16(status).unwrap();
        Fault::Instead(status, "application/json", Bytes::from(body.to_string()))
    };
    for (fault, finding, kept) in [
        (instead(401), "Unauthorized", true),
        (instead(403), "Unauthorized", true),
        (instead(412), "Refused", true),
        (instead(451), "Unauthorized", true),
        (instead(429), "RateLimited", true),
        (instead(400), "Unreachable", true),
        (instead(500), "Unreachable", true),
        (instead(503), "Unreachable", true),
        (to("http://harbor-core/v2/"), "Unreachable", false),
        (to("//registry/v2/"), "Unreachable", false),
    ] {
        let door = Door::open().await;
        for at in [&door.demo.ams, &door.demo.edge] {
            at.faults().add(Scope::Everything, fault.clone());
        }
        let response = door.pod("bank", &[&image]).await;
        let message = message(&response);
        let (begins, rest) = message.split_once(", policy regulated: ").unwrap();
        assert_eq!(begins, format!("{image}: {finding} at ams and {finding} at edge"), "{fault:?}");
        let advised = FindingKind::VARIANTS.iter().any(|kind| advice(*kind) == rest);
        assert!(advised, "{rest}");
        let details = response["auditAnnotations"]["details"].as_str().unwrap();
        assert_eq!(details.split("; ").count(), 1, "{details}");
        assert!(!details.contains(['\u{202e}', '\u{feff}']), "{details:?}");
        // A question by HEAD is answered without words, and some answers mean the same whatever they say.
        assert!(!kept || details.starts_with(&format!("containers/c0: {finding} at ams (")), "{details}");
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
