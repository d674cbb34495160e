//! What is no review, no Pod, or none of ours.

use serde_json::{Value, json};

use super::recorded::patch;
use super::support::door::{Answer, Door};
use super::support::metrics::name;
use super::support::site::review;

const JSON: &str = "application/json";
const WEB: &str = "harbor.fra.example.com/production/shop/web:1.4.2";

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_review_is_the_callers_error() {
    let door = Door::open().await;
    let whole = review("shop", &[WEB]);
    let changed = |pointer: &str, value: Value| {
        let mut body = whole.clone();
        *body.pointer_mut(pointer).unwrap() = value;
        body.to_string().into_bytes()
    };
    let large = format!("{{\"x\":\"{}\"}}", "x".repeat(20 << 20));
    for (what, kind, body, status, says) in [
        ("empty", JSON, Vec::new(), 400, "the body is not JSON: EOF while parsing a value"),
        ("HTML", JSON, b"<html></html>".to_vec(), 400, "the body is not JSON"),
        ("half", JSON, whole.to_string().into_bytes()[..99].to_vec(), 400, "the body is not JSON"),
        ("an array", JSON, b"[]".to_vec(), 400, "not an AdmissionReview"),
        (
            "v1beta1",
            JSON,
            changed("/apiVersion", json!("admission.k8s.io/v1beta1")),
            400,
            "only `admission.k8s.io/v1`",
        ),
        ("another kind", JSON, changed("/kind", json!("Pod")), 400, "`kind` is `Pod`"),
        ("no request", JSON, changed("/request", Value::Null), 400, "no `request`"),
        ("no uid", JSON, changed("/request/uid", json!("")), 400, "no `uid`"),
        ("form", "application/x-www-form-urlencoded", b"a=b".to_vec(), 415, "must be application/json"),
        ("text that looks like it", "application/jsonp", whole.to_string().into_bytes(), 415, "must be"),
        ("more than 20 MiB", JSON, large.into_bytes(), 413, "larger than"),
    ] {
        let answer = door.post("/mutate?timeout=5s", kind, body).await;
        assert_eq!(answer.status, status, "{what}: {}", answer.body);
        assert!(answer.body.contains(says), "{what}: {}", answer.body);
    }
    assert_eq!(door.post("/mutate/", JSON, Vec::new()).await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_ours_is_allowed_and_only_the_audit_log_says_so() {
    let door = Door::open().await;
    for (pointer, value, reason) in [
        ("/request/operation", json!("DELETE"), "Excluded"),
        ("/request/operation", json!("UPDATE"), "Excluded"),
        ("/request/kind/kind", json!("Deployment"), "Excluded"),
        ("/request/kind/group", json!("apps"), "Excluded"),
        ("/request/resource/resource", json!("deployments"), "Excluded"),
        ("/request/namespace", json!("kube-system"), "Excluded"),
        ("/request/namespace", json!("kube-node-lease"), "Excluded"),
        ("/request/namespace", json!("landfall"), "Excluded"),
        ("/request/namespace", json!("harbor"), "Excluded"),
        (
            "/request/object/metadata",
            json!({"name": "p", "deletionTimestamp": "2026-11-21T00:00:00Z"}),
            "Excluded",
        ),
        ("/request/object/spec/containers", json!([]), "NotRouted"),
    ] {
        let mut body = review("shop", &[WEB]);
        *body.pointer_mut(pointer).unwrap() = value.clone();
        let response = door.review(&body).await;
        let audit = json!({"verdict": "Unchanged", "reason": reason});
        let expected = json!({"uid": "u-1", "allowed": true, "auditAnnotations": audit});
        assert_eq!(response, expected, "{pointer}: {value}");
    }
    assert_eq!((door.demo.fra.log().len(), door.demo.ams.log().len()), (0, 0), "nobody is asked");
    // Not a prefix, not a suffix: the name.
    for namespace in ["kube-systems", "my-harbor"] {
        assert!(patch(&door.pod(namespace, &[WEB]).await).is_some(), "{namespace}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_cannot_be_read_is_admitted_with_a_warning() {
    let door = Door::open().await;
    for (pointer, value, says) in [
        ("/request/object", Value::Null, "the request has no `object`"),
        ("/request/object/spec/containers/0/image", json!(5), "`request.object.spec.containers[0].image`"),
    ] {
        let mut body = review("shop", &[WEB]);
        *body.pointer_mut(pointer).unwrap() = value;
        let response = door.review(&body).await;
        assert_eq!((&response["allowed"], patch(&response)), (&json!(true), None));
        assert!(response["warnings"][0].as_str().unwrap().contains(says), "{response}");
        let audit = json!({"verdict": "Unchanged", "reason": "Unparsable"});
        assert_eq!(response["auditAnnotations"], audit);
    }
    let labels =
        [("verdict", "Unchanged"), ("reason", "Unparsable"), ("dry_run", "false"), ("door", "Mutate")];
    assert_eq!(door.metric(name::ADMISSIONS, &labels), 2.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_be_absent_may_be_absent() {
    let door = Door::open().await;
    for absent in ["dryRun", "userInfo"] {
        let mut body = review("shop", &[WEB]);
        body["request"].as_object_mut().unwrap().remove(absent);
        assert!(patch(&door.review(&body).await).is_some(), "without {absent}");
    }
    let body = || review("shop", &[WEB]).to_string().into_bytes();
    for (path, kind) in [
        ("/mutate", JSON),
        ("/mutate?timeout=soon", JSON),
        ("/mutate?timeout=30s&x", "Application/JSON; charset=utf-8"),
    ] {
        let answer: Answer = door.post(path, kind, body()).await;
        assert!(patch(&answer.response()).is_some(), "{path} {kind}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_costs_one_review() {
    let door = Door::open().await;
    let response = door.pod("cursed", &[WEB]).await;
    let expected = json!({
        "uid": "u-1", "allowed": true, "warnings": ["landfall: internal error; the Pod is admitted unchanged"],
        "auditAnnotations": {"verdict": "Internal", "reason": "Internal"},
    });
    assert_eq!(response, expected);
    assert_eq!(door.metric(name::ADMISSION_PANICS, &[]), 1.0);
    let labels = [("verdict", "Internal"), ("reason", "Internal"), ("dry_run", "false"), ("door", "Mutate")];
    assert_eq!(door.metric(name::ADMISSIONS, &labels), 1.0);
    assert!(patch(&door.pod("shop", &[WEB]).await).is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_of_more_images_than_are_judged_is_admitted_as_it_is() {
    let door = Door::open().await;
    let many = |count: usize, different: usize| {
        let images: Vec<String> = (0..count).map(|n| format!("busybox:{}", n % different)).collect();
        review("shop", &images.iter().map(String::as_str).collect::<Vec<_>>())
    };
    for (count, different, times) in [(4096, 512, 0.0), (513, 513, 1.0), (4097, 1, 2.0)] {
        let response = door.review(&many(count, different)).await;
        assert_eq!((&response["allowed"], response.get("patch")), (&json!(true), None));
        assert_eq!(door.metric(name::TOO_MANY_IMAGES, &[]), times, "{count}, {different}");
        assert_eq!(response.get("warnings").is_some(), different == 513 || count == 4097);
        if different == 513 || count == 4097 {
            let findings = format!("{count} images: TooMany");
            let audit = json!({"verdict": "Unchanged", "reason": "TooMany", "findings": findings});
            assert_eq!(response["auditAnnotations"], audit);
        }
    }
    // No more than 4096 are kept, and yet all are counted.
    let response = door.review(&many(5000, 1)).await;
    let warning = "landfall: 5000 images are too many to judge; the Pod is admitted unchanged";
    assert_eq!(response["warnings"], json!([warning]));
}

/// A list of pull secrets may be longer than what is kept of it. Ours is found in it all the same, and not added twice.
#[tokio::test(flavor = "multi_thread")]
async fn our_pull_secret_is_found_wherever_it_stands() {
    const OURS: &str = "harbor-ams-creds";
    let door = Door::open().await;
    let secrets = |count: usize, ours: Option<usize>| {
        let name = |n| if Some(n) == ours { OURS.to_owned() } else { format!("s{n}") };
        (0..count).map(|n| json!({"name": name(n)})).collect::<Vec<Value>>()
    };
    let adds = |response: &Value| {
        let patch = serde_json::to_value(patch(response).unwrap()).unwrap();
        let paths = patch.as_array().unwrap().iter().map(|operation| operation["path"].clone());
        paths.filter(|path| path.as_str().unwrap().contains("imagePullSecrets")).count()
    };
    for (count, ours, added) in [
        (3, Some(2), 0),
        (4096, Some(4095), 0),
        (4097, Some(4096), 0),
        (9000, Some(0), 0),
        (9000, Some(8999), 0),
        (9000, None, 1),
    ] {
        let mut body = review("shop", &[WEB]);
        body["request"]["object"]["spec"]["imagePullSecrets"] = secrets(count, ours).into();
        let response = door.review(&body).await;
        assert_eq!(adds(&response), added, "{ours:?} of {count}");

        // A Pod that runs cannot get another, so its image is moved only where it has ours.
        let mut body = review("shop", &[WEB]);
        let request = &mut body["request"];
        (request["operation"], request["subResource"]) = (json!("UPDATE"), json!("ephemeralcontainers"));
        request["object"]["spec"]["imagePullSecrets"] = secrets(count, ours).into();
        request["oldObject"] = request["object"].clone();
        request["object"]["spec"]["ephemeralContainers"] = json!([{"name": "debug", "image": WEB}]);
        let response = door.review(&body).await;
        assert_eq!(patch(&response).is_some(), added == 0, "{ours:?} of {count}: {response}");
    }
}
