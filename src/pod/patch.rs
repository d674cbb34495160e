//! The smallest RFC 6902 patch that applies the verdicts to a Pod.
//!
//! It replaces images, appends pull secrets and writes our annotation. It contains nothing else. A patch that does not
//! apply rejects the Pod *for any failurePolicy* (the API server calls it an internal error), so every operation here
//! applies by construction. Images are replaced at the path of a [`Slot`](super::Slot). Where the parent of an `add` is
//! absent, the patch adds the parent. And there is no `test` operation: it compares strings as bytes, and fails on any `&`
//! that was written as an escape.

use super::annotation;
use super::change::Change;
use super::json::push_text;
use super::slots::AdmissionKind;
use super::surface::Pod;
use crate::domain::api_group::api_group;
use crate::domain::name::PullSecret;

/// A patch in the JSON form in which it is sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Patch(String);

impl Patch {
    /// Whether the patch has no operations.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the patch as JSON: a list of operations.
    #[must_use]
    pub fn as_json(&self) -> &str {
        if self.is_empty() { "[]" } else { &self.0 }
    }

    #[cfg(test)]
    pub(crate) fn of_json(json: &str) -> Self {
        Self(json.to_owned())
    }

    /// Writes the beginning of an operation. The caller must write the path and its closing quote.
    fn begin(&mut self, operation: &str) -> &mut String {
        self.0.push_str(if self.0.is_empty() { "[" } else { "," });
        self.0.extend([r#"{"op":""#, operation, r#"","path":""#]);
        &mut self.0
    }

    fn add(&mut self, path: &str) -> &mut String {
        let json = self.begin("add");
        json.extend([path, r#"","value":"#]);
        json
    }
}

/// Builds the patch; empty where nothing changes.
///
/// On [`AdmissionKind::Ephemeral`] pull secrets and annotations cannot change any more. So an image is replaced only if
/// the Pod has the pull secret already, or needs none. On [`AdmissionKind::Update`] nothing is changed. Where no change
/// has an entry, the annotation stays as it is, no matter who wrote it: a Pod that Landfall does not handle, or only
/// observes, is not changed at all.
///
/// After the patch is applied, the same verdicts give an empty patch.
///
/// ```
/// use landfall::facade::pod::{AdmissionKind, Change, Pod, patch};
///
/// let body = r#"{"spec":{"containers":[{"name":"web","image":"a.example/web:1"}]}}"#;
/// let pod: Pod<'_> = serde_json::from_str(body)?;
/// let slot = pod.slots_to_judge(AdmissionKind::Create, None)[0];
/// let change = Change { slot, image: Some("b.example/web:1".into()), pull_secret: None, entry: None };
/// let patch = patch(&pod, AdmissionKind::Create, &[change]);
/// assert_eq!(
///     patch.as_json(),
///     r#"[{"op":"replace","path":"/spec/containers/0/image","value":"b.example/web:1"}]"#
/// );
/// # Ok::<(), serde_json::Error>(())
/// ```
#[must_use]
pub fn patch(pod: &Pod<'_>, kind: AdmissionKind, changes: &[Change<'_>]) -> Patch {
    let mut patch = Patch::default();
    match kind {
        AdmissionKind::Create => {
            patch.0.reserve(changes.iter().map(room).sum());
            changes.iter().for_each(|change| replace_image(change, &mut patch));
            add_pull_secrets(pod, changes, &mut patch);
            annotate(pod, changes, &mut patch);
        }
        AdmissionKind::Ephemeral => {
            let missing = missing_secrets(pod, changes);
            let pullable = |change: &&Change<'_>| {
                change.pull_secret.as_ref().is_none_or(|secret| !missing.contains(&secret))
            };
            changes.iter().filter(pullable).for_each(|change| replace_image(change, &mut patch));
        }
        AdmissionKind::Update => {}
    }
    if !patch.is_empty() {
        patch.0.push(']');
    }
    patch
}

/// An estimate of the bytes that the patch needs for a slot: the new image twice, the old image, and the text around
/// them.
fn room(change: &Change<'_>) -> usize {
    2 * change.outcome().len() + change.slot.image.len() + change.slot.name.len() + 256
}

fn replace_image(change: &Change<'_>, patch: &mut Patch) {
    let Some(image) = change.image.as_deref().filter(|image| *image != change.slot.image) else { return };
    let json = patch.begin("replace");
    change.slot.push_pointer(json);
    json.push_str(r#"","value":"#);
    push_text(json, image);
    json.push('}');
}

/// The pull secrets that the Pod needs and does not have yet, each once.
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

fn add_pull_secrets(pod: &Pod<'_>, changes: &[Change<'_>], patch: &mut Patch) {
    let missing = missing_secrets(pod, changes);
    let named = |json: &mut String, secret: &PullSecret| {
        json.push_str(r#"{"name":"#);
        push_text(json, secret.as_str());
        json.push('}');
    };
    if pod.spec.image_pull_secrets.is_some() {
        for secret in missing {
            let json = patch.add("/spec/imagePullSecrets/-");
            named(json, secret);
            json.push('}');
        }
    } else if !missing.is_empty() {
        let json = patch.add("/spec/imagePullSecrets");
        for (n, secret) in missing.into_iter().enumerate() {
            json.push_str(if n == 0 { "[" } else { "," });
            named(json, secret);
        }
        json.push_str("]}");
    }
}

/// The JSON pointer of our annotation. Its slash is written as `~1`.
const PATH: &str = concat!("/metadata/annotations/", api_group!(), "~1images");

fn annotate(pod: &Pod<'_>, changes: &[Change<'_>], patch: &mut Patch) {
    if changes.iter().all(|change| change.entry.is_none()) {
        return;
    }
    let have = pod.annotations();
    let old = have.and_then(|have| have.images.as_deref());
    let weight = have.map(|have| have.weight).unwrap_or_default();
    let before = patch.0.len();
    let (path, open, close) = match (&pod.metadata, have) {
        (_, Some(_)) => (PATH, "", "}"),
        (Some(_), None) => ("/metadata/annotations", concat!("{\"", api_group!(), "/images\":"), "}}"),
        (None, None) => ("/metadata", concat!("{\"annotations\":{\"", api_group!(), "/images\":"), "}}}"),
    };
    let json = patch.add(path);
    json.push_str(open);
    let value = json.len();
    let said = annotation::write(changes, weight, json);
    // The old text may be escaped in another way, so both are compared as decoded text. Few Pods have an old annotation.
    let same = |old: &str| {
        let now = patch.0.get(value..).and_then(|json| serde_json::from_str::<String>(json).ok());
        now.as_deref() == Some(old)
    };
    if !said || old.is_some_and(same) {
        patch.0.truncate(before);
        if !said && old.is_some() {
            // There is no room for the new entries, and the old ones are no longer true.
            patch.begin("remove").extend([PATH, "\"}"]);
        }
        return;
    }
    patch.0.push_str(close);
}

#[cfg(test)]
mod tests;
