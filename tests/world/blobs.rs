//! Blobs: parts of them, and those whose objects are lost.

use landfall::facade::demo::world::content::{Content, sha256};
use landfall::facade::demo::world::faults::{Fault, Redirect, Scope};
use landfall::facade::demo::world::{Descriptors, Embedded, Login, PathClass, Ranges, World};
use reqwest::{Method, Response};

use super::ask::{as_robot, client, header, with_redirects};

/// Asks for a blob, for a part of it if `range` is not empty.
async fn blob(client: &reqwest::Client, at: &Embedded, method: Method, path: &str, range: &str) -> Response {
    let ask = as_robot(client.request(method, format!("{}/v2/{path}", at.url())));
    let ask = if range.is_empty() { ask } else { ask.header("range", range) };
    ask.send().await.unwrap()
}

#[tokio::test]
async fn a_part_of_a_blob_is_served_unless_the_registry_knows_no_parts() {
    let world = World::new().unwrap();
    let client = client(&world);
    let image = Content::image("app");
    let layer = image.blobs.last().unwrap();
    let (harbor, plain) =
        (world.harbor("harbor").await.unwrap(), world.plain("plain", Login::Open).await.unwrap());
    for at in [&harbor, &plain] {
        at.store().push("team/app", "v1", &image);
        let path = format!("team/app/blobs/{}", layer.digest);
        let size = layer.bytes.len();
        let first = blob(&client, at, Method::GET, &path, "bytes=0-0").await;
        assert_eq!(first.status(), 206);
        assert_eq!(header(&first, "content-range"), Some(format!("bytes 0-0/{size}").as_str()));
        assert_eq!(first.bytes().await.unwrap(), layer.bytes.slice(..1));
        let rest = blob(&client, at, Method::GET, &path, "bytes=3-").await;
        assert_eq!(rest.bytes().await.unwrap(), layer.bytes.slice(3..));
        let beyond = blob(&client, at, Method::GET, &path, &format!("bytes={size}-")).await;
        assert_eq!(beyond.status(), 416);
        assert_eq!(header(&beyond, "content-range"), Some(format!("bytes */{size}").as_str()));
        let head = blob(&client, at, Method::HEAD, &path, "bytes=0-0").await;
        assert_eq!(head.status(), 200);
        assert_eq!(header(&head, "content-length"), Some(size.to_string().as_str()));
        at.store().ranges = Ranges::Ignored;
        let whole = blob(&client, at, Method::GET, &path, "bytes=0-0").await;
        assert_eq!(whole.status(), 200);
        assert_eq!(sha256(&whole.bytes().await.unwrap()), layer.digest);
    }
}

/// As a real Harbor was seen to answer (p04 to p07 of the recordings).
#[tokio::test]
async fn a_lost_layer_is_announced_while_the_cache_of_descriptors_knows_it() {
    let world = World::new().unwrap();
    let client = client(&world);
    let image = Content::image("app");
    let layer = image.blobs.last().unwrap();
    let harbor = world.harbor("harbor").await.unwrap();
    harbor.store().push("team/app", "v1", &image);
    harbor.store().lose_layer("team/app", &layer.digest);
    let path = format!("team/app/blobs/{}", layer.digest);
    for method in [Method::HEAD, Method::GET] {
        assert_eq!(blob(&client, &harbor, method, &path, "").await.status(), 404);
    }
    harbor.store().descriptors = Descriptors::Cache;
    assert_eq!(blob(&client, &harbor, Method::HEAD, &path, "").await.status(), 200);
    for (range, status) in [("", 200), ("bytes=0-0", 206)] {
        let mut announced = blob(&client, &harbor, Method::GET, &path, range).await;
        assert_eq!(announced.status(), status);
        assert!(announced.content_length().unwrap() > 0);
        assert!(announced.chunk().await.is_err(), "no byte of it is sent");
    }
    harbor.store().restore_layer("team/app", &layer.digest);
    let found = blob(&client, &harbor, Method::GET, &path, "").await;
    assert_eq!(sha256(&found.bytes().await.unwrap()), layer.digest);
    harbor.store().lose_layers("team/app", &image.digest);
    harbor.store().descriptors = Descriptors::Storage;
    for blob_of in &image.blobs {
        let path = format!("team/app/blobs/{}", blob_of.digest);
        assert_eq!(blob(&client, &harbor, Method::GET, &path, "").await.status(), 404);
    }
    harbor.store().push("team/app", "v1", &image);
    assert_eq!(blob(&client, &harbor, Method::GET, &path, "").await.status(), 200, "pushed again");
}

#[tokio::test]
async fn a_blob_may_be_behind_a_redirect_to_a_storage() {
    let world = World::new().unwrap();
    let client = with_redirects(&world, reqwest::redirect::Policy::limited(3));
    let image = Content::image("app");
    let layer = image.blobs.last().unwrap();
    let (harbor, storage) =
        (world.harbor("harbor").await.unwrap(), world.plain("storage", Login::Open).await.unwrap());
    for at in [&harbor, &storage] {
        at.store().push("team/app", "v1", &image);
    }
    let redirect = Fault::Redirect(Redirect::To(storage.url()));
    harbor.faults().add(Scope::Only(PathClass::Blobs), redirect);
    let path = format!("team/app/blobs/{}", layer.digest);
    let found = blob(&client, &harbor, Method::GET, &path, "bytes=0-0").await;
    assert_eq!((found.status().as_u16(), found.url().port()), (206, Some(storage.address().port())));
    storage.store().lose_layer("team/app", &layer.digest);
    assert_eq!(blob(&client, &harbor, Method::GET, &path, "bytes=0-0").await.status(), 404);
}
