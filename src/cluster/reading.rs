//! Single objects that a command reads: the configuration of a release, and a Pod.

use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::Api;

use super::{Cluster, ClusterError, call};

impl Cluster {
    /// One key of a ConfigMap; `None` where there is no such ConfigMap, or no such key.
    ///
    /// # Errors
    /// If the API server cannot be asked or refuses it.
    pub async fn config_map_key(
        &self,
        namespace: &str,
        name: &str,
        key: &str,
    ) -> Result<Option<String>, ClusterError> {
        let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), namespace);
        let what = || format!("read ConfigMap `{name}` of namespace `{namespace}`");
        let found = call(what, api.get_opt(name)).await?;
        Ok(found.and_then(|found| found.data?.remove(key)))
    }

    /// A Pod as JSON; `None` where there is none.
    ///
    /// # Errors
    /// If the API server cannot be asked or refuses it.
    pub async fn pod_as_json(&self, namespace: &str, name: &str) -> Result<Option<String>, ClusterError> {
        let api: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let what = || format!("read Pod `{name}` of namespace `{namespace}`");
        let found = call(what, api.get_opt(name)).await?;
        found.map(|pod| serde_json::to_string(&pod)).transpose().map_err(|source| ClusterError::Call {
            what: what(),
            source: Box::new(kube::Error::SerdeError(source)),
        })
    }
}
