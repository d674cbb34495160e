//! The values of the Helm chart. `values.schema.json` is made from this, and `values.yaml` must say all of it.
//!
//! What is Kubernetes' own passes through as it is: the API server judges it better than a copy of its schema would.
#![expect(dead_code, reason = "read for its shape alone")]

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

/// A name of an object of Kubernetes; empty: none.
type Name = String;

/// Something of Kubernetes' own.
type Free = Map<String, Value>;

/// Values of the chart `landfall`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Values {
    /// The configuration: the text of its file, or the same as a map.
    pub config: Option<Value>,
    /// What a parent chart tells all of its charts. Landfall does not listen.
    pub global: Option<Free>,
    /// Where the image lies.
    pub image: Image,
    /// A registry's name → the Secret with its credentials, mounted at `/etc/landfall/credentials/<name>`.
    pub credentials: BTreeMap<String, Name>,
    /// What is mounted at `/etc/landfall/ca`.
    pub ca: Source,
    /// Which namespaces' Pods come to Landfall.
    pub namespaces: Namespaces,
    /// Which of their Pods.
    pub pods: Pods,
    /// Where the certificate comes from.
    pub certificates: Certificates,
    /// The authorities of callers, `ca.crt`; none: anyone is answered.
    #[serde(rename = "clientCA")]
    pub client_ca: ClientCa,
    /// How many serve.
    #[schemars(range(min = 0))]
    pub replicas: u32,
    /// How long a replica that leaves still accepts connections, in seconds.
    #[schemars(range(min = 0))]
    pub drain_seconds: u32,
    /// What is logged, and how.
    pub log: Log,
    /// More variables of the container.
    pub env: Vec<Free>,
    /// The container's resources.
    pub resources: Free,
    /// The Pods' priority class; empty: none.
    pub priority_class_name: Name,
    /// Which nodes.
    pub node_selector: BTreeMap<String, String>,
    /// Which taints are borne.
    pub tolerations: Vec<Free>,
    /// In place of the built-in affinity.
    pub affinity: Free,
    /// More labels of the Pods.
    pub pod_labels: BTreeMap<String, String>,
    /// More annotations of the Pods.
    pub pod_annotations: BTreeMap<String, String>,
    /// Who may reach Landfall.
    pub network_policy: NetworkPolicy,
    /// How Prometheus finds it.
    pub service_monitor: ServiceMonitor,
    /// What `helm test` tries with.
    pub doctor: Doctor,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Image {
    /// Registry and repository, without a tag.
    pub repository: String,
    /// The chart's `appVersion` where empty.
    pub tag: String,
    /// `sha256:…`: this very image and no other.
    #[schemars(regex(pattern = "^(sha256:[0-9a-f]{64})?$"))]
    pub digest: String,
    pub pull_policy: PullPolicy,
    /// Secrets to pull it with.
    pub pull_secrets: Vec<Name>,
}

#[derive(Debug, Deserialize, JsonSchema)]
pub enum PullPolicy {
    Always,
    IfNotPresent,
    Never,
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
    /// The certificate must bear one of them; empty: any will do.
    pub names: Vec<String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Namespaces {
    pub selection: Selection,
    /// More conditions on the namespace's labels.
    pub match_expressions: Vec<Free>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Pods {
    /// Conditions on the Pod's labels.
    pub match_expressions: Vec<Free>,
}

#[derive(Debug, Deserialize, JsonSchema)]
pub enum Selection {
    /// All but those labelled `landfall.dev/mode: Skip`.
    OptOut,
    /// Only those labelled `landfall.dev/mode: Rewrite`.
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
    /// Landfall is its own authority.
    SelfManaged,
    /// cert-manager issues and renews.
    CertManager,
    /// You issue and renew.
    Provided,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CertManager {
    /// Who issues; empty: an authority of our own.
    pub issuer_ref: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Provided {
    /// A `kubernetes.io/tls` Secret.
    pub secret_name: Name,
    /// Base64 of the PEM of the certificate's authority.
    #[schemars(regex(pattern = "^[A-Za-z0-9+/]*={0,2}$"))]
    pub ca_bundle: String,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Log {
    /// A level, or `info,landfall=debug`.
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
    /// CIDRs that the API server calls from; empty: anyone.
    pub api_server: Vec<String>,
    /// Who reads `/metrics`: peers.
    pub metrics_from: Vec<Free>,
    /// What Landfall may reach: rules; empty: everything.
    pub egress: Vec<Free>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ServiceMonitor {
    pub create: Create,
    /// How often Prometheus asks, such as `30s`.
    #[schemars(length(min = 1))]
    pub interval: String,
    pub labels: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Doctor {
    /// Where Pods are tried, as dry runs; empty: there is no test.
    pub namespace: Name,
    /// An image that has a copy at this site; empty: none is known.
    pub image: String,
}

#[derive(Debug, Deserialize, JsonSchema)]
pub enum Create {
    /// Where the API server knows ServiceMonitors.
    Auto,
    Always,
    Never,
}
