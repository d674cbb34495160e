//! The API server, asked: one client, and the few objects that Landfall reads and writes there.
//!
//! Every call is bounded in time and tried once: who called tries again, with what it then finds. Every write names
//! the version of the object that it was computed from, so that of two writers the second one is refused and looks
//! again ([`Written::Outdated`]): leadership spares work, but nothing rests on there being one leader only.

mod backends;
mod changes;
mod events;
mod lease;
mod namespaces;
mod registration;
mod secret;
mod trial;
mod webhook;

use std::time::Duration;

use kube::config::{InClusterError, KubeConfigOptions, KubeconfigError};
use kube::{Client, Config};
use thiserror::Error;

pub use backends::{Backend, Backends};
pub use changes::Changes;
pub use events::{Event, EventRecorder};
pub use lease::{Lease, Term};
pub use namespaces::{Known, Namespaces};
pub use registration::{Called, Registration};
pub use secret::{Secret, Stored};
pub use trial::{Trial, TrialPod};
pub use webhook::{Entries, Webhook};

/// Who we are to the API server where it keeps account of who owns which field.
const MANAGER: &str = "landfall";

/// How long one call may take. The API server's own limit is 34 s, but whoever waits here has better to do.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why the API server could not be asked, or what it refused.
#[derive(Debug, Error)]
pub enum ClusterError {
    /// The Pod's own account cannot be used.
    #[error("the Pod's ServiceAccount cannot be used to reach the API server")]
    Account {
        /// Why.
        #[source]
        source: InClusterError,
    },
    /// The file that `KUBECONFIG` names cannot be used.
    #[error("KUBECONFIG cannot be used to reach the API server")]
    Kubeconfig {
        /// Why.
        #[source]
        source: KubeconfigError,
    },
    /// There is nothing to reach it with.
    #[error(
        "no API server is known: this is no Pod with a ServiceAccount's token, and KUBECONFIG is not set"
    )]
    Nowhere,
    /// A call failed.
    #[error("cannot {what}")]
    Call {
        /// What we were doing, and to what.
        what: String,
        /// Why.
        #[source]
        source: Box<kube::Error>,
    },
    /// A call was not answered in time.
    #[error("cannot {what}: no answer within {} s", PATIENCE.as_secs())]
    Silent {
        /// What we were doing, and to what.
        what: String,
    },
    /// What the chart should have rendered is not there.
    #[error("there is no {what}; it comes with the chart or the manifests")]
    Missing {
        /// What.
        what: String,
    },
}

/// Whether a write took place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// It did.
    Done,
    /// It did not: the object has changed since it was read.
    Outdated,
}

/// A cluster's API server. A clone is a handle to the same.
#[derive(Clone)]
pub struct Cluster {
    client: Client,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster").finish_non_exhaustive()
    }
}

impl Cluster {
    /// The one that the environment leads to: `KUBECONFIG` where it is set, else the Pod's ServiceAccount. Never the
    /// kubeconfig in somebody's home: a server must not talk to whatever cluster a person last looked at.
    ///
    /// # Errors
    /// [`ClusterError::Nowhere`] where there is neither; else what is wrong with it. The API server itself is not asked.
    pub async fn from_environment() -> Result<Self, ClusterError> {
        let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let config = if is_set("KUBECONFIG") {
            Config::from_kubeconfig(&KubeConfigOptions::default())
                .await
                .map_err(|source| ClusterError::Kubeconfig { source })?
        } else if is_set("KUBERNETES_SERVICE_HOST") {
            Config::incluster().map_err(|source| ClusterError::Account { source })?
        } else {
            return Err(ClusterError::Nowhere);
        };
        Self::at(config)
    }

    /// The one that `config` leads to.
    ///
    /// # Errors
    /// Where TLS cannot be set up with it.
    pub fn at(mut config: Config) -> Result<Self, ClusterError> {
        // Retries are ours: what was computed from an old look is not to be sent again.
        config.default_retry = false;
        let client = Client::try_from(config).map_err(|source| ClusterError::Call {
            what: "set up a client of the API server".to_owned(),
            source: Box::new(source),
        })?;
        Ok(Self { client })
    }
}

/// Waits for one call.
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

/// Waits for one write that names the version it was computed from.
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

/// A stretch of time that is a little longer or shorter (± 20 %), so that replicas do not ask in step.
fn about(time: Duration) -> Duration {
    use std::hash::{BuildHasher, RandomState};
    // The standard library's keys are random; that is all the randomness this needs.
    let random = RandomState::new().hash_one(()) % 401;
    time.mul_f64(0.8 + random as f64 / 1000.0)
}
