//! Whatever is wrong with the webhook, Pods are created as they are: failurePolicy Ignore. The API server's own count
//! says that it was asked, and that this is why.

use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::post;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::CertificateParams;
use serde_json::{Value, json};

use crate::other;
use crate::plane::{Plane, free_port, plane, until};
use crate::webhook::{WEB, registration};

/// What is wrong with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wrong {
    NobodyListens,
    ServerError,
    Uid,
    TooSlow,
    Html,
    UnknownAuthority,
    Expired,
    NotYetValid,
    OtherName,
}

const ALL: [Wrong; 9] = [
    Wrong::NobodyListens,
    Wrong::ServerError,
    Wrong::Uid,
    Wrong::TooSlow,
    Wrong::Html,
    Wrong::UnknownAuthority,
    Wrong::Expired,
    Wrong::NotYetValid,
    Wrong::OtherName,
];

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_wrong_pods_are_created_as_they_are() {
    let plane = plane();
    for wrong in ALL {
        let namespace = format!("wrong-{}", format!("{wrong:?}").to_lowercase());
        plane.namespace(&namespace);
        let (port, ca) = serve(plane, wrong, &namespace).await;
        let webhook = format!("{namespace}.landfall.dev");
        plane.apply(&registration(plane, &namespace, &webhook, port, &STANDARD.encode(ca)));
        let dry = ["run", "probe", "--image", WEB, "-n", &namespace, "--dry-run=server"];
        until("the webhook is called", || {
            plane.told(&dry);
            (failed_open(plane, &webhook) > 0).then_some(())
        });
        let before = failed_open(plane, &webhook);
        plane.told(&["run", "web", "--image", WEB, "-n", &namespace]);
        let pod = plane.told(&["get", "pod", "web", "-n", &namespace, "-o", "json"]);
        let pod: Value = serde_json::from_str(&pod).unwrap();
        assert_eq!(pod["spec"]["containers"][0]["image"], WEB, "{wrong:?}");
        assert_eq!(failed_open(plane, &webhook), before + 1, "{wrong:?}");
        plane.told(&["delete", "mutatingwebhookconfiguration", &format!("landfall-{namespace}")]);
    }
}

/// How often the API server went on without this webhook's answer.
fn failed_open(plane: &Plane, webhook: &str) -> u64 {
    let label = format!("name=\"{webhook}\"");
    let page = plane.told(&["get", "--raw", "/metrics"]);
    let mut lines =
        page.lines().filter(|line| line.starts_with("apiserver_admission_webhook_fail_open_count{"));
    let line = lines.find(|line| line.contains(&label));
    line.map_or(0, |line| line.rsplit(' ').next().unwrap().parse().unwrap())
}

/// Serves a webhook with this fault; its port, and the authority that the API server is told to trust.
async fn serve(plane: &Plane, wrong: Wrong, namespace: &str) -> (u16, String) {
    let ca = other::authority();
    let pem = ca.pem();
    if wrong == Wrong::NobodyListens {
        return (free_port(plane.net.here()), pem);
    }
    let signer = if wrong == Wrong::UnknownAuthority { other::authority() } else { ca };
    let name =
        if wrong == Wrong::OtherName { "else.where.svc" } else { &format!("landfall.{namespace}.svc") };
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    match wrong {
        Wrong::Expired => params.not_after = rcgen::date_time_ymd(2001, 1, 1),
        Wrong::NotYetValid => params.not_before = rcgen::date_time_ymd(2999, 1, 1),
        _ => {}
    }
    (other::serve(plane, &params, &signer, answers(wrong)).await, pem)
}

fn answers(wrong: Wrong) -> Router {
    Router::new().route(
        "/mutate",
        post(move || async move {
            let review = |uid| {
                json!({
                    "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
                    "response": {"uid": uid, "allowed": true},
                })
                .to_string()
            };
            match wrong {
                Wrong::ServerError => (StatusCode::INTERNAL_SERVER_ERROR, String::new()),
                Wrong::Html => (StatusCode::OK, "<html>".to_owned()),
                Wrong::TooSlow => {
                    tokio::time::sleep(Duration::from_secs(60)).await;
                    (StatusCode::OK, review("too late"))
                }
                _ => (StatusCode::OK, review("somebody else's")),
            }
        }),
    )
}
