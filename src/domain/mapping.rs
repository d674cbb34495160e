//! Where a replicated image lies: Harbor's own mapping of a replication rule, and its inverse.
//!
//! Harbor 2.15, `src/controller/replication/flow/stage.go`; `tests/vectors/flattening.json` holds what its runs made.

use super::image::Repository;
use super::pattern::{Component, Path, Pattern, paths_meet};

/// How many leading path components the destination namespace replaces.
///
/// Harbor's `dest_namespace_replace_count`: the API's default is all (−1), its page's default is 1;
/// so neither is assumed here, and the configuration states it together with the namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Flatten {
    /// "Flatten all levels": only the last component stays.
    All,
    /// "Flatten n levels".
    Levels(u8),
}

/// Destination namespace and flattening of a replication rule.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Mapping {
    /// The destination namespace; empty keeps every path as it is.
    pub namespace: Box<str>,
    /// Which components it replaces.
    pub flatten: Flatten,
}

/// A repository with too few components for its mapping: Harbor fails that rule's whole execution.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "repository `{repository}` is too shallow to flatten {levels} levels; it needs more than {levels} components"
)]
pub struct TooShallow {
    /// The source repository.
    pub repository: Repository,
    /// How many components would be replaced.
    pub levels: u8,
}

/// Which source repository lies at a replica's repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Inverse {
    /// Exactly this one.
    Source(Repository),
    /// None.
    Foreign,
    /// More than one may.
    Ambiguous,
}

impl Mapping {
    /// The repository at the replica.
    ///
    /// # Errors
    /// [`TooShallow`] where there are not more components than the mapping replaces: it is not replicated.
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

    /// The source repository among `sources` that lies at `replica_repository`.
    #[must_use]
    pub fn invert(&self, replica_repository: &str, sources: &Pattern) -> Inverse {
        let Some(tail) = self.tail(replica_repository) else { return Inverse::Foreign };
        let literal = tail.split('/').map(|component| Component::Literal(component.into()));
        let hidden: Vec<Component> = match self.hidden() {
            Hidden::Count(count) => vec![Component::Glob("*".into()); count],
            Hidden::All if tail.contains('/') => return Inverse::Foreign,
            Hidden::All => vec![Component::Any],
        };
        let wanted: Path = hidden.into_iter().chain(literal).collect();

        let mut found = None;
        for path in sources.alternatives().filter(|path| paths_meet(path, &wanted)) {
            let Some(source) = self.source(path, tail) else { return Inverse::Ambiguous };
            if found.as_ref().is_some_and(|found| *found != source) {
                return Inverse::Ambiguous;
            }
            found = Some(source);
        }
        found.map_or(Inverse::Foreign, |source| Inverse::Source(Repository::new(source)))
    }

    /// Whether different sources always land in different repositories. Says no where it cannot tell.
    #[must_use]
    pub fn injective(&self, sources: &Pattern) -> bool {
        if self.keeps_paths() || self.flatten == Flatten::Levels(0) {
            return true;
        }
        let mut seen: Vec<(Vec<&str>, &[Component])> = Vec::new();
        for path in sources.alternatives().filter(|path| self.reaches(path)) {
            let Some((hidden, tail)) = self.split(path) else { return false };
            let clash =
                |(other, rest): &(Vec<&str>, &[Component])| *other != hidden && paths_meet(rest, tail);
            if seen.iter().any(clash) {
                return false;
            }
            seen.push((hidden, tail));
        }
        true
    }

    /// The pattern of the repositories where `sources` lie: its specificity, its leading components and its overlaps
    /// are those of the replica's side. It may match more than the targets, never less; `None` where nothing of
    /// `sources` is deep enough to be replicated.
    #[must_use]
    pub fn targets(&self, sources: &Pattern) -> Option<Pattern> {
        if self.keeps_paths() {
            return Some(sources.clone());
        }
        let tail = |path: &[Component]| -> Option<Vec<Component>> {
            let last = path.last()?.clone();
            match self.hidden() {
                Hidden::All => Some(vec![last]),
                Hidden::Count(count)
                    if path.iter().take(count).any(|component| *component == Component::Any) =>
                {
                    Some(vec![Component::Any, last])
                }
                Hidden::Count(count) => path.get(count..).filter(|tail| !tail.is_empty()).map(<[_]>::to_vec),
            }
        };
        let namespace = || self.namespace.split('/').map(|component| Component::Literal(component.into()));
        Pattern::of(
            sources.alternatives().filter_map(tail).map(|tail| namespace().chain(tail).collect()).collect(),
        )
    }

    /// Whether `sources` matches a repository that is too shallow for the mapping.
    #[must_use]
    pub fn too_shallow(&self, sources: &Pattern) -> bool {
        match self.flatten {
            _ if self.keeps_paths() => false,
            Flatten::All => false,
            Flatten::Levels(levels) => sources.least_depth() <= usize::from(levels),
        }
    }

    /// An empty namespace keeps the path, whatever the flattening.
    fn keeps_paths(&self) -> bool {
        self.namespace.is_empty()
    }

    fn hidden(&self) -> Hidden {
        match self.flatten {
            _ if self.keeps_paths() => Hidden::Count(0),
            Flatten::All => Hidden::All,
            Flatten::Levels(levels) => Hidden::Count(levels.into()),
        }
    }

    /// What follows the namespace at the replica.
    fn tail<'r>(&self, replica_repository: &'r str) -> Option<&'r str> {
        if self.keeps_paths() {
            return Some(replica_repository);
        }
        replica_repository.strip_prefix(&*self.namespace)?.strip_prefix('/')
    }

    /// Whether some match of `path` is deep enough.
    fn reaches(&self, path: &[Component]) -> bool {
        match self.hidden() {
            Hidden::All => true,
            Hidden::Count(count) => path.contains(&Component::Any) || path.len() > count,
        }
    }

    /// The components that the mapping replaces, where `path` says what they are, and those that stay.
    fn split<'p>(&self, path: &'p [Component]) -> Option<(Vec<&'p str>, &'p [Component])> {
        let count = match self.hidden() {
            Hidden::All => path.len().saturating_sub(1),
            Hidden::Count(count) => count,
        };
        let (hidden, tail) = path.split_at_checked(count)?;
        let literal = |component: &'p Component| match component {
            Component::Literal(text) => Some(&**text),
            Component::Any | Component::Glob(_) => None,
        };
        Some((hidden.iter().map(literal).collect::<Option<_>>()?, tail))
    }

    /// The one match of `path` that ends in `tail`; `None` where there may be more.
    fn source(&self, path: &[Component], tail: &str) -> Option<String> {
        let (mut hidden, _) = self.split(path)?;
        hidden.push(tail);
        Some(hidden.join("/"))
    }
}

/// How many leading components of a source its target does not show.
enum Hidden {
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
