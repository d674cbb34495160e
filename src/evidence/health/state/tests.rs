//! The state machine of health. The time is an argument.

use proptest::prelude::*;

use strum::VariantArray;

use super::*;
use crate::domain::digest::Digest;
use crate::domain::evidence::TagDigest;
use crate::domain::image::Tag;
use crate::evidence::health::gate::LONGEST_PAUSE;
use crate::evidence::health::projects::UNSERVED;
use crate::evidence::question::{Aspect, UpstreamId, What, unanswered};

const SECOND: Duration = Duration::from_secs(1);
const MILLI: Duration = Duration::from_millis(1);

fn unknown(cause: Cause) -> Unknown {
    Unknown::new(cause, "a test")
}

fn found(health: Health) -> Found {
    Found { health, detail: "a test".into(), took: MILLI, unknown: None, whose: Whose::Registry }
}

/// A manifest in this project.
fn asks(project: &str) -> Question {
    let repository = Repository::new(format!("{project}/app"));
    Question { upstream: UpstreamId(0), repository, what: What::Meaning(Tag::new("1")) }
}

fn shop() -> Repository {
    asks("shop").repository
}

fn answers(cause: Option<Cause>) -> Observation {
    match cause {
        None => Observation::TagDigest(TagDigest::Known(Digest::Sha256([0; 32]))),
        Some(cause) => unanswered(Aspect::TagDigest, unknown(cause)),
    }
}

/// An attempt in this project that ends at once with this cause. `None`: it is not allowed.
fn attempt_in(state: &mut HealthState, project: &str, now: Instant, cause: Option<Cause>) -> Option<bool> {
    let question = asks(project);
    let ticket = state.admit(&question.repository, now).ok()?;
    Some(state.record(ticket, &question, &answers(cause), now, 0.5))
}

fn attempt(state: &mut HealthState, now: Instant, cause: Option<Cause>) -> Option<bool> {
    attempt_in(state, "shop", now, cause)
}

#[test]
fn silence_calls_for_a_probe_and_closes_nothing() {
    let (mut state, now) = (HealthState::default(), Instant::now());
    for _ in 0..20 {
        assert_eq!(attempt(&mut state, now, Some(Cause::Deadline)), Some(true));
        assert_eq!(attempt(&mut state, now, None), Some(false));
    }
    for _ in 0..20 {
        attempt(&mut state, now, Some(Cause::Deadline)).expect("silence alone closes nothing");
    }
    assert_eq!((state.phase(now), state.reachability(&shop(), now)), (Phase::Closed, Reachability::Up));
}

#[test]
fn it_is_slow_for_as_long_as_its_answers_are() {
    let (mut state, now) = (HealthState::default(), Instant::now());
    for (took, slow) in [(NOTICED, false), (NOTICED + MILLI, true), (20 * MILLI, false)] {
        let ticket = state.admit(&shop(), now).expect("nothing is wrong with it");
        state.record(ticket, &asks("shop"), &answers(None), now + took, 0.5);
        assert_eq!(state.is_slow(&shop()), slow, "{took:?}");
    }
    // A refusal may be quick, and says nothing of how long answers take.
    let ticket = state.admit(&shop(), now).expect("nothing is wrong with it");
    state.record(ticket, &asks("shop"), &answers(Some(Cause::ServerError)), now + SECOND, 0.5);
    assert!(!state.is_slow(&shop()));
}

/// Our own shutdown or bug says nothing of the registry.
#[test]
fn what_failed_inside_us_counts_for_nothing() {
    let (mut state, now) = (HealthState::default(), Instant::now());
    for _ in 0..20 {
        assert_eq!(attempt(&mut state, now, Some(Cause::Internal)), Some(false));
    }
    assert_eq!((state.phase(now), state.reachability(&shop(), now)), (Phase::Closed, Reachability::Up));
}

#[test]
fn a_silent_probe_opens_at_once_and_an_answered_one_leads_out() {
    let (mut state, ended) = (HealthState::default(), Instant::now());
    state.learn(found(Health::Unresponsive), ended, 0.0);
    assert_eq!((state.phase(ended), state.probed().health), (Phase::Open, Health::Unresponsive));
    assert_eq!(state.reachability(&shop(), ended), Reachability::Down);
    assert_eq!(
        state.limit(&shop(), ended + 7 * SECOND),
        Some(Limit::BreakerOpen),
        "the next probe tells, no Pod"
    );

    let back = ended + 2 * SECOND;
    state.learn(found(Health::Up), back, 0.0);
    assert_eq!((state.phase(back), state.reachability(&shop(), back)), (Phase::HalfOpen, Reachability::Up));
}

#[test]
fn whatever_answers_leads_out_of_an_open_breaker() {
    for health in [Health::Up, Health::Slow, Health::BadCredentials, Health::NotARegistry] {
        let (mut state, now) = (HealthState::default(), Instant::now());
        breaks(&mut state, "shop", now);
        breaks(&mut state, "another", now);
        assert_eq!(state.limit(&shop(), now), Some(Limit::BreakerOpen));
        let later = now + 2 * SECOND;
        state.hold(later);
        state.learn(found(health), later, 0.0);
        assert_eq!(state.limit(&shop(), later), None, "{health:?}");
        assert_eq!(attempt(&mut state, later, None), Some(false), "{health:?}");
    }
}

#[test]
fn one_failed_probe_is_down_and_an_answer_after_it_is_up() {
    for health in [Health::Down, Health::DatabaseDown] {
        let (mut state, now) = (HealthState::default(), Instant::now());
        state.learn(found(health), now, 0.0);
        assert_eq!((state.phase(now), state.reachability(&shop(), now)), (Phase::Closed, Reachability::Down));
        assert!(state.rest(None, now, 1.0) < 2 * SECOND);
        attempt(&mut state, now + MILLI, Some(Cause::Connect));
        assert_eq!(state.reachability(&shop(), now + MILLI), Reachability::Down);
        attempt(&mut state, now + MILLI, None);
        assert_eq!(state.reachability(&shop(), now + MILLI), Reachability::Up);
    }
    for health in [Health::Unprobed, Health::Up, Health::Slow, Health::BadCredentials, Health::NotARegistry] {
        let (mut state, now) = (HealthState::default(), Instant::now());
        state.learn(found(health), now, 0.0);
        assert_eq!(state.reachability(&shop(), now), Reachability::Up, "{health:?}");
        assert!(state.rest(None, now, 0.0) > 7 * SECOND);
    }
}

#[test]
fn a_wish_is_kept_up_to_its_bound_and_a_shorter_one_does_not_shorten_it() {
    let (mut state, now) = (HealthState::default(), Instant::now());
    let late = state.admit(&shop(), now).unwrap();
    let limited = |seconds| Cause::RateLimited { retry_after: Some(Duration::from_secs(seconds)) };
    assert_eq!(attempt(&mut state, now, Some(limited(60))), Some(true), "a probe looks");
    state.record(late, &asks("shop"), &answers(Some(limited(5))), now + SECOND, 0.0);
    let Some(Limit::Paused(left)) = state.limit(&shop(), now + 59 * SECOND) else { panic!("not paused") };
    assert_eq!(left.cause, limited(1));
    assert_eq!(state.reachability(&shop(), now), Reachability::Up, "nodes may be served");
    assert!(state.rest(None, now, 1.0) < 60 * SECOND, "a probe finds out whether it holds for all");
    attempt_in(&mut state, "another", now, Some(limited(60)));
    assert!(state.rest(None, now, 0.0) >= 60 * SECOND);
    assert_eq!(state.limit(&shop(), now + 60 * SECOND), None);

    let now = now + 60 * SECOND;
    attempt(&mut state, now, Some(limited(1_000_000)));
    assert!(state.limit(&shop(), now + LONGEST_PAUSE - MILLI).is_some());
    assert_eq!(state.limit(&shop(), now + LONGEST_PAUSE), None);
}

#[test]
fn a_wishless_429_backs_off_and_an_answer_ends_that() {
    let (mut state, mut now) = (HealthState::default(), Instant::now());
    let wishless = Some(Cause::RateLimited { retry_after: None });
    for seconds in [1, 2, 4, 8, 16, 30, 30] {
        // Sixteen attempts that were in progress together got one refusal.
        let passes: Vec<_> = (0..16).map(|_| state.admit(&shop(), now).unwrap()).collect();
        for pass in passes {
            state.record(pass, &asks("shop"), &answers(wishless), now, 0.0);
        }
        let pause = Duration::from_secs(seconds);
        assert!(state.limit(&shop(), now + pause - MILLI).is_some(), "{seconds}");
        now += pause;
        assert_eq!(state.limit(&shop(), now), None, "{seconds}");
    }
    attempt(&mut state, now, None);
    attempt(&mut state, now, wishless);
    assert_eq!(state.limit(&shop(), now + SECOND), None);
}

#[test]
fn who_sends_nodes_away_is_down_meanwhile() {
    let (mut state, now) = (HealthState::default(), Instant::now());
    attempt(&mut state, now, Some(Cause::Unavailable { retry_after: 10 * SECOND }));
    assert_eq!(state.reachability(&shop(), now + 9 * SECOND), Reachability::Down);
    assert!(
        matches!(state.limit(&shop(), now), Some(Limit::Paused(one)) if one.cause.finding() == Cause::Connect.finding())
    );
    assert_eq!(state.reachability(&shop(), now + 10 * SECOND), Reachability::Up);
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
            prop_assert_eq!(state.limit(&shop(), now), None);
            prop_assert_eq!(state.reachability(&shop(), now), Reachability::Up);
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
        prop_assert!(state.admit(&shop(), now).is_ok() || state.phase(now) == Phase::HalfOpen);
    }
}

/// Five failures of one project's attempts.
fn breaks(state: &mut HealthState, project: &str, now: Instant) {
    for _ in 0..5 {
        attempt_in(state, project, now, Some(Cause::ServerError)).expect("not closed yet");
    }
}

fn limit_of(state: &HealthState, project: &str, now: Instant) -> Option<Limit> {
    state.limit(&asks(project).repository, now)
}

#[test]
fn one_project_in_trouble_closes_itself_and_calls_for_a_probe() {
    for cause in [Cause::ServerError, Cause::Connect, Cause::Broken, Cause::Tls] {
        let (mut state, now) = (HealthState::default(), Instant::now());
        let called: Vec<_> = (0..8).map(|_| attempt_in(&mut state, "broken", now, Some(cause))).collect();
        assert!(called.contains(&Some(true)) && called[5..] == [None; 3], "{called:?}");
        assert_eq!(limit_of(&state, "broken", now), Some(Limit::ProjectBreakerOpen));
        assert_eq!(state.reachability(&asks("broken").repository, now), Reachability::Down);
        assert_eq!((limit_of(&state, "shop", now), state.phase(now)), (None, Phase::Open));
        assert_eq!(state.reachability(&shop(), now), Reachability::Up);
        assert_eq!((attempt(&mut state, now, None), state.limited_projects(now)), (Some(false), 1));
        // Its period is over: one attempt tests it.
        let later = now + 2 * SECOND;
        assert_eq!(limit_of(&state, "broken", later), None);
        for _ in 0..3 {
            attempt_in(&mut state, "broken", later, None).unwrap();
        }
        assert_eq!((state.phase(later), state.limited_projects(later)), (Phase::Closed, 0));
    }
}

#[test]
fn a_second_project_or_a_probe_closes_the_registry() {
    let (mut state, now) = (HealthState::default(), Instant::now());
    breaks(&mut state, "a", now);
    for _ in 0..4 {
        attempt_in(&mut state, "b", now, Some(Cause::ServerError));
    }
    assert_eq!(limit_of(&state, "shop", now), None, "the second is not closed yet");
    attempt_in(&mut state, "b", now, Some(Cause::ServerError));
    assert_eq!(limit_of(&state, "shop", now), Some(Limit::BreakerOpen));
    // It is back: all begin anew.
    let back = now + 2 * SECOND;
    state.learn(found(Health::Up), back, 0.0);
    assert_eq!((limit_of(&state, "a", back), limit_of(&state, "b", back)), (None, None));

    for health in [Health::Down, Health::DatabaseDown, Health::Unresponsive] {
        let (mut state, now) = (HealthState::default(), Instant::now());
        breaks(&mut state, "a", now);
        state.learn(found(health), now, 0.0);
        assert_eq!(limit_of(&state, "shop", now), Some(Limit::BreakerOpen), "{health:?}");
    }
}

#[test]
fn a_project_that_failed_long_ago_says_nothing_now() {
    let (mut state, now) = (HealthState::default(), Instant::now());
    breaks(&mut state, "a", now);
    let later = now + 61 * SECOND;
    breaks(&mut state, "b", later);
    assert_eq!(limit_of(&state, "shop", later), None);
}

/// After an outage the registry is tested by a few attempts. One tenant's broken image must not win each of them.
#[test]
fn one_projects_failures_do_not_keep_a_registry_closed_that_is_back() {
    let (mut state, mut now) = (HealthState::default(), Instant::now());
    breaks(&mut state, "a", now);
    breaks(&mut state, "b", now);
    now += 2 * SECOND;
    state.learn(found(Health::Up), now, 0.0);
    for _ in 0..20 {
        attempt_in(&mut state, "a", now, Some(Cause::ServerError));
    }
    assert_eq!(limit_of(&state, "a", now), Some(Limit::ProjectBreakerOpen));
    for _ in 0..3 {
        attempt(&mut state, now, None).expect("the others test the registry");
    }
    assert_eq!(state.whole.breaker.phase(now), Phase::Closed);
}

#[test]
fn one_projects_rate_limit_rests_it_alone_and_a_seconds_rests_the_registry() {
    let limited = |seconds| Some(Cause::RateLimited { retry_after: Some(Duration::from_secs(seconds)) });
    let (mut state, now) = (HealthState::default(), Instant::now());
    attempt_in(&mut state, "a", now, limited(300));
    assert!(matches!(limit_of(&state, "a", now), Some(Limit::Paused(_))));
    assert_eq!((limit_of(&state, "shop", now), state.paused(now)), (None, None));
    assert!(state.is_pausing(now));
    attempt_in(&mut state, "b", now, limited(60));
    let Some(Limit::Paused(left)) = limit_of(&state, "shop", now) else {
        panic!("two projects say the same")
    };
    assert_eq!(Some(left.cause), limited(60));
    assert_eq!(limit_of(&state, "shop", now + 60 * SECOND), None);
    assert!(limit_of(&state, "a", now + 299 * SECOND).is_some());

    // What a probe is told holds for all, and so does our own budget.
    for cause in [limited(9).unwrap(), Cause::Spent { retry_after: SECOND }] {
        let (mut state, now) = (HealthState::default(), Instant::now());
        state.learn(Found { unknown: Some(unknown(cause)), ..found(Health::RateLimited) }, now, 0.0);
        assert!(matches!(limit_of(&state, "shop", now), Some(Limit::Paused(_))), "{cause:?}");
    }
    let (mut state, now) = (HealthState::default(), Instant::now());
    attempt_in(&mut state, "a", now, Some(Cause::Spent { retry_after: SECOND }));
    assert!(matches!(limit_of(&state, "shop", now), Some(Limit::Paused(_))));
}

#[test]
fn what_serves_no_manifests_is_asked_for_the_one_that_it_served_last_and_for_another_projects() {
    let (mut state, now) = (HealthState::default(), Instant::now());
    let doubts = |state: &HealthState| {
        let Doubts { doubted, witness } = state.doubts();
        let name = |question: Question| question.repository.project().to_owned();
        (doubted.into_iter().map(name).collect::<Vec<_>>(), witness.map(name))
    };
    attempt_in(&mut state, "good", now, None);
    for _ in 0..UNSERVED {
        assert_eq!(doubts(&state), (vec![], None));
        attempt_in(&mut state, "bad", now, Some(Cause::Deadline));
        // Another project's answers do not end its doubt.
        attempt_in(&mut state, "good", now, None);
    }
    assert_eq!(doubts(&state), (vec!["bad".to_owned()], Some("good".to_owned())));
    attempt_in(&mut state, "bad", now, None);
    assert_eq!(doubts(&state), (vec![], None));
}

#[test]
fn manifests_that_probes_do_not_get_close_their_project_or_all() {
    let no = || Served::No(unknown(Cause::ServerError));
    let in_doubt = |projects: &[&str], now| {
        let mut state = HealthState::default();
        for project in projects {
            for _ in 0..3 {
                attempt_in(&mut state, project, now, Some(Cause::ServerError));
            }
        }
        state
    };
    let tested = |projects: &[&str], witness: Option<Served>| {
        let now = Instant::now();
        let mut state = in_doubt(projects, now);
        let doubted: Vec<_> = projects.iter().map(|project| (asks(project), no())).collect();
        let unserved = state.tested(&doubted, witness.as_ref(), now, 0.0);
        let closed = projects.iter().all(|project| limit_of(&state, project, now).is_some());
        (unserved.unwrap().whose, closed)
    };
    assert_eq!(tested(&["a"], Some(Served::Yes)), (Whose::OneOfSome("a".into()), true));
    assert_eq!(tested(&["a"], None), (Whose::OnlyKnown("a".into()), true));
    assert_eq!(tested(&["a"], Some(Served::Gone)), (Whose::OnlyKnown("a".into()), true));
    assert!(tested(&["a", "b"], Some(Served::Yes)).1);
    // The prober learns this as the registry's state, which closes it.
    assert_eq!(tested(&["a"], Some(no())).0, Whose::Registry);
    assert_eq!(tested(&["a", "b"], None).0, Whose::Registry);

    // What the only project that is known shows is reported, and holds for it alone.
    for cause in [Cause::ServerError, Cause::RateLimited { retry_after: Some(300 * SECOND) }] {
        let now = Instant::now();
        let mut state = in_doubt(&["a"], now);
        let whose = Whose::OnlyKnown("a".into());
        state.learn(Found { unknown: Some(unknown(cause)), whose, ..found(Health::Down) }, now, 0.0);
        assert_eq!(limit_of(&state, "shop", now), None);
        assert_eq!(state.reachability(&shop(), now), Reachability::Up);
    }

    let now = Instant::now();
    let mut state = in_doubt(&["a"], now);
    state.tested(&[(asks("a"), no())], None, now, 0.0);
    let later = now + 2 * SECOND;
    assert!(limit_of(&state, "a", later).is_some(), "a probe tests it, no Pod");
    assert_eq!(state.tested(&[(asks("a"), Served::Yes)], None, later, 0.0), None);
    assert_eq!(limit_of(&state, "a", later), None);
}

proptest! {
    /// Whoever may ask for images of one project only cannot close the registry to the others.
    #[test]
    fn one_project_never_closes_another(
        events in prop::collection::vec((anything(), any::<bool>()), 0..300),
    ) {
        let (mut state, mut now) = (HealthState::default(), Instant::now());
        for (event, asks_others) in events {
            match event {
                Event::Attempt(Some(Cause::Spent { .. })) | Event::Probe(_) | Event::Retry => {}
                Event::Attempt(cause) => { attempt_in(&mut state, "theirs", now, cause); }
                Event::Wait(time) => now += time,
            }
            prop_assert_eq!(limit_of(&state, "shop", now), None);
            if asks_others {
                prop_assert!(attempt(&mut state, now, None).is_some());
            }
            prop_assert_eq!(state.reachability(&shop(), now), Reachability::Up);
        }
    }
}
