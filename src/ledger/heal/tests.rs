//! When an attempt is due: a table of records.

use super::*;
use crate::cluster::{AxisRecord, GapState};
use crate::domain::digest::Digest;
use crate::domain::finding::FindingKind;
use crate::domain::gap::{Axis, GapKind, Version};
use crate::domain::healing::HealOutcome;
use crate::domain::name::RegistryName;
use crate::ledger::record::opened;

fn noon() -> Timestamp {
    "2026-11-27T12:00:00Z".parse().unwrap()
}

fn at(minutes: i64) -> Timestamp {
    noon() + SignedDuration::from_mins(minutes)
}

fn key() -> GapKey {
    let digest: Digest = format!("sha256:{}", "a".repeat(64)).parse().unwrap();
    GapKey::image("harbor.fra.example.com/shop/web", Version::Digest(digest), RegistryName::new("ams"))
}

fn lacking(kind: FindingKind) -> Record {
    let axis = AxisRecord {
        finding: Some(GapKind::Finding(kind)),
        was: None,
        since: noon(),
        last_seen: noon(),
        closed_at: None,
        detail: String::new(),
    };
    let mut record = opened(noon());
    *record.axis_mut(Axis::of(kind).unwrap()) = Some(axis);
    record
}

fn tried(record: &Record, failed: i32, minutes: i64, outcome: Option<HealOutcome>) -> Record {
    let presence = record.lacking(Axis::Presence);
    let action = GapAction {
        id: "a".into(),
        what: if presence.is_some() { Remedy::Replicate } else { Remedy::Scan },
        finding: presence.or(record.lacking(Axis::Scan)),
        at: at(minutes),
        attempts: failed,
        keeper: None,
        rule: None,
        rule_id: None,
        execution: None,
        ended: None,
        outcome,
        result: String::new(),
    };
    Record { state: GapState::Open, action: Some(action), ..record.clone() }
}

fn stage_in(mode: HealingMode, record: &Record, minutes: i64) -> Stage {
    let healing = Healing { mode, after: Duration::from_mins(1) };
    stage(record, &key(), &healing, &Terms::default(), at(minutes))
}

fn begin(remedy: Remedy, failed: i32) -> Stage {
    Stage::Begin { remedy, failed }
}

#[test]
fn the_mode_and_the_age_decide_what_is_begun() {
    use HealingMode::{Off, Replicate, Scan};
    let (missing, unscanned) = (lacking(FindingKind::Missing), lacking(FindingKind::Unscanned));
    for (mode, record, minutes, expected) in [
        (Off, &missing, 5, Stage::Rest),
        (Off, &unscanned, 5, Stage::Rest),
        (Scan, &missing, 5, Stage::Rest),
        (Scan, &unscanned, 5, begin(Remedy::Scan, 0)),
        (Replicate, &unscanned, 5, begin(Remedy::Scan, 0)),
        (Replicate, &missing, 5, begin(Remedy::Replicate, 0)),
        (Replicate, &missing, 0, Stage::Rest),
        // The clock was set back by two hours since it was seen first.
        (Replicate, &missing, -120, begin(Remedy::Replicate, 0)),
    ] {
        assert_eq!(stage_in(mode, record, minutes), expected, "{mode} {minutes}");
    }
    for kind in
        [FindingKind::ScannerDown, FindingKind::ScanPending, FindingKind::Vulnerable, FindingKind::Refused]
    {
        assert_eq!(stage_in(Replicate, &lacking(kind), 60), Stage::Rest, "{kind}");
    }
}

#[test]
fn pauses_grow_and_after_five_failures_there_is_none_until_the_next_day_or_another_finding() {
    let missing = lacking(FindingKind::Missing);
    let failed = Some(HealOutcome::DestinationDown);
    for (attempts, rests, begins) in [(1, 10, 11), (2, 11, 12), (3, 14, 15), (4, 24, 25)] {
        let record = tried(&missing, attempts, 10, failed);
        assert_eq!(stage_in(HealingMode::Replicate, &record, rests), Stage::Rest, "{attempts}");
        let expected = begin(Remedy::Replicate, attempts);
        assert_eq!(stage_in(HealingMode::Replicate, &record, begins), expected, "{attempts}");
    }
    let given_up = tried(&missing, 5, 10, failed);
    assert!(given_up.has_given_up());
    for minutes in [70, 24 * 60] {
        assert_eq!(stage_in(HealingMode::Replicate, &given_up, minutes), Stage::Rest);
    }
    assert_eq!(stage_in(HealingMode::Replicate, &given_up, 24 * 60 + 10), begin(Remedy::Replicate, 0));
    // Another finding; and the same again, after it was closed.
    let stale = lacking(FindingKind::Stale).presence;
    let changed = Record { presence: stale, ..given_up.clone() };
    assert_eq!(stage_in(HealingMode::Replicate, &changed, 70), begin(Remedy::Replicate, 0));
    let mut again = given_up.clone();
    if let Some(axis) = &mut again.presence {
        axis.since = at(60);
    }
    assert_eq!(stage_in(HealingMode::Replicate, &again, 70), begin(Remedy::Replicate, 0));
    // Of an index, the same trouble has two names.
    let child = Record { presence: lacking(FindingKind::ChildMissing).presence, ..given_up.clone() };
    assert_eq!(stage_in(HealingMode::Replicate, &child, 70), Stage::Rest);
    // The clock is set back by an hour: what was given up stays so, and no pause lasts until then.
    assert_eq!(stage_in(HealingMode::Replicate, &given_up, -50), Stage::Rest);
    let once = tried(&missing, 1, 10, failed);
    assert_eq!(stage_in(HealingMode::Replicate, &once, -50), begin(Remedy::Replicate, 1));
}

#[test]
fn what_is_under_way_is_followed_whatever_the_mode_is_now() {
    let record = tried(&lacking(FindingKind::Unscanned), 0, 10, None);
    assert_eq!(stage_in(HealingMode::Off, &record, 11), Stage::Follow);
    // Once its axis is closed, there is nothing to follow.
    let closed = Record { scan: None, presence: lacking(FindingKind::Refused).presence, ..record };
    assert_eq!(stage_in(HealingMode::Replicate, &closed, 11), Stage::Rest);
}
