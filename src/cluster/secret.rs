//! One Secret, by name.

use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1;
use kube::api::{Api, Patch, PatchParams};
use serde_json::{Value, json};

use super::{Changes, Cluster, ClusterError, MANAGER, Written, call, write};

/// A Secret that exists already: our rights let us read and fill it, not create it.
#[derive(Debug, Clone)]
pub struct Secret {
    api: Api<v1::Secret>,
    name: String,
}

/// What a Secret held when it was read.
#[derive(Clone, Default)]
pub struct Stored {
    /// The version of the object.
    pub version: String,
    /// Its keys and values.
    pub data: BTreeMap<String, Vec<u8>>,
}

impl fmt::Debug for Stored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys: Vec<_> = self.data.keys().collect();
        f.debug_struct("Stored").field("version", &self.version).field("data", &keys).finish()
    }
}

impl Cluster {
    /// The Secret of that name.
    pub fn secret(&self, namespace: &str, name: &str) -> Secret {
        Secret { api: Api::namespaced(self.client.clone(), namespace), name: name.to_owned() }
    }
}

impl Secret {
    /// What it holds now.
    ///
    /// # Errors
    /// If the API server cannot be asked, or there is no such Secret.
    pub async fn read(&self) -> Result<Stored, ClusterError> {
        let found = call(|| format!("read {self}"), self.api.get_opt(&self.name)).await?;
        let found = found.ok_or_else(|| ClusterError::Missing { what: self.to_string() })?;
        let data = found.data.unwrap_or_default();
        Ok(Stored {
            version: found.metadata.resource_version.unwrap_or_default(),
            data: data.into_iter().map(|(key, ByteString(value))| (key, value)).collect(),
        })
    }

    /// Sets these keys, and removes those that are `None`; other keys stay. Nothing is written if the Secret has changed
    /// since it was `read`.
    ///
    /// # Errors
    /// If the API server cannot be asked or refuses it.
    pub async fn write(
        &self,
        read: &Stored,
        data: &BTreeMap<&str, Option<String>>,
    ) -> Result<Written, ClusterError> {
        let data: BTreeMap<_, Value> = data
            .iter()
            .map(|(key, value)| {
                let bytes = value.as_ref().map(|value| ByteString(value.clone().into_bytes()));
                (*key, json!(bytes))
            })
            .collect();
        let merge = json!({"metadata": {"resourceVersion": read.version}, "data": data});
        let (params, merge) = (manager(), Patch::Merge(merge));
        write(|| format!("write {self}"), self.api.patch(&self.name, &params, &merge)).await
    }

    /// A watch that tells when it changes.
    pub fn changes(&self) -> Changes<v1::Secret> {
        Changes {
            api: Api::namespaced(self.api.clone().into_client(), self.api.namespace().unwrap_or_default()),
            name: self.name.clone(),
        }
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret `{}` in namespace `{}`", self.name, self.api.namespace().unwrap_or_default())
    }
}

pub(super) fn manager() -> PatchParams {
    PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() }
}
