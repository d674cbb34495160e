//! Events: what happened, where an operator looks for it (`kubectl describe`).

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{self, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{Api, ObjectMeta, PostParams};

use super::{Cluster, call};

/// Writes events about one Secret.
#[derive(Debug, Clone)]
pub struct EventRecorder {
    api: Api<v1::Event>,
    namespace: String,
    secret: String,
    /// The Pod that says so.
    pod: String,
}

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// One word in CamelCase, from a closed set.
    pub reason: &'static str,
    /// One sentence, at most 1,024 bytes.
    pub message: String,
}

impl Cluster {
    /// Announces what becomes of a Secret, in the name of a Pod of its namespace.
    pub fn events(&self, namespace: &str, secret: &str, pod: &str) -> EventRecorder {
        EventRecorder {
            api: Api::namespaced(self.client.clone(), namespace),
            namespace: namespace.to_owned(),
            secret: secret.to_owned(),
            pod: pod.to_owned(),
        }
    }
}

impl EventRecorder {
    /// Writes it down at `now`. An event that cannot be written is logged and forgotten: what happened, happened.
    pub async fn publish(&self, news: Event, now: Timestamp) {
        let event = v1::Event {
            metadata: ObjectMeta {
                // As client-go does it: unique enough, and sorted by time.
                name: Some(format!("{}.{:x}", self.secret, now.as_nanosecond())),
                namespace: Some(self.namespace.clone()),
                ..ObjectMeta::default()
            },
            involved_object: ObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some("Secret".to_owned()),
                name: Some(self.secret.clone()),
                namespace: Some(self.namespace.clone()),
                ..ObjectReference::default()
            },
            type_: Some("Normal".to_owned()),
            reason: Some(news.reason.to_owned()),
            message: Some(news.message),
            action: Some("Rotate".to_owned()),
            event_time: Some(MicroTime(now)),
            reporting_component: Some("landfall".to_owned()),
            reporting_instance: Some(self.pod.clone()),
            ..v1::Event::default()
        };
        let params = PostParams::default();
        let written = call(|| "write an event".to_owned(), self.api.create(&params, &event)).await;
        if let Err(error) = written {
            tracing::warn!(%error, reason = news.reason, "an event is lost");
        }
    }
}
