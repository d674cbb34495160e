//! Parts as an API server keeps them.

use std::sync::{Arc, Mutex};

use http::{Method, StatusCode};
use serde_json::Value;

use super::*;

/// ConfigMaps that a function keeps, by name, with versions as an API server has them.
#[derive(Clone, Default)]
struct Server(Arc<Mutex<BTreeMap<String, Value>>>);

impl Server {
    /// With the empty ConfigMaps of the chart.
    fn new() -> Self {
        let server = Self::default();
        for part in 0..MOST_PARTS {
            let name = format!("landfall-inventory-{part}");
            server
                .0
                .lock()
                .unwrap()
                .insert(name.clone(), json!({"metadata": {"name": name, "resourceVersion": "1"}}));
        }
        server
    }

    fn parts(&self) -> Parts {
        let server = self.clone();
        Cluster::answered_by(move |head, body| {
            let answer = server.answer(&head, &body);
            async move { answer }
        })
        .inventory("landfall", "landfall")
    }

    fn answer(&self, head: &http::request::Parts, body: &Value) -> (StatusCode, String) {
        let name = head.uri.path().rsplit('/').next().unwrap().to_owned();
        let status = |code: StatusCode, reason: &str| {
            let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code.as_u16(),
                                "reason": reason, "message": reason});
            (code, status.to_string())
        };
        let mut maps = self.0.lock().unwrap();
        let Some(map) = maps.get_mut(&name) else { return status(StatusCode::NOT_FOUND, "NotFound") };
        if head.method == Method::PATCH {
            let version = map["metadata"]["resourceVersion"].clone();
            if body["metadata"]["resourceVersion"] != version {
                return status(StatusCode::CONFLICT, "Conflict");
            }
            let next: u64 = version.as_str().unwrap().parse::<u64>().unwrap() + 1;
            for key in ["data", "binaryData"] {
                map[key] = body[key].clone();
            }
            map["metadata"]["resourceVersion"] = json!(next.to_string());
        }
        (StatusCode::OK, map.to_string())
    }

    fn set(&self, part: usize, key: &str, value: Value) {
        self.0.lock().unwrap().get_mut(&format!("landfall-inventory-{part}")).unwrap()[key] = value;
    }

    fn at(&self, part: usize, key: &str) -> Value {
        self.0.lock().unwrap()[&format!("landfall-inventory-{part}")][key].clone()
    }
}

/// So many bytes, no two parts alike.
fn bytes(count: usize) -> Vec<u8> {
    (0..count).map(|n| u8::try_from(n / 1000 % 251).unwrap()).collect()
}

#[tokio::test]
async fn what_is_written_is_read_whatever_was_there() {
    let parts = Server::new().parts();
    assert_eq!(parts.read(None).await.unwrap(), Kept::Nothing);
    for (id, size) in [("a", MOST_BYTES), ("b", 1), ("c", PART), ("d", PART + 1), ("e", 0)] {
        let whole = bytes(size);
        assert_eq!(parts.write(id, &whole).await.unwrap(), Written::Done);
        assert!(parts.read(Some("z")).await.unwrap() == Kept::Whole(id.into(), whole), "{id}");
        assert_eq!(parts.read(Some(id)).await.unwrap(), Kept::Known);
    }
}

#[tokio::test]
async fn parts_of_two_writes_are_not_used() {
    let (one, other) = (Server::new(), Server::new());
    one.parts().write("a", &bytes(2 * PART)).await.unwrap();
    other.parts().write("b", &bytes(2 * PART)).await.unwrap();
    // In the middle of a write: the second part is new, and the head is not.
    for key in ["data", "binaryData"] {
        one.set(1, key, other.at(1, key));
    }
    assert_eq!(one.parts().read(None).await.unwrap(), Kept::Torn("its parts are of different writes"));
}

#[tokio::test]
async fn what_was_changed_by_hand_is_not_used() {
    let server = Server::new();
    let parts = server.parts();
    parts.write("a", &bytes(PART + 1)).await.unwrap();
    let head = server.at(0, "data");
    for number in ["0", "9", "-1", "many", ""] {
        let mut changed = head.clone();
        changed["parts"] = json!(number);
        server.set(0, "data", changed);
        assert!(matches!(parts.read(None).await.unwrap(), Kept::Torn(_)), "{number}");
    }
    server.set(0, "data", head);
    assert!(matches!(parts.read(None).await.unwrap(), Kept::Whole(..)));
    server.set(1, "binaryData", json!({"part": "AAAA"}));
    assert_eq!(parts.read(None).await.unwrap(), Kept::Torn("its hash is another than it says"));
    server.set(0, "data", json!(null));
    assert_eq!(parts.read(None).await.unwrap(), Kept::Nothing);
}

#[tokio::test]
async fn of_two_writers_one_is_refused() {
    let server = Server::new();
    let slow = server.clone();
    // While this one writes its second part, another writer has written the first.
    let parts = Cluster::answered_by(move |head, body| {
        let server = slow.clone();
        async move {
            let is_second = head.method == Method::PATCH && head.uri.path().ends_with("-1");
            let answer = server.answer(&head, &body);
            if is_second {
                server.parts().write("other", b"other").await.unwrap();
            }
            answer
        }
    })
    .inventory("landfall", "landfall");
    assert_eq!(parts.write("slow", &bytes(PART + 1)).await.unwrap(), Written::Outdated);
    assert_eq!(parts.read(None).await.unwrap(), Kept::Whole("other".into(), b"other".to_vec()));
}

#[tokio::test]
async fn a_configmap_that_is_missing_is_named() {
    let error = Server::default().parts().read(None).await.unwrap_err();
    let said = "there is no ConfigMap `landfall-inventory-0`; it comes with the chart or the manifests";
    assert_eq!(error.to_string(), said);
}
