//! `requestsPerHour` as a token bucket.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

const HOUR: Duration = Duration::from_secs(3600);

/// Allows at most so many requests in any period of an hour: half of them may come at once, the others are spread over the
/// hour. A bucket for the whole budget that is refilled meanwhile would allow nearly twice as many.
#[derive(Debug, Clone)]
pub(super) struct Meter {
    /// The time in which one more request is allowed.
    interval: Duration,
    /// How far ahead of that rate requests may be.
    lead: Duration,
    /// When the bucket will be full again. `None`: it is full.
    full: Option<Instant>,
}

impl Meter {
    pub fn new(per_hour: NonZeroU32) -> Self {
        let burst = per_hour.get().div_ceil(2);
        // Rounded up: a nanosecond less would be a request more.
        let interval = HOUR / (per_hour.get() - burst + 1) + Duration::from_nanos(1);
        Self { interval, lead: interval.saturating_mul(burst - 1), full: None }
    }

    /// Takes one request from the budget.
    ///
    /// # Errors
    /// It is spent. The time until the next request.
    pub fn take(&mut self, now: Instant) -> Result<(), Duration> {
        let full = self.full.filter(|full| *full > now).unwrap_or(now);
        let ahead = full.duration_since(now);
        if ahead > self.lead {
            return Err(ahead - self.lead);
        }
        self.full = Some(full + self.interval);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Asks at these times, whether it may or not, and says when it might.
    fn taken(meter: &mut Meter, start: Instant, pauses: &[Duration]) -> Vec<Instant> {
        let mut now = start;
        let mut taken = Vec::new();
        for pause in pauses {
            now += *pause;
            if meter.take(now).is_ok() {
                taken.push(now);
            }
        }
        taken
    }

    proptest! {
        #[test]
        fn no_hour_sees_more_than_its_budget(
            per_hour in 1_u32..200,
            pauses in prop::collection::vec((0_u64..120_000).prop_map(Duration::from_millis), 0..2000),
        ) {
            let mut meter = Meter::new(NonZeroU32::new(per_hour).unwrap());
            let taken = taken(&mut meter, Instant::now(), &pauses);
            for (first, begin) in taken.iter().enumerate() {
                let within = taken[first..].iter().take_while(|at| **at < *begin + HOUR).count();
                prop_assert!(within <= usize::try_from(per_hour).unwrap(), "{} of {}", within, per_hour);
            }
        }

        #[test]
        fn it_tells_when_the_next_may_come(per_hour in 1_u32..10_000, spend in 1_usize..200) {
            let mut meter = Meter::new(NonZeroU32::new(per_hour).unwrap());
            let mut now = Instant::now();
            for _ in 0..spend {
                while let Err(wait) = meter.take(now) {
                    prop_assert!(wait > Duration::ZERO && wait <= HOUR + Duration::from_nanos(1));
                    prop_assert!(meter.take(now + wait - Duration::from_nanos(1)).is_err());
                    now += wait;
                }
            }
        }
    }

    #[test]
    fn half_of_it_at_once_and_all_of_it_in_an_hour() {
        let mut meter = Meter::new(NonZeroU32::new(100).unwrap());
        let start = Instant::now();
        let at_once = taken(&mut meter, start, &[Duration::ZERO; 200]);
        assert_eq!(at_once.len(), 50);
        let rest = taken(&mut meter, start, &[Duration::from_secs(1); 3599]);
        assert_eq!(rest.len(), 50);
    }
}
