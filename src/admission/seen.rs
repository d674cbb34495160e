//! Tells the ledger of the gaps of a Pod's images. Nothing waits for that, and an image without a gap costs nothing.

use std::borrow::Cow;

use super::door::DoorState;
use super::review::{DryRun, Review};
use crate::domain::decision::ImageDecision;
use crate::domain::verdict::Reason;
use crate::ledger::{Met, ObjectRef, Sighting};
use crate::pod::owner::OwnerReference;

impl DoorState {
    /// Tells of these images, each once. A dry run creates no Pod.
    pub(super) fn seen<'a>(&self, review: &Review<'_>, images: impl Iterator<Item = &'a ImageDecision>) {
        if review.dry_run == DryRun::Yes {
            return;
        }
        let mut owner = None;
        for image in images.filter(|image| !image.gaps.is_empty()) {
            let met = match image.outcome.reason {
                Reason::Denied => Met::Denied,
                Reason::Fallback => Met::FellBack,
                _ => Met::Used,
            };
            let owner = owner.get_or_insert_with(|| made_by(review)).as_ref();
            let (gaps, namespace) = (&*image.gaps, &*review.namespace);
            self.deps.recorder.see(&Sighting { gaps, tag: image.tag.as_ref(), met, namespace, owner });
        }
    }
}

/// The owner of the Pod, else the Pod, if it has a name already.
fn made_by(review: &Review<'_>) -> Option<ObjectRef> {
    let metadata = review.pod.metadata.as_ref()?;
    let text =
        |text: &Option<Cow<'_, str>>| text.as_deref().filter(|text| !text.is_empty()).map(str::to_owned);
    let object = |api_version: String, kind: String, name, uid| ObjectRef {
        api_version: api_version.into(),
        kind: kind.into(),
        namespace: Some(review.namespace.to_string()),
        name,
        uid,
    };
    match metadata.owner_references.first() {
        Some(OwnerReference { api_version, kind, name, uid, .. }) => {
            Some(object(text(api_version)?, text(kind)?, text(name)?, text(uid)))
        }
        None => Some(object("v1".to_owned(), "Pod".to_owned(), text(&metadata.name)?, None)),
    }
}
