//! The metrics of the ledger.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry as Page, Unit};

use super::record::Record;
use crate::domain::gap::{GapKey, GapKind};
use crate::domain::healing::{HealOutcome, Remedy};
use crate::domain::name::RegistryName;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfFinding {
    finding: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfRegistry {
    registry: Arc<str>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Oldest {
    registry: Arc<str>,
    axis: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Attempt {
    registry: Arc<str>,
    what: &'static str,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Open {
    finding: &'static str,
    registry: Arc<str>,
}

/// The metrics of the ledger. A clone is a handle to the same.
#[derive(Debug, Clone, Default)]
pub struct LedgerMetrics {
    sightings: Family<OfFinding, Counter>,
    unrecorded: Family<OfFinding, Counter>,
    closed: Counter,
    failures: Counter,
    open: Family<Open, Gauge>,
    oldest: Family<Oldest, Gauge>,
    attempts: Family<Attempt, Counter>,
    given_up: Family<OfRegistry, Gauge>,
}

impl LedgerMetrics {
    /// Registers them.
    pub fn register(page: &mut Page) -> Self {
        Self::default().on(page)
    }

    pub(super) fn on(self, page: &mut Page) -> Self {
        let metrics = self;
        page.register(
            "landfall_gap_sightings",
            "Images of Pods with a gap, by what was found",
            metrics.sightings.clone(),
        );
        page.register(
            "landfall_gaps_unrecorded",
            "Gaps that were seen and are not in the ledger, because it is full",
            metrics.unrecorded.clone(),
        );
        page.register(
            "landfall_gaps_closed",
            "Gaps that a look has found to be closed",
            metrics.closed.clone(),
        );
        page.register(
            "landfall_gap_write_failures",
            "Writes of ReplicationGaps that failed; they are tried again",
            metrics.failures.clone(),
        );
        page.register("landfall_gaps", "Open gaps, in the replica that leads", metrics.open.clone());
        page.register_with_unit(
            "landfall_gap_oldest_age",
            "Age of the oldest open gap on each axis, in the replica that leads",
            Unit::Seconds,
            metrics.oldest.clone(),
        );
        page.register(
            "landfall_healing_attempts",
            "Attempts to heal a gap, by what came of them",
            metrics.attempts.clone(),
        );
        page.register(
            "landfall_healing_gaps_given_up",
            "Open gaps for which five attempts to heal have failed, in the replica that leads",
            metrics.given_up.clone(),
        );
        metrics
    }

    pub(super) fn seen(&self, kind: GapKind) {
        self.sightings.get_or_create(&OfFinding { finding: kind.as_str() }).inc();
    }

    pub(super) fn unrecorded(&self, kinds: impl IntoIterator<Item = GapKind>) {
        for kind in kinds {
            self.unrecorded.get_or_create(&OfFinding { finding: kind.as_str() }).inc();
        }
    }

    pub(super) fn closed(&self) {
        self.closed.inc();
    }

    pub(super) fn failed(&self) {
        self.failures.inc();
    }

    /// An attempt to heal has ended.
    pub fn attempted(&self, registry: &RegistryName, what: Remedy, outcome: HealOutcome) {
        let registry = registry.as_str().into();
        let attempt = Attempt { registry, what: what.into(), outcome: outcome.into() };
        self.attempts.get_or_create(&attempt).inc();
    }

    /// Shows these records; none where this replica does not lead.
    pub fn show<'a>(&self, records: impl Iterator<Item = (&'a GapKey, &'a Record)>, now: Timestamp) {
        let mut open: HashMap<Open, i64> = HashMap::new();
        let mut oldest: HashMap<Oldest, i64> = HashMap::new();
        let mut given_up: HashMap<OfRegistry, i64> = HashMap::new();
        for (key, record) in records {
            let registry: Arc<str> = key.registry.as_str().into();
            if record.is_open() {
                let held = given_up.entry(OfRegistry { registry: registry.clone() }).or_default();
                *held += i64::from(record.has_given_up());
            }
            for (axis, kind) in record.open() {
                *open.entry(Open { finding: kind.as_str(), registry: registry.clone() }).or_default() += 1;
                let Some(open) = record.axis(axis) else { continue };
                let age = now.duration_since(open.since).as_secs().max(0);
                let held =
                    oldest.entry(Oldest { registry: registry.clone(), axis: axis.into() }).or_default();
                *held = age.max(*held);
            }
        }
        self.open.clear();
        for (label, number) in &open {
            self.open.get_or_create(label).set(*number);
        }
        self.given_up.clear();
        for (label, number) in &given_up {
            self.given_up.get_or_create(label).set(*number);
        }
        self.oldest.clear();
        for (label, age) in &oldest {
            self.oldest.get_or_create(label).set(*age);
        }
    }
}
