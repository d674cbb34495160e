//! The state machine of health: what happens in time, without time passing.

use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);
const MILLI: Duration = Duration::from_millis(1);

fn unknown(cause: Cause) -> Unknown {
    Unknown::new(cause, "a test")
}

fn found(health: Health) -> Found {
    Found { health, detail: "a test".into(), took: MILLI, unknown: None }
}

/// An attempt that ends at once with this; `None`: it may not be made.
fn attempt(vitals: &mut Vitals, now: Instant, cause: Option<Cause>) -> Option<bool> {
    let pass = vitals.admit(now).ok()?;
    Some(vitals.record(pass, cause.map(unknown).as_ref(), now, 0.5))
}

#[test]
fn some_silences_in_a_row_call_for_a_probe_and_an_answer_between_them_does_not() {
    let (mut vitals, now) = (Vitals::default(), Instant::now());
    let silence = |vitals: &mut Vitals| attempt(vitals, now, Some(Cause::Deadline));
    assert_eq!(silence(&mut vitals), Some(false));
    assert_eq!(silence(&mut vitals), Some(false));
    assert_eq!(attempt(&mut vitals, now, None), Some(false));
    assert_eq!(silence(&mut vitals), Some(false));
    assert_eq!(silence(&mut vitals), Some(false));
    assert_eq!(silence(&mut vitals), Some(true));
    assert_eq!(vitals.phase(now), Phase::Closed, "silence alone closes nothing");
    assert_eq!(vitals.reachability(now), Reachability::Up);
}

#[test]
fn a_silent_probe_opens_at_once_and_an_answered_one_leads_out() {
    let (mut vitals, ended) = (Vitals::default(), Instant::now());
    vitals.learn(found(Health::Silent), ended, 0.0);
    assert_eq!((vitals.phase(ended), vitals.probed().health), (Phase::Open, Health::Silent));
    assert_eq!(vitals.reachability(ended), Reachability::Down);
    assert_eq!(vitals.limit(ended + 7 * SECOND), Some(Limit::BreakerOpen), "the next probe tells, no Pod");

    let back = ended + 2 * SECOND;
    vitals.learn(found(Health::Up), back, 0.0);
    assert_eq!((vitals.phase(back), vitals.reachability(back)), (Phase::HalfOpen, Reachability::Up));
}

#[test]
fn whatever_answers_leads_out_of_an_open_breaker() {
    for health in [Health::Up, Health::Slow, Health::Stranger, Health::Foreign] {
        let (mut vitals, now) = (Vitals::default(), Instant::now());
        for _ in 0..5 {
            attempt(&mut vitals, now, Some(Cause::ServerError));
        }
        assert_eq!(vitals.limit(now), Some(Limit::BreakerOpen));
        let later = now + 2 * SECOND;
        vitals.hold(later);
        vitals.learn(found(health), later, 0.0);
        assert_eq!(vitals.limit(later), None, "{health:?}");
        assert_eq!(attempt(&mut vitals, later, None), Some(false), "{health:?}");
    }
}

#[test]
fn one_failed_probe_is_down_and_an_answer_after_it_is_up() {
    for health in [Health::Down, Health::DatabaseDown] {
        let (mut vitals, now) = (Vitals::default(), Instant::now());
        vitals.learn(found(health), now, 0.0);
        assert_eq!((vitals.phase(now), vitals.reachability(now)), (Phase::Closed, Reachability::Down));
        assert!(vitals.rest(None, now, 1.0) < 2 * SECOND);
        attempt(&mut vitals, now + MILLI, Some(Cause::Connect));
        assert_eq!(vitals.reachability(now + MILLI), Reachability::Down);
        attempt(&mut vitals, now + MILLI, None);
        assert_eq!(vitals.reachability(now + MILLI), Reachability::Up);
    }
    for health in [Health::Unprobed, Health::Up, Health::Slow, Health::Stranger, Health::Foreign] {
        let (mut vitals, now) = (Vitals::default(), Instant::now());
        vitals.learn(found(health), now, 0.0);
        assert_eq!(vitals.reachability(now), Reachability::Up, "{health:?}");
        assert!(vitals.rest(None, now, 0.0) > 7 * SECOND);
    }
}

#[test]
fn a_wish_is_kept_up_to_its_bound_and_a_shorter_one_does_not_shorten_it() {
    let (mut vitals, now) = (Vitals::default(), Instant::now());
    let late = vitals.admit(now).unwrap();
    let limited = |seconds| Cause::RateLimited { retry_after: Some(Duration::from_secs(seconds)) };
    assert_eq!(attempt(&mut vitals, now, Some(limited(60))), Some(true), "the prober keeps to it, too");
    vitals.record(late, Some(&unknown(limited(5))), now + SECOND, 0.0);
    let Some(Limit::Paused(left)) = vitals.limit(now + 59 * SECOND) else { panic!("not paused") };
    assert_eq!(left.cause, limited(1));
    assert_eq!(vitals.reachability(now), Reachability::Up, "nodes may be served");
    assert!(vitals.rest(None, now, 0.0) >= 60 * SECOND);
    assert_eq!(vitals.limit(now + 60 * SECOND), None);

    let now = now + 60 * SECOND;
    attempt(&mut vitals, now, Some(limited(1_000_000)));
    assert!(vitals.limit(now + LONGEST_PAUSE - MILLI).is_some());
    assert_eq!(vitals.limit(now + LONGEST_PAUSE), None);
}

#[test]
fn a_wishless_429_backs_off_and_an_answer_ends_that() {
    let (mut vitals, mut now) = (Vitals::default(), Instant::now());
    let wishless = Some(Cause::RateLimited { retry_after: None });
    for seconds in [1, 2, 4, 8, 16, 30, 30] {
        // Sixteen that were under way together are one refusal.
        let passes: Vec<_> = (0..16).map(|_| vitals.admit(now).unwrap()).collect();
        for pass in passes {
            vitals.record(pass, wishless.map(unknown).as_ref(), now, 0.0);
        }
        let pause = Duration::from_secs(seconds);
        assert!(vitals.limit(now + pause - MILLI).is_some(), "{seconds}");
        now += pause;
        assert_eq!(vitals.limit(now), None, "{seconds}");
    }
    attempt(&mut vitals, now, None);
    attempt(&mut vitals, now, wishless);
    assert_eq!(vitals.limit(now + SECOND), None);
}

#[test]
fn who_sends_nodes_away_is_down_meanwhile() {
    let (mut vitals, now) = (Vitals::default(), Instant::now());
    attempt(&mut vitals, now, Some(Cause::Unavailable { retry_after: 10 * SECOND }));
    assert_eq!(vitals.reachability(now + 9 * SECOND), Reachability::Down);
    assert!(
        matches!(vitals.limit(now), Some(Limit::Paused(one)) if one.cause.finding() == Cause::Connect.finding())
    );
    assert_eq!(vitals.reachability(now + 10 * SECOND), Reachability::Up);
}

#[test]
fn probes_spend_a_tenth_of_a_metered_budget() {
    let (mut vitals, now) = (Vitals::default(), Instant::now());
    for health in [Health::Up, Health::Down] {
        vitals.learn(found(health), now, 0.0);
        let rest = |budget, dice| vitals.rest(NonZeroU32::new(budget), now, dice);
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
        1 => prop_oneof![Just(Health::Up), Just(Health::Slow), Just(Health::Foreign)].prop_map(Event::Probe),
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
        1 => (0..Health::ALL.len()).prop_map(|n| Event::Probe(Health::ALL[n])),
        2 => Just(Event::Retry),
        1 => (0_u64..20_000).prop_map(|millis| Event::Wait(Duration::from_millis(millis))),
    ]
}

proptest! {
    /// The storm: nothing but slowness, and a registry that answers probes and knows us.
    #[test]
    fn what_is_merely_slow_is_never_closed(events in prop::collection::vec(slowness(), 0..300)) {
        let (mut vitals, mut now) = (Vitals::default(), Instant::now());
        for event in events {
            match event {
                Event::Attempt(cause) => prop_assert!(attempt(&mut vitals, now, cause).is_some()),
                Event::Probe(health) => vitals.learn(found(health), now, 0.5),
                Event::Wait(time) => now += time,
                Event::Retry => {}
            }
            prop_assert_eq!(vitals.limit(now), None);
            prop_assert_eq!(vitals.reachability(now), Reachability::Up);
        }
    }

    #[test]
    fn whatever_happens_wishes_and_bounds_are_kept(events in prop::collection::vec(anything(), 0..300)) {
        let (mut vitals, mut now) = (Vitals::default(), Instant::now());
        let (mut attempts, mut retries, mut wished) = (0_u32, 0_u32, now);
        for event in events {
            match event {
                Event::Attempt(cause) => {
                    let made = attempt(&mut vitals, now, cause).is_some();
                    attempts += u32::from(made);
                    prop_assert!(!made || now >= wished, "asked before its time");
                    if let (true, Some(Cause::RateLimited { retry_after: Some(wish) })) = (made, cause) {
                        wished = wished.max(now + wish.min(LONGEST_PAUSE));
                    }
                }
                Event::Probe(health) => vitals.learn(found(health), now, 0.5),
                Event::Retry => retries += u32::from(vitals.may_retry()),
                Event::Wait(time) => now += time,
            }
            prop_assert!(retries <= 1 + attempts / RETRY, "{} for {}", retries, attempts);
            prop_assert!(vitals.rest(None, now, 1.0) <= LONGEST_PAUSE.max(PACE * 2));
        }
        // However bad it was: in the end it is asked again, whether anybody probes or not.
        now += LONGEST_PAUSE;
        prop_assert!(vitals.admit(now).is_ok() || vitals.phase(now) == Phase::HalfOpen);
    }
}
