//! One end of a copy: a repository at a registry, asked until it answers.

use bytes::Bytes;
use http::{HeaderMap, Method};
use tokio::time::Instant;

use super::failure::{Again, Failure, Kind, Side};
use super::retry::retried;
use super::tell::Tell;
use crate::domain::digest::Digest;
use crate::domain::image::{Repository, Tag};
use crate::domain::name::RegistryName;
use crate::registry::{self, Answer, Client, Depth, Endpoint, Head, Raw, Request, Target};

/// How long an answer may take.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(30);

/// The most bytes of an answer beside manifests: a list of referrers.
const ANSWER_LIMIT: usize = 4 * 1024 * 1024;

/// A repository at a registry.
pub struct Peer<'a> {
    /// Asks it.
    pub client: &'a Client,
    /// The repository.
    pub repository: Repository,
    /// Which end it is.
    pub side: Side,
    /// Whom retries are told.
    pub tell: Tell<'a>,
}

/// What a target says of a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Held {
    Present,
    /// It is there, and a policy of the registry keeps it from being pulled, such as before its scan.
    Gated(String),
    Absent,
}

impl Peer<'_> {
    /// The registry.
    pub fn name(&self) -> &RegistryName {
        &self.client.registry().name
    }

    /// A failure here that no answer stands for.
    pub(super) fn failure(&self, kind: Kind, detail: String) -> Failure {
        Failure { kind, side: self.side, registry: self.name().clone(), detail, again: Again::No }
    }

    pub(super) fn unknown(&self, what: &str, unknown: &crate::domain::unknown::Unknown) -> Failure {
        Failure::unknown(self.side, self.name(), what, unknown)
    }

    pub(super) fn refused(&self, what: &str, answer: &Answer) -> Failure {
        Failure::refused(self.side, self.name(), what, answer)
    }

    /// A manifest with its bytes; `None`: it is not there.
    pub(super) async fn raw(&self, target: Target<'_>) -> Result<Option<Raw>, Failure> {
        let what = match target {
            Target::Tag(tag) => format!("manifest of `{}:{tag}`", self.repository),
            Target::Digest(digest) => format!("manifest {digest}"),
        };
        let ask = async || {
            let asked = self.client.raw(&self.repository, target, soon()).await;
            asked.map_err(|unknown| self.unknown(&what, &unknown))
        };
        retried(self.tell, ask).await
    }

    /// Whether a manifest is there.
    pub(super) async fn held(&self, digest: &Digest) -> Result<Held, Failure> {
        Ok(match self.head(Target::Digest(digest)).await? {
            Head::Found { .. } => Held::Present,
            Head::Refused(why) => Held::Gated(why.to_string()),
            _ => Held::Absent,
        })
    }

    /// The digest that a tag names. A gated one cannot be learned, and counts as another.
    pub(super) async fn tagged(&self, tag: &Tag) -> Result<Option<Digest>, Failure> {
        match self.head(Target::Tag(tag)).await? {
            Head::Found { digest, .. } => Ok(Some(digest)),
            Head::Refused(why) => {
                Err(self.failure(Kind::Refused, format!("which digest the tag `{tag}` names: {why}")))
            }
            _ => Ok(None),
        }
    }

    async fn head(&self, target: Target<'_>) -> Result<Head, Failure> {
        let what = "manifest";
        let ask = async || {
            let asked = self.client.head(&self.repository, target, soon()).await;
            match asked.map_err(|unknown| self.unknown(what, &unknown))? {
                Head::Unauthorized { .. } => {
                    let detail = format!(
                        "the credentials may not pull from `{}` (401); a Harbor whose database is down, or that has no such project, says the same",
                        self.repository
                    );
                    Err(self.failure(Kind::Denied, detail))
                }
                head => Ok(head),
            }
        };
        retried(self.tell, ask).await
    }

    /// Whether the storage has a blob.
    pub(super) async fn blob(&self, digest: &Digest) -> Result<registry::Blob, Failure> {
        let ask = async || {
            let asked = self.client.blob(&self.repository, digest, Depth::Object, soon()).await;
            asked.map_err(|unknown| self.unknown(&format!("blob {digest}"), &unknown))
        };
        retried(self.tell, ask).await
    }

    /// Sends a request. What may go well a moment later is tried again; any other answer is an answer.
    pub(super) async fn send(
        &self,
        what: &str,
        method: Method,
        path: &str,
        endpoint: Endpoint<'_>,
        body: Option<Bytes>,
    ) -> Result<Answer, Failure> {
        let ask = async || {
            let (method, body) = (method.clone(), body.clone());
            let accept = (method == Method::GET).then_some("application/vnd.oci.image.index.v1+json");
            let patience = if method == Method::PUT { Client::thought() } else { PATIENCE };
            let request =
                Request { method, path_and_query: path, endpoint, accept, body, body_limit: ANSWER_LIMIT };
            let asked = self.client.send(request, Instant::now() + patience).await;
            let answer = asked.map_err(|unknown| self.unknown(what, &unknown))?;
            let later = answer.status.is_server_error() || answer.status.as_u16() == 429;
            if later { Err(self.refused(what, &answer)) } else { Ok(answer) }
        };
        retried(self.tell, ask).await
    }

    /// Puts a manifest under a tag or its digest, and returns what the target answered if it did not take it.
    pub(super) async fn put(
        &self,
        reference: &str,
        media_type: &str,
        bytes: Bytes,
        digest: Option<&Digest>,
    ) -> Result<Option<Answer>, Failure> {
        let path = format!("/v2/{}/manifests/{reference}", self.repository);
        let endpoint = Endpoint::Push(&self.repository, media_type);
        let what = format!("push of the manifest `{reference}`");
        let answer = self.send(&what, Method::PUT, &path, endpoint, Some(bytes)).await?;
        if !answer.status.is_success() {
            return Ok(Some(answer));
        }
        if let Some(digest) = digest {
            self.stands_by(digest, &answer.headers)?;
        }
        Ok(None)
    }

    /// Fails where an answer names another digest than it must.
    pub(super) fn stands_by(&self, digest: &Digest, headers: &HeaderMap) -> Result<(), Failure> {
        let named = headers
            .get("docker-content-digest")
            .and_then(|value| value.to_str().ok()?.parse::<Digest>().ok());
        match named {
            Some(named) if named.algorithm() == digest.algorithm() && named != *digest => {
                let detail = format!("it was sent {digest}, and says that it has stored {named}");
                Err(self.failure(Kind::WrongDigest, detail))
            }
            _ => Ok(()),
        }
    }
}

fn soon() -> Instant {
    Instant::now() + PATIENCE
}
