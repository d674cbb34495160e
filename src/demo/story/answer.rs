//! The door's answer, read as an API server reads it.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use json_patch::Patch;
use serde::Deserialize;
use serde_json::Value;

use super::StoryError;
use super::told::{Found, ToldImage};
use crate::domain::api_group::api_group;

/// The annotation that says what became of each image.
const IMAGES: &str = concat!(api_group!(), "/images");

/// The `response` of an AdmissionReview.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Response {
    pub(super) uid: String,
    pub(super) allowed: bool,
    status: Option<Status>,
    patch: Option<String>,
    #[serde(default)]
    pub(super) warnings: Vec<String>,
    #[serde(default)]
    pub(super) audit_annotations: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
struct Status {
    message: String,
}

#[derive(Deserialize)]
struct Review {
    response: Response,
}

/// The entry of one image in the annotation or the audit log.
#[derive(Default)]
struct Said {
    reason: Option<String>,
    place: Option<String>,
    findings: Vec<Found>,
}

impl Response {
    pub(super) fn read(body: &[u8]) -> Result<Self, StoryError> {
        let review: Review = serde_json::from_slice(body).map_err(|source| StoryError::Answer { source })?;
        Ok(review.response)
    }

    pub(super) fn message(&self) -> Option<&str> {
        self.status.as_ref().map(|status| status.message.as_str())
    }

    /// The differences in what is said: the expected words are missing, or there is an unexpected warning.
    pub(super) fn said_otherwise(&self, says: Option<&str>) -> Option<String> {
        let mut said = self.warnings.iter().map(String::as_str).chain(self.message());
        let Some(words) = says else {
            return said.next().map(|line| format!("nobody told that it says: {line}"));
        };
        let mut said = said.chain(self.audit_annotations.values().map(String::as_str));
        let heard = said.any(|line| line.contains(words));
        (!heard).then(|| format!("nowhere is said: {words}"))
    }

    /// The patch; empty if none was sent.
    pub(super) fn patch(&self) -> Result<Patch, StoryError> {
        let Some(patch) = &self.patch else { return Ok(Patch::default()) };
        let bytes = STANDARD.decode(patch).map_err(|source| StoryError::NotBase64 { source })?;
        serde_json::from_slice(&bytes).map_err(|source| StoryError::Answer { source })
    }

    /// The Pod of the review after the patch.
    pub(super) fn became(&self, review: &Value) -> Result<Value, StoryError> {
        let mut pod = field(review, "/request/object").clone();
        json_patch::patch(&mut pod, &self.patch()?).map_err(|source| StoryError::Patch { source })?;
        Ok(pod)
    }

    /// What became of each image of the review's Pod.
    pub(super) fn images(&self, review: &Value) -> Result<Vec<ToldImage>, StoryError> {
        let before = field(review, "/request/object");
        let after = self.became(review)?;
        let mut said = self.said(before, &after);
        let was = images(before);
        let known = images(field(review, "/request/oldObject"));
        let ephemeral = field(review, "/request/subResource") == "ephemeralcontainers";
        let only_new = ephemeral || self.audit_annotations.contains_key("images");
        let is = images(&after);
        let told = was.into_iter().zip(is).filter(|(was, _)| !only_new || !known.contains(was));
        let told = told.map(|((slot, was), (_, is))| {
            let Said { reason, place, findings } = said.remove(&slot).unwrap_or_default();
            ToldImage { slot, was, is, reason, place, findings }
        });
        Ok(told.collect())
    }

    /// The reasons: from the audit annotations, which name only the first images of a Pod, and from the Pod's annotation, if
    /// this answer wrote it.
    fn said(&self, before: &Value, after: &Value) -> BTreeMap<String, Said> {
        let annotation =
            |object: &Value| field(object, "/metadata/annotations").get(IMAGES)?.as_str().map(str::to_owned);
        let written = annotation(after).filter(|written| annotation(before).as_ref() != Some(written));
        let written: Value = written.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let mut said = BTreeMap::<String, Said>::new();
        for (slot, entry) in written.as_object().into_iter().flatten() {
            let findings = field(entry, "/findings").as_array().into_iter().flatten();
            let findings = findings.filter_map(text).map(|finding| Found { finding, place: None }).collect();
            let (reason, place) = (text(field(entry, "/why")), text(field(entry, "/place")));
            said.insert(slot.clone(), Said { reason, place, findings });
        }
        for (slot, words) in self.audited("images") {
            let (reason, place) = at(words);
            let entry = said.entry(slot.into()).or_default();
            (entry.reason, entry.place) = (Some(reason), place);
        }
        for (slot, words) in self.audited("findings") {
            let found = words.split(", ").map(at).map(|(finding, place)| Found { finding, place });
            said.entry(slot.into()).or_default().findings = found.collect();
        }
        said
    }

    /// Splits one audit annotation: `containers/web: Local at ams; …`.
    fn audited(&self, key: &str) -> impl Iterator<Item = (&str, &str)> {
        let text = self.audit_annotations.get(key).map(String::as_str).unwrap_or_default();
        text.split("; ").filter_map(|part| part.split_once(": "))
    }
}

/// Splits `Missing at ams`.
fn at(words: &str) -> (String, Option<String>) {
    match words.split_once(" at ") {
        Some((word, place)) => (word.into(), Some(place.into())),
        None => (words.into(), None),
    }
}

/// The images of a Pod with their slots, in the order of the Pod.
fn images(pod: &Value) -> Vec<(String, String)> {
    let list = |(key, pointer): (&'static str, &'static str)| {
        let entries = field(pod, "/spec").get(key).and_then(Value::as_array).into_iter().flatten();
        entries.filter_map(move |entry| {
            let (name, image) = (field(entry, "/name").as_str()?, field(entry, pointer).as_str()?);
            Some((format!("{key}/{name}"), image.to_owned()))
        })
    };
    let fields = [
        ("initContainers", "/image"),
        ("containers", "/image"),
        ("ephemeralContainers", "/image"),
        ("volumes", "/image/reference"),
    ];
    fields.into_iter().flat_map(list).collect()
}

/// The value at a JSON pointer; null if there is none.
pub(super) fn field<'v>(value: &'v Value, pointer: &str) -> &'v Value {
    value.pointer(pointer).unwrap_or(&Value::Null)
}
