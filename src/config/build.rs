//! Turns the raw structs into [`Settings`], and makes every check that looks at more than one value.
//!
//! Raw structs are destructured without `..`, so that a new key cannot be forgotten.

mod policies;
mod pull_secrets;
mod registries;
mod routes;

pub(super) use policies::built_in;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::decode::{At, Entries, nearest};
use super::problem::{Problem, Severity};
use super::scalar::{self, Name};
use super::tree::{NodeId, Tree};
use super::{Files, raw};
use crate::domain::name::Site;
use crate::domain::platform::PlatformPattern;
use crate::domain::policy::{Policy, Rules};
use crate::domain::route::RouteIndex;
use crate::domain::settings::{Budget, CacheLife, Exclude, Healing, HealingMode, Reports, Settings};

/// The API server waits at most 30 seconds for a webhook.
const LONGEST_REVIEW: Duration = Duration::from_secs(30);

/// Builds the settings, and collects every problem. If one of them is an error, the settings are incomplete and must not
/// be used. `None` if too much is missing to build any.
pub(super) fn settings(
    tree: &Tree,
    file: raw::File,
    files: Files,
    now: Timestamp,
    problems: &mut Vec<Problem>,
) -> Option<Settings> {
    let raw::File {
        site,
        near,
        registries,
        pull_secrets,
        routes,
        platforms,
        defaults,
        policies,
        exclude,
        cache,
        budget,
        healing,
        reports,
    } = file;
    let mut build = Build { tree, files, now, problems };

    let registries_at = tree.child(Tree::ROOT, "registries");
    let raw_registries =
        build.need(Tree::ROOT, "registries", registries, "list at least the local registry and the primary");
    let raw_registries = raw_registries.map(|Entries(entries)| entries).unwrap_or_default();
    let sites = build.sites();
    let site = build.need(Tree::ROOT, "site", site, "write the site of this cluster, as in `site: ams`");
    let site = site.and_then(|site| build.known_site(site, &sites));
    let near = build.near(near, site.as_ref(), &sites);
    let registries::Said { registries, notifications, writers, pulls } =
        build.registries(raw_registries, site.as_ref(), &near);
    let pull_secrets = build.pull_secrets(pull_secrets, &registries, pulls);

    let known = Known { registries_at, registries };
    let routes = build.routes(routes.unwrap_or_default(), &known);
    let platforms = build.platforms(platforms);
    let defaults = Arc::new(build.defaults(defaults.unwrap_or_default()));
    let raw::Exclude { namespaces, images } = exclude.unwrap_or_default();
    let exclude = Exclude {
        namespaces: namespaces.unwrap_or_default().into_iter().map(|name| name.0).collect(),
        images: images.unwrap_or_default().into_iter().map(|image| image.0).collect(),
    };
    let policies = build.policies(policies.unwrap_or_default(), &defaults, &exclude.namespaces);
    let cache = build.cache(cache);
    let budget = build.budget(budget);
    let healing = build.healing(healing, &known.registries);

    Some(Settings {
        site: site?,
        near,
        registries: known.registries,
        writers,
        pull_secrets,
        index: Arc::new(RouteIndex::of(&routes)),
        routes: routes.into(),
        platforms,
        defaults,
        policies,
        exclude,
        cache,
        budget,
        healing,
        reports: match reports.unwrap_or_default().mode {
            None | Some(raw::ReportsMode::Off) => Reports::Off,
            Some(raw::ReportsMode::OpenReports) => Reports::OpenReports,
        },
        notifications,
    })
}

/// Builds one policy from a text of its own.
pub(super) fn policy(
    tree: &Tree,
    policy: raw::Policy,
    defaults: &Rules,
    excluded: &[Box<str>],
    now: Timestamp,
    problems: &mut Vec<Problem>,
) -> Option<Arc<Policy>> {
    let mut build = Build { tree, files: Files::Skip, now, problems };
    build.policies(vec![At { node: Tree::ROOT, value: policy }], defaults, excluded).pop()
}

/// The registries that could be built, and the node of `registries`.
struct Known {
    registries_at: Option<NodeId>,
    registries: registries::Registries,
}

/// The sites of all registries; `None` if the site of one is not known because of a mistake.
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

    /// A required field. One that is written, but wrong, was reported already.
    fn need<T>(&mut self, at: NodeId, key: &str, value: Option<T>, hint: &str) -> Option<T> {
        let was_there = self.tree.child(at, key).is_some_and(|child| self.tree.is_pruned(child));
        if value.is_none() && !was_there && !self.tree.is_pruned(at) {
            self.error(at, format!("`{key}` is missing"), hint.to_owned());
        }
        value
    }

    /// Names must be unique: verdicts identify routes and policies by them.
    fn unique(&mut self, what: &str, seen: &mut Vec<(Box<str>, NodeId)>, name: &str, at: NodeId) {
        if let Some((_, first)) = seen.iter().find(|(other, _)| **other == *name) {
            let hint =
                format!("it is first used on line {}; give each {what} its own name", self.tree.line(*first));
            self.error(at, format!("the {what} name `{name}` is used twice"), hint);
        } else {
            seen.push((name.into(), at));
        }
    }

    /// Read from the tree, so that the site of a registry is known even if its other fields are wrong.
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
                    let hint = "list each of the other sites once, nearest first".to_owned();
                    self.error(node, format!("`{other}` may not appear in this list"), hint);
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
                        "`platforms` is empty",
                        "list at least one platform, or remove `platforms` for linux/amd64 and linux/arm64"
                            .to_owned(),
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
            let hint = "`remember` says how long a known copy still counts while its registry is slow; make it at least as long as `present`".to_owned();
            self.error(at, "`remember` is shorter than `present`", hint);
        }
        if life.entries == 0 {
            self.error(
                at,
                "`entries` is 0",
                "without a cache, every Pod asks the registry; use 100000, the default".to_owned(),
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
                "give an attempt the time that a slow registry needs, as in `1s`".to_owned(),
            );
        }
        if budget.attempt > budget.request {
            let (attempt, request) = (budget.attempt, budget.request);
            let hint =
                "an attempt must not take longer than its request: shorten `attempt` or lengthen `request`"
                    .to_owned();
            self.error(at, format!("`attempt` ({attempt:?}) is longer than `request` ({request:?})"), hint);
        }
        if budget.request > LONGEST_REVIEW {
            let hint = "the API server waits at most 30s for a webhook: use a shorter time".to_owned();
            self.error(at, format!("`request` ({:?}) is longer than 30s", budget.request), hint);
        }
        if budget.in_flight == 0 {
            self.error(
                at,
                "`inFlight` is 0",
                "with 0, no registry could ever be asked; use 16, the default".to_owned(),
            );
        }
        budget
    }

    fn healing(&mut self, healing: Option<At<raw::Healing>>, registries: &registries::Registries) -> Healing {
        let Some(At { node, value: raw::Healing { mode, after } }) = healing else {
            return Healing::default();
        };
        let by_default = Healing::default();
        let healing = Healing {
            mode: match mode {
                None | Some(raw::HealingMode::Off) => HealingMode::Off,
                Some(raw::HealingMode::Scan) => HealingMode::Scan,
                Some(raw::HealingMode::Replicate) => HealingMode::Replicate,
            },
            after: after.map_or(by_default.after, |length| length.0),
        };
        if healing.mode != HealingMode::Off && registries.values().all(|one| one.healing.is_none()) {
            let hint = "give the local Harbor, and for `Replicate` the primary, `healing: {credentials: …}` of a robot of its own".to_owned();
            self.warn(node, "no registry has `healing.credentials`, so nothing can be healed", hint);
        }
        healing
    }
}

/// The hint for a reference to something that is defined elsewhere.
fn did_you_mean<'a>(word: &str, known: impl Iterator<Item = &'a str> + Clone) -> Option<String> {
    if let Some(near) = nearest(word, known.clone()) {
        return Some(format!("did you mean `{near}`?"));
    }
    let list = known.map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    (!list.is_empty()).then(|| format!("use one of {list}"))
}
