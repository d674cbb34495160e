//! The annotation `landfall.dev/images`: what each image of a Pod was, is, and why.
//!
//! ```json
//! {"containers/web":{"was":"fra.example.com/shop/web:1","is":"ams.example.com/shop/web:1@sha256:…","why":"Local","place":"ams"},
//!  "containers/log":{"was":"fluent-bit:3","is":"fluent-bit:3","why":"NotRouted"}}
//! ```
//!
//! Compact JSON, one member per slot, in the order of the slots. All annotations of a Pod together may weigh
//! 256 KiB, else the API server refuses the Pod; so there are at most [`MOST_ENTRIES`], fewer where the
//! Pod's own annotations leave no room for that many of [`LARGEST_ENTRY`], and what is left out is counted in
//! a last member: `"omitted":3`. The bound counts entries and not their bytes, so that it falls on the same
//! slots when the Pod comes round again.
//!
//! Anybody can write this annotation. It proves nothing on the way in: see [`OldEntries::kept`].

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use super::change::{Change, Entry};
use super::json::{is_plain, push_escaped, text};
use super::slots::Slot;
use super::surface::{IMAGES, Pod};
use crate::domain::registry::RegistryName;
use crate::domain::verdict::FindingKind;

/// The most slots that are written down.
pub const MOST_ENTRIES: usize = 64;
/// The most bytes of one entry with its key. Two references as long as the specification allows fit; what is
/// larger is no image, and is left out.
pub const LARGEST_ENTRY: usize = 2048;
/// What the API server allows all annotations of an object together: bytes of keys and values.
const ALL_ANNOTATIONS: usize = 256 * 1024;

/// An entry as it stands in the annotation.
#[derive(Serialize, Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    was: Cow<'a, str>,
    #[serde(borrow)]
    is: Cow<'a, str>,
    #[serde(borrow)]
    why: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    findings: Cow<'a, [FindingKind]>,
    #[serde(default, borrow, deserialize_with = "text", skip_serializing_if = "Option::is_none")]
    place: Option<Cow<'a, str>>,
}

/// Writes the value of the annotation, beside others of this weight, as a text of JSON; nothing and `false` where there
/// is nothing to say, or no room.
///
/// The annotation is JSON in a text of JSON: every quote of it is written `\"`. So it is written at once, and
/// not looked through again.
pub(super) fn write(changes: &[Change<'_>], weight: usize, to: &mut String) -> bool {
    let room = ALL_ANNOTATIONS.saturating_sub(weight + IMAGES.len() + r#"{"omitted":1000000}"#.len());
    let most = MOST_ENTRIES.min(room / LARGEST_ENTRY);
    let (mut omitted, began) = (0_usize, to.len());
    // So few that looking through them costs less than hashing.
    let mut written = Vec::with_capacity(most.min(changes.len()));
    for (slot, entry, is) in
        changes.iter().filter_map(|change| Some((&change.slot, change.entry.as_ref()?, change.outcome())))
    {
        let (before, key) = (to.len(), (slot.field, slot.name));
        to.push_str(if written.is_empty() { "\"{" } else { "," });
        // Two containers of one name: the API server will refuse the Pod, but JSON must not say two things.
        let fits = written.len() < most && !written.contains(&key) && member(slot, entry, is, to);
        if fits {
            written.push(key);
        } else {
            to.truncate(before);
            omitted += 1;
        }
    }
    if written.is_empty() {
        to.truncate(began);
        return false;
    }
    if omitted > 0 {
        to.push_str(&format!(r#",\"omitted\":{omitted}"#));
    }
    to.push_str("}\"");
    true
}

/// Writes one member of the annotation; `false`: it is too large, and what was written of it does not count.
fn member(slot: &Slot<'_>, entry: &Entry<'_>, is: &str, to: &mut String) -> bool {
    let began = to.len();
    let place = entry.place.as_ref().map(RegistryName::as_str);
    if ![slot.name, &entry.was, is, place.unwrap_or_default()].into_iter().all(is_plain) {
        let Some(member) = odd_member(slot, entry, is) else { return false };
        push_escaped(to, &member);
        return member.len() < LARGEST_ENTRY;
    }
    let mut quotes = 14;
    to.extend([r#"\""#, slot.field.as_str(), "/", slot.name, r#"\":{\"was\":\""#, &entry.was]);
    to.extend([r#"\",\"is\":\""#, is, r#"\",\"why\":\""#, entry.why.as_str(), r#"\""#]);
    for (n, finding) in entry.findings.iter().enumerate() {
        to.push_str(if n == 0 { r#",\"findings\":["# } else { "," });
        to.extend([r#"\""#, finding.as_str(), r#"\""#]);
        quotes += if n == 0 { 4 } else { 2 };
    }
    if !entry.findings.is_empty() {
        to.push(']');
    }
    if let Some(place) = place {
        to.extend([r#",\"place\":\""#, place, r#"\""#]);
        quotes += 4;
    }
    to.push('}');
    // Each quote is one byte of the annotation, and two here. One byte is for the comma that follows.
    to.len() - began - quotes < LARGEST_ENTRY
}

/// A member with texts that JSON writes otherwise than they are, as it stands in the annotation.
fn odd_member(slot: &Slot<'_>, entry: &Entry<'_>, is: &str) -> Option<String> {
    let line = Line {
        was: Cow::Borrowed(&entry.was),
        is: Cow::Borrowed(is),
        why: Cow::Borrowed(entry.why.as_str()),
        findings: Cow::Borrowed(&entry.findings),
        place: entry.place.as_ref().map(|place| Cow::Borrowed(place.as_str())),
    };
    Some(format!("{}:{}", Value::from(slot.to_string()), serde_json::to_string(&line).ok()?))
}

/// An image as the annotation tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnnotatedImage<'a> {
    /// The image as it was when the annotation was written.
    pub is: Cow<'a, str>,
    /// What is written down of it.
    pub entry: Entry<'a>,
}

/// Reads the value of the annotation, by slot (`containers/web`). It proves nothing: anybody can write it. What is not
/// as Landfall writes it is left out.
///
/// ```
/// let text = r#"{"containers/web":{"was":"a/web:1","is":"b/web:1","why":"Local","place":"ams"},"omitted":3}"#;
/// let images = landfall::pod::annotation::read(text);
/// assert_eq!(images["containers/web"].is, "b/web:1");
/// assert_eq!(images.len(), 1);
/// ```
#[must_use]
pub fn read(text: &str) -> BTreeMap<String, AnnotatedImage<'_>> {
    let members: BTreeMap<String, &RawValue> = serde_json::from_str(text).unwrap_or_default();
    members.into_iter().filter_map(|(slot, json)| Some((slot, annotated(json)?))).collect()
}

fn annotated<'a>(json: &'a RawValue) -> Option<AnnotatedImage<'a>> {
    let Line { was, is, why, findings, place }: Line<'a> = serde_json::from_str(json.get()).ok()?;
    let place = place.map(RegistryName::new);
    Some(AnnotatedImage { is, entry: Entry { was, why: why.parse().ok()?, findings, place } })
}

/// The annotation as the Pod came with it: ours from an earlier round, somebody's copy, or a forgery.
#[derive(Debug, Default)]
pub struct OldEntries<'a>(HashMap<String, &'a RawValue>);

impl<'a> OldEntries<'a> {
    /// Reads it leniently: what is not as we write it is not there. Entries are read when they are asked for.
    #[must_use]
    pub fn of(pod: &'a Pod<'_>) -> Self {
        let text = pod.annotations().and_then(|annotations| annotations.images.as_deref());
        Self(text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default())
    }

    /// The old entry of this slot, if it may be kept: what it says the image is, it is, and `maps` says that
    /// what it *was* leads there. Anything else is to be replaced.
    ///
    /// Even then only that mapping is checked: `why`, `findings` and `place` are what somebody wrote.
    #[must_use]
    pub fn kept(&self, slot: &Slot<'_>, maps: impl FnOnce(&Entry<'a>) -> bool) -> Option<Entry<'a>> {
        if self.0.is_empty() {
            return None;
        }
        let AnnotatedImage { is, entry } = annotated(self.0.get(slot.to_string().as_str())?)?;
        if is != slot.image {
            return None;
        }
        maps(&entry).then_some(entry)
    }
}

#[cfg(test)]
mod tests;
