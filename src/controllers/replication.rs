//! The replication rules of the Harbors that keep them, read again and again by the leader: what is wrong with a rule is
//! known before an image is missing.
//!
//! A rule that could not be read is neither in order nor in trouble: whoever keeps records closes one only where the
//! [`RuleReport`] says that it [judges](RuleReport::judges) that kind.

mod metrics;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use futures::future::join_all;
use jiff::Timestamp;
use strum::VariantArray as _;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::leader::Leading;
use crate::domain::gap::{Gap, GapKind, Risk};
use crate::domain::name::RegistryName;
use crate::domain::replication::{RuleGap, keepers, rule_gaps};
use crate::domain::settings::Settings;
use crate::domain::unknown::Unknown;
use crate::evidence::{Observatory, Replication, Right};
use crate::ledger::RuleReading;

pub use metrics::ReplicationMetrics;

/// How often the rules are read.
const EVERY: Duration = Duration::from_secs(60);

/// The most time for the rules of one registry: some dozens of requests, each with the time of an attempt at most.
const PATIENCE: Duration = Duration::from_secs(45);

/// What is known of the rules that fill our Places.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RuleReport {
    /// What is wrong with them.
    pub gaps: Vec<RuleGap>,
    /// What could be read, by the registry that keeps the rules. Empty where no registry keeps rules for us.
    pub read: BTreeMap<RegistryName, Reading>,
    /// Whether anybody has looked: not while this replica does not lead.
    pub looked: bool,
}

/// What could be read of one registry's rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reading {
    /// The rules. Of what needs one of these rights, nothing is known.
    Read {
        /// The rights that our robot lacks.
        lacking: BTreeSet<Right>,
    },
    /// It keeps no rules: it is a plain registry.
    Plain,
    /// It gave no answer.
    Unknown(Unknown),
}

impl RuleReport {
    /// Returns whether the report would show this kind of trouble of a registry's rules, if there was any.
    #[must_use]
    pub fn judges(&self, keeper: &RegistryName, risk: Risk) -> bool {
        let needed: &[Right] = match risk {
            Risk::RuleDisabled => &[Right::Rules],
            Risk::RuleFailing | Risk::RuleOverdue => &[Right::Rules, Right::Executions],
            Risk::RuleIdle => &[Right::Rules, Right::Executions, Right::Artifacts],
            Risk::AccessoryMissing | Risk::Untagged => return false,
        };
        match self.read.get(keeper) {
            Some(Reading::Read { lacking }) => !needed.iter().any(|right| lacking.contains(right)),
            // A plain registry has no rule that could be in trouble.
            Some(Reading::Plain) => true,
            Some(Reading::Unknown(_)) | None => false,
        }
    }
}

impl From<&RuleReport> for RuleReading {
    fn from(report: &RuleReport) -> Self {
        let gap = |gap: &RuleGap| Gap {
            key: gap.key.clone(),
            kind: GapKind::Risk(gap.risk),
            detail: gap.detail.to_string().into(),
        };
        let kinds = |keeper: &RegistryName| {
            let judged = Risk::VARIANTS.iter().filter(|risk| report.judges(keeper, **risk));
            judged.map(|risk| (keeper.clone(), GapKind::Risk(*risk))).collect::<Vec<_>>()
        };
        Self {
            gaps: report.gaps.iter().map(gap).collect(),
            keepers: report.read.keys().cloned().collect(),
            judged: report.read.keys().flat_map(kinds).collect(),
        }
    }
}

/// Reads the rules while this replica leads.
pub struct RuleWatch {
    observatory: Arc<Observatory>,
    settings: Arc<ArcSwap<Settings>>,
    leading: Leading,
    clock: fn() -> Timestamp,
    metrics: ReplicationMetrics,
    report: watch::Sender<Arc<RuleReport>>,
    every: Duration,
}

impl RuleWatch {
    /// Reads nothing before [`run`](Self::run) is polled.
    #[must_use]
    pub fn new(
        observatory: Arc<Observatory>,
        settings: Arc<ArcSwap<Settings>>,
        leading: Leading,
        clock: fn() -> Timestamp,
        metrics: ReplicationMetrics,
    ) -> Self {
        let report = watch::Sender::new(Arc::default());
        Self { observatory, settings, leading, clock, metrics, report, every: EVERY }
    }

    /// Tells what is known of the rules, and each change of it.
    #[must_use]
    pub fn report(&self) -> watch::Receiver<Arc<RuleReport>> {
        self.report.subscribe()
    }

    /// Reads the rules every minute while this replica leads. It never ends.
    pub async fn run(self) {
        let mut leading = self.leading.clone();
        loop {
            if leading.now() {
                tokio::select! {
                    () = leading.changed() => {}
                    () = self.look_and_rest() => {}
                }
            } else {
                self.metrics.keep_only(&BTreeSet::new());
                self.tell(RuleReport::default());
                leading.changed().await;
            }
        }
    }

    async fn look_and_rest(&self) {
        let report = self.look().await;
        self.tell(report);
        // Up to 20 % shorter or longer, so that it does not fall together with what others do every minute.
        sleep(self.every.mul_f64(0.8 + 0.4 * fastrand::f64())).await;
    }

    async fn look(&self) -> RuleReport {
        let settings = self.settings.load_full();
        let deadline = Instant::now() + PATIENCE;
        let asked = keepers(&settings).into_iter().map(|keeper| async {
            let found = self.observatory.replication(&keeper, &settings, deadline).await;
            (keeper, found)
        });
        let found = join_all(asked).await;
        let now = (self.clock)();
        let mut report = RuleReport { looked: true, ..RuleReport::default() };
        for (keeper, found) in found {
            let reading = match found {
                Ok(Replication::Read { rules, lacking }) => {
                    report.gaps.extend(rule_gaps(&keeper, &rules, now));
                    self.metrics.show(&keeper, &rules);
                    Reading::Read { lacking }
                }
                Ok(Replication::Plain) => Reading::Plain,
                Err(unknown) => Reading::Unknown(unknown),
            };
            report.read.insert(keeper, reading);
        }
        self.metrics.keep_only(&report.read.keys().cloned().collect());
        report
    }

    /// Publishes a report if it says anything else than the last one, and logs rights that are newly missing or given.
    fn tell(&self, report: RuleReport) {
        for (keeper, reading) in &report.read {
            let Reading::Read { lacking } = reading else { continue };
            let last = self.report.borrow().clone();
            let before = match last.read.get(keeper) {
                Some(Reading::Read { lacking }) => lacking.clone(),
                // What was missing before an outage is said again after it.
                Some(Reading::Plain | Reading::Unknown(_)) | None => BTreeSet::new(),
            };
            for right in lacking.difference(&before) {
                tracing::warn!(
                    registry = %keeper,
                    %right,
                    "our robot lacks a right, so replication rules are not fully watched"
                );
            }
            for right in before.difference(lacking) {
                tracing::info!(registry = %keeper, %right, "our robot has this right now");
            }
        }
        self.report.send_if_modified(|last| {
            let changed = **last != report;
            if changed {
                *last = Arc::new(report);
            }
            changed
        });
    }
}

#[cfg(test)]
mod tests;
