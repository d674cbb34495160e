//! What a Harbor delivers by itself reaches the next judgement.

use std::sync::Arc;

use arc_swap::ArcSwap;
use landfall::facade::demo::world::Scan;
use landfall::facade::demo::world::content::Content;
use landfall::facade::demo::world::seed::{self, Named};
use landfall::facade::server::Limits;
use serde_json::json;

use super::replica::{AMS, FRA, Replica, Town};
use super::set_up::policy;
use super::support::wait::ends;

const NO_SCAN: &str = "{scan: {required: Never}}";

/// What Amsterdam would deliver after a push.
pub fn pushed(repository: &str, digest: &str, tag: &str) -> serde_json::Value {
    json!({"type": "PUSH_ARTIFACT", "occur_at": 1, "operator": "x", "event_data": {
        "resources": [{"digest": digest, "tag": tag}],
        "repository": {"name": "x", "namespace": "x", "repo_full_name": repository, "repo_type": "private"},
    }})
}

async fn with_policy(town: &Town, replica: &Replica, format: &str) {
    policy(&town.demo.ams, "production", &replica.url(), AMS, format).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_pushed_is_local_to_the_next_pod_and_what_is_deleted_is_not() {
    for format in ["Default", "CloudEvents"] {
        let town = Town::new(NO_SCAN).await;
        let replica = town.replica().await;
        with_policy(&town, &replica, format).await;
        assert_eq!(replica.judged(seed::MISSING).await, "Fallback(fra) [Missing]");
        let Named { repository, tag } = seed::MISSING;
        let content = Content::image(&format!("{repository} {tag}"));
        let digest = town.demo.ams.store().push(repository, tag, &content);
        replica.until(seed::MISSING, "Local(ams) []").await;
        assert_eq!(replica.judged(seed::PRESENT).await, "Local(ams) []");
        town.demo.ams.store().delete(repository, &digest);
        replica.until(seed::MISSING, "Fallback(fra) [Missing]").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scan_of_a_child_changes_the_verdict_of_its_index() {
    let town = Town::new("{onUnscanned: Fallback, scan: {required: Auto}}").await;
    let Named { repository, tag } = seed::MULTI_ARCH;
    let index = town.demo.ams.store().digest(repository, tag).unwrap();
    town.demo.ams.store().set_scan(&index, Scan::NotScanned);
    let replica = town.replica().await;
    with_policy(&town, &replica, "Default").await;
    let before = replica.judged(seed::MULTI_ARCH).await;
    assert!(before.contains("Unscanned"), "{before}");
    // Harbor tells of each child, never of the index.
    town.demo.ams.store().set_scan(&index, Scan::clean());
    replica.until(seed::MULTI_ARCH, "Local(ams) []").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_of_the_primary_speaks_of_the_destination() {
    let town = Town::new(NO_SCAN).await;
    let replica = town.replica().await;
    assert_eq!(replica.judged(seed::MISSING).await, "Fallback(fra) [Missing]");
    let Named { repository, tag } = seed::MISSING;
    let content = Content::image(&format!("{repository} {tag}"));
    town.demo.ams.store().push(repository, tag, &content);
    let (namespace, name) = repository.split_once('/').unwrap();
    let side = |endpoint: &str, registry: Option<&str>| json!({"registry_name": registry, "endpoint": endpoint, "namespace": namespace});
    let body = json!({"type": "REPLICATION", "event_data": {"replication": {
        "job_status": "Success", "src_resource": side("http://core:8080", None),
        "dest_resource": side(&town.demo.ams.url(), Some("ams at the other site")),
        "successful_artifact": [{"status": "Success", "name_tag": format!("{name} [1 item(s) in total]"), "references": [tag]}],
    }}});
    assert_eq!(replica.judged(seed::MISSING).await, "Fallback(fra) [Missing]", "nobody told");
    assert_eq!(replica.post(Some(FRA), "application/json", body.to_string()).await, 202);
    replica.until(seed::MISSING, "Local(ams) []").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_replica_is_told_the_others_know() {
    let town = Town::new(NO_SCAN).await;
    let others = [Arc::new(ArcSwap::default()), Arc::new(ArcSwap::default())];
    let told = town.replica_beside(others[0].clone(), Limits::hooks()).await;
    let other = town.replica_beside(others[1].clone(), Limits::hooks()).await;
    // Each knows the other: what was passed on must not come back.
    others[0].store(Arc::new(vec![other.address]));
    others[1].store(Arc::new(vec![told.address]));
    for replica in [&told, &other] {
        assert_eq!(replica.judged(seed::MISSING).await, "Fallback(fra) [Missing]");
    }
    with_policy(&town, &told, "CloudEvents").await;
    let Named { repository, tag } = seed::MISSING;
    town.demo.ams.store().push(repository, tag, &Content::image(&format!("{repository} {tag}")));
    other.until(seed::MISSING, "Local(ams) []").await;
    told.until(seed::MISSING, "Local(ams) []").await;
    let relayed = [("registry", "ams"), ("event", "Relayed")];
    assert!(other.metric("landfall_notifications_total", &relayed) >= 1.0);
    assert_eq!(told.metric("landfall_notifications_total", &relayed), 0.0, "it came back");
    assert_eq!(other.sum("landfall_notification_relays_total"), 0.0);

    // One that is gone is counted, and keeps nobody.
    others[0].store(Arc::new(vec![other.address, "127.0.0.1:1".parse().unwrap()]));
    let failed = || told.metric("landfall_notification_relays_total", &[("result", "Failed")]) >= 1.0;
    let body = pushed("production/x", &format!("sha256:{:064x}", 7), "v1");
    let told_again = async {
        // The list of replicas counts for some seconds.
        while !failed() {
            told.tell(&body).await;
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    };
    ends("a post fails", told_again).await;
}
