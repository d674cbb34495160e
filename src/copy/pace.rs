//! `--bandwidth`: so many bytes a second, of all blobs together.

use std::num::NonZeroU64;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// Lets bytes pass at a rate.
pub struct Pace {
    rate: Option<NonZeroU64>,
    /// When the bytes that have passed are paid for.
    paid: Mutex<Option<Instant>>,
}

impl Pace {
    /// At this rate, in bytes a second; `None`: without a limit.
    #[must_use]
    pub fn new(rate: Option<NonZeroU64>) -> Self {
        Self { rate, paid: Mutex::default() }
    }

    /// Waits until these bytes may pass.
    pub async fn pass(&self, bytes: usize) {
        let Some(rate) = self.rate else { return };
        let nanos =
            u128::try_from(bytes).unwrap_or(u128::MAX).saturating_mul(1_000_000_000) / u128::from(rate.get());
        let takes = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        let until = {
            let mut paid = self.paid.lock().unwrap_or_else(PoisonError::into_inner);
            let now = Instant::now();
            let until = paid.filter(|paid| *paid > now).unwrap_or(now) + takes;
            *paid = Some(until);
            until
        };
        sleep_until(until).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn two_streams_share_the_rate() {
        let (pace, start) = (Pace::new(NonZeroU64::new(1000)), Instant::now());
        tokio::join!(
            async {
                for _ in 0..10 {
                    pace.pass(500).await;
                }
            },
            async {
                for _ in 0..10 {
                    pace.pass(500).await;
                }
            }
        );
        assert_eq!(start.elapsed(), Duration::from_secs(10));
    }
}
