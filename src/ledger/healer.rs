//! Heals gaps, in the leader: starts scans at local Harbors, and executes the replication rule that covers what is missing.
//!
//! ```text
//! records ─ stage ─► Begin ─ ask the artifact anew ─ claim (optimistic write) ─► POST ─► Follow ─ ask anew ─► outcome
//! ```
//!
//! Whoever has written the claim acts: of two leaders only one. A gap is closed by the keeper, by what it finds at the registry;
//! what an execution says of itself only explains why a gap is still there.

mod attempt;
mod bucket;
mod replicate;
mod rule;
mod scan;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use jiff::Timestamp;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::heal::{Stage, Terms, stage};
use super::metrics::LedgerMetrics;
use super::notices::Notices;
use super::record::{Recheck, Record};
use super::store::Pace;
use crate::cluster::GapObjects;
use crate::domain::gap::GapKey;
use crate::domain::healing::Remedy;
use crate::domain::name::RegistryName;
use crate::domain::replication::{Execution, Rule};
use crate::domain::settings::Settings;
use crate::evidence::Observatory;
use crate::harbor::Refusal;
use bucket::Bucket;

/// How many attempts are begun or followed at once.
const AT_ONCE: usize = 4;

/// Returns the records that somebody wants.
type Pick<'a> = dyn Fn(&dyn Fn(&GapKey, &Record) -> bool) -> Vec<(GapKey, Record)> + Sync + 'a;

/// Heals gaps.
pub struct Healer {
    settings: Arc<ArcSwap<Settings>>,
    observatory: Arc<Observatory>,
    objects: GapObjects,
    notices: Notices,
    pace: Pace,
    recheck: Recheck,
    metrics: LedgerMetrics,
    clock: fn() -> Timestamp,
    terms: Terms,
    memory: Mutex<Memory>,
}

/// What only this leader knows. Whatever a wall clock does, it acts no faster than this allows.
struct Memory {
    /// Until when a gap rests. Other settings wake all of them.
    rests: HashMap<GapKey, Instant>,
    settings: Arc<Settings>,
    /// Registries that rejected our credentials: until when they are not asked. Each wrong attempt may bring an account nearer to
    /// being locked.
    barred: HashMap<RegistryName, Instant>,
    /// Gaps that were found in order: the keeper closes them.
    in_order: HashSet<GapKey>,
    /// When we executed a rule.
    executed: HashMap<(RegistryName, i64), Instant>,
    /// The rules of a registry, and when they were read.
    rules: HashMap<RegistryName, (Instant, Arc<Vec<Rule>>)>,
    /// How an execution stood, and when it was asked.
    executions: HashMap<(RegistryName, i64), (Instant, Told)>,
    scans: Bucket,
    starts: Bucket,
    looks: Bucket,
}

/// How an execution stands, and the end of the log of its first task that failed.
type Told = Arc<(Execution, Box<str>)>;

/// What a piece of work was about, and how long that gap rests.
type Work = BoxFuture<'static, (GapKey, Duration)>;

impl Healer {
    /// With nothing begun.
    #[expect(clippy::too_many_arguments, reason = "each is another part of the server")]
    #[must_use]
    pub fn new(
        settings: Arc<ArcSwap<Settings>>,
        observatory: Arc<Observatory>,
        objects: GapObjects,
        notices: Notices,
        pace: Pace,
        recheck: Recheck,
        metrics: LedgerMetrics,
        clock: fn() -> Timestamp,
        terms: Terms,
    ) -> Self {
        let memory = Mutex::new(Memory {
            rests: HashMap::new(),
            settings: settings.load_full(),
            barred: HashMap::new(),
            in_order: HashSet::new(),
            executed: HashMap::new(),
            rules: HashMap::new(),
            executions: HashMap::new(),
            scans: Bucket::new(terms.scans),
            starts: Bucket::new(terms.executions),
            looks: Bucket::new(terms.looks),
        });
        Self { settings, observatory, objects, notices, pace, recheck, metrics, clock, terms, memory }
    }

    /// Heals for as long as it is polled; to be polled only while this replica leads. `pick` finds records; `hint`
    /// says that a gap may be closed.
    pub async fn heal(self: Arc<Self>, pick: &Pick<'_>, hint: &(dyn Fn(&GapKey) + Sync)) {
        let mut ticks = interval(self.terms.tick);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut work: FuturesUnordered<Work> = FuturesUnordered::new();
        let mut busy: HashSet<GapKey> = HashSet::new();
        // At most one: what the first finds out about a rule counts for the others.
        let mut replicating: Option<GapKey> = None;
        loop {
            tokio::select! {
                _ = ticks.tick() => {
                    for (key, record, stage) in self.due(pick, &busy, replicating.is_some()) {
                        if work.len() >= AT_ONCE {
                            break;
                        }
                        let remedy = match stage {
                            Stage::Begin { remedy, .. } => Some(remedy),
                            Stage::Follow | Stage::Rest => None,
                        };
                        let may = match remedy {
                            Some(Remedy::Replicate) => replicating.is_none(),
                            Some(Remedy::Scan) => self.remembered().scans.take(),
                            None => self.remembered().looks.take(),
                        };
                        if !may {
                            continue;
                        }
                        if remedy == Some(Remedy::Replicate) {
                            replicating = Some(key.clone());
                        }
                        busy.insert(key.clone());
                        let this = self.clone();
                        work.push(async move {
                            let rest = this.attend(&key, &record, stage).await;
                            (key, rest)
                        }.boxed());
                    }
                }
                Some((key, rest)) = work.next() => {
                    busy.remove(&key);
                    if replicating.as_ref() == Some(&key) {
                        replicating = None;
                    }
                    // Up to 20 % shorter or longer, so that what was begun at once does not go on at once.
                    let rest = rest.mul_f64(0.8 + 0.4 * fastrand::f64());
                    let mut memory = self.remembered();
                    memory.rests.insert(key.clone(), Instant::now() + rest);
                    let is_in_order = memory.in_order.remove(&key);
                    drop(memory);
                    if is_in_order {
                        hint(&key);
                    }
                }
            }
        }
    }

    /// What is due, the oldest first, so that two leaders begin with the same.
    fn due(&self, pick: &Pick<'_>, busy: &HashSet<GapKey>, replicates: bool) -> Vec<(GapKey, Record, Stage)> {
        let settings = self.settings.load_full();
        let (healing, now, instant) = (settings.healing, (self.clock)(), Instant::now());
        let mut memory = self.remembered();
        let is_same = Arc::ptr_eq(&memory.settings, &settings);
        memory.rests.retain(|_, until| is_same && *until > instant);
        memory.barred.retain(|_, until| is_same && *until > instant);
        memory.settings = settings;
        let stage = |key: &GapKey, record: &Record| stage(record, key, &healing, &self.terms, now);
        let wanted = |key: &GapKey, record: &Record| {
            let rests = !record.is_open() || busy.contains(key) || memory.rests.contains_key(key);
            !rests
                && match stage(key, record) {
                    Stage::Rest => false,
                    Stage::Begin { remedy: Remedy::Replicate, .. } => !replicates,
                    Stage::Begin { remedy: Remedy::Scan, .. } | Stage::Follow => true,
                }
        };
        let mut due: Vec<(GapKey, Record, Stage)> = pick(&wanted)
            .into_iter()
            .map(|(key, record)| {
                let stage = stage(&key, &record);
                (key, record, stage)
            })
            .collect();
        let is_begun = |stage: &Stage| *stage != Stage::Follow;
        due.sort_by(|one, other| {
            let order = |(key, record, stage): &(GapKey, Record, Stage)| {
                (is_begun(stage), record.first_seen, key.clone())
            };
            order(one).cmp(&order(other))
        });
        due
    }

    /// One step of one gap. Returns how long it rests.
    async fn attend(&self, key: &GapKey, record: &Record, stage: Stage) -> Duration {
        match stage {
            Stage::Rest => self.terms.rest,
            Stage::Begin { remedy: Remedy::Scan, failed } => self.begin_scan(key, record, failed).await,
            Stage::Begin { remedy: Remedy::Replicate, failed } => {
                self.begin_replication(key, record, failed).await
            }
            Stage::Follow => match record.under_way().cloned() {
                None => self.terms.poll,
                Some(action) => match action.what {
                    Remedy::Scan => self.follow_scan(key, record, &action).await,
                    Remedy::Replicate => self.follow_execution(key, record, &action).await,
                },
            },
        }
    }

    /// A look has found that nothing is lacking: the keeper looks, and closes it.
    fn in_order(&self, key: &GapKey) -> Duration {
        self.remembered().in_order.insert(key.clone());
        self.terms.poll
    }

    /// Whether a registry has rejected our credentials a moment ago.
    fn is_barred(&self, registry: &RegistryName) -> bool {
        self.remembered().barred.get(registry).is_some_and(|until| *until > Instant::now())
    }

    /// Leaves a registry alone for a while that rejects our credentials.
    fn bar(&self, registry: &RegistryName, refusal: &Refusal) {
        if *refusal == Refusal::Unauthorized {
            let until = Instant::now() + self.terms.pause(4);
            self.remembered().barred.insert(registry.clone(), until);
        }
    }

    fn remembered(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
