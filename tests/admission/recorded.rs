//! The reviews that a real API server sent, answered.

use std::fmt::Write;
use std::path::Path;

use base64::Engine;
use json_patch::Patch;
use landfall::facade::demo::world::seed;
use serde_json::Value;

use super::support::door::Door;
use super::support::metrics::name;

/// Every recording, by its name.
fn recordings() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/admission");
    let mut all: Vec<(String, String)> = std::fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().path())
        .map(|path| {
            (path.file_stem().unwrap().to_str().unwrap().to_owned(), std::fs::read_to_string(path).unwrap())
        })
        .collect();
    all.sort();
    assert_eq!(all.len(), 17);
    all
}

/// A door whose registries hold, scanned, every image that the recordings name.
async fn stocked() -> Door {
    let door = Door::open().await;
    let recordings = recordings();
    let reviews: Vec<&str> = recordings.iter().map(|(_, body)| body.as_str()).collect();
    for registry in [&door.demo.fra, &door.demo.ams, &door.demo.edge] {
        seed::hold_reviewed(&mut registry.store(), "harbor.fra.example.com", &reviews).unwrap();
    }
    door
}

/// The patch of a response; none where it has none.
pub fn patch(response: &Value) -> Option<Patch> {
    let text = response["patch"].as_str()?;
    assert_eq!(response["patchType"], "JSONPatch");
    let json = base64::engine::general_purpose::STANDARD.decode(text).unwrap();
    Some(serde_json::from_slice(&json).unwrap())
}

/// The images of a Pod with where they stand.
fn images(pod: &Value) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for (field, pointer) in [
        ("containers", "/image"),
        ("initContainers", "/image"),
        ("ephemeralContainers", "/image"),
        ("volumes", "/image/reference"),
    ] {
        for item in pod["spec"][field].as_array().into_iter().flatten() {
            if let Some(image) = item.pointer(pointer).and_then(Value::as_str) {
                found.push((format!("{field}/{}", item["name"].as_str().unwrap()), image.to_owned()));
            }
        }
    }
    found
}

/// What became of a Pod, for a person to read.
fn story(response: &Value, was: &Value, is: &Value) -> String {
    let mut text = format!("allowed: {}\n", response["allowed"]);
    for ((slot, was), (_, is)) in images(was).iter().zip(images(is)) {
        if *was == is {
            writeln!(text, "{slot}: {was}").unwrap();
        } else {
            writeln!(text, "{slot}: {was}\n    ► {is}").unwrap();
        }
    }
    for (name, value) in [
        ("imagePullSecrets", &is["spec"]["imagePullSecrets"]),
        ("annotation", &is["metadata"]["annotations"]["landfall.dev/images"]),
        ("warnings", &response["warnings"]),
    ] {
        if !value.is_null() {
            writeln!(text, "{name}: {value}").unwrap();
        }
    }
    for (key, value) in response["auditAnnotations"].as_object().into_iter().flatten() {
        writeln!(text, "audit {key}: {}", value.as_str().unwrap()).unwrap();
    }
    text
}

/// Nothing but images, pull secrets and our annotation: what remains after these are put back is what was there.
fn only_ours_changed(was: &Value, is: &Value) {
    let mut back = is.clone();
    for (field, pointer) in [
        ("containers", "/image"),
        ("initContainers", "/image"),
        ("ephemeralContainers", "/image"),
        ("volumes", "/image/reference"),
    ] {
        for n in 0..was["spec"][field].as_array().map_or(0, Vec::len) {
            let old = was["spec"][field][n].pointer(pointer).cloned();
            if let (Some(new), Some(old)) = (back["spec"][field][n].pointer_mut(pointer), old) {
                *new = old;
            }
        }
    }
    put_back(&mut back["spec"], "imagePullSecrets", &was["spec"]);
    if was["metadata"].get("annotations").is_none() {
        put_back(&mut back["metadata"], "annotations", &was["metadata"]);
    } else {
        put_back(
            &mut back["metadata"]["annotations"],
            "landfall.dev/images",
            &was["metadata"]["annotations"],
        );
    }
    // Values, and the order of keys would not tell more: the API server keeps what a patch does not name.
    assert_eq!(back, *was);
}

fn put_back(into: &mut Value, key: &str, from: &Value) {
    let into = into.as_object_mut().unwrap();
    match from.get(key) {
        Some(old) => drop(into.insert(key.to_owned(), old.clone())),
        None => drop(into.remove(key)),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn recorded_reviews_are_answered_as_they_were_before() {
    let door = stocked().await;
    for (name, body) in recordings() {
        let review: Value = serde_json::from_str(&body).unwrap();
        let response =
            door.post("/mutate?timeout=5s", "application/json", body.into_bytes()).await.response();
        assert_eq!(response["uid"], review["request"]["uid"]);
        let was = &review["request"]["object"];
        let mut is = was.clone();
        if let Some(patch) = patch(&response) {
            json_patch::patch(&mut is, &patch).unwrap();
        }
        only_ours_changed(was, &is);
        insta::assert_snapshot!(name.as_str(), story(&response, was, &is));

        // A second time: the API server reinvokes us after any later change.
        let mut again = review.clone();
        again["request"]["object"] = is;
        let response = door.review(&again).await;
        assert_eq!(patch(&response), None, "{name} is patched twice");
        assert_eq!(response["allowed"], true);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_debugging_container_is_rewritten_where_the_pod_carries_the_secret() {
    let door = stocked().await;
    let (_, body) = recordings().into_iter().find(|(name, _)| name == "ephemeral-container").unwrap();
    let mut review: Value = serde_json::from_str(&body).unwrap();
    for object in ["object", "oldObject"] {
        let secrets = review["request"][object]["spec"]["imagePullSecrets"].as_array_mut().unwrap();
        secrets.push(serde_json::json!({"name": "harbor-ams-creds"}));
    }
    let response = door.review(&review).await;
    let patch = serde_json::to_value(patch(&response).unwrap()).unwrap();
    let operations = patch.as_array().unwrap();
    assert_eq!(operations.len(), 1, "the image, and no annotation: {patch}");
    assert_eq!(operations[0]["path"], "/spec/ephemeralContainers/0/image");
    assert_eq!(response["warnings"], Value::Null);
    // Without it nothing changes, and nothing else is said.
    let response = door.review(&serde_json::from_str(&body).unwrap()).await;
    assert_eq!(response.get("patch"), None);
    let said = response["auditAnnotations"]["images"].as_str().unwrap();
    assert!(said.ends_with(": Observed"), "{said}");
    // One of them came from here, and one did not.
    let images = |place: &str, reason: &str| {
        door.metric(name::IMAGES, &[("route", "production"), ("place", place), ("reason", reason)])
    };
    assert_eq!((images("ams", "Local"), images("", "Observed")), (1.0, 1.0));
    let pods = |verdict: &str, reason: &str| {
        door.metric(
            name::ADMISSIONS,
            &[("verdict", verdict), ("reason", reason), ("dry_run", "false"), ("door", "Mutate")],
        )
    };
    assert_eq!((pods("Patched", "Local"), pods("Unchanged", "Observed")), (1.0, 1.0));
}
