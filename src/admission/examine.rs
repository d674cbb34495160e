//! One image as it stands in a Pod after all mutation.

use super::door::{DoorState, Terms};
use super::first_answers::FirstAnswer;
use crate::domain::case::{PodContext, Pull};
use crate::domain::decide::Admission;
use crate::domain::decision::ImageDecision;
use crate::domain::name::RegistryName;
use crate::domain::verdict::Reason;
use crate::evidence::{Asking, ContextId};

/// What is known of an image as it stands.
#[derive(Debug)]
pub(super) enum Examined {
    /// The mutating door of this process wrote it a moment ago.
    Written(FirstAnswer),
    /// It was judged.
    Judged(ImageDecision),
    /// It was judged, and a copy could have been pinned, but it has no digest.
    NotPinned {
        /// What the mutating door would have done.
        decision: ImageDecision,
    },
}

impl Examined {
    /// Whether it denies the Pod.
    pub(super) fn denies(&self) -> bool {
        self.reason() == Reason::Denied
    }

    /// Why it may run, or that it may not.
    pub(super) fn reason(&self) -> Reason {
        match self {
            Self::Written(answer) => answer.reason,
            Self::Judged(decision) => decision.outcome.reason,
            Self::NotPinned { .. } => Reason::Denied,
        }
    }

    /// The registry that serves it.
    pub(super) fn serving(&self) -> Option<&RegistryName> {
        match self {
            Self::Written(answer) => answer.serving.as_ref(),
            Self::Judged(decision) => decision.serving(),
            Self::NotPinned { .. } => None,
        }
    }

    /// The decision, where it was judged now.
    pub(super) fn decision(&self) -> Option<&ImageDecision> {
        match self {
            Self::Written(_) => None,
            Self::Judged(decision) | Self::NotPinned { decision } => Some(decision),
        }
    }
}

impl DoorState {
    /// Judges an image as it stands, unless the mutating door wrote it a moment ago. Under an enforcing policy it does not
    /// matter when the image is pulled, or what else the Pod asks for.
    pub(super) async fn examine(
        &self,
        image: String,
        (id, context): (ContextId, &PodContext),
        terms: &Terms,
        asking: Asking<'_>,
    ) -> Examined {
        if let Some(answer) = self.first_answers.get(id, asking.namespace, &image) {
            return Examined::Written(answer);
        }
        let case = terms.settings.case_for(&image, Pull::Registry, context);
        match self.deps.observatory.admission(&case, asking).await.verdict {
            Admission::Admitted(verdict) | Admission::Denied(verdict) => {
                Examined::Judged(ImageDecision::of(&case, verdict))
            }
            Admission::NotPinned(verdict) => {
                Examined::NotPinned { decision: ImageDecision::of(&case, verdict) }
            }
        }
    }
}
