//! What ends a settled verdict: no Pod is told what judging anew would not say.

use jiff::{SignedDuration, Timestamp};
use landfall::facade::demo::world::Scan;
use landfall::facade::demo::world::seed::{self, Named};
use landfall::facade::domain::policy::Labels;
use serde_json::{Value, json};

use super::support::door::{Door, two_hours_later};
use super::support::metrics::name;
use super::support::wait::until;

/// By digest, so that it rests on nothing that is looked up in the background.
fn pinned(door: &Door, name: Named) -> String {
    let digest = door.demo.ams.store().digest(name.repository, name.tag).unwrap();
    format!("harbor.fra.example.com/{}@{digest}", name.repository)
}

/// Reviews a Pod with this image; whether it was settled before.
async fn told(door: &Door, namespace: &str, image: &str) -> (Value, bool) {
    let before = || door.metric(name::VERDICTS, &[("source", "Cache")]);
    let count = before();
    let response = door.pod(namespace, &[image]).await;
    (response, before() > count)
}

/// Reviews two Pods, so that it is settled.
async fn settle(door: &Door, namespace: &str, image: &str) -> Value {
    told(door, namespace, image).await;
    let (response, settled) = told(door, namespace, image).await;
    assert!(settled, "{response}");
    response
}

#[tokio::test(flavor = "multi_thread")]
async fn other_credentials_end_it() {
    let door = Door::open().await;
    let observatory = door.observatory.clone();
    let prober = tokio::spawn(async move { observatory.watch(|| {}).await });
    let image = pinned(&door, seed::PRESENT);
    until("all are well", || door.observatory.health().iter().all(|report| report.health.is_good())).await;
    let before = settle(&door, "shop", &image).await;
    let changes = door.observatory.generation();
    // Another content, and the same secret.
    door.demo.world.credentials("ams", "robot$landfall", "landfall-Secret1\n").unwrap();
    until("the other file is noticed", || door.observatory.generation() != changes).await;
    assert_eq!(told(&door, "shop", &image).await, (before, false));
    prober.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn labels_that_make_another_policy_apply_end_it() {
    let door = Door::open().await;
    let image = pinned(&door, seed::VULNERABLE);
    assert_eq!(settle(&door, "moving", &image).await["allowed"], true);
    door.moving.store(Labels::from([("tier".to_owned(), "regulated".to_owned())]).into());
    let (response, settled) = told(&door, "moving", &image).await;
    assert_eq!((&response["allowed"], settled), (&json!(false), false), "{response}");
    assert_eq!(settle(&door, "moving", &image).await, response);
    door.moving.store(Labels::new().into());
    assert_eq!(door.pod("moving", &[&image]).await["allowed"], true);
}

/// In one test: the clock is one for all doors.
#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_an_exception_and_of_a_scan_end_it() {
    let until = Timestamp::now() + SignedDuration::from_hours(1);
    let door = Door::with(|site| {
        let scan = "scan: {required: Always, maxSeverity: Medium, maxAge: 1h}";
        let exception = format!(
            "exceptions: [{{images: [\"harbor.fra.example.com/production/legacy/**\"], \
             findings: [Vulnerable, ScanExpired], until: \"{until}\", reason: t}}]"
        );
        let changed = site
            .replace("scan: {required: Always, maxSeverity: Medium}", &format!("{scan}\n      {exception}"));
        assert_ne!(changed, site);
        changed
    })
    .await;
    let (excepted, scanned) = (pinned(&door, seed::VULNERABLE), pinned(&door, seed::PRESENT));
    assert_eq!(settle(&door, "bank", &excepted).await["allowed"], true);
    assert_eq!(settle(&door, "bank", &scanned).await["allowed"], true);

    two_hours_later();
    let (response, settled) = told(&door, "bank", &excepted).await;
    assert_eq!((&response["allowed"], settled), (&json!(false), false), "{response}");
    let (response, settled) = told(&door, "bank", &scanned).await;
    assert_eq!((&response["allowed"], settled), (&json!(false), false), "{response}");
    let said = response["auditAnnotations"]["findings"].as_str().unwrap();
    assert!(said.contains("ScanExpired at ams"), "{said}");

    // A new scan is a new answer, and where nobody told of it, its time will come.
    let digest = door.demo.ams.store().digest(seed::PRESENT.repository, seed::PRESENT.tag).unwrap();
    let later = Timestamp::now() + SignedDuration::from_hours(2);
    door.demo.ams.store().set_scan(&digest, Scan::found_at(later, &[]));
    let ams = landfall::facade::domain::name::RegistryName::new("ams");
    door.observatory.invalidate(&ams, landfall::facade::evidence::Scope::Digest(digest));
    assert_eq!(door.pod("bank", &[&scanned]).await["allowed"], true);
}
