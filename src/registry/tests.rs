//! The client against servers that answer well, badly or not at all, over real sockets.

mod answers;
mod authentication;
mod blobs;
mod open_proxy;
mod provider;
mod proxy;
mod rotation;
mod server;
// Certificates come from rcgen, which is there with the feature `demo` only.
#[cfg(feature = "demo")]
mod tls;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use url::Url;

use crate::domain::digest::Digest;
use crate::domain::evidence::Presence;
use crate::domain::image::{Repository, Tag};
use crate::domain::name::{RegistryName, Site};
use crate::domain::registry::{CredentialSource, Kind, Registry, Service};
use crate::domain::unknown::{Cause, Unknown};

use super::{Client, Metrics, Target};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

fn registry(url: &Url) -> Registry {
    Registry {
        name: RegistryName::new("ams"),
        host: "harbor.example.com".into(),
        aliases: vec![],
        url: url.clone(),
        kind: Kind::Distribution,
        site: Site::new("ams"),
        credentials: CredentialSource::Anonymous,
        ca_file: None,
        pull_secret: None,
        realm: None,
        service: Service::Open,
        healing: None,
        requests_per_hour: None,
    }
}

fn client(registry: Registry) -> Client {
    let _again = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let metrics = Metrics::register(&mut prometheus_client::registry::Registry::default());
    Client::new(&Arc::new(registry), metrics, crate::registry::Tasks::default()).unwrap()
}

/// A deadline that no passing test reaches.
fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

fn repository() -> Repository {
    Repository::new("project/app")
}

/// The digest of `body`, in text.
fn digest_of(body: &str) -> String {
    use sha2::Digest as _;
    Digest::Sha256(sha2::Sha256::digest(body).into()).to_string()
}

fn digest(text: &str) -> Digest {
    text.parse().unwrap()
}

async fn by_tag(client: &Client) -> Presence {
    client.presence(&repository(), Target::Tag(&Tag::new("v1")), soon()).await
}

async fn by_digest(client: &Client, wanted: &Digest) -> Presence {
    client.presence(&repository(), Target::Digest(wanted), soon()).await
}

#[track_caller]
fn unknown(presence: Presence) -> Unknown {
    match presence {
        Presence::Unknown(unknown) => unknown,
        other => panic!("not unknown: {other:?}"),
    }
}

#[track_caller]
fn assert_unknown(presence: Presence, cause: Cause, words: &str) {
    let unknown = unknown(presence);
    assert_eq!(unknown.cause, cause, "{}", unknown.detail);
    assert!(unknown.detail.contains(words), "`{}` does not say `{words}`", unknown.detail);
}
