//! Tests the code that the doors share, without a socket.

use axum::http::HeaderValue;
use http_body_util::BodyExt;
use prometheus_client::registry::Registry as Page;
use serde_json::{Value, json};

use super::*;
use crate::domain::settings::sample;

fn state() -> Arc<DoorState> {
    let (settings, mut page) = (sample::settings(Duration::from_secs(1)), Page::default());
    let observatory = Arc::new(Observatory::new(&settings, &mut page));
    let settings = Arc::new(ArcSwap::from_pointee(settings));
    Arc::new(DoorState::new(Doors::new(settings, observatory, Metrics::register(&mut page))))
}

fn panics<'a>(_: &'a Arc<DoorState>, _: &'a Review<'a>, _: Terms) -> BoxFuture<'a, Answer> {
    async { panic!("planted") }.boxed()
}

fn admits(_: &Fault<'_>) -> Result<Answer, StatusCode> {
    Ok(Answer::unchanged().warn("admitted"))
}

fn fails(_: &Fault<'_>) -> Result<Answer, StatusCode> {
    Err(StatusCode::INTERNAL_SERVER_ERROR)
}

fn review(image: &Value) -> Bytes {
    let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": image}]}});
    let kind = json!({"group": "", "version": "v1", "kind": "Pod"});
    let resource = json!({"group": "", "version": "v1", "resource": "pods"});
    let request = json!({
        "uid": "u-1", "kind": kind, "resource": resource, "operation": "CREATE", "namespace": "shop",
        "userInfo": {"username": "dev"}, "object": pod,
    });
    let review = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request});
    serde_json::to_vec(&review).unwrap().into()
}

async fn ask(kind: &DoorKind, body: Bytes) -> (u16, Value) {
    let headers =
        HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
    let answer = receive(&state(), kind, (None, None), &headers, body).await;
    let status = answer.status().as_u16();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&body).unwrap_or_default())
}

/// The doors differ in how they answer a fault. The door that fails open must answer with the review's uid, because the
/// API server ignores an answer without it.
#[tokio::test]
async fn a_fault_is_answered_as_the_door_says() {
    for (on_fault, expected) in [(admits as fn(&Fault<'_>) -> _, 200), (fails, 500)] {
        let kind = DoorKind { door: Door::Mutate, judge: panics, on_fault };
        for image in [json!("ams.example/a:1"), json!(7)] {
            let (status, answer) = ask(&kind, review(&image)).await;
            assert_eq!(status, expected, "{image}: {answer}");
            if status == 200 {
                let response = &answer["response"];
                assert_eq!(
                    (&response["uid"], &response["allowed"]),
                    (&json!("u-1"), &json!(true)),
                    "{image}"
                );
                let audit = match image {
                    Value::Number(_) => json!({"verdict": "Unchanged", "reason": "Unparsable"}),
                    _ => json!({"verdict": "Internal", "reason": "Internal"}),
                };
                assert_eq!(response["auditAnnotations"], audit);
            }
        }
    }
}

/// A panic outside of the judgement (in the decoder or the encoder) gives the same answer.
#[test]
fn a_panic_anywhere_is_answered_where_the_uid_can_be_read() {
    let kind = DoorKind { door: Door::Mutate, judge: panics, on_fault: admits };
    let answer = panicked(&state(), &kind, &review(&json!("ams.example/a:1")), &"planted").unwrap();
    let answer: Value = serde_json::from_slice(&answer).unwrap();
    assert_eq!(answer["response"]["uid"], "u-1");
    assert_eq!(answer["response"]["warnings"], json!(["admitted"]));
    assert_eq!(answer["response"]["auditAnnotations"], json!({"verdict": "Internal", "reason": "Internal"}));
    for body in ["", "{", r#"{"request": {}}"#, r#"{"request": []}"#] {
        let refused = panicked(&state(), &kind, body.as_bytes(), &"planted").unwrap_err();
        assert_eq!(refused.0, StatusCode::INTERNAL_SERVER_ERROR, "{body}");
    }
}

/// The body of a stranger comes back in no answer and no log line whole.
#[tokio::test]
async fn a_refusal_repeats_little_of_what_was_sent() {
    let kind = DoorKind { door: Door::Mutate, judge: panics, on_fault: admits };
    let body = format!(r#"{{"kind": "\u202e{}"}}"#, "x".repeat(60_000));
    let Err((status, said)) = answer(&state(), &kind, (None, None), body.as_bytes(), Instant::now()).await
    else {
        panic!("refused")
    };
    assert_eq!((status, said.chars().count()), (StatusCode::BAD_REQUEST, 301), "{said}");
    assert!(said.starts_with("`kind` is `xxx"), "{said}");
}

#[test]
fn the_api_servers_timeout_is_read() {
    for (query, seconds) in [
        (Some("timeout=5s"), Some(5.0)),
        (Some("x=1&timeout=0.5s"), Some(0.5)),
        (Some("timeout=0s"), Some(0.0)),
        (Some("timeouts=5s"), None),
        (Some("timeout=5"), None),
        (Some("timeout=-5s"), None),
        (Some("timeout=infs"), None),
        (Some("timeout=NaNs"), None),
        (Some("timeout"), None),
        (None, None),
    ] {
        assert_eq!(timeout(query), seconds.map(Duration::from_secs_f64), "{query:?}");
    }
}
