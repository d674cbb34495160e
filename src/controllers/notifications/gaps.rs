//! Which open gaps notifications speak of.

use std::collections::HashSet;

use crate::domain::digest::Digest;
use crate::domain::gap::{GapKey, GapSubject, Version};
use crate::domain::image::{Repository, Tag};
use crate::domain::name::RegistryName;
use crate::domain::settings::Settings;
use crate::harbor::notification::Change;

/// Which keys of gaps a round of changes concerns.
#[derive(Debug, Default)]
pub(super) struct Concerned {
    digests: HashSet<(RegistryName, Digest)>,
    tags: HashSet<(RegistryName, Repository, Tag)>,
    repositories: HashSet<(RegistryName, Repository)>,
}

impl Concerned {
    /// This digest, in any repository of this registry.
    pub(super) fn add_digest(&mut self, at: &RegistryName, digest: Digest) {
        self.digests.insert((at.clone(), digest));
    }

    /// This change.
    pub(super) fn add(&mut self, at: &RegistryName, change: &Change) {
        match change {
            Change::Digest(_, digest) => self.add_digest(at, *digest),
            Change::Tag(repository, tag) => {
                self.tags.insert((at.clone(), repository.clone(), tag.clone()));
            }
            Change::Repository(repository) => {
                self.repositories.insert((at.clone(), repository.clone()));
            }
        }
    }

    /// Whether a gap may be about one of them. Its image has its name at the primary.
    pub(super) fn concerns(&self, settings: &Settings, key: &GapKey) -> bool {
        let GapSubject::Image { name, version } = &key.subject else { return false };
        if let Version::Digest(digest) = version
            && self.digests.contains(&(key.registry.clone(), *digest))
        {
            return true;
        }
        // Most notifications name no whole repository.
        let names_tags = matches!(version, Version::Tag(_)) && !self.tags.is_empty();
        if !names_tags && self.repositories.is_empty() {
            return false;
        }
        copies(settings, name, &key.registry).any(|copy| {
            let is_tag = match version {
                Version::Tag(tag) => self.tags.contains(&(key.registry.clone(), copy.clone(), tag.clone())),
                Version::Digest(_) => false,
            };
            is_tag || self.repositories.contains(&(key.registry.clone(), copy))
        })
    }
}

/// The repositories at a registry that may hold an image of this name at its primary.
fn copies<'a>(
    settings: &'a Settings,
    name: &'a str,
    registry: &'a RegistryName,
) -> impl Iterator<Item = Repository> {
    let (host, source) = name.split_once('/').unwrap_or_default();
    let routes = settings
        .routes
        .iter()
        .filter(move |route| *route.primary.host == *host && route.repositories.matches(source));
    let replicas = routes.flat_map(|route| &route.replicas);
    replicas
        .filter(move |replica| replica.registry.name == *registry)
        .filter_map(move |replica| replica.mapping.map(source).ok())
}
