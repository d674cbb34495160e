//! Slots: the fields of a Pod that hold images.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt::{self, Write};

use super::surface::{Container, HoldsImage, ImageList, Pod, Volume};
use crate::domain::case::Pull;

/// Why the API server sent a Pod. It decides which of its images are judged, and what may be changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AdmissionKind {
    /// The Pod is created. All images are judged and may be changed.
    Create,
    /// A debugging container is added. Only this container is judged, and only its image may change.
    Ephemeral,
    /// The Pod is updated. Only changed images are judged. Nothing is changed, because a change here would block
    /// finalizers and status (kubernetes/kubernetes#96624).
    Update,
}

/// The field of the Pod that holds an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Field {
    /// A container in `spec.containers`.
    Container,
    /// An init container in `spec.initContainers`.
    Init,
    /// A debugging container in `spec.ephemeralContainers`.
    Ephemeral,
    /// An image volume: `spec.volumes[].image`.
    Volume,
}

impl Field {
    /// Returns the key of the field under `spec`.
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

/// When the kubelet pulls an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PullPolicy {
    /// `Always`: for each start of a container.
    Always,
    /// `IfNotPresent`: only when the node does not have the image.
    IfNotPresent,
    /// `Never`: the container starts only if the node has the image.
    Never,
    /// The field is absent. The API server sets a default before it calls the webhook, but a manifest file may omit it.
    Unstated,
}

impl PullPolicy {
    /// Whether the image is ever pulled.
    #[must_use]
    pub fn pull(self) -> Pull {
        match self {
            Self::Never => Pull::Never,
            Self::Always | Self::IfNotPresent | Self::Unstated => Pull::Registry,
        }
    }

    fn parse(text: Option<&Cow<'_, str>>) -> Self {
        match text.map(|text| &**text) {
            Some("Always") => Self::Always,
            Some("IfNotPresent") => Self::IfNotPresent,
            Some("Never") => Self::Never,
            _ => Self::Unstated,
        }
    }
}

/// One image in a Pod. `Display` prints its key in the annotation: `containers/web`, `volumes/model`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Slot<'a> {
    /// The field that holds the image.
    pub field: Field,
    /// The name of the container or volume. It may not be unique, because the API server validates after the webhook.
    pub name: &'a str,
    /// The image as written; never empty.
    pub image: &'a str,
    /// When the kubelet pulls the image.
    pub pull_policy: PullPolicy,
    /// The index in the field. It is private, so that only [`Pod::slots`] makes slots and every
    /// [`pointer`](Self::pointer) exists in the Pod.
    index: usize,
}

impl Slot<'_> {
    /// Returns the JSON pointer of the image, `/spec/containers/0/image`. It contains nothing that needs an escape.
    #[must_use]
    pub fn pointer(&self) -> String {
        let mut pointer = String::new();
        self.push_pointer(&mut pointer);
        pointer
    }

    /// Returns the same slot with other texts, for code that runs longer than the body of the request exists.
    #[must_use]
    pub fn with_texts<'b>(&self, name: &'b str, image: &'b str) -> Slot<'b> {
        let Self { field, pull_policy, index, .. } = *self;
        Slot { field, name, image, pull_policy, index }
    }

    /// Returns the slot for messages: like `Display`, but the name is escaped and short.
    #[must_use]
    pub fn plain(&self) -> String {
        let mut text = format!("{}/", self.field.as_str());
        push_name(self.name, &mut text);
        text
    }

    pub(super) fn push_pointer(&self, to: &mut String) {
        to.extend(["/spec/", self.field.as_str(), "/"]);
        // Writing to a `String` cannot fail.
        let _ = write!(to, "{}", self.index);
        to.push_str(match self.field {
            Field::Volume => "/image/reference",
            Field::Container | Field::Init | Field::Ephemeral => "/image",
        });
    }
}

/// The most bytes of a name in messages, as in Kubernetes.
const LONGEST_NAME: usize = 63;

/// Writes the name of a container or volume. The API server checks names after the webhook, so a name may be any text: what
/// no valid name contains is written as `%3B`, and what is too long is cut.
pub(super) fn push_name(name: &str, to: &mut String) {
    let is_valid = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if name.len() <= LONGEST_NAME && name.as_bytes().iter().all(is_valid) {
        return to.push_str(name);
    }
    for byte in name.bytes().take(LONGEST_NAME) {
        if is_valid(&byte) {
            to.push(char::from(byte));
        } else {
            // Writing to a `String` cannot fail.
            let _ = write!(to, "%{byte:02X}");
        }
    }
    if name.len() > LONGEST_NAME {
        to.push('…');
    }
}

impl fmt::Display for Slot<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", self.field.as_str(), self.name)
    }
}

impl Pod<'_> {
    /// Iterates over all images of the Pod, in the order of [`Field`]. A missing or empty image is not a slot.
    pub fn slots(&self) -> impl Iterator<Item = Slot<'_>> {
        let spec = &self.spec;
        walk(Field::Container, &spec.containers, container)
            .chain(walk(Field::Init, &spec.init_containers, container))
            .chain(walk(Field::Ephemeral, &spec.ephemeral_containers, container))
            .chain(walk(Field::Volume, &spec.volumes, volume))
    }

    /// Returns how many images should be judged but were not kept, because their list has more than
    /// [`MOST_IMAGES`](super::surface::MOST_IMAGES). A Pod with such images must not be taken for judged.
    #[must_use]
    pub fn unread(&self, kind: AdmissionKind) -> usize {
        let spec = &self.spec;
        let ephemeral = spec.ephemeral_containers.unread;
        match kind {
            AdmissionKind::Ephemeral => ephemeral,
            AdmissionKind::Create | AdmissionKind::Update => {
                spec.containers.unread + spec.init_containers.unread + ephemeral + spec.volumes.unread
            }
        }
    }

    /// Returns the images to judge. `before` is the Pod before the request, where there was one.
    ///
    /// A debugging container is compared by its name alone, because existing ones cannot change. On an update, every slot
    /// with another image than before is judged.
    ///
    /// ```
    /// use landfall::facade::pod::{AdmissionKind, Pod};
    ///
    /// let before = r#"{"spec":{"containers":[{"name":"web","image":"web:1"},{"name":"log","image":"log:1"}]}}"#;
    /// let after = before.replace("web:1", "web:2");
    /// let (before, after): (Pod<'_>, Pod<'_>) = (serde_json::from_str(before)?, serde_json::from_str(&after)?);
    /// assert_eq!(after.slots_to_judge(AdmissionKind::Create, None).len(), 2);
    /// let changed = after.slots_to_judge(AdmissionKind::Update, Some(&before));
    /// assert_eq!((changed[0].to_string(), changed[0].image), ("containers/web".to_owned(), "web:2"));
    /// # Ok::<(), serde_json::Error>(())
    /// ```
    #[must_use]
    pub fn slots_to_judge(&self, kind: AdmissionKind, before: Option<&Pod<'_>>) -> Vec<Slot<'_>> {
        match kind {
            AdmissionKind::Create => self.slots().collect(),
            AdmissionKind::Ephemeral => {
                let known: HashSet<&str> = before
                    .iter()
                    .flat_map(|before| &before.spec.ephemeral_containers.kept)
                    .filter_map(|(_, container)| container.name.as_deref())
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

fn walk<'p, T: HoldsImage>(
    field: Field,
    list: &'p ImageList<T>,
    texts: fn(&'p T) -> (Option<&'p str>, PullPolicy),
) -> impl Iterator<Item = Slot<'p>> {
    list.kept.iter().filter_map(move |(index, item)| {
        let (name, pull_policy) = texts(item);
        Some(Slot { field, name: name.unwrap_or_default(), image: item.image()?, pull_policy, index: *index })
    })
}

fn container<'p>(container: &'p Container<'_>) -> (Option<&'p str>, PullPolicy) {
    (container.name.as_deref(), PullPolicy::parse(container.image_pull_policy.as_ref()))
}

fn volume<'p>(volume: &'p Volume<'_>) -> (Option<&'p str>, PullPolicy) {
    let policy = volume.image.as_ref().and_then(|image| image.pull_policy.as_ref());
    (volume.name.as_deref(), PullPolicy::parse(policy))
}
