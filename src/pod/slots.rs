//! Slots: where images stand in a Pod.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt::{self, Write};

use super::surface::{Container, Pod};

/// Why a Pod is before us. It says which of its images are judged, and what may be changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AdmissionKind {
    /// It is created: all images are judged, all may be changed.
    Create,
    /// A debugging container is added: it alone is judged, and of the Pod only its image may change.
    Ephemeral,
    /// It is updated: the images that changed are judged. Changing them here blocks finalizers and status
    /// (kubernetes/kubernetes#96624), so nothing is.
    Update,
}

/// In which field of the Pod an image stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Field {
    /// `spec.containers`.
    Container,
    /// `spec.initContainers`.
    Init,
    /// `spec.ephemeralContainers`.
    Ephemeral,
    /// `spec.volumes[].image`.
    Volume,
}

impl Field {
    /// Its key under `spec`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Container => "containers",
            Self::Init => "initContainers",
            Self::Ephemeral => "ephemeralContainers",
            Self::Volume => "volumes",
        }
    }
}

/// When the kubelet pulls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PullPolicy {
    /// `Always`.
    Always,
    /// `IfNotPresent`.
    IfNotPresent,
    /// `Never`: the node has it, or it does not start.
    Never,
    /// Not stated. The API server defaults it before it asks us; a file on a disk may leave it out.
    Unstated,
}

impl PullPolicy {
    fn parse(text: Option<&Cow<'_, str>>) -> Self {
        match text.map(|text| &**text) {
            Some("Always") => Self::Always,
            Some("IfNotPresent") => Self::IfNotPresent,
            Some("Never") => Self::Never,
            _ => Self::Unstated,
        }
    }
}

/// One image in a Pod. Displays as the annotation names it: `containers/web`, `volumes/model`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Slot<'a> {
    /// In which field.
    pub field: Field,
    /// The name of its container or volume. Not proved to be unique: the API server validates after us.
    pub name: &'a str,
    /// The image as written; never empty.
    pub image: &'a str,
    /// When it is pulled.
    pub pull_policy: PullPolicy,
    /// The position in its field. Private, so that only a Pod's own walk makes slots and every
    /// [`pointer`](Self::pointer) names something.
    index: usize,
}

impl Slot<'_> {
    /// The JSON pointer of the image, `/spec/containers/0/image`. Nothing in it needs an escape.
    #[must_use]
    pub fn pointer(&self) -> String {
        let mut pointer = String::new();
        self.push_pointer(&mut pointer);
        pointer
    }

    /// The same slot, with texts of its own: for whoever outlives the body of the request.
    #[must_use]
    pub fn with_texts<'b>(&self, name: &'b str, image: &'b str) -> Slot<'b> {
        let Self { field, pull_policy, index, .. } = *self;
        Slot { field, name, image, pull_policy, index }
    }

    pub(super) fn push_pointer(&self, to: &mut String) {
        to.extend(["/spec/", self.field.as_str(), "/"]);
        // Writing to a text cannot fail.
        let _ = write!(to, "{}", self.index);
        to.push_str(match self.field {
            Field::Volume => "/image/reference",
            Field::Container | Field::Init | Field::Ephemeral => "/image",
        });
    }
}

impl fmt::Display for Slot<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", self.field.as_str(), self.name)
    }
}

impl Pod<'_> {
    /// Every image in the Pod, in the order of [`Field`]. What is missing or empty is no slot.
    pub fn slots(&self) -> impl Iterator<Item = Slot<'_>> {
        let spec = &self.spec;
        let volumes = spec.volumes.iter().enumerate().filter_map(|(index, volume)| {
            let source = volume.image.as_ref()?;
            Some(Slot {
                field: Field::Volume,
                name: volume.name.as_deref().unwrap_or_default(),
                image: source.reference.as_deref()?,
                pull_policy: PullPolicy::parse(source.pull_policy.as_ref()),
                index,
            })
        });
        walk(Field::Container, &spec.containers)
            .chain(walk(Field::Init, &spec.init_containers))
            .chain(walk(Field::Ephemeral, &spec.ephemeral_containers))
            .chain(volumes)
            .filter(|slot| !slot.image.is_empty())
    }

    /// The images to judge on this kind, given the Pod as it was before, where there was one.
    ///
    /// A debugging container is known by its name alone, for existing ones may not change. On an update,
    /// what changed its image is new.
    #[must_use]
    pub fn slots_to_judge(&self, kind: AdmissionKind, before: Option<&Pod<'_>>) -> Vec<Slot<'_>> {
        match kind {
            AdmissionKind::Create => self.slots().collect(),
            AdmissionKind::Ephemeral => {
                let known: HashSet<&str> = before
                    .iter()
                    .flat_map(|before| &before.spec.ephemeral_containers)
                    .filter_map(|container| container.name.as_deref())
                    .collect();
                self.slots()
                    .filter(|slot| slot.field == Field::Ephemeral && !known.contains(slot.name))
                    .collect()
            }
            AdmissionKind::Update => {
                let known: HashSet<(Field, &str, &str)> = before
                    .iter()
                    .flat_map(|before| before.slots())
                    .map(|slot| (slot.field, slot.name, slot.image))
                    .collect();
                self.slots().filter(|slot| !known.contains(&(slot.field, slot.name, slot.image))).collect()
            }
        }
    }
}

fn walk<'p>(field: Field, containers: &'p [Container<'_>]) -> impl Iterator<Item = Slot<'p>> {
    containers.iter().enumerate().filter_map(move |(index, container)| {
        Some(Slot {
            field,
            name: container.name.as_deref().unwrap_or_default(),
            image: container.image.as_deref()?,
            pull_policy: PullPolicy::parse(container.image_pull_policy.as_ref()),
            index,
        })
    })
}
