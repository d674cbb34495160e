//! Settings: the whole configuration, parsed, checked and indexed. Each request uses one snapshot of it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::name::{RegistryName, Site};
use super::pattern::ImagePattern;
use super::platform::PlatformPattern;
use super::policy::{Policy, Rules, SYSTEM_NAMESPACES};
use super::pull_secrets::PullSecrets;
use super::registry::{CredentialSource, SharedRegistry};
use super::route::{Route, RouteIndex};

/// The whole configuration. `config::parse` makes it from the text of the file.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The name of our own site.
    pub site: Site,
    /// The other sites, nearest first. Sites that are not named here come last.
    pub near: Vec<Site>,
    /// The registries by name.
    pub registries: BTreeMap<RegistryName, SharedRegistry>,
    /// Which credentials `landfall copy` writes with, by the registry. Nothing else reads them.
    pub writers: BTreeMap<RegistryName, CredentialSource>,
    /// The pull secrets that Landfall makes.
    pub pull_secrets: PullSecrets,
    /// The routes, in the order of the configuration.
    pub routes: Arc<[Arc<Route>]>,
    /// Finds these routes by reference.
    pub index: Arc<RouteIndex>,
    /// The platforms of the cluster's nodes.
    pub platforms: Arc<[PlatformPattern]>,
    /// The rules where no policy says otherwise.
    pub defaults: Arc<Rules>,
    /// The policies, enforcing and observing ones.
    pub policies: Vec<Arc<Policy>>,
    /// The namespaces and images that Landfall does not handle.
    pub exclude: Exclude,
    /// How long answers of registries are cached.
    pub cache: CacheLife,
    /// How long and how much registries are asked.
    pub budget: Budget,
    /// What may be done about gaps.
    pub healing: Healing,
    /// Whether reports are written for the people of each namespace.
    pub reports: Reports,
    /// The files with the secrets of the Harbors that notify us.
    pub notifications: BTreeMap<RegistryName, PathBuf>,
}

impl Settings {
    /// Returns the same settings with other policies. Routes and their index are shared, not built again.
    #[must_use]
    pub fn with_policies(&self, policies: Vec<Arc<Policy>>) -> Self {
        Self { policies, ..self.clone() }
    }

    /// Whether Landfall leaves all Pods of a namespace alone. `own`: the namespace that it runs in; `None`: not known.
    #[must_use]
    pub fn leaves_alone(&self, namespace: &str, own: Option<&str>) -> bool {
        SYSTEM_NAMESPACES.contains(&namespace)
            || own == Some(namespace)
            || self.exclude.namespaces.iter().any(|excluded| **excluded == *namespace)
    }
}

/// Whether reports are written for the people of each namespace, and in which form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reports {
    /// None are written.
    Off,
    /// As `Report` of openreports.io/v1alpha1.
    OpenReports,
}

/// Namespaces and images that Landfall does not handle, unless an enforcing policy applies to them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Exclude {
    /// The names of the excluded namespaces.
    pub namespaces: Vec<Box<str>>,
    /// The excluded images, by their primary name.
    pub images: Vec<ImagePattern>,
}

/// How long each kind of answer is cached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheLife {
    /// How long a Present by digest is fresh.
    pub present: Duration,
    /// How long a Present by digest still counts while its registry is slow.
    pub remember: Duration,
    /// How long the digest of a tag is fresh.
    pub tag: Duration,
    /// How long an Absent is fresh, and the longest time before an Unknown is asked again.
    pub absent: Duration,
    /// How long the state of a scan is fresh.
    pub scan: Duration,
    /// The most entries. On average an entry takes at most 512 bytes.
    pub entries: u64,
}

/// How long and how much registries are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// The most time for one review, even where the API server's timeout would allow more.
    pub request: Duration,
    /// The most time for one attempt at one registry.
    pub attempt: Duration,
    /// The most attempts in flight at one registry.
    pub in_flight: u32,
}

/// What Landfall may do about gaps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, strum::Display)]
pub enum HealingMode {
    /// Nothing.
    #[default]
    Off,
    /// It starts scans at local Harbors.
    Scan,
    /// It also executes replication rules.
    Replicate,
}

/// What Landfall may do about gaps, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Healing {
    /// What.
    pub mode: HealingMode,
    /// So long a gap is left to Harbor itself.
    pub after: Duration,
}

impl Default for Healing {
    fn default() -> Self {
        Self { mode: HealingMode::Off, after: Duration::from_secs(60) }
    }
}

impl Exclude {
    /// Whether an image with this primary name is excluded.
    #[must_use]
    pub fn covers(&self, name: &str) -> bool {
        self.images.iter().any(|image| image.matches_name(name))
    }
}

/// Settings for unit tests: one platform, no registry, no policy, and the same duration everywhere.
#[cfg(test)]
pub(crate) mod sample {
    use super::*;
    use crate::domain::name::PolicyName;
    use crate::domain::policy::{Actions, Enforcement, Selector, Warning};
    use crate::domain::scan::{Allowlist, Required, Requirement};

    /// Rules with the built-in actions, and a scan that is required where there is a scanner.
    pub(crate) fn rules() -> Rules {
        let scan = Requirement {
            required: Required::Auto,
            max_severity: None,
            max_age: None,
            ignore: Arc::default(),
            allowlist: Allowlist::Honoured,
        };
        Rules { actions: Actions::default(), scan, exceptions: Vec::new() }
    }

    /// An enforcing policy with these rules.
    pub(crate) fn policy(name: &str, selector: Selector) -> Policy {
        Policy {
            name: PolicyName::new(name),
            selector,
            enforcement: Enforcement::Enforce,
            rules: rules(),
            contact: None,
            warning: Warning::Withheld,
            break_glass: None,
        }
    }

    /// The settings; `each` is every TTL and every budget.
    pub(crate) fn settings(each: Duration) -> Settings {
        Settings {
            site: Site::new("ams"),
            near: Vec::new(),
            registries: BTreeMap::new(),
            writers: BTreeMap::new(),
            pull_secrets: PullSecrets::default(),
            routes: Arc::default(),
            index: Arc::default(),
            platforms: "linux/amd64".parse().into_iter().collect(),
            defaults: Arc::new(rules()),
            policies: Vec::new(),
            exclude: Exclude::default(),
            cache: CacheLife {
                present: each,
                remember: each,
                tag: each,
                absent: each,
                scan: each,
                entries: 10,
            },
            budget: Budget { request: each, attempt: each, in_flight: 3 },
            healing: Healing::default(),
            reports: Reports::Off,
            notifications: BTreeMap::new(),
        }
    }
}
