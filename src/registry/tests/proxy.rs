//! Registries behind a proxy, over real sockets.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::domain::evidence::{Presence, Shape};
use crate::domain::proxy::Proxies;
use crate::domain::unknown::Cause;

use super::open_proxy::Proxy;
use super::server::{Server, reply};
use super::*;

async fn holder() -> Server {
    Server::http(|_| {
        reply(200, &[("docker-content-digest", &digest_of("x")), ("content-type", MANIFEST)], "")
    })
    .await
}

fn present() -> Presence {
    Presence::Present { digest: digest(&digest_of("x")), shape: Shape::Manifest }
}

fn address(server: &Server) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], server.url.port().unwrap()))
}

fn through(variables: &[(&str, &str)], registry: Registry) -> Client {
    let _again = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let proxies = Proxies::of(|name| {
        variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
    });
    let metrics = Metrics::register(&mut prometheus_client::registry::Registry::default());
    Client::through(&proxies, &Arc::new(registry), metrics, crate::registry::Tasks::default()).unwrap()
}

#[tokio::test]
async fn a_plain_registry_is_asked_through_http_proxy_and_directly_if_it_is_excepted() {
    let server = holder().await;
    let proxy = Proxy::to(address(&server)).await;
    let url: Url = "http://registry.test:5000".parse().unwrap();
    let http = proxy.url("http", "user:pa%40ss@");
    let client = through(&[("HTTP_PROXY", &http)], registry(&url));
    assert_eq!(by_tag(&client).await, present());
    let asked = proxy.asked();
    assert!(asked[0].starts_with("HEAD http://registry.test:5000/v2/project/app/manifests/v1"), "{asked:?}");
    assert!(asked[0].to_lowercase().ends_with("[proxy-authorization: basic dxnlcjpwyubzcw==]"), "{asked:?}");
    // The name exists nowhere but at the proxy: without it there is no connection.
    for list in ["*.test", ".test", "registry.test", "registry.test:5000", "REGISTRY.Test, other", "*"] {
        let client = through(&[("HTTP_PROXY", &http), ("NO_PROXY", list)], registry(&url));
        let unknown = unknown(by_tag(&client).await);
        assert_eq!(unknown.cause, Cause::Connect, "{list}: {unknown}");
        assert!(!unknown.detail.contains("proxy"), "{list}: {unknown}");
    }
    assert_eq!(proxy.asked().len(), 1, "{:?}", proxy.asked());
    for list in ["registry.test:5001", "*.registry.test", "est", "10.0.0.0/8"] {
        let client = through(&[("http_proxy", &http), ("no_proxy", list)], registry(&url));
        assert_eq!(by_tag(&client).await, present(), "{list}");
    }
}

#[tokio::test]
async fn our_own_machine_is_never_asked_through_a_proxy() {
    let server = holder().await;
    let dead = [("HTTP_PROXY", "http://127.0.0.1:1"), ("HTTPS_PROXY", "http://127.0.0.1:1")];
    assert_eq!(by_tag(&through(&dead, registry(&server.url))).await, present());
    let mut url = server.url.clone();
    url.set_host(Some("localhost")).unwrap();
    assert_eq!(by_tag(&through(&dead, registry(&url))).await, present());
}

#[tokio::test]
async fn a_socks_proxy_looks_the_name_up() {
    let server = holder().await;
    let proxy = Proxy::to(address(&server)).await;
    let url: Url = "http://registry.test:5000".parse().unwrap();
    for scheme in ["socks5", "socks5h"] {
        let client = through(&[("HTTP_PROXY", &proxy.url(scheme, ""))], registry(&url));
        assert_eq!(by_tag(&client).await, present(), "{scheme}");
    }
    assert_eq!(proxy.asked(), ["SOCKS registry.test:5000"; 2]);
}

#[tokio::test]
async fn errors_name_the_proxy_without_its_password() {
    let url: Url = "https://registry.test".parse().unwrap();
    let client = through(&[("HTTPS_PROXY", "http://user:pa55@127.0.0.1:1")], registry(&url));
    let unreachable = unknown(by_tag(&client).await);
    let words = "cannot connect to registry.test through the proxy http://127.0.0.1:1: ";
    assert_eq!(unreachable.cause, Cause::Connect);
    assert!(unreachable.detail.starts_with(words) && !unreachable.detail.contains("pa55"), "{unreachable}");
    assert_eq!(client.proxy().map(ToString::to_string).as_deref(), Some("http://127.0.0.1:1"));
    // A proxy that refuses the tunnel.
    for (answer, words) in
        [("407 Proxy Authentication Required", "authorization"), ("403 Forbidden", "unsuccessful")]
    {
        let proxy = Server::raw(move |mut stream| async move {
            let mut head = [0; 4096];
            let _read = stream.read(&mut head).await;
            let _sent =
                stream.write_all(format!("HTTP/1.1 {answer}\r\ncontent-length: 0\r\n\r\n").as_bytes()).await;
        })
        .await;
        let at = format!("127.0.0.1:{}", proxy.url.port().unwrap());
        let client = through(&[("HTTPS_PROXY", &at)], registry(&url));
        let refused = unknown(by_tag(&client).await);
        assert_eq!(refused.cause, Cause::Connect, "{refused}");
        assert!(refused.detail.contains(&format!("through the proxy http://{at}: ")), "{refused}");
        assert!(refused.detail.contains(words), "{refused}");
    }
    // One that never answers.
    let silent = Server::raw(|stream| async move {
        let _held = stream;
        std::future::pending().await
    })
    .await;
    let at = format!("127.0.0.1:{}", silent.url.port().unwrap());
    let client = through(&[("HTTPS_PROXY", &at)], registry(&url));
    let deadline = Instant::now() + Duration::from_millis(50);
    let late = unknown(client.presence(&repository(), Target::Tag(&Tag::new("v1")), deadline).await);
    assert_eq!(late.cause, Cause::Deadline);
    assert!(late.detail.contains(&format!("through the proxy http://{at} gave no answer")), "{late}");
}

#[cfg(feature = "demo")]
#[tokio::test]
async fn a_secure_registry_is_asked_through_a_tunnel() {
    let authority = super::tls::Authority::new("ours");
    let server = super::tls::holder(authority.server("registry.test")).await;
    let proxy = Proxy::to(address(&server)).await;
    let (_file, registry) = super::tls::trusting(&"https://registry.test".parse().unwrap(), &authority.pem());
    let https = proxy.url("http", "user:word@");
    let client = through(&[("HTTPS_PROXY", &https), ("HTTP_PROXY", "http://127.0.0.1:1")], registry.clone());
    assert_eq!(by_tag(&client).await, present());
    let asked = proxy.asked();
    assert!(asked[0].starts_with("CONNECT registry.test:443 "), "{asked:?}");
    assert!(asked[0].ends_with("Basic dXNlcjp3b3Jk]"), "{asked:?}");
    // A list as clusters have it.
    let list = "localhost,127.0.0.1,*.svc,.cluster.local,*.test,10.0.0.0/8";
    let client = through(&[("HTTPS_PROXY", &https), ("NO_PROXY", list)], registry.clone());
    assert_eq!(unknown(by_tag(&client).await).cause, Cause::Connect);
    // The proxy leads to another server than the one that was meant.
    let (_file, registry) = super::tls::trusting(&"https://other.test".parse().unwrap(), &authority.pem());
    let wrong = unknown(by_tag(&through(&[("HTTPS_PROXY", &https)], registry)).await);
    assert_eq!(wrong.cause, Cause::Tls);
    assert!(wrong.detail.contains("other.test through the proxy http://127.0.0.1:"), "{wrong}");
    assert_eq!(proxy.asked().len(), 2, "{:?}", proxy.asked());
}
