//! Where a replicated image is stored: Harbor's own mapping of a replication rule, and its inverse.
//!
//! It follows Harbor 2.15, `src/controller/replication/flow/stage.go`. `tests/vectors/flattening.json` holds the results
//! of real replications.

use super::image::Repository;
use super::pattern::{Component, Path, Pattern, paths_overlap};

/// How many leading path components the destination namespace replaces.
///
/// This is Harbor's `dest_namespace_replace_count`. Its default is all (−1) in the API, but 1 on the web page. So no
/// default is assumed here: the configuration gives it together with the namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Flatten {
    /// "Flatten all levels": only the last component stays.
    All,
    /// "Flatten n levels": the namespace replaces the first n components.
    Levels(u8),
}

/// Destination namespace and flattening of a replication rule.
///
/// ```
/// use landfall::facade::domain::mapping::{Flatten, Inverse, Mapping};
/// use landfall::facade::domain::pattern::Pattern;
///
/// let mapping = Mapping { namespace: "mirror".into(), flatten: Flatten::Levels(1) };
/// let copy = mapping.map("production/shop/web")?;
/// assert_eq!(copy.as_str(), "mirror/shop/web");
///
/// let Inverse::Source(source) = mapping.invert("mirror/shop/web", &Pattern::new("production/**")?) else { panic!() };
/// assert_eq!(source.as_str(), "production/shop/web");
/// // Two projects are replicated into one: the source is not known any more.
/// assert_eq!(mapping.invert("mirror/web", &Pattern::new("{a,b}/**")?), Inverse::Ambiguous);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Mapping {
    /// The destination namespace. An empty one keeps every path as it is.
    pub namespace: Box<str>,
    /// How many components of the path the namespace replaces.
    pub flatten: Flatten,
}

/// A repository has too few components for its mapping. Harbor then fails the whole execution of that rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "repository `{repository}` is too shallow to flatten {levels} levels; it needs more than {levels} components"
)]
pub struct TooShallow {
    /// The source repository.
    pub repository: Repository,
    /// How many components the mapping replaces.
    pub levels: u8,
}

/// The source repository of a replica's repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Inverse {
    /// Exactly this source is replicated there.
    Source(Repository),
    /// No source of the Route is replicated there.
    Foreign,
    /// More than one source may be replicated there.
    Ambiguous,
}

impl Mapping {
    /// Returns the repository at the replica.
    ///
    /// # Errors
    /// [`TooShallow`] where the repository does not have more components than the mapping replaces. Harbor does not
    /// replicate it.
    pub fn map(&self, repository: &str) -> Result<Repository, TooShallow> {
        if self.keeps_paths() {
            return Ok(Repository::new(repository));
        }
        let tail = match self.flatten {
            Flatten::All => repository.rsplit('/').next(),
            Flatten::Levels(0) => Some(repository),
            Flatten::Levels(levels) => repository.splitn(usize::from(levels) + 1, '/').nth(levels.into()),
        };
        match (tail, self.flatten) {
            (Some(tail), _) => Ok(Repository::new(format!("{}/{tail}", self.namespace))),
            (None, Flatten::All) => Ok(Repository::new(repository)),
            (None, Flatten::Levels(levels)) => {
                Err(TooShallow { repository: Repository::new(repository), levels })
            }
        }
    }

    /// Returns the source repository among `sources` that is replicated to `replica_repository`.
    #[must_use]
    pub fn invert(&self, replica_repository: &str, sources: &Pattern) -> Inverse {
        let Some(tail) = self.tail(replica_repository) else { return Inverse::Foreign };
        let literal = tail.split('/').map(|component| Component::Literal(component.into()));
        let replaced: Vec<Component> = match self.replaced() {
            Replaced::Count(count) => vec![Component::Glob("*".into()); count],
            Replaced::All if tail.contains('/') => return Inverse::Foreign,
            Replaced::All => vec![Component::Any],
        };
        let wanted: Path = replaced.into_iter().chain(literal).collect();

        let mut found = None;
        for path in sources.alternatives().filter(|path| paths_overlap(path, &wanted)) {
            let Some(source) = self.source(path, tail) else { return Inverse::Ambiguous };
            if found.as_ref().is_some_and(|found| *found != source) {
                return Inverse::Ambiguous;
            }
            found = Some(source);
        }
        found.map_or(Inverse::Foreign, |source| Inverse::Source(Repository::new(source)))
    }

    /// Whether different sources are always replicated to different repositories. Returns `false` where it cannot tell.
    #[must_use]
    pub fn injective(&self, sources: &Pattern) -> bool {
        if self.keeps_paths() || self.flatten == Flatten::Levels(0) {
            return true;
        }
        let mut seen: Vec<(Vec<&str>, &[Component])> = Vec::new();
        for path in sources.alternatives().filter(|path| self.can_be_deep_enough(path)) {
            let Some((replaced, tail)) = self.split(path) else { return false };
            let clash =
                |(other, rest): &(Vec<&str>, &[Component])| *other != replaced && paths_overlap(rest, tail);
            if seen.iter().any(clash) {
                return false;
            }
            seen.push((replaced, tail));
        }
        true
    }

    /// Returns the pattern of the repositories to which `sources` are replicated. It is used for the specificity, the
    /// leading components and the overlaps at the replica. It may match more than the real targets, never less. `None`
    /// where no match of `sources` is deep enough to be replicated.
    #[must_use]
    pub fn targets(&self, sources: &Pattern) -> Option<Pattern> {
        if self.keeps_paths() {
            return Some(sources.clone());
        }
        let tail = |path: &[Component]| -> Option<Vec<Component>> {
            let last = path.last()?.clone();
            match self.replaced() {
                Replaced::All => Some(vec![last]),
                Replaced::Count(count)
                    if path.iter().take(count).any(|component| *component == Component::Any) =>
                {
                    Some(vec![Component::Any, last])
                }
                Replaced::Count(count) => {
                    path.get(count..).filter(|tail| !tail.is_empty()).map(<[_]>::to_vec)
                }
            }
        };
        let namespace = || self.namespace.split('/').map(|component| Component::Literal(component.into()));
        Pattern::of(
            sources.alternatives().filter_map(tail).map(|tail| namespace().chain(tail).collect()).collect(),
        )
    }

    /// Whether `sources` matches any repository that is too shallow for the mapping.
    #[must_use]
    pub fn too_shallow(&self, sources: &Pattern) -> bool {
        match self.flatten {
            _ if self.keeps_paths() => false,
            Flatten::All => false,
            Flatten::Levels(levels) => sources.least_depth() <= usize::from(levels),
        }
    }

    /// Returns what stands before the path at the replica, where that is all that the mapping does to any of `sources`; empty if
    /// the paths are the same. `None`: it does something else.
    #[must_use]
    pub fn prefix(&self, sources: &Pattern) -> Option<String> {
        let mut all = sources.alternatives().filter(|path| self.can_be_deep_enough(path)).map(|path| {
            if self.keeps_paths() {
                return Some(String::new());
            }
            if self.flatten == Flatten::All && path.contains(&Component::Any) {
                return None;
            }
            let (replaced, _) = self.split(path)?;
            let before = self.namespace.strip_suffix(&*replaced.join("/"))?;
            // Nothing, or whole components.
            let whole = before.is_empty() || replaced.is_empty() || before.ends_with('/');
            whole.then(|| before.trim_end_matches('/').to_owned())
        });
        let first = all.next()??;
        all.all(|other| other.as_ref() == Some(&first)).then_some(first)
    }

    /// An empty namespace keeps the path, for any flattening.
    fn keeps_paths(&self) -> bool {
        self.namespace.is_empty()
    }

    fn replaced(&self) -> Replaced {
        match self.flatten {
            _ if self.keeps_paths() => Replaced::Count(0),
            Flatten::All => Replaced::All,
            Flatten::Levels(levels) => Replaced::Count(levels.into()),
        }
    }

    /// The part of the replica's repository after the namespace.
    fn tail<'r>(&self, replica_repository: &'r str) -> Option<&'r str> {
        if self.keeps_paths() {
            return Some(replica_repository);
        }
        replica_repository.strip_prefix(&*self.namespace)?.strip_prefix('/')
    }

    /// Whether any match of `path` is deep enough to be replicated.
    fn can_be_deep_enough(&self, path: &[Component]) -> bool {
        match self.replaced() {
            Replaced::All => true,
            Replaced::Count(count) => path.contains(&Component::Any) || path.len() > count,
        }
    }

    /// Splits `path` into the components that the mapping replaces and those that stay. `None` where a replaced component
    /// is a wildcard.
    fn split<'p>(&self, path: &'p [Component]) -> Option<(Vec<&'p str>, &'p [Component])> {
        let count = match self.replaced() {
            Replaced::All => path.len().saturating_sub(1),
            Replaced::Count(count) => count,
        };
        let (replaced, tail) = path.split_at_checked(count)?;
        let literal = |component: &'p Component| match component {
            Component::Literal(text) => Some(&**text),
            Component::Any | Component::Glob(_) => None,
        };
        Some((replaced.iter().map(literal).collect::<Option<_>>()?, tail))
    }

    /// The only match of `path` that ends in `tail`; `None` where there may be more than one.
    fn source(&self, path: &[Component], tail: &str) -> Option<String> {
        let (mut replaced, _) = self.split(path)?;
        replaced.push(tail);
        Some(replaced.join("/"))
    }
}

/// How many leading components of a source the namespace replaces.
enum Replaced {
    All,
    Count(usize),
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize)]
    struct Row {
        source: String,
        dest_namespace: String,
        replace_count: i8,
        result: Option<String>,
    }

    fn mapping(namespace: &str, flatten: Flatten) -> Mapping {
        Mapping { namespace: namespace.into(), flatten }
    }

    #[test]
    fn maps_as_harbor_does() {
        let rows: Vec<Row> =
            serde_json::from_str(include_str!("../../tests/vectors/flattening.json")).unwrap();
        assert_eq!(rows.len(), 72);
        for row in rows {
            let flatten = u8::try_from(row.replace_count).map_or(Flatten::All, Flatten::Levels);
            let mapped = mapping(&row.dest_namespace, flatten).map(&row.source).ok();
            assert_eq!(mapped.as_ref().map(Repository::as_str), row.result.as_deref(), "{}", row.source);
        }
    }

    #[test]
    fn inverts_where_one_source_can_lie_there() {
        use Flatten::{All, Levels};
        let source = |text: &str| Inverse::Source(Repository::new(text));
        for (namespace, flatten, sources, replica, inverse) in [
            ("p", Levels(1), "production/**", "p/a/b", source("production/a/b")),
            ("p", Levels(1), "production/**", "pp/a", Inverse::Foreign),
            ("p", Levels(1), "production/**", "p", Inverse::Foreign),
            ("p", Levels(2), "production/**", "p/a", Inverse::Ambiguous),
            ("p", Levels(1), "{x,y}/**", "p/a", Inverse::Ambiguous),
            ("p", Levels(1), "{x/a,y/b}/*", "p/b/c", source("y/b/c")),
            ("p", Levels(0), "a/*", "p/a/b", source("a/b")),
            ("p", Levels(0), "a/*", "p/b/b", Inverse::Foreign),
            ("p", All, "production/**", "p/a", Inverse::Ambiguous),
            ("p", All, "a/b/*", "p/c", source("a/b/c")),
            ("p", All, "a/b/*", "p/c/d", Inverse::Foreign),
            ("", All, "a/**", "a/b/c", source("a/b/c")),
            ("", Levels(1), "a/**", "b/c", Inverse::Foreign),
        ] {
            let text = format!("{namespace} {flatten:?} {sources} {replica}");
            let inverted = mapping(namespace, flatten).invert(replica, &Pattern::new(sources).unwrap());
            assert_eq!(inverted, inverse, "{text}");
        }
    }

    #[test]
    fn knows_the_replicas_side() {
        use Flatten::{All, Levels};
        for (namespace, flatten, sources, targets, shallow) in [
            ("p", Levels(1), "production/**", Some("p/**"), false),
            ("p", Levels(2), "production/**", Some("p/**"), true),
            ("p/q", Levels(0), "a/*", Some("p/q/a/*"), false),
            ("p", All, "a/b/c*", Some("p/c*"), false),
            ("p", Levels(3), "a/b/c", None, true),
            ("", Levels(3), "a/b", Some("a/b"), false),
            ("p", Levels(1), "{a,b}/c", Some("{p/c,p/c}"), false),
        ] {
            let (mapping, sources) = (mapping(namespace, flatten), Pattern::new(sources).unwrap());
            assert_eq!(mapping.targets(&sources).as_ref().map(Pattern::as_str), targets);
            assert_eq!(mapping.too_shallow(&sources), shallow, "{sources}");
        }
    }

    #[test]
    fn tells_where_it_only_puts_something_before_a_path() {
        use Flatten::{All, Levels};
        for (namespace, flatten, sources, prefix) in [
            ("", All, "a/**", Some("")),
            ("", Levels(3), "a/b", Some("")),
            ("mirror", Levels(0), "a/**", Some("mirror")),
            ("production", Levels(1), "production/**", Some("")),
            ("eu/production", Levels(1), "production/**", Some("eu")),
            ("xproduction", Levels(1), "production/**", None),
            ("p", Levels(1), "production/**", None),
            ("a/b", All, "a/b/*", Some("")),
            ("a", All, "a/**", None),
            ("a", Levels(1), "{a,b}/**", None),
            ("a", Levels(1), "*/x", None),
        ] {
            let found = mapping(namespace, flatten).prefix(&Pattern::new(sources).unwrap());
            assert_eq!(found.as_deref(), prefix, "{namespace} {flatten:?} {sources}");
        }
    }

    fn mappings() -> impl Strategy<Value = Mapping> {
        let flatten = prop_oneof![Just(Flatten::All), (0_u8..4).prop_map(Flatten::Levels)];
        ("(|p|p/q)", flatten).prop_map(|(namespace, flatten)| mapping(&namespace, flatten))
    }

    fn patterns() -> impl Strategy<Value = Pattern> {
        prop::collection::vec("\\*\\*|[ab]|[ab]|[ab]|[ab*]{1,2}|\\{a,b\\}", 1..5)
            .prop_map(|parts| Pattern::new(&parts.join("/")).unwrap())
    }

    fn names() -> impl Strategy<Value = String> {
        "[ab]{1,2}(/[ab]){0,3}"
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2048))]

        #[test]
        fn inverse_of_map(mapping in mappings(), sources in patterns(), name in names()) {
            if !sources.matches(&name) {
                return Ok(());
            }
            let Ok(target) = mapping.map(&name) else {
                prop_assert!(mapping.too_shallow(&sources));
                return Ok(());
            };
            prop_assert!(mapping.targets(&sources).unwrap().matches(target.as_str()));
            match mapping.invert(target.as_str(), &sources) {
                Inverse::Source(source) => prop_assert_eq!(source.as_str(), name),
                Inverse::Ambiguous => prop_assert!(!mapping.injective(&sources)),
                Inverse::Foreign => prop_assert!(false, "foreign"),
            }
        }

        #[test]
        fn a_prefix_is_all_that_the_mapping_does(mapping in mappings(), sources in patterns(), name in names()) {
            let Some(prefix) = mapping.prefix(&sources).filter(|_| sources.matches(&name)) else { return Ok(()) };
            if let Ok(target) = mapping.map(&name) {
                let expected = if prefix.is_empty() { name } else { format!("{prefix}/{name}") };
                prop_assert_eq!(target.as_str(), expected);
            }
        }

        #[test]
        fn map_of_inverse(mapping in mappings(), sources in patterns(), name in "(p|p/q|a)(/[ab]){1,3}") {
            if let Inverse::Source(source) = mapping.invert(&name, &sources) {
                prop_assert!(sources.matches(source.as_str()));
                let target = mapping.map(source.as_str()).unwrap();
                prop_assert_eq!(target.as_str(), name);
            }
        }

        #[test]
        fn injective_mappings_keep_sources_apart(
            mapping in mappings(), sources in patterns(), one in names(), other in names(),
        ) {
            if one != other
                && sources.matches(&one)
                && sources.matches(&other)
                && mapping.injective(&sources)
                && let (Ok(one), Ok(other)) = (mapping.map(&one), mapping.map(&other))
            {
                prop_assert_ne!(one, other);
            }
        }
    }
}
