//! Reads an `AdmissionReview` v1 in one pass over the body.
//!
//! It uses its own structs with borrowed strings, because the typed structs of client libraries need five times the CPU.
//! The fields `requestKind`, `requestResource` and `requestSubResource` are not read: they differ from `kind`, `resource`
//! and `subResource` only for kinds with several versions, and Pods have one.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use crate::domain::settings::Settings;
use crate::pod::json::{Object, object, object_or_default, text};
use crate::pod::surface::MirrorMark;
use crate::pod::{AdmissionKind, Pod, Slot};

/// Which webhook was called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, strum::IntoStaticStr)]
pub enum Door {
    /// `/mutate`: judges new Pods and new debugging containers.
    Mutate,
    /// `/validate/<selector>`: judges these, and updates that change an image.
    Validate,
}

impl Door {
    pub(super) fn as_str(self) -> &'static str {
        self.into()
    }
}

/// Whether the request is a dry run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DryRun {
    /// The object is stored if no admission plugin refuses it.
    No,
    /// `dryRun: true`: the answer is the same, but has no side effects.
    Yes,
}

/// Who created the Pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Origin {
    /// A client of the API: a user or a controller.
    Client,
    /// A kubelet, for a static Pod that it runs already. A change to this mirror Pod would break it.
    MirrorPod,
}

/// A request to judge a Pod.
#[derive(Debug)]
pub struct Review<'a> {
    /// The uid of the request, which the answer must repeat.
    pub uid: Cow<'a, str>,
    /// Why the API server sent the Pod.
    pub kind: AdmissionKind,
    /// The Pod's namespace.
    pub namespace: Cow<'a, str>,
    /// The user who sent the request, authenticated by the API server.
    pub username: Cow<'a, str>,
    /// Whether the request is a dry run.
    pub dry_run: DryRun,
    /// The Pod after the request.
    pub pod: Box<Pod<'a>>,
    /// The Pod before the request, on an update.
    pub before: Option<Box<Pod<'a>>>,
}

impl Review<'_> {
    /// Returns the images to judge.
    #[must_use]
    pub fn slots(&self) -> Vec<Slot<'_>> {
        self.pod.slots_to_judge(self.kind, self.before.as_deref())
    }

    /// Returns how many more images should be judged, but are too many to be kept. See [`Pod::unread`].
    #[must_use]
    pub fn unread(&self) -> usize {
        self.pod.unread(self.kind)
    }

    /// Whether the Pod is being deleted already. Anybody can write that into a new one.
    #[must_use]
    pub fn is_leaving(&self) -> bool {
        self.pod.metadata.as_ref().is_some_and(|have| have.deletion_timestamp.is_some())
    }

    /// Returns who created the Pod. The annotation of a mirror Pod counts only if a node sent the request, because anybody
    /// can write the annotation.
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

impl<'a> Review<'a> {
    /// Finds the pull secrets of these settings in a list that is longer than what is kept of it. `body` is that of the
    /// review; it is read again for such a list only.
    pub fn find_secrets(&mut self, body: &'a [u8], settings: &Settings) {
        let secrets = self.pod.spec.image_pull_secrets.as_mut();
        let Some(secrets) = secrets.filter(|secrets| secrets.is_beyond()) else { return };
        let again = serde_json::from_slice::<Envelope<'_, Secrets<'_>>>(body).ok();
        let list = again.and_then(|again| again.request?.object?.spec.image_pull_secrets);
        let ours = |name: &str| {
            let mut registries = settings.registries.values();
            registries.any(|one| one.pull_secret.as_ref().is_some_and(|ours| ours.as_str() == name))
        };
        // What was read before can be read again. Otherwise a secret may be added that the Pod has, which is harmless.
        let _found = list.map(|list| secrets.find(list, ours));
    }
}

/// Why there is no Pod to judge.
#[derive(Debug, thiserror::Error)]
pub enum ReviewError {
    /// No API server sends this body. Answer with status 400.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// The door does not judge this review. Allow it unchanged and without a warning.
    #[error("not judged: {what}")]
    NotOurs {
        /// The uid that the answer must repeat.
        uid: Box<str>,
        /// What the review is about instead.
        what: NotOurs,
    },
    /// The door should judge this Pod but cannot read it. `/mutate` allows it with a warning; `/validate` denies
    /// it.
    #[error("the Pod cannot be read")]
    Unreadable {
        /// The uid that the answer must repeat.
        uid: Box<str>,
        /// Why the Pod cannot be read.
        #[source]
        source: Unreadable,
    },
}

/// The body is not an `AdmissionReview` v1 with a request.
#[derive(Debug, thiserror::Error)]
pub enum Malformed {
    /// The body is empty, HTML, cut short …
    #[error("the body is not JSON")]
    NotJson {
        /// The position of the error.
        #[source]
        source: serde_json::Error,
    },
    /// The body is an array, or a field of the review itself has the wrong type.
    #[error("the body is JSON, but not an AdmissionReview")]
    Shape {
        /// The field and its error.
        #[source]
        source: Box<serde_path_to_error::Error<serde_json::Error>>,
    },
    /// The body is another object.
    #[error("`kind` is `{found}`, not `AdmissionReview`")]
    Kind {
        /// The kind of the object; empty where it has none.
        found: Box<str>,
    },
    /// The version is `v1beta1`, or newer than v1.
    #[error("`apiVersion` is `{found}`; only `admission.k8s.io/v1` is supported")]
    Version {
        /// The version of the object; empty where it has none.
        found: Box<str>,
    },
    /// There is no request; the body may be an answer.
    #[error("the AdmissionReview has no `request`")]
    NoRequest,
    /// There is no uid, and the API server accepts no answer without it.
    #[error("the request has no `uid`")]
    NoUid,
}

/// What a review is about, if the door does not judge it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotOurs {
    /// The object is of another kind or resource.
    #[error("`{kind}` of `{resource}` is not a Pod")]
    Kind {
        /// The kind of the object.
        kind: Box<str>,
        /// The resource of the object.
        resource: Box<str>,
    },
    /// The subresource is not `ephemeralcontainers`.
    #[error("`pods/{found}` changes no image")]
    SubResource {
        /// The name of the subresource.
        found: Box<str>,
    },
    /// This door does not judge the operation.
    #[error("the operation `{found}` is not judged here")]
    Operation {
        /// The name of the operation.
        found: Box<str>,
    },
}

/// Why a Pod cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// The request has no `object`.
    #[error("the request has no `object`")]
    Absent,
    /// A field has another type than in a Pod.
    #[error("`{path}` is not valid in a Pod")]
    Field {
        /// The path in the review, for example `request.object.spec.containers[0].image`.
        path: Box<str>,
        /// What was found at this path.
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

/// The default of an absent field. A plain `#[serde(default)]` would require `P: Default`.
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

/// A Pod of which only the pull secrets are read, as they stand in the body.
#[derive(Deserialize)]
struct Secrets<'a> {
    #[serde(default, borrow)]
    spec: ListOfSecrets<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ListOfSecrets<'a> {
    #[serde(borrow)]
    image_pull_secrets: Option<&'a RawValue>,
}

/// Reads the body of a request.
///
/// # Errors
///
/// See [`ReviewError`]: it says whether there is a uid to repeat, and what the door should do.
pub fn decode(body: &[u8], door: Door) -> Result<Review<'_>, ReviewError> {
    // UTF-8 is checked once for the whole body, instead of for each string.
    let body = std::str::from_utf8(body)
        .map_err(|error| Malformed::NotJson { source: serde::de::Error::custom(error) })?;
    // The first pass knows neither where it failed nor the uid. `diagnose` makes a second and a third pass, for bodies that
    // no API server sends.
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

/// Checks everything except the Pod: whether the door judges the review, and why the API server sent it.
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

/// Reads a body again that could not be read, without its Pods, to find the uid and the error.
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
        // This cannot happen: the same bytes failed a moment ago.
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
