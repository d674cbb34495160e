//! An API server that has the Secrets and ServiceAccounts of a world, and tells them to anybody but those who may not know.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::IntoResponse;
use landfall::facade::cluster::Cluster;
use serde_json::{Value, json};

/// Starts it on this runtime, with these objects by their paths; where `null` stands, the answer is 403. Returns its address.
pub async fn serve(objects: BTreeMap<String, Value>) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let app = Router::new().fallback(answer).with_state(Arc::new(objects));
    tokio::spawn(async move { axum::serve(listener, app).await });
    address
}

/// A client of it.
pub async fn client(objects: BTreeMap<String, Value>) -> Cluster {
    Cluster::at(kube::Config::new(serve(objects).await.parse().unwrap())).unwrap()
}

/// A list of these objects.
pub fn list(items: Vec<Value>) -> Value {
    json!({"kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": "1"}, "items": items})
}

async fn answer(State(objects): State<Arc<BTreeMap<String, Value>>>, uri: Uri) -> impl IntoResponse {
    let status = |code: StatusCode, reason: &str| {
        let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                            "message": reason, "reason": reason, "code": code.as_u16()});
        (code, status)
    };
    let (code, body) = match objects.get(uri.path()) {
        Some(Value::Null) => status(StatusCode::FORBIDDEN, "Forbidden"),
        Some(object) => (StatusCode::OK, object.clone()),
        None => status(StatusCode::NOT_FOUND, "NotFound"),
    };
    (code, [("content-type", "application/json")], body.to_string())
}
