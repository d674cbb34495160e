//! Room, and who makes it.

use std::time::Duration;

use proptest::prelude::*;

use super::super::currency::Currency;
use super::super::memory::View;
use super::super::question::What;
use super::*;
use crate::domain::digest::Digest;
use crate::domain::evidence::{Observation, Presence, Shape};
use crate::domain::image::Repository;
use crate::domain::scan::{Detail, Report, ScanAnswer, ScanState, Scanner, Severity, Vulnerabilities};

const HOUR: Duration = Duration::from_secs(3600);

fn life(entries: u64) -> CacheLife {
    CacheLife { present: HOUR, remember: HOUR, tag: HOUR, absent: HOUR, scan: HOUR, entries }
}

fn digest(n: u32) -> Digest {
    let mut bytes = [0; 32];
    for (byte, part) in bytes.iter_mut().zip(n.to_be_bytes()) {
        *byte = part;
    }
    Digest::Sha256(bytes)
}

fn question(station: u32, n: u32) -> Question {
    let repository = Repository::new("project/team/app");
    Question { station: StationId(station), repository, what: What::Digest(digest(n)) }
}

fn memory(question: Question, answer: Observation, now: Instant, life: &CacheLife) -> Arc<Memory> {
    let currency = Currency::default();
    let view = View { now, life, currency: &currency };
    Arc::new(Memory::new(question, answer, currency.stamp(), 0.0, None, &view))
}

fn present(n: u32, now: Instant, life: &CacheLife) -> Arc<Memory> {
    let answer = Presence::Present { digest: digest(n), shape: Shape::Manifest };
    memory(question(0, n), Observation::Presence(answer), now, life)
}

fn absent(n: u32, now: Instant, life: &CacheLife) -> Arc<Memory> {
    memory(question(0, n), Observation::Presence(Presence::Absent), now, life)
}

/// A scan with so many vulnerabilities.
fn scan(n: u32, vulnerabilities: usize, now: Instant, life: &CacheLife) -> Arc<Memory> {
    let items = (0..vulnerabilities).map(|n| (format!("CVE-2026-{n:05}").into(), Severity::High)).collect();
    let vulnerabilities = Some(Arc::new(Vulnerabilities { items, allowlist: vec![] }));
    let report = Report { severity: Severity::High, finished: None, vulnerabilities };
    let answer = ScanAnswer { scanner: Scanner::Present, state: ScanState::Done(report), last: None };
    let what = What::Scan(digest(n), Detail::Vulnerabilities);
    memory(Question { what, ..question(0, n) }, Observation::Scan(answer), now, life)
}

#[test]
fn an_ordinary_entry_takes_less_than_its_room() {
    let now = Instant::now();
    assert!(SHELF + present(1, now, &life(1)).bytes() <= ORDINARY);
}

#[test]
fn the_bound_is_one_of_room_and_not_only_of_number() {
    let (memories, life, now) = (Memories::new(), life(1000), Instant::now());
    for n in 0..100 {
        let stock = memories.put(scan(n, 1000, now, &life), now, &life);
        assert!(stock.bytes <= 1000 * ORDINARY, "{stock:?}");
        assert!(memories.get(&scan(n, 1, now, &life).question).is_some(), "the youngest is there");
    }
    // Half a mebibyte in all; each vulnerability is some seventy bytes.
    let stock = memories.put(present(1, now, &life), now, &life);
    assert!((3..=9).contains(&stock.entries), "{stock:?}");
    // And one that is larger than all the room drives nobody out.
    let after = memories.put(scan(1000, 100_000, now, &life), now, &life);
    assert_eq!(after, stock);
}

#[test]
fn what_is_looked_at_stays_when_room_is_made() {
    let (memories, life, now) = (Memories::new(), life(100), Instant::now());
    for n in 0..10_000 {
        memories.put(present(n, now, &life), now, &life);
        assert!(memories.get(&question(0, 0)).is_some(), "{n}");
    }
    assert_eq!(memories.adopt(&life, |_| false).entries, 100);
}

#[test]
fn what_is_of_no_use_any_more_goes_though_there_is_room() {
    let (memories, life, now) = (Memories::new(), life(100_000), Instant::now());
    for n in 0..1000 {
        memories.put(absent(n, now, &life), now, &life);
    }
    let later = now + 3 * HOUR;
    let mut stock = Stock { entries: 0, bytes: 0 };
    for n in 0..1000 {
        stock = memories.put(absent(10_000 + n, later, &life), later, &life);
    }
    assert_eq!(stock.entries, 1000);
}

#[test]
fn new_bounds_are_kept_at_once_and_stations_that_are_gone_are_forgotten() {
    let (memories, wide, now) = (Memories::new(), life(1000), Instant::now());
    for n in 0..500 {
        memories.put(present(n, now, &wide), now, &wide);
        let other = Observation::Presence(Presence::Absent);
        memories.put(memory(question(1, n), other, now, &wide), now, &wide);
    }
    assert_eq!(memories.adopt(&wide, |id| id == StationId(1)).entries, 500);
    assert!(memories.get(&question(0, 3)).is_some() && memories.get(&question(1, 3)).is_none());
    let stock = memories.adopt(&life(20), |_| false);
    assert_eq!(stock.entries, 20);
    let stock = memories.adopt(&life(20), |_| true);
    assert_eq!(stock, Stock { entries: 0, bytes: 0 });
}

proptest! {
    /// Against a plain map: what is found is what was put last, and the account is right.
    #[test]
    fn the_books_are_kept(
        steps in proptest::collection::vec((0_u32..40, 0_usize..30, any::<bool>()), 1..200),
        entries in 1_u64..30,
    ) {
        let (memories, life, now) = (Memories::new(), life(entries), Instant::now());
        let mut last = HashMap::new();
        for (n, size, look) in steps {
            let put = scan(n, size, now, &life);
            let stock = memories.put(put.clone(), now, &life);
            if SHELF + put.bytes() <= room(&life) {
                last.insert(n, put.clone());
            }
            prop_assert!(stock.entries <= usize::try_from(entries).unwrap() && stock.bytes <= room(&life));
            if look {
                let found = memories.get(&put.question);
                prop_assert!(found.is_none_or(|found| Arc::ptr_eq(&found, &last[&n])));
            }
        }
        let shelf = memories.shelf.read().unwrap();
        let bytes: usize = shelf.slots.iter().map(|(_, memory)| SHELF + memory.bytes()).sum();
        prop_assert_eq!(bytes, shelf.bytes);
        prop_assert_eq!(shelf.places.len(), shelf.slots.len());
        for (at, (hash, memory)) in shelf.slots.iter().enumerate() {
            prop_assert_eq!(shelf.places.get(hash), Some(&at));
            prop_assert_eq!(memories.seed.hash_one(&memory.question), *hash);
        }
    }
}
