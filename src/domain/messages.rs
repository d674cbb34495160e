//! Messages for people about a decision. Every message is made from the data of the decision alone.

use std::fmt;

use super::decision::ImageDecision;
use super::digest::Digest;
use super::finding::{Finding, FindingKind};
use super::name::PolicyName;
use super::policy::{Policy, Regime};
use super::text::plain;

/// The most images that a denial names. A Pod may have hundreds, and a longer message is of no use.
const MOST_DENIED: usize = 20;

/// Returns why a Pod is denied: one line for each image, and one for each of the policies that deny it and say whom to ask.
///
/// Only as many `lines` are made as are shown.
#[must_use]
pub fn pod_denied(
    lines: impl ExactSizeIterator<Item = String>,
    by: &[PolicyName],
    regime: &Regime,
) -> String {
    let more = lines.len().saturating_sub(MOST_DENIED);
    let mut lines: Vec<String> = lines.take(MOST_DENIED).collect();
    if more > 0 {
        lines.push(format!("and {more} more images"));
    }
    let denying = regime.enforcing.iter().filter(|policy| by.contains(&policy.name));
    lines.extend(denying.filter_map(|policy| whom_to_ask(policy)));
    lines.join("\n")
}

fn whom_to_ask(policy: &Policy) -> Option<String> {
    let contact = plain(policy.contact.as_deref()?);
    Some(format!("whom to ask about policy {}: {contact}", policy.name))
}

/// Why an image without a digest stands where the validating door judges it, although a copy could have been pinned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unpinned {
    /// In a new Pod: the mutating door was skipped, or a later webhook replaced the image.
    New,
    /// In an update or a new debugging container, which are not rewritten, or not always.
    Added,
}

/// Returns why an image without a digest is denied by the validating door. `found`: the digest that could have been pinned.
#[must_use]
pub fn not_pinned(written: &str, found: Option<Digest>, how: Unpinned, regime: &Regime) -> String {
    let written = plain(written);
    let policies: Vec<&str> = regime.enforcing.iter().map(|policy| policy.name.as_str()).collect();
    let by = by(&policies);
    match (how, found) {
        (Unpinned::New, _) => format!(
            "{written}: without a digest, {by}: Landfall's mutating webhook was skipped, or another webhook replaced the image; try again"
        ),
        (Unpinned::Added, Some(digest)) => format!(
            "{written}: without a digest, {by}: it is not rewritten here; write {written}@{digest}, or replace the Pod"
        ),
        (Unpinned::Added, None) => format!(
            "{written}: without a digest, {by}: it is not rewritten here; write it with its digest, or replace the Pod"
        ),
    }
}

/// Returns the warning about what a policy that does not act would have denied. It has no words from outside.
#[must_use]
pub fn would_deny(policy: &PolicyName, images: usize, kinds: &[FindingKind]) -> String {
    let kinds: Vec<&str> = kinds.iter().map(|kind| kind.as_str()).collect();
    let images = if images == 1 { "1 image".to_owned() } else { format!("{images} images") };
    format!("landfall: policy {policy} would deny {images}: {}", kinds.join(", "))
}

/// Returns why an image is denied, for the developer: what was found and where, which policy forbids it, and what to do.
///
/// The text is the image as written, then for example `Missing at ams, policy regulated: replicate it to this site, or
/// wait until its replication is done`. Each kind of finding is named once for a Place, even if several children of an
/// index have it. What registries and the network say is left out, because it may name inner hosts.
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
pub fn too_many(images: usize, [different, all]: [usize; 2], finding: &Finding, regime: &Regime) -> String {
    let policies: Vec<&str> = finding.policies.iter().map(PolicyName::as_str).collect();
    let (kind, by, advice) = (finding.kind, by(&policies), advice(finding.kind));
    let line = format!(
        "{images} images: {kind} (at most {different} different images, and {all} in all, are judged), {by}: {advice}"
    );
    pod_denied([line].into_iter(), &finding.policies, regime)
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
        FindingKind::LayerMissing => {
            "have it copied again with `landfall copy`: replication skips a manifest that is there"
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

/// Returns what was seen, as far as users may read it: only where Landfall itself says it. A registry and the network may name
/// inner hosts in ways that nobody can tell from other words (`harbor-core`), so their words are for the log and the audit log
/// only. The kind of the finding and the advice say what a user needs to know.
fn seen(finding: &Finding) -> &str {
    match finding.kind {
        FindingKind::Refused
        | FindingKind::Unreachable
        | FindingKind::Unauthorized
        | FindingKind::RateLimited
        | FindingKind::Deadline
        | FindingKind::Unproved => "",
        // Digests, severities and ages, and what the user wrote.
        FindingKind::Missing
        | FindingKind::ChildMissing
        | FindingKind::LayerMissing
        | FindingKind::ProxyCache
        | FindingKind::PullFailed
        | FindingKind::Stale
        | FindingKind::TooMany
        | FindingKind::Unscanned
        | FindingKind::ScanPending
        | FindingKind::ScanFailed
        | FindingKind::ScannerDown
        | FindingKind::ScanExpired
        | FindingKind::Unscannable
        | FindingKind::Vulnerable
        | FindingKind::NotRouted
        | FindingKind::Unparsable => &finding.detail,
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
        match seen(finding) {
            "" => Ok(()),
            detail => write!(out, " ({})", plain(detail)),
        }
    }
}
