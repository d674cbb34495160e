//! How long a verdict stays valid as time passes: `now` is the only part of a Case that changes by itself.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::domain::case::Case;
use crate::domain::evidence::{Evidence, Observation};
use crate::domain::scan::{Report, ScanAnswer, ScanState};

const HOUR: Duration = Duration::from_secs(3600);

/// Returns the first moment after `case.now` at which the same evidence may give another verdict: an exception ends, a
/// scan becomes too old, or the text about its age changes. `None` where time alone changes nothing.
///
/// Until then [`decide`](super::decide) gives exactly the same verdict for this Case at any `now`.
#[must_use]
pub fn expires_at(case: &Case, evidence: &Evidence) -> Option<Timestamp> {
    let ends = case.regime.exceptions().map(|exception| exception.until);
    let views = case.regime.views(&case.name, case.now);
    let oldest: Vec<Duration> = views.iter().filter_map(|view| view.rules.scan.max_age).collect();
    let reports = evidence.iter().filter_map(|(_, observation, _)| match observation {
        Observation::Scan(answer) => Some(reports(answer)),
        _ => None,
    });
    let finished = reports.flatten().filter_map(|report| report.finished);
    let scans =
        finished.flat_map(|finished| oldest.iter().filter_map(move |max| edge(finished, *max, case.now)));
    ends.chain(scans).filter(|edge| *edge > case.now).min()
}

fn reports(answer: &ScanAnswer) -> impl Iterator<Item = &Report> {
    let done = match &answer.state {
        ScanState::Done(report) => Some(report),
        _ => None,
    };
    done.into_iter().chain(&answer.last)
}

/// The next moment at which the age of a scan changes the verdict: just after it passes `max` (at exactly `max` it still
/// counts). If it is too old already, its next full hour, because the finding gives the age in hours. `None` where that
/// moment is later than any date that a `Timestamp` can hold.
fn edge(finished: Timestamp, max: Duration, now: Timestamp) -> Option<Timestamp> {
    let age = Duration::try_from(now.duration_since(finished)).unwrap_or_default();
    let next = if age <= max {
        max.saturating_add(Duration::from_nanos(1))
    } else {
        Duration::from_secs((age.as_secs() / HOUR.as_secs() + 1) * HOUR.as_secs())
    };
    finished.checked_add(SignedDuration::try_from(next).ok()?).ok()
}
