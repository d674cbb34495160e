//! What a Harbor says has changed: the bodies of its webhook, in its two formats `Default` and `CloudEvents`.
//!
//! A notification is a hint and never evidence: whoever has the secret may say anything. So only names are taken from it,
//! never a state, and all of them are checked and bounded.
//!
//! What Harbor does not say decides what is taken for changed: the deletion of an index says nothing of its children and
//! accessories, and retention names tags; there the whole repository counts as changed. Scans are told of children only: who
//! keeps answers knows which indexes list them.

use std::collections::HashSet;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserializer, IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};

use crate::domain::digest::Digest;
use crate::domain::image::{Reference, Repository, Tag};
use crate::domain::name::RegistryName;
use crate::registry::object;

use super::answer::Malformed;

/// The most artifacts that are read of one notification. A retention run may delete more: of those each is told by itself, too.
pub const MOST_ARTIFACTS: usize = 256;

/// The most changes that one replica passes on to another at once.
pub const MOST_RELAYED: usize = 1024;

/// The type of what one replica passes on to another.
const RELAYED: &str = "landfall.relayed";

/// What happened, by the type of a notification.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, strum::IntoStaticStr, strum::VariantArray, strum::Display,
)]
pub enum Event {
    /// An artifact was pushed: of an index, each child by itself.
    Pushed,
    /// An artifact was pulled.
    Pulled,
    /// An artifact was deleted.
    Deleted,
    /// A scan has succeeded.
    ScanCompleted,
    /// A scan has failed.
    ScanFailed,
    /// A scan was stopped.
    ScanStopped,
    /// A replication task has another state.
    Replicated,
    /// A retention run has ended.
    Retained,
    /// A push was refused because of a quota.
    QuotaExceeded,
    /// A quota is nearly used up.
    QuotaWarned,
    /// What another replica of Landfall was told.
    Relayed,
    /// A type that we do not know.
    Unknown,
}

/// What a notification says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notification {
    /// What happened.
    pub event: Event,
    /// What changed.
    pub changed: Changed,
}

/// What changed, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Changed {
    /// At the Harbor that says so.
    Here(Vec<Change>),
    /// At the registry that this Harbor reaches at `endpoint`; the names are those at the source or at the destination.
    There {
        /// Its URL, as this Harbor knows it.
        endpoint: Box<str>,
        /// What changed.
        changes: Vec<Change>,
    },
    /// At the registries of these names in our configuration.
    At(Vec<(RegistryName, Change)>),
}

/// One thing that changed at a registry.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Change {
    /// This digest of this repository.
    Digest(Repository, Digest),
    /// The digest of this tag.
    Tag(Repository, Tag),
    /// Anything in this repository.
    Repository(Repository),
}

impl Change {
    /// Its repository.
    #[must_use]
    pub fn repository(&self) -> &Repository {
        match self {
            Self::Digest(repository, _) | Self::Tag(repository, _) | Self::Repository(repository) => {
                repository
            }
        }
    }

    /// The same in another repository.
    #[must_use]
    pub fn in_repository(&self, repository: Repository) -> Self {
        match self {
            Self::Digest(_, digest) => Self::Digest(repository, *digest),
            Self::Tag(_, tag) => Self::Tag(repository, tag.clone()),
            Self::Repository(_) => Self::Repository(repository),
        }
    }
}

/// Reads a notification. One of a type that we do not know, or that changes nothing, says nothing.
///
/// # Errors
/// It is not JSON, has no type, or is not what Harbor sends with a type that we know.
pub fn notification(body: &[u8]) -> Result<Notification, Malformed> {
    let malformed = |source| Malformed::json("notification", source);
    let Typed { kind } = object(body).map_err(malformed)?;
    let event = event(&kind.ok_or(Malformed::Field { what: "notification", field: "type" })?);
    let changed = match event {
        Event::Relayed => {
            let Relayed { changes } = object(body).map_err(malformed)?;
            Changed::At(changes.0.into_iter().filter_map(Passed::read).collect())
        }
        Event::Pulled | Event::QuotaExceeded | Event::QuotaWarned | Event::Unknown => {
            Changed::Here(Vec::new())
        }
        Event::Pushed
        | Event::Deleted
        | Event::ScanCompleted
        | Event::ScanFailed
        | Event::ScanStopped
        | Event::Replicated
        | Event::Retained => {
            let Body { event_data, data } = object(body).map_err(malformed)?;
            let data = event_data
                .or(data)
                .ok_or(Malformed::Field { what: "notification", field: "event_data` or `data" })?;
            changed(event, data)
        }
    };
    Ok(Notification { event, changed })
}

/// What one replica passes on to another, as a body that [`notification`] reads.
#[must_use]
pub fn relayed(changes: &[(RegistryName, Change)]) -> Vec<u8> {
    let passed: Vec<Passed<'_>> =
        changes.iter().take(MOST_RELAYED).map(|(at, change)| Passed::of(at, change)).collect();
    serde_json::json!({"type": RELAYED, "changes": passed}).to_string().into_bytes()
}

fn event(kind: &str) -> Event {
    match kind {
        "PUSH_ARTIFACT" | "harbor.artifact.pushed" => Event::Pushed,
        "PULL_ARTIFACT" | "harbor.artifact.pulled" => Event::Pulled,
        "DELETE_ARTIFACT" | "harbor.artifact.deleted" => Event::Deleted,
        "SCANNING_COMPLETED" | "harbor.scan.completed" => Event::ScanCompleted,
        "SCANNING_FAILED" | "harbor.scan.failed" => Event::ScanFailed,
        "SCANNING_STOPPED" | "harbor.scan.stopped" => Event::ScanStopped,
        "REPLICATION" | "harbor.replication.status.changed" => Event::Replicated,
        "TAG_RETENTION" | "harbor.tag_retention.finished" => Event::Retained,
        "QUOTA_EXCEED" | "harbor.quota.exceeded" => Event::QuotaExceeded,
        "QUOTA_WARNING" | "harbor.quota.warned" => Event::QuotaWarned,
        RELAYED => Event::Relayed,
        _ => Event::Unknown,
    }
}

fn changed(event: Event, data: Data) -> Changed {
    let Data { resources, repository, replication, retention } = data;
    let mut found = Found::default();
    if let Some(replication) = replication {
        return replicated(replication);
    }
    if let Some(Retention { project_name, deleted_artifact }) = retention {
        for Artifact { name_tag, .. } in deleted_artifact.0 {
            let name = name_tag.split([':', ' ', '@']).next().unwrap_or_default();
            found.repository(&format!("{project_name}/{name}"));
        }
    }
    if let Some(Of { repo_full_name }) = repository {
        for Resource { digest, tag } in resources.0 {
            found.artifact(&repo_full_name, digest.as_deref(), tag.as_deref());
        }
        if event == Event::Deleted {
            found.repository(&repo_full_name);
        }
    }
    Changed::Here(found.changes)
}

/// A task of a rule copies from one namespace to another; which of the two is which depends on the version and the direction.
/// So both are taken.
fn replicated(replication: Replication) -> Changed {
    let Replication { src_resource, dest_resource, successful_artifact, failed_artifact } = replication;
    let mut found = Found::default();
    for Artifact { name_tag, references } in successful_artifact.0.into_iter().chain(failed_artifact.0) {
        let name = name_tag.split([' ', ':', '@']).next().unwrap_or_default();
        for namespace in [&dest_resource.namespace, &src_resource.namespace] {
            let repository = format!("{namespace}/{name}");
            if references.0.is_empty() {
                found.repository(&repository);
            }
            for reference in &references.0 {
                found.artifact(&repository, Some(reference), Some(reference));
            }
        }
    }
    // A Harbor gives no name to itself.
    if dest_resource.registry_name.as_deref().is_none_or(str::is_empty)
        && src_resource.registry_name.is_some()
    {
        return Changed::Here(found.changes);
    }
    Changed::There { endpoint: dest_resource.endpoint, changes: found.changes }
}

/// Changes, each once. What is no name of an image is left out.
#[derive(Default)]
struct Found {
    seen: HashSet<Change>,
    changes: Vec<Change>,
}

impl Found {
    fn artifact(&mut self, repository: &str, digest: Option<&str>, tag: Option<&str>) {
        let Some((repository, _)) = named(repository, None) else { return };
        if let Some(digest) = digest.and_then(|digest| digest.parse().ok()) {
            self.add(Change::Digest(repository.clone(), digest));
        }
        // Harbor writes the digest where an artifact has no tag.
        if let Some((_, Some(tag))) = tag.and_then(|tag| named(repository.as_str(), Some(tag))) {
            self.add(Change::Tag(repository, tag));
        }
    }

    fn repository(&mut self, repository: &str) {
        if let Some((repository, _)) = named(repository, None) {
            self.add(Change::Repository(repository));
        }
    }

    fn add(&mut self, change: Change) {
        if self.changes.len() < 2 * MOST_ARTIFACTS + 1 && self.seen.insert(change.clone()) {
            self.changes.push(change);
        }
    }
}

/// A repository and a tag, if they are well formed.
fn named(repository: &str, tag: Option<&str>) -> Option<(Repository, Option<Tag>)> {
    let written = match tag {
        Some(tag) => format!("harbor.invalid/{repository}:{tag}"),
        None => format!("harbor.invalid/{repository}"),
    };
    let read =
        Reference::parse(&written).ok().filter(|read| read.digest.is_none() && *read.path == *repository)?;
    (read.tag == tag).then(|| (read.repository(), read.owned_tag()))
}

#[derive(Deserialize)]
struct Typed {
    #[serde(rename = "type")]
    kind: Option<Box<str>>,
}

#[derive(Deserialize)]
struct Body {
    event_data: Option<Data>,
    data: Option<Data>,
}

#[derive(Deserialize)]
struct Data {
    #[serde(default)]
    resources: Few<Resource>,
    repository: Option<Of>,
    replication: Option<Replication>,
    retention: Option<Retention>,
}

#[derive(Deserialize)]
struct Resource {
    digest: Option<Box<str>>,
    tag: Option<Box<str>>,
}

#[derive(Deserialize)]
struct Of {
    repo_full_name: Box<str>,
}

#[derive(Deserialize)]
struct Replication {
    src_resource: Side,
    dest_resource: Side,
    #[serde(default)]
    successful_artifact: Few<Artifact>,
    #[serde(default)]
    failed_artifact: Few<Artifact>,
}

#[derive(Deserialize)]
struct Side {
    registry_name: Option<Box<str>>,
    #[serde(default)]
    endpoint: Box<str>,
    #[serde(default)]
    namespace: Box<str>,
}

#[derive(Deserialize)]
struct Artifact {
    #[serde(default)]
    name_tag: Box<str>,
    #[serde(default)]
    references: Few<Box<str>>,
}

#[derive(Deserialize)]
struct Retention {
    #[serde(default)]
    project_name: Box<str>,
    #[serde(default)]
    deleted_artifact: Few<Artifact>,
}

#[derive(Deserialize)]
struct Relayed<'a> {
    #[serde(borrow)]
    changes: Few<Passed<'a>, MOST_RELAYED>,
}

/// A change as it is passed on.
#[derive(Serialize, Deserialize)]
struct Passed<'a> {
    registry: &'a str,
    repository: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<std::borrow::Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tag: Option<&'a str>,
}

impl<'a> Passed<'a> {
    fn of(registry: &'a RegistryName, change: &'a Change) -> Self {
        let passed = Self {
            registry: registry.as_str(),
            repository: change.repository().as_str(),
            digest: None,
            tag: None,
        };
        match change {
            Change::Digest(_, digest) => Self { digest: Some(digest.to_string().into()), ..passed },
            Change::Tag(_, tag) => Self { tag: Some(tag.as_str()), ..passed },
            Change::Repository(_) => passed,
        }
    }

    fn read(self) -> Option<(RegistryName, Change)> {
        let (repository, tag) = named(self.repository, self.tag)?;
        let change = match (self.digest, tag) {
            (Some(digest), _) => Change::Digest(repository, digest.parse().ok()?),
            (None, Some(tag)) => Change::Tag(repository, tag),
            (None, None) => Change::Repository(repository),
        };
        Some((RegistryName::new(self.registry), change))
    }
}

/// The first items of a list, or none where it is `null`. The others are read and dropped.
struct Few<T, const MOST: usize = MOST_ARTIFACTS>(Vec<T>);

impl<T, const MOST: usize> Default for Few<T, MOST> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>, const MOST: usize> Deserialize<'de> for Few<T, MOST> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(FewVisitor(PhantomData))
    }
}

struct FewVisitor<T, const MOST: usize>(PhantomData<T>);

impl<'de, T: Deserialize<'de>, const MOST: usize> Visitor<'de> for FewVisitor<T, MOST> {
    type Value = Few<T, MOST>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a list")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Few::default())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut few = Vec::new();
        while few.len() < MOST {
            match list.next_element()? {
                Some(item) => few.push(item),
                None => return Ok(Few(few)),
            }
        }
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Few(few))
    }
}

#[cfg(test)]
mod tests;
