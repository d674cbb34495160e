//! Somebody else's trouble: what one tenant's images do to a registry is not what another's meet.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use axum::http::StatusCode;
use futures::FutureExt;
use futures::future::join_all;
use landfall::facade::demo::world::Scan;
use landfall::facade::demo::world::content::Content;
use landfall::facade::demo::world::faults::{Fault, Scope};

use super::{As, BLOCKS, forbidden, images, is_denied, pod, start, under};
use crate::pods::ashore;

/// Longer than any test may take.
const HELD: Duration = Duration::from_secs(3600);

#[tokio::test(flavor = "multi_thread")]
async fn the_trouble_of_one_project_is_not_that_of_another() {
    let again = |status| Fault::RetryAfter(status, 300);
    let mut met = Vec::new();
    for (n, (what, scope, fault)) in [
        ("500 to a project", "team/", Some(Fault::Status(StatusCode::INTERNAL_SERVER_ERROR))),
        ("503 to a project", "team/", Some(again(StatusCode::SERVICE_UNAVAILABLE))),
        ("429 to a project", "team/", Some(again(StatusCode::TOO_MANY_REQUESTS))),
        ("429 to a repository", "team/app0/", Some(again(StatusCode::TOO_MANY_REQUESTS))),
        ("a project that is not there", "team", None),
        ("a project is hung up on", "team/", Some(Fault::HangUp)),
        ("a project of wrong digests", "team/", Some(Fault::WrongDigest)),
        ("a slow project", "team/", Some(Fault::Delay(HELD))),
    ]
    .into_iter()
    .enumerate()
    {
        if AssertUnwindSafe(comes_ashore_beside(n, scope, fault)).catch_unwind().await.is_err() {
            met.push(what);
        }
    }
    assert!(met.is_empty(), "these are others' trouble, too: {met:?}");
}

/// While a tenant's Pods meet this, the images of another are judged as ever.
async fn comes_ashore_beside(n: usize, scope: &'static str, fault: Option<Fault>) {
    let namespaces = ["trouble", "others", "others-free"].map(|name| format!("tenant-{name}-{n}"));
    let [theirs, ours, free] = [0, 1, 2].map(|n| &*namespaces[n]);
    let landfall = start(&[theirs, ours, free], |demo| {
        let team = "routes:\n  - name: team\n    primary: {registry: fra, repositories: \"team/**\"}\n    \
                    replicas: [{registry: ams, namespace: \"\"}]\n";
        under(demo, &[(theirs, BLOCKS), (ours, BLOCKS)]).replace("routes:\n", team)
    })
    .await;
    for n in 0..8 {
        for repository in [format!("production/shop/fresh{n}"), format!("team/app{n}")] {
            for harbor in [&landfall.demo.fra, &landfall.demo.ams] {
                let mut store = harbor.store();
                let digest = store.push(&repository, "1", &Content::image(&repository));
                store.set_scan(&digest, Scan::clean());
            }
        }
    }
    match fault {
        // A Harbor answers 401 to that.
        None => landfall.demo.ams.store().remove_project(scope),
        Some(fault) => landfall.demo.ams.faults().add(Scope::ManifestsOf(scope), fault),
    }
    let tenant = As::tenant();
    // What has failed already, and what fails or waits while the others come.
    for n in 0..12 {
        let image = format!("harbor.fra.example.com/team/app{}:1", n % 8);
        tenant.would_create(theirs, &pod("one", &[&image])).await;
    }
    let many = |n: usize| {
        let images: Vec<_> = (0..40).map(|at| format!("harbor.fra.example.com/team/app{at}:v{n}")).collect();
        pod("many", &images.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let many: Vec<_> = (0..8).map(many).collect();
    let meanwhile = join_all(many.iter().map(|pod| tenant.would_create(theirs, pod)));
    let meet = async {
        for n in 0..8 {
            let image = format!("harbor.fra.example.com/production/shop/fresh{n}:1");
            let stored = images([ours, free][n % 2], "fresh", &pod(&format!("fresh-{n}"), &[&image])).await;
            assert_eq!(stored, [ashore(&landfall, &image)]);
            let said = is_denied(ours, "forbidden", &pod("forbidden", &[&forbidden()])).await;
            assert!(said.denied().contains("Vulnerable at ams"), "{}", said.denied());
        }
    };
    tokio::join!(meanwhile, meet);
}
