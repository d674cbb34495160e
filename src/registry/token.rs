//! Bearer tokens: fetched from the realm that a challenge names, and cached by repository.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::HeaderValue;
use http::{Method, StatusCode};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::Value;
use url::Url;

use crate::domain::credential::Credential;
use crate::domain::image::Repository;
use crate::domain::registry::{Kind, Registry};
use crate::domain::unknown::{Cause, Unknown};

use super::address::{is_own, is_own_endpoint, leads_inside};
use super::answer::unexpected;
use super::challenge::Challenge;
use super::credentials::Current;
use super::json::object;
use super::shared_lookup::{LookedUp, SharedLookup};
use super::tasks::Tasks;
use super::transport::{Ask, Reads, Redirects, Reply, Transport, host_port};

/// The limit of a token server's answer. A token has a few KiB at most.
const TOKEN_LIMIT: usize = 64 * 1024;

/// The life of a token whose server does not state it (distribution's token specification).
const DEFAULT_LIFE: Duration = Duration::from_secs(60);

/// The most that a token is used.
const LONGEST_LIFE: Duration = Duration::from_secs(24 * 3600);

/// The most time of a fetch. It serves all callers who wait for it, so it does not end with the deadline of one.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);

/// A token that nobody used for so long is dropped.
const IDLE: Duration = Duration::from_secs(3600);

/// Where a token comes from: the content of a challenge, checked.
#[derive(Debug, Clone)]
pub(super) struct Grant {
    realm: Url,
    service: Option<String>,
    scopes: Vec<String>,
}

/// A bearer token, and where to fetch the next one.
pub(super) struct Token {
    /// The `Authorization` header, marked as sensitive.
    pub header: HeaderValue,
    pub grant: Grant,
    life: Duration,
}

/// The tokens of one registry.
pub(super) struct Tokens(SharedLookup<Key, Arc<Token>>);

/// The version of the credentials, and the scope. Tokens of an older version are not found any more.
type Key = (u64, Option<(Repository, Access)>);

/// What a token is for: a repository, and what is done there. `None`: nothing, it only shows that our credentials are right.
pub(super) type Scope<'a> = Option<(&'a Repository, Access)>;

/// What is done in a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Access {
    Pull,
    /// Written to, and read.
    Push,
}

fn owned(scope: Scope<'_>) -> Option<(Repository, Access)> {
    scope.map(|(repository, access)| (repository.clone(), access))
}

impl Grant {
    /// The content of a Bearer challenge. What the challenge asks for is added to the scope: a registry that is to mount a blob
    /// asks for the other repository, too.
    ///
    /// # Errors
    /// The challenge has no usable realm, or our credentials must not be sent to it.
    pub fn new(registry: &Registry, scope: Scope<'_>, challenge: &Challenge) -> Result<Self, Unknown> {
        let refuse = |why: String| Unknown::new(Cause::Unauthorized, why);
        let realm = challenge.parameter("realm").ok_or_else(|| {
            refuse(format!("{} asks for a token, but its challenge has no `realm`", registry.host))
        })?;
        let realm = Url::parse(realm)
            .map_err(|error| refuse(format!("the token realm `{realm}` is not a URL: {error}")))?;
        trusted(registry, &realm).map_err(refuse)?;
        let mut scopes: Vec<String> = match scope {
            None => Vec::new(),
            Some((repository, Access::Pull)) => vec![format!("repository:{repository}:pull")],
            Some((repository, Access::Push)) => vec![format!("repository:{repository}:pull,push")],
        };
        let asked = challenge.parameter("scope").unwrap_or_default();
        scopes.extend(asked.split(' ').filter(|scope| !scope.is_empty()).map(str::to_owned));
        scopes.dedup();
        Ok(Self { realm, service: challenge.parameter("service").map(str::to_owned), scopes })
    }
}

/// May our credentials be sent to this realm?
fn trusted(registry: &Registry, realm: &Url) -> Result<(), String> {
    let (at, scheme) = (host_port(realm), realm.scheme());
    if registry.realm.as_ref().is_some_and(|allowed| allowed.origin() == realm.origin()) {
        return Ok(());
    }
    let plain_registry = registry.url.scheme() == "http";
    if !(scheme == "https" || scheme == "http" && plain_registry) {
        return Err(format!("the token realm {at} is not https, so no credentials are sent to it"));
    }
    match registry.kind {
        Kind::Harbor if is_own_endpoint(registry, realm) => Ok(()),
        // Harbor gives tokens itself: another realm is a mistake of its `external_url`, or no Harbor speaks there.
        Kind::Harbor => Err(format!(
            "the token realm {at} is not the `url`, the `host` or an alias of this Harbor, so no credentials are sent to \
             it; if it is right, allow it by `realm: {scheme}://{at}`"
        )),
        Kind::Distribution if is_own(registry, realm) => Ok(()),
        Kind::Distribution if leads_inside(registry, realm) => Err(format!(
            "the token realm {at} is a private address of another host; if it is right, allow it by \
             `realm: {scheme}://{at}`"
        )),
        Kind::Distribution if scheme == "http" => Err(format!(
            "the token realm {at} is another host and not https, so no credentials are sent to it; if it is right, \
             allow it by `realm: {scheme}://{at}`"
        )),
        // Where its addresses are looked up, none but public ones are connected to.
        Kind::Distribution => Ok(()),
    }
}

impl Tokens {
    pub fn new(tasks: Tasks) -> Self {
        Self(SharedLookup::new(IDLE, tasks))
    }

    /// The cached token for a scope.
    pub fn cached(&self, version: u64, scope: Scope<'_>) -> Option<Arc<Token>> {
        self.0.fresh(&(version, owned(scope)))?.ok()
    }

    /// Drops a token that was refused, unless another has replaced it already.
    pub fn forget(&self, version: u64, scope: Scope<'_>, refused: &Arc<Token>) {
        self.0.forget_if(&(version, owned(scope)), |held| Arc::ptr_eq(held, refused));
    }

    /// The cached token, or a new one. It is fetched once however many callers ask.
    pub async fn fetch(
        &self,
        transport: &Arc<Transport>,
        grant: Grant,
        current: &Current,
        scope: Scope<'_>,
    ) -> Result<Arc<Token>, Unknown> {
        let (transport, credential) = (transport.clone(), current.credential.clone());
        let host = host_port(&grant.realm);
        let look_up = async move {
            let fetched = tokio::time::timeout(FETCH_TIMEOUT, fetch(&transport, grant, &credential)).await;
            let result = fetched.unwrap_or_else(|_| {
                let detail = format!("{host} gave no token within {} s", FETCH_TIMEOUT.as_secs());
                Err(Unknown::new(Cause::Deadline, detail))
            });
            // A failure is for those who waited for it, and is not cached.
            let ttl = result.as_ref().map_or(Duration::ZERO, |token| token.life);
            LookedUp { result, ttl }
        };
        self.0.get((current.version, owned(scope)), look_up).await
    }
}

/// The answer of a token server. Harbor sends `access_token` present but empty.
#[derive(Deserialize)]
struct Answer {
    token: Option<String>,
    access_token: Option<String>,
    /// In seconds. What is no positive number is no reason to refuse the token.
    expires_in: Option<Value>,
}

async fn fetch(transport: &Transport, grant: Grant, credential: &Credential) -> Result<Arc<Token>, Unknown> {
    let mut reply = None;
    if let Credential::Identity { token, .. } = credential {
        let posted = transport.exchange(&post(&grant, token)).await?;
        // These servers support only GET, which the specification also allows.
        let unknown_there = matches!(posted.status, StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED);
        reply = (!unknown_there).then_some(posted);
    }
    let reply = match reply {
        Some(reply) => reply,
        None => transport.exchange(&get(&grant, credential)).await?,
    };
    let host = host_port(&grant.realm);
    token(reply, grant)
        .map_err(|unknown| Unknown::new(unknown.cause, format!("no token from {host}: {}", unknown.detail)))
}

fn token(reply: Reply, grant: Grant) -> Result<Arc<Token>, Unknown> {
    if !reply.status.is_success() {
        return Err(unexpected(reply.status, &reply.headers, &reply.body));
    }
    let (header, life) = header(&reply.body)?;
    Ok(Arc::new(Token { header, grant, life }))
}

/// The `Authorization` header from the answer of a token server, and how long it may be used.
pub(super) fn header(body: &[u8]) -> Result<(HeaderValue, Duration), Unknown> {
    let answer: Answer = object(body)
        .map_err(|_| Unknown::new(Cause::NotRegistry, "the answer is not the JSON of a token"))?;
    let mut tokens = [answer.token, answer.access_token].into_iter().flatten();
    let value = tokens.find(|token| !token.is_empty()).map(SecretString::from);
    let value = value.ok_or_else(|| {
        Unknown::new(Cause::Unauthorized, "the answer has no `token` and no `access_token`")
    })?;
    let header = bearer(&value);
    let header = header.ok_or_else(|| {
        Unknown::new(Cause::NotRegistry, "the token holds bytes that are not allowed in a header")
    })?;
    Ok((header, life(answer.expires_in.as_ref().and_then(Value::as_f64))))
}

/// How long a token is used: a little less than it lives, because clocks differ and requests take time.
///
/// `issued_at` is not read: it is the time of another clock. A token is counted from its arrival.
fn life(expires_in: Option<f64>) -> Duration {
    let told = expires_in.filter(|seconds| *seconds >= 1.0);
    let life =
        told.map_or(DEFAULT_LIFE, |seconds| Duration::try_from_secs_f64(seconds).unwrap_or(LONGEST_LIFE));
    let life = life.min(LONGEST_LIFE);
    life.saturating_sub((life / 10).min(Duration::from_secs(30)))
}

fn get(grant: &Grant, credential: &Credential) -> Ask<'static> {
    let mut url = grant.realm.clone();
    {
        let mut query = url.query_pairs_mut();
        query.extend_pairs(grant.service.iter().map(|service| ("service", service)));
        query.extend_pairs(grant.scopes.iter().map(|scope| ("scope", scope)));
    }
    let authorization = match credential {
        Credential::Basic { username, password } => basic(username, password),
        Credential::Identity { username, token } if username.is_empty() => basic("<token>", token),
        Credential::Identity { username, token } => basic(username, token),
        Credential::Anonymous | Credential::Bearer(_) => None,
    };
    ask(Method::GET, url, authorization, None)
}

fn post(grant: &Grant, token: &SecretString) -> Ask<'static> {
    let mut form = url::form_urlencoded::Serializer::new(String::new());
    form.append_pair("grant_type", "refresh_token");
    form.append_pair("refresh_token", token.expose_secret());
    form.append_pair("client_id", "landfall");
    form.append_pair("scope", &grant.scopes.join(" "));
    if let Some(service) = &grant.service {
        form.append_pair("service", service);
    }
    let kind = HeaderValue::from_static("application/x-www-form-urlencoded");
    ask(Method::POST, grant.realm.clone(), None, Some((kind, Bytes::from(form.finish()))))
}

fn ask(
    method: Method,
    url: Url,
    authorization: Option<HeaderValue>,
    body: Option<(HeaderValue, Bytes)>,
) -> Ask<'static> {
    // No redirect: our credentials go only to the realm that the registry named.
    let (accept, redirects) = (Some("application/json"), Redirects::Never);
    Ask {
        method,
        url,
        accept,
        authorization,
        header: None,
        body,
        reads: Reads::Whole(TOKEN_LIMIT),
        redirects,
    }
}

/// `Basic …`, marked as sensitive, so that neither logs nor HTTP/2 header tables keep it. `None`: it holds bytes that are
/// not allowed in a header.
pub(super) fn basic(username: &str, password: &SecretString) -> Option<HeaderValue> {
    use base64::Engine as _;
    let pair = format!("{username}:{}", password.expose_secret());
    sensitive(&format!("Basic {}", base64::prelude::BASE64_STANDARD.encode(pair)))
}

/// `Bearer …`, marked as sensitive like [`basic`].
pub(super) fn bearer(token: &SecretString) -> Option<HeaderValue> {
    sensitive(&format!("Bearer {}", token.expose_secret()))
}

fn sensitive(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::try_from(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::domain::name::{RegistryName, Site};
    use crate::domain::registry::{CredentialSource, Service};

    #[test]
    fn a_token_is_given_up_before_it_ends() {
        for (expires_in, used) in [
            (None, 54),
            (Some(0.0), 54),
            (Some(-1.0), 54),
            (Some(60.0), 54),
            (Some(300.0), 270),
            (Some(1800.0), 1770),
            (Some(1e300), 86370),
        ] {
            assert_eq!(life(expires_in), Duration::from_secs(used), "{expires_in:?}");
        }
        assert!(life(Some(1.0)) > Duration::ZERO);
    }

    fn refusal(kind: Kind, (url, host): (&str, &str), allowed: Option<&str>, realm: &str) -> Option<String> {
        let registry = Arc::new(Registry {
            name: RegistryName::new("r"),
            host: host.into(),
            aliases: vec!["alias.example.com".into()],
            url: url.parse().unwrap(),
            kind,
            site: Site::new("s"),
            credentials: CredentialSource::Anonymous,
            ca_file: None,
            pull_secret: None,
            realm: allowed.map(|realm| realm.parse().unwrap()),
            service: Service::Open,
            healing: None,
            requests_per_hour: None,
        });
        trusted(&registry, &realm.parse().unwrap()).err()
    }

    #[test]
    fn a_realm_of_a_plain_registry_is_trusted_by_scheme_and_address() {
        let hub = ("https://registry-1.docker.io", "docker.io");
        // A Harbor that is a private address, asked by its Service.
        let inside = ("https://harbor-core.harbor.svc", "10.1.2.3:8443");
        let plain = ("http://10.1.2.3:5000", "registry.edge:5000");
        for (registry, realm, trusted) in [
            (hub, "https://auth.docker.io/token", true),
            (hub, "http://auth.docker.io/token", false),
            (hub, "https://10.0.0.1/token", false),
            (hub, "https://127.0.0.1/token", false),
            (hub, "https://[::1]/token", false),
            (hub, "https://[fd00::1]/token", false),
            (hub, "https://[::ffff:169.254.169.254]/token", false),
            (hub, "https://0.0.0.0/token", false),
            // The parser of URLs reads the other spellings of an address.
            (hub, "https://2130706433/token", false),
            (hub, "https://0x7f.1/token", false),
            (hub, "https://8.8.8.8/token", true),
            (inside, "https://10.1.2.3/service/token", true),
            (inside, "https://10.1.2.4/service/token", false),
            (inside, "https://harbor-core.harbor.svc/service/token", true),
            (plain, "http://10.1.2.3:5001/token", true),
            (plain, "http://10.1.2.4/token", false),
            (plain, "http://auth.example.com/token", false),
            (hub, "https://100.64.0.1/token", false),
            (hub, "https://[64:ff9b::a00:1]/token", false),
            (hub, "https://[fec0::1]/token", false),
            (plain, "https://auth.example.com/token", true),
        ] {
            let refusal = refusal(Kind::Distribution, registry, None, realm);
            assert_eq!(refusal.is_none(), trusted, "{realm} {refusal:?}");
        }
    }

    #[test]
    fn a_harbor_gives_its_tokens_itself() {
        let public = ("https://harbor.example.com", "harbor.example.com");
        let by_service = ("https://harbor-core.harbor.svc", "harbor.example.com:8443");
        let plain = ("http://harbor.edge", "harbor.edge");
        for (registry, realm, trusted) in [
            (public, "https://harbor.example.com/service/token", true),
            (public, "https://HARBOR.example.com:443/service/token", true),
            (public, "https://alias.example.com/service/token", true),
            // Names and addresses of others, whatever they lead to.
            (public, "https://auth.docker.io/token", false),
            (public, "https://harbor.example.com.evil.io/token", false),
            (public, "https://8.8.8.8/token", false),
            (public, "https://kubernetes.default.svc/token", false),
            // Another port is another server.
            (public, "https://harbor.example.com:8443/token", false),
            (public, "http://harbor.example.com/token", false),
            (by_service, "https://harbor-core.harbor.svc/service/token", true),
            (by_service, "https://harbor.example.com:8443/service/token", true),
            (by_service, "https://harbor.example.com/service/token", false),
            (plain, "http://harbor.edge/service/token", true),
            (plain, "https://harbor.edge/service/token", true),
            (plain, "http://other.edge/service/token", false),
        ] {
            let refusal = refusal(Kind::Harbor, registry, None, realm);
            assert_eq!(refusal.is_none(), trusted, "{realm} {refusal:?}");
        }
        let words = refusal(Kind::Harbor, public, None, "https://sso.example.com:444/token").unwrap();
        assert!(words.contains("allow it by `realm: https://sso.example.com:444`"), "{words}");
    }

    #[test]
    fn the_configured_realm_is_trusted_and_nothing_beside_it() {
        let public = ("https://harbor.example.com", "harbor.example.com");
        for kind in [Kind::Harbor, Kind::Distribution] {
            for (allowed, realm, trusted) in [
                ("https://10.0.0.7/token", "https://10.0.0.7/token", true),
                ("https://10.0.0.7", "https://10.0.0.7:443/service/token", true),
                ("http://auth.edge", "http://auth.edge/token", true),
                ("https://10.0.0.7", "http://10.0.0.7/token", false),
                ("https://10.0.0.7", "https://10.0.0.8/token", false),
                ("https://10.0.0.7", "https://harbor.example.com/token", true),
            ] {
                let refusal = refusal(kind, public, Some(allowed), realm);
                assert_eq!(refusal.is_none(), trusted, "{kind:?} {allowed} {realm} {refusal:?}");
            }
        }
    }
}
