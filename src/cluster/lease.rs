//! One Lease: what it says, and the writes of a replica that wants to hold it. `controllers/leader.rs` decides which write.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::{Api, Patch, PostParams};
use serde_json::json;

use super::secret::manager;
use super::{Cluster, ClusterError, MANAGER, Written, call, write};

/// A Lease, and the holder that wants it.
#[derive(Debug)]
pub struct Lease {
    api: Api<v1::Lease>,
    name: String,
    me: String,
    clock: fn() -> Timestamp,
}

/// What a Lease said when it was read.
#[derive(Debug, Clone, Default)]
pub struct LeaseState {
    /// The version of the object: it changes with every renewal.
    pub version: String,
    /// The holder; empty if there is none.
    pub holder: String,
    /// How long it lasts without a renewal, in its holder's words.
    pub lasts: Option<Duration>,
    transitions: i32,
}

impl Cluster {
    /// The Lease of that name, wanted by `me`. No other process may use that name.
    pub fn lease(&self, namespace: &str, name: &str, me: &str, clock: fn() -> Timestamp) -> Lease {
        Lease {
            api: Api::namespaced(self.client.clone(), namespace),
            name: name.to_owned(),
            me: me.to_owned(),
            clock,
        }
    }
}

impl Lease {
    /// The name that we hold it by.
    pub fn me(&self) -> &str {
        &self.me
    }

    /// What it says now; `None`: there is none.
    ///
    /// # Errors
    /// Where the API server cannot be asked.
    pub async fn read(&self) -> Result<Option<LeaseState>, ClusterError> {
        let found = call(|| format!("read {self}"), self.api.get_opt(&self.name)).await?;
        Ok(found.map(|found| {
            let spec = found.spec.unwrap_or_default();
            let seconds = spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
            LeaseState {
                version: found.metadata.resource_version.unwrap_or_default(),
                holder: spec.holder_identity.unwrap_or_default(),
                lasts: seconds.map(Duration::from_secs),
                transitions: spec.lease_transitions.unwrap_or_default(),
            }
        }))
    }

    /// Creates it, held by us. If several replicas do so at once, one succeeds.
    ///
    /// # Errors
    /// Where the API server cannot be asked or refuses it.
    pub async fn create(&self, lasts: Duration) -> Result<Written, ClusterError> {
        let metadata = ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() };
        let lease = v1::Lease { metadata, spec: Some(self.held(&LeaseState::default(), lasts)) };
        let params = PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
        write(|| format!("create {self}"), self.api.create(&params, &lease)).await
    }

    /// Takes or renews it, if it is still as it was `read`.
    ///
    /// # Errors
    /// Where the API server cannot be asked or refuses it.
    pub async fn hold(&self, read: &LeaseState, lasts: Duration) -> Result<Written, ClusterError> {
        self.write(read, self.held(read, lasts)).await
    }

    /// Gives it up if we hold it, so that the next leader need not wait until it runs out.
    ///
    /// # Errors
    /// Where the API server cannot be asked.
    pub async fn release(&self) -> Result<(), ClusterError> {
        let Some(read) = self.read().await?.filter(|read| read.holder == self.me) else { return Ok(()) };
        let nobody = v1::LeaseSpec {
            holder_identity: Some(String::new()),
            // The API server refuses 0.
            lease_duration_seconds: Some(1),
            renew_time: Some(MicroTime((self.clock)())),
            ..v1::LeaseSpec::default()
        };
        // `Outdated`: another replica holds it by now.
        let _: Written = self.write(&read, nobody).await?;
        Ok(())
    }

    async fn write(&self, read: &LeaseState, spec: v1::LeaseSpec) -> Result<Written, ClusterError> {
        let merge = json!({"metadata": {"resourceVersion": read.version}, "spec": spec});
        let merge = Patch::Merge(merge);
        write(|| format!("write {self}"), self.api.patch(&self.name, &manager(), &merge)).await
    }

    /// What it says when we hold it, after what it said before. The times are only for people.
    fn held(&self, before: &LeaseState, lasts: Duration) -> v1::LeaseSpec {
        let now = MicroTime((self.clock)());
        let takes = before.holder != self.me;
        v1::LeaseSpec {
            holder_identity: Some(self.me.clone()),
            lease_duration_seconds: Some(i32::try_from(lasts.as_secs().max(1)).unwrap_or(i32::MAX)),
            renew_time: Some(now.clone()),
            acquire_time: takes.then_some(now),
            lease_transitions: takes.then(|| before.transitions.saturating_add(1)),
            ..v1::LeaseSpec::default()
        }
    }
}

impl fmt::Display for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lease `{}` in namespace `{}`", self.name, self.api.namespace().unwrap_or_default())
    }
}
