//! What a pipeline fails on.

use std::str::FromStr;

use super::result::{Audit, Class, Row};
use crate::domain::finding::{FindingKind, PolicyKey};
use crate::domain::gap::Risk;

/// What makes an audit fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailOn {
    /// `deny`: a new Pod would be denied.
    Deny,
    /// `missing`: an image is not here as it should be.
    Missing,
    /// `scan`: a scan is not as it should be.
    Scan,
    /// `unknown`: something could not be learned, read or judged.
    Unknown,
    /// `any`: anything but images without a Route.
    Any,
    /// `none`: nothing.
    None,
    /// This finding.
    Finding(FindingKind),
    /// This risk, which `--deep` looks for.
    Risk(Risk),
}

impl FromStr for FailOn {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        Ok(match word {
            "deny" => Self::Deny,
            "missing" => Self::Missing,
            "scan" => Self::Scan,
            "unknown" => Self::Unknown,
            "any" => Self::Any,
            "none" => Self::None,
            word => {
                let finding = word.parse().map(Self::Finding).ok();
                finding.or_else(|| word.parse().map(Self::Risk).ok()).ok_or_else(|| {
                    format!(
                        "`{word}` is none of deny, missing, scan, unknown, any, none, and no finding of REASONS.md such as `Stale`"
                    )
                })?
            }
        })
    }
}

impl FailOn {
    /// Whether a row meets it.
    #[must_use]
    pub fn meets(self, row: &Row) -> bool {
        let has = |wanted: fn(FindingKind) -> bool| {
            row.findings.iter().filter_map(|word| word.parse().ok()).any(wanted)
        };
        match self {
            Self::Deny => row.class == Class::Denied,
            Self::Missing => {
                row.class == Class::Missing
                    || row.class == Class::Denied
                        && has(|kind| matches!(kind.key(), PolicyKey::OnMissing | PolicyKey::OnStale))
            }
            Self::Scan => has(|kind| {
                matches!(
                    kind.key(),
                    PolicyKey::OnUnscanned | PolicyKey::OnUnscannable | PolicyKey::OnVulnerable
                )
            }),
            Self::Unknown => row.with_unknown || row.class == Class::Unknown,
            Self::Any => !matches!(row.class, Class::Fine | Class::Kept | Class::Unrouted),
            Self::None => false,
            Self::Finding(kind) => row.findings.iter().any(|found| found == kind.as_str()),
            Self::Risk(risk) => row.findings.iter().any(|found| found == <&str>::from(risk)),
        }
    }

    /// Whether an audit meets one of these. What was not read or judged is not known.
    #[must_use]
    pub fn is_met(all: &[Self], audit: &Audit) -> bool {
        let unknown = !audit.complete && all.iter().any(|on| matches!(on, Self::Unknown | Self::Any));
        unknown || audit.rows.iter().any(|row| all.iter().any(|on| on.meets(row)))
    }
}
