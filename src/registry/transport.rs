//! One exchange with one registry: TLS, redirects, and limits on what is read.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use bytes::{Bytes, BytesMut};
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, LOCATION};
use http::{Method, StatusCode};
use tokio::time::Instant;
use url::Url;

use crate::domain::error_chain::error_chain;
use crate::domain::proxy::{Proxies, Proxy};
use crate::domain::registry::SharedRegistry;
use crate::domain::unknown::{Cause, Unknown};

use super::address::{is_own, leads_inside};
use super::error::ClientError;
use super::failure::failure;
use super::http::{Http, build};
use super::meter::Meter;
use super::watched::Watched;

/// Registries redirect a manifest once, if at all. Five is what other clients allow.
const MAX_REDIRECTS: usize = 5;

/// The most bytes of an error's body: enough for its message.
const ERROR_LIMIT: usize = 64 * 1024;

/// Whether redirects may leave the registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Redirects {
    /// To any host, without our credentials; of other hosts than the registry's own only to public addresses.
    Anywhere,
    /// Only to the same scheme, host and port.
    SameOrigin,
    /// Not at all.
    Never,
}

/// How much of a successful answer is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reads {
    /// All of it, up to so many bytes. A larger one is no answer.
    Whole(usize),
    /// The first byte of the body. What comes after it is not read. If the connection breaks before it, the body is empty.
    FirstByte,
}

/// A request to a URL.
pub(super) struct Ask<'a> {
    pub method: Method,
    pub url: Url,
    pub accept: Option<&'a str>,
    pub authorization: Option<HeaderValue>,
    /// One more header.
    pub header: Option<(HeaderName, HeaderValue)>,
    pub body: Option<(HeaderValue, Bytes)>,
    pub reads: Reads,
    pub redirects: Redirects,
}

/// Its answer.
pub(super) struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// The URL that answered, after redirects.
    pub url: Url,
}

/// Sends requests for one registry.
pub(super) struct Transport {
    registry: SharedRegistry,
    proxies: Proxies,
    trust: Watched<Result<Http, ClientError>>,
    /// The last clients whose CA file could be read: a broken file must not cut us off.
    http: ArcSwap<Http>,
    /// The version of the CA file that `http` was taken from, or that could not be used.
    seen: AtomicU64,
    /// `requestsPerHour`.
    meter: Option<Mutex<Meter>>,
    /// The registry's own origin. A token server elsewhere is not the registry.
    origin: url::Origin,
    /// When the registry last began to answer.
    last_response: Mutex<Option<Instant>>,
}

impl Transport {
    pub fn new(registry: &SharedRegistry, proxies: &Proxies) -> Result<Self, ClientError> {
        let (through, origin) = (proxies.clone(), registry.url.origin());
        let custom = registry.ca_file.clone();
        let name = registry.name.clone();
        let trust = Watched::new(custom.clone().into_iter().collect(), move |content| {
            let http = build(custom.as_deref().map(|path| (path, content)), &through);
            if let Err(error) = &http {
                tracing::warn!(registry.name = %name, error = error_chain(error), "the CA file cannot be used; the last good one stays in use");
            }
            http
        });
        let first = trust.held();
        let http = match &first.value {
            Ok(http) => http.clone(),
            Err(error) => return Err(error.clone()),
        };
        let meter = registry.requests_per_hour.map(|budget| Mutex::new(Meter::new(budget)));
        let (http, seen) = (ArcSwap::from_pointee(http), AtomicU64::new(first.version));
        Ok(Self {
            registry: registry.clone(),
            proxies: proxies.clone(),
            trust,
            http,
            seen,
            meter,
            origin,
            last_response: Mutex::default(),
        })
    }

    async fn http(&self) -> Arc<Http> {
        let current = self.trust.current().await;
        if self.seen.swap(current.version, Ordering::AcqRel) != current.version
            && let Ok(http) = &current.value
        {
            self.http.store(Arc::new(http.clone()));
        }
        self.http.load_full()
    }

    /// When the registry last began to answer.
    pub fn last_response(&self) -> Option<Instant> {
        *self.last_response.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The proxy by which the registry is asked.
    pub fn proxy(&self) -> Option<&Proxy> {
        self.proxies.of_url(&self.registry.url)
    }

    /// A host for messages, with the proxy by which it is asked.
    pub fn named(&self, url: &Url) -> String {
        match self.proxies.of_url(url) {
            None => host_port(url),
            Some(proxy) => format!("{} through the proxy {proxy}", host_port(url)),
        }
    }

    /// Takes one request from the hourly budget. Requests to realms and to targets of redirects count as well.
    fn take(&self) -> Result<(), Unknown> {
        let Some(meter) = &self.meter else { return Ok(()) };
        let mut meter = meter.lock().unwrap_or_else(PoisonError::into_inner);
        meter.take(Instant::now().into_std()).map_err(|retry_after| {
            let detail =
                format!("`requestsPerHour` is spent; the next request is allowed in {retry_after:.0?}");
            Unknown::new(Cause::Spent { retry_after }, detail)
        })
    }

    /// Sends the request, follows redirects, and reads the body up to its limit.
    pub async fn exchange(&self, ask: &Ask<'_>) -> Result<Reply, Unknown> {
        let (answer, url) = self.begin(ask, None).await?;
        self.read(answer, ask.reads, url).await
    }

    /// Sends the request and follows redirects. The body of the answer is not read yet; with the URL that answered. A body that
    /// is `streamed` can be sent once only, which is enough: what has one is never redirected.
    pub async fn begin(
        &self,
        ask: &Ask<'_>,
        mut streamed: Option<reqwest::Body>,
    ) -> Result<(reqwest::Response, Url), Unknown> {
        let http = self.http().await;
        let mut url = ask.url.clone();
        for _ in 0..=MAX_REDIRECTS {
            let client = if is_own(&self.registry, &url) { &http.own } else { &http.other };
            let mut request = client.request(ask.method.clone(), url.clone());
            if let Some(accept) = ask.accept {
                request = request.header(ACCEPT, accept);
            }
            // Credentials are never sent to another scheme, host or port.
            if let Some(authorization) = &ask.authorization
                && url.origin() == ask.url.origin()
            {
                request = request.header(AUTHORIZATION, authorization);
            }
            if let Some((name, value)) = &ask.header {
                request = request.header(name, value);
            }
            if let Some((kind, body)) = &ask.body {
                request = request.header(CONTENT_TYPE, kind).body(body.clone());
            }
            if let Some(body) = streamed.take() {
                request = request.header(CONTENT_TYPE, "application/octet-stream").body(body);
            }
            self.take()?;
            let answer = request.send().await.map_err(|error| {
                let Unknown { cause, detail } = failure(&self.named(&url), error);
                // The only redirect that is no answer is a name that leads inside. A realm is no redirect.
                let realm = cause == Cause::Redirect && ask.redirects == Redirects::Never;
                Unknown { cause: if realm { Cause::Unauthorized } else { cause }, detail }
            })?;
            if url.origin() == self.origin {
                *self.last_response.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
            }
            match self.redirect(ask, &url, &answer)? {
                Some(next) => url = next,
                None => return Ok((answer, url)),
            }
        }
        let detail = format!("{} redirects more than {MAX_REDIRECTS} times", host_port(&ask.url));
        Err(Unknown::new(Cause::Redirect, detail))
    }

    /// Where an answer redirects to. `None`: it is no redirect.
    fn redirect(
        &self,
        ask: &Ask<'_>,
        from: &Url,
        answer: &reqwest::Response,
    ) -> Result<Option<Url>, Unknown> {
        if !matches!(answer.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
            return Ok(None);
        }
        let refuse = |why: &str| {
            Err(Unknown::new(Cause::Redirect, format!("{} redirects, but {why}", host_port(from))))
        };
        if !matches!(ask.method, Method::GET | Method::HEAD) {
            return refuse("only GET and HEAD may be redirected");
        }
        let location = answer.headers().get(LOCATION).and_then(|location| location.to_str().ok());
        let Some(Ok(next)) = location.map(|location| from.join(location)) else {
            return refuse("its `Location` is missing or not a URL");
        };
        match (from.scheme(), next.scheme()) {
            ("http", "http" | "https") | ("https", "https") => {}
            ("https", "http") => return refuse("to plain HTTP"),
            _ => return refuse("to something that is not HTTP"),
        }
        match ask.redirects {
            Redirects::Anywhere if leads_inside(&self.registry, &next) => {
                refuse(&format!("to a private address of another host, {}", host_port(&next)))
            }
            Redirects::Anywhere => Ok(Some(next)),
            Redirects::SameOrigin if next.origin() == ask.url.origin() => Ok(Some(next)),
            Redirects::SameOrigin => refuse(&format!("to another host, {}", host_port(&next))),
            Redirects::Never => refuse("a token server must not redirect"),
        }
    }

    /// Reads a body up to its limit. Of an error only the beginning is needed, so a long or broken body is no failure.
    pub async fn read(
        &self,
        mut answer: reqwest::Response,
        reads: Reads,
        url: Url,
    ) -> Result<Reply, Unknown> {
        let status = answer.status();
        let headers = std::mem::take(answer.headers_mut());
        let reply = |body: Bytes| Reply { status, headers, body, url: url.clone() };
        let limit = match reads {
            Reads::FirstByte if status.is_success() => {
                let first = match answer.chunk().await.map_err(|error| failure(&self.named(&url), error)) {
                    Ok(first) => first.unwrap_or_default(),
                    Err(unknown) if unknown.cause == Cause::Broken => Bytes::new(),
                    Err(unknown) => return Err(unknown),
                };
                return Ok(reply(first.slice(..first.len().min(1))));
            }
            Reads::Whole(limit) if status.is_success() => limit,
            Reads::Whole(limit) => limit.min(ERROR_LIMIT),
            Reads::FirstByte => ERROR_LIMIT,
        };
        // Allocated at once: a buffer that grows by doubling needs twice the memory for a moment.
        let announced =
            answer.content_length().and_then(|length| usize::try_from(length).ok()).unwrap_or_default();
        let mut body = BytesMut::with_capacity(announced.min(limit));
        loop {
            match answer.chunk().await {
                Ok(None) => return Ok(reply(body.freeze())),
                Ok(Some(chunk)) if body.len() + chunk.len() <= limit => body.extend_from_slice(&chunk),
                Ok(Some(_)) | Err(_) if !status.is_success() => return Ok(reply(body.freeze())),
                Ok(Some(_)) => {
                    let detail = format!("{} answered more than {limit} bytes", host_port(&url));
                    return Err(Unknown::new(Cause::TooLarge, detail));
                }
                Err(error) => return Err(failure(&self.named(&url), error)),
            }
        }
    }
}

/// `host` or `host:port`, for people.
pub(super) fn host_port(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::name::{RegistryName, Site};
    use crate::domain::registry::{CredentialSource, Kind, Registry, Service};

    #[tokio::test]
    async fn the_http_client_is_replaced_only_with_its_ca_file() {
        let folder = tempfile::tempdir().unwrap();
        let ca = folder.path().join("ca.pem");
        let certificate = || rcgen::generate_simple_self_signed(["r".to_owned()]).unwrap().cert.pem();
        std::fs::write(&ca, certificate()).unwrap();
        let transport = Transport::new(
            &Arc::new(Registry {
                name: RegistryName::new("r"),
                host: "r.example.com".into(),
                aliases: vec![],
                url: "https://r.example.com".parse().unwrap(),
                kind: Kind::Distribution,
                site: Site::new("s"),
                credentials: CredentialSource::Anonymous,
                ca_file: Some(ca.clone()),
                pull_secret: None,
                realm: None,
                service: Service::Open,
                healing: None,
                requests_per_hour: None,
            }),
            &Proxies::default(),
        )
        .unwrap();
        let first = transport.http().await;
        assert!(Arc::ptr_eq(&first, &transport.http().await), "nothing changed");
        std::fs::write(&ca, "no certificate").unwrap();
        transport.trust.refreshed().await;
        assert!(Arc::ptr_eq(&first, &transport.http().await), "a broken file replaces nothing");
        std::fs::write(&ca, certificate()).unwrap();
        transport.trust.refreshed().await;
        assert!(!Arc::ptr_eq(&first, &transport.http().await));
    }
}
