//! Pods that are too long, and Pods with too many images.

use landfall::facade::demo::world::seed;
use serde_json::{Value, json};

use super::{As, BANK, FREE, LENIENT, WELL, forbidden, fra, images, is_denied, pod, stored};
use crate::pods::ashore;

/// Near the limit of etcd, 1.5 MiB. In the review Go writes each of these as six bytes, U+2028 and U+2029 by twice as many.
const FILLERS: [(&str, usize); 7] = [
    ("<", 1_400_000),
    (">", 1_400_000),
    ("&", 1_400_000),
    ("\u{2028}", 466_000),
    ("\u{2029}", 466_000),
    ("\u{1}", 500_000),
    ("\"", 1_400_000),
];

/// A Pod whose first container says this.
fn saying(name: &str, field: &str, text: &str, images: &[&str]) -> Value {
    let mut pod = pod(name, images);
    let container = &mut pod["spec"]["containers"][0];
    match field {
        "env" => container["env"] = json!([{"name": "TEXT", "value": text}]),
        field => container[field] = json!([text]),
    }
    pod
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_pod_is_judged() {
    let (_, landfall) = &*WELL;
    let (clean, forbidden) = (fra(seed::PRESENT), forbidden());
    for (n, (text, count)) in FILLERS.into_iter().enumerate() {
        let field = ["env", "args", "command"][n % 3];
        let long = saying("long", field, &text.repeat(count), &[&clean, &forbidden]);
        let said = is_denied(BANK, text, &long).await;
        assert!(said.denied().contains("Vulnerable at ams"), "{text}: {said:?}");
    }
    // As much as the API server reads: etcd would not store it.
    let longest = saying("long", "env", &"<".repeat(3_100_000), &[&forbidden, &clean]);
    is_denied(BANK, "3.1 MB", &longest).await;

    // It is the image that is denied, not the length; and a debug container is judged beside all that.
    let long = saying("long", "env", &"<".repeat(1_400_000), &[&clean]);
    assert_eq!(images(BANK, "long", &long).await, [ashore(landfall, &clean)]);
    let said = As::tenant().debugs(BANK, "long", json!({"name": "debug", "image": forbidden})).await;
    assert!(said.denied().contains("Vulnerable at ams"), "{said:?}");
    assert_eq!(stored(BANK, "long").await["spec"]["ephemeralContainers"], Value::Null);
}

/// So many images, so many of them different, and the forbidden one at last.
fn many(count: usize, different: usize) -> Vec<String> {
    let image = |n| format!("harbor.fra.example.com/production/decoy/app:{}", n % different);
    (1..count).map(image).chain([forbidden()]).collect()
}

fn containers(prefix: &str, images: &[String]) -> Value {
    let container = |(n, image)| json!({"name": format!("{prefix}{n}"), "image": image});
    images.iter().enumerate().map(container).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_with_many_images_is_judged_by_the_policy() {
    let _ = &*WELL;
    let (different, equal) = (many(513, 600), many(4097, 1));
    let volumes = |images: &[String]| -> Value {
        let volume = |(n, image)| json!({"name": format!("v{n}"), "image": {"reference": image}});
        images.iter().enumerate().map(volume).collect()
    };
    let spec = |containers: Value| json!({"containers": containers});
    let members = [
        ("513 different", 513, spec(containers("c", &different))),
        ("4,097 slots", 4097, spec(containers("c", &equal))),
        ("shared with init containers", 514, {
            let mut spec = spec(containers("c", &different[256..]));
            spec["initContainers"] = containers("i", &[&different[..256], &[forbidden()]].concat());
            spec
        }),
        ("as volumes", 514, {
            let mut spec = spec(containers("c", &[fra(seed::PRESENT)]));
            spec["volumes"] = volumes(&different);
            spec
        }),
        ("init containers beyond what is read", 4098, {
            let mut spec = spec(containers("c", &[forbidden()]));
            spec["initContainers"] = containers("i", &equal);
            spec
        }),
    ];
    for (n, (what, count, spec)) in members.into_iter().enumerate() {
        let many = |name: String| json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec});
        let said = is_denied(BANK, what, &many(format!("many-{n}"))).await;
        assert!(said.denied().starts_with(&format!("{count} images: TooMany")), "{what}: {said:?}");
        // Where the policy itself lets in what is unknown, and where there is none, it is said.
        for namespace in [LENIENT, FREE] {
            let said = As::tenant().would_create(namespace, &many("many".to_owned())).await;
            assert_eq!((said.of("verdict"), said.of("reason")), ("Unchanged", "TooMany"), "{what}: {said:?}");
            assert!(said.warnings.contains("too many to judge"), "{what}: {}", said.warnings);
        }
    }
    // One image less is judged image by image.
    let said = is_denied(BANK, "512", &json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "few"}, "spec": spec(containers("c", &many(512, 600)))})).await;
    assert!(said.denied().contains("Vulnerable at ams"), "{said:?}");
}
