//! The validating door: what a policy blocks stays blocked, whatever the mutating door did or did not do.

use std::sync::Arc;

use landfall::facade::demo::world::Embedded;
use landfall::facade::demo::world::faults::{Fault, Scope};
use landfall::facade::demo::world::seed::{self, Named};
use landfall::facade::domain::policy::{BreakGlass, Enforcement, Policy, Warning};
use serde_json::{Value, json};

use super::support::door::{Door, became};
use super::support::metrics::name;
use super::support::site::{containers, review};
use super::support::wait::{HELD, ends, until};

fn fra(name: Named) -> String {
    format!("harbor.fra.example.com/{}:{}", name.repository, name.tag)
}

/// The image by its digest, as a careful person would write it.
fn pinned(at: &Embedded, name: Named) -> String {
    let digest = at.store().digest(name.repository, name.tag).unwrap();
    format!("{}@{digest}", fra(name))
}

fn message(response: &Value) -> &str {
    assert_eq!(response["allowed"], false, "{response}");
    response["status"]["message"].as_str().unwrap()
}

fn admitted(response: &Value) {
    assert_eq!(response["allowed"], true, "{response}");
    assert_eq!(response["auditAnnotations"]["verdict"], "Unchanged", "{response}");
}

/// A review of an update of a Pod that had the images `before`.
fn update(namespace: &str, before: &[&str], after: &[&str]) -> Value {
    let mut body = review(namespace, after);
    let request = &mut body["request"];
    request["operation"] = json!("UPDATE");
    request["oldObject"] = request["object"].clone();
    request["oldObject"]["spec"]["containers"] = json!(containers(before));
    body
}

/// A review of a new debugging container in a Pod that runs.
fn debug(namespace: &str, image: &str) -> Value {
    let mut body = review(namespace, &["postgres:16"]);
    let request = &mut body["request"];
    (request["operation"], request["subResource"]) = (json!("UPDATE"), json!("ephemeralcontainers"));
    request["oldObject"] = request["object"].clone();
    request["object"]["spec"]["ephemeralContainers"] = json!([{"name": "debug", "image": image}]);
    body
}

// What stands there

#[tokio::test(flavor = "multi_thread")]
async fn what_the_first_door_wrote_is_admitted_and_nobody_is_asked_again() {
    let door = Door::open().await;
    let present = pinned(&door.demo.ams, seed::PRESENT);
    for images in [
        vec![fra(seed::PRESENT)],
        vec![fra(seed::PRESENT), fra(seed::MULTI_ARCH), fra(seed::PRESENT)],
        vec![present],
    ] {
        let images: Vec<&str> = images.iter().map(String::as_str).collect();
        let body = review("bank", &images);
        let first = door.review(&body).await;
        assert_eq!(first["allowed"], true, "{first}");
        let asked = door.asked();
        let (again, second) = door.both("regulated", &body).await;
        assert_eq!(first, again);
        admitted(&second);
        assert_eq!(door.asked(), asked, "the second door asked a registry");
        let said = second["auditAnnotations"]["images"].as_str().unwrap();
        assert!(said.starts_with("containers/c0: Local at ams"), "{said}");
    }
    let labels = [("verdict", "Unchanged"), ("reason", "Local"), ("dry_run", "false"), ("door", "Validate")];
    assert_eq!(door.metric(name::ADMISSIONS, &labels), 3.0);
    assert_eq!(door.denied(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_without_a_digest_is_told_what_to_do() {
    let door = Door::open().await;
    let (image, other) = (fra(seed::PRESENT), fra(seed::MULTI_ARCH));
    let response = door.validate("regulated", &review("bank", &[&image])).await;
    insta::assert_snapshot!(message(&response), @"harbor.fra.example.com/production/shop/web:1.4.2: without a digest, policy regulated: Landfall's mutating webhook was skipped, or another webhook replaced the image; try again");
    let audit = &response["auditAnnotations"];
    assert_eq!((&audit["verdict"], &audit["images"]), (&json!("Denied"), &json!("containers/c0: Denied")));
    assert_eq!(door.denied(), ["regulated"]);
    let before = [&*other, "postgres:16"];
    let response = door.validate("regulated", &update("bank", &before, &[&image, "postgres:16"])).await;
    let told = message(&response).to_owned();
    assert!(
        told.contains(&format!("write {}, or replace the Pod", pinned(&door.demo.ams, seed::PRESENT))),
        "{told}"
    );
    // It helps.
    let written = pinned(&door.demo.ams, seed::PRESENT);
    admitted(&door.validate("regulated", &update("bank", &before, &[&written, "postgres:16"])).await);
}

/// Every way in which an image gets past the first door, or looks like none that Landfall handles.
#[tokio::test(flavor = "multi_thread")]
async fn no_way_round_the_policy_gets_past_both_doors() {
    let door = Door::with(|site| {
        site.replace(
            "exclude: {namespaces: [harbor], images: [",
            "exclude: {namespaces: [harbor], images: [\"harbor.fra.example.com/production/legacy/**\", ",
        )
    })
    .await;
    let vulnerable = fra(seed::VULNERABLE);
    let upper = vulnerable.replace("harbor.fra", "Harbor.FRA");
    let port = vulnerable.replace("example.com/", "example.com:443/");
    let digest = pinned(&door.demo.ams, seed::VULNERABLE);
    let edge = digest.replace("harbor.fra.example.com", "registry.edge:5000");
    let flat = "harbor.ams.example.com/production/billing:1.0.7";
    let pod = |change: &dyn Fn(&mut Value)| {
        let mut body = review("bank", &[&vulnerable]);
        change(&mut body["request"]["object"]);
        body
    };
    let spec = |key: &'static str, entry: Value| {
        let mut body = review("bank", &[]);
        body["request"]["object"]["spec"][key] = json!([entry]);
        body
    };
    let forged = json!({"landfall.dev/images": json!({"containers/c0": {
        "was": vulnerable, "why": "Local", "place": "ams"}}).to_string()});
    for (what, body, finding, blind) in [
        ("unrouted", review("bank", &["postgres:16"]), "NotRouted", false),
        ("upper-case host", review("bank", &[&upper]), "Vulnerable at ams", false),
        ("default port", review("bank", &[&port]), "Vulnerable at ams", false),
        ("empty domain", review("bank", &["/production/legacy/billing:1.0.7"]), "Unparsable", true),
        (
            "trailing dot",
            review("bank", &["harbor.fra.example.com./production/legacy/billing:1.0.7"]),
            "Unparsable",
            true,
        ),
        ("placeholder", review("bank", &["auto"]), "NotRouted", true),
        ("filtered, by digest", review("bank", &[&edge]), "Vulnerable at ams", false),
        ("excluded image", review("bank", &[&vulnerable]), "Vulnerable at ams", false),
        ("by digest", review("bank", &[&digest]), "Vulnerable at ams", false),
        ("another team's flattened path", review("bank", &[flat]), "at ams", false),
        (
            "never pulled",
            pod(&|pod| pod["spec"]["containers"][0]["imagePullPolicy"] = json!("Never")),
            "Vulnerable at ams",
            false,
        ),
        (
            "skip",
            pod(&|pod| pod["metadata"]["annotations"] = json!({"landfall.dev/mode": "Skip"})),
            "Vulnerable at ams",
            false,
        ),
        (
            "forged annotation",
            pod(&|pod| pod["metadata"]["annotations"] = forged.clone()),
            "Vulnerable at ams",
            false,
        ),
        (
            "mirror",
            pod(&|pod| pod["metadata"]["annotations"] = json!({"kubernetes.io/config.mirror": "x"})),
            "Vulnerable at ams",
            false,
        ),
        (
            "leaving",
            pod(&|pod| pod["metadata"]["deletionTimestamp"] = json!("2026-11-21T00:00:00Z")),
            "Vulnerable at ams",
            false,
        ),
        (
            "init container",
            spec("initContainers", json!({"name": "i", "image": vulnerable})),
            "Vulnerable at ams",
            false,
        ),
        (
            "ephemeral, in a new Pod",
            spec("ephemeralContainers", json!({"name": "e", "image": vulnerable})),
            "Vulnerable at ams",
            false,
        ),
        (
            "image volume",
            spec("volumes", json!({"name": "v", "image": {"reference": vulnerable}})),
            "Vulnerable at ams",
            false,
        ),
        ("ephemeral container", debug("bank", &vulnerable), "Vulnerable at ams", false),
        (
            "update",
            update("bank", &["a:1", "b:1", "c:1"], &["a:1", &digest, "c:1"]),
            "Vulnerable at ams",
            true,
        ),
        (
            "update of an init container",
            {
                let mut body = update("bank", &["a:1"], &["a:1"]);
                body["request"]["oldObject"]["spec"]["initContainers"] =
                    json!([{"name": "i", "image": "i:1"}]);
                body["request"]["object"]["spec"]["initContainers"] =
                    json!([{"name": "i", "image": vulnerable}]);
                body
            },
            "Vulnerable at ams",
            true,
        ),
    ] {
        // `blind`: the first door does not see it, or must leave it to whoever comes later.
        let first = door.review(&body).await;
        assert_eq!(first["allowed"], blind, "{what}: {first}");
        let second = door.validate("regulated", &body).await;
        assert!(message(&second).contains(finding), "{what}: {second}");
        assert!(message(&second).contains("policy regulated"), "{what}: {second}");
        assert_eq!(second["auditAnnotations"]["reason"], "Denied", "{what}");
        let denied = if blind { 1 } else { 2 };
        assert_eq!(door.denied(), vec!["regulated"; denied], "{what}");
    }
}

/// The pull secrets of a Pod that runs cannot change, so the first door cannot always rewrite a debugging container.
#[tokio::test(flavor = "multi_thread")]
async fn a_debugging_container_is_admitted_as_it_was_rewritten_or_says_how_to_write_it() {
    let door = Door::open().await;
    let mut body = debug("bank", &fra(seed::MULTI_ARCH));
    let (first, second) = door.both("regulated", &body).await;
    let warning = first["warnings"][0].as_str().unwrap();
    assert!(warning.contains("lacks pull secret harbor-ams-creds"), "{first}");
    let written = pinned(&door.demo.ams, seed::MULTI_ARCH);
    assert!(message(&second).contains(&format!("write {written}, or replace the Pod")), "{second}");
    let (_, second) = door.both("regulated", &debug("bank", &written)).await;
    admitted(&second);
    for pod in ["object", "oldObject"] {
        body["request"][pod]["spec"]["imagePullSecrets"] = json!([{"name": "harbor-ams-creds"}]);
    }
    let (first, second) = door.both("regulated", &body).await;
    assert_eq!(first["auditAnnotations"]["verdict"], "Patched");
    admitted(&second);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_is_judged_by_its_changed_images_alone() {
    let door = Door::open().await;
    let (vulnerable, good) = (fra(seed::VULNERABLE), pinned(&door.demo.ams, seed::PRESENT));
    // What runs already is not judged again.
    let unchanged = door.validate("regulated", &update("bank", &[&vulnerable], &[&vulnerable])).await;
    let audit = json!({"verdict": "Unchanged", "reason": "NotRouted"});
    assert_eq!(unchanged, json!({"uid": "u-1", "allowed": true, "auditAnnotations": audit}));
    assert_eq!(door.asked(), 0);
    let before = [&*vulnerable, "postgres:16", "busybox:1"];
    admitted(
        &door.validate("regulated", &update("bank", &before, &[&vulnerable, "postgres:16", &good])).await,
    );
    let told = door.validate("regulated", &update("bank", &before, &[&vulnerable, &good, "busybox:2"])).await;
    assert_eq!(message(&told).lines().count(), 1);
    assert!(message(&told).starts_with("busybox:2: NotRouted, policy regulated: "), "{told}");
    let moved = door
        .validate("regulated", &update("bank", &before, &["postgres:16", &vulnerable, "busybox:1"]))
        .await;
    assert_eq!(message(&moved).lines().count(), 2, "another container is another image");
}

/// Finding × action × enforcement, at the image as it stands with its digest.
#[tokio::test(flavor = "multi_thread")]
async fn each_finding_is_denied_where_an_enforcing_policy_blocks_it() {
    const KEYS: [&str; 7] =
        ["onMissing", "onUnknown", "onUnscanned", "onVulnerable", "onUnrouted", "onStale", "onUnproved"];
    let rest = |key: &str| {
        // Each key alone: what else blocks must not deny in its place.
        let others =
            KEYS.iter().filter(|other| **other != key && !matches!(**other, "onVulnerable" | "onUnrouted"));
        let fallbacks: String = others.map(|other| format!("      {other}: Fallback\n")).collect();
        fallbacks
    };
    for (key, image, finding, actions) in [
        ("onMissing", seed::MISSING, "Missing at ams", &["Fallback", "Block"][..]),
        ("onUnscanned", seed::UNSCANNED, "Unscanned at ams", &["Accept", "Fallback", "Block"]),
        ("onUnscanned", seed::SCANNING, "ScanPending at ams", &["Accept", "Fallback", "Block"]),
        ("onUnscanned", seed::SCAN_FAILED, "ScanFailed at ams", &["Accept", "Fallback", "Block"]),
        ("onVulnerable", seed::VULNERABLE, "Vulnerable at ams", &["Accept", "Block"]),
    ] {
        for action in actions {
            let door = Door::with(|site| {
                let (site, _) = site.split_once("policies:\n").unwrap();
                let policy = |name: &str, enforcement: &str| format!(
                    "  - metadata: {{name: {name}}}\n    spec:\n      namespaceSelector: {{matchLabels: {{tier: {name}}}}}\n      \
                     enforcement: {enforcement}\n      {key}: {action}\n{}      scan: {{required: Always, maxSeverity: Medium}}\n",
                    rest(key)
                );
                format!("{site}policies:\n{}{}", policy("regulated", "Enforce"), policy("trial", "Observe"))
            })
            .await;
            let what = format!("{key}: {action} for {finding}");
            let image = pinned(&door.demo.fra, image);
            let response = door.validate("regulated", &review("bank", &[&image])).await;
            if *action == "Block" {
                assert!(message(&response).contains(finding), "{what}: {response}");
            } else {
                admitted(&response);
                let found = response["auditAnnotations"]["findings"].as_str().unwrap();
                assert!(found.contains(finding), "{what}: {found}");
            }
            // The first door says the same.
            let first = door.review(&review("bank", &[&image])).await;
            assert_eq!(first["allowed"], response["allowed"], "{what}: {first}");
            // An observing policy never denies; of an update this door says what it would have done.
            admitted(&door.validate("trial", &review("trial", &[&image])).await);
            let observed = door.validate("trial", &update("trial", &["a:1"], &[&image])).await;
            admitted(&observed);
            let would = observed["auditAnnotations"]["observed"].as_str();
            assert_eq!(would.is_some(), *action == "Block", "{what}: {observed}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_learned_is_denied_where_that_is_blocked() {
    let door = Door::open().await;
    let image = pinned(&door.demo.ams, seed::PRESENT);
    door.demo.ams.faults().add(Scope::Everything, Fault::Delay(HELD));
    door.demo.edge.faults().add(Scope::Everything, Fault::Delay(HELD));
    let body = review("bank", &[&image]).to_string().into_bytes();
    let path = door.entry("regulated").replace("5s", "1s");
    let response = door.post_to_second(&path, body).await.response();
    assert!(message(&response).contains("Deadline at ams"), "{response}");
    assert!(message(&response).contains("policy regulated: try again when the registry answers"));
}

// The first answer

/// Between the doors the registry goes down, and the first answer expires or is outdated. The Pod was judged.
#[tokio::test(flavor = "multi_thread")]
async fn what_happens_between_the_doors_denies_nothing_that_was_judged() {
    let door = Door::open().await;
    let image = fra(seed::PRESENT);
    let (_, second) = door.both("regulated", &review("bank", &[&image])).await;
    admitted(&second);
    let became = pinned(&door.demo.ams, seed::PRESENT).replace(".fra.", ".ams.");
    let elsewhere =
        pinned(&door.demo.ams, seed::PRESENT).replace("harbor.fra.example.com", "registry.edge:5000");
    for at in [&door.demo.ams, &door.demo.edge, &door.demo.fra] {
        at.down().await;
    }
    for registry in door.settings.load().registries.keys() {
        door.observatory.invalidate(registry, landfall::facade::evidence::Scope::Registry);
    }
    admitted(&door.validate("regulated", &review("bank", &[&became])).await);
    // It opens nothing else: another text, another platform, another namespace, or other policies are judged anew.
    let mut narrowed = review("bank", &[&became]);
    narrowed["request"]["object"]["spec"]["nodeSelector"] = json!({"kubernetes.io/arch": "arm64"});
    message(&door.validate("regulated", &narrowed).await);
    message(&door.validate("regulated", &review("bank", &[&elsewhere])).await);
    message(&door.validate("regulated", &review("moving", &[&became])).await);
    admitted(&door.validate("regulated", &review("bank", &[&became])).await);
    door.edit_policy("regulated", |policy| policy.contact = Some("sec".into()));
    message(&door.validate("regulated", &review("bank", &[&became])).await);
}

/// An image that is good in one namespace is not good in another one for that.
#[tokio::test(flavor = "multi_thread")]
async fn a_first_answer_of_a_namespace_without_a_policy_counts_nowhere() {
    let door = Door::open().await;
    let image = fra(seed::VULNERABLE);
    let (first, _) = door.both("regulated", &review("shop", &[&image])).await;
    assert_eq!(first["allowed"], true, "{first}");
    let mut body = became(&review("shop", &[&image]), &first);
    body["request"]["namespace"] = json!("bank");
    assert!(message(&door.validate("regulated", &body).await).contains("Vulnerable at ams"));
}

// Which policies

#[tokio::test(flavor = "multi_thread")]
async fn the_policies_of_the_entry_apply_whatever_is_known_of_the_labels() {
    let door = Door::open().await;
    let image = pinned(&door.demo.ams, seed::VULNERABLE);
    // Our watch has not seen yet that `shop` is regulated.
    let told = door.validate("regulated", &review("shop", &[&image])).await;
    assert!(message(&told).contains("policy regulated"), "{told}");
    let sound = door.validate("trial", &review("shop", &[&image])).await;
    admitted(&sound);
    assert_eq!(sound["auditAnnotations"]["reason"], "Observed");
    // Whom our labels select, is judged by any entry.
    message(&door.validate("trial", &review("bank", &[&image])).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_selector_that_nobody_knows_lets_nobody_in_and_one_that_is_gone_denies_nobody() {
    let door = Door::open().await;
    let image = pinned(&door.demo.ams, seed::VULNERABLE);
    let body = || review("bank", &[&image]).to_string().into_bytes();
    for path in ["/validate/0123456789abcdef", "/validate/regulated", "/validate/0123456789ABCDEF"] {
        let answer = door.post_to_second(path, body()).await;
        assert_eq!(answer.status, 503, "{path}: {}", answer.body);
    }
    let labels =
        [("verdict", "Internal"), ("reason", "Internal"), ("dry_run", "false"), ("door", "Validate")];
    assert_eq!(door.metric(name::ADMISSIONS, &labels), 3.0);
    let entry = door.entry("regulated");
    message(&door.post_to_second(&entry, body()).await.response());
    // It only observes from now on, and its entry is still there.
    door.edit_policy("regulated", |policy| policy.enforcement = Enforcement::Observe);
    admitted(&door.post_to_second(&entry, body()).await.response());
    door.edit_policy("regulated", |policy| policy.enforcement = Enforcement::Enforce);
    message(&door.post_to_second(&entry, body()).await.response());
    // It is removed; another one still selects the namespace `trial`.
    door.edit_policy("trial", |policy| policy.enforcement = Enforcement::Enforce);
    door.edit(|policies| policies.retain(|policy: &Arc<Policy>| policy.name.as_str() != "regulated"));
    admitted(&door.post_to_second(&entry, body()).await.response());
    let other = review("trial", &[&image]).to_string().into_bytes();
    let told = door.post_to_second(&entry, other).await.response();
    assert!(message(&told).contains("policy trial"), "{told}");
    let again = door.post_to_second("/validate/0123456789abcdef", body()).await;
    assert_eq!(again.status, 503, "that was never one");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_api_server_keeps_out_is_let_pass() {
    let door = Door::open().await;
    for namespace in ["kube-system", "kube-node-lease", "landfall", "harbor"] {
        let response = door.validate("regulated", &review(namespace, &["postgres:16"])).await;
        let audit = json!({"verdict": "Unchanged", "reason": "Excluded"});
        assert_eq!(
            response,
            json!({"uid": "u-1", "allowed": true, "auditAnnotations": audit}),
            "{namespace}"
        );
    }
    let mut mirror = review("bank", &["postgres:16"]);
    mirror["request"]["userInfo"]["username"] = json!("system:node:a");
    mirror["request"]["object"]["metadata"]["annotations"] = json!({"kubernetes.io/config.mirror": "x"});
    assert_eq!(door.validate("regulated", &mirror).await["auditAnnotations"]["reason"], "MirrorPod");
    for (pointer, value) in
        [("/request/operation", json!("DELETE")), ("/request/subResource", json!("status"))]
    {
        let mut body = review("bank", &["postgres:16"]);
        body["request"]["subResource"] = Value::Null;
        *body.pointer_mut(pointer).unwrap() = value;
        assert_eq!(door.validate("regulated", &body).await["auditAnnotations"]["reason"], "Excluded");
    }
    assert_eq!(door.asked(), 0);
}

// Faults

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_judged_lets_nobody_in() {
    let door = Door::open().await;
    let mut unreadable = review("bank", &["x"]);
    unreadable["request"]["object"]["spec"]["containers"][0]["image"] = json!(5);
    let told = door.validate("regulated", &unreadable).await;
    assert_eq!(
        message(&told),
        "Landfall cannot read the Pod: `request.object.spec.containers[0].image` is not valid in a Pod"
    );
    let many: Vec<String> =
        (0..513).map(|n| format!("harbor.fra.example.com/production/decoy/app:{n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let told = door.validate("regulated", &review("bank", &many)).await;
    assert!(message(&told).starts_with("513 images: TooMany"), "{told}");
    assert_eq!(door.denied(), ["regulated"]);
    let told = door.validate("regulated", &update("bank", &many, &many)).await;
    assert_eq!(told["allowed"], true, "nothing was changed");
    let entry = door.entry("regulated");
    let post = async |body: Vec<u8>| door.post_to_second(&entry, body).await.status;
    assert_eq!(post(review("cursed", &["x"]).to_string().into_bytes()).await, 500, "a panic");
    assert_eq!(post(b"{}".to_vec()).await, 400);
    assert_eq!(post(vec![b' '; (10 << 20) + 1]).await, 413);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_door_has_its_own_port() {
    let door = Door::open().await;
    let body = || review("bank", &["postgres:16"]).to_string().into_bytes();
    assert_eq!(door.post_to_second("/mutate?timeout=5s", body()).await.status, 404);
    assert_eq!(door.post(&door.entry("regulated"), "application/json", body()).await.status, 404);
    // A full first port keeps nobody away from the second.
    let mut open = Vec::new();
    for _ in 0..520 {
        open.push(tokio::net::TcpStream::connect(door.address()).await.unwrap());
    }
    let closed = [("port", "Webhook"), ("reason", "Share")];
    until("the first port is full", || door.metric(name::CONNECTIONS_REFUSED, &closed) > 0.0).await;
    message(&door.validate("regulated", &review("bank", &["postgres:16"])).await);
}

// Observing and opened policies

#[tokio::test(flavor = "multi_thread")]
async fn a_developer_is_warned_of_what_an_observing_policy_would_deny() {
    let door = Door::open().await;
    let images = [fra(seed::VULNERABLE), fra(seed::MISSING), "postgres:16".to_owned()];
    let body = review("trial", &images.each_ref().map(String::as_str));
    // Until the registries have answered, there may be nothing to tell.
    door.review(&body).await;
    let counted = || door.metric(name::OBSERVED_VERDICTS, &[("policy", "trial"), ("verdict", "Denied")]);
    until("it is judged", || counted() >= 1.0).await;
    let silent = door.review(&body).await;
    assert_eq!(silent["warnings"], Value::Null, "the policy does not ask for it");
    door.edit_policy("trial", |policy| policy.warning = Warning::Sent);
    door.review(&body).await;
    until("it is judged again", || counted() >= 3.0).await;
    let response = door.review(&body).await;
    assert_eq!(
        response["warnings"],
        json!(["landfall: policy trial would deny 3 images: Vulnerable, Missing, NotRouted"])
    );
    assert_eq!(counted(), 4.0);
    assert_eq!(door.denied(), ["trial"; 4]);
    let mut dry = body.clone();
    dry["request"]["dryRun"] = json!(true);
    assert_eq!(door.review(&dry).await, response);
    assert_eq!(door.denied(), [""; 0], "nobody is told of a dry run");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_opened_policy_lets_pods_in_and_leaves_a_trace() {
    let door = Door::open().await;
    let image = fra(seed::VULNERABLE);
    let body = review("bank", &[&image]);
    assert!(message(&door.review(&body).await).contains("Vulnerable at ams"));
    let glass = |namespaces: &[&str], until: &str| {
        Some(BreakGlass {
            until: until.parse().unwrap(),
            namespaces: namespaces.iter().map(|name| (*name).into()).collect(),
            reason: "INC-7; it burns\u{202e}".into(),
        })
    };
    // Not this namespace, or over already.
    door.edit_policy("regulated", |policy| policy.break_glass = glass(&["shop"], "2999-01-01T00:00:00Z"));
    message(&door.review(&body).await);
    message(&door.validate("regulated", &body).await);
    door.edit_policy("regulated", |policy| policy.break_glass = glass(&[], "2020-01-01T00:00:00Z"));
    message(&door.review(&body).await);
    door.denied();
    door.edit_policy("regulated", |policy| policy.break_glass = glass(&["bank"], "2999-01-01T00:00:00Z"));
    door.review(&body).await;
    let counted = || door.metric(name::OBSERVED_VERDICTS, &[("policy", "regulated"), ("verdict", "Opened")]);
    until("it is judged", || counted() >= 1.0).await;
    let (first, second) = door.both("regulated", &body).await;
    assert_eq!(
        first["auditAnnotations"]["break-glass"],
        "regulated is open until 2999-01-01T00:00:00Z: INC-7, it burns"
    );
    assert_eq!(
        first["auditAnnotations"]["observed"],
        "regulated would deny containers/c0: Vulnerable at ams, Missing at edge"
    );
    admitted(&second);
    assert_eq!((counted(), door.denied()), (2.0, vec!["regulated".to_owned(); 2]));
    // An update is seen at the second door alone.
    let changed = door.validate("regulated", &update("bank", &["a:1"], &[&image])).await;
    admitted(&changed);
    assert!(changed["auditAnnotations"]["break-glass"].is_string(), "{changed}");
    assert_eq!(counted(), 3.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_denial_says_whom_to_ask() {
    let door = Door::open().await;
    door.edit_policy("regulated", |policy| {
        policy.contact = Some("the platform team,\n#sec\u{202e} on chat".into());
    });
    let images = [fra(seed::VULNERABLE), "postgres:16".to_owned()];
    let body = review("bank", &images.each_ref().map(String::as_str));
    let first = door.review(&body).await;
    let second = door.validate("regulated", &body).await;
    assert_eq!(message(&first), message(&second));
    insta::assert_snapshot!(message(&first), @"
    harbor.fra.example.com/production/legacy/billing:1.0.7: Vulnerable at ams (Critical, at most Medium is allowed), policy regulated: use an image without the vulnerability, or ask for an exception
    postgres:16: NotRouted, policy regulated: use an image that is replicated to this site, or ask for a route
    whom to ask about policy regulated: the platform team, #sec on chat
    ");
    let many: Vec<String> = (0..513).map(|n| format!("postgres:{n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    for told in [
        door.validate("regulated", &review("bank", &many)).await,
        door.validate("regulated", &review("bank", &[&fra(seed::PRESENT)])).await,
    ] {
        let ends = "whom to ask about policy regulated: the platform team, #sec on chat";
        assert_eq!(message(&told).lines().last(), Some(ends));
    }
}

// Law 8, through both doors

/// Whatever a Pod names, what the first door gives the second one admits: while the first answer counts, and when the Pod
/// comes to a replica that does not know of it.
#[tokio::test(flavor = "multi_thread")]
async fn law_8_what_the_first_door_gives_the_second_one_admits() {
    const RULES: [&str; 4] = [
        "onVulnerable: Block",
        "onMissing: Block\n      onUnscanned: Accept",
        "onUnscanned: Block\n      onUnknown: Fallback",
        "onMissing: Block\n      onStale: Block\n      onUnscanned: Block\n      onVulnerable: Block",
    ];
    let names = [
        seed::PRESENT,
        seed::MULTI_ARCH,
        seed::MISSING,
        seed::MOVED,
        seed::UNSCANNED,
        seed::SCANNING,
        seed::SCAN_FAILED,
        seed::VULNERABLE,
        seed::CHILD_LOST,
    ];
    let (mut admitted_pods, mut denied_pods) = (0, 0);
    for (n, rules) in RULES.iter().enumerate() {
        let open = async || {
            Door::with(|site| {
                let (site, _) = site.split_once("policies:\n").unwrap();
                format!(
                    "{site}policies:\n  - metadata: {{name: regulated}}\n    spec:\n      namespaceSelector: {{matchLabels: {{tier: regulated}}}}\n      \
                     enforcement: Enforce\n      {rules}\n      scan: {{required: Auto, maxSeverity: High}}\n"
                )
            })
            .await
        };
        let (door, other) = (open().await, open().await);
        let mut dice = fastrand::Rng::with_seed(n as u64);
        for round in 0..40 {
            let mut images = Vec::new();
            for _ in 0..dice.usize(1..4) {
                let name = names[dice.usize(0..names.len())];
                let host = ["harbor.fra.example.com", "harbor.example.com", "Harbor.AMS.example.com:443"]
                    [dice.usize(0..3)];
                let written = match dice.usize(0..6) {
                    0 => pinned(&door.demo.fra, name),
                    1 => fra(name).split(':').next().unwrap().to_owned(),
                    2 => "docker.io/library/busybox:1".to_owned(),
                    _ => fra(name),
                };
                images.push(written.replace("harbor.fra.example.com", host));
            }
            let images: Vec<&str> = images.iter().map(String::as_str).collect();
            let body = review("bank", &images);
            let (first, second) = door.both("regulated", &body).await;
            if first["allowed"] == false {
                denied_pods += 1;
                continue;
            }
            admitted_pods += 1;
            assert_eq!(second["allowed"], true, "{rules}, {round}: {images:?}: {second}");
            // What the other one has not learned yet, as what a tag means at its primary, it learns while it denies: then
            // it says to try again, and controllers do.
            let became = became(&body, &first);
            ends("another replica denies for ever", async {
                loop {
                    let there = other.validate("regulated", &became).await;
                    if there["allowed"] == true {
                        break;
                    }
                    let denied = message(&there);
                    assert!(
                        denied.lines().all(|line| line.ends_with("try again")),
                        "{rules}, {round}: {denied}"
                    );
                }
            })
            .await;
        }
    }
    assert!(admitted_pods > 40 && denied_pods > 20, "{admitted_pods} admitted, {denied_pods} denied");
}
