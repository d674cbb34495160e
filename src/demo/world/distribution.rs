//! The answers of distribution itself, alone or behind Harbor's core: manifests, blobs, tags.

use bytes::Bytes;
use http::header::{ACCEPT_RANGES, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, ETAG, HeaderName, RANGE};
use http::{Method, StatusCode};
use serde_json::json;

use super::content::{Content, OCI_INDEX, OCI_MANIFEST};
use super::message::{Answer, Ask, body, error, errors, of_distribution, with};
use super::object::Object;
use super::store::{Descriptors, Ranges, Repository, Store, Stored};
use crate::domain::digest::Digest;

/// What a path under `/v2/` names.
#[derive(Debug, Clone, Copy)]
pub(super) enum Target<'a> {
    Root,
    Manifest { repository: &'a str, reference: &'a str },
    Blob { repository: &'a str, digest: &'a str },
    Tags { repository: &'a str },
    Uploads { repository: &'a str, id: &'a str },
    Referrers { repository: &'a str, subject: &'a str },
    Unknown,
}

impl<'a> Target<'a> {
    /// Reads a path that begins with `/v2/`.
    pub fn of(path: &'a str) -> Self {
        let Some(rest) = path.strip_prefix("/v2/") else { return Self::Unknown };
        if rest.is_empty() {
            return Self::Root;
        }
        if let Some(repository) = rest.strip_suffix("/tags/list") {
            return Self::Tags { repository };
        }
        let mut parts = rest.rsplitn(3, '/');
        match (parts.next(), parts.next(), parts.next()) {
            (Some(reference), Some("manifests"), Some(repository)) => {
                Self::Manifest { repository, reference }
            }
            (Some(digest), Some("blobs"), Some(repository)) => Self::Blob { repository, digest },
            (Some(subject), Some("referrers"), Some(repository)) => Self::Referrers { repository, subject },
            (Some(id), Some("uploads"), Some(rest)) => match rest.strip_suffix("/blobs") {
                Some(repository) => Self::Uploads { repository, id },
                None => Self::Unknown,
            },
            _ => Self::Unknown,
        }
    }

    /// The repository that it is about.
    pub fn repository(self) -> Option<&'a str> {
        match self {
            Self::Manifest { repository, .. }
            | Self::Blob { repository, .. }
            | Self::Tags { repository }
            | Self::Uploads { repository, .. }
            | Self::Referrers { repository, .. } => Some(repository),
            Self::Root | Self::Unknown => None,
        }
    }
}

/// 200 with a manifest, or the 404 of an `Accept` that does not name its OCI type.
///
/// distribution 2.8 (registry/handlers/manifests.go) requires the exact type of an OCI manifest in `Accept`: `*/*` is not
/// enough, not even for a request by digest. Docker's types are served whatever is accepted.
pub(super) fn manifest(ask: &Ask, digest: &Digest, content: &Content) -> Answer {
    let accepts = ask.accepts();
    let refused = match content.media_type {
        OCI_MANIFEST if !accepts.contains(&OCI_MANIFEST) => {
            Some("OCI manifest found, but accept header does not support OCI manifests")
        }
        OCI_INDEX if !accepts.contains(&OCI_INDEX) => {
            Some("OCI index found, but accept header does not support OCI indexes")
        }
        _ => None,
    };
    if let Some(message) = refused {
        return of_distribution(error(StatusCode::NOT_FOUND, "MANIFEST_UNKNOWN", message));
    }
    named(body(StatusCode::OK, content.media_type, content.bytes.clone()), digest)
}

/// The 404 for a manifest that is not in the storage.
pub(super) fn manifest_unknown(repository: &str, reference: &str) -> Answer {
    let detail = match reference.parse::<Digest>() {
        Ok(_) => json!({"Name": repository, "Revision": reference}),
        Err(_) => json!({"Name": repository, "Tag": reference}),
    };
    of_distribution(errors(
        StatusCode::NOT_FOUND,
        &json!({"errors": [{"code": "MANIFEST_UNKNOWN", "message": "manifest unknown", "detail": detail}]}),
    ))
}

/// A blob or the asked part of it, or 404. A manifest is a blob, too.
pub(super) fn blob(store: &Store, ask: &Ask, repository: &str, digest: &str) -> Answer {
    let repository = store.repositories.get(repository);
    let found = digest.parse().ok().and_then(|digest: Digest| {
        let repository = repository?;
        let manifest = || {
            let artifact = repository.artifacts.get(&digest)?;
            (artifact.stored == Stored::Intact).then(|| Object::Memory(artifact.content.bytes.clone()))
        };
        let lost = repository.lost.contains(&digest);
        let known = !lost || store.descriptors == Descriptors::Cache;
        let blob = repository.blobs.get(&digest).filter(|_| known);
        Some((digest, blob.cloned().or_else(manifest)?, lost))
    });
    let Some((digest, object, lost)) = found else {
        return of_distribution(errors(
            StatusCode::NOT_FOUND,
            &json!({"errors": [{"code": "BLOB_UNKNOWN", "message": "blob unknown to registry", "detail": digest}]}),
        ));
    };
    let whole = object.len();
    let range = ask.header(RANGE).filter(|_| ask.method == Method::GET && store.ranges == Ranges::Obeyed);
    let (status, first, end) = match range.map(|range| part(range, whole)) {
        None => (StatusCode::OK, 0, whole),
        Some(Some((first, end))) => (StatusCode::PARTIAL_CONTENT, first, end),
        Some(None) => {
            let answer = body(StatusCode::RANGE_NOT_SATISFIABLE, "text/plain; charset=utf-8", "");
            return of_distribution(with(answer, CONTENT_RANGE, &format!("bytes */{whole}")));
        }
    };
    let held = match &object {
        Object::Memory(bytes) => bytes.slice(place(first)..place(end)),
        Object::File(..) | Object::Repeated(..) => Bytes::new(),
    };
    let mut answer = body(status, "application/octet-stream", held);
    if !matches!(object, Object::Memory(_)) {
        answer = with(answer, CONTENT_LENGTH, &(end - first).to_string());
        answer.extensions_mut().insert(Streamed { object, first, end });
    }
    if status == StatusCode::PARTIAL_CONTENT {
        answer = with(answer, CONTENT_RANGE, &format!("bytes {first}-{}/{whole}", end.saturating_sub(1)));
    }
    let mut answer = named(answer, &digest);
    if lost {
        answer.extensions_mut().insert(Bodiless);
    }
    with(with(answer, ACCEPT_RANGES, "bytes"), CACHE_CONTROL, "max-age=31536000")
}

fn place(at: u64) -> usize {
    usize::try_from(at).unwrap_or(usize::MAX)
}

/// The part of an object that is sent as it is read.
#[derive(Debug, Clone)]
pub(super) struct Streamed {
    pub object: Object,
    pub first: u64,
    pub end: u64,
}

/// Marks an answer whose headers announce a body of which no byte is sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bodiless;

/// The part that `bytes=first-last` asks for: its first place, and the one after its last. `None`: nothing of the blob is in it.
fn part(range: &str, whole: u64) -> Option<(u64, u64)> {
    let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
    let first: u64 = first.parse().ok()?;
    let end = last.parse().map_or(whole, |last: u64| last.saturating_add(1)).min(whole);
    (first < end).then_some((first, end))
}

/// The list of tags.
pub(super) fn tags(name: &str, repository: &Repository) -> Answer {
    let tags: Vec<&String> = repository.tags.keys().collect();
    body(StatusCode::OK, "application/json; charset=utf-8", json!({"name": name, "tags": tags}).to_string())
}

/// Adds the headers that name the content.
fn named(answer: Answer, digest: &Digest) -> Answer {
    let answer = with(answer, CONTENT_DIGEST, &digest.to_string());
    of_distribution(with(answer, ETAG, &format!("\"{digest}\"")))
}

/// `Docker-Content-Digest`
pub(super) const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
