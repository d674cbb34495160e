//! What cannot be forced: what a policy blocks stays blocked, whatever a tenant writes, and whoever does not answer.

use landfall::facade::demo::world::content::Content;
use landfall::facade::demo::world::faults::{Fault, Scope};
use landfall::facade::demo::world::seed::{self, Demo, Named};
use landfall::facade::demo::world::{Account, Namespace, PathClass, Permission, Scan};
use serde_json::{Value, json};

use super::recorded::patch;
use super::support::door::Door;
use super::support::metrics::name;
use super::support::site::review;
use super::support::wait::{HELD, ends};

fn fra(name: Named) -> String {
    format!("harbor.fra.example.com/{}:{}", name.repository, name.tag)
}

/// A door whose policy `regulated` has these lines instead of its own.
async fn door(rules: &str) -> Door {
    Door::with(|site| policy(&site, rules)).await
}

fn policy(site: &str, rules: &str) -> String {
    let (site, _) = site.split_once("policies:\n").unwrap();
    let rules: String = rules.lines().map(|line| format!("      {}\n", line.trim())).collect();
    format!(
        "{site}policies:\n  - metadata: {{name: regulated}}\n    spec:\n      \
         namespaceSelector: {{matchLabels: {{tier: regulated}}}}\n      enforcement: Enforce\n{rules}"
    )
}

fn message(response: &Value) -> &str {
    assert_eq!(response["allowed"], false, "{response}");
    response["status"]["message"].as_str().unwrap()
}

/// A Pod with so many images, and so many different ones.
fn many(namespace: &str, count: usize, different: usize) -> Value {
    let images: Vec<String> = (0..count)
        .map(|n| format!("harbor.fra.example.com/production/decoy/app:{}", n % different))
        .collect();
    review(namespace, &images.iter().map(String::as_str).collect::<Vec<_>>())
}

#[tokio::test(flavor = "multi_thread")]
async fn more_images_than_are_judged_do_not_get_round_a_policy() {
    for (rules, denied) in [
        ("onUnknown: Block", true),
        ("onVulnerable: Block", true),
        ("onUnrouted: Block", true),
        ("onMissing: Block\nonUnknown: Fallback", false),
        ("onMissing: Fallback", false),
    ] {
        let door = door(rules).await;
        for (count, different) in [(513, 513), (4097, 1)] {
            let response = door.review(&many("bank", count, different)).await;
            assert_eq!(
                response["auditAnnotations"]["findings"],
                format!("{count} images: TooMany"),
                "{rules}"
            );
            if denied {
                let told = format!(
                    "{count} images: TooMany (at most 512 different images, and 4096 in all, are judged), \
                     policy regulated: use fewer images in one Pod"
                );
                assert_eq!(message(&response), told, "{rules}");
                assert_eq!(response["auditAnnotations"]["verdict"], "Denied");
                assert_eq!(response["warnings"], Value::Null);
            } else {
                assert_eq!((&response["allowed"], patch(&response)), (&json!(true), None), "{rules}");
                let told =
                    format!("landfall: {count} images are too many to judge; the Pod is admitted unchanged");
                assert_eq!(response["warnings"], json!([told]));
            }
            let elsewhere = door.review(&many("shop", count, different)).await;
            assert_eq!(elsewhere["allowed"], true, "no policy speaks there");
        }
        let counted = |verdict: &str, reason: &str| {
            let labels = [("verdict", verdict), ("reason", reason), ("dry_run", "false"), ("door", "Mutate")];
            door.metric(name::ADMISSIONS, &labels)
        };
        assert_eq!(door.metric(name::TOO_MANY_IMAGES, &[]), 4.0);
        let passed = if denied { 2.0 } else { 4.0 };
        assert_eq!((counted("Denied", "Denied"), counted("Unchanged", "TooMany")), (4.0 - passed, passed));
        assert_eq!((door.demo.fra.log().len(), door.demo.ams.log().len()), (0, 0), "nobody is asked");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_observing_policy_says_that_it_would_have_denied_too_many_images() {
    let door = Door::open().await;
    let response = door.review(&many("trial", 513, 513)).await;
    assert_eq!(response["allowed"], true);
    assert_eq!(response["auditAnnotations"]["observed"], "trial would deny 513 images: TooMany");
    let labels = [("policy", "trial"), ("verdict", "Denied")];
    assert_eq!(door.metric(name::OBSERVED_VERDICTS, &labels), 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exception_lets_too_many_of_its_own_images_in_and_no_other() {
    let exception = r#"{images: ["harbor.fra.example.com/production/decoy/**"], findings: [TooMany], until: "2999-01-01T00:00:00Z", reason: x}"#;
    let door = door(&format!("onVulnerable: Block\nexceptions: [{exception}]")).await;
    let mut body = many("bank", 600, 600);
    assert_eq!(door.review(&body).await["allowed"], true);
    body["request"]["object"]["spec"]["containers"][599]["image"] = json!(fra(seed::VULNERABLE));
    assert!(message(&door.review(&body).await).starts_with("600 images: TooMany"));
}

#[tokio::test(flavor = "multi_thread")]
async fn decoys_before_the_forbidden_image_do_not_open_the_policy() {
    let vulnerable = fra(seed::VULNERABLE);
    let decoys: Vec<String> =
        (0..400).map(|n| format!("harbor.fra.example.com/production/decoy/app{n}:1")).collect();
    let images: Vec<&str> = decoys.iter().map(String::as_str).chain([&*vulnerable]).collect();
    for (rules, denied) in [
        ("onVulnerable: Block\nscan: {maxSeverity: Medium}", true),
        ("onVulnerable: Block\nonUnknown: Fallback\nscan: {maxSeverity: Medium}", false),
    ] {
        let door = door(rules).await;
        door.demo.ams.faults().add(Scope::Everything, Fault::Delay(HELD));
        let body = review("bank", &images).to_string().into_bytes();
        let answer = ends("the review", door.post("/mutate?timeout=1s", "application/json", body)).await;
        let response = answer.response();
        if denied {
            let told = message(&response);
            assert!(told.contains("Deadline at ams"), "{told}");
            assert!(told.contains("policy regulated: try again when the registry answers"), "{told}");
        } else {
            assert_eq!(response["allowed"], true, "the policy itself lets in what is unknown");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_registry_and_an_open_breaker_are_unknown_too() {
    let door = door("onUnscanned: Block").await;
    door.demo.ams.down().await;
    for round in 0..8 {
        let told = door.pod("bank", &[&fra(seed::PRESENT)]).await;
        assert!(message(&told).contains("Unreachable at ams"), "{round}: {told}");
    }
    assert_eq!(door.pod("shop", &[&fra(seed::PRESENT)]).await["allowed"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_nobody_scanned_is_not_let_in_because_the_scanner_is_hidden() {
    for required in ["Auto", "Always"] {
        let door = door(&format!("onUnscanned: Block\nscan: {{required: {required}}}")).await;
        let robot = |permissions: &[Permission]| Account::robot("landfall", Namespace::All, permissions);
        door.demo.ams.store().add_account(robot(&[Permission::Pull, Permission::ArtifactRead]));
        let unscanned = door.pod("bank", &[&fra(seed::UNSCANNED)]).await;
        let told = message(&unscanned);
        match required {
            "Auto" => {
                assert!(told.contains("Unauthorized at ams"), "{told}");
                let details = unscanned["auditAnnotations"]["details"].as_str().unwrap();
                let found = "Unauthorized at ams (our robot may not see whether ams has a scanner)";
                assert!(details.contains(found), "{details}");
            }
            _ => assert!(told.contains("Unscanned at ams"), "{told}"),
        }
        // What was scanned, had a scanner.
        assert_eq!(door.pod("bank", &[&fra(seed::PRESENT)]).await["allowed"], true);
        // Elsewhere nothing changes: it is not required.
        assert_eq!(door.pod("shop", &[&fra(seed::UNSCANNED)]).await["allowed"], true);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_nobody_scanned_is_not_let_in_because_harbors_api_is_slow() {
    let door = door("onUnscanned: Block\nscan: {required: Auto}").await;
    door.demo.ams.faults().add(Scope::Only(PathClass::Api), Fault::Delay(HELD));
    let body = review("bank", &[&fra(seed::UNSCANNED)]).to_string().into_bytes();
    let answer = ends("the review", door.post("/mutate?timeout=1s", "application/json", body)).await;
    let response = answer.response();
    let told = message(&response);
    assert!(told.contains("Deadline at ams"), "{told}");
}

/// Two sources are flattened into one repository; ours at the primary, the other application's here.
async fn flattened(rules: &str) -> (Door, String) {
    const OURS: Named = Named { repository: "production/shop/app", tag: "1" };
    let door = Door::with(|site| {
        let (before, after) = site.split_once("routes:").unwrap();
        let (_, after) = after.split_once("platforms:").unwrap();
        let site = format!(
            "{before}routes:\n  - name: production\n    primary: {{registry: fra, repositories: \"production/**\"}}\n    \
             replicas: [{{registry: ams, namespace: flat, flatten: all}}]\nplatforms:{after}"
        );
        policy(&site, rules)
    })
    .await;
    let push = |demo: &Demo| {
        let ours = demo.fra.store().push(OURS.repository, OURS.tag, &Content::image("ours"));
        demo.fra.store().set_scan(&ours, Scan::clean());
        let theirs = demo.ams.store().push("flat/app", OURS.tag, &Content::image("another application's"));
        demo.ams.store().set_scan(&theirs, Scan::clean());
    };
    push(&door.demo);
    (door, fra(OURS))
}

#[tokio::test(flavor = "multi_thread")]
async fn another_applications_image_is_not_presumed_where_two_repositories_become_one() {
    for rules in ["onVulnerable: Block", "onVulnerable: Block\nonUnproved: Accept\nonStale: Accept"] {
        for asked_before in [true, false] {
            let (door, image) = flattened(rules).await;
            if asked_before {
                for namespace in ["shop", "bank"] {
                    let response = door.pod(namespace, &[&image]).await;
                    assert_eq!(response["allowed"], true, "{response}");
                    let images = response["auditAnnotations"]["images"].as_str().unwrap();
                    assert_eq!(images, "containers/c0: Fallback at fra", "the tags are known to differ");
                }
            }
            door.demo.fra.down().await;
            // Until it is known that Frankfurt is down, it is named as it stands.
            for _ in 0..8 {
                for namespace in ["shop", "bank"] {
                    let response = door.pod(namespace, &[&image]).await;
                    let audit = &response["auditAnnotations"];
                    let images = audit["images"].as_str().unwrap();
                    assert!(!images.contains("ams"), "{namespace}, asked before: {asked_before}: {audit}");
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_claims_to_be_leaving_is_judged_where_a_policy_enforces() {
    let door = Door::open().await;
    let leaving = |namespace: &str| {
        let mut body = review(namespace, &[&fra(seed::VULNERABLE)]);
        body["request"]["object"]["metadata"]["deletionTimestamp"] = json!("2026-11-21T00:00:00Z");
        body
    };
    let response = door.review(&leaving("bank")).await;
    assert!(message(&response).contains("Vulnerable at ams"), "{response}");
    let response = door.review(&leaving("shop")).await;
    let audit = json!({"verdict": "Unchanged", "reason": "Excluded"});
    assert_eq!(response, json!({"uid": "u-1", "allowed": true, "auditAnnotations": audit}));
    // Neither opens what is too large to judge.
    let mut body = many("bank", 513, 513);
    body["request"]["object"]["metadata"]["deletionTimestamp"] = json!("2026-11-21T00:00:00Z");
    assert!(message(&door.review(&body).await).contains("TooMany"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_tenant_writes_into_a_pod_does_not_open_the_policy() {
    let door = door("onVulnerable: Block\nscan: {maxSeverity: Medium}").await;
    let vulnerable = fra(seed::VULNERABLE);
    for (pointer, value) in [
        ("/metadata/annotations", json!({"landfall.dev/mode": "Skip"})),
        ("/metadata/annotations", json!({"kubernetes.io/config.mirror": "x"})),
        ("/metadata/labels", json!({"landfall.dev/mode": "Skip"})),
        ("/spec/nodeSelector", json!({"kubernetes.io/os": "windows"})),
        ("/spec/nodeName", json!("a")),
        ("/spec/containers", json!([{"name": "c0", "image": vulnerable, "imagePullPolicy": "Never"}])),
    ] {
        let mut body = review("bank", &[&vulnerable]);
        let (object, key) = pointer.rsplit_once('/').unwrap();
        body["request"]["object"].pointer_mut(object).unwrap()[key] = value;
        let response = door.review(&body).await;
        assert!(message(&response).contains("Vulnerable at ams"), "{pointer}: {response}");
    }
}
