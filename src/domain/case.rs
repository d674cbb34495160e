//! A Case: one image to judge, framed by the settings.

mod build;

use std::sync::Arc;

use jiff::Timestamp;

use super::digest::Digest;
use super::evidence::{Child, PlaceIx};
use super::image::{Repository, Tag};
use super::platform::PlatformPattern;
use super::policy::Regime;
use super::registry::SharedRegistry;
use super::route::{Collision, Pin, Rewrite, RouteName, Serves, TagProof};
use super::verdict::KeepReason;

pub use build::{Exemption, PodContext, Pull};

/// One image to judge.
#[derive(Debug, Clone)]
pub struct Case {
    /// The image as the Pod writes it.
    pub written: Box<str>,
    /// Its name at its primary, `host/repository`, as exceptions, excludes and gaps speak of it; where no Route
    /// covers it, its own; empty where it is no reference.
    pub name: Box<str>,
    /// What it is to us.
    pub subject: Subject,
    /// What applies in the Pod's namespace.
    pub regime: Arc<Regime>,
    /// When it is judged: ages of scans and dates of exceptions are measured from here.
    pub now: Timestamp,
}

/// What an image is to Landfall.
#[derive(Debug, Clone)]
pub enum Subject {
    /// A Route covers it.
    Routed(Routed),
    /// It is left alone, for this reason.
    Kept(KeepReason),
}

/// An image that a Route covers, and the Places that may hold it.
#[derive(Debug, Clone)]
pub struct Routed {
    /// The Route.
    pub route: RouteName,
    /// The tag as written.
    pub tag: Option<Tag>,
    /// The digest as written.
    pub digest: Option<Digest>,
    /// The Places, in the order of preference: at most 256.
    pub places: Vec<Place>,
    /// Which of them the reference names.
    pub named: PlaceIx,
    /// How the reference spells its host: an alias of the named Place's registry, or that registry's `host`.
    pub spelling: Spelling,
    /// Whether a tag needs proof; where the policy blocks on Stale, it does whatever this says.
    pub tag_proof: TagProof,
    /// Whether the output is pinned; an enforcing policy pins whatever this says.
    pub pin: Pin,
    /// Whether the verdict is applied; an enforcing policy applies it whatever this says.
    pub rewrite: Rewrite,
    /// The platforms that the Pod may land on.
    pub platforms: Arc<[PlatformPattern]>,
}

/// How a reference spells the host of the Place it names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Spelling {
    /// As the registry's `host`.
    Canonical,
    /// By an alias, another case or an explicit default port.
    Alias,
}

/// A Place of a Case: a registry, and the repository under which the image lies there.
#[derive(Debug, Clone)]
pub struct Place {
    /// The registry.
    pub registry: SharedRegistry,
    /// The repository there.
    pub repository: Repository,
    /// Where it stands, seen from our site.
    pub locality: Locality,
    /// Primary or replica.
    pub role: Role,
    /// Copies, or a proxy cache.
    pub serves: Serves,
    /// Whether another source may land in the same repository.
    pub collision: Collision,
}

/// Where a Place stands, nearest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Locality {
    /// On our site.
    Local,
    /// On another.
    Remote,
}

/// What a Place is to its Route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Where the images are at home.
    Primary,
    /// Where copies of them lie.
    Replica,
}

impl Routed {
    /// The Places with their indices, in the order of preference.
    pub fn iter(&self) -> impl Iterator<Item = (PlaceIx, &Place)> {
        (0..=u8::MAX).map(PlaceIx).zip(&self.places)
    }

    /// One Place.
    #[must_use]
    pub fn place(&self, ix: PlaceIx) -> Option<&Place> {
        self.places.get(usize::from(ix.0))
    }

    /// The primary; `None` where the reference names a replica whose mapping cannot be inverted.
    #[must_use]
    pub fn primary(&self) -> Option<(PlaceIx, &Place)> {
        self.iter().find(|(_, place)| place.role == Role::Primary)
    }

    /// The children of an index that the Pod may need, each digest once.
    #[must_use]
    pub fn needed(&self, children: &[Child]) -> Vec<Digest> {
        let mut needed = Vec::new();
        for child in children {
            let fits = |platform| self.platforms.iter().any(|pattern| pattern.matches(platform));
            if child.platform.as_ref().is_some_and(fits) && !needed.contains(&child.digest) {
                needed.push(child.digest);
            }
        }
        needed
    }
}
