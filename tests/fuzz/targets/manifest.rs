//! Manifests and indexes: children and layers come from what is listed, and only an index has children, only a manifest layers.
#![no_main]

use landfall::facade::domain::evidence::{Children, Shape};
use landfall::facade::domain::platform::Platform;
use landfall::facade::registry::Listed;
use landfall::facade::registry::fuzz::{children, listed, shape};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fuzz_target!(|body: &[u8]| {
    let said = shape(body);
    if let Ok(Listed::Layers(layers)) = listed(body) {
        let said = *said.as_ref().expect("layers of what is neither an index nor a manifest");
        assert!(layers.is_empty() || said == Shape::Manifest);
        if let Ok(manifest) = serde_json::from_slice::<Value>(body) {
            let all = manifest["layers"].as_array().into_iter().flatten().chain([&manifest["config"]]);
            let all: Vec<_> = all.map(|one| one["digest"].clone()).collect();
            for layer in &*layers {
                assert!(all.contains(&layer.digest.to_string().into()), "{} is not listed", layer.digest);
            }
        }
    }
    let Ok(Children::Listed(children)) = children(body) else { return };
    let said = said.expect("children of what is neither an index nor a manifest");
    if children.is_empty() {
        return;
    }
    assert_eq!(said, Shape::Index);
    // What our reader skips, the reader of values may refuse: half a surrogate pair, say.
    let Ok(index) = serde_json::from_slice::<Value>(body) else { return };
    // Nodes read keys without regard to case: of those that list children there is one, in the one spelling.
    let is_read = |key: &&String| key.to_lowercase().replace('\u{17f}', "s") == "manifests";
    let keys: Vec<&String> =
        index.as_object().into_iter().flat_map(|all| all.keys()).filter(is_read).collect();
    assert_eq!(keys, ["manifests"]);
    let listed: Vec<_> = index["manifests"].as_array().into_iter().flatten().collect();
    let mut rest = listed.iter();
    for child in &*children {
        // In the order of the index; what is no image may have the same digest, and is skipped.
        let digest = child.digest.to_string();
        let os = child.platform.as_ref().map_or("", |platform| &*platform.os);
        let is = |listed: &&Value| {
            let listed_os = listed["platform"]["os"].as_str().unwrap_or_default();
            // Platforms are read as containerd normalises them.
            listed["digest"] == *digest && *Platform::normalised(listed_os, "", None).os == *os
        };
        assert!(rest.any(|listed| is(&listed)), "{digest} for `{os}` is not listed");
    }
});
