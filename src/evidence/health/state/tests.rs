//! The state machine of health. The time is an argument.

use proptest::prelude::*;

use super::*;
use strum::VariantArray;

const SECOND: Duration = Duration::from_secs(1);
const MILLI: Duration = Duration::from_millis(1);

fn unknown(cause: Cause) -> Unknown {
    Unknown::new(cause, "a test")
}

fn found(health: Health) -> Found {
    Found { health, detail: "a test".into(), took: MILLI, unknown: None }
}

/// An attempt that ends at once with this cause. `None`: it is not allowed.
fn attempt(state: &mut HealthState, now: Instant, cause: Option<Cause>) -> Option<bool> {
    let pass = state.admit(now).ok()?;
    Some(state.record(pass, cause.map(unknown).as_ref(), now, 0.5))
}

#[test]
fn some_silences_in_a_row_call_for_a_probe_and_an_answer_between_them_does_not() {
    let (mut state, now) = (HealthState::default(), Instant::now());
    let silence = |state: &mut HealthState| attempt(state, now, Some(Cause::Deadline));
    assert_eq!(silence(&mut state), Some(false));
    assert_eq!(silence(&mut state), Some(false));
    assert_eq!(attempt(&mut state, now, None), Some(false));
    assert_eq!(silence(&mut state), Some(false));
    assert_eq!(silence(&mut state), Some(false));
    assert_eq!(silence(&mut state), Some(true));
    assert_eq!(state.phase(now), Phase::Closed, "silence alone closes nothing");
    assert_eq!(state.reachability(now), Reachability::Up);
}

/// Our own shutdown or bug says nothing of the registry.
#[test]
fn what_failed_inside_us_counts_for_nothing() {
    let (mut state, now) = (HealthState::default(), Instant::now());
    for _ in 0..20 {
        assert_eq!(attempt(&mut state, now, Some(Cause::Internal)), Some(false));
    }
    assert_eq!((state.phase(now), state.reachability(now)), (Phase::Closed, Reachability::Up));
}

#[test]
fn a_silent_probe_opens_at_once_and_an_answered_one_leads_out() {
    let (mut state, ended) = (HealthState::default(), Instant::now());
    state.learn(found(Health::Unresponsive), ended, 0.0);
    assert_eq!((state.phase(ended), state.probed().health), (Phase::Open, Health::Unresponsive));
    assert_eq!(state.reachability(ended), Reachability::Down);
    assert_eq!(state.limit(ended + 7 * SECOND), Some(Limit::BreakerOpen), "the next probe tells, no Pod");

    let back = ended + 2 * SECOND;
    state.learn(found(Health::Up), back, 0.0);
    assert_eq!((state.phase(back), state.reachability(back)), (Phase::HalfOpen, Reachability::Up));
}

#[test]
fn whatever_answers_leads_out_of_an_open_breaker() {
    for health in [Health::Up, Health::Slow, Health::BadCredentials, Health::NotARegistry] {
        let (mut state, now) = (HealthState::default(), Instant::now());
        for _ in 0..5 {
            attempt(&mut state, now, Some(Cause::ServerError));
        }
        assert_eq!(state.limit(now), Some(Limit::BreakerOpen));
        let later = now + 2 * SECOND;
        state.hold(later);
        state.learn(found(health), later, 0.0);
        assert_eq!(state.limit(later), None, "{health:?}");
        assert_eq!(attempt(&mut state, later, None), Some(false), "{health:?}");
    }
}

#[test]
fn one_failed_probe_is_down_and_an_answer_after_it_is_up() {
    for health in [Health::Down, Health::DatabaseDown] {
        let (mut state, now) = (HealthState::default(), Instant::now());
        state.learn(found(health), now, 0.0);
        assert_eq!((state.phase(now), state.reachability(now)), (Phase::Closed, Reachability::Down));
        assert!(state.rest(None, now, 1.0) < 2 * SECOND);
        attempt(&mut state, now + MILLI, Some(Cause::Connect));
        assert_eq!(state.reachability(now + MILLI), Reachability::Down);
        attempt(&mut state, now + MILLI, None);
        assert_eq!(state.reachability(now + MILLI), Reachability::Up);
    }
    for health in [Health::Unprobed, Health::Up, Health::Slow, Health::BadCredentials, Health::NotARegistry] {
        let (mut state, now) = (HealthState::default(), Instant::now());
        state.learn(found(health), now, 0.0);
        assert_eq!(state.reachability(now), Reachability::Up, "{health:?}");
        assert!(state.rest(None, now, 0.0) > 7 * SECOND);
    }
}

#[test]
fn a_wish_is_kept_up_to_its_bound_and_a_shorter_one_does_not_shorten_it() {
    let (mut state, now) = (HealthState::default(), Instant::now());
    let late = state.admit(now).unwrap();
    let limited = |seconds| Cause::RateLimited { retry_after: Some(Duration::from_secs(seconds)) };
    assert_eq!(attempt(&mut state, now, Some(limited(60))), Some(true), "the prober keeps to it, too");
    state.record(late, Some(&unknown(limited(5))), now + SECOND, 0.0);
    let Some(Limit::Paused(left)) = state.limit(now + 59 * SECOND) else { panic!("not paused") };
    assert_eq!(left.cause, limited(1));
    assert_eq!(state.reachability(now), Reachability::Up, "nodes may be served");
    assert!(state.rest(None, now, 0.0) >= 60 * SECOND);
    assert_eq!(state.limit(now + 60 * SECOND), None);

    let now = now + 60 * SECOND;
    attempt(&mut state, now, Some(limited(1_000_000)));
    assert!(state.limit(now + LONGEST_PAUSE - MILLI).is_some());
    assert_eq!(state.limit(now + LONGEST_PAUSE), None);
}

#[test]
fn a_wishless_429_backs_off_and_an_answer_ends_that() {
    let (mut state, mut now) = (HealthState::default(), Instant::now());
    let wishless = Some(Cause::RateLimited { retry_after: None });
    for seconds in [1, 2, 4, 8, 16, 30, 30] {
        // Sixteen attempts that were in progress together got one refusal.
        let passes: Vec<_> = (0..16).map(|_| state.admit(now).unwrap()).collect();
        for pass in passes {
            state.record(pass, wishless.map(unknown).as_ref(), now, 0.0);
        }
        let pause = Duration::from_secs(seconds);
        assert!(state.limit(now + pause - MILLI).is_some(), "{seconds}");
        now += pause;
        assert_eq!(state.limit(now), None, "{seconds}");
    }
    attempt(&mut state, now, None);
    attempt(&mut state, now, wishless);
    assert_eq!(state.limit(now + SECOND), None);
}

#[test]
fn who_sends_nodes_away_is_down_meanwhile() {
    let (mut state, now) = (HealthState::default(), Instant::now());
    attempt(&mut state, now, Some(Cause::Unavailable { retry_after: 10 * SECOND }));
    assert_eq!(state.reachability(now + 9 * SECOND), Reachability::Down);
    assert!(
        matches!(state.limit(now), Some(Limit::Paused(one)) if one.cause.finding() == Cause::Connect.finding())
    );
    assert_eq!(state.reachability(now + 10 * SECOND), Reachability::Up);
}

#[test]
fn probes_spend_a_tenth_of_a_metered_budget() {
    let (mut state, now) = (HealthState::default(), Instant::now());
    for health in [Health::Up, Health::Down] {
        state.learn(found(health), now, 0.0);
        let rest = |budget, random| state.rest(NonZeroU32::new(budget), now, random);
        assert_eq!(rest(100, 0.5), Duration::from_secs(360));
        assert!(rest(1_000_000, 1.0) < 20 * SECOND);
    }
}

/// What may happen to a registry.
#[derive(Debug, Clone, Copy)]
enum Event {
    Attempt(Option<Cause>),
    Probe(Health),
    Retry,
    Wait(Duration),
}

fn slowness() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => Just(Event::Attempt(Some(Cause::Deadline))),
        1 => Just(Event::Attempt(None)),
        1 => Just(Event::Attempt(Some(Cause::Overloaded))),
        1 => prop_oneof![Just(Health::Up), Just(Health::Slow), Just(Health::NotARegistry)].prop_map(Event::Probe),
        1 => (0_u64..20_000).prop_map(|millis| Event::Wait(Duration::from_millis(millis))),
    ]
}

fn anything() -> impl Strategy<Value = Event> {
    let cause = prop_oneof![
        Just(None),
        Just(Some(Cause::Connect)),
        Just(Some(Cause::Broken)),
        Just(Some(Cause::Deadline)),
        Just(Some(Cause::RateLimited { retry_after: None })),
        Just(Some(Cause::Unavailable { retry_after: 3 * SECOND })),
        (0_u64..1_000_000)
            .prop_map(|wish| { Some(Cause::RateLimited { retry_after: Some(Duration::from_secs(wish)) }) }),
    ];
    prop_oneof![
        6 => cause.prop_map(Event::Attempt),
        1 => (0..Health::VARIANTS.len()).prop_map(|n| Event::Probe(Health::VARIANTS[n])),
        2 => Just(Event::Retry),
        1 => (0_u64..20_000).prop_map(|millis| Event::Wait(Duration::from_millis(millis))),
    ]
}

proptest! {
    /// The restart storm: the registry is slow, answers probes, and accepts our credentials.
    #[test]
    fn what_is_merely_slow_is_never_closed(events in prop::collection::vec(slowness(), 0..300)) {
        let (mut state, mut now) = (HealthState::default(), Instant::now());
        for event in events {
            match event {
                Event::Attempt(cause) => prop_assert!(attempt(&mut state, now, cause).is_some()),
                Event::Probe(health) => state.learn(found(health), now, 0.5),
                Event::Wait(time) => now += time,
                Event::Retry => {}
            }
            prop_assert_eq!(state.limit(now), None);
            prop_assert_eq!(state.reachability(now), Reachability::Up);
        }
    }

    #[test]
    fn whatever_happens_wishes_and_bounds_are_kept(events in prop::collection::vec(anything(), 0..300)) {
        let (mut state, mut now) = (HealthState::default(), Instant::now());
        let (mut attempts, mut retries, mut wished) = (0_u32, 0_u32, now);
        for event in events {
            match event {
                Event::Attempt(cause) => {
                    let made = attempt(&mut state, now, cause).is_some();
                    attempts += u32::from(made);
                    prop_assert!(!made || now >= wished, "asked before its time");
                    if let (true, Some(Cause::RateLimited { retry_after: Some(wish) })) = (made, cause) {
                        wished = wished.max(now + wish.min(LONGEST_PAUSE));
                    }
                }
                Event::Probe(health) => state.learn(found(health), now, 0.5),
                Event::Retry => retries += u32::from(state.may_retry()),
                Event::Wait(time) => now += time,
            }
            prop_assert!(retries <= 1 + attempts / RETRY, "{} for {}", retries, attempts);
            prop_assert!(state.rest(None, now, 1.0) <= LONGEST_PAUSE.max(PACE * 2));
        }
        // In the end it is asked again, whatever happened, with or without probes.
        now += LONGEST_PAUSE;
        prop_assert!(state.admit(now).is_ok() || state.phase(now) == Phase::HalfOpen);
    }
}
