//! The pull secrets that Pods name, read as the kubelet reads them, for somebody who may: Landfall's own account may not.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1;
use kube::api::Api;

use super::{Cluster, ClusterError, call};

/// A Secret of any type.
#[derive(Clone, Default)]
pub struct PodSecret {
    /// Its type, such as `kubernetes.io/dockerconfigjson`.
    pub kind: String,
    /// Its keys and values.
    pub data: BTreeMap<String, Vec<u8>>,
}

impl std::fmt::Debug for PodSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PodSecret").field("kind", &self.kind).finish_non_exhaustive()
    }
}

impl Cluster {
    /// A Secret; `None`: there is none of that name.
    ///
    /// # Errors
    /// If the API server cannot be asked or refuses it.
    pub async fn pod_secret(&self, namespace: &str, name: &str) -> Result<Option<PodSecret>, ClusterError> {
        let api: Api<v1::Secret> = Api::namespaced(self.client.clone(), namespace);
        let found = call(|| format!("read Secret {namespace}/{name}"), api.get_opt(name)).await?;
        Ok(found.map(|secret| PodSecret {
            kind: secret.type_.unwrap_or_default(),
            data: secret
                .data
                .unwrap_or_default()
                .into_iter()
                .map(|(key, ByteString(value))| (key, value))
                .collect(),
        }))
    }

    /// The pull secrets that a ServiceAccount gives to Pods that name none; `None`: there is no such account.
    ///
    /// # Errors
    /// If the API server cannot be asked or refuses it.
    pub async fn pull_secrets_of_account(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Vec<String>>, ClusterError> {
        let api: Api<v1::ServiceAccount> = Api::namespaced(self.client.clone(), namespace);
        let found = call(|| format!("read ServiceAccount {namespace}/{name}"), api.get_opt(name)).await?;
        let names = |account: v1::ServiceAccount| {
            account.image_pull_secrets.unwrap_or_default().into_iter().map(|named| named.name).collect()
        };
        Ok(found.map(names))
    }
}
