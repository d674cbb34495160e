//! `helm/landfall/REASONS.md`: the words that people meet in annotations, denials, events and metrics.

use std::fmt::Write as _;

use landfall::facade::domain::finding::{FindingKind, PolicyKey};
use landfall::facade::domain::messages::advice;
use landfall::facade::domain::verdict::Reason;
use serde_json::Value;
use strum::VariantArray as _;

/// When a reason is given that is no finding, and what to do then.
fn own(reason: Reason) -> (&'static str, &'static str) {
    match reason {
        Reason::Local => ("the local copy is there, and proved and scanned as the rules require", ""),
        Reason::AlreadyLocal => ("the same, and the Pod names the local copy already", ""),
        Reason::Accepted => (
            "a local copy is used in spite of a finding, because the rules accept that",
            "look at its findings",
        ),
        Reason::Presumed => (
            "a local copy is used that could not be checked, because every other registry is known to be down",
            "check it when the registries are back",
        ),
        Reason::Fallback => {
            ("another site's copy is used", "look at its findings: they say what the local copy lacks")
        }
        Reason::Denied => ("a rule blocks one of its findings", "do what the message of the denial says"),
        Reason::Observed => (
            "judged and recorded, but not changed: `rewrite: false`, or a container that cannot be changed",
            "",
        ),
        Reason::Excluded => (
            "left alone: `exclude.images` or `exclude.namespaces` names it, the namespace is the cluster's or Landfall's own, the Pod \
             is being deleted, or the review is about something else than new images of a Pod",
            "",
        ),
        Reason::Exempt => ("the Pod has the annotation `landfall.dev/mode: Skip`", ""),
        Reason::PullNever => ("`imagePullPolicy: Never`: the node does not ask a registry", ""),
        Reason::Placeholder => {
            ("the image is `auto`: an injector (Istio's) puts the real one in its place", "")
        }
        Reason::MirrorPod => ("the kubelet's copy of a static Pod", ""),
        Reason::Internal => (
            "Landfall failed; the Pod was admitted as it is",
            "look for the same `uid` in the log, and report it",
        ),
        Reason::Finding(_) => ("the finding of this name is the reason", "see below"),
    }
}

pub fn key(kind: FindingKind) -> &'static str {
    match kind.key() {
        PolicyKey::OnMissing => "onMissing",
        PolicyKey::OnStale => "onStale",
        PolicyKey::OnUnknown => "onUnknown",
        PolicyKey::OnUnproved => "onUnproved",
        PolicyKey::OnUnscanned => "onUnscanned",
        PolicyKey::OnUnscannable => "onUnscannable",
        PolicyKey::OnVulnerable => "onVulnerable",
        PolicyKey::OnUnrouted => "onUnrouted",
    }
}

/// What the code says of a finding: its doc comment, which its schema carries.
fn meaning(kind: FindingKind) -> String {
    let schema = schemars::schema_for!(FindingKind).to_value();
    let described = |one: &&Value| one["const"] == kind.as_str();
    let one = schema["oneOf"].as_array().unwrap().iter().find(described).unwrap();
    one["description"].as_str().unwrap().trim_end_matches('.').replace('\n', " ")
}

pub fn reference() -> String {
    let mut text = HEAD.to_owned();
    for reason in Reason::all().filter(|reason| !matches!(reason, Reason::Finding(_))) {
        let (when, help) = own(reason);
        writeln!(text, "| `{reason}` | {when} | {help} |").unwrap();
    }
    text += FINDINGS;
    for kind in FindingKind::VARIANTS {
        let (meaning, key, advice) = (meaning(*kind), key(*kind), advice(*kind));
        writeln!(text, "| `{kind}` | {meaning} | `{key}` | {advice} |").unwrap();
    }
    text
}

const HEAD: &str = "# Reasons and findings

Made from the code by `LANDFALL_GENERATE=1 cargo test --test generated`. The same words stand in the Pod's annotation `landfall.dev/images`, in denials, audit
annotations, events and the labels of [metrics](METRICS.md).

## Reasons
What became of an image, one for each. A finding can be the reason, too, where no route or no usable reference decided.

| reason | when | what to do |
|---|---|---|
";

const FINDINGS: &str = "
## Findings
Why a place was not simply used. An image can have several. The policy key says what is done about it: `Accept`, `Fallback` or `Block`.

| finding | when | policy key | what to do |
|---|---|---|---|
";
