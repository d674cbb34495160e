//! Which credentials are sent, where, and how often.

use std::sync::atomic::{AtomicUsize, Ordering};

use tempfile::TempDir;

use crate::domain::evidence::{Presence, Shape};

use crate::domain::registry::{CredentialSource, Kind};
use crate::domain::unknown::Cause;

use super::super::{Endpoint, Request, Sent, Target};
use super::server::{Reply, Seen, Server, reply, status};
use super::*;

/// base64 of `robot$p+reader:pa55`.
const BASIC: &str = "Basic cm9ib3QkcCtyZWFkZXI6cGE1NQ==";

fn dir() -> (TempDir, CredentialSource) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("username"), "robot$p+reader\n").unwrap();
    std::fs::write(dir.path().join("password"), "pa55\n").unwrap();
    let source = CredentialSource::Dir(dir.path().into());
    (dir, source)
}

fn config(text: &str) -> (TempDir, CredentialSource) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("config.json"), text).unwrap();
    let source = CredentialSource::DockerConfig(dir.path().join("config.json"));
    (dir, source)
}

fn entry(entry: &str) -> (TempDir, CredentialSource) {
    config(&format!(r#"{{"auths":{{"harbor.example.com":{entry}}}}}"#))
}

fn with(server: &Server, credentials: CredentialSource) -> Client {
    client(Registry { credentials, ..registry(&server.url) })
}

fn found() -> Reply {
    reply(200, &[("docker-content-digest", &digest_of("x")), ("content-type", MANIFEST)], "")
}

fn present() -> Presence {
    Presence::Present { digest: digest(&digest_of("x")), shape: Shape::Manifest }
}

fn challenged(seen: &Seen) -> Reply {
    let repository = seen.path.trim_start_matches("/v2/").split("/manifests").next().unwrap();
    let challenge = format!(
        r#"Bearer realm="http://{}/token",service="the-service",scope="repository:{repository}:pull""#,
        seen.host()
    );
    reply(401, &[("www-authenticate", &challenge)], "")
}

/// A registry that wants the token `good`, and a token server that answers `token`.
fn bearer(token: &'static str) -> impl Fn(&Seen) -> Reply + Send + Sync {
    move |seen| match (seen.path.as_str(), seen.authorization()) {
        ("/token", _) => reply(200, &[], token),
        (_, "Bearer good") => found(),
        _ => challenged(seen),
    }
}

fn query(seen: &Seen) -> Vec<(String, String)> {
    url::form_urlencoded::parse(seen.query.as_bytes()).into_owned().collect()
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
}

#[tokio::test]
async fn harbor_gets_basic_unasked() {
    let (_dir, credentials) = dir();
    let server = Server::http(|seen| if seen.authorization() == BASIC { found() } else { status(401) }).await;
    let client = client(Registry { credentials, kind: Kind::Harbor, ..registry(&server.url) });
    assert_eq!(by_tag(&client).await, present());
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn a_wrong_password_is_tried_once() {
    let (_dir, credentials) = dir();
    let server = Server::http(|_| reply(401, &[("www-authenticate", "Basic realm=\"harbor\"")], "")).await;
    let client = client(Registry { credentials, kind: Kind::Harbor, ..registry(&server.url) });
    assert_unknown(by_tag(&client).await, Cause::Unauthorized, "user name and password were rejected");
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn a_plain_registry_gets_basic_once_it_asks_and_unasked_from_then_on() {
    let (_dir, credentials) = dir();
    let server = Server::http(|seen| match seen.authorization() {
        BASIC => found(),
        _ => reply(401, &[("www-authenticate", "Basic realm=\"ecr\"")], ""),
    })
    .await;
    let client = with(&server, credentials);
    assert_eq!(by_tag(&client).await, present());
    assert_eq!(server.seen().len(), 2);
    assert_eq!(by_tag(&client).await, present());
    assert_eq!(server.seen().len(), 3);
}

#[tokio::test]
async fn a_token_is_fetched_once_per_repository_and_used_again() {
    let (_dir, credentials) = dir();
    let server = Server::http(bearer(r#"{"token":"good","access_token":"","expires_in":1800}"#)).await;
    let client = with(&server, credentials);
    assert_eq!(by_tag(&client).await, present());
    assert_eq!(by_tag(&client).await, present());
    let head = "HEAD /v2/project/app/manifests/v1";
    assert_eq!(server.lines(), [head, "GET /token", head, head]);
    let token = &server.seen()[1];
    assert_eq!(token.authorization(), BASIC);
    let asked = pairs(&[("service", "the-service"), ("scope", "repository:project/app:pull")]);
    assert_eq!(query(token), asked);
    let other = Repository::new("project/other");
    let presence = client.presence(&other, Target::Tag(&Tag::new("v1")), soon()).await;
    assert_eq!(presence, present());
    assert_eq!(query(&server.seen()[5])[1].1, "repository:project/other:pull");
}

#[tokio::test]
async fn every_scope_that_is_asked_for_is_asked_for() {
    let server = Server::http(|seen| {
        let scopes = "repository:project/app:pull repository:project/base:pull";
        let challenge = format!(r#"Bearer realm="http://{}/token",scope="{scopes}""#, seen.host());
        match (seen.path.as_str(), seen.authorization()) {
            ("/token", _) => reply(200, &[], r#"{"access_token":"good"}"#),
            (_, "Bearer good") => found(),
            _ => reply(401, &[("www-authenticate", &challenge)], ""),
        }
    })
    .await;
    assert_eq!(by_tag(&with(&server, CredentialSource::Anonymous)).await, present());
    let asked = pairs(&[("scope", "repository:project/app:pull"), ("scope", "repository:project/base:pull")]);
    assert_eq!(query(&server.seen()[1]), asked);
    assert_eq!(server.seen()[1].authorization(), "");
}

#[tokio::test]
async fn what_is_no_token_is_said() {
    for (body, cause, words) in [
        (r#"{"token":"","access_token":""}"#, Cause::Unauthorized, "has no `token`"),
        ("{}", Cause::Unauthorized, "has no `token`"),
        ("<html>", Cause::NotRegistry, "is not the JSON of a token"),
        (r#"{"token":"a\nb"}"#, Cause::NotRegistry, "not allowed in a header"),
    ] {
        let server = Server::http(bearer(body)).await;
        assert_unknown(by_tag(&with(&server, CredentialSource::Anonymous)).await, cause, words);
        assert_eq!(server.seen().len(), 2);
    }
    for (code, cause) in [
        (401, Cause::Unauthorized),
        (403, Cause::Forbidden),
        (500, Cause::ServerError),
        (307, Cause::Redirect),
        (429, Cause::RateLimited { retry_after: None }),
    ] {
        let server = Server::http(move |seen| match seen.path.as_str() {
            "/token" => reply(code, &[("location", "/elsewhere")], ""),
            _ => challenged(seen),
        })
        .await;
        assert_eq!(unknown(by_tag(&with(&server, CredentialSource::Anonymous)).await).cause, cause);
        assert_eq!(server.seen().len(), 2);
    }
    let huge = Server::http(|seen| match seen.path.as_str() {
        "/token" => reply(200, &[], &"x".repeat(65 * 1024)),
        _ => challenged(seen),
    })
    .await;
    assert_unknown(by_tag(&with(&huge, CredentialSource::Anonymous)).await, Cause::TooLarge, "65536");
}

#[tokio::test]
async fn a_refused_token_is_refreshed_once_and_no_more() {
    for refusal in [401, 403] {
        let fetched = AtomicUsize::new(0);
        let server = Server::http(move |seen| match (seen.path.as_str(), seen.authorization()) {
            ("/token", _) => {
                let number = fetched.fetch_add(1, Ordering::SeqCst);
                reply(200, &[], &format!(r#"{{"token":"t{number}"}}"#))
            }
            // The first token is good for one request, as one that expires early or is revoked.
            ("/v2/project/app/manifests/v1", "Bearer t0") => found(),
            ("/v2/project/app/manifests/v2", "Bearer t1") => found(),
            (_, "") => challenged(seen),
            _ => status(refusal),
        })
        .await;
        let client = with(&server, CredentialSource::Anonymous);
        assert_eq!(by_tag(&client).await, present());
        let v2 = client.presence(&repository(), Target::Tag(&Tag::new("v2")), soon()).await;
        assert_eq!(v2, present(), "{refusal}");
        let v3 = client.presence(&repository(), Target::Tag(&Tag::new("v3")), soon()).await;
        let cause = if refusal == 401 { Cause::Unauthorized } else { Cause::Forbidden };
        assert_eq!(unknown(v3).cause, cause);
        assert_eq!(tokens(&server), 3);
        assert_eq!(server.seen().len(), 3 + 3 + 3);
    }
}

#[tokio::test]
async fn a_registry_that_refuses_every_token_gets_no_third_request() {
    let server = Server::http(|seen| match seen.path.as_str() {
        "/token" => reply(200, &[], r#"{"token":"useless"}"#),
        _ => challenged(seen),
    })
    .await;
    let presence = by_tag(&with(&server, CredentialSource::Anonymous)).await;
    assert_unknown(presence, Cause::Unauthorized, "the token was rejected");
    assert_eq!(server.seen().len(), 3);
}

#[tokio::test]
async fn an_empty_challenge_gets_no_second_request() {
    let (_dir, credentials) = dir();
    let server = Server::http(|_| reply(401, &[("www-authenticate", "")], "")).await;
    assert_unknown(by_tag(&with(&server, credentials)).await, Cause::Unauthorized, "no challenge");
    assert_eq!(server.seen().len(), 1);
}

fn tokens(server: &Server) -> usize {
    server.lines().iter().filter(|line| *line == "GET /token").count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_is_fetched_once_however_many_wait() {
    let server = Server::http(bearer(r#"{"token":"good"}"#)).await;
    let client = Arc::new(with(&server, CredentialSource::Anonymous));
    let ask = |client: Arc<Client>| tokio::spawn(async move { by_tag(&client).await });
    let all = futures::future::join_all((0..16).map(|_| ask(client.clone()))).await;
    assert!(all.into_iter().all(|presence| presence.unwrap() == present()));
    assert_eq!(tokens(&server), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_caller_in_a_hurry_leaves_the_fetch_to_the_others() {
    let (release, held) = std::sync::mpsc::channel::<()>();
    let held = std::sync::Mutex::new(held);
    let server = Server::http(move |seen| {
        if seen.path == "/token" {
            // Blocks in place, so that other tasks of this worker move to another one.
            tokio::task::block_in_place(|| held.lock().unwrap().recv().unwrap());
        }
        bearer(r#"{"token":"good"}"#)(seen)
    })
    .await;
    let client = with(&server, CredentialSource::Anonymous);
    let deadline = Instant::now() + Duration::from_millis(300);
    let hurried = client.presence(&repository(), Target::Tag(&Tag::new("v1")), deadline).await;
    assert_unknown(hurried, Cause::Deadline, "no answer within");
    release.send(()).unwrap();
    assert_eq!(by_tag(&client).await, present());
    assert_eq!(tokens(&server), 1);
}

#[tokio::test]
async fn an_identity_token_is_exchanged_by_post() {
    let (_dir, credentials) = entry(r#"{"identitytoken":"refresh me"}"#);
    let server = Server::http(bearer(r#"{"access_token":"good"}"#)).await;
    assert_eq!(by_tag(&with(&server, credentials)).await, present());
    let token = &server.seen()[1];
    assert_eq!((token.method.as_str(), token.authorization()), ("POST", ""));
    assert_eq!(token.query, "");
    let form: Vec<_> = url::form_urlencoded::parse(token.body.as_bytes()).into_owned().collect();
    let asked = [
        ("grant_type", "refresh_token"),
        ("refresh_token", "refresh me"),
        ("client_id", "landfall"),
        ("scope", "repository:project/app:pull"),
        ("service", "the-service"),
    ];
    assert_eq!(form, pairs(&asked));
}

#[tokio::test]
async fn a_token_server_without_post_is_asked_by_get() {
    for code in [404, 405] {
        let (_dir, credentials) = entry(r#"{"username":"u","identitytoken":"i"}"#);
        let server = Server::http(move |seen| match (seen.path.as_str(), seen.method.as_str()) {
            ("/token", "POST") => status(code),
            _ => bearer(r#"{"token":"good"}"#)(seen),
        })
        .await;
        assert_eq!(by_tag(&with(&server, credentials)).await, present());
        // base64 of `u:i`.
        assert_eq!(server.seen()[2].authorization(), "Basic dTpp");
    }
}

#[tokio::test]
async fn a_registry_token_and_a_token_file_are_sent_as_they_are() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("token"), "good\n").unwrap();
    let (_dir, config) = entry(r#"{"registrytoken":"good"}"#);
    for credentials in [config, CredentialSource::TokenFile(dir.path().join("token"))] {
        let server = Server::http(bearer("{}")).await;
        assert_eq!(by_tag(&with(&server, credentials)).await, present());
        assert_eq!(server.seen().len(), 1);
    }
}

#[tokio::test]
async fn a_docker_configuration_speaks_for_its_repositories() {
    let (_dir, credentials) = config(
        r#"{"auths":{"harbor.example.com/project":{"auth":"cm9ib3QkcCtyZWFkZXI6cGE1NQ=="},"other.example.com":{"username":"x","password":"y"}}}"#,
    );
    let server = Server::http(|seen| match seen.authorization() {
        BASIC => found(),
        _ => reply(401, &[("www-authenticate", "Basic realm=\"r\"")], ""),
    })
    .await;
    let client = with(&server, credentials);
    assert_eq!(by_tag(&client).await, present());
    let elsewhere = Repository::new("elsewhere/app");
    let presence = client.presence(&elsewhere, Target::Tag(&Tag::new("v1")), soon()).await;
    assert_unknown(presence, Cause::Unauthorized, "no credentials were sent");
}

#[tokio::test]
async fn the_api_gets_basic_and_never_a_token() {
    let (_dir, credentials) = dir();
    let api = |seen: &Seen| if seen.path == "/token" { status(500) } else { challenged(seen) };
    let server = Server::http(api).await;
    let request = Request {
        method: http::Method::GET,
        path_and_query: "/api/v2.0/projects",
        endpoint: Endpoint::HarborApi(None),
        accept: None,
        body: None,
        body_limit: 1024,
    };
    let answer = with(&server, credentials).send(request.clone(), soon()).await.unwrap();
    assert_eq!((answer.status.as_u16(), answer.sent), (401, Sent::Basic));
    assert_eq!(answer.challenges.len(), 1);
    let (_dir, credentials) = entry(r#"{"registrytoken":"r"}"#);
    let answer = with(&server, credentials).send(request, soon()).await.unwrap();
    assert_eq!(answer.sent, Sent::Nothing);
    let sent: Vec<_> = server.seen().iter().map(|seen| seen.authorization().to_owned()).collect();
    assert_eq!(sent, [BASIC, ""]);
}

/// Credentials for a project are used for Harbor's API of that project as well.
#[tokio::test]
async fn the_api_gets_the_credentials_of_its_project() {
    let (_dir, credentials) =
        config(r#"{"auths":{"harbor.example.com/project":{"auth":"cm9ib3QkcCtyZWFkZXI6cGE1NQ=="}}}"#);
    let server = Server::http(|_| reply(200, &[], "{}")).await;
    let client = with(&server, credentials);
    for (about, sent) in [
        (Some("project"), Sent::Basic),
        (Some("project/team/app"), Sent::Basic),
        (Some("elsewhere"), Sent::Nothing),
        // For the registry as a whole any of its credentials is used.
        (None, Sent::Basic),
    ] {
        let path_and_query = "/api/v2.0/whatever";
        let (method, endpoint, accept, body) = (http::Method::GET, Endpoint::HarborApi(about), None, None);
        let request = Request { method, path_and_query, endpoint, accept, body, body_limit: 1024 };
        assert_eq!(client.send(request, soon()).await.unwrap().sent, sent, "{about:?}");
        let header = if sent == Sent::Basic { BASIC } else { "" };
        assert_eq!(server.seen().last().unwrap().authorization(), header);
    }
}

#[tokio::test]
async fn credentials_go_to_no_realm_that_cannot_be_trusted() {
    let (_dir, credentials) = dir();
    for (realm, words) in [
        ("http://127.0.0.2:9/token", "private address of another host"),
        ("http://169.254.169.254/latest", "private address of another host"),
        ("http://[::ffff:10.0.0.1]/token", "private address of another host"),
        ("http://[fe80::1]/token", "private address of another host"),
        ("http://localhost/token", "another host and not https"),
        // What a name leads to is known when it is looked up: nothing is sent there, no handshake of TLS either.
        ("https://localhost/token", "private address of another host, 127.0.0.1"),
        ("https://100.64.0.1/token", "private address of another host"),
        ("https://[64:ff9b::a00:1]/token", "private address of another host"),
        ("ftp://127.0.0.1/token", "is not https"),
        ("/token", "is not a URL"),
        ("", "has no `realm`"),
    ] {
        let challenge = format!(r#"Bearer realm="{realm}""#);
        let server = Server::http(move |_| reply(401, &[("www-authenticate", &challenge)], "")).await;
        let presence = by_tag(&with(&server, credentials.clone())).await;
        assert_unknown(presence, Cause::Unauthorized, words);
        assert_eq!(server.seen().len(), 1);
    }
}

/// The realm is asked under a name that the registry does not have, on loopback.
fn elsewhere(seen: &Seen) -> Reply {
    let realm = seen.host().replace("127.0.0.1", "localhost");
    match (seen.path.as_str(), seen.authorization()) {
        ("/token", _) => reply(200, &[], r#"{"token":"good"}"#),
        (_, "Bearer good") => found(),
        _ => reply(401, &[("www-authenticate", &format!(r#"Bearer realm="http://{realm}/token""#))], ""),
    }
}

#[tokio::test]
async fn a_realm_elsewhere_gets_credentials_only_where_the_configuration_allows_it() {
    let (_dir, credentials) = dir();
    for (kind, words) in
        [(Kind::Harbor, "is not the `url`, the `host`"), (Kind::Distribution, "another host")]
    {
        let server = Server::http(elsewhere).await;
        let mut realm = server.url.clone();
        realm.set_host(Some("localhost")).unwrap();
        let wary = Registry { kind, credentials: credentials.clone(), ..registry(&server.url) };
        assert_unknown(by_tag(&client(wary.clone())).await, Cause::Unauthorized, words);
        assert_eq!(tokens(&server), 0, "{kind:?}");
        assert_eq!(by_tag(&client(Registry { realm: Some(realm), ..wary })).await, present());
        assert_eq!(server.seen().iter().find(|seen| seen.path == "/token").unwrap().authorization(), BASIC);
    }
}

#[tokio::test]
async fn credentials_that_cannot_be_read_are_said_and_nothing_is_asked() {
    let dir = tempfile::tempdir().unwrap();
    let missing = CredentialSource::Dir(dir.path().join("missing"));
    std::fs::write(dir.path().join("empty"), "\n").unwrap();
    let empty = CredentialSource::TokenFile(dir.path().join("empty"));
    std::fs::write(dir.path().join("bad"), r#"{"auths":{"h":{"auth":"%%%"}}}"#).unwrap();
    let bad = CredentialSource::DockerConfig(dir.path().join("bad"));
    let folder = CredentialSource::TokenFile(dir.path().into());
    std::fs::write(dir.path().join("two"), "a\nb").unwrap();
    let two = CredentialSource::TokenFile(dir.path().join("two"));
    for (credentials, words) in [
        (missing, "username: No such file"),
        (empty, "is empty"),
        (bad, "`auth` of `h`"),
        (folder, "directory"),
        (two, "not allowed in a header"),
    ] {
        let server = Server::http(|_| found()).await;
        assert_unknown(by_tag(&with(&server, credentials)).await, Cause::Unauthorized, words);
        assert!(server.seen().is_empty());
    }
}

#[tokio::test]
async fn a_registry_that_turns_to_basic_gets_it() {
    let (_dir, credentials) = dir();
    let server = Server::http(|seen| match (seen.path.as_str(), seen.authorization()) {
        ("/token", _) => reply(200, &[], r#"{"token":"good"}"#),
        ("/v2/project/app/manifests/v1", "Bearer good") | (_, BASIC) => found(),
        (_, "") => challenged(seen),
        _ => reply(401, &[("www-authenticate", "Basic realm=\"r\"")], ""),
    })
    .await;
    let client = with(&server, credentials);
    assert_eq!(by_tag(&client).await, present());
    let v2 = client.presence(&repository(), Target::Tag(&Tag::new("v2")), soon()).await;
    assert_eq!(v2, present());
}

#[tokio::test]
async fn what_a_token_server_says_of_time_is_no_reason_to_refuse_its_token() {
    for said in [
        r#""expires_in":-1"#,
        r#""expires_in":0"#,
        r#""expires_in":-9223372036854775808"#,
        r#""expires_in":299.5"#,
        r#""expires_in":1e300"#,
        r#""expires_in":"300""#,
        r#""expires_in":null"#,
        // Clocks that differ, in both directions, and no time at all.
        r#""expires_in":300,"issued_at":"2001-01-01T00:00:00Z""#,
        r#""expires_in":300,"issued_at":"2999-01-01T00:00:00Z""#,
        r#""expires_in":300,"issued_at":"yesterday""#,
    ] {
        let token: &'static str = format!(r#"{{"token":"good",{said}}}"#).leak();
        let server = Server::http(bearer(token)).await;
        let client = client(registry(&server.url));
        assert_eq!(by_tag(&client).await, present(), "{said}");
        assert_eq!(by_tag(&client).await, present(), "{said}");
        assert_eq!(server.lines().iter().filter(|line| *line == "GET /token").count(), 1, "{said}");
    }
}
