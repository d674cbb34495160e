//! The change to one image of a Pod.

use std::borrow::Cow;

use super::slots::Slot;
use crate::domain::finding::FindingKind;
use crate::domain::name::{PullSecret, RegistryName};
use crate::domain::verdict::Reason;

/// The change to one slot of a Pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change<'p> {
    /// The slot. It must be a slot of the Pod that is patched.
    pub slot: Slot<'p>,
    /// The new image; `None` leaves it as written.
    pub image: Option<Cow<'p, str>>,
    /// The Secret that nodes need to pull the resulting image; `None` where they need none.
    pub pull_secret: Option<PullSecret>,
    /// The entry of the annotation; `None` where the image gets none.
    pub entry: Option<Entry<'p>>,
}

/// The annotation's entry for one slot. The present image (`is`) comes from the [`Change`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry<'a> {
    /// The image as the user wrote it.
    pub was: Cow<'a, str>,
    /// The decision, in one word.
    pub why: Reason,
    /// Why local copies were not simply used.
    pub findings: Cow<'a, [FindingKind]>,
    /// The registry that serves the image.
    pub place: Option<RegistryName>,
}

impl Change<'_> {
    /// Returns the image of the slot after the change.
    #[must_use]
    pub fn outcome(&self) -> &str {
        self.image.as_deref().unwrap_or(self.slot.image)
    }
}
