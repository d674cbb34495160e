//! The circuit breaker. After enough failures in a row it sends no attempts to a registry for a while. Then it lets
//! a few attempts through, and more after each success.
//!
//! ```text
//!            failures in a row = THRESHOLD, or `trip`          its period is over, and a probe was answered
//!   Closed ─────────────────────────────► Open(period) ─────────────────────────► HalfOpen
//!     ▲                                       ▲  one failure: the period doubles     │ 1, 2, 4 attempts at once
//!     │                                       └──────────────────────────────────────┤
//!     └───────────────────────── RECOVERY successes ─────────────────────────────────┘
//! ```
//!
//! A probe makes the first trial, so that no Pod has to wait for it: while a prober is at work
//! ([`hold`](Breaker::hold)), only an answered probe ends Open. Without a prober the end of the period ends it.
//!
//! The breaker is a pure state machine: the time and the random jitter are arguments.
//!
//! ```
//! # use std::time::{Duration, Instant};
//! use landfall::facade::domain::breaker::{Breaker, FIRST_PERIOD, Phase, Signal, THRESHOLD};
//!
//! let (mut breaker, now) = (Breaker::default(), Instant::now());
//! for _ in 0..THRESHOLD {
//!     let pass = breaker.admit(now).expect("a closed breaker admits every attempt");
//!     breaker.record(pass, Signal::Failure, now, 0.0);
//! }
//! assert!(breaker.admit(now).is_none(), "it is open: do not ask the registry");
//! assert_eq!(breaker.phase(now + FIRST_PERIOD), Phase::HalfOpen);
//! ```

use std::time::{Duration, Instant};

/// The number of failures in a row that opens the breaker.
pub const THRESHOLD: u32 = 5;
/// How long the breaker stays open the first time. Each failed trial doubles the period.
pub const FIRST_PERIOD: Duration = Duration::from_secs(1);
/// The longest period that the breaker stays open.
pub const LONGEST_PERIOD: Duration = Duration::from_secs(30);
/// The number of successes while half-open that closes the breaker.
pub const RECOVERY: u32 = 3;

/// What the end of an attempt says about the registry's health.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Signal {
    /// The registry answered. A 404, a 401 and a 429 are answers too.
    Success,
    /// The registry is down: connection refused or reset, TLS failed, 5xx.
    Failure,
    /// The attempt says nothing about the registry's health.
    Neutral,
}

/// What the breaker does with attempts. The stricter phase is the greater one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Phase {
    /// Every attempt is admitted.
    Closed,
    /// A few attempts are admitted, to test the registry.
    HalfOpen,
    /// No attempt is admitted.
    Open,
}

/// The permission for one attempt. Return it with the outcome by [`Breaker::record`].
#[derive(Debug, PartialEq, Eq)]
#[must_use = "an attempt that is never recorded keeps its slot while half-open"]
pub struct Pass {
    epoch: u64,
}

/// A circuit breaker for one registry. See the [module](self) for an example.
#[derive(Debug, Clone)]
pub struct Breaker {
    state: State,
    /// Grows with each change of phase, so that an attempt of an earlier phase does not count in this one.
    epoch: u64,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Closed {
        failures: u32,
    },
    Open {
        until: Instant,
        period: Duration,
        /// Until then a probe will test the registry, so no attempt is admitted.
        probing_until: Instant,
    },
    HalfOpen {
        under_way: u32,
        successes: u32,
        period: Duration,
    },
}

impl Default for Breaker {
    fn default() -> Self {
        Self { state: State::Closed { failures: 0 }, epoch: 0 }
    }
}

impl Breaker {
    /// Returns the phase at `now`.
    #[must_use]
    pub fn phase(&self, now: Instant) -> Phase {
        match self.state {
            State::Closed { .. } => Phase::Closed,
            State::Open { until, probing_until, .. } if now < until.max(probing_until) => Phase::Open,
            State::Open { .. } | State::HalfOpen { .. } => Phase::HalfOpen,
        }
    }

    /// Whether the registry is up, judged by its attempts and probes. A trial without an answer yet does not count.
    #[must_use]
    pub fn is_up(&self) -> bool {
        match self.state {
            State::Closed { .. } => true,
            State::Open { .. } => false,
            State::HalfOpen { successes, .. } => successes > 0,
        }
    }

    /// Admits an attempt; `None` while the breaker is open, or enough trials are under way.
    pub fn admit(&mut self, now: Instant) -> Option<Pass> {
        if let State::Open { until, period, probing_until } = self.state
            && now >= until.max(probing_until)
        {
            self.enter(State::HalfOpen { under_way: 0, successes: 0, period });
        }
        match &mut self.state {
            State::Closed { .. } => {}
            State::Open { .. } => return None,
            State::HalfOpen { under_way, successes, .. } => {
                if *under_way >= allowed_trials(*successes) {
                    return None;
                }
                *under_way += 1;
            }
        }
        Some(Pass { epoch: self.epoch })
    }

    /// Records how an attempt ended. `jitter`, from 0 to 1, lengthens an open period by up to a quarter, so that many
    /// replicas that saw the same failure do not try again at the same moment.
    pub fn record(&mut self, pass: Pass, outcome: Signal, now: Instant, jitter: f64) {
        if pass.epoch != self.epoch {
            return;
        }
        match (&mut self.state, outcome) {
            // While Open no attempt is admitted, so no attempt of this epoch can end.
            (State::Open { .. }, _) | (State::Closed { .. }, Signal::Neutral) => {}
            (State::Closed { failures }, Signal::Success) => *failures = 0,
            (State::HalfOpen { under_way, .. }, Signal::Neutral) => *under_way -= 1,
            (State::HalfOpen { under_way, .. }, Signal::Success) => {
                *under_way -= 1;
                self.succeeded();
            }
            (State::Closed { .. } | State::HalfOpen { .. }, Signal::Failure) => self.failed(now, jitter),
        }
    }

    /// Says that a probe is under way or will start soon: until `then`, an open breaker admits no trial attempt.
    pub fn hold(&mut self, then: Instant) {
        if let State::Open { probing_until, .. } = &mut self.state {
            *probing_until = (*probing_until).max(then);
        }
    }

    /// Records how a probe ended. A failure counts like that of an attempt. A success ends Open and counts as the first
    /// success. It does not reset the failures of attempts, because attempts ask for more than a probe does.
    pub fn probed(&mut self, outcome: Signal, now: Instant, jitter: f64) {
        match (self.state, outcome) {
            (State::Open { until, period, .. }, Signal::Success) if now >= until => {
                self.enter(State::HalfOpen { under_way: 0, successes: 1, period });
            }
            (_, Signal::Neutral) | (State::Open { .. }, _) | (State::Closed { .. }, Signal::Success) => {}
            (State::HalfOpen { .. }, Signal::Success) => self.succeeded(),
            (State::Closed { .. } | State::HalfOpen { .. }, Signal::Failure) => self.failed(now, jitter),
        }
    }

    /// Opens at once. Use it when the registry gives no answer at all: each further attempt would use up the whole
    /// deadline of a request.
    pub fn trip(&mut self, now: Instant, jitter: f64) {
        match self.state {
            State::Closed { .. } => self.open(FIRST_PERIOD, now, jitter),
            State::HalfOpen { .. } => self.failed(now, jitter),
            State::Open { .. } => {}
        }
    }

    fn succeeded(&mut self) {
        if let State::HalfOpen { successes, .. } = &mut self.state {
            *successes += 1;
            if *successes >= RECOVERY {
                self.enter(State::Closed { failures: 0 });
            }
        }
    }

    fn failed(&mut self, now: Instant, jitter: f64) {
        match &mut self.state {
            State::Closed { failures } => {
                *failures += 1;
                if *failures >= THRESHOLD {
                    self.open(FIRST_PERIOD, now, jitter);
                }
            }
            State::HalfOpen { period, .. } => {
                let doubled = period.saturating_mul(2).min(LONGEST_PERIOD);
                self.open(doubled, now, jitter);
            }
            State::Open { .. } => {}
        }
    }

    fn open(&mut self, period: Duration, now: Instant, jitter: f64) {
        let jitter = if jitter.is_nan() { 0.0 } else { jitter.clamp(0.0, 1.0) };
        let until = now + period.mul_f64(1.0 + jitter / 4.0);
        self.enter(State::Open { until, period, probing_until: now });
    }

    fn enter(&mut self, state: State) {
        self.state = state;
        self.epoch += 1;
    }
}

/// How many attempts may be under way after this many successes. The number grows slowly, so that a registry that just
/// came back is not overloaded at once.
fn allowed_trials(successes: u32) -> u32 {
    1 << successes.min(RECOVERY)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// An event in the life of a breaker.
    #[derive(Debug, Clone, Copy)]
    enum Event {
        Admit,
        /// The attempt with this index, oldest first, ends with this signal.
        End(usize, Signal),
        Wait(Duration),
        Probe(Signal),
        Hold(Duration),
        Trip,
    }

    fn outcome() -> impl Strategy<Value = Signal> {
        prop_oneof![Just(Signal::Success), Just(Signal::Failure), Just(Signal::Neutral)]
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            4 => Just(Event::Admit),
            4 => (0_usize..4, outcome()).prop_map(|(which, outcome)| Event::End(which, outcome)),
            1 => (0_u64..40_000).prop_map(|millis| Event::Wait(Duration::from_millis(millis))),
            1 => outcome().prop_map(Event::Probe),
            1 => (0_u64..10_000).prop_map(|millis| Event::Hold(Duration::from_millis(millis))),
            1 => Just(Event::Trip),
        ]
    }

    fn apply(event: Event, breaker: &mut Breaker, now: &mut Instant, passes: &mut Vec<Pass>, jitter: f64) {
        match event {
            Event::Admit => passes.extend(breaker.admit(*now)),
            Event::End(which, outcome) if which < passes.len() => {
                breaker.record(passes.remove(which), outcome, *now, jitter);
            }
            Event::End(..) => {}
            Event::Wait(time) => *now += time,
            Event::Probe(outcome) => breaker.probed(outcome, *now, jitter),
            Event::Hold(time) => breaker.hold(*now + time),
            Event::Trip => breaker.trip(*now, jitter),
        }
    }

    /// The breaker after these events, the time, and the attempts under way.
    fn after(events: &[Event], jitter: f64) -> (Breaker, Instant, Vec<Pass>) {
        let (mut breaker, mut now, mut passes) = (Breaker::default(), Instant::now(), Vec::new());
        for event in events {
            apply(*event, &mut breaker, &mut now, &mut passes, jitter);
        }
        (breaker, now, passes)
    }

    fn attempt(breaker: &mut Breaker, now: Instant, outcome: Signal) {
        let pass = breaker.admit(now).unwrap();
        breaker.record(pass, outcome, now, 0.5);
    }

    fn opened(now: Instant) -> Breaker {
        let mut breaker = Breaker::default();
        for _ in 0..THRESHOLD {
            attempt(&mut breaker, now, Signal::Failure);
        }
        assert_eq!(breaker.phase(now), Phase::Open);
        breaker
    }

    #[test]
    fn periods_double_to_a_bound_and_start_anew_after_recovery() {
        let mut now = Instant::now();
        let mut breaker = opened(now);
        for seconds in [1, 2, 4, 8, 16, 30, 30] {
            let period = Duration::from_secs(seconds);
            assert!(breaker.admit(now + period - Duration::from_millis(1)).is_none());
            now += period.mul_f64(1.125);
            attempt(&mut breaker, now, Signal::Failure);
            assert_eq!(breaker.phase(now), Phase::Open);
        }
        now += LONGEST_PERIOD * 2;
        for _ in 0..RECOVERY {
            attempt(&mut breaker, now, Signal::Success);
        }
        assert_eq!(breaker.phase(now), Phase::Closed);
        for _ in 0..THRESHOLD {
            attempt(&mut breaker, now, Signal::Failure);
        }
        assert_eq!(breaker.phase(now + FIRST_PERIOD * 2), Phase::HalfOpen);
    }

    #[test]
    fn trials_grow_with_success_and_silence_gives_its_place_back() {
        let now = Instant::now();
        let mut breaker = opened(now);
        let later = now + FIRST_PERIOD * 2;
        let first = breaker.admit(later).unwrap();
        assert!(breaker.admit(later).is_none());
        breaker.record(first, Signal::Neutral, later, 0.0);
        assert_eq!(breaker.phase(later), Phase::HalfOpen);
        let first = breaker.admit(later).unwrap();
        breaker.record(first, Signal::Success, later, 0.0);
        let two = [breaker.admit(later).unwrap(), breaker.admit(later).unwrap()];
        assert!(breaker.admit(later).is_none());
        for pass in two {
            breaker.record(pass, Signal::Success, later, 0.0);
        }
        assert_eq!(breaker.phase(later), Phase::Closed);
    }

    #[test]
    fn while_somebody_probes_no_attempt_is_the_trial() {
        let now = Instant::now();
        let second = Duration::from_secs(1);
        let mut breaker = opened(now);
        for after in 0..60 {
            let now = now + second * after;
            breaker.hold(now + second * 8);
            breaker.probed(Signal::Failure, now, 0.5);
            assert!(breaker.admit(now).is_none() && !breaker.is_up(), "{after}");
        }
        // Failed probes do not lengthen the period: the first answered probe ends it.
        let back = now + second * 60;
        breaker.probed(Signal::Success, back, 0.5);
        assert!(breaker.is_up());
        let two = [breaker.admit(back).unwrap(), breaker.admit(back).unwrap()];
        assert!(breaker.admit(back).is_none(), "the probe was the first trial, two attempts are the next");
        for pass in two {
            breaker.record(pass, Signal::Success, back, 0.5);
        }
        assert_eq!(breaker.phase(back), Phase::Closed);
        // A prober that stopped does not keep the breaker open.
        breaker.trip(back, 0.5);
        breaker.hold(back + second * 8);
        assert_eq!(breaker.phase(back + second * 7), Phase::Open);
        assert!(breaker.admit(back + second * 8).is_some());
        assert!(!breaker.is_up(), "that trial is not answered yet");
    }

    #[test]
    fn a_probe_that_is_answered_does_not_shorten_what_attempts_earned() {
        let mut now = Instant::now();
        let mut breaker = opened(now);
        for seconds in [1, 2, 4, 8] {
            let period = Duration::from_secs(seconds);
            breaker.probed(Signal::Success, now + period / 2, 0.0);
            assert_eq!(breaker.phase(now + period / 2), Phase::Open);
            now += period.mul_f64(1.25);
            breaker.probed(Signal::Success, now, 0.5);
            attempt(&mut breaker, now, Signal::Failure);
        }
    }

    #[test]
    fn probes_open_it_by_failures_in_a_row_and_by_silence_at_once() {
        let now = Instant::now();
        let mut breaker = Breaker::default();
        for _ in 1..THRESHOLD {
            breaker.probed(Signal::Failure, now, 0.0);
        }
        breaker.probed(Signal::Success, now, 0.0);
        assert_eq!(breaker.phase(now), Phase::Closed);
        breaker.probed(Signal::Failure, now, 0.0);
        assert_eq!(breaker.phase(now), Phase::Open);
        let mut breaker = Breaker::default();
        breaker.trip(now, 0.0);
        assert_eq!(breaker.phase(now), Phase::Open);
    }

    #[test]
    fn what_began_in_another_phase_does_not_count() {
        let now = Instant::now();
        let mut breaker = Breaker::default();
        let (early, late) = (breaker.admit(now).unwrap(), breaker.admit(now).unwrap());
        for _ in 0..THRESHOLD {
            attempt(&mut breaker, now, Signal::Failure);
        }
        breaker.record(early, Signal::Success, now, 0.0);
        assert_eq!(breaker.phase(now), Phase::Open);
        let later = now + FIRST_PERIOD * 2;
        let trial = breaker.admit(later).unwrap();
        breaker.record(late, Signal::Failure, later, 0.0);
        assert_eq!(breaker.phase(later), Phase::HalfOpen);
        breaker.record(trial, Signal::Success, later, 0.0);
    }

    proptest! {
        #[test]
        fn never_opens_below_the_threshold(
            outcomes in prop::collection::vec(outcome(), 0..200), jitter in 0.0..=1.0,
        ) {
            let (mut breaker, now, mut row) = (Breaker::default(), Instant::now(), 0);
            for outcome in outcomes {
                row = match outcome {
                    Signal::Success => 0,
                    Signal::Failure => row + 1,
                    Signal::Neutral => row,
                };
                let pass = breaker.admit(now).unwrap();
                breaker.record(pass, outcome, now, jitter);
                prop_assert_eq!(breaker.phase(now) == Phase::Closed, row < THRESHOLD);
                if row >= THRESHOLD {
                    break;
                }
            }
        }

        #[test]
        fn always_leaves_open_after_its_period(
            events in prop::collection::vec(event(), 0..200), jitter in -1.0..=2.0,
        ) {
            let (mut breaker, now, _) = after(&events, jitter);
            let later = now + LONGEST_PERIOD.mul_f64(1.25);
            prop_assert_ne!(breaker.phase(later), Phase::Open);
            if breaker.phase(now) == Phase::Open {
                prop_assert!(breaker.admit(later).is_some());
            }
        }

        #[test]
        fn a_run_of_successes_always_closes(
            events in prop::collection::vec(event(), 0..200), jitter in 0.0..=1.0,
        ) {
            let (mut breaker, now, passes) = after(&events, jitter);
            let later = now + LONGEST_PERIOD.mul_f64(1.25);
            for pass in passes {
                breaker.record(pass, Signal::Success, later, jitter);
            }
            for _ in 0..RECOVERY {
                attempt(&mut breaker, later, Signal::Success);
            }
            prop_assert_eq!(breaker.phase(later), Phase::Closed);
        }

        #[test]
        fn never_lets_more_through_than_its_trials(
            events in prop::collection::vec(event(), 0..200), jitter in 0.0..=1.0,
        ) {
            let now = Instant::now();
            let mut breaker = opened(now);
            let mut now = now + LONGEST_PERIOD;
            let mut passes: Vec<Pass> = Vec::new();
            for event in events {
                apply(event, &mut breaker, &mut now, &mut passes, jitter);
                if let State::HalfOpen { under_way, successes, .. } = breaker.state {
                    let ours = passes.iter().filter(|pass| pass.epoch == breaker.epoch).count();
                    prop_assert_eq!(ours, usize::try_from(under_way).unwrap());
                    // There may be fewer trials than the successes allow, never more.
                    prop_assert!(ours <= 1 << successes.min(RECOVERY));
                }
            }
        }
    }
}
