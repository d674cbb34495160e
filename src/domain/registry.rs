//! A Registry: an endpoint that references name, and that we ask.

use std::borrow::{Borrow, Cow};
use std::fmt;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;

use serde::Serialize;
use url::Url;

pub use super::name::{PullSecret, RegistryName, Site};

/// A registry host folded for *matching*: lower case, and without the port that its scheme implies.
///
/// `HARBOR.example.com:443` and `harbor.example.com` are one host; `harbor.example.com.evil.io`
/// is another. Never print this: references keep the spelling of [`Registry::host`].
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Host(Box<str>);

impl Host {
    /// Folds a host as it stands in a reference.
    #[must_use]
    pub fn fold(host: &str) -> Self {
        Self(folded(host).into())
    }

    /// The folded text.
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

/// The folded form of a host, borrowed where nothing had to change.
///
/// Registries are asked over HTTPS, so `:443` is the default port; `:80` stays, for a reference
/// that carries it is not the one without.
#[must_use]
pub fn folded(host: &str) -> Cow<'_, str> {
    let host = host.strip_suffix(":443").unwrap_or(host);
    if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(host.to_ascii_lowercase())
    } else {
        Cow::Borrowed(host)
    }
}

/// What a registry speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Harbor: the distribution protocol, and an API that knows scans.
    Harbor,
    /// Any plain OCI distribution registry; it has no scans.
    Distribution,
}

impl Kind {
    /// Does it scan images, so that a scan can be required of it?
    #[must_use]
    pub fn scans(self) -> bool {
        match self {
            Self::Harbor => true,
            Self::Distribution => false,
        }
    }

    /// Does it accept user name and password without asking for them first?
    #[must_use]
    pub fn takes_basic_unasked(self) -> bool {
        match self {
            Self::Harbor => true,
            Self::Distribution => false,
        }
    }
}

/// Whether a registry takes part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Service {
    /// It is asked and used.
    Open,
    /// `drain: true`: every question about it is answered `Unknown(Drained)` at once.
    Drained,
}

/// Where a registry's credentials are read from; re-read when the content changes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum CredentialSource {
    /// Ask anonymously.
    Anonymous,
    /// A folder with the files `username` and `password`, as a mounted Secret has them.
    Dir(PathBuf),
    /// A `config.json` / `.dockerconfigjson` file.
    DockerConfig(PathBuf),
    /// A file that holds a bearer token, as rotating sidecars write it.
    TokenFile(PathBuf),
}

/// An endpoint: named by references as `host`, asked at `url`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registry {
    /// Its key in the configuration.
    pub name: RegistryName,
    /// `host[:port]`, as rewritten references spell it.
    pub host: Box<str>,
    /// Other hosts under which references name the same registry; rewritten to `host`.
    pub aliases: Vec<Box<str>>,
    /// Where we ask: scheme, host and port, perhaps a path prefix. `http` only where it was configured.
    pub url: Url,
    /// What it speaks.
    pub kind: Kind,
    /// The site it stands on.
    pub site: Site,
    /// How we authenticate.
    pub credentials: CredentialSource,
    /// A PEM bundle to trust for this registry *instead of* the public roots.
    pub ca_file: Option<PathBuf>,
    /// The Secret that Pods need to pull from here; `None`: nodes have credentials, or none are needed.
    pub pull_secret: Option<PullSecret>,
    /// Open or drained.
    pub service: Service,
    /// The most HTTP requests an hour, for metered registries; `None`: unlimited.
    pub requests_per_hour: Option<NonZeroU32>,
}

impl Registry {
    /// Every host that names this registry, folded: its own first, then the aliases.
    pub fn hosts(&self) -> impl Iterator<Item = Host> {
        std::iter::once(&self.host).chain(&self.aliases).map(|host| Host::fold(host))
    }
}

/// A shared registry.
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
            ("harbor.example.com.evil.io", "harbor.example.com.evil.io"),
        ] {
            assert_eq!(Host::fold(host).as_str(), folded);
        }
    }
}
