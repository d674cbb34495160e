//! Facts of single copies, over real HTTP: what a replica lacks beside its primary, what keeps a copy, how late it came.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use landfall::facade::demo::world::content::Content;
use landfall::facade::demo::world::faults::{Fault, Scope as Paths};
use landfall::facade::demo::world::seed;
use landfall::facade::demo::world::{Account, Namespace, PathClass, Permission};
use landfall::facade::domain::case::{Case, Subject};
use landfall::facade::domain::digest::Digest;
use landfall::facade::domain::facts::{Facts, Held, lag, missing_accessories, untagged};
use landfall::facade::domain::unknown::{Cause, Unknown};
use landfall::facade::evidence::CopyFacts;
use tokio::time::Instant;

use super::site::{Given, Site};
use super::support::wait::{HELD, ends};

/// Asks one of the Places of a Case: `fra`, `ams`, `edge`.
async fn asked(site: &Site, case: &Case, registry: &str, digest: &Digest) -> Result<CopyFacts, Unknown> {
    let Subject::Routed(routed) = &case.subject else { panic!("{case:?}") };
    let mut places = routed.iter().map(|(_, place)| place);
    let place = places.find(|place| place.registry.name.to_string() == registry).unwrap();
    site.observatory.facts(place, digest, Instant::now() + HELD).await
}

async fn known(site: &Site, case: &Case, registry: &str, digest: &Digest) -> Facts {
    match asked(site, case, registry, digest).await {
        Ok(CopyFacts::Known(facts)) => facts,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_signature_that_was_not_replicated() {
    let site = Site::new(Given::default()).await;
    let (case, repository) = (site.case(seed::PRESENT), seed::PRESENT.repository);
    let digest = site.demo.fra.store().digest(repository, seed::PRESENT.tag).unwrap();
    let missing = async || {
        let (primary, here) =
            (known(&site, &case, "fra", &digest).await, known(&site, &case, "ams", &digest).await);
        let missing = missing_accessories(&primary, &here);
        missing.into_iter().map(|one| one.kind.to_string()).collect::<Vec<_>>()
    };
    assert!(missing().await.is_empty());
    let notation = Content::image("a notation signature").digest;
    site.demo.fra.store().sign(repository, &digest);
    site.demo.fra.store().attach(repository, &digest, "signature.notation", notation);
    assert_eq!(missing().await, ["signature.cosign", "signature.notation"]);
    site.demo.ams.store().sign(repository, &digest);
    assert_eq!(missing().await, ["signature.notation"]);
    site.demo.ams.store().attach(repository, &digest, "signature.notation", notation);
    assert!(missing().await.is_empty());
    site.demo.ams.store().detach(repository, &digest);
    assert_eq!(missing().await, ["signature.cosign", "signature.notation"], "lost again");
}

#[tokio::test]
async fn what_keeps_a_copy() {
    let site = Site::new(Given::default()).await;
    let (case, repository) = (site.case(seed::PRESENT), seed::PRESENT.repository);
    let digest = site.demo.ams.store().digest(repository, seed::PRESENT.tag).unwrap();
    let facts = known(&site, &case, "ams", &digest).await;
    assert_eq!(facts.held, Held::Tags(vec![seed::PRESENT.tag.into()]));
    site.demo.ams.store().untag(repository, seed::PRESENT.tag);
    assert!(untagged(&known(&site, &case, "ams", &digest).await));
    // A child of an index has no tag, and is kept.
    let index = site.case(seed::MULTI_ARCH);
    let content = Content::index_with_attestation("shop/api 2.0.0", &["linux/amd64", "linux/arm64"]);
    let child = content.child("linux/arm64").unwrap().digest;
    assert_eq!(known(&site, &index, "ams", &child).await.held, Held::ByAnother);
    // Without the right to list nobody can tell.
    let may: Vec<_> = Permission::ALL.into_iter().filter(|one| *one != Permission::ArtifactList).collect();
    site.demo.ams.store().add_account(Account::robot("landfall", Namespace::All, &may));
    assert_eq!(known(&site, &case, "ams", &digest).await.held, Held::Untold);
}

#[tokio::test]
async fn how_late_a_copy_came() {
    let site = Site::new(Given::default()).await;
    let (case, repository) = (site.case(seed::PRESENT), seed::PRESENT.repository);
    let digest = site.demo.ams.store().digest(repository, seed::PRESENT.tag).unwrap();
    let pushed: Timestamp = "2026-07-01T10:00:00Z".parse().unwrap();
    site.demo.fra.store().set_pushed(repository, &digest, pushed);
    for (after, expected) in
        [(0, Some(0)), (2_500, Some(2_500)), (86_400_000, Some(86_400_000)), (-1_000, None)]
    {
        site.demo.ams.store().set_pushed(repository, &digest, pushed + SignedDuration::from_millis(after));
        let (primary, here) =
            (known(&site, &case, "fra", &digest).await, known(&site, &case, "ams", &digest).await);
        assert_eq!(lag(&primary, &here), expected.map(Duration::from_millis), "{after} ms");
    }
}

#[tokio::test]
async fn a_copy_that_is_not_there_and_a_registry_that_says_nothing() {
    let site = Site::new(Given { edge: true, ..Given::default() }).await;
    let (case, repository) = (site.case(seed::MISSING), seed::MISSING.repository);
    let digest = site.demo.fra.store().digest(repository, seed::MISSING.tag).unwrap();
    assert!(matches!(asked(&site, &case, "fra", &digest).await, Ok(CopyFacts::Known(_))));
    assert_eq!(asked(&site, &case, "ams", &digest).await, Ok(CopyFacts::Absent));
    assert_eq!(asked(&site, &case, "edge", &digest).await, Ok(CopyFacts::Plain));
    let refused = Account::robot("landfall", Namespace::All, &[Permission::Pull]);
    site.demo.fra.store().add_account(refused);
    let unknown = asked(&site, &case, "fra", &digest).await.unwrap_err();
    assert_eq!(unknown.cause, Cause::Forbidden, "a missing right is not absence");
}

#[tokio::test]
async fn a_harbor_that_fails_is_left_alone_and_one_that_hangs_keeps_nobody() {
    let site = Site::new(Given::default()).await;
    let case = site.case(seed::PRESENT);
    let digest = site.demo.ams.store().digest(seed::PRESENT.repository, seed::PRESENT.tag).unwrap();
    let status = reqwest::StatusCode::INTERNAL_SERVER_ERROR;
    site.demo.ams.faults().add(Paths::Only(PathClass::Api), Fault::Status(status));
    let before = site.demo.ams.log().len();
    for _ in 0..50 {
        asked(&site, &case, "ams", &digest).await.unwrap_err();
    }
    let unknown = asked(&site, &case, "ams", &digest).await.unwrap_err();
    assert_eq!(unknown.cause, Cause::BreakerOpen);
    let requests = site.demo.ams.log().len() - before;
    assert!(requests < 25, "the breaker counts these questions, too: {requests} requests");
    site.demo.fra.freeze().await;
    let Subject::Routed(routed) = &case.subject else { panic!() };
    let (_, primary) = routed.primary().unwrap();
    let at_once = Instant::now() + Duration::from_millis(50);
    let late = site.observatory.facts(primary, &digest, at_once);
    assert_eq!(ends("it ends at the deadline", late).await.unwrap_err().cause, Cause::Deadline);
}
