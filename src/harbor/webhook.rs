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

/// The name of our policy in each project; with the host of our port where another cluster's policy has that name.
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

impl Call {
    /// The name of the policy.
    #[must_use]
    pub fn name(&self) -> &str {
        self.body.get("name").and_then(Value::as_str).unwrap_or_default()
    }
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
    /// Policies with other addresses have both names.
    #[error(
        "the project has a policy `{0}` that calls another address: remove it, or give the address that it calls"
    )]
    Taken(String),
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

impl Listed {
    /// Whether it calls this address.
    fn calls(&self, address: &str) -> bool {
        let called = self.rest.pointer("/targets/0/address").and_then(Value::as_str);
        called == Some(address)
    }
}

fn set_name(policy: &mut Value, name: &str) {
    if let Some(fields) = policy.as_object_mut() {
        fields.insert("name".to_owned(), name.into());
    }
}

impl Target {
    /// The host of the address, without its port.
    fn host(&self) -> &str {
        let rest = self.address.split_once("://").map_or(&*self.address, |(_, rest)| rest);
        rest.split(['/', ':']).next().unwrap_or_default()
    }

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
        let base = format!("/api/v2.0/projects/{project}/webhook/policies");
        let mut wanted = target.policy();
        let mut names = Vec::new();
        for page in 1..=MOST_PAGES {
            let path = format!("{base}?page={page}&page_size={PAGE}");
            let answer = self.webhook_ask(Method::GET, &path, project, None, deadline).await?;
            let listed: Option<Vec<Listed>> = serde_json::from_slice(&answer.body)
                .map_err(|_| WebhookError::Unknown("what answers is not Harbor".to_owned()))?;
            let listed = listed.unwrap_or_default();
            let last = listed.len() < PAGE;
            for policy in listed {
                // Another cluster of the same Harbor has one, too: ours is the one that calls us.
                if policy.calls(&target.address) && policy.name.starts_with(NAME) {
                    set_name(&mut wanted, &policy.name);
                    let is_right = is_as_wanted(&policy.rest, &wanted);
                    let path = format!("{base}/{}", policy.id);
                    return Ok((!is_right).then_some(Call { method: Method::PUT, path, body: wanted }));
                }
                names.push(policy.name);
            }
            if last {
                break;
            }
        }
        if names.iter().any(|name| **name == *NAME) {
            let name = format!("{NAME}-{}", target.host());
            if names.iter().any(|taken| **taken == *name) {
                return Err(WebhookError::Taken(name));
            }
            set_name(&mut wanted, &name);
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
