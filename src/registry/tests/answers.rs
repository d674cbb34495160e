//! What each answer of a registry becomes.

use std::time::Duration;

use crate::domain::evidence::{Children, Presence, Shape};

use crate::domain::registry::Kind;
use crate::domain::unknown::Cause;

use super::super::http::USER_AGENT;
use super::super::{Endpoint, Request, Target};
use super::server::{Reply, Server, reply, status};
use super::*;

const BODY: &str = r#"{"schemaVersion":2,"config":{},"layers":[]}"#;

#[tokio::test]
async fn present_by_tag_and_by_digest() {
    let named = digest_of(BODY);
    let server = Server::http({
        let named = named.clone();
        move |_| reply(200, &[("docker-content-digest", &named), ("content-type", MANIFEST)], "")
    })
    .await;
    let client = client(registry(&server.url));
    let present = Presence::Present { digest: digest(&named), shape: Shape::Manifest };
    assert_eq!(by_tag(&client).await, present);
    assert_eq!(by_digest(&client, &digest(&named)).await, present);
    let [tag, pinned] = server.seen().try_into().unwrap();
    assert_eq!(tag.path, "/v2/project/app/manifests/v1");
    assert_eq!(pinned.path, format!("/v2/project/app/manifests/{named}"));
    assert_eq!(tag.method, "HEAD");
    assert_eq!(tag.header("user-agent"), USER_AGENT);
    assert_eq!(tag.header("user-agent"), format!("landfall/{}", env!("CARGO_PKG_VERSION")));
    assert_eq!(tag.authorization(), "");
    let accept: Vec<_> = tag.header("accept").split(", ").collect();
    assert_eq!(accept.len(), 4, "{accept:?}");
    assert!(accept.contains(&INDEX) && accept.contains(&MANIFEST));
}

#[tokio::test]
async fn every_status_has_its_meaning() {
    let html = [("content-type", "text/html")];
    let json = [("content-type", "application/json; charset=utf-8")];
    let empty_challenge = [("www-authenticate", "")];
    let seconds = [("retry-after", "7")];
    let date = [("date", "Fri, 20 Nov 2026 10:00:00 GMT"), ("retry-after", "Fri, 20 Nov 2026 10:01:30 GMT")];
    let past = [("date", "Fri, 20 Nov 2026 10:00:00 GMT"), ("retry-after", "Fri, 20 Nov 2026 09:00:00 GMT")];
    let limited = |seconds: Option<u64>| Cause::RateLimited { retry_after: seconds.map(Duration::from_secs) };
    let cases: [(Reply, Cause, &str); 19] = [
        (reply(401, &empty_challenge, ""), Cause::Unauthorized, "with no challenge"),
        (status(401), Cause::Unauthorized, "with no challenge"),
        (
            reply(401, &[("www-authenticate", "Basic realm=\"x\"")], ""),
            Cause::Unauthorized,
            "asking for Basic",
        ),
        (status(403), Cause::Forbidden, "403"),
        (reply(429, &seconds, ""), limited(Some(7)), "429"),
        (reply(429, &date, ""), limited(Some(90)), "429"),
        (reply(429, &past, ""), limited(Some(0)), "429"),
        (reply(429, &[("retry-after", "soon")], ""), limited(None), "429"),
        (status(429), limited(None), "429"),
        (status(500), Cause::ServerError, "500"),
        (reply(502, &html, ""), Cause::ServerError, "502"),
        (reply(503, &seconds, ""), Cause::Unavailable { retry_after: Duration::from_secs(7) }, "503"),
        (status(503), Cause::ServerError, "503"),
        (status(504), Cause::ServerError, "504"),
        (status(400), Cause::NotRegistry, "400"),
        (reply(200, &html, ""), Cause::NotRegistry, "text/html"),
        (reply(200, &json, ""), Cause::NotRegistry, "application/json"),
        (reply(404, &html, ""), Cause::NotRegistry, "text/html"),
        (status(304), Cause::Redirect, "304"),
    ];
    for (answer, cause, words) in cases {
        let server = Server::http(move |_| answer.clone()).await;
        assert_unknown(by_tag(&client(registry(&server.url))).await, cause, words);
    }
    for absent in [status(404), reply(404, &json, "")] {
        let server = Server::http(move |_| absent.clone()).await;
        assert_eq!(by_tag(&client(registry(&server.url))).await, Presence::Absent);
    }
}

#[tokio::test]
async fn a_404_in_plain_text_counts_only_with_a_registrys_words() {
    let words = r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#;
    let server = Server::http(move |_| reply(404, &[("content-type", "text/plain")], words)).await;
    assert_eq!(by_tag(&client(registry(&server.url))).await, Presence::Absent);
    assert_eq!(server.seen().len(), 2);
}

#[tokio::test]
async fn a_refusal_brings_its_words() {
    let words = r#"{"errors":[{"code":"PROJECTPOLICYVIOLATION","message":"current image with 3 vulnerabilities cannot be pulled"}]}"#;
    let server = Server::http(move |_| reply(412, &[("content-type", "application/json")], words)).await;
    let refused = Presence::Refused("current image with 3 vulnerabilities cannot be pulled".into());
    assert_eq!(by_tag(&client(registry(&server.url))).await, refused);
    assert_eq!(server.lines().len(), 2);
    // It is refused even if the message cannot be read.
    let server = Server::http(|seen| status(if seen.method == "HEAD" { 412 } else { 500 })).await;
    let refused = by_tag(&client(registry(&server.url))).await;
    assert_eq!(refused, Presence::Refused("412 Precondition Failed".into()));
}

#[tokio::test]
async fn a_missing_digest_header_is_made_up_for_by_the_body() {
    let server = Server::http(|seen| {
        reply(200, &[("content-type", INDEX)], if seen.method == "HEAD" { "" } else { BODY })
    })
    .await;
    let client = client(registry(&server.url));
    let present = Presence::Present { digest: digest(&digest_of(BODY)), shape: Shape::Index };
    assert_eq!(by_tag(&client).await, present);
    assert_eq!(by_digest(&client, &digest(&digest_of(BODY))).await, present);
    let other = digest(&digest_of("other"));
    assert_unknown(by_digest(&client, &other).await, Cause::WrongDigest, &digest_of(BODY));
}

#[tokio::test]
async fn a_digest_named_by_another_algorithm_is_checked_by_the_body() {
    use sha2::Digest as _;
    let wanted = Digest::Sha512(sha2::Sha512::digest(BODY).into());
    let server = Server::http(|seen| {
        let named = digest_of(BODY);
        let headers = [("content-type", MANIFEST), ("docker-content-digest", named.as_str())];
        reply(200, &headers, if seen.method == "HEAD" { "" } else { BODY })
    })
    .await;
    let present = Presence::Present { digest: wanted, shape: Shape::Manifest };
    assert_eq!(by_digest(&client(registry(&server.url)), &wanted).await, present);
}

#[tokio::test]
async fn a_missing_content_type_is_made_up_for_by_the_body() {
    let server = Server::http(|seen| {
        let named = digest_of(BODY);
        reply(200, &[("docker-content-digest", &named)], if seen.method == "HEAD" { "" } else { BODY })
    })
    .await;
    let present = Presence::Present { digest: digest(&digest_of(BODY)), shape: Shape::Manifest };
    assert_eq!(by_tag(&client(registry(&server.url))).await, present);
}

#[tokio::test]
async fn a_wrong_digest_is_neither_presence_nor_absence() {
    let named = digest_of("other");
    let server = Server::http(move |_| {
        reply(200, &[("docker-content-digest", &named), ("content-type", MANIFEST)], "")
    })
    .await;
    let wanted = digest(&digest_of(BODY));
    let presence = by_digest(&client(registry(&server.url)), &wanted).await;
    assert_unknown(presence, Cause::WrongDigest, &digest_of("other"));
}

#[tokio::test]
async fn children_are_listed_only_from_the_body_that_was_named() {
    let child = digest_of("child");
    let index = format!(
        r#"{{"schemaVersion":2,"mediaType":"{INDEX}","manifests":[{{"mediaType":"{MANIFEST}","digest":"{child}","size":5,"platform":{{"os":"linux","architecture":"amd64"}}}}]}}"#
    );
    let named = digest(&digest_of(&index));
    let server = Server::http(move |_| reply(200, &[("content-type", INDEX)], &index)).await;
    let client = client(registry(&server.url));
    let Children::Listed(children) = client.children(&repository(), &named, soon()).await else {
        panic!("not listed")
    };
    assert_eq!(children.len(), 1);
    assert_eq!(children[0].digest, digest(&child));
    assert_eq!(children[0].platform.as_ref().unwrap().to_string(), "linux/amd64");
    let other = client.children(&repository(), &digest(&child), soon()).await;
    assert!(matches!(other, Children::Unknown(unknown) if unknown.cause == Cause::WrongDigest));
}

#[tokio::test]
async fn a_manifest_has_no_children_and_an_absent_index_none_to_tell() {
    let server = Server::http(|_| reply(200, &[("content-type", MANIFEST)], BODY)).await;
    let named = digest(&digest_of(BODY));
    let children = client(registry(&server.url)).children(&repository(), &named, soon()).await;
    assert!(matches!(children, Children::Listed(none) if none.is_empty()));
    let server = Server::http(|_| status(404)).await;
    let children = client(registry(&server.url)).children(&repository(), &named, soon()).await;
    assert_eq!(children, Children::Absent);
    let server = Server::http(|_| status(502)).await;
    let children = client(registry(&server.url)).children(&repository(), &named, soon()).await;
    assert!(matches!(children, Children::Unknown(unknown) if unknown.cause == Cause::ServerError));
}

#[tokio::test]
async fn an_index_of_thousands_is_too_large() {
    let child = format!(r#"{{"mediaType":"{MANIFEST}","digest":"{}","size":5}}"#, digest_of("child"));
    let index = format!(r#"{{"schemaVersion":2,"manifests":[{}]}}"#, vec![child; 1001].join(","));
    let named = digest(&digest_of(&index));
    let server = Server::http(move |_| reply(200, &[("content-type", INDEX)], &index)).await;
    let children = client(registry(&server.url)).children(&repository(), &named, soon()).await;
    assert!(matches!(children, Children::Unknown(unknown) if unknown.cause == Cause::TooLarge));
}

#[tokio::test]
async fn the_api_is_asked_below_the_urls_path_with_its_encoding_kept() {
    let server = Server::http(|_| reply(200, &[], "[]")).await;
    let mut registry = registry(&server.url.join("/base/").unwrap());
    registry.kind = Kind::Harbor;
    let request = Request {
        method: http::Method::POST,
        path_and_query: "/api/v2.0/projects/p/repositories/team%252Fapp?q=digest=sha256:a,base=*",
        endpoint: Endpoint::HarborApi(None),
        accept: Some("application/json"),
        body: Some(r#"{"policy_id":1}"#.into()),
        body_limit: 10,
    };
    let answer = client(registry).send(request, soon()).await.unwrap();
    assert_eq!((answer.status.as_u16(), &answer.body[..]), (200, &b"[]"[..]));
    let [seen] = server.seen().try_into().unwrap();
    assert_eq!(seen.path, "/base/api/v2.0/projects/p/repositories/team%252Fapp");
    assert_eq!(seen.query, "q=digest=sha256:a,base=*");
    assert_eq!(seen.body, r#"{"policy_id":1}"#);
    assert_eq!(seen.header("content-type"), "application/json");
}

#[tokio::test]
async fn every_request_is_counted_and_timed() {
    let server = Server::http(|_| status(404)).await;
    let mut page = prometheus_client::registry::Registry::default();
    let metrics = Metrics::register(&mut page);
    let client =
        Client::new(&std::sync::Arc::new(registry(&server.url)), metrics, crate::registry::Tasks::default())
            .unwrap();
    by_tag(&client).await;
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &page).unwrap();
    let counted = r#"landfall_registry_requests_total{registry="ams",outcome="NotFound"} 1"#;
    assert!(text.contains(counted), "{text}");
    assert!(text.contains(r#"landfall_registry_request_duration_seconds_count{registry="ams"} 1"#), "{text}");
}

#[tokio::test]
async fn a_head_tells_a_401_apart() {
    let challenge = r#"Basic realm="harbor""#;
    let server = Server::http(move |_| reply(401, &[("www-authenticate", challenge)], "")).await;
    let client = client(registry(&server.url));
    let head = client.head(&repository(), Target::Tag(&Tag::new("v1")), soon()).await.unwrap();
    let super::super::Head::Unauthorized { challenges, sent } = head else { panic!("{head:?}") };
    assert_eq!(challenges[0].parameter("realm"), Some("harbor"));
    assert_eq!(sent, super::super::Sent::Nothing);
}

#[tokio::test]
async fn where_head_is_not_answered_as_get_is_get_tells() {
    let named = digest_of(BODY);
    let digested = [("docker-content-digest", &*named), ("content-type", MANIFEST)];
    let heads = [
        status(405),
        status(501),
        reply(405, &[("allow", "GET"), ("content-type", "text/html")], ""),
        reply(200, &[("content-type", "text/plain; charset=utf-8")], ""),
        reply(200, &[("content-type", "application/octet-stream")], ""),
        reply(200, &[("content-type", "application/json"), ("docker-content-digest", &named)], ""),
    ];
    for head in heads {
        let get = reply(200, &digested, BODY);
        let (said, kind) = (head.status(), head.headers().get("content-type").cloned());
        let server =
            Server::http(move |seen| if seen.method == "HEAD" { head.clone() } else { get.clone() }).await;
        let client = client(registry(&server.url));
        let present = Presence::Present { digest: digest(&named), shape: Shape::Manifest };
        assert_eq!(by_tag(&client).await, present, "{said} {kind:?}");
        assert_eq!(by_digest(&client, &digest(&named)).await, present, "{said} {kind:?}");
        let methods: Vec<_> = server.seen().iter().map(|seen| seen.method.to_string()).collect();
        assert_eq!(methods, ["HEAD", "GET", "HEAD", "GET"], "{said} {kind:?}");
    }
    // What GET says counts: that it is absent, refused, or no registry's answer.
    for (get, cause) in [
        (status(405), Some(Cause::NotRegistry)),
        (status(501), Some(Cause::ServerError)),
        (reply(200, &[("content-type", "text/html")], "<html>"), Some(Cause::NotRegistry)),
        (status(404), None),
    ] {
        let server =
            Server::http(move |seen| if seen.method == "HEAD" { status(405) } else { get.clone() }).await;
        match (by_tag(&client(registry(&server.url))).await, cause) {
            (Presence::Absent, None) => {}
            (Presence::Unknown(unknown), Some(cause)) => assert_eq!(unknown.cause, cause, "{unknown}"),
            (other, _) => panic!("{other:?}"),
        }
    }
}
