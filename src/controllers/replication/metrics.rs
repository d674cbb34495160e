//! The metrics of replication: how late copies come, and how the rules run.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry as Page, Unit};
use strum::VariantArray as _;

use crate::domain::name::{RegistryName, RouteName};
use crate::domain::replication::{Observed, Status, Tasks};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByRoute {
    route: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByRule {
    registry: String,
    rule: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByStatus {
    registry: String,
    rule: String,
    status: &'static str,
}

/// The metrics of replication. A clone is a handle to the same.
///
/// The names of rules come from Harbors. They were made short lines when they were read, and of each registry there are at
/// most 64; those of rules that are gone are removed.
#[derive(Debug, Clone)]
pub struct ReplicationMetrics {
    lag: Family<ByRoute, Histogram, fn() -> Histogram>,
    executions: Family<ByStatus, Gauge>,
    tasks: Family<ByStatus, Gauge>,
    last_run: Family<ByRule, Gauge<f64, AtomicU64>>,
    shown: Arc<Mutex<BTreeMap<RegistryName, BTreeSet<Box<str>>>>>,
}

impl ReplicationMetrics {
    /// Registers them.
    pub fn register(page: &mut Page) -> Self {
        // The target of most sites is 5 minutes, so 300 s is a bucket.
        let buckets: fn() -> Histogram =
            || Histogram::new([1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3_600.0, 21_600.0, 86_400.0]);
        let metrics = Self {
            lag: Family::new_with_constructor(buckets),
            executions: Family::default(),
            tasks: Family::default(),
            last_run: Family::default(),
            shown: Arc::default(),
        };
        page.register_with_unit(
            "landfall_replication_lag",
            "How long after the primary's copy the one at a replica was pushed, each copy once",
            Unit::Seconds,
            metrics.lag.clone(),
        );
        page.register(
            "landfall_replication_executions",
            "The newest executions of a replication rule, ten at most, by how they stand; the leader shows them",
            metrics.executions.clone(),
        );
        page.register(
            "landfall_replication_tasks",
            "The tasks of these executions, by how they stand",
            metrics.tasks.clone(),
        );
        page.register_with_unit(
            "landfall_replication_rule_last_run_timestamp",
            "When a replication rule last started, in seconds since 1970",
            Unit::Seconds,
            metrics.last_run.clone(),
        );
        metrics
    }

    /// Counts how late a copy came. Call it once for each copy, when it is first seen.
    pub fn lag(&self, route: &RouteName, lag: Duration) {
        self.lag.get_or_create(&ByRoute { route: route.to_string() }).observe(lag.as_secs_f64());
    }

    /// Shows the rules of a registry. Those that it no longer has are removed.
    pub(super) fn show(&self, keeper: &RegistryName, rules: &[Observed]) {
        let mut names = BTreeSet::new();
        for observed in rules {
            let (registry, rule) = (keeper.to_string(), observed.rule.name.to_string());
            let executions = || observed.executions.iter().flatten();
            for status in Status::VARIANTS.iter().copied() {
                let label =
                    ByStatus { registry: registry.clone(), rule: rule.clone(), status: status.into() };
                let number = executions().filter(|execution| execution.status == status).count();
                self.executions.get_or_create(&label).set(gauge(number));
                let tasks = executions().map(|execution| of(&execution.tasks, status)).sum();
                self.tasks.get_or_create(&label).set(tasks);
            }
            let label = ByRule { registry, rule };
            if let Some(started) = observed.last_started() {
                self.last_run.get_or_create(&label).set(started.as_duration().as_secs_f64());
            }
            names.insert(observed.rule.name.clone());
        }
        let before = self.shown().insert(keeper.clone(), names.clone()).unwrap_or_default();
        before.difference(&names).for_each(|rule| self.remove(keeper, rule));
    }

    /// Removes what is shown of other registries.
    pub(super) fn keep_only(&self, keepers: &BTreeSet<RegistryName>) {
        let mut shown = self.shown();
        for (keeper, rules) in shown.iter().filter(|(keeper, _)| !keepers.contains(*keeper)) {
            rules.iter().for_each(|rule| self.remove(keeper, rule));
        }
        shown.retain(|keeper, _| keepers.contains(keeper));
    }

    fn remove(&self, keeper: &RegistryName, rule: &str) {
        let (registry, rule) = (keeper.to_string(), rule.to_owned());
        for status in Status::VARIANTS.iter().copied() {
            let label = ByStatus { registry: registry.clone(), rule: rule.clone(), status: status.into() };
            self.executions.remove(&label);
            self.tasks.remove(&label);
        }
        self.last_run.remove(&ByRule { registry, rule });
    }

    fn shown(&self) -> std::sync::MutexGuard<'_, BTreeMap<RegistryName, BTreeSet<Box<str>>>> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn of(tasks: &Tasks, status: Status) -> i64 {
    i64::from(match status {
        Status::InProgress => tasks.in_progress,
        Status::Succeed => tasks.succeeded,
        Status::Failed => tasks.failed,
        Status::Stopped => tasks.stopped,
    })
}

fn gauge(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
