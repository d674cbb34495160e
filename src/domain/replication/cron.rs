//! Harbor's schedules: cron expressions of six fields, as `robfig/cron` reads them for Harbor (`CronParser` in
//! `src/common/utils`): second, minute, hour, day of the month, month, day of the week.
//!
//! A field is a list of `*`, `?`, numbers and ranges, each perhaps with a step; months and days of the week have names.
//! If both kinds of days are limited, a day of either runs; if one is `*` or `?`, the other decides. There are no
//! descriptors (`@daily`). A zone (`TZ=…`) is not read: Harbor's job service runs in UTC, and so do we.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};

/// How far runs are looked for: the 29th of February is at most 8 years away.
const HORIZON_DAYS: u32 = 9 * 366;

/// The future in which gaps between runs are compared, in days: it has each day of the month and of the week.
const COMING_DAYS: i64 = 35;

const DAY: u32 = 24 * 3600;

/// A schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cron {
    text: Box<str>,
    seconds: Field,
    minutes: Field,
    hours: Field,
    days: Field,
    months: Field,
    weekdays: Field,
}

/// Why a text is no schedule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CronError {
    /// There are more or fewer than six fields.
    #[error("a schedule has six fields (second minute hour day month weekday), this has {found}")]
    Fields {
        /// How many there are.
        found: usize,
    },
    /// A field cannot be read.
    #[error(
        "`{text}` is no {name}: write numbers from {least} to {most}, ranges as in `{least}-{most}`, steps as in `*/2`"
    )]
    Field {
        /// Which field.
        name: &'static str,
        /// What it says.
        text: Box<str>,
        /// Its least value.
        least: u32,
        /// Its greatest value.
        most: u32,
    },
}

/// The values of a field, as bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Field {
    bits: u64,
    limits: Limits,
}

/// Whether a field limits anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Limits {
    /// `*` or `?`.
    Nothing,
    Something,
}

struct Kind {
    name: &'static str,
    least: u32,
    most: u32,
    names: &'static [&'static str],
}

const SECOND: Kind = Kind { name: "second", least: 0, most: 59, names: &[] };
const MINUTE: Kind = Kind { name: "minute", ..SECOND };
const HOUR: Kind = Kind { name: "hour", least: 0, most: 23, names: &[] };
const DAY_OF_MONTH: Kind = Kind { name: "day of the month", least: 1, most: 31, names: &[] };
const MONTH: Kind = Kind {
    name: "month",
    least: 1,
    most: 12,
    names: &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
};
const WEEKDAY: Kind = Kind {
    name: "day of the week",
    least: 0,
    most: 6,
    names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"],
};

impl FromStr for Cron {
    type Err = CronError;

    fn from_str(text: &str) -> Result<Self, CronError> {
        let fields: Vec<&str> = text.split_whitespace().collect();
        let [second, minute, hour, day, month, weekday] = fields[..] else {
            return Err(CronError::Fields { found: fields.len() });
        };
        Ok(Self {
            text: text.into(),
            seconds: SECOND.field(second)?,
            minutes: MINUTE.field(minute)?,
            hours: HOUR.field(hour)?,
            days: DAY_OF_MONTH.field(day)?,
            months: MONTH.field(month)?,
            weekdays: WEEKDAY.field(weekday)?,
        })
    }
}

impl fmt::Display for Cron {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.text)
    }
}

impl Cron {
    /// Returns the last run that was due at this moment or before; `None` if it never runs.
    #[must_use]
    pub fn previous(&self, at: Timestamp) -> Option<Timestamp> {
        let (mut date, now) = moment(at)?;
        let mut limit = Some(now);
        for _ in 0..HORIZON_DAYS {
            if self.runs_on(date)
                && let Some(second) = self.last_until(limit.unwrap_or(DAY))
            {
                return timestamp(date, second);
            }
            date = date.yesterday().ok()?;
            limit = None;
        }
        None
    }

    /// Returns the first run after this moment; `None` if it never runs.
    #[must_use]
    pub fn next(&self, after: Timestamp) -> Option<Timestamp> {
        let (mut date, now) = moment(after)?;
        let mut from = now + 1;
        for _ in 0..HORIZON_DAYS {
            if self.runs_on(date)
                && let Some(second) = self.first_from(from)
            {
                return timestamp(date, second);
            }
            date = date.tomorrow().ok()?;
            from = 0;
        }
        None
    }

    /// Returns the longest time between two runs that follow each other, from the run before this moment until 35 days
    /// after it: a rule that runs on working days has the weekend as its interval, so that no Sunday looks like a
    /// failure. A rule that runs more rarely has the time between the runs around this moment. `None` if it never runs.
    #[must_use]
    pub fn interval(&self, around: Timestamp) -> Option<Duration> {
        let (before, after) = (self.previous(around)?, self.next(around)?);
        let mut longest = u32::try_from(after.as_second() - before.as_second()).ok()?;
        longest = longest.max(self.longest_in_a_day());
        let (first, last) = (self.first_from(0)?, self.last_until(DAY)?);
        let ((mut date, _), (today, _)) = (moment(before)?, moment(around)?);
        let end = today.checked_add(COMING_DAYS.days()).ok()?;
        // Since the last day with a run.
        let mut days: u32 = 0;
        while date <= end {
            if self.runs_on(date) {
                if days > 0 {
                    longest = longest.max(days * DAY + first - last);
                }
                days = 0;
            }
            days += 1;
            date = date.tomorrow().ok()?;
        }
        Some(Duration::from_secs(longest.into()))
    }

    /// Days of the month and of the week add up if both are limited.
    fn runs_on(&self, date: Date) -> bool {
        let number = |number: i8| u32::try_from(number).unwrap_or_default();
        let day = self.days.has(number(date.day()));
        let weekday = self.weekdays.has(number(date.weekday().to_sunday_zero_offset()));
        let days = match (self.days.limits, self.weekdays.limits) {
            (Limits::Something, Limits::Something) => day || weekday,
            _ => day && weekday,
        };
        days && self.months.has(number(date.month()))
    }

    /// The first run of a day at this second of it or later.
    fn first_from(&self, from: u32) -> Option<u32> {
        self.times().find(|second| *second >= from)
    }

    /// The last run of a day at this second of it or earlier.
    fn last_until(&self, until: u32) -> Option<u32> {
        self.times().take_while(|second| *second <= until).last()
    }

    fn longest_in_a_day(&self) -> u32 {
        let later = self.times().skip(1);
        self.times().zip(later).map(|(one, next)| next - one).max().unwrap_or_default()
    }

    /// The seconds of a day at which it runs, in order.
    fn times(&self) -> impl Iterator<Item = u32> {
        self.hours.values().flat_map(move |hour| {
            self.minutes.values().flat_map(move |minute| {
                self.seconds.values().map(move |second| (hour * 60 + minute) * 60 + second)
            })
        })
    }
}

impl Field {
    fn has(self, value: u32) -> bool {
        1_u64.checked_shl(value).is_some_and(|bit| self.bits & bit != 0)
    }

    fn values(self) -> impl Iterator<Item = u32> {
        (0..u64::BITS).filter(move |value| self.has(*value))
    }
}

impl Kind {
    fn field(&self, text: &str) -> Result<Field, CronError> {
        let unreadable =
            || CronError::Field { name: self.name, text: text.into(), least: self.least, most: self.most };
        let mut field = Field { bits: 0, limits: Limits::Something };
        // As in Go, empty items of a list are passed over.
        for item in text.split(',').filter(|item| !item.is_empty()) {
            let (first, last, step) = self.range(item).ok_or_else(unreadable)?;
            if matches!(item, "*" | "?" | "*/1" | "?/1") {
                field.limits = Limits::Nothing;
            }
            for value in (first..=last).step_by(step) {
                field.bits |= 1_u64.checked_shl(value).unwrap_or_default();
            }
        }
        Ok(field)
    }

    /// Reads `*`, `a`, `a-b`, each perhaps with `/step`. A number with a step means all from it on.
    fn range(&self, item: &str) -> Option<(u32, u32, usize)> {
        let (range, step) = match item.split_once('/') {
            Some((range, step)) => (range, Some(number(step).filter(|step| *step > 0)?)),
            None => (item, None),
        };
        let (first, last) = match range.split_once('-') {
            _ if matches!(range, "*" | "?") => (self.least, self.most),
            Some((first, last)) => (self.value(first)?, self.value(last)?),
            None => {
                let first = self.value(range)?;
                (first, if step.is_some() { self.most } else { first })
            }
        };
        let fits = self.least <= first && first <= last && last <= self.most;
        fits.then_some((first, last, usize::try_from(step.unwrap_or(1)).ok()?))
    }

    fn value(&self, text: &str) -> Option<u32> {
        let named = self.names.iter().position(|name| name.eq_ignore_ascii_case(text));
        match named {
            Some(position) => Some(u32::try_from(position).ok()? + self.least),
            None => number(text),
        }
    }
}

/// Digits alone: no sign.
fn number(text: &str) -> Option<u32> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// The date in UTC, and the second of that day.
fn moment(at: Timestamp) -> Option<(Date, u32)> {
    let date = at.to_zoned(TimeZone::UTC).date();
    let second = at.as_second().rem_euclid(DAY.into());
    Some((date, u32::try_from(second).ok()?))
}

fn timestamp(date: Date, second: u32) -> Option<Timestamp> {
    let midnight = date.to_zoned(TimeZone::UTC).ok()?.timestamp().as_second();
    Timestamp::from_second(midnight + i64::from(second)).ok()
}

#[cfg(test)]
mod tests;
