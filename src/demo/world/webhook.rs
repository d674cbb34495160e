//! The webhook policies of a Harbor's projects, and what it delivers to their targets: as a real one, in both formats, three
//! attempts at most, no order, and an answer other than 2xx is a failure.

use std::time::Duration;

use http::header::{AUTHORIZATION, CONTENT_TYPE};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::mpsc;

/// A webhook policy, as the API shows it and takes it.
#[derive(Debug, Clone)]
pub(super) struct Policy {
    pub(super) id: u64,
    pub(super) project: String,
    pub(super) body: Body,
}

/// What the API takes and shows of a policy.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Body {
    pub(super) name: String,
    #[serde(default)]
    description: String,
    #[serde(default)]
    enabled: bool,
    #[serde(default)]
    pub(super) event_types: Vec<String>,
    #[serde(default)]
    pub(super) targets: Vec<Target>,
}

/// Where a policy delivers.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Target {
    #[serde(rename = "type")]
    kind: String,
    address: String,
    #[serde(default)]
    auth_header: String,
    #[serde(default)]
    skip_cert_verify: bool,
    #[serde(default)]
    payload_format: String,
}

/// A request to a target.
#[derive(Debug, Clone)]
pub(super) struct Delivery {
    address: String,
    auth_header: String,
    media_type: &'static str,
    body: String,
    skip_cert_verify: bool,
    backoff: Duration,
}

/// The policies, and where deliveries go.
#[derive(Debug, Default)]
pub(super) struct Hooks {
    pub(super) policies: Vec<Policy>,
    pub(super) outbox: Option<mpsc::UnboundedSender<Delivery>>,
    /// The pause before the second attempt: 16 s in a real Harbor.
    pub(super) backoff: Duration,
}

/// How often a target is tried (`JOBSERVICE_WEBHOOK_JOB_MAX_RETRY`).
const ATTEMPTS: u32 = 3;

/// How long one attempt takes at most (`JOBSERVICE_WEBHOOK_JOB_HTTP_CLIENT_TIMEOUT`).
const PATIENCE: Duration = Duration::from_secs(3);

impl Hooks {
    /// Tells all that want this type what happened in a repository: to this digest, under this tag or none.
    pub(super) fn tell(&self, event: &str, repository: &str, digest: &str, tag: Option<&str>) {
        let Some((project, name)) = repository.split_once('/') else { return };
        let Some(outbox) = &self.outbox else { return };
        let wants = |policy: &&Policy| {
            policy.project == project
                && policy.body.enabled
                && policy.body.event_types.iter().any(|one| one == event)
        };
        for policy in self.policies.iter().filter(wants) {
            let data = json!({
                "resources": [{
                    "digest": digest, "tag": tag.unwrap_or(digest),
                    "resource_url": format!("harbor/{repository}@{digest}"),
                }],
                "repository": {
                    "name": name, "namespace": project, "repo_full_name": repository, "repo_type": "private",
                },
            });
            for target in &policy.body.targets {
                let (media_type, body) = if target.payload_format == "CloudEvents" {
                    let body = json!({
                        "specversion": "1.0", "id": format!("{digest}-{event}"), "type": cloud(event),
                        "source": format!("/projects/{project}/webhook/policies/{}", policy.id),
                        "datacontenttype": "application/json", "time": Timestamp::now().to_string(),
                        "data": data, "operator": "robot$landfall",
                    });
                    ("application/cloudevents+json", body)
                } else {
                    let body = json!({
                        "type": event, "occur_at": Timestamp::now().as_second(), "operator": "robot$landfall",
                        "event_data": data,
                    });
                    ("application/json", body)
                };
                // Nobody reads them any more once the registry has ended.
                let _ = outbox.send(Delivery {
                    address: target.address.clone(),
                    auth_header: target.auth_header.clone(),
                    media_type,
                    body: body.to_string(),
                    skip_cert_verify: target.skip_cert_verify,
                    backoff: self.backoff,
                });
            }
        }
    }
}

fn cloud(event: &str) -> &'static str {
    match event {
        "PUSH_ARTIFACT" => "harbor.artifact.pushed",
        "DELETE_ARTIFACT" => "harbor.artifact.deleted",
        "SCANNING_COMPLETED" => "harbor.scan.completed",
        "SCANNING_FAILED" => "harbor.scan.failed",
        _ => "harbor.unknown",
    }
}

/// Delivers for as long as it is polled. Targets are verified by this authority (PEM), unless their policy says otherwise.
pub(super) async fn deliver(mut outbox: mpsc::UnboundedReceiver<Delivery>, authority: String) {
    let client = |verify: bool| {
        let ca = reqwest::Certificate::from_pem(authority.as_bytes()).ok()?;
        let builder = reqwest::Client::builder().tls_certs_only([ca]).no_proxy().timeout(PATIENCE);
        builder.tls_danger_accept_invalid_certs(!verify).build().ok()
    };
    let (Some(verifying), Some(trusting)) = (client(true), client(false)) else { return };
    let mut running = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            delivery = outbox.recv() => {
                let Some(delivery) = delivery else { return };
                let client = if delivery.skip_cert_verify { &trusting } else { &verifying };
                running.spawn(attempts(client.clone(), delivery));
            }
            Some(_) = running.join_next() => {}
        }
    }
}

async fn attempts(client: reqwest::Client, delivery: Delivery) {
    for fails in 1..=ATTEMPTS {
        let request = client.post(&delivery.address).header(CONTENT_TYPE, delivery.media_type);
        let request = request.header(AUTHORIZATION, &delivery.auth_header).body(delivery.body.clone());
        if request.send().await.is_ok_and(|answer| answer.status().is_success()) {
            return;
        }
        tokio::time::sleep(delivery.backoff * fails.pow(4)).await;
    }
}
