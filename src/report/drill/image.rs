//! What becomes of an image, in words, and since when it is lacking.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::forecast::{Image, Obstacle, Prospect};
use super::node::{Pull, Pulled};
use super::pod::{JudgedImage, Next};
use super::scene::Drill;
use crate::domain::decision::ImageDecision;
use crate::domain::finding::FindingKind;
use crate::domain::gap::{Axis, GapSubject, Version};
use crate::domain::text::plain;
use crate::domain::verdict::Reason;

impl Drill<'_> {
    /// What becomes of an image.
    pub(super) fn image(&self, image: &JudgedImage, pulled: &BTreeMap<&Pull, Pulled>) -> Image {
        let JudgedImage { slot, written, decision, next, notes } = image;
        let mut notes = notes.clone();
        let (obstacle, why) = match next {
            Next::Stuck(obstacle, why) => (Some(*obstacle), why.clone()),
            Next::Pull(pull) => match pulled.get(pull) {
                Some(Pulled::Whole { .. }) => (None, String::new()),
                Some(Pulled::Not(obstacle, why)) => (Some(*obstacle), why.clone()),
                None => (Some(Obstacle::NotTold), "nothing was asked".to_owned()),
            },
        };
        if let Some(decision) =
            decision.as_ref().filter(|decision| decision.outcome.reason == Reason::Presumed)
        {
            let kinds: Vec<String> = decision.kinds().iter().map(FindingKind::to_string).collect();
            notes.push(format!("the local copy would be used without proof ({})", kinds.join(", ")));
        }
        let becomes = decision.as_ref().and_then(|decision| decision.outcome.image.as_deref());
        Image {
            slot: slot.clone(),
            image: plain(written).into_owned(),
            becomes: becomes.map(str::to_owned),
            reason: decision.as_ref().map(|decision| decision.outcome.reason.to_string()),
            prospect: obstacle.map_or(Prospect::Starts, Obstacle::prospect),
            obstacle,
            why: plain(&why).into_owned(),
            todo: obstacle.map(|obstacle| obstacle.todo().to_owned()).unwrap_or_default(),
            since: obstacle
                .and(decision.as_ref())
                .and_then(|decision| self.since(decision))
                .map(|at| at.to_string()),
            notes,
        }
    }

    /// Since when a copy of this image is known to be lacking here.
    fn since(&self, decision: &ImageDecision) -> Option<Timestamp> {
        let ours = |version: &Version| match version {
            Version::Digest(digest) => decision.digest == Some(*digest),
            Version::Tag(tag) => decision.tag.as_ref() == Some(tag),
        };
        let about = |subject: &GapSubject| match subject {
            GapSubject::Image { name, version } => *name == decision.name && ours(version),
            GapSubject::Rule(_) => false,
        };
        let open = self.gaps.iter().filter(|(key, record)| record.is_open() && about(&key.subject));
        let axes = [Axis::Presence, Axis::Scan];
        open.flat_map(|(_, record)| {
            axes.into_iter().filter_map(|axis| record.axis(axis)).map(|axis| axis.since)
        })
        .min()
    }
}
