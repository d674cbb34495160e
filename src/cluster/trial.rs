//! A Pod that is created for a trial: as a dry run, so that admission says what it would, and nothing is stored.

use std::collections::BTreeMap;

use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::api::{Api, PostParams};
use serde_json::json;

use super::{Cluster, ClusterError, call};
use crate::domain::policy::Labels;

/// A Pod that asks for nothing but its image, and that the strictest namespace takes.
#[derive(Debug, Clone, Default)]
pub struct TrialPod {
    /// The name of its one container, and the beginning of its own.
    pub name: &'static str,
    /// The container's image.
    pub image: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
}

/// What became of a Pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trial {
    /// It would be stored, with this image and these annotations.
    Admitted {
        /// The container's image.
        image: String,
        /// The Pod's annotations.
        annotations: BTreeMap<String, String>,
    },
    /// It would not, in the API server's words: they name who refused.
    Refused(String),
}

impl Cluster {
    /// The labels of a namespace; `None`: there is no such namespace.
    ///
    /// # Errors
    /// Where the API server cannot be asked.
    pub async fn labels_of(&self, namespace: &str) -> Result<Option<Labels>, ClusterError> {
        let api: Api<Namespace> = Api::all(self.client.clone());
        let what = || format!("read namespace `{namespace}`");
        let found = call(what, api.get_metadata_opt(namespace)).await?;
        Ok(found.map(|found| found.metadata.labels.unwrap_or_default().into_iter().collect()))
    }

    /// May we create Pods in this namespace? Anybody may ask that of himself.
    ///
    /// # Errors
    /// Where the API server cannot be asked.
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

    /// Creates this Pod there, as a dry run.
    ///
    /// # Errors
    /// Where the API server cannot be asked.
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
    // Where a quota counts them, a Pod must say what it takes.
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
