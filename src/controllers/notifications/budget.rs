//! How often notifications of one registry may outdate what is cached.
//!
//! Who may notify could otherwise name all that is cached, again and again, and no answer would ever be fresh. A scan of all
//! that a registry holds is within the bound, or waits for its turn.

use tokio::time::Instant;

/// The most invalidations at once.
const BURST: u32 = 1024;

/// The most invalidations a second in the long run.
const RATE: u32 = 64;

/// How many invalidations of a registry are left.
#[derive(Debug)]
pub(super) struct Budget {
    left: u32,
    since: Instant,
}

impl Budget {
    /// One of which nothing was taken.
    pub(super) fn full(now: Instant) -> Self {
        Self { left: BURST, since: now }
    }

    /// Adds what was earned until now.
    pub(super) fn refill(&mut self, now: Instant) {
        let earned = now.saturating_duration_since(self.since).as_secs_f64() * f64::from(RATE);
        // Whole ones only, so that nothing is lost to rounding.
        let whole = earned.min(f64::from(BURST)).floor();
        if whole >= 1.0 {
            self.left = self.left.saturating_add(whole as u32).min(BURST);
            self.since = now;
        }
    }

    /// Takes one, if there is one.
    pub(super) fn take(&mut self) -> bool {
        let has = self.left > 0;
        self.left = self.left.saturating_sub(1);
        has
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_burst_and_then_a_rate() {
        let mut now = Instant::now();
        let mut budget = Budget::full(now);
        let taken = |budget: &mut Budget| (0..5000).filter(|_| budget.take()).count();
        assert_eq!(taken(&mut budget), 1024);
        let mut later = 0;
        for _ in 0..300 {
            now += Duration::from_millis(200);
            budget.refill(now);
            later += taken(&mut budget);
        }
        assert!((3500..=3840).contains(&later), "a minute of 64 a second: {later}");
        budget.refill(now + Duration::from_secs(3600));
        assert_eq!(taken(&mut budget), 1024);
    }
}
