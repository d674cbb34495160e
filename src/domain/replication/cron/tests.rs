//! Schedules: a table of those that Harbor reads and of those that it refuses, and what holds for all.

use proptest::prelude::*;

use super::*;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn cron(text: &str) -> Cron {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// A Wednesday.
const NOW: &str = "2026-07-15T10:20:30Z";

const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;

#[test]
fn when_it_runs_and_how_rarely() {
    for (text, previous, next, interval) in [
        ("0 0 * * * *", "2026-07-15T10:00:00Z", "2026-07-15T11:00:00Z", HOUR),
        ("0 20 * * * *", "2026-07-15T10:20:00Z", "2026-07-15T11:20:00Z", HOUR),
        ("0 */5 * * * *", "2026-07-15T10:20:00Z", "2026-07-15T10:25:00Z", 300),
        ("0 */7 * * * *", "2026-07-15T10:14:00Z", "2026-07-15T10:21:00Z", 420),
        ("0 0/40 * * * *", "2026-07-15T10:00:00Z", "2026-07-15T10:40:00Z", 2400),
        ("0 5-20/5 * * * *", "2026-07-15T10:20:00Z", "2026-07-15T11:05:00Z", 2700),
        ("0 5,10,,50 * * * *", "2026-07-15T10:10:00Z", "2026-07-15T10:50:00Z", 2400),
        ("*/15 * * * * *", "2026-07-15T10:20:30Z", "2026-07-15T10:20:45Z", 15),
        ("0 0 0 * * *", "2026-07-15T00:00:00Z", "2026-07-16T00:00:00Z", DAY),
        ("0 0 2 * * ?", "2026-07-15T02:00:00Z", "2026-07-16T02:00:00Z", DAY),
        ("0 0 0 ? * ?", "2026-07-15T00:00:00Z", "2026-07-16T00:00:00Z", DAY),
        ("0 30 8-18/2 * * *", "2026-07-15T08:30:00Z", "2026-07-15T10:30:00Z", 14 * HOUR),
        ("0 0 8,12 * * *", "2026-07-15T08:00:00Z", "2026-07-15T12:00:00Z", 20 * HOUR),
        ("0 0 3 * * MON-FRI", "2026-07-15T03:00:00Z", "2026-07-16T03:00:00Z", 3 * DAY),
        ("0 0 3 * * 1-5", "2026-07-15T03:00:00Z", "2026-07-16T03:00:00Z", 3 * DAY),
        ("0 0 3 * * sat,sun", "2026-07-12T03:00:00Z", "2026-07-18T03:00:00Z", 6 * DAY),
        ("0 0 3 * * 0", "2026-07-12T03:00:00Z", "2026-07-19T03:00:00Z", 7 * DAY),
        ("0 0 0 1 * *", "2026-07-01T00:00:00Z", "2026-08-01T00:00:00Z", 31 * DAY),
        ("0 0 0 31 * *", "2026-05-31T00:00:00Z", "2026-07-31T00:00:00Z", 61 * DAY),
        ("0 0 0 1 1 *", "2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z", 365 * DAY),
        ("0 0 0 1 JAN *", "2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z", 365 * DAY),
        ("0 0 0 29 2 *", "2024-02-29T00:00:00Z", "2028-02-29T00:00:00Z", 1461 * DAY),
        // Both kinds of days are limited: either counts.
        ("0 0 0 1 * WED", "2026-07-15T00:00:00Z", "2026-07-22T00:00:00Z", 7 * DAY),
        ("0 0 0 13 * 5", "2026-07-13T00:00:00Z", "2026-07-17T00:00:00Z", 7 * DAY),
        // A star with a step limits; without one, and with step 1, it does not.
        ("0 0 0 13 * */1", "2026-07-13T00:00:00Z", "2026-08-13T00:00:00Z", 31 * DAY),
        ("0 0 0 */2 * MON", "2026-07-15T00:00:00Z", "2026-07-17T00:00:00Z", 2 * DAY),
        ("59 59 23 * * *", "2026-07-14T23:59:59Z", "2026-07-15T23:59:59Z", DAY),
        ("  0\t0  6 *  * * ", "2026-07-15T06:00:00Z", "2026-07-16T06:00:00Z", DAY),
        ("0 0 0 1 jul-sep *", "2026-07-01T00:00:00Z", "2026-08-01T00:00:00Z", 31 * DAY),
        ("30 20 10 15 7 *", "2026-07-15T10:20:30Z", "2027-07-15T10:20:30Z", 365 * DAY),
    ] {
        let (cron, now) = (cron(text), at(NOW));
        assert_eq!(cron.previous(now), Some(at(previous)), "{text}: previous");
        assert_eq!(cron.next(now), Some(at(next)), "{text}: next");
        assert_eq!(cron.interval(now), Some(Duration::from_secs(interval)), "{text}: interval");
        assert_eq!(cron.to_string(), text);
    }
}

#[test]
fn a_day_that_never_comes() {
    for text in ["0 0 0 30 2 *", "0 0 0 31 4,6,9,11 *", "0 , * * * *"] {
        let cron = cron(text);
        assert_eq!((cron.previous(at(NOW)), cron.next(at(NOW)), cron.interval(at(NOW))), (None, None, None));
    }
}

#[test]
fn what_is_no_schedule() {
    for text in [
        "",
        "@daily",
        "@every 1h",
        "* * * * *",
        "0 0 0 * * * *",
        "TZ=Europe/Berlin 0 0 0 * * *",
        "60 * * * * *",
        "0 60 * * * *",
        "0 0 24 * * *",
        "0 0 0 0 * *",
        "0 0 0 32 * *",
        "0 0 0 * 0 *",
        "0 0 0 * 13 *",
        "0 0 0 * * 7",
        "0 5-1 * * * *",
        "0 */0 * * * *",
        "0 1-2-3 * * * *",
        "0 1/2/3 * * * *",
        "0 -1 * * * *",
        "0 +1 * * * *",
        "0 x * * * *",
        "0 0 0 * * MONDAY",
        "0 0 0 L * *",
        "0 0 0 * * 1#2",
        "0 99999999999999999999 * * * *",
        "0 ** * * * *",
        "0 \u{661} * * * *",
    ] {
        assert!(text.parse::<Cron>().is_err(), "{text}");
    }
    assert_eq!(
        "0 0 24 * * *".parse::<Cron>().unwrap_err().to_string(),
        "`24` is no hour: write numbers from 0 to 23, ranges as in `0-23`, steps as in `*/2`"
    );
    assert_eq!(
        "@daily".parse::<Cron>().unwrap_err().to_string(),
        "a schedule has six fields (second minute hour day month weekday), this has 1"
    );
}

fn field(least: u32, most: u32) -> impl Strategy<Value = String> {
    let number = least..=most;
    prop_oneof![
        3 => Just("*".to_owned()),
        2 => number.clone().prop_map(|number| number.to_string()),
        1 => (number.clone(), number.clone()).prop_map(|(a, b)| format!("{}-{}", a.min(b), a.max(b))),
        1 => (1..=most).prop_map(|step| format!("*/{step}")),
        1 => (number.clone(), number).prop_map(|(a, b)| format!("{a},{b}")),
    ]
}

fn schedules() -> impl Strategy<Value = String> {
    (field(0, 59), field(0, 59), field(0, 23), field(1, 28), field(1, 12), field(0, 6))
        .prop_map(|(s, m, h, d, mo, w)| format!("{s} {m} {h} {d} {mo} {w}"))
}

proptest! {
    #[test]
    fn the_runs_around_now_are_around_now(text in schedules(), second in -2_000_000_000_i64..4_000_000_000) {
        let (cron, now) = (cron(&text), Timestamp::from_second(second).unwrap());
        let (previous, next) = (cron.previous(now).unwrap(), cron.next(now).unwrap());
        prop_assert!(previous <= now && now < next);
        // Nothing lies between the two, in either direction.
        prop_assert_eq!(cron.next(previous), Some(next));
        prop_assert_eq!(cron.previous(next), Some(next));
        let before = Timestamp::from_second(next.as_second() - 1).unwrap();
        prop_assert_eq!(cron.previous(before), Some(previous));
        let interval = cron.interval(now).unwrap();
        prop_assert!(interval.as_secs() >= next.as_second().abs_diff(previous.as_second()));
    }

    #[test]
    fn no_gap_of_the_coming_weeks_is_longer_than_the_interval(
        minute in field(0, 59), hour in field(0, 23), day in field(1, 28), weekday in field(0, 6),
        second in 0_i64..4_000_000_000,
    ) {
        let cron = cron(&format!("0 {minute} {hour} {day} * {weekday}"));
        let now = Timestamp::from_second(second).unwrap();
        let interval = cron.interval(now).unwrap();
        let mut run = cron.previous(now).unwrap();
        for _ in 0..60 {
            let next = cron.next(run).unwrap();
            if next.as_second() > second + 35 * 24 * 3600 {
                break;
            }
            prop_assert!(next.as_second().abs_diff(run.as_second()) <= interval.as_secs());
            run = next;
        }
    }

    #[test]
    fn no_text_is_too_odd(text in "[ 0-9a-zA-Z*?/,#-]{0,40}") {
        let _ = text.parse::<Cron>();
    }
}
