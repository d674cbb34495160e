//! The stored report of a scan (`…/additions/vulnerabilities`), which lists the vulnerabilities.
//!
//! Harbor serves it even while the scanner is down, when the overview is missing.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;

use jiff::Timestamp;
use serde::Deserialize;
use serde::de::{Deserializer, SeqAccess, Visitor};

use crate::domain::scan::Severity;
use crate::registry::Object;

use super::answer::Malformed;
use super::overview::{prefer, severity, time};

/// A stored report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// The worst severity: of the summary, or of any item.
    pub severity: Severity,
    /// When the scanner wrote it.
    pub generated: Option<Timestamp>,
    /// Each identifier once, with its worst severity, sorted by identifier.
    pub items: Vec<(Box<str>, Severity)>,
}

#[derive(Deserialize)]
struct Raw<'a> {
    #[serde(borrow)]
    generated_at: Option<Cow<'a, str>>,
    #[serde(borrow)]
    severity: Option<Cow<'a, str>>,
    #[serde(default)]
    vulnerabilities: Items,
}

#[derive(Deserialize)]
struct Item<'a> {
    #[serde(borrow)]
    id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    severity: Option<Cow<'a, str>>,
}

/// Reduced while it is read: most of a report of some megabytes is descriptions and links, which are not kept.
#[derive(Default)]
struct Items(BTreeMap<Box<str>, Severity>);

/// Reads a stored report. `None`: Harbor has none (`{}`: never scanned, or the last scan failed).
///
/// # Errors
/// [`Malformed`] if it is not such JSON.
pub fn stored(body: &[u8]) -> Result<Option<Stored>, Malformed> {
    let by_mime: BTreeMap<Cow<'_, str>, Option<Object<Raw<'_>>>> =
        serde_json::from_slice(body).map_err(|source| Malformed::json("stored report", source))?;
    let Some(Object(raw)) = prefer(by_mime).flatten() else { return Ok(None) };
    let items: Vec<_> = raw.vulnerabilities.0.into_iter().collect();
    let said = raw.severity.as_deref().map(severity);
    let worst = items.iter().map(|(_, severity)| *severity).chain(said).max().unwrap_or(Severity::Unknown);
    Ok(Some(Stored { severity: worst, generated: raw.generated_at.as_deref().and_then(time), items }))
}

impl<'de> Deserialize<'de> for Items {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Fold;
        impl<'de> Visitor<'de> for Fold {
            type Value = Items;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("a list of vulnerabilities")
            }

            // Go writes an empty list as null.
            fn visit_unit<E>(self) -> Result<Items, E> {
                Ok(Items::default())
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Items, A::Error> {
                let mut items = Items::default();
                while let Some(Object(Item { id, severity: word })) = seq.next_element()? {
                    let found = word.as_deref().map_or(Severity::Unknown, severity);
                    // One without an identifier counts under the empty one, which no allowlist can name.
                    match items.0.entry(id.unwrap_or_default().into()) {
                        Entry::Vacant(entry) => _ = entry.insert(found),
                        Entry::Occupied(mut entry) => *entry.get_mut() = found.max(*entry.get()),
                    }
                }
                Ok(items)
            }
        }
        from.deserialize_any(Fold)
    }
}

#[cfg(test)]
mod tests;
