//! The state of a scan, and the `scan_overview` that Harbor shows for it (as recorded from Harbor 2.15.2).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::content::sha256;
use crate::domain::digest::Digest;
use crate::domain::scan::Severity;

/// The key of the reports of current scanners.
pub(super) const REPORT_V11: &str = "application/vnd.security.vulnerability.report; version=1.1";
/// The key of older reports; nothing here makes them.
pub(super) const REPORT_V10: &str = "application/vnd.scanner.adapter.vuln.report.harbor+json; version=1.0";

const NO_TIME: &str = "0001-01-01T00:00:00.000Z";

/// The state of one digest's scan in Harbor's database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scan {
    /// Never scanned: the overview is absent.
    NotScanned,
    /// Waiting for a worker; the old report is already removed.
    Pending,
    /// Waiting for a worker in a run of "scan all". The overview is `Pending` without a summary, the report of the last scan can
    /// still be read.
    Rescan(Report),
    /// Scheduled for later.
    Scheduled,
    /// Running since then.
    Running(Timestamp),
    /// Done.
    Success(Report),
    /// Failed at that time.
    Error(Timestamp),
    /// Stopped at that time.
    Stopped(Timestamp),
}

/// A finished scan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// When it ended.
    pub end_time: Timestamp,
    /// What it found.
    pub vulnerabilities: Vec<Cve>,
}

/// One vulnerability found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cve {
    /// `CVE-…`
    pub id: String,
    /// Its severity.
    pub severity: Severity,
    /// The version that fixes it; `None`: no fix.
    pub fix_version: Option<String>,
}

impl Scan {
    /// A success just now that found nothing.
    #[must_use]
    pub fn clean() -> Self {
        Self::found(&[])
    }

    /// A success just now that found these, without fixes.
    #[must_use]
    pub fn found(vulnerabilities: &[(&str, Severity)]) -> Self {
        Self::found_at(Timestamp::now(), vulnerabilities)
    }

    /// A success at that time that found these, without fixes.
    #[must_use]
    pub fn found_at(end_time: Timestamp, vulnerabilities: &[(&str, Severity)]) -> Self {
        let vulnerabilities = vulnerabilities
            .iter()
            .map(|(id, severity)| Cve { id: (*id).into(), severity: *severity, fix_version: None })
            .collect();
        Self::Success(Report { end_time, vulnerabilities })
    }

    /// Harbor's word for the state.
    pub(super) fn status(&self) -> Option<&'static str> {
        match self {
            Self::NotScanned => None,
            Self::Pending | Self::Rescan(_) => Some("Pending"),
            Self::Scheduled => Some("Scheduled"),
            Self::Running(_) => Some("Running"),
            Self::Success(_) => Some("Success"),
            Self::Error(_) => Some("Error"),
            Self::Stopped(_) => Some("Stopped"),
        }
    }

    /// The report of a finished scan, which the overview sums up.
    pub(super) fn report(&self) -> Option<&Report> {
        match self {
            Self::Success(report) => Some(report),
            Self::NotScanned
            | Self::Pending
            | Self::Rescan(_)
            | Self::Scheduled
            | Self::Running(_)
            | Self::Error(_)
            | Self::Stopped(_) => None,
        }
    }

    /// The report that can be read, also while a newer scan is under way.
    fn stored(&self) -> Option<&Report> {
        match self {
            Self::Rescan(report) => Some(report),
            other => other.report(),
        }
    }

    /// Start and end. A scan here takes two seconds.
    fn times(&self) -> (Option<Timestamp>, Option<Timestamp>) {
        let before = |end: Timestamp| end.checked_sub(jiff::SignedDuration::from_secs(2)).ok();
        match self {
            Self::NotScanned | Self::Pending | Self::Rescan(_) | Self::Scheduled => (None, None),
            Self::Running(start) => (Some(*start), None),
            Self::Success(Report { end_time: end, .. }) | Self::Error(end) | Self::Stopped(end) => {
                (before(*end), Some(*end))
            }
        }
    }
}

/// The state of an artifact that consists of these images: its own for an image, merged for an index.
///
/// One image without any scan hides the overview of the whole index (Harbor's `GetReport`).
pub(super) fn merged_status(parts: &[(Digest, &Scan)]) -> Option<&'static str> {
    let statuses: Option<Vec<&'static str>> = parts.iter().map(|(_, scan)| scan.status()).collect();
    let statuses = statuses.filter(|statuses| !statuses.is_empty())?;
    // src/pkg/scan/vuln/util.go MergeScanStatus: Running wins, then Stopped, then any Success.
    ["Running", "Stopped", "Success"]
        .into_iter()
        .find(|wins| statuses.contains(wins))
        .or_else(|| statuses.first().copied())
}

/// `scan_overview`, or `None` if Harbor leaves the key out.
pub(super) fn overview(parts: &[(Digest, &Scan)]) -> Option<Value> {
    let status = merged_status(parts)?;
    let start = parts.iter().filter_map(|(_, scan)| scan.times().0).min();
    let end = parts.iter().filter_map(|(_, scan)| scan.times().1).max();
    let reports: Vec<&Report> = parts.iter().filter_map(|(_, scan)| scan.report()).collect();

    let ids: Vec<String> = parts.iter().map(|(digest, _)| report_id(digest)).collect();
    let id = if let [one] = ids.as_slice() { one.clone() } else { STANDARD.encode(ids.join("|")) };
    let mut fields = Map::new();
    fields.insert("report_id".into(), id.into());
    fields.insert("scan_status".into(), status.into());
    fields.insert("start_time".into(), time(start).into());
    fields.insert("end_time".into(), time(end).into());
    if let (Some(start), Some(end)) = (start, end) {
        fields.insert("duration".into(), end.duration_since(start).as_secs().into());
    }
    if !reports.is_empty() {
        fields.insert("scanner".into(), scanner());
        fields.insert("complete_percent".into(), (reports.len() * 100 / parts.len()).into());
    }
    // While it is Running, a merged state shows its progress, but not yet any vulnerabilities.
    if status == "Success" {
        // A vulnerability that several children have is counted once (recorded).
        let mut found: Vec<&Cve> = reports.iter().flat_map(|report| &report.vulnerabilities).collect();
        if parts.len() > 1 {
            found.sort_by_key(|cve| (&cve.id, cve.severity));
            found.dedup_by_key(|cve| (&cve.id, cve.severity));
        }
        fields.insert("severity".into(), json!(overall(&found)));
        fields.insert("summary".into(), summary(&found));
    }
    Some(json!({ REPORT_V11: fields }))
}

/// The body of `additions/vulnerabilities`: `{}` if no report is stored.
pub(super) fn addition(parts: &[(Digest, &Scan)]) -> Value {
    let reports: Vec<(&Digest, &Report)> =
        parts.iter().filter_map(|(digest, scan)| Some((digest, scan.stored()?))).collect();
    let Some(generated) = reports.iter().map(|(_, report)| report.end_time).max() else { return json!({}) };
    let found: Vec<&Cve> = reports.iter().flat_map(|(_, report)| &report.vulnerabilities).collect();
    let items: Vec<Value> = reports
        .iter()
        .flat_map(|(digest, report)| report.vulnerabilities.iter().map(|cve| item(digest, cve)))
        .collect();
    json!({ REPORT_V11: {
        "generated_at": generated.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        "scanner": scanner(),
        "severity": overall(&found),
        "vulnerabilities": items,
    }})
}

fn item(digest: &Digest, cve: &Cve) -> Value {
    json!({
        "id": cve.id, "package": "demo", "version": "1.0", "fix_version": cve.fix_version.clone().unwrap_or_default(),
        "severity": cve.severity, "status": "", "description": "invented",
        "links": [format!("https://example.invalid/{}", cve.id)], "artifact_digests": [digest],
        "preferred_cvss": {"score_v3": 5, "score_v2": null, "vector_v3": "", "vector_v2": ""},
        "cwe_ids": null, "vendor_attributes": null,
    })
}

pub(super) fn scanner() -> Value {
    json!({"name": "DemoScan", "vendor": "Landfall", "version": "1.0.0"})
}

/// Harbor's overall severity: the highest one. If all are `Unknown`, it is `None`.
fn overall(found: &[&Cve]) -> Severity {
    let worst = found.iter().map(|cve| cve.severity).max().unwrap_or(Severity::None);
    if worst == Severity::Unknown { Severity::None } else { worst }
}

fn summary(found: &[&Cve]) -> Value {
    let mut counts = std::collections::BTreeMap::<String, u64>::new();
    for cve in found {
        // A Negligible vulnerability is counted as `None` (recorded).
        let word = if cve.severity == Severity::Negligible { Severity::None } else { cve.severity };
        *counts.entry(format!("{word:?}")).or_default() += 1;
    }
    let fixable = found.iter().filter(|cve| cve.fix_version.is_some()).count();
    json!({"total": found.len(), "fixable": fixable, "summary": counts})
}

/// A name in the form of a UUID for the report of a digest.
fn report_id(digest: &Digest) -> String {
    let name = sha256(format!("report of {digest}").as_bytes()).to_string();
    let hex = name.split(':').nth(1).unwrap_or_default();
    let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default().to_owned();
    [part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32)].join("-")
}

fn time(at: Option<Timestamp>) -> String {
    at.map_or_else(|| NO_TIME.into(), stamp)
}

/// A time as Harbor's API prints it: UTC with milliseconds.
pub(super) fn stamp(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}
