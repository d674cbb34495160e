//! What a manifest lists, and blobs: there, lost, behind a redirect, and what is not known.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::server::{Reply, Server, reply, status};
use super::*;
use crate::registry::{Blob, Depth, Layer, Listed};

const JSON: (&str, &str) = ("content-type", "application/json");
const XML: (&str, &str) = ("content-type", "application/xml");
const HTML: (&str, &str) = ("content-type", "text/html");
const PART: (&str, &str) = ("content-range", "bytes 0-0/122");

fn layer() -> Digest {
    digest(&digest_of("a layer"))
}

async fn asked(client: &Client, depth: Depth) -> Result<Blob, Cause> {
    client.blob(&repository(), &layer(), depth, soon()).await.map_err(|unknown| unknown.cause)
}

/// A registry that redirects its blobs to this storage.
async fn before(storage: &Server) -> Server {
    let to = format!("{}storage?signature=1", storage.url);
    Server::http(move |_| reply(307, &[("location", &to)], "")).await
}

#[tokio::test]
async fn every_answer_about_a_blob_has_its_meaning() {
    let unknown = |cause| Err::<Blob, _>(cause);
    let retry = [("retry-after", "7")];
    let limited = Cause::RateLimited { retry_after: Some(Duration::from_secs(7)) };
    let unavailable = Cause::Unavailable { retry_after: Duration::from_secs(7) };
    // The answer to the first byte, and what becomes of it.
    let rows: Vec<(Reply, Result<Blob, Cause>)> = vec![
        (reply(206, &[PART], "x"), Ok(Blob::Present(Some(122)))),
        (reply(206, &[], "x"), Ok(Blob::Present(None))),
        (reply(206, &[("content-range", "bytes 0-0/*")], "x"), Ok(Blob::Present(None))),
        (reply(200, &[], "the whole"), Ok(Blob::Present(Some(9)))),
        (reply(200, &[("content-encoding", "gzip")], "packed"), Ok(Blob::Present(None))),
        (status(200), Ok(Blob::Present(Some(0)))),
        (reply(416, &[("content-range", "bytes */0")], ""), Ok(Blob::Present(Some(0)))),
        (reply(416, &[("content-range", "bytes */122")], ""), unknown(Cause::NotRegistry)),
        (status(416), unknown(Cause::NotRegistry)),
        (reply(404, &[JSON], r#"{"errors":[{"code":"BLOB_UNKNOWN"}]}"#), Ok(Blob::Absent)),
        (status(404), Ok(Blob::Absent)),
        (reply(404, &[HTML], "<html>"), unknown(Cause::NotRegistry)),
        (status(401), unknown(Cause::Unauthorized)),
        (status(403), unknown(Cause::Forbidden)),
        (status(412), unknown(Cause::Forbidden)),
        (reply(429, &retry, ""), unknown(limited)),
        (reply(503, &retry, ""), unknown(unavailable)),
        (status(500), unknown(Cause::ServerError)),
        (status(304), unknown(Cause::Redirect)),
        (reply(400, &[HTML], "<html>"), unknown(Cause::NotRegistry)),
        (reply(410, &[JSON], "{}"), Ok(Blob::Refused("410 Gone".into()))),
        (status(408), unknown(Cause::NotRegistry)),
    ];
    for (answer, meaning) in rows {
        let said = format!("{answer:?}");
        let server = Server::http(move |_| answer.clone()).await;
        let client = client(registry(&server.url));
        assert_eq!(asked(&client, Depth::Object).await, meaning, "{said}");
        let [request] = server.seen().try_into().unwrap();
        assert_eq!((request.method.as_str(), request.header("range")), ("GET", "bytes=0-0"), "{said}");
        assert_eq!(request.path, format!("/v2/project/app/blobs/{}", layer()));
    }
}

#[tokio::test]
async fn a_head_is_enough_unless_it_does_not_tell() {
    for (head, requests, meaning) in [
        (reply(200, &[], ""), 1, Ok(Blob::Present(None))),
        (reply(404, &[JSON], ""), 1, Ok(Blob::Absent)),
        (status(404), 1, Ok(Blob::Absent)),
        (reply(404, &[HTML], ""), 2, Ok(Blob::Present(Some(122)))),
        (status(405), 2, Ok(Blob::Present(Some(122)))),
        (status(501), 2, Ok(Blob::Present(Some(122)))),
        (status(403), 1, Err(Cause::Forbidden)),
        (status(502), 1, Err(Cause::ServerError)),
    ] {
        let said = format!("{head:?}");
        let answer = move |seen: &super::server::Seen| match seen.method.as_str() {
            "HEAD" => head.clone(),
            _ => reply(206, &[PART], "x"),
        };
        let server = Server::http(answer).await;
        assert_eq!(asked(&client(registry(&server.url)), Depth::Header).await, meaning, "{said}");
        assert_eq!(server.seen().len(), requests, "{said}");
        assert_eq!(server.seen().first().unwrap().header("range"), "", "{said}");
    }
}

#[tokio::test]
async fn the_storage_behind_a_redirect_tells_and_sees_no_credentials() {
    let retry = [("retry-after", "7")];
    for (answer, meaning) in [
        (reply(206, &[PART], "x"), Ok(Blob::Present(Some(122)))),
        (reply(200, &[XML], "the whole"), Ok(Blob::Present(Some(9)))),
        (reply(404, &[XML], "<Error><Code>NoSuchKey</Code></Error>"), Ok(Blob::Absent)),
        (reply(403, &[XML], "<Error><Code>AccessDenied</Code></Error>"), Err(Cause::Forbidden)),
        (reply(400, &[XML], "<Error/>"), Err(Cause::NotRegistry)),
        // What the storage wants of us is not what the registry wants.
        (status(401), Err(Cause::Forbidden)),
        (reply(429, &retry, ""), Err(Cause::ServerError)),
        (reply(503, &retry, ""), Err(Cause::ServerError)),
    ] {
        let said = format!("{answer:?}");
        let storage = Server::http(move |_| answer.clone()).await;
        let server = before(&storage).await;
        let mut registry = registry(&server.url);
        registry.credentials = secret();
        let client = client(registry);
        assert_eq!(asked(&client, Depth::Object).await, meaning, "{said}");
        let [request] = storage.seen().try_into().unwrap();
        assert_eq!((request.authorization(), request.header("range")), ("", "bytes=0-0"), "{said}");
    }
    // One that was signed for GET only.
    let storage = Server::http(|seen| match seen.method.as_str() {
        "HEAD" => reply(403, &[XML], ""),
        _ => reply(206, &[PART], "x"),
    })
    .await;
    let server = before(&storage).await;
    assert_eq!(asked(&client(registry(&server.url)), Depth::Header).await, Ok(Blob::Present(Some(122))));
}

fn secret() -> CredentialSource {
    let folder = tempfile::tempdir().unwrap().keep();
    std::fs::write(folder.join("username"), "robot").unwrap();
    std::fs::write(folder.join("password"), "secret").unwrap();
    CredentialSource::Dir(folder)
}

#[tokio::test]
async fn no_more_is_read_than_the_first_byte() {
    let sent = Arc::new(AtomicUsize::new(0));
    let counted = sent.clone();
    let server = Server::raw(move |mut stream| {
        let counted = counted.clone();
        async move {
            let mut request = [0; 4096];
            if let Ok(1..) = stream.read(&mut request).await {
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", 10_u64.pow(12));
                stream.write_all(head.as_bytes()).await.unwrap();
                while stream.write_all(&[b' '; 65536]).await.is_ok() {
                    counted.fetch_add(1, Ordering::Relaxed);
                }
                counted.fetch_add(1_000_000, Ordering::Relaxed);
            }
        }
    })
    .await;
    assert_eq!(
        asked(&client(registry(&server.url)), Depth::Object).await,
        Ok(Blob::Present(Some(10_u64.pow(12))))
    );
    // The connection is closed, not read to its end.
    while sent.load(Ordering::Relaxed) < 1_000_000 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_blob_that_is_announced_and_not_sent_is_told_from_silence() {
    for head in [
        "HTTP/1.1 206 Partial Content\r\ncontent-length: 1\r\ncontent-range: bytes 0-0/122\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 122\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
    ] {
        let cut = Server::raw(move |mut stream| async move {
            if let Ok(1..) = stream.read(&mut [0; 4096]).await {
                stream.write_all(head.as_bytes()).await.unwrap();
            }
        })
        .await;
        assert_eq!(asked(&client(registry(&cut.url)), Depth::Object).await, Ok(Blob::Cut), "{head}");
        // Behind a redirect, anything may have cut it.
        let server = before(&cut).await;
        let told = asked(&client(registry(&server.url)), Depth::Object).await;
        assert_eq!(told, Err(Cause::Broken), "{head}");
    }
    let silent = Server::raw(|mut stream| async move {
        if let Ok(1..) = stream.read(&mut [0; 4096]).await {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 122\r\n\r\n").await.unwrap();
            std::future::pending::<()>().await;
        }
    })
    .await;
    let client = client(registry(&silent.url));
    let deadline = Instant::now() + Duration::from_millis(200);
    let told = client.blob(&repository(), &layer(), Depth::Object, deadline).await;
    assert_eq!(told.unwrap_err().cause, Cause::Deadline);
}

#[tokio::test]
async fn a_redirect_of_a_blob_leads_nowhere_it_may_not() {
    for location in ["http://10.0.0.1/blob", "ftp://example.com/blob", ""] {
        let server = Server::http(move |_| reply(307, &[("location", location)], "")).await;
        let told = asked(&client(registry(&server.url)), Depth::Object).await;
        assert!(matches!(told, Err(Cause::Redirect)), "{location}: {told:?}");
    }
}

#[tokio::test]
async fn a_manifest_lists_its_layers_if_it_is_the_one_that_was_asked_for() {
    let (config, one) = (digest_of("config"), digest_of("one"));
    let body = format!(
        r#"{{"schemaVersion":2,"mediaType":"{MANIFEST}","config":{{"digest":"{config}","size":3}},"layers":[{{"digest":"{one}","size":5}}]}}"#
    );
    let index = format!(r#"{{"schemaVersion":2,"mediaType":"{INDEX}","manifests":[]}}"#);
    let layers = |of: &[(&str, u64)]| {
        let layers = of.iter().map(|(text, size)| Layer { digest: digest(text), size: *size });
        Ok::<_, Cause>(Listed::Layers(layers.collect()))
    };
    let rows: Vec<(Reply, &str, Result<Listed, Cause>)> = vec![
        (reply(200, &[("content-type", MANIFEST)], &body), &body, layers(&[(&config, 3), (&one, 5)])),
        (reply(200, &[], &body), &body, layers(&[(&config, 3), (&one, 5)])),
        (reply(200, &[("content-type", INDEX)], &index), &index, layers(&[])),
        (reply(200, &[("content-type", INDEX)], &body), &body, Err(Cause::NotRegistry)),
        (reply(200, &[], &body), &index, Err(Cause::WrongDigest)),
        (reply(404, &[JSON], ""), &body, Ok(Listed::Absent)),
        (reply(404, &[HTML], "<html>"), &body, Err(Cause::NotRegistry)),
        (reply(400, &[JSON], "{}"), &body, Ok(Listed::Refused("400 Bad Request".into()))),
        (reply(412, &[JSON], "{}"), &body, Err(Cause::Forbidden)),
        (status(401), &body, Err(Cause::Unauthorized)),
        (status(500), &body, Err(Cause::ServerError)),
    ];
    for (answer, wanted, meaning) in rows {
        let said = format!("{answer:?}");
        let server = Server::http(move |_| answer.clone()).await;
        let client = client(registry(&server.url));
        let told = client.listed(&repository(), &digest(&digest_of(wanted)), soon()).await;
        assert_eq!(told.map_err(|unknown| unknown.cause), meaning, "{said}");
    }
}
