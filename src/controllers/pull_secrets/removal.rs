//! Deletes what no Pod needs any more: where two sweeps, one after the other, have seen no Pod with its name, and a last look
//! sees none either.
//!
//! A replica that has seen a Pod a moment ago does not tell of the namespace again for some minutes. So for that long the
//! leader looks at the Pods of a namespace after it has deleted something there, and has it made again if one needs it.

use std::collections::{HashMap, HashSet};

use jiff::Timestamp;
use serde::Deserialize;
use tokio::time::Instant;

use super::metrics::{PullSecretMetrics, Wrote};
use super::wants::{REMEMBERED, Want, Wants};
use crate::cluster::{ClusterError, PullSecretObject, PullSecretObjects, WorkloadKind, Workloads, Written};
use crate::controllers::sweep::Carried;
use crate::domain::error_chain::error_chain;
use crate::domain::name::{PullSecret, RegistryName};
use crate::domain::pull_secrets::Managed;
use crate::pod::Pod;

/// How many are deleted in one round. Each takes a list of the Pods of its namespace, now and in the next rounds.
const MOST: usize = 10;

/// What the leader knows of what is no longer needed.
pub(super) struct Removal {
    workloads: Workloads,
    /// The first list of Pods in which nobody had it.
    unneeded: HashMap<(Box<str>, RegistryName), Timestamp>,
    /// What was deleted lately.
    deleted: Vec<(Want, Instant)>,
}

/// What it acts on.
type Means<'a> = (&'a PullSecretObjects, &'a Wants, &'a PullSecretMetrics);

#[derive(Deserialize)]
struct Page<'a> {
    #[serde(default)]
    metadata: ListMeta,
    #[serde(default, borrow)]
    items: Option<Vec<Pod<'a>>>,
}

#[derive(Deserialize, Default)]
struct ListMeta {
    #[serde(default, rename = "continue")]
    next: Option<String>,
}

impl Removal {
    pub(super) fn new(workloads: Workloads) -> Self {
        Self { workloads, unneeded: HashMap::new(), deleted: Vec::new() }
    }

    /// Forgets everything: another replica leads.
    pub(super) fn forget(&mut self) {
        self.unneeded.clear();
        self.deleted.clear();
    }

    /// Deletes what of a registry is needed no more. `carried`: the Pods of the last sweep.
    pub(super) async fn look(
        &mut self,
        managed: &Managed,
        ours: &[PullSecretObject],
        carried: &Carried,
        means: Means<'_>,
    ) {
        self.look_again(managed, means).await;
        let (registry, secret) = (&managed.registry.name, &managed.secret);
        let there: HashSet<&str> = ours.iter().map(|object| &*object.namespace).collect();
        self.unneeded.retain(|(namespace, of), _| of != registry || there.contains(&**namespace));
        let mut left = MOST;
        for object in ours {
            let key = (object.namespace.clone(), registry.clone());
            if carried.by.contains(&(object.namespace.clone(), secret.clone())) {
                self.unneeded.remove(&key);
                continue;
            }
            let first = *self.unneeded.entry(key.clone()).or_insert(carried.at);
            if first >= carried.at || left == 0 {
                continue;
            }
            left -= 1;
            match self.delete(managed, object, means).await {
                Ok(true) => {
                    self.unneeded.remove(&key);
                    let want = Want { namespace: object.namespace.clone(), registry: registry.clone() };
                    self.deleted.push((want, Instant::now()));
                }
                Ok(false) => {
                    self.unneeded.remove(&key);
                }
                Err(error) => {
                    let namespace = &*object.namespace;
                    let error = error_chain(&error);
                    tracing::warn!(error, namespace, %secret, "a pull secret that nobody needs stays");
                }
            }
        }
    }

    /// Whether it was deleted: a Pod may have come after the sweep.
    async fn delete(
        &self,
        managed: &Managed,
        object: &PullSecretObject,
        (objects, _, metrics): Means<'_>,
    ) -> Result<bool, ClusterError> {
        if self.is_carried(&object.namespace, &managed.secret).await? {
            return Ok(false);
        }
        let written = objects.delete(&managed.secret, object).await;
        let result = match written {
            Ok(Written::Done) => Wrote::Deleted,
            Ok(Written::Outdated) => Wrote::Outdated,
            Err(_) => Wrote::Failed,
        };
        metrics.wrote(&managed.registry.name, result);
        Ok(written? == Written::Done)
    }

    /// Has what was deleted lately made again, where a Pod has come since.
    async fn look_again(&mut self, managed: &Managed, (_, wants, _): Means<'_>) {
        let since = REMEMBERED + REMEMBERED / 5;
        let mut kept = Vec::new();
        for (want, at) in std::mem::take(&mut self.deleted) {
            if want.registry != managed.registry.name {
                kept.push((want, at));
                continue;
            }
            match self.is_carried(&want.namespace, &managed.secret).await {
                Ok(true) => wants.insist(want),
                _ if at.elapsed() < since => kept.push((want, at)),
                _ => {}
            }
        }
        self.deleted = kept;
    }

    /// Whether a Pod of this namespace has the Secret's name.
    async fn is_carried(&self, namespace: &str, secret: &PullSecret) -> Result<bool, ClusterError> {
        let mut after: Option<String> = None;
        loop {
            let page = self.workloads.page(WorkloadKind::Pod, Some(namespace), after.as_deref()).await?;
            // What cannot be read may need it.
            let Ok(page) = serde_json::from_str::<Page<'_>>(&page) else { return Ok(true) };
            if page.items.iter().flatten().any(|pod| pod.carries(secret)) {
                return Ok(true);
            }
            after = page.metadata.next.filter(|next| !next.is_empty());
            if after.is_none() {
                return Ok(false);
            }
        }
    }
}
