//! The file as it is written. Every field is an `Option`, for `decode` leaves out what is wrong; those
//! that must be there are `required` in the schema and asked for when the settings are built.

use schemars::JsonSchema;
use serde::Deserialize;

use super::decode::{At, Entries};
use super::scalar::{
    Address, FilePath, Glob, HostName, ImageGlob, LabelKey, LabelValue, Length, Levels, Name, Namespace,
    ObjectName, Platform, Text, Timestamp,
};
use crate::domain::scan::{Required, Severity};
use crate::domain::verdict::FindingKind;

/// The configuration of Landfall: one file, the same for every site but for `site`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(title = "Landfall configuration")]
pub(super) struct File {
    /// Which of the sites of `registries` is ours.
    #[schemars(required)]
    pub site: Option<At<Name>>,
    /// For each site the others, nearest first; those not named come after, as configured.
    pub near: Option<Entries<Name, Vec<At<Name>>>>,
    /// The registries, by name.
    #[schemars(required)]
    pub registries: Option<Entries<Name, Registry>>,
    /// Sets of images, and the registries that hold them.
    pub routes: Option<Vec<At<Route>>>,
    /// The cluster's platforms; `linux/amd64` and `linux/arm64` where none are given.
    pub platforms: Option<At<Vec<Platform>>>,
    /// What applies where no policy says otherwise.
    pub defaults: Option<Defaults>,
    /// Policies, in the shape of the LandingPolicy resource.
    pub policies: Option<Vec<At<Policy>>>,
    /// What is left alone, unless an enforcing policy speaks for it.
    pub exclude: Option<Exclude>,
    /// How long answers live.
    pub cache: Option<At<Cache>>,
    /// How long and how much registries are asked.
    pub budget: Option<At<Budget>>,
}

/// An endpoint: named by references as `host`, asked at `url`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Registry {
    /// `host[:port]`, as rewritten references spell it.
    #[schemars(required)]
    pub host: Option<At<HostName>>,
    /// Other hosts under which references name the same registry.
    pub aliases: Option<Vec<At<HostName>>>,
    /// Where it is asked; `https://` and `host` where not given.
    pub url: Option<At<Address>>,
    /// What it speaks.
    #[schemars(required)]
    pub kind: Option<Kind>,
    /// The site it stands on.
    #[schemars(required)]
    pub site: Option<At<Name>>,
    /// How to authenticate; anonymously where not given.
    pub credentials: Option<At<Credentials>>,
    /// A PEM bundle to trust for this registry instead of the public roots.
    pub ca_file: Option<At<FilePath>>,
    /// The Secret that Pods need to pull from here.
    pub pull_secret: Option<ObjectName>,
    /// `true`: it is neither asked nor used.
    pub drain: Option<bool>,
    /// The most HTTP requests an hour, for metered registries; 0: unlimited.
    pub requests_per_hour: Option<u32>,
}

/// What a registry speaks.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    /// Harbor: the distribution protocol, and an API that knows scans.
    Harbor,
    /// Any plain OCI distribution registry.
    Distribution,
}

/// Where credentials are read from: exactly one of the three. They are re-read when their content changes.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("minProperties" = 1, "maxProperties" = 1))]
pub(super) struct Credentials {
    /// A folder with the files `username` and `password`, as a mounted Secret has them.
    pub dir: Option<At<FilePath>>,
    /// A `config.json` or `.dockerconfigjson`.
    pub docker_config: Option<At<FilePath>>,
    /// A file that holds a bearer token.
    pub token_file: Option<At<FilePath>>,
}

/// A set of images: one primary, any number of replicas.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Route {
    /// Its name.
    #[schemars(required)]
    pub name: Option<At<Name>>,
    /// Where the images are at home.
    #[schemars(required)]
    pub primary: Option<At<Primary>>,
    /// Where copies of them lie.
    pub replicas: Option<At<Vec<At<Replica>>>>,
    /// Whether a tag must be proved against the primary before a copy is used; `Background`.
    pub tag_proof: Option<TagProof>,
    /// Whether rewritten references are pinned to the digest that was checked; `true`.
    pub pin: Option<bool>,
    /// `false`: judge and record, change nothing; `true`.
    pub rewrite: Option<bool>,
}

/// When a tag is proved.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
pub(super) enum TagProof {
    /// Off the request path; what is remembered counts.
    Background,
    /// Before settling.
    Required,
}

/// Where a route's images are at home.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Primary {
    /// The registry, by name.
    #[schemars(required)]
    pub registry: Option<At<Name>>,
    /// Which of its repositories.
    #[schemars(required)]
    pub repositories: Option<At<Glob>>,
}

/// A registry that holds copies, with the numbers of Harbor's replication rule, copied over.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Replica {
    /// The registry, by name.
    #[schemars(required)]
    pub registry: Option<At<Name>>,
    /// The rule's destination namespace; with `flatten`, unless it is empty (same paths).
    pub namespace: Option<At<Namespace>>,
    /// The rule's flattening: 0 for none, a number of levels, or `all`.
    pub flatten: Option<At<Levels>>,
    /// The rule's repository filter: only these are copied.
    pub repositories: Option<At<Glob>>,
    /// These repositories are not copied.
    pub exclude: Option<Glob>,
    /// The rule's tag filter: only these are copied.
    pub tags: Option<Glob>,
    /// These tags are not copied.
    pub exclude_tags: Option<Glob>,
    /// `true`: a proxy-cache project, usable though it proves nothing.
    pub proxy: Option<bool>,
}

/// What applies where no policy says otherwise: the rules of a policy's spec.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Defaults {
    /// Missing, ChildMissing, ProxyCache, Refused, PullFailed.
    pub on_missing: Option<Elsewhere>,
    /// Stale.
    pub on_stale: Option<Any>,
    /// Unreachable, Unauthorized, RateLimited, Deadline, Unproved.
    pub on_unknown: Option<Elsewhere>,
    /// Unscanned, ScanPending, ScanFailed, ScannerDown, ScanExpired.
    pub on_unscanned: Option<Any>,
    /// Vulnerable.
    pub on_vulnerable: Option<InPlace>,
    /// NotRouted, Unparsable.
    pub on_unrouted: Option<Outside>,
    /// What a scan must show.
    pub scan: Option<Scan>,
}

/// A policy, in the shape of the LandingPolicy resource.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Policy {
    /// May be left out here.
    pub api_version: Option<ApiVersion>,
    /// May be left out here.
    pub kind: Option<PolicyKind>,
    /// Its name.
    #[schemars(required)]
    pub metadata: Option<At<Metadata>>,
    /// What it requires.
    #[schemars(required)]
    pub spec: Option<At<Spec>>,
}

/// The API version of LandingPolicy.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
pub(super) enum ApiVersion {
    /// The only one so far.
    #[serde(rename = "landfall.dev/v1alpha1")]
    V1Alpha1,
}

/// The kind of resource.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
pub(super) enum PolicyKind {
    /// The only one that stands here.
    LandingPolicy,
}

/// Kubernetes' own object: what else stands in it is not ours to judge.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct Metadata {
    /// The policy's name.
    #[schemars(required)]
    pub name: Option<At<ObjectName>>,
}

/// What a policy requires, and of whom.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Spec {
    /// The namespaces it speaks for; `{}` for all.
    #[schemars(required)]
    pub namespace_selector: Option<At<Selector>>,
    /// Enforce, or only report.
    #[schemars(required)]
    pub enforcement: Option<Enforcement>,
    /// Missing, ChildMissing, ProxyCache, Refused, PullFailed.
    pub on_missing: Option<Elsewhere>,
    /// Stale.
    pub on_stale: Option<Any>,
    /// Unreachable, Unauthorized, RateLimited, Deadline, Unproved.
    pub on_unknown: Option<Elsewhere>,
    /// Unscanned, ScanPending, ScanFailed, ScannerDown, ScanExpired.
    pub on_unscanned: Option<Any>,
    /// Vulnerable.
    pub on_vulnerable: Option<InPlace>,
    /// NotRouted, Unparsable.
    pub on_unrouted: Option<Outside>,
    /// What a scan must show.
    pub scan: Option<Scan>,
    /// What is let pass for a time.
    pub exceptions: Option<Vec<At<Exception>>>,
}

/// Does a policy act, or only report?
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
pub(super) enum Enforcement {
    /// Its actions apply.
    Enforce,
    /// It is judged apart and reported.
    Observe,
}

/// An action where the copy cannot be used as it is.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
pub(super) enum Elsewhere {
    /// Use another site's copy.
    Fallback,
    /// Deny.
    Block,
}

/// An action where every answer makes sense.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
pub(super) enum Any {
    /// Use the copy in spite of it.
    Accept,
    /// Use another site's copy.
    Fallback,
    /// Deny.
    Block,
}

/// An action where another site's copy is no better.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
pub(super) enum InPlace {
    /// Use the copy in spite of it.
    Accept,
    /// Deny.
    Block,
}

/// An action on an image that no route covers.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
pub(super) enum Outside {
    /// Leave it alone.
    Allow,
    /// Deny.
    Block,
}

/// What a scan must show.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Scan {
    /// When one is needed.
    pub required: Option<Required>,
    /// The worst severity that passes; any where not given.
    pub max_severity: Option<Severity>,
    /// The oldest scan that passes; any where not given.
    pub max_age: Option<Length>,
    /// Vulnerabilities that do not count.
    pub ignore: Option<Vec<Text>>,
    /// Whether the CVE allowlist of the Harbor project counts; in `defaults` it does, in a policy only where `true`.
    pub project_allowlist: Option<bool>,
}

/// Findings that a policy does not hold against some images until a date.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Exception {
    /// The images, by their primary name.
    #[schemars(required)]
    pub images: Option<At<Vec<ImageGlob>>>,
    /// The findings.
    #[schemars(required)]
    pub findings: Option<At<Vec<FindingKind>>>,
    /// The first moment at which it no longer holds.
    #[schemars(required)]
    pub until: Option<At<Timestamp>>,
    /// Why, for people.
    #[schemars(required)]
    pub reason: Option<At<Text>>,
}

/// A label selector as Kubernetes has it: all of it must hold; an empty one selects everything.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Selector {
    /// Labels with exactly these values.
    pub match_labels: Option<Entries<LabelKey, LabelValue>>,
    /// Further requirements.
    pub match_expressions: Option<Vec<At<Expression>>>,
}

/// One requirement of a selector.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Expression {
    /// The label's key.
    #[schemars(required)]
    pub key: Option<At<LabelKey>>,
    /// What must hold.
    #[schemars(required)]
    pub operator: Option<Operator>,
    /// The values, for `In` and `NotIn`.
    pub values: Option<At<Vec<LabelValue>>>,
}

/// What a requirement asks of a label.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
pub(super) enum Operator {
    /// Present with one of the values.
    In,
    /// Absent, or present with none of them.
    NotIn,
    /// Present.
    Exists,
    /// Absent.
    DoesNotExist,
}

/// What is left alone.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Exclude {
    /// Namespaces, by name.
    pub namespaces: Option<Vec<ObjectName>>,
    /// Images, by their primary name.
    pub images: Option<Vec<ImageGlob>>,
}

/// How long each kind of answer lives.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Cache {
    /// A Present by digest; `10m`.
    pub present: Option<Length>,
    /// How long a Present still counts while its registry is slow; `24h`.
    pub remember: Option<Length>,
    /// What a tag means; `30s`.
    pub tag: Option<Length>,
    /// An Absent, and the longest Unknown: the first is short; `10s`.
    pub absent: Option<Length>,
    /// The state of a scan; `5m`.
    pub scan: Option<Length>,
    /// The most entries; together they take at most 512 bytes each; 100000.
    pub entries: Option<u64>,
}

/// How long and how much registries are asked.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Budget {
    /// For one review; `2500ms`.
    pub request: Option<Length>,
    /// For one attempt at one registry; `1s`.
    pub attempt: Option<Length>,
    /// The most attempts in flight at one registry; 16.
    pub in_flight: Option<u32>,
}
