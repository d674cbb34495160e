//! Who owns what made a Pod: of a ReplicaSet its Deployment, of a Job its CronJob. People know the Deployment; a ReplicaSet is
//! gone after the next rollout.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{Api, DynamicObject};
use kube::core::GroupVersionKind;
use kube::core::discovery::ApiResource;
use moka::sync::Cache;

use super::{Cluster, ClusterError, ObjectRef, call};

/// How many owners are remembered.
const MOST: u64 = 2_000;

/// For how long. The owner of an object does not change.
const REMEMBERED: Duration = Duration::from_secs(3_600);

/// Finds the owners of owners. A clone uses the same memory.
#[derive(Clone)]
pub struct Owners {
    client: kube::Client,
    known: Cache<ObjectRef, ObjectRef>,
}

impl std::fmt::Debug for Owners {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Owners").field("known", &self.known.entry_count()).finish_non_exhaustive()
    }
}

impl Cluster {
    /// Finds the owners of owners in this cluster.
    pub fn owners(&self) -> Owners {
        let known = Cache::builder().max_capacity(MOST).time_to_live(REMEMBERED).build();
        Owners { client: self.client.clone(), known }
    }
}

impl Owners {
    /// The owner as it is, where it needs no question: it is remembered, or nothing above it is looked for.
    pub fn known(&self, owner: &ObjectRef) -> Option<ObjectRef> {
        let looks_up =
            matches!((&*owner.api_version, &*owner.kind), ("apps/v1", "ReplicaSet") | ("batch/v1", "Job"));
        if looks_up { self.known.get(owner) } else { Some(owner.clone()) }
    }

    /// The Deployment of a ReplicaSet, the CronJob of a Job; else, and where that cannot be learned, the owner as it is.
    pub async fn top(&self, owner: &ObjectRef) -> ObjectRef {
        if let Some(known) = self.known(owner) {
            return known;
        }
        let asked = self.ask(owner).await;
        let top = match &asked {
            Ok(above) => above.clone().unwrap_or_else(|| owner.clone()),
            Err(error) => {
                tracing::debug!(%error, owner.kind = &*owner.kind, owner.name, "its owner is not known");
                owner.clone()
            }
        };
        // That it is gone, or that we may not read it, is an answer, too.
        let is_answer = asked.as_ref().err().is_none_or(|error| error.is_not_found() || error.is_forbidden());
        if is_answer {
            self.known.insert(owner.clone(), top.clone());
        }
        top
    }

    async fn ask(&self, owner: &ObjectRef) -> Result<Option<ObjectRef>, ClusterError> {
        let Some(namespace) = &owner.namespace else { return Ok(None) };
        let (group, version) = owner.api_version.split_once('/').unwrap_or(("", &owner.api_version));
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, &owner.kind));
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), namespace, &resource);
        let what = || format!("read {} `{}` in namespace `{namespace}`", owner.kind, owner.name);
        let found = call(what, api.get_metadata(&owner.name)).await?;
        if owner.uid.is_some() && owner.uid != found.metadata.uid {
            return Ok(None);
        }
        let above = found.metadata.owner_references.unwrap_or_default();
        let controller = above.into_iter().find(|above| above.controller == Some(true));
        Ok(controller.map(|OwnerReference { api_version, kind, name, uid, .. }| ObjectRef {
            api_version: api_version.into(),
            kind: kind.into(),
            namespace: Some(namespace.clone()),
            name,
            uid: Some(uid),
        }))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use http::StatusCode;
    use serde_json::json;

    use super::*;

    fn owner(api_version: &'static str, kind: &'static str, name: &str) -> ObjectRef {
        ObjectRef {
            api_version: api_version.into(),
            kind: kind.into(),
            namespace: Some("shop".to_owned()),
            name: name.to_owned(),
            uid: Some("u1".to_owned()),
        }
    }

    #[tokio::test]
    async fn the_deployment_is_found_once_and_what_cannot_be_learned_stays_as_it_is() {
        let asked = Arc::new(AtomicUsize::new(0));
        let counter = asked.clone();
        let cluster = Cluster::answered_by(move |head, _| {
            counter.fetch_add(1, Ordering::SeqCst);
            async move {
                let refused = |code: u16, reason: &str| {
                    let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure",
                                        "message": reason, "reason": reason, "code": code});
                    (StatusCode::from_u16(code).unwrap(), status.to_string())
                };
                match head.uri.path() {
                    "/apis/apps/v1/namespaces/shop/replicasets/web-1" => {
                        let above = json!([{"apiVersion": "apps/v1", "kind": "Deployment", "name": "web",
                                            "uid": "d1", "controller": true}]);
                        let object = json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1",
                            "metadata": {"name": "web-1", "uid": "u1", "ownerReferences": above}});
                        (StatusCode::OK, object.to_string())
                    }
                    "/apis/batch/v1/namespaces/shop/jobs/forbidden" => refused(403, "Forbidden"),
                    _ => refused(500, "InternalError"),
                }
            }
        });
        let owners = cluster.owners();
        let set = owner("apps/v1", "ReplicaSet", "web-1");
        for _ in 0..3 {
            let top = owners.top(&set).await;
            assert_eq!((&*top.kind, &*top.name, top.uid.as_deref()), ("Deployment", "web", Some("d1")));
        }
        assert_eq!(asked.load(Ordering::SeqCst), 1);
        for (kept, times) in [
            (owner("batch/v1", "Job", "forbidden"), 1),
            (owner("apps/v1", "StatefulSet", "db"), 0),
            (owner("batch/v1", "Job", "broken"), 2),
        ] {
            asked.store(0, Ordering::SeqCst);
            assert_eq!(owners.top(&kept).await, kept);
            assert_eq!(owners.top(&kept).await, kept);
            assert_eq!(asked.load(Ordering::SeqCst), times, "{}", kept.name);
        }
    }
}
