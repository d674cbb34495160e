//! Fallbacks, denials, and what is said about them.

use landfall::facade::demo::world::seed::{self, Named};
use landfall::facade::domain::name::RegistryName;
use landfall::facade::domain::pattern::ImagePattern;
use serde_json::{Value, json};

use super::recorded::patch;
use super::support::door::Door;
use super::support::metrics::name;
use super::support::site::review;
use super::support::wait::{ends, until};

fn at(host: &str, name: Named) -> String {
    format!("{host}/{}:{}", name.repository, name.tag)
}

fn fra(name: Named) -> String {
    at("harbor.fra.example.com", name)
}

/// The images of the Pod after the patch, in its containers.
fn images(review: &Value, response: &Value) -> Vec<String> {
    let mut pod = review["request"]["object"].clone();
    if let Some(patch) = patch(response) {
        json_patch::patch(&mut pod, &patch).unwrap();
    }
    let containers = pod["spec"]["containers"].as_array().unwrap();
    containers.iter().map(|container| container["image"].as_str().unwrap().to_owned()).collect()
}

/// What is written down of the first image.
fn entry(response: &Value) -> Value {
    let patch = serde_json::to_value(patch(response).unwrap()).unwrap();
    let path = |operation: &&Value| operation["path"].as_str().unwrap().contains("annotations");
    let value = &patch.as_array().unwrap().iter().find(path).unwrap()["value"];
    let text = value.as_str().or_else(|| value["landfall.dev/images"].as_str()).unwrap();
    serde_json::from_str::<Value>(text).unwrap()["containers/c0"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_denial_denies_the_pod_and_names_every_image() {
    let door = Door::open().await;
    let (vulnerable, missing, present) = (fra(seed::VULNERABLE), fra(seed::MISSING), fra(seed::PRESENT));
    let response = door.pod("bank", &[&vulnerable, &present, &missing, "busybox"]).await;
    assert_eq!(response["allowed"], false);
    assert_eq!((&response["status"]["code"], patch(&response)), (&json!(403), None));
    insta::assert_snapshot!(response["status"]["message"].as_str().unwrap(), @r"
    harbor.fra.example.com/production/legacy/billing:1.0.7: Vulnerable at ams (Critical, at most Medium is allowed), policy regulated: use an image without the vulnerability, or ask for an exception
    harbor.fra.example.com/production/shop/checkout:5.0.0: Missing at ams and Missing at edge, policy regulated: replicate it to this site, or wait until its replication is done
    busybox: NotRouted, policy regulated: use an image that is replicated to this site, or ask for a route
    ");
    insta::assert_snapshot!(response["auditAnnotations"].to_string(), @r#"{"details":"containers/c0: Vulnerable at ams (Critical, at most Medium is allowed)","findings":"containers/c0: Vulnerable at ams, Missing at edge; containers/c2: Missing at ams, Missing at edge; containers/c3: NotRouted","images":"containers/c0: Denied; containers/c1: Local at ams; containers/c2: Denied; containers/c3: Denied","reason":"Denied","verdict":"Denied"}"#);
    // The same Pod where no policy enforces.
    let response = door.pod("shop", &[&vulnerable, &present, &missing, "busybox"]).await;
    assert_eq!(response["allowed"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_observes_is_reported_and_changes_nothing() {
    let door = Door::open().await;
    let (vulnerable, present) = (fra(seed::VULNERABLE), fra(seed::PRESENT));
    // `regulated` asks what `trial` asks, so that all of it is known.
    door.pod("bank", &[&vulnerable, &present]).await;
    let observed = door.pod("trial", &[&vulnerable, &present]).await;
    let mut plain = door.pod("shop", &[&vulnerable, &present]).await;
    let said = observed["auditAnnotations"]["observed"].clone();
    insta::assert_snapshot!(said.as_str().unwrap(), @"trial would deny containers/c0: Vulnerable at ams, Missing at edge");
    plain["auditAnnotations"]["observed"] = said;
    assert_eq!(observed, plain);
    door.pod("trial", &[&present]).await;
    for (verdict, times) in [("Denied", 1.0), ("Allowed", 1.0)] {
        let labels = [("policy", "trial"), ("verdict", verdict)];
        assert_eq!(door.metric(name::OBSERVED_VERDICTS, &labels), times, "{verdict}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_local_registries_the_primary_serves() {
    let door = Door::open().await;
    door.demo.ams.down().await;
    door.demo.edge.down().await;
    let body = review("shop", &[&fra(seed::PRESENT)]);
    let response = door.review(&body).await;
    assert_eq!(images(&body, &response), [fra(seed::PRESENT)]);
    let entry = entry(&response);
    assert_eq!((&entry["why"], &entry["place"]), (&json!("Fallback"), &json!("fra")));
    assert_eq!(entry["findings"], json!(["Unreachable"]));
    assert_eq!(response["warnings"], Value::Null, "a fallback is no news for the person at the terminal");
    let fallback = [("route", "production"), ("place", "fra"), ("reason", "Fallback")];
    assert_eq!(door.metric(name::IMAGES, &fallback), 1.0);
    let unreachable = [("place", "ams"), ("finding", "Unreachable")];
    assert_eq!(door.metric(name::FINDINGS, &unreachable), 1.0);

    let response = door.pod("bank", &[&fra(seed::PRESENT)]).await;
    assert_eq!(response["allowed"], false);
    let message = response["status"]["message"].as_str().unwrap();
    assert!(message.contains("Unreachable at ams"), "{message}");
    assert!(message.ends_with("policy regulated: try again when the registry answers"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_everything_else_is_down_the_local_copy_is_presumed() {
    // Drained is down, known without asking.
    let door =
        Door::with(|site| site.replace("site: fra, kind: harbor,", "site: fra, kind: harbor, drain: true,"))
            .await;
    door.demo.ams.down().await;
    let body = review("shop", &[&fra(seed::PRESENT)]);
    let response = door.review(&body).await;
    assert_eq!(images(&body, &response), [at("harbor.ams.example.com", seed::PRESENT)]);
    assert_eq!(entry(&response)["why"], "Presumed");
    assert_eq!(
        response["warnings"],
        json!(["landfall: containers/c0: local copy used without proof, all other copies are down"])
    );
    door.demo.ams.up().await;

    // What is not here is not presumed to be.
    let body = review("shop", &[&fra(seed::MISSING)]);
    let door =
        Door::with(|site| site.replace("site: fra, kind: harbor,", "site: fra, kind: harbor, drain: true,"))
            .await;
    let response = door.review(&body).await;
    assert_eq!(images(&body, &response), [fra(seed::MISSING)]);
    let warning = "landfall: containers/c0: no copy of the image is known; left as written";
    assert_eq!(response["warnings"], json!([warning]));

    // What was said of it in an earlier round is no longer so.
    let here = at("harbor.ams.example.com", seed::MISSING);
    let mut body = review("shop", &[&here]);
    let old =
        json!({"containers/c0": {"was": fra(seed::MISSING), "is": here, "why": "Local", "place": "ams"}});
    body["request"]["object"]["metadata"]["annotations"] = json!({"landfall.dev/images": old.to_string()});
    let now = entry(&door.review(&body).await);
    assert_eq!((&now["was"], &now["why"]), (&json!(fra(seed::MISSING)), &json!("Fallback")));
    assert_eq!(now.get("place"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_servers_patience_is_kept() {
    let door = Door::patient().await;
    door.demo.ams.freeze().await;
    let body = review("shop", &[&fra(seed::PRESENT)]);
    let post = door.post("/mutate?timeout=1s", "application/json", body.to_string().into_bytes());
    let answer = ends("the API server's patience", post).await;
    let response = answer.response();
    assert_eq!(images(&body, &response), [fra(seed::PRESENT)]);
    assert_eq!(entry(&response)["findings"], json!(["Deadline"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_gets_the_same_answer_and_is_counted_apart() {
    let door = Door::open().await;
    let mut body = review("shop", &[&fra(seed::PRESENT)]);
    let real = door.review(&body).await;
    body["request"]["dryRun"] = json!(true);
    assert_eq!(door.review(&body).await, real);
    for dry in ["true", "false"] {
        let labels = [("verdict", "Patched"), ("reason", "Local"), ("dry_run", dry), ("door", "Mutate")];
        assert_eq!(door.metric(name::ADMISSIONS, &labels), 1.0, "{dry}");
    }
    let local = [("route", "production"), ("place", "ams"), ("reason", "Local")];
    assert_eq!(door.metric(name::IMAGES, &local), 1.0, "an image of a dry run is no image");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_entry_is_believed_only_where_the_mapping_agrees() {
    let door = Door::open().await;
    let here = at("harbor.ams.example.com", seed::PRESENT);
    let other = fra(seed::MULTI_ARCH);
    let retagged = fra(Named { tag: "1.4.1", ..seed::PRESENT });
    for (claimed, believed) in [
        (fra(seed::PRESENT), true),
        (at("harbor.example.com", seed::PRESENT), true),
        // The rule that fills the edge copies only tags like `v1`.
        (at("registry.edge:5000", seed::PRESENT), false),
        (other, false),
        (retagged, false),
        (fra(seed::PRESENT).replace("fra.example.com", "fra.example.com.evil.io"), false),
        ("busybox".to_owned(), false),
    ] {
        let mut body = review("shop", &[&here]);
        let old = json!({"containers/c0": {"was": claimed, "is": here, "why": "Local", "place": "ams"}})
            .to_string();
        body["request"]["object"]["metadata"]["annotations"] = json!({"landfall.dev/images": old});
        let was = entry(&door.review(&body).await)["was"].clone();
        assert_eq!(was, if believed { claimed } else { here.clone() });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn equal_images_are_asked_for_once_and_the_warm_door_asks_nobody() {
    let door = Door::open().await;
    let image = fra(seed::PRESENT);
    door.demo.ams.clear_log();
    door.pod("shop", &[image.as_str(); 30]).await;
    let asked = door.demo.ams.log().len();
    let single = Door::open().await;
    single.demo.ams.clear_log();
    single.pod("shop", &[&image]).await;
    assert_eq!(asked, single.demo.ams.log().len());
    door.pod("shop", &[image.as_str(); 30]).await;
    assert_eq!(door.demo.ams.log().len(), asked);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_observing_policy_keeps_no_pod_waiting_and_is_counted_all_the_same() {
    let door = Door::patient().await;
    let vulnerable = fra(seed::VULNERABLE);
    door.pod("shop", &[&vulnerable]).await;
    // The copy in Amsterdam is known. Only the policy rejects it, and so asks the next place, which answers nothing yet.
    door.demo.edge.freeze().await;
    let body = review("trial", &[&vulnerable]).to_string().into_bytes();
    let answer = ends("who waits for the edge", door.post("/mutate", "application/json", body)).await;
    let response = answer.response();
    assert_eq!((&response["allowed"], response["auditAnnotations"].get("observed")), (&json!(true), None));
    let denied = || door.metric(name::OBSERVED_VERDICTS, &[("policy", "trial"), ("verdict", "Denied")]);
    assert_eq!(denied(), 0.0);
    door.demo.edge.up().await;
    until("it is counted", || denied() == 1.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_settled_is_told_again_and_every_image_is_counted() {
    let door = Door::open().await;
    // By digest, so that it rests on nothing that is looked up in the background.
    let digest = door.demo.fra.store().digest(seed::PRESENT.repository, seed::PRESENT.tag).unwrap();
    let image = format!("harbor.fra.example.com/{}@{digest}", seed::PRESENT.repository);
    let counted = |now: f64, before: f64| {
        let verdicts = |source: &str| door.metric(name::VERDICTS, &[("source", source)]);
        assert_eq!((verdicts("Judged"), verdicts("Cache")), (now, before));
    };
    let first = door.pod("shop", &[&image]).await;
    counted(1.0, 0.0);
    assert!(door.pod("shop", &[&image, &image]).await["patch"].is_string());
    assert_eq!(door.pod("shop", &[&image]).await, first);
    counted(1.0, 2.0);
    let local = [("route", "production"), ("place", "ams"), ("reason", "Local")];
    assert_eq!(door.metric(name::IMAGES, &local), 3.0);

    // Another regime, another platform, an exemption: other Cases.
    assert_eq!(door.pod("bank", &[&image]).await["allowed"], true);
    counted(2.0, 2.0);
    let mut arm = review("shop", &[&image]);
    arm["request"]["object"]["spec"]["nodeSelector"] = json!({"kubernetes.io/arch": "arm64"});
    door.review(&arm).await;
    counted(3.0, 2.0);
    let mut skipped = review("shop", &[&image]);
    skipped["request"]["object"]["metadata"]["annotations"] = json!({"landfall.dev/mode": "Skip"});
    assert_eq!(patch(&door.review(&skipped).await), None);
    counted(4.0, 2.0);
    assert_eq!(door.pod("shop", &[&image]).await, first);
    counted(4.0, 3.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn new_settings_and_notifications_end_what_is_settled() {
    let door = Door::open().await;
    let digest = door.demo.fra.store().digest(seed::PRESENT.repository, seed::PRESENT.tag).unwrap();
    let image = format!("harbor.fra.example.com/{}@{digest}", seed::PRESENT.repository);
    let before = || door.metric(name::VERDICTS, &[("source", "Cache")]);
    door.pod("shop", &[&image]).await;
    door.pod("shop", &[&image]).await;
    assert_eq!(before(), 1.0);

    door.demo.ams.down().await;
    door.demo.edge.down().await;
    door.observatory.invalidate(&RegistryName::new("ams"), landfall::facade::evidence::Scope::Registry);
    let told = door.pod("shop", &[&image]).await;
    assert_eq!(images(&review("shop", &[&image]), &told), std::slice::from_ref(&image), "{told}");
    assert_eq!(before(), 1.0);

    let mut settings = landfall::facade::domain::settings::Settings::clone(&door.settings.load());
    settings.exclude.images.push(ImagePattern::new("harbor.fra.example.com/**").unwrap());
    door.observatory.adopt(&settings);
    door.settings.store(std::sync::Arc::new(settings));
    let told = door.pod("shop", &[&image]).await;
    assert_eq!(told["auditAnnotations"]["images"], "containers/c0: Excluded");
    assert_eq!(before(), 1.0);
}
