//! Routes: a set of images and the Places that hold them.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use super::image::{Reference, Repository};
use super::mapping::{Inverse, Mapping};
pub use super::name::RouteName;
use super::pattern::{Pattern, Specificity};
use super::registry::{Host, SharedRegistry, folded};

/// Whether a tag's digest must be proved against the primary before a local copy is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TagProof {
    /// The primary is asked off the request path; what is remembered counts.
    Background,
    /// It is asked before settling; without an answer or a memory the tag is Unproved.
    Required,
}

/// Whether rewritten references are pinned to the digest that was checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Pin {
    /// `tag@digest`.
    Digest,
    /// The tag alone; an enforcing policy pins all the same.
    Tag,
}

/// Whether verdicts change Pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Rewrite {
    /// They do.
    Apply,
    /// They are recorded; an enforcing policy applies them all the same.
    Observe,
}

/// What a replica is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Serves {
    /// Copies that were replicated to it.
    Copies,
    /// `proxy: true`: a proxy-cache project, usable though it proves nothing.
    ProxyCache,
}

/// Can two sources land in one repository of this replica?
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Collision {
    /// Never: the mapping is one to one.
    Impossible,
    /// They can: a tag there needs proof.
    Possible,
}

/// A set of images: one primary, any number of replicas.
#[derive(Debug, Clone)]
pub struct Route {
    /// Its name.
    pub name: RouteName,
    /// The registry where the images are at home.
    pub primary: SharedRegistry,
    /// Which of its repositories.
    pub repositories: Pattern,
    /// The replicas, as configured.
    pub replicas: Vec<Replica>,
    /// Proof of tags.
    pub tag_proof: TagProof,
    /// Pinning.
    pub pin: Pin,
    /// Apply or observe.
    pub rewrite: Rewrite,
}

/// A registry that holds a Route's images under a mapping.
#[derive(Debug, Clone)]
pub struct Replica {
    /// The registry.
    pub registry: SharedRegistry,
    /// Where the images lie there.
    pub mapping: Mapping,
    /// What the replication rule copies.
    pub filter: Filter,
    /// Copies, or a proxy cache.
    pub serves: Serves,
    /// Whether two sources may land in one repository there.
    pub collision: Collision,
}

/// The filters of a replication rule: patterns over the primary's repositories and over tags.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Only these repositories.
    pub repositories: Option<Pattern>,
    /// Not these repositories.
    pub exclude: Option<Pattern>,
    /// Only these tags; never applies to a reference with a digest.
    pub tags: Option<Pattern>,
    /// Not these tags; likewise.
    pub exclude_tags: Option<Pattern>,
}

/// Which Place of a Route a reference names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Named {
    /// The primary.
    Primary,
    /// The replica with this index.
    Replica(usize),
}

impl Named {
    /// The replica; `None` for the primary.
    #[must_use]
    pub fn replica(self, route: &Route) -> Option<&Replica> {
        match self {
            Self::Primary => None,
            Self::Replica(n) => route.replicas.get(n),
        }
    }

    /// The registry.
    #[must_use]
    pub fn registry(self, route: &Route) -> &SharedRegistry {
        self.replica(route).map_or(&route.primary, |replica| &replica.registry)
    }
}

/// A Route that covers a reference.
#[derive(Debug, Clone)]
pub struct RouteMatch<'a> {
    /// The Route.
    pub route: &'a Route,
    /// Which of its Places the reference names.
    pub named: Named,
    /// The repository at the primary; `None` where the replica's mapping cannot be inverted.
    pub source: Option<Repository>,
}

/// The Routes, found by host and by the literal leading components of their repositories: the cost of a look-up
/// grows with the depth of a path, not with the number of Routes.
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
    /// The hosts alone: the Routes stand beside the index.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut hosts: Vec<_> = self.hosts.keys().collect();
        hosts.sort();
        out.debug_list().entries(hosts).finish()
    }
}

impl RouteIndex {
    /// Indexes the Routes in the order of the configuration, which decides between equally specific ones.
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

    /// The Route that covers a reference: a match as primary beats a match as replica, then the most specific wins.
    /// `covers` may refuse a match, for its filters.
    pub fn find(
        &self,
        reference: &Reference<'_>,
        covers: impl Fn(&RouteMatch<'_>) -> bool,
    ) -> Option<RouteMatch<'_>> {
        let Candidates { primaries, replicas } = self.hosts.get(&*folded(reference.host))?;
        [primaries, replicas].into_iter().find_map(|buckets| {
            leads(&reference.path)
                .filter_map(|lead| buckets.get(lead))
                .flatten()
                .filter_map(|candidate| candidate.matched(&reference.path))
                .find(&covers)
        })
    }
}

/// The leading components of a path, longest first, down to none: `a/b/c`, `a/b`, `a`, and the empty text.
fn leads(path: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(path), |lead| Some(lead.rsplit_once('/')?.0)).chain([""])
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
