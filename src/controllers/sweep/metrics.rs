//! The metrics of the sweep.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use jiff::Timestamp;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry as Page;
use strum::VariantArray as _;

use super::needs::Needs;
use crate::domain::evidence::Layers;

type Seconds = Gauge<f64, AtomicU64>;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByResult {
    result: LayersResult,
}

/// What the inspection of a manifest's layers found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue, strum::VariantArray)]
enum LayersResult {
    Complete,
    Lost,
    Absent,
    Unknown,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByPull {
    result: PullResult,
}

/// What a look found after a node said that it could not pull a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue, strum::VariantArray)]
pub(super) enum PullResult {
    /// The registry does not serve what it says to have.
    Damaged,
    /// The registry says that it does not have it.
    Absent,
    /// The registry serves it: the node has a reason of its own.
    Unexplained,
    /// It could not be learned.
    Unknown,
}

/// The metrics of the sweep. A clone is a handle to the same. Those of a replica that does not lead stay as they were.
#[derive(Debug, Clone, Default)]
pub struct SweepMetrics {
    duration: Seconds,
    ended: Seconds,
    failures: Counter,
    pods: Gauge,
    images: Gauge,
    unknown: Gauge,
    left_out: Gauge,
    manifests: Family<ByResult, Counter>,
    copies: Gauge,
    inspected: Gauge,
    pulls: Family<ByPull, Counter>,
}

impl SweepMetrics {
    /// Registers them.
    pub fn register(page: &mut Page) -> Self {
        let metrics = Self::default();
        page.register(
            "landfall_sweep_duration_seconds",
            "How long the last sweep took",
            metrics.duration.clone(),
        );
        page.register(
            "landfall_sweep_ended_timestamp_seconds",
            "When the last sweep of this replica ended",
            metrics.ended.clone(),
        );
        page.register(
            "landfall_sweep_failures",
            "Sweeps that could not be done, because the API server could not be asked",
            metrics.failures.clone(),
        );
        page.register("landfall_sweep_pods", "Pods that the last sweep read", metrics.pods.clone());
        page.register(
            "landfall_sweep_images",
            "Different images that the last sweep judged, each once for each set of rules and platforms",
            metrics.images.clone(),
        );
        page.register(
            "landfall_sweep_images_unknown",
            "Those of which something could not be learned",
            metrics.unknown.clone(),
        );
        page.register(
            "landfall_sweep_images_left_out",
            "Those that were not judged, because there were too many or their Pod could not be read",
            metrics.left_out.clone(),
        );
        page.register(
            "landfall_sweep_manifests",
            "Manifests at local replicas whose layers were looked at, by what was found",
            metrics.manifests.clone(),
        );
        page.register(
            "landfall_sweep_copies",
            "Copies at local replicas that something needs",
            metrics.copies.clone(),
        );
        page.register(
            "landfall_sweep_copies_inspected",
            "Those that this replica has inspected: layers, accessories, tags",
            metrics.inspected.clone(),
        );
        page.register(
            "landfall_pull_failures",
            "Pulls of local copies that kubelets say have failed, by what a look at the copy found",
            metrics.pulls.clone(),
        );
        // A rate needs a beginning.
        for result in LayersResult::VARIANTS {
            drop(metrics.manifests.get_or_create(&ByResult { result: *result }));
        }
        for result in PullResult::VARIANTS {
            drop(metrics.pulls.get_or_create(&ByPull { result: *result }));
        }
        metrics
    }

    /// Counts one hint of a kubelet.
    pub(super) fn pull_failed(&self, result: PullResult) {
        self.pulls.get_or_create(&ByPull { result }).inc();
    }

    /// Counts the inspection of one manifest.
    pub(super) fn layered(&self, layers: &Layers) {
        let result = match layers {
            Layers::Complete { .. } => LayersResult::Complete,
            Layers::Lost(_) => LayersResult::Lost,
            Layers::Absent => LayersResult::Absent,
            Layers::Unknown(_) => LayersResult::Unknown,
        };
        self.manifests.get_or_create(&ByResult { result }).inc();
    }

    /// Shows how many copies there are, and how many of them were inspected.
    pub(super) fn inspected(&self, inspected: usize, copies: usize) {
        let gauge = |gauge: &Gauge, number: usize| gauge.set(i64::try_from(number).unwrap_or(i64::MAX));
        gauge(&self.inspected, inspected);
        gauge(&self.copies, copies);
    }

    pub(super) fn judged(&self, needs: &Needs, unknown: u64) {
        let gauge = |gauge: &Gauge, number: u64| gauge.set(i64::try_from(number).unwrap_or(i64::MAX));
        gauge(&self.pods, needs.pods);
        gauge(&self.images, u64::try_from(needs.len()).unwrap_or(u64::MAX));
        gauge(&self.unknown, unknown);
        gauge(&self.left_out, needs.left_out.saturating_add(needs.unreadable));
    }

    pub(super) fn ended(&self, at: Timestamp, took: Duration) {
        self.duration.set(took.as_secs_f64());
        self.ended.set(at.as_duration().as_secs_f64());
    }

    pub(super) fn failed(&self) {
        self.failures.inc();
    }
}
