//! Indexes whose child for the node is not where one looks for it.

use landfall::facade::demo::world::Scan;
use landfall::facade::demo::world::content::{Content, Flavour, sha256};
use landfall::facade::demo::world::seed;
use landfall::facade::domain::scan::Severity;
use serde_json::{Value, json};

use super::{BANK, WELL, images, is_denied, pod};

/// An index of an image for arm64, and of another that its entry says this of.
fn index(seed: &str, says: &Value) -> Content {
    let mut index = Content::index(seed, Flavour::Oci, &["linux/arm64", "linux/amd64"]);
    with_entry(&mut index, says);
    index
}

/// Writes this into the second entry of an index; null takes away.
fn with_entry(index: &mut Content, says: &Value) {
    let mut manifest: Value = serde_json::from_slice(&index.bytes).unwrap();
    let entry = manifest["manifests"][1].as_object_mut().unwrap();
    for (key, value) in says.as_object().unwrap() {
        match value {
            Value::Null => drop(entry.remove(key)),
            value => drop(entry.insert(key.clone(), value.clone())),
        }
    }
    index.bytes = manifest.to_string().into();
    index.digest = sha256(&index.bytes);
}

/// An index whose second entry is an index, so many levels deep.
fn nested(seed: &str, says: &Value, deep: usize) -> Content {
    let mut outer = index(seed, says);
    for level in 0..deep {
        let inner = outer;
        outer =
            Content::index(&format!("{seed}, level {level}"), Flavour::Oci, &["linux/arm64", "linux/amd64"]);
        let entry = json!({
            "mediaType": inner.media_type, "digest": inner.digest, "size": inner.bytes.len(),
            "platform": {"os": "linux", "architecture": "amd64"},
        });
        with_entry(&mut outer, &entry);
        outer.children[1].content = inner;
    }
    outer
}

/// The image of the second entry, at any depth.
fn hidden(index: &Content) -> &Content {
    let child = &index.children[1].content;
    if child.is_index() { hidden(child) } else { child }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_child_that_a_node_starts_is_judged_however_it_is_described() {
    let (_, landfall) = &*WELL;
    let platform =
        |os: &str, architecture: &str| json!({"platform": {"os": os, "architecture": architecture}});
    let attestation = json!({"annotations": {
        "vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": seed::PRESENT.tag,
    }});
    let members: Vec<(&str, Value, usize)> = vec![
        ("plain", json!({}), 0),
        ("x86_64", platform("linux", "x86_64"), 0),
        ("x86-64", platform("linux", "x86-64"), 0),
        ("amd64-big", platform("linux", "AMD64"), 0),
        ("linux-big", platform("Linux", "amd64"), 0),
        ("no-os", platform("", "amd64"), 0),
        ("os-absent", json!({"platform": {"architecture": "amd64"}}), 0),
        ("variant", json!({"platform": {"os": "linux", "architecture": "amd64", "variant": "v1"}}), 0),
        ("aarch64", platform("linux", "aarch64"), 0),
        ("arm64-v8", json!({"platform": {"os": "linux", "architecture": "arm64", "variant": "v8"}}), 0),
        ("i386", platform("linux", "386"), 0),
        ("no-platform", json!({"platform": null}), 0),
        ("empty-platform", json!({"platform": {}}), 0),
        ("attestation", attestation.clone(), 0),
        (
            "attestation-without-platform",
            json!({"annotations": attestation["annotations"], "platform": null}),
            0,
        ),
        ("nested", json!({}), 1),
        ("nested-x86_64", platform("linux", "x86_64"), 2),
    ];
    for (n, (name, says, deep)) in members.into_iter().enumerate() {
        let bad = Scan::found(&[(seed::HIGH_CVE, Severity::High)]);
        for (kind, scan) in [("clean", Scan::clean()), ("hidden", bad), ("unscanned", Scan::NotScanned)] {
            let index = nested(&format!("{name} {kind}"), &says, deep);
            let repository = format!("production/{kind}/{name}");
            for harbor in [&landfall.demo.fra, &landfall.demo.ams] {
                let mut store = harbor.store();
                let digest = store.push(&repository, "1", &index);
                store.set_scan(&digest, Scan::clean());
                store.set_scan(&hidden(&index).digest, scan.clone());
            }
            let image = format!("harbor.fra.example.com/{repository}");
            for (by, image) in
                [("tag", format!("{image}:1")), ("digest", format!("{image}@{}", index.digest))]
            {
                let pod = pod(&format!("{kind}-{n}-by-{by}"), &[&image]);
                if kind == "clean" {
                    let stored = images(BANK, &image, &pod).await;
                    assert!(stored[0].starts_with("harbor.ams.example.com/"), "{image}: {stored:?}");
                    assert!(stored[0].ends_with(&index.digest.to_string()), "{image}: {stored:?}");
                } else {
                    let said = is_denied(BANK, &image, &pod).await;
                    let finding = if kind == "hidden" { "Vulnerable at ams" } else { "Unscanned at ams" };
                    assert!(said.denied().contains(finding), "{image}: {said:?}");
                }
            }
        }
    }
}
