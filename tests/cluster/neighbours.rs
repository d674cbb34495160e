//! Other mutating webhooks, before ours and after it.

use axum::Router;
use axum::routing::post;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::CertificateParams;
use serde_json::{Value, json};

use crate::other;
use crate::plane::{plane, until};
use crate::pods::ashore;
use crate::webhook::{API, Landfall, WEB, registration};

/// The API server calls webhooks by the names of their configurations: one before `landfall-…`, one after it.
#[tokio::test(flavor = "multi_thread")]
async fn a_sidecar_that_somebody_injects_comes_ashore_too() {
    let plane = plane();
    for order in ["a", "z"] {
        let namespace = format!("injected-{order}");
        plane.namespace(&namespace);
        let landfall = Landfall::serve(plane, &namespace).await;
        let signer = other::authority();
        let params = CertificateParams::new(vec![format!("landfall.{namespace}.svc")]).unwrap();
        let port = other::serve(plane, &params, &signer, Router::new().route("/mutate", post(inject))).await;
        // The same shape of registration, under another name.
        let theirs =
            registration(plane, &namespace, "inject.example.com", port, &STANDARD.encode(signer.pem()));
        let (configuration, ours) = (format!("{order}-inject-{namespace}"), format!("landfall-{namespace}"));
        plane.apply(&theirs.replace(&ours, &configuration));
        let dry = ["run", "probe", "--image", WEB, "-n", &namespace, "--dry-run=server", "-o", "json"];
        let pod = until("the sidecar is injected", || {
            let pod: Value = serde_json::from_str(&plane.told(&dry)).unwrap();
            (pod["spec"]["containers"].as_array().unwrap().len() == 2).then_some(pod)
        });
        let images = [0, 1].map(|n| pod["spec"]["containers"][n]["image"].as_str().unwrap().to_owned());
        assert_eq!(images, [WEB, API].map(|image| ashore(&landfall, image)), "{order}");
        let secrets = pod["spec"]["imagePullSecrets"].as_array().unwrap();
        assert_eq!(secrets, &[json!({"name": "harbor-ams-creds"})], "{order}");
        let annotation = pod["metadata"]["annotations"]["landfall.dev/images"].as_str().unwrap();
        let entries: Value = serde_json::from_str(annotation).unwrap();
        let was = entries.to_string();
        assert!(was.contains(WEB) && was.contains(API), "{order}: what each image was is kept: {was}");
        plane.told(&["delete", "mutatingwebhookconfiguration", &configuration]);
    }
}

/// Adds a sidecar to a Pod that has none.
async fn inject(body: axum::body::Bytes) -> String {
    let review: Value = serde_json::from_slice(&body).unwrap();
    let request = &review["request"];
    let mut response = json!({"uid": request["uid"], "allowed": true});
    if request["object"]["spec"]["containers"].as_array().unwrap().len() == 1 {
        let sidecar = json!({"name": "sidecar", "image": API});
        let patch = json!([{"op": "add", "path": "/spec/containers/-", "value": sidecar}]);
        response["patchType"] = json!("JSONPatch");
        response["patch"] = json!(STANDARD.encode(patch.to_string()));
    }
    json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response}).to_string()
}

/// As Operator Lifecycle Manager does: the catalog's Pod has not the image that was written, so it is deleted, and the next
/// one is created.
#[tokio::test(flavor = "multi_thread")]
async fn an_owner_that_creates_its_pod_again_and_again_is_told_of_it() {
    let (plane, namespace) = (plane(), "loop");
    plane.namespace(namespace);
    let more = ["--namespace=default", "--lease=landfall-loop", "--pod-name=landfall-0"].map(str::to_owned);
    let _landfall = Landfall::serve_with(plane, namespace, &more).await;
    // Any object of a group that is not Kubernetes' own can own a Pod; the API server does not look for it.
    let pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {
                "name": "catalog-0", "namespace": namespace,
                "ownerReferences": [{
                    "apiVersion": "operators.coreos.com/v1alpha1", "kind": "CatalogSource", "name": "nginx",
                    "uid": "11111111-2222-3333-4444-555555555555", "controller": true,
                }],
            },
            "spec": {"containers": [{"name": "catalog", "image": WEB}]},
    });
    let file = plane.write_new(&pod.to_string()).display().to_string();
    let mut warned = Vec::new();
    for _ in 0..12 {
        let created = plane.kubectl(&["create", "-f", &file]);
        assert!(created.status.success(), "{}", String::from_utf8_lossy(&created.stderr));
        warned.push(String::from_utf8_lossy(&created.stderr).contains("preset olm.yaml"));
        plane.told(&["delete", "pod", "catalog-0", "-n", namespace, "--now", "--wait"]);
    }
    assert_eq!(warned.iter().position(|warned| *warned), Some(9), "{warned:?}");
    let events = until("the owner has an event", || {
        let events: Value =
            serde_json::from_str(&plane.told(&["get", "events", "-n", namespace, "-o", "json"])).unwrap();
        let about = |event: &&Value| event["reason"] == "PodsRecreated";
        let found: Vec<Value> = events["items"].as_array().unwrap().iter().filter(about).cloned().collect();
        (!found.is_empty()).then_some(found)
    });
    let [event] = &events[..] else { panic!("{events:?}") };
    assert_eq!(
        (&event["involvedObject"]["kind"], &event["involvedObject"]["name"]),
        (&json!("CatalogSource"), &json!("nginx"))
    );
    assert_eq!(event["type"], "Warning");
    assert!(event["message"].as_str().unwrap().contains("presets/olm.yaml"), "{event}");
}
