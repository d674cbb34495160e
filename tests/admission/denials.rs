//! Denials: they name what denies, and advise about that.

use landfall::facade::demo::world::seed;

use super::support::door::Door;

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
