//! One client per registry: it authenticates, follows redirects, bounds everything, and says what it heard.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use http::header::HeaderValue;
use http::{Method, StatusCode};
use tokio::time::{Instant, timeout_at};
use url::Url;

use crate::domain::digest::Digest;
use crate::domain::evidence::{Cause, Children, Presence, Unknown};
use crate::domain::image::Repository;
use crate::domain::registry::SharedRegistry;

use super::answer::{Answer, Sent, offered, unauthorized};
use super::challenge::Scheme;
use super::credential::Credential;
use super::credentials::{Credentials, Current};
use super::error::ClientError;
use super::manifest::{self, Head, Target};
use super::metrics::Metrics;
use super::tasks::Tasks;
use super::token::{Grant, Token, Tokens, basic, bearer};
use super::transport::{Ask, Redirects, Reply, Transport, host_port};

/// The most bytes of a manifest or an index that are read: what registries accept at most.
pub const MANIFEST_LIMIT: usize = 4 * 1024 * 1024;

/// Asks one registry.
pub struct Client {
    registry: SharedRegistry,
    pub(super) transport: Arc<Transport>,
    pub(super) credentials: Credentials,
    tokens: Tokens,
    /// Whether Basic is sent unasked: always to Harbor, elsewhere once a registry has asked for it.
    basic_unasked: AtomicBool,
    metrics: Metrics,
    tasks: Tasks,
}

/// What is asked. It decides how the request authenticates, and where redirects may lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Endpoint<'a> {
    /// The distribution protocol, for one repository. Basic or Bearer, as the registry asks.
    Repository(&'a Repository),
    /// The base of the distribution protocol, `/v2/`. Basic or Bearer, as the registry asks.
    Base,
    /// Harbor's API: Basic without being asked, never a token, no redirect to another host. Credentials may differ by
    /// project, so it names the project or repository of the question; `None`: the registry as a whole.
    HarborApi(Option<&'a str>),
    /// Any of these, without credentials.
    Anonymous,
}

/// A request.
#[derive(Debug, Clone)]
pub struct Request<'a> {
    /// The method. Only GET and HEAD follow redirects.
    pub method: Method,
    /// The path and query, already encoded, beginning with `/`; a path of the registry's `url` goes before it.
    pub path_and_query: &'a str,
    /// Which side is asked.
    pub endpoint: Endpoint<'a>,
    /// `Accept`.
    pub accept: Option<&'a str>,
    /// A JSON body.
    pub body: Option<Bytes>,
    /// The most bytes that are read of a successful answer; more is [`Cause::TooLarge`].
    pub body_limit: usize,
}

/// What a request proves itself with.
enum Proof {
    Nothing,
    Basic(HeaderValue),
    /// A bearer token of our own, from a file: there is no realm to fetch another from.
    Own(HeaderValue),
    Token(Arc<Token>),
}

impl Proof {
    fn sent(&self) -> Sent {
        match self {
            Self::Nothing => Sent::Nothing,
            Self::Basic(_) => Sent::Basic,
            Self::Own(_) | Self::Token(_) => Sent::Bearer,
        }
    }

    fn header(&self) -> Option<HeaderValue> {
        match self {
            Self::Nothing => None,
            Self::Basic(header) | Self::Own(header) => Some(header.clone()),
            Self::Token(token) => Some(token.header.clone()),
        }
    }
}

impl<'a> Endpoint<'a> {
    /// Whose token opens it; a token is for one repository, or for none.
    fn repository(self) -> Option<&'a Repository> {
        match self {
            Self::Repository(repository) => Some(repository),
            Self::Base | Self::HarborApi(_) | Self::Anonymous => None,
        }
    }

    /// The project or repository that it is about.
    fn about(self) -> Option<&'a str> {
        match self {
            Self::Repository(repository) => Some(repository.as_str()),
            Self::HarborApi(about) => about,
            Self::Base | Self::Anonymous => None,
        }
    }
}

impl Client {
    /// A client for one registry. It reads the CA file and the credentials: call it where blocking is allowed. What
    /// outlives its callers, such as fetching a token, runs on `tasks`.
    ///
    /// # Errors
    /// The CA file is not usable. Credentials that are not usable are said when they are needed, for files may
    /// come later; then they are [`Cause::Unauthorized`].
    pub fn new(registry: &SharedRegistry, metrics: Metrics, tasks: Tasks) -> Result<Self, ClientError> {
        Ok(Self {
            registry: registry.clone(),
            transport: Arc::new(Transport::new(registry)?),
            credentials: Credentials::new(registry),
            tokens: Tokens::new(tasks.clone()),
            basic_unasked: AtomicBool::new(registry.kind.takes_basic_unasked()),
            metrics,
            tasks,
        })
    }

    /// The tasks that it spawns look-ups on.
    #[must_use]
    pub fn tasks(&self) -> &Tasks {
        &self.tasks
    }

    /// The registry that is asked.
    #[must_use]
    pub fn registry(&self) -> &SharedRegistry {
        &self.registry
    }

    /// Which content of its credentials' files was seen last: another number, another content. It reads nothing.
    #[must_use]
    pub fn credentials_seen(&self) -> u64 {
        self.credentials.seen()
    }

    /// Does the registry hold this manifest? Every answer is a value; at a Harbor, `harbor/` knows better what
    /// a 401 means.
    pub async fn presence(&self, repository: &Repository, target: Target<'_>, deadline: Instant) -> Presence {
        match self.head(repository, target, deadline).await {
            Ok(Head::Found { digest, shape }) => Presence::Present { digest, shape },
            Ok(Head::NotFound) => Presence::Absent,
            Ok(Head::Refused(message)) => Presence::Refused(message),
            Ok(Head::Unauthorized { challenges, sent }) => Presence::Unknown(unauthorized(&challenges, sent)),
            Err(unknown) => Presence::Unknown(unknown),
        }
    }

    /// What the registry says of a manifest: one HEAD, and one GET where the headers do not say it all.
    ///
    /// # Errors
    /// Everything but the four answers of [`Head`].
    pub async fn head(
        &self,
        repository: &Repository,
        target: Target<'_>,
        deadline: Instant,
    ) -> Result<Head, Unknown> {
        let answer = self.manifest(Method::HEAD, repository, target, deadline).await?;
        if let Some(head) = manifest::by_headers(&answer, target)? {
            return Ok(head);
        }
        let refused = answer.status == StatusCode::PRECONDITION_FAILED;
        let whole = self.manifest(Method::GET, repository, target, deadline).await;
        match whole.and_then(|answer| manifest::by_body(&answer, target)) {
            // We know that it is refused; only the words are missing.
            Err(_) if refused => Ok(Head::Refused(answer.status.to_string().into())),
            read => read,
        }
    }

    /// What does this index list? A plain manifest lists nothing: `Listed` and empty.
    pub async fn children(&self, repository: &Repository, digest: &Digest, deadline: Instant) -> Children {
        let target = Target::Digest(digest);
        let listed = match self.manifest(Method::GET, repository, target, deadline).await {
            Ok(answer) => manifest::children(&answer, digest),
            Err(unknown) => Err(unknown),
        };
        listed.unwrap_or_else(Children::Unknown)
    }

    async fn manifest(
        &self,
        method: Method,
        repository: &Repository,
        target: Target<'_>,
        deadline: Instant,
    ) -> Result<Answer, Unknown> {
        let path = match target {
            Target::Tag(tag) => format!("/v2/{repository}/manifests/{tag}"),
            Target::Digest(digest) => format!("/v2/{repository}/manifests/{digest}"),
        };
        let request = Request {
            method,
            path_and_query: &path,
            endpoint: Endpoint::Repository(repository),
            accept: Some(manifest::ACCEPT),
            body: None,
            body_limit: MANIFEST_LIMIT,
        };
        self.send(request, deadline).await
    }

    /// Sends a request: authenticates with at most one more round, follows at most five redirects, reads at most
    /// `body_limit` bytes, and ends at the deadline.
    ///
    /// # Errors
    /// There was no answer, or none that can be read. An answer of any status is an [`Answer`].
    pub async fn send(&self, request: Request<'_>, deadline: Instant) -> Result<Answer, Unknown> {
        let started = Instant::now();
        let result = timeout_at(deadline, self.converse(&request)).await.unwrap_or_else(|_| {
            let given = deadline.saturating_duration_since(started);
            let detail = format!("{} gave no answer within {given:.1?}", host_port(&self.registry.url));
            Err(Unknown::new(Cause::Deadline, detail))
        });
        self.metrics.observe(&self.registry.name, &result, started.elapsed());
        result
    }

    /// The first attempt, and the one that may follow it: no registry gets us into a loop.
    async fn converse(&self, request: &Request<'_>) -> Result<Answer, Unknown> {
        if request.endpoint == Endpoint::Anonymous {
            return Ok(answer(self.exchange(request, &Proof::Nothing).await?, &Proof::Nothing));
        }
        let current = self.credentials.current(request.endpoint.about()).await?;
        let proof = self.unasked(request.endpoint, &current).await;
        let reply = self.exchange(request, &proof).await?;
        match self.second(request, &current, &proof, &reply).await? {
            None => Ok(answer(reply, &proof)),
            Some(proof) => Ok(answer(self.exchange(request, &proof).await?, &proof)),
        }
    }

    /// What the first attempt carries.
    async fn unasked(&self, endpoint: Endpoint<'_>, current: &Current) -> Proof {
        let header = match (endpoint, &current.credential) {
            (Endpoint::Repository(_) | Endpoint::Base, Credential::Bearer(token)) => return own(token),
            (Endpoint::HarborApi(_), Credential::Basic { username, password }) => basic(username, password),
            (Endpoint::HarborApi(_) | Endpoint::Anonymous, _) => None,
            (Endpoint::Repository(_) | Endpoint::Base, credential) => {
                if let Some(token) = self.tokens.remembered(current.version, endpoint.repository()) {
                    return Proof::Token(token);
                }
                match credential {
                    Credential::Basic { username, password }
                        if self.basic_unasked.load(Ordering::Relaxed) =>
                    {
                        basic(username, password)
                    }
                    _ => None,
                }
            }
        };
        header.map_or(Proof::Nothing, Proof::Basic)
    }

    /// What a second attempt would carry, if the first was refused and there is anything new to say.
    async fn second(
        &self,
        request: &Request<'_>,
        current: &Current,
        proof: &Proof,
        reply: &Reply,
    ) -> Result<Option<Proof>, Unknown> {
        // 403 is how ECR refuses a stale credential.
        let stale = reply.status == StatusCode::FORBIDDEN && proof.sent() != Sent::Nothing;
        let refused = reply.status == StatusCode::UNAUTHORIZED || stale;
        // Another host, to which we were redirected, has no say in where our credentials go.
        if !refused || reply.url.origin() != self.registry.url.origin() {
            return Ok(None);
        }
        let fresh = self.credentials.refreshed(request.endpoint.about()).await?;
        let rotated = fresh.version != current.version;
        if rotated {
            let proof = self.unasked(request.endpoint, &fresh).await;
            if proof.sent() != Sent::Nothing {
                return Ok(Some(proof));
            }
        }
        if matches!(request.endpoint, Endpoint::HarborApi(_)) || matches!(proof, Proof::Own(_)) && !rotated {
            return Ok(None);
        }
        let repository = request.endpoint.repository();
        let asked = offered(&reply.headers);
        let bearer = asked.iter().find(|challenge| challenge.scheme == Scheme::Bearer);
        let grant = match (bearer, proof) {
            (Some(challenge), _) => Some(Grant::new(&self.registry, repository, challenge)?),
            // It asks for nothing else: the token was stale, and its realm gives another.
            (None, Proof::Token(token)) if asked.is_empty() => Some(token.grant.clone()),
            (None, _) => None,
        };
        if let Some(grant) = grant {
            if let Proof::Token(token) = proof {
                self.tokens.forget(current.version, repository, token);
            }
            let token = self.tokens.fetch(&self.transport, grant, &fresh, repository).await?;
            return Ok(Some(Proof::Token(token)));
        }
        if let Credential::Basic { username, password } = &fresh.credential
            && asked.iter().any(|challenge| challenge.scheme == Scheme::Basic)
            && (rotated || proof.sent() != Sent::Basic)
        {
            self.basic_unasked.store(true, Ordering::Relaxed);
            return Ok(basic(username, password).map(Proof::Basic));
        }
        Ok(None)
    }

    async fn exchange(&self, request: &Request<'_>, proof: &Proof) -> Result<Reply, Unknown> {
        let prefix = self.registry.url.path().trim_end_matches('/');
        let text = format!("{prefix}{}", request.path_and_query);
        let url: Url = self.registry.url.join(&text).map_err(|error| {
            Unknown::new(Cause::NotRegistry, format!("no URL can be made of `{text}`: {error}"))
        })?;
        let json = HeaderValue::from_static("application/json");
        let ask = Ask {
            method: request.method.clone(),
            url,
            accept: request.accept,
            authorization: proof.header(),
            body: request.body.clone().map(|body| (json, body)),
            limit: request.body_limit,
            redirects: match request.endpoint {
                Endpoint::Repository(_) | Endpoint::Base => Redirects::Anywhere,
                Endpoint::HarborApi(_) | Endpoint::Anonymous => Redirects::SameOrigin,
            },
        };
        self.transport.exchange(&ask).await
    }
}

fn own(token: &secrecy::SecretString) -> Proof {
    bearer(token).map_or(Proof::Nothing, Proof::Own)
}

fn answer(reply: Reply, proof: &Proof) -> Answer {
    let Reply { status, headers, body, url: _ } = reply;
    let challenges = offered(&headers);
    Answer { status, headers, body, challenges, sent: proof.sent() }
}
