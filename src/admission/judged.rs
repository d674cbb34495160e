//! A Pod judged: its images framed, judged side by side, equal ones once.

use std::collections::HashMap;

use futures::{StreamExt, stream};
use tokio::time::Instant;

use crate::domain::case::{Case, Routed, Subject};
use crate::domain::evidence::PlaceIx;
use crate::domain::frame::{Circumstances, Pull};
use crate::domain::outcome::Outcome;
use crate::domain::registry::RegistryName;
use crate::domain::settings::Settings;
use crate::domain::verdict::{Reason, Verdict};
use crate::evidence::Observatory;
use crate::pod::{PullPolicy, Slot};

/// The most images of one Pod that are judged at once. Real Pods have a handful; a body made by hand may name 100,000.
const AT_ONCE: usize = 64;

/// One image, judged.
#[derive(Debug)]
pub(super) struct Judged {
    /// What was judged.
    pub(super) case: Case,
    /// What was decided.
    pub(super) verdict: Verdict,
    /// What that does to the Pod.
    pub(super) outcome: Outcome,
}

impl Judged {
    /// What is known of it, where a Route covers it.
    pub(super) fn routed(&self) -> Option<&Routed> {
        match &self.case.subject {
            Subject::Routed(routed) => Some(routed),
            Subject::Kept(_) => None,
        }
    }

    /// The name of the registry at a Place.
    pub(super) fn registry(&self, place: PlaceIx) -> Option<&RegistryName> {
        Some(&self.routed()?.place(place)?.registry.name)
    }

    /// Is no copy of it known anywhere, so that it stays as written and may not start?
    pub(super) fn has_no_copy(&self) -> bool {
        self.outcome.reason == Reason::Fallback && self.outcome.place.is_none()
    }
}

/// The images of a Pod, judged.
#[derive(Debug)]
pub(super) struct JudgedPod {
    /// Each image once, in the order of its first slot.
    pub(super) images: Vec<Judged>,
    /// For each slot, which of them.
    of: Vec<usize>,
}

impl JudgedPod {
    /// Judges the images of these slots. At the deadline every question that is still open counts as unanswered.
    pub(super) async fn judge(
        slots: &[Slot<'_>],
        settings: &Settings,
        circumstances: &Circumstances,
        observatory: &Observatory,
        deadline: Instant,
    ) -> Self {
        let mut known = HashMap::with_capacity(slots.len());
        let mut cases = Vec::with_capacity(slots.len());
        let of = slots.iter().map(|slot| {
            let pull = pull(slot.pull_policy);
            *known.entry((slot.image, slot.pull_policy == PullPolicy::Never)).or_insert_with(|| {
                cases.push(settings.frame(slot.image, pull, circumstances));
                cases.len() - 1
            })
        });
        let of = of.collect();
        let judge = |case: Case| async move {
            let verdict = observatory.judge(&case, deadline).await.verdict;
            let outcome = Outcome::of(&case, &verdict);
            Judged { case, verdict, outcome }
        };
        let images = stream::iter(cases).map(judge).buffered(AT_ONCE).collect().await;
        Self { images, of }
    }

    /// The judgement of each slot, in their order.
    pub(super) fn by_slot(&self) -> impl Iterator<Item = &Judged> {
        self.of.iter().filter_map(|image| self.images.get(*image))
    }

    /// The images that are denied.
    pub(super) fn denied(&self) -> impl Iterator<Item = &Judged> + Clone {
        self.images.iter().filter(|judged| judged.outcome.denies())
    }
}

fn pull(policy: PullPolicy) -> Pull {
    match policy {
        PullPolicy::Never => Pull::Never,
        PullPolicy::Always | PullPolicy::IfNotPresent | PullPolicy::Unstated => Pull::Registry,
    }
}
