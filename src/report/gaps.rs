//! The ledger for people and scripts: which gaps there are, the worst first.

use std::fmt::Write;

use jiff::Timestamp;
use serde::Serialize;

use crate::cluster::{GapAction, GapState, ObjectRef};
use crate::domain::finding::FindingKind;
use crate::domain::gap::{Axis, GapKey, GapKind, GapSubject, Version};
use crate::domain::text::plain;
use crate::ledger::{Record, age, sentence};

/// The fewest characters of an image that are shown.
const LEAST: usize = 20;

/// The columns of the table, and how many of them there are.
const HEAD: [&str; COLUMNS] = ["FINDING", "IMAGE", "PLACE", "PODS", "DENIED", "FELL BACK", "SINCE"];
const COLUMNS: usize = 7;
const IMAGE: usize = 1;
/// What a narrow terminal does without, the first of them first.
const DISPENSABLE: [usize; 3] = [5, 4, 3];

/// Which gaps are shown.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// Closed ones, too.
    pub closed: bool,
    /// Only where this is lacking, or was.
    pub finding: Option<GapKind>,
    /// Only at this registry.
    pub registry: Option<String>,
    /// Only of images that Pods of this namespace use.
    pub namespace: Option<String>,
}

/// One gap. As JSON its keys are those of the object.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    /// Whether something is lacking.
    pub state: GapState,
    /// What is lacking of the copy, of its scan, and what will be.
    pub presence: Option<&'static str>,
    /// As above.
    pub scan: Option<&'static str>,
    /// As above.
    pub risk: Option<&'static str>,
    /// The image with its digest or tag, or `rule <name>`.
    pub subject: String,
    /// The tag by which Pods name it.
    pub tag: Option<String>,
    /// The registry.
    pub registry: String,
    /// How many Pods run with it.
    pub pods: Option<i32>,
    /// How often a Pod was denied.
    pub denied: i64,
    /// How often another site's copy was used.
    pub fell_back: i64,
    /// How often a copy was used in spite of it.
    pub used: i64,
    /// Since when what is lacking is lacking; of a closed one, when it was seen first.
    pub since: Timestamp,
    /// When it was seen last.
    pub last_seen: Timestamp,
    /// When it was closed.
    pub closed_at: Option<Timestamp>,
    /// How long after its push to the primary the image was pushed here.
    pub lag_seconds: Option<i64>,
    /// Namespaces whose Pods use it.
    pub namespaces: Vec<String>,
    /// The owners of these Pods.
    pub owners: Vec<ObjectRef>,
    /// The last attempt to heal it.
    pub action: Option<GapAction>,
    /// All of it as one sentence.
    pub message: String,
    /// Whether five attempts to heal it have failed.
    pub has_given_up: bool,
    /// The image as a person would call it, without its host.
    #[serde(skip)]
    pub called: String,
}

/// Returns the selected gaps, the worst first: copies that are lacking, by the Pods that run; then scans, then risks, then what is
/// closed.
#[must_use]
pub fn rows(entries: &[(GapKey, Record)], selection: &Selection, now: Timestamp) -> Vec<Row> {
    let mut chosen: Vec<&(GapKey, Record)> =
        entries.iter().filter(|(key, record)| selection.takes(key, record)).collect();
    chosen.sort_by_key(|(key, record)| (rank(record), std::cmp::Reverse(record.pods), since(record), key));
    chosen.into_iter().map(|(key, record)| row(key, record, now)).collect()
}

impl Selection {
    fn takes(&self, key: &GapKey, record: &Record) -> bool {
        let Self { closed, finding, registry, namespace } = self;
        let had = |kind: GapKind| {
            let axis = record.axis(kind.axis());
            axis.is_some_and(|axis| axis.finding == Some(kind) || (*closed && axis.was == Some(kind)))
        };
        (*closed || record.is_open())
            && finding.is_none_or(had)
            && registry.as_deref().is_none_or(|registry| registry == key.registry.as_str())
            && namespace.as_ref().is_none_or(|namespace| record.namespaces.contains(namespace))
    }
}

fn rank(record: &Record) -> u8 {
    let lost = |finding| matches!(finding, FindingKind::Missing | FindingKind::LayerMissing);
    match (record.lacking(Axis::Presence), record.lacking(Axis::Scan), record.lacking(Axis::Risk)) {
        (Some(GapKind::Finding(finding)), ..) if lost(finding) => 0,
        (Some(_), ..) => 1,
        (None, Some(_), _) => 2,
        (None, None, Some(_)) => 3,
        (None, None, None) => 4,
    }
}

fn since(record: &Record) -> Timestamp {
    let open = record.open().filter_map(|(axis, _)| Some(record.axis(axis)?.since));
    open.min().unwrap_or(record.first_seen)
}

fn row(key: &GapKey, record: &Record, now: Timestamp) -> Row {
    let lacking = |axis| record.lacking(axis).map(GapKind::as_str);
    Row {
        state: record.state,
        presence: lacking(Axis::Presence),
        scan: lacking(Axis::Scan),
        risk: lacking(Axis::Risk),
        subject: key.subject.to_string(),
        tag: record.tag.clone(),
        registry: key.registry.to_string(),
        pods: record.pods,
        denied: record.denied,
        fell_back: record.fell_back,
        used: record.used,
        since: since(record),
        last_seen: record.last_seen,
        closed_at: record.closed_at,
        lag_seconds: record.lag_seconds,
        namespaces: record.namespaces.clone(),
        owners: record.owners.clone(),
        action: record.action.clone(),
        message: sentence(key, record, Some(now)),
        has_given_up: record.has_given_up(),
        called: called(key, record),
    }
}

fn called(key: &GapKey, record: &Record) -> String {
    let text = match &key.subject {
        GapSubject::Rule(rule) => format!("rule {rule}"),
        GapSubject::Image { name, version } => {
            let repository = name.split_once('/').map_or(&**name, |(_, repository)| repository);
            match (version, &record.tag) {
                (Version::Tag(tag), _) => format!("{repository}:{}", tag.as_str()),
                (Version::Digest(_), Some(tag)) => format!("{repository}:{tag}"),
                (Version::Digest(digest), None) => {
                    let digest: String = digest.to_string().chars().take(19).collect();
                    format!("{repository}@{digest}")
                }
            }
        }
    };
    plain(&text).into_owned()
}

/// Returns the rows as a table. With a `width` it has no line that is longer, as far as that is possible: a narrow one has fewer
/// columns, and names of images lose their beginning.
#[must_use]
pub fn table(rows: &[Row], now: Timestamp, width: Option<usize>) -> String {
    let cells = |row: &Row| -> [String; COLUMNS] {
        let findings: Vec<&str> = [row.presence, row.scan, row.risk].into_iter().flatten().collect();
        let mut findings = if findings.is_empty() { row.state.to_string() } else { findings.join(", ") };
        if row.state == GapState::Healing {
            findings += " (healing)";
        } else if row.has_given_up {
            findings += " (given up)";
        }
        let pods = row.pods.map_or_else(|| "?".to_owned(), |pods| pods.to_string());
        let (denied, fell_back) = (row.denied.to_string(), row.fell_back.to_string());
        let since = row.closed_at.map_or(row.since, |end| end);
        let age = age(now.duration_since(since));
        [findings, row.called.clone(), plain(&row.registry).into_owned(), pods, denied, fell_back, age]
    };
    let mut lines: Vec<[String; COLUMNS]> =
        std::iter::once(HEAD.map(str::to_owned)).chain(rows.iter().map(cells)).collect();
    let mut widths: Vec<usize> = (0..COLUMNS).map(|column| longest(&lines, column)).collect();
    let mut shown: Vec<usize> = (0..COLUMNS).collect();
    if let Some(width) = width {
        // Beside the image, with two spaces before each column but the first.
        let others = |shown: &[usize]| -> usize {
            let others = shown.iter().filter(|column| **column != IMAGE);
            others.filter_map(|column| widths.get(*column)).map(|width| width + 2).sum()
        };
        let least = longest(&lines, IMAGE).min(LEAST);
        for column in DISPENSABLE {
            if others(&shown) + least > width {
                shown.retain(|one| *one != column);
            }
        }
        let room = width.saturating_sub(others(&shown)).max(least);
        for [_, image, ..] in &mut lines {
            *image = end_of(image, room);
        }
        if let Some(image) = widths.get_mut(IMAGE) {
            *image = longest(&lines, IMAGE);
        }
    }
    let mut text = String::new();
    for line in &lines {
        let cells = shown.iter().filter_map(|column| line.get(*column).zip(widths.get(*column)));
        let cells = cells.map(|(cell, width)| format!("{cell:<width$}"));
        let line = cells.collect::<Vec<_>>().join("  ");
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

fn longest(lines: &[[String; COLUMNS]], column: usize) -> usize {
    let of = |line: &[String; COLUMNS]| line.get(column).map_or(0, |cell| cell.chars().count());
    lines.iter().map(of).max().unwrap_or_default()
}

/// The end of a text: the end of an image's name says more than its beginning.
fn end_of(text: &str, most: usize) -> String {
    let long = text.chars().count();
    if long <= most {
        return text.to_owned();
    }
    std::iter::once('…').chain(text.chars().skip(long - most + 1)).collect()
}
