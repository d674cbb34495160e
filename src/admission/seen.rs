//! Tells the ledger of the gaps of a Pod's images. Nothing waits for that, and an image without a gap costs nothing.

use super::door::DoorState;
use super::review::{DryRun, Review};
use crate::domain::decision::ImageDecision;
use crate::domain::verdict::Reason;
use crate::ledger::{Met, Owner, Sighting};
use crate::pod::owner::OwnerReference;

impl DoorState {
    /// Tells of these images, each once. A dry run creates no Pod.
    pub(super) fn seen<'a>(&self, review: &Review<'_>, images: impl Iterator<Item = &'a ImageDecision>) {
        if review.dry_run == DryRun::Yes {
            return;
        }
        for image in images.filter(|image| !image.gaps.is_empty()) {
            let met = match image.outcome.reason {
                Reason::Denied => Met::Denied,
                Reason::Fallback => Met::FellBack,
                _ => Met::Used,
            };
            let owner = made_by(review);
            let (gaps, namespace) = (&*image.gaps, &*review.namespace);
            self.deps.recorder.see(&Sighting { gaps, tag: image.tag.as_ref(), met, namespace, owner });
        }
    }
}

/// The owner of the Pod, else the Pod, if it has a name already.
fn made_by<'a>(review: &'a Review<'_>) -> Option<Owner<'a>> {
    let metadata = review.pod.metadata.as_ref()?;
    match metadata.owner_references.first() {
        Some(OwnerReference { api_version, kind, name, uid, .. }) => Some(Owner {
            api_version: api_version.as_deref()?,
            kind: kind.as_deref()?,
            name: name.as_deref()?,
            uid: uid.as_deref(),
        }),
        None => Some(Owner { api_version: "v1", kind: "Pod", name: metadata.name.as_deref()?, uid: None }),
    }
}
