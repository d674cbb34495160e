//! Events: what happened to an object, where an operator looks for it (`kubectl describe`).
//!
//! Recording never waits: an event goes into a bounded queue and is lost, with a warning, if the queue is full.
//! [`EventWriter`] writes one after the other. kube's `Recorder` merges repetitions of the same reason, action and
//! object into a series; the message of a series stays that of its first event.

use std::borrow::Cow;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::runtime::events::{self, Recorder, Reporter};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::{Cluster, call};
use crate::domain::error_chain::error_chain;

/// How many events may wait to be written.
const QUEUE: usize = 64;

/// The longest message that the API server takes, in bytes.
const LONGEST: usize = 1024;

/// An object, by its name: what an event is about, the owner of Pods.
#[derive(
    Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "camelCase")]
pub struct ObjectRef {
    /// As in a manifest: `v1`, `apps/v1`.
    #[schemars(length(max = 320))]
    pub api_version: Cow<'static, str>,
    /// As in a manifest.
    #[schemars(length(max = 63))]
    pub kind: Cow<'static, str>,
    /// Its namespace; none for an object of the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub namespace: Option<String>,
    /// Its name.
    #[schemars(length(max = 253))]
    pub name: String,
    /// Which object of that name, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub uid: Option<String>,
}

/// Whether somebody should look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// It went as it should.
    Normal,
    /// It did not.
    Warning,
}

/// What happened. The closed set of all reasons.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EventReason {
    /// A certificate authority was created.
    AuthorityMade,
    /// An authority signs from now on.
    AuthorityPromoted,
    /// Authorities are no longer published.
    AuthorityRetired,
    /// Authorities that the Secret had lost stay published.
    AuthorityAdopted,
    /// An authority signs later than the Secret said.
    AuthorityDemoted,
    /// Entries of the validating webhook that somebody changed or removed are as before.
    EntriesRestored,
    /// An owner creates its Pods again and again after their images were changed.
    PodsRecreated,
    /// A Secret has the name of a pull secret that Landfall makes, and is somebody else's.
    PullSecretLeftAlone,
    /// A policy is in force as it is written.
    PolicyAccepted,
    /// A policy has a mistake: what it said before stays in force.
    PolicyRefused,
    /// A policy was opened for some time.
    PolicyOpened,
    /// A policy that was opened for some time acts again.
    PolicyClosed,
    /// Pods use another site's copy of an image, because the one of this site is not as it should be.
    ImageFellBack,
    /// Pods are denied, because this site's copy of an image is not as it should be.
    ImageDenied,
    /// A copy that was here, and that Pods run from, is no longer here, or not whole.
    ImageLost,
    /// What was lacking is there.
    GapClosed,
    /// Attempts to heal a gap have failed, and none is made for a day.
    HealingGaveUp,
}

impl EventReason {
    fn as_str(self) -> &'static str {
        match self {
            Self::AuthorityMade => "AuthorityMade",
            Self::AuthorityPromoted => "AuthorityPromoted",
            Self::AuthorityRetired => "AuthorityRetired",
            Self::AuthorityAdopted => "AuthorityAdopted",
            Self::AuthorityDemoted => "AuthorityDemoted",
            Self::EntriesRestored => "EntriesRestored",
            Self::PodsRecreated => "PodsRecreated",
            Self::PullSecretLeftAlone => "PullSecretLeftAlone",
            Self::PolicyAccepted => "PolicyAccepted",
            Self::PolicyRefused => "PolicyRefused",
            Self::PolicyOpened => "PolicyOpened",
            Self::PolicyClosed => "PolicyClosed",
            Self::ImageFellBack => "ImageFellBack",
            Self::ImageDenied => "ImageDenied",
            Self::ImageLost => "ImageLost",
            Self::GapClosed => "GapClosed",
            Self::HealingGaveUp => "HealingGaveUp",
        }
    }

    /// What we were doing.
    fn action(self) -> &'static str {
        match self {
            Self::AuthorityMade
            | Self::AuthorityPromoted
            | Self::AuthorityRetired
            | Self::AuthorityAdopted
            | Self::AuthorityDemoted => "Rotate",
            Self::EntriesRestored => "Restore",
            Self::PodsRecreated => "Rewrite",
            Self::PullSecretLeftAlone => "Provide",
            Self::PolicyAccepted | Self::PolicyRefused | Self::PolicyOpened | Self::PolicyClosed => "Enforce",
            Self::ImageFellBack | Self::ImageDenied => "Admit",
            Self::ImageLost | Self::GapClosed => "Verify",
            Self::HealingGaveUp => "Heal",
        }
    }
}

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The object that it is about.
    pub about: ObjectRef,
    /// Whether somebody should look.
    pub severity: Severity,
    /// What happened, as one word.
    pub reason: EventReason,
    /// What happened, as one sentence. It is cut at 1,024 bytes.
    pub message: String,
}

/// Takes events. A clone feeds the same queue.
#[derive(Debug, Clone)]
pub struct EventRecorder {
    queue: mpsc::Sender<Event>,
}

/// Writes the events of one queue.
pub struct EventWriter {
    recorder: Recorder,
    queue: mpsc::Receiver<Event>,
}

impl Cluster {
    /// A queue of events, reported by the Pod of that name. Somebody has to poll [`EventWriter::run`].
    pub fn events(&self, pod: &str) -> (EventRecorder, EventWriter) {
        let reporter = Reporter { controller: "landfall".to_owned(), instance: Some(pod.to_owned()) };
        let (sender, receiver) = mpsc::channel(QUEUE);
        let writer = EventWriter { recorder: Recorder::new(self.client.clone(), reporter), queue: receiver };
        (EventRecorder { queue: sender }, writer)
    }
}

impl EventRecorder {
    /// Puts an event into the queue.
    pub fn record(&self, event: Event) {
        if let Err(error) = self.queue.try_send(event) {
            let (mpsc::error::TrySendError::Full(event) | mpsc::error::TrySendError::Closed(event)) = &error;
            tracing::warn!(%error, reason = event.reason.as_str(), "an event is lost");
        }
    }
}

impl EventWriter {
    /// Writes events until the last recorder is gone. An event that cannot be written is logged and not tried again.
    pub async fn run(mut self) {
        while let Some(event) = self.queue.recv().await {
            let (reason, (object, event)) = (event.reason.as_str(), kubernetes(event));
            let written = call(|| "write an event".to_owned(), self.recorder.publish(&event, &object)).await;
            if let Err(error) = written {
                tracing::warn!(error = error_chain(&error), reason, "an event is lost");
            }
        }
    }
}

/// An event in Kubernetes' words.
fn kubernetes(event: Event) -> (ObjectReference, events::Event) {
    let Event { about: ObjectRef { api_version, kind, namespace, name, uid }, severity, reason, mut message } =
        event;
    message.truncate(message.floor_char_boundary(LONGEST));
    let object = ObjectReference {
        api_version: Some(api_version.into_owned()),
        kind: Some(kind.into_owned()),
        namespace,
        name: Some(name),
        uid,
        ..ObjectReference::default()
    };
    let event = events::Event {
        type_: match severity {
            Severity::Normal => events::EventType::Normal,
            Severity::Warning => events::EventType::Warning,
        },
        reason: reason.as_str().to_owned(),
        note: Some(message),
        action: reason.action().to_owned(),
        secondary: None,
    };
    (object, event)
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use http::{Request, Response};
    use http_body_util::BodyExt;
    use kube::client::Body;
    use serde_json::Value;

    use super::*;

    fn event(reason: EventReason, message: &str) -> Event {
        let about = ObjectRef {
            api_version: "v1".into(),
            kind: "Secret".into(),
            namespace: Some("landfall".to_owned()),
            name: "landfall-ca".to_owned(),
            uid: None,
        };
        Event { about, severity: Severity::Warning, reason, message: message.to_owned() }
    }

    #[tokio::test]
    async fn repetitions_become_a_series_and_messages_are_cut() {
        let written = Arc::new(Mutex::new(Vec::new()));
        let server = written.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let server = server.clone();
            async move {
                let (head, body) = request.into_parts();
                let body = body.collect().await?.to_bytes();
                let object: Value = serde_json::from_slice(&body).unwrap();
                server.lock().unwrap().push((head.method.to_string(), object));
                Ok::<_, kube::Error>(Response::new(Body::from(body.to_vec())))
            }
        });
        let cluster = Cluster::of(kube::Client::new(service, "default"));
        let (recorder, writer) = cluster.events("landfall-0");
        // Each of these letters is two bytes, so 1,024 is in the middle of one.
        recorder.record(event(EventReason::AuthorityMade, &format!("x{}", "é".repeat(1000))));
        recorder.record(event(EventReason::AuthorityMade, "again"));
        recorder.record(event(EventReason::AuthorityRetired, "another"));
        drop(recorder);
        writer.run().await;

        let written = written.lock().unwrap();
        let methods: Vec<&str> = written.iter().map(|(method, _)| method.as_str()).collect();
        assert_eq!(methods, ["POST", "PATCH", "POST"]);
        let [(_, first), (_, repeated), (_, other)] = &written[..] else { panic!("{written:?}") };
        assert_eq!(first["note"].as_str().unwrap().len(), 1023);
        assert_eq!((&first["type"], &first["action"]), (&"Warning".into(), &"Rotate".into()));
        assert_eq!(
            (&first["regarding"]["kind"], &first["reportingInstance"]),
            (&"Secret".into(), &"landfall-0".into())
        );
        assert_eq!(
            (&repeated["metadata"]["name"], &repeated["series"]["count"]),
            (&first["metadata"]["name"], &2.into())
        );
        assert_eq!((&other["reason"], &other["series"]), (&"AuthorityRetired".into(), &Value::Null));
    }

    #[tokio::test]
    async fn recording_never_waits_for_an_api_server_that_does_not_answer() {
        let silent =
            tower::service_fn(|_: Request<Body>| std::future::pending::<kube::Result<Response<Body>>>());
        let cluster = Cluster::of(kube::Client::new(silent, "default"));
        let (recorder, writer) = cluster.events("landfall-0");
        for _ in 0..=QUEUE {
            recorder.record(event(EventReason::AuthorityMade, "one of many"));
        }
        assert_eq!(writer.queue.len(), QUEUE, "the last one is lost");
    }
}
