//! What a manifest lists, and whether its blobs are there: a manifest that is served proves none of them.

use std::sync::Arc;

use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, HeaderName};
use http::{Method, StatusCode};
use serde::Deserialize;
use tokio::time::Instant;

use crate::domain::digest::Digest;
use crate::domain::evidence::Shape;
use crate::domain::image::Repository;
use crate::domain::unknown::{Cause, Unknown};

use super::answer::{Answer, By, unauthorized};
use super::client::{Client, Endpoint, Request};
use super::json::{Object, object};
use super::manifest::{Head, Target, common, declared_shape, is_text, shape_in, verified};

/// The most blobs of a manifest that are read: nodes mount no more than some hundred layers.
const MAX_BLOBS: usize = 1000;

/// The most bytes of an error about a blob that are read.
const ERROR_LIMIT: usize = 64 * 1024;

/// A config or a layer, as a manifest lists it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layer {
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes; 0 where the manifest does not state it.
    pub size: u64,
}

/// What a manifest lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listed {
    /// Its config and its layers, each digest once. Without those that nodes fetch from elsewhere. An index has none.
    Layers(Arc<[Layer]>),
    /// The registry does not have the manifest.
    Absent,
    /// The registry refuses the question for good: a 4xx that neither credentials nor time will change. With its message.
    Refused(Arc<str>),
}

/// How a blob is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Depth {
    /// By HEAD. The answer may come from a cache: Harbor's knows an object that its storage has lost.
    Header,
    /// By a GET of the first byte, which comes from the storage.
    Object,
}

/// What a registry answers about a blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Blob {
    /// It is there. With the size of the object in bytes, where the storage told it.
    Present(Option<u64>),
    /// It is not there.
    Absent,
    /// The registry itself announced the blob, and the connection broke before its first byte. Harbor answers so for a lost
    /// object that its cache still knows; so may a network.
    Cut,
    /// The registry refuses the question for good, as in [`Listed::Refused`].
    Refused(Arc<str>),
}

impl Client {
    /// What this manifest lists, by a GET.
    ///
    /// # Errors
    /// It could not be learned.
    pub async fn listed(
        &self,
        repository: &Repository,
        digest: &Digest,
        deadline: Instant,
    ) -> Result<Listed, Unknown> {
        let answer = self.manifest(Method::GET, repository, Target::Digest(digest), deadline).await?;
        listed(&answer, digest)
    }

    /// Is this blob in the repository? A registry may redirect to its storage: then the storage answers, without seeing our
    /// credentials. At most the first byte of the blob is read.
    ///
    /// # Errors
    /// It could not be learned.
    pub async fn blob(
        &self,
        repository: &Repository,
        digest: &Digest,
        depth: Depth,
        deadline: Instant,
    ) -> Result<Blob, Unknown> {
        let path = format!("/v2/{repository}/blobs/{digest}");
        let ask = async |method, endpoint| {
            let request = Request {
                method,
                path_and_query: &path,
                endpoint,
                accept: None,
                body: None,
                body_limit: ERROR_LIMIT,
            };
            self.send(request, deadline).await
        };
        if depth == Depth::Header
            && let Some(told) = by_head(&ask(Method::HEAD, Endpoint::Repository(repository)).await?)
        {
            return told;
        }
        by_first_byte(&ask(Method::GET, Endpoint::FirstByte(repository)).await?)
    }
}

/// Reads the answer to a GET of a manifest by its digest.
pub(super) fn listed(answer: &Answer, digest: &Digest) -> Result<Listed, Unknown> {
    if answer.status != StatusCode::OK {
        if let Some(message) = refusal(answer) {
            return Ok(Listed::Refused(message));
        }
        return match common(answer)? {
            Head::NotFound => Ok(Listed::Absent),
            Head::Unauthorized { challenges, sent } => Err(unauthorized(&challenges, sent)),
            Head::Found { .. } | Head::Refused(_) => Err(answer.unexpected()),
        };
    }
    verified(digest, &answer.body)?;
    let shape = shape_in(&answer.body)?;
    if declared_shape(answer)?.is_some_and(|declared| declared != shape) {
        let detail = "`Content-Type` and body differ in whether this is an index";
        return Err(Unknown::new(Cause::NotRegistry, detail));
    }
    match shape {
        Shape::Index => Ok(Listed::Layers(Arc::default())),
        Shape::Manifest => layers(&answer.body).map(Listed::Layers),
    }
}

/// The config and the layers of a manifest's body, as containerd's `images.Children` reads them.
pub(super) fn layers(body: &[u8]) -> Result<Arc<[Layer]>, Unknown> {
    let odd = |what: String| Unknown::new(Cause::NotRegistry, what);
    let listed = descriptors(body)?;
    let mut found: Vec<Layer> = Vec::new();
    for one in listed.filter(Descriptor::is_of_the_registry) {
        let text = one.digest.as_deref().unwrap_or_default();
        let digest =
            text.parse().map_err(|error| odd(format!("the manifest lists the blob `{text}`: {error}")))?;
        if found.iter().all(|other| other.digest != digest) {
            found.push(Layer { digest, size: one.size.unwrap_or_default().try_into().unwrap_or_default() });
        }
        if found.len() > MAX_BLOBS {
            let detail = format!("the manifest lists more than {MAX_BLOBS} blobs");
            return Err(Unknown::new(Cause::TooLarge, detail));
        }
    }
    Ok(found.into())
}

/// How many of its layers nodes fetch from elsewhere.
pub(super) fn foreign(body: &[u8]) -> usize {
    let listed = descriptors(body).map(|listed| listed.filter(|one| !one.is_of_the_registry()).count());
    listed.unwrap_or_default()
}

fn descriptors(body: &[u8]) -> Result<impl Iterator<Item = Descriptor>, Unknown> {
    #[derive(Deserialize)]
    struct Manifest {
        config: Option<Object<Descriptor>>,
        layers: Option<Vec<Object<Descriptor>>>,
    }
    let Manifest { config, layers } = object(body)
        .map_err(|error| Unknown::new(Cause::NotRegistry, format!("the manifest cannot be read: {error}")))?;
    Ok(config.into_iter().chain(layers.unwrap_or_default()).map(|Object(one)| one))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    media_type: Option<String>,
    digest: Option<String>,
    size: Option<i64>,
    urls: Option<Vec<String>>,
}

impl Descriptor {
    /// Does the registry have to hold it? Layers that may not be distributed stay where their publisher has them; nodes fetch
    /// them from there, and replication leaves them out.
    fn is_of_the_registry(&self) -> bool {
        let kind = self.media_type.as_deref().unwrap_or_default();
        let elsewhere = self.urls.as_ref().is_some_and(|urls| !urls.is_empty());
        !(elsewhere || kind.contains(".nondistributable.") || kind.contains(".foreign."))
    }
}

/// Reads the answer to a HEAD. `None`: a GET must tell.
fn by_head(answer: &Answer) -> Option<Result<Blob, Unknown>> {
    match answer.status {
        StatusCode::OK => Some(Ok(Blob::Present(None))),
        // A HEAD has no body that would tell a registry's 404 from a web server's.
        StatusCode::NOT_FOUND if is_text(answer) => None,
        StatusCode::NOT_FOUND => Some(Ok(Blob::Absent)),
        // Some registries know no HEAD, and some storages take a URL that was signed for GET for GET only.
        StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED => None,
        StatusCode::FORBIDDEN if answer.by == By::Other => None,
        _ => Some(otherwise(answer)),
    }
}

/// Reads the answer to a GET of the first byte.
fn by_first_byte(answer: &Answer) -> Result<Blob, Unknown> {
    let total = || {
        let range = text(answer, CONTENT_RANGE)?;
        range.strip_prefix("bytes ")?.rsplit_once('/')?.1.parse::<u64>().ok()
    };
    match answer.status {
        StatusCode::PARTIAL_CONTENT if !answer.body.is_empty() => Ok(Blob::Present(total())),
        // It knows no ranges, and began to send the whole.
        StatusCode::OK => match announced(answer) {
            Some(0) => Ok(Blob::Present(Some(0))),
            size if !answer.body.is_empty() => Ok(Blob::Present(size)),
            _ => cut(answer),
        },
        StatusCode::PARTIAL_CONTENT => cut(answer),
        // An empty object has no first byte.
        StatusCode::RANGE_NOT_SATISFIABLE if total() == Some(0) => Ok(Blob::Present(Some(0))),
        StatusCode::NOT_FOUND if is_text(answer) && answer.message().is_empty() => {
            let kind = answer.content_type().unwrap_or_default();
            let detail = format!("404 with a body of type `{kind}`: this is not how a registry answers");
            Err(Unknown::new(Cause::NotRegistry, detail))
        }
        StatusCode::NOT_FOUND => Ok(Blob::Absent),
        _ => otherwise(answer),
    }
}

/// What is announced and not sent.
fn cut(answer: &Answer) -> Result<Blob, Unknown> {
    match answer.by {
        By::Registry => Ok(Blob::Cut),
        // Between us and the storage there may be more than between the registry and us.
        By::Other => {
            let detail = "its storage announced the blob, and the connection broke before the first byte";
            Err(Unknown::new(Cause::Broken, detail))
        }
    }
}

pub(super) fn otherwise(answer: &Answer) -> Result<Blob, Unknown> {
    if let Some(message) = refusal(answer) {
        return Ok(Blob::Refused(message));
    }
    let Unknown { cause, detail } = answer.unexpected();
    let cause = match (answer.by, cause) {
        // The storage's limits and permissions are not those of the registry.
        (By::Other, Cause::Unauthorized) => Cause::Forbidden,
        (By::Other, Cause::RateLimited { .. } | Cause::Unavailable { .. }) => Cause::ServerError,
        (_, cause) => cause,
    };
    let detail = match answer.by {
        By::Registry => detail,
        By::Other => format!("its storage answered {detail}").into(),
    };
    Err(Unknown { cause, detail })
}

/// The message of an answer by which the registry refuses for good. `None`: it does not, or it need not be the registry's.
fn refusal(answer: &Answer) -> Option<Arc<str>> {
    let for_good = matches!(answer.status.as_u16(), 400 | 405 | 406 | 409 | 410 | 415 | 422);
    if !for_good || is_text(answer) || answer.by == By::Other {
        return None;
    }
    Some(answer.unexpected().detail)
}

/// `Content-Length`, unless something packed the body on its way.
fn announced(answer: &Answer) -> Option<u64> {
    match text(answer, CONTENT_ENCODING) {
        None | Some("identity") => text(answer, CONTENT_LENGTH)?.parse().ok(),
        Some(_) => None,
    }
}

fn text(answer: &Answer, name: HeaderName) -> Option<&str> {
    answer.headers.get(name)?.to_str().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn descriptor(fill: char, kind: &str, more: &str) -> String {
        let digest = fill.to_string().repeat(64);
        format!(r#"{{"mediaType":"application/vnd.{kind}","digest":"sha256:{digest}","size":7{more}}}"#)
    }

    fn read(layers: &[String]) -> Result<Vec<char>, Cause> {
        let config = descriptor('c', "oci.image.config.v1+json", "");
        let body = format!(r#"{{"schemaVersion":2,"config":{config},"layers":[{}]}}"#, layers.join(","));
        let last = |layer: &Layer| layer.digest.to_string().chars().last().unwrap();
        let read = super::layers(body.as_bytes()).map_err(|unknown| unknown.cause)?;
        Ok(read.iter().map(last).collect())
    }

    #[test]
    fn config_and_layers_are_listed_and_what_nodes_fetch_from_elsewhere_is_not() {
        let layer = "oci.image.layer.v1.tar+gzip";
        let found = read(&[
            descriptor('0', layer, ""),
            descriptor('0', layer, ""),
            descriptor('1', layer, r#","urls":null"#),
            descriptor('2', layer, r#","urls":[]"#),
            descriptor('3', layer, r#","urls":["https://example.com/layer"]"#),
            descriptor('4', "oci.image.layer.nondistributable.v1.tar+gzip", ""),
            descriptor('5', "docker.image.rootfs.foreign.diff.tar.gzip", ""),
            descriptor('6', "cncf.helm.chart.content.v1.tar+gzip", ""),
            descriptor('7', layer, "").replace(r#","size":7"#, ""),
            descriptor('8', layer, "").replace("7", "-7"),
        ]);
        assert_eq!(found, Ok("c012678".chars().collect()));
    }

    #[test]
    fn what_go_reads_as_zero_lists_nothing_and_what_it_refuses_is_refused() {
        for body in [r#"{"config":null,"layers":null}"#, "{}"] {
            assert!(super::layers(body.as_bytes()).unwrap().is_empty(), "{body}");
        }
        for layers in [r#"{"digest":7}"#, r#"["sha256:ab"]"#, "{}", r#"{"digest":"sha256:ab"}"#] {
            assert_eq!(read(&[layers.to_owned()]), Err(Cause::NotRegistry), "{layers}");
        }
        let many: Vec<String> = (0..=MAX_BLOBS)
            .map(|n| {
                descriptor('0', "oci.image.layer.v1.tar", "").replace(&"0".repeat(64), &format!("{n:064}"))
            })
            .collect();
        assert_eq!(read(&many), Err(Cause::TooLarge));
    }
}
