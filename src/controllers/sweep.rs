//! The sweep: reads what runs and judges it, so that what is missing is known before anything starts again.
//!
//! ```text
//! lists of Pods (and of templates) ─needs─► each different image ─ Case at each local replica ─ judge ─► Gaps
//!                                                     │ what is there
//!                                                     └─ inspect: layers, accessories, tags, a few at a time
//! ```
//!
//! Only the leader sweeps. One sweep reads page by page, and asks registries as one more namespace would, so Pods that start
//! meanwhile hardly notice it. Between two sweeps the copies are inspected, those first that were not for the longest time.

mod inspect;
mod metrics;
mod needs;
mod pulls;
mod standing;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use futures::StreamExt;
use futures::future::OptionFuture;
use futures::stream::FuturesUnordered;
use jiff::Timestamp;
use thiserror::Error;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout_at};

use crate::cluster::{
    Cluster, ClusterError, FailedPull, FailedPulls, Namespaces, Owners, WorkloadKind, Workloads,
};
use crate::controllers::leader::Leading;
use crate::controllers::replication::ReplicationMetrics;
use crate::domain::case::{Case, Locality, Role, Subject};
use crate::domain::error_chain::error_chain;
use crate::domain::finding::Finding;
use crate::domain::found::Copy;
use crate::domain::gap::{Axis, Gap, GapKey, GapKind, gaps};
use crate::domain::place::PlaceIx;
use crate::domain::settings::{Reports, Settings};
use crate::evidence::{Answers, Asking, Observatory, Share};
use crate::ledger::{Running, Swept};

use inspect::{Changed, Inspections};
pub use metrics::SweepMetrics;
pub use needs::Carried;
use needs::{Ground, Need, Needs, Users};
use standing::Outcome;
#[cfg(test)]
pub use standing::Tally;
pub use standing::{Standing, Standings};

/// As whose Pod the sweep asks: look-ups queue fairly by namespace, and no namespace has this name.
const NAMESPACE: &str = "(sweep)";

/// How many images are judged at once.
const AT_ONCE: usize = 4;

/// How long one image is waited for. Nobody is in a hurry, and an answer that comes too late says nothing.
const PATIENCE: Duration = Duration::from_secs(30);

/// The pause between two pages of a list.
const PAUSE: Duration = Duration::from_millis(50);

/// How often a list is begun anew because it changed too much while it was read.
const ATTEMPTS: u32 = 3;

/// The most owners that one survey looks up. The next one knows them, and looks up as many more.
const MOST_ASKED: usize = 200;

/// How many failed pulls may wait to be looked at.
const HINTS: usize = 64;

/// How and how often is swept.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    /// The time from one sweep to the next.
    pub every: Duration,
    /// The time from one inspection of a copy to the next.
    pub inspect: Duration,
    /// Whether objects with templates are read, too.
    pub templates: Templates,
}

/// Whether the templates of workloads count, so that what is scaled down, or runs at night only, is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Templates {
    /// Pods alone count.
    Left,
    /// They are read. The chart gives the right to do so only then.
    Read,
}

/// What this process knows since its last sweep; `None` before the first.
pub type Surveys = watch::Receiver<Option<Arc<Survey>>>;

/// What this cluster needs, and what is lacking of it.
#[derive(Debug)]
pub struct Survey {
    /// Each image that the cluster needs, as it was judged.
    pub cases: Vec<Case>,
    /// The Gaps, and what runs with each.
    pub swept: Swept,
    /// The pull secrets that Pods have.
    pub carried: Arc<Carried>,
    /// What a new Pod with each image would get; `None`: nobody reports it.
    pub standings: Option<Standings>,
}

/// Why a sweep ended early.
#[derive(Debug, Error)]
enum SweepError {
    /// The API server could not be asked.
    #[error("what runs cannot be read")]
    Cluster {
        /// The cause.
        #[source]
        source: ClusterError,
    },
    /// A list is not what the API server promises.
    #[error("the list of {kind}s cannot be read")]
    Page {
        /// Which list.
        kind: &'static str,
        /// The cause.
        #[source]
        source: serde_json::Error,
    },
}

/// Sweeps while this replica leads.
pub struct Sweeper {
    workloads: Workloads,
    failed_pulls: FailedPulls,
    owners: Owners,
    namespaces: Namespaces,
    observatory: Arc<Observatory>,
    settings: Arc<ArcSwap<Settings>>,
    leading: Leading,
    own_namespace: Box<str>,
    terms: Terms,
    metrics: SweepMetrics,
    replication: ReplicationMetrics,
    clock: fn() -> Timestamp,
    surveys: watch::Sender<Option<Arc<Survey>>>,
}

impl Sweeper {
    /// It does not sweep before [`run`](Self::run) is polled. `surveys` gets what it finds.
    #[expect(
        clippy::too_many_arguments,
        reason = "the composition root knows all of them, and nobody else calls it"
    )]
    pub fn new(
        cluster: &Cluster,
        namespaces: Namespaces,
        observatory: Arc<Observatory>,
        settings: Arc<ArcSwap<Settings>>,
        leading: Leading,
        own_namespace: impl Into<Box<str>>,
        terms: Terms,
        (metrics, replication): (SweepMetrics, ReplicationMetrics),
        clock: fn() -> Timestamp,
        surveys: watch::Sender<Option<Arc<Survey>>>,
    ) -> Self {
        Self {
            workloads: cluster.workloads(),
            failed_pulls: cluster.failed_pulls(),
            owners: cluster.owners(),
            namespaces,
            observatory,
            settings,
            leading,
            own_namespace: own_namespace.into(),
            terms,
            metrics,
            replication,
            clock,
            surveys,
        }
    }

    /// Sweeps for as long as it is polled, while this replica leads. A sweep ends at once when another replica leads.
    pub async fn run(self) {
        let mut leading = self.leading.clone();
        loop {
            if !leading.now() {
                leading.changed().await;
                continue;
            }
            let (told, mut pulls) = mpsc::channel(HINTS);
            let watching = self.failed_pulls.watch(|failed| {
                // If so many wait already, the sweep finds what is lost in its time.
                let _ = told.try_send(failed);
            });
            tokio::select! {
                () = self.lead(&mut pulls) => {}
                () = watching => {}
                () = leading.changed() => {}
            }
        }
    }

    async fn lead(&self, pulls: &mut mpsc::Receiver<FailedPull>) {
        let mut inspections = Inspections::new((self.clock)());
        loop {
            let began = Instant::now();
            // A little earlier or later, so that several clusters do not ask one registry in step.
            let next = began + self.terms.every.mul_f64(0.9 + 0.2 * fastrand::f64());
            match self.sweep().await {
                Ok((mut needs, settings)) => {
                    self.survey(&needs, &settings, &mut inspections).await;
                    self.metrics.ended((self.clock)(), began.elapsed());
                    self.inspect(next, (&mut needs, &settings), &mut inspections, pulls).await;
                }
                Err(error) => {
                    self.metrics.failed();
                    tracing::warn!(
                        error = error_chain(&error),
                        "the sweep could not be done; it is tried again"
                    );
                }
            }
            sleep(next.saturating_duration_since(Instant::now()).max(PAUSE)).await;
        }
    }

    /// Looks at copies until the next sweep, those first that nodes cannot pull, and tells what that changes. A few are looked at
    /// also where the sweep has taken all the time.
    async fn inspect(
        &self,
        until: Instant,
        (needs, settings): (&mut Needs, &Settings),
        inspections: &mut Inspections,
        pulls: &mut mpsc::Receiver<FailedPull>,
    ) {
        let mut failed = None;
        loop {
            failed = failed.or_else(|| pulls.try_recv().ok());
            let changed = match failed.take() {
                Some(failed) => self.look_at_pull(&failed, needs, self.ground(settings)).await,
                None => {
                    let metrics = (&self.metrics, &self.replication);
                    match inspections.round(&self.observatory, self.terms.inspect, metrics).await {
                        Some(changed) => changed,
                        None => {
                            // Nothing is due.
                            let Ok(Some(next)) = timeout_at(until, pulls.recv()).await else { return };
                            failed = Some(next);
                            continue;
                        }
                    }
                }
            };
            if changed == Changed::Findings {
                self.survey(needs, settings, inspections).await;
            }
            if Instant::now() >= until {
                return;
            }
        }
    }

    /// Reads everything once.
    async fn sweep(&self) -> Result<(Needs, Arc<Settings>), SweepError> {
        let settings = self.settings.load_full();
        let ground = self.ground(&settings);
        let mut needs = Needs::at(ground.now, settings.reports);
        self.read(WorkloadKind::Pod, &mut needs, ground).await?;
        if self.terms.templates == Templates::Read {
            for kind in WorkloadKind::TEMPLATES {
                self.read(kind, &mut needs, ground).await?;
            }
        }
        Ok((needs, settings))
    }

    fn ground<'a>(&'a self, settings: &'a Settings) -> Ground<'a> {
        Ground { settings, own_namespace: &self.own_namespace, now: (self.clock)() }
    }

    /// Reads one list. What a list says again after it was begun anew is counted once more: the numbers of Pods are a little
    /// too high then, until the next sweep.
    async fn read(
        &self,
        kind: WorkloadKind,
        needs: &mut Needs,
        ground: Ground<'_>,
    ) -> Result<(), SweepError> {
        let unreadable = |source| SweepError::Page { kind: kind.names().1, source };
        let (mut after, mut attempts) = (None, 1);
        loop {
            let page = match self.workloads.page(kind, None, after.as_deref()).await {
                Ok(page) => page,
                Err(error) if error.is_status(410) && attempts < ATTEMPTS => {
                    (after, attempts) = (None, attempts + 1);
                    continue;
                }
                Err(source) => return Err(SweepError::Cluster { source }),
            };
            for namespace in needs.strangers(&page, ground).map_err(unreadable)? {
                let labels = self.namespaces.labels(&namespace).await;
                needs.know(&namespace, &labels, ground);
            }
            after = needs.add(kind, &page, ground).map_err(unreadable)?;
            if after.is_none() {
                return Ok(());
            }
            sleep(PAUSE).await;
        }
    }

    /// Judges every need, and tells what is known now.
    async fn survey(&self, needs: &Needs, settings: &Settings, inspections: &mut Inspections) {
        let survey = self.judge(needs, self.ground(settings), inspections).await;
        self.surveys.send_replace(Some(Arc::new(survey)));
    }

    /// Judges every need at each local replica.
    async fn judge(&self, needs: &Needs, ground: Ground<'_>, inspections: &mut Inspections) -> Survey {
        let mut found = Found::default();
        let (mut cases, mut unknown) = (Vec::new(), 0_u64);
        let (mut copies, mut users_of) = (HashMap::new(), Vec::new());
        let mut standings = (ground.settings.reports == Reports::OpenReports).then(Standings::default);
        let (mut waiting, mut judged) = (needs.iter(), FuturesUnordered::new());
        loop {
            let more = waiting.by_ref().take(AT_ONCE - judged.len());
            judged.extend(more.map(|(need, users)| {
                let reported = standings.is_some().then(|| self.stand((needs, need), users, ground));
                let seen = self.judge_one(needs.cases(need, ground.settings, ground.now), users);
                async { (seen.await, OptionFuture::from(reported).await) }
            }));
            let Some(((more, seen, users), standing)) = judged.next().await else { break };
            cases.extend(more);
            if let (Some(standings), Some(outcome)) = (&mut standings, standing) {
                standings.add(outcome, users);
            }
            unknown += u64::from(seen.unknown);
            seen.gaps.into_iter().for_each(|gap| found.add(gap, users));
            // A Pod that was changed names the same copy twice: as it was written, and as it stands.
            let named: HashMap<_, _> = seen.copies.into_iter().map(|copy| (copy.id(), copy)).collect();
            for (id, copy) in named {
                users_of.push((id.clone(), users));
                copies.insert(id, copy);
            }
        }
        inspections.take(copies);
        let (mut good, mut unlearned) = (HashSet::new(), HashSet::new());
        for (id, users) in users_of {
            match inspections.risk(&id) {
                Some(Ok(gap)) => found.add(gap, users),
                Some(Err(key)) => {
                    good.insert(key);
                }
                None => unlearned.extend(inspections.key(&id)),
            }
        }
        let complete = unknown == 0 && needs.left_out == 0 && needs.unreadable == 0;
        self.metrics.judged(needs, unknown);
        let good = good.into_iter().map(|key| (key, Axis::Risk)).collect();
        let mut found: Vec<(Gap, Running)> = found.into();
        self.name_owners(&mut found).await;
        if let Some(standings) = &mut standings {
            standings.whole = needs.left_out == 0 && needs.unreadable == 0;
            standings.name_owners(&self.owners);
        }
        let unlearned = unlearned.into_iter().collect();
        let swept = Swept { found, good, unlearned, complete, at: ground.now };
        Survey { cases, swept, carried: needs.carried.clone(), standings }
    }

    /// Judges what a new Pod with this image would get, at all Places.
    async fn stand(&self, (needs, need): (&Needs, &Need), users: &Users, ground: Ground<'_>) -> Outcome {
        let Some(case) = needs.case(need, ground.settings, ground.now) else { return Outcome::Skipped };
        let deadline = Instant::now() + PATIENCE;
        let asking =
            Asking { share: Share::Mutating, namespace: NAMESPACE, deadline, answers: Answers::Cached };
        Outcome::of(&case, &self.observatory.judge(&case, asking).await.verdict, users)
    }

    /// Puts Deployments in the place of ReplicaSets, and CronJobs in that of Jobs.
    async fn name_owners(&self, found: &mut [(Gap, Running)]) {
        let mut asked = 0;
        for (_, running) in found {
            let mut named = BTreeSet::new();
            for owner in &running.owners {
                named.insert(match self.owners.known(owner) {
                    Some(known) => known,
                    None if asked < MOST_ASKED => {
                        asked += 1;
                        self.owners.top(owner).await
                    }
                    None => owner.clone(),
                });
            }
            running.owners = named;
        }
    }

    async fn judge_one<'u>(&self, cases: Vec<Case>, users: &'u Users) -> (Vec<Case>, Seen, &'u Users) {
        let mut seen = Seen::default();
        for case in &cases {
            self.see(case, &mut seen).await;
        }
        (cases, seen, users)
    }

    /// Judges one image at each local replica.
    async fn see(&self, case: &Case, seen: &mut Seen) {
        let Subject::Routed(routed) = &case.subject else { return };
        for (ix, place) in routed.iter() {
            if (place.locality, place.role) != (Locality::Local, Role::Replica) {
                continue;
            }
            let Some(here) = case.at(ix) else { continue };
            let deadline = Instant::now() + PATIENCE;
            let asking =
                Asking { share: Share::Mutating, namespace: NAMESPACE, deadline, answers: Answers::Cached };
            let judgement = self.observatory.judge(&here, asking).await;
            let unknown = |finding: &Finding| finding.place == Some(PlaceIx(0)) && finding.kind.is_unknown();
            seen.unknown |= judgement.verdict.findings.iter().any(unknown);
            seen.copies.extend(Copy::of(&here, &judgement.evidence));
            let here = gaps(&here, &judgement.verdict);
            for gap in here.into_iter().filter(|gap| gap.key.registry == place.registry.name) {
                if !seen.gaps.iter().any(|known| (&known.key, known.kind) == (&gap.key, gap.kind)) {
                    seen.gaps.push(gap);
                }
            }
        }
    }
}

/// What was seen of one need.
#[derive(Default)]
struct Seen {
    gaps: Vec<Gap>,
    copies: Vec<Copy>,
    /// Whether something could not be learned.
    unknown: bool,
}

/// The Gaps of a sweep, each once.
#[derive(Default)]
struct Found(HashMap<(GapKey, GapKind), (Gap, Users)>);

impl Found {
    fn add(&mut self, gap: Gap, users: &Users) {
        let (_, all) = self.0.entry((gap.key.clone(), gap.kind)).or_insert_with(|| (gap, Users::default()));
        all.merge(users);
    }
}

impl From<Found> for Vec<(Gap, Running)> {
    fn from(Found(found): Found) -> Self {
        found.into_values().map(|(gap, users)| (gap, users.into())).collect()
    }
}
