//! Platforms: those that an index lists, and those that a Pod may run on.

use std::fmt;
use std::str::FromStr;

/// The platform of one child of an index: `os/architecture[/variant]`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Platform {
    /// The operating system: `linux`, `windows` …
    pub os: Box<str>,
    /// The CPU architecture: `amd64`, `arm64` …
    pub architecture: Box<str>,
    /// The CPU variant: `v7`, `v8` …; `None` where the index does not name it.
    pub variant: Option<Box<str>>,
}

/// A set of platforms that a Pod may run on. A part that is `None` matches everything.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PlatformPattern {
    /// The operating system, for example `linux`.
    pub os: Option<Box<str>>,
    /// The CPU architecture, for example `arm64`.
    pub architecture: Option<Box<str>>,
    /// The CPU variant, for example `v7`.
    pub variant: Option<Box<str>>,
}

impl PlatformPattern {
    /// Whether an image for `platform` may run here. A part that either side leaves out matches.
    #[must_use]
    pub fn matches(&self, platform: &Platform) -> bool {
        let fits = |wanted: &Option<Box<str>>, have: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| have.is_none_or(|have| wanted == have))
        };
        fits(&self.os, Some(&platform.os))
            && fits(&self.architecture, Some(&platform.architecture))
            && fits(&self.variant, platform.variant.as_deref())
    }
}

/// The platform that a Pod asks for by its `nodeSelector` and `os`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PlatformDemand {
    /// The label `kubernetes.io/os`, else `spec.os.name`.
    pub os: Option<Box<str>>,
    /// The label `kubernetes.io/arch`.
    pub architecture: Option<Box<str>>,
}

/// Narrows the cluster's platforms to those that the Pod asks for.
///
/// If no configured platform fits (a Windows Pod where `platforms:` names only Linux), the result is the Pod's own demand:
/// the scheduler follows the Pod, not the configuration.
#[must_use]
pub fn narrow(platforms: &[PlatformPattern], demand: &PlatformDemand) -> Vec<PlatformPattern> {
    let meets = |have: &Option<Box<str>>, demand: &Option<Box<str>>| {
        demand.is_none() || have.is_none() || have == demand
    };
    let narrowed: Vec<_> = platforms
        .iter()
        .filter(|platform| {
            meets(&platform.os, &demand.os) && meets(&platform.architecture, &demand.architecture)
        })
        .cloned()
        .collect();
    if narrowed.is_empty() {
        let PlatformDemand { os, architecture } = demand.clone();
        return vec![PlatformPattern { os, architecture, variant: None }];
    }
    narrowed
}

/// A text is not a platform.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a platform is written `os/architecture` or `os/architecture/variant`, for example `linux/arm64`")]
pub struct PlatformError;

impl FromStr for PlatformPattern {
    type Err = PlatformError;

    fn from_str(text: &str) -> Result<Self, PlatformError> {
        let mut parts = text.split('/');
        let mut part = || match parts.next() {
            Some("") => Err(PlatformError),
            part => Ok(part.map(Box::from)),
        };
        let (os, architecture, variant) = (part()?, part()?, part()?);
        if architecture.is_none() || parts.next().is_some() {
            return Err(PlatformError);
        }
        Ok(Self { os, architecture, variant })
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", self.os, self.architecture)?;
        self.variant.iter().try_for_each(|variant| write!(out, "/{variant}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> PlatformPattern {
        text.parse().unwrap()
    }

    fn platform(os: &str, architecture: &str, variant: Option<&str>) -> Platform {
        Platform { os: os.into(), architecture: architecture.into(), variant: variant.map(Box::from) }
    }

    #[test]
    fn a_variant_matters_only_where_both_name_one() {
        assert!(pattern("linux/arm64").matches(&platform("linux", "arm64", Some("v8"))));
        assert!(pattern("linux/arm/v7").matches(&platform("linux", "arm", None)));
        assert!(!pattern("linux/arm/v7").matches(&platform("linux", "arm", Some("v6"))));
        assert!(!pattern("linux/amd64").matches(&platform("linux", "arm64", None)));
    }

    #[test]
    fn a_demand_narrows_or_stands_for_itself() {
        let all = [pattern("linux/amd64"), pattern("linux/arm64")];
        let demand = |os: Option<&str>, architecture: Option<&str>| PlatformDemand {
            os: os.map(Box::from),
            architecture: architecture.map(Box::from),
        };
        assert_eq!(narrow(&all, &demand(None, None)), all);
        assert_eq!(narrow(&all, &demand(None, Some("arm64"))), [pattern("linux/arm64")]);
        let windows = narrow(&all, &demand(Some("windows"), None));
        assert!(windows.iter().all(|one| one.matches(&platform("windows", "amd64", None))));
        assert!(!windows.iter().any(|one| one.matches(&platform("linux", "amd64", None))));
    }

    #[test]
    fn only_two_or_three_parts_make_a_platform() {
        for text in ["linux", "linux/", "/amd64", "linux/arm/v7/x", ""] {
            assert!(text.parse::<PlatformPattern>().is_err(), "{text}");
        }
    }
}
