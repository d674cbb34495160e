//! Routes from the replication rules of a Harbor: what the configuration can say of them, and what it cannot.

use std::collections::BTreeMap;
use std::fmt::Write;

use url::Url;

use crate::domain::registry::folded;
use crate::domain::replication::{Copies, Filter, On, Remote, Rule, Selects, Standing};

/// A registry, as it is written into the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Its name.
    pub name: String,
    /// Its host.
    pub host: String,
    /// Where it is asked, if not at `https://<host>`.
    pub url: Option<String>,
    /// `harbor` or `distribution`.
    pub kind: &'static str,
}

/// What one rule copies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copied {
    /// The rule.
    pub rule: String,
    /// The name of the primary.
    pub primary: String,
    /// Which of its repositories.
    pub repositories: String,
    /// The replica as a YAML flow mapping.
    pub replica: String,
    /// The name of the replica's registry.
    pub to: String,
}

/// What the rules of a Harbor say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rules {
    /// The registries: the Harbor first.
    pub registries: Vec<Endpoint>,
    /// What is copied.
    pub copied: Vec<Copied>,
    /// What cannot be written into a configuration, one sentence for each.
    pub left_out: Vec<String>,
}

/// Reads the rules of the Harbor at `url`, which is called `name` if that is given.
///
/// # Errors
/// If the address has no host.
pub fn read(url: &Url, name: Option<&str>, rules: &[Rule]) -> Result<Rules, String> {
    let here = endpoint("harbor", url.as_str(), "harbor").map_err(|why| format!("{url}: {why}"))?;
    let here = Endpoint { name: name.map_or(here.name.clone(), str::to_owned), ..here };
    let mut found = Rules { registries: vec![here.clone()], ..Rules::default() };
    for rule in rules {
        match copied(rule, &here, &mut found.registries) {
            Ok(copied) => found.copied.push(copied),
            Err(why) => found.left_out.push(format!("rule `{}`: {why}", rule.name)),
        }
    }
    Ok(found)
}

fn copied(rule: &Rule, here: &Endpoint, registries: &mut Vec<Endpoint>) -> Result<Copied, String> {
    if rule.standing == Standing::Disabled {
        return Err("it is disabled, so nothing comes by it".to_owned());
    }
    let (mut names, mut fields) = (Vec::new(), Vec::new());
    for Filter { on, selects } in &rule.filters {
        let key = match (on, selects) {
            (On::Name(pattern), Selects::Matching) => {
                names.push(pattern.as_str());
                continue;
            }
            (On::Name(pattern), Selects::Others) => ("exclude", pattern),
            (On::Tag(pattern), Selects::Matching) => ("tags", pattern),
            (On::Tag(pattern), Selects::Others) => ("excludeTags", pattern),
            (On::Other(what), _) => {
                return Err(format!(
                    "its filter `{what}` is no pattern of names or tags that a route could have, so nobody could tell which copies to expect"
                ));
            }
        };
        fields.push(key);
    }
    let repositories = match names.as_slice() {
        [] => "**",
        [one] => one,
        _ => return Err("it has two filters of names, and a route has one pattern".to_owned()),
    };
    for key in ["exclude", "tags", "excludeTags"] {
        if fields.iter().filter(|(one, _)| *one == key).count() > 1 {
            return Err(format!("it has two filters for `{key}`, and a replica has one"));
        }
    }
    let (namespace, count) = &rule.destination;
    let flatten = match (count, namespace.is_empty()) {
        (_, true) => None,
        (-1, false) => Some("all".to_owned()),
        (0..=255, false) => Some(count.to_string()),
        _ => return Err(format!("nobody knows what its {count} levels of flattening mean")),
    };
    let remote = match &rule.copies {
        Copies::To(remote) | Copies::From(remote) => known(remote, registries)?,
    };
    let (primary, to) = match &rule.copies {
        Copies::To(_) => (here.name.clone(), remote),
        Copies::From(_) => (remote, here.name.clone()),
    };
    if primary == to {
        return Err("it copies from this Harbor to itself".to_owned());
    }
    let mut replica = format!("{{registry: {to}, namespace: {}", quoted(namespace));
    // Writing to a String cannot fail.
    if let Some(flatten) = flatten {
        let _ = write!(replica, ", flatten: {flatten}");
    }
    for (key, pattern) in fields {
        let _ = write!(replica, ", {key}: {}", quoted(pattern.as_str()));
    }
    replica.push('}');
    Ok(Copied { rule: rule.name.to_string(), primary, repositories: repositories.to_owned(), replica, to })
}

/// The name of the registry at the other end, which becomes one of those that are known.
fn known(remote: &Remote, registries: &mut Vec<Endpoint>) -> Result<String, String> {
    let Remote { name, url, kind } = remote;
    let mut new = endpoint(name, url, kind).map_err(|why| format!("its registry `{name}`: {why}"))?;
    if let Some(same) = registries.iter().find(|one| one.host == new.host) {
        return Ok(same.name.clone());
    }
    let base = new.name.clone();
    for n in 2.. {
        if registries.iter().all(|one| one.name != new.name) {
            break;
        }
        new.name = format!("{base}-{n}");
    }
    registries.push(new.clone());
    Ok(new.name)
}

/// A registry that Harbor calls `name`, at this address.
fn endpoint(name: &str, address: &str, kind: &str) -> Result<Endpoint, String> {
    if kind == "docker-hub" {
        return Ok(Endpoint {
            name: "docker-hub".to_owned(),
            host: "docker.io".to_owned(),
            url: Some("https://registry-1.docker.io".to_owned()),
            kind: "distribution",
        });
    }
    let no_host = || format!("`{address}` is no address of a registry");
    let url = Url::parse(address).map_err(|_| no_host())?;
    let host = url.host_str().filter(|_| matches!(url.scheme(), "http" | "https")).ok_or_else(no_host)?;
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    let full = folded(&format!("{host}{port}")).into_owned();
    if !full.contains(['.', ':']) && full != "localhost" {
        return Err(format!("no image can name the host `{full}`: it has neither a dot nor a port"));
    }
    let usual = url.scheme() == "https" && url.path() == "/";
    let kind = if kind == "harbor" { "harbor" } else { "distribution" };
    let asked =
        (!usual).then(|| format!("{}://{host}{port}{}", url.scheme(), url.path().trim_end_matches('/')));
    Ok(Endpoint { name: called(host, name), host: full, url: asked, kind })
}

/// `fra` of `harbor.fra.example.com`; of an address without names, what Harbor calls it.
fn called(host: &str, otherwise: &str) -> String {
    let labels: Vec<&str> = host.split('.').collect();
    let named = host.parse::<std::net::IpAddr>().is_err() && !host.starts_with('[') && labels.len() > 1;
    let usual = |label: &&str| !matches!(*label, "harbor" | "registry" | "cr" | "docker" | "core" | "www");
    let text = match labels.into_iter().find(usual) {
        Some(label) if named => label,
        _ => otherwise,
    };
    let fit = |character: char| {
        if character.is_ascii_alphanumeric() || "._-".contains(character) { character } else { '-' }
    };
    let words: String = text.chars().map(fit).collect();
    let words: Vec<&str> = words.split('-').filter(|word| !word.is_empty()).collect();
    let text: String = words.join("-").chars().take(63).collect();
    let text = text.trim_matches(|character: char| !character.is_ascii_alphanumeric());
    if text.is_empty() { "registry".to_owned() } else { text.to_owned() }
}

impl Rules {
    /// Returns the configuration with these of the copies, for a cluster on `site`. Each registry is a site of its own.
    #[must_use]
    pub fn yaml(&self, site: &str, copied: &[&Copied]) -> String {
        let mut text = format!("site: {site}\nregistries:\n");
        for Endpoint { name, host, url, kind } in &self.registries {
            let url = url.as_ref().map(|url| format!(", url: {}", quoted(url))).unwrap_or_default();
            let _ = writeln!(
                text,
                "  {name}: {{host: {}, site: {name}, kind: {kind}{url}, credentials: {{dir: /etc/landfall/credentials/{name}}}}}",
                quoted(host)
            );
        }
        // Rules that copy the same to several registries are one route.
        let mut routes: Vec<(&str, &str, Vec<&Copied>)> = Vec::new();
        for one in copied {
            match routes.iter_mut().find(|(primary, repositories, _)| {
                *primary == one.primary && *repositories == one.repositories
            }) {
                // Two rules may say the same.
                Some((_, _, rules)) if rules.iter().any(|other| other.replica == one.replica) => {}
                Some((_, _, rules)) => rules.push(one),
                None => routes.push((&one.primary, &one.repositories, vec![one])),
            }
        }
        text += if routes.is_empty() { "routes: []\n" } else { "routes:\n" };
        let mut names: BTreeMap<String, u32> = BTreeMap::new();
        for (primary, repositories, rules) in routes {
            let name = rules.first().map(|one| called("", &one.rule)).unwrap_or_default();
            let times = names.entry(name.clone()).or_default();
            *times += 1;
            let name = if *times == 1 { name } else { format!("{name}-{times}") };
            let _ = writeln!(text, "  - name: {}", quoted(&name));
            let _ = writeln!(
                text,
                "    primary: {{registry: {primary}, repositories: {}}}",
                quoted(repositories)
            );
            let _ = writeln!(text, "    replicas:");
            for Copied { rule, replica, .. } in rules {
                let _ = writeln!(text, "      - {replica} # rule {rule}");
            }
        }
        text
    }
}

/// A string of YAML, whatever stands in it: those of JSON are some.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registries_are_called_by_their_place() {
        for (host, otherwise, name) in [
            ("harbor.fra.example.com", "x", "fra"),
            ("ams.example.com", "x", "ams"),
            ("127.0.0.1", "B-admin", "B-admin"),
            ("[::1]", "my harbor", "my-harbor"),
            ("core", "Local", "Local"),
            ("10.0.0.1", "…", "registry"),
        ] {
            assert_eq!(called(host, otherwise), name);
        }
    }

    #[test]
    fn an_address_becomes_a_host() {
        for (address, kind, expected) in [
            ("https://harbor.fra.example.com", "harbor", Ok(("harbor.fra.example.com", None, "harbor"))),
            ("https://r.example.com:443/", "docker-registry", Ok(("r.example.com", None, "distribution"))),
            (
                "http://127.0.0.1:8100",
                "harbor",
                Ok(("127.0.0.1:8100", Some("http://127.0.0.1:8100"), "harbor")),
            ),
            (
                "https://r.example.com/sub/",
                "harbor",
                Ok(("r.example.com", Some("https://r.example.com/sub"), "harbor")),
            ),
            (
                "https://hub.docker.com",
                "docker-hub",
                Ok(("docker.io", Some("https://registry-1.docker.io"), "distribution")),
            ),
            (
                "https://registry-1.docker.io",
                "docker-registry",
                Ok(("registry-1.docker.io", None, "distribution")),
            ),
            ("https://core", "harbor", Err("no image can name the host")),
            ("core:8080", "harbor", Err("is no address of a registry")),
            ("", "harbor", Err("is no address of a registry")),
        ] {
            match (endpoint("x", address, kind), expected) {
                (Ok(found), Ok((host, url, kind))) => {
                    assert_eq!(
                        (&*found.host, found.url.as_deref(), found.kind),
                        (host, url, kind),
                        "{address}"
                    );
                }
                (Err(said), Err(expected)) => assert!(said.contains(expected), "{address}: {said}"),
                (found, expected) => panic!("{address}: {found:?}, not {expected:?}"),
            }
        }
    }
}
