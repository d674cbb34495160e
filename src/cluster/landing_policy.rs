//! The resource LandingPolicy, as the API server knows it: its schema, and the status that we write.
//!
//! Only the schema is made from these types. An object is read as JSON by `config::policy`, as a policy of the file is, so
//! that both mean the same and a mistake is reported in the same words. `tests/policies.rs` holds the two together: what
//! this schema refuses, `config` refuses, and the other way round.

use std::collections::BTreeMap;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::core::Rule;
use kube::{CustomResource, CustomResourceExt, KubeSchema};
use serde::{Deserialize, Serialize};

use crate::domain::finding::FindingKind;
use crate::domain::policy::words::{Any, Elsewhere, InPlace, Operator, Outside};
use crate::domain::policy::{Enforcement, NAMESPACE_NAME, SYSTEM_NAMESPACES, bounds};
use crate::domain::scan::{Required, Severity};

/// What a policy requires, and of which namespaces.
#[derive(Debug, Clone, Serialize, Deserialize, CustomResource, KubeSchema)]
#[kube(
    group = "landfall.dev",
    version = "v1alpha1",
    kind = "LandingPolicy",
    plural = "landingpolicies",
    singular = "landingpolicy",
    shortname = "lpol",
    category = "landfall",
    doc = "What images must fulfil in the namespaces that it selects.",
    status = "LandingPolicyStatus",
    printcolumn(name = "Enforcement", type_ = "string", json_path = ".spec.enforcement"),
    printcolumn(name = "Namespaces", type_ = "integer", json_path = ".status.namespaces"),
    printcolumn(name = "Denied", type_ = "integer", json_path = ".status.denied"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        description = "Enforced, or why the policy does not act everywhere",
        json_path = ".status.conditions[?(@.type==\"Enforcing\")].reason"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[expect(clippy::duplicated_attributes, reason = "each column has a type")]
#[serde(rename_all = "camelCase")]
pub struct LandingPolicySpec {
    /// The namespaces that it applies to; `{}` for all.
    #[x_kube(validation = leaves_system_namespaces_alone())]
    namespace_selector: NamespaceSelector,
    /// Whether it acts (`Enforce`), or only reports what it would deny (`Observe`).
    enforcement: Enforcement,
    /// What to do about Missing, ChildMissing, LayerMissing, ProxyCache, Refused, PullFailed: use another site's copy (`Fallback`), or deny
    /// the Pod (`Block`).
    #[serde(skip_serializing_if = "Option::is_none")]
    on_missing: Option<Elsewhere>,
    /// What to do about Stale: use the copy nevertheless (`Accept`), use another site's (`Fallback`), or deny the Pod (`Block`).
    #[serde(skip_serializing_if = "Option::is_none")]
    on_stale: Option<Any>,
    /// What to do about Unreachable, Unauthorized, RateLimited, Deadline, TooMany. If not given: `Block` where the policy blocks
    /// anything else.
    #[serde(skip_serializing_if = "Option::is_none")]
    on_unknown: Option<Elsewhere>,
    /// What to do about Unproved.
    #[serde(skip_serializing_if = "Option::is_none")]
    on_unproved: Option<Any>,
    /// What to do about Unscanned, ScanPending, ScanFailed, ScannerDown, ScanExpired.
    #[serde(skip_serializing_if = "Option::is_none")]
    on_unscanned: Option<Any>,
    /// What to do about Unscannable. If neither this nor the defaults of the configuration give it: as `onUnscanned` where
    /// `scan.required` is `Always`, else `Accept`.
    #[serde(skip_serializing_if = "Option::is_none")]
    on_unscannable: Option<Any>,
    /// What to do about Vulnerable.
    #[serde(skip_serializing_if = "Option::is_none")]
    on_vulnerable: Option<InPlace>,
    /// What to do about NotRouted, Unparsable: leave the image as it is (`Allow`), or deny the Pod (`Block`).
    #[serde(skip_serializing_if = "Option::is_none")]
    on_unrouted: Option<Outside>,
    /// What a scan must show.
    #[serde(skip_serializing_if = "Option::is_none")]
    scan: Option<Scan>,
    /// Findings that are accepted for some images until a date.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = bounds::EXCEPTIONS))]
    exceptions: Option<Vec<Exception>>,
    /// Whom a developer may ask about a denial: a channel, a mail address.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = bounds::CONTACT_LENGTH))]
    contact: Option<String>,
    /// Whether a developer is warned of what the policy would deny, while it only reports.
    #[serde(skip_serializing_if = "Option::is_none")]
    warn: Option<bool>,
    /// In an emergency: until when, and where, the policy only reports although it is to act.
    #[serde(skip_serializing_if = "Option::is_none")]
    break_glass: Option<BreakGlass>,
}

/// A label selector: all of its requirements must hold; an empty one selects everything.
#[derive(Debug, Clone, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
struct NamespaceSelector {
    /// Labels with exactly these values.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = are_label_keys())]
    #[schemars(extend(
        "maxProperties" = bounds::LABELS,
        "additionalProperties" = {"type": "string", "maxLength": bounds::NAME_LENGTH, "pattern": bounds::VALUE}
    ))]
    match_labels: Option<BTreeMap<String, String>>,
    /// Further requirements.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = bounds::EXPRESSIONS))]
    match_expressions: Option<Vec<Expression>>,
}

/// One requirement of a selector.
#[derive(Debug, Clone, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = has_the_values_of_its_operator())]
#[serde(rename_all = "camelCase")]
struct Expression {
    /// The label's key.
    #[x_kube(validation = has_a_short_prefix())]
    #[schemars(length(max = bounds::KEY_LENGTH), regex(pattern = bounds::KEY))]
    key: String,
    /// What must hold: `In`, `NotIn`, `Exists` or `DoesNotExist`.
    operator: Operator,
    /// The values, for `In` and `NotIn`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(max = bounds::VALUES),
        inner(length(max = bounds::NAME_LENGTH), regex(pattern = bounds::VALUE))
    )]
    values: Option<Vec<String>>,
}

/// What a scan must show.
#[derive(Debug, Clone, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
struct Scan {
    /// When a scan is required: `Never`, `Auto` (where a local registry of the image has a scanner), `Always`.
    #[serde(skip_serializing_if = "Option::is_none")]
    required: Option<Required>,
    /// The highest severity that is accepted; any if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    max_severity: Option<Severity>,
    /// The greatest age of a scan that is accepted, as in `168h`; any if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = bounds::DURATION_LENGTH), regex(pattern = bounds::DURATION))]
    max_age: Option<String>,
    /// Vulnerabilities that are ignored, by their names: `CVE-2026-1234`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(max = bounds::IGNORED),
        inner(length(min = 1, max = bounds::VULNERABILITY_LENGTH))
    )]
    ignore: Option<Vec<String>>,
    /// Whether the CVE allowlist of the Harbor project is honoured. If not given: no.
    #[serde(skip_serializing_if = "Option::is_none")]
    project_allowlist: Option<bool>,
}

/// Findings that are accepted for some images until a date.
#[derive(Debug, Clone, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
struct Exception {
    /// The images, by their name at the primary: `host/repository` with `*`, `?`, `**` and `{a,b}`.
    #[x_kube(validation = has_few_braces())]
    #[schemars(
        length(min = 1, max = bounds::IMAGES),
        inner(length(max = bounds::IMAGE_LENGTH), regex(pattern = bounds::IMAGE))
    )]
    images: Vec<String>,
    /// The findings.
    #[schemars(length(min = 1, max = bounds::FINDINGS))]
    findings: Vec<FindingKind>,
    /// When it ends: the first moment at which it no longer applies, as in `2027-01-31T00:00:00Z`.
    #[schemars(
        length(max = bounds::TIME_LENGTH),
        regex(pattern = bounds::TIME),
        extend("format" = "date-time")
    )]
    until: String,
    /// Why, for people who read the policy.
    #[schemars(length(min = 1, max = bounds::REASON_LENGTH))]
    reason: String,
}

/// Opens an enforcing policy for some time, in an emergency. It ends by itself.
#[derive(Debug, Clone, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
struct BreakGlass {
    /// When it ends: the first moment at which the policy acts again.
    #[schemars(
        length(max = bounds::TIME_LENGTH),
        regex(pattern = bounds::TIME),
        extend("format" = "date-time")
    )]
    until: String,
    /// The namespaces, by name; all that the policy selects, if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(max = bounds::NAMESPACES),
        inner(length(max = bounds::NAME_LENGTH), regex(pattern = bounds::NAMESPACE))
    )]
    namespaces: Option<Vec<String>>,
    /// Why, for people who read the audit log.
    #[schemars(length(min = 1, max = bounds::REASON_LENGTH))]
    reason: String,
}

/// How a policy stands. Landfall writes it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct LandingPolicyStatus {
    /// The generation of the policy that the rest is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Accepted`, `Enforcing` and `Warnings`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    #[schemars(length(max = 16))]
    pub conditions: Vec<PolicyCondition>,
    /// How many namespaces the policy selects.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub namespaces: Option<i32>,
    /// How many Pods the policy has denied, or would have denied while it only reports.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub denied: Option<i64>,
    /// When it did so last.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 40), extend("format" = "date-time"))]
    pub last_denied: Option<String>,
}

/// One condition, in the form of Kubernetes' own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct PolicyCondition {
    /// Which condition it is.
    #[serde(rename = "type")]
    #[schemars(length(min = 1, max = 64))]
    pub kind: String,
    /// `True`, `False` or `Unknown`.
    #[schemars(length(max = 16))]
    pub status: String,
    /// The generation that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// When the status has changed last.
    #[schemars(length(max = 40), extend("format" = "date-time"))]
    pub last_transition_time: String,
    /// Why, as one word.
    #[schemars(length(max = 64))]
    pub reason: String,
    /// Why, for people.
    #[schemars(length(max = 4096))]
    pub message: String,
}

/// The definition of the resource.
pub fn definition() -> CustomResourceDefinition {
    LandingPolicy::crd()
}

/// As [`crate::domain::policy::Selector::names`], for the namespaces without which no cluster comes up.
fn leaves_system_namespaces_alone() -> Rule {
    let (key, system) = (NAMESPACE_NAME, SYSTEM_NAMESPACES.map(|name| format!("'{name}'")).join(", "));
    Rule::new(format!(
        "[{system}].all(name, !((has(self.matchLabels) && '{key}' in self.matchLabels || has(self.matchExpressions) \
         && self.matchExpressions.exists(one, one.key == '{key}' && one.operator == 'In')) \
         && (!has(self.matchLabels) || !('{key}' in self.matchLabels) || self.matchLabels['{key}'] == name) \
         && (!has(self.matchExpressions) || self.matchExpressions.all(one, one.key != '{key}' \
         || (one.operator == 'In' ? has(one.values) && name in one.values \
         : one.operator == 'NotIn' ? !has(one.values) || !(name in one.values) : one.operator == 'Exists')))))"
    ))
    .message(
        "the policy names a namespace that Landfall leaves alone: without it no cluster comes up; name other namespaces",
    )
}

fn are_label_keys() -> Rule {
    let (pattern, most, prefix) = (bounds::KEY, bounds::KEY_LENGTH, bounds::PREFIX_LENGTH);
    Rule::new(format!(
        "self.all(key, key.size() <= {most} && key.matches('{pattern}') && key.split('/')[0].size() <= {prefix})"
    ))
    .message("a key is no label key: a name of letters, digits, `.`, `_` and `-`, with or without a prefix that is a DNS name and a `/`")
}

fn has_a_short_prefix() -> Rule {
    Rule::new(format!("self.split('/')[0].size() <= {}", bounds::PREFIX_LENGTH))
        .message("the prefix of a label key has at most 253 characters")
}

fn has_the_values_of_its_operator() -> Rule {
    Rule::new(
        "self.operator in ['In', 'NotIn'] ? has(self.values) && self.values.size() > 0 : !has(self.values) || self.values.size() == 0",
    )
    .message("`In` and `NotIn` need at least one value; `Exists` and `DoesNotExist` take none")
}

fn has_few_braces() -> Rule {
    let (braces, commas) = (bounds::BRACES, bounds::COMMAS);
    Rule::new(format!(
        "self.all(image, image.split('{{').size() <= {} && image.split(',').size() <= {})",
        braces + 1,
        commas + 1
    ))
    .message("an image pattern has at most 2 pairs of braces and 8 commas: write several patterns")
}

#[cfg(test)]
mod tests {
    use kube::Resource;

    use super::*;
    use crate::domain::api_group::API_GROUP;

    #[test]
    fn the_resource_is_of_our_group() {
        assert_eq!(LandingPolicy::group(&()), API_GROUP);
        assert_eq!(LandingPolicy::crd_name(), format!("landingpolicies.{API_GROUP}"));
    }
}
