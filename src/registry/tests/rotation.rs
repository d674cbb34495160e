//! Credentials that change while we run.

use std::path::Path;

use tempfile::TempDir;

use crate::domain::evidence::{Presence, Shape};

use crate::domain::registry::{CredentialSource, Kind};
use crate::domain::unknown::Cause;

use super::super::watched::INTERVAL;
use super::server::{Reply, Server, reply};
use super::*;

fn found() -> Reply {
    reply(200, &[("docker-content-digest", &digest_of("x")), ("content-type", MANIFEST)], "")
}

fn present() -> Presence {
    Presence::Present { digest: digest(&digest_of("x")), shape: Shape::Manifest }
}

/// As the kubelet mounts a Secret: `..data` is a link to a folder, and is swapped for another.
fn publish(dir: &Path, version: &str, password: &str) {
    let data = dir.join(version);
    std::fs::create_dir(&data).unwrap();
    std::fs::write(data.join("username"), "u").unwrap();
    std::fs::write(data.join("password"), password).unwrap();
    std::os::unix::fs::symlink(version, dir.join("..new")).unwrap();
    std::fs::rename(dir.join("..new"), dir.join("..data")).unwrap();
}

fn mounted() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    publish(dir.path(), "..1", "old");
    for name in ["username", "password"] {
        std::os::unix::fs::symlink(format!("..data/{name}"), dir.path().join(name)).unwrap();
    }
    dir
}

// base64 of `u:old`, `u:new` and `u:newer`.
const OLD: &str = "Basic dTpvbGQ=";
const NEW: &str = "Basic dTpuZXc=";
const NEWER: &str = "Basic dTpuZXdlcg==";

#[tokio::test]
async fn a_rotated_password_is_read_when_the_old_one_is_refused() {
    let dir = mounted();
    let server = Server::http(|seen| match seen.authorization() {
        NEW | NEWER => found(),
        _ => reply(401, &[("www-authenticate", "Basic realm=\"harbor\"")], ""),
    })
    .await;
    let credentials = CredentialSource::Dir(dir.path().into());
    let client = client(Registry { credentials, kind: Kind::Harbor, ..registry(&server.url) });
    assert_unknown(by_tag(&client).await, Cause::Unauthorized, "were rejected");
    publish(dir.path(), "..2", "new");
    assert_eq!(by_tag(&client).await, present());
    let sent: Vec<_> = server.seen().iter().map(|seen| seen.authorization().to_owned()).collect();
    assert_eq!(sent, [OLD, OLD, NEW]);
    // A file watch would miss the kubelet's second swap. Nothing is refused now: the new content is used once the last
    // read is old enough.
    publish(dir.path(), "..3", "newer");
    let started = Instant::now();
    while server.seen().last().unwrap().authorization() != NEWER {
        assert!(started.elapsed() < Duration::from_secs(20), "never read again");
        tokio::time::sleep(INTERVAL / 50).await;
        assert_eq!(by_tag(&client).await, present());
    }
}

#[tokio::test]
async fn a_rotated_credential_leaves_its_tokens_behind() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.json");
    let write = |password: &str| {
        let entry = format!(r#"{{"username":"u","password":"{password}"}}"#);
        std::fs::write(&path, format!(r#"{{"auths":{{"harbor.example.com":{entry}}}}}"#)).unwrap();
    };
    write("old");
    let server = Server::http(|seen| match (seen.path.as_str(), seen.authorization()) {
        ("/token", OLD) => reply(200, &[], r#"{"token":"first"}"#),
        ("/token", NEW) => reply(200, &[], r#"{"token":"second"}"#),
        ("/v2/project/app/manifests/v1", "Bearer first") => found(),
        (_, "Bearer second") => found(),
        _ => {
            let challenge = format!(r#"Bearer realm="http://{}/token""#, seen.host());
            reply(401, &[("www-authenticate", &challenge)], "")
        }
    })
    .await;
    let credentials = CredentialSource::DockerConfig(path.clone());
    let client = client(Registry { credentials, ..registry(&server.url) });
    assert_eq!(by_tag(&client).await, present());
    write("new");
    let v2 = client.presence(&repository(), Target::Tag(&Tag::new("v2")), soon()).await;
    assert_eq!(v2, present());
    assert_eq!(by_tag(&client).await, present());
    assert_eq!(server.seen().last().unwrap().authorization(), "Bearer second");
}

#[tokio::test]
async fn credentials_that_come_later_are_found() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::http(|_| found()).await;
    let credentials = CredentialSource::TokenFile(dir.path().join("token"));
    let client = client(Registry { credentials, ..registry(&server.url) });
    assert_eq!(unknown(by_tag(&client).await).cause, Cause::Unauthorized);
    std::fs::write(dir.path().join("token"), "t").unwrap();
    let started = Instant::now();
    while by_tag(&client).await != present() {
        assert!(started.elapsed() < Duration::from_secs(20), "never read again");
        tokio::time::sleep(INTERVAL / 50).await;
    }
}
