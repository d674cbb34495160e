//! An API server over plain HTTP that keeps objects and knows no kind of them: what Landfall reads and writes there, with the
//! version of each object, and lists page by page. It stands in where a real one (`tests/cluster`) would be the slower part
//! of what is measured.

use std::collections::{BTreeMap, HashMap};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Query, State};
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

/// Makes the object of this number of a long list.
pub type Make = Arc<dyn Fn(usize) -> Value + Send + Sync>;

/// What the API server keeps. A clone is a handle to the same.
#[derive(Clone, Default)]
pub struct Api(Arc<Mutex<Kept>>);

#[derive(Default)]
struct Kept {
    objects: BTreeMap<String, Value>,
    /// Lists that are made while they are asked for, by path.
    lists: HashMap<String, (usize, Make)>,
    version: u64,
    writes: usize,
}

impl Api {
    /// Starts it on a free port, and writes a kubeconfig for it.
    pub async fn start(self, kubeconfig: &Path) -> std::io::Result<SocketAddr> {
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "api",
            "contexts": [{"name": "api", "context": {"cluster": "api", "user": "landfall"}}],
            "users": [{"name": "landfall", "user": {}}],
            "clusters": [{"name": "api", "cluster": {"server": format!("http://{address}")}}],
        });
        std::fs::write(kubeconfig, config.to_string())?;
        let app = Router::new().fallback(answer).with_state(self);
        tokio::spawn(async move { axum::serve(listener, app).await });
        Ok(address)
    }

    /// Keeps an object under its path.
    pub fn put(&self, path: &str, object: Value) {
        self.0.lock().unwrap().store(path, object);
    }

    /// Answers the list at this path with so many objects.
    pub fn list(&self, path: &str, number: usize, make: Make) {
        self.0.lock().unwrap().lists.insert(path.to_owned(), (number, make));
    }

    /// The object at this path; null where there is none.
    pub fn object(&self, path: &str) -> Value {
        self.0.lock().unwrap().objects.get(path).cloned().unwrap_or_default()
    }

    /// How many writes there were.
    pub fn writes(&self) -> usize {
        self.0.lock().unwrap().writes
    }
}

impl Kept {
    fn store(&mut self, path: &str, mut object: Value) -> Value {
        self.version += 1;
        object["metadata"]["resourceVersion"] = self.version.to_string().into();
        self.objects.insert(path.to_owned(), object.clone());
        object
    }

    /// A page of a list; `None`: it is no list that is kept.
    fn page(&self, path: &str, query: &HashMap<String, String>) -> Value {
        let number = |key: &str, otherwise: usize| {
            query.get(key).and_then(|text| text.parse().ok()).unwrap_or(otherwise)
        };
        let (from, limit) = (number("continue", 0), number("limit", usize::MAX));
        let (items, all): (Vec<Value>, usize) = match self.lists.get(path) {
            Some((all, make)) => {
                ((from..*all.min(&from.saturating_add(limit))).map(|n| make(n)).collect(), *all)
            }
            None => {
                let below = |(other, _): &(&String, &Value)| {
                    other.strip_prefix(path).is_some_and(|rest| rest.rfind('/') == Some(0))
                };
                let found: Vec<_> =
                    self.objects.iter().filter(below).map(|(_, object)| object.clone()).collect();
                let all = found.len();
                (found.into_iter().skip(from).take(limit).collect(), all)
            }
        };
        let end = from + items.len();
        let next = if end < all { end.to_string() } else { String::new() };
        let metadata = json!({"resourceVersion": self.version.to_string(), "continue": next, "remainingItemCount": all - end});
        json!({"kind": "List", "apiVersion": "v1", "metadata": metadata, "items": items})
    }
}

/// Merges as RFC 7386 says.
fn merge(into: &mut Value, patch: &Value) {
    let (Value::Object(_), Value::Object(patch)) = (&*into, patch) else {
        *into = patch.clone();
        return;
    };
    for (key, value) in patch {
        if value.is_null() {
            into.as_object_mut().unwrap().remove(key);
        } else {
            merge(&mut into[key], value);
        }
    }
}

fn status(code: StatusCode, reason: &str) -> Response {
    let body = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "code": code.as_u16()});
    (code, [("content-type", "application/json")], body.to_string()).into_response()
}

async fn answer(
    State(api): State<Api>,
    method: Method,
    uri: Uri,
    Query(query): Query<HashMap<String, String>>,
    body: Bytes,
) -> Response {
    if query.get("watch").is_some_and(|watch| watch == "true") {
        let silence = futures::stream::pending::<Result<Bytes, std::io::Error>>();
        return Body::from_stream(silence).into_response();
    }
    let path = uri.path().trim_end_matches("/status").to_owned();
    let sent: Value = serde_json::from_slice(&body).unwrap_or_default();
    let mut kept = api.0.lock().unwrap();
    if method != Method::GET {
        kept.writes += 1;
    }
    let found = kept.objects.get(&path).cloned();
    let version = |object: &Value| object["metadata"]["resourceVersion"].as_str().map(str::to_owned);
    if let (Some(wanted), true) = (version(&sent), method != Method::GET)
        && found.as_ref().and_then(version) != Some(wanted)
    {
        return status(StatusCode::CONFLICT, "Conflict");
    }
    let object = match (method, found) {
        (Method::GET, Some(found)) => found,
        // The name of a list is a plural: no object of ours is called so.
        (Method::GET, None) if path.ends_with('s') || path.ends_with("ies") => kept.page(&path, &query),
        (Method::POST, _) => {
            let name = sent["metadata"]["name"].as_str().unwrap_or_default();
            let path = format!("{path}/{name}");
            if kept.objects.contains_key(&path) {
                return status(StatusCode::CONFLICT, "AlreadyExists");
            }
            kept.store(&path, sent)
        }
        (Method::PUT, Some(_)) => kept.store(&path, sent),
        (Method::PATCH, found) => {
            let mut object = found.unwrap_or_else(|| json!({}));
            merge(&mut object, &sent);
            kept.store(&path, object)
        }
        (Method::DELETE, Some(found)) => {
            kept.objects.remove(&path);
            found
        }
        _ => return status(StatusCode::NOT_FOUND, "NotFound"),
    };
    ([("content-type", "application/json")], object.to_string()).into_response()
}
