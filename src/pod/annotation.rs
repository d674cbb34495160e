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
use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use super::json::text;
use super::patch::Change;
use super::slots::Slot;
use super::surface::{IMAGES, Pod};
use crate::domain::registry::RegistryName;
use crate::domain::verdict::{FindingKind, Reason};

/// The most slots that are written down.
pub const MOST_ENTRIES: usize = 64;
/// The most bytes of one entry with its key. Two references as long as the specification allows fit; what is
/// larger is no image, and is left out.
pub const LARGEST_ENTRY: usize = 2048;
/// What the API server allows all annotations of an object together: bytes of keys and values.
const ALL_ANNOTATIONS: usize = 256 * 1024;

/// What is written down of one slot. What the image *is* comes from the change it belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The image as the user wrote it.
    pub was: Box<str>,
    /// What was decided, in one word.
    pub why: Reason,
    /// What stood in the way of a local copy.
    pub findings: Vec<FindingKind>,
    /// The registry that serves it.
    pub place: Option<RegistryName>,
}

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

/// The value of the annotation, beside others of this weight; `None` where there is nothing to say, or no room.
pub(super) fn write(changes: &[Change<'_>], weight: usize) -> Option<String> {
    let room = ALL_ANNOTATIONS.saturating_sub(weight + IMAGES.len() + r#"{"omitted":1000000}"#.len());
    let most = MOST_ENTRIES.min(room / LARGEST_ENTRY);
    let (mut written, mut omitted) = (Vec::new(), 0_usize);
    let mut keys = Vec::new();
    for (slot, entry, is) in
        changes.iter().filter_map(|change| Some((&change.slot, change.entry.as_ref()?, change.outcome())))
    {
        let key = slot.to_string();
        // Two containers of one name: the API server will refuse the Pod, but JSON must not say two things.
        let member = (written.len() < most && !keys.contains(&key)).then(|| member(&key, entry, is));
        match member.flatten() {
            Some(member) => {
                written.push(member);
                keys.push(key);
            }
            None => omitted += 1,
        }
    }
    if written.is_empty() {
        return None;
    }
    if omitted > 0 {
        written.push(format!(r#""omitted":{omitted}"#));
    }
    Some(format!("{{{}}}", written.join(",")))
}

/// One member of the annotation, unless it is too large.
fn member(key: &str, entry: &Entry, is: &str) -> Option<String> {
    let line = Line {
        was: Cow::Borrowed(&entry.was),
        is: Cow::Borrowed(is),
        why: Cow::Borrowed(entry.why.as_str()),
        findings: Cow::Borrowed(&entry.findings),
        place: entry.place.as_ref().map(|place| Cow::Borrowed(place.as_str())),
    };
    let member = format!("{}:{}", Value::from(key), serde_json::to_string(&line).ok()?);
    // One byte for the comma that follows.
    (member.len() < LARGEST_ENTRY).then_some(member)
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
    pub fn kept(&self, slot: &Slot<'_>, maps: impl FnOnce(&Entry) -> bool) -> Option<Entry> {
        let line: Line<'_> = serde_json::from_str(self.0.get(slot.to_string().as_str())?.get()).ok()?;
        if line.is != slot.image {
            return None;
        }
        let entry = Entry {
            was: line.was.into(),
            why: reason(&line.why)?,
            findings: line.findings.into_owned(),
            place: line.place.map(RegistryName::new),
        };
        maps(&entry).then_some(entry)
    }
}

/// The reason of this word.
fn reason(word: &str) -> Option<Reason> {
    let own = [
        Reason::Local,
        Reason::AlreadyLocal,
        Reason::Accepted,
        Reason::Presumed,
        Reason::Fallback,
        Reason::Denied,
        Reason::Observed,
        Reason::Excluded,
        Reason::Exempt,
        Reason::PullNever,
        Reason::MirrorPod,
        Reason::Internal,
    ];
    own.into_iter()
        .chain(FindingKind::ALL.into_iter().map(Reason::Finding))
        .find(|reason| reason.as_str() == word)
}

#[cfg(test)]
mod tests;
