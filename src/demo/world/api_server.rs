//! An API server over HTTP that keeps ReplicationGaps, with optimistic locking and a watch. Of Events it only says that they are
//! written. It is what the leader of the demo's site writes to.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::domain::api_group::api_group;

/// The path of the objects.
const GAPS: &str = concat!("/apis/", api_group!(), "/v1alpha1/replicationgaps");

/// It serves until it is dropped.
#[derive(Debug)]
pub struct ApiServer {
    address: SocketAddr,
    serving: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Objects {
    version: u64,
    held: BTreeMap<String, Value>,
    /// Each change with its version, for watches.
    log: Vec<(u64, Value)>,
}

type Answer = (StatusCode, String);

impl ApiServer {
    /// Starts one without objects on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// If no socket can be opened.
    pub async fn start() -> std::io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let app = Router::new().fallback(answer).with_state(Arc::new(Mutex::new(Objects::default())));
        let serving = tokio::spawn(async move {
            // It ends with its handle.
            let _ = axum::serve(listener, app).await;
        });
        Ok(Self { address, serving })
    }

    /// Where it answers, without TLS.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn answer(
    State(objects): State<Arc<Mutex<Objects>>>,
    method: Method,
    uri: Uri,
    body: Bytes,
) -> Response {
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let (status, text) = objects.lock().unwrap_or_else(PoisonError::into_inner).answer(&method, &uri, body);
    (status, [("content-type", "application/json")], text).into_response()
}

fn failure(code: StatusCode) -> Answer {
    // Clients go by the reason: `NotFound`.
    let reason = code.canonical_reason().unwrap_or_default().replace(' ', "");
    let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                        "message": reason, "reason": reason, "code": code.as_u16()});
    (code, status.to_string())
}

fn version(object: &Value) -> Option<&Value> {
    object.pointer("/metadata/resourceVersion")
}

impl Objects {
    fn answer(&mut self, method: &Method, uri: &Uri, body: Value) -> Answer {
        let (path, query) = (uri.path(), uri.query().unwrap_or_default());
        if path.starts_with("/apis/events.k8s.io/") {
            return (StatusCode::OK, body.to_string());
        }
        let Some(rest) = path.strip_prefix(GAPS) else { return failure(StatusCode::NOT_FOUND) };
        let name = rest.trim_start_matches('/').split('/').next().unwrap_or_default();
        match (method.as_str(), name) {
            ("GET", "") => (StatusCode::OK, self.all(query)),
            ("GET", name) => self.one(name),
            ("PATCH", name) if !name.is_empty() => {
                if !self.held.contains_key(name) {
                    self.put(name, body, "ADDED");
                }
                self.one(name)
            }
            ("PUT", name) => {
                let Some(held) = self.held.get(name) else { return failure(StatusCode::NOT_FOUND) };
                if version(held) != version(&body) {
                    return failure(StatusCode::CONFLICT);
                }
                let status = body.get("status").cloned().unwrap_or_default();
                let mut object = held.clone();
                if let Some(fields) = object.as_object_mut() {
                    fields.insert("status".to_owned(), status);
                }
                self.put(name, object, "MODIFIED");
                self.one(name)
            }
            _ => failure(StatusCode::METHOD_NOT_ALLOWED),
        }
    }

    fn one(&self, name: &str) -> Answer {
        let held = self.held.get(name);
        held.map_or_else(|| failure(StatusCode::NOT_FOUND), |object| (StatusCode::OK, object.to_string()))
    }

    /// All objects; or, for a watch, what has changed since. A watch ends at once, and the client asks again.
    fn all(&self, query: &str) -> String {
        let of = |key: &str| query.split('&').find_map(|part| part.strip_prefix(key));
        if of("watch=") == Some("true") {
            let from = of("resourceVersion=").and_then(|from| from.parse::<u64>().ok()).unwrap_or_default();
            let news = self.log.iter().filter(|(version, _)| *version > from);
            return news.map(|(_, event)| format!("{event}\n")).collect();
        }
        let items: Vec<&Value> = self.held.values().collect();
        json!({"kind": "ReplicationGapList", "apiVersion": concat!(api_group!(), "/v1alpha1"),
               "metadata": {"resourceVersion": self.version.to_string()}, "items": items})
        .to_string()
    }

    fn put(&mut self, name: &str, mut object: Value, how: &str) {
        self.version += 1;
        let meta = object.get_mut("metadata").and_then(Value::as_object_mut);
        if let Some(meta) = meta {
            meta.insert("resourceVersion".to_owned(), self.version.to_string().into());
            meta.entry("uid").or_insert_with(|| format!("u{name}").into());
        }
        self.log.push((self.version, json!({"type": how, "object": object})));
        self.held.insert(name.to_owned(), object);
    }
}
