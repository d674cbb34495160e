//! Random sequences of faults in time: no verdict that [`model`](super::model) does not permit, and everything in order again
//! within the times that the configuration promises.
//!
//! A failure names its seed and the shortest sequence that fails; `FAULTS_SEED=<seed>` repeats it.

use std::fmt;
use std::time::Duration;

use landfall::facade::demo::world::faults::{Fault, Scope};
use landfall::facade::demo::world::{Account, Embedded, Namespace, Permission, Reachable, Scan, Standing};
use landfall::facade::domain::finding::{Action, FindingKind};
use landfall::facade::domain::scan::Severity;
use landfall::facade::domain::verdict::Reason;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};
use reqwest::StatusCode;
use tokio::time::{Instant, sleep};

use super::ground::{Ground, REPOSITORY, Ruled, TAG};
use super::model::{ATTEMPT, CACHE, LEFT_OVER, Past, RECOVERY, REST, SLACK, Scanned, Took, Truth, Way};
use super::row::{Given, Site};
use super::support::metrics::name;
use super::support::wait::later;

/// Runners at once, each with a seed of its own, and the sequences of each.
const RUNNERS: u64 = 4;
const SEQUENCES: u32 = 16;

/// The Places, as they are counted here.
const NAMES: [&str; 2] = ["ams", "ijm"];

/// Something that happens.
#[derive(Clone)]
enum Event {
    Way(usize, Way),
    Held(usize, bool),
    Scanned(usize, Scanned),
    Wait(u64),
    Judge,
}

/// One line, also where proptest spreads things out.
impl fmt::Debug for Event {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Way(place, way) => write!(out, "{} is {way:?}", NAMES[*place]),
            Self::Held(place, true) => write!(out, "{} holds it", NAMES[*place]),
            Self::Held(place, false) => write!(out, "{} holds it not", NAMES[*place]),
            Self::Scanned(place, scanned) => write!(out, "{} scanned it: {scanned:?}", NAMES[*place]),
            Self::Wait(seconds) => write!(out, "{seconds} s pass"),
            Self::Judge => out.write_str("it is judged"),
        }
    }
}

fn event() -> impl Strategy<Value = Event> {
    use Way::*;
    let way = prop_oneof![
        3 => Just(Sound),
        1 => Just(Late),
        2 => any::<bool>().prop_map(Busy),
        4 => prop::sample::select(vec![Refuses, Unavailable, Html, WrongDigest, HangsUp, NoDatabase]),
        1 => Just(BadCredentials),
    ];
    let scanned = prop::sample::select(vec![Scanned::Clean, Scanned::Bad, Scanned::Never]);
    let place = || prop_oneof![2 => Just(0_usize), 1 => Just(1)];
    prop_oneof![
        4 => (place(), way).prop_map(|(place, way)| Event::Way(place, way)),
        2 => (place(), any::<bool>()).prop_map(|(place, held)| Event::Held(place, held)),
        2 => (place(), scanned).prop_map(|(place, scanned)| Event::Scanned(place, scanned)),
        4 => prop::sample::select(vec![1, 3, 7, 12, 25, 45, 70, 400, 700]).prop_map(Event::Wait),
        7 => Just(Event::Judge),
    ]
}

#[test]
fn no_sequence_of_faults_misleads_and_all_are_got_over() {
    let given = std::env::var("FAULTS_SEED").ok().map(|seed| seed.parse().unwrap());
    let seeds: Vec<u64> = match given {
        Some(seed) => vec![seed],
        None => (0..RUNNERS).map(|_| rand_seed()).collect(),
    };
    std::thread::scope(|scope| {
        let runs: Vec<_> = seeds.iter().map(|seed| (seed, scope.spawn(|| sequences(*seed)))).collect();
        for (seed, run) in runs {
            if let Err(wrong) = run.join().unwrap() {
                panic!("FAULTS_SEED={seed}: {wrong}");
            }
        }
    });
}

/// One that no other run has.
fn rand_seed() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(())
}

fn sequences(seed: u64) -> Result<(), String> {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let config =
        Config { cases: SEQUENCES, max_shrink_iters: 200, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    let sequence = prop::collection::vec(event(), 4..28);
    let ran = runner.run(&sequence, |events| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(run(&events)).map_err(TestCaseError::fail)
    });
    ran.map_err(|error| error.to_string())
}

/// What happened so far.
struct Course {
    ground: Ground,
    began: Instant,
    past: [Past; 2],
    took: [Took; 2],
    /// When a judgement last gave up waiting. What it left under way may end without an answer while time is moved on.
    gave_up: Option<Duration>,
}

async fn run(events: &[Event]) -> Result<(), String> {
    let given = Given { cache: CACHE, ..Given::default() };
    let ground = Ground::lay(&given, Site::SecondSound, Action::Block).await;
    let truth = Truth { way: Way::Sound, held: true, scanned: Scanned::Clean };
    let past = [Past::new(truth), Past::new(truth)];
    let mut course = Course { ground, began: Instant::now(), past, took: Default::default(), gave_up: None };
    // What belongs to a project is learned before it counts: Harbor's client remembers it in real time.
    for held in [false, true] {
        course.change(0, |truth| truth.held = held).await;
        course.judge().await?;
    }
    for event in events {
        match *event {
            Event::Way(place, way) => course.change(place, |truth| truth.way = way).await,
            Event::Held(place, held) => course.change(place, |truth| truth.held = held).await,
            Event::Scanned(place, scanned) => {
                course.change(place, |truth| truth.scanned = scanned).await;
            }
            Event::Wait(seconds) => pass(Duration::from_secs(seconds)).await,
            Event::Judge => course.judge().await?,
        }
    }
    for place in 0..2 {
        course.change(place, |now| *now = truth).await;
    }
    pass(RECOVERY).await;
    // On a busy machine a registry counts as slow: then the first who asks is told what is remembered, and the answer to his
    // question counts for the next.
    let until = Instant::now() + SLACK;
    loop {
        let Ruled { reason, place, findings } = course.ground.rule(ATTEMPT).await;
        match (reason, place.as_deref(), findings.as_slice()) {
            (Reason::Local, Some("ams"), []) => return Ok(()),
            _ if Instant::now() < until => sleep(Duration::from_millis(2)).await,
            _ => return Err(format!("not got over: {reason} at {place:?}, {findings:?}")),
        }
    }
}

/// In small steps, so that what ends on the way ends when it should.
async fn pass(time: Duration) {
    for _ in 0..time.as_secs() {
        later(Duration::from_secs(1)).await;
    }
}

impl Course {
    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    fn at(&self, place: usize) -> &Embedded {
        match place {
            0 => &self.ground.ams,
            _ => self.ground.ijm.as_ref().unwrap(),
        }
    }

    async fn change(&mut self, place: usize, change: impl FnOnce(&mut Truth)) {
        let mut truth = self.past[place].truth();
        change(&mut truth);
        let at = self.at(place);
        hold(at, &self.ground, truth);
        suffer(at, truth.way).await;
        let now = self.now();
        self.past[place].becomes(now, truth);
    }

    /// May the last answers of each Place have taken so long that what is remembered counts? On a busy machine they may.
    fn took_long(&mut self) -> [bool; 2] {
        let now = self.now();
        let page = self.ground.page();
        [0, 1].map(|n| {
            let of = |name| page.sum(name, &[("registry", NAMES[n])]);
            let probed = page.sum(name::HEALTH, &[("registry", NAMES[n]), ("state", "slow")]);
            self.took[n].until_now(now, of(name::LOOKUP_COUNT), of(name::LOOKUP_SECONDS)) || probed > 0.0
        })
    }

    /// Judges, and compares with what may be said.
    async fn judge(&mut self) -> Result<(), String> {
        // What counts was learned before, or is learned now, however long that takes on a busy machine.
        let now = self.now();
        let late = |past: &Past| past.ever(now, ATTEMPT, |truth| truth.way == Way::Late);
        // Who waits for late answers waits in real time.
        let patience = if self.past.iter().any(late) {
            self.gave_up = Some(now);
            Duration::from_millis(150)
        } else {
            ATTEMPT * 2
        };
        // Harbor takes 1.5 s for credentials that it does not know: a renewal, for which nobody waits, may be on its way
        // when time is moved on.
        if self.past.iter().any(|past| past.ever(now, ATTEMPT, |truth| truth.way == Way::BadCredentials)) {
            self.gave_up = Some(now);
        }
        let hurried = self.gave_up.is_some_and(|then| now - then <= LEFT_OVER);
        let before = self.took_long();
        let Ruled { reason, place, findings } = self.ground.rule(patience).await;
        let after = self.took_long();
        let hurried = [0, 1].map(|n| hurried || before[n] || after[n]);
        let said = || format!("after {:.0?}: {reason} at {place:?}, {findings:?}", now);
        for (n, name) in NAMES.into_iter().enumerate() {
            // What is known to be vulnerable at one Place is so at every other.
            let may = |kind: FindingKind| match kind {
                FindingKind::Vulnerable => (0..2).any(|n| self.past[n].may_be_found(now, hurried[n], kind)),
                _ => self.past[n].may_be_found(now, hurried[n], kind),
            };
            let found: Vec<FindingKind> =
                findings.iter().filter(|(at, _)| at == name).map(|(_, kind)| *kind).collect();
            if let Some(kind) = found.iter().find(|kind| !may(**kind)) {
                return Err(format!("{}; nothing accounts for {kind} at {name}", said()));
            }
            if found.contains(&FindingKind::Missing) {
                self.past[n].missed(now);
            }
            match (reason, place.as_deref() == Some(name), found.is_empty()) {
                (Reason::Local, true, true) if self.past[n].may_serve(now, hurried[n]) => {
                    return Ok(());
                }
                (Reason::Local | Reason::Denied, false, false) => {}
                _ => return Err(format!("{}; nothing accounts for that at {name}", said())),
            }
        }
        if reason == Reason::Denied { Ok(()) } else { Err(said()) }
    }
}

/// What it holds, and what its scanner says of that.
fn hold(at: &Embedded, ground: &Ground, truth: Truth) {
    let mut store = at.store();
    match truth.held {
        true => _ = store.push(REPOSITORY, TAG, &ground.content),
        false => store.delete(REPOSITORY, &ground.content.digest),
    }
    store.set_scan(
        &ground.content.digest,
        match truth.scanned {
            Scanned::Clean => Scan::clean(),
            Scanned::Bad => Scan::found(&[("CVE-2026-1", Severity::Critical)]),
            Scanned::Never => Scan::NotScanned,
        },
    );
}

/// How it answers from now on.
async fn suffer(at: &Embedded, way: Way) {
    match way {
        Way::Refuses => at.down().await,
        _ => at.up().await,
    }
    let robot = Account::robot("landfall", Namespace::All, &Permission::ALL);
    let standing = if way == Way::BadCredentials { Standing::Disabled } else { Standing::Active };
    let mut store = at.store();
    store.add_account(robot.standing(standing));
    store.database = if way == Way::NoDatabase { Reachable::Down } else { Reachable::Up };
    drop(store);
    let mut faults = at.faults();
    faults.clear();
    let fault = match way {
        Way::Sound | Way::Refuses | Way::NoDatabase | Way::BadCredentials => return,
        Way::Late => Fault::Delay(Duration::from_secs(60)),
        Way::Busy(false) => Fault::Status(StatusCode::TOO_MANY_REQUESTS),
        Way::Busy(true) => Fault::RetryAfter(StatusCode::TOO_MANY_REQUESTS, REST.as_secs()),
        Way::Unavailable => Fault::Html(StatusCode::SERVICE_UNAVAILABLE),
        Way::Html => Fault::Html(StatusCode::OK),
        Way::WrongDigest => Fault::WrongDigest,
        Way::HangsUp => Fault::HangUp,
    };
    faults.add(Scope::Everything, fault);
}
