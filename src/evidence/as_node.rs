//! Registries asked as a node asks them, for the drill: through no queue and no cache, and with any credential.

use tokio::time::Instant;

use super::observatory::Observatory;
use super::upstream::Source;
use crate::domain::credential::Credential;
use crate::domain::digest::Digest;
use crate::domain::evidence::Presence;
use crate::domain::image::Repository;
use crate::domain::name::RegistryName;
use crate::domain::registry::SharedRegistry;
use crate::domain::unknown::Unknown;
use crate::registry::{Client, ClientError, Target};

impl Observatory {
    /// A client that signs in with this credential. `None`: with the registry's own, as Landfall does. It reads the CA file: call
    /// it where blocking is allowed.
    ///
    /// # Errors
    /// The CA file is not usable.
    pub fn as_node(
        &self,
        registry: &SharedRegistry,
        credential: Option<Credential>,
    ) -> Result<Client, ClientError> {
        let (requests, tasks) = (self.deps.requests.clone(), self.deps.tasks.clone());
        match credential {
            Some(credential) => Client::signed_in_by(registry, credential, requests, tasks),
            None => Client::new(registry, requests, tasks),
        }
    }

    /// Whether a registry holds by itself what it answers for: a proxy cache answers for what its upstream has, too. A registry
    /// that is not configured, or is no Harbor, holds what it answers for.
    ///
    /// # Errors
    /// It could not be learned.
    pub async fn holds(
        &self,
        registry: &RegistryName,
        repository: &Repository,
        digest: &Digest,
        deadline: Instant,
    ) -> Result<bool, Unknown> {
        let upstream = self.upstreams.load().upstreams.get(registry).cloned();
        let Some(upstream) = upstream else { return Ok(true) };
        let Source::Harbor(harbor) = &*upstream.source else { return Ok(true) };
        match harbor.presence(repository, Target::Digest(digest), deadline).await {
            Presence::ProxyCache { .. } => Ok(harbor.facts(repository, digest, deadline).await?.is_some()),
            _ => Ok(true),
        }
    }
}
