//! `pin`: what a reference names that Landfall writes: tag and digest, the digest alone, or the tag alone.

use landfall::facade::demo::world::seed;

use super::recorded::patch;
use super::support::door::Door;

/// The image of the Pod's only container after the patch.
fn image(response: &serde_json::Value) -> String {
    assert_eq!(response["allowed"], true, "{response}");
    let patch = serde_json::to_value(patch(response).unwrap()).unwrap();
    let replaced = patch.as_array().unwrap().iter().find(|one| one["path"] == "/spec/containers/0/image");
    replaced.unwrap()["value"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_moves_as_it_is_where_nothing_is_pinned_and_no_policy_enforces() {
    let door =
        Door::with(|site| site.replace("  - name: production\n", "  - name: production\n    pin: Off\n"))
            .await;
    let (repository, tag) = (seed::PRESENT.repository, seed::PRESENT.tag);
    let written = format!("harbor.fra.example.com/{repository}:{tag}");
    let digest = door.demo.fra.store().digest(repository, tag).unwrap();
    let moved = image(&door.pod("shop", &[&written]).await);
    assert_eq!(moved, format!("harbor.ams.example.com/{repository}:{tag}"));
    // A digest as written is kept, whatever the pin.
    let moved = image(&door.pod("shop", &[&format!("{written}@{digest}")]).await);
    assert_eq!(moved, format!("harbor.ams.example.com/{repository}:{tag}@{digest}"));
    // An enforcing policy pins: the next door must see what was judged.
    let moved = image(&door.pod("bank", &[&written]).await);
    assert_eq!(moved, format!("harbor.ams.example.com/{repository}:{tag}@{digest}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_digest_stands_alone_where_a_runtime_refuses_both() {
    let door =
        Door::with(|site| site.replace("  - name: production\n", "  - name: production\n    pin: Digest\n"))
            .await;
    let (repository, tag) = (seed::PRESENT.repository, seed::PRESENT.tag);
    let (fra, ams) = ("harbor.fra.example.com", "harbor.ams.example.com");
    let digest = door.demo.fra.store().digest(repository, tag).unwrap();
    let expected = format!("{ams}/{repository}@{digest}");
    // Moved, moved with its digest, an alias, and in place; under an enforcing policy, too.
    for namespace in ["shop", "bank"] {
        for written in [
            format!("{fra}/{repository}:{tag}"),
            format!("{fra}/{repository}:{tag}@{digest}"),
            format!("harbor.example.com/{repository}:{tag}"),
            format!("{ams}/{repository}:{tag}"),
        ] {
            assert_eq!(image(&door.pod(namespace, &[&written]).await), expected, "{written}");
        }
    }
    // What the Pod names already is left as written.
    let both = format!("{ams}/{repository}:{tag}@{digest}");
    let response = door.pod("shop", &[&both]).await;
    let patch = serde_json::to_value(patch(&response).unwrap()).unwrap();
    let paths: Vec<_> = patch.as_array().unwrap().iter().map(|one| one["path"].as_str().unwrap()).collect();
    assert!(!paths.iter().any(|path| path.ends_with("/image")), "{paths:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_comes_back_without_its_tag_keeps_what_the_annotation_says_it_was() {
    let door =
        Door::with(|site| site.replace("  - name: production\n", "  - name: production\n    pin: Digest\n"))
            .await;
    let written = format!("harbor.fra.example.com/{}:{}", seed::PRESENT.repository, seed::PRESENT.tag);
    let mut review = super::support::site::review("shop", &[&written]);
    let response = door.review(&review).await;
    let first: json_patch::Patch = patch(&response).unwrap();
    json_patch::patch(&mut review["request"]["object"], &first).unwrap();
    let response = door.review(&review).await;
    assert!(response["patch"].is_null(), "nothing is left to change: {response}");
    let annotation = review["request"]["object"]["metadata"]["annotations"]["landfall.dev/images"].as_str();
    assert!(annotation.unwrap().contains(&written), "{annotation:?}");
}
