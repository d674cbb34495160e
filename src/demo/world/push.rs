//! Pushes, as distribution takes them, alone or behind Harbor's core: uploads, mounts, manifests; and the list of referrers.

use std::collections::{BTreeMap, HashMap};

use http::header::{HeaderName, LOCATION, RANGE};
use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::content::{
    Blob, Child, Content, DOCKER_LIST, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST, Role, sha256,
};
use super::distribution::{CONTENT_DIGEST, Target};
use super::message::{Answer, Ask, body, empty, error, of_distribution, with};
use super::object::Object;
use super::store::{Descriptors, Store};
use crate::domain::digest::Digest;

/// What a registry does about pushes.
#[derive(Debug)]
pub struct Pushes {
    /// Whether it takes any.
    pub writes: Writes,
    /// The most bytes of all blobs in a Harbor's project.
    pub quota: Option<u64>,
    /// Whether it knows the API of referrers.
    pub referrers: ReferrersApi,
    /// Whether it takes an index without all of its children.
    pub partial_indexes: PartialIndexes,
    /// Whether a rule keeps every tag that there is.
    pub tags: ImmutableTags,
    /// The bytes of uploads, by their number. `None`: nothing has arrived yet.
    uploads: HashMap<String, Option<(Object, Digest)>>,
}

/// Whether a registry takes pushes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writes {
    /// It does.
    Accepted,
    /// It is in read-only mode.
    ReadOnly,
}

/// Whether a registry knows the API of referrers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReferrersApi {
    /// It does.
    Served,
    /// It answers 404: clients keep the list under a tag.
    Absent,
}

/// Whether a registry takes an index without all of its children.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PartialIndexes {
    /// It does not, as Harbor.
    Refused,
    /// It does, as ECR.
    Accepted,
}

/// Whether tags can be moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImmutableTags {
    /// They can.
    None,
    /// An immutability rule covers all of them.
    All,
}

impl Pushes {
    pub(super) fn new() -> Self {
        Self {
            writes: Writes::Accepted,
            quota: None,
            referrers: ReferrersApi::Served,
            partial_indexes: PartialIndexes::Refused,
            tags: ImmutableTags::None,
            uploads: HashMap::new(),
        }
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
    let id = format!("upload-{}", store.next());
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
        let bytes = if let Object::Memory(bytes) = object { bytes } else { bytes::Bytes::new() };
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
