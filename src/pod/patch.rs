//! The smallest RFC 6902 patch that brings a Pod to its verdicts.
//!
//! It replaces images where they stand, appends pull secrets, and writes our annotation; nothing else can come
//! out of it. A patch that does not apply rejects the Pod *whatever the failurePolicy* (the API server
//! calls it an internal error), so every operation here applies by construction: images are replaced at the
//! path of a [`Slot`], what an `add` needs above it is brought along where it is absent, and there is no
//! `test`, which compares strings as bytes and fails on any `&` that was written as an escape.

use json_patch::jsonptr::PointerBuf;
use json_patch::{AddOperation, Patch, PatchOperation, RemoveOperation, ReplaceOperation};
use serde_json::{Map, Value};

use super::annotation::{self, Entry};
use super::slots::{Occasion, Slot};
use super::surface::{IMAGES, Pod};
use crate::domain::registry::PullSecret;

/// What becomes of one slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change<'p> {
    /// The slot, of the very Pod that is patched.
    pub slot: Slot<'p>,
    /// The new text of the image; `None` leaves it.
    pub image: Option<Box<str>>,
    /// What nodes need to pull the image that then stands there; `None` where they need nothing.
    pub pull_secret: Option<PullSecret>,
    /// What the annotation says of it; `None` where it is no concern of ours.
    pub entry: Option<Entry>,
}

impl Change<'_> {
    /// The image that stands in the slot afterwards.
    #[must_use]
    pub fn outcome(&self) -> &str {
        self.image.as_deref().unwrap_or(self.slot.image)
    }
}

/// Builds the patch, empty where there is nothing to do.
///
/// On [`Occasion::Ephemeral`] pull secrets and annotations may not change any more: an image is replaced only
/// if the Pod carries the secret already, or needs none. On [`Occasion::Update`] nothing is changed.
/// Where nothing has an entry the annotation stays as it came, whoever wrote it: a Pod that is no concern of
/// ours, or that is only observed, is not changed at all.
///
/// Once it is applied, the same verdicts give an empty patch.
#[must_use]
pub fn patch(pod: &Pod<'_>, occasion: Occasion, changes: &[Change<'_>]) -> Patch {
    let mut operations = Vec::new();
    match occasion {
        Occasion::Create => {
            operations.extend(changes.iter().filter_map(replace_image));
            add_pull_secrets(pod, changes, &mut operations);
            operations.extend(annotate(pod, changes));
        }
        Occasion::Ephemeral => {
            let missing = missing_secrets(pod, changes);
            let pullable = |change: &&Change<'_>| {
                change.pull_secret.as_ref().is_none_or(|secret| !missing.contains(&secret))
            };
            operations.extend(changes.iter().filter(pullable).filter_map(replace_image));
        }
        Occasion::Update => {}
    }
    Patch(operations)
}

fn replace_image(change: &Change<'_>) -> Option<PatchOperation> {
    let image = change.image.as_deref().filter(|image| *image != change.slot.image)?;
    let (path, value) = (change.slot.pointer(), Value::from(image));
    Some(PatchOperation::Replace(ReplaceOperation { path, value }))
}

/// The pull secrets that are wanted and not there, each once.
fn missing_secrets<'c>(pod: &Pod<'_>, changes: &'c [Change<'_>]) -> Vec<&'c PullSecret> {
    let mut wanted: Vec<&PullSecret> = Vec::new();
    for secret in changes.iter().filter_map(|change| change.pull_secret.as_ref()) {
        if !wanted.contains(&secret) {
            wanted.push(secret);
        }
    }
    wanted.retain(|secret| !pod.carries(secret));
    wanted
}

fn add_pull_secrets(pod: &Pod<'_>, changes: &[Change<'_>], operations: &mut Vec<PatchOperation>) {
    let missing = missing_secrets(pod, changes);
    if missing.is_empty() {
        return;
    }
    let named = missing.into_iter().map(|secret| object("name", Value::from(secret.as_str())));
    if pod.spec.image_pull_secrets.is_some() {
        operations.extend(named.map(|secret| add(&["spec", "imagePullSecrets", "-"], secret)));
    } else {
        operations.push(add(&["spec", "imagePullSecrets"], named.collect()));
    }
}

fn annotate(pod: &Pod<'_>, changes: &[Change<'_>]) -> Option<PatchOperation> {
    if changes.iter().all(|change| change.entry.is_none()) {
        return None;
    }
    let have = pod.annotations();
    let old = have.and_then(|have| have.images.as_deref());
    let new = annotation::write(changes, have.map(|have| have.weight).unwrap_or_default());
    let path = ["metadata", "annotations", IMAGES];
    match (old, new) {
        (None, None) => None,
        // There is no room to say what is, but what was said before is no longer so.
        (Some(_), None) => {
            Some(PatchOperation::Remove(RemoveOperation { path: PointerBuf::from_tokens(path) }))
        }
        (Some(old), Some(new)) if *old == new => None,
        (_, Some(new)) => Some(match (&pod.metadata, have) {
            (_, Some(_)) => add(&path, Value::from(new)),
            (Some(_), None) => add(&["metadata", "annotations"], object(IMAGES, Value::from(new))),
            (None, None) => add(&["metadata"], object("annotations", object(IMAGES, Value::from(new)))),
        }),
    }
}

fn add(path: &[&str], value: Value) -> PatchOperation {
    let path = PointerBuf::from_tokens(path.iter().copied());
    PatchOperation::Add(AddOperation { path, value })
}

fn object(key: &str, value: Value) -> Value {
    Value::Object(Map::from_iter([(key.to_owned(), value)]))
}

#[cfg(test)]
mod tests;
