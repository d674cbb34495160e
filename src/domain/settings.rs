//! Settings: everything that the configuration says, parsed, checked and indexed. One snapshot serves one request.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::pattern::ImagePattern;
use super::platform::PlatformPattern;
use super::policy::{Policy, Rules};
use super::registry::{RegistryName, SharedRegistry, Site};
use super::route::{Route, RouteIndex};

/// The whole configuration.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Our site.
    pub site: Site,
    /// The other sites, nearest first; those not named come after, as configured.
    pub near: Vec<Site>,
    /// The registries by name.
    pub registries: BTreeMap<RegistryName, SharedRegistry>,
    /// The routes, as configured.
    pub routes: Arc<[Arc<Route>]>,
    /// The same routes, to be found by reference.
    pub index: Arc<RouteIndex>,
    /// The cluster's platforms.
    pub platforms: Arc<[PlatformPattern]>,
    /// What applies where no policy says otherwise.
    pub defaults: Arc<Rules>,
    /// The policies.
    pub policies: Vec<Arc<Policy>>,
    /// What is left alone.
    pub exclude: Exclude,
    /// How long answers live.
    pub cache: CacheLife,
    /// How long and how much we ask.
    pub budget: Budget,
}

impl Settings {
    /// The same settings with these policies instead. Routes and their index are shared, not built again.
    #[must_use]
    pub fn with_policies(&self, policies: Vec<Arc<Policy>>) -> Self {
        Self { policies, ..self.clone() }
    }
}

/// What is left alone, unless an enforcing policy speaks for it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Exclude {
    /// Namespaces, by name.
    pub namespaces: Vec<Box<str>>,
    /// Images, by their primary name.
    pub images: Vec<ImagePattern>,
}

/// How long each kind of answer lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheLife {
    /// A Present by digest.
    pub present: Duration,
    /// How long a Present by digest still counts while its registry is slow.
    pub remember: Duration,
    /// What a tag means.
    pub tag: Duration,
    /// An Absent, and the longest that an Unknown keeps from asking again.
    pub absent: Duration,
    /// The state of a scan.
    pub scan: Duration,
    /// The most entries; together they take at most 512 bytes each.
    pub entries: u64,
}

/// How long and how much registries are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// For one review, whatever the API server's timeout allows beyond it.
    pub request: Duration,
    /// For one attempt at one registry.
    pub attempt: Duration,
    /// The most attempts in flight at one registry.
    pub in_flight: u32,
}

impl Exclude {
    /// Is this image, by its primary name, left alone?
    #[must_use]
    pub fn covers(&self, name: &str) -> bool {
        self.images.iter().any(|image| image.matches_name(name))
    }
}
