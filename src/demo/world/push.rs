//! Pushes, as distribution takes them, alone or behind Harbor's core: uploads, mounts, manifests; and the list of referrers.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{HeaderName, LOCATION, RANGE};
use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::content::{
    Blob, Child, Content, DOCKER_LIST, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST, Role, sha256,
};
use super::distribution::{CONTENT_DIGEST, Target};
use super::message::{Answer, Ask, body, empty, error, of_distribution, with};
use super::object::Object;
use super::pushes::{ImmutableTags, PartialIndexes, ReferrersApi};
use super::store::{Descriptors, Store, Stored};
use crate::domain::digest::Digest;

impl Store {
    /// Pushes an image with one more layer, of this size, which is made while it is sent. Returns the digest of the image.
    pub fn push_large(&mut self, repository: &str, tag: &str, content: Content, size: u64) -> Digest {
        let (object, layer) = Object::repeated(tag, size);
        let content = content.listing(layer, size);
        let digest = self.push(repository, tag, &content);
        self.put_object(repository, layer, object, false);
        digest
    }

    /// The bytes of a blob that is held in memory.
    #[must_use]
    pub fn bytes(&self, repository: &str, digest: &Digest) -> Option<Bytes> {
        match self.object(repository, digest)? {
            (Object::Memory(bytes), _) => Some(bytes),
            _ => None,
        }
    }

    /// Pushes a blob that no manifest names yet.
    pub fn put_blob(&mut self, repository: &str, bytes: &Bytes) {
        let digest = sha256(bytes);
        self.put_object(repository, digest, Object::Memory(bytes.clone()), false);
    }

    /// The text of a manifest.
    #[must_use]
    pub fn manifest(&self, repository: &str, reference: &str) -> Option<String> {
        let (_, artifact) = self.find(repository, reference)?;
        String::from_utf8(artifact.content.bytes.to_vec()).ok()
    }

    /// A blob of a repository, and whether the storage has lost it.
    pub(super) fn object(&self, repository: &str, digest: &Digest) -> Option<(Object, bool)> {
        let repository = self.repositories.get(repository)?;
        Some((repository.blobs.get(digest)?.clone(), repository.lost.contains(digest)))
    }

    /// Stores a blob. The storage is one for all repositories: what it had lost is back.
    pub(super) fn put_object(&mut self, repository: &str, digest: Digest, object: Object, lost: bool) {
        let here = self.repository(repository);
        here.blobs.insert(digest, object);
        if lost {
            here.lost.insert(digest);
            return;
        }
        for repository in self.repositories.values_mut() {
            repository.lost.remove(&digest);
        }
    }

    /// Stores a manifest whose blobs are there.
    pub(super) fn put_manifest(&mut self, repository: &str, content: &Content) {
        let without = Content { blobs: Vec::new(), ..content.clone() };
        self.put(repository, content.digest, &without, Role::Image);
        if let Some(artifact) = self.repository(repository).artifacts.get_mut(&content.digest) {
            artifact.content = Arc::new(content.clone());
        }
    }

    /// A manifest of a repository.
    pub(super) fn content(&self, repository: &str, digest: &Digest) -> Option<Content> {
        let artifact = self.repositories.get(repository)?.artifacts.get(digest)?;
        (artifact.stored == Stored::Intact).then(|| Content::clone(&artifact.content))
    }

    /// All manifests of a repository.
    pub(super) fn contents(&self, repository: &str) -> impl Iterator<Item = &Content> {
        let found = self.repositories.get(repository);
        found.into_iter().flat_map(|found| found.artifacts.values()).map(|artifact| &*artifact.content)
    }

    /// The bytes of all blobs of a project.
    pub(super) fn used(&self, project: &str) -> u64 {
        let ours = self.repositories.iter().filter(|(name, _)| name.split('/').next() == Some(project));
        ours.flat_map(|(_, repository)| repository.blobs.values()).map(Object::len).sum()
    }
}

/// Answers a request that writes. `may_mount`: whether the caller may read this other repository.
pub(super) fn answer(
    store: &mut Store,
    url: &str,
    ask: &Ask,
    target: &Target<'_>,
    may_mount: impl Fn(&Store, &str) -> bool,
) -> Answer {
    let answer = match (*target, &ask.method) {
        (Target::Uploads { repository, .. }, &Method::POST) => begin(store, url, ask, repository, may_mount),
        (Target::Uploads { repository, id }, &Method::PATCH) => write(store, url, ask, repository, id),
        (Target::Uploads { repository, id }, &Method::PUT) => finish(store, ask, repository, id),
        (Target::Uploads { id, .. }, &Method::DELETE) => {
            store.pushes.uploads.remove(id);
            empty(StatusCode::NO_CONTENT)
        }
        (Target::Manifest { repository, reference }, &Method::PUT) => {
            manifest(store, ask, repository, reference)
        }
        _ => error(StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED", "The operation is unsupported."),
    };
    of_distribution(answer)
}

fn begin(
    store: &mut Store,
    url: &str,
    ask: &Ask,
    repository: &str,
    may_mount: impl Fn(&Store, &str) -> bool,
) -> Answer {
    if let (Some(mount), Some(from)) = (ask.parameter("mount"), ask.parameter("from"))
        && let Ok(digest) = mount.parse::<Digest>()
        && may_mount(store, from)
        && let Some((object, lost)) = store.object(from, &digest)
        // From a cache of descriptors, a blob is mounted that the storage has lost.
        && (!lost || store.descriptors == Descriptors::Cache)
    {
        if let Some(refusal) = over_quota(store, repository, object.len()) {
            return refusal;
        }
        store.put_object(repository, digest, object, lost);
        let answer =
            with(empty(StatusCode::CREATED), LOCATION, &format!("{url}/v2/{repository}/blobs/{digest}"));
        return with(answer, CONTENT_DIGEST, &digest.to_string());
    }
    let id = format!("upload-{}", store.id());
    store.pushes.uploads.insert(id.clone(), None);
    session(StatusCode::ACCEPTED, url, repository, &id, 0)
}

fn session(status: StatusCode, url: &str, repository: &str, id: &str, length: u64) -> Answer {
    let answer =
        with(empty(status), LOCATION, &format!("{url}/v2/{repository}/blobs/uploads/{id}?_state=demo"));
    let answer = with(answer, HeaderName::from_static("docker-upload-uuid"), id);
    with(answer, RANGE, &format!("0-{}", length.saturating_sub(1)))
}

fn write(store: &mut Store, url: &str, ask: &Ask, repository: &str, id: &str) -> Answer {
    let Some((object, digest)) = ask.spooled.clone() else { return empty(StatusCode::BAD_REQUEST) };
    let length = object.len();
    match store.pushes.uploads.get_mut(id) {
        Some(upload @ None) => *upload = Some((object, digest)),
        // Uploads in several parts are no business of the demo's.
        Some(Some(_)) => return empty(StatusCode::RANGE_NOT_SATISFIABLE),
        None => {
            return error(StatusCode::NOT_FOUND, "BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry");
        }
    }
    session(StatusCode::ACCEPTED, url, repository, id, length)
}

fn finish(store: &mut Store, ask: &Ask, repository: &str, id: &str) -> Answer {
    let Some(upload) = store.pushes.uploads.remove(id) else {
        return error(StatusCode::NOT_FOUND, "BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry");
    };
    let (object, digest) = upload.unwrap_or_else(|| (Object::Memory(ask.body.clone()), sha256(&ask.body)));
    if ask.parameter("digest") != Some(digest.to_string().as_str()) {
        return error(
            StatusCode::BAD_REQUEST,
            "DIGEST_INVALID",
            "provided digest did not match uploaded content",
        );
    }
    if let Some(refusal) = over_quota(store, repository, object.len()) {
        return refusal;
    }
    store.put_object(repository, digest, object, false);
    with(empty(StatusCode::CREATED), CONTENT_DIGEST, &digest.to_string())
}

/// Harbor's words (src/pkg/quota: `util.go`).
fn over_quota(store: &Store, repository: &str, added: u64) -> Option<Answer> {
    let quota = store.pushes.quota?;
    let used = store.used(repository.split('/').next().unwrap_or_default());
    (used + added > quota).then(|| {
        let message = format!(
            "adding {added} B of storage resource, which when updated to current usage of {used} B will exceed the configured upper limit of {quota} B."
        );
        error(StatusCode::FORBIDDEN, "DENIED", &message)
    })
}

fn manifest(store: &mut Store, ask: &Ask, repository: &str, reference: &str) -> Answer {
    let digest = sha256(&ask.body);
    let named: Option<Digest> = reference.parse().ok();
    if named.is_some_and(|named| named != digest) {
        return error(
            StatusCode::BAD_REQUEST,
            "DIGEST_INVALID",
            "provided digest did not match uploaded content",
        );
    }
    if named.is_none()
        && store.pushes.tags == ImmutableTags::All
        && store.digest(repository, reference).is_some_and(|old| old != digest)
    {
        let message =
            format!("Failed to process request due to '{repository}:{reference}' configured as immutable.");
        return error(StatusCode::PRECONDITION_FAILED, "PRECONDITION", &message);
    }
    let Some(content) = content(store, ask, repository) else {
        let message = "manifest blob unknown to registry";
        return error(StatusCode::NOT_FOUND, "MANIFEST_BLOB_UNKNOWN", message);
    };
    store.put_manifest(repository, &content);
    if named.is_none() {
        store.tag(repository, reference, &digest);
    }
    let tag = named.is_none().then_some(reference);
    store.hooks.tell("PUSH_ARTIFACT", repository, &digest.to_string(), tag);
    let mut answer = with(empty(StatusCode::CREATED), CONTENT_DIGEST, &digest.to_string());
    let body: Value = serde_json::from_slice(&content.bytes).unwrap_or_default();
    let subject = body.pointer("/subject/digest").and_then(Value::as_str);
    if let Some(subject) = subject.filter(|_| store.pushes.referrers == ReferrersApi::Served) {
        answer = with(answer, HeaderName::from_static("oci-subject"), subject);
    }
    // Harbor makes an accessory of it (src/server/middleware/{subject,cosign}).
    let cosign = reference.strip_suffix(".sig").map(|tag| tag.replacen('-', ":", 1));
    let kinds = [(subject.map(str::to_owned), "subject.accessory"), (cosign, "signature.cosign")];
    for (subject, kind) in kinds {
        if let Some(subject) = subject.and_then(|subject| subject.parse().ok()) {
            store.attach(repository, &subject, kind, digest);
        }
    }
    answer
}

/// The manifest with all that it names. `None`: some of it is not in the repository.
fn content(store: &Store, ask: &Ask, repository: &str) -> Option<Content> {
    let media_type = ask.header(http::header::CONTENT_TYPE)?;
    let media_type = [OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_LIST]
        .into_iter()
        .find(|known| *known == media_type)?;
    let manifest: Value = serde_json::from_slice(&ask.body).ok()?;
    let digest = |one: &Value| one.get("digest")?.as_str()?.parse::<Digest>().ok();
    let list = |name: &str| manifest.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
    let index = media_type == OCI_INDEX || media_type == DOCKER_LIST;
    let (mut blobs, mut children) = (Vec::new(), Vec::new());
    for one in list("layers").iter().chain(manifest.get("config")) {
        let elsewhere = one.get("urls").and_then(Value::as_array).is_some_and(|urls| !urls.is_empty());
        if elsewhere {
            continue;
        }
        let (object, lost) = store.object(repository, &digest(one)?)?;
        if lost && store.descriptors == Descriptors::Storage {
            return None;
        }
        let bytes = if let Object::Memory(bytes) = object { bytes } else { Bytes::new() };
        blobs.push(Blob { digest: digest(one)?, bytes });
    }
    for one in list("manifests").iter().filter(|_| index) {
        let Some(content) = store.content(repository, &digest(one)?) else {
            if store.pushes.partial_indexes == PartialIndexes::Accepted {
                continue;
            }
            return None;
        };
        let word = |name: &str| one.pointer(&format!("/platform/{name}")).and_then(Value::as_str);
        let parts = [word("os"), word("architecture"), word("variant")];
        let platform = parts.into_iter().flatten().collect::<Vec<_>>().join("/").into();
        let role = match one.pointer("/annotations/vnd.docker.reference.type") {
            Some(_) => Role::Attestation,
            None => Role::Image,
        };
        children.push(Child { content, platform, role });
    }
    let config_type = match manifest.pointer("/config/mediaType").and_then(Value::as_str) {
        _ if index => None,
        Some("application/vnd.docker.container.image.v1+json") => {
            Some("application/vnd.docker.container.image.v1+json")
        }
        Some("application/vnd.oci.image.config.v1+json") => Some("application/vnd.oci.image.config.v1+json"),
        _ => Some("application/vnd.oci.empty.v1+json"),
    };
    let bytes = ask.body.clone();
    Some(Content { media_type, digest: sha256(&bytes), bytes, config_type, blobs, children })
}

/// What refers to a manifest.
pub(super) fn referrers(store: &Store, repository: &str, subject: &str) -> Answer {
    if store.pushes.referrers == ReferrersApi::Absent {
        return body(StatusCode::NOT_FOUND, "text/plain; charset=utf-8", "404 page not found\n");
    }
    let mut found = BTreeMap::new();
    for content in store.contents(repository) {
        let manifest: Value = serde_json::from_slice(&content.bytes).unwrap_or_default();
        if manifest.pointer("/subject/digest").and_then(Value::as_str) == Some(subject) {
            let descriptor = json!({
                "mediaType": content.media_type, "digest": content.digest, "size": content.bytes.len(),
                "artifactType": manifest.get("artifactType").or(manifest.pointer("/config/mediaType")),
            });
            found.insert(content.digest, descriptor);
        }
    }
    let manifests: Vec<Value> = found.into_values().collect();
    let list = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests});
    of_distribution(body(StatusCode::OK, OCI_INDEX, list.to_string()))
}
