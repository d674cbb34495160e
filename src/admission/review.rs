//! `AdmissionReview` v1, read: one pass over the body, the Pod straight into its surface.
//!
//! Own structs and borrowed texts: the typed ones of client libraries cost five times the CPU. The fields
//! `requestKind`, `requestResource` and `requestSubResource` are not read: they differ from `kind`, `resource`
//! and `subResource` only where a kind has several versions, and Pods have one.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::pod::json::{Object, object, object_or_default, text};
use crate::pod::surface::MirrorMark;
use crate::pod::{AdmissionKind, Pod, Slot};

/// Which webhook was called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Door {
    /// `/mutate`: new Pods and new debugging containers.
    Mutate,
    /// `/validate/<policy>`: these, and updates that change an image.
    Validate,
}

/// Whether the request is a dry run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DryRun {
    /// The object will be persisted, if nobody refuses it.
    No,
    /// `dryRun: true`: the same answer, without side effects.
    Yes,
}

/// Who speaks for the Pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Origin {
    /// A client.
    Client,
    /// A kubelet, for a static Pod that it runs already: changing this mirror of it breaks it.
    MirrorPod,
}

/// A request to judge a Pod.
#[derive(Debug)]
pub struct Review<'a> {
    /// Echoed in the answer.
    pub uid: Cow<'a, str>,
    /// Why the Pod is before us.
    pub kind: AdmissionKind,
    /// The Pod's namespace.
    pub namespace: Cow<'a, str>,
    /// Who asks, as the API server authenticated them.
    pub username: Cow<'a, str>,
    /// Meant, or only tried.
    pub dry_run: DryRun,
    /// The Pod as it would be.
    pub pod: Box<Pod<'a>>,
    /// The Pod as it was, on an update.
    pub before: Option<Box<Pod<'a>>>,
}

impl Review<'_> {
    /// The images to judge.
    #[must_use]
    pub fn slots(&self) -> Vec<Slot<'_>> {
        self.pod.slots_to_judge(self.kind, self.before.as_deref())
    }

    /// Whether the Pod is being deleted already. Anybody can write that into a new one.
    #[must_use]
    pub fn is_leaving(&self) -> bool {
        self.pod.metadata.as_ref().is_some_and(|have| have.deletion_timestamp.is_some())
    }

    /// Who speaks. The mark of a mirror Pod counts only from a node: anybody can write the annotation.
    #[must_use]
    pub fn origin(&self) -> Origin {
        let marked = self.pod.annotations().is_some_and(|have| have.mirror == MirrorMark::Present);
        if marked && self.username.strip_prefix("system:node:").is_some() {
            Origin::MirrorPod
        } else {
            Origin::Client
        }
    }
}

/// Why there is no Pod to judge.
#[derive(Debug, thiserror::Error)]
pub enum ReviewError {
    /// No API server sends this: answer with status 400.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// A review that is no business of this door: allow it as it is, silently.
    #[error("not judged: {what}")]
    NotOurs {
        /// To be echoed.
        uid: Box<str>,
        /// What it is instead.
        what: NotOurs,
    },
    /// A Pod that we should judge and cannot read: allow it with a warning at `/mutate`, fail at `/validate`.
    #[error("the Pod cannot be read")]
    Unreadable {
        /// To be echoed.
        uid: Box<str>,
        /// What is the matter with it.
        #[source]
        source: Unreadable,
    },
}

/// A body that is no `AdmissionReview` v1 with a request.
#[derive(Debug, thiserror::Error)]
pub enum Malformed {
    /// Empty, HTML, cut short …
    #[error("the body is not JSON")]
    NotJson {
        /// Where it stops to be.
        #[source]
        source: serde_json::Error,
    },
    /// An array, or a field of the review itself is of the wrong type.
    #[error("the body is JSON, but no AdmissionReview")]
    Shape {
        /// Which field.
        #[source]
        source: Box<serde_path_to_error::Error<serde_json::Error>>,
    },
    /// Another object.
    #[error("`kind` is `{found}`, not `AdmissionReview`")]
    Kind {
        /// Its kind, empty where it has none.
        found: Box<str>,
    },
    /// `v1beta1`, or a version that is yet to come.
    #[error("`apiVersion` is `{found}`; only `admission.k8s.io/v1` is spoken here")]
    Version {
        /// Its version, empty where it has none.
        found: Box<str>,
    },
    /// An answer, perhaps.
    #[error("the AdmissionReview has no `request`")]
    NoRequest,
    /// Without it no answer counts.
    #[error("the request has no `uid`")]
    NoUid,
}

/// What a review is about, if not about a Pod that we judge.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotOurs {
    /// Another kind or resource.
    #[error("`{kind}` of `{resource}` is not a Pod")]
    Kind {
        /// Its kind.
        kind: Box<str>,
        /// Its resource.
        resource: Box<str>,
    },
    /// A subresource other than `ephemeralcontainers`.
    #[error("`pods/{found}` changes no image")]
    SubResource {
        /// Which one.
        found: Box<str>,
    },
    /// An operation that this door leaves alone.
    #[error("the operation `{found}` is left alone")]
    Operation {
        /// Which one.
        found: Box<str>,
    },
}

/// Why a Pod cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// `object` is absent.
    #[error("the request has no `object`")]
    Absent,
    /// A field is not what it is in a Pod.
    #[error("`{path}` is not what a Pod has there")]
    Field {
        /// The path in the review, `request.object.spec.containers[0].image`.
        path: Box<str>,
        /// What stands there.
        #[source]
        source: serde_json::Error,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", bound(deserialize = "P: Deserialize<'de>, 'de: 'a"))]
struct Envelope<'a, P> {
    #[serde(default, borrow, deserialize_with = "text")]
    api_version: Option<Cow<'a, str>>,
    #[serde(default, borrow, deserialize_with = "text")]
    kind: Option<Cow<'a, str>>,
    #[serde(default = "none", deserialize_with = "object")]
    request: Option<Request<'a, P>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", bound(deserialize = "P: Deserialize<'de>, 'de: 'a"))]
struct Request<'a, P> {
    #[serde(default, borrow, deserialize_with = "text")]
    uid: Option<Cow<'a, str>>,
    #[serde(default, borrow, deserialize_with = "object_or_default")]
    kind: Kind<'a>,
    #[serde(default, borrow, deserialize_with = "object_or_default")]
    resource: Resource<'a>,
    #[serde(default, borrow, deserialize_with = "text")]
    sub_resource: Option<Cow<'a, str>>,
    #[serde(default, borrow, deserialize_with = "text")]
    namespace: Option<Cow<'a, str>>,
    #[serde(default, borrow, deserialize_with = "text")]
    operation: Option<Cow<'a, str>>,
    #[serde(default)]
    dry_run: Option<bool>,
    #[serde(default, borrow, deserialize_with = "object_or_default")]
    user_info: UserInfo<'a>,
    #[serde(default = "none")]
    object: Option<P>,
    #[serde(default = "none")]
    old_object: Option<P>,
}

/// What is absent; a bare `default` would ask for `P: Default`.
fn none<T>() -> Option<T> {
    None
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Kind<'a> {
    #[serde(borrow, deserialize_with = "text")]
    group: Option<Cow<'a, str>>,
    #[serde(borrow, deserialize_with = "text")]
    version: Option<Cow<'a, str>>,
    #[serde(borrow, deserialize_with = "text")]
    kind: Option<Cow<'a, str>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Resource<'a> {
    #[serde(borrow, deserialize_with = "text")]
    resource: Option<Cow<'a, str>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct UserInfo<'a> {
    #[serde(borrow, deserialize_with = "text")]
    username: Option<Cow<'a, str>>,
}

/// Reads the body of a request.
///
/// # Errors
///
/// See [`ReviewError`]: whether there is a uid to echo, and what the door should do.
pub fn decode(body: &[u8], door: Door) -> Result<Review<'_>, ReviewError> {
    // Once for the whole body, rather than for each of its texts.
    let body = std::str::from_utf8(body)
        .map_err(|error| Malformed::NotJson { source: serde::de::Error::custom(error) })?;
    // The second pass, and the third, are for bodies that no API server sends: the first knows neither where it
    // failed nor whose uid it was.
    let Ok(Object(envelope)) = serde_json::from_str::<Object<Envelope<'_, Object<Box<Pod<'_>>>>>>(body)
    else {
        return Err(diagnose(body, door));
    };
    let (request, uid, kind) = admit(envelope, door)?;
    let Some(pod) = request.object.and_then(|object| object.0) else {
        return Err(ReviewError::Unreadable { uid: uid.into(), source: Unreadable::Absent });
    };
    let namespace = request.namespace.filter(|namespace| !namespace.is_empty());
    let namespace = namespace.or_else(|| pod.metadata.as_ref()?.namespace.clone()).unwrap_or_default();
    Ok(Review {
        uid,
        kind,
        namespace,
        username: request.user_info.username.unwrap_or_default(),
        dry_run: if request.dry_run == Some(true) { DryRun::Yes } else { DryRun::No },
        pod,
        before: request.old_object.and_then(|object| object.0),
    })
}

/// Looks at everything but the Pod: is this ours, and why is it here?
fn admit<'a, P>(
    envelope: Option<Envelope<'a, P>>,
    door: Door,
) -> Result<(Request<'a, P>, Cow<'a, str>, AdmissionKind), ReviewError> {
    let (api_version, kind, request) =
        envelope.map_or((None, None, None), |one| (one.api_version, one.kind, one.request));
    if kind.as_deref() != Some("AdmissionReview") {
        return Err(Malformed::Kind { found: kind.unwrap_or_default().into() }.into());
    }
    if api_version.as_deref() != Some("admission.k8s.io/v1") {
        return Err(Malformed::Version { found: api_version.unwrap_or_default().into() }.into());
    }
    let mut request = request.ok_or(Malformed::NoRequest)?;
    let uid = request.uid.take().filter(|uid| !uid.is_empty()).ok_or(Malformed::NoUid)?;
    match admission_kind(&request, door) {
        Ok(kind) => Ok((request, uid, kind)),
        Err(what) => Err(ReviewError::NotOurs { uid: uid.into(), what }),
    }
}

fn admission_kind<P>(request: &Request<'_, P>, door: Door) -> Result<AdmissionKind, NotOurs> {
    let Kind { group, version, kind } = &request.kind;
    let (kind, resource) = (plain(kind), plain(&request.resource.resource));
    if (plain(group), plain(version), kind, resource) != ("", "v1", "Pod", "pods") {
        return Err(NotOurs::Kind { kind: kind.into(), resource: resource.into() });
    }
    match (plain(&request.sub_resource), plain(&request.operation), door) {
        ("", "CREATE", _) => Ok(AdmissionKind::Create),
        ("ephemeralcontainers", "UPDATE", _) => Ok(AdmissionKind::Ephemeral),
        ("", "UPDATE", Door::Validate) => Ok(AdmissionKind::Update),
        ("" | "ephemeralcontainers", operation, _) => Err(NotOurs::Operation { found: operation.into() }),
        (found, ..) => Err(NotOurs::SubResource { found: found.into() }),
    }
}

fn plain<'t>(text: &'t Option<Cow<'_, str>>) -> &'t str {
    text.as_deref().unwrap_or_default()
}

/// Reads a body again that could not be read, without its Pods: whose uid is it, and what is wrong?
fn diagnose(body: &str, door: Door) -> ReviewError {
    let head = match with_path::<Object<Envelope<'_, IgnoredAny>>>(body) {
        Ok(Object(head)) => head,
        Err(source) if source.inner().is_data() => {
            return Malformed::Shape { source: Box::new(source) }.into();
        }
        Err(source) => return Malformed::NotJson { source: source.into_inner() }.into(),
    };
    let uid = match admit(head, door) {
        Ok((_, uid, _)) => uid.into(),
        Err(error) => return error,
    };
    let source = match with_path::<Object<Envelope<'_, Object<Box<Pod<'_>>>>>>(body) {
        Err(source) => {
            Unreadable::Field { path: source.path().to_string().into(), source: source.into_inner() }
        }
        // Not to be reached: the same bytes failed a moment ago.
        Ok(_) => Unreadable::Absent,
    };
    ReviewError::Unreadable { uid, source }
}

fn with_path<'a, T: Deserialize<'a>>(
    body: &'a str,
) -> Result<T, serde_path_to_error::Error<serde_json::Error>> {
    let mut body = serde_json::Deserializer::from_str(body);
    serde_path_to_error::deserialize(&mut body)
}

#[cfg(test)]
mod tests;
