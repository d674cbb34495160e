//! From the images of a Pod to its answer: judged, written down, counted.

use std::sync::Arc;

use futures::future::{join, join_all};
use tokio::time::Instant;

use super::Mutate;
use super::ruling::Ruling;
use crate::admission::answer::{Answer, AuditKey};
use crate::admission::judged::JudgedPod;
use crate::admission::metrics::Fate;
use crate::admission::review::{Review, Run};
use crate::admission::words;
use crate::domain::frame::{Circumstances, Exemption};
use crate::domain::policy::{Labels, Policy, Regime};
use crate::domain::settings::Settings;
use crate::domain::verdict::{FindingKind, Reason};
use crate::pod::platform;
use crate::pod::surface::Mode;

const VERDICT: AuditKey = AuditKey::new("verdict");
const IMAGES: AuditKey = AuditKey::new("images");
const FINDINGS: AuditKey = AuditKey::new("findings");
const OBSERVED: AuditKey = AuditKey::new("observed");

impl Mutate {
    /// Judges a Pod and says what becomes of it.
    pub(super) async fn verdict(
        &self,
        review: &Review<'_>,
        settings: &Settings,
        deadline: Instant,
    ) -> Answer {
        let slots = review.slots();
        let labels =
            if settings.policies.is_empty() { Labels::new() } else { (self.labels)(&review.namespace) };
        let circumstances = Circumstances {
            regime: settings.regime(&labels),
            platforms: settings.platforms(&platform::demand(&review.pod)),
            exemption: match review.pod.mode() {
                Mode::Judge => Exemption::None,
                Mode::Skip => Exemption::Skip,
            },
            now: (self.clock)(),
        };
        let judge = async |circumstances: &Circumstances| {
            JudgedPod::judge(&slots, settings, circumstances, &self.observatory, deadline).await
        };
        // Apart, each with a regime of its own: nothing that an observing policy asks changes the answer. At the same
        // time and by the same deadline: what it alone asks (a scan, say) may keep a Pod waiting, but never for longer.
        let observe = async |policy: &Arc<Policy>| {
            let regime = Arc::new(Regime::of_one(settings.defaults.clone(), policy.clone()));
            (policy.clone(), judge(&Circumstances { regime, ..circumstances.clone() }).await)
        };
        let observed = join_all(settings.observing(&labels).map(observe));
        let (judged, observed) = join(judge(&circumstances), observed).await;

        let ruling =
            Ruling { review, settings, circumstances: &circumstances, slots: &slots, judged: &judged };
        let (mut answer, fate) = ruling.answer();
        let mut note = |key, text: String| {
            if !text.is_empty() {
                answer.audit.insert(key, text);
            }
        };
        note(VERDICT, fate.as_str().to_owned());
        note(IMAGES, words::images(ruling.by_slot()));
        note(FINDINGS, words::findings(ruling.by_slot()));
        let would_deny = observed.iter().filter_map(|(policy, judged)| {
            let denied = ruling.slots_of(judged).filter(|(_, judged)| judged.outcome.denies());
            self.observed(review, policy, words::findings(denied))
        });
        note(OBSERVED, would_deny.collect::<Vec<_>>().join("; "));
        self.record(&ruling, fate);
        answer
    }

    /// Says what a policy would have done, if it would have denied.
    fn observed(&self, review: &Review<'_>, policy: &Policy, denied: String) -> Option<String> {
        let fate = if denied.is_empty() { Fate::Unchanged } else { Fate::Denied };
        if review.run == Run::Real {
            self.metrics.observed(&policy.name, fate);
        }
        if fate != Fate::Denied {
            return None;
        }
        let (namespace, pod) = (&*review.namespace, review.pod.called());
        tracing::info!(pod.namespace = namespace, pod.name = pod, policy = %policy.name, denied, "would deny");
        Some(format!("{} would deny {denied}", policy.name))
    }

    /// Counts and logs. A dry run is no Pod: its images and findings are not counted, and nobody need act on it.
    fn record(&self, ruling: &Ruling<'_>, fate: Fate) {
        let (review, judged) = (ruling.review, ruling.judged);
        let weightiest =
            judged.images.iter().map(|image| image.outcome.reason).min_by_key(|reason| weight(*reason));
        let reason = weightiest.unwrap_or(Reason::Finding(FindingKind::NotRouted));
        self.metrics.admitted(fate, reason, review.run);
        let (namespace, pod) = (&*review.namespace, review.pod.called());
        tracing::debug!(
            pod.namespace = namespace,
            pod.name = pod,
            verdict = fate.as_str(),
            reason = reason.as_str(),
            images = judged.images.len(),
            "judged"
        );
        if review.run == Run::Dry {
            return;
        }
        judged.images.iter().for_each(|image| self.metrics.judged(image));
        // What is Presumed gets no line: the registry that is down has its own, and there may be thousands of Pods.
        for image in judged.images.iter().filter(|image| image.has_no_copy()) {
            let image = &*image.case.written;
            tracing::warn!(
                pod.namespace = namespace,
                pod.name = pod,
                image,
                "no copy is known; left as written"
            );
        }
    }
}

/// Which of a Pod's reasons stands for it: the lightest number.
fn weight(reason: Reason) -> u8 {
    match reason {
        Reason::Internal => 0,
        Reason::Denied => 1,
        Reason::Fallback => 2,
        Reason::Presumed => 3,
        Reason::Accepted => 4,
        Reason::Local => 5,
        Reason::AlreadyLocal => 6,
        Reason::Observed => 7,
        Reason::MirrorPod | Reason::Excluded | Reason::Exempt | Reason::PullNever => 8,
        Reason::Finding(_) => 9,
    }
}
