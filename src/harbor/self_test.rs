//! The self-test of a Harbor: is it up, and does it accept our credentials? Other answers do not tell, because Harbor
//! treats wrong credentials as anonymous wherever it can.

use std::borrow::Cow;

use http::StatusCode;
use serde::Deserialize;
use tokio::time::Instant;

use crate::domain::unknown::{Cause, Unknown};

use crate::registry::{Answer, Endpoint, object};

use super::answer::fault;
use super::api::Api;

/// How much a self-test checks. Each attempt with a wrong password takes 1.5 s and keeps a user's account locked, so
/// credentials that are known to be wrong are not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Check {
    /// Whether the credentials are right: two requests.
    Credentials,
    /// Whether credentials that were right still are: one request.
    Quick,
    /// Whether it is up, without credentials: one request.
    Anonymous,
}

/// The outcome of a self-test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SelfTest {
    /// What it found.
    pub result: SelfTestResult,
    /// Harbor's version (`v2.15.2-…`). It names it only to callers whose credentials are right.
    pub version: Option<Box<str>>,
}

/// What a self-test found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SelfTestResult {
    /// The credentials are right. What they allow is another question.
    Proved,
    /// No credentials, wrong ones, or a robot that is disabled, expired or deleted. Public projects can still be read.
    Rejected,
    /// It answers 500, because it cannot read its database.
    DatabaseDown(Unknown),
    /// It did not answer, or something that is no Harbor did.
    Unreachable(Unknown),
}

#[derive(Deserialize)]
struct SystemInfo<'a> {
    #[serde(borrow)]
    auth_mode: Option<Cow<'a, str>>,
    #[serde(borrow)]
    harbor_version: Option<Cow<'a, str>>,
}

/// Asks `systeminfo`, and `users/current` where that is not enough. Before it says that credentials are rejected, it asks
/// whether the database can be read: without it Harbor recognises nobody.
///
/// `systeminfo` names Harbor's version only to callers with valid credentials (`o01-systeminfo-*`, `r23-*`). So if the
/// version is missing, the credentials are wrong, and a second attempt would only take 1.5 s more and lock a user's account.
/// Older Harbors name the version to everybody, so if it is there, `users/current` decides: 412 for a robot, 200 for a
/// user, 401 for anybody else (`o01-users-current-*`, `r24-*`).
///
/// While the database is down, `users/current` answers 401 (`q16-pg-stopped-users-current`), and `systeminfo` 500
/// (`q08-pg-stopped-systeminfo-robot`), but only after a minute: until then Harbor knows its configuration by heart, and
/// answers 200 without a version, as to wrong credentials. The list of projects answers 500 at once (measured with 2.15.2).
pub(super) async fn self_test(api: &Api, check: Check, deadline: Instant) -> SelfTest {
    let found = credentials(api, check, deadline).await;
    if found.result != SelfTestResult::Rejected {
        return found;
    }
    match api.reads_database(deadline).await {
        Ok(()) => found,
        Err(result) => SelfTest { result, ..found },
    }
}

async fn credentials(api: &Api, check: Check, deadline: Instant) -> SelfTest {
    let mut found = SelfTest { result: SelfTestResult::Rejected, version: None };
    let endpoint = if check == Check::Anonymous { Endpoint::Anonymous } else { Endpoint::HarborApi(None) };
    found.result = match (version(api, endpoint, deadline).await, check) {
        (Err(result), _) => result,
        (Ok(None), _) | (Ok(_), Check::Anonymous) => SelfTestResult::Rejected,
        (Ok(version), Check::Quick) => {
            found.version = version;
            SelfTestResult::Proved
        }
        (Ok(version), Check::Credentials) => {
            found.version = version;
            match api.credentials_are_valid(deadline).await {
                Ok(true) => SelfTestResult::Proved,
                Ok(false) => SelfTestResult::Rejected,
                Err(unknown) => SelfTestResult::Unreachable(unknown),
            }
        }
    };
    found
}

impl Api {
    /// Can Harbor read its database? Anybody may ask for the list of public projects, so no credentials are sent.
    async fn reads_database(&self, deadline: Instant) -> Result<(), SelfTestResult> {
        let answer = self.public_projects(deadline).await.map_err(SelfTestResult::Unreachable)?;
        match answer.status {
            status if status.is_server_error() => Err(failed(&answer)),
            // An ingress may hide the list.
            _ => Ok(()),
        }
    }
}

/// What a 5xx means: one in Harbor's error format comes from Harbor itself, which cannot read its database. A proxy whose
/// Harbor is gone answers HTML.
fn failed(answer: &Answer) -> SelfTestResult {
    if answer.status == StatusCode::INTERNAL_SERVER_ERROR && fault(&answer.body).is_some() {
        let detail = "Harbor answers 500: it cannot read its database";
        return SelfTestResult::DatabaseDown(Unknown::new(Cause::ServerError, detail));
    }
    SelfTestResult::Unreachable(answer.unexpected())
}

async fn version(
    api: &Api,
    endpoint: Endpoint<'_>,
    deadline: Instant,
) -> Result<Option<Box<str>>, SelfTestResult> {
    let answer = api.system_info(endpoint, deadline).await.map_err(SelfTestResult::Unreachable)?;
    if answer.status != StatusCode::OK {
        return Err(failed(&answer));
    }
    let info: Option<SystemInfo<'_>> = object(&answer.body).ok();
    match info {
        Some(SystemInfo { auth_mode: Some(_), harbor_version }) => Ok(harbor_version.map(Into::into)),
        _ => Err(SelfTestResult::Unreachable(Unknown::new(
            Cause::NotRegistry,
            "`systeminfo` has no `auth_mode`: what answers is not Harbor",
        ))),
    }
}
