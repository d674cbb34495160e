//! Our own webhook configuration, by name. Its `caBundle` says which authorities the API server trusts when it calls us.

use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;

use super::{Changes, Cluster, ClusterError, Written, call, write};

/// The field manager of `caBundle` alone. The chart owns the rest of each entry, and neither changes what the other owns.
const BUNDLE_MANAGER: &str = "landfall-ca-bundle";

/// A MutatingWebhookConfiguration whose entries the chart renders without their `caBundle`.
#[derive(Debug, Clone)]
pub struct Webhook {
    api: Api<MutatingWebhookConfiguration>,
    name: String,
}

/// The entries as they were when they were read.
#[derive(Debug, Clone, Default)]
pub struct Entries {
    /// The version of the object.
    pub version: String,
    /// The `caBundle` of each entry, by the name of the entry; empty if it has none.
    pub bundles: BTreeMap<String, Vec<u8>>,
}

impl Cluster {
    /// The MutatingWebhookConfiguration of that name.
    pub fn webhook(&self, name: &str) -> Webhook {
        Webhook { api: Api::all(self.client.clone()), name: name.to_owned() }
    }
}

impl Webhook {
    /// What it says now.
    ///
    /// # Errors
    /// If the API server cannot be asked, or there is no such configuration.
    pub async fn read(&self) -> Result<Entries, ClusterError> {
        let found = call(|| format!("read {self}"), self.api.get_opt(&self.name)).await?;
        let found = found.ok_or_else(|| ClusterError::Missing { what: self.to_string() })?;
        let entries = found.webhooks.unwrap_or_default().into_iter();
        let bundle = |bundle: Option<ByteString>| bundle.map(|ByteString(bytes)| bytes).unwrap_or_default();
        Ok(Entries {
            version: found.metadata.resource_version.unwrap_or_default(),
            bundles: entries.map(|entry| (entry.name, bundle(entry.client_config.ca_bundle))).collect(),
        })
    }

    /// Sets the `caBundle` of every entry. Nothing is written if the object has changed since it was `read`: server-side
    /// apply would create an entry that was removed meanwhile again, with a `caBundle` and nothing else.
    ///
    /// # Errors
    /// If the API server cannot be asked or refuses it.
    pub async fn publish(&self, read: &Entries, bundle: &str) -> Result<Written, ClusterError> {
        let bundle = ByteString(bundle.as_bytes().to_vec());
        let entry = |name| json!({"name": name, "clientConfig": {"caBundle": bundle}});
        let ours = json!({
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "MutatingWebhookConfiguration",
            "metadata": {"name": self.name, "resourceVersion": read.version},
            "webhooks": read.bundles.keys().map(entry).collect::<Vec<_>>(),
        });
        // By force: somebody who overwrote the bundle owns the field until we take it back.
        let (params, ours) = (PatchParams::apply(BUNDLE_MANAGER).force(), Patch::Apply(ours));
        write(|| format!("publish the caBundle in {self}"), self.api.patch(&self.name, &params, &ours)).await
    }

    /// A watch that tells when it changes.
    pub fn changes(&self) -> Changes<MutatingWebhookConfiguration> {
        Changes { api: Api::all(self.api.clone().into_client()), name: self.name.clone() }
    }
}

impl fmt::Display for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MutatingWebhookConfiguration `{}`", self.name)
    }
}
