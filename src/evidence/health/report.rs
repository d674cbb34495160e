//! What a probe may find, and one registry's health as it is reported.

use std::borrow::Cow;
use std::sync::Arc;

use prometheus_client::encoding::EncodeLabelValue;

use crate::domain::name::RegistryName;
use crate::domain::unknown::Cause;

/// What the last probe of a registry found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue, strum::VariantArray)]
pub enum Health {
    /// It was not probed yet.
    Unprobed,
    /// It answers, and accepts our credentials if there are any.
    Up,
    /// It answers, but takes more than half of what an attempt may take.
    Slow,
    /// It asks us to wait (429), or our own `requestsPerHour` is spent.
    RateLimited,
    /// It answers, but rejects our credentials: they are wrong, expired or unreadable.
    BadCredentials,
    /// Something answers, but not like a registry of this kind.
    NotARegistry,
    /// A Harbor that cannot read its database, so every pull fails.
    DatabaseDown,
    /// Connection refused, unknown name, TLS failure, or 5xx.
    Down,
    /// It does not answer in time, or answers probes but serves no manifests.
    Unresponsive,
    /// `drain: true`: not probed.
    Drained,
    /// It cannot be asked as it is configured.
    Unusable,
}

impl Health {
    /// Does every pull from it fail?
    #[must_use]
    pub fn is_down(self) -> bool {
        matches!(self, Self::DatabaseDown | Self::Down | Self::Unresponsive)
    }

    /// Is it in the state that its owners want?
    #[must_use]
    pub fn is_good(self) -> bool {
        matches!(self, Self::Up | Self::Drained)
    }
}

/// One registry's health, as it is shown to people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Which registry.
    pub registry: RegistryName,
    /// What the last probe found.
    pub health: Health,
    /// What was seen, for people.
    pub detail: Arc<str>,
    /// Why there was no answer, or an unexpected one.
    pub cause: Option<Cause>,
    /// The proxy by which it is asked, without its password.
    pub proxy: Option<Box<str>>,
}

impl Report {
    /// What was seen, and the proxy by which it was.
    #[must_use]
    pub fn said(&self) -> Cow<'_, str> {
        match &self.proxy {
            // An error of the connection names it itself.
            Some(proxy) if !self.detail.contains(&**proxy) => {
                format!("{}; asked through the proxy {proxy}", self.detail).into()
            }
            _ => Cow::Borrowed(&self.detail),
        }
    }
}
