//! A plain HTTP client for the tests, that trusts the world's authority.

use landfall::facade::demo::world::content::{DOCKER_LIST, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST};
use landfall::facade::demo::world::{Embedded, World};
use reqwest::{Method, RequestBuilder, Response};
use serde_json::Value;

pub fn client(world: &World) -> reqwest::Client {
    with_redirects(world, reqwest::redirect::Policy::none())
}

pub fn with_redirects(world: &World, policy: reqwest::redirect::Policy) -> reqwest::Client {
    let ca = reqwest::Certificate::from_pem(world.authority().pem().as_bytes()).unwrap();
    reqwest::Client::builder().tls_certs_only([ca]).redirect(policy).no_proxy().build().unwrap()
}

/// A request for a manifest, with all four media types.
pub fn manifest(client: &reqwest::Client, method: Method, at: &Embedded, path: &str) -> RequestBuilder {
    client
        .request(method, format!("{}/v2/{path}", at.url()))
        .header("accept", [OCI_INDEX, OCI_MANIFEST, DOCKER_LIST, DOCKER_MANIFEST].join(", "))
}

/// The status of a `HEAD` as the Harbor's reading robot.
pub async fn head(client: &reqwest::Client, at: &Embedded, path: &str) -> u16 {
    as_robot(manifest(client, Method::HEAD, at, path)).send().await.unwrap().status().as_u16()
}

/// A JSON answer of the Harbor's API, as its reading robot.
pub async fn api(client: &reqwest::Client, at: &Embedded, path: &str) -> Value {
    json(as_robot(client.get(format!("{}/api/v2.0/{path}", at.url()))).send().await.unwrap()).await
}

pub fn as_robot(ask: RequestBuilder) -> RequestBuilder {
    ask.basic_auth("robot$landfall", Some("landfall-Secret1"))
}

pub async fn json(answer: Response) -> Value {
    serde_json::from_str(&answer.text().await.unwrap()).unwrap()
}

pub fn header<'a>(answer: &'a Response, name: &str) -> Option<&'a str> {
    answer.headers().get(name).map(|value| value.to_str().unwrap())
}
