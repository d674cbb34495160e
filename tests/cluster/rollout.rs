//! Replicas that come and go under load, at 60 % of the rate of new Pods that this machine reaches in the same run.
//!
//! `LANDFALL_FULL=1` replaces them for a minute, where otherwise once is enough.

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::load::{Counted, Load};
use crate::plane::{Apart, until};
use crate::release::Release;

/// The share of the highest rate.
pub const SHARE: f64 = 0.6;

/// How long replicas are replaced at least.
fn at_least() -> Duration {
    Duration::from_secs(if std::env::var_os("LANDFALL_FULL").is_some() { 60 } else { 1 })
}

/// Waits until a replica, which is ready, says that all is well. While others have the machine, its first probes may find
/// registries slow.
async fn until_well(release: &Release, name: &str, pod: &Value) {
    let patience = Instant::now() + Duration::from_secs(120);
    loop {
        let (status, page) = release.admin(pod, "/readyz?verbose").await;
        assert_eq!(status, 200, "{name}: {page}");
        if !page.contains("[!]") {
            return;
        }
        assert!(Instant::now() < patience, "{name}: {page}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// One replica dies under load without a word, and is there again. How many Pods at the most were on their way.
pub fn one_dies(release: &Release, load: &Load) -> usize {
    until("the load is on", || (load.so_far().made > 200).then_some(()));
    let replicas = release.replicas();
    let (victim, _) = replicas.iter().next().unwrap();
    let process = release.plane.containers.lock().unwrap()[victim].to_string();
    let on_their_way = load.on_their_way_when(|| {
        assert!(Command::new("kill").args(["-KILL", &process]).status().unwrap().success());
    });
    until("its container was restarted", || {
        let pod = release.replicas().remove(victim).unwrap();
        let status = &pod["status"]["containerStatuses"][0];
        (status["restartCount"] == 1 && status["ready"] == true).then_some(())
    });
    let after = load.so_far().made;
    until("the load goes on", || (load.so_far().made > after + 200).then_some(()));
    on_their_way
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollout_under_load_fails_no_call_and_a_death_no_more_than_it_must() {
    let apart = Apart::start();
    let plane = apart.0;
    let release = Release::install(plane, "rollout", &[]).await;
    for (name, pod) in release.replicas() {
        until_well(&release, &name, &pod).await;
    }
    let highest = Load::highest(plane, &release.pods, 5).await;

    let before = Counted::so_far(plane);
    let load = Load::start(plane, &release.pods, highest * SHARE).await;
    let (began, mut rollouts) = (Instant::now(), 0);
    while began.elapsed() < at_least() {
        plane.told(&["rollout", "restart", "deployment/rollout", "-n", "rollout"]);
        release.until_rolled_out();
        // Those that leave serve on until they are gone.
        until("the old Pods are gone", || (release.replicas().len() == 3).then_some(()));
        rollouts += 1;
    }
    let outcome = load.stop().await;
    let counted = Counted::since(plane, &before);
    println!(
        "{rollouts} rollouts at {:.0} of {highest:.0} Pods a second: {outcome:?}, {counted:?}",
        outcome.rate()
    );
    assert!(outcome.missed == 0 && counted.is_clean(), "{outcome:?}, {counted:?}");
    assert!(counted.called >= outcome.made as u64, "{counted:?}");
    // Much slower than it was told to be, it would not be this load.
    assert!(outcome.rate() > highest * SHARE / 2.0, "{outcome:?}");

    // One dies without a word.
    let log = plane.said("kube-apiserver").len();
    let load = Load::start(plane, &release.pods, highest * SHARE).await;
    let on_their_way = one_dies(&release, &load);
    let outcome = load.stop().await;
    // A call fails because it was in the hands of the dead; or because it was never made: until the API server is told of
    // the endpoints, some of its new connections go where nobody listens. There is nothing else that may fail.
    let said = plane.said("kube-apiserver");
    let failed = said[log..].lines().filter(|line| line.contains("Failed calling webhook, failing open"));
    let (refused, lost): (Vec<_>, Vec<_>) = failed.partition(|line| line.contains("connection refused"));
    println!(
        "kill -9 with {on_their_way} on their way: {} lost, {} refused, {outcome:?}",
        lost.len(),
        refused.len()
    );
    assert_eq!(outcome.missed, lost.len() + refused.len());
    assert!(lost.len() <= on_their_way, "{on_their_way} were on their way: {lost:#?}");
    // As Go says it, by the moment at which the connection ended: before a call was written to it, meanwhile, afterwards.
    let died = |line: &&str| {
        ["server closed idle connection", "broken pipe", "connection reset by peer", "EOF"]
            .iter()
            .any(|how| line.contains(how))
    };
    assert!(lost.iter().all(died), "{lost:#?}");
}
