//! What becomes of one image of a Pod.

use std::borrow::Cow;

use super::slots::Slot;
use crate::domain::registry::{PullSecret, RegistryName};
use crate::domain::verdict::{FindingKind, Reason};

/// What becomes of one slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change<'p> {
    /// The slot, of the very Pod that is patched.
    pub slot: Slot<'p>,
    /// The new text of the image; `None` leaves it.
    pub image: Option<Cow<'p, str>>,
    /// What nodes need to pull the image that then stands there; `None` where they need nothing.
    pub pull_secret: Option<PullSecret>,
    /// What the annotation says of it; `None` where it is no concern of ours.
    pub entry: Option<Entry<'p>>,
}

/// What is written down of one slot. What the image *is* comes from the change it belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry<'a> {
    /// The image as the user wrote it.
    pub was: Cow<'a, str>,
    /// What was decided, in one word.
    pub why: Reason,
    /// What stood in the way of a local copy.
    pub findings: Cow<'a, [FindingKind]>,
    /// The registry that serves it.
    pub place: Option<RegistryName>,
}

impl Change<'_> {
    /// The image that stands in the slot afterwards.
    #[must_use]
    pub fn outcome(&self) -> &str {
        self.image.as_deref().unwrap_or(self.slot.image)
    }
}
