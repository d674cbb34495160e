//! Takes what the doors have seen. It never waits: one short lock, and only where an image has a gap.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;

use super::met::Met;
use super::metrics::LedgerMetrics;
use super::record::Tally;
use super::store::MOST_OBJECTS;
use crate::cluster::ObjectRef;
use crate::domain::gap::{Gap, GapKey};
use crate::domain::image::Tag;

/// How many gaps are kept until they are folded: as many as there are objects. What is beyond is counted by its finding.
const MOST: usize = MOST_OBJECTS;

/// One image of a Pod that a door has judged.
#[derive(Debug, Clone)]
pub struct Sighting<'a> {
    /// Its gaps.
    pub gaps: &'a [Gap],
    /// Its tag as written.
    pub tag: Option<&'a Tag>,
    /// What became of it.
    pub met: Met,
    /// The namespace of the Pod.
    pub namespace: &'a str,
    /// Who made the Pod, or the Pod itself; `None` where nobody can be named.
    pub owner: Option<Owner<'a>>,
}

/// An object in the namespace of the Pod, as the Pod names it. Nobody has checked that it exists.
#[derive(Debug, Clone, Copy)]
pub struct Owner<'a> {
    /// As in a manifest: `apps/v1`.
    pub api_version: &'a str,
    /// As in a manifest: `ReplicaSet`.
    pub kind: &'a str,
    /// Its name.
    pub name: &'a str,
    /// Which object of that name.
    pub uid: Option<&'a str>,
}

impl Owner<'_> {
    fn in_namespace(&self, namespace: &str) -> ObjectRef {
        let Self { api_version, kind, name, uid } = self;
        ObjectRef {
            api_version: (*api_version).to_owned().into(),
            kind: (*kind).to_owned().into(),
            namespace: Some(namespace.to_owned()),
            name: (*name).to_owned(),
            uid: uid.map(str::to_owned),
        }
    }
}

/// Takes sightings. A clone takes them into the same tallies.
#[derive(Debug, Clone)]
pub struct Recorder {
    tallies: Arc<Mutex<HashMap<GapKey, Tally>>>,
    metrics: LedgerMetrics,
    clock: fn() -> Timestamp,
}

impl Recorder {
    /// With nothing seen.
    #[must_use]
    pub fn new(metrics: LedgerMetrics, clock: fn() -> Timestamp) -> Self {
        Self { tallies: Arc::default(), metrics, clock }
    }

    /// Takes one image. Not for dry runs: no Pod is created.
    pub fn see(&self, sighting: &Sighting<'_>) {
        let Sighting { gaps, tag, met, namespace, owner } = sighting;
        if gaps.is_empty() {
            return;
        }
        let now = (self.clock)();
        let owner = owner.map(|owner| owner.in_namespace(namespace));
        gaps.iter().for_each(|gap| self.metrics.seen(gap.kind));
        let mut tallies = self.tallies.lock().unwrap_or_else(PoisonError::into_inner);
        for (n, gap) in gaps.iter().enumerate() {
            if tallies.len() >= MOST && !tallies.contains_key(&gap.key) {
                self.metrics.unrecorded([gap.kind]);
                continue;
            }
            let tally = match tallies.get_mut(&gap.key) {
                Some(tally) => tally,
                None => tallies.entry(gap.key.clone()).or_default(),
            };
            // Of two gaps with one key, the Pod is one.
            if gaps.iter().take(n).any(|before| before.key == gap.key) {
                tally.also(gap, now);
            } else {
                tally.see(gap, *met, now);
            }
            tally.used_by(*tag, namespace, owner.as_ref().map(|owner| (owner, *met)));
        }
    }

    /// The gaps that wait to be folded.
    pub(super) fn keys(&self) -> Vec<GapKey> {
        self.tallies.lock().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }

    /// Takes all that was seen of one gap.
    pub(super) fn take(&self, key: &GapKey) -> Option<Tally> {
        self.tallies.lock().unwrap_or_else(PoisonError::into_inner).remove(key)
    }

    /// Puts back what could not be folded. What does not fit is counted.
    pub(super) fn put_back(&self, key: GapKey, tally: Tally) {
        let mut tallies = self.tallies.lock().unwrap_or_else(PoisonError::into_inner);
        if tallies.len() >= MOST && !tallies.contains_key(&key) {
            self.metrics.unrecorded(tally.kinds());
            return;
        }
        tallies.entry(key).or_default().merge(tally);
    }

    /// The number of gaps that wait.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.tallies.lock().unwrap().len()
    }
}
