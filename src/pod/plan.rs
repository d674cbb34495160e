//! What becomes of a Pod whose images are decided: denied, patched, or left as it is. Pure.

use std::borrow::Cow;

use super::annotation::OldEntries;
use super::change::{Change, Entry};
use super::patch::{Patch, patch};
use super::slots::{AdmissionKind, Slot};
use super::surface::Pod;
use crate::domain::case::{PodContext, Pull, Subject};
use crate::domain::decision::ImageDecision;
use crate::domain::image::Reference;
use crate::domain::messages;
use crate::domain::outcome::{Effect, Outcome};
use crate::domain::registry::folded;
use crate::domain::settings::Settings;
use crate::domain::verdict::Reason;

/// The most images that a denial names: a Pod may have hundreds, and nobody reads on.
const MOST_DENIED: usize = 20;

/// A Pod, and what was decided of each of its images.
#[derive(Debug)]
pub struct Plan<'a> {
    /// The Pod.
    pub pod: &'a Pod<'a>,
    /// Why it is judged.
    pub kind: AdmissionKind,
    /// Its images that are judged.
    pub slots: &'a [Slot<'a>],
    /// What was decided of them, in the same order.
    pub decisions: Vec<&'a ImageDecision>,
    /// The settings that they were decided by.
    pub settings: &'a Settings,
    /// What the images have in common.
    pub context: &'a PodContext,
}

impl<'a> Plan<'a> {
    /// The images with what was decided of them.
    pub fn by_slot(&self) -> impl Iterator<Item = (&'a Slot<'a>, &'a ImageDecision)> {
        self.slots.iter().zip(self.decisions.iter().copied())
    }

    /// Why the Pod is denied: a line for each image that is; `None` where none is.
    #[must_use]
    pub fn denial(&self) -> Option<String> {
        if !self.decisions.iter().any(|decision| decision.outcome.denies()) {
            return None;
        }
        let mut denied: Vec<(&str, &ImageDecision)> = Vec::new();
        for (slot, decision) in self.by_slot().filter(|(_, decision)| decision.outcome.denies()) {
            if !denied.iter().any(|(image, _)| *image == slot.image) {
                denied.push((slot.image, decision));
            }
        }
        let line = |(image, decision): &(&str, &ImageDecision)| messages::denial(image, decision);
        let mut lines: Vec<String> = denied.iter().take(MOST_DENIED).map(line).collect();
        if denied.len() > MOST_DENIED {
            lines.push(format!("and {} more images", denied.len() - MOST_DENIED));
        }
        Some(lines.join("\n"))
    }

    /// The patch that applies the decisions; empty where nothing changes.
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

    /// The annotation that the Pod came with; `None`: it gets none. A Pod that no Route concerns, or that is only
    /// observed, carries no annotation of ours.
    fn old_entries(&self) -> Option<OldEntries<'a>> {
        let concerns = |decision: &&ImageDecision| {
            !decision.outcome.keeps() && decision.outcome.effect == Effect::Applied
        };
        let annotated = self.kind == AdmissionKind::Create && self.decisions.iter().any(concerns);
        annotated.then(|| OldEntries::of(self.pod))
    }

    /// What the annotation says of an image. In a second round (another webhook changed the Pod in between) an image
    /// names a replica already, and only the old entry knows what it was.
    fn entry(&self, slot: &Slot<'a>, decision: &ImageDecision, old: &OldEntries<'a>) -> Entry<'a> {
        let entry = |was| Entry {
            was,
            why: decision.outcome.reason,
            findings: Cow::Owned(decision.kinds()),
            place: decision.serving().cloned(),
        };
        match old.kept(slot, |entry| self.maps(&entry.was, slot.image)) {
            // Where it stays and is still served from here, the old entry says more than `AlreadyLocal`.
            Some(kept) if decision.outcome.image.is_none() && kept.place.as_ref() == decision.serving() => {
                kept
            }
            Some(kept) => entry(kept.was),
            None => entry(Cow::Borrowed(slot.image)),
        }
    }

    /// Does mapping what an image was give what it is? Where they are equal there is nothing to remember.
    fn maps(&self, was: &str, is: &str) -> bool {
        let case = self.settings.case_for(was, Pull::Registry, self.context);
        let (Subject::Routed(was_routed), Ok(is_now)) = (&case.subject, Reference::parse(is)) else {
            return false;
        };
        let same_tag = was_routed.tag.as_ref().map(|tag| tag.as_str()) == is_now.tag;
        let same_digest = was_routed.digest.is_none() || was_routed.digest == is_now.digest;
        let mut places = was_routed.places.iter();
        was != is
            && same_tag
            && same_digest
            && places.any(|place| {
                folded(&place.registry.host) == folded(is_now.host)
                    && place.repository.as_str() == is_now.path
            })
    }

    /// Does an image stay as it is because its pull secret is missing? Those of a running Pod cannot change, so what
    /// needs another one could not be pulled.
    #[must_use]
    pub fn lacks_secret(&self, decision: &ImageDecision) -> bool {
        let Outcome { image, pull_secret, .. } = &decision.outcome;
        self.kind == AdmissionKind::Ephemeral
            && image.is_some()
            && pull_secret.as_ref().is_some_and(|secret| !self.pod.carries(secret))
    }

    /// Why an image becomes what it becomes. One that lacks its pull secret is only observed.
    #[must_use]
    pub fn reason(&self, decision: &ImageDecision) -> Reason {
        if self.lacks_secret(decision) { Reason::Observed } else { decision.outcome.reason }
    }

    /// What the person at `kubectl` should know now. A Fallback is no such thing: the Pod runs, an outage would repeat
    /// the warning for every Pod, and who must close the gap reads the metrics and the log.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        for (slot, decision) in self.by_slot() {
            if decision.has_no_copy() {
                warnings.push(format!("landfall: {slot}: no copy of the image is known; left as written"));
            }
            if decision.outcome.reason == Reason::Presumed {
                warnings.push(format!("landfall: {slot}: local copy taken unproved, all else is down"));
            }
            if let Some(secret) =
                decision.outcome.pull_secret.as_ref().filter(|_| self.lacks_secret(decision))
            {
                warnings
                    .push(format!("landfall: {slot}: left as written, the Pod lacks pull secret {secret}"));
            }
        }
        warnings
    }
}
