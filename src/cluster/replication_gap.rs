//! The resource ReplicationGap, as the API server knows it: its schema, and the status that the ledger keeps.
//!
//! People only read these objects. One whose status a newer or an older Landfall wrote may hold words that this one does not
//! know: it is then read as one without a status, and written again.

use jiff::Timestamp;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{CustomResource, CustomResourceExt, KubeSchema};
use serde::{Deserialize, Serialize};
use strum::{VariantArray, VariantNames};

use super::ObjectRef;
use crate::domain::finding::FindingKind;
use crate::domain::gap::{Axis, GapKind, GapSubject, Risk};
use crate::domain::healing::{HealOutcome, MOST_FAILURES, Remedy};
use crate::domain::text::plain;

/// The most namespaces, and the most owners, that one object names.
pub const MOST_NAMED: usize = 16;

/// The most characters of a detail.
pub const DETAIL_LENGTH: usize = 300;

/// The most characters of the sentence.
pub const MESSAGE_LENGTH: usize = 1024;

/// What the gap is about. It never changes.
#[derive(Debug, Clone, Serialize, Deserialize, CustomResource, KubeSchema)]
#[kube(
    group = "landfall.dev",
    version = "v1alpha1",
    kind = "ReplicationGap",
    plural = "replicationgaps",
    singular = "replicationgap",
    shortname = "gap",
    shortname = "gaps",
    category = "landfall",
    doc = "What this site lacks of an image, or what is wrong with a replication rule. Landfall writes it; changes by others do not last.",
    status = "ReplicationGapStatus",
    printcolumn(
        name = "Finding",
        type_ = "string",
        description = "What is lacking of the copy",
        json_path = ".status.presence.finding"
    ),
    printcolumn(
        name = "Scan",
        type_ = "string",
        description = "What is lacking of its scan",
        json_path = ".status.scan.finding"
    ),
    printcolumn(
        name = "Risk",
        type_ = "string",
        description = "What will become a finding",
        json_path = ".status.risk.finding"
    ),
    printcolumn(name = "Image", type_ = "string", json_path = ".spec.image"),
    printcolumn(name = "Place", type_ = "string", json_path = ".spec.registry"),
    printcolumn(
        name = "Pods",
        type_ = "integer",
        description = "Pods that run with it now",
        json_path = ".status.pods"
    ),
    printcolumn(
        name = "Healing",
        type_ = "string",
        description = "What came of the last attempt to heal it",
        json_path = ".status.action.outcome",
        priority = 1
    ),
    printcolumn(name = "Denied", type_ = "integer", json_path = ".status.denied"),
    printcolumn(name = "State", type_ = "string", json_path = ".status.state"),
    printcolumn(
        name = "Age",
        type_ = "date",
        description = "Since when it is known",
        json_path = ".status.firstSeen"
    ),
    printcolumn(name = "Rule", type_ = "string", json_path = ".spec.rule", priority = 1),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.message", priority = 1)
)]
#[expect(clippy::duplicated_attributes, reason = "each column has a type")]
#[serde(rename_all = "camelCase")]
pub struct ReplicationGapSpec {
    /// The image's name at its primary, with its digest, or with its tag where no digest is known or the gap is about the tag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub image: Option<String>,
    /// The replication rule, where the gap is about a rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub rule: Option<String>,
    /// The registry that should hold the image, or that keeps the rule, by its name in the configuration.
    #[schemars(length(min = 1, max = 253))]
    pub registry: String,
}

/// How the gap stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReplicationGapStatus {
    /// Whether something is lacking.
    pub state: GapState,
    /// Whether the right copy is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub presence: Option<AxisRecord>,
    /// Whether the copy was scanned there, with a result that satisfies the policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scan: Option<AxisRecord>,
    /// What decides about no Pod today, and will.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub risk: Option<AxisRecord>,
    /// When it was seen first.
    #[schemars(with = "String", length(max = 40), extend("format" = "date-time"))]
    pub first_seen: Timestamp,
    /// When it was seen last.
    #[schemars(with = "String", length(max = 40), extend("format" = "date-time"))]
    pub last_seen: Timestamp,
    /// When nothing was lacking any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", length(max = 40), extend("format" = "date-time"))]
    pub closed_at: Option<Timestamp>,
    /// How long after its push to the primary the image was pushed here, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub lag_seconds: Option<i64>,
    /// The tag by which Pods name the image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub tag: Option<String>,
    /// How many Pods run with the image now. Not given: they were not counted yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub pods: Option<i32>,
    /// How often a Pod was denied because of it.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub denied: i64,
    /// How often a Pod was given another site's copy because of it.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub fell_back: i64,
    /// How often a Pod was given a copy of this site in spite of it.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub used: i64,
    /// Namespaces whose Pods use the image. Of more than 16, the first by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = MOST_NAMED), inner(length(max = 63)))]
    pub namespaces: Vec<String>,
    /// The owners of these Pods. Of more than 16, the first by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = MOST_NAMED))]
    pub owners: Vec<ObjectRef>,
    /// What Landfall did about it last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<GapAction>,
    /// All of it as one sentence.
    #[serde(default)]
    #[schemars(length(max = MESSAGE_LENGTH))]
    pub message: String,
}

/// Whether something is lacking.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema, strum::Display,
)]
pub enum GapState {
    /// It is, and nothing is done about it.
    Open,
    /// It is, and Landfall has asked for what is lacking.
    Healing,
    /// Nothing is lacking any more.
    Closed,
}

/// One kind of what may be lacking. It opens and closes for itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct AxisRecord {
    /// What is lacking. Not given: nothing any more.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "kind")]
    #[schemars(with = "Option<String>", extend("enum" = kinds()))]
    pub finding: Option<GapKind>,
    /// What was lacking, after it was closed.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "kind")]
    #[schemars(with = "Option<String>", extend("enum" = kinds()))]
    pub was: Option<GapKind>,
    /// Since when it is, or was, lacking.
    #[schemars(with = "String", length(max = 40), extend("format" = "date-time"))]
    pub since: Timestamp,
    /// When it was seen last.
    #[schemars(with = "String", length(max = 40), extend("format" = "date-time"))]
    pub last_seen: Timestamp,
    /// When it was closed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", length(max = 40), extend("format" = "date-time"))]
    pub closed_at: Option<Timestamp>,
    /// Details: what was found or, after it was closed, why it was closed.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = DETAIL_LENGTH))]
    pub detail: String,
}

/// An attempt of Landfall to heal, and what came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct GapAction {
    /// Which attempt it is: whoever wrote it acts, and nobody else.
    #[schemars(length(max = 64))]
    pub id: String,
    /// What is done.
    pub what: Remedy,
    /// For what.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "kind")]
    #[schemars(with = "Option<String>", extend("enum" = kinds()))]
    pub finding: Option<GapKind>,
    /// When it was begun.
    #[schemars(with = "String", length(max = 40), extend("format" = "date-time"))]
    pub at: Timestamp,
    /// How many attempts in a row have failed, this one included. After five a person is asked.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub attempts: i32,
    /// The registry that keeps the replication rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub keeper: Option<String>,
    /// The name of the rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub rule: Option<String>,
    /// The number of the rule in its Harbor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule_id: Option<i64>,
    /// The number of its execution in its Harbor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub execution: Option<i64>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", length(max = 40), extend("format" = "date-time"))]
    pub ended: Option<Timestamp>,
    /// What came of it, as one word. Not given: it is under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("enum" = outcomes()))]
    pub outcome: Option<HealOutcome>,
    /// What came of it, and what a person should do.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = DETAIL_LENGTH))]
    pub result: String,
}

impl GapAction {
    /// Ends it.
    pub fn end(&mut self, outcome: HealOutcome, detail: &str, at: Timestamp) {
        let said = match detail {
            "" => outcome.sentence().to_owned(),
            detail => format!("{} ({})", outcome.sentence(), plain(detail)),
        };
        self.result = said.chars().take(DETAIL_LENGTH).collect();
        (self.outcome, self.ended) = (Some(outcome), Some(at));
        if outcome.is_failure() {
            self.attempts = self.attempts.saturating_add(1);
        }
    }
}

impl ReplicationGapStatus {
    /// The attempt that is under way.
    pub fn under_way(&self) -> Option<&GapAction> {
        let action = self.action.as_ref()?;
        (action.outcome.is_none() && self.lacking(action.what.axis()).is_some()).then_some(action)
    }

    /// Whether so many attempts to heal it have failed that a person is asked.
    pub fn has_given_up(&self) -> bool {
        let is_over = |action: &GapAction| action.attempts >= MOST_FAILURES && action.outcome.is_some();
        self.action
            .as_ref()
            .is_some_and(|action| is_over(action) && self.lacking(action.what.axis()).is_some())
    }

    /// How it stands on one axis; `None` where nothing was ever lacking.
    pub fn axis(&self, axis: Axis) -> Option<&AxisRecord> {
        match axis {
            Axis::Presence => self.presence.as_ref(),
            Axis::Scan => self.scan.as_ref(),
            Axis::Risk => self.risk.as_ref(),
        }
    }

    /// The same, to be changed.
    pub fn axis_mut(&mut self, axis: Axis) -> &mut Option<AxisRecord> {
        match axis {
            Axis::Presence => &mut self.presence,
            Axis::Scan => &mut self.scan,
            Axis::Risk => &mut self.risk,
        }
    }

    /// What is lacking now on one axis.
    pub fn lacking(&self, axis: Axis) -> Option<GapKind> {
        self.axis(axis)?.finding
    }

    /// Everything that is lacking now, presence first.
    pub fn open(&self) -> impl Iterator<Item = (Axis, GapKind)> {
        Axis::VARIANTS.iter().filter_map(|axis| Some((*axis, self.lacking(*axis)?)))
    }

    /// Whether something is lacking now.
    pub fn is_open(&self) -> bool {
        self.open().next().is_some()
    }
}

impl ReplicationGapSpec {
    /// What a gap with this subject says.
    pub fn of(subject: &GapSubject, registry: &str) -> Self {
        let (image, rule) = match subject {
            GapSubject::Image { .. } => (Some(subject.to_string()), None),
            GapSubject::Rule(rule) => (None, Some(rule.to_string())),
        };
        Self { image, rule, registry: registry.to_owned() }
    }
}

/// The words of all kinds.
fn kinds() -> Vec<&'static str> {
    let findings = FindingKind::VARIANTS.iter().filter_map(|finding| GapKind::of(*finding));
    findings.chain(Risk::VARIANTS.iter().map(|risk| GapKind::Risk(*risk))).map(GapKind::as_str).collect()
}

/// The words of all outcomes.
fn outcomes() -> &'static [&'static str] {
    HealOutcome::VARIANTS
}

/// A kind as its word.
mod kind {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::domain::gap::GapKind;

    pub fn serialize<S: Serializer>(kind: &Option<GapKind>, to: S) -> Result<S::Ok, S::Error> {
        kind.map(GapKind::as_str).serialize(to)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<GapKind>, D::Error> {
        let word = Option::<String>::deserialize(from)?;
        word.map(|word| word.parse().map_err(|_| D::Error::custom(format!("`{word}` is no finding"))))
            .transpose()
    }
}

/// The definition of the resource.
pub fn definition() -> CustomResourceDefinition {
    ReplicationGap::crd()
}
