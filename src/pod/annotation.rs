//! The annotation `landfall.dev/images`: for each image of a Pod the original image, the present image, and why.
//!
//! ```json
//! {"containers/web":{"was":"fra.example.com/shop/web:1","is":"ams.example.com/shop/web:1@sha256:…","why":"Local","place":"ams"},
//!  "containers/log":{"was":"fluent-bit:3","is":"fluent-bit:3","why":"NotRouted"}}
//! ```
//!
//! It is compact JSON with one member for each slot, in the order of the slots. The API server refuses a Pod whose
//! annotations together have more than 256 KiB. So there are at most [`MOST_ENTRIES`] entries, and fewer where the Pod's
//! own annotations leave no room for so many entries of [`LARGEST_ENTRY`]. A last member counts what is left out:
//! `"omitted":3`. The bound counts entries and not their bytes, so that the same slots are left out when the webhook is
//! called again for the Pod.
//!
//! Anybody can write this annotation, so its content in a request proves nothing: see [`OldEntries::kept`].

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use super::change::{Change, Entry};
use super::json::{is_plain, push_escaped, text};
use super::slots::Slot;
use super::surface::{IMAGES, Pod};
use crate::domain::finding::FindingKind;
use crate::domain::name::RegistryName;

/// The most entries of the annotation.
pub const MOST_ENTRIES: usize = 64;
/// The most bytes of one entry with its key. Two references of the longest length in the specification fit. A larger text
/// cannot be an image, and is left out.
pub const LARGEST_ENTRY: usize = 2048;
/// The most bytes of all annotations of an object, keys and values together, that the API server accepts.
const ALL_ANNOTATIONS: usize = 256 * 1024;

/// An entry as written in the annotation.
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

/// Writes the value of the annotation as a JSON string. `weight` is the size of the Pod's other annotations. Writes
/// nothing and returns `false` where there are no entries, or no room.
///
/// The annotation is JSON inside a JSON string, so every quote is written as `\"`. It is written escaped at once, because
/// a second pass to escape it would cost time.
pub(super) fn write(changes: &[Change<'_>], weight: usize, to: &mut String) -> bool {
    let room = ALL_ANNOTATIONS.saturating_sub(weight + IMAGES.len() + r#"{"omitted":1000000}"#.len());
    let most = MOST_ENTRIES.min(room / LARGEST_ENTRY);
    let (mut omitted, began) = (0_usize, to.len());
    // There are only a few, so a linear search is faster than hashing.
    let mut written = Vec::with_capacity(most.min(changes.len()));
    for (slot, entry, is) in
        changes.iter().filter_map(|change| Some((&change.slot, change.entry.as_ref()?, change.outcome())))
    {
        let (before, key) = (to.len(), (slot.field, slot.name));
        to.push_str(if written.is_empty() { "\"{" } else { "," });
        // Two containers have the same name. The API server will refuse the Pod, but a JSON key must not appear twice.
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

/// Writes one member of the annotation. Returns `false` where it is too large; the caller then removes it.
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
    // Each quote is one byte in the annotation, but two bytes here. One more byte is for the comma that follows.
    to.len() - began - quotes < LARGEST_ENTRY
}

/// A member, not yet escaped, whose texts contain characters that JSON must escape.
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

/// An image as the annotation describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnnotatedImage<'a> {
    /// The image that the Pod had after Landfall changed it.
    pub is: Cow<'a, str>,
    /// The other data of the entry.
    pub entry: Entry<'a>,
}

/// Reads the value of the annotation, by slot (`containers/web`). Entries that Landfall would not write are left out. The
/// result proves nothing, because anybody can write the annotation.
///
/// ```
/// let text = r#"{"containers/web":{"was":"a/web:1","is":"b/web:1","why":"Local","place":"ams"},"omitted":3}"#;
/// let images = landfall::facade::pod::annotation::read(text);
/// assert_eq!(images["containers/web"].is, "b/web:1");
/// assert_eq!(images.len(), 1);
/// ```
#[must_use]
pub fn read(text: &str) -> BTreeMap<String, AnnotatedImage<'_>> {
    let Members(members) = serde_json::from_str(text).unwrap_or_default();
    members.into_iter().filter_map(|(slot, json)| Some((slot, annotated(json)?))).collect()
}

/// The members of the annotation as far as Landfall could have written them: not too many, and none too large.
#[derive(Debug, Default)]
struct Members<'a>(BTreeMap<String, &'a RawValue>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(MembersVisitor).map(Self)
    }
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = BTreeMap<String, &'de RawValue>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a map")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = BTreeMap::new();
        // One more is `omitted`.
        while members.len() <= MOST_ENTRIES {
            let Some((slot, json)) = map.next_entry::<String, &RawValue>()? else { return Ok(members) };
            if slot.len() + json.get().len() < LARGEST_ENTRY {
                members.insert(slot, json);
            }
        }
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(members)
    }
}

fn annotated<'a>(json: &'a RawValue) -> Option<AnnotatedImage<'a>> {
    let Line { was, is, why, findings, place }: Line<'a> = serde_json::from_str(json.get()).ok()?;
    let place = place.map(RegistryName::new);
    Some(AnnotatedImage { is, entry: Entry { was, why: why.parse().ok()?, findings, place } })
}

/// The annotation in the request: written by Landfall in an earlier call, copied from another Pod, or forged.
#[derive(Debug, Default)]
pub struct OldEntries<'a>(Members<'a>);

impl<'a> OldEntries<'a> {
    /// Reads the annotation of a Pod. What Landfall would not write is ignored. Each entry is parsed only when needed.
    #[must_use]
    pub fn of(pod: &'a Pod<'_>) -> Self {
        let text = pod.annotations().and_then(|annotations| annotations.images.as_deref());
        Self(text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default())
    }

    /// Returns the old entry of this slot, if it may be kept: its `is` equals the slot's image, and `maps` says that its
    /// `was` maps to this image. Any other entry must be replaced.
    ///
    /// Only this mapping is checked. `why`, `findings` and `place` may still be forged.
    #[must_use]
    pub fn kept(&self, slot: &Slot<'_>, maps: impl FnOnce(&Entry<'a>) -> bool) -> Option<Entry<'a>> {
        let Members(members) = &self.0;
        if members.is_empty() {
            return None;
        }
        let AnnotatedImage { is, entry } = annotated(members.get(slot.to_string().as_str())?)?;
        if is != slot.image {
            return None;
        }
        maps(&entry).then_some(entry)
    }
}

#[cfg(test)]
mod tests;
