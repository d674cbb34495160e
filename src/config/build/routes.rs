//! `routes:`, each one and the conflicts between them.

use std::sync::Arc;

use super::{Build, Known, did_you_mean, raw};
use crate::config::decode::At;
use crate::config::scalar::Name;
use crate::config::tree::NodeId;
use crate::domain::mapping::{Flatten, Mapping};
use crate::domain::name::RegistryName;
use crate::domain::name::RouteName;
use crate::domain::pattern::Pattern;
use crate::domain::registry::SharedRegistry;
use crate::domain::route::{Collision, Filter, Pin, Replica, Rewrite, Route, Serves, TagProof};

/// A Case numbers its Places with one byte, and the primary is one of them.
const MOST_REPLICAS: usize = 254;

/// A route, and where its parts are written.
struct Written {
    route: Route,
    primary: NodeId,
    replicas: Vec<NodeId>,
    /// Where the copies of each replica are. Computed once, because every route is compared with all others.
    targets: Vec<Vec<Pattern>>,
}

impl Build<'_> {
    pub(super) fn routes(&mut self, routes: Vec<At<raw::Route>>, known: &Known) -> Vec<Arc<Route>> {
        let mut names = Vec::new();
        let mut written: Vec<Written> = Vec::new();
        for route in routes {
            written.extend(self.route(route, known, &mut names));
        }
        self.primaries_do_not_tie(&written);
        self.collisions(&mut written);
        written.into_iter().map(|written| Arc::new(written.route)).collect()
    }

    fn route(
        &mut self,
        route: At<raw::Route>,
        known: &Known,
        names: &mut Vec<(Box<str>, NodeId)>,
    ) -> Option<Written> {
        let At { node, value } = route;
        let raw::Route { name, primary, replicas, tag_proof, pin, rewrite } = value;
        let name = self.need(node, "name", name, "write the route's name; annotations and metrics show it");
        if let Some(name) = &name {
            self.unique("route", names, &name.value.0, name.node);
        }
        let primary_at = primary.as_ref().map_or(node, |primary| primary.node);
        let hint = "write where the images are pushed to: `{registry: …, repositories: …}`";
        let primary = self.need(node, "primary", primary, hint);
        let (registry, repositories) = match primary {
            None => (None, None),
            Some(At { node, value: raw::Primary { registry, repositories } }) => {
                let registry = self.need(node, "registry", registry, "write a name from `registries`");
                let registry = registry.and_then(|name| self.known_registry(&name, known));
                let hint = "write which of its repositories belong to the route, as in `production/**`";
                (registry, self.need(node, "repositories", repositories, hint))
            }
        };
        let repositories = repositories.map(|pattern| pattern.value.0);

        let mut built = Vec::new();
        let mut replicas_at = Vec::new();
        if let Some(At { node, value: replicas }) = replicas {
            if replicas.len() > MOST_REPLICAS {
                self.error(
                    node,
                    format!("{} replicas are too many", replicas.len()),
                    format!("give at most {MOST_REPLICAS}"),
                );
            }
            for At { node, value } in replicas {
                let replica = self.replica(node, value, known, registry.as_ref(), repositories.as_ref());
                if let Some(replica) = replica {
                    replicas_at.push(node);
                    built.push(replica);
                }
            }
        }
        let route = Route {
            name: RouteName::new(&*name?.value.0),
            primary: registry?,
            repositories: repositories?,
            replicas: built,
            tag_proof: match tag_proof {
                None | Some(raw::TagProof::Background) => TagProof::Background,
                Some(raw::TagProof::Required) => TagProof::Required,
            },
            pin: match pin {
                None | Some(raw::Pin::TagAndDigest) => Pin::TagAndDigest,
                Some(raw::Pin::Digest) => Pin::Digest,
                Some(raw::Pin::Off) => Pin::Off,
            },
            rewrite: if rewrite.unwrap_or(true) { Rewrite::Apply } else { Rewrite::Observe },
        };
        let targets = route.replicas.iter().map(|replica| targets_of(&route, replica)).collect();
        Some(Written { route, primary: primary_at, replicas: replicas_at, targets })
    }

    fn known_registry(&mut self, name: &At<Name>, known: &Known) -> Option<SharedRegistry> {
        let At { node, value: Name(name) } = name;
        if let Some(registry) = known.registries.get(&RegistryName::new(&**name)) {
            return Some(registry.clone());
        }
        // A registry with a mistake was reported already.
        let written: Vec<&str> =
            known.registries_at.map(|at| self.tree.keys(at).collect()).unwrap_or_default();
        if !written.contains(&&**name) {
            let hint = did_you_mean(name, written.iter().copied());
            self.error(*node, format!("no registry is named `{name}`"), hint);
        }
        None
    }

    fn replica(
        &mut self,
        node: NodeId,
        replica: raw::Replica,
        known: &Known,
        primary: Option<&SharedRegistry>,
        sources: Option<&Pattern>,
    ) -> Option<Replica> {
        let raw::Replica { registry, namespace, flatten, repositories, exclude, tags, exclude_tags, proxy } =
            replica;
        let registry = self.need(node, "registry", registry, "write a name from `registries`");
        let registry = registry.and_then(|name| self.known_registry(&name, known));
        let mapping = self.mapping(node, namespace, flatten);
        if let (Some(filter), Some(sources)) = (&repositories, sources)
            && !filter.value.0.may_overlap(sources)
        {
            let hint =
                format!("write a pattern of repositories at the primary, here within `{}`", sources.as_str());
            self.error(filter.node, "the filter matches no repository of the route", hint);
        }
        let filter = Filter {
            repositories: repositories.map(|pattern| pattern.value.0),
            exclude: exclude.map(|pattern| pattern.0),
            tags: tags.map(|pattern| pattern.0),
            exclude_tags: exclude_tags.map(|pattern| pattern.0),
        };
        let (registry, mapping) = (registry?, mapping?);
        if let Some(sources) = sources {
            self.depth(node, &mapping, sources, &filter);
        }
        if primary == Some(&registry) && mapping.namespace.is_empty() {
            let hint = "name another registry, or a `namespace` in the same one".to_owned();
            self.error(node, "the replica is the primary itself", hint);
            return None;
        }
        let serves = if proxy.unwrap_or(false) { Serves::ProxyCache } else { Serves::Copies };
        // Collisions are found when all routes are known.
        Some(Replica { registry, mapping, filter, serves, collision: Collision::Impossible })
    }

    /// Harbor's API and its page have different defaults for flattening, so no default is assumed here.
    fn mapping(
        &mut self,
        node: NodeId,
        namespace: Option<At<crate::config::scalar::Namespace>>,
        flatten: Option<At<crate::config::scalar::Levels>>,
    ) -> Option<Mapping> {
        let spoiled = |key| self.tree.child(node, key).is_some_and(|child| self.tree.is_pruned(child));
        if spoiled("namespace") || spoiled("flatten") {
            return None;
        }
        match (namespace, flatten) {
            (None, None) => Some(Mapping { namespace: "".into(), flatten: Flatten::Levels(0) }),
            (Some(namespace), None) if namespace.value.0.is_empty() => {
                Some(Mapping { namespace: namespace.value.0, flatten: Flatten::Levels(0) })
            }
            (Some(namespace), Some(flatten)) => {
                let (namespace, at, flatten) = (namespace.value.0, flatten.node, flatten.value.0);
                if namespace.is_empty() && flatten != Flatten::Levels(0) {
                    let hint = "Harbor keeps every path if the namespace is empty: remove `flatten`";
                    self.warn(at, "`flatten` has no effect here", hint.to_owned());
                }
                Some(Mapping { namespace, flatten })
            }
            (Some(namespace), None) => {
                let hint = "copy both from the replication rule; Harbor's page proposes `flatten: 1`, its API assumes `all`";
                self.error(namespace.node, "`namespace` is given without `flatten`", hint.to_owned());
                None
            }
            (None, Some(flatten)) => {
                let hint = "copy both from the replication rule; Harbor flattens only below a namespace";
                self.error(flatten.node, "`flatten` is given without `namespace`", hint.to_owned());
                None
            }
        }
    }

    fn depth(&mut self, node: NodeId, mapping: &Mapping, sources: &Pattern, filter: &Filter) {
        if sources_of(sources, filter).all(|pattern| mapping.too_shallow(pattern)) {
            let hint = "narrow `repositories` to paths that are deep enough, or flatten fewer levels";
            let message = format!(
                "`{}` matches repositories with too few components to flatten: Harbor then fails every execution of that rule",
                sources.as_str()
            );
            self.warn(node, message, hint.to_owned());
        }
    }

    /// If two equally specific routes match an image, its primary is undefined: an error.
    fn primaries_do_not_tie(&mut self, routes: &[Written]) {
        let specific: Vec<_> =
            routes.iter().map(|written| written.route.repositories.specificity()).collect();
        for (index, (later, specificity)) in routes.iter().zip(&specific).enumerate() {
            let (ours, pattern) = (&later.route, &later.route.repositories);
            let tie = routes.iter().zip(&specific).take(index).find(|(earlier, theirs)| {
                *theirs == specificity
                    && earlier.route.repositories.may_overlap(pattern)
                    && earlier.route.primary == ours.primary
            });
            if let Some((Written { route: other, .. }, _)) = tie {
                let message = format!(
                    "route `{}` may match the same repository, and neither is more specific: `{}` and `{}` at `{}`",
                    other.name,
                    other.repositories.as_str(),
                    pattern.as_str(),
                    ours.primary.name
                );
                let hint = "make one pattern more specific: more literal leading components win, then more literal characters";
                self.error(later.primary, message, hint.to_owned());
            }
        }
    }

    /// Marks, and warns about, the replicas where two sources may be copied into one repository.
    fn collisions(&mut self, routes: &mut [Written]) {
        let proof =
            "tags there are used only if they are proved at the primary (as with `tagProof: Required`)";
        let mut found = Vec::new();
        for (index, written) in routes.iter().enumerate() {
            let route = &written.route;
            for (place, (replica, node)) in route.replicas.iter().zip(&written.replicas).enumerate() {
                let folds = sources_of(&route.repositories, &replica.filter)
                    .all(|pattern| !replica.mapping.injective(pattern));
                if folds {
                    let message = format!(
                        "two repositories of `{}` may be copied into one repository below `{}`",
                        route.repositories.as_str(),
                        replica.mapping.namespace
                    );
                    self.warn(
                        *node,
                        message,
                        format!("{proof}; if this can really happen, flatten fewer levels"),
                    );
                    found.push((index, place));
                    continue;
                }
                if let Some(other) = meets(routes, index, place) {
                    let message = format!(
                        "images of `{}` may be copied into the same repositories of `{}`",
                        self.tree.path(other),
                        replica.registry.name
                    );
                    self.warn(*node, message, format!("{proof}; give each source its own namespace"));
                    found.push((index, place));
                }
            }
        }
        for (index, place) in found {
            if let Some(replica) =
                routes.get_mut(index).and_then(|written| written.route.replicas.get_mut(place))
            {
                replica.collision = Collision::Possible;
            }
        }
    }
}

/// The patterns that every source of a replica matches. What one of them rules out cannot happen.
fn sources_of<'p>(route: &'p Pattern, filter: &'p Filter) -> impl Iterator<Item = &'p Pattern> {
    std::iter::once(route).chain(&filter.repositories)
}

/// What else is stored where this replica's copies are: another route's images, or copies of other sources.
fn meets(routes: &[Written], index: usize, place: usize) -> Option<NodeId> {
    let Written { route, targets, .. } = routes.get(index)?;
    let (replica, targets) = (route.replicas.get(place)?, targets.get(place)?);
    for (other_index, written) in routes.iter().enumerate() {
        let other = &written.route;
        if targets.iter().all(|target| target.may_overlap(&other.repositories))
            && other.primary == replica.registry
        {
            return Some(written.primary);
        }
        let twins = other.replicas.iter().zip(&written.targets).zip(&written.replicas);
        for (other_place, ((twin, theirs), node)) in twins.enumerate() {
            let overlap = targets.iter().all(|ours| theirs.iter().all(|theirs| ours.may_overlap(theirs)));
            if overlap
                && (index, place) != (other_index, other_place)
                && twin.registry == replica.registry
                && !same_source(route, replica, other, twin)
            {
                return Some(*node);
            }
        }
    }
    None
}

fn targets_of(route: &Route, replica: &Replica) -> Vec<Pattern> {
    sources_of(&route.repositories, &replica.filter)
        .filter_map(|pattern| replica.mapping.targets(pattern))
        .collect()
}

/// Two rules that copy from the same registry by the same mapping never collide if that mapping is one to one over the
/// repositories of both.
fn same_source(route: &Route, replica: &Replica, other: &Route, twin: &Replica) -> bool {
    let union = format!("{{{},{}}}", route.repositories.as_str(), other.repositories.as_str());
    route.primary == other.primary
        && replica.mapping == twin.mapping
        && Pattern::new(&union).is_ok_and(|union| replica.mapping.injective(&union))
}
