//! Scans: what a Harbor knows about an artifact's vulnerabilities, and whether that satisfies a requirement.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::evidence::Unknown;

/// Harbor's severities, mildest first.
///
/// Harbor sums up an image that has only `Unknown` vulnerabilities as `None`; whoever builds a [`Report`]
/// looks at the per-severity counts too, so that `Unknown` is said where it is so.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema,
)]
pub enum Severity {
    /// No vulnerability.
    None,
    /// Of unknown severity.
    Unknown,
    /// Negligible.
    Negligible,
    /// Low.
    Low,
    /// Medium.
    Medium,
    /// High.
    High,
    /// Critical; also what a word that Harbor does not document counts as.
    Critical,
}

/// A finished scan of one artifact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The worst severity.
    pub severity: Severity,
    /// When the scan ended; `None` where the source does not say.
    pub finished: Option<Timestamp>,
    /// The vulnerabilities one by one, where [`Detail::Vulnerabilities`] was asked and could be read.
    pub vulnerabilities: Option<Arc<Vulnerabilities>>,
}

/// The vulnerabilities of a report, and those that the project's CVE allowlist forgives.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Vulnerabilities {
    /// Identifier (`CVE-…`) and severity, each identifier once with its worst severity.
    pub items: Vec<(Box<str>, Severity)>,
    /// What the project's allowlist (its own, or the system's where it reuses that) holds now; empty once expired.
    pub allowlist: Vec<Box<str>>,
}

/// How much a Scan question asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Detail {
    /// State and severity.
    Summary,
    /// The vulnerabilities and the project's allowlist too; asked only when the summary alone would be too severe.
    Vulnerabilities,
}

/// Does the project that holds the artifact have a scanner?
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scanner {
    /// Yes: a scanner is registered and not disabled, healthy or not.
    Present,
    /// No scanner is registered, or it is disabled.
    Absent,
    /// Our robot may not look.
    Hidden,
    /// We could not learn it.
    Unknown,
}

/// The state of the scan of one artifact at one Harbor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ScanState {
    /// `Success`, 100 %.
    Done(Report),
    /// No scan was ever made, or none under the project's present scanner; the artifact may be absent, too.
    NotScanned,
    /// Pending, scheduled or running.
    Pending,
    /// `Error`, `Stopped`, a partial success, or a word that Harbor does not document.
    Failed,
    /// The scanner does not answer Harbor, and no stored report could be read.
    ScannerDown,
    /// Our robot may not read the artifact.
    Hidden,
    /// We could not learn it.
    Unknown(Unknown),
}

/// The answer to a Scan question, however many requests it took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScanAnswer {
    /// Whether there is a scanner at all: decides whether `required: Auto` requires.
    pub scanner: Scanner,
    /// The state.
    pub state: ScanState,
    /// The last finished scan known where `state` is not [`ScanState::Done`]: remembered, or Harbor's stored report.
    /// It counts, good or bad, while the scanner is down; otherwise only a bad one counts.
    pub last: Option<Report>,
}

/// When a scan is required.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema,
)]
pub enum Required {
    /// Never.
    Never,
    /// Where any of the image's local Places is a Harbor with a scanner.
    Auto,
    /// Always; a plain registry cannot satisfy it.
    Always,
}

/// What a scan must show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requirement {
    /// Whether one is needed.
    pub required: Required,
    /// The worst severity that passes; `None`: any.
    pub max_severity: Option<Severity>,
    /// The oldest scan that passes; `None`: any.
    pub max_age: Option<Duration>,
    /// Vulnerabilities that do not count.
    pub ignore: Arc<[Box<str>]>,
    /// Whether the project's CVE allowlist counts.
    pub allowlist: Allowlist,
}

/// Whether the CVE allowlist of the Harbor project forgives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Allowlist {
    /// It does: what the project's admins forgave is forgiven.
    Honoured,
    /// It does not: the policy's own `ignore` is all.
    Disregarded,
}
