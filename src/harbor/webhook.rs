//! The webhook policy of a project by which Harbor notifies us: what it should be, and how it becomes that.

use bytes::Bytes;
use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::domain::unknown::Unknown;
use crate::registry::{Answer, Endpoint, Request};

use super::answer::fault;
use super::api::PAGE;
use super::client::Harbor;

/// The name of our policy in each project.
pub const NAME: &str = "landfall";

/// What Harbor should tell us of. Pulls are left out: every node, scanner and cosign causes one.
pub const EVENTS: [&str; 8] = [
    "PUSH_ARTIFACT",
    "DELETE_ARTIFACT",
    "SCANNING_COMPLETED",
    "SCANNING_FAILED",
    "SCANNING_STOPPED",
    "REPLICATION",
    "TAG_RETENTION",
    "QUOTA_EXCEED",
];

/// The most pages of policies that are read of one project.
const MOST_PAGES: usize = 10;

/// The limit of a page.
const LIMIT: usize = 1024 * 1024;

/// Where and how Harbor should notify us.
#[derive(Debug, Clone)]
pub struct Target {
    /// The URL of our port.
    pub address: String,
    /// The value of `Authorization`.
    pub authorization: String,
    /// `CloudEvents` or `Default`.
    pub format: &'static str,
    /// Whether Harbor is to verify our certificate.
    pub verify: Verify,
}

/// Whether Harbor verifies our certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verify {
    /// By the authorities that its job service trusts.
    Certificate,
    /// Not at all.
    Nothing,
}

/// A request that changes something.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// POST or PUT.
    pub method: Method,
    /// The path.
    pub path: String,
    /// The policy.
    pub body: Value,
}

/// Why a policy could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    /// 401.
    #[error("Harbor rejects the credentials (401)")]
    Unauthorized,
    /// 403.
    #[error(
        "Harbor refuses (403): either there is no project `{0}`, or the credentials lack the rights notification-policy list, create and update in it"
    )]
    Forbidden(String),
    /// 404.
    #[error("Harbor knows no project `{0}` (404)")]
    NoProject(String),
    /// Another status.
    #[error("Harbor answered {status}: {said}")]
    Status {
        /// The status.
        status: StatusCode,
        /// What it said.
        said: String,
    },
    /// No answer, or none that can be read.
    #[error("{0}")]
    Unknown(String),
}

impl From<Unknown> for WebhookError {
    fn from(unknown: Unknown) -> Self {
        Self::Unknown(unknown.detail.to_string())
    }
}

#[derive(Deserialize)]
struct Listed {
    id: i64,
    name: Box<str>,
    #[serde(flatten)]
    rest: Value,
}

impl Target {
    /// The policy, as Harbor's API takes it.
    #[must_use]
    pub fn policy(&self) -> Value {
        json!({
            "name": NAME,
            "description": "Tells Landfall what has changed",
            "enabled": true,
            "event_types": EVENTS,
            "targets": [{
                "type": "http",
                "address": self.address,
                "auth_header": self.authorization,
                "skip_cert_verify": self.verify == Verify::Nothing,
                "payload_format": self.format,
            }],
        })
    }
}

impl Harbor {
    /// What is to be done so that this project has the policy; `None`: it has it.
    ///
    /// # Errors
    /// The project's policies cannot be read.
    pub async fn webhook_call(
        &self,
        project: &str,
        target: &Target,
        deadline: Instant,
    ) -> Result<Option<Call>, WebhookError> {
        let (base, wanted) = (format!("/api/v2.0/projects/{project}/webhook/policies"), target.policy());
        for page in 1..=MOST_PAGES {
            let path = format!("{base}?page={page}&page_size={PAGE}");
            let answer = self.webhook_ask(Method::GET, &path, project, None, deadline).await?;
            let listed: Option<Vec<Listed>> = serde_json::from_slice(&answer.body)
                .map_err(|_| WebhookError::Unknown("what answers is not Harbor".to_owned()))?;
            let listed = listed.unwrap_or_default();
            let last = listed.len() < PAGE;
            if let Some(ours) = listed.into_iter().find(|policy| &*policy.name == NAME) {
                let call = || Call {
                    method: Method::PUT,
                    path: format!("{base}/{}", ours.id),
                    body: wanted.clone(),
                };
                return Ok((!is_as_wanted(&ours.rest, &wanted)).then(call));
            }
            if last {
                break;
            }
        }
        Ok(Some(Call { method: Method::POST, path: base, body: wanted }))
    }

    /// Does it.
    ///
    /// # Errors
    /// Harbor refuses it.
    pub async fn webhook_carry_out(
        &self,
        project: &str,
        call: &Call,
        deadline: Instant,
    ) -> Result<(), WebhookError> {
        let body = Some(call.body.to_string().into());
        self.webhook_ask(call.method.clone(), &call.path, project, body, deadline).await.map(drop)
    }

    async fn webhook_ask(
        &self,
        method: Method,
        path: &str,
        project: &str,
        body: Option<Bytes>,
        deadline: Instant,
    ) -> Result<Answer, WebhookError> {
        let request = Request {
            method,
            path_and_query: path,
            endpoint: Endpoint::HarborApi(Some(project)),
            accept: Some("application/json"),
            body,
            body_limit: LIMIT,
        };
        let answer = self.client().send(request, deadline).await?;
        match answer.status {
            status if status.is_success() => Ok(answer),
            StatusCode::UNAUTHORIZED => Err(WebhookError::Unauthorized),
            StatusCode::FORBIDDEN => Err(WebhookError::Forbidden(project.to_owned())),
            StatusCode::NOT_FOUND if fault(&answer.body).is_some() => {
                Err(WebhookError::NoProject(project.to_owned()))
            }
            status => Err(WebhookError::Status { status, said: answer.message() }),
        }
    }
}

/// Whether a policy is as it should be, whatever else stands in it.
fn is_as_wanted(found: &Value, wanted: &Value) -> bool {
    let events = |policy: &Value| {
        let types = policy.get("event_types").and_then(Value::as_array).into_iter().flatten();
        types.filter_map(Value::as_str).map(str::to_owned).collect::<std::collections::BTreeSet<_>>()
    };
    let target = |policy: &Value, field: &str| {
        let target = policy.get("targets").and_then(|targets| targets.get(0));
        // Harbor leaves out what is false.
        target.and_then(|target| target.get(field)).cloned().filter(|value| *value != Value::Bool(false))
    };
    let one = |policy: &Value| policy.get("targets").and_then(Value::as_array).map(Vec::len);
    found.get("enabled") == Some(&Value::Bool(true))
        && events(found) == events(wanted)
        && one(found) == Some(1)
        && ["type", "address", "auth_header", "skip_cert_verify", "payload_format"]
            .iter()
            .all(|field| target(found, field) == target(wanted, field))
}
