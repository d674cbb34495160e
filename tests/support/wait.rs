//! Waiting, without looking at a clock: for a state, and for what must end although nobody else ends it.
//!
//! No test asserts how long something took. [`PATIENCE`] only ends a test that would hang; whatever a test must not wait
//! for (a registry, a deadline) is set to [`HELD`], so that waiting for it is the same as hanging.

use std::time::Duration;

use tokio::time::{sleep, timeout};

/// A test that makes no progress for this long hangs.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Longer than any test may take.
pub const HELD: Duration = Duration::from_secs(3600);

/// Waits until this holds.
pub async fn until(what: &str, holds: impl Fn() -> bool) {
    let wait = async {
        while !holds() {
            sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("never: {what}"));
}

/// Fails where this does not end.
pub async fn ends<T>(what: &str, body: impl Future<Output = T>) -> T {
    timeout(PATIENCE, body).await.unwrap_or_else(|_| panic!("it does not end: {what}"))
}

/// Lets time pass without waiting. Sockets live in real time, so the clock runs again afterwards.
pub async fn later(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}
