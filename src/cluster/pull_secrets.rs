//! The pull secrets of Landfall: Secrets of one name in many namespaces.
//!
//! Their rights are `create`, and `list`, `patch` and `delete` of these names. A list with `metadata.name=…` is what RBAC
//! takes for a request for that name (kubernetes `apiserver/pkg/endpoints/request/requestinfo.go`), so nothing else is read,
//! and of these the metadata alone.
//!
//! A Secret is ours where its labels say so. Nothing else is written or deleted, whatever its name.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, DeleteParams, Patch, PostParams, Preconditions};
use serde::Deserialize;
use serde_json::json;

use super::pages::Pages;
use super::secret::manager;
use super::{Cluster, ClusterError, MANAGER, Written, call, is_conflict, write};
use crate::domain::api_group::api_group;
use crate::domain::name::{PullSecret, RegistryName};
use crate::domain::pull_secrets::Content;

/// The label that says who keeps an object: <https://kubernetes.io/docs/concepts/overview/working-with-objects/common-labels/>.
const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// The label that names the registry of one of our Secrets.
const REGISTRY: &str = concat!(api_group!(), "/registry");
/// The annotation with the hash of its content.
const HASH: &str = concat!(api_group!(), "/pull-credentials");
const TYPE: &str = "kubernetes.io/dockerconfigjson";
const KEY: &str = ".dockerconfigjson";

/// The pull secrets of the cluster.
#[derive(Clone)]
pub struct PullSecretObjects {
    client: kube::Client,
    pages: Pages,
}

/// A Secret of a name that Landfall manages, as it was listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PullSecretObject {
    /// Its namespace.
    pub namespace: Box<str>,
    /// Whether it is ours.
    pub held_by: HeldBy,
    version: String,
    uid: String,
}

/// Who keeps a Secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HeldBy {
    /// Landfall, with content of this hash.
    Landfall(Box<str>),
    /// Somebody else.
    Other,
}

/// What became of a Secret that was to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Made {
    /// It was made.
    Created,
    /// There is one of that name.
    Exists,
    /// Its namespace does not exist, or is being deleted.
    NoNamespace,
}

/// What counts of a Secret. It lasts as long as its page: whoever may create Secrets writes their labels.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Meta {
    namespace: Box<str>,
    uid: String,
    resource_version: String,
    deletion_timestamp: Option<Timestamp>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

impl std::fmt::Debug for PullSecretObjects {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PullSecretObjects").finish_non_exhaustive()
    }
}

impl Cluster {
    /// The pull secrets of all namespaces.
    pub fn pull_secrets(&self) -> PullSecretObjects {
        PullSecretObjects { client: self.client.clone(), pages: Pages::new(self.client.clone()) }
    }
}

impl PullSecretObjects {
    /// All Secrets of this name.
    ///
    /// # Errors
    /// If the API server cannot be asked or refuses it.
    pub async fn list(&self, name: &PullSecret) -> Result<Vec<PullSecretObject>, ClusterError> {
        let what = || format!("list the Secrets `{name}` of all namespaces");
        let path = format!("/api/v1/secrets?fieldSelector=metadata.name%3D{name}&");
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let (page, next) = self.pages.metadata(what, &path, after.as_deref()).await?;
            found.extend(page.into_iter().filter_map(PullSecretObject::of));
            if next.is_none() {
                return Ok(found);
            }
            after = next;
        }
    }

    /// Makes one, unless there is one.
    ///
    /// # Errors
    /// If the API server cannot be asked or refuses it.
    pub async fn create(
        &self,
        namespace: &str,
        name: &PullSecret,
        registry: &RegistryName,
        content: &Content,
    ) -> Result<Made, ClusterError> {
        self.post(namespace, name, registry, content, PostParams::default()).await
    }

    /// What [`create`](Self::create) would do. Nothing is made: the API server asks whoever judges new objects before it sees
    /// that there is one of that name.
    ///
    /// # Errors
    /// As of `create`.
    pub async fn would_create(
        &self,
        namespace: &str,
        name: &PullSecret,
        registry: &RegistryName,
        content: &Content,
    ) -> Result<Made, ClusterError> {
        let dry_run = PostParams { dry_run: true, ..PostParams::default() };
        self.post(namespace, name, registry, content, dry_run).await
    }

    async fn post(
        &self,
        namespace: &str,
        name: &PullSecret,
        registry: &RegistryName,
        content: &Content,
        params: PostParams,
    ) -> Result<Made, ClusterError> {
        let labels = [(MANAGED_BY, MANAGER), (REGISTRY, registry.as_str())];
        let secret = Secret {
            metadata: ObjectMeta {
                name: Some(name.to_string()),
                labels: Some(labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into()),
                annotations: Some([(HASH.to_owned(), content.hash().to_owned())].into()),
                ..ObjectMeta::default()
            },
            type_: Some(TYPE.to_owned()),
            data: Some(BTreeMap::from([(KEY.to_owned(), ByteString(content.bytes().to_vec()))])),
            ..Secret::default()
        };
        let params = PostParams { field_manager: Some(MANAGER.to_owned()), ..params };
        let what = || format!("create Secret `{name}` in namespace `{namespace}`");
        match call(what, self.api(namespace).create(&params, &secret)).await {
            Ok(_) => Ok(Made::Created),
            Err(ClusterError::Call { source, .. }) if is_conflict(&source) => Ok(Made::Exists),
            Err(ClusterError::Call { source, .. }) if has_no_namespace(&source) => Ok(Made::NoNamespace),
            Err(error) => Err(error),
        }
    }

    /// Gives one of ours this content.
    ///
    /// # Errors
    /// If the API server cannot be asked or refuses it.
    pub async fn replace(
        &self,
        name: &PullSecret,
        object: &PullSecretObject,
        content: &Content,
    ) -> Result<Written, ClusterError> {
        let namespace = &object.namespace;
        let merge = Patch::Merge(json!({
            "metadata": {"resourceVersion": object.version, "annotations": {HASH: content.hash()}},
            "data": {KEY: ByteString(content.bytes().to_vec())},
        }));
        let what = || format!("write Secret `{name}` in namespace `{namespace}`");
        let written = write(what, self.api(namespace).patch(name.as_str(), &manager(), &merge)).await;
        gone_is_outdated(written)
    }

    /// Deletes one of ours.
    ///
    /// # Errors
    /// If the API server cannot be asked or refuses it.
    pub async fn delete(
        &self,
        name: &PullSecret,
        object: &PullSecretObject,
    ) -> Result<Written, ClusterError> {
        let namespace = &object.namespace;
        let as_listed =
            Preconditions { resource_version: Some(object.version.clone()), uid: Some(object.uid.clone()) };
        let params = DeleteParams::default().preconditions(as_listed);
        let what = || format!("delete Secret `{name}` in namespace `{namespace}`");
        gone_is_outdated(write(what, self.api(namespace).delete(name.as_str(), &params)).await)
    }

    fn api(&self, namespace: &str) -> Api<Secret> {
        Api::namespaced(self.client.clone(), namespace)
    }
}

impl PullSecretObject {
    /// What was listed. One that is being deleted counts as gone.
    fn of(meta: Meta) -> Option<Self> {
        let Meta { namespace, uid, resource_version, deletion_timestamp, labels, annotations } = meta;
        let managed_by = labels.get(MANAGED_BY).map(String::as_str);
        let ours = managed_by == Some(MANAGER) && labels.contains_key(REGISTRY);
        let hash = annotations.get(HASH).map(String::as_str).unwrap_or_default();
        // What somebody has written there is no hash of ours, whatever its length.
        let hash = hash.get(..64).unwrap_or(hash);
        let held_by = if ours { HeldBy::Landfall(hash.into()) } else { HeldBy::Other };
        deletion_timestamp.is_none().then_some(Self { namespace, held_by, version: resource_version, uid })
    }
}

fn gone_is_outdated(written: Result<Written, ClusterError>) -> Result<Written, ClusterError> {
    match written {
        Err(error) if error.is_not_found() => Ok(Written::Outdated),
        written => written,
    }
}

/// The API server takes nothing more into a namespace that is being deleted: a 403 that says so.
fn has_no_namespace(error: &kube::Error) -> bool {
    let kube::Error::Api(status) = error else { return false };
    let causes = status.details.iter().flat_map(|details| &details.causes);
    let ends = causes.into_iter().any(|cause| cause.reason == "NamespaceTerminating");
    status.code == 404 || status.code == 403 && ends
}

#[cfg(test)]
mod tests {
    use http::StatusCode;
    use serde_json::Value;

    use super::*;

    fn content() -> Content {
        Content::new("harbor.example.com", "robot$pull", &"pa55".into()).unwrap()
    }

    fn status(code: u16, reason: &str) -> String {
        let details = json!({"causes": [{"reason": reason, "message": "x", "field": "metadata.namespace"}]});
        json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": "x",
               "message": "x", "metadata": {}, "details": details})
        .to_string()
    }

    #[tokio::test]
    async fn a_namespace_that_ends_is_no_error_and_another_refusal_is() {
        for (code, reason, expected) in [
            (404, "", Some(Made::NoNamespace)),
            (403, "NamespaceTerminating", Some(Made::NoNamespace)),
            (403, "", None),
            (409, "", Some(Made::Exists)),
            (500, "", None),
        ] {
            let cluster = Cluster::answered_by(move |_, _| async move {
                (StatusCode::from_u16(code).unwrap(), status(code, reason))
            });
            let (name, registry) = (PullSecret::new("creds"), RegistryName::new("ams"));
            let made = cluster.pull_secrets().create("shop", &name, &registry, &content()).await;
            assert_eq!(made.ok(), expected, "{code} {reason}");
        }
    }

    #[tokio::test]
    async fn only_what_is_labelled_as_ours_is_ours_and_what_is_being_deleted_is_gone() {
        let (labels, hash) = (json!({MANAGED_BY: "landfall", REGISTRY: "ams"}), json!({HASH: "ab"}));
        let item = |namespace: &str, labels: Value, annotations: Value, more: Value| {
            let mut meta = json!({"name": "creds", "namespace": namespace, "uid": "1", "resourceVersion": "2",
                                  "labels": labels, "annotations": annotations});
            json_patch::merge(&mut meta, &more);
            json!({"metadata": meta})
        };
        let items = json!([
            item("ours", labels.clone(), hash.clone(), json!({})),
            item("bare", labels.clone(), Value::Null, json!({"annotations": null})),
            item("helm", json!({MANAGED_BY: "Helm", REGISTRY: "ams"}), hash.clone(), json!({})),
            item("half", json!({MANAGED_BY: "landfall"}), hash.clone(), json!({})),
            item("going", labels, hash, json!({"deletionTimestamp": "2026-11-21T12:00:00Z"})),
        ]);
        let cluster = Cluster::answered_by(move |head, _| {
            let query = head.uri.query().unwrap();
            assert!(query.starts_with("fieldSelector=metadata.name%3Dcreds&limit=200"), "{query}");
            // The last page of a list may be empty, and then the API server says null.
            let list = match query.ends_with("&continue=next") {
                true => json!({"metadata": {}, "items": null}),
                false => json!({"metadata": {"continue": "next"}, "items": items}),
            };
            async move { (StatusCode::OK, list.to_string()) }
        });
        let found = cluster.pull_secrets().list(&PullSecret::new("creds")).await.unwrap();
        let found: Vec<_> = found.into_iter().map(|one| (one.namespace, one.held_by)).collect();
        let ours = |hash: &str| HeldBy::Landfall(hash.into());
        let expected =
            [("ours", ours("ab")), ("bare", ours("")), ("helm", HeldBy::Other), ("half", HeldBy::Other)];
        assert_eq!(found, expected.map(|(namespace, held_by)| (namespace.into(), held_by)));
    }
}
