//! Which answer counts when. The time is an argument.

use proptest::prelude::*;

use super::*;
use crate::domain::digest::Digest;
use crate::domain::evidence::Shape;
use crate::domain::image::{Repository, Tag};
use crate::domain::scan::{Detail, Severity};
use crate::evidence::invalidation::Epochs;
use crate::evidence::question::UpstreamId;

const SECOND: Duration = Duration::from_secs(1);
const LIFE: CacheLife = CacheLife {
    present: Duration::from_secs(600),
    remember: Duration::from_secs(24 * 3600),
    tag: Duration::from_secs(30),
    absent: Duration::from_secs(10),
    scan: Duration::from_secs(300),
    entries: 1000,
};

/// One question over time.
struct Story {
    epochs: Epochs,
    began: Instant,
    now: Instant,
    question: Question,
    cached: Option<Arc<CachedAnswer>>,
}

impl Story {
    fn of(what: What) -> Self {
        let began = Instant::now();
        let question = Question { upstream: UpstreamId(0), repository: Repository::new("p/r"), what };
        Self { epochs: Epochs::default(), began, now: began, question, cached: None }
    }

    fn view(&self) -> View<'_> {
        View { now: self.now, life: &LIFE, epochs: &self.epochs }
    }

    fn at(&mut self, seconds: u32) -> &mut Self {
        self.now = self.began + SECOND * seconds;
        self
    }

    /// A look-up ends now with this answer.
    fn learned(&mut self, answer: Observation) -> &mut Self {
        let epoch = self.epochs.epoch();
        self.learned_late(answer, epoch)
    }

    /// The same, for a look-up that began in this epoch.
    fn learned_late(&mut self, answer: Observation, epoch: Epoch) -> &mut Self {
        let previous = self.cached.take();
        let cached =
            CachedAnswer::new(self.question.clone(), answer, epoch, 0.0, previous.as_ref(), &self.view());
        self.cached = Some(Arc::new(cached));
        self
    }

    fn cached(&self) -> &Arc<CachedAnswer> {
        self.cached.as_ref().unwrap()
    }

    fn is_fresh(&self) -> bool {
        self.cached().is_fresh(&self.view())
    }

    /// What is served, and its age in seconds.
    fn told(&self) -> (Observation, u64) {
        let told = self.cached().serve(&self.view());
        (told.observation, told.age.as_secs())
    }

    /// What is served if there is no answer in time.
    fn silence(&self, cause: Cause) -> (Observation, u64) {
        let unknown = Unknown::new(cause, "silence");
        let told =
            CachedAnswer::serve_unknown(self.question.aspect(), unknown, self.cached.as_ref(), &self.view());
        (told.observation, told.age.as_secs())
    }
}

const DIGEST: Digest = Digest::Sha256([1; 32]);

fn present() -> Observation {
    Observation::Presence(Presence::Present { digest: DIGEST, shape: Shape::Manifest })
}

fn absent() -> Observation {
    Observation::Presence(Presence::Absent)
}

fn silent(cause: Cause) -> Observation {
    Observation::Presence(Presence::Unknown(Unknown::new(cause, "silence")))
}

fn scan(state: ScanState) -> Observation {
    Observation::Scan(ScanAnswer { scanner: Scanner::Present, state, last: None })
}

fn done(severity: Severity) -> Observation {
    scan(ScanState::Done(Report { severity, finished: None, vulnerabilities: None }))
}

fn last(told: &Observation) -> Option<Severity> {
    let Observation::Scan(answer) = told else { panic!("{told:?}") };
    answer.last.as_ref().map(|report| report.severity)
}

const SLOW: [Cause; 4] = [
    Cause::Deadline,
    Cause::Overloaded,
    Cause::RateLimited { retry_after: None },
    Cause::RateLimited { retry_after: Some(Duration::from_secs(1)) },
];
const DOWN: [Cause; 8] = [
    Cause::Connect,
    Cause::Tls,
    Cause::Broken,
    Cause::ServerError,
    Cause::BreakerOpen,
    Cause::Drained,
    Cause::Unauthorized,
    Cause::NotRegistry,
];

#[test]
fn presence_by_digest_counts_while_its_registry_is_slow_and_not_while_it_is_down() {
    for cause in SLOW {
        let mut story = Story::of(What::Digest(DIGEST));
        story.learned(present()).at(3600);
        assert!(!story.is_fresh());
        assert_eq!(story.silence(cause), (present(), 3600), "{cause:?}");
        story.learned(silent(cause));
        assert_eq!(story.told(), (present(), 3600), "{cause:?}");
        // One unknown answer after another. Its age is its own.
        story.at(7200).learned(silent(cause));
        assert_eq!(story.told(), (present(), 7200), "{cause:?}");
        assert_eq!(story.at(24 * 3600).told(), (present(), 24 * 3600), "{cause:?}");
        assert_eq!(story.at(24 * 3600 + 1).told().0, silent(cause), "{cause:?}");
    }
    for cause in DOWN {
        let mut story = Story::of(What::Digest(DIGEST));
        story.learned(present()).at(3600);
        assert_eq!(story.silence(cause).0, silent(cause), "{cause:?}");
        story.learned(silent(cause));
        assert_eq!(story.told().0, silent(cause), "{cause:?}");
        // It is up again, but slow.
        story.at(3700).learned(silent(Cause::Deadline));
        assert_eq!(story.told(), (present(), 3700), "{cause:?}");
    }
}

#[test]
fn an_answer_ends_what_was_remembered() {
    let other = Observation::Presence(Presence::Refused("412".into()));
    for answer in [absent(), other, silent(Cause::WrongDigest)] {
        let mut story = Story::of(What::Digest(DIGEST));
        story.learned(present()).at(700).learned(answer.clone());
        assert_eq!(story.told().0, answer);
        story.at(800).learned(silent(Cause::Deadline));
        assert_eq!(story.told().0, silent(Cause::Deadline), "{answer:?}");
    }
}

#[test]
fn what_a_tag_stood_for_here_is_not_remembered_and_what_it_meant_there_is() {
    let mut here = Story::of(What::Tag(Tag::new("v1")));
    here.learned(present()).at(60);
    assert_eq!(here.silence(Cause::Deadline).0, silent(Cause::Deadline));

    let known = Observation::TagDigest(TagDigest::Known(DIGEST));
    let mut there = Story::of(What::Meaning(Tag::new("v1")));
    there.learned(known.clone()).at(3600);
    for cause in SLOW.into_iter().chain(DOWN) {
        assert_eq!(there.silence(cause), (known.clone(), 3600));
    }
    there.learned(Observation::TagDigest(TagDigest::Absent)).at(3700);
    assert_eq!(
        there.silence(Cause::Deadline).0,
        unanswered(Aspect::TagDigest, Unknown::new(Cause::Deadline, "silence"))
    );
}

/// A story in which the process starts now, and reads this answer of that age, in seconds, from the inventory. It is asked again
/// after so many.
fn started(what: What, answer: Observation, age: u32, again: u32) -> Story {
    let mut story = Story::of(what);
    let learned = story.began - SECOND * age;
    let origin = Origin::Start { renewed_at: age + again };
    let (question, epoch) = (story.question.clone(), story.epochs.epoch());
    story.cached = Some(Arc::new(CachedAnswer::inherited(question, answer, learned, origin, epoch, 0.0)));
    story
}

#[test]
fn what_was_read_at_the_start_is_told_at_once_for_minutes_and_then_remembered() {
    let counts = |story: &mut Story, at: u32| {
        story.at(at);
        story.cached().counts_at_start(&story.view())
    };
    let tag = || What::Tag(Tag::new("v1"));
    for (what, answer, age, again, until) in [
        (What::Digest(DIGEST), present(), 10, 400, 1000_u32),
        // Remembered for a day in all.
        (What::Digest(DIGEST), present(), 24 * 3600 - 60, 400, 61),
        (What::Scan(DIGEST, Detail::Summary), done(Severity::Low), 900, 0, 600),
        (tag(), present(), 900, 0, 300),
        (tag(), present(), 3500, 0, 101),
        (tag(), present(), 3601, 0, 0),
    ] {
        let mut story = started(what.clone(), answer.clone(), age, again);
        assert!(!story.is_fresh(), "it is never as good as one of ours: {what:?}");
        for at in [0, until / 2, until.saturating_sub(1)].into_iter().filter(|at| *at < until) {
            assert!(counts(&mut story, at), "{what:?} {at}");
            assert_eq!(story.cached().is_due_since_start(story.now), at >= again, "{what:?} {at}");
            // Nodes cannot pull from a registry that is down.
            if let Observation::Presence(_) = answer {
                assert_eq!(story.silence(Cause::Connect).0, silent(Cause::Connect), "{what:?} {at}");
                assert_eq!(story.silence(Cause::Deadline).0, present(), "{what:?} {at}");
            }
        }
        assert!(!counts(&mut story, until), "{what:?}");
        let slow = story.silence(Cause::Deadline).0;
        match what {
            What::Tag(_) => assert_eq!(slow, silent(Cause::Deadline), "it may have moved"),
            What::Digest(_) if age < 3600 => assert_eq!(slow, present()),
            _ => {}
        }
        // Whatever ends one of ours ends it.
        let scopes = [Scope::Registry, Scope::Repository(Repository::new("p/r")), Scope::Digest(DIGEST)];
        for scope in scopes.into_iter().filter(|_| until > 0) {
            let mut story = started(what.clone(), answer.clone(), age, again);
            story.epochs.invalidate(scope.clone());
            assert!(!counts(&mut story, 0), "{what:?} {scope:?}");
        }
    }
}

#[test]
fn behind_a_look_up_that_brings_nothing_a_tag_counts_as_long_as_it_did() {
    let mut story = started(What::Tag(Tag::new("v1")), present(), 60, 0);
    story.at(10).learned(silent(Cause::Deadline));
    assert_eq!(story.told(), (present(), 70));
    story.at(20).learned(silent(Cause::Connect));
    assert_eq!(story.told().0, silent(Cause::Connect), "it is down");
    story.at(30).learned(silent(Cause::Overloaded));
    assert_eq!(story.at(299).told(), (present(), 359));
    assert_eq!(story.at(300).told().0, silent(Cause::Overloaded));
    // Any answer ends it.
    story.at(40).learned(absent()).at(50).learned(silent(Cause::Deadline));
    assert_eq!(story.told().0, silent(Cause::Deadline));
}

#[test]
fn what_is_written_into_an_inventory_is_known_and_not_outdated() {
    let kept = |story: &Story| story.cached().worth_keeping(&story.view()).map(|(answer, _)| answer);
    let mut story = Story::of(What::Digest(DIGEST));
    assert_eq!(kept(story.learned(present()).at(3000)), Some(present()));
    assert_eq!(
        kept(story.learned(silent(Cause::Connect))),
        Some(present()),
        "behind an unknown answer it is remembered"
    );
    story.epochs.invalidate(Scope::Digest(DIGEST));
    assert_eq!(kept(&story), None);
    assert_eq!(kept(story.learned(silent(Cause::Deadline))), None);
    let mut tag = Story::of(What::Tag(Tag::new("v1")));
    assert_eq!(kept(tag.learned(present()).at(3600)), Some(present()));
    assert_eq!(kept(tag.at(3601)), None);
    assert_eq!(kept(tag.at(20).learned(silent(Cause::Deadline))), None, "a tag is not remembered");
}

#[test]
fn a_tag_is_told_at_once_for_as_long_again_as_it_was_fresh() {
    let mut story = Story::of(What::Tag(Tag::new("v1")));
    story.learned(present()).at(59);
    let told = |story: &Story| {
        let told = story.cached().told_at_once(&story.view())?;
        Some((told.observation, told.age.as_secs(), (told.fresh_until - story.now).as_secs()))
    };
    assert!(!story.is_fresh() && story.cached().is_of_use(story.now, &LIFE));
    assert_eq!(told(&story), Some((present(), 59, 1)));
    story.at(61);
    // It is kept for the inventory alone.
    assert!(told(&story).is_none() && story.cached().is_of_use(story.now, &LIFE));
    story.at(3601);
    assert!(!story.cached().is_of_use(story.now, &LIFE));
    // Somebody said that it was pushed again.
    story.at(40).epochs.invalidate(Scope::Tag(Repository::new("p/r"), Tag::new("v1")));
    assert!(told(&story).is_none());

    let mut story = Story::of(What::Tag(Tag::new("v1")));
    story.learned(absent()).at(15);
    assert!(told(&story).is_none(), "an image may have come meanwhile");
}

#[test]
fn a_finished_scan_stays_the_last_one_whatever_its_age() {
    for severity in [Severity::None, Severity::Critical] {
        let mut story = Story::of(What::Scan(DIGEST, Detail::Summary));
        story.learned(done(severity));
        for day in 1..10 {
            story.at(day * 24 * 3600).learned(scan(ScanState::Pending));
            assert_eq!(last(&story.told().0), Some(severity), "day {day}");
            assert!(story.cached().is_of_use(story.now, &LIFE));
        }
        story.learned(done(Severity::Low));
        assert_eq!(last(&story.told().0), None, "the newer one stands for itself");
        story.learned(scan(ScanState::ScannerDown));
        assert_eq!(last(&story.told().0), Some(Severity::Low));
    }
}

#[test]
fn silence_does_not_bring_back_a_scan_that_is_said_to_be_gone() {
    let mut story = Story::of(What::Scan(DIGEST, Detail::Summary));
    story.at(0).learned(done(Severity::High));
    let mut bytes = None;
    for hour in 1..100 {
        story.at(hour * 400).learned(scan(ScanState::NotScanned));
        story.at(hour * 400 + 20).learned(silence_of_scans());
        let (told, age) = story.told();
        assert!(
            matches!(&told, Observation::Scan(ScanAnswer { state: ScanState::NotScanned, .. })),
            "{told:?}"
        );
        assert_eq!((last(&told), age), (Some(Severity::High), 20), "and yet a bad one is not forgotten");
        // However often it is answered, it is kept once.
        assert_eq!(*bytes.get_or_insert(story.cached().bytes()), story.cached().bytes());
    }
    // While a scan is under way the last one may still count.
    story.at(40_000).learned(done(Severity::Low)).at(40_400).learned(scan(ScanState::Pending));
    let (told, _) = story.at(40_420).silence(Cause::Deadline);
    assert!(matches!(&told, Observation::Scan(ScanAnswer { state: ScanState::Unknown(_), .. })), "{told:?}");
    assert_eq!(last(&told), Some(Severity::Low));
}

fn silence_of_scans() -> Observation {
    let state = ScanState::Unknown(Unknown::new(Cause::Deadline, "silence"));
    Observation::Scan(ScanAnswer { scanner: Scanner::Unknown, state, last: None })
}

#[test]
fn silence_is_short_at_first_and_longer_each_time_and_never_longer_than_absence() {
    let mut story = Story::of(What::Digest(DIGEST));
    let mut at = 0;
    for expected in [1, 2, 4, 8, 10, 10] {
        story.at(at).learned(silent(Cause::Connect));
        assert!(story.at(at + expected - 1).is_fresh(), "{expected}");
        assert!(!story.at(at + expected).is_fresh(), "{expected}");
        at += expected;
    }
    story.at(at).learned(present()).at(at + 600).learned(silent(Cause::Connect));
    assert!(!story.at(at + 601).is_fresh(), "an answer ends the row");
    // What somebody must fix is not asked every second.
    story.learned(absent()).learned(silent(Cause::Unauthorized));
    assert!(story.at(at + 610).is_fresh() && !story.at(at + 611).is_fresh());
}

#[test]
fn whoever_was_down_is_asked_again_when_it_is_back() {
    let mut story = Story::of(What::Digest(DIGEST));
    for _ in 0..4 {
        story.learned(silent(Cause::Connect));
    }
    story.epochs.notice_down(true);
    assert!(story.at(7).is_fresh());
    story.epochs.notice_down(false);
    assert!(!story.is_fresh());
    story.learned(silent(Cause::Connect));
    assert!(!story.at(8).is_fresh(), "the row is over");

    let wish = Cause::RateLimited { retry_after: Some(Duration::from_secs(60)) };
    story.learned(silent(wish));
    story.epochs.notice_down(true);
    story.epochs.notice_down(false);
    assert!(story.at(67).is_fresh(), "but who wants rest gets it");
    story.learned(present());
    story.epochs.notice_down(true);
    story.epochs.notice_down(false);
    assert!(story.is_fresh());
}

#[test]
fn an_invalidation_ends_presence_and_its_memory_and_of_a_scan_the_freshness() {
    let digest = || Scope::Digest(DIGEST);
    let repository = || Scope::Repository(Repository::new("p/r"));
    for scope in [digest(), repository(), Scope::Registry] {
        let mut story = Story::of(What::Digest(DIGEST));
        story.learned(present()).learned(present()).at(700).learned(silent(Cause::Deadline));
        story.epochs.invalidate(scope.clone());
        assert!(!story.is_fresh());
        assert_eq!(story.silence(Cause::Deadline).0, silent(Cause::Deadline), "{scope:?}");
        assert_eq!(story.told().0, silent(Cause::Deadline), "{scope:?}");

        let mut story = Story::of(What::Scan(DIGEST, Detail::Summary));
        story.learned(done(Severity::Critical));
        story.epochs.invalidate(scope.clone());
        assert!(!story.is_fresh());
        story.learned(scan(ScanState::Pending));
        assert_eq!(last(&story.told().0), Some(Severity::Critical), "{scope:?}");
    }
    let tag = || Tag::new("v1");
    let by_tag = |scope: Scope| {
        let mut story = Story::of(What::Tag(tag()));
        story.learned(present());
        story.epochs.invalidate(scope);
        story.is_fresh()
    };
    assert!(!by_tag(Scope::Tag(Repository::new("p/r"), tag())));
    assert!(!by_tag(digest()), "the digest that it stood for");
    assert!(!by_tag(repository()));
    assert!(by_tag(Scope::Tag(Repository::new("p/r"), Tag::new("v10"))));
    assert!(by_tag(Scope::Tag(Repository::new("p/r/s"), tag())));
    assert!(by_tag(Scope::Repository(Repository::new("p"))));
    assert!(by_tag(Scope::Repository(Repository::new("p/r/s"))));

    let child = crate::domain::evidence::Child { digest: DIGEST, platform: None };
    let mut story = Story::of(What::Children(DIGEST));
    story.learned(Observation::Children(Children::Listed([child].into())));
    story.epochs.invalidate(Scope::Registry);
    assert!(story.at(30 * 24 * 3600).is_fresh(), "what the digest names cannot change");
}

#[test]
fn what_was_under_way_when_something_changed_is_not_fresh_when_it_lands() {
    let mut story = Story::of(What::Digest(DIGEST));
    let asked = story.epochs.epoch();
    story.epochs.invalidate(Scope::Digest(DIGEST));
    story.learned_late(present(), asked);
    assert!(!story.is_fresh());
    assert_eq!(story.silence(Cause::Deadline).0, silent(Cause::Deadline));
    story.learned(present());
    assert!(story.is_fresh());
}

#[test]
fn other_credentials_end_what_may_be_otherwise_under_them() {
    for answer in [absent(), silent(Cause::Unauthorized), silent(Cause::Forbidden)] {
        let mut story = Story::of(What::Digest(DIGEST));
        story.learned(answer);
        assert!(story.is_fresh());
        story.epochs.notice_credentials(1);
        assert!(!story.is_fresh());
    }
    let mut story = Story::of(What::Digest(DIGEST));
    story.learned(present());
    story.epochs.notice_credentials(1);
    assert!(story.is_fresh(), "it is there, whoever asks");
    let mut story = Story::of(What::Scan(DIGEST, Detail::Summary));
    story.learned(scan(ScanState::Hidden));
    story.epochs.notice_credentials(1);
    assert!(!story.is_fresh());
}

#[test]
fn only_what_is_asked_for_often_is_due_and_only_near_its_end_and_only_once() {
    let mut story = Story::of(What::Digest(DIGEST));
    story.learned(present());
    let due = |story: &Story| story.cached().count_hit_and_check_due(&story.view());
    let until = |story: &Story| {
        let told = story.cached().serve(&story.view());
        told.fresh_until.saturating_duration_since(story.now).as_secs()
    };
    assert_eq!(until(&story), 480);
    assert!(!due(story.at(1)) && !due(story.at(2)) && !due(story.at(3)) && !due(story.at(479)));
    assert!(due(story.at(480)));
    assert_eq!(until(&story), 0, "who keeps verdicts comes back here");
    assert!(story.cached().start_renewal() && !story.cached().start_renewal());
    assert!(!due(&story));
    assert_eq!(until(&story), 120);

    story.at(1000).learned(present());
    assert!(!due(story.at(1590)) && !due(&story), "twice is not often");
    assert!(due(&story));

    story.at(2000).learned(silent(Cause::Unauthorized));
    assert!(!(0..5).any(|_| due(story.at(2009))), "silence ends by itself");
    assert_eq!(until(&story), 0);
}

/// What may happen to the cached answer of a digest.
#[derive(Debug, Clone, Copy)]
enum Event {
    /// So many seconds pass.
    Wait(u32),
    /// Its look-up begins.
    Ask,
    /// A look-up ends, the one that began last.
    Present,
    Absent,
    Silent(Cause),
    /// Its registry notified us that it changed.
    Changed,
}

fn event() -> impl Strategy<Value = Event> {
    let cause = prop_oneof![
        Just(Cause::Deadline),
        Just(Cause::Overloaded),
        Just(Cause::Connect),
        Just(Cause::Unauthorized),
        Just(Cause::WrongDigest),
    ];
    prop_oneof![
        3 => (0_u32..40_000).prop_map(Event::Wait),
        3 => Just(Event::Ask),
        3 => Just(Event::Present),
        1 => Just(Event::Absent),
        3 => cause.prop_map(Event::Silent),
        1 => Just(Event::Changed),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    /// Compared with a model: while the registry is slow, a presence is served exactly as long as it was seen within a day
    /// and no answer since said otherwise. Behind any other cause it is never served. And an answer that may be served
    /// is never dropped as useless.
    #[test]
    fn presence_behind_silence_is_what_the_model_says(events in proptest::collection::vec(event(), 1..40)) {
        let mut story = Story::of(What::Digest(DIGEST));
        let mut asked = story.epochs.epoch();
        let (mut seconds, mut changed, mut seen) = (0, false, None);
        for event in events {
            match event {
                Event::Wait(time) => {
                    seconds += time;
                    story.at(seconds);
                }
                Event::Ask => (asked, changed) = (story.epochs.epoch(), false),
                Event::Present => {
                    story.learned_late(present(), asked);
                    seen = (!changed).then_some(seconds);
                }
                Event::Absent => {
                    story.learned_late(absent(), asked);
                    seen = None;
                }
                Event::Silent(cause) => {
                    story.learned_late(silent(cause), asked);
                    seen = seen.filter(|_| cause != Cause::WrongDigest);
                }
                Event::Changed => {
                    story.epochs.invalidate(Scope::Digest(DIGEST));
                    (changed, seen) = (true, None);
                }
            }
            let age = seen.map(|then| seconds - then).filter(|age| *age <= 24 * 3600);
            // An answer that is too old is never served again.
            seen = seen.filter(|_| age.is_some());
            let expected = age.map_or((silent(Cause::Deadline), 0), |age| (present(), age.into()));
            prop_assert_eq!(story.silence(Cause::Deadline), expected);
            prop_assert_eq!(story.silence(Cause::Connect).0, silent(Cause::Connect));
            if let (Some(cached), Some(_)) = (&story.cached, age) {
                prop_assert!(cached.is_of_use(story.now, &LIFE));
            }
        }
    }
}
