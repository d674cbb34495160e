//! A Pod that is created as a dry run: admission answers as for a real Pod, and nothing is stored.

use std::collections::BTreeMap;

use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::api::{Api, PostParams};
use serde_json::json;

use super::{Cluster, ClusterError, call};
use crate::domain::policy::Labels;

/// A Pod that only names an image, and that the strictest Pod Security level admits.
#[derive(Debug, Clone, Default)]
pub struct TrialPod {
    /// The name of its one container, and the beginning of the Pod's own name.
    pub name: &'static str,
    /// The image of the container.
    pub image: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
}

/// The answer to a dry run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trial {
    /// The Pod would be created, with this image and these annotations.
    Admitted {
        /// The image of the container.
        image: String,
        /// The annotations of the Pod.
        annotations: BTreeMap<String, String>,
    },
    /// The Pod would be refused. The API server's message names who refuses it.
    Refused(String),
}

impl Cluster {
    /// The labels of a namespace; `None` if there is no such namespace.
    ///
    /// # Errors
    /// If the API server cannot be asked.
    pub async fn labels_of(&self, namespace: &str) -> Result<Option<Labels>, ClusterError> {
        let api: Api<Namespace> = Api::all(self.client.clone());
        let what = || format!("read namespace `{namespace}`");
        let found = call(what, api.get_metadata_opt(namespace)).await?;
        Ok(found.map(|found| found.metadata.labels.unwrap_or_default().into_iter().collect()))
    }

    /// Whether we may create Pods in this namespace. Every account may ask that about itself.
    ///
    /// # Errors
    /// If the API server cannot be asked.
    pub async fn may_create_pods(&self, namespace: &str) -> Result<bool, ClusterError> {
        let api: Api<SelfSubjectAccessReview> = Api::all(self.client.clone());
        let attributes = ResourceAttributes {
            namespace: Some(namespace.to_owned()),
            verb: Some("create".to_owned()),
            resource: Some("pods".to_owned()),
            ..ResourceAttributes::default()
        };
        let review = SelfSubjectAccessReview {
            spec: SelfSubjectAccessReviewSpec {
                resource_attributes: Some(attributes),
                ..SelfSubjectAccessReviewSpec::default()
            },
            ..SelfSubjectAccessReview::default()
        };
        let params = PostParams::default();
        let answer = call(|| "ask what we may do".to_owned(), api.create(&params, &review)).await?;
        Ok(answer.status.is_some_and(|status| status.allowed))
    }

    /// Creates this Pod in this namespace, as a dry run.
    ///
    /// # Errors
    /// If the API server cannot be asked.
    pub async fn try_pod(&self, namespace: &str, pod: &TrialPod) -> Result<Trial, ClusterError> {
        let api: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let params = PostParams { dry_run: true, ..PostParams::default() };
        let what = || format!("create a Pod in namespace `{namespace}` as a dry run");
        let object = serde_json::from_value(object(pod)).map_err(|error| ClusterError::Call {
            what: what(),
            source: Box::new(kube::Error::SerdeError(error)),
        })?;
        match call(what, api.create(&params, &object)).await {
            Ok(stored) => {
                let mut containers = stored.spec.into_iter().flat_map(|spec| spec.containers);
                let ours = containers.find(|container| container.name == pod.name);
                Ok(Trial::Admitted {
                    image: ours.and_then(|container| container.image).unwrap_or_default(),
                    annotations: stored.metadata.annotations.unwrap_or_default(),
                })
            }
            Err(ClusterError::Call { what, source }) => match *source {
                kube::Error::Api(status) => Ok(Trial::Refused(status.message)),
                source => Err(ClusterError::Call { what, source: Box::new(source) }),
            },
            Err(error) => Err(error),
        }
    }
}

fn object(pod: &TrialPod) -> serde_json::Value {
    let TrialPod { name, image, labels, annotations } = pod;
    // A namespace with a ResourceQuota admits only Pods that state what they use.
    let little = json!({"cpu": "1m", "memory": "1Mi"});
    json!({
        "metadata": {"generateName": format!("{name}-"), "labels": labels, "annotations": annotations},
        "spec": {
            "automountServiceAccountToken": false,
            "restartPolicy": "Never",
            "securityContext": {"runAsNonRoot": true, "runAsUser": 65534, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{
                "name": name,
                "image": image,
                "resources": {"requests": little, "limits": little},
                "securityContext": {
                    "allowPrivilegeEscalation": false,
                    "readOnlyRootFilesystem": true,
                    "capabilities": {"drop": ["ALL"]},
                },
            }],
        },
    })
}
