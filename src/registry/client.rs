//! The client of one registry: it authenticates, follows redirects, bounds time and size, and returns the answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use http::header::{HeaderName, HeaderValue, RANGE};
use http::{Method, StatusCode};
use tokio::time::{Instant, timeout_at};
use url::Url;

use crate::domain::credential::Credential;
use crate::domain::digest::Digest;
use crate::domain::evidence::{Children, Presence};
use crate::domain::image::Repository;
use crate::domain::proxy::Proxies;
use crate::domain::registry::{CredentialSource, Registry, SharedRegistry};
use crate::domain::unknown::{Cause, Unknown};

use super::answer::{Answer, By, Sent, offered, unauthorized};
use super::challenge::Scheme;
use super::credentials::{Credentials, Current, Refused};
use super::error::ClientError;
use super::http::PROXIES;
use super::manifest::{self, Head, Target};
use super::metrics::Metrics;
use super::tasks::Tasks;
use super::token::{Access, Grant, Scope, Token, Tokens, basic, bearer};
use super::transport::{Ask, Reads, Redirects, Reply, Transport};

/// The most bytes of a manifest or an index that are read. Registries accept no larger ones.
pub const MANIFEST_LIMIT: usize = 4 * 1024 * 1024;

/// With `true`, Harbor takes a project's name for its name. Without it, a name of digits alone is taken for the ID of
/// another project (goharbor/harbor: `parseProjectNameOrID` in src/server/v2.0/handler/base.go).
const NAMES_ARE_NAMES: HeaderName = HeaderName::from_static("x-is-resource-name");

/// Asks one registry.
///
/// ```no_run
/// # use std::time::Duration;
/// # use landfall::facade::domain::{image::{Repository, Tag}, registry::SharedRegistry};
/// # use prometheus_client::registry::Registry as Page;
/// use landfall::facade::registry::{Client, Metrics, Target, Tasks};
///
/// # async fn example(registry: SharedRegistry) -> Result<(), landfall::facade::registry::ClientError> {
/// let client = Client::new(&registry, Metrics::register(&mut Page::default()), Tasks::default())?;
/// let deadline = tokio::time::Instant::now() + Duration::from_secs(1);
/// let (app, tag) = (Repository::new("project/app"), Tag::new("1.0"));
/// let presence = client.presence(&app, Target::Tag(&tag), deadline).await;
/// # let _ = presence;
/// # Ok(())
/// # }
/// ```
pub struct Client {
    registry: SharedRegistry,
    pub(super) transport: Arc<Transport>,
    pub(super) credentials: Credentials,
    tokens: Tokens,
    /// Whether Basic is sent without a challenge: always to Harbor, to others once they asked for it.
    basic_unasked: AtomicBool,
    metrics: Metrics,
    tasks: Tasks,
}

/// What is asked. It decides how the request authenticates, where redirects may lead, and how much of the answer is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Endpoint<'a> {
    /// The distribution protocol, for one repository. Basic or Bearer, as the registry asks.
    Repository(&'a Repository),
    /// The first byte of a blob of this repository, as [`Repository`](Self::Repository). What comes after it is not read, even
    /// if the registry sends it. A connection that breaks before the first byte makes an empty body.
    FirstByte(&'a Repository),
    /// As [`Repository`](Self::Repository), with the right to write there. With the media type of the body.
    Push(&'a Repository, &'a str),
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
    /// The path and query, encoded, with a leading `/`. The path of the registry's `url` is put before it.
    pub path_and_query: &'a str,
    /// What is asked.
    pub endpoint: Endpoint<'a>,
    /// `Accept`.
    pub accept: Option<&'a str>,
    /// A body: JSON, unless the endpoint names another type.
    pub body: Option<Bytes>,
    /// The most bytes of a successful answer. A larger one is [`Cause::TooLarge`].
    pub body_limit: usize,
}

/// The credentials of one request.
pub(super) enum Proof {
    Nothing,
    Basic(HeaderValue),
    /// A bearer token from a file. There is no realm to fetch another from.
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
    /// The scope of the token that is needed. `None`: a token without a repository.
    fn scope(self) -> Scope<'a> {
        match self {
            Self::Repository(repository) | Self::FirstByte(repository) => Some((repository, Access::Pull)),
            Self::Push(repository, _) => Some((repository, Access::Push)),
            Self::Base | Self::HarborApi(_) | Self::Anonymous => None,
        }
    }

    /// The project or repository of the question.
    fn about(self) -> Option<&'a str> {
        match self {
            Self::Repository(repository) | Self::FirstByte(repository) | Self::Push(repository, _) => {
                Some(repository.as_str())
            }
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
    /// The CA file is not usable. Unusable credentials are no error here, because the files may come later: until then
    /// each answer is [`Cause::Unauthorized`].
    pub fn new(registry: &SharedRegistry, metrics: Metrics, tasks: Tasks) -> Result<Self, ClientError> {
        Self::through(&PROXIES, registry, metrics, tasks)
    }

    /// As [`new`](Self::new), with this credential instead of the registry's own: for whoever wants to know what it allows.
    ///
    /// # Errors
    /// The CA file is not usable.
    pub fn signed_in_by(
        registry: &SharedRegistry,
        credential: Credential,
        metrics: Metrics,
        tasks: Tasks,
    ) -> Result<Self, ClientError> {
        let anonymous =
            Arc::new(Registry { credentials: CredentialSource::Anonymous, ..(**registry).clone() });
        let credentials = Credentials::given(&registry.host, credential);
        Ok(Self { credentials, ..Self::new(&anonymous, metrics, tasks)? })
    }

    /// As [`new`](Self::new), with other proxies than those of the environment.
    pub(super) fn through(
        proxies: &Proxies,
        registry: &SharedRegistry,
        metrics: Metrics,
        tasks: Tasks,
    ) -> Result<Self, ClientError> {
        Ok(Self {
            registry: registry.clone(),
            transport: Arc::new(Transport::new(registry, proxies)?),
            credentials: Credentials::new(registry, tasks.clone()),
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

    /// Do we sign in as a Harbor robot, by Harbor's default prefix of their names? No wrong attempt locks a robot out,
    /// while it may lock a user's account, here or in the directory behind Harbor.
    pub async fn is_robot(&self) -> bool {
        let current = self.credentials.current(None).await;
        let prefix = |name: &str| name.split_once('$').map(|(prefix, _)| prefix == "robot");
        matches!(current, Ok(Current { credential: Credential::Basic { username, .. }, .. }) if prefix(&username) == Some(true))
    }

    /// The credential for the registry as a whole.
    ///
    /// # Errors
    /// It cannot be read.
    pub async fn credential(&self) -> Result<Credential, Unknown> {
        Ok(self.credentials.current(None).await?.credential)
    }

    /// The version of the credentials' files at the last read. It reads no file.
    #[must_use]
    pub fn credentials_seen(&self) -> u64 {
        self.credentials.seen()
    }

    /// Does the registry hold this manifest? At a Harbor ask [`Harbor`](crate::harbor::Harbor) instead, which knows what
    /// a 401 means there.
    pub async fn presence(&self, repository: &Repository, target: Target<'_>, deadline: Instant) -> Presence {
        match self.head(repository, target, deadline).await {
            Ok(Head::Found { digest, shape }) => Presence::Present { digest, shape },
            Ok(Head::NotFound) => Presence::Absent,
            Ok(Head::Refused(message)) => Presence::Refused(message),
            Ok(Head::Unauthorized { challenges, sent }) => Presence::Unknown(unauthorized(&challenges, sent)),
            Err(unknown) => Presence::Unknown(unknown),
        }
    }

    /// What the registry answers about a manifest: one HEAD, and one GET if the headers do not tell all.
    ///
    /// # Errors
    /// Any answer but those of [`Head`].
    pub async fn head(
        &self,
        repository: &Repository,
        target: Target<'_>,
        deadline: Instant,
    ) -> Result<Head, Unknown> {
        let answer = self.manifest(Method::HEAD, repository, target, deadline).await?;
        match manifest::by_headers(&answer, target) {
            // Some registries know no HEAD, and some answer it with a type that is no manifest's.
            _ if matches!(answer.status, StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED) => {}
            Err(unknown) if answer.status == StatusCode::OK && unknown.cause == Cause::NotRegistry => {}
            Ok(Some(head)) => return Ok(head),
            Ok(None) => {}
            Err(unknown) => return Err(unknown),
        }
        let refused = answer.status == StatusCode::PRECONDITION_FAILED;
        let whole = self.manifest(Method::GET, repository, target, deadline).await;
        match whole.and_then(|answer| manifest::by_body(&answer, target)) {
            // That it is refused is known; only the message is missing.
            Err(_) if refused => Ok(Head::Refused(answer.status.to_string().into())),
            read => read,
        }
    }

    /// The children of an index. A plain manifest has none: `Listed` and empty.
    pub async fn children(&self, repository: &Repository, digest: &Digest, deadline: Instant) -> Children {
        let target = Target::Digest(digest);
        let listed = match self.manifest(Method::GET, repository, target, deadline).await {
            Ok(answer) => manifest::children(&answer, digest),
            Err(unknown) => Err(unknown),
        };
        listed.unwrap_or_else(Children::Unknown)
    }

    pub(super) async fn manifest(
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

    /// Sends a request, at most twice if the registry asks for other credentials. Follows at most five redirects, reads at
    /// most `body_limit` bytes, and ends at the deadline.
    ///
    /// # Errors
    /// There was no answer, or it cannot be read. An answer of any status is an [`Answer`].
    pub async fn send(&self, request: Request<'_>, deadline: Instant) -> Result<Answer, Unknown> {
        let started = Instant::now();
        let result = timeout_at(deadline, self.authenticate_and_send(&request)).await.unwrap_or_else(|_| {
            let given = deadline.saturating_duration_since(started);
            let detail =
                format!("{} gave no answer within {given:.1?}", self.transport.named(&self.registry.url));
            Err(Unknown::new(Cause::Deadline, detail))
        });
        self.metrics.observe(&self.registry.name, &result, started.elapsed());
        result
    }

    /// The first attempt and at most one more, so no registry can cause a loop.
    async fn authenticate_and_send(&self, request: &Request<'_>) -> Result<Answer, Unknown> {
        if request.endpoint == Endpoint::Anonymous {
            return Ok(self.answer(self.exchange(request, &Proof::Nothing).await?, &Proof::Nothing));
        }
        let current = self.credentials.current(request.endpoint.about()).await?;
        let proof = self.first_proof(request.endpoint, &current);
        let reply = self.exchange(request, &proof).await?;
        match self.second_proof(request, &current, &proof, &reply).await? {
            None => Ok(self.answer(reply, &proof)),
            Some(proof) => Ok(self.answer(self.exchange(request, &proof).await?, &proof)),
        }
    }

    /// The credentials of the first attempt.
    pub(super) fn first_proof(&self, endpoint: Endpoint<'_>, current: &Current) -> Proof {
        let header = match (endpoint, &current.credential) {
            (Endpoint::HarborApi(_), Credential::Basic { username, password }) => basic(username, password),
            (Endpoint::HarborApi(_) | Endpoint::Anonymous, _) => None,
            (
                Endpoint::Repository(_) | Endpoint::FirstByte(_) | Endpoint::Push(..) | Endpoint::Base,
                credential,
            ) => {
                if let Credential::Bearer(token) = credential {
                    return own(token);
                }
                if let Some(token) = self.tokens.cached(current.version, endpoint.scope()) {
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

    /// The credentials of a second attempt, if the first was refused and there are others to try.
    pub(super) async fn second_proof(
        &self,
        request: &Request<'_>,
        current: &Current,
        proof: &Proof,
        reply: &Reply,
    ) -> Result<Option<Proof>, Unknown> {
        // ECR answers 403 to an expired credential.
        let stale = reply.status == StatusCode::FORBIDDEN && proof.sent() != Sent::Nothing;
        let refused = reply.status == StatusCode::UNAUTHORIZED || stale;
        // A host to which we were redirected must not decide where our credentials go.
        if !refused || reply.url.origin() != self.registry.url.origin() {
            return Ok(None);
        }
        let about = request.endpoint.about();
        let refused = match proof {
            Proof::Basic(_) | Proof::Own(_) => Refused::Credential,
            Proof::Nothing | Proof::Token(_) => Refused::Other,
        };
        let fresh = self.credentials.refreshed(about, current, refused).await?;
        let rotated = fresh.version != current.version;
        if rotated {
            let proof = self.first_proof(request.endpoint, &fresh);
            if proof.sent() != Sent::Nothing {
                return Ok(Some(proof));
            }
        }
        if matches!(request.endpoint, Endpoint::HarborApi(_)) || matches!(proof, Proof::Own(_)) && !rotated {
            return Ok(None);
        }
        let scope = request.endpoint.scope();
        let asked = offered(&reply.headers);
        let bearer = asked.iter().find(|challenge| challenge.scheme == Scheme::Bearer);
        let grant = match (bearer, proof) {
            (Some(challenge), _) => Some(Grant::new(&self.registry, scope, challenge)?),
            // No challenge: the token has expired, and its realm gives another.
            (None, Proof::Token(token)) if asked.is_empty() => Some(token.grant.clone()),
            (None, _) => None,
        };
        if let Some(grant) = grant {
            if let Proof::Token(token) = proof {
                self.tokens.forget(current.version, scope, token);
            }
            let fetch = async |with: &Current| {
                self.tokens.fetch(&self.transport, grant.clone(), with, scope).await.map(Proof::Token)
            };
            return match fetch(&fresh).await {
                Err(unknown) if unknown.cause == Cause::Unauthorized => {
                    let other = self.credentials.refreshed(about, &fresh, Refused::Credential).await?;
                    if other.version == fresh.version { Err(unknown) } else { fetch(&other).await.map(Some) }
                }
                fetched => fetched.map(Some),
            };
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

    pub(super) async fn exchange(&self, request: &Request<'_>, proof: &Proof) -> Result<Reply, Unknown> {
        self.transport.exchange(&self.ask(request, proof)?).await
    }

    /// The request as it is sent with these credentials.
    pub(super) fn ask<'r>(&self, request: &Request<'r>, proof: &Proof) -> Result<Ask<'r>, Unknown> {
        let prefix = self.registry.url.path().trim_end_matches('/');
        let text = format!("{prefix}{}", request.path_and_query);
        let url: Url = self.registry.url.join(&text).map_err(|error| {
            Unknown::new(Cause::NotRegistry, format!("`{text}` is not a valid path: {error}"))
        })?;
        let kind = match request.endpoint {
            Endpoint::Push(_, kind) => kind,
            _ => "application/json",
        };
        let kind = HeaderValue::from_str(kind).map_err(|_| {
            Unknown::new(Cause::NotRegistry, format!("`{}` is no media type", kind.escape_debug()))
        })?;
        Ok(Ask {
            method: request.method.clone(),
            url,
            accept: request.accept,
            authorization: proof.header(),
            header: match request.endpoint {
                Endpoint::HarborApi(_) => Some((NAMES_ARE_NAMES, HeaderValue::from_static("true"))),
                Endpoint::FirstByte(_) => Some((RANGE, HeaderValue::from_static("bytes=0-0"))),
                Endpoint::Repository(_) | Endpoint::Push(..) | Endpoint::Base | Endpoint::Anonymous => None,
            },
            body: request.body.clone().map(|body| (kind, body)),
            reads: match request.endpoint {
                Endpoint::FirstByte(_) => Reads::FirstByte,
                _ => Reads::Whole(request.body_limit),
            },
            redirects: match request.endpoint {
                Endpoint::Repository(_) | Endpoint::FirstByte(_) | Endpoint::Push(..) | Endpoint::Base => {
                    Redirects::Anywhere
                }
                Endpoint::HarborApi(_) | Endpoint::Anonymous => Redirects::SameOrigin,
            },
        })
    }

    pub(super) fn answer(&self, reply: Reply, proof: &Proof) -> Answer {
        let Reply { status, headers, body, url } = reply;
        let challenges = offered(&headers);
        let own = url.origin() == self.registry.url.origin();
        let by = if own { By::Registry } else { By::Other };
        Answer { status, headers, body, challenges, sent: proof.sent(), by }
    }
}

fn own(token: &secrecy::SecretString) -> Proof {
    bearer(token).map_or(Proof::Nothing, Proof::Own)
}
