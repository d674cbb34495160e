//! What Harbor's JSON means of an artifact's scan overview and of a project's scanner.

use std::borrow::Cow;
use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::domain::digest::Digest;
use crate::domain::scan::{Report, ScanState, Severity};
use crate::registry::{Object, object};

use super::answer::Malformed;

/// The report format that Harbor ≥ 2.4 writes.
pub(super) const MIME_1_1: &str = "application/vnd.security.vulnerability.report; version=1.1";
/// The format before it.
pub(super) const MIME_1_0: &str = "application/vnd.scanner.adapter.vuln.report.harbor+json; version=1.0";

/// What an artifact's JSON tells of its scan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Overview {
    /// This state.
    State(ScanState),
    /// `Error` without a start or an end. Harbor takes the status from a task row and answers `Error` if the row was
    /// deleted, so the scan may have succeeded. A scan that really failed has a start and an end
    /// (goharbor/harbor#19166, #19660).
    Swept,
    /// There is no overview, and there will be none: it is no image, and the API names no way to its vulnerabilities. (An
    /// image without that is not told apart from one whose scanner was down a moment ago.)
    Unscannable,
    /// There is no overview: it was never scanned, or the scanner is down, changed, disabled or missing. Only the
    /// project's scanner tells.
    Missing,
}

/// A project's scanner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProjectScanner {
    /// It answers Harbor's ping.
    Healthy,
    /// It does not. Meanwhile overviews are missing.
    Unhealthy,
    /// None is registered, or it is disabled.
    Absent,
}

/// All fields are optional: Harbor leaves out empty ones, or writes null.
#[derive(Deserialize)]
struct Artifact<'a> {
    #[serde(borrow)]
    digest: Option<Cow<'a, str>>,
    /// `IMAGE`, `CHART`, `MODEL`, `UNKNOWN` …
    #[serde(borrow, rename = "type")]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow)]
    addition_links: Option<BTreeMap<Cow<'a, str>, IgnoredAny>>,
    #[serde(borrow)]
    scan_overview: Option<BTreeMap<Cow<'a, str>, Object<Summary<'a>>>>,
}

#[derive(Deserialize)]
struct Summary<'a> {
    #[serde(borrow)]
    scan_status: Option<Cow<'a, str>>,
    #[serde(borrow)]
    severity: Option<Cow<'a, str>>,
    complete_percent: Option<i64>,
    #[serde(borrow)]
    summary: Option<Object<Counts<'a>>>,
    #[serde(borrow)]
    start_time: Option<Cow<'a, str>>,
    #[serde(borrow)]
    end_time: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Counts<'a> {
    #[serde(borrow)]
    summary: Option<BTreeMap<Cow<'a, str>, Option<i64>>>,
}

#[derive(Deserialize)]
struct Registration<'a> {
    #[serde(borrow)]
    uuid: Option<Cow<'a, str>>,
    disabled: Option<bool>,
    #[serde(borrow)]
    health: Option<Cow<'a, str>>,
}

/// Reads the answer of the artifact API with `with_scan_overview=true`, asked by `digest`.
///
/// # Errors
/// [`Malformed`] if it is not the JSON of this artifact. An answer without a digest comes from a proxy, and must not be
/// taken for an artifact that was never scanned.
pub fn overview(body: &[u8], digest: &Digest) -> Result<Overview, Malformed> {
    let artifact: Artifact<'_> = object(body).map_err(|source| Malformed::json("artifact", source))?;
    let Some(found) = artifact.digest else {
        return Err(Malformed::Field { what: "artifact", field: "digest" });
    };
    if found != digest.to_string() {
        return Err(Malformed::OtherDigest { found: found.into() });
    }
    if let Some(Object(summary)) = artifact.scan_overview.and_then(prefer) {
        return Ok(summary.read());
    }
    let image = artifact.kind.is_none_or(|kind| matches!(&*kind, "" | "IMAGE" | "CNAB"));
    let links = artifact.addition_links.is_some_and(|links| links.contains_key("vulnerabilities"));
    Ok(if image || links { Overview::Missing } else { Overview::Unscannable })
}

/// Reads the answer of the project's scanner API.
///
/// # Errors
/// [`Malformed`] if it is not a JSON object.
pub fn scanner(body: &[u8]) -> Result<ProjectScanner, Malformed> {
    // Without a scanner Harbor answers an empty registration or an empty body.
    if body.trim_ascii().is_empty() {
        return Ok(ProjectScanner::Absent);
    }
    let found: Option<Object<Registration<'_>>> =
        serde_json::from_slice(body).map_err(|source| Malformed::json("scanner", source))?;
    let Some(Object(found)) = found else { return Ok(ProjectScanner::Absent) };
    let registered = found.uuid.is_some_and(|uuid| !uuid.is_empty());
    Ok(match (registered, found.disabled, found.health.as_deref()) {
        (false, ..) | (_, Some(true), _) => ProjectScanner::Absent,
        (true, _, Some("healthy")) => ProjectScanner::Healthy,
        (true, ..) => ProjectScanner::Unhealthy,
    })
}

/// The report to use: format 1.1, else 1.0, else any.
pub(super) fn prefer<T>(mut by_mime: BTreeMap<Cow<'_, str>, T>) -> Option<T> {
    by_mime.remove(MIME_1_1).or_else(|| by_mime.remove(MIME_1_0)).or_else(|| by_mime.into_values().next())
}

/// A severity as Harbor spells it. An unknown word counts as the worst.
pub(super) fn severity(word: &str) -> Severity {
    match word {
        "None" => Severity::None,
        "" | "Unknown" => Severity::Unknown,
        "Negligible" => Severity::Negligible,
        "Low" => Severity::Low,
        "Medium" => Severity::Medium,
        "High" => Severity::High,
        _ => Severity::Critical,
    }
}

/// A time as Harbor writes it. `None`: Go's zero time (`0001-01-01…`), or it cannot be parsed.
pub(super) fn time(text: &str) -> Option<Timestamp> {
    text.parse().ok().filter(|time| *time > Timestamp::UNIX_EPOCH)
}

impl Summary<'_> {
    fn read(&self) -> Overview {
        let at = |text: &Option<Cow<'_, str>>| text.as_deref().and_then(time);
        match self.scan_status.as_deref() {
            // For an index, `Success` means that at least one child's scan succeeded. Only 100 % counts.
            Some("Success") if self.complete_percent == Some(100) => {
                Overview::State(ScanState::Done(Report {
                    severity: self.worst(),
                    finished: at(&self.end_time),
                    vulnerabilities: None,
                }))
            }
            Some("Pending" | "Scheduled" | "Running") => Overview::State(ScanState::Pending),
            Some("Error") if at(&self.start_time).is_none() && at(&self.end_time).is_none() => {
                Overview::Swept
            }
            // Error, Stopped, a partial success, and states that Harbor does not document.
            _ => Overview::State(ScanState::Failed),
        }
    }

    /// The worst of the summary and the counts. Harbor sums up an image with only `Unknown` vulnerabilities as `None`.
    fn worst(&self) -> Severity {
        let counts =
            self.summary.as_ref().and_then(|Object(counts)| counts.summary.as_ref()).into_iter().flatten();
        let counted =
            counts.filter(|(_, count)| count.is_some_and(|count| count > 0)).map(|(word, _)| severity(word));
        let said = self.severity.as_deref().map(severity);
        counted.chain(said).max().unwrap_or(Severity::Unknown)
    }
}

#[cfg(test)]
mod tests;
