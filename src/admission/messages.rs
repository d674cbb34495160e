//! What the doors say, to the person at `kubectl`, to the audit log.
//!
//! Every sentence is made from the closed words of the verdict; nothing is looked up and nothing is guessed.

use std::borrow::Cow;
use std::fmt::{self, Write};

use super::judged::{ImageDecision, registry};
use crate::domain::case::Case;
use crate::domain::registry::RegistryName;
use crate::domain::verdict::{Action, Finding, FindingKind, Reason, Verdict};
use crate::pod::Slot;

/// The most images that are named in one text: a Pod may have hundreds, and nobody reads on.
const MOST: usize = 20;

/// Why a Pod is denied: a line for each image, with the finding, who forbids it, and what to do.
pub(super) fn denial<'j>(denied: impl Iterator<Item = &'j ImageDecision> + Clone) -> String {
    let mut lines: Vec<Cow<'_, str>> =
        denied.clone().take(MOST).filter_map(|judged| judged.denial.as_deref().map(Cow::Borrowed)).collect();
    let more = denied.skip(MOST).count();
    if more > 0 {
        lines.push(format!("and {more} more images").into());
    }
    lines.join("\n")
}

/// Why an image is denied.
pub(super) fn line(case: &Case, verdict: &Verdict) -> String {
    let blocking = blocking(case, verdict);
    let findings: Vec<String> = blocking.iter().map(|finding| Told(case, finding).to_string()).collect();
    let by = match verdict.denied_by.as_slice() {
        [] => "the defaults".to_owned(),
        [policy] => format!("policy {policy}"),
        policies => {
            let names: Vec<&str> = policies.iter().map(|policy| policy.as_str()).collect();
            format!("policies {}", names.join(", "))
        }
    };
    let advice = blocking.first().map(|finding| advice(finding.kind)).unwrap_or_default();
    format!("{}: {}, {by}: {advice}", case.written, findings.join(" and "))
}

/// The findings that deny, each kind once at each Place: several children of an index may lack the same.
fn blocking<'v>(case: &Case, verdict: &'v Verdict) -> Vec<&'v Finding> {
    let views = case.regime.views(&case.name, case.now);
    let blocks = |finding: &&Finding| views.iter().any(|view| view.on(finding.kind) == Some(Action::Block));
    let all = &verdict.findings;
    let mut named: Vec<&Finding> = Vec::new();
    // A scan that could not be learned is denied as unscanned: then no finding blocks in its own name.
    let own = all.iter().any(|finding| blocks(&finding));
    for finding in all.iter().filter(|finding| !own || blocks(finding)) {
        if !named.iter().any(|known| (known.kind, known.place) == (finding.kind, finding.place)) {
            named.push(finding);
        }
    }
    named
}

/// What helps against a finding that denies.
fn advice(finding: FindingKind) -> &'static str {
    match finding {
        FindingKind::Missing | FindingKind::ChildMissing => {
            "replicate it to this site, or wait until its replication is done"
        }
        FindingKind::ProxyCache => "replicate it to this site; what a proxy cache holds may be gone tomorrow",
        FindingKind::Refused => "see in its project why the registry refuses to hand it out",
        FindingKind::PullFailed => "see the events of the Pods that could not pull it",
        FindingKind::Stale => "wait until the tag is replicated, or name the image by its digest",
        FindingKind::Unreachable | FindingKind::RateLimited | FindingKind::Deadline => {
            "try again when the registry answers"
        }
        FindingKind::Unauthorized => {
            "ask the administrators of Landfall to mend its credentials for that registry"
        }
        FindingKind::Unproved => "name the image by its digest, or try again when its primary answers",
        FindingKind::Unscanned | FindingKind::ScanExpired => "have it scanned there",
        FindingKind::ScanPending => "try again when its scan is done",
        FindingKind::ScanFailed => "see in the registry why its scan failed, and have it scanned again",
        FindingKind::ScannerDown => "try again when the scanner is back",
        FindingKind::Vulnerable => "use an image without the vulnerability, or ask for an exception",
        FindingKind::NotRouted => "use an image that is replicated to this site, or ask for a route",
        FindingKind::Unparsable => "write it as host/project/repository:tag",
    }
}

/// A finding with its Place and what was seen: `Vulnerable at ams (Critical, at most Medium is allowed)`.
struct Told<'a>(&'a Case, &'a Finding);

impl fmt::Display for Told<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(case, finding) = self;
        out.write_str(finding.kind.as_str())?;
        at(finding.place.and_then(|ix| registry(case, ix)), out)?;
        match &*finding.detail {
            "" => Ok(()),
            detail => write!(out, " ({detail})"),
        }
    }
}

fn at(place: Option<&RegistryName>, out: &mut impl Write) -> fmt::Result {
    let Some(place) = place else { return Ok(()) };
    out.write_str(" at ")?;
    out.write_str(place.as_str())
}

/// For the audit log: `containers/web: Local at ams; containers/log: NotRouted`. What is left as it is all the same is
/// `Observed`.
pub(super) fn images<'j>(
    judged: impl Iterator<Item = (&'j Slot<'j>, &'j ImageDecision)>,
    left: impl Fn(&ImageDecision) -> bool,
) -> String {
    list(judged, |judged, out| {
        if left(judged) {
            out.extend([": ", Reason::Observed.as_str()]);
            return Ok(());
        }
        out.extend([": ", judged.outcome.reason.as_str()]);
        at(judged.place.as_ref(), out)
    })
}

/// For the audit log: `containers/web: Missing at ams, Unscanned at edge`; empty where nothing was found.
pub(super) fn findings<'j>(judged: impl Iterator<Item = (&'j Slot<'j>, &'j ImageDecision)>) -> String {
    list(judged.filter(|(_, judged)| !judged.findings.is_empty()), |judged, out| {
        for (n, finding) in judged.findings.iter().enumerate() {
            out.extend([if n == 0 { ": " } else { ", " }, finding.kind.as_str()]);
            at(finding.place.as_ref(), out)?;
        }
        Ok(())
    })
}

fn list<'j>(
    mut judged: impl Iterator<Item = (&'j Slot<'j>, &'j ImageDecision)>,
    say: impl Fn(&ImageDecision, &mut String) -> fmt::Result,
) -> String {
    let mut text = String::new();
    let mut write = |slot: &Slot<'_>, judged: &ImageDecision| {
        text.extend([if text.is_empty() { "" } else { "; " }, slot.field.as_str(), "/", slot.name]);
        say(judged, &mut text)
    };
    // Writing to a text cannot fail.
    let written = judged.by_ref().take(MOST).try_for_each(|(slot, judged)| write(slot, judged));
    let more = judged.count();
    if written.is_ok() && more > 0 {
        text.push_str(&format!("; {more} more"));
    }
    text
}
