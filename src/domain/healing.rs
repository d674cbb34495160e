//! Healing: which remedy a gap has, which replication rule would bring an image, and what came of an attempt.

use serde::{Deserialize, Serialize};

use super::finding::FindingKind;
use super::gap::{Axis, GapKind};
use super::image::Repository;
use super::mapping::{Flatten, Mapping};
use super::name::RegistryName;
use super::registry::Registry;
use super::replication::{Copies, Execution, Push, Rule, Standing, Status};

/// After so many failed attempts a person is asked, and none is made for a day.
pub const MOST_FAILURES: i32 = 5;

/// What can be done about a gap.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    Serialize,
    Deserialize,
    schemars::JsonSchema,
    strum::Display,
    strum::IntoStaticStr,
)]
pub enum Remedy {
    /// A scan is started at the local Harbor.
    Scan,
    /// A replication rule is executed.
    Replicate,
}

/// What came of an attempt to heal. A gap is closed by what is found at the registry, never by one of these.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    Serialize,
    Deserialize,
    schemars::JsonSchema,
    strum::Display,
    strum::EnumString,
    strum::IntoStaticStr,
    strum::VariantNames,
)]
pub enum HealOutcome {
    /// The registry has what was lacking.
    Healed,
    /// Nothing is expected there any more.
    NotNeeded,
    /// The registry has no healing credentials, so nothing was written.
    NoCredentials,
    /// The registry rejected the healing credentials (401).
    Unauthorized,
    /// The robot lacks a right (403).
    Forbidden,
    /// The registry did not answer, or with an error of its own.
    RegistryDown,
    /// The artifact, or the rule, is not there any more (404).
    NotFound,
    /// The project has no scanner, or it is disabled (412).
    NoScanner,
    /// The scanner is down or cannot scan this (400).
    ScannerRefused,
    /// The scan failed again.
    ScanFailed,
    /// The scan ended, or was lost, and there is no result.
    ScanWithoutResult,
    /// What was started has not ended in its time.
    StillRunning,
    /// No rule brings the image there, or none can: a copy would.
    NeedsCopy,
    /// The rule that covers the image is disabled (412).
    RuleDisabled,
    /// A repository that the rule covers has fewer levels than the rule flattens: then Harbor copies nothing at all.
    RuleTooShallow,
    /// The project at the destination is full.
    QuotaExceeded,
    /// The tag at the destination is immutable.
    TagImmutable,
    /// The rule does not override: the tag at the destination stays as it is, and Harbor says that it succeeded.
    OverrideOff,
    /// The destination did not answer the Harbor that keeps the rule.
    DestinationDown,
    /// The destination refused the credentials that the Harbor that keeps the rule has for it.
    DestinationRefused,
    /// The execution failed for another reason.
    ExecutionFailed,
    /// Somebody stopped it.
    Stopped,
    /// The execution succeeded, and the image is not there.
    WithoutArtifact,
    /// There is no sign that it was ever started: the replica that began it may have been stopped.
    Interrupted,
}

impl HealOutcome {
    /// Returns what came of it, and what a person should do.
    #[must_use]
    pub fn sentence(self) -> &'static str {
        match self {
            Self::Healed => "it is there now as it should be",
            Self::NotNeeded => "it is not expected there any more",
            Self::NoCredentials => {
                "nothing was written, because the registry has no `healing.credentials`: give it a robot for that"
            }
            Self::Unauthorized => {
                "the registry rejected the healing credentials: renew the robot, or put its name and secret right"
            }
            Self::Forbidden => "the healing robot lacks a right: give it to the robot",
            Self::RegistryDown => "the registry gave no answer that counts; it is tried again",
            Self::NotFound => "the registry does not know it any more; it is looked at again",
            Self::NoScanner => {
                "the project has no scanner, or it is disabled: register or enable one in Harbor"
            }
            Self::ScannerRefused => {
                "Harbor's scanner is down, or cannot scan this kind of artifact: look at the scanner in Harbor"
            }
            Self::ScanFailed => "the scan failed again: read its log in Harbor",
            Self::ScanWithoutResult => {
                "the scan left no result: look at the scanner and at Harbor's job service"
            }
            Self::StillRunning => "it has not ended in its time: look at Harbor's job service",
            Self::NeedsCopy => "Harbor cannot repair it: copy it",
            Self::RuleDisabled => {
                "the replication rule that covers it is disabled: enable it, or copy the image"
            }
            Self::RuleTooShallow => {
                "the replication rule flattens more levels than a repository has that it covers, so it copies nothing: \
                 change its flattening or its filter"
            }
            Self::QuotaExceeded => {
                "the project at the destination is full: raise its quota or delete there what is not needed"
            }
            Self::TagImmutable => {
                "the tag is immutable at the destination: change that rule there, or use another tag"
            }
            Self::OverrideOff => {
                "Harbor says that it succeeded, but the rule does not override, so a tag that is there stays as it is: \
                 switch `override` on"
            }
            Self::DestinationDown => {
                "the destination did not answer the Harbor that keeps the rule: look at the network and at its entry under \
                 Registries there"
            }
            Self::DestinationRefused => {
                "the destination refused the Harbor that keeps the rule: renew the credentials of its entry under \
                 Registries there"
            }
            Self::ExecutionFailed => "the execution failed: read the log of its tasks in Harbor",
            Self::Stopped => "somebody stopped it",
            Self::WithoutArtifact => {
                "Harbor says that it succeeded, but the image is not there: look at the filters of the rule, or copy it"
            }
            Self::Interrupted => "it was begun, and there is no sign of it; it is tried again",
        }
    }

    /// Whether it counts as one of the attempts after which a person is asked. What cannot be tried at all is none.
    #[must_use]
    pub fn is_failure(self) -> bool {
        !matches!(self, Self::Healed | Self::NotNeeded | Self::NoCredentials | Self::NeedsCopy)
    }
}

/// Returns what can be done about what is lacking of an image; `None`: nothing, or not by Harbor.
///
/// A scan is never started for what is scanned and not expired, because the start deletes the last report; nor for what waits
/// for a scanner. What no scanner can scan is no gap.
#[must_use]
pub fn remedy(presence: Option<GapKind>, scan: Option<GapKind>) -> Option<Remedy> {
    match (presence, scan) {
        (Some(GapKind::Finding(kind)), _) => match kind {
            FindingKind::Missing
            | FindingKind::ChildMissing
            | FindingKind::LayerMissing
            | FindingKind::Stale => Some(Remedy::Replicate),
            _ => None,
        },
        (Some(GapKind::Risk(_)), _) => None,
        (None, Some(GapKind::Finding(kind))) => match kind {
            FindingKind::Unscanned | FindingKind::ScanFailed | FindingKind::ScanExpired => Some(Remedy::Scan),
            _ => None,
        },
        (None, _) => None,
    }
}

impl Remedy {
    /// The axis on which it acts.
    #[must_use]
    pub fn axis(self) -> Axis {
        match self {
            Self::Scan => Axis::Scan,
            Self::Replicate => Axis::Presence,
        }
    }
}

/// Returns whether one finding is the other in another state: attempts for one count for the other.
#[must_use]
pub fn is_same_trouble(one: GapKind, other: GapKind) -> bool {
    let part = |kind| match kind {
        GapKind::Finding(FindingKind::Missing | FindingKind::ChildMissing) => 1,
        GapKind::Finding(FindingKind::LayerMissing | FindingKind::PullFailed) => 2,
        _ => 3,
    };
    one.axis() == other.axis() && part(one) == part(other)
}

/// Which replication rule brings an image to a Place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cover<'a> {
    /// This one.
    By(&'a Rule),
    /// This one would, but somebody has disabled it.
    Disabled(&'a Rule),
    /// This one covers it, but flattens more levels than its repository has.
    TooShallow(&'a Rule),
    /// None.
    Nothing,
}

/// An image, where it comes from, and where its copy should be.
#[derive(Debug, Clone, Copy)]
pub struct Way<'a> {
    /// The primary.
    pub primary: &'a Registry,
    /// The repository there.
    pub source: &'a Repository,
    /// Its tags there, as far as they are known.
    pub tags: &'a [Box<str>],
    /// The registry that should hold the copy.
    pub replica: &'a Registry,
    /// The repository there.
    pub target: &'a Repository,
}

/// Returns which of these rules, all kept by `keeper`, brings the image to its Place: by its own filters and its own mapping.
/// A filter that cannot be judged lets it through, if no other rule certainly does.
#[must_use]
pub fn covering<'a>(rules: &'a [Rule], keeper: &RegistryName, way: &Way<'_>) -> Cover<'a> {
    let image =
        Push { repository: way.source.as_str().into(), tags: way.tags.to_vec(), at: jiff::Timestamp::MIN };
    let mut found: Vec<(u8, Cover<'a>)> = Vec::new();
    for rule in rules {
        let joins = match &rule.copies {
            Copies::To(remote) => way.primary.name == *keeper && remote.is(way.replica),
            Copies::From(remote) => way.replica.name == *keeper && remote.is(way.primary),
        };
        let covers = rule.covers(&image);
        if !joins || covers == Some(false) {
            continue;
        }
        let mapped = rule.mapping().map(way.source.as_str());
        let uncertain = u8::from(covers.is_none());
        match (mapped, rule.standing) {
            (Ok(target), _) if target != *way.target => {}
            (Ok(_), Standing::Enabled) => found.push((uncertain, Cover::By(rule))),
            (Ok(_), Standing::Disabled) => found.push((4 + uncertain, Cover::Disabled(rule))),
            (Err(_), Standing::Enabled) => found.push((2 + uncertain, Cover::TooShallow(rule))),
            (Err(_), Standing::Disabled) => {}
        }
    }
    found.into_iter().min_by_key(|(rank, _)| *rank).map_or(Cover::Nothing, |(_, cover)| cover)
}

impl Rule {
    /// Where it puts what it copies.
    #[must_use]
    pub fn mapping(&self) -> Mapping {
        let (namespace, levels) = &self.destination;
        // Harbor takes each negative number for "all" (`tests/vectors/harbor/flattening-runs.json`, `n-2`).
        let flatten = match u8::try_from(*levels) {
            Ok(levels) => Flatten::Levels(levels),
            Err(_) if *levels < 0 => Flatten::All,
            Err(_) => Flatten::Levels(u8::MAX),
        };
        Mapping { namespace: namespace.clone(), flatten }
    }
}

/// Returns what an execution that has ended without the image says of it; `None`: it has not ended. `log` is that of its first
/// task that failed.
#[must_use]
pub fn outcome_of(execution: &Execution, log: &str, overrides: bool) -> Option<HealOutcome> {
    match execution.status {
        Status::InProgress => None,
        Status::Stopped => Some(HealOutcome::Stopped),
        Status::Succeed if !overrides => Some(HealOutcome::OverrideOff),
        Status::Succeed => Some(HealOutcome::WithoutArtifact),
        Status::Failed => Some(failure(&format!("{}\n{log}", execution.reason))),
    }
}

/// Reads the reason of a failed execution. The words are those of Harbor, of distribution and of Go's `net`.
fn failure(text: &str) -> HealOutcome {
    let text = text.to_ascii_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
    if says(&["configured upper limit", "quota"]) {
        HealOutcome::QuotaExceeded
    } else if says(&["immutable"]) {
        HealOutcome::TagImmutable
    } else if says(&["flattening level"]) {
        HealOutcome::RuleTooShallow
    } else if says(&[
        "connection refused",
        "no such host",
        "i/o timeout",
        "no route to host",
        "connection reset",
        "dial tcp",
        "deadline exceeded",
        "certificate",
        "502 bad gateway",
        "503 service unavailable",
    ]) {
        HealOutcome::DestinationDown
    } else if says(&["unauthorized", "code 401", "code: 401", "forbidden", "denied"]) {
        HealOutcome::DestinationRefused
    } else {
        HealOutcome::ExecutionFailed
    }
}

#[cfg(test)]
mod tests;
