//! `routes:`, and what routes are to each other.

use std::sync::Arc;

use super::{Build, Known, did_you_mean, raw};
use crate::config::decode::At;
use crate::config::scalar::Name;
use crate::config::tree::NodeId;
use crate::domain::mapping::{Flatten, Mapping};
use crate::domain::pattern::Pattern;
use crate::domain::registry::{RegistryName, SharedRegistry};
use crate::domain::route::{Collision, Filter, Pin, Replica, Rewrite, Route, RouteName, Serves, TagProof};

/// A Case names a Place by one byte, and the primary is one of them.
const MOST_REPLICAS: usize = 254;

/// A route, and where its parts are written.
struct Written {
    route: Route,
    primary: NodeId,
    replicas: Vec<NodeId>,
    /// Where the copies of each replica lie: every route is held against all others, so it is made once.
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
        let name = self.need(node, "name", name, "the route's name, which verdicts tell");
        if let Some(name) = &name {
            self.unique("route", names, &name.value.0, name.node);
        }
        let primary_at = primary.as_ref().map_or(node, |primary| primary.node);
        let hint = "`{registry: …, repositories: …}`: where the images are at home";
        let primary = self.need(node, "primary", primary, hint);
        let (registry, repositories) = match primary {
            None => (None, None),
            Some(At { node, value: raw::Primary { registry, repositories } }) => {
                let registry = self.need(node, "registry", registry, "a name from `registries`");
                let registry = registry.and_then(|name| self.known_registry(&name, known));
                let hint = "which of its repositories, as in `production/**`";
                (registry, self.need(node, "repositories", repositories, hint))
            }
        };
        let repositories = repositories.map(|pattern| pattern.value.0);

        let mut built = Vec::new();
        let mut replicas_at = Vec::new();
        if let Some(At { node, value: replicas }) = replicas {
            if replicas.len() > MOST_REPLICAS {
                self.error(node, format!("{} replicas", replicas.len()), format!("at most {MOST_REPLICAS}"));
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
            pin: if pin.unwrap_or(true) { Pin::Digest } else { Pin::Tag },
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
        // One that is there, but wrong, was named already.
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
        let registry = self.need(node, "registry", registry, "a name from `registries`");
        let registry = registry.and_then(|name| self.known_registry(&name, known));
        let mapping = self.mapping(node, namespace, flatten);
        if let (Some(filter), Some(sources)) = (&repositories, sources)
            && !filter.value.0.may_overlap(sources)
        {
            let hint = format!("the filter is over the primary's repositories, here `{}`", sources.as_str());
            self.error(filter.node, "the filter matches none of the route's repositories", hint);
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
            let hint = "a replica is another registry, or other paths".to_owned();
            self.error(node, "this is the primary itself", hint);
            return None;
        }
        let serves = if proxy.unwrap_or(false) { Serves::ProxyCache } else { Serves::Copies };
        // Whether it may collide is known when all routes are.
        Some(Replica { registry, mapping, filter, serves, collision: Collision::Impossible })
    }

    /// Harbor's API and its page have different defaults for the flattening, so neither is assumed here.
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
                    let hint = "Harbor keeps every path where the namespace is empty; remove `flatten`";
                    self.warn(at, "`flatten` has no effect here", hint.to_owned());
                }
                Some(Mapping { namespace, flatten })
            }
            (Some(namespace), None) => {
                let hint = "copy both from the replication rule; `flatten: 1` is what Harbor's page proposes, `all` what its API assumes";
                self.error(namespace.node, "`namespace` without `flatten`", hint.to_owned());
                None
            }
            (None, Some(flatten)) => {
                let hint = "copy both from the replication rule; Harbor flattens only under a namespace";
                self.error(flatten.node, "`flatten` without `namespace`", hint.to_owned());
                None
            }
        }
    }

    fn depth(&mut self, node: NodeId, mapping: &Mapping, sources: &Pattern, filter: &Filter) {
        if sources_of(sources, filter).all(|pattern| mapping.too_shallow(pattern)) {
            let hint = "narrow `repositories` to what is deep enough, or flatten fewer levels";
            let message = format!(
                "`{}` matches repositories too shallow to flatten: Harbor fails that rule's whole execution",
                sources.as_str()
            );
            self.warn(node, message, hint.to_owned());
        }
    }

    /// Which of two equally specific routes has an image at home, nobody could say.
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
                    "ties with route `{}`: `{}` and `{}` may match the same repository of `{}`, neither more specific",
                    other.name,
                    other.repositories.as_str(),
                    pattern.as_str(),
                    ours.primary.name
                );
                let hint = "the most literal leading components win, then the most literal characters; make one more specific";
                self.error(later.primary, message, hint.to_owned());
            }
        }
    }

    /// Marks and names the replicas where two sources may land in one repository.
    fn collisions(&mut self, routes: &mut [Written]) {
        let proof =
            "a tag there is used only when it is proved against its primary (as under `tagProof: Required`)";
        let mut found = Vec::new();
        for (index, written) in routes.iter().enumerate() {
            let route = &written.route;
            for (place, (replica, node)) in route.replicas.iter().zip(&written.replicas).enumerate() {
                let folds = sources_of(&route.repositories, &replica.filter)
                    .all(|pattern| !replica.mapping.injective(pattern));
                if folds {
                    let message = format!(
                        "two repositories of `{}` may land in one under `{}`",
                        route.repositories.as_str(),
                        replica.mapping.namespace
                    );
                    self.warn(*node, message, format!("{proof}; flatten fewer levels, if they can meet"));
                    found.push((index, place));
                    continue;
                }
                if let Some(other) = meets(routes, index, place) {
                    let message = format!(
                        "images of `{}` may lie in the same repositories of `{}`",
                        self.tree.path(other),
                        replica.registry.name
                    );
                    self.warn(*node, message, format!("{proof}; give each source a namespace of its own"));
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

/// The sources of a replica match every one of these patterns: what one of them rules out cannot happen.
fn sources_of<'p>(route: &'p Pattern, filter: &'p Filter) -> impl Iterator<Item = &'p Pattern> {
    std::iter::once(route).chain(&filter.repositories)
}

/// What else lands where this replica's copies lie: another route's images, or copies of other sources.
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

/// Two rules that copy from one registry by one mapping, which is one to one over both, never make two
/// sources meet.
fn same_source(route: &Route, replica: &Replica, other: &Route, twin: &Replica) -> bool {
    let union = format!("{{{},{}}}", route.repositories.as_str(), other.repositories.as_str());
    route.primary == other.primary
        && replica.mapping == twin.mapping
        && Pattern::new(&union).is_ok_and(|union| replica.mapping.injective(&union))
}
