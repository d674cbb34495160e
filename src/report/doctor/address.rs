//! Checks where we and nodes are sent: the scheme of a registry's `url`, and the realm of its tokens.

use std::time::Duration;

use rustls::RootCertStore;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, timeout};
use url::{Host, Url};

use super::Mistake;
use super::certificate::{Handshake, handshake};
use super::questions::client;
use crate::domain::registry::{Kind, Registry, SharedRegistry, folded};
use crate::registry::{Endpoint, Scheme};

/// How long a server has for one answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Whether the server speaks TLS where `url` says `http://`, or does not where it says `https://`. It is found by trying.
pub(super) async fn scheme(registry: &Registry) -> Option<Mistake> {
    let Registry { name, url, .. } = registry;
    let (host, port) = (url.host_str()?, url.port_or_known_default()?);
    let bare = host.trim_matches(['[', ']']);
    let address = lookup_host((bare, port)).await.ok()?.next()?;
    // Any certificate will do: whether it is the right one is another question. A server of TLS answers a request in clear text,
    // too, with an error.
    let (tls, http) =
        tokio::join!(handshake(address, bare, RootCertStore::empty()), speaks_http(address, host));
    let tls = matches!(tls, Handshake::Verified(_) | Handshake::Refused(_));
    let at = format!("{host}:{port}");
    match url.scheme() {
        "http" if tls => Some((
            format!("{at} speaks TLS, but `registries.{name}.url` says `http://`"),
            format!("write `url: https://{at}`"),
        )),
        "https" if http && !tls => Some((
            format!("{at} speaks HTTP without TLS, but `registries.{name}.url` says `https://`"),
            format!(
                "name the port that speaks TLS, or write `url: http://{at}` if the whole network in between is trusted"
            ),
        )),
        _ => None,
    }
}

/// Whether a request in clear text gets an answer of HTTP.
async fn speaks_http(address: std::net::SocketAddr, host: &str) -> bool {
    let ask = async {
        let mut stream = TcpStream::connect(address).await?;
        let request = format!("GET /v2/ HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut first = [0; 5];
        stream.read_exact(&mut first).await?;
        Ok::<_, std::io::Error>(&first == b"HTTP/")
    };
    matches!(timeout(PATIENCE, ask).await, Ok(Ok(true)))
}

/// Whether nodes are sent for tokens to where they cannot or should not go. We may never go there ourselves: a Harbor takes
/// our credentials without a token.
pub(super) async fn realm(registry: &SharedRegistry) -> Option<Mistake> {
    let client = client(registry).await?;
    let base = client.base(Endpoint::Anonymous, Instant::now() + PATIENCE).await.ok()?;
    let challenge = base.challenges.iter().find(|challenge| challenge.scheme == Scheme::Bearer)?;
    let realm = challenge.parameter("realm")?;
    let why = unfollowable(registry, realm).await?;
    let said = format!("sends nodes to `{realm}` for tokens, {why}");
    let host = &registry.host;
    let todo = match registry.kind {
        Kind::Harbor => format!(
            "set Harbor's external URL (`external_url` in harbor.yml, `externalURL` of its chart) to `https://{host}`"
        ),
        Kind::Distribution => "correct `auth.token.realm` in the configuration of the registry: an https URL with a name that every node resolves".to_owned(),
    };
    Some((said, todo))
}

/// Why nodes cannot follow this realm.
async fn unfollowable(registry: &Registry, realm: &str) -> Option<&'static str> {
    let Ok(realm) = Url::parse(realm) else { return Some("which is no URL") };
    if registry.realm.as_ref().is_some_and(|allowed| allowed.origin() == realm.origin()) {
        return None;
    }
    if realm.scheme() != "https" && registry.url.scheme() == "https" {
        return Some("which is not https: their passwords would travel in clear text");
    }
    let host = realm.host_str().unwrap_or_default();
    let at = realm.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
    // Who pulls from a host resolves it.
    if std::iter::once(&registry.host).chain(&registry.aliases).any(|host| folded(host) == folded(&at)) {
        return None;
    }
    if is_inside_a_cluster(&realm) {
        return Some("a name that only Pods can resolve");
    }
    let address = (host.trim_matches(['[', ']']), realm.port_or_known_default()?);
    let resolved = timeout(PATIENCE, lookup_host(address)).await;
    (!matches!(resolved, Ok(Ok(_)))).then_some("a name that cannot be resolved here")
}

/// Whether only Pods resolve this host.
fn is_inside_a_cluster(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => {
            let labels: Vec<_> = name.trim_end_matches('.').split('.').collect();
            matches!(labels.as_slice(), [_] | [_, _, "svc"] | [.., "cluster", "local"])
        }
        Some(Host::Ipv4(_) | Host::Ipv6(_)) | None => false,
    }
}
