//! The restart storm, whole: real processes, real TLS, a registry that cannot keep up. A minute each, both at once.
#![cfg(feature = "demo")]
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test says what is wrong by failing")]

#[path = "storm/blackhole.rs"]
mod blackhole;
#[path = "storm/cold.rs"]
mod cold;
#[path = "load/driver.rs"]
mod driver;
#[path = "load/open.rs"]
mod open;
#[path = "storm/plan.rs"]
mod plan;
#[path = "load/process.rs"]
mod process;
#[path = "load/review.rs"]
mod review;
#[path = "load/site.rs"]
mod site;
#[path = "storm/storm.rs"]
mod storm;

use std::time::Duration;

use landfall::domain::breaker::FIRST_PERIOD;

use crate::storm::{BUDGET, IN_FLIGHT, LANDFALLS, PACE, Seen, Storm};

/// Beyond the budget: a machine with other things to do. An API server waits for twice the budget.
const MARGIN: Duration = Duration::from_millis(2000);

/// What holds in every storm.
fn holds(seen: &Seen) {
    eprintln!("{seen}");
    assert_eq!(seen.pods.len(), plan::PODS);
    let slowest = *seen.latencies().last().unwrap();
    assert!(slowest < BUDGET + MARGIN, "{slowest:?}");
    assert!(seen.peak <= IN_FLIGHT * LANDFALLS, "{}", seen.peak);
    assert_eq!(seen.too_often(), []);
    // The registry was neither idle nor faster than it says.
    assert!(seen.busiest < f64::from(PACE) * 1.05, "{}", seen.busiest);
    assert!(seen.anonymous_kib < 64 * 1024, "{} KiB", seen.anonymous_kib);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "until health probes notice that a registry is down or silent"]
async fn every_pod_is_admitted_to_the_local_copy_while_the_registry_cannot_keep_up() {
    let seen = Storm::Slow.run().await.unwrap();
    holds(&seen);
    let fates = seen.fates();
    let known = ["Local Amsterdam", "Presumed Amsterdam"];
    assert!(fates.keys().all(|fate| known.contains(&&**fate)), "{fates:?}");
    assert_eq!(seen.last_denied(), None);
    assert!(seen.busiest > f64::from(PACE) * 0.8, "the registry was never busy: {}", seen.busiest);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_denies_only_while_the_local_registry_is_down() {
    const DOWN: Duration = Duration::from_secs(30);
    let seen = Storm::Down(DOWN).run().await.unwrap();
    holds(&seen);
    let fates = seen.fates();
    assert!(fates.keys().all(|fate| ["Local Amsterdam", "Denied"].contains(&&**fate)), "{fates:?}");
    let last = seen.last_denied().unwrap();
    // The period in force when it came back: each failed trial doubles it, so it is at most as long as the time
    // before it, and a quarter is the dice's.
    let mut period = FIRST_PERIOD;
    while period * 2 <= DOWN {
        period *= 2;
    }
    assert!(last < DOWN + period.mul_f64(1.25), "{last:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cold_storm_of_one_image_asks_once_for_each_aspect() {
    let seen = cold::run().await.unwrap();
    assert_eq!(seen.local, cold::PODS);
    assert_eq!(seen.asked.len(), cold::ASPECTS, "{:?}", seen.asked);
    assert!(seen.asked.values().all(|asked| *asked == 1), "{:?}", seen.asked);
    assert!(seen.slowest < BUDGET + MARGIN, "{:?}", seen.slowest);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "until health probes notice that a registry is down or silent"]
async fn no_pod_waits_for_a_silent_registry_beyond_the_budget_and_none_once_the_breaker_is_open() {
    let seen = blackhole::run().await.unwrap();
    let slowest = |latencies: &[Duration]| *latencies.last().unwrap();
    eprintln!("{:?}; {:?}; {:?}", slowest(&seen.warm), slowest(&seen.silent), slowest(&seen.open));
    assert!(slowest(&seen.silent) < BUDGET + MARGIN, "{:?}", seen.silent);
    // An attempt takes a second: nobody waited for one.
    assert!(slowest(&seen.open) < Duration::from_millis(900), "{:?}", seen.open);
}
