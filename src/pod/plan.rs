//! What to do with a Pod whose images are decided: deny it, patch it, or leave it unchanged. Pure.

use std::borrow::Cow;
use std::collections::HashSet;

use super::annotation::OldEntries;
use super::change::{Change, Entry};
use super::patch::{Patch, patch};
use super::slots::{AdmissionKind, Slot};
use super::surface::Pod;
use crate::domain::case::{PodContext, Pull, Subject};
use crate::domain::decision::ImageDecision;
use crate::domain::image::Reference;
use crate::domain::messages;
use crate::domain::name::PolicyName;
use crate::domain::outcome::{Effect, Outcome};
use crate::domain::registry::folded;
use crate::domain::route::Pin;
use crate::domain::settings::Settings;
use crate::domain::verdict::Reason;

/// A Pod, and the decision for each of its images.
///
/// ```
/// # use landfall::facade::config::{self, Files};
/// # use landfall::facade::domain::case::{Exemption, PodContext, Pull};
/// # use landfall::facade::domain::decide::{Step, decide};
/// # use landfall::facade::domain::decision::ImageDecision;
/// # use landfall::facade::domain::evidence::Evidence;
/// # use landfall::facade::domain::policy::Labels;
/// use landfall::facade::pod::{AdmissionKind, Plan, Pod};
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
/// let body = r#"{"spec":{"containers":[{"name":"web","image":"nginx:1.27"}]}}"#;
/// let (pod, kind): (Pod<'_>, _) = (serde_json::from_str(body)?, AdmissionKind::Create);
/// let slots = pod.slots_to_judge(kind, None);
/// // The settings say `onUnrouted: Block`, and no Route covers Docker Hub.
/// let case = settings.case_for(slots[0].image, Pull::Registry, &context);
/// let Step::Settle(verdict) = decide(&case, &Evidence::default()) else { panic!() };
/// let decision = ImageDecision::of(&case, verdict);
/// let (settings, context) = (&settings, &context);
/// let plan = Plan { pod: &pod, kind, slots: &slots, decisions: vec![&decision], settings, context };
/// assert!(plan.denial().is_some_and(|message| message.starts_with("nginx:1.27: NotRouted, the defaults: ")));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Plan<'a> {
    /// The Pod as the request has it.
    pub pod: &'a Pod<'a>,
    /// Why the Pod is judged.
    pub kind: AdmissionKind,
    /// The images that are judged.
    pub slots: &'a [Slot<'a>],
    /// The decisions for these images, in the same order.
    pub decisions: Vec<&'a ImageDecision>,
    /// The settings that the decisions were made with.
    pub settings: &'a Settings,
    /// What the images have in common.
    pub context: &'a PodContext,
}

impl<'a> Plan<'a> {
    /// Iterates over the images with their decisions.
    pub fn by_slot(&self) -> impl Iterator<Item = (&'a Slot<'a>, &'a ImageDecision)> {
        self.slots.iter().zip(self.decisions.iter().copied())
    }

    /// Returns why the Pod is denied, with one line for each denied image and whom to ask; `None` where no image is denied.
    #[must_use]
    pub fn denial(&self) -> Option<String> {
        if !self.decisions.iter().any(|decision| decision.outcome.denies()) {
            return None;
        }
        let (mut denied, mut seen) = (Vec::new(), HashSet::new());
        for (slot, decision) in self.by_slot().filter(|(_, decision)| decision.outcome.denies()) {
            if seen.insert(slot.image) {
                denied.push((slot.image, decision));
            }
        }
        let lines = denied.iter().map(|(image, decision)| messages::denial(image, decision));
        Some(messages::pod_denied(lines, &self.denying(), &self.context.regime))
    }

    /// Returns the policies that deny the Pod, each once.
    #[must_use]
    pub fn denying(&self) -> Vec<PolicyName> {
        denying(self.decisions.iter().copied())
    }

    /// Builds the patch that applies the decisions; empty where nothing changes.
    #[must_use]
    pub fn patch(&self) -> Patch {
        let old = self.old_entries();
        let change = |(slot, decision): (&'a Slot<'a>, &'a ImageDecision)| Change {
            slot: *slot,
            image: decision.outcome.image.as_deref().map(Cow::Borrowed),
            pull_secret: decision.outcome.pull_secret.clone(),
            entry: old.as_ref().map(|old| self.entry(slot, decision, old)),
        };
        let changes: Vec<Change<'_>> = self.by_slot().map(change).collect();
        patch(self.pod, self.kind, &changes)
    }

    /// The annotation in the request; `None` where the Pod gets no annotation. A Pod without a routed image, or one that
    /// is only observed, gets no annotation.
    fn old_entries(&self) -> Option<OldEntries<'a>> {
        let concerns = |decision: &&ImageDecision| {
            !decision.outcome.keeps() && decision.outcome.effect == Effect::Applied
        };
        let annotated = self.kind == AdmissionKind::Create && self.decisions.iter().any(concerns);
        annotated.then(|| OldEntries::of(self.pod))
    }

    /// The annotation's entry for an image. When the webhook is called again (another webhook changed the Pod in
    /// between), the image names a replica already, and only the old entry has the original image.
    fn entry(&self, slot: &Slot<'a>, decision: &ImageDecision, old: &OldEntries<'a>) -> Entry<'a> {
        let entry = |was| Entry {
            was,
            why: decision.outcome.reason,
            findings: Cow::Owned(decision.kinds()),
            place: decision.serving().cloned(),
        };
        match old.kept(slot, |entry| maps(&entry.was, slot.image, self.settings, self.context)) {
            // The image stays and the same registry serves it: the old entry says more than `AlreadyLocal`.
            Some(kept) if decision.outcome.image.is_none() && kept.place.as_ref() == decision.serving() => {
                kept
            }
            Some(kept) => entry(kept.was),
            None => entry(Cow::Borrowed(slot.image)),
        }
    }

    /// Whether an image stays as written because the Pod lacks its pull secret. The pull secrets of a running Pod cannot
    /// change, so an image that needs another one could not be pulled.
    #[must_use]
    pub fn lacks_secret(&self, decision: &ImageDecision) -> bool {
        let Outcome { image, pull_secret, .. } = &decision.outcome;
        self.kind == AdmissionKind::Ephemeral
            && image.is_some()
            && pull_secret.as_ref().is_some_and(|secret| !self.pod.carries(secret))
    }

    /// Returns the reason for an image. An image whose pull secret is missing is only observed.
    #[must_use]
    pub fn reason(&self, decision: &ImageDecision) -> Reason {
        if self.lacks_secret(decision) { Reason::Observed } else { decision.outcome.reason }
    }

    /// Iterates over the images that the Pod has from now on where nothing denies it, each with its decision. Images that
    /// are not handled, or stay as they are because a pull secret is missing, are left out: nothing was found out about
    /// what a node will pull.
    pub fn written(&self) -> impl Iterator<Item = (&'a str, &'a ImageDecision)> {
        let written =
            self.by_slot().filter(|(_, decision)| !decision.outcome.keeps() && !self.lacks_secret(decision));
        written.map(|(slot, decision)| (decision.outcome.image.as_deref().unwrap_or(slot.image), decision))
    }

    /// Returns the warnings for the user of `kubectl`. A Fallback gives no warning: the Pod runs, an outage would repeat
    /// the warning for every Pod, and the people who must fix the gap read the metrics and the log.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        for (slot, decision) in self.by_slot() {
            if decision.has_no_copy() {
                warnings.push(format!(
                    "landfall: {}: no copy of the image is known; left as written",
                    slot.plain()
                ));
            }
            if decision.outcome.reason == Reason::Presumed {
                warnings.push(format!(
                    "landfall: {}: local copy used without proof, all other copies are down",
                    slot.plain()
                ));
            }
            if let Some(secret) =
                decision.outcome.pull_secret.as_ref().filter(|_| self.lacks_secret(decision))
            {
                warnings.push(format!(
                    "landfall: {}: left as written, the Pod lacks pull secret {secret}",
                    slot.plain()
                ));
            }
        }
        warnings
    }
}

/// An image of a Pod that exists, or of a template.
#[derive(Debug, Clone)]
pub struct Original<'a> {
    /// The image as it stands.
    pub slot: Slot<'a>,
    /// What was written before Landfall changed it: a new Pod is created with that. `None`: it stands as it was written.
    pub was: Option<Cow<'a, str>>,
}

/// Iterates over the images of a Pod that exists, or of a template, with what the Pod's annotation says was written, where that
/// can be true.
pub fn originals<'a>(
    pod: &'a Pod<'_>,
    settings: &'a Settings,
    context: &'a PodContext,
) -> impl Iterator<Item = Original<'a>> {
    let old = OldEntries::of(pod);
    pod.slots().map(move |slot| {
        let kept = old.kept(&slot, |entry| maps(&entry.was, slot.image, settings, context));
        Original { slot, was: kept.map(|entry| entry.was) }
    })
}

/// Whether the image `was` maps to the image `is`, so that an entry of the annotation that says so may be true. If both are equal, the old entry has nothing worth keeping.
#[must_use]
pub fn maps(was: &str, is: &str, settings: &Settings, context: &PodContext) -> bool {
    let case = settings.case_for(was, Pull::Registry, context);
    let (Subject::Routed(was_routed), Ok(is_now)) = (&case.subject, Reference::parse(is)) else {
        return false;
    };
    // `pin: Digest` leaves the tag out.
    let left_out = was_routed.pin == Pin::Digest && is_now.tag.is_none() && is_now.digest.is_some();
    let same_tag = left_out || was_routed.tag.as_ref().map(|tag| tag.as_str()) == is_now.tag;
    let same_digest = was_routed.digest.is_none() || was_routed.digest == is_now.digest;
    let mut places = was_routed.places.iter();
    was != is
        && same_tag
        && same_digest
        && places.any(|place| {
            folded(&place.registry.host) == folded(is_now.host) && place.repository.as_str() == is_now.path
        })
}

/// Returns the policies that deny one of these images, each once.
#[must_use]
pub fn denying<'a>(images: impl Iterator<Item = &'a ImageDecision>) -> Vec<PolicyName> {
    let mut denying: Vec<PolicyName> = Vec::new();
    for policy in images.flat_map(ImageDecision::blocking).flat_map(|finding| &finding.policies) {
        if !denying.contains(policy) {
            denying.push(policy.clone());
        }
    }
    denying
}
