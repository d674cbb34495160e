//! A Case: one image to judge, framed by the settings.

use std::sync::Arc;

use jiff::Timestamp;

use super::digest::Digest;
use super::evidence::PlaceIx;
use super::image::{Repository, Tag};
use super::platform::PlatformPattern;
use super::policy::Regime;
use super::registry::SharedRegistry;
use super::route::{Collision, Pin, Rewrite, RouteName, Serves, TagProof};
use super::verdict::KeepReason;

/// One image to judge.
#[derive(Debug, Clone)]
pub struct Case {
    /// The image as the Pod writes it.
    pub written: Box<str>,
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
    /// The image's name at its primary, `host/repository`: what exceptions, excludes and gaps speak of.
    pub primary_name: Box<str>,
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
    /// Which of them is the primary; `None` where the mapping could not be inverted.
    pub primary: Option<PlaceIx>,
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

/// Where a Place stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
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
