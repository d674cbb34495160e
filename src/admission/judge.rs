//! Judges the images of a Pod: from the verdict cache, or concurrently; equal images only once.

use std::collections::HashMap;
use std::sync::Arc;

use futures::{StreamExt, stream};

use super::metrics::{ImageCounters, Metrics};
use crate::domain::case::{PodContext, Pull};
use crate::domain::decide::expires_at;
use crate::domain::decision::ImageDecision;
use crate::domain::settings::Settings;
use crate::evidence::{Asking, ByHash, ContextId, Key, Observatory, ObservedAt, Validity, VerdictCache};
use crate::pod::Slot;

/// The most images of one Pod that are judged at once. Real Pods have only a few; a body made by hand may name 100,000.
const AT_ONCE: usize = 64;

/// A cached decision with its metric counters, so that a cache hit need not look up the counters.
#[derive(Debug)]
pub(super) struct CachedDecision {
    pub(super) decision: ImageDecision,
    pub(super) counters: ImageCounters,
}

/// Judges Pods, with the settings in force, the observatory and the verdict cache.
#[derive(Clone, Copy)]
pub(super) struct Judge<'a> {
    pub(super) settings: &'a Arc<Settings>,
    pub(super) observatory: &'a Observatory,
    pub(super) cache: &'a VerdictCache<CachedDecision>,
    pub(super) metrics: &'a Metrics,
    /// The Pod's namespace, and when every open question counts as unanswered.
    pub(super) asking: Asking<'a>,
    /// The time of the judgement.
    pub(super) observed_at: ObservedAt,
}

/// An image of a Pod that is not in the verdict cache.
struct Open {
    at: usize,
    key: Key,
    pull: Pull,
    written: Box<str>,
}

/// The decisions for the images of a Pod.
#[derive(Debug)]
pub(super) struct PodDecisions {
    /// The decision for each different image, in the order of its first slot.
    pub(super) images: Vec<Arc<CachedDecision>>,
    /// For each slot, the index of its image in `images`.
    of: Vec<usize>,
}

impl Judge<'_> {
    /// Judges the images of these slots.
    pub(super) async fn pod(&self, slots: &[Slot<'_>], context: &PodContext) -> PodDecisions {
        let context_id = self.cache.context_id(self.settings, context);
        let mut known: HashMap<_, usize, ByHash> =
            HashMap::with_capacity_and_hasher(slots.len(), ByHash::default());
        let mut images: Vec<(&Slot<'_>, Option<Arc<CachedDecision>>)> = Vec::with_capacity(slots.len());
        let (mut of, mut open) = (Vec::with_capacity(slots.len()), Vec::new());
        for slot in slots {
            let pull = slot.pull_policy.pull();
            let key = self.cache.key(context_id, pull, slot.image);
            let same = |at: &&usize| images.get(**at).is_some_and(|(first, _)| first.image == slot.image);
            if let Some(at) = known.get(&key).filter(same) {
                of.push(*at);
                continue;
            }
            let at = images.len();
            known.insert(key, at);
            of.push(at);
            let cached = self.cache.get(key, context_id, pull, slot.image, &self.observed_at);
            if cached.is_none() {
                open.push(Open { at, key, pull, written: slot.image.into() });
            }
            images.push((slot, cached));
        }
        self.metrics.decided(images.len() - open.len(), open.len());
        if !open.is_empty() {
            let judged = stream::iter(open).map(|open| self.image(open, context_id, context));
            let mut judged = judged.buffer_unordered(AT_ONCE);
            while let Some((at, decision)) = judged.next().await {
                if let Some((_, image)) = images.get_mut(at) {
                    *image = Some(decision);
                }
            }
        }
        #[expect(
            clippy::expect_used,
            reason = "a missing decision would shift all others; the door catches the panic"
        )]
        let decided = |(_, image): (_, Option<_>)| image.expect("every image was cached or judged");
        PodDecisions { images: images.into_iter().map(decided).collect(), of }
    }

    /// Judges one image and caches the decision.
    async fn image(
        &self,
        open: Open,
        context_id: ContextId,
        context: &PodContext,
    ) -> (usize, Arc<CachedDecision>) {
        let Open { at, key, pull, written } = open;
        let case = self.settings.case_for(&written, pull, context);
        let judgement = self.observatory.judge(&case, self.asking).await;
        let date = expires_at(&case, &judgement.evidence);
        let decision = ImageDecision::of(&case, judgement.verdict);
        let counters = self.metrics.counters(&decision);
        let bytes = decision.heap_bytes() + counters.heap_bytes();
        let cached = Arc::new(CachedDecision { decision, counters });
        let validity = Validity { since: self.observed_at, until: judgement.until, date };
        self.cache.keep((key, context_id, pull, &written), validity, (cached.clone(), bytes), self.settings);
        (at, cached)
    }
}

impl PodDecisions {
    /// Iterates over the decisions of the slots, in their order.
    pub(super) fn by_slot(&self) -> impl Iterator<Item = &ImageDecision> {
        self.of.iter().filter_map(|image| self.images.get(*image)).map(|image| &image.decision)
    }
}
