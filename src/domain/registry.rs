//! A Registry: an endpoint that references name and that Landfall asks.

use std::borrow::{Borrow, Cow};
use std::fmt;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;

use serde::Serialize;
use url::Url;

use super::name::{PullSecret, RegistryName, Site};

/// A registry host in folded form, for *matching*: lower case, and without the port that its scheme implies.
///
/// `HARBOR.example.com:443` and `harbor.example.com` are the same host; `harbor.example.com.evil.io` is another one.
/// Never print the folded form: references keep the spelling of [`Registry::host`].
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Host(Box<str>);

impl Host {
    /// Folds a host as written in a reference.
    #[must_use]
    pub fn fold(host: &str) -> Self {
        Self(folded(host).into())
    }

    /// Returns the folded host as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for Host {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// Returns the folded form of a host; borrowed where nothing changes.
///
/// Registries are asked over HTTPS, so `:443` is the default port and is removed. `:80` stays, because a reference with
/// `:80` means another endpoint than the one without. A port may begin with zeros: clients connect to `:0443` as to `:443`.
#[must_use]
pub fn folded(host: &str) -> Cow<'_, str> {
    let (name, port) = host.rsplit_once(':').unwrap_or((host, ""));
    let number = port.trim_start_matches('0');
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    if is_number && number.len() < port.len() {
        return Cow::Owned(folded(&format!("{name}:{number}")).into_owned());
    }
    let host = if number == "443" { name } else { host };
    if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(host.to_ascii_lowercase())
    } else {
        Cow::Borrowed(host)
    }
}

/// The kind of a registry: which APIs it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Harbor: the distribution API, and its own API with scans.
    Harbor,
    /// Any plain OCI distribution registry. It has no scans.
    Distribution,
}

impl Kind {
    /// Whether this kind of registry scans images, so that a scan can be required there.
    #[must_use]
    pub fn scans(self) -> bool {
        match self {
            Self::Harbor => true,
            Self::Distribution => false,
        }
    }

    /// Whether this kind of registry accepts user name and password (Basic) without a challenge first.
    #[must_use]
    pub fn takes_basic_unasked(self) -> bool {
        match self {
            Self::Harbor => true,
            Self::Distribution => false,
        }
    }
}

/// Whether a registry is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Service {
    /// The registry is asked and used.
    Open,
    /// `drain: true`: every question about the registry is answered `Unknown(Drained)` at once.
    Drained,
}

/// Where a registry's credentials are read from. They are read again when the content changes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum CredentialSource {
    /// No credentials: requests are anonymous.
    Anonymous,
    /// A folder with the files `username` and `password`, like a mounted Secret.
    Dir(PathBuf),
    /// A `config.json` / `.dockerconfigjson` file.
    DockerConfig(PathBuf),
    /// A file with a bearer token, as rotating sidecars write it.
    TokenFile(PathBuf),
    /// A credential provider: a program that the kubelet, too, would run.
    Provider(Arc<Plugin>),
}

/// A credential provider: what is run, and how.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Plugin {
    /// The program, an absolute path.
    pub command: PathBuf,
    /// Its arguments. No shell reads them.
    pub args: Vec<Box<str>>,
    /// Variables of its environment, beside our own.
    pub env: Vec<(Box<str>, Box<str>)>,
}

/// An endpoint: references name it by `host`, and Landfall asks it at `url`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registry {
    /// The key of the registry in the configuration.
    pub name: RegistryName,
    /// `host[:port]`, as written in rewritten references.
    pub host: Box<str>,
    /// Other hosts by which references name the same registry. They are rewritten to `host`.
    pub aliases: Vec<Box<str>>,
    /// Where Landfall sends its requests: scheme, host and port, perhaps a path prefix. `http` only where configured.
    pub url: Url,
    /// Another token server than the registry itself may ask our credentials: the one at this scheme, host and port.
    pub realm: Option<Url>,
    /// Whether it is a Harbor or a plain registry.
    pub kind: Kind,
    /// The site of the registry.
    pub site: Site,
    /// How Landfall authenticates at this registry.
    pub credentials: CredentialSource,
    /// The credentials of a robot of its own that may start scans and executions there; `None`: nothing is ever written there.
    pub healing: Option<CredentialSource>,
    /// A PEM bundle to trust for this registry *instead of* the public roots.
    pub ca_file: Option<PathBuf>,
    /// The Secret that Pods need to pull from here. `None` where nodes have credentials, or need none.
    pub pull_secret: Option<PullSecret>,
    /// Whether the registry is in use or drained.
    pub service: Service,
    /// The most HTTP requests per hour, for registries with a quota; `None` is unlimited.
    pub requests_per_hour: Option<NonZeroU32>,
}

impl Registry {
    /// Iterates over the folded hosts of this registry: its own first, then the aliases.
    pub fn hosts(&self) -> impl Iterator<Item = Host> {
        std::iter::once(&self.host).chain(&self.aliases).map(|host| Host::fold(host))
    }
}

/// A registry that Routes, Places and upstreams share.
pub type SharedRegistry = Arc<Registry>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folding_respects_boundaries() {
        for (host, folded) in [
            ("harbor.example.com", "harbor.example.com"),
            ("HARBOR.example.com", "harbor.example.com"),
            ("harbor.example.com:443", "harbor.example.com"),
            ("harbor.example.com:4430", "harbor.example.com:4430"),
            ("harbor.example.com:80", "harbor.example.com:80"),
            ("harbor.example.com:0443", "harbor.example.com"),
            ("Harbor.example.com:000443", "harbor.example.com"),
            ("harbor.example.com:05000", "harbor.example.com:5000"),
            ("harbor.example.com:00", "harbor.example.com:00"),
            ("[fd00::5000]:0443", "[fd00::5000]"),
            ("[fd00::0443]", "[fd00::0443]"),
            ("harbor.example.com.evil.io", "harbor.example.com.evil.io"),
        ] {
            assert_eq!(Host::fold(host).as_str(), folded);
        }
    }
}
