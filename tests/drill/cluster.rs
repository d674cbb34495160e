//! An API server that has the Secrets and ServiceAccounts of a world, and tells them to anybody but those who may not know.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::IntoResponse;
use landfall::facade::cluster::Cluster;
use serde_json::{Value, json};

/// Starts it on this runtime, with these objects by their paths.
pub async fn serve(objects: BTreeMap<String, Value>) -> Cluster {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    let app = Router::new().fallback(answer).with_state(Arc::new(objects));
    tokio::spawn(async move { axum::serve(listener, app).await });
    Cluster::at(kube::Config::new(address)).unwrap()
}

async fn answer(State(objects): State<Arc<BTreeMap<String, Value>>>, uri: Uri) -> impl IntoResponse {
    let (code, body) = match objects.get(uri.path()) {
        Some(object) => (StatusCode::OK, object.clone()),
        None => {
            let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                                "message": "not found", "reason": "NotFound", "code": 404});
            (StatusCode::NOT_FOUND, status)
        }
    };
    (code, [("content-type", "application/json")], body.to_string())
}
