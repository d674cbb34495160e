//! Every fault, met by a client over a real socket.

use std::error::Error;
use std::time::Duration;

use landfall::facade::demo::world::content::Content;
use landfall::facade::demo::world::faults::{Fault, Redirect, Scope};
use landfall::facade::demo::world::{Authorization, Certificate, Embedded, Login, PathClass, World};
use reqwest::{Client, Method, StatusCode, redirect};

use super::ask::{client, header, manifest, with_redirects};
use super::support::wait::{HELD, ends, later, until};

const PATH: &str = "team/app/manifests/v1";

async fn registry() -> (World, Embedded, Client) {
    let world = World::new().unwrap();
    let registry = world.plain("plain", Login::Open).await.unwrap();
    registry.store().push("team/app", "v1", &Content::image("app"));
    let client = client(&world);
    (world, registry, client)
}

async fn status(client: &Client, at: &Embedded) -> u16 {
    manifest(client, Method::HEAD, at, PATH).send().await.unwrap().status().as_u16()
}

/// The kind of the innermost I/O error.
fn io_kind(error: &(dyn Error + 'static)) -> Option<std::io::ErrorKind> {
    let own = error.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
    error.source().and_then(io_kind).or(own)
}

#[tokio::test]
async fn down_refuses_and_up_is_the_same_port() {
    let (_world, registry, client) = registry().await;
    let address = registry.address();
    for _ in 0..3 {
        assert_eq!(status(&client, &registry).await, 200);
        registry.down().await;
        let refused = manifest(&client, Method::HEAD, &registry, PATH).send().await.unwrap_err();
        assert!(refused.is_connect(), "{refused:?}");
        assert_eq!(io_kind(&refused), Some(std::io::ErrorKind::ConnectionRefused));
        registry.up().await;
        assert_eq!(registry.address(), address);
    }
    assert_eq!(status(&client, &registry).await, 200);
}

#[tokio::test]
async fn dropping_the_handle_ends_the_registry() {
    let (_world, registry, client) = registry().await;
    assert_eq!(status(&client, &registry).await, 200);
    let url = format!("{}/v2/", registry.url());
    drop(registry);
    // The task is cancelled at its next step; from then on the port is closed.
    let closed = async {
        while client.get(&url).send().await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), closed).await.unwrap();
}

#[tokio::test]
async fn frozen_says_nothing_until_it_thaws() {
    let (_world, registry, client) = registry().await;
    assert_eq!(status(&client, &registry).await, 200);
    registry.freeze().await;
    // Over the connection that is open, and over a new one.
    for client in [client.clone(), super::ask::client(&_world)] {
        let ask = manifest(&client, Method::HEAD, &registry, PATH).timeout(Duration::from_millis(200));
        assert!(ask.send().await.unwrap_err().is_timeout());
    }
    let waiting = tokio::spawn(manifest(&client, Method::HEAD, &registry, PATH).send());
    tokio::task::yield_now().await;
    registry.up().await;
    assert_eq!(waiting.await.unwrap().unwrap().status(), 200);
}

#[tokio::test]
async fn delay_and_pace_take_their_time() {
    let (_world, registry, client) = registry().await;
    registry.faults().add(Scope::Only(PathClass::Manifests), Fault::Delay(HELD));
    let held = tokio::spawn(manifest(&client, Method::HEAD, &registry, PATH).send());
    until("the request has come", || registry.in_flight() == 1).await;
    let root = client.get(format!("{}/v2/", registry.url())).send().await.unwrap();
    assert_eq!((root.status().as_u16(), held.is_finished()), (200, false), "of another class");
    later(HELD).await;
    assert_eq!(ends("the delay", held).await.unwrap().unwrap().status(), 200);

    registry.faults().clear();
    registry.faults().add(Scope::Everything, Fault::Pace(1));
    registry.clear_log();
    let asked: Vec<_> =
        (0..10).map(|_| tokio::spawn(manifest(&client, Method::HEAD, &registry, PATH).send())).collect();
    until("all have come", || registry.log().len() == 10).await;
    let answered = || registry.log().iter().filter(|request| request.status.is_some()).count();
    assert!(answered() < 10, "ten at one a second");
    assert!(registry.peak_in_flight() > 1, "they wait together");
    later(Duration::from_secs(10)).await;
    for asked in asked {
        assert_eq!(ends("the pace", asked).await.unwrap().unwrap().status(), 200);
    }
    assert_eq!(registry.in_flight(), 0);
}

#[tokio::test]
async fn a_limit_answers_429() {
    let (_world, registry, client) = registry().await;
    registry.faults().add(Scope::Everything, Fault::Limit(2));
    let mut seen = Vec::new();
    for _ in 0..3 {
        seen.push(status(&client, &registry).await);
    }
    assert_eq!(seen, [200, 200, 429]);
}

#[tokio::test]
async fn statuses_meet_only_their_class() {
    let (_world, registry, client) = registry().await;
    let scope = Scope::Only(PathClass::Manifests);
    for wanted in [401, 403, 429, 500, 502, 503, 504] {
        let wanted = StatusCode::from_u16(wanted).unwrap();
        for fault in [Fault::Status(wanted), Fault::Html(wanted), Fault::RetryAfter(wanted, 7)] {
            registry.faults().clear();
            registry.faults().add(scope, fault.clone());
            let answer = manifest(&client, Method::GET, &registry, PATH).send().await.unwrap();
            assert_eq!(answer.status(), wanted);
            assert_eq!(header(&answer, "retry-after"), matches!(fault, Fault::RetryAfter(..)).then_some("7"));
            let html = header(&answer, "content-type") == Some("text/html");
            assert_eq!(html, matches!(fault, Fault::Html(_)));
            assert_eq!(answer.text().await.unwrap().starts_with("<html>"), html);
            let root = client.get(format!("{}/v2/", registry.url())).send().await.unwrap();
            assert_eq!(root.status(), 200);
        }
    }
}

#[tokio::test]
async fn bodies_break() {
    let (_world, registry, client) = registry().await;
    for (fault, kind) in [(Fault::Truncate, None), (Fault::Reset, Some(std::io::ErrorKind::ConnectionReset))]
    {
        registry.faults().clear();
        registry.faults().add(Scope::Only(PathClass::Manifests), fault);
        // What was read before the break may be an answer's head, or not even that.
        let got = match manifest(&client, Method::GET, &registry, PATH).send().await {
            Ok(answer) => answer.bytes().await,
            Err(error) => Err(error),
        };
        let error = got.unwrap_err();
        assert!(kind.is_none() || io_kind(&error) == kind, "{error:?}");
    }
    registry.faults().clear();
    assert_eq!(status(&client, &registry).await, 200);
}

#[tokio::test]
async fn answers_are_replaced_halved_and_withheld() {
    let (_world, registry, client) = registry().await;
    let ask = async |fault| {
        registry.faults().clear();
        registry.faults().add(Scope::Only(PathClass::Manifests), fault);
        manifest(&client, Method::GET, &registry, PATH).send().await
    };
    let challenged = ask(Fault::Challenge("Dance steps=\"3\"".into())).await.unwrap();
    assert_eq!(challenged.status(), 401);
    assert_eq!(header(&challenged, "www-authenticate"), Some("Dance steps=\"3\""));
    for (media_type, seen) in [("", None), ("text/plain", Some("text/plain"))] {
        let other = Fault::Instead(StatusCode::IM_A_TEAPOT, media_type, "short and stout".into());
        let other = ask(other).await.unwrap();
        assert_eq!((other.status().as_u16(), header(&other, "content-type")), (418, seen));
        assert_eq!(other.text().await.unwrap(), "short and stout");
    }
    let mut slow = ends("its headers", ask(Fault::SlowBody(HELD))).await.unwrap();
    let mut body = slow.chunk().await.unwrap().unwrap().to_vec();
    assert!(body.len() < Content::image("app").bytes.len(), "the first half");
    later(HELD).await;
    body.extend(ends("its second half", slow.bytes()).await.unwrap());
    assert_eq!(body, Content::image("app").bytes);
    let unsent = ask(Fault::HangUp).await.unwrap_err();
    assert!(!unsent.is_connect() && unsent.status().is_none(), "{unsent:?}");
    assert_eq!(registry.log().last().unwrap().status, None);
}

#[tokio::test]
async fn digests_lie_or_are_missing() {
    let (_world, registry, client) = registry().await;
    let digest = registry.store().digest("team/app", "v1").unwrap().to_string();
    let named = async || {
        let answer = manifest(&client, Method::HEAD, &registry, PATH).send().await.unwrap();
        header(&answer, "docker-content-digest").map(str::to_owned)
    };
    assert_eq!(named().await, Some(digest.clone()));
    registry.faults().add(Scope::Everything, Fault::WrongDigest);
    assert!(named().await.is_some_and(|wrong| wrong != digest));
    registry.faults().add(Scope::Everything, Fault::NoDigest);
    assert_eq!(named().await, None);
}

#[tokio::test]
async fn redirects_lead_here_there_and_nowhere() {
    let (world, registry, _) = registry().await;
    let other = world.plain("other", Login::Open).await.unwrap();
    let client = with_redirects(&world, redirect::Policy::limited(5));
    let follow = async |redirect| {
        registry.faults().clear();
        registry.faults().add(Scope::Only(PathClass::Manifests), Fault::Redirect(redirect));
        manifest(&client, Method::GET, &registry, PATH).send().await
    };
    let near = follow(Redirect::SameHost).await.unwrap();
    assert_eq!((near.status().as_u16(), near.url().path()), (200, "/moved/v2/team/app/manifests/v1"));
    let far = follow(Redirect::To(other.url())).await.unwrap();
    assert_eq!((far.status().as_u16(), far.url().port()), (404, Some(other.address().port())));
    assert!(follow(Redirect::Loop).await.unwrap_err().is_redirect());
}

#[tokio::test]
async fn certificates_that_must_not_be_trusted() {
    let (world, registry, _) = registry().await;
    let url = format!("{}/v2/", registry.url());
    for certificate in
        [Certificate::Expired, Certificate::WrongName, Certificate::Foreign, Certificate::Plaintext]
    {
        registry.present(&world, certificate).unwrap();
        let refused = client(&world).get(&url).send().await.unwrap_err();
        assert!(refused.is_connect(), "{certificate:?}: {refused:?}");
    }
    assert!(registry.url().starts_with("http://"));
    assert_eq!(status(&client(&world), &registry).await, 200);
    registry.present(&world, Certificate::Valid).unwrap();
    assert_eq!(client(&world).get(&url).send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn the_log_says_who_asked_what() {
    let world = World::new().unwrap();
    let registry = world.plain("plain", Login::basic("me", "secret")).await.unwrap();
    let client = client(&world);
    let ask = manifest(&client, Method::HEAD, &registry, "team/app/manifests/v1");
    ask.try_clone().unwrap().send().await.unwrap();
    ask.basic_auth("me", Some("secret")).send().await.unwrap();
    let seen = registry.log();
    let [first, second] = seen.as_slice() else { panic!("{seen:?}") };
    assert_eq!((&first.method, first.class), (&Method::HEAD, PathClass::Manifests));
    assert_eq!(first.path, "/v2/team/app/manifests/v1");
    assert_eq!((first.authorization, first.user.as_deref()), (Authorization::Absent, None));
    assert_eq!(first.status, Some(StatusCode::UNAUTHORIZED));
    assert_eq!((second.authorization, second.user.as_deref()), (Authorization::Basic, Some("me")));
    assert_eq!(second.status, Some(StatusCode::NOT_FOUND));
    registry.clear_log();
    assert!(registry.log().is_empty());
}
