//! What a sighting, a re-check or a sweep changes in a record. Nothing here reads a clock or talks to anybody.
//!
//! Sightings of several replicas may be folded in any order: counts are added, moments are the earliest or the latest, and
//! of names the first by name stay.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use jiff::{SignedDuration, Timestamp};
use strum::VariantArray;

use super::met::Met;
use super::sentence::sentence;
use crate::cluster::{
    AxisRecord, DETAIL_LENGTH, GapAction, GapState, MESSAGE_LENGTH, MOST_NAMED, ObjectRef,
    ReplicationGapStatus,
};
use crate::domain::finding::FindingKind;
use crate::domain::gap::{Axis, Gap, GapKey, GapKind};
use crate::domain::healing::HealOutcome;
use crate::domain::image::Tag;
use crate::domain::text::plain;

/// What is known of one gap: the status of its object.
pub type Record = ReplicationGapStatus;

/// Looks at one gap: how the image stands at the registry now.
pub type Recheck = Arc<dyn Fn(&GapKey, &Record) -> BoxFuture<'static, Standing> + Send + Sync>;

/// For so long after it was closed, a sighting does not open a gap again: doors may still rest on answers that are older than
/// what closed it. The leader looks again instead.
const SETTLES: SignedDuration = SignedDuration::from_mins(5);

/// What one replica has seen of one gap since it was folded last.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tally {
    seen: BTreeMap<Axis, Seen>,
    tag: Option<Box<str>>,
    pub(super) used: u64,
    pub(super) fell_back: u64,
    pub(super) denied: u64,
    namespaces: BTreeSet<Box<str>>,
    /// The owners, each with the worst that became of its Pods.
    pub(super) owners: BTreeMap<ObjectRef, Met>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    first: Timestamp,
    last: Timestamp,
    kind: GapKind,
    detail: Arc<str>,
}

/// What runs with an image.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Running {
    /// How many Pods.
    pub pods: u32,
    /// The tag by which they name it, where they do.
    pub tag: Option<Tag>,
    /// Their namespaces.
    pub namespaces: BTreeSet<Box<str>>,
    /// Their owners.
    pub owners: BTreeSet<ObjectRef>,
}

/// What a sweep found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Swept {
    /// Each gap, and what runs with the image.
    pub found: Vec<(Gap, Running)>,
    /// What was looked at and is as it should be, where nothing else looks: risks of images.
    pub good: Vec<(GapKey, Axis)>,
    /// What runs, and of which it is not known yet whether it has a risk.
    pub unlearned: Vec<GapKey>,
    /// Whether everything that runs was looked at. If so, nothing runs with an image that is not in `found`.
    pub complete: bool,
    /// When it began.
    pub at: Timestamp,
}

/// How one image stands at one registry, axis by axis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Whether the right copy is there.
    pub presence: State,
    /// Whether its scan satisfies the policies.
    pub scan: State,
    /// Whether something will become a finding.
    pub risk: State,
}

/// How it stands on one axis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// This is lacking; with details for people.
    Lacking(GapKind, Arc<str>),
    /// Nothing is lacking.
    Good,
    /// It could not be learned.
    Unknown,
    /// No copy is expected there any more, for this reason.
    NotExpected(Arc<str>),
}

impl Standing {
    /// Nothing could be learned.
    pub const UNKNOWN: Self = Self { presence: State::Unknown, scan: State::Unknown, risk: State::Unknown };

    /// No copy is expected there any more, for this reason.
    pub fn not_expected(why: &str) -> Self {
        let state = || State::NotExpected(why.into());
        Self { presence: state(), scan: state(), risk: state() }
    }

    /// The state on one axis, to be changed.
    pub fn on_mut(&mut self, axis: Axis) -> &mut State {
        match axis {
            Axis::Presence => &mut self.presence,
            Axis::Scan => &mut self.scan,
            Axis::Risk => &mut self.risk,
        }
    }

    fn on(&self, axis: Axis) -> &State {
        match axis {
            Axis::Presence => &self.presence,
            Axis::Scan => &self.scan,
            Axis::Risk => &self.risk,
        }
    }
}

impl Tally {
    /// Adds one image of a Pod.
    pub fn see(&mut self, gap: &Gap, met: Met, at: Timestamp) {
        self.also(gap, at);
        let count = match met {
            Met::Used => &mut self.used,
            Met::FellBack => &mut self.fell_back,
            Met::Denied => &mut self.denied,
        };
        *count = count.saturating_add(1);
    }

    /// Adds another gap of an image that is counted already.
    pub fn also(&mut self, gap: &Gap, at: Timestamp) {
        let seen = Seen { first: at, last: at, kind: gap.kind, detail: gap.detail.clone() };
        self.see_axis(gap.kind.axis(), seen);
    }

    /// Adds who uses the image.
    pub fn used_by(&mut self, tag: Option<&Tag>, namespace: &str, owner: Option<(&ObjectRef, Met)>) {
        if let Some(tag) = tag.map(Tag::as_str).filter(|tag| self.tag.as_deref() != Some(tag)) {
            self.tag = self.tag.take().max(Some(tag.into()));
        }
        if !namespace.is_empty() && !self.namespaces.contains(namespace) {
            self.namespaces.insert(namespace.into());
            while self.namespaces.len() > MOST_NAMED {
                self.namespaces.pop_last();
            }
        }
        if let Some((owner, met)) = owner.filter(|(owner, _)| fits(owner)) {
            match self.owners.get_mut(owner) {
                Some(before) => *before = met.max(*before),
                None => drop(self.owners.insert(owner.clone(), met)),
            }
            while self.owners.len() > MOST_NAMED {
                self.owners.pop_last();
            }
        }
    }

    /// Adds what another tally of the same gap has seen.
    pub fn merge(&mut self, other: Self) {
        let Self { seen, tag, used, fell_back, denied, namespaces, owners } = other;
        seen.into_iter().for_each(|(axis, seen)| self.see_axis(axis, seen));
        self.tag = self.tag.take().max(tag);
        self.used = self.used.saturating_add(used);
        self.fell_back = self.fell_back.saturating_add(fell_back);
        self.denied = self.denied.saturating_add(denied);
        namespaces.iter().for_each(|namespace| self.used_by(None, namespace, None));
        owners.iter().for_each(|(owner, met)| self.used_by(None, "", Some((owner, *met))));
    }

    /// What a sweep has found of one key, by where that stands in [`Swept::found`]: no Pod came to a door.
    pub fn of_sweep(swept: &Swept, found: &[usize]) -> Self {
        let mut tally = Self::default();
        for (gap, Running { pods: _, tag, namespaces, owners }) in
            found.iter().filter_map(|n| swept.found.get(*n))
        {
            tally.also(gap, swept.at);
            tally.used_by(tag.as_ref(), "", None);
            namespaces.iter().for_each(|namespace| tally.used_by(None, namespace, None));
            owners.iter().for_each(|owner| tally.used_by(None, "", Some((owner, Met::Used))));
        }
        tally
    }

    /// The tag by which Pods name the image.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The kinds that were seen.
    pub fn kinds(&self) -> impl Iterator<Item = GapKind> {
        self.seen.values().map(|seen| seen.kind)
    }

    fn see_axis(&mut self, axis: Axis, seen: Seen) {
        let Some(before) = self.seen.get_mut(&axis) else {
            self.seen.insert(axis, seen);
            return;
        };
        before.first = before.first.min(seen.first);
        if (seen.last, seen.kind, &seen.detail) > (before.last, before.kind, &before.detail) {
            (before.last, before.kind, before.detail) = (seen.last, seen.kind, seen.detail);
        }
    }
}

/// The record after these sightings.
pub fn fold(record: Option<&Record>, tally: &Tally, key: &GapKey) -> Record {
    let moments = || tally.seen.values();
    let first = moments().map(|seen| seen.first).min().unwrap_or(Timestamp::UNIX_EPOCH);
    let last = moments().map(|seen| seen.last).max().unwrap_or(first);
    let mut record = record.cloned().unwrap_or_else(|| empty(whole(first)));
    for (axis, seen) in &tally.seen {
        let held = record.axis_mut(*axis);
        *held = Some(sighted(held.take(), seen));
    }
    record.first_seen = record.first_seen.min(whole(first));
    record.last_seen = record.last_seen.max(whole(last));
    record.tag = record.tag.take().max(tally.tag.as_deref().map(str::to_owned));
    let add = |count: &mut i64, more: u64| {
        *count = count.max(&mut 0).saturating_add(i64::try_from(more).unwrap_or(i64::MAX));
    };
    add(&mut record.used, tally.used);
    add(&mut record.fell_back, tally.fell_back);
    add(&mut record.denied, tally.denied);
    let namespaces = tally.namespaces.iter().map(|namespace| namespace.to_string());
    record.namespaces = first_named(record.namespaces.drain(..).chain(namespaces));
    record.owners = first_named(record.owners.drain(..).chain(tally.owners.keys().cloned()));
    settled(record, key)
}

fn sighted(held: Option<AxisRecord>, seen: &Seen) -> AxisRecord {
    let (first, last) = (whole(seen.first), whole(seen.last));
    let anew = |since| AxisRecord {
        finding: Some(seen.kind),
        was: None,
        since,
        last_seen: last,
        closed_at: None,
        detail: cut(&seen.detail),
    };
    let Some(mut held) = held else { return anew(first) };
    if let (None, Some(closed)) = (held.finding, held.closed_at) {
        let settled = closed.saturating_add(SETTLES).unwrap_or(closed);
        if last > settled {
            return anew(if first > closed { first } else { last });
        }
        held.last_seen = held.last_seen.max(last);
        return held;
    }
    held.since = held.since.min(first);
    let detail = cut(&seen.detail);
    if (last, Some(seen.kind), &detail) > (held.last_seen, held.finding, &held.detail) {
        (held.last_seen, held.finding, held.detail) = (last, Some(seen.kind), detail);
    }
    held
}

/// The record after a look at the image that began at `at`; `None` where it changes nothing. Only evidence closes: what could
/// not be learned changes nothing.
pub fn after(
    record: &Record,
    key: &GapKey,
    standing: &Standing,
    lag: Option<Duration>,
    at: Timestamp,
) -> Option<Record> {
    let mut new = record.clone();
    for axis in Axis::VARIANTS {
        let held = new.axis_mut(*axis);
        match (standing.on(*axis), held.as_mut()) {
            (State::Unknown, _) | (State::Good | State::NotExpected(_), None) => {}
            (State::Lacking(kind, detail), Some(open)) if open.finding.is_some() => {
                if !is_same(open.finding, *kind) {
                    (open.finding, open.detail, open.last_seen) =
                        (Some(*kind), cut(detail), open.last_seen.max(whole(at)));
                }
            }
            (State::Lacking(kind, detail), _) => {
                let at = whole(at);
                *held = Some(AxisRecord {
                    finding: Some(*kind),
                    was: None,
                    since: at,
                    last_seen: at,
                    closed_at: None,
                    detail: cut(detail),
                });
            }
            (State::Good, Some(open)) => close(open, "it is there now as it should be", at),
            (State::NotExpected(why), Some(open)) => close(open, why, at),
        }
    }
    if new == *record {
        return None;
    }
    conclude(&mut new, standing, at);
    if !new.is_open() {
        new.lag_seconds = lag.and_then(|lag| i64::try_from(lag.as_secs()).ok());
    }
    Some(settled(new, key))
}

/// Ends an attempt to heal whose axis is closed.
fn conclude(record: &mut Record, standing: &Standing, at: Timestamp) {
    let Some(axis) = record.action.as_ref().map(|action| action.what.axis()) else { return };
    if record.lacking(axis).is_some() {
        return;
    }
    if let Some(action) = record.action.as_mut().filter(|action| action.outcome.is_none()) {
        let outcome = match standing.on(axis) {
            State::NotExpected(_) => HealOutcome::NotNeeded,
            State::Good | State::Unknown | State::Lacking(..) => HealOutcome::Healed,
        };
        action.end(outcome, "", whole(at));
    }
}

/// The record with this attempt to heal.
pub fn acted(record: &Record, key: &GapKey, action: Option<GapAction>) -> Record {
    settled(Record { action, ..record.clone() }, key)
}

/// Of an index, a child is lacking. Who looks at the child alone finds that it is missing: that is the same.
fn is_same(known: Option<GapKind>, found: GapKind) -> bool {
    let child = GapKind::Finding(FindingKind::ChildMissing);
    known == Some(found) || (known == Some(child) && found == GapKind::Finding(FindingKind::Missing))
}

fn close(open: &mut AxisRecord, why: &str, at: Timestamp) {
    let Some(kind) = open.finding.take() else { return };
    (open.was, open.closed_at, open.detail) = (Some(kind), Some(whole(at).max(open.since)), cut(why));
}

/// The record with the number of Pods that run.
pub fn counted(record: &Record, key: &GapKey, pods: u32) -> Option<Record> {
    let pods = Some(i32::try_from(pods).unwrap_or(i32::MAX));
    (record.pods != pods).then(|| settled(Record { pods, ..record.clone() }, key))
}

/// The record after nothing runs with the image any more. That ends no gap but a risk: a risk is one to what runs, and nobody else
/// looks at it again.
pub fn idle(record: &Record, key: &GapKey, at: Timestamp) -> Option<Record> {
    let risk = State::NotExpected("nothing runs with it any more".into());
    let ended = after(record, key, &Standing { risk, ..Standing::UNKNOWN }, None, at);
    counted(ended.as_ref().unwrap_or(record), key, 0).or(ended)
}

/// What follows from the axes: the state, the end and the sentence.
fn settled(mut record: Record, key: &GapKey) -> Record {
    if record.is_open() {
        (record.closed_at, record.lag_seconds) = (None, None);
        record.state = if record.under_way().is_some() { GapState::Healing } else { GapState::Open };
    } else {
        record.state = GapState::Closed;
        let ends = [&record.presence, &record.scan, &record.risk];
        record.closed_at = ends.into_iter().flatten().filter_map(|axis| axis.closed_at).max();
    }
    record.message = sentence(key, &record, None);
    record.message.truncate(record.message.floor_char_boundary(MESSAGE_LENGTH));
    record
}

fn empty(first: Timestamp) -> Record {
    Record {
        state: GapState::Open,
        presence: None,
        scan: None,
        risk: None,
        first_seen: first,
        last_seen: first,
        closed_at: None,
        lag_seconds: None,
        tag: None,
        pods: None,
        denied: 0,
        fell_back: 0,
        used: 0,
        namespaces: Vec::new(),
        owners: Vec::new(),
        action: None,
        message: String::new(),
    }
}

/// An empty record, for what is opened without a sighting.
pub fn opened(at: Timestamp) -> Record {
    empty(whole(at))
}

/// A moment in whole seconds, as Kubernetes writes it.
pub(super) fn whole(moment: Timestamp) -> Timestamp {
    Timestamp::from_second(moment.as_second()).unwrap_or(moment)
}

/// A detail within its bound.
fn cut(detail: &str) -> String {
    let plain = plain(detail);
    plain.chars().take(DETAIL_LENGTH).collect()
}

fn first_named<T: Ord>(all: impl Iterator<Item = T>) -> Vec<T> {
    let all: BTreeSet<T> = all.collect();
    all.into_iter().take(MOST_NAMED).collect()
}

/// Whether the API server would take it. Whoever creates Pods writes their owners.
#[must_use]
pub fn fits(owner: &ObjectRef) -> bool {
    let ObjectRef { api_version, kind, namespace, name, uid } = owner;
    let within = |text: &str, most: usize| text.len() <= most && plain(text) == text;
    within(api_version, 320)
        && !kind.is_empty()
        && within(kind, 63)
        && within(namespace.as_deref().unwrap_or_default(), 63)
        && !name.is_empty()
        && within(name, 253)
        && within(uid.as_deref().unwrap_or_default(), 64)
}
