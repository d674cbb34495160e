//! The metrics of policies: how many are in force, and how many are not as they are written.

use std::sync::Arc;

use jiff::Timestamp;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry as Page;
use tokio::time::sleep;

use super::{Held, Reading, TICK};
use crate::config::watch::Handle;
use crate::domain::policy::{Enforcement, Policy};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Label {
    source: Source,
    enforcement: Acts,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
enum Source {
    File,
    Object,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
enum Acts {
    Enforce,
    Observe,
}

/// The metrics of policies. A clone is a handle to the same.
#[derive(Debug, Clone, Default)]
pub struct PolicyMetrics {
    policies: Family<Label, Gauge>,
    refused: Gauge,
    opened: Gauge,
}

impl PolicyMetrics {
    /// Registers them.
    pub fn register(page: &mut Page) -> Self {
        let metrics = Self::default();
        page.register(
            "landfall_policies",
            "Policies in force, from the file and from objects",
            metrics.policies.clone(),
        );
        page.register(
            "landfall_policies_refused",
            "LandingPolicies that are not in force as they are written",
            metrics.refused.clone(),
        );
        page.register(
            "landfall_policies_opened",
            "Policies that are open now by breakGlass, in some namespaces or all",
            metrics.opened.clone(),
        );
        metrics
    }

    /// Shows what is in force where no objects are read, for as long as it is polled.
    pub async fn of_file(self, file: Handle, clock: fn() -> Timestamp) {
        loop {
            self.show(&[], &file.snapshot().settings.policies, clock());
            sleep(TICK).await;
        }
    }

    /// Shows what is in force. Of a name that both have, that of the file is.
    pub(super) fn show(&self, held: &[Held], file: &[Arc<Policy>], now: Timestamp) {
        let objects = held.iter().filter_map(|held| held.policy.as_ref());
        let objects = objects.filter(|policy| !file.iter().any(|other| other.name == policy.name));
        let all = || {
            let file = file.iter().map(|policy| (Source::File, policy));
            file.chain(objects.clone().map(|policy| (Source::Object, policy)))
        };
        for source in [Source::File, Source::Object] {
            for (enforcement, acts) in
                [(Enforcement::Enforce, Acts::Enforce), (Enforcement::Observe, Acts::Observe)]
            {
                let number =
                    all().filter(|(of, policy)| *of == source && policy.enforcement == enforcement).count();
                self.policies.get_or_create(&Label { source, enforcement: acts }).set(gauge(number));
            }
        }
        let is_refused = |held: &&Held| !matches!(held.reading, Reading::Accepted(_));
        self.refused.set(gauge(held.iter().filter(is_refused).count()));
        let is_open = |policy: &Policy| {
            policy.enforcement == Enforcement::Enforce
                && policy.break_glass.as_ref().is_some_and(|glass| now < glass.until)
        };
        self.opened.set(gauge(all().filter(|(_, policy)| is_open(policy)).count()));
    }
}

fn gauge(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
