//! What the doors count. Labels come from closed sets of words and from configured names, never from images.

use std::fmt;
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, LabelSetEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry as Page, Unit};

use super::review::DryRun;
use crate::domain::decision::ImageDecision;
use crate::domain::policy::PolicyName;
use crate::domain::registry::RegistryName;
use crate::domain::route::RouteName;
use crate::domain::verdict::{Finding, FindingKind, Reason};

/// What became of a whole Pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PodOutcome {
    /// Admitted with changes.
    Patched,
    /// Admitted as it is.
    Unchanged,
    /// Not admitted.
    Denied,
    /// We failed; admitted as it is.
    Internal,
}

impl PodOutcome {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Patched => "Patched",
            Self::Unchanged => "Unchanged",
            Self::Denied => "Denied",
            Self::Internal => "Internal",
        }
    }
}

/// What counts images of one sort, and their findings.
#[derive(Debug)]
pub(super) struct ImageCounters {
    image: Counter,
    findings: Box<[Counter]>,
}

impl ImageCounters {
    /// Counts an image, and its findings.
    pub(super) fn count(&self) {
        self.image.inc();
        self.count_findings();
    }

    fn count_findings(&self) {
        self.findings.iter().for_each(|finding| {
            finding.inc();
        });
    }

    /// What they take behind their pointers, in bytes; the counts themselves are shared.
    pub(super) fn heap_bytes(&self) -> usize {
        size_of_val(&*self.findings)
    }
}

/// The metrics of the doors; cheap to clone.
#[derive(Debug, Clone)]
pub struct Metrics {
    admissions: Family<[(&'static str, &'static str); 3], Counter>,
    images: Family<ByImage, Counter>,
    findings: Family<ByFinding, Counter>,
    observed: Family<ByPolicy, Counter>,
    /// Verdicts from the cache, and those that were judged anew.
    cached: Counter,
    judged: Counter,
    duration: Histogram,
    pub(super) panics: Counter,
    /// Pods that name more images than are judged.
    pub(super) beyond: Counter,
    /// Reviews of something else than we judge.
    pub(super) not_ours: Counter,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct ByImage {
    route: Option<RouteName>,
    place: Option<RegistryName>,
    reason: Reason,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct ByFinding {
    place: Option<RegistryName>,
    finding: FindingKind,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct ByPolicy {
    policy: PolicyName,
    verdict: &'static str,
}

/// An absent name is an empty label, which Prometheus takes for an absent one.
fn registry(name: &Option<RegistryName>) -> &str {
    name.as_ref().map(RegistryName::as_str).unwrap_or_default()
}

impl EncodeLabelSet for ByImage {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        let route = self.route.as_ref().map(RouteName::as_str).unwrap_or_default();
        [("route", route), ("place", registry(&self.place)), ("reason", self.reason.as_str())].encode(encoder)
    }
}

impl EncodeLabelSet for ByFinding {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        [("place", registry(&self.place)), ("finding", self.finding.as_str())].encode(encoder)
    }
}

impl EncodeLabelSet for ByPolicy {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        [("policy", self.policy.as_str()), ("verdict", self.verdict)].encode(encoder)
    }
}

impl Metrics {
    /// Registers them on the metrics page.
    pub fn register(page: &mut Page) -> Self {
        let verdicts = Family::<[(&'static str, &'static str); 1], Counter>::default();
        let metrics = Self {
            admissions: Family::default(),
            images: Family::default(),
            findings: Family::default(),
            observed: Family::default(),
            // From a Pod whose images are all known to the longest that the API server waits.
            cached: verdicts.get_or_create_owned(&[("source", "Cache")]),
            judged: verdicts.get_or_create_owned(&[("source", "Judged")]),
            duration: Histogram::new([
                0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
                5.0, 10.0,
            ]),
            panics: Counter::default(),
            beyond: Counter::default(),
            not_ours: Counter::default(),
        };
        page.register(
            "landfall_admissions",
            "Pods by what became of them, and the weightiest reason among their images",
            metrics.admissions.clone(),
        );
        page.register(
            "landfall_images",
            "Images of Pods that were meant, by route, the registry that now serves them, and reason",
            metrics.images.clone(),
        );
        page.register(
            "landfall_findings",
            "What stood in the way of a local copy, by image of a Pod that was meant",
            metrics.findings.clone(),
        );
        page.register(
            "landfall_observed_policy_verdicts",
            "What policies that only observe would have done with a Pod that was meant",
            metrics.observed.clone(),
        );
        page.register(
            "landfall_verdicts",
            "Verdicts on images: from the verdict cache, or judged anew; those of observing policies count, too",
            verdicts,
        );
        page.register_with_unit(
            "landfall_admission_duration",
            "From a review's last byte to its answer",
            Unit::Seconds,
            metrics.duration.clone(),
        );
        page.register(
            "landfall_admission_too_many_images",
            "Pods that name more images than are judged: denied where a rule blocks that, else admitted as they are",
            metrics.beyond.clone(),
        );
        page.register(
            "landfall_admission_not_ours",
            "Reviews of other objects and operations than we judge, answered all the same",
            metrics.not_ours.clone(),
        );
        page.register(
            "landfall_admission_panics",
            "Reviews that panicked and were answered all the same",
            metrics.panics.clone(),
        );
        metrics
    }

    /// Counts a Pod. Dry runs are told apart: a `drill` over a whole cluster must not look like a restart storm.
    pub(super) fn admitted(&self, outcome: PodOutcome, reason: Reason, dry_run: DryRun) {
        let dry_run = match dry_run {
            DryRun::No => "false",
            DryRun::Yes => "true",
        };
        let labels = [("verdict", outcome.as_str()), ("reason", reason.as_str()), ("dry_run", dry_run)];
        self.admissions.get_or_create(&labels).inc();
    }

    /// What counts images like this one.
    pub(super) fn counters(&self, decision: &ImageDecision) -> ImageCounters {
        let (route, place) = (decision.route.clone(), decision.serving().cloned());
        let finding = |finding: &Finding| {
            let (place, finding) = (decision.registry_of(finding).cloned(), finding.kind);
            self.findings.get_or_create_owned(&ByFinding { place, finding })
        };
        let label = ByImage { route, place, reason: decision.outcome.reason };
        ImageCounters {
            image: self.images.get_or_create_owned(&label),
            findings: decision.findings.iter().map(finding).collect(),
        }
    }

    /// Counts an image that is left as it is, though a copy was found, and its findings.
    pub(super) fn left(&self, decision: &ImageDecision, counters: &ImageCounters) {
        let label = ByImage { route: decision.route.clone(), place: None, reason: Reason::Observed };
        self.images.get_or_create(&label).inc();
        counters.count_findings();
    }

    /// Counts images by where their verdicts come from.
    pub(super) fn decided(&self, cached: usize, judged: usize) {
        self.cached.inc_by(cached as u64);
        self.judged.inc_by(judged as u64);
    }

    /// Counts a Pod of which an observing policy will never say what it would have done: too many waited.
    pub(super) fn dropped(&self, policy: &PolicyName) {
        self.observed.get_or_create(&ByPolicy { policy: policy.clone(), verdict: "Dropped" }).inc();
    }

    /// Counts what an observing policy would have done with a Pod.
    pub(super) fn observed(&self, policy: &PolicyName, outcome: PodOutcome) {
        let verdict = match outcome {
            PodOutcome::Denied => "Denied",
            PodOutcome::Patched | PodOutcome::Unchanged | PodOutcome::Internal => "Allowed",
        };
        self.observed.get_or_create(&ByPolicy { policy: policy.clone(), verdict }).inc();
    }

    pub(super) fn answered(&self, took: Duration) {
        self.duration.observe(took.as_secs_f64());
    }
}
