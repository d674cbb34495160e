//! The file as it is written.
//!
//! Every field is an `Option`, because `decode` leaves out what is wrong. Required fields are `required` in the schema,
//! and checked when the settings are built. The defaults are built there, too; `the_schema_tells_the_defaults` compares
//! them with those of the schema.

use schemars::JsonSchema;
use serde::Deserialize;

use super::decode::{At, Entries};
use super::scalar::{
    Address, Contact, Few, FilePath, Glob, HostName, ImageGlob, LabelKey, LabelValue, Length, Levels, Name,
    Namespace, NamespaceName, ObjectName, Platform, PolicyImage, Reason, Text, Timestamp, Variable,
    Vulnerability,
};
use crate::domain::finding::FindingKind;
use crate::domain::policy::words::{Any, Elsewhere, InPlace, Operator, Outside};
use crate::domain::policy::{Enforcement, bounds};
use crate::domain::scan::{Required, Severity};

/// The configuration of Landfall: one file, which differs between sites only in `site`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(title = "Landfall configuration")]
pub(super) struct File {
    /// The site of this cluster: one of the sites in `registries`.
    #[schemars(required)]
    pub site: Option<At<Name>>,
    /// For each site the other sites, nearest first. Sites that are not listed come last, in the order of the file.
    pub near: Option<Entries<Name, Vec<At<Name>>>>,
    /// The registries, by name.
    #[schemars(required)]
    pub registries: Option<Entries<Name, Registry>>,
    /// Whether Landfall makes the Secrets that Pods pull with, and from which credentials.
    pub pull_secrets: Option<At<PullSecrets>>,
    /// Sets of images, and the registries that hold them.
    pub routes: Option<Vec<At<Route>>>,
    /// The platforms of the cluster's nodes.
    #[schemars(extend("default" = ["linux/amd64", "linux/arm64"]))]
    pub platforms: Option<At<Vec<Platform>>>,
    /// The rules that apply where no policy says otherwise.
    pub defaults: Option<Defaults>,
    /// Policies, in the form of the LandingPolicy resource.
    pub policies: Option<Vec<At<Policy>>>,
    /// What Landfall does not change, unless an enforcing policy applies to it.
    pub exclude: Option<Exclude>,
    /// How long answers of registries count.
    pub cache: Option<At<Cache>>,
    /// How long, and how often at once, registries are asked.
    pub budget: Option<At<Budget>>,
    /// What Landfall may do about gaps.
    pub healing: Option<At<Healing>>,
    /// Reports for the people of each namespace, in a form that other tools read.
    pub reports: Option<Reports>,
}

/// A registry: image references name it `host`, and it is asked at `url`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Registry {
    /// `host[:port]`, as rewritten references name it.
    #[schemars(required)]
    pub host: Option<At<HostName>>,
    /// Other hosts by which references name the same registry. Registries of different sites may share one: it means the one
    /// on our site, else the nearest.
    pub aliases: Option<Vec<At<HostName>>>,
    /// Where it is asked; `https://<host>` if not given.
    pub url: Option<At<Address>>,
    /// Another token server than the registry itself that may get our credentials.
    pub realm: Option<At<Address>>,
    /// Which protocol it speaks.
    #[schemars(required)]
    pub kind: Option<Kind>,
    /// The site where it is.
    #[schemars(required)]
    pub site: Option<At<Name>>,
    /// How to log in; anonymously if not given.
    pub credentials: Option<At<Credentials>>,
    /// How `landfall copy` writes to it; not at all if not given and `credentials` are.
    pub copy: Option<At<RegistryCopy>>,
    /// Who starts scans and executions of replication rules there; without it nothing is ever written there. Only for Harbor.
    pub healing: Option<At<Healer>>,
    /// A PEM bundle of authorities to trust for this registry, instead of the public ones.
    pub ca_file: Option<At<FilePath>>,
    /// The Secret that Pods need to pull from here; Landfall adds its name to them.
    pub pull_secret: Option<At<ObjectName>>,
    /// With `pullSecrets.mode: Managed`, the credentials that Landfall puts into this Secret: of an account that may pull, and
    /// nothing else. Without them the Secret is not Landfall's.
    pub pull_credentials: Option<At<PullCredentials>>,
    /// `true`: the registry is not asked and not used.
    #[schemars(extend("default" = false))]
    pub drain: Option<bool>,
    /// The most HTTP requests in an hour, for metered registries; 0: unlimited.
    #[schemars(extend("default" = 0))]
    pub requests_per_hour: Option<u32>,
    /// What this Harbor tells us by itself, at `POST /hooks/harbor`: a push, a deletion, a scan.
    pub notifications: Option<At<Notifications>>,
}

/// How a Harbor shows that a notification is its own.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Notifications {
    /// A file with the exact value of the header `Authorization` that this Harbor sends, at least 16 bytes. No other
    /// registry has the same.
    #[schemars(required)]
    pub secret_file: Option<At<FilePath>>,
}

/// Who heals at a registry.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Healer {
    /// How to log in: a robot of its own, not that of `credentials`.
    #[schemars(required)]
    pub credentials: Option<At<Credentials>>,
}

/// Which protocol a registry speaks.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    /// Harbor: the distribution protocol, and an API that tells the results of scans.
    Harbor,
    /// Any plain OCI distribution registry.
    Distribution,
}

/// How `landfall copy` writes to a registry.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RegistryCopy {
    /// Credentials that may push, and pull, there. Landfall's webhook never reads them: mount them for `landfall copy` only.
    #[schemars(required)]
    pub credentials: Option<At<Credentials>>,
}

/// Where credentials come from: exactly one of the four. Files are read again when their content changes.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("minProperties" = 1, "maxProperties" = 1))]
pub(super) struct Credentials {
    /// A folder with the files `username` and `password`, as in a mounted Secret.
    pub dir: Option<At<FilePath>>,
    /// A `config.json` or `.dockerconfigjson`.
    pub docker_config: Option<At<FilePath>>,
    /// A file that holds a bearer token.
    pub token_file: Option<At<FilePath>>,
    /// A credential provider, as the kubelet runs it: of ECR, ACR or GAR, for example.
    pub provider: Option<At<Provider>>,
}

/// What is put into pull secrets.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct PullCredentials {
    /// A folder with the files `username` and `password`, as in a mounted Secret. They are read again when they change.
    #[schemars(required)]
    pub dir: Option<At<FilePath>>,
}

/// Who makes the Secrets that Pods pull with.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct PullSecrets {
    /// Whether Landfall makes them.
    #[schemars(extend("default" = "Unmanaged"))]
    pub mode: Option<PullSecretsMode>,
    /// Other credentials for some namespaces. The first entry for a registry that selects a namespace counts, else
    /// `pullCredentials` of the registry.
    pub per_namespace: Option<Vec<At<PerNamespace>>>,
}

/// Who makes pull secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
pub(super) enum PullSecretsMode {
    /// Somebody else. Landfall only adds their names to Pods.
    Unmanaged,
    /// Landfall, in each namespace whose Pods need one, where no other Secret has the name.
    Managed,
}

/// The credentials of some namespaces at one registry.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct PerNamespace {
    /// The registry, by name.
    #[schemars(required)]
    pub registry: Option<At<Name>>,
    /// The namespaces. Whoever may change the labels of a namespace decides with them whose credentials it gets; the label
    /// `kubernetes.io/metadata.name` cannot be changed.
    #[schemars(required)]
    pub namespace_selector: Option<At<Selector>>,
    /// The credentials.
    #[schemars(required)]
    pub credentials: Option<At<PullCredentials>>,
}

/// A program that is asked for credentials: a credential provider of the kubelet
/// (`credentialprovider.kubelet.k8s.io/v1`). It may take 10 s, and its answer is kept for as long as it says.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Provider {
    /// The program: an absolute path.
    #[schemars(required)]
    pub command: Option<At<FilePath>>,
    /// Its arguments. No shell reads them.
    pub args: Option<Vec<Text>>,
    /// Variables of its environment, beside those of Landfall's own.
    pub env: Option<Entries<Variable, Text>>,
}

/// A set of images, their primary registry and the replicas.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Route {
    /// Its name.
    #[schemars(required)]
    pub name: Option<At<Name>>,
    /// The registry that the images are pushed to.
    #[schemars(required)]
    pub primary: Option<At<Primary>>,
    /// The registries that hold copies.
    pub replicas: Option<At<Vec<At<Replica>>>>,
    /// When it is checked that a tag names the same digest here and at the primary.
    #[schemars(extend("default" = "Background"))]
    pub tag_proof: Option<TagProof>,
    /// Whether rewritten references name the digest that was checked.
    #[schemars(extend("default" = "TagAndDigest"))]
    pub pin: Option<Pin>,
    /// `false`: images are judged and recorded, and nothing is changed.
    #[schemars(extend("default" = true))]
    pub rewrite: Option<bool>,
}

/// When a tag is compared with the primary.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
pub(super) enum TagProof {
    /// In the background; no Pod waits for it, and the last known result counts.
    Background,
    /// Before a copy is used: Pods wait for it.
    Required,
}

/// Whether rewritten references name the digest that was checked. An enforcing policy always pins.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[schemars(transform = also_false)]
pub(super) enum Pin {
    /// The tag as written, and the digest.
    TagAndDigest,
    /// The digest without the tag, for runtimes that refuse both together.
    Digest,
    /// The tag as written, and no digest.
    #[serde(alias = "false")]
    Off,
}

/// Helm reads YAML 1.1, in which an unquoted `Off` is `false`.
fn also_false(schema: &mut schemars::Schema) {
    if let Some(serde_json::Value::Array(words)) = schema.get_mut("oneOf") {
        words.push(serde_json::json!({ "const": false, "description": "The same as `Off`." }));
    }
}

/// The registry that a route's images are pushed to.
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

/// A registry that holds copies. The fields are those of Harbor's replication rule: copy them from there.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Replica {
    /// The registry, by name.
    #[schemars(required)]
    pub registry: Option<At<Name>>,
    /// The rule's destination namespace; give `flatten` with it, unless it is empty (then paths stay the same).
    pub namespace: Option<At<Namespace>>,
    /// The rule's flattening: a number of levels (0 for none), or `all`.
    pub flatten: Option<At<Levels>>,
    /// The rule's repository filter: only these repositories are copied.
    pub repositories: Option<At<Glob>>,
    /// These repositories are not copied.
    pub exclude: Option<Glob>,
    /// The rule's tag filter: only these tags are copied.
    pub tags: Option<Glob>,
    /// These tags are not copied.
    pub exclude_tags: Option<Glob>,
    /// `true`: this is a proxy-cache project. It is used, although an answer of it does not prove that the image is here.
    #[schemars(extend("default" = false))]
    pub proxy: Option<bool>,
}

/// The rules that apply where no policy says otherwise.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Defaults {
    /// What to do about Missing, ChildMissing, LayerMissing, ProxyCache, Refused, PullFailed.
    #[schemars(extend("default" = "Fallback"))]
    pub on_missing: Option<Elsewhere>,
    /// What to do about Stale.
    #[schemars(extend("default" = "Fallback"))]
    pub on_stale: Option<Any>,
    /// What to do about Unreachable, Unauthorized, RateLimited, Deadline, TooMany.
    #[schemars(extend("default" = "Fallback"))]
    pub on_unknown: Option<Elsewhere>,
    /// What to do about Unproved.
    #[schemars(extend("default" = "Fallback"))]
    pub on_unproved: Option<Any>,
    /// What to do about Unscanned, ScanPending, ScanFailed, ScannerDown, ScanExpired.
    #[schemars(extend("default" = "Fallback"))]
    pub on_unscanned: Option<Any>,
    /// What to do about Unscannable. If not given: as `onUnscanned` where `scan.required` is `Always`, else `Accept`.
    pub on_unscannable: Option<Any>,
    /// What to do about Vulnerable.
    #[schemars(extend("default" = "Accept"))]
    pub on_vulnerable: Option<InPlace>,
    /// What to do about NotRouted, Unparsable.
    #[schemars(extend("default" = "Allow"))]
    pub on_unrouted: Option<Outside>,
    /// What a scan must show.
    pub scan: Option<Scan>,
    /// Findings that are accepted for some images until a date, where no policy enforces.
    pub exceptions: Option<Few<At<Exception>, { bounds::EXCEPTIONS }>>,
}

/// A policy, in the shape of the LandingPolicy resource.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Policy {
    /// Optional here.
    pub api_version: Option<ApiVersion>,
    /// Optional here.
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
    /// The only one that is allowed here.
    LandingPolicy,
}

/// The metadata of the Kubernetes object. Its other fields are not checked here.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct Metadata {
    /// The policy's name.
    #[schemars(required)]
    pub name: Option<At<ObjectName>>,
}

/// What a policy requires, and of which namespaces.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Spec {
    /// The namespaces that it applies to; `{}` for all.
    #[schemars(required)]
    pub namespace_selector: Option<At<Selector>>,
    /// Whether it acts, or only reports.
    #[schemars(required)]
    pub enforcement: Option<Enforcement>,
    /// What to do about Missing, ChildMissing, LayerMissing, ProxyCache, Refused, PullFailed.
    pub on_missing: Option<Elsewhere>,
    /// What to do about Stale.
    pub on_stale: Option<Any>,
    /// What to do about Unreachable, Unauthorized, RateLimited, Deadline, TooMany. If not given: `Block` where the policy
    /// blocks anything else.
    pub on_unknown: Option<Elsewhere>,
    /// What to do about Unproved.
    pub on_unproved: Option<Any>,
    /// What to do about Unscanned, ScanPending, ScanFailed, ScannerDown, ScanExpired.
    pub on_unscanned: Option<Any>,
    /// What to do about Unscannable. If neither this nor `defaults` give it: as `onUnscanned` where `scan.required` is
    /// `Always`, else `Accept`.
    pub on_unscannable: Option<Any>,
    /// What to do about Vulnerable.
    pub on_vulnerable: Option<InPlace>,
    /// What to do about NotRouted, Unparsable.
    pub on_unrouted: Option<Outside>,
    /// What a scan must show.
    pub scan: Option<Scan>,
    /// Findings that are accepted for some images until a date.
    pub exceptions: Option<Few<At<Exception>, { bounds::EXCEPTIONS }>>,
    /// Whom a developer may ask about a denial: a channel, a mail address.
    pub contact: Option<Contact>,
    /// `true`: while the policy only reports, a developer is warned of what it would deny.
    #[schemars(extend("default" = false))]
    pub warn: Option<bool>,
    /// Where the policy only reports for some time, although it is to act.
    pub break_glass: Option<At<BreakGlass>>,
}

/// Opens an enforcing policy for some time, in an emergency. It ends by itself.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct BreakGlass {
    /// When it ends: the first moment at which the policy acts again.
    #[schemars(required)]
    pub until: Option<At<Timestamp>>,
    /// The namespaces, by name; all that the policy selects, if not given.
    pub namespaces: Option<Few<NamespaceName, { bounds::NAMESPACES }>>,
    /// Why, for people who read the audit log.
    #[schemars(required)]
    pub reason: Option<At<Reason>>,
}

/// What a scan must show.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Scan {
    /// When a scan is required.
    pub required: Option<Required>,
    /// The highest severity that is accepted; any if not given.
    pub max_severity: Option<Severity>,
    /// The greatest age of a scan that is accepted; any if not given.
    pub max_age: Option<Length>,
    /// Vulnerabilities that are ignored, by their names: `CVE-2026-1234`.
    pub ignore: Option<Few<Vulnerability, { bounds::IGNORED }>>,
    /// Whether the CVE allowlist of the Harbor project is honoured. If not given: in `defaults` yes, in a policy no.
    pub project_allowlist: Option<bool>,
}

/// Findings that are accepted for some images until a date.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Exception {
    /// The images, by their name at the primary.
    #[schemars(required)]
    pub images: Option<At<Few<PolicyImage, { bounds::IMAGES }>>>,
    /// The findings.
    #[schemars(required)]
    pub findings: Option<At<Few<FindingKind, { bounds::FINDINGS }>>>,
    /// When it ends: the first moment at which it no longer applies.
    #[schemars(required)]
    pub until: Option<At<Timestamp>>,
    /// Why, for people who read the policy.
    #[schemars(required)]
    pub reason: Option<At<Reason>>,
}

/// A label selector as in Kubernetes: all of its requirements must hold; an empty one selects everything.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Selector {
    /// Labels with exactly these values.
    #[schemars(extend("maxProperties" = bounds::LABELS))]
    pub match_labels: Option<Entries<LabelKey, LabelValue>>,
    /// Further requirements.
    pub match_expressions: Option<Few<At<Expression>, { bounds::EXPRESSIONS }>>,
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
    pub values: Option<At<Few<LabelValue, { bounds::VALUES }>>>,
}

/// What Landfall does not change.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Exclude {
    /// Namespaces, by name.
    pub namespaces: Option<Vec<ObjectName>>,
    /// Images, by their name at the primary.
    pub images: Option<Vec<ImageGlob>>,
}

/// How long each kind of answer counts.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Cache {
    /// That a registry has a digest.
    #[schemars(extend("default" = "10m"))]
    pub present: Option<Length>,
    /// That a registry has a digest, while that registry is slow.
    #[schemars(extend("default" = "24h"))]
    pub remember: Option<Length>,
    /// Which digest a tag names.
    #[schemars(extend("default" = "30s"))]
    pub tag: Option<Length>,
    /// That a registry does not have an image; and at most so long that it could not be asked.
    #[schemars(extend("default" = "10s"))]
    pub absent: Option<Length>,
    /// The state of a scan.
    #[schemars(extend("default" = "5m"))]
    pub scan: Option<Length>,
    /// The most answers that are kept. Together they take at most 512 bytes each.
    #[schemars(extend("default" = 100000))]
    pub entries: Option<u64>,
}

/// How long, and how often at once, registries are asked.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Budget {
    /// The longest time for one review.
    #[schemars(extend("default" = "2500ms"))]
    pub request: Option<Length>,
    /// The longest time for one attempt to ask a registry.
    #[schemars(extend("default" = "1s"))]
    pub attempt: Option<Length>,
    /// The most requests to one registry at the same time.
    #[schemars(extend("default" = 16))]
    pub in_flight: Option<u32>,
}

/// Reports for the people of each namespace, in a form that other tools read.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Reports {
    /// Whether they are written, and in which form.
    #[schemars(extend("default" = "Off"))]
    pub mode: Option<ReportsMode>,
}

/// Whether reports are written, and in which form.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[schemars(transform = also_false)]
pub(super) enum ReportsMode {
    /// None are written.
    #[serde(alias = "false")]
    Off,
    /// One `Report` of openreports.io/v1alpha1 for each namespace in which something is not as it should be.
    OpenReports,
}

/// What Landfall may do about gaps.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Healing {
    /// What it may do.
    #[schemars(extend("default" = "Off"))]
    pub mode: Option<HealingMode>,
    /// So long a gap is left to Harbor itself.
    #[schemars(extend("default" = "1m"))]
    pub after: Option<Length>,
}

/// What Landfall may do about gaps.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[schemars(transform = also_false)]
pub(super) enum HealingMode {
    /// Nothing.
    #[serde(alias = "false")]
    Off,
    /// Start scans at local Harbors.
    Scan,
    /// Also execute the replication rules that cover what is missing.
    Replicate,
}
