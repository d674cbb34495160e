//! The fields of a Pod that Landfall reads, borrowed from the body of the request.
//!
//! All other fields are skipped and not kept. `null` means absent everywhere. A field of the wrong type is an error with
//! its path, because Landfall then does not understand the Pod.
//!
//! A body may be 20 MiB, and an empty item of a list is three bytes of it. So every list is bounded while it is read: only
//! items that matter are kept, at most [`MOST_IMAGES`] or [`MOST_SECRETS`] of them, and the others are counted.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::json::{Kept, Length, Object, Text, list, list_or_empty, object, object_or_default, text};
use super::owner::Owners;
pub use crate::domain::api_group::MODE;
use crate::domain::api_group::api_group;
use crate::domain::name::PullSecret;
use crate::domain::text::plain;

/// The annotation that Landfall writes: the original and the present image of each slot, and why. In a request it is
/// never trusted.
pub const IMAGES: &str = concat!(api_group!(), "/images");
/// The annotation by which the kubelet marks the mirror Pods of its static Pods.
pub const MIRROR: &str = "kubernetes.io/config.mirror";

/// The most images of one list of the Pod that are kept; the others are counted. A Pod with more images than this is never
/// judged image by image.
pub const MOST_IMAGES: usize = 4096;
/// The most pull secrets that are kept. Where a Pod has more, see [`PullSecrets::find`].
pub const MOST_SECRETS: usize = 4096;

/// The part of a Pod that Landfall reads.
///
/// ```
/// use landfall::facade::pod::{Mode, Pod};
///
/// let body = br#"{
///     "metadata": {"name": "shop-1", "annotations": {"landfall.dev/mode": "Skip"}},
///     "spec": {"containers": [{"name": "web", "image": "nginx:1.27", "resources": {"limits": {"cpu": "1"}}}]}
/// }"#;
/// let pod: Pod<'_> = serde_json::from_slice(body)?;
/// assert_eq!((&*pod.called(), pod.mode()), ("shop-1", Mode::Skip));
/// assert_eq!(pod.slots().next().map(|slot| slot.image), Some("nginx:1.27"));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Pod<'a> {
    /// `metadata`; `None` where it is absent, because a patch must then add it.
    #[serde(borrow, deserialize_with = "object")]
    pub metadata: Option<Metadata<'a>>,
    /// `spec`; empty where it is absent.
    #[serde(borrow, deserialize_with = "object_or_default")]
    pub spec: Spec<'a>,
}

/// The `metadata` of a Pod.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Metadata<'a> {
    /// The name. It is absent for the Pods of most controllers while they are created.
    #[serde(borrow, deserialize_with = "text")]
    pub name: Option<Cow<'a, str>>,
    /// The prefix from which the API server makes a name after admission.
    #[serde(borrow, deserialize_with = "text")]
    pub generate_name: Option<Cow<'a, str>>,
    /// The namespace; the same as that of the request.
    #[serde(borrow, deserialize_with = "text")]
    pub namespace: Option<Cow<'a, str>>,
    /// Who made the Pod.
    #[serde(borrow, deserialize_with = "list_or_empty")]
    pub owner_references: Owners<'a>,
    /// Present once the Pod is being deleted.
    #[serde(borrow, deserialize_with = "text")]
    pub deletion_timestamp: Option<Cow<'a, str>>,
    /// The annotations that Landfall reads; `None` where the map is absent, because a patch must then add it.
    #[serde(borrow, deserialize_with = "object")]
    pub annotations: Option<Annotations<'a>>,
}

/// Whether a Pod asks to be left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Mode {
    /// The Pod does not ask for it.
    #[default]
    Judge,
    /// The Pod has the annotation `landfall.dev/mode: Skip`.
    Skip,
}

/// Whether a Pod has the kubelet's annotation of a mirror Pod. Anybody can set it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum MirrorMark {
    /// The Pod does not have the annotation.
    #[default]
    Absent,
    /// The Pod has the annotation.
    Present,
}

/// The annotations: the three keys that Landfall reads, and the size of the others.
#[derive(Debug, Default)]
pub struct Annotations<'a> {
    /// The value of [`IMAGES`]. Anybody can write it: see [`OldEntries`](super::OldEntries).
    pub images: Option<Cow<'a, str>>,
    /// The value of [`MODE`]. Any value but `Skip` has no effect.
    pub mode: Mode,
    /// Whether [`MIRROR`] is present.
    pub mirror: MirrorMark,
    /// Bytes of all keys and values except those of [`IMAGES`], counted as the API server counts them.
    pub weight: usize,
}

/// The `spec` of a Pod.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Spec<'a> {
    /// The containers: `spec.containers`.
    #[serde(borrow, deserialize_with = "list_or_empty")]
    pub containers: ImageList<Container<'a>>,
    /// The init containers, including sidecars: `spec.initContainers`.
    #[serde(borrow, deserialize_with = "list_or_empty")]
    pub init_containers: ImageList<Container<'a>>,
    /// The debugging containers: `spec.ephemeralContainers`.
    #[serde(borrow, deserialize_with = "list_or_empty")]
    pub ephemeral_containers: ImageList<Container<'a>>,
    /// The image volumes: `spec.volumes`.
    #[serde(borrow, deserialize_with = "list_or_empty")]
    pub volumes: ImageList<Volume<'a>>,
    /// `spec.imagePullSecrets`; `None` where it is absent, because a patch must then add it.
    #[serde(borrow, deserialize_with = "list")]
    pub image_pull_secrets: Option<PullSecrets<'a>>,
    /// The labels of `spec.nodeSelector` that name a platform.
    #[serde(borrow, deserialize_with = "object_or_default")]
    pub node_selector: NodeSelector<'a>,
    /// The operating system: `spec.os`.
    #[serde(borrow, deserialize_with = "object_or_default")]
    pub os: Os<'a>,
    /// The name of the ServiceAccount: `spec.serviceAccountName`.
    #[serde(borrow, deserialize_with = "text")]
    pub service_account_name: Option<Cow<'a, str>>,
}

/// The items of a list that hold an image.
#[derive(Debug)]
pub struct ImageList<T> {
    /// The first [`MOST_IMAGES`] of them, each with its index in the list, because JSON pointers contain the index.
    pub kept: Vec<(usize, T)>,
    /// How many more there are. They are not kept, so that nobody can judge or change them.
    pub unread: usize,
}

/// An item of a list that may hold an image.
pub trait HoldsImage {
    /// Returns the image; `None` where it is absent or empty.
    fn image(&self) -> Option<&str>;
}

/// The names in `spec.imagePullSecrets`.
#[derive(Debug, Default)]
pub struct PullSecrets<'a> {
    /// The first [`MOST_SECRETS`] names, sorted, each once.
    names: Vec<Cow<'a, str>>,
    /// How many more there are.
    unread: usize,
}

/// A container of any kind.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Container<'a> {
    /// The container's name.
    #[serde(borrow, deserialize_with = "text")]
    pub name: Option<Cow<'a, str>>,
    /// The container's image.
    #[serde(borrow, deserialize_with = "text")]
    pub image: Option<Cow<'a, str>>,
    /// `imagePullPolicy`: see [`PullPolicy`](super::slots::PullPolicy).
    #[serde(borrow, deserialize_with = "text")]
    pub image_pull_policy: Option<Cow<'a, str>>,
}

/// A volume of any kind.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Volume<'a> {
    /// The volume's name.
    #[serde(borrow, deserialize_with = "text")]
    pub name: Option<Cow<'a, str>>,
    /// The source of an image volume; `None` for all other volumes.
    #[serde(borrow, deserialize_with = "object")]
    pub image: Option<ImageVolume<'a>>,
}

/// The source of an image volume.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ImageVolume<'a> {
    /// The image. It may be empty, so that a controller can set it later.
    #[serde(borrow, deserialize_with = "text")]
    pub reference: Option<Cow<'a, str>>,
    /// `pullPolicy`: see [`PullPolicy`](super::slots::PullPolicy).
    #[serde(borrow, deserialize_with = "text")]
    pub pull_policy: Option<Cow<'a, str>>,
}

/// One item of `spec.imagePullSecrets`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct SecretName<'a> {
    /// The name of a Secret in the Pod's namespace.
    #[serde(borrow, deserialize_with = "text")]
    name: Option<Cow<'a, str>>,
}

/// The labels of `spec.nodeSelector` that name a platform.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct NodeSelector<'a> {
    /// The label `kubernetes.io/os`.
    #[serde(rename = "kubernetes.io/os", borrow, deserialize_with = "text")]
    pub os: Option<Cow<'a, str>>,
    /// The label `kubernetes.io/arch`.
    #[serde(rename = "kubernetes.io/arch", borrow, deserialize_with = "text")]
    pub arch: Option<Cow<'a, str>>,
    /// The label `beta.kubernetes.io/os`: deprecated, but still on every node.
    #[serde(rename = "beta.kubernetes.io/os", borrow, deserialize_with = "text")]
    pub beta_os: Option<Cow<'a, str>>,
    /// The label `beta.kubernetes.io/arch`: deprecated, but still on every node.
    #[serde(rename = "beta.kubernetes.io/arch", borrow, deserialize_with = "text")]
    pub beta_arch: Option<Cow<'a, str>>,
}

/// The `spec.os` of a Pod.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Os<'a> {
    /// `linux` or `windows`.
    #[serde(borrow, deserialize_with = "text")]
    pub name: Option<Cow<'a, str>>,
}

impl Pod<'_> {
    /// Returns the Pod's annotations, where it has any.
    #[must_use]
    pub fn annotations(&self) -> Option<&Annotations<'_>> {
        self.metadata.as_ref()?.annotations.as_ref()
    }

    /// Returns the Pod's name for logs, or the prefix of its future name; empty where it has neither.
    #[must_use]
    pub fn called(&self) -> Cow<'_, str> {
        let names = self.metadata.as_ref().map(|metadata| [&metadata.name, &metadata.generate_name]);
        names.into_iter().flatten().flatten().next().map(|name| plain(name)).unwrap_or_default()
    }

    /// Returns whether the Pod asks to be left alone.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.annotations().map(|annotations| annotations.mode).unwrap_or_default()
    }

    /// Whether the Pod already has this pull secret.
    #[must_use]
    pub fn carries(&self, secret: &PullSecret) -> bool {
        let secrets = self.spec.image_pull_secrets.as_ref();
        secrets.is_some_and(|have| have.names.binary_search_by(|name| (**name).cmp(secret.as_str())).is_ok())
    }
}

impl<'a> PullSecrets<'a> {
    /// Whether there are more names than are kept.
    #[must_use]
    pub fn is_beyond(&self) -> bool {
        self.unread > 0
    }

    /// Finds the names that count in the same list, read once more, and keeps them, too. There should be few of them.
    ///
    /// # Errors
    /// It is no list of secrets.
    pub fn find(&mut self, list: &'a RawValue, counts: impl Fn(&str) -> bool) -> serde_json::Result<()> {
        let mut list = serde_json::Deserializer::from_str(list.get());
        list.deserialize_seq(Finder { counts, names: &mut self.names })?;
        self.end();
        Ok(())
    }
}

/// Reads a list of secrets and keeps the names that count, each once.
struct Finder<'n, 'a, F> {
    counts: F,
    names: &'n mut Vec<Cow<'a, str>>,
}

impl<'de, F: Fn(&str) -> bool> Visitor<'de> for Finder<'_, 'de, F> {
    type Value = ();

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a list of secrets")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let kept = self.names.len();
        while let Some(Object(secret)) = items.next_element::<Object<SecretName<'de>>>()? {
            let name = secret.and_then(|secret| secret.name).filter(|name| (self.counts)(name));
            if let Some(name) = name.filter(|name| !self.names.iter().skip(kept).any(|found| found == name)) {
                self.names.push(name);
            }
        }
        Ok(())
    }
}

impl<T> Default for ImageList<T> {
    fn default() -> Self {
        Self { kept: Vec::new(), unread: 0 }
    }
}

impl<'de, T: HoldsImage + Deserialize<'de>> Kept<'de> for ImageList<T> {
    type Item = T;

    fn add(&mut self, index: usize, item: T) {
        if item.image().is_none() {
        } else if self.kept.len() < MOST_IMAGES {
            self.kept.push((index, item));
        } else {
            self.unread += 1;
        }
    }
}

impl HoldsImage for Container<'_> {
    fn image(&self) -> Option<&str> {
        self.image.as_deref().filter(|image| !image.is_empty())
    }
}

impl HoldsImage for Volume<'_> {
    fn image(&self) -> Option<&str> {
        self.image.as_ref()?.reference.as_deref().filter(|image| !image.is_empty())
    }
}

impl<'de> Kept<'de> for PullSecrets<'de> {
    type Item = SecretName<'de>;

    fn add(&mut self, _: usize, secret: SecretName<'de>) {
        match secret.name {
            Some(name) if self.names.len() < MOST_SECRETS => self.names.push(name),
            Some(_) => self.unread += 1,
            None => {}
        }
    }

    /// Sorts the names, because each image asks for its secret.
    fn end(&mut self) {
        self.names.sort_unstable();
        self.names.dedup();
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Annotations<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(AnnotationsVisitor)
    }
}

/// Keeps the values of our keys and counts the bytes of the others, without building a map.
struct AnnotationsVisitor;

impl<'de> Visitor<'de> for AnnotationsVisitor {
    type Value = Annotations<'de>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a map of strings")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = Annotations::default();
        while let Some(Text(Some(key))) = map.next_key()? {
            if key == IMAGES {
                found.images = map.next_value::<Text<'_>>()?.0;
                continue;
            }
            found.weight += key.len();
            if key == MODE {
                let mode = map.next_value::<Text<'_>>()?.0.unwrap_or_default();
                found.weight += mode.len();
                found.mode = if mode == "Skip" { Mode::Skip } else { Mode::Judge };
                continue;
            }
            found.weight += map.next_value::<Length>()?.0;
            if key == MIRROR {
                found.mirror = MirrorMark::Present;
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests;
