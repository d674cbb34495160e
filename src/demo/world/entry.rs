//! A registry as a configuration file describes it, in YAML.

use crate::domain::registry::{CredentialSource, Kind, Registry};

/// The value of an entry of `registries:` for this registry, in one line; `more` is added to its keys, as in
/// `drain: true, pullSecret: creds`.
///
/// It writes what the registries of a [`World`](super::World) need: where they listen, whom to trust and how to log in.
#[must_use]
pub fn entry(registry: &Registry, more: &str) -> String {
    let Registry { host, url, site, kind, credentials, ca_file, .. } = registry;
    let kind = match kind {
        Kind::Harbor => "harbor",
        Kind::Distribution => "distribution",
    };
    let mut keys = format!("host: \"{host}\", site: {site}, kind: {kind}, url: \"{url}\"");
    if let Some(file) = ca_file {
        keys += &format!(", caFile: {:?}", file.display().to_string());
    }
    if let CredentialSource::Dir(folder) = credentials {
        keys += &format!(", credentials: {{dir: {:?}}}", folder.display().to_string());
    }
    if !more.is_empty() {
        keys += &format!(", {more}");
    }
    format!("{{{keys}}}")
}
