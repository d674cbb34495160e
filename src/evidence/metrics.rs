//! The metrics of look-ups, of the answer cache and of health. A look-up is one question to a registry, however many
//! requests it takes. `registry/` counts the requests.

use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry as Page, Unit};
use std::sync::atomic::AtomicU64;
use strum::VariantArray;

use crate::domain::breaker::Phase;
use crate::domain::evidence::{Children, Observation, Presence, TagDigest};
use crate::domain::name::RegistryName;
use crate::domain::unknown::{Cause, Unknown};
use crate::registry::Blob;

use super::answer_cache::CacheSize;
use super::health::{Health, Probed};
use super::invalidation::ScopeKind;
use super::question::{Aspect, Question, unknown};
use super::upstream::Upstream;

/// The metrics of the Observatory; cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Metrics {
    /// The duration of look-ups, without their wait in the queue.
    duration: Family<ByQuestion, Histogram, fn() -> Histogram>,
    /// Look-ups by how they ended.
    look_ups: Family<ByOutcome, Counter>,
    /// Questions to the answer cache, by result.
    cached: Family<ByResult, Counter>,
    /// Questions that joined a look-up in progress.
    joins: Family<ByAspect, Counter>,
    /// How long look-ups waited in their registry's queue.
    queue: Family<ByRegistry, Histogram, fn() -> Histogram>,
    /// Cached answers.
    entries: Gauge,
    /// Their size.
    bytes: Gauge,
    /// Background look-ups, and those that were dropped.
    background: Family<ByTask, Counter>,
    /// Blobs that looks at layers asked for, or need not ask for.
    blobs: Family<ByBlob, Counter>,
    /// Invalidations, by the kind of their scope.
    invalidations: Family<ByScope, Counter>,
    /// The breaker as the last look-up or probe left it, of the registry or of its worst project: 0 closed, 1 half-open,
    /// 2 open.
    breaker: Family<ByRegistry, Gauge>,
    /// 1 while a registry or a project of it is not asked: it told us to wait, or our own budget for it is spent.
    paused: Family<ByRegistry, Gauge>,
    /// Projects that are not asked for, while the registry is.
    limited: Family<ByRegistry, Gauge>,
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
struct ByResult {
    aspect: Aspect,
    result: CacheResult,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByTask {
    registry: String,
    task: BackgroundTask,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByBlob {
    registry: String,
    result: BlobResult,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByScope {
    registry: String,
    scope: ScopeKind,
}

/// Why a background look-up runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(super) enum BackgroundTask {
    /// To learn what a tag means at its primary.
    Proof,
    /// To renew a popular answer before its TTL ends.
    Renewal,
    /// It does not run: the queue was full.
    Dropped,
}

/// What a look at a blob got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(super) enum BlobResult {
    Present,
    Absent,
    /// The registry announced it, and the connection broke before its first byte.
    Cut,
    Refused,
    Unknown,
    /// It was seen a moment ago: nobody was asked.
    Remembered,
}

impl BlobResult {
    pub fn of(told: &Result<Blob, Unknown>) -> Self {
        match told {
            Ok(Blob::Present(_)) => Self::Present,
            Ok(Blob::Absent) => Self::Absent,
            Ok(Blob::Cut) => Self::Cut,
            Ok(Blob::Refused(_)) => Self::Refused,
            Err(_) => Self::Unknown,
        }
    }
}

/// Whether the answer cache had an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(super) enum CacheResult {
    /// Answered from the cache.
    Fresh,
    /// Held, but too old or invalidated: looked up again.
    Stale,
    /// Not held.
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
    Internal,
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
                Cause::Internal => Self::Internal,
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
            cached: Family::default(),
            joins: Family::default(),
            queue: Family::new_with_constructor(buckets),
            entries: Gauge::default(),
            bytes: Gauge::default(),
            background: Family::default(),
            blobs: Family::default(),
            invalidations: Family::default(),
            breaker: Family::default(),
            paused: Family::default(),
            limited: Family::default(),
            health: Family::default(),
            probe: Family::default(),
        };
        page.register_with_unit(
            "landfall_lookup_duration",
            "How long look-ups took, without their wait in the queue",
            Unit::Seconds,
            metrics.duration.clone(),
        );
        page.register("landfall_lookups", "Look-ups by how they ended", metrics.look_ups.clone());
        page.register(
            "landfall_cache_requests",
            "Questions to the answer cache: answered fresh, held but stale, or not held",
            metrics.cached.clone(),
        );
        page.register(
            "landfall_lookups_coalesced",
            "Questions that joined a look-up in progress",
            metrics.joins.clone(),
        );
        page.register_with_unit(
            "landfall_lookup_queue_wait",
            "How long look-ups waited in their registry's queue",
            Unit::Seconds,
            metrics.queue.clone(),
        );
        page.register("landfall_cache_entries", "Cached answers", metrics.entries.clone());
        page.register_with_unit(
            "landfall_cache",
            "Approximate memory of the cached answers",
            Unit::Bytes,
            metrics.bytes.clone(),
        );
        page.register(
            "landfall_background_lookups",
            "Look-ups in the background, and those dropped because the queue was full",
            metrics.background.clone(),
        );
        page.register(
            "landfall_blobs",
            "Layers and configs that were looked at, by what a registry answered about them",
            metrics.blobs.clone(),
        );
        page.register(
            "landfall_cache_invalidations",
            "Changes at a registry that ended cached answers",
            metrics.invalidations.clone(),
        );
        page.register(
            "landfall_registry_breaker",
            "The breaker as the last look-up or probe left it, of the registry or of its worst project: 0 closed, 1 half-open, 2 open",
            metrics.breaker.clone(),
        );
        page.register(
            "landfall_registry_backoff",
            "1 while a registry, or a project of it, is not asked because of Retry-After, 429, or its requestsPerHour",
            metrics.paused.clone(),
        );
        page.register(
            "landfall_registry_limited_projects",
            "Projects that are not asked for because of their own breaker or Retry-After",
            metrics.limited.clone(),
        );
        page.register(
            "landfall_registry_health",
            "1 for the state that a registry's last probe found, else 0",
            metrics.health.clone(),
        );
        page.register_with_unit(
            "landfall_registry_probe_duration",
            "How long a registry's last probe took",
            Unit::Seconds,
            metrics.probe.clone(),
        );
        metrics
    }

    pub fn requested(&self, aspect: Aspect, result: CacheResult) {
        self.cached.get_or_create(&ByResult { aspect, result }).inc();
    }

    pub fn joined(&self, aspect: Aspect) {
        self.joins.get_or_create(&ByAspect { aspect }).inc();
    }

    pub fn queued(&self, upstream: &Upstream, waited: Duration) {
        self.queue.get_or_create(&registry(upstream)).observe(waited.as_secs_f64());
    }

    /// Counts a finished look-up. `took`: `None` if no attempt was made.
    pub fn answered(
        &self,
        upstream: &Upstream,
        question: &Question,
        answer: &Observation,
        took: Option<Duration>,
    ) {
        let ByRegistry { registry: name } = registry(upstream);
        let aspect = question.aspect();
        if let Some(took) = took {
            let label = ByQuestion { registry: name.clone(), aspect };
            self.duration.get_or_create(&label).observe(took.as_secs_f64());
        }
        self.look_ups
            .get_or_create(&ByOutcome { registry: name, aspect, outcome: Outcome::of(answer) })
            .inc();
        self.phase(upstream);
    }

    /// Updates the gauges of breaker and back-off.
    pub fn phase(&self, upstream: &Upstream) {
        let now = tokio::time::Instant::now();
        let phase = match upstream.phase(now) {
            Phase::Closed => 0,
            Phase::HalfOpen => 1,
            Phase::Open => 2,
        };
        let (paused, limited) = {
            let health = upstream.health();
            (health.is_pausing(now.into_std()), health.limited_projects(now.into_std()))
        };
        self.breaker.get_or_create(&registry(upstream)).set(phase);
        self.paused.get_or_create(&registry(upstream)).set(paused.into());
        let limited = i64::try_from(limited).unwrap_or(i64::MAX);
        self.limited.get_or_create(&registry(upstream)).set(limited);
    }

    /// Updates the gauges of health after a probe.
    pub fn probed(&self, upstream: &Upstream, probed: &Probed) {
        for state in Health::VARIANTS.iter().copied() {
            let label = ByHealth { registry: upstream.registry.name.to_string(), state };
            self.health.get_or_create(&label).set((state == probed.health).into());
        }
        self.probe.get_or_create(&registry(upstream)).set(probed.took.as_secs_f64());
        self.phase(upstream);
    }

    /// Removes the gauges of a registry that is gone.
    pub fn forget(&self, name: &RegistryName) {
        let registry = name.to_string();
        for state in Health::VARIANTS.iter().copied() {
            self.health.remove(&ByHealth { registry: registry.clone(), state });
        }
        let label = ByRegistry { registry };
        self.probe.remove(&label);
        self.breaker.remove(&label);
        self.paused.remove(&label);
        self.limited.remove(&label);
    }

    pub fn cache_size(&self, size: CacheSize) {
        self.entries.set(i64::try_from(size.entries).unwrap_or(i64::MAX));
        self.bytes.set(i64::try_from(size.bytes).unwrap_or(i64::MAX));
    }

    pub fn ran(&self, upstream: &Upstream, task: BackgroundTask) {
        let ByRegistry { registry } = registry(upstream);
        self.background.get_or_create(&ByTask { registry, task }).inc();
    }

    pub fn looked(&self, upstream: &Upstream, result: BlobResult) {
        let ByRegistry { registry } = registry(upstream);
        self.blobs.get_or_create(&ByBlob { registry, result }).inc();
    }

    pub fn invalidated(&self, upstream: &Upstream, scope: ScopeKind) {
        let ByRegistry { registry } = registry(upstream);
        self.invalidations.get_or_create(&ByScope { registry, scope }).inc();
    }
}

fn registry(upstream: &Upstream) -> ByRegistry {
    ByRegistry { registry: upstream.registry.name.to_string() }
}
