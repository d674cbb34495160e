//! The values of the Helm chart. `values.schema.json` is generated from this, and `values.yaml` must have every name.
//!
//! Parts of Kubernetes objects pass through unchecked: the API server checks them better than a copy of its schema.
#![expect(dead_code, reason = "read for its shape alone")]

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

/// The name of a Kubernetes object; empty: none.
type Name = String;

/// A part of a Kubernetes object.
type Free = Map<String, Value>;

/// Values of the chart `landfall`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Values {
    /// The configuration: the text of its file, or the same as a map.
    pub config: Option<Value>,
    /// Values that a parent chart sets for all of its charts. Landfall uses none of them.
    pub global: Option<Free>,
    /// The image of Landfall.
    pub image: Image,
    /// The name of a registry → the Secret with its credentials, mounted at `/etc/landfall/credentials/<registry>`.
    pub credentials: BTreeMap<String, Name>,
    /// A folder → the Secret with credentials for pull secrets, mounted at `/etc/landfall/pull/<folder>`.
    pub pull_credentials: BTreeMap<String, Name>,
    /// Programs for `credentials: {provider: …}`, copied from images to `/etc/landfall/providers/<name>`.
    pub credential_providers: Vec<CredentialProvider>,
    /// The CA files, mounted at `/etc/landfall/ca`.
    pub ca: Source,
    /// What Harbors tell by themselves, at `POST /hooks/harbor`.
    pub notifications: Notifications,
    /// The namespaces whose Pods go through Landfall.
    pub namespaces: Namespaces,
    /// Which of their Pods go through Landfall.
    pub pods: Pods,
    /// Who issues the certificate.
    pub certificates: Certificates,
    /// The authorities of callers, in the key `ca.crt`; none: anyone may call.
    #[serde(rename = "clientCA")]
    pub client_ca: ClientCa,
    /// The ServiceAccounts of Landfall and of its test.
    pub service_account: ServiceAccount,
    /// The number of replicas.
    #[schemars(range(min = 0))]
    pub replicas: u32,
    /// How many seconds a replica that is stopped still accepts connections.
    #[schemars(range(min = 0))]
    pub drain_seconds: u32,
    /// What is logged, and in which format.
    pub log: Log,
    /// Whether Landfall listens on its node's addresses.
    pub host_network: HostNetwork,
    /// The `dnsPolicy` of the Pods; empty: `ClusterFirst`, with `hostNetwork` `ClusterFirstWithHostNet`.
    pub dns_policy: DnsPolicy,
    /// The `dnsConfig` of the Pods.
    pub dns_config: Free,
    /// The `hostAliases` of the Pods.
    pub host_aliases: Vec<Free>,
    /// More environment variables of the container.
    pub env: Vec<Free>,
    /// The resources of the container.
    pub resources: Free,
    /// The priority class of the Pods; empty: none.
    pub priority_class_name: Name,
    /// The nodes that Pods may run on.
    pub node_selector: BTreeMap<String, String>,
    /// The taints that Pods tolerate.
    pub tolerations: Vec<Free>,
    /// Replaces the default affinity.
    pub affinity: Free,
    /// More labels of the Pods.
    pub pod_labels: BTreeMap<String, String>,
    /// More annotations of the Pods.
    pub pod_annotations: BTreeMap<String, String>,
    /// Who may reach Landfall, and what it may reach.
    pub network_policy: NetworkPolicy,
    /// How Prometheus finds Landfall.
    pub service_monitor: ServiceMonitor,
    /// What is made of the metrics.
    pub metrics: Metrics,
    /// The definition of the resource LandingPolicy.
    pub crds: Crds,
    /// How and how often the leader looks at what runs.
    pub sweep: Sweep,
    /// The ClusterRole of whoever writes policies.
    pub policy_editor: PolicyEditor,
    /// What others may not do.
    pub guard: Guard,
    /// What `helm test` uses.
    pub doctor: Doctor,
    /// A CronJob that copies what is missing, by hand.
    pub copy: Copy,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Copy {
    /// Whether there is one. It is suspended: nothing runs by itself.
    pub enabled: bool,
    /// The name of a registry → the Secret with credentials that may push there, mounted at `/etc/landfall/copy/<registry>`.
    pub credentials: BTreeMap<String, Name>,
    /// What `landfall copy` is told, beside `--config`.
    pub args: Vec<String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Image {
    /// Registry and repository, without a tag.
    pub repository: String,
    /// The tag; empty: the `appVersion` of the chart.
    pub tag: String,
    /// `sha256:…`: exactly this image.
    #[schemars(regex(pattern = "^(sha256:[0-9a-f]{64})?$"))]
    pub digest: String,
    pub pull_policy: PullPolicy,
    /// The Secrets to pull it with.
    pub pull_secrets: Vec<Name>,
}

#[derive(Debug, Deserialize, JsonSchema)]
pub enum PullPolicy {
    Always,
    IfNotPresent,
    Never,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HostNetwork {
    pub enabled: bool,
    /// Address and port for the API server.
    #[schemars(regex(pattern = r"^([0-9.]+|\[[0-9A-Fa-f:.]+\]):[0-9]+$"))]
    pub listen: String,
    /// Address and port for the API server's calls of the second door.
    #[schemars(regex(pattern = r"^([0-9.]+|\[[0-9A-Fa-f:.]+\]):[0-9]+$"))]
    pub validate_listen: String,
    /// Address and port for `/livez`, `/readyz` and `/metrics`.
    #[schemars(regex(pattern = r"^([0-9.]+|\[[0-9A-Fa-f:.]+\]):[0-9]+$"))]
    pub admin_listen: String,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Notifications {
    pub enabled: bool,
    /// The Secret that is mounted at `/etc/landfall/notifications`; empty: none.
    pub secret_name: Name,
    /// The port of the Service.
    #[schemars(range(min = 1, max = 65535))]
    pub port: u16,
    /// Address and port in the Pod.
    #[schemars(regex(pattern = r"^([0-9.]+|\[[0-9A-Fa-f:.]+\]):[0-9]+$"))]
    pub listen: String,
    /// Who may reach it beside the other replicas: peers of a NetworkPolicy; empty: anyone.
    pub from: Vec<Free>,
}

#[derive(Debug, Deserialize, JsonSchema)]
pub enum DnsPolicy {
    /// `ClusterFirst`, with `hostNetwork` `ClusterFirstWithHostNet`.
    #[serde(rename = "")]
    Unset,
    ClusterFirst,
    ClusterFirstWithHostNet,
    Default,
    None,
}

/// A credential provider of the kubelet's kind.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CredentialProvider {
    /// The name of its file.
    #[schemars(regex(pattern = "^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$"))]
    pub name: String,
    /// The image that holds it, and `cp`.
    #[schemars(length(min = 1))]
    pub image: String,
    /// Where it is in the image.
    #[schemars(regex(pattern = "^/"))]
    pub path: String,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ServiceAccount {
    /// The annotations by which a cloud binds an identity to the account.
    pub annotations: BTreeMap<String, String>,
}

/// A ConfigMap or a Secret, or both.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Source {
    pub config_map_name: Name,
    pub secret_name: Name,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClientCa {
    pub config_map_name: Name,
    pub secret_name: Name,
    /// One of them must be in the certificate. At least one is required.
    pub names: Vec<String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Namespaces {
    pub selection: Selection,
    /// More conditions on the labels of the namespace.
    pub match_expressions: Vec<Free>,
    /// The same by name, so that several files can add some; `null`: none.
    pub leave_alone: BTreeMap<String, Option<Free>>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Pods {
    /// Conditions on the labels of the Pod.
    pub match_expressions: Vec<Free>,
    /// The same by name, so that several files can add some; `null`: none.
    pub leave_alone: BTreeMap<String, Option<Free>>,
}

#[derive(Debug, Deserialize, JsonSchema)]
pub enum Selection {
    /// All except those with the label `landfall.dev/mode: Skip`.
    OptOut,
    /// Only those with the label `landfall.dev/mode: Rewrite`.
    OptIn,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Certificates {
    pub mode: Mode,
    pub cert_manager: CertManager,
    pub provided: Provided,
}

#[derive(Debug, Deserialize, JsonSchema)]
pub enum Mode {
    /// Landfall is its own certificate authority.
    SelfManaged,
    /// cert-manager issues and renews the certificate.
    CertManager,
    /// You issue and renew the certificate.
    Provided,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CertManager {
    /// The issuer; empty: an authority only for Landfall.
    pub issuer_ref: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Provided {
    /// A Secret of type `kubernetes.io/tls`.
    pub secret_name: Name,
    /// The authority of the certificate: PEM, encoded as base64.
    #[schemars(regex(pattern = "^[A-Za-z0-9+/]*={0,2}$"))]
    pub ca_bundle: String,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Log {
    /// A level, or a filter such as `info,landfall=debug`.
    #[schemars(length(min = 1))]
    pub filter: String,
    pub format: Format,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    Json,
    Text,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NetworkPolicy {
    pub enabled: bool,
    /// The CIDRs that the API server calls from; empty: anyone may call.
    pub api_server: Vec<String>,
    /// Who may reach the admin port, with `/metrics` and `/readyz?verbose`: peers of a NetworkPolicy; empty: nobody but the
    /// kubelet.
    pub metrics_from: Vec<Free>,
    /// What Landfall may reach: egress rules of a NetworkPolicy; empty: everything.
    pub egress: Vec<Free>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ServiceMonitor {
    pub create: Create,
    /// How often Prometheus reads the metrics, such as `30s`.
    #[schemars(length(min = 1))]
    pub interval: String,
    pub labels: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Metrics {
    /// Alerts, as a PrometheusRule.
    pub rules: Rules,
    /// A dashboard, as a ConfigMap that Grafana's sidecar takes.
    pub dashboard: Dashboard,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rules {
    pub enabled: bool,
    /// What Prometheus selects PrometheusRules by.
    pub labels: BTreeMap<String, String>,
    /// Where RUNBOOKS.md is read; empty: the alerts have no link.
    #[serde(rename = "runbookURL")]
    #[schemars(regex(pattern = "^(https?://[^# ]+)?$"))]
    pub runbook_url: String,
    /// The names of alerts that are left out.
    pub leave_out: Vec<String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Dashboard {
    pub enabled: bool,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Crds {
    pub create: Create,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PolicyEditor {
    /// The ClusterRoles that get its rights, too, such as `admin`.
    pub aggregate_to: Vec<Name>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Guard {
    /// Who may change the labels that bring a namespace to Landfall.
    pub namespace_labels: NamespaceLabels,
    /// Who may change Landfall's webhook configurations.
    pub objects: Objects,
}

/// Landfall's webhook configurations, and its annotation of Pods that exist.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Objects {
    /// Whether they are guarded.
    pub enabled: bool,
    /// The groups that may change the webhook configurations.
    pub groups: Vec<String>,
    /// The users that may; `system:serviceaccount:NAMESPACE:NAME` for an account.
    pub users: Vec<String>,
}

/// Without a group or a user, everyone who may edit a namespace may change its labels.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NamespaceLabels {
    /// The groups that may.
    pub groups: Vec<String>,
    /// The users that may; `system:serviceaccount:NAMESPACE:NAME` for an account.
    pub users: Vec<String>,
    /// Other labels that are guarded like `landfall.dev/mode`.
    pub more: Vec<String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Sweep {
    /// The time from one sweep to the next, as in `15m`; `0s`: never.
    pub every: String,
    /// How long the inspection of a copy counts, as in `6h`.
    pub inspect: String,
    /// Whether the templates of workloads are read too.
    pub templates: bool,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Doctor {
    /// The namespace in which Pods are created as dry runs; empty: no test.
    pub namespace: Name,
    /// An image that has a copy at this site; empty: it is not tested that images are rewritten.
    pub image: String,
}

#[derive(Debug, Deserialize, JsonSchema)]
pub enum Create {
    /// If the cluster has the kind ServiceMonitor.
    Auto,
    Always,
    Never,
}
