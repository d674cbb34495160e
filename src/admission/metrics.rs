//! The metrics of the doors. Labels come from closed sets of words and from configured names, never from images.

use std::fmt;
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, LabelSetEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry as Page, Unit};

use super::review::{Door, DryRun};
use crate::domain::decision::ImageDecision;
use crate::domain::finding::{Finding, FindingKind};
use crate::domain::name::PolicyName;
use crate::domain::name::RegistryName;
use crate::domain::name::RouteName;
use crate::domain::verdict::Reason;
use crate::pod::owner::Preset;

/// What the door did with a whole Pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr)]
pub(super) enum PodOutcome {
    /// The Pod was admitted with changes.
    Patched,
    /// The Pod was admitted unchanged.
    Unchanged,
    /// The Pod was denied.
    Denied,
    /// Landfall failed, and admitted the Pod unchanged.
    Internal,
}

impl PodOutcome {
    pub(super) fn as_str(self) -> &'static str {
        self.into()
    }
}

/// What a policy that does not act would have done with a Pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, strum::IntoStaticStr)]
pub(super) enum ByObserving {
    /// It would have let the Pod in.
    Allowed,
    /// It would have denied the Pod.
    Denied,
    /// It would have denied the Pod, but somebody has opened it for some time.
    Opened,
    /// It was not asked, because too many Pods were waiting.
    Dropped,
}

/// The counters of images with the same labels, and of their findings.
#[derive(Debug)]
pub(super) struct ImageCounters {
    image: Counter,
    findings: Box<[Counter]>,
}

impl ImageCounters {
    /// Counts an image and its findings.
    pub(super) fn count(&self) {
        self.image.inc();
        self.count_findings();
    }

    fn count_findings(&self) {
        self.findings.iter().for_each(|finding| {
            finding.inc();
        });
    }

    /// Returns the bytes owned on the heap. The counts themselves are shared.
    pub(super) fn heap_bytes(&self) -> usize {
        size_of_val(&*self.findings)
    }
}

/// The metrics of the doors; cheap to clone.
#[derive(Debug, Clone)]
pub struct Metrics {
    admissions: Family<[(&'static str, &'static str); 4], Counter>,
    images: Family<ByImage, Counter>,
    findings: Family<ByFinding, Counter>,
    observed: Family<ByPolicy, Counter>,
    /// Verdicts taken from the verdict cache.
    cached: Counter,
    /// Verdicts judged anew.
    judged: Counter,
    mutating: Histogram,
    validating: Histogram,
    pub(super) panics: Counter,
    /// Pods that somebody creates again and again.
    recreated: Family<[(&'static str, &'static str); 1], Counter>,
    /// Pods with too many images to judge.
    pub(super) beyond: Counter,
    /// Reviews of other objects or operations than the doors judge.
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
    verdict: ByObserving,
}

/// The label value of a name. Prometheus treats an empty label like an absent one.
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
        [("policy", self.policy.as_str()), ("verdict", self.verdict.into())].encode(encoder)
    }
}

impl Metrics {
    /// Registers the metrics on the metrics page.
    pub fn register(page: &mut Page) -> Self {
        let verdicts = Family::<[(&'static str, &'static str); 1], Counter>::default();
        // From the time of a Pod whose verdicts are all cached to the longest timeout of the API server.
        let duration =
            Family::<[(&'static str, &'static str); 1], Histogram, fn() -> Histogram>::new_with_constructor(
                || {
                    Histogram::new([
                        0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
                        1.0, 2.5, 5.0, 10.0,
                    ])
                },
            );
        let of = |door: Door| duration.get_or_create_owned(&[("door", door.as_str())]);
        let metrics = Self {
            admissions: Family::default(),
            images: Family::default(),
            findings: Family::default(),
            observed: Family::default(),
            cached: verdicts.get_or_create_owned(&[("source", "Cache")]),
            judged: verdicts.get_or_create_owned(&[("source", "Judged")]),
            mutating: of(Door::Mutate),
            validating: of(Door::Validate),
            panics: Counter::default(),
            recreated: Family::default(),
            beyond: Counter::default(),
            not_ours: Counter::default(),
        };
        page.register(
            "landfall_admissions",
            "Reviews of Pods, by verdict on the Pod, most important reason among its images, dry run, and door",
            metrics.admissions.clone(),
        );
        page.register(
            "landfall_images",
            "Images of Pods at the mutating door (dry runs excluded), by route, by the registry that now serves them, and by reason",
            metrics.images.clone(),
        );
        page.register(
            "landfall_findings",
            "Why local copies were not simply used, for each image of a Pod at the mutating door (dry runs excluded)",
            metrics.findings.clone(),
        );
        page.register(
            "landfall_observed_policy_verdicts",
            "What policies that only observe, or were opened for some time, would have done with Pods (dry runs excluded)",
            metrics.observed.clone(),
        );
        page.register(
            "landfall_verdicts",
            "Verdicts on images, taken from the verdict cache or judged anew; those of observing policies are included",
            verdicts,
        );
        page.register_with_unit(
            "landfall_admission_duration",
            "Time from the last byte of a review to its answer",
            Unit::Seconds,
            duration,
        );
        page.register(
            "landfall_admission_too_many_images",
            "Pods with too many images to judge: denied where a policy blocks that, otherwise admitted unchanged",
            metrics.beyond.clone(),
        );
        page.register(
            "landfall_admission_recreated_pods",
            "Pods that their owner creates again and again after their images were changed, by the preset that helps",
            metrics.recreated.clone(),
        );
        page.register(
            "landfall_admission_not_ours",
            "Reviews of other objects or operations than Pods to judge, which were allowed unchanged",
            metrics.not_ours.clone(),
        );
        page.register(
            "landfall_admission_panics",
            "Reviews whose judgement panicked; they were still answered",
            metrics.panics.clone(),
        );
        metrics
    }

    /// Counts a Pod. Dry runs have their own label value: a `drill` over a whole cluster must not look like a restart of
    /// all Pods.
    pub(super) fn admitted(&self, outcome: PodOutcome, reason: Reason, (door, dry_run): (Door, DryRun)) {
        let dry_run = match dry_run {
            DryRun::No => "false",
            DryRun::Yes => "true",
        };
        let (verdict, reason) = (outcome.as_str(), reason.as_str());
        let labels =
            [("verdict", verdict), ("reason", reason), ("dry_run", dry_run), ("door", door.as_str())];
        self.admissions.get_or_create(&labels).inc();
    }

    /// Counts a Pod that is created again and again.
    pub(super) fn recreated(&self, preset: Option<Preset>) {
        self.recreated.get_or_create(&[("preset", preset.map_or("none", Preset::as_str))]).inc();
    }

    /// Returns the counters for images with this decision.
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

    /// Counts an image that stays as written although a copy was found, and its findings.
    pub(super) fn left(&self, decision: &ImageDecision, counters: &ImageCounters) {
        let label = ByImage { route: decision.route.clone(), place: None, reason: Reason::Observed };
        self.images.get_or_create(&label).inc();
        counters.count_findings();
    }

    /// Counts images by the source of their verdicts.
    pub(super) fn decided(&self, cached: usize, judged: usize) {
        self.cached.inc_by(cached as u64);
        self.judged.inc_by(judged as u64);
    }

    /// Counts a Pod that an observing policy did not judge, because too many Pods were waiting.
    pub(super) fn dropped(&self, policy: &PolicyName) {
        self.observed(policy, ByObserving::Dropped);
    }

    /// Counts what an observing policy would have done with a Pod.
    pub(super) fn observed(&self, policy: &PolicyName, verdict: ByObserving) {
        self.observed.get_or_create(&ByPolicy { policy: policy.clone(), verdict }).inc();
    }

    pub(super) fn answered(&self, door: Door, took: Duration) {
        let duration = match door {
            Door::Mutate => &self.mutating,
            Door::Validate => &self.validating,
        };
        duration.observe(took.as_secs_f64());
    }
}
