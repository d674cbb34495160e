//! From what is written to what it means: raw structs to [`Settings`], and every check that looks at more
//! than one value. Raw structs are taken apart by name, without `..`: a new key cannot be forgotten.

mod policies;
mod registries;
mod routes;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::decode::{At, Entries, nearest};
use super::problem::{Problem, Severity};
use super::scalar::{self, Name};
use super::tree::{NodeId, Tree};
use super::{Files, raw};
use crate::domain::platform::PlatformPattern;
use crate::domain::policy::{Policy, Rules};
use crate::domain::registry::Site;
use crate::domain::route::RouteIndex;
use crate::domain::settings::{Budget, CacheLife, Exclude, Settings};

/// The API server gives a webhook 30 seconds at most.
const LONGEST_REVIEW: Duration = Duration::from_secs(30);

/// Builds the settings, and notes every problem on the way. Where one of them is an error the settings
/// are not complete and must not be used; `None` where not even a part of them makes sense.
pub(super) fn settings(
    tree: &Tree,
    file: raw::File,
    files: Files,
    now: Timestamp,
    problems: &mut Vec<Problem>,
) -> Option<Settings> {
    let raw::File { site, near, registries, routes, platforms, defaults, policies, exclude, cache, budget } =
        file;
    let mut build = Build { tree, files, now, problems };

    let registries_at = tree.child(Tree::ROOT, "registries");
    let raw_registries =
        build.need(Tree::ROOT, "registries", registries, "name at least the local registry and the primary");
    let raw_registries = raw_registries.map(|Entries(entries)| entries).unwrap_or_default();
    let sites = build.sites();
    let registries = build.registries(raw_registries);

    let site = build.need(Tree::ROOT, "site", site, "name the site of this cluster, as in `site: ams`");
    let site = site.and_then(|site| build.known_site(site, &sites));
    let near = build.near(near, site.as_ref(), &sites);

    let known = Known { registries_at, registries };
    let routes = build.routes(routes.unwrap_or_default(), &known);
    let platforms = build.platforms(platforms);
    let defaults = Arc::new(policies::defaults(defaults.unwrap_or_default()));
    let policies = build.policies(policies.unwrap_or_default(), &defaults);
    let raw::Exclude { namespaces, images } = exclude.unwrap_or_default();
    let exclude = Exclude {
        namespaces: namespaces.unwrap_or_default().into_iter().map(|name| name.0).collect(),
        images: images.unwrap_or_default().into_iter().map(|image| image.0).collect(),
    };
    let cache = build.cache(cache);
    let budget = build.budget(budget);

    Some(Settings {
        site: site?,
        near,
        registries: known.registries,
        index: Arc::new(RouteIndex::of(&routes)),
        routes: routes.into(),
        platforms,
        defaults,
        policies,
        exclude,
        cache,
        budget,
    })
}

/// Builds one policy that stands in a text of its own.
pub(super) fn policy(
    tree: &Tree,
    policy: raw::Policy,
    defaults: &Rules,
    now: Timestamp,
    problems: &mut Vec<Problem>,
) -> Option<Arc<Policy>> {
    let mut build = Build { tree, files: Files::Skip, now, problems };
    build.policies(vec![At { node: Tree::ROOT, value: policy }], defaults).pop()
}

/// The registries that could be built, and where all of them are written.
struct Known {
    registries_at: Option<NodeId>,
    registries: registries::Registries,
}

/// The sites that registries stand on; `None` where a registry is too broken to tell.
type Sites = Option<BTreeSet<Box<str>>>;

struct Build<'t> {
    tree: &'t Tree,
    files: Files,
    now: Timestamp,
    problems: &'t mut Vec<Problem>,
}

impl Build<'_> {
    fn error(&mut self, at: NodeId, message: impl Into<String>, hint: impl Into<Option<String>>) {
        self.problems.push(self.tree.problem(Severity::Error, at, message, hint.into()));
    }

    fn warn(&mut self, at: NodeId, message: impl Into<String>, hint: impl Into<Option<String>>) {
        self.problems.push(self.tree.problem(Severity::Warning, at, message, hint.into()));
    }

    /// A field that must be there. One that was there, but wrong, was named already.
    fn need<T>(&mut self, at: NodeId, key: &str, value: Option<T>, hint: &str) -> Option<T> {
        let was_there = self.tree.child(at, key).is_some_and(|child| self.tree.is_pruned(child));
        if value.is_none() && !was_there && !self.tree.is_pruned(at) {
            self.error(at, format!("`{key}` is missing"), hint.to_owned());
        }
        value
    }

    /// Two of a kind with one name could not be told apart in a verdict.
    fn unique(&mut self, what: &str, seen: &mut Vec<(Box<str>, NodeId)>, name: &str, at: NodeId) {
        if let Some((_, first)) = seen.iter().find(|(other, _)| **other == *name) {
            let hint =
                format!("the first is on line {}; give each a name of its own", self.tree.line(*first));
            self.error(at, format!("a second {what} `{name}`"), hint);
        } else {
            seen.push((name.into(), at));
        }
    }

    /// Read as it is written, so that a registry with a mistake elsewhere does not make its site unknown.
    fn sites(&self) -> Sites {
        let registries = self.tree.child(Tree::ROOT, "registries")?;
        let names: Vec<&str> = self.tree.keys(registries).collect();
        let site = |name: &str| {
            let site = self.tree.child(self.tree.child(registries, name)?, "site")?;
            self.tree.text(site).map(Box::from)
        };
        names.into_iter().map(site).collect::<Option<BTreeSet<_>>>().filter(|sites| !sites.is_empty())
    }

    fn known_site(&mut self, site: At<Name>, sites: &Sites) -> Option<Site> {
        let At { node, value: name } = site;
        if let Some(sites) = sites
            && !sites.contains(&name.0)
        {
            let known = sites.iter().map(|site| &**site);
            self.error(
                node,
                format!("no registry stands on a site `{}`", name.0),
                did_you_mean(&name.0, known),
            );
            return None;
        }
        Some(Site::new(&*name.0))
    }

    fn near(
        &mut self,
        near: Option<Entries<Name, Vec<At<Name>>>>,
        ours: Option<&Site>,
        sites: &Sites,
    ) -> Vec<Site> {
        let mut nearest_to_us = Vec::new();
        for (from, others) in near.map(|Entries(entries)| entries).unwrap_or_default() {
            let Some(from) = self.known_site(from, sites) else { continue };
            let mut list = Vec::new();
            for other in others.value {
                let node = other.node;
                let Some(other) = self.known_site(other, sites) else { continue };
                if other == from || list.contains(&other) {
                    let hint = "name each of the other sites once, nearest first".to_owned();
                    self.error(node, format!("`{other}` has no place here"), hint);
                } else {
                    list.push(other);
                }
            }
            if Some(&from) == ours {
                nearest_to_us = list;
            }
        }
        nearest_to_us
    }

    fn platforms(&mut self, platforms: Option<At<Vec<scalar::Platform>>>) -> Arc<[PlatformPattern]> {
        let linux = |architecture: &str| PlatformPattern {
            os: Some("linux".into()),
            architecture: Some(architecture.into()),
            variant: None,
        };
        match platforms {
            None => [linux("amd64"), linux("arm64")].into(),
            Some(At { node, value }) => {
                if value.is_empty() && !self.tree.has_pruned(node) {
                    self.error(
                        node,
                        "no platform at all",
                        "leave `platforms` out for linux/amd64 and linux/arm64".to_owned(),
                    );
                }
                value.into_iter().map(|platform| platform.0).collect()
            }
        }
    }

    fn cache(&mut self, cache: Option<At<raw::Cache>>) -> CacheLife {
        let at = cache.as_ref().map_or(Tree::ROOT, |cache| cache.node);
        let raw::Cache { present, remember, tag, absent, scan, entries } =
            cache.map(|cache| cache.value).unwrap_or_default();
        let or = |length: Option<scalar::Length>, seconds| {
            length.map_or(Duration::from_secs(seconds), |length| length.0)
        };
        let life = CacheLife {
            present: or(present, 600),
            remember: or(remember, 24 * 3600),
            tag: or(tag, 30),
            absent: or(absent, 10),
            scan: or(scan, 300),
            entries: entries.unwrap_or(100_000),
        };
        if life.remember < life.present {
            let hint = "`remember` is how long a Present still counts while its registry is slow".to_owned();
            self.error(at, "`remember` is shorter than `present`", hint);
        }
        if life.entries == 0 {
            self.error(
                at,
                "`entries` is 0",
                "without a cache, every Pod asks the registry; 100000 is usual".to_owned(),
            );
        }
        life
    }

    fn budget(&mut self, budget: Option<At<raw::Budget>>) -> Budget {
        let at = budget.as_ref().map_or(Tree::ROOT, |budget| budget.node);
        let raw::Budget { request, attempt, in_flight } =
            budget.map(|budget| budget.value).unwrap_or_default();
        let budget = Budget {
            request: request.map_or(Duration::from_millis(2500), |length| length.0),
            attempt: attempt.map_or(Duration::from_secs(1), |length| length.0),
            in_flight: in_flight.unwrap_or(16),
        };
        if budget.attempt.is_zero() {
            self.error(
                at,
                "`attempt` is 0",
                "give one attempt the time that a slow registry needs, as in `1s`".to_owned(),
            );
        }
        if budget.attempt > budget.request {
            let (attempt, request) = (budget.attempt, budget.request);
            let hint = "an attempt must fit into its request".to_owned();
            self.error(at, format!("`attempt` ({attempt:?}) is longer than `request` ({request:?})"), hint);
        }
        if budget.request > LONGEST_REVIEW {
            let hint = "the API server waits 30s at most, and every Pod waits with it".to_owned();
            self.error(at, format!("`request` ({:?}) is longer than 30s", budget.request), hint);
        }
        if budget.in_flight == 0 {
            self.error(at, "`inFlight` is 0", "nothing would ever be asked; 16 is usual".to_owned());
        }
        budget
    }
}

/// Every reference to something named elsewhere gets the same help.
fn did_you_mean<'a>(word: &str, known: impl Iterator<Item = &'a str> + Clone) -> Option<String> {
    if let Some(near) = nearest(word, known.clone()) {
        return Some(format!("did you mean `{near}`?"));
    }
    let list = known.map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    (!list.is_empty()).then(|| format!("known: {list}"))
}
