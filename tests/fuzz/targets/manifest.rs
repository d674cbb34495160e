//! Manifests and indexes: children come from what is listed, and only an index has any.
#![no_main]

use landfall::domain::evidence::{Children, Shape};
use landfall::registry::fuzz::{children, shape};
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
    let listed: Vec<_> = index["manifests"].as_array().into_iter().flatten().collect();
    let mut rest = listed.iter();
    for child in &*children {
        // In the order of the index.
        let digest = child.digest.to_string();
        let found = rest.find(|listed| listed["digest"] == *digest);
        let found = found.unwrap_or_else(|| panic!("{digest} is not listed"));
        let platform = &found["platform"];
        match &child.platform {
            Some(said) => assert_eq!(platform["os"].as_str().unwrap_or_default(), &*said.os),
            None => assert!(platform["os"].as_str().unwrap_or_default().is_empty()),
        }
    }
});
