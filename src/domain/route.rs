//! Routes: a set of images and the Places that hold them.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use super::image::{Reference, Repository};
use super::mapping::{Inverse, Mapping};
use super::name::RouteName;
use super::pattern::{Pattern, Specificity};
use super::registry::{Host, SharedRegistry, folded};

/// Whether a tag's digest must be proved against the primary before a local copy is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TagProof {
    /// The primary is asked in the background. A remembered answer counts.
    Background,
    /// The primary is asked before the verdict. Without an answer and without a remembered one, the tag is Unproved.
    Required,
}

/// Whether rewritten references are pinned to the digest that was checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Pin {
    /// References are written as `tag@digest`.
    TagAndDigest,
    /// References are written with the digest alone, for runtimes that refuse a tag beside a digest (some CRI-O 1.31).
    Digest,
    /// References are written with the tag alone. An enforcing policy still pins them, as `tag@digest`.
    Off,
}

/// Whether verdicts change Pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Rewrite {
    /// Verdicts change Pods.
    Apply,
    /// Verdicts are only recorded. An enforcing policy still applies them.
    Observe,
}

/// How a replica gets its images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Serves {
    /// It holds copies that were replicated to it.
    Copies,
    /// `proxy: true`: a proxy-cache project. It can be used, but does not prove a local copy.
    ProxyCache,
}

/// Whether two sources may be replicated to the same repository of a replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Collision {
    /// The mapping is one to one.
    Impossible,
    /// Two sources may share a repository, so a tag there needs proof.
    Possible,
}

/// A set of images: one primary, any number of replicas.
#[derive(Debug, Clone)]
pub struct Route {
    /// The `name` of the route in the configuration.
    pub name: RouteName,
    /// The registry that is the source of the images.
    pub primary: SharedRegistry,
    /// Which repositories of the primary belong to the route.
    pub repositories: Pattern,
    /// The replicas, in the order of the configuration.
    pub replicas: Vec<Replica>,
    /// Whether a tag must be proved before a local copy is used.
    pub tag_proof: TagProof,
    /// Whether rewritten references are pinned to a digest.
    pub pin: Pin,
    /// Whether verdicts change Pods or are only recorded.
    pub rewrite: Rewrite,
}

/// A registry that holds a Route's images under a mapping.
#[derive(Debug, Clone)]
pub struct Replica {
    /// The registry that holds the copies.
    pub registry: SharedRegistry,
    /// How repositories of the primary are named at this registry.
    pub mapping: Mapping,
    /// What the replication rule copies.
    pub filter: Filter,
    /// Whether it holds replicated copies or is a proxy cache.
    pub serves: Serves,
    /// Whether two sources may be replicated to one repository there.
    pub collision: Collision,
}

/// The filters of a replication rule: patterns over the primary's repositories and over tags.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Copies only these repositories.
    pub repositories: Option<Pattern>,
    /// Does not copy these repositories.
    pub exclude: Option<Pattern>,
    /// Copies only these tags. It never applies to a reference with a digest.
    pub tags: Option<Pattern>,
    /// Does not copy these tags. It never applies to a reference with a digest.
    pub exclude_tags: Option<Pattern>,
}

/// Which Place of a Route a reference names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Named {
    /// The reference names the primary.
    Primary,
    /// The reference names the replica with this index.
    Replica(usize),
}

impl Named {
    /// Returns the replica; `None` for the primary.
    #[must_use]
    pub fn replica(self, route: &Route) -> Option<&Replica> {
        match self {
            Self::Primary => None,
            Self::Replica(n) => route.replicas.get(n),
        }
    }

    /// Returns the registry that the reference names.
    #[must_use]
    pub fn registry(self, route: &Route) -> &SharedRegistry {
        self.replica(route).map_or(&route.primary, |replica| &replica.registry)
    }
}

/// A Route that covers a reference.
#[derive(Debug, Clone)]
pub struct RouteMatch<'a> {
    /// The Route that covers the reference.
    pub route: &'a Route,
    /// Which Place of the Route the reference names.
    pub named: Named,
    /// The repository at the primary; `None` where the replica's mapping cannot be inverted.
    pub source: Option<Repository>,
}

/// Finds Routes by host and by the literal leading components of their repositories. So the cost of a look-up grows with
/// the depth of a path, not with the number of Routes.
#[derive(Clone, Default)]
pub struct RouteIndex {
    hosts: HashMap<Host, Candidates>,
}

#[derive(Clone, Default)]
struct Candidates {
    primaries: HashMap<Box<str>, Vec<Candidate>>,
    replicas: HashMap<Box<str>, Vec<Candidate>>,
}

#[derive(Clone)]
struct Candidate {
    route: Arc<Route>,
    named: Named,
    specificity: Specificity,
}

impl fmt::Debug for RouteIndex {
    /// Prints only the hosts, because `Settings` prints the Routes next to the index.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut hosts: Vec<_> = self.hosts.keys().collect();
        hosts.sort();
        out.debug_list().entries(hosts).finish()
    }
}

impl RouteIndex {
    /// Builds the index. Of equally specific Routes, the first in the configuration wins.
    #[must_use]
    pub fn of(routes: &[Arc<Route>]) -> Self {
        let mut index = Self::default();
        for route in routes {
            index.add(route, Named::Primary, &route.repositories);
            for (n, replica) in route.replicas.iter().enumerate() {
                if let Some(targets) = replica.mapping.targets(&route.repositories) {
                    index.add(route, Named::Replica(n), &targets);
                }
            }
        }
        for Candidates { primaries, replicas } in index.hosts.values_mut() {
            for bucket in primaries.values_mut().chain(replicas.values_mut()) {
                bucket.sort_by_key(|candidate| std::cmp::Reverse(candidate.specificity));
            }
        }
        index
    }

    fn add(&mut self, route: &Arc<Route>, named: Named, repositories: &Pattern) {
        let (leading, specificity) = (repositories.leading().join("/"), repositories.specificity());
        for host in named.registry(route).hosts() {
            let candidates = self.hosts.entry(host).or_default();
            let buckets = match named {
                Named::Primary => &mut candidates.primaries,
                Named::Replica(_) => &mut candidates.replicas,
            };
            let candidate = Candidate { route: route.clone(), named, specificity };
            buckets.entry(leading.as_str().into()).or_default().push(candidate);
        }
    }

    /// Finds the Route that covers a reference. A match as primary beats a match as replica; then the most specific match
    /// wins. `covers` may refuse a match, for example because of its filters.
    pub fn find(
        &self,
        reference: &Reference<'_>,
        covers: impl Fn(&RouteMatch<'_>) -> bool,
    ) -> Option<RouteMatch<'_>> {
        let Candidates { primaries, replicas } = self.hosts.get(&*folded(reference.host))?;
        [primaries, replicas].into_iter().find_map(|buckets| {
            prefixes(&reference.path)
                .filter_map(|prefix| buckets.get(prefix))
                .flatten()
                .filter_map(|candidate| candidate.matched(&reference.path))
                .find(&covers)
        })
    }
}

/// The prefixes of a path by components, longest first: `a/b/c`, `a/b`, `a`, and the empty text.
fn prefixes(path: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(path), |prefix| Some(prefix.rsplit_once('/')?.0)).chain([""])
}

impl Candidate {
    fn matched(&self, path: &str) -> Option<RouteMatch<'_>> {
        let source = match self.named.replica(&self.route) {
            None => self.route.repositories.matches(path).then(|| Some(Repository::new(path)))?,
            Some(replica) => match replica.mapping.invert(path, &self.route.repositories) {
                Inverse::Source(source) => Some(source),
                Inverse::Ambiguous => None,
                Inverse::Foreign => return None,
            },
        };
        Some(RouteMatch { route: &self.route, named: self.named, source })
    }
}
