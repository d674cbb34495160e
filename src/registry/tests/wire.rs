//! Redirects, broken connections, and servers that are too slow or answer too much.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::domain::evidence::{Presence, Shape};

use crate::domain::registry::CredentialSource;
use crate::domain::unknown::Cause;

use super::super::{Endpoint, Request};
use super::server::{Server, reply, status};
use super::*;

fn present() -> Presence {
    Presence::Present { digest: digest(&digest_of("x")), shape: Shape::Manifest }
}

fn with_token(server: &Server) -> (tempfile::TempDir, Client) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("token"), "secret").unwrap();
    let credentials = CredentialSource::TokenFile(dir.path().join("token"));
    (dir, client(Registry { credentials, ..registry(&server.url) }))
}

fn holder() -> impl Fn(&super::server::Seen) -> super::server::Reply + Send + Sync {
    |_| reply(200, &[("docker-content-digest", &digest_of("x")), ("content-type", MANIFEST)], "")
}

#[tokio::test]
async fn a_redirect_within_the_registry_keeps_our_credentials() {
    let server = Server::http(|seen| match seen.path.as_str() {
        "/moved" => holder()(seen),
        _ => reply(307, &[("location", "/moved")], ""),
    })
    .await;
    let (_dir, client) = with_token(&server);
    assert_eq!(by_tag(&client).await, present());
    let sent: Vec<_> = server.seen().iter().map(|seen| seen.authorization().to_owned()).collect();
    assert_eq!(sent, ["Bearer secret", "Bearer secret"]);
}

#[tokio::test]
async fn another_host_gets_no_credentials_and_cannot_ask_for_them() {
    for code in [301, 302, 303, 307, 308] {
        // Another port is another host.
        let other = Server::http(holder()).await;
        let location = other.url.join("/blob").unwrap().to_string();
        let server = Server::http(move |_| reply(code, &[("location", &location)], "")).await;
        let (_dir, client) = with_token(&server);
        assert_eq!(by_tag(&client).await, present());
        let [seen] = other.seen().try_into().unwrap();
        assert_eq!((seen.method.as_str(), seen.path.as_str()), ("HEAD", "/blob"));
        assert_eq!(seen.authorization(), "");
    }
    let thief = Server::http(|seen| {
        let challenge = format!(r#"Bearer realm="http://{}/token""#, seen.host());
        reply(401, &[("www-authenticate", &challenge)], "")
    })
    .await;
    let location = thief.url.to_string();
    let server = Server::http(move |_| reply(307, &[("location", &location)], "")).await;
    let dir = tempfile::tempdir().unwrap();
    for file in ["username", "password"] {
        std::fs::write(dir.path().join(file), "secret").unwrap();
    }
    let credentials = CredentialSource::Dir(dir.path().into());
    let client = client(Registry { credentials, ..registry(&server.url) });
    assert_eq!(unknown(by_tag(&client).await).cause, Cause::Unauthorized);
    assert_eq!(thief.lines(), ["HEAD /"]);
}

/// A registry that was taken over must not make us send requests into our own network.
#[tokio::test]
async fn a_redirect_to_a_private_address_of_another_host_is_not_followed() {
    for location in [
        "http://169.254.169.254/latest/meta-data",
        "http://127.0.0.2/",
        "http://10.0.0.1/",
        "http://[::ffff:10.0.0.1]/",
        "http://[fe80::1]/",
        "http://localhost/",
        // The parser of URLs reads the other spellings of an address.
        "http://2130706434/",
        "//192.168.0.1/",
    ] {
        let server = Server::http(move |_| reply(307, &[("location", location)], "")).await;
        let presence = by_tag(&client(registry(&server.url))).await;
        assert_unknown(presence, Cause::Redirect, "to a private address of another host");
        assert_eq!(server.seen().len(), 1, "{location}");
    }
    // The same on the second redirect.
    let server = Server::http(|seen| match seen.path.as_str() {
        "/moved" => reply(302, &[("location", "http://10.0.0.1/")], ""),
        _ => reply(302, &[("location", "/moved")], ""),
    })
    .await;
    let presence = by_tag(&client(registry(&server.url))).await;
    assert_unknown(presence, Cause::Redirect, "to a private address of another host");
}

/// The host that references name is the registry itself, wherever we ask it.
#[tokio::test]
async fn a_redirect_to_the_registrys_own_name_is_followed() {
    let own = Server::http(holder()).await;
    let location = own.url.to_string();
    let server = Server::http(move |_| reply(307, &[("location", &location)], "")).await;
    let mut asked_by_name = server.url.clone();
    asked_by_name.set_host(Some("localhost")).unwrap();
    let host = own.url.host_str().unwrap();
    let stranger = registry(&asked_by_name);
    assert_unknown(by_tag(&client(stranger.clone())).await, Cause::Redirect, "private address");
    assert_eq!(by_tag(&client(Registry { host: host.into(), ..stranger })).await, present());
}

#[tokio::test]
async fn redirects_that_lead_nowhere_end() {
    let server = Server::http(|_| reply(302, &[("location", "/again")], "")).await;
    let presence = by_tag(&client(registry(&server.url))).await;
    assert_unknown(presence, Cause::Redirect, "more than 5 times");
    assert_eq!(server.seen().len(), 6);
    for (location, words) in [
        ("ftp://127.0.0.1/", "not HTTP"),
        ("http://[", "its `Location` is missing"),
        ("file:///etc/passwd", "not HTTP"),
    ] {
        let server = Server::http(move |_| reply(302, &[("location", location)], "")).await;
        assert_unknown(by_tag(&client(registry(&server.url))).await, Cause::Redirect, words);
    }
    let server = Server::http(|_| status(302)).await;
    assert_unknown(
        by_tag(&client(registry(&server.url))).await,
        Cause::Redirect,
        "its `Location` is missing",
    );
}

#[tokio::test]
async fn the_api_is_never_redirected_elsewhere_nor_repeated() {
    let other = Server::http(|_| reply(200, &[], "{}")).await;
    let location = other.url.to_string();
    let server = Server::http(move |_| reply(308, &[("location", &location)], "")).await;
    let client = client(registry(&server.url));
    for (method, words) in [(http::Method::GET, "another host"), (http::Method::POST, "only GET and HEAD")] {
        let path_and_query = "/api/v2.0/replication/executions";
        let (endpoint, accept, body, body_limit) = (Endpoint::HarborApi(None), None, None, 10);
        let request = Request { method, path_and_query, endpoint, accept, body, body_limit };
        let refused = client.send(request, soon()).await.unwrap_err();
        assert_eq!(refused.cause, Cause::Redirect);
        assert!(refused.detail.contains(words), "{}", refused.detail);
    }
    assert!(other.seen().is_empty());
}

#[tokio::test]
async fn a_body_beyond_its_limit_is_not_read() {
    let client = |server: &Server| client(registry(&server.url));
    let server =
        Server::http(|_| reply(200, &[("content-type", MANIFEST)], &" ".repeat(5 * 1024 * 1024))).await;
    assert_unknown(by_tag(&client(&server)).await, Cause::TooLarge, "4194304 bytes");
    // Without `Content-Length` the limit is found while reading.
    let server = Server::raw(|mut stream| async move {
        let mut request = [0; 4096];
        while let Ok(1..) = stream.read(&mut request).await {
            let head = format!("HTTP/1.1 200 OK\r\ncontent-type: {MANIFEST}\r\nconnection: close\r\n\r\n");
            stream.write_all(head.as_bytes()).await.unwrap();
            if request.starts_with(b"HEAD") {
                return;
            }
            while stream.write_all(&[b' '; 65536]).await.is_ok() {}
        }
    })
    .await;
    assert_unknown(by_tag(&client(&server)).await, Cause::TooLarge, "4194304 bytes");
    // Of an error only the beginning is read, and its status counts.
    let server = Server::http(|_| reply(502, &[], &"x".repeat(5 * 1024 * 1024))).await;
    let named = digest(&digest_of("x"));
    let children = client(&server).children(&repository(), &named, soon()).await;
    let crate::domain::evidence::Children::Unknown(unknown) = children else { panic!("{children:?}") };
    assert_eq!(unknown.cause, Cause::ServerError);
}

#[tokio::test]
async fn silence_and_slowness_end_at_the_deadline() {
    let silent = Server::raw(|stream| async move {
        let _held = stream;
        std::future::pending::<()>().await;
    })
    .await;
    let slow = Server::raw(|mut stream| async move {
        let head = format!("HTTP/1.1 200 OK\r\ncontent-type: {MANIFEST}\r\ncontent-length: 1000\r\n\r\n");
        asked(&mut stream).await;
        stream.write_all(head.as_bytes()).await.unwrap();
        std::future::pending::<()>().await;
    })
    .await;
    for server in [silent, slow] {
        let deadline = Instant::now() + Duration::from_millis(200);
        let client = client(registry(&server.url));
        let presence = client.presence(&repository(), Target::Tag(&Tag::new("v1")), deadline).await;
        assert_unknown(presence, Cause::Deadline, "no answer within");
        assert!(deadline.elapsed() < Duration::from_secs(5));
    }
}

/// Waits for a request.
async fn asked(stream: &mut TcpStream) {
    let mut request = [0; 4096];
    assert_ne!(stream.read(&mut request).await.unwrap(), 0);
}

/// Reads a request, writes `answer`, ends the connection.
async fn says(answer: &'static str) -> Server {
    Server::raw(move |mut stream| async move {
        asked(&mut stream).await;
        stream.write_all(answer.as_bytes()).await.unwrap();
    })
    .await
}

#[tokio::test]
async fn broken_answers_are_told_apart() {
    // No digest and no type: a GET follows, whose body is cut short.
    let truncated = "HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{";
    let cases = [
        ("", Cause::Broken, "broke"),
        ("HTTP/1.1 200 OK\r\ncontent-le", Cause::Broken, "broke"),
        (truncated, Cause::Broken, "broke"),
        ("SSH-2.0-OpenSSH_9.9\r\n", Cause::NotRegistry, "does not speak HTTP"),
    ];
    for (answer, cause, words) in cases {
        let server = says(answer).await;
        assert_unknown(by_tag(&client(registry(&server.url))).await, cause, words);
    }
}

#[tokio::test]
async fn a_reset_is_a_broken_connection() {
    let server = Server::raw(|stream| async move {
        // Closing with lingering zero sends RST instead of FIN.
        stream.set_zero_linger().unwrap();
    })
    .await;
    assert_unknown(by_tag(&client(registry(&server.url))).await, Cause::Broken, "broke");
}

#[tokio::test]
async fn nobody_there_is_a_failed_connection() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url: Url = format!("http://{}", free.local_addr().unwrap()).parse().unwrap();
    drop(free);
    assert_unknown(by_tag(&client(registry(&url))).await, Cause::Connect, "refused");
    let nowhere = "http://registry.invalid".parse().unwrap();
    assert_unknown(by_tag(&client(registry(&nowhere))).await, Cause::Connect, "registry.invalid");
}
