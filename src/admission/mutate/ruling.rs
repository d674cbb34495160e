//! What becomes of a Pod whose images are judged: denied, patched, or left as it is. Pure.

use crate::admission::answer::{Answer, Decision};
use crate::admission::judged::{Judged, JudgedPod};
use crate::admission::metrics::Fate;
use crate::admission::review::Review;
use crate::admission::words;
use crate::domain::case::Subject;
use crate::domain::frame::{Circumstances, Pull};
use crate::domain::image::Reference;
use crate::domain::outcome::Effect;
use crate::domain::registry::folded;
use crate::domain::settings::Settings;
use crate::domain::verdict::{FindingKind, Reason};
use crate::pod::{Change, Entry, Occasion, OldEntries, Slot, patch};

/// A Pod, its images, and what they were judged by.
pub(super) struct Ruling<'a> {
    pub(super) review: &'a Review<'a>,
    pub(super) settings: &'a Settings,
    pub(super) circumstances: &'a Circumstances,
    pub(super) slots: &'a [Slot<'a>],
    pub(super) judged: &'a JudgedPod,
}

impl<'a> Ruling<'a> {
    /// The answer without its audit annotations.
    pub(super) fn answer(&self) -> (Answer, Fate) {
        if self.judged.denied().next().is_some() {
            let message = words::denial(self.judged.denied());
            return (Answer::of(Decision::Deny { message }), Fate::Denied);
        }
        let changes = self.changes();
        let patch = patch(&self.review.pod, self.review.occasion, &changes);
        let fate = if patch.is_empty() { Fate::Unchanged } else { Fate::Patched };
        let mut answer = Answer::of(Decision::Allow(patch));
        answer.warnings = self.warnings(&changes);
        (answer, fate)
    }

    /// The slots with their judgements.
    pub(super) fn by_slot(&self) -> impl Iterator<Item = (&'a Slot<'a>, &'a Judged)> {
        self.slots_of(self.judged)
    }

    /// The slots with their judgements by somebody else.
    pub(super) fn slots_of<'j>(
        &self,
        judged: &'j JudgedPod,
    ) -> impl Iterator<Item = (&'j Slot<'j>, &'j Judged)>
    where
        'a: 'j,
    {
        let slots: &'j [Slot<'j>] = self.slots;
        slots.iter().zip(judged.by_slot())
    }

    fn changes(&self) -> Vec<Change<'a>> {
        // A Pod that is no concern of ours, or that is only observed, does not even carry a word of ours.
        let concerns = |image: &Judged| !image.outcome.keeps() && image.outcome.effect == Effect::Applied;
        let annotated = self.review.occasion == Occasion::Create && self.judged.images.iter().any(concerns);
        let old = if annotated { OldEntries::of(&self.review.pod) } else { OldEntries::default() };
        let change = |(slot, image): (&Slot<'a>, &Judged)| Change {
            slot: *slot,
            image: image.outcome.image.clone(),
            pull_secret: image.outcome.pull_secret.clone(),
            entry: annotated.then(|| self.entry(slot, image, &old)),
        };
        self.by_slot().map(change).collect()
    }

    /// What is written down of a slot. In a second round (another webhook changed the Pod in between) an image names
    /// a replica already, and only the old entry knows what it was.
    fn entry(&self, slot: &Slot<'_>, image: &Judged, old: &OldEntries<'_>) -> Entry {
        let kept = old.kept(slot, |entry| self.leads(&entry.was, slot.image));
        match (kept, &image.outcome.image) {
            (Some(kept), None) => kept,
            (Some(kept), Some(_)) => Entry { was: kept.was, ..fresh(slot, image) },
            (None, _) => fresh(slot, image),
        }
    }

    /// Does mapping what an image was give what it is? Where they are equal there is nothing to remember.
    fn leads(&self, was: &str, is: &str) -> bool {
        let case = self.settings.frame(was, Pull::Registry, self.circumstances);
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

    /// What the person at `kubectl` should know now. A Fallback is no such thing: the Pod runs, an outage would repeat it
    /// for every Pod, and whoever must close the gap reads the ledger and the metrics, not somebody's terminal.
    fn warnings(&self, changes: &[Change<'_>]) -> Vec<String> {
        let mut warnings = Vec::new();
        for ((slot, image), change) in self.by_slot().zip(changes) {
            if image.has_no_copy() {
                warnings.push(format!("landfall: {slot}: no copy of the image is known; left as written"));
            }
            if image.outcome.reason == Reason::Presumed {
                warnings.push(format!("landfall: {slot}: local copy taken unproved, all else is down"));
            }
            // Pull secrets of a running Pod cannot change: an image that needs another one could not be pulled.
            if self.review.occasion == Occasion::Ephemeral
                && change.image.is_some()
                && let Some(secret) =
                    change.pull_secret.as_ref().filter(|secret| !self.review.pod.carries(secret))
            {
                warnings
                    .push(format!("landfall: {slot}: left as written, the Pod lacks pull secret {secret}"));
            }
        }
        warnings
    }
}

fn fresh(slot: &Slot<'_>, image: &Judged) -> Entry {
    let mut findings: Vec<FindingKind> = Vec::new();
    for finding in &image.verdict.findings {
        if !findings.contains(&finding.kind) {
            findings.push(finding.kind);
        }
    }
    Entry {
        was: slot.image.into(),
        why: image.outcome.reason,
        findings,
        place: image.outcome.place.and_then(|ix| image.registry(ix)).cloned(),
    }
}
