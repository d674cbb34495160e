//! The metrics of the pull secrets that Landfall makes.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry as Page;

use crate::domain::name::RegistryName;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByState {
    registry: String,
    state: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByResult {
    registry: String,
    result: &'static str,
}

/// What became of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr, strum::VariantArray)]
pub enum Wrote {
    /// A Secret was made.
    Created,
    /// There was one of that name: another replica's, ours of before, or somebody else's.
    Exists,
    /// One of ours got other credentials.
    Updated,
    /// One of ours was deleted: no Pod has its name any more.
    Deleted,
    /// It had changed since it was listed; it is looked at again.
    Outdated,
    /// Its namespace does not exist, or is being deleted.
    NoNamespace,
    /// It could not be made for now: the API server does not answer or refuses it, or there are no credentials.
    Failed,
}

/// The Secrets of a registry, counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    /// With the credentials that are in force.
    pub current: usize,
    /// With others: they are rotated.
    pub outdated: usize,
    /// Somebody else's.
    pub foreign: usize,
}

/// The metrics. A clone is a handle to the same.
#[derive(Debug, Clone, Default)]
pub struct PullSecretMetrics {
    secrets: Family<ByState, Gauge>,
    writes: Family<ByResult, Counter>,
    dropped: Counter,
}

impl PullSecretMetrics {
    /// Registers them.
    pub fn register(page: &mut Page) -> Self {
        let metrics = Self::default();
        page.register(
            "landfall_pull_secrets",
            "Secrets with the name of a pull secret that Landfall makes; the leader shows them. Outdated: they are rotated",
            metrics.secrets.clone(),
        );
        page.register(
            "landfall_pull_secret_writes",
            "Writes of pull secrets, by what became of them",
            metrics.writes.clone(),
        );
        page.register(
            "landfall_pull_secrets_dropped",
            "Pull secrets that were not made at once, because too many waited: the next Pod or the leader sees to them",
            metrics.dropped.clone(),
        );
        metrics
    }

    /// One write.
    pub fn wrote(&self, registry: &RegistryName, result: Wrote) {
        let labels = ByResult { registry: registry.to_string(), result: result.into() };
        self.writes.get_or_create(&labels).inc();
    }

    pub(super) fn dropped(&self) {
        self.dropped.inc();
    }

    /// The Secrets of all registries, as the leader has listed them. None where another replica leads.
    pub fn count<'a>(&self, all: impl Iterator<Item = (&'a RegistryName, Count)>) {
        self.secrets.clear();
        for (registry, Count { current, outdated, foreign }) in all {
            for (state, number) in [("Current", current), ("Outdated", outdated), ("Foreign", foreign)] {
                let labels = ByState { registry: registry.to_string(), state };
                self.secrets.get_or_create(&labels).set(i64::try_from(number).unwrap_or(i64::MAX));
            }
        }
    }
}
