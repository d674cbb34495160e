//! What is read of a Pod, borrowed from the body of the request.
//!
//! Everything else is skipped without being kept. `null` and absent are the same everywhere; a field of the
//! wrong type is an error with its path, for then this is no Pod that we understand.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};

use super::json::{Length, Text, list, list_or_empty, object, object_or_default, text};
pub use crate::domain::api_group::MODE;
use crate::domain::api_group::api_group;
use crate::domain::registry::PullSecret;

/// The annotation that says what each image was, became, and why. Ours; never trusted on the way in.
pub const IMAGES: &str = concat!(api_group!(), "/images");
/// The kubelet's mark on the Pods that mirror its static ones.
pub const MIRROR: &str = "kubernetes.io/config.mirror";

/// A Pod, as far as Landfall looks at it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Pod<'a> {
    /// `metadata`; `None` where it is absent, for a patch must then bring it along.
    #[serde(borrow, deserialize_with = "object")]
    pub metadata: Option<Metadata<'a>>,
    /// `spec`.
    #[serde(borrow, deserialize_with = "object_or_default")]
    pub spec: Spec<'a>,
}

/// `metadata`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Metadata<'a> {
    /// Absent for the Pods of most controllers while they are created.
    #[serde(borrow, deserialize_with = "text")]
    pub name: Option<Cow<'a, str>>,
    /// What the API server will make a name of, after admission.
    #[serde(borrow, deserialize_with = "text")]
    pub generate_name: Option<Cow<'a, str>>,
    /// The same as the request's.
    #[serde(borrow, deserialize_with = "text")]
    pub namespace: Option<Cow<'a, str>>,
    /// Set once the Pod is on its way out.
    #[serde(borrow, deserialize_with = "text")]
    pub deletion_timestamp: Option<Cow<'a, str>>,
    /// Our keys of the annotations; `None` where the map is absent, for a patch must then bring it along.
    #[serde(borrow, deserialize_with = "object")]
    pub annotations: Option<Annotations<'a>>,
    /// Who made the Pod.
    #[serde(borrow, deserialize_with = "list_or_empty")]
    pub owner_references: Vec<Owner<'a>>,
}

/// One of `metadata.ownerReferences`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Owner<'a> {
    /// `ReplicaSet`, `Job`, `Node` …
    #[serde(borrow, deserialize_with = "text")]
    pub kind: Option<Cow<'a, str>>,
    /// Its name.
    #[serde(borrow, deserialize_with = "text")]
    pub name: Option<Cow<'a, str>>,
}

/// Whether a Pod asks to be left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Mode {
    /// It does not.
    #[default]
    Judge,
    /// `landfall.dev/mode: Skip`.
    Skip,
}

/// Whether a Pod carries the kubelet's mark of a mirror Pod. Anybody can set it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum MirrorMark {
    /// It does not.
    #[default]
    Absent,
    /// It does.
    Present,
}

/// The annotations: three keys, and the weight of the others.
#[derive(Debug, Default)]
pub struct Annotations<'a> {
    /// [`IMAGES`], as somebody wrote it: see [`OldEntries`](super::OldEntries).
    pub images: Option<Cow<'a, str>>,
    /// [`MODE`]; any other value than `Skip` asks for nothing.
    pub mode: Mode,
    /// [`MIRROR`].
    pub mirror: MirrorMark,
    /// Bytes of all keys and values but those of [`IMAGES`], as the API server counts them.
    pub weight: usize,
}

/// `spec`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Spec<'a> {
    /// `spec.containers`.
    #[serde(borrow, deserialize_with = "list_or_empty")]
    pub containers: Vec<Container<'a>>,
    /// `spec.initContainers`, sidecars among them.
    #[serde(borrow, deserialize_with = "list_or_empty")]
    pub init_containers: Vec<Container<'a>>,
    /// `spec.ephemeralContainers`.
    #[serde(borrow, deserialize_with = "list_or_empty")]
    pub ephemeral_containers: Vec<Container<'a>>,
    /// `spec.volumes`, all of them: paths count by their place.
    #[serde(borrow, deserialize_with = "list_or_empty")]
    pub volumes: Vec<Volume<'a>>,
    /// `spec.imagePullSecrets`; `None` where it is absent, for a patch must then bring it along.
    #[serde(borrow, deserialize_with = "list")]
    pub image_pull_secrets: Option<Vec<SecretName<'a>>>,
    /// `spec.nodeSelector`.
    #[serde(borrow, deserialize_with = "object_or_default")]
    pub node_selector: NodeSelector<'a>,
    /// `spec.os`.
    #[serde(borrow, deserialize_with = "object_or_default")]
    pub os: Os<'a>,
    /// `spec.serviceAccountName`.
    #[serde(borrow, deserialize_with = "text")]
    pub service_account_name: Option<Cow<'a, str>>,
}

/// A container of any sort.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Container<'a> {
    /// Its name.
    #[serde(borrow, deserialize_with = "text")]
    pub name: Option<Cow<'a, str>>,
    /// Its image.
    #[serde(borrow, deserialize_with = "text")]
    pub image: Option<Cow<'a, str>>,
    /// Its pull policy.
    #[serde(borrow, deserialize_with = "text")]
    pub image_pull_policy: Option<Cow<'a, str>>,
}

/// A volume.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Volume<'a> {
    /// Its name.
    #[serde(borrow, deserialize_with = "text")]
    pub name: Option<Cow<'a, str>>,
    /// `image`, where it is an image volume.
    #[serde(borrow, deserialize_with = "object")]
    pub image: Option<ImageVolume<'a>>,
}

/// The source of an image volume.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ImageVolume<'a> {
    /// The image; may be empty, for somebody else to fill in.
    #[serde(borrow, deserialize_with = "text")]
    pub reference: Option<Cow<'a, str>>,
    /// Its pull policy.
    #[serde(borrow, deserialize_with = "text")]
    pub pull_policy: Option<Cow<'a, str>>,
}

/// One of `spec.imagePullSecrets`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct SecretName<'a> {
    /// The Secret's name, in the Pod's namespace.
    #[serde(borrow, deserialize_with = "text")]
    pub name: Option<Cow<'a, str>>,
}

/// The labels of `spec.nodeSelector` that speak of the platform.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct NodeSelector<'a> {
    /// `kubernetes.io/os`.
    #[serde(rename = "kubernetes.io/os", borrow, deserialize_with = "text")]
    pub os: Option<Cow<'a, str>>,
    /// `kubernetes.io/arch`.
    #[serde(rename = "kubernetes.io/arch", borrow, deserialize_with = "text")]
    pub arch: Option<Cow<'a, str>>,
    /// `beta.kubernetes.io/os`: deprecated, still on every node.
    #[serde(rename = "beta.kubernetes.io/os", borrow, deserialize_with = "text")]
    pub beta_os: Option<Cow<'a, str>>,
    /// `beta.kubernetes.io/arch`: likewise.
    #[serde(rename = "beta.kubernetes.io/arch", borrow, deserialize_with = "text")]
    pub beta_arch: Option<Cow<'a, str>>,
}

/// `spec.os`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Os<'a> {
    /// `linux` or `windows`.
    #[serde(borrow, deserialize_with = "text")]
    pub name: Option<Cow<'a, str>>,
}

impl Pod<'_> {
    /// Its annotations, where it has any.
    #[must_use]
    pub fn annotations(&self) -> Option<&Annotations<'_>> {
        self.metadata.as_ref()?.annotations.as_ref()
    }

    /// Its name, or what the API server will make one of; empty where it has neither.
    #[must_use]
    pub fn called(&self) -> &str {
        let names = self.metadata.as_ref().map(|metadata| [&metadata.name, &metadata.generate_name]);
        names.into_iter().flatten().flatten().next().map(|name| &**name).unwrap_or_default()
    }

    /// Whether it asks to be left alone.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.annotations().map(|annotations| annotations.mode).unwrap_or_default()
    }

    /// Does it already carry this pull secret?
    #[must_use]
    pub fn carries(&self, secret: &PullSecret) -> bool {
        let secrets = self.spec.image_pull_secrets.as_deref().unwrap_or_default();
        secrets.iter().any(|have| have.name.as_deref() == Some(secret.as_str()))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Annotations<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(AnnotationsVisitor)
    }
}

/// Picks our keys as they pass and weighs the rest: no map is ever kept.
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
