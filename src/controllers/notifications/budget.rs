//! How often notifications may outdate what is cached: those of one registry, and of one thing.
//!
//! Who may notify could otherwise name all that is cached, again and again, and no answer would ever be fresh. A scan of all
//! that a registry holds is within the bound, or waits for its turn.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::domain::name::RegistryName;
use crate::evidence::Scope;

/// The most invalidations at once.
const BURST: u32 = 1024;

/// The most invalidations a second in the long run.
const RATE: u32 = 64;

/// The least time between two invalidations of the same: Pods that come in between are judged by what was just learned.
const AGAIN: Duration = Duration::from_millis(1500);

/// From so many on, what is past is looked for and forgotten.
const REMEMBERED: usize = 4096;

/// When each thing was outdated last.
#[derive(Debug, Default)]
pub(super) struct Pace(HashMap<(RegistryName, Scope), Instant>);

impl Pace {
    /// Whether it may be outdated again. If so, it is taken for done.
    pub(super) fn may(&mut self, at: &RegistryName, scope: &Scope, now: Instant) -> bool {
        let is_past = |last: &Instant| now.saturating_duration_since(*last) >= AGAIN;
        if self.0.len() >= REMEMBERED {
            self.0.retain(|_, last| !is_past(last));
        }
        let key = (at.clone(), scope.clone());
        let may = self.0.get(&key).is_none_or(is_past);
        if may {
            self.0.insert(key, now);
        }
        may
    }
}

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

    /// Whether there is one.
    pub(super) fn has_one(&self) -> bool {
        self.left > 0
    }

    /// Takes one.
    pub(super) fn take(&mut self) {
        self.left = self.left.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::image::Repository;

    #[test]
    fn a_burst_and_then_a_rate() {
        let mut now = Instant::now();
        let mut budget = Budget::full(now);
        let taken = |budget: &mut Budget| {
            let take = |budget: &mut Budget| budget.has_one().then(|| budget.take());
            (0..5000).map_while(|_| take(budget)).count()
        };
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

    #[test]
    fn the_same_is_outdated_again_after_a_while_and_another_at_once() {
        let (mut pace, mut now, ams) = (Pace::default(), Instant::now(), RegistryName::new("ams"));
        let scope = |n: usize| Scope::Repository(Repository::new(format!("shop/{n}")));
        let mut times = 0;
        for _ in 0..300 {
            times += usize::from(pace.may(&ams, &scope(0), now));
            now += Duration::from_millis(200);
        }
        assert!((35..=40).contains(&times), "a minute: {times}");
        for n in 0..100_000 {
            now += Duration::from_millis(1);
            assert!(pace.may(&ams, &scope(n + 1000), now));
        }
        assert!(pace.0.len() <= REMEMBERED, "{}", pace.0.len());
    }
}
