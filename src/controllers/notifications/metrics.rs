//! The metrics of notifications.

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry as Page;
use strum::VariantArray;

use crate::domain::name::RegistryName;
use crate::harbor::notification::Event;

/// Why a notification was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue, VariantArray)]
pub(super) enum Refusal {
    WrongSecret,
    TooMany,
    MediaType,
    Malformed,
}

/// What became of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue, VariantArray)]
pub(super) enum ChangeResult {
    /// Answers of ours were outdated by it.
    Invalidated,
    /// It concerns no answer of ours.
    Unused,
    /// There was no room for it.
    Dropped,
}

/// What became of what is passed on to another replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue, VariantArray)]
pub(super) enum Passed {
    Sent,
    Failed,
    /// So much waited already.
    Dropped,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByEvent {
    registry: String,
    event: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByReason {
    reason: Refusal,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByResult {
    result: ChangeResult,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByPassed {
    result: Passed,
}

/// The metrics. A clone counts the same.
#[derive(Debug, Clone, Default)]
pub struct NotificationMetrics {
    received: Family<ByEvent, Counter>,
    refused: Family<ByReason, Counter>,
    changes: Family<ByResult, Counter>,
    passed: Family<ByPassed, Counter>,
}

impl NotificationMetrics {
    /// Registers them.
    pub fn register(page: &mut Page) -> Self {
        let metrics = Self::default();
        page.register(
            "landfall_notifications",
            "Notifications of registries, by what happened; Relayed: passed on by another replica",
            metrics.received.clone(),
        );
        page.register(
            "landfall_notifications_refused",
            "Notifications that were refused: 401 (WrongSecret), 429 (TooMany wrong secrets), 415 (MediaType), 400 (Malformed)",
            metrics.refused.clone(),
        );
        page.register(
            "landfall_notification_changes",
            "Digests, tags and repositories that notifications named: Invalidated, Unused (nothing was held of it) or Dropped (its TTL ends it)",
            metrics.changes.clone(),
        );
        page.register(
            "landfall_notification_relays",
            "Posts to other replicas, by result; Dropped: too much waited",
            metrics.passed.clone(),
        );
        // From zero on: an alert on an increase would not see the first of a series.
        for reason in Refusal::VARIANTS {
            metrics.refused.get_or_create(&ByReason { reason: *reason }).inc_by(0);
        }
        for result in ChangeResult::VARIANTS {
            metrics.changes(*result, 0);
        }
        for result in Passed::VARIANTS {
            metrics.passed.get_or_create(&ByPassed { result: *result }).inc_by(0);
        }
        metrics
    }

    pub(super) fn received(&self, registry: &RegistryName, event: Event) {
        let labels = ByEvent { registry: registry.to_string(), event: event.into() };
        self.received.get_or_create(&labels).inc();
    }

    pub(super) fn refused(&self, reason: Refusal) {
        self.refused.get_or_create(&ByReason { reason }).inc();
    }

    pub(super) fn changes(&self, result: ChangeResult, number: u64) {
        self.changes.get_or_create(&ByResult { result }).inc_by(number);
    }

    pub(super) fn passed(&self, result: Passed) {
        self.passed.get_or_create(&ByPassed { result }).inc();
    }
}
