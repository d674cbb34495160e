//! Reviews of Pods with the images that a measurement wants.

use serde_json::{Value, json};

/// A Pod as an API server sends it; ours have its size and its clutter.
const TEMPLATE: &str = include_str!("../vectors/admission/deployment-web.json");

/// The review of a Pod with these images.
pub fn review(number: usize, init: &[&str], containers: &[&str]) -> serde_json::Result<Value> {
    let mut review: Value = serde_json::from_str(TEMPLATE)?;
    review["request"]["uid"] = json!(format!("00000000-0000-4000-8000-{number:012}"));
    let spec = &mut review["request"]["object"]["spec"];
    for (field, images) in [("initContainers", init), ("containers", containers)] {
        let container = |(at, image): (usize, &&str)| json!({"name": format!("c{at}"), "image": image});
        spec[field] = images.iter().enumerate().map(container).collect();
    }
    Ok(review)
}
