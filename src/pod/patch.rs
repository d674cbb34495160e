//! The smallest RFC 6902 patch that brings a Pod to its verdicts.
//!
//! It replaces images where they stand, appends pull secrets, and writes our annotation; nothing else can come
//! out of it. A patch that does not apply rejects the Pod *whatever the failurePolicy* (the API server
//! calls it an internal error), so every operation here applies by construction: images are replaced at the
//! path of a [`Slot`], what an `add` needs above it is brought along where it is absent, and there is no
//! `test`, which compares strings as bytes and fails on any `&` that was written as an escape.

use super::annotation;
use super::change::Change;
use super::json::push_text;
use super::slots::AdmissionKind;
use super::surface::Pod;
use crate::domain::api_group::api_group;
use crate::domain::registry::PullSecret;

/// A patch as it is sent: JSON, written once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Patch(String);

impl Patch {
    /// Is there nothing to do?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The JSON, a list of operations.
    #[must_use]
    pub fn as_json(&self) -> &str {
        if self.is_empty() { "[]" } else { &self.0 }
    }

    /// The operations of this JSON.
    #[cfg(test)]
    pub(crate) fn of_json(json: &str) -> Self {
        Self(json.to_owned())
    }

    /// The beginning of an operation up to its path, which is left to write with its closing quote.
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

/// Builds the patch, empty where there is nothing to do.
///
/// On [`AdmissionKind::Ephemeral`] pull secrets and annotations may not change any more: an image is replaced only
/// if the Pod carries the secret already, or needs none. On [`AdmissionKind::Update`] nothing is changed.
/// Where nothing has an entry the annotation stays as it came, whoever wrote it: a Pod that is no concern of
/// ours, or that is only observed, is not changed at all.
///
/// Once it is applied, the same verdicts give an empty patch.
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

/// Bytes that the patch takes for a slot, roughly: what it is, in two places, what it was, and the words around them.
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

/// The path of our annotation; its slash is written `~1`.
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
    // Somebody's text is compared as a text; few Pods come with one.
    let same = |old: &str| {
        let now = patch.0.get(value..).and_then(|json| serde_json::from_str::<String>(json).ok());
        now.as_deref() == Some(old)
    };
    if !said || old.is_some_and(same) {
        patch.0.truncate(before);
        if !said && old.is_some() {
            // There is no room to say what is, but what was said before is no longer so.
            patch.begin("remove").extend([PATH, "\"}"]);
        }
        return;
    }
    patch.0.push_str(close);
}

#[cfg(test)]
mod tests;
