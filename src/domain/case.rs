//! A Case: one image to judge, with everything that the settings say about it.

mod build;

use std::sync::Arc;

use jiff::Timestamp;

use super::digest::Digest;
use super::evidence::Child;
use super::image::{Repository, Tag};
use super::name::RouteName;
use super::place::PlaceIx;
use super::platform::PlatformPattern;
use super::policy::Regime;
use super::registry::SharedRegistry;
use super::route::{Collision, Pin, Rewrite, Serves, TagProof};
use super::verdict::KeepReason;

pub use build::{Exemption, PodContext, Pull, with_enforcement};

/// One image to judge.
#[derive(Debug, Clone)]
pub struct Case {
    /// The image as the Pod writes it.
    pub written: Box<str>,
    /// The image's name at its primary, `host/repository`: exceptions, excludes and Gaps use this name. Without a Route
    /// it is the name as written; empty where the text is not a reference.
    pub name: Box<str>,
    /// The Route and Places of the image, or why it is left unchanged.
    pub subject: Subject,
    /// The rules of the Pod's namespace.
    pub regime: Arc<Regime>,
    /// The time of the judgement. The age of scans and the end of exceptions are measured from it.
    pub now: Timestamp,
}

/// Whether Landfall handles an image.
#[derive(Debug, Clone)]
pub enum Subject {
    /// A Route covers the image.
    Routed(Routed),
    /// The image is left unchanged, for this reason.
    Kept(KeepReason),
}

/// An image that a Route covers, and the Places that may hold it.
#[derive(Debug, Clone)]
pub struct Routed {
    /// The name of the Route that covers the image.
    pub route: RouteName,
    /// The tag as written in the Pod.
    pub tag: Option<Tag>,
    /// The digest as written in the Pod.
    pub digest: Option<Digest>,
    /// The Places, in the order of preference: at most 256.
    pub places: Vec<Place>,
    /// The Place that the reference names.
    pub named: PlaceIx,
    /// How the reference spells its host: as an alias of the named Place's registry, or as that registry's `host`.
    pub spelling: Spelling,
    /// Whether a tag needs proof. A policy that blocks on Stale always requires proof.
    pub tag_proof: TagProof,
    /// Whether the output is pinned. An enforcing policy always pins.
    pub pin: Pin,
    /// Whether the verdict is applied. An enforcing policy always applies it.
    pub rewrite: Rewrite,
    /// The platforms that the Pod may run on.
    pub platforms: Arc<[PlatformPattern]>,
}

/// How a reference spells the host of the Place it names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Spelling {
    /// Exactly as the registry's `host`.
    Canonical,
    /// As an alias, in other letter case, or with an explicit default port.
    Alias,
}

/// A Place of a Case: a registry, and the repository that holds the image there.
#[derive(Debug, Clone)]
pub struct Place {
    /// The registry that is asked for the image.
    pub registry: SharedRegistry,
    /// The repository of the image at this registry, after the Route's mapping.
    pub repository: Repository,
    /// Whether the registry is on our site.
    pub locality: Locality,
    /// Whether this is the Route's primary or a replica.
    pub role: Role,
    /// Whether it holds replicated copies or is a proxy cache.
    pub serves: Serves,
    /// Whether another source may be replicated into the same repository.
    pub collision: Collision,
    /// Whether the image is copied to it.
    pub expected: Expected,
}

/// Whether an image is copied to a Place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Expected {
    /// It is, or the Place is the primary.
    Copied,
    /// The filters of the Place leave it out. It is looked at there only because a policy enforces.
    FilteredOut,
}

/// Whether a Place is on our site; the nearer one sorts first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Locality {
    /// The registry is on our site.
    Local,
    /// The registry is on another site.
    Remote,
}

/// The role of a Place in its Route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// The source of the images.
    Primary,
    /// Holds copies of the images.
    Replica,
}

impl Case {
    /// Returns the Case with this Place as its first, so that its verdict tells how this copy stands: a verdict says nothing of
    /// the Places behind one that qualifies. `None` where there is no such Place, or it is not local.
    #[must_use]
    pub fn at(&self, ix: PlaceIx) -> Option<Self> {
        let mut case = self.clone();
        let Subject::Routed(routed) = &mut case.subject else { return None };
        routed.place(ix).filter(|place| place.locality == Locality::Local)?;
        routed.places.get_mut(..=usize::from(ix.0))?.rotate_right(1);
        routed.named = match routed.named {
            named if named == ix => PlaceIx(0),
            PlaceIx(named) if named < ix.0 => PlaceIx(named + 1),
            named => named,
        };
        Some(case)
    }
}

impl Case {
    /// Returns the Case with the local replica that its reference names as its first Place; `None` where it names none.
    #[must_use]
    pub fn at_named_replica(&self) -> Option<Self> {
        let Subject::Routed(routed) = &self.subject else { return None };
        let place = routed.place(routed.named)?;
        let is_ours = (place.locality, place.role) == (Locality::Local, Role::Replica);
        is_ours.then(|| self.at(routed.named))?
    }
}

impl Place {
    /// Whether a copy of the image should be here: what it lacks is a Gap. A primary, a proxy cache, and a Place whose filters
    /// leave the image out lack nothing.
    #[must_use]
    pub fn should_hold(&self) -> bool {
        (self.role, self.serves, self.expected) == (Role::Replica, Serves::Copies, Expected::Copied)
    }
}

impl Routed {
    /// Iterates over the Places with their indices, in the order of preference.
    pub fn iter(&self) -> impl Iterator<Item = (PlaceIx, &Place)> {
        (0..=u8::MAX).map(PlaceIx).zip(&self.places)
    }

    /// Returns the Place with this index.
    #[must_use]
    pub fn place(&self, ix: PlaceIx) -> Option<&Place> {
        self.places.get(usize::from(ix.0))
    }

    /// Returns the primary; `None` where the reference names a replica whose mapping cannot be inverted.
    #[must_use]
    pub fn primary(&self) -> Option<(PlaceIx, &Place)> {
        self.iter().find(|(_, place)| place.role == Role::Primary)
    }

    /// Returns the children of an index that a node may start for the Pod: see [`needed`].
    #[must_use]
    pub fn needed(&self, children: &[Child]) -> Vec<Digest> {
        needed(&self.platforms, children)
    }
}

/// Returns the children of an index that nodes of these platforms may start, each digest once: those that fit a platform best,
/// and those whose platform is not known.
#[must_use]
pub fn needed(platforms: &[PlatformPattern], children: &[Child]) -> Vec<Digest> {
    // Once a child is certain for every node of a platform, none takes what ranks lower.
    let last = |pattern: &PlatformPattern| {
        let fits = children.iter().filter_map(|child| pattern.fit(child.platform.as_ref()?));
        fits.filter(|fit| fit.certain).map(|fit| fit.rank).min().unwrap_or(u8::MAX)
    };
    let last: Vec<u8> = platforms.iter().map(last).collect();
    let mut needed = Vec::new();
    for child in children {
        let wanted = child.platform.as_ref().is_none_or(|platform| {
            let mut patterns = platforms.iter().zip(&last);
            patterns.any(|(pattern, last)| pattern.fit(platform).is_some_and(|fit| fit.rank <= *last))
        });
        if wanted && !needed.contains(&child.digest) {
            needed.push(child.digest);
        }
    }
    needed
}
