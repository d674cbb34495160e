//! The decision for one image, without its Case. It owns everything that the doors, the ledger and reports need, and it
//! is small enough to be cached for the next Pod with the same image.

use super::case::{Case, Subject};
use super::digest::Digest;
use super::finding::{About, Action, Finding, FindingKind};
use super::gap::{Gap, gaps};
use super::image::Tag;
use super::name::{RegistryName, RouteName};
use super::outcome::Outcome;
use super::place::PlaceIx;
use super::verdict::{Reason, Verdict};

/// A Verdict on one image, and what it means for the Pod.
///
/// ```
/// # use landfall::facade::config::{self, Files};
/// # use landfall::facade::domain::case::{Exemption, PodContext, Pull};
/// # use landfall::facade::domain::decide::{Step, decide};
/// # use landfall::facade::domain::evidence::Evidence;
/// # use landfall::facade::domain::policy::Labels;
/// use landfall::facade::domain::decision::ImageDecision;
/// # let text = "site: ams
/// # registries: {ams: {host: ams.example.com, site: ams, kind: harbor}}
/// # routes: []
/// # defaults: {onUnrouted: Block}
/// # ";
/// # let now = "2026-11-21T12:00:00Z".parse()?;
/// # let settings = config::parse(text, "site.yaml", Files::Skip, now)?.settings;
/// # let (regime, platforms) = (settings.regime(&Labels::new(), now), settings.platforms.clone());
/// # let context = PodContext { regime, platforms, exemption: Exemption::None, now };
///
/// // The settings say `onUnrouted: Block`, and no Route covers Docker Hub.
/// let case = settings.case_for("nginx:1.27", Pull::Registry, &context);
/// let Step::Settle(verdict) = decide(&case, &Evidence::default()) else { panic!() };
/// let decision = ImageDecision::of(&case, verdict);
/// assert!(decision.outcome.denies());
/// assert_eq!(decision.blocking().count(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageDecision {
    /// What the Verdict does to the Pod.
    pub outcome: Outcome,
    /// The Route that covers the image; `None` where no Route does.
    pub route: Option<RouteName>,
    /// The image's name at its primary, `host/repository`; empty where the text is not a reference.
    pub name: Box<str>,
    /// The tag as written in the Pod.
    pub tag: Option<Tag>,
    /// The digest that was checked, or that the reference names.
    pub digest: Option<Digest>,
    /// Why local copies were not simply used, in the order of the Places.
    pub findings: Box<[Finding]>,
    /// The local Place that decided; see [`Verdict::deciding`].
    pub deciding: Option<PlaceIx>,
    /// The Gaps that this image shows.
    pub gaps: Box<[Gap]>,
    /// The registry of each Place, by the index of the Place.
    registries: Box<[RegistryName]>,
}

impl ImageDecision {
    /// Builds the decision from a Case and its Verdict.
    #[must_use]
    pub fn of(case: &Case, verdict: Verdict) -> Self {
        let (outcome, gaps) = (Outcome::of(case, &verdict), gaps(case, &verdict));
        let Verdict { ruling, findings, deciding } = verdict;
        let routed = match &case.subject {
            Subject::Routed(routed) => Some(routed),
            Subject::Kept(_) => None,
        };
        let (_, checked) = ruling.used_copy();
        let registries =
            routed.iter().flat_map(|routed| &routed.places).map(|place| place.registry.name.clone());
        Self {
            outcome,
            route: routed.map(|routed| routed.route.clone()),
            name: case.name.clone(),
            tag: routed.and_then(|routed| routed.tag.clone()),
            digest: checked.or(routed.and_then(|routed| routed.digest)),
            findings: findings.into(),
            deciding,
            gaps: gaps.into(),
            registries: registries.collect(),
        }
    }

    /// Returns the registry of a Place.
    #[must_use]
    pub fn registry(&self, place: PlaceIx) -> Option<&RegistryName> {
        self.registries.get(usize::from(place.0))
    }

    /// Returns the registry that serves the image now; `None` where the image is kept as written or denied, or where no
    /// copy is known.
    #[must_use]
    pub fn serving(&self) -> Option<&RegistryName> {
        self.registry(self.outcome.place?)
    }

    /// Returns the registry that a finding is about.
    #[must_use]
    pub fn registry_of(&self, finding: &Finding) -> Option<&RegistryName> {
        self.registry(finding.place?)
    }

    /// Iterates over the findings that deny the image; empty where it is not denied.
    ///
    /// Where the deciding Place holds the copy and only its scan is blocked, only the findings of that Place count.
    /// Otherwise no Place could serve the image, and the blocking findings of all Places count.
    pub fn blocking(&self) -> impl Iterator<Item = &Finding> {
        let denies = self.outcome.denies();
        let of_deciding = |finding: &&Finding| finding.place == self.deciding;
        let is_there = self.findings.iter().filter(of_deciding).all(|finding| finding.about == About::Scan);
        let blocks = move |finding: &&Finding| {
            denies && finding.action == Action::Block && (!is_there || finding.place == self.deciding)
        };
        self.findings.iter().filter(blocks)
    }

    /// Returns the kinds of the findings, each once.
    #[must_use]
    pub fn kinds(&self) -> Vec<FindingKind> {
        let mut kinds = Vec::new();
        for finding in &self.findings {
            if !kinds.contains(&finding.kind) {
                kinds.push(finding.kind);
            }
        }
        kinds
    }

    /// Whether no copy of the image is known anywhere. The image then stays as written, and the Pod may not start.
    #[must_use]
    pub fn has_no_copy(&self) -> bool {
        self.outcome.reason == Reason::Fallback && self.outcome.place.is_none()
    }

    /// Returns the bytes that this decision owns on the heap. Data shared with the settings is not counted.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        let of_finding = |finding: &Finding| finding.detail.len() + size_of_val(&*finding.policies);
        let findings = self.findings.iter().map(of_finding).sum::<usize>();
        let of_gap = |gap: &Gap| gap.detail.len() + gap.key.heap_bytes();
        let gaps = self.gaps.iter().map(of_gap).sum::<usize>();
        size_of_val(&*self.findings)
            + findings
            + size_of_val(&*self.gaps)
            + gaps
            + size_of_val(&*self.registries)
            + self.name.len()
            + self.outcome.image.as_ref().map_or(0, |image| image.len())
    }
}
