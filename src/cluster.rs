//! The API server: one client, and the few objects that Landfall reads and writes there.
//!
//! Every call is bounded in time and sent once. The caller may try again, after it has read the object again. Every write
//! names the version of the object that it was computed from, so of two writers the second one is refused
//! ([`Written::Outdated`]) and reads again. Leadership only saves work: no write is correct only because there is one
//! leader.

mod backends;
mod changes;
mod events;
mod gaps;
mod glass;
mod inventory;
mod kubeconfig;
mod landing_policy;
mod lease;
mod namespaces;
mod owners;
mod pace;
mod pages;
mod pod_secrets;
mod policies;
mod pull_secrets;
mod pulls;
mod reading;
mod registration;
mod replicas;
mod replication_gap;
mod reports;
mod secret;
mod trial;
mod validators;
mod webhook;
mod workloads;

use std::path::Path;
use std::time::Duration;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::client::ClientBuilder;
use kube::config::{InClusterError, Kubeconfig, KubeconfigError};
use kube::runtime::watcher;
use kube::{Client, Config};
use thiserror::Error;

use crate::domain::proxy::{Proxies, Proxy};

pub use backends::{Backend, Backends};
pub use changes::Changes;
pub use events::{Event, EventReason, EventRecorder, ObjectRef, Severity};
pub use gaps::{GapChange, GapObject, GapObjects};
pub use glass::Glass;
pub use inventory::{Kept, MOST_BYTES, Parts};
pub use landing_policy::{LandingPolicy, LandingPolicyStatus, PolicyCondition};
pub use lease::Lease;
pub use namespaces::{Known, Namespaces};
pub use owners::Owners;
pub use pod_secrets::PodSecret;
pub use policies::{Listed, MOST_POLICIES, PolicyObject, PolicyObjects, Seen, Sight, seconds};
pub use pull_secrets::{HeldBy, Made, PullSecretObject, PullSecretObjects};
pub use pulls::{FailedPull, FailedPulls};
pub use registration::{Called, Registration};
pub use replicas::{Endpoints, Replicas};
pub use replication_gap::{
    AxisRecord, DETAIL_LENGTH, GapAction, GapState, MESSAGE_LENGTH, MOST_NAMED, ReplicationGapStatus,
};
pub use reports::{Configuration, Limits, Report, ReportResult, ReportSeverity, Status, Summary};
pub use secret::{Secret, Stored};
pub use trial::{Trial, TrialPod};
pub use validators::{Common, Entry, Filled, Registered, Validators};
pub use webhook::{Entries, Webhook};
pub use workloads::{WorkloadKind, Workloads};

/// Our name as a field manager: the API server records who owns which field.
const MANAGER: &str = "landfall";

/// How long one call may take. The API server's own limit is 34 s; nobody here should wait that long.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why a call to the API server failed.
#[derive(Debug, Error)]
pub enum ClusterError {
    /// The ServiceAccount of our Pod cannot be used.
    #[error("the Pod's ServiceAccount cannot be used to reach the API server")]
    Account {
        /// The cause.
        #[source]
        source: InClusterError,
    },
    /// The file that `KUBECONFIG` names cannot be used.
    #[error("the kubeconfig cannot be used to reach the API server")]
    Kubeconfig {
        /// The cause.
        #[source]
        source: KubeconfigError,
    },
    /// `proxy-url` names no proxy. It is not shown, because it may hold a password.
    #[error(
        "the `proxy-url` in the kubeconfig cannot be used: write `http://host:port`, or with `https` or `socks5`"
    )]
    ProxyUrl,
    /// The authorities of the file are not PEM.
    #[error("the certificate authority in the kubeconfig cannot be used: it is no PEM")]
    Authorities,
    /// Neither of the two exists.
    #[error(
        "no API server is known: this is no Pod with a ServiceAccount's token, and no kubeconfig is named"
    )]
    Nowhere,
    /// The call failed, or the API server refused it.
    #[error("cannot {what}")]
    Call {
        /// What we were doing and to which object, as in "cannot …".
        what: String,
        /// The cause.
        #[source]
        source: Box<kube::Error>,
    },
    /// The call was not answered in time.
    #[error("cannot {what}: no answer within {} s", PATIENCE.as_secs())]
    Silent {
        /// What we were doing and to which object, as in "cannot …".
        what: String,
    },
    /// An object that the chart renders does not exist.
    #[error("there is no {what}; it comes with the chart or the manifests")]
    Missing {
        /// The kind and the name of the object.
        what: String,
    },
}

impl ClusterError {
    /// Returns what a person at a terminal should do about it.
    #[must_use]
    pub fn advice(&self) -> &'static str {
        match self {
            Self::Account { .. } => "mount the token of the Pod's ServiceAccount, or name a kubeconfig",
            Self::Kubeconfig { .. } => {
                "`kubectl config get-contexts` lists what there is: choose with --kubeconfig and --context"
            }
            Self::ProxyUrl | Self::Authorities => {
                "correct the kubeconfig, or choose another with --kubeconfig"
            }
            Self::Nowhere => "set KUBECONFIG, or name the file with --kubeconfig",
            Self::Call { .. } => {
                "if it is forbidden: `kubectl auth can-i --list` shows your rights; else look whether `kubectl version` reaches it"
            }
            Self::Silent { .. } => "look whether `kubectl version` reaches the API server, and try again",
            Self::Missing { .. } => "install the chart, or name the release and its namespace",
        }
    }
}

/// Whether a write changed the object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// It did.
    Done,
    /// It did not, because the object has changed since it was read.
    Outdated,
}

/// The API server of a cluster. A clone uses the same client.
#[derive(Clone)]
pub struct Cluster {
    client: Client,
    proxy: Option<Proxy>,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster").finish_non_exhaustive()
    }
}

impl Cluster {
    /// The API server that `KUBECONFIG` names, else that of the cluster whose Pod we are. The kubeconfig in a home directory
    /// is not used: a server must not write to the cluster that a person happened to look at last.
    ///
    /// # Errors
    /// [`ClusterError::Nowhere`] if neither exists, else what is wrong with it. Nothing is sent to the API server.
    pub fn from_environment() -> Result<Self, ClusterError> {
        Self::named(None, None)
    }

    /// As [`Cluster::from_environment`], with another kubeconfig than `KUBECONFIG` and another context than the current one,
    /// where they are given.
    ///
    /// # Errors
    /// As there.
    pub fn named(file: Option<&Path>, context: Option<&str>) -> Result<Self, ClusterError> {
        let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let file = match file {
            Some(file) => Some(Kubeconfig::read_from(file)),
            None if is_set("KUBECONFIG") => Kubeconfig::from_env().transpose(),
            None => None,
        };
        if let Some(file) = file {
            let mut file = file.map_err(|source| ClusterError::Kubeconfig { source })?;
            if let Some(context) = context {
                file.current_context = Some(context.to_owned());
            }
            let environment = Proxies::of(|name| std::env::var(name).ok());
            let (config, proxy) = kubeconfig::read(file, &environment)?;
            return Ok(Self { proxy, ..Self::at(config)? });
        }
        if is_set("KUBERNETES_SERVICE_HOST") && context.is_none() {
            // A Pod reaches it without a proxy, whatever `HTTPS_PROXY` is set for registries.
            return Self::at(Config::incluster().map_err(|source| ClusterError::Account { source })?);
        }
        Err(ClusterError::Nowhere)
    }

    /// The API server that `config` names.
    ///
    /// # Errors
    /// If no TLS client can be set up with it.
    pub fn at(mut config: Config) -> Result<Self, ClusterError> {
        // kube would repeat even a POST after a 503 (kube-rs/kube#2082), and a repeated write would be computed from an
        // object that has changed.
        config.default_retry = false;
        let builder = ClientBuilder::try_from(config).map_err(|source| ClusterError::Call {
            what: "set up a client of the API server".to_owned(),
            source: Box::new(source),
        })?;
        Ok(Self::of(builder.with_layer(&pace::Pace).build()))
    }

    /// An API server that answers here to anybody, as in the demo.
    ///
    /// # Errors
    /// If the URL is none, or no client can be set up.
    #[cfg(feature = "demo")]
    pub fn answering_at(url: &str) -> Result<Self, ClusterError> {
        let url = url.parse().map_err(|source| ClusterError::Call {
            what: format!("use `{url}` as the address of an API server"),
            source: Box::new(kube::Error::Service(Box::new(source))),
        })?;
        Self::at(Config::new(url))
    }

    /// The API server behind this client.
    pub(crate) fn of(client: Client) -> Self {
        Self { client, proxy: None }
    }

    /// The proxy by which it is asked.
    #[must_use]
    pub fn proxy(&self) -> Option<&Proxy> {
        self.proxy.as_ref()
    }
}

#[cfg(test)]
impl Cluster {
    /// A cluster whose API server is this function: from the head of a request and its body, null where it has none, to a
    /// status and a body.
    pub(crate) fn answered_by<A>(
        answer: impl Fn(http::request::Parts, serde_json::Value) -> A + Clone + Send + Sync + 'static,
    ) -> Self
    where
        A: Future<Output = (http::StatusCode, String)> + Send,
    {
        use http_body_util::BodyExt;
        use kube::client::Body;

        let service = tower::service_fn(move |request: http::Request<Body>| {
            let answer = answer.clone();
            async move {
                let (head, body) = request.into_parts();
                let body = body.collect().await?.to_bytes();
                let (status, said) = answer(head, serde_json::from_slice(&body).unwrap_or_default()).await;
                let answer = http::Response::builder().status(status).body(Body::from(said.into_bytes()));
                Ok::<_, kube::Error>(answer.unwrap())
            }
        });
        Self::of(ClientBuilder::new(service, "default").with_layer(&pace::Pace).build())
    }
}

/// The definitions of all resources.
pub fn definitions() -> [CustomResourceDefinition; 2] {
    [landing_policy::definition(), replication_gap::definition()]
}

impl ClusterError {
    /// Whether the API server says that it does not know the object, or the resource.
    pub fn is_not_found(&self) -> bool {
        self.code() == Some(404)
    }

    /// Whether we lack a right.
    pub fn is_forbidden(&self) -> bool {
        self.code() == Some(403)
    }

    /// Whether the API server says that what we sent is wrong.
    pub fn is_invalid(&self) -> bool {
        matches!(self.code(), Some(400 | 422))
    }

    fn code(&self) -> Option<u16> {
        match self {
            Self::Call { source, .. } => match &**source {
                kube::Error::Api(status) => Some(status.code),
                _ => None,
            },
            _ => None,
        }
    }

    /// A failed watch of these objects.
    fn watch(objects: &str, error: watcher::Error) -> Self {
        let (verb, source) = match error {
            watcher::Error::InitialListFailed(source) => ("list", source),
            watcher::Error::WatchStartFailed(source) | watcher::Error::WatchFailed(source) => {
                ("watch", source)
            }
            watcher::Error::WatchError(status) => ("watch", kube::Error::Api(status)),
            error @ watcher::Error::NoResourceVersion => ("watch", kube::Error::Service(Box::new(error))),
        };
        Self::Call { what: format!("{verb} {objects}"), source: Box::new(source) }
    }
}

/// Waits for the answer to one call, at most [`PATIENCE`].
async fn call<T>(
    what: impl Fn() -> String,
    answer: impl Future<Output = kube::Result<T>>,
) -> Result<T, ClusterError> {
    match tokio::time::timeout(PATIENCE, answer).await {
        Ok(Ok(found)) => Ok(found),
        Ok(Err(source)) => Err(ClusterError::Call { what: what(), source: Box::new(source) }),
        Err(_) => Err(ClusterError::Silent { what: what() }),
    }
}

/// Waits for the answer to a write that names the version it was computed from.
async fn write<T>(
    what: impl Fn() -> String,
    answer: impl Future<Output = kube::Result<T>>,
) -> Result<Written, ClusterError> {
    match call(what, answer).await {
        Ok(_) => Ok(Written::Done),
        Err(ClusterError::Call { source, .. }) if is_conflict(&source) => Ok(Written::Outdated),
        Err(error) => Err(error),
    }
}

fn is_conflict(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 409)
}
