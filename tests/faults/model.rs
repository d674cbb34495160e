//! The model: what may be said of a Place, given what was true of it and when.
//!
//! It knows nothing of how Landfall remembers. It knows the promises: an answer counts for its time to live, what was
//! proved counts on for `remember` while the registry is merely slow, trouble is forgotten soon after it has ended.

use std::time::Duration;

use landfall::facade::domain::finding::FindingKind;

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// The promises, as the configuration states them; see [`CACHE`].
const PRESENT: Duration = seconds(60);
const SCAN: Duration = seconds(30);
const ABSENT: Duration = seconds(5);
const REMEMBER: Duration = seconds(600);
/// `cache`
pub const CACHE: &str = "present: 60s, remember: 600s, tag: 5s, absent: 5s, scan: 30s";

/// How long an attempt may take.
pub const ATTEMPT: Duration = seconds(10);
/// How long a registry asks to be left alone.
pub const REST: Duration = seconds(20);
/// A breaker's longest period, and the quarter by which chance lengthens it.
const BREAKER: Duration = seconds(38);
/// Between a question and its answer real time passes, and the machine may be busy.
pub const SLACK: Duration = seconds(5);

/// An answer that takes longer counts as slow, until one comes that does not.
const NOTICED: Duration = Duration::from_millis(50);

/// How long what a judgement left under way may still show.
pub const LEFT_OVER: Duration = seconds(ATTEMPT.as_secs() + ABSENT.as_secs() + SLACK.as_secs());

/// How a registry answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Sound,
    /// A minute for an answer.
    Late,
    /// 429; with or without `Retry-After`.
    Busy(bool),
    /// Refused, 503, HTML, another digest, hung up, no database.
    Refuses,
    Unavailable,
    Html,
    WrongDigest,
    HangsUp,
    NoDatabase,
    /// Our robot is disabled.
    BadCredentials,
}

/// What its scanner says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scanned {
    Clean,
    Bad,
    Never,
}

/// What is true of a Place.
#[derive(Debug, Clone, Copy)]
pub struct Truth {
    pub way: Way,
    pub held: bool,
    pub scanned: Scanned,
}

impl Truth {
    /// What it says of absence and of scans is true.
    fn tells(&self) -> bool {
        // A wrong digest is a lie about presence alone.
        matches!(self.way, Way::Sound | Way::WrongDigest)
    }
}

/// What was true of a Place, each from a moment on.
pub struct Past {
    since: Vec<(Duration, Truth)>,
    /// When it was last said to be missing: no older proof counts after that.
    missed: Option<Duration>,
}

/// How long the answers of a Place took.
#[derive(Default)]
pub struct Took {
    answers: f64,
    seconds: f64,
    /// When it was last known that one took long; the last that came, or another one whose end may still show.
    long: Option<Duration>,
    last_was_long: bool,
}

impl Took {
    /// So many answers came until now, and all of them together took so many seconds: may what came of a long one still show?
    pub fn until_now(&mut self, now: Duration, answers: f64, seconds: f64) -> bool {
        if answers > self.answers {
            self.last_was_long = seconds - self.seconds > NOTICED.as_secs_f64();
            (self.answers, self.seconds) = (answers, seconds);
        }
        if self.last_was_long {
            self.long = Some(now);
        }
        self.long.is_some_and(|long| now - long <= LEFT_OVER)
    }
}

impl Past {
    pub fn new(truth: Truth) -> Self {
        Self { since: vec![(Duration::ZERO, truth)], missed: None }
    }

    pub fn truth(&self) -> Truth {
        self.since.last().unwrap().1
    }

    pub fn becomes(&mut self, now: Duration, truth: Truth) {
        self.since.push((now, truth));
    }

    /// Was this ever so, from so long ago until now?
    pub fn ever(&self, now: Duration, ago: Duration, was: impl Fn(&Truth) -> bool) -> bool {
        self.ever_from(now.saturating_sub(ago + SLACK), was)
    }

    fn ever_from(&self, from: Duration, was: impl Fn(&Truth) -> bool) -> bool {
        let ends = self.since.iter().skip(1).map(|(at, _)| *at).chain([Duration::MAX]);
        self.since.iter().zip(ends).any(|((_, truth), end)| end >= from && was(truth))
    }

    /// May this Place be said to hold it, scanned clean? Who is hurried takes what is remembered: no time was left to ask,
    /// or the last answer took long.
    pub fn may_serve(&self, now: Duration, hurried: bool) -> bool {
        let held = |truth: &Truth| truth.held && truth.way == Way::Sound;
        let clean = |truth: &Truth| truth.scanned == Scanned::Clean && truth.tells();
        let slow = |truth: &Truth| matches!(truth.way, Way::Late | Way::Busy(_));
        let slow = hurried || self.ever(now, ATTEMPT + REST, slow);
        // A proof from before it was missed is none.
        let proof = now.saturating_sub(REMEMBER + SLACK).max(self.missed.unwrap_or_default());
        let present = self.ever(now, PRESENT, held) || slow && self.ever_from(proof, held);
        present && (self.ever(now, SCAN, clean) || slow && self.ever(now, REMEMBER, clean))
    }

    /// May this be found here?
    pub fn may_be_found(&self, now: Duration, hurried: bool, finding: FindingKind) -> bool {
        let trouble = ABSENT + ATTEMPT + BREAKER;
        match finding {
            FindingKind::Missing => self.ever(now, ABSENT, |truth| !truth.held && truth.tells()),
            FindingKind::Unscanned => {
                let never = |truth: &Truth| truth.scanned == Scanned::Never && truth.tells();
                // What was said to be unscanned stays so while nobody says otherwise.
                let silent = hurried || self.ever(now, trouble + REST, |truth| truth.way != Way::Sound);
                // Of what it does not hold, it knows no scan either.
                self.ever(now, ABSENT, |truth| never(truth) || !truth.held)
                    || silent && self.ever(now, REMEMBER, never)
            }
            // A bad scan counts until a newer one is learned, for which nobody waits who is hurried.
            FindingKind::Vulnerable => {
                let bad = |truth: &Truth| truth.scanned == Scanned::Bad && truth.tells();
                let other = |truth: &Truth| truth.scanned != Scanned::Clean || !truth.tells();
                self.ever(now, REMEMBER, bad) && (hurried || self.ever(now, SCAN + trouble, other))
            }
            FindingKind::Deadline => {
                hurried || self.ever(now, ABSENT + ATTEMPT, |truth| truth.way == Way::Late)
            }
            FindingKind::RateLimited => {
                self.ever(now, ABSENT.max(REST), |truth| matches!(truth.way, Way::Busy(_)))
            }
            FindingKind::Unauthorized => self.ever(now, ABSENT, |truth| truth.way == Way::BadCredentials),
            FindingKind::Unreachable => {
                self.ever(now, trouble, |truth| !matches!(truth.way, Way::Sound | Way::Late | Way::Busy(_)))
            }
            _ => false,
        }
    }

    pub fn missed(&mut self, now: Duration) {
        self.missed = Some(now.saturating_sub(ABSENT + SLACK));
    }
}

/// After so much time in order, everything is known again as it is.
pub const RECOVERY: Duration =
    seconds(SCAN.as_secs() + ABSENT.as_secs() + BREAKER.as_secs() + REST.as_secs());
