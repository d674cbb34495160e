//! What each replica of ours has in force: one ConfigMap, in which each writes a key of its own, the name of its Pod.
//!
//! A key is set and removed by a merge patch that names this key alone, so no replica needs to know what the others write,
//! and no write can undo another's. All write as one field manager: with server-side apply, each replica would need one of
//! its own, and every rollout would leave some behind.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{Api, ListParams, Patch};
use serde_json::json;

use super::secret::manager;
use super::{Cluster, ClusterError, call};

/// The replicas behind one Service, and the ConfigMap that they write.
#[derive(Debug, Clone)]
pub struct Replicas {
    map: Api<ConfigMap>,
    slices: Api<EndpointSlice>,
    service: String,
}

/// The Pods of a Service, by their names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Endpoints {
    /// Those that are called.
    pub ready: BTreeSet<String>,
    /// All of them.
    pub all: BTreeSet<String>,
}

impl Cluster {
    /// The replicas behind this Service. Their ConfigMap is called `<service>-replicas`.
    pub fn replicas(&self, namespace: &str, service: &str) -> Replicas {
        Replicas {
            map: Api::namespaced(self.client.clone(), namespace),
            slices: Api::namespaced(self.client.clone(), namespace),
            service: service.to_owned(),
        }
    }
}

impl Replicas {
    fn name(&self) -> String {
        format!("{}-replicas", self.service)
    }

    /// What the replicas have written, by the names of their Pods.
    ///
    /// # Errors
    /// If the API server cannot be asked, or there is no such ConfigMap.
    pub async fn read(&self) -> Result<BTreeMap<String, String>, ClusterError> {
        let name = self.name();
        let found = call(|| format!("read ConfigMap `{name}`"), self.map.get_opt(&name)).await?;
        let found = found.ok_or_else(|| ClusterError::Missing { what: format!("ConfigMap `{name}`") })?;
        Ok(found.data.unwrap_or_default())
    }

    /// Sets the keys of these Pods, and removes those that are `None`; other keys stay.
    ///
    /// # Errors
    /// If the API server cannot be asked or refuses it.
    pub async fn write(&self, values: &BTreeMap<&str, Option<&str>>) -> Result<(), ClusterError> {
        let name = self.name();
        let merge = Patch::Merge(json!({"data": values}));
        let what = || format!("write ConfigMap `{name}`");
        call(what, self.map.patch(&name, &manager(), &merge)).await.map(drop)
    }

    /// The Pods of the Service.
    ///
    /// # Errors
    /// If the API server cannot be asked.
    pub async fn endpoints(&self) -> Result<Endpoints, ClusterError> {
        let of_service =
            ListParams::default().labels(&format!("kubernetes.io/service-name={}", self.service));
        let what = || format!("list the EndpointSlices of Service `{}`", self.service);
        let slices = call(what, self.slices.list(&of_service)).await?;
        let mut endpoints = Endpoints::default();
        for endpoint in slices.items.into_iter().flat_map(|slice| slice.endpoints) {
            let Some(pod) = endpoint.target_ref.and_then(|target| target.name) else { continue };
            // The API: "nil should be interpreted as true".
            if endpoint.conditions.and_then(|conditions| conditions.ready).unwrap_or(true) {
                endpoints.ready.insert(pod.clone());
            }
            endpoints.all.insert(pod);
        }
        Ok(endpoints)
    }
}
