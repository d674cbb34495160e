//! The HTTP clients of one registry: whom they trust, which proxy they go through, and how long they wait.

use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use url::Url;

use crate::domain::error_chain::error_chain;
use crate::domain::proxy::{Proxies, Proxy};

use super::address::PublicOnly;
use super::error::ClientError;
use super::trust::Trust;
use super::watched::FileError;

/// Our `User-Agent`.
pub(super) const USER_AGENT: &str = concat!("landfall/", env!("CARGO_PKG_VERSION"));

/// The kernel sends a SYN at 0 s, 1 s and 3 s. After two without an answer nothing is there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Less than the 60 s after which common proxies close idle connections, so that no request is sent on a closed one.
const POOL_IDLE: Duration = Duration::from_secs(45);

/// While requests are open, an HTTP/2 connection must answer a ping. If the peer vanished without closing it, all requests
/// would wait until TCP gives up, a quarter of an hour later.
const PING: Duration = Duration::from_secs(5);

/// The proxies of the environment, which does not change.
pub(super) static PROXIES: LazyLock<Proxies> = LazyLock::new(|| {
    let proxies = Proxies::of(|name| std::env::var(name).ok());
    for name in proxies.ignored() {
        tracing::warn!(
            "{name} is ignored: write `http://host:port` (`https`, `socks5` and `socks5h` are known, too)"
        );
    }
    proxies
});

/// The HTTP clients for one registry, with the CA of its configuration. Each keeps its own connections.
#[derive(Clone)]
pub(super) struct Http {
    /// For the hosts that the configuration names for the registry.
    pub own: reqwest::Client,
    /// For all other hosts: it connects only to public addresses.
    pub other: reqwest::Client,
}

/// The path of a CA file and its content.
pub(super) type CaFile<'a> = (&'a std::path::Path, Result<Vec<Vec<u8>>, FileError>);

/// Builds the clients. Without a CA file they trust the public authorities.
pub(super) fn build(ca_file: Option<CaFile<'_>>, proxies: &Proxies) -> Result<Http, ClientError> {
    let trust = match ca_file {
        None => Trust::public().map_err(|reason| {
            let path = "of the public authorities".into();
            ClientError::CaMalformed { path, reason }
        })?,
        Some((path, content)) => {
            let files = content.map_err(|source| ClientError::CaUnreadable { source: Arc::new(source) })?;
            let bad = |reason: String| ClientError::CaMalformed { path: path.into(), reason };
            let certificates = files.iter().flat_map(|file| CertificateDer::pem_slice_iter(file));
            let certificates: Result<Vec<_>, _> = certificates.collect();
            let certificates = certificates.map_err(|error| bad(error.to_string()))?;
            Trust::only(certificates).map_err(bad)?
        }
    };
    let mut tls = rustls::ClientConfig::builder()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(trust))
        .with_no_client_auth();
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let http = || {
        let builder = reqwest::Client::builder()
            .tls_backend_preconfigured(tls.clone())
            .user_agent(USER_AGENT)
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_idle_timeout(POOL_IDLE)
            .http2_keep_alive_interval(PING)
            .http2_keep_alive_timeout(PING)
            .tcp_nodelay(true);
        if proxies.all().next().is_none() {
            return builder.no_proxy();
        }
        let proxies = proxies.clone();
        builder.proxy(reqwest::Proxy::custom(move |url| proxies.of_url(url).map(address)))
    };
    let build = |http: reqwest::ClientBuilder| {
        http.build().map_err(|source| ClientError::Http { source: Arc::new(source) })
    };
    Ok(Http { own: build(http())?, other: build(http().dns_resolver(PublicOnly::beside(proxies)))? })
}

/// The client for another replica of our own: at this address, with a certificate for this name.
///
/// # Errors
/// There is no certificate that can be trusted, or no client can be made: for people.
pub(super) fn peer(
    name: &str,
    at: SocketAddr,
    trusted: Vec<CertificateDer<'static>>,
) -> Result<reqwest::Client, String> {
    let mut tls = rustls::ClientConfig::builder()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Trust::only(trusted)?))
        .with_no_client_auth();
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .user_agent(USER_AGENT)
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_idle_timeout(POOL_IDLE)
        .tcp_nodelay(true)
        .no_proxy()
        .resolve(name, at)
        .build()
        .map_err(|error| error_chain(&error))
}

/// A proxy as reqwest wants it. It would look names up itself for `socks5`; Go leaves that to the proxy.
fn address(proxy: &Proxy) -> Url {
    match proxy.url().as_str().strip_prefix("socks5://") {
        Some(rest) => format!("socks5h://{rest}").parse().unwrap_or_else(|_| proxy.url().clone()),
        None => proxy.url().clone(),
    }
}
