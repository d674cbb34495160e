//! The copy that a judgement found at a Place.

use super::case::{Case, Place, Subject};
use super::digest::Digest;
use super::evidence::{Evidence, Observation, Presence, Query, Shape, Wanted};
use super::gap::{GapKey, Version};
use super::image::Repository;
use super::name::{RegistryName, RouteName};
use super::place::PlaceIx;

/// A copy at the first Place of a Case, as its judgement found it.
#[derive(Debug, Clone)]
pub struct Copy {
    /// The Route that covers it.
    pub route: RouteName,
    /// The image's name at its primary.
    pub name: Box<str>,
    /// Where it is.
    pub place: Place,
    /// Where the primary has it.
    pub primary: Option<Place>,
    /// What the image means there.
    pub digest: Digest,
    /// The manifests that nodes need of it: itself, or the children of an index.
    pub manifests: Vec<(Digest, Known)>,
}

/// What is known of a manifest before somebody looks at its layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// Nothing is wrong with it.
    Whole,
    /// It was found damaged.
    Damaged,
}

/// Identifies a copy.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CopyId {
    registry: RegistryName,
    repository: Repository,
    digest: Digest,
}

impl Copy {
    /// The copy that this judgement found at the first Place of its Case, if there is one.
    #[must_use]
    pub fn of(case: &Case, evidence: &Evidence) -> Option<Self> {
        let Subject::Routed(routed) = &case.subject else { return None };
        let first = PlaceIx(0);
        let (mut digest, mut manifests) = (routed.digest, Vec::new());
        for (query, observation, _) in evidence.iter() {
            let Query::Presence(ix, wanted) = query else { continue };
            let Observation::Presence(presence) = observation else { continue };
            if ix != first {
                continue;
            }
            let found = match (presence, wanted) {
                (Presence::Present { digest, shape: Shape::Manifest }, _) => (*digest, Known::Whole),
                (Presence::Present { digest: index, shape: Shape::Index }, Wanted::Tag) => {
                    digest = digest.or(Some(*index));
                    continue;
                }
                // It is looked at until it is mended.
                (Presence::LayerMissing { digest, .. } | Presence::PullFailed { digest }, _) => {
                    (*digest, Known::Damaged)
                }
                _ => continue,
            };
            if wanted == Wanted::Tag {
                digest = digest.or(Some(found.0));
            }
            if !manifests.contains(&found) {
                manifests.push(found);
            }
        }
        Some(Self {
            route: routed.route.clone(),
            name: case.name.clone(),
            place: routed.place(first)?.clone(),
            primary: routed.primary().map(|(_, place)| place.clone()),
            digest: digest?,
            manifests,
        })
    }

    /// What identifies it.
    #[must_use]
    pub fn id(&self) -> CopyId {
        let Place { registry, repository, .. } = &self.place;
        CopyId { registry: registry.name.clone(), repository: repository.clone(), digest: self.digest }
    }

    /// The manifests that nodes need of it.
    pub fn manifests(&self) -> impl Iterator<Item = Digest> {
        self.manifests.iter().map(|(manifest, _)| *manifest)
    }

    /// The key of its Gaps.
    #[must_use]
    pub fn key(&self) -> GapKey {
        GapKey::image(self.name.clone(), Version::Digest(self.digest), self.place.registry.name.clone())
    }
}
