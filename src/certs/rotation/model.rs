//! A model of three replicas, of which two always believe that they lead, a Secret, two webhook configurations, and
//! everything that may happen to them. The entries of the second configuration come and go; beside them stands the bundle
//! that new ones are written with. A replica reads and writes in single steps; anything may happen between two steps.

use std::ops::Range;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use super::*;
use crate::certs::{LeafDates, Renewal, later, renewal};

const PERIODS: Periods = Periods {
    authority: Duration::from_secs(1000),
    leaf: Duration::from_secs(100),
    settle: Duration::from_secs(10),
};
/// How old a configuration may be that an API server still uses, in seconds.
const LAG: i64 = 8;
/// The entries of the first configuration.
const ENTRIES: usize = 2;
/// The first configuration, whose entries the chart renders, and the second one, whose entries we write.
const MUTATING: usize = 0;
const VALIDATING: usize = 1;

#[derive(Debug, Clone)]
enum Event {
    /// A replica takes its next single step.
    Go(usize),
    /// Seconds pass.
    Pass(i64),
    /// A replica starts again.
    Crash(usize),
    /// The wall clock of a replica is set: it is wrong by so many seconds.
    Clock(usize, i64),
    /// Somebody damages the Secret.
    Damage(Damage),
    /// Somebody overwrites a bundle of one configuration: with nothing, or with an older one.
    Overwrite(usize, usize, Option<usize>),
    /// A leader takes its next step to have so many entries in the second configuration.
    Keep(usize, usize),
}

#[derive(Debug, Clone)]
enum Damage {
    Emptied,
    NoCurrentKey,
    NoNextKey,
    Restored(usize),
}

/// What a replica has read so far.
#[derive(Debug, Clone, Default)]
enum Reading {
    #[default]
    Nothing,
    First {
        mutating: usize,
        since: i64,
    },
    Both {
        versions: [usize; 2],
        since: i64,
    },
    All {
        versions: [usize; 2],
        secret: usize,
        since: i64,
    },
}

#[derive(Debug, Default)]
struct Replica {
    clock: i64,
    leaf: Option<(LeafDates, i64)>,
    reading: Reading,
    /// The version of the second configuration that entries are about to be written for.
    keeping: Option<usize>,
    seen: Option<(Authorities, Vec<Vec<u8>>, i64)>,
}

#[derive(Debug)]
struct World {
    /// The true time in seconds; it never goes back.
    time: i64,
    secrets: Vec<Authorities>,
    configurations: [Vec<Configuration>; 2],
    made: Vec<(Certificate, String)>,
    replicas: Vec<Replica>,
    /// A bundle was overwritten: until this time, when every API server has the repaired one, nothing is promised.
    overwritten: [Option<i64>; 2],
}

/// What was published from a moment on.
#[derive(Debug, Clone)]
struct Configuration {
    from: i64,
    bundles: Vec<Vec<u8>>,
    published: Vec<Vec<Certificate>>,
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

impl World {
    fn new() -> Self {
        Self {
            time: 0,
            secrets: vec![Authorities::default()],
            configurations: [ENTRIES, 1].map(|many| {
                let (bundles, published) = (vec![Vec::new(); many], vec![Vec::new(); many]);
                vec![Configuration { from: 0, bundles, published }]
            }),
            made: Vec::new(),
            replicas: (0..3).map(|_| Replica::default()).collect(),
            overwritten: [None; 2],
        }
    }

    fn now(&self, replica: usize) -> Timestamp {
        at(self.time + self.replicas[replica].clock)
    }

    fn publish(&mut self, which: usize, bundles: Vec<Vec<u8>>) {
        let certificates = |bundle: &Vec<u8>| {
            let text = std::str::from_utf8(bundle).unwrap();
            let mut there: Vec<_> =
                self.made.iter().filter_map(|(one, pem)| Some((text.find(pem)?, one))).collect();
            there.sort_unstable_by_key(|(place, _)| *place);
            there.into_iter().map(|(_, one)| one.clone()).collect()
        };
        let published = bundles.iter().map(certificates).collect();
        self.configurations[which].push(Configuration { from: self.time, bundles, published });
    }

    /// The leaf that a replica serves.
    fn serves(&self, replica: usize) -> Option<&(LeafDates, i64)> {
        let leaf = self.replicas[replica].leaf.as_ref();
        leaf.filter(|(leaf, since)| !leaf.is_over(self.now(replica), self.age(*since)))
    }

    fn age(&self, since: i64) -> Duration {
        Duration::from_secs((self.time - since).unsigned_abs())
    }

    fn happen(&mut self, event: &Event) {
        match event {
            Event::Go(replica) => self.go(*replica),
            Event::Pass(seconds) => self.time += seconds,
            Event::Crash(replica) => {
                self.replicas[*replica] =
                    Replica { clock: self.replicas[*replica].clock, ..Replica::default() };
            }
            Event::Clock(replica, off) => self.replicas[*replica].clock = *off,
            Event::Damage(damage) => self.damage(damage),
            Event::Overwrite(which, entry, with) => self.overwrite(*which, *entry, *with),
            Event::Keep(replica, many) => self.keep(*replica, *many),
        }
    }

    fn damage(&mut self, damage: &Damage) {
        // After both kinds of damage at once nothing could be restored.
        if self.overwritten.iter().any(Option::is_some) {
            return;
        }
        let now = self.secrets.last().unwrap();
        let lost = |one: &Option<Authority>, mut rest: Authorities| {
            rest.previous.extend(one.iter().map(|one| one.certificate().clone()));
            rest
        };
        let after = match damage {
            Damage::Emptied => Authorities::default(),
            Damage::NoCurrentKey => lost(&now.current, Authorities { current: None, ..now.clone() }),
            Damage::NoNextKey => lost(&now.next, Authorities { next: None, ..now.clone() }),
            Damage::Restored(back) => self.secrets[self.secrets.len().saturating_sub(back + 1)].clone(),
        };
        self.secrets.push(after);
    }

    fn overwrite(&mut self, which: usize, entry: usize, with: Option<usize>) {
        let versions = &self.configurations[which];
        let mut bundles = versions.last().unwrap().bundles.clone();
        let entry = entry % bundles.len();
        let old = with
            .and_then(|back| versions[versions.len().saturating_sub(back + 1)].bundles.get(entry).cloned());
        bundles[entry] = old.unwrap_or_default();
        self.publish(which, bundles);
        self.overwritten[which] = Some(i64::MAX);
    }

    /// Reads the second configuration, and in the next step writes it with so many entries: `controllers/entries.rs`.
    fn keep(&mut self, replica: usize, many: usize) {
        let last = self.configurations[VALIDATING].len() - 1;
        match self.replicas[replica].keeping.take() {
            None => self.replicas[replica].keeping = Some(last),
            Some(version) if version == last => {
                let bundle = self.configurations[VALIDATING][version].bundles[0].clone();
                if !bundle.is_empty() {
                    self.publish(VALIDATING, vec![bundle; 1 + many]);
                }
            }
            Some(_) => {}
        }
    }

    fn go(&mut self, replica: usize) {
        let time = self.time;
        let last = |which: usize| self.configurations[which].len() - 1;
        let reading = match std::mem::take(&mut self.replicas[replica].reading) {
            Reading::Nothing => Reading::First { mutating: last(MUTATING), since: time },
            Reading::First { mutating, since } => {
                Reading::Both { versions: [mutating, last(VALIDATING)], since }
            }
            Reading::Both { versions, since } => {
                Reading::All { versions, secret: self.secrets.len() - 1, since }
            }
            Reading::All { versions, secret, since } => {
                self.act(replica, versions, secret, since);
                Reading::Nothing
            }
        };
        self.replicas[replica].reading = reading;
    }

    fn act(&mut self, replica: usize, versions: [usize; 2], secret: usize, since: i64) {
        let now = self.now(replica);
        let authorities = self.secrets[secret].clone();
        let read: Vec<Configuration> =
            [MUTATING, VALIDATING].map(|which| self.configurations[which][versions[which]].clone()).into();
        let bundles: Vec<_> = read.iter().flat_map(|one| one.bundles.clone()).collect();
        let published: Vec<_> = read.iter().flat_map(|one| one.published.clone()).collect();
        let leaf = self.serves(replica).map(|(leaf, since)| (leaf, self.age(*since)));
        if let Renewal::Issue(current) = renewal(leaf, &authorities, &published, now, 50) {
            let issuer = current.certificate().clone();
            let not_after = later(now, PERIODS.leaf).min(issuer.not_after());
            self.replicas[replica].leaf = Some((LeafDates { issuer, issued: now, not_after }, since));
        }
        if replica == 2 {
            return; // It does not lead.
        }
        let as_before = matches!(&self.replicas[replica].seen, Some((had, were, _)) if *had == authorities && *were == bundles);
        if !as_before {
            // The end of the look: what it read was there before.
            self.replicas[replica].seen = Some((authorities.clone(), bundles.clone(), self.time));
        }
        let first = self.replicas[replica].seen.as_ref().map(|(_, _, first)| *first).unwrap();
        let seen = Duration::from_secs(since.saturating_sub(first).max(0).unsigned_abs());
        let serving = self.serves(replica).map(|(leaf, _)| leaf.issuer.clone());
        let look = Look {
            authorities: &authorities,
            bundles: &bundles,
            published: &published,
            serving: serving.as_ref(),
            seen,
            now,
        };
        let step = step(&look, &PERIODS);
        match step {
            Step::Settle(_) | Step::Linger(_) | Step::Rest => {}
            Step::Publish => {
                let bundle = authorities.bundle().into_bytes();
                let stale = |which: &usize| read[*which].bundles.iter().any(|one| *one != bundle);
                let which = [MUTATING, VALIDATING].into_iter().find(stale).unwrap();
                if versions[which] + 1 == self.configurations[which].len() {
                    self.publish(which, vec![bundle; read[which].bundles.len()]);
                    if self.overwritten[which] == Some(i64::MAX) {
                        self.overwritten[which] = Some(self.time + LAG);
                    }
                }
            }
            _ => {
                if secret + 1 == self.secrets.len() {
                    let fresh = matches!(step, Step::Introduce(_)).then(|| {
                        let made = Authority::model(u32::try_from(self.made.len()).unwrap(), now, &PERIODS);
                        self.made.push((made.certificate().clone(), made.certificate().pem()));
                        made
                    });
                    self.secrets.push(authorities.after(&step, fresh));
                }
            }
        }
    }

    /// Every leaf that is served is verified by every API server, however old its configuration is.
    fn holds(&self) -> Result<(), String> {
        if self.overwritten.iter().flatten().any(|until| self.time <= *until) {
            return Ok(());
        }
        // With more previous authorities than that nothing is promised.
        if self.secrets.iter().any(|secret| secret.previous.len() >= PREVIOUS) {
            return Ok(());
        }
        // The configurations that an API server may use now.
        let since = self.time - LAG;
        let in_use = self.configurations.iter().flat_map(|versions| {
            let first = versions.iter().rposition(|one| one.from <= since).unwrap_or(0);
            &versions[first..]
        });
        let in_use: Vec<&Configuration> = in_use.collect();
        for replica in 0..self.replicas.len() {
            let Some((leaf, _)) = self.serves(replica) else { continue };
            for Configuration { from, published, .. } in &in_use {
                if !published.iter().all(|bundle| bundle.contains(&leaf.issuer)) {
                    let (secret, time) = (self.secrets.last(), self.time);
                    return Err(format!(
                        "at {time} replica {replica} serves {leaf:?}, not verified by the bundles of {from}: {secret:?}"
                    ));
                }
            }
        }
        Ok(())
    }

    /// The replicas go on, and nothing else happens.
    fn calm(&mut self) -> Result<(), String> {
        let mut clean = false;
        for _ in 0..100 {
            for replica in 0..self.replicas.len() {
                self.replicas[replica].clock = 0;
                for _ in 0..8 {
                    self.go(replica);
                    self.holds()?;
                }
            }
            self.time += 4;
            self.holds()?;
            let now = self.secrets.last().unwrap();
            clean |= now.previous.is_empty() && now.next.is_none() && now.current.is_some();
        }
        let serving = (0..self.replicas.len()).filter(|replica| self.serves(*replica).is_some()).count();
        if serving < self.replicas.len() || !clean {
            return Err(format!("{serving} serve in the end, rotation done: {clean}; {self:?}"));
        }
        Ok(())
    }

    fn live(events: &[Event]) -> Result<(), TestCaseError> {
        let mut world = Self::new();
        for event in events {
            world.happen(event);
            world.holds().map_err(TestCaseError::fail)?;
        }
        world.time += LAG;
        world.calm().map_err(TestCaseError::fail)
    }
}

fn events(clocks: Range<i64>) -> impl Strategy<Value = Vec<Event>> {
    let damage = prop_oneof![
        Just(Damage::Emptied),
        Just(Damage::NoCurrentKey),
        Just(Damage::NoNextKey),
        (0..6_usize).prop_map(Damage::Restored),
    ];
    let event = prop_oneof![
        120 => (0..3_usize).prop_map(Event::Go),
        20 => (0..4_i64).prop_map(Event::Pass),
        4 => (4..60_i64).prop_map(Event::Pass),
        1 => (60..700_i64).prop_map(Event::Pass),
        2 => (0..3_usize).prop_map(Event::Crash),
        2 => ((0..3_usize), clocks).prop_map(|(replica, off)| Event::Clock(replica, off)),
        1 => damage.prop_map(Event::Damage),
        1 => ((0..2_usize), (0..3_usize), proptest::option::of(0..5_usize))
            .prop_map(|(which, entry, with)| Event::Overwrite(which, entry, with)),
        6 => ((0..2_usize), (0..4_usize)).prop_map(|(replica, many)| Event::Keep(replica, many)),
    ];
    proptest::collection::vec(event, 0..400)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn no_replica_serves_a_leaf_that_is_not_verified(events in events(-60..60)) {
        World::live(&events)?;
    }
}

proptest! {
    // Wrong clocks make many authorities, and a case slow.
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn not_even_while_clocks_are_wrong_by_years(events in events(-100_000_000..100_000_000)) {
        World::live(&events)?;
    }
}

#[test]
fn a_first_start_and_a_rotation_take_these_steps() {
    let mut world = World::new();
    let mut walked: Vec<(i64, usize, usize)> = Vec::new();
    while world.time < 700 {
        for replica in [0, 2] {
            (0..4).for_each(|_| world.go(replica));
        }
        let secret = world.secrets.last().unwrap();
        let current = secret.current.iter().chain(&secret.next).count();
        let now = (world.time, current, secret.previous.len());
        if walked.last().is_none_or(|(_, had, previous)| (*had, *previous) != (now.1, now.2)) {
            walked.push(now);
        }
        world.time += 1;
        world.holds().unwrap();
    }
    // The first authority is created; after half of its life the next one; ten seconds after that is published it signs;
    // ten seconds after the life of a leaf the old one is gone.
    let times: Vec<i64> = walked.iter().map(|(time, ..)| *time).collect();
    assert_eq!(
        walked.iter().map(|(_, signing, old)| (*signing, *old)).collect::<Vec<_>>(),
        [(1, 0), (2, 0), (1, 1), (1, 0)]
    );
    assert_eq!(times[0], 0);
    assert_eq!(times[1], 500);
    assert!((510..=513).contains(&times[2]), "{times:?}");
    assert!((620..=630).contains(&times[3]), "{times:?}");
}

/// A restored Secret names an authority that signs and a next one, and the bundle no longer contains the one that signs.
#[test]
fn a_restored_authority_that_is_not_published_does_not_sign_before_every_api_server_has_it() {
    let mut world = World::new();
    let whole_round = |world: &mut World| {
        for replica in [0, 0, 0, 0, 2, 2, 2, 2] {
            world.happen(&Event::Go(replica));
            world.holds().unwrap();
        }
    };
    let done = |world: &World| !world.secrets.last().unwrap().retired.is_empty();
    let is_whole =
        |versions: &Vec<Configuration>| versions.last().unwrap().published.iter().all(|one| one.len() == 1);
    while !done(&world) || !world.configurations.iter().all(is_whole) {
        world.happen(&Event::Pass(1));
        whole_round(&mut world);
    }
    world.happen(&Event::Damage(Damage::Restored(2)));
    let restored = world.secrets.last().unwrap();
    assert!(restored.current.is_some() && restored.next.is_some(), "{restored:?}");
    for _ in 0..30 {
        whole_round(&mut world);
        world.happen(&Event::Pass(1));
    }
    world.calm().unwrap();
}

/// The leader is about to publish the bundle without the old authority, when somebody restores a Secret in which that one
/// signs. The bundle that is still published contains it.
#[test]
fn an_authority_that_is_about_to_leave_the_bundle_signs_no_leaf_for_a_restored_secret() {
    use Event::{Damage, Go, Pass};
    // One, two and three writes before the old one was retired: it was the previous one, it signed while the next one was
    // published, it signed alone.
    for back in 1..=3 {
        for leader_first in [true, false] {
            let mut world = World::new();
            while world.secrets.last().unwrap().retired.is_empty() {
                for event in [Go(2), Go(2), Go(2), Go(2), Pass(1), Go(0), Go(0), Go(0), Go(0)] {
                    world.happen(&event);
                    world.holds().unwrap();
                }
            }
            let [first, second] = if leader_first { [0, 2] } else { [2, 0] };
            let restored = Damage(self::Damage::Restored(back));
            for event in [Go(0), Go(0), Go(0), restored, Go(2), Go(2), Go(2), Go(first), Go(second)] {
                world.happen(&event);
                world.holds().map_err(|error| format!("{back} {leader_first}: {error}")).unwrap();
            }
            world.time += LAG;
            world.calm().unwrap();
        }
    }
}

#[test]
fn an_expired_authority_is_replaced_and_stays_published_until_then() {
    let mut world = World::new();
    for _ in 0..20 {
        (0..3).for_each(|replica| (0..4).for_each(|_| world.go(replica)));
        world.time += 1;
    }
    let old = world.secrets.last().unwrap().current.clone().unwrap();
    // No replica ran for longer than it lives.
    world.happen(&Event::Pass(5000));
    (0..3).for_each(|replica| world.happen(&Event::Crash(replica)));
    world.calm().unwrap();
    let new = world.secrets.last().unwrap().current.clone().unwrap();
    assert!(new != old && new.certificate().not_after() > at(world.time));
}

#[test]
fn a_leaf_is_renewed_at_two_thirds_and_never_outlives_its_authority() {
    let authority = Authority::model(1, at(0), &PERIODS);
    let (issuer, end) = (authority.certificate().clone(), authority.certificate().not_after());
    let authorities = Authorities { current: Some(authority.clone()), ..Authorities::default() };
    let published = [vec![issuer.clone()]];
    let leaf = |issued: i64| {
        let not_after = later(at(issued), PERIODS.leaf).min(end);
        LeafDates { issuer: issuer.clone(), issued: at(issued), not_after }
    };
    let ask = |leaf: &LeafDates, now: i64, age: i64| {
        let age = Duration::from_secs(age.unsigned_abs());
        renewal(Some((leaf, age)), &authorities, &published, at(now), 50)
    };
    let (keep, issue) = (|| Renewal::Keep, || Renewal::Issue(&authority));
    let young = leaf(0);
    for (now, age, expected) in [
        (66, 66, keep()),
        (67, 67, issue()),
        // The wall clock stands still or was set back a little: the age of the leaf counts.
        (0, 66, keep()),
        (0, 67, issue()),
        (-299, 30, keep()),
        // It was set back to before the leaf was issued: the clock was wrong when it was issued.
        (-400, 30, Renewal::Wait("the authority has expired, or is not valid yet")),
    ] {
        assert_eq!(ask(&young, now, age), expected, "{now} {age}");
    }
    // Shortly before the authority ends, a renewed leaf would not live longer.
    let last = leaf(950);
    assert_eq!(last.not_after, end);
    assert_eq!(ask(&last, 999, 49), keep());
    assert!(!last.is_over(at(999), Duration::from_secs(49)) && last.is_over(at(1000), Duration::ZERO));
    assert!(last.is_over(at(0), Duration::from_secs(50)), "its age counts where the clock was set back");
    let expected = SignedDuration::from_secs(50);
    assert_eq!(last.issued.duration_until(last.not_after), expected);
}
