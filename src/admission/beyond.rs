//! Pods with more images than any node would run.

use std::collections::HashSet;
use std::sync::Arc;

use jiff::Timestamp;

use super::answer::{Answer, Decision};
use super::door::{DoorState, FINDINGS, Terms};
use super::metrics::PodOutcome;
use super::observe::{Observed, Whose, WouldDeny, told};
use super::review::Review;
use crate::domain::case::{Exemption, PodContext, Pull};
use crate::domain::decide::too_many;
use crate::domain::finding::{Action, Finding, FindingKind};
use crate::domain::messages;
use crate::domain::policy::{Policy, Regime};
use crate::domain::settings::Settings;
use crate::domain::verdict::Reason;
use crate::pod::{Slot, surface};

/// The most images of a Pod that are judged; equal images count separately. etcd's limit for an object allows about ten
/// thousand containers; a kubelet runs a few hundred in all its Pods.
const MOST_SLOTS: usize = surface::MOST_IMAGES;
/// The most different images of a Pod that are judged. Each may cause questions to registries.
const MOST_IMAGES: usize = 512;

/// Whether these are more images, or more different images, than are judged.
pub(super) fn is_beyond(slots: &[Slot<'_>]) -> bool {
    let different = || slots.iter().map(|slot| slot.image).collect::<HashSet<_>>().len();
    slots.len() > MOST_SLOTS || (slots.len() > MOST_IMAGES && different() > MOST_IMAGES)
}

impl DoorState {
    /// A Pod with more images than any node would run: each is TooMany, and nobody is asked. It is admitted as it is,
    /// unless a rule blocks that for one of its images.
    pub(super) fn too_many(
        &self,
        review: &Review<'_>,
        slots: &[Slot<'_>],
        terms: &Terms,
        (regime, observing): (&Arc<Regime>, &[&Arc<Policy>]),
        now: Timestamp,
    ) -> Answer {
        let (settings, unread) = (&terms.settings, review.unread());
        let (namespace, pod, images) = (&*review.namespace, &*review.pod.called(), slots.len() + unread);
        self.deps.metrics.beyond.inc();
        tracing::warn!(pod.namespace = namespace, pod.name = pod, images, "Pod has too many images to judge");
        let observed = observing.iter().filter_map(|policy| {
            let regime = Arc::new(Regime::of_one(settings.defaults.clone(), (*policy).clone()));
            let blocked = blocked((slots, unread), settings, &regime, now);
            let would = blocked.map(|_| WouldDeny::too_many(images));
            self.observed(&Whose::of(review), policy, would).map(|would| ((*policy).clone(), would))
        });
        let observed: Vec<Observed> = observed.collect();
        let (answer, outcome, reason) = match blocked((slots, unread), settings, regime, now) {
            Some(finding) => {
                let message = messages::too_many(images, [MOST_IMAGES, MOST_SLOTS], &finding, regime);
                self.denied_by(review.dry_run, &finding.policies);
                (Answer::of(Decision::Deny { message }), PodOutcome::Denied, Reason::Denied)
            }
            None => {
                let words =
                    format!("landfall: {images} images are too many to judge; the Pod is admitted unchanged");
                let reason = Reason::Finding(FindingKind::TooMany);
                (Answer::unchanged().warn(words), PodOutcome::Unchanged, reason)
            }
        };
        let answer = answer.note(FINDINGS, format!("{images} images: {}", FindingKind::TooMany));
        self.concluded(told(answer, &observed), outcome, reason, (terms.door, review.dry_run))
    }
}

/// The first image of a Pod with too many that these rules block. Exceptions differ from image to image, so without any
/// the first image stands for all. Images that were not kept have no name, so that no exception for an image lifts theirs.
fn blocked(
    (slots, unread): (&[Slot<'_>], usize),
    settings: &Settings,
    regime: &Arc<Regime>,
    now: Timestamp,
) -> Option<Finding> {
    let context = PodContext {
        regime: regime.clone(),
        platforms: settings.platforms.clone(),
        exemption: Exemption::None,
        now,
    };
    let has_exceptions = regime.exceptions().next().is_some();
    let mut seen = HashSet::new();
    let images = slots
        .iter()
        .map(|slot| slot.image)
        .chain((unread > 0).then_some(""))
        .filter(|image| seen.insert(*image))
        .take(if has_exceptions { usize::MAX } else { 1 });
    let mut findings = images.map(|image| {
        let name = settings.case_for(image, Pull::Registry, &context).name;
        too_many(regime, &name, now)
    });
    findings.find(|finding| finding.action == Action::Block)
}
