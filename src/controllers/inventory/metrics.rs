//! The metrics of the inventory.

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry as Page, Unit};
use strum::VariantArray;

use crate::evidence::{Imported, Refusal, Unusable};

/// How a read ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue, strum::VariantArray)]
pub(super) enum ReadOutcome {
    /// Its answers were taken.
    Used,
    /// None was written yet.
    Nothing,
    /// Its parts do not belong together.
    Torn,
    OtherVersion,
    OtherSite,
    TooOld,
    FromFuture,
    TooLarge,
    Malformed,
    /// The API server cannot be asked, or a ConfigMap is missing.
    Unreachable,
}

impl ReadOutcome {
    pub(super) fn of(error: &Unusable) -> Self {
        match error {
            Unusable::OtherVersion { .. } => Self::OtherVersion,
            Unusable::OtherSite { .. } => Self::OtherSite,
            Unusable::TooOld { .. } => Self::TooOld,
            Unusable::FromFuture { .. } => Self::FromFuture,
            Unusable::TooLarge => Self::TooLarge,
            Unusable::Malformed { .. } => Self::Malformed,
        }
    }
}

/// How a write ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue, strum::VariantArray)]
pub(super) enum WriteOutcome {
    Written,
    /// Another replica wrote at the same time.
    Outdated,
    Failed,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByRead {
    outcome: ReadOutcome,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByWrite {
    outcome: WriteOutcome,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByResult {
    result: &'static str,
}

/// The metrics of the inventory. A clone is a handle to the same.
#[derive(Debug, Clone, Default)]
pub struct InventoryMetrics {
    reads: Family<ByRead, Counter>,
    answers: Family<ByResult, Gauge>,
    writes: Family<ByWrite, Counter>,
    bytes: Gauge,
    left_out: Gauge,
}

impl InventoryMetrics {
    /// Registers them.
    pub fn register(page: &mut Page) -> Self {
        let metrics = Self::default();
        page.register(
            "landfall_inventory_reads",
            "Reads of the inventory, by how they ended",
            metrics.reads.clone(),
        );
        page.register(
            "landfall_inventory_answers",
            "Answers in the inventory that was read last: taken, or why not",
            metrics.answers.clone(),
        );
        page.register(
            "landfall_inventory_writes",
            "Writes of the inventory by this replica, by how they ended",
            metrics.writes.clone(),
        );
        page.register_with_unit(
            "landfall_inventory",
            "The size of the inventory that this replica wrote last, compressed",
            Unit::Bytes,
            metrics.bytes.clone(),
        );
        page.register(
            "landfall_inventory_left_out",
            "Repositories that found no room in the inventory that this replica wrote last",
            metrics.left_out.clone(),
        );
        // A rate needs a beginning.
        for outcome in ReadOutcome::VARIANTS {
            drop(metrics.reads.get_or_create(&ByRead { outcome: *outcome }));
        }
        for outcome in WriteOutcome::VARIANTS {
            drop(metrics.writes.get_or_create(&ByWrite { outcome: *outcome }));
        }
        metrics.imported(&Imported::default());
        metrics
    }

    pub(super) fn read(&self, outcome: ReadOutcome) {
        self.reads.get_or_create(&ByRead { outcome }).inc();
    }

    pub(super) fn imported(&self, imported: &Imported) {
        let count = |result, number| {
            self.answers.get_or_create(&ByResult { result }).set(gauge(number));
        };
        count("Taken", imported.answers);
        for refusal in Refusal::ALL {
            count(refusal.as_str(), imported.refused.get(refusal).copied().unwrap_or_default());
        }
    }

    pub(super) fn wrote(&self, outcome: WriteOutcome) {
        self.writes.get_or_create(&ByWrite { outcome }).inc();
    }

    pub(super) fn size(&self, bytes: usize, left_out: usize) {
        self.bytes.set(gauge(bytes));
        self.left_out.set(gauge(left_out));
    }
}

fn gauge(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
