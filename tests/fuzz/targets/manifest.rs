//! Manifests and indexes: children come from what is listed, and only an index has any.
#![no_main]

use landfall::facade::domain::evidence::{Children, Shape};
use landfall::facade::domain::platform::Platform;
use landfall::facade::registry::fuzz::{children, shape};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fuzz_target!(|body: &[u8]| {
    let said = shape(body);
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
