//! The credentials that the kubelet would find for a Pod: its pull secrets, else those of its ServiceAccount, and the one that
//! Landfall adds.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;
use tokio::sync::Mutex;

use crate::cluster::{Cluster, ClusterError, PodSecret};
use crate::domain::error_chain::error_chain;

/// Where Secrets and ServiceAccounts are read.
#[derive(Debug)]
pub enum Keys {
    /// In a cluster, each once.
    Cluster(Box<Cluster>, Mutex<Known>),
    /// In manifests.
    Manifests(ManifestKeys),
}

/// By kind (`true`: a Secret), namespace and name.
type Known = HashMap<(bool, String, String), Held>;

/// What was found of a Secret or a ServiceAccount.
#[derive(Debug, Clone)]
pub enum Held {
    /// A Secret.
    Secret(PodSecret),
    /// The pull secrets of a ServiceAccount.
    Account(Vec<String>),
    /// There is none.
    Absent,
    /// It may not be read, or could not be, for this reason.
    Unread(String),
}

/// Those that stand in manifests, by namespace and name. What does not may be in the cluster that the manifests are for.
#[derive(Debug)]
pub struct ManifestKeys {
    cluster: Option<Box<Keys>>,
    secrets: BTreeMap<(String, String), PodSecret>,
    accounts: BTreeMap<(String, String), Vec<String>>,
}

impl ManifestKeys {
    /// None yet, and the cluster that has the others, where one may be asked.
    #[must_use]
    pub fn beside(cluster: Option<Cluster>) -> Self {
        let cluster = cluster.map(|cluster| Box::new(Keys::of(cluster)));
        Self { cluster, secrets: BTreeMap::new(), accounts: BTreeMap::new() }
    }

    /// Takes an object, if it is a Secret or a ServiceAccount. `namespace` is that of objects that name none.
    pub fn take(&mut self, object: &Value, namespace: &str) {
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str);
        let key = (
            text("/metadata/namespace").unwrap_or(namespace).to_owned(),
            text("/metadata/name").unwrap_or_default().to_owned(),
        );
        match text("/kind") {
            Some("Secret") => {
                let entries =
                    |field: &str| object.get(field).and_then(Value::as_object).cloned().unwrap_or_default();
                let mut data = BTreeMap::new();
                for (name, value) in entries("data") {
                    // The API server refuses a Secret whose data is no base64.
                    if let Some(bytes) = value.as_str().and_then(crate::domain::keyring::base64) {
                        data.insert(name, bytes);
                    }
                }
                for (name, value) in entries("stringData") {
                    data.insert(name, value.as_str().unwrap_or_default().as_bytes().to_vec());
                }
                let kind = text("/type").unwrap_or("Opaque").to_owned();
                self.secrets.insert(key, PodSecret { kind, data });
            }
            Some("ServiceAccount") => {
                let listed = object.get("imagePullSecrets").and_then(Value::as_array);
                let names = listed.into_iter().flatten().filter_map(|named| named.get("name")?.as_str());
                self.accounts.insert(key, names.map(str::to_owned).collect());
            }
            _ => {}
        }
    }
}

impl Keys {
    /// Those of a cluster.
    #[must_use]
    pub fn of(cluster: Cluster) -> Self {
        Self::Cluster(Box::new(cluster), Mutex::default())
    }

    pub(super) async fn secret(&self, namespace: &str, name: &str) -> Held {
        match self {
            Self::Manifests(keys) => {
                match (keys.secrets.get(&(namespace.to_owned(), name.to_owned())), &keys.cluster) {
                    (Some(secret), _) => Held::Secret(secret.clone()),
                    (None, Some(cluster)) => Box::pin(cluster.secret(namespace, name)).await,
                    (None, None) => Held::Unread("the manifests do not have it".to_owned()),
                }
            }
            Self::Cluster(cluster, known) => {
                let key = (true, namespace.to_owned(), name.to_owned());
                if let Some(held) = known.lock().await.get(&key) {
                    return held.clone();
                }
                let held = match cluster.pod_secret(namespace, name).await {
                    Ok(Some(secret)) => Held::Secret(secret),
                    Ok(None) => Held::Absent,
                    Err(error) => unread(&error),
                };
                known.lock().await.insert(key, held.clone());
                held
            }
        }
    }

    pub(super) async fn account(&self, namespace: &str, name: &str) -> Held {
        match self {
            Self::Manifests(keys) => {
                match (keys.accounts.get(&(namespace.to_owned(), name.to_owned())), &keys.cluster) {
                    (Some(names), _) => Held::Account(names.clone()),
                    (None, Some(cluster)) => Box::pin(cluster.account(namespace, name)).await,
                    (None, None) => Held::Unread("the manifests do not have it".to_owned()),
                }
            }
            Self::Cluster(cluster, known) => {
                let key = (false, namespace.to_owned(), name.to_owned());
                if let Some(held) = known.lock().await.get(&key) {
                    return held.clone();
                }
                let held = match cluster.pull_secrets_of_account(namespace, name).await {
                    Ok(Some(names)) => Held::Account(names),
                    Ok(None) => Held::Absent,
                    Err(error) => unread(&error),
                };
                known.lock().await.insert(key, held.clone());
                held
            }
        }
    }
}

fn unread(error: &ClusterError) -> Held {
    Held::Unread(if error.is_forbidden() { "you may not read it".to_owned() } else { error_chain(error) })
}
