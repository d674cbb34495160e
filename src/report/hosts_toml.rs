//! Mirrors for containerd, from the same routes: for static Pods and `kube-system`, which Landfall leaves alone.
//!
//! See <https://github.com/containerd/containerd/blob/main/docs/hosts.md>. containerd knows mirrors of a whole host. Of a path it
//! can only put something before it (`override_path`); so what a rule flattens otherwise is said, and left out.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use url::Url;

use crate::domain::name::RegistryName;
use crate::domain::registry::{Registry, Service};
use crate::domain::route::Rewrite;
use crate::domain::settings::Settings;

/// The host of the Docker Hub in references, and where it is.
const DOCKER_HUB: (&str, &str) = ("docker.io", "https://registry-1.docker.io");

/// Who tells which digest a tag names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tags {
    /// The primary alone. A replica hands out what is named by its digest, which containerd checks.
    FromPrimary,
    /// Replicas, too, and first: containerd does not compare them with the primary.
    FromReplicas,
}

/// What containerd is to read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hosts {
    /// The files: the host that the folder is named after, and the text of its `hosts.toml`.
    pub files: Vec<(String, String)>,
    /// What could not be said to containerd.
    pub notes: Vec<String>,
}

/// A mirror: where, and for which routes.
struct Mirror<'a> {
    registry: &'a Registry,
    prefix: String,
    routes: Vec<&'a str>,
}

/// Returns the files. `beside` are the registries whose authorities lie beside the `hosts.toml` as `<registry>.pem`.
#[must_use]
pub fn hosts(settings: &Settings, from: &str, tags: Tags, beside: &BTreeSet<RegistryName>) -> Hosts {
    let mut hosts = Hosts::default();
    let mut primaries: BTreeMap<&RegistryName, (&Registry, Vec<Mirror<'_>>, Vec<String>)> = BTreeMap::new();
    for route in settings.routes.iter() {
        let (_, mirrors, notes) =
            primaries.entry(&route.primary.name).or_insert_with(|| (&route.primary, Vec::new(), Vec::new()));
        if route.primary.site == settings.site {
            notes.push(format!("route `{}`: its primary is on this site already", route.name));
            continue;
        }
        if route.rewrite == Rewrite::Observe {
            notes.push(format!(
                "route `{}` has `rewrite: false`: it changes no image, and no node",
                route.name
            ));
            continue;
        }
        let local = |replica: &&crate::domain::route::Replica| replica.registry.site == settings.site;
        let mut any = false;
        for replica in route.replicas.iter().filter(local) {
            any = true;
            let registry = &*replica.registry;
            if registry.service == Service::Drained {
                notes.push(format!("`{}` is drained (`drain: true`)", registry.name));
                continue;
            }
            let sources = replica.filter.repositories.as_ref().unwrap_or(&route.repositories);
            let Some(prefix) = replica.mapping.prefix(sources) else {
                notes.push(format!(
                    "route `{}`: the copies at `{}` have other paths than the originals (`namespace: {}` with `flatten`), and containerd can only put something before a path: no mirror for them",
                    route.name, registry.name, replica.mapping.namespace
                ));
                continue;
            };
            match mirrors.iter_mut().find(|one| one.registry.name == registry.name && one.prefix == prefix) {
                Some(mirror) => mirror.routes.push(route.name.as_str()),
                None => mirrors.push(Mirror { registry, prefix, routes: vec![route.name.as_str()] }),
            }
        }
        if !any {
            notes.push(format!("route `{}` has no replica on this site", route.name));
        }
    }
    for (primary, mirrors, notes) in primaries.into_values() {
        hosts.notes.extend(notes.iter().map(|note| format!("{}: {note}", primary.host)));
        for registry in std::iter::once(primary).chain(mirrors.iter().map(|mirror| mirror.registry)) {
            if registry.ca_file.is_some() && !mirrors.is_empty() && !beside.contains(&registry.name) {
                hosts.notes.push(format!(
                    "`{}` has a `caFile`: copy it to the nodes, beside each hosts.toml as `{}.pem`, and remove the `#` before `ca`",
                    registry.name, registry.name
                ));
            }
        }
        if mirrors.is_empty() {
            continue;
        }
        let shared = |alias: &str| {
            let others = settings.registries.values().filter(|other| other.name != primary.name);
            others.into_iter().any(|other| other.aliases.iter().any(|one| **one == *alias))
        };
        for host in std::iter::once(&primary.host).chain(&primary.aliases) {
            if shared(host) {
                hosts.notes.push(format!(
                    "`{host}` is an alias of several registries: containerd asks whatever it resolves to"
                ));
                continue;
            }
            hosts.files.push((host.to_string(), file(primary, &mirrors, &notes, from, tags, beside)));
        }
    }
    hosts.notes.sort();
    hosts.notes.dedup();
    hosts
}

fn file(
    primary: &Registry,
    mirrors: &[Mirror<'_>],
    notes: &[String],
    from: &str,
    tags: Tags,
    beside: &BTreeSet<RegistryName>,
) -> String {
    let mut text = format!("# Made by `landfall generate hosts-toml` from {from}.\n");
    // Writing to a String cannot fail.
    let _ = match tags {
        Tags::FromPrimary => writeln!(
            text,
            "# Copies are taken from here by their digest, which containerd checks. Which digest a tag names says the primary alone\n# (no `resolve` below): so what must start without the primary has to be named by its digest."
        ),
        Tags::FromReplicas => writeln!(
            text,
            "# Tags are resolved here, too, and first. containerd does not compare them with the primary: a tag that has moved there since\n# the last replication gets the old image."
        ),
    };
    for note in notes {
        let _ = writeln!(text, "# Left out: {note}.");
    }
    let _ = writeln!(text, "server = {}", quoted(&base(primary)));
    authority(&mut text, "", primary, beside);
    for Mirror { registry, prefix, routes } in mirrors {
        let mut url = base(registry);
        // `/v2` is then no part that containerd adds.
        let overrides = !prefix.is_empty() || Url::parse(&url).is_ok_and(|url| url.path() != "/");
        if overrides {
            let _ = write!(url, "/v2");
        }
        if !prefix.is_empty() {
            let _ = write!(url, "/{prefix}");
        }
        let _ = writeln!(text, "\n# `{}`, for {}", registry.name, routes.join(", "));
        let _ = writeln!(text, "[host.{}]", quoted(&url));
        let capabilities = match tags {
            Tags::FromPrimary => "[\"pull\"]",
            Tags::FromReplicas => "[\"pull\", \"resolve\"]",
        };
        let _ = writeln!(text, "  capabilities = {capabilities}");
        if overrides {
            let _ = writeln!(text, "  override_path = true");
        }
        authority(&mut text, "  ", registry, beside);
    }
    text
}

/// Where nodes reach a registry: not always where Landfall asks it, which may be a Service of the cluster.
fn base(registry: &Registry) -> String {
    let (host, hub) = DOCKER_HUB;
    if *registry.host == *host {
        return hub.to_owned();
    }
    let port = registry.url.port().map(|port| format!(":{port}")).unwrap_or_default();
    let asked = registry.url.host_str().map(|name| format!("{name}{port}"));
    if asked.as_deref() == Some(&*registry.host) {
        return registry.url.as_str().trim_end_matches('/').to_owned();
    }
    format!("https://{}", registry.host)
}

/// A file that does not exist would have containerd refuse the whole host, so it is only named where it is there.
fn authority(text: &mut String, indent: &str, registry: &Registry, beside: &BTreeSet<RegistryName>) {
    if registry.ca_file.is_none() {
        return;
    }
    let comment = if beside.contains(&registry.name) { "" } else { "# " };
    let _ = writeln!(text, "{indent}{comment}ca = {}", quoted(&format!("{}.pem", registry.name)));
}

/// A basic string of TOML. Its escapes are those of JSON.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
