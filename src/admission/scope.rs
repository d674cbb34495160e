//! Which Pods the doors leave alone, and what the images of the others have in common.

use std::sync::Arc;

use jiff::Timestamp;

use super::door::{DoorState, Doors};
use super::review::{Origin, Review};
use crate::domain::case::{Exemption, PodContext};
use crate::domain::policy::{Labels, Regime};
use crate::domain::settings::Settings;
use crate::domain::verdict::Reason;
use crate::pod::platform;
use crate::pod::surface::Mode;

impl Doors {
    /// Returns why the doors do not handle a Pod at all, if so. The API server should not send such a Pod to either of
    /// them, and no policy can select it.
    pub(super) fn leaves_alone(&self, review: &Review<'_>, settings: &Settings) -> Option<Reason> {
        match review.origin() {
            Origin::MirrorPod => Some(Reason::MirrorPod),
            Origin::Client => settings
                .leaves_alone(&review.namespace, self.own_namespace.as_deref())
                .then_some(Reason::Excluded),
        }
    }
}

impl DoorState {
    /// The labels of the Pod's namespace. Nobody is asked where no policy could select it.
    pub(super) async fn labels(&self, review: &Review<'_>, settings: &Settings) -> Arc<Labels> {
        if settings.policies.is_empty() {
            Arc::new(Labels::new())
        } else {
            (self.deps.labels)(&review.namespace).await
        }
    }
}

/// What the images of this Pod have in common.
pub(super) fn context(
    review: &Review<'_>,
    settings: &Settings,
    regime: Arc<Regime>,
    now: Timestamp,
) -> PodContext {
    PodContext {
        regime,
        platforms: settings.platforms(&platform::demand(&review.pod)),
        exemption: match review.pod.mode() {
            Mode::Judge => Exemption::None,
            Mode::Skip => Exemption::Skip,
        },
        now,
    }
}
