//! Tests with seventeen bodies of a real API server, a table of bodies that no API server would send, and random changes
//! of both.

use std::error::Error;
use std::fmt::Write;
use std::sync::LazyLock;

use kube::core::DynamicObject;
use kube::core::admission::{AdmissionReview, Operation};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::domain::name::PullSecret;
use crate::pod::{Change, patch};

static RECORDINGS: LazyLock<Vec<(String, Vec<u8>)>> = LazyLock::new(|| {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/admission");
    let mut bodies: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().path())
        .map(|path| (path.file_stem().unwrap().to_str().unwrap().to_owned(), std::fs::read(path).unwrap()))
        .collect();
    bodies.sort();
    assert_eq!(bodies.len(), 17);
    bodies
});

fn recording(name: &str) -> Value {
    let (_, body) = RECORDINGS.iter().find(|(have, _)| have == name).unwrap();
    serde_json::from_slice(body).unwrap()
}

/// An error with its causes, as in a log line.
fn chain(error: &dyn Error) -> String {
    std::iter::successors(Some(error), |error: &&dyn Error| (*error).source())
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}

/// The outcome at one door, in one line.
fn outcome(body: &[u8], door: Door) -> String {
    match decode(body, door) {
        Ok(review) => format!("{:?}, {} images", review.kind, review.slots().len()),
        Err(error) => {
            let word = match &error {
                ReviewError::Malformed(_) => "refuse".to_owned(),
                ReviewError::NotOurs { uid, .. } => format!("allow {uid}"),
                ReviewError::Unreadable { uid, .. } => format!("warn {uid}"),
            };
            format!("{word}: {}", chain(&error))
        }
    }
}

#[test]
fn the_slots_of_the_recordings() {
    let mut list = String::new();
    for (name, body) in RECORDINGS.iter() {
        writeln!(list, "{name}").unwrap();
        let review = match decode(body, Door::Validate) {
            Ok(review) => review,
            Err(error) => panic!("{name}: {}", chain(&error)),
        };
        let pod = &review.pod;
        writeln!(
            list,
            "  {:?} {:?} {:?} in {} by {}",
            review.kind,
            review.dry_run,
            review.origin(),
            review.namespace,
            review.username,
        )
        .unwrap();
        if let Err(error) = decode(body, Door::Mutate) {
            writeln!(list, "  at /mutate {}", chain(&error)).unwrap();
        }
        let demand = crate::pod::platform::demand(pod);
        if demand != Default::default() {
            writeln!(list, "  {:?} {:?}", demand.os, demand.architecture).unwrap();
        }
        for slot in review.slots() {
            writeln!(list, "  {slot} {} {:?} {}", slot.pointer(), slot.pull_policy, slot.image).unwrap();
        }
    }
    insta::assert_snapshot!("slots", list);
}

#[test]
fn kube_reads_the_same_of_every_recording() {
    for (name, body) in RECORDINGS.iter() {
        let theirs: AdmissionReview<DynamicObject> = serde_json::from_slice(body).unwrap();
        let theirs = theirs.request.unwrap();
        let ours = decode(body, Door::Validate).unwrap();
        assert_eq!(ours.uid, theirs.uid);
        assert_eq!(Some(&*ours.namespace), theirs.namespace.as_deref());
        assert_eq!(Some(&*ours.username), theirs.user_info.username.as_deref());
        assert_eq!(ours.dry_run == DryRun::Yes, theirs.dry_run);
        assert_eq!(ours.kind == AdmissionKind::Create, theirs.operation == Operation::Create);
        assert_eq!(ours.kind == AdmissionKind::Ephemeral, theirs.sub_resource.is_some());
        assert_eq!(ours.before.is_some(), theirs.old_object.is_some());
        let object = theirs.object.unwrap();
        let metadata = ours.pod.metadata.as_ref().unwrap();
        assert_eq!(metadata.name.as_deref(), object.metadata.name.as_deref());
        assert_eq!(metadata.generate_name.as_deref(), object.metadata.generate_name.as_deref());
        let theirs = object.metadata.annotations.clone().unwrap_or_default();
        let annotations = metadata.annotations.as_ref();
        assert_eq!(annotations.is_some(), object.metadata.annotations.is_some(), "{name}");
        let weight: usize = theirs
            .iter()
            .filter(|(key, _)| *key != "landfall.dev/images")
            .map(|(k, v)| k.len() + v.len())
            .sum();
        assert_eq!(annotations.map_or(0, |ours| ours.weight), weight);
        let images = theirs.get("landfall.dev/images").map(String::as_str);
        assert_eq!(annotations.and_then(|ours| ours.images.as_deref()), images);

        // Every pointer leads to its image, and no image in a known field was missed.
        let whole = serde_json::to_value(&object).unwrap();
        let mut found = 0;
        for slot in ours.pod.slots() {
            assert_eq!(whole.pointer(slot.pointer().as_str()), Some(&json!(slot.image)), "{name}");
            found += 1;
        }
        let spec = &whole["spec"];
        let of = |field: &str, image: &str| {
            spec[field]
                .as_array()
                .map_or(0, |list| list.iter().filter(|one| one.pointer(image).is_some()).count())
        };
        let all = of("containers", "/image")
            + of("initContainers", "/image")
            + of("ephemeralContainers", "/image")
            + of("volumes", "/image/reference");
        assert_eq!(found, all, "{name}");
    }
}

#[test]
fn texts_are_borrowed_from_the_body() {
    let (_, body) = &RECORDINGS[2];
    let review = decode(body, Door::Mutate).unwrap();
    let inside = |text: &str| body.as_ptr_range().contains(&text.as_ptr());
    assert!(inside(&review.uid) && inside(&review.username));
    assert!(review.slots().iter().all(|slot| inside(slot.image) && inside(slot.name)));
}

/// Go writes `<` as six bytes, so a Pod that fits into etcd can be a review of many megabytes.
#[test]
fn a_review_of_twenty_megabytes_is_read_without_a_copy() {
    let mut body = recording("pod-arm64");
    body["request"]["object"]["metadata"]["annotations"] = json!({"page": "PAGE"});
    body["request"]["object"]["spec"]["containers"][0]["args"] = json!(["PAGE", "PAGE"]);
    body["request"]["object"]["metadata"]["managedFields"] = json!([{"fieldsV1": {"f:PAGE": {}}}]);
    let body = body.to_string().replace("PAGE", &r"\u003c".repeat(850_000));
    assert!(body.len() > 19 * 1024 * 1024, "{}", body.len());
    let review = decode(body.as_bytes(), Door::Mutate).unwrap();
    let inside = |text: &str| body.as_bytes().as_ptr_range().contains(&text.as_ptr());
    let slots = review.slots();
    assert_eq!(slots.len(), 1);
    assert!(inside(slots[0].image) && inside(slots[0].name) && inside(&review.uid));
    // The API server counts the decoded characters.
    assert_eq!(review.pod.annotations().unwrap().weight, "page".len() + 850_000);
}

/// Whoever adds one container behind thousands must not get past the judge.
#[test]
fn an_image_behind_too_many_others_is_not_taken_for_judged() {
    let debuggers = |n: usize| {
        let list = (0..n).map(|n| json!({"name": format!("d{n}"), "image": "a"}));
        json!({"spec": {"ephemeralContainers": list.collect::<Vec<_>>()}})
    };
    let mut body = recording("ephemeral-container");
    body["request"]["object"] = debuggers(4097);
    body["request"]["oldObject"] = debuggers(4096);
    let body = body.to_string();
    let review = decode(body.as_bytes(), Door::Mutate).unwrap();
    assert_eq!((review.slots().len(), review.unread()), (0, 1));
}

/// A recording with one value set.
fn with(name: &str, path: &str, value: Value) -> Vec<u8> {
    let mut body = recording(name);
    let (parent, key) = path.rsplit_once('/').unwrap();
    let parent = body.pointer_mut(parent).unwrap();
    match (parent.as_object_mut(), value) {
        (Some(parent), Value::Null) => drop(parent.remove(key)),
        (Some(parent), value) => drop(parent.insert(key.to_owned(), value)),
        (None, value) => *parent.pointer_mut(&format!("/{key}")).unwrap() = value,
    }
    body.to_string().into_bytes()
}

#[test]
fn bodies_that_no_api_server_sends() {
    const NAME: &str = "pod-arm64";
    let (_, whole) = RECORDINGS.iter().find(|(name, _)| name == NAME).unwrap();
    let check = |body: &[u8], expected: &str| assert_eq!(outcome(body, Door::Mutate), expected);
    let set = |path: &str, value: Value, expected: &str| check(&with(NAME, path, value), expected);

    check(whole, "Create, 1 images");
    check(b"", "refuse: the body is not JSON: EOF while parsing a value at line 1 column 0");
    check(b"<html>", "refuse: the body is not JSON: expected value at line 1 column 1");
    check(b"\xff\xfe", "refuse: the body is not JSON: invalid utf-8 sequence of 1 bytes from index 0");
    let whole = whole.trim_ascii_end();
    for cut in [1, 100, 700, whole.len() - 1] {
        assert!(
            outcome(&whole[..cut], Door::Mutate).strip_prefix("refuse: the body is not JSON: EOF").is_some()
        );
    }
    check(
        b"[]",
        "refuse: the body is JSON, but not an AdmissionReview: invalid type: sequence, expected an object at line 1 column 2",
    );
    check(b"{}", "refuse: `kind` is ``, not `AdmissionReview`");
    check(b"null", "refuse: `kind` is ``, not `AdmissionReview`");
    set("/kind", json!("PodList"), "refuse: `kind` is `PodList`, not `AdmissionReview`");
    set(
        "/apiVersion",
        json!("admission.k8s.io/v1beta1"),
        "refuse: `apiVersion` is `admission.k8s.io/v1beta1`; only `admission.k8s.io/v1` is supported",
    );
    set("/request", json!(null), "refuse: the AdmissionReview has no `request`");
    set("/request/uid", json!(null), "refuse: the request has no `uid`");
    set("/request/uid", json!(""), "refuse: the request has no `uid`");
    set(
        "/request/uid",
        json!(7),
        "refuse: the body is JSON, but not an AdmissionReview: request.uid: invalid type: integer `7`, expected a string at line 1 column 2374",
    );
    set("/request/dryRun", json!(null), "Create, 1 images");
    set("/request/namespace", json!(null), "Create, 1 images");
    set("/request/userInfo", json!(null), "Create, 1 images");
    set("/request/oldObject", json!(null), "Create, 1 images");
}

#[test]
fn reviews_that_are_not_judged() {
    const UID: &str = "094e2bb3-bf95-4ad0-a58c-385e16fad56f";
    let set = |path: &str, value: Value, expected: &str| {
        assert_eq!(
            outcome(&with("pod-arm64", path, value), Door::Mutate),
            format!("allow {UID}: not judged: {expected}")
        );
    };
    set("/request/kind/kind", json!("Deployment"), "`Deployment` of `pods` is not a Pod");
    set("/request/kind/group", json!("example.com"), "`Pod` of `pods` is not a Pod");
    set("/request/resource/resource", json!("podtemplates"), "`Pod` of `podtemplates` is not a Pod");
    set("/request/kind", json!(null), "`` of `pods` is not a Pod");
    set("/request/subResource", json!("resize"), "`pods/resize` changes no image");
    set("/request/subResource", json!("ephemeralcontainers"), "the operation `CREATE` is not judged here");
    for operation in ["UPDATE", "DELETE", "CONNECT", ""] {
        set(
            "/request/operation",
            json!(operation),
            &format!("the operation `{operation}` is not judged here"),
        );
    }

    // The content of an object does not matter if the door does not judge it.
    let mut deletion = recording("pod-arm64");
    deletion["request"]["operation"] = json!("DELETE");
    for object in [json!(null), json!("text"), json!({"spec": 7})] {
        deletion["request"]["object"] = object;
        let expected = format!("allow {UID}: not judged: the operation `DELETE` is not judged here");
        assert_eq!(outcome(deletion.to_string().as_bytes(), Door::Mutate), expected);
    }

    for name in ["update-image", "update-label-only"] {
        let body = recording(name).to_string();
        assert!(outcome(body.as_bytes(), Door::Mutate).contains("the operation `UPDATE` is not judged here"));
    }
    assert_eq!(outcome(recording("update-image").to_string().as_bytes(), Door::Validate), "Update, 1 images");
    assert_eq!(
        outcome(recording("update-label-only").to_string().as_bytes(), Door::Validate),
        "Update, 0 images"
    );
}

#[test]
fn pods_that_cannot_be_read() {
    const WARN: &str = "warn 094e2bb3-bf95-4ad0-a58c-385e16fad56f: the Pod cannot be read: ";
    for (path, value, expected) in [
        ("/request/object", json!(null), "the request has no `object`"),
        (
            "/request/object",
            json!("Pod"),
            "`request.object` is not valid in a Pod: invalid type: string \"Pod\", expected an object",
        ),
        (
            "/request/object",
            json!([]),
            "`request.object` is not valid in a Pod: invalid type: sequence, expected an object",
        ),
        (
            "/request/object/spec/containers",
            json!({}),
            "`request.object.spec.containers` is not valid in a Pod: invalid type: map, expected an array",
        ),
        (
            "/request/object/spec/containers/0",
            json!(["a", "nginx"]),
            "`request.object.spec.containers[0]` is not valid in a Pod: invalid type: sequence, expected an object",
        ),
        (
            "/request/object/spec/containers/0/image",
            json!(5),
            "`request.object.spec.containers[0].image` is not valid in a Pod: invalid type: integer `5`, expected a string",
        ),
        (
            "/request/object/metadata/annotations",
            json!({"a": {}}),
            "`request.object.metadata.annotations.a` is not valid in a Pod: invalid type: map, expected a string",
        ),
    ] {
        let got = outcome(&with("pod-arm64", path, value), Door::Mutate);
        let got = got.split(" at line ").next().unwrap();
        assert_eq!(got, format!("{WARN}{expected}"));
    }
}

#[test]
fn odd_pods_that_can_be_read() {
    let spec = |spec: &str| {
        let body = with("pod-arm64", "/request/object/spec", json!("SPEC"));
        String::from_utf8(body).unwrap().replacen("\"SPEC\"", spec, 1)
    };
    let images = |body: &str| -> Vec<String> {
        let review =
            decode(body.as_bytes(), Door::Mutate).unwrap_or_else(|error| panic!("{}", chain(&error)));
        review.slots().iter().map(|slot| format!("{} {}", slot.pointer(), slot.image)).collect()
    };
    for nothing in [
        "null",
        "{}",
        r#"{"containers":null,"initContainers":null,"volumes":null}"#,
        r#"{"containers":[null,{},{"image":null},{"image":""}]}"#,
        r#"{"volumes":[{"image":null},{"image":{}},{"image":{"reference":""}},{"emptyDir":{}}]}"#,
    ] {
        assert_eq!(images(&spec(nothing)), Vec::<String>::new());
    }
    assert_eq!(
        images(&spec(
            r#"{"containers":[null,{"image":"a\/b\u003a1"}],"volumes":[{},{"image":{"reference":"v"}}]}"#
        )),
        ["/spec/containers/1/image a/b:1", "/spec/volumes/1/image/reference v"]
    );

    let many = vec![r#"{"name":"c","image":"nginx"}"#; 10_000].join(",");
    assert_eq!(images(&spec(&format!(r#"{{"containers":[{many}]}}"#))).len(), 4096);

    // A skipped value may be nested deeply, because skipping does not recurse.
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(images(&spec(&format!(r#"{{"containers":[{{"image":"a","x":{deep}}}]}}"#))).len(), 1);

    // A key that is read must not appear twice; other keys may.
    assert_eq!(images(&spec(r#"{"x":1,"x":2,"containers":[{"image":"a"}]}"#)).len(), 1);
    let twice = outcome(spec(r#"{"containers":[{"image":"a","image":"b"}]}"#).as_bytes(), Door::Mutate);
    assert!(twice.contains("duplicate field `image`"), "{twice}");

    // Bytes that are not UTF-8 are not JSON, at any position.
    let mut bytes = spec(r#"{"containers":[{"image":"XX"}]}"#).into_bytes();
    let at = bytes.windows(2).position(|pair| pair == b"XX").unwrap();
    bytes[at] = 0xff;
    let outcome = outcome(&bytes, Door::Mutate);
    assert!(outcome.starts_with("refuse: the body is not JSON: invalid utf-8"), "{outcome}");
}

#[test]
fn a_debugging_container_is_judged_once() {
    let mut body = recording("ephemeral-container");
    assert_eq!(outcome(body.to_string().as_bytes(), Door::Mutate), "Ephemeral, 1 images");
    let first = body["request"]["object"]["spec"]["ephemeralContainers"][0].clone();
    body["request"]["oldObject"]["spec"]["ephemeralContainers"] = json!([first]);
    assert_eq!(outcome(body.to_string().as_bytes(), Door::Mutate), "Ephemeral, 0 images");
    let second = json!({"name": "second", "image": "busybox"});
    body["request"]["object"]["spec"]["ephemeralContainers"] = json!([first, second]);
    let body = body.to_string();
    let review = decode(body.as_bytes(), Door::Mutate).unwrap();
    let pointers: Vec<_> = review.slots().iter().map(|slot| slot.pointer().to_string()).collect();
    assert_eq!(pointers, ["/spec/ephemeralContainers/1/image"]);
}

#[test]
fn only_a_node_makes_mirror_pods() {
    let origin = |username: &str| {
        let body = with("mirror-pod", "/request/userInfo/username", json!(username));
        decode(&body, Door::Mutate).unwrap().origin()
    };
    assert_eq!(origin("system:node:n1"), Origin::MirrorPod);
    assert_eq!(origin("admin"), Origin::Client);
    assert_eq!(origin("system:nodes"), Origin::Client);
    let unmarked = with("pod-arm64", "/request/userInfo/username", json!("system:node:n1"));
    assert_eq!(decode(&unmarked, Door::Mutate).unwrap().origin(), Origin::Client);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    /// For a body with random changes there is no panic, and if a Pod can still be read, a patch on it applies.
    #[test]
    fn a_damaged_body_never_panics(
        which in 0..17_usize,
        damage in proptest::collection::vec((any::<proptest::sample::Index>(), damage()), 1..4),
    ) {
        let mut body = RECORDINGS[which].1.clone();
        for (at, damage) in damage {
            let at = at.index(body.len());
            match damage {
                Damage::Byte(byte) => body[at] = byte,
                Damage::Insert(text) => drop(body.splice(at..at, text.bytes())),
                Damage::Cut(length) => drop(body.drain(at..(at + length).min(body.len()))),
                Damage::Swap(from, to) => {
                    let text = String::from_utf8_lossy(&body).replacen(from, to, 2);
                    body = text.into_bytes();
                }
            }
        }
        for door in [Door::Mutate, Door::Validate] {
            let Ok(review) = decode(&body, door) else { continue };
            // Skipped strings are not checked: a body may have invalid UTF-8 in a field that is not read.
            let Ok(whole) = serde_json::from_slice::<Value>(&body) else { continue };
            let changes: Vec<_> = review
                .slots()
                .into_iter()
                .map(|slot| Change {
                    slot,
                    image: Some("ams.example.com/x".into()),
                    pull_secret: Some(PullSecret::new("ams-creds")),
                    entry: None,
                })
                .collect();
            let patch = patch(&review.pod, review.kind, &changes);
            let patch: json_patch::Patch = serde_json::from_str(patch.as_json()).unwrap();
            let mut object = whole["request"]["object"].clone();
            prop_assert!(json_patch::patch(&mut object, &patch).is_ok(), "{} on {}", patch, whole);
        }
    }
}

#[derive(Debug, Clone)]
enum Damage {
    Byte(u8),
    Insert(&'static str),
    Cut(usize),
    Swap(&'static str, &'static str),
}

fn damage() -> impl Strategy<Value = Damage> {
    let words = proptest::sample::select(vec![
        "null",
        "{}",
        "[]",
        "\"",
        "\\",
        "\\ud800",
        "\\u0000",
        ",",
        "1e999",
        "-",
        "true",
        "{\"image\":\"x\"}",
        "\u{fffd}",
    ]);
    let swaps = proptest::sample::select(vec![
        ("\"containers\":[", "\"containers\":[null,"),
        ("\"containers\":[", "\"containers\":[{\"image\":\"\"},[],"),
        ("\"containers\":", "\"containers\":null,\"x\":"),
        ("\"containers\":", "\"containers\":\"x\",\"x\":"),
        ("\"spec\":{", "\"spec\":[],\"x\":{"),
        ("\"metadata\":{", "\"metadata\":null,\"x\":{"),
        ("\"annotations\":{", "\"annotations\":null,\"x\":{"),
        ("\"imagePullSecrets\":[", "\"imagePullSecrets\":[null,"),
        ("\"imagePullSecrets\":", "\"imagePullSecrets\":null,\"x\":"),
        ("\"image\":", "\"image\":null,\"x\":"),
        ("\"image\":\"", "\"image\":\"\\u00e9\\n"),
        ("\"image\":", "\"image\":\"x\",\"image\":"),
        ("\"name\":", "\"x\":"),
    ]);
    prop_oneof![
        2 => any::<u8>().prop_map(Damage::Byte),
        2 => words.prop_map(Damage::Insert),
        1 => (1..40_usize).prop_map(Damage::Cut),
        6 => swaps.prop_map(|(from, to)| Damage::Swap(from, to)),
    ]
}
