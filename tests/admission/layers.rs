//! Damaged copies: what a look found is known to both doors at once, and ends with the damage.

use landfall::facade::demo::world::{PathClass, seed};
use landfall::facade::domain::case::{Place, Subject};
use landfall::facade::domain::digest::Digest;
use landfall::facade::domain::evidence::Layers;
use landfall::facade::evidence::{Damage, Look};
use serde_json::Value;
use tokio::time::Instant;

use super::support::case_for;
use super::support::door::Door;
use super::support::site::review;
use super::support::wait::HELD;

/// The image by its digest, its Place in Amsterdam, its digest, and its lost layer.
struct Image {
    name: String,
    place: Place,
    digest: Digest,
    layer: Digest,
}

fn image(door: &Door) -> Image {
    let seed::Named { repository, tag } = seed::PRESENT;
    let digest = door.demo.ams.store().digest(repository, tag).unwrap();
    let name = format!("harbor.fra.example.com/{repository}@{digest}");
    let Subject::Routed(routed) = case_for(&door.settings.load(), &name).subject else { panic!("{name}") };
    let place = routed.places.into_iter().find(|place| place.registry.name.as_str() == "ams").unwrap();
    let layer = door.demo.ams.store().layers(repository, &digest).pop().unwrap();
    Image { name, place, digest, layer }
}

async fn look(door: &Door, image: &Image) -> Layers {
    door.observatory.layers(&image.place, image.digest, Look::Deep, Instant::now() + HELD).await
}

fn blobs(door: &Door) -> usize {
    door.demo.ams.log().iter().filter(|one| one.class == PathClass::Blobs).count()
}

fn images(response: &Value) -> &str {
    response["auditAnnotations"]["images"].as_str().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_layer_is_known_to_both_doors_at_once_and_so_is_its_return() {
    let door = Door::with(|site| {
        site.replace(
            "      - {registry: edge, namespace: \"\", tags: \"v*\", exclude: \"production/scratch/**\"}\n",
            "",
        )
    })
    .await;
    let image = image(&door);
    let (blocks, falls_back) = (review("bank", &[&image.name]), review("shop", &[&image.name]));
    let local = image.name.replace("harbor.fra", "harbor.ams");
    let stands = review("bank", &[&local]);
    let healthy = async || {
        assert!(images(&door.review(&falls_back).await).contains("Local at ams"));
        // As it stands: what the first door wrote would count at the second for a moment, whatever happens.
        let second = door.validate("regulated", &stands).await;
        assert_eq!(second["allowed"], true, "{second}");
    };
    healthy().await;
    door.demo.ams.store().lose_layer(seed::PRESENT.repository, &image.layer);
    healthy().await;
    assert_eq!(look(&door, &image).await, Layers::Lost(image.layer));
    let asked = blobs(&door);
    let response = door.review(&falls_back).await;
    assert_eq!(response["allowed"], true);
    assert_eq!(response["auditAnnotations"]["findings"], "containers/c0: LayerMissing at ams", "{response}");
    // The policy says `onMissing: Block`: at the first door, and at the second for what stands in the Pod.
    let denied = door.review(&blocks).await;
    assert_eq!(denied["allowed"], false, "{denied}");
    assert!(denied["status"]["message"].as_str().unwrap().contains(&image.layer.to_string()), "{denied}");
    for written in [&image.name, &local] {
        let denied = door.validate("regulated", &review("bank", &[written])).await;
        assert_eq!(denied["allowed"], false, "{written}: {denied}");
    }
    assert_eq!(blobs(&door), asked, "no Pod waits for layers");
    door.demo.ams.store().restore_layer(seed::PRESENT.repository, &image.layer);
    assert!(matches!(look(&door, &image).await, Layers::Complete { .. }));
    healthy().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_replica_found_counts_here() {
    let door = Door::open().await;
    let image = image(&door);
    let body = review("bank", &[&image.name]);
    assert_eq!(door.review(&body).await["allowed"], true);
    let (at, seen) = ((&image.place.registry.name, &image.place.repository), jiff::Timestamp::now());
    door.observatory.damage(at, image.digest, Damage::PullFailed, seen);
    let response = door.review(&body).await;
    assert!(response.to_string().contains("PullFailed"), "{response}");
    door.observatory.mended(at, &image.digest);
    let response = door.review(&body).await;
    assert!(images(&response).contains("Local at ams"), "{response}");
}
