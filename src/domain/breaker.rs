//! The circuit breaker: after enough failures in a row a registry is left alone for a while, then tried with few
//! attempts, then with more.
//!
//! ```text
//!            failures in a row = THRESHOLD, or silence         its period is over, and a probe was answered
//!   Closed ─────────────────────────────► Open(period) ─────────────────────────► HalfOpen
//!     ▲                                       ▲  one failure: the period doubles     │ 1, 2, 4 attempts at once
//!     │                                       └──────────────────────────────────────┤
//!     └───────────────────────── RECOVERY successes ─────────────────────────────────┘
//! ```
//!
//! Probes make the trial, so that no Pod has to: while somebody probes ([`hold`](Breaker::hold)), only an answered
//! probe leads out of Open. Where nobody does, the end of the period alone leads out.
//!
//! A pure state machine: the time and the dice are arguments.

use std::time::{Duration, Instant};

/// So many failures in a row open it.
pub const THRESHOLD: u32 = 5;
/// How long it stays open at first; each failed trial doubles that …
pub const FIRST_PERIOD: Duration = Duration::from_secs(1);
/// … up to this.
pub const LONGEST_PERIOD: Duration = Duration::from_secs(30);
/// So many successes while half-open close it.
pub const RECOVERY: u32 = 3;

/// How an attempt ended, as far as the registry's health goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Signal {
    /// It answered: a 404, a 401 and a 429 are answers.
    Success,
    /// It is down: refused, reset, no TLS, 5xx.
    Failure,
    /// This says neither.
    Neutral,
}

/// What the breaker does with attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// It lets all through.
    Closed,
    /// It lets none through.
    Open,
    /// It lets a few through, to see.
    HalfOpen,
}

/// An attempt that was let through; give it back with its outcome.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "an attempt that is never recorded holds its place while half-open"]
pub struct Pass {
    epoch: u64,
}

/// A circuit breaker.
#[derive(Debug, Clone)]
pub struct Breaker {
    state: State,
    /// Changes with each phase, so that what was let through in another phase does not count in this one.
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
        /// Until then a probe will tell, so that no attempt has to find out.
        held: Instant,
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
    /// The phase at this time.
    #[must_use]
    pub fn phase(&self, now: Instant) -> Phase {
        match self.state {
            State::Closed { .. } => Phase::Closed,
            State::Open { until, held, .. } if now < until.max(held) => Phase::Open,
            State::Open { .. } | State::HalfOpen { .. } => Phase::HalfOpen,
        }
    }

    /// Is the registry up, as far as attempts and probes tell? A trial that nobody has answered tells nothing.
    #[must_use]
    pub fn is_up(&self) -> bool {
        match self.state {
            State::Closed { .. } => true,
            State::Open { .. } => false,
            State::HalfOpen { successes, .. } => successes > 0,
        }
    }

    /// Lets an attempt through, or not.
    pub fn admit(&mut self, now: Instant) -> Option<Pass> {
        if let State::Open { until, period, held } = self.state
            && now >= until.max(held)
        {
            self.enter(State::HalfOpen { under_way: 0, successes: 0, period });
        }
        match &mut self.state {
            State::Closed { .. } => {}
            State::Open { .. } => return None,
            State::HalfOpen { under_way, successes, .. } => {
                if *under_way >= trials(*successes) {
                    return None;
                }
                *under_way += 1;
            }
        }
        Some(Pass { epoch: self.epoch })
    }

    /// Records how an attempt ended. `dice`, from 0 to 1, lengthens an open period by up to a quarter, so that many
    /// who saw the same failure do not come back at once.
    pub fn record(&mut self, pass: Pass, outcome: Signal, now: Instant, dice: f64) {
        if pass.epoch != self.epoch {
            return;
        }
        match (&mut self.state, outcome) {
            // Open lets nothing through, so nothing of its epoch comes back.
            (State::Open { .. }, _) | (State::Closed { .. }, Signal::Neutral) => {}
            (State::Closed { failures }, Signal::Success) => *failures = 0,
            (State::HalfOpen { under_way, .. }, Signal::Neutral) => *under_way -= 1,
            (State::HalfOpen { under_way, .. }, Signal::Success) => {
                *under_way -= 1;
                self.succeeded();
            }
            (State::Closed { .. } | State::HalfOpen { .. }, Signal::Failure) => self.failed(now, dice),
        }
    }

    /// A probe goes on, or will soon: until `then`, no attempt is let through to find out.
    pub fn hold(&mut self, then: Instant) {
        if let State::Open { held, .. } = &mut self.state {
            *held = (*held).max(then);
        }
    }

    /// A probe ended so. Its failures count as those of attempts do. Its answer opens the way for trials and counts as
    /// the first; it does not forgive the failures of attempts, for they asked for more than a probe does.
    pub fn probed(&mut self, outcome: Signal, now: Instant, dice: f64) {
        match (self.state, outcome) {
            (State::Open { until, period, .. }, Signal::Success) if now >= until => {
                self.enter(State::HalfOpen { under_way: 0, successes: 1, period });
            }
            (_, Signal::Neutral) | (State::Open { .. }, _) | (State::Closed { .. }, Signal::Success) => {}
            (State::HalfOpen { .. }, Signal::Success) => self.succeeded(),
            (State::Closed { .. } | State::HalfOpen { .. }, Signal::Failure) => self.failed(now, dice),
        }
    }

    /// Opens at once: it gives no answer at all, and every attempt more would cost somebody all the time that it has.
    pub fn trip(&mut self, now: Instant, dice: f64) {
        match self.state {
            State::Closed { .. } => self.open(FIRST_PERIOD, now, dice),
            State::HalfOpen { .. } => self.failed(now, dice),
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

    fn failed(&mut self, now: Instant, dice: f64) {
        match &mut self.state {
            State::Closed { failures } => {
                *failures += 1;
                if *failures >= THRESHOLD {
                    self.open(FIRST_PERIOD, now, dice);
                }
            }
            State::HalfOpen { period, .. } => {
                let doubled = period.saturating_mul(2).min(LONGEST_PERIOD);
                self.open(doubled, now, dice);
            }
            State::Open { .. } => {}
        }
    }

    fn open(&mut self, period: Duration, now: Instant, dice: f64) {
        let dice = if dice.is_nan() { 0.0 } else { dice.clamp(0.0, 1.0) };
        let until = now + period.mul_f64(1.0 + dice / 4.0);
        self.enter(State::Open { until, period, held: now });
    }

    fn enter(&mut self, state: State) {
        self.state = state;
        self.epoch += 1;
    }
}

/// How many attempts may be under way after so many successes: a registry that just came back gets no herd.
fn trials(successes: u32) -> u32 {
    1 << successes.min(RECOVERY)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What may happen to a breaker.
    #[derive(Debug, Clone, Copy)]
    enum Event {
        Admit,
        /// The attempt that began first (0), or later, ends so.
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

    /// Lets it happen.
    fn happen(event: Event, breaker: &mut Breaker, now: &mut Instant, passes: &mut Vec<Pass>, dice: f64) {
        match event {
            Event::Admit => passes.extend(breaker.admit(*now)),
            Event::End(which, outcome) if which < passes.len() => {
                breaker.record(passes.remove(which), outcome, *now, dice);
            }
            Event::End(..) => {}
            Event::Wait(time) => *now += time,
            Event::Probe(outcome) => breaker.probed(outcome, *now, dice),
            Event::Hold(time) => breaker.hold(*now + time),
            Event::Trip => breaker.trip(*now, dice),
        }
    }

    /// A breaker in whatever state the events lead to, the time then, and the attempts under way.
    fn after(events: &[Event], dice: f64) -> (Breaker, Instant, Vec<Pass>) {
        let (mut breaker, mut now, mut passes) = (Breaker::default(), Instant::now(), Vec::new());
        for event in events {
            happen(*event, &mut breaker, &mut now, &mut passes, dice);
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
        // Failed probes lengthen nothing: the first that is answered leads out.
        let back = now + second * 60;
        breaker.probed(Signal::Success, back, 0.5);
        assert!(breaker.is_up());
        let two = [breaker.admit(back).unwrap(), breaker.admit(back).unwrap()];
        assert!(breaker.admit(back).is_none(), "the probe was the first trial, two attempts are the next");
        for pass in two {
            breaker.record(pass, Signal::Success, back, 0.5);
        }
        assert_eq!(breaker.phase(back), Phase::Closed);
        // A prober that fell silent itself holds nobody up.
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
            outcomes in prop::collection::vec(outcome(), 0..200), dice in 0.0..=1.0,
        ) {
            let (mut breaker, now, mut row) = (Breaker::default(), Instant::now(), 0);
            for outcome in outcomes {
                row = match outcome {
                    Signal::Success => 0,
                    Signal::Failure => row + 1,
                    Signal::Neutral => row,
                };
                let pass = breaker.admit(now).unwrap();
                breaker.record(pass, outcome, now, dice);
                prop_assert_eq!(breaker.phase(now) == Phase::Closed, row < THRESHOLD);
                if row >= THRESHOLD {
                    break;
                }
            }
        }

        #[test]
        fn always_leaves_open_after_its_period(
            events in prop::collection::vec(event(), 0..200), dice in -1.0..=2.0,
        ) {
            let (mut breaker, now, _) = after(&events, dice);
            let later = now + LONGEST_PERIOD.mul_f64(1.25);
            prop_assert_ne!(breaker.phase(later), Phase::Open);
            if breaker.phase(now) == Phase::Open {
                prop_assert!(breaker.admit(later).is_some());
            }
        }

        #[test]
        fn a_run_of_successes_always_closes(
            events in prop::collection::vec(event(), 0..200), dice in 0.0..=1.0,
        ) {
            let (mut breaker, now, passes) = after(&events, dice);
            let later = now + LONGEST_PERIOD.mul_f64(1.25);
            for pass in passes {
                breaker.record(pass, Signal::Success, later, dice);
            }
            for _ in 0..RECOVERY {
                attempt(&mut breaker, later, Signal::Success);
            }
            prop_assert_eq!(breaker.phase(later), Phase::Closed);
        }

        #[test]
        fn never_lets_more_through_than_its_trials(
            events in prop::collection::vec(event(), 0..200), dice in 0.0..=1.0,
        ) {
            let now = Instant::now();
            let mut breaker = opened(now);
            let mut now = now + LONGEST_PERIOD;
            let mut passes: Vec<Pass> = Vec::new();
            for event in events {
                happen(event, &mut breaker, &mut now, &mut passes, dice);
                if let State::HalfOpen { under_way, successes, .. } = breaker.state {
                    let ours = passes.iter().filter(|pass| pass.epoch == breaker.epoch).count();
                    prop_assert_eq!(ours, usize::try_from(under_way).unwrap());
                    // A trial may fail to grow, never the other way: at most as many as the last successes earned.
                    prop_assert!(ours <= 1 << successes.min(RECOVERY));
                }
            }
        }
    }
}
