//! Messages for people about a decision. Every message is made from the data of the decision alone.

use std::fmt;

use super::decision::ImageDecision;
use super::finding::{Finding, FindingKind};
use super::name::PolicyName;
use super::text::plain;

/// Returns why an image is denied, for the developer: what was found and where, which policy forbids it, and what to do.
///
/// The text is the image as written, then for example `Missing at ams, policy regulated: replicate it to this site, or
/// wait until its replication is done`. Each kind of finding is named once for a Place, even if several children of an
/// index have it. A detail that may name an internal host is left out.
#[must_use]
pub fn denial(written: &str, decision: &ImageDecision) -> String {
    let mut blocking: Vec<&Finding> = Vec::new();
    for finding in decision.blocking() {
        if !blocking.iter().any(|known| (known.kind, known.place) == (finding.kind, finding.place)) {
            blocking.push(finding);
        }
    }
    let findings: Vec<String> =
        blocking.iter().map(|finding| FindingAt(decision, finding).to_string()).collect();
    let mut policies: Vec<&str> = Vec::new();
    let mut advices: Vec<&str> = Vec::new();
    for finding in blocking {
        let names = finding.policies.iter().map(PolicyName::as_str);
        policies.extend(names.filter(|name| !policies.contains(name)).collect::<Vec<_>>());
        if !advices.contains(&advice(finding.kind)) {
            advices.push(advice(finding.kind));
        }
    }
    let by = by(&policies);
    format!("{}: {}, {by}: {}", plain(written), findings.join(" and "), advices.join("; "))
}

/// Returns why a Pod with more images than are judged is denied. At most so many different images, and so many in all, are
/// judged.
#[must_use]
pub fn too_many(images: usize, [different, all]: [usize; 2], finding: &Finding) -> String {
    let policies: Vec<&str> = finding.policies.iter().map(PolicyName::as_str).collect();
    let (kind, by, advice) = (finding.kind, by(&policies), advice(finding.kind));
    format!(
        "{images} images: {kind} (at most {different} different images, and {all} in all, are judged), {by}: {advice}"
    )
}

/// Who blocks it.
fn by(policies: &[&str]) -> String {
    match policies {
        [] => "the defaults".to_owned(),
        [policy] => format!("policy {policy}"),
        policies => format!("policies {}", policies.join(", ")),
    }
}

/// Returns what a developer can do about a finding.
#[must_use]
pub fn advice(finding: FindingKind) -> &'static str {
    match finding {
        FindingKind::Missing | FindingKind::ChildMissing => {
            "replicate it to this site, or wait until its replication is done"
        }
        FindingKind::ProxyCache => {
            "replicate it to this site; a proxy cache may have dropped it by the time it is needed"
        }
        FindingKind::Refused => "see in its project why the registry refuses to serve it",
        FindingKind::PullFailed => "see the events of the Pods that could not pull it",
        FindingKind::Stale => "wait until the tag is replicated, or name the image by its digest",
        FindingKind::Unreachable | FindingKind::RateLimited | FindingKind::Deadline => {
            "try again when the registry answers"
        }
        FindingKind::Unauthorized => {
            "ask the administrators of Landfall to correct its credentials for that registry"
        }
        FindingKind::TooMany => "use fewer images in one Pod",
        FindingKind::Unproved => "name the image by its digest, or try again when its primary answers",
        FindingKind::Unscanned | FindingKind::ScanExpired => "have it scanned there",
        FindingKind::ScanPending => "try again when its scan is done",
        FindingKind::ScanFailed => "see in the registry why its scan failed, and have it scanned again",
        FindingKind::Unscannable => {
            "use an image that can be scanned, or ask for an exception: no scanner there can scan this kind"
        }
        FindingKind::ScannerDown => "try again when the scanner is back",
        FindingKind::Vulnerable => "use an image without the vulnerability, or ask for an exception",
        FindingKind::NotRouted => "use an image that is replicated to this site, or ask for a route",
        FindingKind::Unparsable => "write it as host/project/repository:tag",
    }
}

/// Whether the detail of a finding may name an internal host. Such a detail is for the log and the audit log only.
fn may_name_host(finding: &Finding) -> bool {
    match finding.kind {
        // Nearly all of these name the host that was asked.
        FindingKind::Unreachable
        | FindingKind::RateLimited
        | FindingKind::Deadline
        | FindingKind::Unproved => true,
        // The registry's own words. They say what to do, so they are left out only where they seem to name a host:
        // `core:8080`, `10.0.0.7`, `a.example`, `http://core`, `[::1]`.
        FindingKind::Refused | FindingKind::Unauthorized => finding.detail.split_whitespace().any(|word| {
            let word = word.trim_matches(|c: char| !c.is_alphanumeric());
            word.contains(['.', ':'])
        }),
        _ => false,
    }
}

/// A finding with its registry and what was seen: `Vulnerable at ams (Critical, at most Medium is allowed)`.
struct FindingAt<'a>(&'a ImageDecision, &'a Finding);

impl fmt::Display for FindingAt<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(decision, finding) = self;
        out.write_str(finding.kind.as_str())?;
        if let Some(registry) = decision.registry_of(finding) {
            write!(out, " at {registry}")?;
        }
        match &*finding.detail {
            "" => Ok(()),
            _ if may_name_host(finding) => Ok(()),
            detail => write!(out, " ({})", plain(detail)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::finding::{About, Action};

    #[test]
    fn a_detail_that_may_name_a_host_is_not_for_users() {
        let hidden = |kind, detail: &str| {
            may_name_host(&Finding {
                kind,
                about: About::Copy,
                place: None,
                digest: None,
                detail: detail.into(),
                action: Action::Block,
                policies: Vec::new(),
            })
        };
        for says in
            ["at 10.0.0.7", "see http://core", "(core:8080)", "[fe80::1]", "ask a.example.", "core.svc:80,"]
        {
            assert!(hidden(FindingKind::Refused, says), "{says}");
        }
        for says in
            ["", "cannot be pulled due to configured policy in 'Prevent it.' To continue, ask: it is so."]
        {
            assert!(!hidden(FindingKind::Refused, says), "{says}");
        }
        assert!(hidden(FindingKind::Unreachable, "cannot connect to core"));
        assert!(!hidden(FindingKind::Stale, "the tag is sha256:0 here"));
    }
}
