//! Platforms: those that an index lists, and those that a Pod may run on.

use std::fmt;
use std::str::FromStr;

/// The platform of one child of an index: `os/architecture[/variant]`, normalised.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Platform {
    /// The operating system: `linux`, `windows` …; empty where the index does not name it.
    pub os: Box<str>,
    /// The CPU architecture: `amd64`, `arm64` …
    pub architecture: Box<str>,
    /// The CPU variant: `v7`, `v9` …; `None` where the index does not name it, or names the default one.
    pub variant: Option<Box<str>>,
}

impl Platform {
    /// A platform by the names that an index uses, normalised as containerd does (`platforms/database.go`): otherwise a
    /// node would start a child that we take for one of another platform.
    ///
    /// An empty os stays empty. containerd reads it as the os of the node, whichever that is.
    #[must_use]
    pub fn normalised(os: &str, architecture: &str, variant: Option<&str>) -> Self {
        let (architecture, variant) = normalised_cpu(architecture, variant.unwrap_or_default());
        Self { os: normalised_os(os), architecture, variant }
    }
}

fn normalised_os(os: &str) -> Box<str> {
    match lower(os).as_str() {
        "macos" => "darwin".into(),
        os => os.into(),
    }
}

/// Architecture and variant; a default variant is left out, but of `arm` it is stated.
fn normalised_cpu(architecture: &str, variant: &str) -> (Box<str>, Option<Box<str>>) {
    let (architecture, variant) = (lower(architecture), lower(variant));
    let (architecture, variant) = match (architecture.as_str(), variant.as_str()) {
        ("i386", _) => ("386", ""),
        ("x86_64" | "x86-64" | "amd64", "v1") => ("amd64", ""),
        ("x86_64" | "x86-64" | "amd64", variant) => ("amd64", variant),
        ("aarch64" | "arm64", "8" | "v8") => ("arm64", ""),
        ("aarch64" | "arm64", variant) => ("arm64", variant),
        ("armhf", _) | ("arm", "" | "7") => ("arm", "v7"),
        ("armel", _) | ("arm", "6") => ("arm", "v6"),
        ("arm", "5") => ("arm", "v5"),
        ("arm", "8") => ("arm", "v8"),
        other => other,
    };
    (architecture.into(), Some(variant).filter(|variant| !variant.is_empty()).map(Box::from))
}

/// Lower case as Go has it: one character for each, so that `İ` becomes `i`.
fn lower(text: &str) -> String {
    text.chars().filter_map(|character| character.to_lowercase().next()).collect()
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

/// How a node of a pattern's platform takes a child of an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fit {
    /// How many platforms the node prefers to that of the child.
    pub rank: u8,
    /// Whether every such node takes it, rather than those with a certain CPU only.
    pub certain: bool,
}

impl PlatformPattern {
    /// How a node here takes an image for `platform`; `None`: it does not.
    ///
    /// A node also starts images for the platforms before its own (containerd's `platforms.Only`): a 64-bit node those of
    /// 32 bits, `arm/v7` those of `arm/v6`. It does if the index has none that fits better.
    #[must_use]
    pub fn fit(&self, platform: &Platform) -> Option<Fit> {
        const ARM: [(&str, Option<&str>); 4] =
            [("arm", Some("v8")), ("arm", Some("v7")), ("arm", Some("v6")), ("arm", Some("v5"))];
        let certain =
            |variant: Option<&str>| platform.variant.is_none() || platform.variant.as_deref() == variant;
        if self.matches(platform) {
            return Some(Fit { rank: 0, certain: certain(self.variant.as_deref()) });
        }
        let before = match (self.architecture.as_deref()?, self.variant.as_deref()) {
            ("amd64", _) => [("386", None)].iter(),
            ("arm64", _) => ARM.iter(),
            ("arm", Some("v8")) => ARM.get(1..)?.iter(),
            ("arm", Some("v7")) => ARM.get(2..)?.iter(),
            ("arm", Some("v6")) => ARM.get(3..)?.iter(),
            _ => return None,
        };
        (1..).zip(before).find_map(|(rank, (architecture, variant))| {
            let fits = self.runs(&platform.os)
                && *platform.architecture == **architecture
                && variant.is_none_or(|variant| certain(Some(variant)));
            fits.then(|| Fit { rank, certain: certain(*variant) })
        })
    }

    /// Whether nodes here start images for this os. An empty one is that of the node.
    fn runs(&self, os: &str) -> bool {
        os.is_empty() || self.os.as_deref().is_none_or(|wanted| wanted == os)
    }

    /// Whether an image for `platform` may run here. A part that either side leaves out matches.
    #[must_use]
    pub fn matches(&self, platform: &Platform) -> bool {
        let fits = |wanted: &Option<Box<str>>, have: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| have.is_none_or(|have| wanted == have))
        };
        self.runs(&platform.os)
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
        let (os, Some(architecture), variant) = (part()?, part()?, part()?) else {
            return Err(PlatformError);
        };
        if parts.next().is_some() {
            return Err(PlatformError);
        }
        let unstated = variant.is_none();
        let (architecture, variant) = normalised_cpu(&architecture, &variant.unwrap_or_default());
        // `linux/arm` is every arm here.
        let variant = variant.filter(|variant| !(unstated && *architecture == *"arm" && **variant == *"v7"));
        Ok(Self { os: os.as_deref().map(normalised_os), architecture: Some(architecture), variant })
    }
}

impl fmt::Display for PlatformPattern {
    /// `linux/arm64`, with `*` for a part that matches everything.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = |part: &Option<Box<str>>| part.as_deref().unwrap_or("*").to_owned();
        write!(out, "{}/{}", part(&self.os), part(&self.architecture))?;
        self.variant.iter().try_for_each(|variant| write!(out, "/{variant}"))
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

    #[derive(serde::Deserialize)]
    struct Row {
        written: [String; 3],
        normalised: [String; 3],
    }

    /// The table follows containerd's own normalisation, but for the empty os.
    #[test]
    fn platforms_are_read_as_a_node_reads_them() {
        let rows: Vec<Row> =
            serde_json::from_str(include_str!("../../tests/vectors/platforms.json")).unwrap();
        assert!(rows.len() > 40);
        for Row { written: [os, architecture, variant], normalised } in rows {
            let read = Platform::normalised(&os, &architecture, Some(&variant));
            let variant = read.variant.as_deref().unwrap_or_default();
            assert_eq!(
                [&*read.os, &*read.architecture, variant],
                normalised,
                "{os}/{architecture}/{variant}"
            );
            // What is normalised stays as it is.
            let again = Platform::normalised(&read.os, &read.architecture, read.variant.as_deref());
            assert_eq!(again, read);
        }
    }

    #[test]
    fn patterns_are_normalised_too_and_an_os_that_is_not_named_is_the_nodes_own() {
        for (text, same) in [
            ("Linux/x86_64", "linux/amd64"),
            ("linux/aarch64", "linux/arm64"),
            ("linux/arm64/v8", "linux/arm64"),
            ("linux/arm/7", "linux/arm/v7"),
        ] {
            assert_eq!(pattern(text), pattern(same));
        }
        assert_eq!(pattern("linux/arm").variant, None);
        for node in ["linux/amd64", "windows/amd64"] {
            assert!(pattern(node).matches(&Platform::normalised("", "amd64", None)), "{node}");
        }
    }

    #[test]
    fn a_node_starts_what_was_built_for_the_platforms_before_its_own() {
        let fit = |node: &str, os: &str, architecture: &str, variant: &str| {
            let fit = pattern(node).fit(&Platform::normalised(os, architecture, Some(variant)));
            fit.map(|fit| (fit.rank, fit.certain))
        };
        assert_eq!(fit("linux/amd64", "linux", "x86_64", ""), Some((0, true)));
        assert_eq!(fit("linux/amd64", "linux", "amd64", "v3"), Some((0, false)));
        assert_eq!(fit("linux/amd64", "linux", "i386", ""), Some((1, true)));
        assert_eq!(fit("linux/amd64", "", "386", ""), Some((1, true)));
        assert_eq!(fit("linux/amd64", "windows", "386", ""), None);
        assert_eq!(fit("linux/amd64", "linux", "arm64", ""), None);
        assert_eq!(fit("linux/arm64", "linux", "arm64", "v9"), Some((0, false)));
        assert_eq!(fit("linux/arm64", "linux", "armhf", ""), Some((2, true)));
        assert_eq!(fit("linux/arm64", "linux", "arm", "5"), Some((4, true)));
        assert_eq!(fit("linux/arm/v6", "linux", "armel", ""), Some((0, true)));
        assert_eq!(fit("linux/arm/v6", "linux", "arm", "v5"), Some((1, true)));
        assert_eq!(fit("linux/arm/v6", "linux", "arm", "v7"), None);
        assert_eq!(fit("linux/s390x", "linux", "386", ""), None);
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
