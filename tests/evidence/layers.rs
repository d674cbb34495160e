//! Layers: manifests that are there with a layer that is lost, and what judgements make of it.

use std::time::Duration;

use futures::future::join_all;
use landfall::facade::demo::world::content::Content;
use landfall::facade::demo::world::faults::{Fault, Redirect, Scope as Paths};
use landfall::facade::demo::world::seed::{self, Named};
use landfall::facade::demo::world::{
    Authorization, Descriptors, Embedded, Login, PathClass, Ranges, Reachable,
};
use landfall::facade::domain::case::{Place, Subject};
use landfall::facade::domain::digest::Digest;
use landfall::facade::domain::evidence::Layers;
use landfall::facade::domain::image::Repository;
use landfall::facade::domain::name::RegistryName;
use landfall::facade::domain::settings::Settings;
use landfall::facade::domain::unknown::Cause;
use landfall::facade::evidence::{Damage, Look, Pullable, Scope};
use reqwest::{Method, StatusCode};
use tokio::time::Instant;

use super::site::{Given, Site, asked, manifests, settings};
use super::support::metrics::name;
use super::support::wait::{HELD, later, until};

const BLOBS: Paths = Paths::Only(PathClass::Blobs);
const UNSCANNED: Given = Given {
    ams: "",
    route: "",
    edge: false,
    defaults: "{scan: {required: Never}}",
    budget: "{request: 10s, attempt: 5s, inFlight: 16}",
};

/// A site where scans do not matter.
async fn site() -> Site {
    Site::new(UNSCANNED).await
}

/// Where the image is at this registry.
fn place(site: &Site, registry: &str, image: Named) -> Place {
    let Subject::Routed(routed) = site.case(image).subject else { panic!("{image:?}") };
    routed.places.into_iter().find(|place| place.registry.name.as_str() == registry).unwrap()
}

fn ams() -> RegistryName {
    RegistryName::new("ams")
}

fn web() -> Repository {
    Repository::new(seed::PRESENT.repository)
}

fn held(site: &Site) -> Digest {
    site.demo.ams.store().digest(seed::PRESENT.repository, seed::PRESENT.tag).unwrap()
}

/// The same repository at all registries, so that only the name of the Place counts.
async fn look(site: &Site, look: Look) -> Layers {
    let place = place(site, "ams", seed::PRESENT);
    site.observatory.layers(&place, held(site), look, Instant::now() + HELD).await
}

fn cause(layers: Layers) -> Cause {
    let Layers::Unknown(unknown) = layers else { panic!("{layers:?}") };
    unknown.cause
}

/// How many requests for blobs there were, by HEAD and by GET.
fn blobs(at: &Embedded) -> (usize, usize) {
    let of = |method: Method| {
        at.log().iter().filter(|one| one.class == PathClass::Blobs && one.method == method).count()
    };
    (of(Method::HEAD), of(Method::GET))
}

/// The content of an image of the seed, pushed anew as this one.
fn push(site: &Site, content: &Content) -> Digest {
    site.demo.ams.store().push(seed::PRESENT.repository, seed::PRESENT.tag, content)
}

/// An image with three blobs, and its layer that is lost.
fn lost(site: &Site) -> Digest {
    let content = Content::image("lost").with_layer("one more");
    push(site, &content);
    let layer = content.blobs.last().unwrap().digest;
    site.demo.ams.store().lose_layer(seed::PRESENT.repository, &layer);
    layer
}

// Whole

#[tokio::test]
async fn an_image_is_whole_if_each_of_its_blobs_is_there() {
    let site = site().await;
    let content = Content::image("whole").with_layer("one more").with_foreign_layer("of somebody else");
    push(&site, &content);
    let bytes = content.blobs.iter().map(|blob| blob.bytes.len() as u64).sum::<u64>();
    let foreign = "of somebody else".len() as u64;
    assert_eq!(look(&site, Look::Sample).await, Layers::Complete { bytes });
    assert_ne!(foreign, 0);
    assert_eq!(asked(&site.demo.ams, PathClass::Blobs).len(), 3, "the foreign layer is not asked for");
    assert_eq!(blobs(&site.demo.ams), (2, 1), "one of them by its first byte");
    assert_eq!(manifests(&site.demo.ams), 2, "is it there, and what does it list");
    // What was seen a moment ago is not asked for again, but by its first byte, one at a time.
    for (heads, firsts) in [(2, 2), (2, 3), (2, 3)] {
        assert_eq!(look(&site, Look::Sample).await, Layers::Complete { bytes });
        assert_eq!(blobs(&site.demo.ams), (heads, firsts));
    }
    let read = site
        .demo
        .ams
        .log()
        .iter()
        .filter(|one| one.method == Method::GET && one.class == PathClass::Manifests)
        .count();
    assert_eq!(read, 1, "a Harbor counts each GET as a pull");
    // After `cache.present` it is.
    later(Duration::from_secs(601)).await;
    site.demo.ams.clear_log();
    assert_eq!(look(&site, Look::Sample).await, Layers::Complete { bytes });
    assert_eq!(blobs(&site.demo.ams), (2, 1));
    // And where something changed at the registry.
    site.observatory.invalidate(&ams(), Scope::Registry);
    assert_eq!(look(&site, Look::Deep).await, Layers::Complete { bytes });
    assert_eq!(blobs(&site.demo.ams), (2, 4));
    assert!(site.observatory.damages().is_empty());
    let looked = |result| site.metric(name::BLOBS, &[("registry", "ams"), ("result", result)]);
    assert_eq!((looked("Present"), looked("Absent")), (Some(11.0), None));
}

#[tokio::test]
async fn an_index_has_no_layers_of_its_own() {
    let site = site().await;
    let place = place(&site, "ams", seed::MULTI_ARCH);
    let (repository, tag) = (seed::MULTI_ARCH.repository, seed::MULTI_ARCH.tag);
    let digest = site.demo.ams.store().digest(repository, tag).unwrap();
    let told = site.observatory.layers(&place, digest, Look::Deep, Instant::now() + HELD).await;
    assert_eq!(told, Layers::Complete { bytes: 0 });
    assert_eq!(blobs(&site.demo.ams), (0, 0));
}

/// A GET would make it fetch the blob from its upstream.
#[tokio::test]
async fn a_proxy_cache_is_not_looked_at() {
    let site = site().await;
    let (repository, tag) = (seed::MISSING.repository, seed::MISSING.tag);
    let digest = site.demo.fra.store().digest(repository, tag).unwrap();
    let place = place(&site, "ams", seed::PROXIED);
    let told = site.observatory.layers(&place, digest, Look::Deep, Instant::now() + HELD).await;
    assert_eq!(cause(told), Cause::NotRegistry);
    let gets = site
        .demo
        .ams
        .log()
        .iter()
        .filter(|one| one.method == Method::GET && one.class != PathClass::Api)
        .count();
    assert_eq!((gets, blobs(&site.demo.ams)), (0, (0, 0)));
}

#[tokio::test]
async fn four_hundred_images_that_share_layers_ask_for_each_once() {
    let site = site().await;
    let images: Vec<Digest> = (0..400)
        .map(|n| {
            let content = Content::image(&format!("{n}")).with_layer("base").with_layer("runtime");
            site.demo.ams.store().push(seed::PRESENT.repository, &format!("v{n}"), &content)
        })
        .collect();
    let place = place(&site, "ams", seed::PRESENT);
    let looks = images
        .iter()
        .map(|digest| site.observatory.layers(&place, *digest, Look::Sample, Instant::now() + HELD));
    for told in join_all(looks).await {
        assert!(matches!(told, Layers::Complete { .. }), "{told:?}");
    }
    let asked = asked(&site.demo.ams, PathClass::Blobs);
    assert_eq!(asked.len(), 802, "two of each image, and the two that all share");
    // By HEAD at most once, and by its first byte at most once.
    let often = asked.values().filter(|times| **times > 2).count();
    assert_eq!(often, 0, "{asked:?}");
    let log = site.demo.ams.log();
    let mut heads: Vec<_> = log
        .iter()
        .filter(|one| one.class == PathClass::Blobs && one.method == Method::HEAD)
        .map(|one| &one.path)
        .collect();
    let all = heads.len();
    heads.sort();
    heads.dedup();
    assert_eq!(heads.len(), all);
    assert_eq!(manifests(&site.demo.ams), 800);
    assert!(site.demo.ams.peak_in_flight() <= 2, "an eighth of `inFlight`");
}

// Lost

#[tokio::test]
async fn a_lost_layer_is_known_to_judgements_at_once_and_until_it_is_back() {
    let site = site().await;
    let layer = lost(&site);
    let cases = [site.case(seed::PRESENT), {
        let image = format!("harbor.fra.example.com/{}@{}", seed::PRESENT.repository, held(&site));
        site.case_for(&image)
    }];
    assert_eq!(site.judged(&cases[1]).await, "Local(ams) []");
    let generation = site.observatory.generation();
    assert_eq!(look(&site, Look::Sample).await, Layers::Lost(layer));
    assert_ne!(site.observatory.generation(), generation, "cached verdicts end");
    let [damaged] = site.observatory.damages().try_into().unwrap();
    assert_eq!((damaged.digest, damaged.damage), (held(&site), Damage::LayerMissing(layer)));
    site.demo.ams.clear_log();
    for case in &cases {
        let shown = site.judged(case).await;
        assert!(shown.starts_with("Fallback(fra) [LayerMissing"), "{shown}");
    }
    assert_eq!(blobs(&site.demo.ams), (0, 0), "no Pod waits for layers");
    // Neither a push of the tag nor a notification mends it: a registry that has the manifest takes no layer again.
    site.observatory.invalidate(&ams(), Scope::Registry);
    assert!(site.judged(&cases[1]).await.contains("LayerMissing"));
    site.demo.ams.store().restore_layer(seed::PRESENT.repository, &layer);
    let generation = site.observatory.generation();
    assert!(matches!(look(&site, Look::Sample).await, Layers::Complete { .. }));
    assert_ne!(site.observatory.generation(), generation);
    assert_eq!(site.judged(&cases[1]).await, "Local(ams) []");
    assert!(site.observatory.damages().is_empty());
}

/// As a real Harbor was seen to answer: its cache knows the layer, and the storage does not.
#[tokio::test]
async fn a_layer_that_only_the_cache_of_descriptors_knows_is_lost() {
    let site = site().await;
    let layer = lost(&site);
    site.demo.ams.store().descriptors = Descriptors::Cache;
    // Each look samples another blob, and there are three.
    let mut looks = 0;
    while look(&site, Look::Sample).await != Layers::Lost(layer) {
        looks += 1;
        assert!(looks < 3);
    }
    // A look that is not as close does not find it whole.
    assert_eq!(look(&site, Look::Sample).await, Layers::Lost(layer));
    site.observatory.mended((&ams(), &web()), &held(&site));
    assert_eq!(look(&site, Look::Deep).await, Layers::Lost(layer));
}

/// The registry answers HEAD from its cache, and redirects to a storage that has lost the object.
#[tokio::test]
async fn a_storage_behind_a_redirect_tells() {
    let site = site().await;
    let content = Content::image("stored").with_layer("one more");
    let digest = push(&site, &content);
    let place = place(&site, "ams", seed::PRESENT);
    let storage = site.demo.world.plain("storage", Login::Open).await.unwrap();
    storage.store().push(place.repository.as_str(), "1", &content);
    let redirect = Fault::Redirect(Redirect::To(storage.url()));
    site.demo.ams.faults().add(BLOBS, redirect);
    let look = async || site.observatory.layers(&place, digest, Look::Deep, Instant::now() + HELD).await;
    assert!(matches!(look().await, Layers::Complete { .. }));
    assert!(storage.log().iter().all(|one| one.authorization == Authorization::Absent));
    // What the storage says of itself is not known of the registry, and stops nobody.
    later(Duration::from_secs(601)).await;
    for (status, expected) in [
        (403, Cause::Forbidden),
        (401, Cause::Forbidden),
        (503, Cause::ServerError),
        (429, Cause::ServerError),
    ] {
        let status = StatusCode::from_u16(status).unwrap();
        storage.faults().add(BLOBS, Fault::RetryAfter(status, 60));
        assert_eq!(cause(look().await), expected, "{status}");
        storage.faults().clear();
    }
    assert_eq!(site.judged(&site.case(seed::PRESENT)).await, "Local(ams) []");
    let layer = content.blobs.last().unwrap().digest;
    storage.store().lose_layer(place.repository.as_str(), &layer);
    assert_eq!(look().await, Layers::Lost(layer));
}

#[tokio::test]
async fn a_registry_that_knows_no_parts_tells_as_well() {
    let site = site().await;
    site.demo.ams.store().ranges = Ranges::Ignored;
    assert!(matches!(look(&site, Look::Deep).await, Layers::Complete { .. }));
    later(Duration::from_secs(601)).await;
    let layer = lost(&site);
    assert_eq!(look(&site, Look::Deep).await, Layers::Lost(layer));
    site.demo.ams.store().descriptors = Descriptors::Cache;
    assert_eq!(look(&site, Look::Deep).await, Layers::Lost(layer));
}

#[tokio::test]
async fn a_manifest_that_is_gone_has_no_damage() {
    let site = site().await;
    let digest = held(&site);
    let case = site.pinned(seed::PRESENT);
    assert_eq!(site.judged(&case).await, "Local(ams) []");
    site.demo.ams.store().delete(seed::PRESENT.repository, &digest);
    let place = place(&site, "ams", seed::PRESENT);
    let look = async || site.observatory.layers(&place, digest, Look::Sample, Instant::now() + HELD).await;
    assert_eq!(look().await, Layers::Absent);
    assert!(site.judged(&case).await.contains("Missing"), "what was known of its presence ended");
    // Deleted while we look: the list is known, the blobs are gone with the manifest.
    let content = Content::image("deleted");
    let digest = push(&site, &content);
    let look = async || site.observatory.layers(&place, digest, Look::Deep, Instant::now() + HELD).await;
    assert!(matches!(look().await, Layers::Complete { .. }));
    later(Duration::from_secs(601)).await;
    site.demo.ams.store().lose_layers(seed::PRESENT.repository, &digest);
    site.demo.ams.store().delete(seed::PRESENT.repository, &digest);
    assert_eq!(look().await, Layers::Absent);
    assert!(site.observatory.damages().is_empty());
}

// Not known

#[tokio::test]
async fn what_cannot_be_learned_is_never_lost() {
    let site = Site::new(Given { budget: "{request: 10s, attempt: 300ms, inFlight: 16}", ..UNSCANNED }).await;
    let faults = [
        Fault::Status(StatusCode::INTERNAL_SERVER_ERROR),
        Fault::Status(StatusCode::FORBIDDEN),
        Fault::Status(StatusCode::UNAUTHORIZED),
        Fault::Status(StatusCode::PRECONDITION_FAILED),
        Fault::Html(StatusCode::NOT_FOUND),
        Fault::Html(StatusCode::BAD_GATEWAY),
        Fault::HangUp,
        Fault::Reset,
        Fault::Truncate,
        Fault::Delay(Duration::from_secs(3600)),
        Fault::Redirect(Redirect::Loop),
        Fault::Redirect(Redirect::To("http://10.0.0.1".into())),
        Fault::Redirect(Redirect::To("https://127.0.0.1:1".into())),
    ];
    for fault in faults {
        for paths in [BLOBS, Paths::Only(PathClass::Manifests)] {
            for depth in [Look::Sample, Look::Deep] {
                let site = if paths == BLOBS { &site } else { &Site::new(UNSCANNED).await };
                if paths != BLOBS && matches!(fault, Fault::Delay(_) | Fault::HangUp) {
                    continue;
                }
                site.demo.ams.faults().add(paths, fault.clone());
                let told = look(site, depth).await;
                // A HEAD has no body that could be cut.
                let by_head = depth == Look::Sample && matches!(told, Layers::Complete { .. });
                assert!(matches!(told, Layers::Unknown(_)) || by_head, "{fault:?}: {told:?}");
                assert!(site.observatory.damages().is_empty(), "{fault:?}");
                site.demo.ams.faults().clear();
            }
        }
    }
    // Nor does it count against the registry: nodes may reach a storage that we do not.
    assert_eq!(site.judged(&site.case(seed::PRESENT)).await, "Local(ams) []");
    assert_eq!(site.metric(name::BREAKER, &[("registry", "ams")]), Some(0.0));
    // The registry's own parts.
    site.demo.ams.store().storage = Reachable::Down;
    assert!(matches!(look(&site, Look::Deep).await, Layers::Unknown(_)));
    site.demo.ams.store().storage = Reachable::Up;
    site.demo.ams.store().database = Reachable::Down;
    assert!(matches!(look(&site, Look::Deep).await, Layers::Unknown(_)));
    site.demo.ams.down().await;
    assert!(matches!(look(&site, Look::Deep).await, Layers::Unknown(_)));
    assert!(site.observatory.damages().is_empty());
}

#[tokio::test]
async fn a_registry_that_asks_us_to_wait_is_left_alone() {
    let site = site().await;
    site.demo.ams.faults().add(BLOBS, Fault::RetryAfter(StatusCode::TOO_MANY_REQUESTS, 60));
    assert!(matches!(cause(look(&site, Look::Sample).await), Cause::RateLimited { .. }));
    let asked = site.demo.ams.log().len();
    for _ in 0..3 {
        assert!(matches!(cause(look(&site, Look::Deep).await), Cause::RateLimited { .. }));
    }
    assert_eq!(site.demo.ams.log().len(), asked);
    later(Duration::from_secs(61)).await;
    site.demo.ams.faults().clear();
    assert!(matches!(look(&site, Look::Deep).await, Layers::Complete { .. }));
}

#[tokio::test]
async fn a_drained_registry_is_not_looked_at_and_a_look_ends_at_its_deadline() {
    let site = Site::new(Given { ams: "drain: true", ..UNSCANNED }).await;
    assert_eq!(cause(look(&site, Look::Deep).await), Cause::Drained);
    assert!(site.demo.ams.log().is_empty());
    let site = Site::patient(UNSCANNED).await;
    site.demo.ams.freeze().await;
    let place = place(&site, "ams", seed::PRESENT);
    let deadline = Instant::now() + Duration::from_millis(100);
    let told = site.observatory.layers(&place, held(&site), Look::Sample, deadline).await;
    assert_eq!(cause(told), Cause::Deadline);
    site.demo.ams.up().await;
    // Who looks takes no permit with him.
    until("it may be asked again", || site.demo.ams.in_flight() == 0).await;
    assert!(matches!(look(&site, Look::Deep).await, Layers::Complete { .. }));
}

// Damage

#[tokio::test]
async fn damage_stands_until_it_is_mended_or_the_registry_is_another() {
    let site = site().await;
    let (case, digest) = (site.pinned(seed::PRESENT), held(&site));
    let seen = "2026-11-27T12:00:00Z".parse().unwrap();
    site.observatory.damage((&RegistryName::new("nowhere"), &web()), digest, Damage::PullFailed, seen);
    assert!(site.observatory.damages().is_empty());
    site.observatory.damage((&ams(), &web()), digest, Damage::PullFailed, seen);
    let [damaged] = site.observatory.damages().try_into().unwrap();
    assert_eq!(damaged.seen, seen);
    assert!(site.judged(&case).await.contains("PullFailed"));
    let adopt = |given| {
        let settings: Settings = settings(&site.demo, given);
        site.observatory.adopt(&settings);
    };
    adopt(Given { route: "    tagProof: Required", ..UNSCANNED });
    assert!(site.judged(&case).await.contains("PullFailed"), "the registry is the same");
    adopt(Given { ams: "requestsPerHour: 100000", ..UNSCANNED });
    assert_eq!(site.judged(&case).await, "Local(ams) []");
    assert!(site.observatory.damages().is_empty());
    site.observatory.damage((&ams(), &web()), digest, Damage::PullFailed, seen);
    site.observatory.mended((&ams(), &web()), &digest);
    assert_eq!(site.judged(&case).await, "Local(ams) []");
}

#[tokio::test]
async fn what_a_node_reports_is_looked_at_and_only_what_is_found_counts() {
    let site = site().await;
    let (case, digest) = (site.pinned(seed::PRESENT), held(&site));
    let place = place(&site, "ams", seed::PRESENT);
    let pullable = async || site.observatory.pullable(&place, digest, Instant::now() + HELD).await;
    assert_eq!(pullable().await, Pullable::Yes);
    let firsts = blobs(&site.demo.ams);
    assert_eq!(pullable().await, Pullable::Yes);
    assert_eq!(blobs(&site.demo.ams).1, 2 * firsts.1, "nothing that was seen before counts");
    site.demo.ams.faults().add(BLOBS, Fault::Status(StatusCode::INTERNAL_SERVER_ERROR));
    assert!(matches!(pullable().await, Pullable::Unknown(_)));
    assert_eq!(site.judged(&case).await, "Local(ams) []");
    site.demo.ams.faults().clear();
    // Refused for good, and twice.
    site.demo.ams.faults().add(BLOBS, Fault::Status(StatusCode::GONE));
    assert_eq!(pullable().await, Pullable::Damaged(Damage::PullFailed));
    assert!(site.judged(&case).await.contains("PullFailed"));
    site.demo.ams.faults().clear();
    assert!(matches!(look(&site, Look::Sample).await, Layers::Complete { .. }));
    assert_eq!(site.judged(&case).await, "Local(ams) []");
    let layer = {
        let content = Content::image("pulled");
        push(&site, &content);
        let layer = content.blobs.last().unwrap().digest;
        site.demo.ams.store().lose_layer(seed::PRESENT.repository, &layer);
        layer
    };
    let told = site.observatory.pullable(&place, held(&site), Instant::now() + HELD).await;
    assert_eq!(told, Pullable::Damaged(Damage::LayerMissing(layer)));
    site.demo.ams.store().delete(seed::PRESENT.repository, &digest);
    assert_eq!(pullable().await, Pullable::Absent);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damage_that_comes_and_goes_while_many_judge_leaves_nothing_behind() {
    let site = std::sync::Arc::new(site().await);
    let layer = lost(&site);
    let looks = (0..40).map(|n| {
        let site = site.clone();
        tokio::spawn(async move {
            if n % 2 == 0 {
                assert_eq!(look(&site, Look::Deep).await, Layers::Lost(layer));
            } else {
                let case = site.pinned(seed::MULTI_ARCH);
                assert_eq!(site.judged(&case).await, "Local(ams) []");
            }
        })
    });
    for look in join_all(looks).await {
        look.unwrap();
    }
    site.demo.ams.store().restore_layer(seed::PRESENT.repository, &layer);
    let looks = join_all((0..10).map(|_| look(&site, Look::Sample))).await;
    assert!(looks.iter().all(|told| matches!(told, Layers::Complete { .. })), "{looks:?}");
    assert!(site.observatory.damages().is_empty());
}
