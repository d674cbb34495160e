//! The plain registry: its logins, and what distribution answers.

use std::time::Duration;

use landfall::facade::demo::world::content::{Content, Flavour, OCI_INDEX, OCI_MANIFEST, sha256};
use landfall::facade::demo::world::{Embedded, Login, TokenAnswer, World};
use reqwest::{Client, Method, Response};
use serde_json::Value;

use super::ask::{client, header, json, manifest};

async fn started(login: Login) -> (World, Embedded, Client) {
    let world = World::new().unwrap();
    let registry = world.plain("plain", login).await.unwrap();
    registry.store().push("team/app", "v1", &Content::image("app"));
    let client = client(&world);
    (world, registry, client)
}

async fn get(client: &Client, at: &Embedded, path: &str, accept: &str) -> Response {
    client.get(format!("{}/v2/{path}", at.url())).header("accept", accept).send().await.unwrap()
}

fn bearer(lifetime: Duration, answer: TokenAnswer) -> Login {
    let (user, password, identity_token) = ("me".into(), "secret".into(), Some("refresh".into()));
    Login::Bearer { user, password, identity_token, lifetime, answer }
}

#[tokio::test]
async fn manifests_are_the_bytes_their_digests_name() {
    let (_world, registry, client) = started(Login::Open).await;
    let index = Content::index("multi", Flavour::Docker, &["linux/amd64", "linux/arm/v7"]);
    registry.store().push("team/multi", "v1", &index);
    for (path, content) in [
        ("team/app/manifests/v1", Content::image("app")),
        ("team/multi/manifests/v1", index.clone()),
        (&format!("team/multi/manifests/{}", index.digest), index.clone()),
        (
            &format!("team/multi/manifests/{}", index.child("linux/arm/v7").unwrap().digest),
            index.child("linux/arm/v7").unwrap().clone(),
        ),
    ] {
        let answer = manifest(&client, Method::GET, &registry, path).send().await.unwrap();
        assert_eq!(header(&answer, "content-type"), Some(content.media_type));
        assert_eq!(header(&answer, "docker-content-digest"), Some(content.digest.to_string().as_str()));
        assert_eq!(sha256(&answer.bytes().await.unwrap()), content.digest);
        let head = manifest(&client, Method::HEAD, &registry, path).send().await.unwrap();
        assert_eq!(header(&head, "content-length"), Some(content.bytes.len().to_string().as_str()));
    }
    for blob in &Content::image("app").blobs {
        let answer = get(&client, &registry, &format!("team/app/blobs/{}", blob.digest), "*/*").await;
        assert_eq!(sha256(&answer.bytes().await.unwrap()), blob.digest);
    }
    let tags = json(get(&client, &registry, "team/app/tags/list", "*/*").await).await;
    assert_eq!(tags, serde_json::json!({"name": "team/app", "tags": ["v1"]}));
}

#[tokio::test]
async fn oci_needs_exactly_its_type_and_absence_has_its_codes() {
    let (_world, registry, client) = started(Login::Open).await;
    let absent = format!("team/app/manifests/{}", sha256(b"nothing"));
    for (path, accept, status, code) in [
        ("team/app/manifests/v1", OCI_MANIFEST, 200, None),
        ("team/app/manifests/v1", "*/*", 404, Some("MANIFEST_UNKNOWN")),
        ("team/app/manifests/v1", OCI_INDEX, 404, Some("MANIFEST_UNKNOWN")),
        ("team/app/manifests/v2", OCI_MANIFEST, 404, Some("MANIFEST_UNKNOWN")),
        ("team/nope/manifests/v1", OCI_MANIFEST, 404, Some("MANIFEST_UNKNOWN")),
        (&absent, OCI_MANIFEST, 404, Some("MANIFEST_UNKNOWN")),
        ("team/nope/tags/list", "*/*", 404, Some("NAME_UNKNOWN")),
        ("team/app/blobs/sha256:abc", "*/*", 404, Some("BLOB_UNKNOWN")),
    ] {
        let answer = get(&client, &registry, path, accept).await;
        assert_eq!(answer.status(), status, "{path} {accept}");
        assert_eq!(header(&answer, "docker-distribution-api-version"), Some("registry/2.0"));
        let Some(code) = code else { continue };
        assert_eq!(json(answer).await["errors"][0]["code"], code);
    }
}

#[tokio::test]
async fn what_a_story_changes_is_seen_at_once() {
    let (_world, registry, client) = started(Login::Open).await;
    let digest = async || {
        let answer =
            manifest(&client, Method::HEAD, &registry, "team/app/manifests/v1").send().await.unwrap();
        header(&answer, "docker-content-digest").map(str::to_owned)
    };
    let old = Content::image("app").digest;
    assert_eq!(digest().await, Some(old.to_string()));
    let new = registry.store().push("team/app", "v1", &Content::image("app, newer"));
    assert_eq!(digest().await, Some(new.to_string()));
    registry.store().tag("team/app", "v1", &old);
    assert_eq!(digest().await, Some(old.to_string()));
    registry.store().lose("team/app", &old);
    assert_eq!(digest().await, None);
    registry.store().restore("team/app", &old);
    assert_eq!(digest().await, Some(old.to_string()));
    registry.store().delete("team/app", &old);
    assert_eq!(digest().await, None);
    let strong = Content::image("app").named_by_sha512();
    registry.store().push("team/app", "v1", &strong);
    assert_eq!(digest().await, Some(strong.digest.to_string()));
}

#[tokio::test]
async fn basic_asks_again_after_a_wrong_password() {
    let (_world, registry, client) = started(Login::basic("me", "secret")).await;
    for (password, status) in [(None, 401), (Some("wrong"), 401), (Some("secret"), 200)] {
        let mut ask = manifest(&client, Method::HEAD, &registry, "team/app/manifests/v1");
        if let Some(password) = password {
            ask = ask.basic_auth("me", Some(password));
        }
        let answer = ask.send().await.unwrap();
        assert_eq!(answer.status(), status);
        let challenge = (status == 401).then_some("Basic realm=\"registry\"");
        assert_eq!(header(&answer, "www-authenticate"), challenge);
    }
}

#[tokio::test]
async fn bearer_tokens_hold_for_their_scope_and_their_time() {
    let (_world, registry, client) = started(bearer(Duration::from_mins(5), TokenAnswer::Both)).await;
    let path = "team/app/manifests/v1";
    let refused = manifest(&client, Method::HEAD, &registry, path).send().await.unwrap();
    let url = registry.url();
    assert_eq!(
        header(&refused, "www-authenticate").unwrap(),
        format!("Bearer realm=\"{url}/token\",service=\"landfall-world\",scope=\"repository:team/app:pull\"")
    );
    let token = async |scope: &str| {
        let ask = client.get(format!("{url}/token?service=landfall-world&scope=repository:{scope}:pull"));
        let token = json(ask.basic_auth("me", Some("secret")).send().await.unwrap()).await;
        assert_eq!(token["expires_in"], 300);
        token["token"].as_str().unwrap().to_owned()
    };
    let with = async |token: &str| {
        let answer =
            manifest(&client, Method::HEAD, &registry, path).bearer_auth(token).send().await.unwrap();
        let challenge = header(&answer, "www-authenticate").unwrap_or_default();
        (answer.status().as_u16(), challenge.rsplit_once("error=").map(|(_, error)| error.to_owned()))
    };
    assert_eq!(with(&token("team/app").await).await, (200, None));
    assert_eq!(with(&token("team/other").await).await, (401, Some("\"insufficient_scope\"".into())));
    assert_eq!(with("invented").await, (401, Some("\"invalid_token\"".into())));
    let wrong = client.get(format!("{url}/token")).basic_auth("me", Some("wrong")).send().await.unwrap();
    assert_eq!(wrong.status(), 401);

    let (_world, registry, client) = started(bearer(Duration::ZERO, TokenAnswer::Both)).await;
    let ask = client.get(format!("{}/token?scope=repository:team/app:pull", registry.url()));
    let token = json(ask.basic_auth("me", Some("secret")).send().await.unwrap()).await;
    let expired =
        manifest(&client, Method::HEAD, &registry, path).bearer_auth(token["token"].as_str().unwrap());
    assert_eq!(expired.send().await.unwrap().status(), 401);
}

#[tokio::test]
async fn token_answers_have_their_spellings_and_an_identity_token_is_posted() {
    let text = |value: &Value, key: &str| value[key].as_str().map(|text| !text.is_empty());
    for (answer, token, access_token, expires) in [
        (TokenAnswer::Both, Some(true), Some(true), true),
        (TokenAnswer::EmptyAccessToken, Some(true), Some(false), true),
        (TokenAnswer::AccessTokenOnly, None, Some(true), true),
        (TokenAnswer::WithoutExpiry, Some(true), None, false),
    ] {
        let (_world, registry, client) = started(bearer(Duration::from_mins(1), answer)).await;
        let form = |refresh: &str| {
            let ask = client.post(format!("{}/token", registry.url()));
            ask.form(&[
                ("grant_type", "refresh_token"),
                ("refresh_token", refresh),
                ("scope", "repository:team/app:pull"),
            ])
        };
        let given = json(form("refresh").send().await.unwrap()).await;
        assert_eq!((text(&given, "token"), text(&given, "access_token")), (token, access_token));
        assert_eq!(given["expires_in"].is_number(), expires);
        let token = given["token"].as_str().or(given["access_token"].as_str()).unwrap();
        let ask = manifest(&client, Method::HEAD, &registry, "team/app/manifests/v1").bearer_auth(token);
        assert_eq!(ask.send().await.unwrap().status(), 200);
        assert_eq!(form("wrong").send().await.unwrap().status(), 401);
    }
    let (_world, registry, client) = started(Login::bearer("me", "secret")).await;
    let posted = client.post(format!("{}/token", registry.url())).send().await.unwrap();
    assert_eq!(posted.status(), 405);
}
