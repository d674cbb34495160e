//! What only the leader does: it looks at open gaps again, closes them by what it finds, notes what a sweep and the replication
//! rules say, and deletes what is old.
//!
//! Every write names the version of the object that it was computed from, so two leaders do no harm.

mod plan;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use jiff::{SignedDuration, Timestamp};
use strum::VariantArray;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{Instant, interval, sleep_until};

use super::metrics::LedgerMetrics;
use super::notices::Notices;
use super::record::{Record, Standing, State, Swept, Tally, after, counted, fold, idle, opened};
use super::sentence::sentence;
use super::store::{Absent, MOST_OBJECTS, Pace, Room, Stored, update};
use crate::cluster::{ClusterError, EventReason, GapObject, GapObjects, GapState};
use crate::domain::error_chain::error_chain;
use crate::domain::finding::FindingKind;
use crate::domain::gap::{Axis, Gap, GapKey, GapKind, GapSubject};
use crate::domain::name::RegistryName;
use plan::Plan;

/// How many gaps are looked at at once.
const AT_ONCE: usize = 4;

/// How many hints wait.
const HINTS: usize = 256;

/// How many hints about several gaps wait: each may hold some thousand names, and nobody takes them where we do not lead.
const MANY_HINTS: usize = 2;

/// How often metrics are shown and old objects are looked for.
const TICK: Duration = Duration::from_secs(10);

/// For so long a sighting by a sweep that says nothing new is not written.
const STALE: SignedDuration = SignedDuration::from_hours(1);

/// Looks at one gap: how the image stands at the registry now.
pub type Recheck = Arc<dyn Fn(&GapKey, &Record) -> BoxFuture<'static, Standing> + Send + Sync>;

/// How long after its push to the primary an image was pushed here; `None` where that is not known.
pub type LagOf = Arc<dyn Fn(&GapKey) -> BoxFuture<'static, Option<Duration>> + Send + Sync>;

/// Which gaps something may have changed about.
type Concerned = Box<dyn Fn(&GapKey) -> bool + Send + Sync>;

/// What was read last of the replication rules; `None` until they were read.
pub type Rules = watch::Receiver<Option<Arc<RuleReading>>>;

/// What was read of the replication rules.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RuleReading {
    /// The gaps of all rules.
    pub gaps: Vec<Gap>,
    /// The registries that keep rules which fill Places of ours.
    pub keepers: BTreeSet<RegistryName>,
    /// Which kinds of trouble would be among the gaps, if there was any. What could not be read, or may not be, is not here.
    pub judged: BTreeSet<(RegistryName, GapKind)>,
}

impl RuleReading {
    /// Whether a gap that is not listed is none any more.
    fn ends(&self, key: &GapKey, kind: GapKind) -> bool {
        !self.keepers.contains(&key.registry) || self.judged.contains(&(key.registry.clone(), kind))
    }
}

/// Tells the leader's part of the ledger what others have found. It may be told in a replica that does not lead, and then
/// changes nothing.
#[derive(Debug, Clone)]
pub struct Keeper {
    hints: mpsc::Sender<GapKey>,
    concerned: mpsc::Sender<Concerned>,
    swept: watch::Sender<Option<Arc<Swept>>>,
}

impl Keeper {
    /// Something may have changed about this gap: it is looked at at once. It never waits.
    pub fn hint(&self, key: GapKey) {
        // If so many wait already, it is looked at in its time.
        let _ = self.hints.try_send(key);
    }

    /// Something may have changed about those open gaps that `concerned` says it of: they are looked at soon, each at most
    /// every two seconds, however often this is told. It never waits.
    pub fn hint_those(&self, concerned: impl Fn(&GapKey) -> bool + Send + Sync + 'static) {
        // If so many wait already, they are looked at in their time.
        let _ = self.concerned.try_send(Box::new(concerned));
    }

    /// A sweep has found this. It takes the place of one that was not noted yet.
    pub fn swept(&self, swept: Swept) {
        self.swept.send_replace(Some(Arc::new(swept)));
    }
}

/// The leader's part of the ledger.
pub struct Keeping {
    hands: Arc<Hands>,
    hints: mpsc::Receiver<GapKey>,
    concerned: mpsc::Receiver<Concerned>,
    swept: watch::Receiver<Option<Arc<Swept>>>,
    rules: Rules,
    retention: SignedDuration,
}

/// What every piece of work needs.
struct Hands {
    objects: GapObjects,
    notices: Notices,
    pace: Pace,
    recheck: Recheck,
    lag: LagOf,
    metrics: LedgerMetrics,
    clock: fn() -> Timestamp,
}

/// A piece of work, and the gap that was looked at, if it was a look.
type Work = BoxFuture<'static, Option<GapKey>>;

impl Keeping {
    /// With closed gaps kept for `retention`.
    #[expect(clippy::too_many_arguments, reason = "each is another part of the server")]
    #[must_use]
    pub fn new(
        objects: GapObjects,
        notices: Notices,
        pace: Pace,
        recheck: Recheck,
        lag: LagOf,
        rules: Rules,
        retention: SignedDuration,
        metrics: LedgerMetrics,
        clock: fn() -> Timestamp,
    ) -> (Keeper, Self) {
        let (hints, hinted) = mpsc::channel(HINTS);
        let (concerned, told) = mpsc::channel(MANY_HINTS);
        let (sender, swept) = watch::channel(None);
        let hands = Arc::new(Hands { objects, notices, pace, recheck, lag, metrics, clock });
        let keeper = Keeper { hints, concerned, swept: sender };
        (keeper, Self { hands, hints: hinted, concerned: told, swept, rules, retention })
    }

    /// Keeps the ledger for as long as it is polled. To be polled only while this replica leads.
    pub async fn keep(&mut self) {
        // What was found while another replica led is old.
        while self.hints.try_recv().is_ok() {}
        while self.concerned.try_recv().is_ok() {}
        self.swept.mark_unchanged();
        self.rules.mark_changed();
        let (plan, changed) = (Mutex::new(Plan::default()), Notify::new());
        let objects = self.hands.objects.clone();
        let watching = objects.watch(|change| {
            plan.lock().unwrap_or_else(PoisonError::into_inner).take(change, Instant::now());
            changed.notify_one();
        });
        let shown = Shown(self.hands.metrics.clone());
        tokio::select! {
            () = watching => {}
            () = self.work(&plan, &changed) => {}
        }
        drop(shown);
    }

    async fn work(&mut self, plan: &Mutex<Plan>, changed: &Notify) {
        let Self { hands, hints, concerned, swept, rules, retention } = self;
        let plan = || plan.lock().unwrap_or_else(PoisonError::into_inner);
        let mut work: FuturesUnordered<Work> = FuturesUnordered::new();
        // At most one: what an older sweep has found is not written any more once there is a newer one.
        let mut noting: FuturesUnordered<Work> = FuturesUnordered::new();
        let (mut ticks, mut deleting) = (interval(TICK), HashSet::new());
        loop {
            let (next, listed) = {
                let mut plan = plan();
                let due = plan.start(AT_ONCE, Instant::now());
                work.extend(due.into_iter().map(|(key, record)| hands.clone().look(key, record).boxed()));
                let is_full = plan.looking() >= AT_ONCE;
                (plan.next().filter(|_| !is_full), plan.listed)
            };
            tokio::select! {
                () = changed.notified() => {}
                Some(looked) = work.next() => {
                    if let Some(key) = looked {
                        plan().looked(&key, Instant::now());
                    }
                }
                Some(_) = noting.next() => {}
                Some(key) = hints.recv() => plan().hint(&key, Instant::now()),
                Some(concerned) = concerned.recv() => plan().hint_those(concerned, Instant::now()),
                () = news(swept), if listed => {
                    if let Some(swept) = swept.borrow_and_update().clone() {
                        let mut plan = plan();
                        // What it did not find any more may be in order: a look tells.
                        for key in plan.not_in(&swept) {
                            plan.look_now(&key, Instant::now());
                        }
                        let news = hands.news(&plan, &swept);
                        noting.clear();
                        noting.push(hands.clone().note(swept, news).boxed());
                    }
                }
                () = news(rules), if listed => {
                    if let Some(reading) = rules.borrow_and_update().clone() {
                        work.extend(hands.rules(&plan(), &reading));
                    }
                }
                () = at(next) => {}
                _ = ticks.tick() => {
                    let (plan, now) = (plan(), (hands.clock)());
                    hands.metrics.show(plan.records(), now);
                    let surplus = plan.surplus(*retention, now);
                    deleting.retain(|name: &String| surplus.iter().any(|object| object.name == *name));
                    for object in surplus {
                        if deleting.insert(object.name.clone()) {
                            work.push(hands.clone().delete(object).boxed());
                        }
                    }
                }
            }
        }
    }
}

/// Shows no gaps any more when we no longer lead.
struct Shown(LedgerMetrics);

impl Drop for Shown {
    fn drop(&mut self) {
        self.0.show(std::iter::empty(), Timestamp::UNIX_EPOCH);
    }
}

/// Waits for something new; for ever where nobody sends any more.
async fn news<T>(from: &mut watch::Receiver<T>) {
    if from.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}

async fn at(next: Option<Instant>) {
    match next {
        Some(next) => sleep_until(next).await,
        None => std::future::pending().await,
    }
}

impl Hands {
    /// Looks at a gap, and writes what was found.
    async fn look(self: Arc<Self>, key: GapKey, record: Record) -> Option<GapKey> {
        let at = (self.clock)();
        let standing = (self.recheck)(&key, &record).await;
        // Most looks find what is known: then nobody asks the API server.
        let Some(found) = after(&record, &key, &standing, None, at) else { return Some(key) };
        let lag = if found.is_open() { None } else { (self.lag)(&key).await };
        let change = |record: Option<&Record>| after(record?, &key, &standing, lag, at);
        self.change(&key, Absent::Leave, change).await;
        Some(key)
    }

    /// What is to be written after a sweep. What says nothing new is left out, and what finds no room is counted at once: a site
    /// may lack everything.
    fn news(&self, plan: &Plan, swept: &Swept) -> Vec<News> {
        let mut by_key: HashMap<&GapKey, Vec<usize>> = HashMap::new();
        for (n, (gap, _)) in swept.found.iter().enumerate() {
            by_key.entry(&gap.key).or_default().push(n);
        }
        let (mut room, mut news) = (MOST_OBJECTS.saturating_sub(plan.len()), Vec::new());
        for (key, found) in &by_key {
            match plan.record(key) {
                Some(before) if seen_by(swept, found, key, Some(before)).is_none() => {}
                None if !plan.has(key) && room == 0 => {
                    self.metrics.unrecorded(Tally::of_sweep(swept, found).kinds());
                }
                known => {
                    room = room.saturating_sub(usize::from(known.is_none()));
                    news.push(News::Found(found.clone()));
                }
            }
        }
        // Pods of what is in order again do not count. Of an open gap that is so once it is closed.
        let is_open = |key: &&GapKey| plan.record(key).is_some_and(Record::is_open);
        let others = swept.good.iter().map(|(key, _)| key).filter(is_open).chain(&swept.unlearned);
        let runs: HashSet<&GapKey> = by_key.keys().copied().chain(others).collect();
        for (key, record) in plan.records().filter(|(key, _)| swept.complete && !runs.contains(key)) {
            let is_image = matches!(key.subject, GapSubject::Image { .. });
            if is_image && idle(record, key, swept.at).is_some() {
                news.push(News::RunsNoMore(key.clone()));
            }
        }
        for (key, axis) in &swept.good {
            if plan.record(key).is_some_and(|record| record.lacking(*axis).is_some()) {
                news.push(News::Good(key.clone(), *axis));
            }
        }
        news
    }

    /// Writes what a sweep has found, one after the other, so that looks get their turns in between.
    async fn note(self: Arc<Self>, swept: Arc<Swept>, news: Vec<News>) -> Option<GapKey> {
        let new = news.iter().filter(|news| matches!(news, News::Found(_))).count();
        let room = Room::of(new);
        for one in news {
            match one {
                News::Found(found) => self.found(&swept, &found, &room).await,
                News::RunsNoMore(key) => {
                    self.change(&key, Absent::Leave, |record| idle(record?, &key, swept.at)).await;
                }
                News::Good(key, axis) => {
                    let mut standing = Standing::UNKNOWN;
                    *standing.on_mut(axis) = State::Good;
                    self.clone().stands(key, standing, swept.at).await;
                }
            }
        }
        None
    }

    /// Notes one gap that a sweep has found.
    async fn found(&self, swept: &Swept, found: &[usize], room: &Room) {
        let Some((Gap { key, .. }, _)) = found.first().and_then(|first| swept.found.get(*first)) else {
            return;
        };
        let change = |before: Option<&Record>| seen_by(swept, found, key, before);
        if let Some(Stored::NoRoom) = self.change(key, Absent::Create(room), change).await {
            self.metrics.unrecorded(Tally::of_sweep(swept, found).kinds());
        }
    }

    /// What is to be written after the rules were read: what is listed is open, and what would be listed is closed.
    fn rules(self: &Arc<Self>, plan: &Plan, reading: &RuleReading) -> Vec<Work> {
        let gaps = &reading.gaps;
        let (now, room) = ((self.clock)(), Arc::new(Room::beside(plan.len())));
        let is_listed = |key: &GapKey, kind| gaps.iter().any(|gap| gap.key == *key && gap.kind == kind);
        let risk = |key: &GapKey| plan.record(key).and_then(|record| record.lacking(Axis::Risk));
        let mut done = HashSet::new();
        let mut work: Vec<Work> = Vec::new();
        for Gap { key, kind, detail } in gaps.iter() {
            if !done.insert(key) || risk(key).is_some_and(|kind| is_listed(key, kind)) {
                continue;
            }
            let (hands, key, room) = (self.clone(), key.clone(), room.clone());
            let standing = Standing { risk: State::Lacking(*kind, detail.clone()), ..Standing::UNKNOWN };
            let open = async move {
                let change = |record: Option<&Record>| {
                    let first = opened(now);
                    after(record.unwrap_or(&first), &key, &standing, None, now)
                };
                if let Some(Stored::NoRoom) = hands.change(&key, Absent::Create(&room), change).await {
                    hands.metrics.unrecorded([kind_of(&standing)].into_iter().flatten());
                }
                None
            };
            work.push(open.boxed());
        }
        let of_rule = |key: &GapKey| matches!(key.subject, GapSubject::Rule(_));
        for (key, record) in plan.records().filter(|(key, record)| of_rule(key) && record.is_open()) {
            let ends = record.lacking(Axis::Risk).is_none_or(|kind| reading.ends(key, kind));
            if !done.contains(key) && ends {
                let good = Standing { risk: State::Good, ..Standing::UNKNOWN };
                work.push(self.clone().stands(key.clone(), good, now).boxed());
            }
        }
        work
    }

    async fn stands(self: Arc<Self>, key: GapKey, standing: Standing, at: Timestamp) -> Option<GapKey> {
        let change = |record: Option<&Record>| after(record?, &key, &standing, None, at);
        self.change(&key, Absent::Leave, change).await;
        None
    }

    async fn delete(self: Arc<Self>, object: GapObject) -> Option<GapKey> {
        self.pace.turn().await;
        if let Err(error) = self.objects.delete(&object).await {
            self.failed(&error);
        }
        None
    }

    /// Changes an object, and tells the owners what that means to them.
    async fn change(
        &self,
        key: &GapKey,
        absent: Absent<'_>,
        change: impl Fn(Option<&Record>) -> Option<Record>,
    ) -> Option<Stored> {
        match update(&self.objects, &self.pace, key, absent, change).await {
            Ok(stored) => {
                if let Stored::Done(change) = &stored {
                    let (before, now) = &**change;
                    self.tell(key, before.as_ref(), now);
                }
                Some(stored)
            }
            Err(error) => {
                self.failed(&error);
                None
            }
        }
    }

    fn tell(&self, key: &GapKey, before: Option<&Record>, now: &Record) {
        let was_open = before.is_some_and(Record::is_open);
        let reason = if was_open && now.state == GapState::Closed {
            self.metrics.closed();
            EventReason::GapClosed
        } else if is_lost(before, now) {
            EventReason::ImageLost
        } else {
            return;
        };
        for owner in &now.owners {
            self.notices.tell(owner, key, reason, || sentence(key, now, None));
        }
    }

    fn failed(&self, error: &ClusterError) {
        self.metrics.failed();
        tracing::warn!(error = error_chain(error), "a gap is not kept yet");
    }
}

/// One thing that a sweep has found, and that the ledger does not say yet.
enum News {
    /// A gap: where it stands in [`Swept::found`], once or more.
    Found(Vec<usize>),
    /// Nothing runs with this image any more, or it is in order.
    RunsNoMore(GapKey),
    /// Nothing is lacking on this axis.
    Good(GapKey, Axis),
}

/// The record after a sweep has found these; `None` where that is nothing new.
fn seen_by(swept: &Swept, found: &[usize], key: &GapKey, before: Option<&Record>) -> Option<Record> {
    let record = fold(before, &Tally::of_sweep(swept, found), key);
    let pods = found.first().and_then(|first| swept.found.get(*first)).map_or(0, |(_, running)| running.pods);
    let record = counted(&record, key, pods).unwrap_or(record);
    before.is_none_or(|before| is_news(before, &record)).then_some(record)
}

fn kind_of(standing: &Standing) -> Option<GapKind> {
    match standing.risk {
        State::Lacking(kind, _) => Some(kind),
        State::Good | State::Unknown | State::NotExpected(_) => None,
    }
}

/// Whether a copy was there and is no longer, or is no longer whole.
fn is_lost(before: Option<&Record>, now: &Record) -> bool {
    let is_broken =
        |kind| matches!(kind, GapKind::Finding(FindingKind::LayerMissing | FindingKind::PullFailed));
    let was_lacking = before.and_then(|before| before.lacking(Axis::Presence));
    let was_there =
        before.and_then(|before| before.presence.as_ref()).is_some_and(|axis| axis.finding.is_none());
    let lacking = now.lacking(Axis::Presence);
    was_lacking.is_none() && lacking.is_some_and(|kind| was_there || is_broken(kind))
}

/// Whether a sweep says more than that it has seen the same again.
fn is_news(before: &Record, now: &Record) -> bool {
    let same = |axis: &Axis| before.lacking(*axis) == now.lacking(*axis);
    let closed_and_seen = |axis: &Axis| now.lacking(*axis).is_none() && before.axis(*axis) != now.axis(*axis);
    !Axis::VARIANTS.iter().all(same)
        || Axis::VARIANTS.iter().any(closed_and_seen)
        || (before.pods, &before.tag) != (now.pods, &now.tag)
        || (&before.namespaces, &before.owners) != (&now.namespaces, &now.owners)
        || now.last_seen.duration_since(before.last_seen) > STALE
}
