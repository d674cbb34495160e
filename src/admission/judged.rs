//! A Pod judged: its images verdicts a moment ago, or framed and judged side by side, equal ones once.

use std::collections::HashMap;
use std::sync::Arc;

use futures::{StreamExt, stream};
use prometheus_client::metrics::counter::Counter;
use tokio::time::Instant;

use super::messages;
use super::metrics::Metrics;
use crate::domain::case::{Case, Routed, Subject};
use crate::domain::case::{PodContext, Pull};
use crate::domain::decide::expires_at;
use crate::domain::evidence::PlaceIx;
use crate::domain::outcome::Outcome;
use crate::domain::registry::RegistryName;
use crate::domain::route::RouteName;
use crate::domain::settings::Settings;
use crate::domain::verdict::{FindingKind, Reason, Verdict};
use crate::evidence::{ByHash, ContextId, Key, Observatory, ObservedAt, Validity, VerdictCache};
use crate::pod::{PullPolicy, Slot};

/// The most images of one Pod that are judged at once. Real Pods have a handful; a body made by hand may name 100,000.
const AT_ONCE: usize = 64;

/// One image, judged: what its Pods need to know of it, and nothing that only the judgement needed. It is kept for the
/// next Pod, so it is small.
#[derive(Debug)]
pub(super) struct ImageDecision {
    /// What the verdict does to the Pod.
    pub(super) outcome: Outcome,
    /// The Route that covers it.
    pub(super) route: Option<RouteName>,
    /// The registry that serves it now.
    pub(super) place: Option<RegistryName>,
    /// What stood in the way of a local copy, in the order of the Places.
    pub(super) findings: Box<[Found]>,
    /// The same, each kind once.
    pub(super) kinds: Box<[FindingKind]>,
    /// Why it is denied, where it is.
    pub(super) denial: Option<Box<str>>,
    /// Counts images like it.
    pub(super) count: Counter,
}

/// A finding, and where.
#[derive(Debug)]
pub(super) struct Found {
    /// What.
    pub(super) kind: FindingKind,
    /// At which registry.
    pub(super) place: Option<RegistryName>,
    /// Counts findings like it.
    pub(super) count: Counter,
}

impl ImageDecision {
    fn of(case: &Case, verdict: &Verdict, metrics: &Metrics) -> Self {
        let outcome = Outcome::of(case, verdict);
        let place = outcome.place.and_then(|ix| registry(case, ix)).cloned();
        let found = verdict.findings.iter().map(|finding| {
            let place = finding.place.and_then(|ix| registry(case, ix)).cloned();
            let count = metrics.finding(place.clone(), finding.kind);
            Found { kind: finding.kind, place, count }
        });
        let mut kinds = Vec::new();
        for finding in &verdict.findings {
            if !kinds.contains(&finding.kind) {
                kinds.push(finding.kind);
            }
        }
        let denial = outcome.denies().then(|| messages::line(case, verdict).into());
        let route = routed(case).map(|routed| routed.route.clone());
        let count = metrics.image(route.clone(), place.clone(), outcome.reason);
        Self { outcome, route, place, findings: found.collect(), kinds: kinds.into(), denial, count }
    }

    /// What it takes behind its pointers, in bytes.
    fn bytes(&self) -> usize {
        size_of_val(&*self.findings)
            + size_of_val(&*self.kinds)
            + self.outcome.image.as_ref().map_or(0, |image| image.len())
            + self.denial.as_ref().map_or(0, |denial| denial.len())
    }

    /// Is no copy of it known anywhere, so that it stays as written and may not start?
    pub(super) fn has_no_copy(&self) -> bool {
        self.outcome.reason == Reason::Fallback && self.outcome.place.is_none()
    }
}

/// What is known of an image, where a Route covers it.
pub(super) fn routed(case: &Case) -> Option<&Routed> {
    match &case.subject {
        Subject::Routed(routed) => Some(routed),
        Subject::Kept(_) => None,
    }
}

/// The name of the registry at a Place.
pub(super) fn registry(case: &Case, place: PlaceIx) -> Option<&RegistryName> {
    Some(&routed(case)?.place(place)?.registry.name)
}

/// What Pods are judged by: the settings in force, who answers for the registries, and what is verdicts.
#[derive(Clone, Copy)]
pub(super) struct Judge<'a> {
    pub(super) settings: &'a Arc<Settings>,
    pub(super) observatory: &'a Observatory,
    pub(super) verdicts: &'a VerdictCache<ImageDecision>,
    pub(super) metrics: &'a Metrics,
    /// At which every question that is still open counts as unanswered.
    pub(super) deadline: Instant,
    /// When this Pod is looked at.
    pub(super) observed_at: ObservedAt,
}

/// An image of a Pod that is yet to be judged.
struct Open {
    at: usize,
    key: Key,
    pull: Pull,
    written: Box<str>,
}

/// The images of a Pod, judged.
#[derive(Debug)]
pub(super) struct JudgedPod {
    /// Each image once, in the order of its first slot.
    pub(super) images: Vec<Arc<ImageDecision>>,
    /// For each slot, which of them.
    of: Vec<usize>,
}

impl Judge<'_> {
    /// Judges the images of these slots.
    pub(super) async fn pod(&self, slots: &[Slot<'_>], context: &PodContext) -> JudgedPod {
        let context_id = self.verdicts.context_id(self.settings, context);
        let mut known: HashMap<_, usize, ByHash> =
            HashMap::with_capacity_and_hasher(slots.len(), ByHash::default());
        let mut images: Vec<(&Slot<'_>, Option<Arc<ImageDecision>>)> = Vec::with_capacity(slots.len());
        let (mut of, mut open) = (Vec::with_capacity(slots.len()), Vec::new());
        for slot in slots {
            let pull = pull(slot.pull_policy);
            let key = self.verdicts.key(context_id, pull, slot.image);
            let same = |at: &&usize| images.get(**at).is_some_and(|(first, _)| first.image == slot.image);
            if let Some(at) = known.get(&key).filter(same) {
                of.push(*at);
                continue;
            }
            let at = images.len();
            known.insert(key, at);
            of.push(at);
            let judged = self.verdicts.get(key, context_id, pull, slot.image, &self.observed_at);
            if judged.is_none() {
                open.push(Open { at, key, pull, written: slot.image.into() });
            }
            images.push((slot, judged));
        }
        self.metrics.told(images.len() - open.len(), open.len());
        if !open.is_empty() {
            let judged = stream::iter(open).map(|open| self.anew(open, context_id, context));
            let mut judged = judged.buffer_unordered(AT_ONCE);
            while let Some((at, judged)) = judged.next().await {
                if let Some((_, image)) = images.get_mut(at) {
                    *image = Some(judged);
                }
            }
        }
        JudgedPod { images: images.into_iter().filter_map(|(_, image)| image).collect(), of }
    }

    async fn anew(
        &self,
        open: Open,
        context_id: ContextId,
        context: &PodContext,
    ) -> (usize, Arc<ImageDecision>) {
        let Open { at, key, pull, written } = open;
        let case = self.settings.case_for(&written, pull, context);
        let judgement = self.observatory.judge(&case, self.deadline).await;
        let judged = Arc::new(ImageDecision::of(&case, &judgement.verdict, self.metrics));
        let validity = Validity {
            since: self.observed_at,
            until: judgement.until,
            date: expires_at(&case, &judgement.evidence),
        };
        let what = (judged.clone(), judged.bytes());
        self.verdicts.keep((key, context_id, pull, &written), validity, what, self.settings);
        (at, judged)
    }
}

impl JudgedPod {
    /// The judgement of each slot, in their order.
    pub(super) fn by_slot(&self) -> impl Iterator<Item = &ImageDecision> {
        self.of.iter().filter_map(|image| self.images.get(*image)).map(|image| &**image)
    }

    /// The images that are denied.
    pub(super) fn denied(&self) -> impl Iterator<Item = &ImageDecision> + Clone {
        self.images.iter().map(|image| &**image).filter(|judged| judged.outcome.denies())
    }
}

fn pull(policy: PullPolicy) -> Pull {
    match policy {
        PullPolicy::Never => Pull::Never,
        PullPolicy::Always | PullPolicy::IfNotPresent | PullPolicy::Unstated => Pull::Registry,
    }
}
