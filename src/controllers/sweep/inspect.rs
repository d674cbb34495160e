//! What takes longer to learn than whether an image is there: whether all its layers are, which accessories it lacks, what
//! keeps it from being removed, and how long its replication took. Nothing of it decides about a Pod but a lost layer.
//!
//! Copies are inspected a few at a time between two sweeps, those first that never were, then those whose inspection is
//! oldest. A copy is due again after [`Terms::inspect`](super::Terms). What one Range GET of a layer shows is told by
//! [`Observatory::layers`], which also remembers a lost one for the doors.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use jiff::Timestamp;
use tokio::time::Instant;

use super::PATIENCE;
use super::metrics::SweepMetrics;
use crate::controllers::replication::ReplicationMetrics;
use crate::domain::evidence::Layers;
use crate::domain::facts::{lag, risk};
use crate::domain::found::{Copy, CopyId, Known};
use crate::domain::gap::{Gap, GapKey, GapKind, Risk};
use crate::domain::unknown::Cause;
use crate::evidence::{Compared, Look, Observatory};

/// How many copies are inspected at once.
const AT_ONCE: usize = 2;

/// How many copies are inspected before what was found is told.
pub(super) const ROUND: usize = 32;

/// After so long a copy of which something could not be learned is inspected again.
const AGAIN: Duration = Duration::from_mins(5);

/// What the last inspection of a copy found.
#[derive(Debug)]
struct Inspected {
    at: Instant,
    risk: Risks,
    learned: Learned,
}

/// Whether an inspection learned all that it asked for. A registry that is down answers nothing, and that is soon learned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Learned {
    All,
    NotAll,
}

/// The risk of a copy.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Risks {
    /// None was found.
    None,
    /// This one, with details for people.
    One(Risk, Arc<str>),
    /// It could not be learned.
    Unknown,
}

/// All inspections of this leader.
#[derive(Debug)]
pub(super) struct Inspections {
    copies: HashMap<CopyId, Copy>,
    done: HashMap<CopyId, Inspected>,
    /// What was pushed before is no news: another leader told its lag.
    since: Timestamp,
}

/// What a round of inspections changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Changed {
    /// Nothing that a judgement would see.
    Nothing,
    /// Layers or risks: judge again.
    Findings,
}

impl Inspections {
    pub(super) fn new(since: Timestamp) -> Self {
        Self { copies: HashMap::new(), done: HashMap::new(), since }
    }

    /// Takes the copies that a sweep found, and forgets the others.
    pub(super) fn take(&mut self, copies: HashMap<CopyId, Copy>) {
        self.done.retain(|id, _| copies.contains_key(id));
        self.copies = copies;
    }

    /// The key of a copy's Gaps.
    pub(super) fn key(&self, id: &CopyId) -> Option<GapKey> {
        Some(self.copies.get(id)?.key())
    }

    /// The Gap of a copy's risk; `Err`: it was looked for, and there is none. `None`: that is not known.
    pub(super) fn risk(&self, id: &CopyId) -> Option<Result<Gap, GapKey>> {
        let key = self.copies.get(id)?.key();
        match &self.done.get(id)?.risk {
            Risks::One(risk, detail) => {
                Some(Ok(Gap { key, kind: GapKind::Risk(*risk), detail: detail.clone() }))
            }
            Risks::None => Some(Err(key)),
            Risks::Unknown => None,
        }
    }

    /// The copies that are due, at most [`ROUND`], the oldest first.
    pub(super) fn due(&self, every: Duration, now: Instant) -> Vec<Copy> {
        let is_due = |done: &Inspected| {
            let pause = if done.learned == Learned::All { every } else { every.min(AGAIN) };
            now.saturating_duration_since(done.at) >= pause
        };
        let mut due: Vec<(Option<Instant>, &Copy)> = self
            .copies
            .iter()
            .map(|(id, copy)| (self.done.get(id), copy))
            .filter(|(done, _)| done.is_none_or(is_due))
            .map(|(done, copy)| (done.map(|done| done.at), copy))
            .collect();
        due.sort_by_key(|(at, _)| *at);
        due.into_iter().take(ROUND).map(|(_, copy)| copy.clone()).collect()
    }

    /// Inspects a few copies that are due. `None`: none is.
    pub(super) async fn round(
        &mut self,
        observatory: &Observatory,
        every: Duration,
        metrics: (&SweepMetrics, &ReplicationMetrics),
    ) -> Option<Changed> {
        let due = self.due(every, Instant::now());
        if due.is_empty() {
            return None;
        }
        let mut changed = Changed::Nothing;
        let (mut waiting, mut inspected) = (due.into_iter(), FuturesUnordered::new());
        loop {
            let more = waiting.by_ref().take(AT_ONCE - inspected.len());
            inspected.extend(more.map(|copy| {
                let since = (!self.done.contains_key(&copy.id())).then_some(self.since);
                inspect(copy, observatory, since, metrics)
            }));
            let Some((copy, risk, layers, learned)) = inspected.next().await else { break };
            let id = copy.id();
            let before = self.done.remove(&id).map(|done| done.risk);
            if layers == Changed::Findings
                || risk != Risks::Unknown && *before.as_ref().unwrap_or(&Risks::None) != risk
            {
                changed = Changed::Findings;
            }
            let learned = if risk == Risks::Unknown { Learned::NotAll } else { learned };
            // What could not be learned takes nothing away.
            let risk = if risk == Risks::Unknown { before.unwrap_or(risk) } else { risk };
            self.done.insert(id, Inspected { at: Instant::now(), risk, learned });
        }
        let inspected = self.done.values().filter(|done| done.learned == Learned::All).count();
        metrics.0.inspected(inspected, self.copies.len());
        Some(changed)
    }
}

/// Looks at the layers and the facts of one copy.
async fn inspect(
    copy: Copy,
    observatory: &Observatory,
    since: Option<Timestamp>,
    (metrics, replication): (&SweepMetrics, &ReplicationMetrics),
) -> (Copy, Risks, Changed, Learned) {
    let (mut changed, mut learned) = (Changed::Nothing, Learned::All);
    for (manifest, known) in &copy.manifests {
        let deadline = Instant::now() + PATIENCE;
        let layers = observatory.layers(&copy.place, *manifest, Look::Sample, deadline).await;
        metrics.layered(&layers);
        if let Layers::Unknown(unknown) = &layers
            && !matches!(unknown.cause, Cause::NotRegistry | Cause::Forbidden | Cause::TooLarge)
        {
            learned = Learned::NotAll;
        }
        if matches!(
            (layers, known),
            (Layers::Lost(_), Known::Whole) | (Layers::Complete { .. }, Known::Damaged)
        ) {
            changed = Changed::Findings;
        }
    }
    let risk = facts(&copy, observatory, since, replication).await;
    (copy, risk, changed, learned)
}

/// Compares the copy with that of the primary. If it was pushed here after `since`, its lag is counted.
async fn facts(
    copy: &Copy,
    observatory: &Observatory,
    since: Option<Timestamp>,
    metrics: &ReplicationMetrics,
) -> Risks {
    let deadline = Instant::now() + PATIENCE;
    let Ok(compared) = observatory.compared(copy, deadline).await else { return Risks::Unknown };
    let Some(Compared { here, primary }) = compared else { return Risks::None };
    let known = primary.as_ref().ok().and_then(Option::as_ref);
    if let Some(primary) = known {
        let is_news = here.pushed.zip(since).is_some_and(|(pushed, since)| pushed >= since);
        if let Some(lag) = lag(primary, &here).filter(|_| is_news) {
            metrics.lag(&copy.route, lag);
        }
    }
    match risk(&here, known) {
        Some((risk, detail)) => Risks::One(risk, detail.into()),
        None if primary.is_err() => Risks::Unknown,
        None => Risks::None,
    }
}
