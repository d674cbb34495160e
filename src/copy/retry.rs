//! Tries again what may go well a moment later: so often, and with pauses that grow.

use std::time::Duration;

use tokio::time::sleep;

use super::failure::{Again, Failure};
use super::tell::{Event, Tell};

/// How often something is tried.
const ATTEMPTS: u32 = 6;

/// The first pause, and the longest that we choose ourselves.
const FIRST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(15);

/// The longest pause that a registry may ask for. Whoever wants more is asked again by the next run.
const ASKED: Duration = Duration::from_secs(300);

/// Runs it until it goes well, fails for good, or was tried often enough.
pub(super) async fn retried<T>(
    tell: Tell<'_>,
    mut attempt: impl AsyncFnMut() -> Result<T, Failure>,
) -> Result<T, Failure> {
    let mut grown = FIRST;
    for _ in 1..ATTEMPTS {
        let failure = match attempt().await {
            Ok(done) => return Ok(done),
            Err(failure) => failure,
        };
        let pause = match failure.again {
            Again::No => return Err(failure),
            Again::After(Some(asked)) if asked > ASKED => return Err(failure),
            // Not all at the same time again.
            Again::After(asked) => asked.unwrap_or_default().max(grown.mul_f64(0.5 + fastrand::f64() / 2.0)),
        };
        tell(Event::Retry { why: &failure.to_string(), pause });
        sleep(pause).await;
        grown = (grown * 2).min(LONGEST);
    }
    attempt().await
}
