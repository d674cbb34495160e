//! The world of the demo and the stories: Frankfurt is the primary, Amsterdam its replica, with an edge registry at its site.
//!
//! Both Harbors hold `production/**` and `regulated/**` under the same names (Amsterdam's rules have the namespaces
//! `production` and `regulated` with "flatten 1"); the edge holds a few of the same paths. [`Named`] lists the images and
//! what is wrong with each. The seed has put the copies there: nothing replicates here.

use serde_json::Value;

use super::content::{Content, Flavour};
use super::{Embedded, Login, Scan, Store, World, WorldError};
use crate::domain::digest::Digest;
use crate::domain::registry::Host;
use crate::domain::scan::Severity;

/// The three registries of the demo, seeded.
pub struct Demo {
    /// Folder and authority. It must outlive everything that uses the registries.
    pub world: World,
    /// Frankfurt: Harbor, the primary.
    pub fra: Embedded,
    /// Amsterdam: Harbor, the local replica.
    pub ams: Embedded,
    /// The edge: a plain registry on the site of Amsterdam.
    pub edge: Embedded,
}

/// An image of the seed: its repository (the same in every registry) and its tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Named {
    /// The repository.
    pub repository: &'static str,
    /// The tag.
    pub tag: &'static str,
}

const fn named(repository: &'static str, tag: &'static str) -> Named {
    Named { repository, tag }
}

/// Present and scanned clean on both Harbors, and on the edge; one platform.
pub const PRESENT: Named = named("production/shop/web", "1.4.2");
/// Present and scanned clean on both Harbors; an index for amd64 and arm64 with an attestation.
pub const MULTI_ARCH: Named = named("production/shop/api", "2.0.0");
/// Only at the primary.
pub const MISSING: Named = named("production/shop/checkout", "5.0.0");
/// The primary's tag has moved; Amsterdam's still names the old digest.
pub const MOVED: Named = named("production/shop/cart", "stable");
/// Present in Amsterdam, never scanned there.
pub const UNSCANNED: Named = named("production/shop/search", "0.9.0");
/// Present in Amsterdam, its scan is running.
pub const SCANNING: Named = named("production/shop/mail", "1.1.0");
/// Present in Amsterdam, its scan failed.
pub const SCAN_FAILED: Named = named("production/shop/report", "3.2.1");
/// Present and scanned on both: one High ([`HIGH_CVE`]) and one Critical ([`CRITICAL_CVE`]).
pub const VULNERABLE: Named = named("production/legacy/billing", "1.0.7");
/// An index whose arm64 child Amsterdam's storage has lost.
pub const CHILD_LOST: Named = named("production/shop/render", "4.0.0");
/// In a project with "prevent vulnerable images" from High on: Harbor answers 412 to every pull.
pub const REFUSED: Named = named("regulated/payments/ledger", "7.3.0");
/// Not copied to Amsterdam, but available through its proxy-cache project.
pub const PROXIED: Named = named("cache/production/shop/checkout", "5.0.0");

/// The High vulnerability of [`VULNERABLE`] and [`REFUSED`].
pub const HIGH_CVE: &str = "CVE-2026-1001";
/// The Critical vulnerability of [`VULNERABLE`].
pub const CRITICAL_CVE: &str = "CVE-2026-1002";

const PLATFORMS: [&str; 2] = ["linux/amd64", "linux/arm64"];

/// Starts and seeds the demo's world.
///
/// # Errors
/// If a registry cannot be started.
pub async fn demo() -> Result<Demo, WorldError> {
    demo_in(World::new()?).await
}

/// Starts the demo's registries in this world, and seeds them.
///
/// # Errors
/// If a registry cannot be started.
pub async fn demo_in(world: World) -> Result<Demo, WorldError> {
    let fra = world.harbor("fra").await?;
    let ams = world.harbor("ams").await?;
    let edge = world.plain("edge", Login::basic("edge", "edge-Secret1")).await?;
    fill(&mut fra.store());
    fill(&mut ams.store());
    trouble(&mut ams.store());
    ams.proxy(&world, "cache", &fra)?;
    for (name, content) in [(PRESENT, present()), (MULTI_ARCH, multi_arch())] {
        edge.store().push(name.repository, name.tag, &content);
    }
    move_on(&mut fra.store());
    Ok(Demo { world, fra, ams, edge })
}

/// The content of [`PRESENT`].
#[must_use]
pub fn present() -> Content {
    Content::image("shop/web 1.4.2")
}

fn multi_arch() -> Content {
    Content::index_with_attestation("shop/api 2.0.0", &PLATFORMS)
}

/// What both Harbors hold if replication and scans have worked.
fn fill(store: &mut Store) {
    let bad = || Scan::found(&[(HIGH_CVE, Severity::High), (CRITICAL_CVE, Severity::Critical)]);
    let high = || Scan::found(&[(HIGH_CVE, Severity::High)]);
    let seed = |name: Named| Content::image(&format!("{} {}", name.repository, name.tag));
    for (name, content, scan) in [
        (PRESENT, present(), Scan::clean()),
        (MULTI_ARCH, multi_arch(), Scan::clean()),
        (MISSING, seed(MISSING), Scan::clean()),
        (MOVED, Content::image("shop/cart, the old one"), Scan::clean()),
        (UNSCANNED, seed(UNSCANNED), Scan::clean()),
        (SCANNING, seed(SCANNING), Scan::clean()),
        (SCAN_FAILED, seed(SCAN_FAILED), Scan::clean()),
        (VULNERABLE, seed(VULNERABLE), bad()),
        (CHILD_LOST, Content::index("shop/render", Flavour::Oci, &PLATFORMS), Scan::clean()),
        (REFUSED, seed(REFUSED), high()),
    ] {
        let digest = store.push(name.repository, name.tag, &content);
        store.set_scan(&digest, scan);
    }
    store.project("regulated").prevent_vul = Some(Severity::High);
}

/// What is different in Amsterdam.
fn trouble(store: &mut Store) {
    store.delete_repository(MISSING.repository);
    let now = jiff::Timestamp::now();
    for (name, scan) in
        [(UNSCANNED, Scan::NotScanned), (SCANNING, Scan::Running(now)), (SCAN_FAILED, Scan::Error(now))]
    {
        if let Some(digest) = store.digest(name.repository, name.tag) {
            store.set_scan(&digest, scan);
        }
    }
    let index = Content::index("shop/render", Flavour::Oci, &PLATFORMS);
    if let Some(child) = index.child("linux/arm64") {
        store.lose(CHILD_LOST.repository, &child.digest);
    }
}

/// What was pushed to Frankfurt afterwards.
fn move_on(store: &mut Store) {
    let digest = store.push(MOVED.repository, MOVED.tag, &Content::image("shop/cart, the new one"));
    store.set_scan(&digest, Scan::clean());
}

/// Puts every image of `host` that these admission reviews (JSON bodies) name into `store`, under the same path and scanned
/// clean, and returns their number. A digest in a review is stored as described at [`Store::claim`].
///
/// # Errors
/// If a body is not JSON.
pub fn hold_reviewed(store: &mut Store, host: &str, reviews: &[&str]) -> Result<usize, serde_json::Error> {
    let mut images = std::collections::BTreeSet::new();
    for review in reviews {
        let review: Value = serde_json::from_str(review)?;
        collect(&review, &mut images);
    }
    let host = Host::fold(host);
    let paths = images.iter().filter_map(|image| {
        let (of, path) = image.split_once('/')?;
        (Host::fold(of) == host).then_some(path)
    });
    Ok(paths.filter_map(|path| hold(store, path)).count())
}

/// Puts one image, `repository[:tag][@digest]`, into the store; `None` if the text has another form.
fn hold(store: &mut Store, path: &str) -> Option<()> {
    let (name, digest) = match path.split_once('@') {
        Some((name, digest)) => (name, Some(digest.parse::<Digest>().ok()?)),
        None => (path, None),
    };
    let (repository, tag) = match name.split_once(':') {
        Some((repository, tag)) => (repository, Some(tag)),
        None => (name, None),
    };
    let content = Content::image(path);
    let held = match digest {
        Some(digest) => {
            // A tag beside a digest is only a comment. If it exists already, it stays as it is.
            store.claim(repository, None, digest, &content);
            digest
        }
        None => store.push(repository, tag.unwrap_or("latest"), &content),
    };
    store.set_scan(&held, Scan::clean());
    Some(())
}

/// Every string under a key `image` or `reference`, anywhere in the review.
fn collect(value: &Value, into: &mut std::collections::BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                match value {
                    Value::String(text) if key == "image" || key == "reference" => {
                        into.insert(text.clone());
                    }
                    _ => collect(value, into),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, into)),
        _ => {}
    }
}
