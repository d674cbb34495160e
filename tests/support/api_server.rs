//! An API server of the few objects that Landfall needs, over HTTP: it keeps what is written, with versions, and no watch ever
//! tells anything.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use landfall::facade::cluster::Cluster;
use serde_json::{Value, json};

/// Our namespace there.
pub const NAMESPACE: &str = "landfall";

/// The collections that may be listed, all of them empty.
const COLLECTIONS: [&str; 5] = ["namespaces", "configmaps", "endpointslices", "landingpolicies", "leases"];

/// It serves for as long as the runtime.
pub struct ApiServer {
    address: SocketAddr,
    objects: Objects,
    lists: Lists,
}

/// By path.
type Objects = Arc<Mutex<BTreeMap<String, Value>>>;

/// Lists whose objects are made while they are asked for: how many, and each by its number.
type Lists = Arc<Mutex<BTreeMap<&'static str, (usize, fn(usize) -> Value)>>>;

impl ApiServer {
    /// Starts one without objects.
    pub async fn start() -> Result<Self> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let (address, objects, lists) = (listener.local_addr()?, Objects::default(), Lists::default());
        let app = Router::new().fallback(answer).with_state((objects.clone(), lists.clone()));
        tokio::spawn(async move { axum::serve(listener, app).await });
        Ok(Self { address, objects, lists })
    }

    /// Answers the list at this path with so many objects, page by page.
    pub fn list(&self, path: &'static str, number: usize, make: fn(usize) -> Value) {
        self.lists.lock().unwrap_or_else(PoisonError::into_inner).insert(path, (number, make));
    }

    /// What the chart renders for a release: empty ConfigMaps.
    pub fn render(&self, release: &str) {
        let mut objects = self.objects.lock().unwrap_or_else(PoisonError::into_inner);
        let parts = (0..8).map(|part| format!("{release}-inventory-{part}"));
        for name in parts.chain([format!("{release}-replicas")]) {
            let path = format!("/api/v1/namespaces/{NAMESPACE}/configmaps/{name}");
            objects.insert(path, json!({"metadata": {"name": name, "resourceVersion": "1"}}));
        }
    }

    /// A client of it.
    pub fn client(&self) -> Result<Cluster> {
        let address = format!("http://{}", self.address).parse()?;
        Ok(Cluster::at(kube::Config::new(address))?)
    }

    /// A command that runs Landfall as a Pod of this release.
    pub fn command(
        &self,
        release: &str,
        write: impl Fn(&str, &str) -> Result<std::path::PathBuf>,
    ) -> Result<Command> {
        let file = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "storm",
            "clusters": [{"name": "storm", "cluster": {"server": format!("http://{}", self.address)}}],
            "contexts": [{"name": "storm", "context": {"cluster": "storm", "user": "storm"}}],
            "users": [{"name": "storm", "user": {}}],
        });
        let file = write("kubeconfig.yaml", &file.to_string()).context("a kubeconfig")?;
        let mut command = Command::new("env");
        command
            .env("KUBECONFIG", file)
            .env("LANDFALL_NAMESPACE", NAMESPACE)
            .env("LANDFALL_POD_NAME", release);
        command.env("LANDFALL_LEASE", release).env("LANDFALL_POLICIES", release);
        Ok(command)
    }
}

async fn answer(
    State((objects, lists)): State<(Objects, Lists)>,
    method: Method,
    uri: Uri,
    body: Bytes,
) -> Response {
    if uri.query().is_some_and(|query| query.contains("watch=true")) {
        return Body::from_stream(futures::stream::pending::<std::io::Result<Bytes>>()).into_response();
    }
    let list = lists.lock().unwrap_or_else(PoisonError::into_inner).get(uri.path()).copied();
    if let Some((number, make)) = list {
        let page = page(number, make, uri.query().unwrap_or_default());
        return ([("content-type", "application/json")], page.to_string()).into_response();
    }
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let (code, object) = kept(&objects, &method, uri.path(), body);
    (code, [("content-type", "application/json")], object.to_string()).into_response()
}

fn kept(objects: &Objects, method: &Method, path: &str, mut body: Value) -> (StatusCode, Value) {
    let mut objects = objects.lock().unwrap_or_else(PoisonError::into_inner);
    let status = |code: StatusCode| {
        // Clients go by the reason: `NotFound`.
        let reason = code.canonical_reason().unwrap_or_default().replace(' ', "");
        let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "metadata": {},
                            "code": code.as_u16(), "reason": reason, "message": "as the test has it"});
        (code, status)
    };
    if method == Method::POST {
        let name = body["metadata"]["name"].as_str().unwrap_or_default();
        let path = format!("{path}/{name}");
        body["metadata"]["resourceVersion"] = json!("1");
        objects.insert(path, body.clone());
        return (StatusCode::CREATED, body);
    }
    let Some(object) = objects.get_mut(path) else {
        let is_collection = path.rsplit('/').next().is_some_and(|last| COLLECTIONS.contains(&last));
        let list =
            json!({"kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": "1"}, "items": []});
        return if is_collection { (StatusCode::OK, list) } else { status(StatusCode::NOT_FOUND) };
    };
    if [Method::PATCH, Method::PUT].contains(method) {
        let held = object["metadata"]["resourceVersion"].clone();
        let named = &body["metadata"]["resourceVersion"];
        if !named.is_null() && *named != held {
            return status(StatusCode::CONFLICT);
        }
        json_patch::merge(object, &body);
        let next = held.as_str().and_then(|held| held.parse::<u64>().ok()).unwrap_or_default() + 1;
        object["metadata"]["resourceVersion"] = json!(next.to_string());
    }
    (StatusCode::OK, object.clone())
}

/// One page of a list that is made.
fn page(number: usize, make: fn(usize) -> Value, query: &str) -> Value {
    let of = |key: &str| query.split('&').find_map(|part| part.strip_prefix(key)?.parse().ok());
    let from = of("continue=").unwrap_or(0);
    let end = number.min(from + of("limit=").unwrap_or(number));
    let next = if end < number { end.to_string() } else { String::new() };
    let items: Vec<Value> = (from..end).map(make).collect();
    json!({"kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": "1", "continue": next}, "items": items})
}
