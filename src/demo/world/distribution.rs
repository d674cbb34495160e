//! The answers of distribution itself, alone or behind Harbor's core: manifests, blobs, tags.

use bytes::Bytes;
use http::StatusCode;
use http::header::{ACCEPT_RANGES, CACHE_CONTROL, ETAG, HeaderName};
use serde_json::json;

use super::content::{Content, OCI_INDEX, OCI_MANIFEST};
use super::message::{Answer, Ask, body, error, errors, of_distribution, with};
use super::store::{Repository, Stored};
use crate::domain::digest::Digest;

/// What a path under `/v2/` names.
pub(super) enum Target<'a> {
    Root,
    Manifest { repository: &'a str, reference: &'a str },
    Blob { repository: &'a str, digest: &'a str },
    Tags { repository: &'a str },
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
            _ => Self::Unknown,
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

/// A blob, or 404. A manifest is a blob, too.
pub(super) fn blob(repository: Option<&Repository>, digest: &str) -> Answer {
    let found = digest.parse().ok().and_then(|digest: Digest| {
        let repository = repository?;
        let manifest = || {
            let artifact = repository.artifacts.get(&digest)?;
            (artifact.stored == Stored::Intact).then(|| artifact.content.bytes.clone())
        };
        let bytes: Bytes = repository.blobs.get(&digest).cloned().or_else(manifest)?;
        Some((digest, bytes))
    });
    let Some((digest, bytes)) = found else {
        return of_distribution(errors(
            StatusCode::NOT_FOUND,
            &json!({"errors": [{"code": "BLOB_UNKNOWN", "message": "blob unknown to registry", "detail": digest}]}),
        ));
    };
    let answer = named(body(StatusCode::OK, "application/octet-stream", bytes), &digest);
    with(with(answer, ACCEPT_RANGES, "bytes"), CACHE_CONTROL, "max-age=31536000")
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
