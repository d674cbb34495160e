//! Who we are to a Harbor: its answers alone do not tell, for wrong credentials are silently nobody's.

use std::borrow::Cow;

use http::StatusCode;
use serde::Deserialize;
use tokio::time::Instant;

use crate::domain::evidence::{Cause, Unknown};

use crate::registry::{Endpoint, object};

use super::answer::fault;
use super::api::Api;

/// How far a look at a Harbor goes. Every wrong attempt takes 1.5 s and keeps a user's account locked, so credentials
/// are not shown for the sake of looking once they are known to be wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Look {
    /// Proves the credentials: two requests.
    Prove,
    /// Sees whether they still are what they were: one request.
    Glance,
    /// Sees whether it is up, without credentials: one request.
    Nobody,
}

/// What a self-test found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SelfTest {
    /// Who we are to it.
    pub standing: Standing,
    /// Harbor's version, as it tells it to those it knows (`v2.15.2-…`).
    pub version: Option<Box<str>>,
}

/// Who we are to a Harbor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It knows us: the credentials are right. What they allow is another question.
    Proved,
    /// It does not: no credentials, wrong ones, or a robot that is disabled, expired or deleted. Public projects can be
    /// read all the same.
    Rejected,
    /// It is up, but answers 500: it cannot read its database.
    DatabaseDown(Unknown),
    /// It did not answer, or somebody else did.
    Unreachable(Unknown),
}

#[derive(Deserialize)]
struct SystemInfo<'a> {
    #[serde(borrow)]
    auth_mode: Option<Cow<'a, str>>,
    #[serde(borrow)]
    harbor_version: Option<Cow<'a, str>>,
}

/// Asks `systeminfo`, and `users/current` where that is not enough.
///
/// `systeminfo` reads the database, so its 500 tells that it is down, where `users/current` would say 401
/// (recordings `q08-pg-stopped-systeminfo-robot`, `q16-pg-stopped-users-current`). It names the version only to callers whom it
/// knows (`o01-systeminfo-*`, `r23-*`): without one we are strangers, and need not try our luck twice, for a wrong attempt
/// takes 1.5 s and locks a user's account. Older Harbors named it to everybody, so with one `users/current` decides: 412 to a
/// robot, 200 to a user, 401 to a stranger (`o01-users-current-*`, `r24-*`).
pub(super) async fn self_test(api: &Api, look: Look, deadline: Instant) -> SelfTest {
    let mut found = SelfTest { standing: Standing::Rejected, version: None };
    let endpoint = if look == Look::Nobody { Endpoint::Anonymous } else { Endpoint::HarborApi(None) };
    found.standing = match (version(api, endpoint, deadline).await, look) {
        (Err(standing), _) => standing,
        (Ok(None), _) | (Ok(_), Look::Nobody) => Standing::Rejected,
        (Ok(version), Look::Glance) => {
            found.version = version;
            Standing::Proved
        }
        (Ok(version), Look::Prove) => {
            found.version = version;
            match api.is_known(deadline).await {
                Ok(true) => Standing::Proved,
                Ok(false) => Standing::Rejected,
                Err(unknown) => Standing::Unreachable(unknown),
            }
        }
    };
    found
}

async fn version(api: &Api, endpoint: Endpoint<'_>, deadline: Instant) -> Result<Option<Box<str>>, Standing> {
    let answer = api.system_info(endpoint, deadline).await.map_err(Standing::Unreachable)?;
    match answer.status {
        StatusCode::OK => {}
        // In Harbor's own words, and not the HTML of a proxy whose Harbor is gone.
        StatusCode::INTERNAL_SERVER_ERROR if fault(&answer.body).is_some() => {
            let detail = "Harbor answers 500 to everything that reads its database";
            return Err(Standing::DatabaseDown(Unknown::new(Cause::ServerError, detail)));
        }
        _ => return Err(Standing::Unreachable(answer.unexpected())),
    }
    let info: Option<SystemInfo<'_>> = object(&answer.body).ok();
    match info {
        Some(SystemInfo { auth_mode: Some(_), harbor_version }) => Ok(harbor_version.map(Into::into)),
        _ => Err(Standing::Unreachable(Unknown::new(Cause::NotRegistry, "what answers is no Harbor"))),
    }
}
