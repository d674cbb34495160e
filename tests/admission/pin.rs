//! `pin: false`: references move by their tag, without a digest, unless a policy enforces.

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
        Door::with(|site| site.replace("  - name: production\n", "  - name: production\n    pin: false\n"))
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
