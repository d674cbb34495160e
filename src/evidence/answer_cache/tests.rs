//! The bounds, and what is evicted.

use std::time::Duration;

use proptest::prelude::*;

use super::super::invalidation::Epochs;
use super::super::invalidation::View;
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

fn question(upstream: u32, n: u32) -> Question {
    let repository = Repository::new("project/team/app");
    Question { upstream: UpstreamId(upstream), repository, what: What::Digest(digest(n)) }
}

fn cached(question: Question, answer: Observation, now: Instant, life: &CacheLife) -> Arc<CachedAnswer> {
    let epochs = Epochs::default();
    let view = View { now, life, epochs: &epochs };
    Arc::new(CachedAnswer::new(question, answer, epochs.epoch(), 0.0, None, &view))
}

fn present(n: u32, now: Instant, life: &CacheLife) -> Arc<CachedAnswer> {
    let answer = Presence::Present { digest: digest(n), shape: Shape::Manifest };
    cached(question(0, n), Observation::Presence(answer), now, life)
}

fn absent(n: u32, now: Instant, life: &CacheLife) -> Arc<CachedAnswer> {
    cached(question(0, n), Observation::Presence(Presence::Absent), now, life)
}

/// A scan with so many vulnerabilities.
fn scan(n: u32, vulnerabilities: usize, now: Instant, life: &CacheLife) -> Arc<CachedAnswer> {
    let items = (0..vulnerabilities).map(|n| (format!("CVE-2026-{n:05}").into(), Severity::High)).collect();
    let vulnerabilities = Some(Arc::new(Vulnerabilities { items, allowlist: vec![] }));
    let report = Report { severity: Severity::High, finished: None, vulnerabilities };
    let answer = ScanAnswer { scanner: Scanner::Present, state: ScanState::Done(report), last: None };
    let what = What::Scan(digest(n), Detail::Vulnerabilities);
    cached(Question { what, ..question(0, n) }, Observation::Scan(answer), now, life)
}

#[test]
fn an_ordinary_entry_takes_less_than_its_room() {
    let now = Instant::now();
    assert!(OVERHEAD + present(1, now, &life(1)).bytes() <= ORDINARY);
}

#[test]
fn the_bound_is_one_of_room_and_not_only_of_number() {
    let (answers, life, now) = (AnswerCache::new(), life(1000), Instant::now());
    for n in 0..100 {
        let stock = answers.put(scan(n, 1000, now, &life), now, &life);
        assert!(stock.bytes <= 1000 * ORDINARY, "{stock:?}");
        assert!(answers.get(&scan(n, 1, now, &life).question).is_some(), "the youngest is there");
    }
    // Half a mebibyte in all. Each vulnerability takes some seventy bytes.
    let stock = answers.put(present(1, now, &life), now, &life);
    assert!((3..=9).contains(&stock.entries), "{stock:?}");
    // An answer larger than the whole cache evicts nothing.
    let after = answers.put(scan(1000, 100_000, now, &life), now, &life);
    assert_eq!(after, stock);
}

#[test]
fn what_is_looked_at_stays_when_room_is_made() {
    let (answers, life, now) = (AnswerCache::new(), life(100), Instant::now());
    for n in 0..10_000 {
        answers.put(present(n, now, &life), now, &life);
        assert!(answers.get(&question(0, 0)).is_some(), "{n}");
    }
    assert_eq!(answers.adopt(&life, |_| false).entries, 100);
}

#[test]
fn what_is_of_no_use_any_more_goes_though_there_is_room() {
    let (answers, life, now) = (AnswerCache::new(), life(100_000), Instant::now());
    for n in 0..1000 {
        answers.put(absent(n, now, &life), now, &life);
    }
    let later = now + 3 * HOUR;
    let mut stock = CacheSize { entries: 0, bytes: 0 };
    for n in 0..1000 {
        stock = answers.put(absent(10_000 + n, later, &life), later, &life);
    }
    assert_eq!(stock.entries, 1000);
}

#[test]
fn new_bounds_are_kept_at_once_and_stations_that_are_gone_are_forgotten() {
    let (answers, wide, now) = (AnswerCache::new(), life(1000), Instant::now());
    for n in 0..500 {
        answers.put(present(n, now, &wide), now, &wide);
        let other = Observation::Presence(Presence::Absent);
        answers.put(cached(question(1, n), other, now, &wide), now, &wide);
    }
    assert_eq!(answers.adopt(&wide, |id| id == UpstreamId(1)).entries, 500);
    assert!(answers.get(&question(0, 3)).is_some() && answers.get(&question(1, 3)).is_none());
    let stock = answers.adopt(&life(20), |_| false);
    assert_eq!(stock.entries, 20);
    let stock = answers.adopt(&life(20), |_| true);
    assert_eq!(stock, CacheSize { entries: 0, bytes: 0 });
}

proptest! {
    /// Compared with a plain map: a hit is what was stored last, and the size is right.
    #[test]
    fn the_books_are_kept(
        steps in proptest::collection::vec((0_u32..40, 0_usize..30, any::<bool>()), 1..200),
        entries in 1_u64..30,
    ) {
        let (answers, life, now) = (AnswerCache::new(), life(entries), Instant::now());
        let mut last = HashMap::new();
        for (n, size, look) in steps {
            let put = scan(n, size, now, &life);
            let stock = answers.put(put.clone(), now, &life);
            if OVERHEAD + put.bytes() <= max_bytes(&life) {
                last.insert(n, put.clone());
            }
            prop_assert!(stock.entries <= usize::try_from(entries).unwrap() && stock.bytes <= max_bytes(&life));
            if look {
                let found = answers.get(&put.question);
                prop_assert!(found.is_none_or(|found| Arc::ptr_eq(&found, &last[&n])));
            }
        }
        let entries = answers.entries.read().unwrap();
        let bytes: usize = entries.slots.iter().map(|(_, cached)| OVERHEAD + cached.bytes()).sum();
        prop_assert_eq!(bytes, entries.bytes);
        prop_assert_eq!(entries.index.len(), entries.slots.len());
        for (at, (hash, cached)) in entries.slots.iter().enumerate() {
            prop_assert_eq!(entries.index.get(hash), Some(&at));
            prop_assert_eq!(answers.seed.hash_one(&cached.question), *hash);
        }
    }
}
