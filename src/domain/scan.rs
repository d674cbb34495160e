//! Scans: what a Harbor knows about an artifact's vulnerabilities, and whether this satisfies a requirement.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::finding::FindingKind;
use super::unknown::{Cause, Silence, Unknown};

/// Harbor's severities, mildest first.
// Harbor sums up an image that has only `Unknown` vulnerabilities as `None`. So the code that builds a `Report` must also
// look at the counts per severity, and report `Unknown` in this case.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    schemars::JsonSchema,
    strum::Display,
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
    /// The highest severity of all vulnerabilities.
    pub severity: Severity,
    /// When the scan ended; `None` where the source does not say.
    pub finished: Option<Timestamp>,
    /// The list of vulnerabilities, where [`Detail::Vulnerabilities`] was asked and could be read.
    pub vulnerabilities: Option<Arc<Vulnerabilities>>,
}

/// The vulnerabilities of a report, and those that the project's CVE allowlist permits.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Vulnerabilities {
    /// Identifier (`CVE-…`) and severity. Each identifier appears once, with its highest severity.
    pub items: Vec<(Box<str>, Severity)>,
    /// The identifiers that the project's allowlist permits now; empty after it expired. The list is the project's own,
    /// or the system's where the project reuses that.
    pub allowlist: Vec<Box<str>>,
}

/// How much a Scan question asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Detail {
    /// State and severity.
    Summary,
    /// Also the vulnerabilities and the project's allowlist, from the stored report. Asked only when the summary alone is
    /// too severe, or a scan is under way and no finished one is remembered.
    Vulnerabilities,
}

/// Whether the project that holds the artifact has a scanner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scanner {
    /// A scanner is registered and not disabled. It may be unhealthy.
    Present,
    /// No scanner is registered, or it is disabled.
    Absent,
    /// Our robot has no permission to see the scanner.
    Hidden,
    /// The answer could not be learned.
    Unknown,
}

/// The state of the scan of one artifact at one Harbor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ScanState {
    /// The scan is finished: `Success`, 100 %.
    Done(Report),
    /// The artifact was never scanned, or not by the project's present scanner.
    NotScanned,
    /// No scanner there can scan an artifact of this kind.
    Unscannable,
    /// The API does not list the artifact, or its project does not exist. A proxy cache serves such artifacts too.
    Absent,
    /// The scan is pending, scheduled or running, and it is not known that one has finished before it.
    Pending,
    /// The same, after a scan that has finished. [`ScanAnswer::last`] holds that one, which counts until the next is finished.
    Rescan,
    /// `Error`, `Stopped`, a partial success, or a word that Harbor does not document.
    Failed,
    /// The scanner does not answer Harbor. [`ScanAnswer::last`] holds what is known.
    ScannerDown,
    /// Our robot has no permission to read the artifact.
    Hidden,
    /// The state could not be learned.
    Unknown(Unknown),
}

/// The answer to a Scan question, for any number of requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScanAnswer {
    /// Whether there is a scanner at all. It decides whether `required: Auto` requires a scan.
    pub scanner: Scanner,
    /// The state of the artifact's scan.
    pub state: ScanState,
    /// The last finished scan where `state` is not [`ScanState::Done`], from memory or from Harbor's stored report. While
    /// the scanner is down, and while a rescan is under way, it counts, good or bad; otherwise only a bad one counts.
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
    /// When a scan is needed.
    pub required: Required,
    /// The highest severity that passes; `None` lets any pass.
    pub max_severity: Option<Severity>,
    /// The greatest age of a scan that passes; `None` lets any pass.
    pub max_age: Option<Duration>,
    /// Identifiers of vulnerabilities that do not count.
    pub ignore: Arc<[Box<str>]>,
    /// Whether the project's CVE allowlist counts.
    pub allowlist: Allowlist,
}

/// Whether the CVE allowlist of the Harbor project counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Allowlist {
    /// Vulnerabilities on the project's allowlist do not count.
    Honoured,
    /// Only the policy's own `ignore` list counts.
    Disregarded,
}

/// What a scan answer means under a requirement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ScanResult {
    /// How the scan falls short; empty where it satisfies the requirement. A scan can be too old and too severe at once.
    /// Then both are named, because each has its own action.
    Shortfalls(Vec<Shortfall>),
    /// The summary alone is too severe, but ignored or allowed vulnerabilities may change that; or a scan is under way, and
    /// the report of one before it may be stored. Ask for [`Detail::Vulnerabilities`].
    TooCoarse,
}

/// One way in which a scan falls short of a requirement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shortfall {
    /// Unscanned, ScanPending, ScanFailed, ScannerDown, ScanExpired, Unscannable, Vulnerable, or why the scan is unknown.
    pub kind: FindingKind,
    /// Details for people.
    pub detail: Arc<str>,
}

impl Shortfall {
    fn new(kind: FindingKind, detail: impl Into<Arc<str>>) -> Self {
        Self { kind, detail: detail.into() }
    }
}

impl Requirement {
    /// Returns the milder of two requirements, key by key.
    #[must_use]
    pub fn milder(&self, other: &Self) -> Self {
        let either = |a: Allowlist, b: Allowlist| match (a, b) {
            (Allowlist::Disregarded, Allowlist::Disregarded) => Allowlist::Disregarded,
            _ => Allowlist::Honoured,
        };
        Self {
            required: self.required.min(other.required),
            max_severity: self.max_severity.zip(other.max_severity).map(|(a, b)| a.max(b)),
            max_age: self.max_age.zip(other.max_age).map(|(a, b)| a.max(b)),
            ignore: self.ignore.iter().chain(&*other.ignore).cloned().collect(),
            allowlist: either(self.allowlist, other.allowlist),
        }
    }

    /// Judges a scan answer. `detail` is the answer to the same question with [`Detail::Vulnerabilities`], where it
    /// was asked.
    ///
    /// ```
    /// use landfall::facade::domain::scan::{Allowlist, Report, Required, Requirement, ScanAnswer, ScanResult};
    /// use landfall::facade::domain::scan::{ScanState, Scanner, Severity};
    ///
    /// let requirement = Requirement {
    ///     required: Required::Always,
    ///     max_severity: Some(Severity::Medium),
    ///     max_age: None,
    ///     ignore: [].into(),
    ///     allowlist: Allowlist::Disregarded,
    /// };
    /// let report = Report { severity: Severity::Critical, finished: None, vulnerabilities: None };
    /// let answer = ScanAnswer { scanner: Scanner::Present, state: ScanState::Done(report), last: None };
    /// let ScanResult::Shortfalls(shortfalls) = requirement.judge(&answer, None, jiff::Timestamp::now()) else { panic!() };
    /// assert_eq!(&*shortfalls[0].detail, "Critical, at most Medium is allowed");
    /// ```
    #[must_use]
    pub fn judge(&self, answer: &ScanAnswer, detail: Option<&ScanAnswer>, now: Timestamp) -> ScanResult {
        let unknown = |unknown: &Unknown| Shortfall::new(unknown.cause.finding(), unknown.detail.clone());
        let (counts, otherwise) = match &answer.state {
            ScanState::Done(done) => (Some(done), None),
            // While no newer scan can be made or learned, the last known report counts, good or bad …
            ScanState::ScannerDown | ScanState::Rescan if answer.last.is_some() => {
                (answer.last.as_ref(), None)
            }
            ScanState::Unknown(unknown)
                if unknown.cause.silence() == Silence::Slow && answer.last.is_some() =>
            {
                (answer.last.as_ref(), None)
            }
            // … otherwise only a bad report counts. It stays bad until a newer success.
            ScanState::ScannerDown => {
                let words = "the scanner does not answer, and no report is known";
                (None, Some(Shortfall::new(FindingKind::ScannerDown, words)))
            }
            ScanState::NotScanned => {
                (None, Some(Shortfall::new(FindingKind::Unscanned, "never scanned here")))
            }
            ScanState::Unscannable => {
                (None, Some(Shortfall::new(FindingKind::Unscannable, "no scanner there can scan its kind")))
            }
            ScanState::Absent => {
                (None, Some(Shortfall::new(FindingKind::Unscanned, "the registry's API does not list it")))
            }
            ScanState::Pending if detail.is_none() => return ScanResult::TooCoarse,
            ScanState::Pending | ScanState::Rescan => {
                match detail.map(|detail| (&detail.state, &detail.last)) {
                    Some((ScanState::Done(stored), _)) | Some((ScanState::Rescan, Some(stored))) => {
                        (Some(stored), None)
                    }
                    // The report may be stored, and be a bad one.
                    Some((ScanState::Unknown(cause), _)) => (None, Some(unknown(cause))),
                    _ => (None, Some(Shortfall::new(FindingKind::ScanPending, "its scan has not finished"))),
                }
            }
            ScanState::Failed => (None, Some(Shortfall::new(FindingKind::ScanFailed, "its scan failed"))),
            ScanState::Hidden => {
                (None, Some(Shortfall::new(Cause::Forbidden.finding(), "our robot may not read the scan")))
            }
            ScanState::Unknown(cause) => (None, Some(unknown(cause))),
        };
        let Some(report) = counts.or(answer.last.as_ref()) else {
            return ScanResult::Shortfalls(otherwise.into_iter().collect());
        };
        let Some(severity) = self.severity(report, detail) else { return ScanResult::TooCoarse };
        let expired = self.expired(report, now).filter(|_| counts.is_some());
        ScanResult::Shortfalls(otherwise.into_iter().chain(severity).chain(expired).collect())
    }

    /// Whether the report is too severe. `None` where this needs the list of vulnerabilities.
    fn severity(&self, report: &Report, detail: Option<&ScanAnswer>) -> Option<Option<Shortfall>> {
        let Some(max) = self.max_severity.filter(|max| report.severity > *max) else { return Some(None) };
        let may_ignore = !self.ignore.is_empty() || self.allowlist == Allowlist::Honoured;
        let severity = match detail {
            None if may_ignore && report.vulnerabilities.is_none() => return None,
            None => self.severity_left(report),
            // A list of an older scan than the summary does not show what was found since, so it does not count.
            Some(ScanAnswer { state: ScanState::Done(detailed), .. })
            | Some(ScanAnswer { last: Some(detailed), .. })
                if detailed.finished >= report.finished =>
            {
                self.severity_left(detailed)
            }
            Some(_) => report.severity,
        };
        let words = || format!("{severity:?}, at most {max:?} is allowed");
        Some((severity > max).then(|| Shortfall::new(FindingKind::Vulnerable, words())))
    }

    fn expired(&self, report: &Report, now: Timestamp) -> Option<Shortfall> {
        let max_age = self.max_age?;
        let Some(finished) = report.finished else {
            return Some(Shortfall::new(FindingKind::ScanExpired, "its scan has no date"));
        };
        // A scan from the future means that the clocks differ; it is not an old scan.
        let age = Duration::try_from(now.duration_since(finished)).unwrap_or_default();
        let hours = |duration: Duration| duration.as_secs() / 3600;
        let words = || format!("scanned {} h ago, at most {} h are allowed", hours(age), hours(max_age));
        (age > max_age).then(|| Shortfall::new(FindingKind::ScanExpired, words()))
    }

    /// The highest severity among the vulnerabilities that are neither ignored nor allowed; the report's own severity
    /// where the list could not be read.
    fn severity_left(&self, report: &Report) -> Severity {
        let Some(vulnerabilities) = &report.vulnerabilities else { return report.severity };
        let allowlist = match self.allowlist {
            Allowlist::Honoured => vulnerabilities.allowlist.as_slice(),
            Allowlist::Disregarded => &[],
        };
        let ignored = |id: &str| self.ignore.iter().chain(allowlist).any(|one| **one == *id);
        let left = vulnerabilities.items.iter().filter(|(id, _)| !ignored(id)).map(|(_, severity)| *severity);
        left.max().unwrap_or(Severity::None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "2026-11-21T12:00:00Z";

    fn report(severity: Severity, finished: &str) -> Report {
        Report { severity, finished: Some(finished.parse().unwrap()), vulnerabilities: None }
    }

    fn detailed(items: &[(&str, Severity)], allowlist: &[&str]) -> ScanAnswer {
        let items: Vec<_> = items.iter().map(|(id, severity)| (Box::from(*id), *severity)).collect();
        let severity = items.iter().map(|(_, severity)| *severity).max().unwrap();
        let allowlist = allowlist.iter().map(|id| Box::from(*id)).collect();
        let vulnerabilities = Some(Arc::new(Vulnerabilities { items, allowlist }));
        answer(ScanState::Done(Report { vulnerabilities, ..report(severity, NOW) }), None)
    }

    fn answer(state: ScanState, last: Option<Report>) -> ScanAnswer {
        ScanAnswer { scanner: Scanner::Present, state, last }
    }

    fn requirement(ignore: &[&str], allowlist: Allowlist) -> Requirement {
        Requirement {
            required: Required::Always,
            max_severity: Some(Severity::Medium),
            max_age: Some(Duration::from_secs(7 * 24 * 3600)),
            ignore: ignore.iter().map(|id| Box::from(*id)).collect(),
            allowlist,
        }
    }

    /// The findings; `None`: the vulnerabilities must be asked for.
    fn kinds(judged: &ScanResult) -> Option<Vec<FindingKind>> {
        match judged {
            ScanResult::Shortfalls(shortfalls) => Some(shortfalls.iter().map(|one| one.kind).collect()),
            ScanResult::TooCoarse => None,
        }
    }

    #[test]
    fn the_last_known_report_counts_good_or_bad_while_the_scanner_is_down_and_only_bad_otherwise() {
        use FindingKind::*;
        let good = Some(report(Severity::Low, "2026-11-20T00:00:00Z"));
        let bad = Some(report(Severity::Critical, "2026-01-01T00:00:00Z"));
        let slow = || ScanState::Unknown(Unknown::new(Cause::Deadline, "slow"));
        let down = || ScanState::Unknown(Unknown::new(Cause::Connect, "refused"));
        for (state, last, expected) in [
            (ScanState::ScannerDown, None, vec![ScannerDown]),
            (ScanState::ScannerDown, good.clone(), vec![]),
            (ScanState::ScannerDown, bad.clone(), vec![Vulnerable, ScanExpired]),
            (ScanState::NotScanned, good.clone(), vec![Unscanned]),
            (ScanState::NotScanned, bad.clone(), vec![Unscanned, Vulnerable]),
            (ScanState::Pending, good.clone(), vec![ScanPending]),
            (ScanState::Pending, bad.clone(), vec![ScanPending, Vulnerable]),
            (ScanState::Rescan, good.clone(), vec![]),
            (ScanState::Rescan, bad.clone(), vec![Vulnerable, ScanExpired]),
            (ScanState::Failed, bad.clone(), vec![ScanFailed, Vulnerable]),
            (ScanState::Hidden, None, vec![Unauthorized]),
            (slow(), good.clone(), vec![]),
            (slow(), None, vec![Deadline]),
            (down(), good, vec![Unreachable]),
            (down(), bad, vec![Unreachable, Vulnerable]),
        ] {
            let answer = answer(state, last);
            let requirement = requirement(&[], Allowlist::Disregarded);
            let judged = requirement.judge(&answer, Some(&answer), NOW.parse().unwrap());
            assert_eq!(kinds(&judged), Some(expected), "{answer:?}");
        }
    }

    #[test]
    fn while_a_scan_is_under_way_the_stored_report_is_asked_for_and_counts() {
        use FindingKind::*;
        let pending = answer(ScanState::Pending, None);
        let good = report(Severity::Low, "2026-11-20T00:00:00Z");
        let bad = report(Severity::Critical, "2026-11-20T00:00:00Z");
        let judge = |detail: Option<&ScanAnswer>| {
            kinds(&requirement(&[], Allowlist::Disregarded).judge(&pending, detail, NOW.parse().unwrap()))
        };
        assert_eq!(judge(None), None);
        let unlearned = ScanState::Unknown(Unknown::new(Cause::Deadline, "slow"));
        for (state, last, expected) in [
            (ScanState::Pending, None, vec![ScanPending]),
            (ScanState::Rescan, Some(good.clone()), vec![]),
            (ScanState::Rescan, Some(bad.clone()), vec![Vulnerable]),
            (ScanState::Done(good), None, vec![]),
            (ScanState::Done(bad), None, vec![Vulnerable]),
            (unlearned, None, vec![Deadline]),
        ] {
            let detail = answer(state, last);
            assert_eq!(judge(Some(&detail)), Some(expected), "{detail:?}");
        }
    }

    #[test]
    fn age_and_severity() {
        use FindingKind::*;
        for (severity, finished, expected) in [
            (Severity::Medium, "2026-11-14T12:00:00Z", vec![]),
            (Severity::Medium, "2026-11-14T11:59:59Z", vec![ScanExpired]),
            (Severity::High, "2026-11-21T11:00:00Z", vec![Vulnerable]),
            (Severity::High, "2020-01-01T00:00:00Z", vec![Vulnerable, ScanExpired]),
            (Severity::None, "2026-11-22T00:00:00Z", vec![]),
        ] {
            let answer = answer(ScanState::Done(report(severity, finished)), None);
            let judged = requirement(&[], Allowlist::Disregarded).judge(&answer, None, NOW.parse().unwrap());
            assert_eq!(kinds(&judged), Some(expected), "{answer:?}");
        }
    }

    #[test]
    fn vulnerabilities_are_asked_for_only_where_ignored_ones_can_matter() {
        let summary = answer(ScanState::Done(report(Severity::Critical, NOW)), None);
        let items = [("CVE-1", Severity::Critical), ("CVE-2", Severity::Low)];
        let judge = |ignore: &[&str], allowlist, detail: Option<&ScanAnswer>| {
            kinds(&requirement(ignore, allowlist).judge(&summary, detail, NOW.parse().unwrap()))
        };
        let (plain, vulnerable) = (Allowlist::Disregarded, Some(vec![FindingKind::Vulnerable]));

        assert_eq!(judge(&[], plain, None), vulnerable, "nothing is ignored, so nothing more is asked");
        assert_eq!(judge(&["CVE-1"], plain, None), None);
        assert_eq!(judge(&["CVE-1"], plain, Some(&detailed(&items, &[]))), Some(vec![]));
        assert_eq!(judge(&[], Allowlist::Honoured, Some(&detailed(&items, &["CVE-1"]))), Some(vec![]));
        assert_eq!(judge(&["CVE-9"], plain, Some(&detailed(&items, &["CVE-1"]))), vulnerable);
        assert_eq!(judge(&["CVE-1"], plain, Some(&summary)), vulnerable, "the list could not be read");
        let mut older = detailed(&items, &[]);
        if let ScanState::Done(report) = &mut older.state {
            report.finished = Some("2026-11-20T00:00:00Z".parse().unwrap());
        }
        assert_eq!(judge(&["CVE-1"], plain, Some(&older)), vulnerable, "the list is of an older scan");
    }
}
