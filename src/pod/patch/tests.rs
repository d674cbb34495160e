//! Tests that every patch applies, changes only what Landfall may change, and is empty the second time.

use std::borrow::Cow;
use std::collections::BTreeMap;

use json_patch::{Patch, PatchOperation};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::annotation::OldEntries;
use super::super::surface::IMAGES;
use super::*;
use crate::domain::finding::FindingKind;
use crate::domain::name::RegistryName;
use crate::domain::verdict::Reason;
use crate::pod::{Entry, Slot};

/// The patch, parsed. It must be exactly what `json-patch` would write.
fn patch(pod: &Pod<'_>, kind: AdmissionKind, changes: &[Change<'_>]) -> Patch {
    let written = super::patch(pod, kind, changes);
    let read: Patch = serde_json::from_str(written.as_json()).unwrap();
    assert_eq!(serde_json::to_string(&read).unwrap(), written.as_json());
    assert_eq!(read.is_empty(), written.is_empty());
    read
}

/// Judges images by three hosts: `fra` has copies at `ams`, `lost` has no copy, and no other host is handled.
fn judged<'p>(pod: &'p Pod<'_>) -> Vec<Change<'p>> {
    fn copy(image: &str) -> Option<String> {
        let path = image.strip_prefix("fra.example.com/")?;
        Some(format!("ams.example.com/{path}@sha256:{}", "0".repeat(64)))
    }
    let old = OldEntries::of(pod);
    let entry = |slot: &Slot<'p>, why, findings: Vec<FindingKind>, place: Option<&str>| {
        let place = place.map(RegistryName::new);
        Some(Entry { was: slot.image.into(), why, findings: findings.into(), place })
    };
    let mut changes: Vec<_> = pod
        .slots()
        .map(|slot| {
            let secret = || Some(PullSecret::new("ams-creds"));
            if let Some(image) = copy(slot.image) {
                let entry = entry(&slot, Reason::Local, vec![], Some("ams"));
                Change { slot, image: Some(image.into()), pull_secret: secret(), entry }
            } else if slot.image.strip_prefix("ams.example.com/").is_some() {
                let kept = old.kept(&slot, |old| copy(&old.was).as_deref() == Some(slot.image));
                let entry = kept.or_else(|| entry(&slot, Reason::AlreadyLocal, vec![], Some("ams")));
                Change { slot, image: Some(slot.image.into()), pull_secret: secret(), entry }
            } else if slot.image.strip_prefix("lost.example.com/").is_some() {
                let entry = entry(&slot, Reason::Fallback, vec![FindingKind::Missing], None);
                Change { slot, image: None, pull_secret: Some(PullSecret::new("lost-creds")), entry }
            } else {
                let entry = entry(&slot, Reason::Finding(FindingKind::NotRouted), vec![], None);
                Change { slot, image: None, pull_secret: None, entry }
            }
        })
        .collect();
    if changes.iter().all(|change| change.pull_secret.is_none()) {
        changes.iter_mut().for_each(|change| change.entry = None);
    }
    changes
}

fn patched(doc: &Value, kind: AdmissionKind) -> (Patch, Value) {
    let body = doc.to_string();
    let pod: Pod<'_> = serde_json::from_str(&body).unwrap();
    let patch = patch(&pod, kind, &judged(&pod));
    let mut after = doc.clone();
    json_patch::patch(&mut after, &patch).unwrap_or_else(|error| panic!("{error}: {patch} on {doc}"));
    (patch, after)
}

/// The document without the parts that a patch may change.
fn untouchable(doc: &Value) -> String {
    let mut doc = doc.clone();
    let paths: Vec<String> = {
        let body = doc.to_string();
        let pod: Pod<'_> = serde_json::from_str(&body).unwrap();
        pod.slots().map(|slot| slot.pointer().to_string()).collect()
    };
    for path in paths {
        *doc.pointer_mut(&path).unwrap() = json!("an image");
    }
    if let Some(spec) = doc["spec"].as_object_mut() {
        spec.remove("imagePullSecrets");
    }
    // To the API server, absent, null and empty are the same.
    let hollow = |value: &Value| value.is_null() || value.as_object().is_some_and(|map| map.is_empty());
    if let Some(metadata) = doc.get_mut("metadata").and_then(Value::as_object_mut) {
        if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
            annotations.remove(IMAGES);
        }
        if metadata.get("annotations").is_some_and(hollow) {
            metadata.remove("annotations");
        }
    }
    if doc.get("metadata").is_some_and(hollow) {
        doc.as_object_mut().unwrap().remove("metadata");
    }
    doc.to_string()
}

fn secrets(doc: &Value) -> Vec<Value> {
    doc["spec"]["imagePullSecrets"].as_array().cloned().unwrap_or_default()
}

/// An object with some of these members.
fn members(fields: Vec<(&'static str, BoxedStrategy<Value>)>) -> BoxedStrategy<Value> {
    let fields: Vec<_> = fields
        .into_iter()
        .map(|(key, value)| proptest::option::of(value.prop_map(move |value| (key, value))))
        .collect();
    fields
        .prop_map(|fields| fields.into_iter().flatten().map(|(key, value)| (key.to_owned(), value)).collect())
        .boxed()
}

fn or_null(value: BoxedStrategy<Value>) -> BoxedStrategy<Value> {
    prop_oneof![1 => Just(Value::Null), 9 => value].boxed()
}

fn text(words: &'static [&'static str]) -> BoxedStrategy<Value> {
    prop_oneof![9 => proptest::sample::select(words).prop_map(Value::from), 1 => "\\PC{0,12}".prop_map(Value::from)]
        .boxed()
}

fn image() -> BoxedStrategy<Value> {
    or_null(
        prop_oneof![
            4 => text(&["fra.example.com/shop/web:1", "fra.example.com/a/b", "fra.example.com/shop/\"we\\b\":1"]),
            2 => text(&["ams.example.com/shop/web:1", "lost.example.com/shop/web:1"]),
            2 => text(&["nginx", "auto", "", " ", "Not A Ref", "fra.example.com.evil.io/shop/web:1"]),
        ]
        .boxed(),
    )
}

fn junk() -> BoxedStrategy<Value> {
    prop_oneof![
        Just(Value::Null),
        any::<f64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "\\PC{0,9}".prop_map(Value::from),
        Just(json!({"image": "fra.example.com/shop/web:1", "imagePullSecrets": [], "a": [1, {"b": null}]})),
    ]
    .boxed()
}

/// A list whose items have distinct names, because the API server accepts no other Pods. Some items are null.
fn named(element: BoxedStrategy<Value>) -> BoxedStrategy<Value> {
    let list = proptest::collection::vec(or_null(element), 0..5).prop_map(|mut elements| {
        for (index, element) in elements.iter_mut().enumerate() {
            if let Some(element) = element.as_object_mut() {
                element.insert("name".into(), json!(format!("n~/{index}")));
            }
        }
        Value::Array(elements)
    });
    or_null(list.boxed())
}

fn containers() -> BoxedStrategy<Value> {
    named(members(vec![
        ("image", image()),
        ("imagePullPolicy", text(&["Always", "Never", "IfNotPresent"])),
        ("resources", junk()),
        ("new field", junk()),
    ]))
}

fn pods() -> BoxedStrategy<Value> {
    let annotations = or_null(members(vec![
        ("note", text(&["fra.example.com/shop/web:1", "a\"b\\c\n"])),
        (
            IMAGES,
            text(&[
                "",
                "{}",
                r#"{"forged":true}"#,
                r#"{"containers/n~/0":{"was":"x","is":"y","why":"Local"}}"#,
            ]),
        ),
        ("landfall.dev~1images", text(&["not ours"])),
    ]));
    let metadata = or_null(members(vec![
        ("name", text(&["web-0"])),
        ("annotations", annotations),
        ("managedFields", junk()),
        ("labels", or_null(members(vec![("app", text(&["web"]))]))),
    ]));
    let secret = members(vec![("name", text(&["ams-creds", "other"]))]);
    let volume = members(vec![
        ("image", or_null(members(vec![("reference", image()), ("pullPolicy", text(&["Always"]))]))),
        ("emptyDir", junk()),
    ]);
    let spec = members(vec![
        ("containers", containers()),
        ("initContainers", containers()),
        ("ephemeralContainers", containers()),
        ("volumes", named(volume)),
        (
            "imagePullSecrets",
            or_null(proptest::collection::vec(or_null(secret), 0..3).prop_map(Value::Array).boxed()),
        ),
        ("priority", junk()),
    ]);
    members(vec![("metadata", metadata), ("spec", or_null(spec)), ("status", junk())])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn a_patch_applies_touches_only_ours_and_is_empty_the_second_time(doc in pods()) {
        let (first, after) = patched(&doc, AdmissionKind::Create);
        prop_assert_eq!(untouchable(&doc), untouchable(&after), "{}", first);

        let (had, has) = (secrets(&doc), secrets(&after));
        prop_assert_eq!(&has[..had.len()], &had[..], "nothing is removed, the order stays");
        let mut names: BTreeMap<&str, usize> = BTreeMap::new();
        for added in &has[had.len()..] {
            *names.entry(added["name"].as_str().unwrap()).or_default() += 1;
            prop_assert!(!had.contains(added));
        }
        prop_assert!(names.values().all(|count| *count == 1), "none is added twice: {}", first);

        let (second, _) = patched(&after, AdmissionKind::Create);
        prop_assert!(second.is_empty(), "{} then {}", first, second);

        let body = after.to_string();
        let pod: Pod<'_> = serde_json::from_str(&body).unwrap();
        prop_assert!(pod.slots().all(|slot| slot.image.strip_prefix("fra.example.com/").is_none()));
        for operation in first.iter() {
            prop_assert!(!matches!(operation, PatchOperation::Test(_)));
        }
    }

    #[test]
    fn of_a_running_pod_only_images_change_and_only_where_it_carries_the_secret(doc in pods()) {
        let (patch, _) = patched(&doc, AdmissionKind::Ephemeral);
        let carries = secrets(&doc).iter().any(|secret| secret["name"] == "ams-creds");
        for operation in patch.iter() {
            prop_assert!(matches!(operation, PatchOperation::Replace(_)) && carries, "{}", operation);
        }
        let (patch, _) = patched(&doc, AdmissionKind::Update);
        prop_assert!(patch.is_empty());
    }
}

#[derive(serde::Deserialize)]
struct Row {
    name: String,
    doc: Value,
    doc_text: Option<String>,
    patch: Value,
    ok: bool,
    result: Value,
}

fn pitfalls() -> Vec<Row> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/jsonpatch-pitfalls.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// Compares the crate that applies the patches in our tests with the library of the API server, row by row. Where they
/// differ, the crate follows RFC 6902 more closely, or compares parsed values where the library compares bytes. No such
/// row looks like an operation that Landfall writes.
#[test]
fn the_crate_applies_as_the_api_server_does_but_for_known_rows() {
    let mut different = Vec::new();
    for row in pitfalls() {
        let doc = row.doc_text.as_deref().map_or(row.doc, |text| serde_json::from_str(text).unwrap());
        let applied = serde_json::from_value::<Patch>(row.patch).ok().and_then(|patch| {
            let mut doc = doc;
            json_patch::patch(&mut doc, &patch).ok().map(|()| doc)
        });
        if applied != row.ok.then_some(row.result) {
            different.push(row.name);
        }
    }
    assert_eq!(different, KNOWN_DIFFERENCES);
}

const KNOWN_DIFFERENCES: [&str; 12] = [
    // The library is less strict than RFC 6901 and RFC 6902; the crate is not.
    "key-tilde-not-escaped",
    "replace-missing-key",
    "add-index-negative",
    "replace-index-negative",
    "index-leading-zero",
    "test-missing-key-null",
    // The library compares bytes, or panics; the crate compares values.
    "test-string-spelling",
    "test-array-with-null",
    // The crate is strict about the form of a patch.
    "add-without-value",
    "path-without-slash",
    // By the RFC this replaces the whole document. The crate does it; the library refuses.
    "path-empty-add",
    "patch-null",
];

/// The rows with patches like ours: the API server's library applied them, and Landfall builds the same operations.
#[test]
fn what_we_build_is_what_the_api_server_applies() {
    let rows: BTreeMap<String, Row> = pitfalls().into_iter().map(|row| (row.name.clone(), row)).collect();
    let build = |name: &str, images: &[(&str, &str)], secret: Option<&str>, entry: Option<&str>| {
        let mut doc = rows[name].doc.clone();
        if doc["spec"].get("containers").is_none() && images.is_empty() {
            // Some rows contain only the part of a Pod that they are about.
            doc["spec"]["containers"] = json!([{"name": "a", "image": "nginx"}]);
        }
        let body = doc.to_string();
        let pod: Pod<'_> = serde_json::from_str(&body).unwrap();
        let changes: Vec<_> = pod
            .slots()
            .map(|slot| {
                let image = images.iter().find(|(path, _)| slot.pointer() == *path);
                Change {
                    slot,
                    image: image.map(|(_, image)| (*image).into()),
                    pull_secret: secret.map(PullSecret::new),
                    entry: entry.map(|was| Entry {
                        was: was.into(),
                        why: Reason::Local,
                        findings: Cow::default(),
                        place: None,
                    }),
                }
            })
            .collect();
        serde_json::to_value(patch(&pod, AdmissionKind::Create, &changes)).unwrap()
    };

    for (name, images) in [
        ("replace-image", &[("/spec/containers/1/image", "harbor.example.com/proxy/library/redis:7")][..]),
        ("replace-two-images", &[("/spec/containers/0/image", "h/x"), ("/spec/containers/1/image", "h/y")]),
        ("replace-image-volume", &[("/spec/volumes/0/image/reference", "h/a/b:1")]),
        ("unknown-fields-kept", &[("/spec/containers/0/image", "h/x")]),
    ] {
        assert!(rows[name].ok);
        assert_eq!(build(name, images, None, None), rows[name].patch, "{name}");
    }
    for name in ["pull-secrets-absent-whole", "pull-secrets-empty-append", "pull-secrets-present-append"] {
        assert!(rows[name].ok);
        assert_eq!(build(name, &[], Some("s"), None), rows[name].patch, "{name}");
    }
    for name in ["pull-secrets-absent-append", "pull-secrets-null-append"] {
        assert!(!rows[name].ok);
        let whole = json!([{"op": "add", "path": "/spec/imagePullSecrets", "value": [{"name": "s"}]}]);
        assert_eq!(build(name, &[], Some("s"), None), whole, "{name}");
    }
    for (name, path) in [
        ("key-slash-escaped", "/metadata/annotations/landfall.dev~1images"),
        ("add-annotation-parent-missing", "/metadata/annotations"),
    ] {
        let built = build(name, &[], None, Some("x"));
        assert_eq!((&built[0]["op"], &built[0]["path"]), (&json!("add"), &json!(path)), "{name}");
        assert_eq!(built.as_array().unwrap().len(), 1);
    }
}

#[test]
fn an_annotation_brings_along_what_is_absent_above_it() {
    for (metadata, path) in [
        (r#"{"metadata":{"annotations":{"a":"b"}},"#, "/metadata/annotations/landfall.dev~1images"),
        (r#"{"metadata":{"annotations":{}},"#, "/metadata/annotations/landfall.dev~1images"),
        (r#"{"metadata":{"annotations":null},"#, "/metadata/annotations"),
        (r#"{"metadata":{},"#, "/metadata/annotations"),
        (r#"{"metadata":null,"#, "/metadata"),
        ("{", "/metadata"),
    ] {
        let doc =
            format!(r#"{metadata}"spec":{{"containers":[{{"name":"a","image":"lost.example.com/a"}}]}}}}"#);
        let (patch, after) = patched(&serde_json::from_str(&doc).unwrap(), AdmissionKind::Create);
        assert_eq!(patch.last().unwrap().path().as_str(), path, "{doc}");
        assert!(after["metadata"]["annotations"][IMAGES].is_string());
    }
}

#[test]
fn a_sidecar_that_comes_later_is_added_and_what_was_stays() {
    let doc = json!({
        "metadata": {},
        "spec": {"containers": [{"name": "a", "image": "fra.example.com/a:1"}, {"name": "log", "image": "nginx"}]},
    });
    let (_, mut injected) = patched(&doc, AdmissionKind::Create);
    let sidecar = json!({"name": "mesh", "image": "fra.example.com/mesh:2"});
    injected["spec"]["containers"].as_array_mut().unwrap().insert(0, sidecar);
    let (second, after) = patched(&injected, AdmissionKind::Create);
    let paths: Vec<_> = second.iter().map(|operation| operation.path().as_str()).collect();
    assert_eq!(paths, ["/spec/containers/0/image", "/metadata/annotations/landfall.dev~1images"]);
    let text = after["metadata"]["annotations"][IMAGES].as_str().unwrap();
    let entries: Value = serde_json::from_str(text).unwrap();
    for (key, was, why) in [
        ("containers/mesh", "fra.example.com/mesh:2", "Local"),
        ("containers/a", "fra.example.com/a:1", "Local"),
        ("containers/log", "nginx", "NotRouted"),
    ] {
        assert_eq!((&entries[key]["was"], &entries[key]["why"]), (&json!(was), &json!(why)));
    }
}

#[test]
fn a_pod_with_more_images_than_the_annotation_holds_settles_too() {
    let containers: Vec<_> = (0..200)
        .map(|index| json!({"name": format!("c{index}"), "image": format!("fra.example.com/c/{index}")}))
        .collect();
    let doc = json!({"metadata": {"annotations": {"big": "x".repeat(200 * 1024)}}, "spec": {"containers": containers}});
    let (first, after) = patched(&doc, AdmissionKind::Create);
    assert_eq!(first.len(), 202);
    let (second, _) = patched(&after, AdmissionKind::Create);
    assert!(second.is_empty(), "{second}");
}
