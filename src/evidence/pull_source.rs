//! The credentials that Pods pull with: read from their folder, and proved at the registry before they are used.

use std::path::Path;
use std::sync::Arc;

use tokio::time::Instant;

use super::health::Health;
use super::observatory::Observatory;
use super::upstream::Source;
use crate::domain::credential::Credential;
use crate::domain::error_chain::error_chain;
use crate::domain::name::RegistryName;
use crate::domain::pull_secrets::Content;
use crate::domain::registry::{CredentialSource, Kind, Registry};
use crate::domain::unknown::{Cause, Unknown};
use crate::harbor::{Check, Harbor, SelfTestResult};
use crate::registry::{Client, Endpoint, Sent};

/// One folder of credentials, and the registry that they are for.
pub struct PullSource {
    host: Box<str>,
    source: Source,
}

/// What a registry says of credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proof {
    /// It accepts them. What they allow is another question.
    Accepted,
    /// It rejects them.
    Rejected,
    /// It could not be asked.
    Unknown(Unknown),
}

impl Observatory {
    /// The credentials in a folder for this registry. It reads them, and the CA file: call it where blocking is allowed.
    #[must_use]
    pub fn pull_source(&self, registry: &Registry, dir: &Path) -> PullSource {
        let credentials = CredentialSource::Dir(dir.to_owned());
        let asked = Arc::new(Registry { credentials, ..registry.clone() });
        let client = Client::new(&asked, self.deps.requests.clone(), self.deps.tasks.clone());
        let source = match (client, registry.kind) {
            (Ok(client), Kind::Harbor) => Source::Harbor(Harbor::new(Arc::new(client))),
            (Ok(client), Kind::Distribution) => Source::Distribution(client),
            (Err(error), _) => Source::Unusable(error),
        };
        PullSource { host: registry.host.clone(), source }
    }

    /// Whether the last probe found the registry as it should be.
    #[must_use]
    pub fn is_up(&self, registry: &RegistryName) -> bool {
        self.health().iter().any(|report| report.registry == *registry && report.health == Health::Up)
    }
}

impl PullSource {
    /// The version of the files, which are read unless that was done a moment ago. It changes with their content.
    pub async fn version(&self) -> u64 {
        match self.source.client() {
            Ok(client) => client.credentials_version().await,
            Err(_) => 0,
        }
    }

    /// What the files hold, as the content of a pull secret.
    ///
    /// # Errors
    /// They cannot be read, or hold nothing that a pull secret could express.
    pub async fn content(&self) -> Result<Content, Unknown> {
        let unusable = |said: String| Unknown::new(Cause::Unauthorized, said);
        let client = self.source.client().map_err(|error| unusable(error_chain(error)))?;
        let Credential::Basic { username, password } = client.credential().await? else {
            return Err(unusable("the files hold no user name and password".to_owned()));
        };
        Content::new(&self.host, &username, &password).map_err(|error| unusable(error.to_string()))
    }

    /// Whether no wrong attempt locks the account.
    pub async fn is_robot(&self) -> bool {
        match self.source.client() {
            Ok(client) => client.is_robot().await,
            Err(_) => false,
        }
    }

    /// Asks the registry whether it accepts the credentials.
    pub async fn prove(&self, deadline: Instant) -> Proof {
        match &self.source {
            Source::Harbor(harbor) => match harbor.self_test(Check::Credentials, deadline).await.result {
                SelfTestResult::Proved => Proof::Accepted,
                SelfTestResult::Rejected => Proof::Rejected,
                SelfTestResult::DatabaseDown(unknown) | SelfTestResult::Unreachable(unknown) => {
                    Proof::Unknown(unknown)
                }
            },
            Source::Distribution(client) => match client.base(Endpoint::Base, deadline).await {
                Ok(answer) if answer.status.is_success() => Proof::Accepted,
                // A registry that knows no credentials for itself as a whole tells nothing of them here.
                Ok(answer) if answer.status.as_u16() == 401 && answer.sent != Sent::Nothing => {
                    Proof::Rejected
                }
                Ok(answer) => Proof::Unknown(answer.unexpected()),
                Err(unknown) if unknown.cause == Cause::Unauthorized => Proof::Rejected,
                Err(unknown) => Proof::Unknown(unknown),
            },
            Source::Unusable(error) => Proof::Unknown(Unknown::new(Cause::Tls, error_chain(error))),
        }
    }
}
