//! What this module counts. A look-up is a question to a registry, however many requests it takes; those are
//! counted where they are sent.

use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry as Page, Unit};
use std::sync::atomic::AtomicU64;

use crate::domain::breaker::Phase;
use crate::domain::evidence::{Cause, Children, Observation, Presence, TagDigest};
use crate::domain::registry::RegistryName;

use super::currency::Extent;
use super::health::{Health, Probed};
use super::memories::Stock;
use super::question::{Aspect, Question, unknown};
use super::station::Station;

/// The metrics of the Observatory; cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Metrics {
    /// How long look-ups took, without their wait in the queue.
    duration: Family<ByQuestion, Histogram, fn() -> Histogram>,
    /// Look-ups by how they ended.
    look_ups: Family<ByOutcome, Counter>,
    /// Questions answered from memory, or not.
    memory: Family<ByRecall, Counter>,
    /// Questions that joined a look-up under way.
    joins: Family<ByAspect, Counter>,
    /// How long look-ups waited in their registry's queue.
    queue: Family<ByRegistry, Histogram, fn() -> Histogram>,
    /// Answers remembered.
    entries: Gauge,
    /// What they take.
    bytes: Gauge,
    /// What was done, or not, though nobody waited for it.
    background: Family<ByErrand, Counter>,
    /// What was told to have changed.
    invalidations: Family<ByExtent, Counter>,
    /// The breaker as the last look-up or probe left it: 0 closed, 1 half-open, 2 open.
    breaker: Family<ByRegistry, Gauge>,
    /// 1 while a registry is left alone: it said so, or our own budget for it is spent.
    paused: Family<ByRegistry, Gauge>,
    /// 1 for the state that a registry's last probe found, else 0.
    health: Family<ByHealth, Gauge>,
    /// How long the last probe took.
    probe: Family<ByRegistry, Gauge<f64, AtomicU64>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByRegistry {
    registry: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByHealth {
    registry: String,
    state: Health,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByQuestion {
    registry: String,
    aspect: Aspect,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByOutcome {
    registry: String,
    aspect: Aspect,
    outcome: Outcome,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByAspect {
    aspect: Aspect,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByRecall {
    aspect: Aspect,
    recall: Recall,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByErrand {
    registry: String,
    errand: Errand,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByExtent {
    registry: String,
    scope: Extent,
}

/// What is done in the background.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(super) enum Errand {
    /// A tag is looked up at its primary.
    Proof,
    /// What is often asked for is looked up again before it ends.
    Renewal,
    /// The queue was full.
    Dropped,
}

/// Whether the memory had an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(super) enum Recall {
    Hit,
    Miss,
}

/// How a look-up ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
enum Outcome {
    Answered,
    Absent,
    Refused,
    Unreachable,
    Unauthorized,
    RateLimited,
    Deadline,
    BreakerOpen,
    Overloaded,
    Malformed,
}

impl Outcome {
    fn of(answer: &Observation) -> Self {
        if let Some(unknown) = unknown(answer) {
            return match unknown.cause {
                Cause::Connect
                | Cause::Tls
                | Cause::Broken
                | Cause::ServerError
                | Cause::Unavailable { .. }
                | Cause::Drained => Self::Unreachable,
                Cause::NotRegistry | Cause::WrongDigest | Cause::TooLarge | Cause::Redirect => {
                    Self::Malformed
                }
                Cause::Unauthorized | Cause::Forbidden => Self::Unauthorized,
                Cause::RateLimited { .. } | Cause::Spent { .. } => Self::RateLimited,
                Cause::Deadline => Self::Deadline,
                Cause::BreakerOpen => Self::BreakerOpen,
                Cause::Overloaded => Self::Overloaded,
            };
        }
        match answer {
            Observation::Presence(Presence::Absent)
            | Observation::Children(Children::Absent)
            | Observation::TagDigest(TagDigest::Absent) => Self::Absent,
            Observation::Presence(Presence::Refused(_)) => Self::Refused,
            _ => Self::Answered,
        }
    }
}

impl Metrics {
    /// Registers the families on the metrics page.
    pub fn register(page: &mut Page) -> Self {
        // From a local answer in a millisecond to the longest budget there is.
        let buckets: fn() -> Histogram =
            || Histogram::new([0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0]);
        let metrics = Self {
            duration: Family::new_with_constructor(buckets),
            look_ups: Family::default(),
            memory: Family::default(),
            joins: Family::default(),
            queue: Family::new_with_constructor(buckets),
            entries: Gauge::default(),
            bytes: Gauge::default(),
            background: Family::default(),
            invalidations: Family::default(),
            breaker: Family::default(),
            paused: Family::default(),
            health: Family::default(),
            probe: Family::default(),
        };
        page.register_with_unit(
            "landfall_evidence_look_up_duration",
            "How long look-ups took, without their wait in the queue",
            Unit::Seconds,
            metrics.duration.clone(),
        );
        page.register("landfall_evidence_look_ups", "Look-ups by how they ended", metrics.look_ups.clone());
        page.register(
            "landfall_evidence_recalls",
            "Questions answered from memory, or not",
            metrics.memory.clone(),
        );
        page.register(
            "landfall_evidence_joins",
            "Questions that joined a look-up under way",
            metrics.joins.clone(),
        );
        page.register_with_unit(
            "landfall_evidence_queue_wait",
            "How long look-ups waited in their registry's queue",
            Unit::Seconds,
            metrics.queue.clone(),
        );
        page.register("landfall_evidence_entries", "Answers remembered", metrics.entries.clone());
        page.register_with_unit(
            "landfall_evidence_memory",
            "What the remembered answers take, about",
            Unit::Bytes,
            metrics.bytes.clone(),
        );
        page.register(
            "landfall_evidence_background",
            "Look-ups that nobody waited for, and those dropped because too many waited",
            metrics.background.clone(),
        );
        page.register(
            "landfall_evidence_invalidations",
            "Changes at a registry that we were told of",
            metrics.invalidations.clone(),
        );
        page.register(
            "landfall_evidence_breaker",
            "The breaker as the last look-up or probe left it: 0 closed, 1 half-open, 2 open",
            metrics.breaker.clone(),
        );
        page.register(
            "landfall_evidence_paused",
            "1 while a registry is left alone: it said so, or its requestsPerHour is spent",
            metrics.paused.clone(),
        );
        page.register(
            "landfall_evidence_health",
            "1 for the state that a registry's last probe found, else 0",
            metrics.health.clone(),
        );
        page.register_with_unit(
            "landfall_evidence_probe_duration",
            "How long a registry's last probe took",
            Unit::Seconds,
            metrics.probe.clone(),
        );
        metrics
    }

    pub fn recalled(&self, aspect: Aspect, recall: Recall) {
        self.memory.get_or_create(&ByRecall { aspect, recall }).inc();
    }

    pub fn joined(&self, aspect: Aspect) {
        self.joins.get_or_create(&ByAspect { aspect }).inc();
    }

    pub fn queued(&self, station: &Station, waited: Duration) {
        self.queue.get_or_create(&registry(station)).observe(waited.as_secs_f64());
    }

    /// `took`: how long; `None` where no attempt was made.
    pub fn answered(
        &self,
        station: &Station,
        question: &Question,
        answer: &Observation,
        took: Option<Duration>,
    ) {
        let ByRegistry { registry: name } = registry(station);
        let aspect = question.aspect();
        if let Some(took) = took {
            let label = ByQuestion { registry: name.clone(), aspect };
            self.duration.get_or_create(&label).observe(took.as_secs_f64());
        }
        self.look_ups
            .get_or_create(&ByOutcome { registry: name, aspect, outcome: Outcome::of(answer) })
            .inc();
        self.phase(station);
    }

    /// Shows what its health allows now.
    pub fn phase(&self, station: &Station) {
        let now = tokio::time::Instant::now();
        let phase = match station.phase(now) {
            Phase::Closed => 0,
            Phase::HalfOpen => 1,
            Phase::Open => 2,
        };
        let paused = station.vitals().paused(now.into_std()).is_some();
        self.breaker.get_or_create(&registry(station)).set(phase);
        self.paused.get_or_create(&registry(station)).set(paused.into());
    }

    /// Shows what a probe found.
    pub fn probed(&self, station: &Station, probed: &Probed) {
        for state in Health::ALL {
            let label = ByHealth { registry: station.registry.name.to_string(), state };
            self.health.get_or_create(&label).set((state == probed.health).into());
        }
        self.probe.get_or_create(&registry(station)).set(probed.took.as_secs_f64());
        self.phase(station);
    }

    /// A registry is gone: so is what was shown of its health.
    pub fn forget(&self, name: &RegistryName) {
        let registry = name.to_string();
        for state in Health::ALL {
            self.health.remove(&ByHealth { registry: registry.clone(), state });
        }
        let label = ByRegistry { registry };
        self.probe.remove(&label);
        self.breaker.remove(&label);
        self.paused.remove(&label);
    }

    pub fn stock(&self, stock: Stock) {
        self.entries.set(i64::try_from(stock.entries).unwrap_or(i64::MAX));
        self.bytes.set(i64::try_from(stock.bytes).unwrap_or(i64::MAX));
    }

    pub fn ran(&self, station: &Station, errand: Errand) {
        let ByRegistry { registry } = registry(station);
        self.background.get_or_create(&ByErrand { registry, errand }).inc();
    }

    pub fn invalidated(&self, station: &Station, scope: Extent) {
        let ByRegistry { registry } = registry(station);
        self.invalidations.get_or_create(&ByExtent { registry, scope }).inc();
    }
}

fn registry(station: &Station) -> ByRegistry {
    ByRegistry { registry: station.registry.name.to_string() }
}
