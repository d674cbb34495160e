//! What becomes of a Pod whose images are judged: denied, patched, or left as it is. Pure.

use std::borrow::Cow;

use crate::admission::answer::{Answer, Decision};
use crate::admission::judged::{ImageDecision, JudgedPod};
use crate::admission::messages;
use crate::admission::metrics::PodOutcome;
use crate::admission::review::Review;
use crate::domain::case::Subject;
use crate::domain::case::{PodContext, Pull};
use crate::domain::image::Reference;
use crate::domain::outcome::{Effect, Outcome};
use crate::domain::registry::folded;
use crate::domain::settings::Settings;
use crate::domain::verdict::Reason;
use crate::pod::{AdmissionKind, Change, Entry, OldEntries, Slot, patch};

/// A Pod, its images, and what they were judged by.
pub(super) struct Ruling<'a> {
    pub(super) review: &'a Review<'a>,
    pub(super) settings: &'a Settings,
    pub(super) context: &'a PodContext,
    pub(super) slots: &'a [Slot<'a>],
    pub(super) judged: &'a JudgedPod,
}

impl<'a> Ruling<'a> {
    /// The answer without its audit annotations.
    pub(super) fn answer(&self) -> (Answer, PodOutcome) {
        if self.judged.denied().next().is_some() {
            let message = messages::denial(self.judged.denied());
            return (Answer::of(Decision::Deny { message }), PodOutcome::Denied);
        }
        let old = self.old();
        let changes = self.changes(old.as_ref());
        let patch = patch(&self.review.pod, self.review.kind, &changes);
        let outcome = if patch.is_empty() { PodOutcome::Unchanged } else { PodOutcome::Patched };
        let mut answer = Answer::of(Decision::Allow(patch));
        answer.warnings = self.warnings();
        (answer, outcome)
    }

    /// The slots with their judgements.
    pub(super) fn by_slot(&self) -> impl Iterator<Item = (&'a Slot<'a>, &'a ImageDecision)> {
        self.slots_of(self.judged)
    }

    /// The slots with their judgements by somebody else.
    pub(super) fn slots_of<'j>(
        &self,
        judged: &'j JudgedPod,
    ) -> impl Iterator<Item = (&'j Slot<'j>, &'j ImageDecision)>
    where
        'a: 'j,
    {
        let slots: &'j [Slot<'j>] = self.slots;
        slots.iter().zip(judged.by_slot())
    }

    /// What was written down before; `None`: nothing is to be written down. A Pod that is no concern of ours, or that is
    /// only observed, does not even carry a word of ours.
    fn old(&self) -> Option<OldEntries<'a>> {
        let concerns =
            |image: &ImageDecision| !image.outcome.keeps() && image.outcome.effect == Effect::Applied;
        let create = self.review.kind == AdmissionKind::Create;
        let annotated = create && self.judged.images.iter().any(|image| concerns(image));
        annotated.then(|| OldEntries::of(&self.review.pod))
    }

    fn changes(&self, old: Option<&OldEntries<'a>>) -> Vec<Change<'a>> {
        let change = |(slot, image): (&'a Slot<'a>, &'a ImageDecision)| Change {
            slot: *slot,
            image: image.outcome.image.as_deref().map(Cow::Borrowed),
            pull_secret: image.outcome.pull_secret.clone(),
            entry: old.map(|old| self.entry(slot, image, old)),
        };
        self.by_slot().map(change).collect()
    }

    /// What is written down of a slot. In a second round (another webhook changed the Pod in between) an image names
    /// a replica already, and only the old entry knows what it was.
    fn entry(&self, slot: &Slot<'a>, image: &'a ImageDecision, old: &OldEntries<'a>) -> Entry<'a> {
        let kept = old.kept(slot, |entry| self.leads(&entry.was, slot.image));
        match kept {
            // Where it stays and is still served from here, the old words say more than `AlreadyLocal`.
            Some(kept) if image.outcome.image.is_none() && kept.place == image.place => kept,
            Some(kept) => Entry { was: kept.was, ..fresh(slot, image) },
            None => fresh(slot, image),
        }
    }

    /// Does mapping what an image was give what it is? Where they are equal there is nothing to remember.
    fn leads(&self, was: &str, is: &str) -> bool {
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

    /// Does an image stay as it is because its pull secret is missing? Those of a running Pod cannot change, so what needs
    /// another one could not be pulled.
    pub(super) fn leaves(&self, image: &ImageDecision) -> bool {
        let Outcome { image, pull_secret, .. } = &image.outcome;
        self.review.kind == AdmissionKind::Ephemeral
            && image.is_some()
            && pull_secret.as_ref().is_some_and(|secret| !self.review.pod.carries(secret))
    }

    /// Why an image becomes what it becomes: what is left as it is, whatever was found, is only observed.
    pub(super) fn reason(&self, image: &ImageDecision) -> Reason {
        if self.leaves(image) { Reason::Observed } else { image.outcome.reason }
    }

    /// What the person at `kubectl` should know now. A Fallback is no such thing: the Pod runs, an outage would repeat it
    /// for every Pod, and whoever must close the gap reads the ledger and the metrics, not somebody's terminal.
    fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        for (slot, image) in self.by_slot() {
            if image.has_no_copy() {
                warnings.push(format!("landfall: {slot}: no copy of the image is known; left as written"));
            }
            if image.outcome.reason == Reason::Presumed {
                warnings.push(format!("landfall: {slot}: local copy taken unproved, all else is down"));
            }
            if let Some(secret) = image.outcome.pull_secret.as_ref().filter(|_| self.leaves(image)) {
                warnings
                    .push(format!("landfall: {slot}: left as written, the Pod lacks pull secret {secret}"));
            }
        }
        warnings
    }
}

fn fresh<'a>(slot: &Slot<'a>, image: &'a ImageDecision) -> Entry<'a> {
    Entry {
        was: Cow::Borrowed(slot.image),
        why: image.outcome.reason,
        findings: Cow::Borrowed(&image.kinds),
        place: image.place.clone(),
    }
}
