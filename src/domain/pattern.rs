//! Patterns over repositories, tags and image names, with `**`, `*`, `?` and `{a,b}` as in Harbor's filters.
//!
//! Harbor matches with bmatcuk/doublestar v1 (`src/pkg/reg/util/pattern.go` imports it without `/v4`), component by
//! component. A final `**` matches one or more components, so `a/**` does not match `a` (v4 would). Any other `**` matches
//! zero or more. A `**` that is only part of a component is a `*`. There is no regex here: the braces are expanded into
//! alternatives, and each alternative is a list of components. The same lists tell whether two patterns overlap.

use std::fmt;

use super::image::{is_host, looks_like_host};
use super::registry::{Host, folded};

/// The most alternatives that the braces of one pattern may expand to.
const MAX_ALTERNATIVES: usize = 256;

/// The longest alternative, in characters: twice the longest name at a registry, because wildcards need room too.
const MAX_ALTERNATIVE_LENGTH: usize = 512;

/// The longest pattern with its braces, in characters. Without a bound, comparing two patterns could take minutes.
const MAX_LENGTH: usize = 16 * 1024;

/// A compiled pattern. `*` and `?` stay within one path component; `**` matches several. Patterns are case-sensitive.
#[derive(Clone, PartialEq, Eq)]
pub struct Pattern {
    text: Box<str>,
    /// The alternatives after the braces are expanded; at least one.
    alternatives: Box<[Path]>,
}

/// One alternative, as a list of components.
pub(super) type Path = Box<[Component]>;

/// A component of an alternative.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Component {
    /// `**`: zero or more components.
    Any,
    /// One component without wildcards.
    Literal(Box<str>),
    /// One component with `*` and `?`.
    Glob(Box<str>),
}

/// How specific a pattern is. Literal leading components are compared first, then literal characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Specificity {
    /// Whole path components before the first wildcard.
    pub leading_components: u16,
    /// Characters in the whole pattern that are neither wildcards nor `/`.
    pub literal_characters: u16,
}

/// Why a text is not a pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// The text is empty.
    #[error("the pattern is empty; `**` matches everything")]
    Empty,
    /// Two slashes follow each other, or the pattern begins or ends with a slash.
    #[error("a component is empty; write components joined by single slashes, as in `project/**`")]
    EmptyComponent,
    /// A character that is not allowed in names and is not a wildcard.
    #[error("`{character}` matches nothing in a name; the wildcards are `**`, `*`, `?` and `{{a,b}}`")]
    Character {
        /// The first such character.
        character: char,
    },
    /// A brace has no partner.
    #[error("the braces do not pair; write alternatives as `{{a,b}}`")]
    Braces,
    /// There are too many braces, or they expand to too many alternatives.
    #[error(
        "the pattern has more than {MAX_ALTERNATIVES} braces, or they expand to more alternatives; split the pattern"
    )]
    Alternatives,
    /// The pattern is longer than any name that it could match.
    #[error(
        "the pattern is too long; an alternative has at most {MAX_ALTERNATIVE_LENGTH} characters, the whole pattern {MAX_LENGTH}"
    )]
    Long,
    /// An image pattern has no host.
    #[error("it has no host in front; write `host[:port]/project/**`")]
    NoHost,
    /// The host of an image pattern is malformed or has wildcards.
    #[error("the host is malformed; write `name.example.com[:port]`, without wildcards")]
    Host,
}

impl Pattern {
    /// Compiles a pattern over repositories or tags.
    ///
    /// # Errors
    /// Where the text is not a pattern. The error says what would be right.
    pub fn new(text: &str) -> Result<Self, PatternError> {
        if text.is_empty() {
            return Err(PatternError::Empty);
        }
        let not_allowed = |character: &char| {
            !(character.is_ascii_alphanumeric()
                || matches!(character, '.' | '_' | '-' | '/' | '*' | '?' | '{' | '}' | ','))
        };
        if let Some(character) = text.chars().find(not_allowed) {
            return Err(PatternError::Character { character });
        }
        if text.len() > MAX_LENGTH {
            return Err(PatternError::Long);
        }
        // `expand_braces` recurses once for each pair, so this bounds the depth of the recursion.
        if text.bytes().filter(|byte| *byte == b'{').count() > MAX_ALTERNATIVES {
            return Err(PatternError::Alternatives);
        }
        let mut expanded = Vec::new();
        expand_braces(text, &mut expanded)?;
        if expanded.iter().any(|text| text.len() > MAX_ALTERNATIVE_LENGTH) {
            return Err(PatternError::Long);
        }
        let alternatives = expanded.iter().map(|text| path(text)).collect::<Result<_, _>>()?;
        Ok(Self { text: text.into(), alternatives })
    }

    /// Whether the pattern matches the whole of `name` (a repository's path, or a tag).
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        self.alternatives.iter().any(|path| path_matches(path, name))
    }

    /// Returns the text as written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns how specific the pattern is. Of several alternatives, the least specific counts.
    #[must_use]
    pub fn specificity(&self) -> Specificity {
        self.alternatives
            .iter()
            .map(|path| specificity(path))
            .min()
            .unwrap_or(Specificity { leading_components: 0, literal_characters: 0 })
    }

    /// Returns the literal components before the first wildcard that all alternatives share. Every match begins with
    /// them.
    #[must_use]
    pub fn leading(&self) -> Vec<&str> {
        let mut paths = self.alternatives.iter().map(|path| leading(path).collect::<Vec<_>>());
        let first = paths.next().unwrap_or_default();
        paths.fold(first, |mut shared, path| {
            let same = shared.iter().zip(&path).take_while(|(ours, theirs)| ours == theirs).count();
            shared.truncate(same);
            shared
        })
    }

    /// The number of components that every match has; `None` where matches differ in depth.
    #[cfg(test)]
    fn fixed_depth(&self) -> Option<usize> {
        let mut depths =
            self.alternatives.iter().map(|path| (!path.contains(&Component::Any)).then_some(path.len()));
        let first = depths.next()??;
        depths.all(|depth| depth == Some(first)).then_some(first)
    }

    /// Returns the smallest number of components that a match has.
    #[must_use]
    pub fn least_depth(&self) -> usize {
        let depth = |path: &Path| path.iter().filter(|component| **component != Component::Any).count();
        self.alternatives.iter().map(depth).min().unwrap_or_default()
    }

    /// Returns the only name that matches, where the pattern has no wildcards.
    #[must_use]
    pub fn literal(&self) -> Option<&str> {
        (!self.text.contains(['*', '?', '{'])).then_some(&self.text)
    }

    /// Returns one name that matches, with `word` in place of the wildcards.
    #[must_use]
    pub fn example(&self, word: &str) -> String {
        let component = |component: &Component| match component {
            Component::Any => word.to_owned(),
            Component::Literal(text) => text.to_string(),
            Component::Glob(glob) => glob.replace('*', word).replace('?', "x"),
        };
        self.alternatives().next().unwrap_or_default().iter().map(component).collect::<Vec<_>>().join("/")
    }

    /// Whether any name matches both patterns.
    #[must_use]
    pub fn may_overlap(&self, other: &Self) -> bool {
        self.alternatives
            .iter()
            .any(|ours| other.alternatives.iter().any(|theirs| paths_overlap(ours, theirs)))
    }

    /// The pattern that matches what any of `alternatives` matches; `None` where there are no alternatives.
    pub(super) fn of(alternatives: Vec<Path>) -> Option<Self> {
        let texts: Vec<String> = alternatives.iter().map(|path| path_text(path)).collect();
        let text = match &*texts {
            [] => return None,
            [text] => text.as_str().into(),
            texts => format!("{{{}}}", texts.join(",")).into(),
        };
        Some(Self { text, alternatives: alternatives.into() })
    }

    /// The alternatives, so that a mapping can be applied to each.
    pub(super) fn alternatives(&self) -> impl Iterator<Item = &[Component]> {
        self.alternatives.iter().map(|path| &**path)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.text)
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, out)
    }
}

/// A pattern over full image names: a host, compared in its folded form, and a pattern over repositories.
///
/// ```
/// use landfall::facade::domain::pattern::{ImagePattern, PatternError};
///
/// let legacy = ImagePattern::new("harbor.example.com/shop/legacy-*")?;
/// assert!(legacy.matches_name("harbor.example.com/shop/legacy-api"));
/// assert!(!legacy.matches_name("harbor.example.com/shop/legacy-api/tools"), "`*` does not match a slash");
/// assert_eq!(ImagePattern::new("shop/**"), Err(PatternError::NoHost));
/// # Ok::<(), PatternError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImagePattern {
    host: Host,
    text: Box<str>,
    /// The alternatives as texts: a policy may have hundreds of patterns, and a list of components takes 50 bytes for each of
    /// them.
    repositories: Box<[Box<str>]>,
}

impl ImagePattern {
    /// Compiles a text of the form `host[:port]/pattern`.
    ///
    /// # Errors
    /// Where the text has no host, or the rest is not a [`Pattern`].
    pub fn new(text: &str) -> Result<Self, PatternError> {
        let (host, repositories) = text.split_once('/').ok_or(PatternError::NoHost)?;
        if !looks_like_host(host) {
            return Err(PatternError::NoHost);
        }
        if !is_host(host) {
            return Err(PatternError::Host);
        }
        let pattern = Pattern::new(repositories)?;
        let texts = pattern.alternatives.iter().map(|path| path_text(path).into()).collect();
        Ok(Self { host: Host::fold(host), text: pattern.text, repositories: texts })
    }

    /// Whether the pattern matches this host and repository.
    #[must_use]
    pub fn matches(&self, host: &Host, repository: &str) -> bool {
        self.host == *host && self.matches_repository(repository)
    }

    /// Whether the pattern matches the name `host/repository`.
    #[must_use]
    pub fn matches_name(&self, name: &str) -> bool {
        name.split_once('/').is_some_and(|(host, repository)| {
            folded(host) == self.host.as_str() && self.matches_repository(repository)
        })
    }

    fn matches_repository(&self, repository: &str) -> bool {
        self.repositories.iter().any(|path| text_matches(path, repository))
    }
}

impl fmt::Display for ImagePattern {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", self.host.as_str(), self.text)
    }
}

/// Expands the first pair of braces, then the braces of every result.
fn expand_braces(text: &str, expanded: &mut Vec<String>) -> Result<(), PatternError> {
    let Some(open) = text.find(['{', '}']) else {
        if expanded.len() == MAX_ALTERNATIVES {
            return Err(PatternError::Alternatives);
        }
        expanded.push(text.to_owned());
        return Ok(());
    };
    let (before, rest) = text.split_at(open);
    let Some(rest) = rest.strip_prefix('{') else { return Err(PatternError::Braces) };
    let mut depth = 0_usize;
    let mut from = 0;
    let mut choices = Vec::new();
    for (at, byte) in rest.bytes().enumerate() {
        match (byte, depth) {
            (b'{', _) => depth += 1,
            (b'}', 1..) => depth -= 1,
            (b',' | b'}', 0) => {
                choices.push(rest.get(from..at).unwrap_or_default());
                from = at + 1;
                if byte == b'}' {
                    let after = rest.get(from..).unwrap_or_default();
                    return choices
                        .into_iter()
                        .try_for_each(|choice| expand_braces(&format!("{before}{choice}{after}"), expanded));
                }
            }
            _ => {}
        }
    }
    Err(PatternError::Braces)
}

fn path(text: &str) -> Result<Path, PatternError> {
    let mut path = Vec::new();
    for component in text.split('/') {
        if component.is_empty() {
            return Err(PatternError::EmptyComponent);
        }
        if component == "**" {
            if path.last() != Some(&Component::Any) {
                path.push(Component::Any);
            }
        } else if component.contains(['*', '?']) {
            path.push(Component::Glob(component.into()));
        } else {
            path.push(Component::Literal(component.into()));
        }
    }
    if path.last() == Some(&Component::Any) {
        // A final `**` takes at least one component.
        path.push(Component::Glob("*".into()));
    }
    Ok(path.into())
}

/// The text of a path; the inverse of [`path`].
fn path_text(path: &[Component]) -> String {
    let texts = path.iter().map(|component| match component {
        Component::Any => "**",
        Component::Literal(text) | Component::Glob(text) => text,
    });
    let mut texts: Vec<&str> = texts.collect();
    // Whole components: `b**/*` ends with these characters, too.
    if texts.ends_with(&["**", "*"]) {
        texts.pop();
    }
    texts.join("/")
}

fn leading(path: &[Component]) -> impl Iterator<Item = &str> {
    path.iter().map_while(|component| match component {
        Component::Literal(text) => Some(&**text),
        Component::Any | Component::Glob(_) => None,
    })
}

fn specificity(path: &[Component]) -> Specificity {
    let characters = path.iter().map(|component| match component {
        Component::Any => 0,
        Component::Literal(text) => text.len(),
        Component::Glob(text) => text.bytes().filter(|byte| !matches!(byte, b'*' | b'?')).count(),
    });
    let bounded = |count: usize| u16::try_from(count).unwrap_or(u16::MAX);
    Specificity {
        leading_components: bounded(leading(path).count()),
        literal_characters: bounded(characters.sum()),
    }
}

fn path_matches(path: &[Component], name: &str) -> bool {
    wildcard_matches(
        path.iter(),
        name.split('/'),
        |component| **component == Component::Any,
        |component, text| match component {
            Component::Any => false,
            Component::Literal(literal) => **literal == **text,
            Component::Glob(glob) => glob_matches(glob, text),
        },
    )
}

/// As [`path_matches`], of the text of a path.
fn text_matches(path: &str, name: &str) -> bool {
    // A final `**` takes at least one component.
    let last = path.rsplit('/').next().filter(|last| *last == "**").map(|_| "*");
    let components = path.split('/').chain(last);
    wildcard_matches(
        components,
        name.split('/'),
        |component| *component == "**",
        |component, text| glob_matches(component, text),
    )
}

fn glob_matches(glob: &str, text: &str) -> bool {
    wildcard_matches(
        glob.bytes(),
        text.bytes(),
        |byte| *byte == b'*',
        |byte, text| *byte == b'?' || byte == text,
    )
}

/// Matches a sequence with stars against a text: the bytes of a component, or the components of a path.
///
/// After a mismatch only the last star is tried again with one more item. A longer match of an earlier star could not
/// help, because it would leave fewer items for the rest.
fn wildcard_matches<P: Iterator + Clone, T: Iterator + Clone>(
    mut pattern: P,
    mut text: T,
    star: impl Fn(&P::Item) -> bool,
    one: impl Fn(&P::Item, &T::Item) -> bool,
) -> bool {
    let mut last_star: Option<(P, T)> = None;
    loop {
        let rest = text.clone();
        match (pattern.next(), text.next()) {
            (Some(wanted), _) if star(&wanted) => {
                text = rest;
                last_star = Some((pattern.clone(), text.clone()));
            }
            (None, None) => return true,
            (Some(wanted), Some(found)) if one(&wanted, &found) => {}
            _ => {
                let Some((after, taken)) = &mut last_star else { return false };
                if taken.next().is_none() {
                    return false;
                }
                (pattern, text) = (after.clone(), taken.clone());
            }
        }
    }
}

/// Whether any path matches both.
pub(super) fn paths_overlap(ours: &[Component], theirs: &[Component]) -> bool {
    // A fast check first: most pairs of routes differ in a leading literal component.
    let differs = ours.iter().zip(theirs).map_while(|pair| match pair {
        (Component::Literal(ours), Component::Literal(theirs)) => Some(ours != theirs),
        _ => None,
    });
    if differs.into_iter().any(|differs| differs) {
        return false;
    }
    wildcards_overlap(
        ours,
        theirs,
        |component| *component == Component::Any,
        |ours, theirs| match (ours, theirs) {
            (Component::Literal(ours), Component::Literal(theirs)) => ours == theirs,
            (Component::Glob(glob), Component::Literal(text))
            | (Component::Literal(text), Component::Glob(glob)) => glob_matches(glob, text),
            (Component::Glob(ours), Component::Glob(theirs)) => wildcards_overlap(
                ours.as_bytes(),
                theirs.as_bytes(),
                |byte| *byte == b'*',
                |ours, theirs| ours == theirs || *ours == b'?' || *theirs == b'?',
            ),
            (Component::Any, _) | (_, Component::Any) => false,
        },
    )
}

/// Whether two sequences with stars have a common match. It fills a table over their suffixes, from the end.
fn wildcards_overlap<P>(
    ours: &[P],
    theirs: &[P],
    star: impl Fn(&P) -> bool,
    both: impl Fn(&P, &P) -> bool,
) -> bool {
    // `below[n]`: the last `n` items of `theirs` overlap with what follows the current item of `ours`.
    let mut below = vec![true];
    below.extend(theirs.iter().rev().scan(true, |stars, theirs| {
        *stars &= star(theirs);
        Some(*stars)
    }));
    for ours in ours.iter().rev() {
        let mut before = star(ours) && below.first() == Some(&true);
        let mut row = vec![before];
        for (theirs, pair) in theirs.iter().rev().zip(below.windows(2)) {
            let &[diagonal, down] = pair else { return false };
            before = if star(ours) || star(theirs) { down || before } else { diagonal && both(ours, theirs) };
            row.push(before);
        }
        below = row;
    }
    below.last() == Some(&true)
}

#[cfg(test)]
mod tests {
    use globset::GlobBuilder;
    use proptest::prelude::*;

    use super::*;

    fn pattern(text: &str) -> Pattern {
        Pattern::new(text).unwrap()
    }

    #[test]
    fn matches_as_harbor_does() {
        for (text, name, matches) in [
            ("a/**", "a/b", true),
            ("a/**", "a/b/c", true),
            ("a/**", "a", false),
            ("a/**", "ab/c", false),
            ("**", "a", true),
            ("**", "a/b/c", true),
            ("a/**/b", "a/b", true),
            ("a/**/b", "a/x/y/b", true),
            ("**/b", "b", true),
            ("**/b", "a/b", true),
            ("a/*", "a/b", true),
            ("a/*", "a/b/c", false),
            ("a/b**", "a/bcd", true),
            ("a/b**", "a/b/c", false),
            ("a/b?", "a/bc", true),
            ("a/b?", "a/b", false),
            ("{a,b/c}/d", "b/c/d", true),
            ("{a,b/c}/d", "b/d", false),
            ("a{,-x}/d", "a-x/d", true),
            ("v*", "v1.2", true),
            ("v*", "V1.2", false),
            ("v{1,{2,3}.*}", "v3.1", true),
        ] {
            assert_eq!(pattern(text).matches(name), matches, "{text} {name}");
        }
    }

    #[test]
    fn refusals_say_what_is_wrong() {
        for (text, error) in [
            ("", PatternError::Empty),
            ("/a", PatternError::EmptyComponent),
            ("a//b", PatternError::EmptyComponent),
            ("{,a}/b", PatternError::EmptyComponent),
            ("a[bc]", PatternError::Character { character: '[' }),
            ("é", PatternError::Character { character: 'é' }),
            ("{a,b", PatternError::Braces),
            ("a}", PatternError::Braces),
            ("{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}", PatternError::Alternatives),
            (&"{a}".repeat(257), PatternError::Alternatives),
            (&"{".repeat(257), PatternError::Alternatives),
            (&"a".repeat(MAX_ALTERNATIVE_LENGTH + 1), PatternError::Long),
            (&format!("{{a,{}}}", "*a".repeat(MAX_ALTERNATIVE_LENGTH)), PatternError::Long),
            (&"{a}".repeat(MAX_LENGTH), PatternError::Long),
        ] {
            assert_eq!(Pattern::new(text), Err(error), "{text}");
        }
        for (text, error) in [
            ("production/**", PatternError::NoHost),
            ("harbor.example.com", PatternError::NoHost),
            ("*.example.com/**", PatternError::Host),
            ("h.io/", PatternError::Empty),
        ] {
            assert_eq!(ImagePattern::new(text), Err(error), "{text}");
        }
    }

    #[test]
    fn what_is_as_long_as_may_be_is_taken() {
        let longest = "a".repeat(MAX_ALTERNATIVE_LENGTH);
        assert!(pattern(&longest).matches(&longest));
        assert!(pattern(&"{a}".repeat(256)).matches(&"a".repeat(256)));
        let stars = pattern(&"*a".repeat(MAX_ALTERNATIVE_LENGTH / 2));
        assert!(stars.may_overlap(&pattern(&"a*".repeat(MAX_ALTERNATIVE_LENGTH / 2))));
    }

    #[test]
    fn knows_its_shape() {
        for (text, leading, specific, depth) in [
            ("a/bc/**", &["a", "bc"][..], (2, 3), None),
            ("a/*/c", &["a"], (1, 2), Some(3)),
            ("{a,bb/c}/d", &[], (2, 2), None),
            ("a/{b,c}", &["a"], (2, 2), Some(2)),
            ("**", &[], (0, 0), None),
        ] {
            let pattern = pattern(text);
            assert_eq!(pattern.leading(), leading, "{text}");
            let Specificity { leading_components, literal_characters } = pattern.specificity();
            assert_eq!((leading_components, literal_characters), specific, "{text}");
            assert_eq!(pattern.fixed_depth(), depth, "{text}");
        }
        assert_eq!(pattern("a/b").literal(), Some("a/b"));
        assert_eq!(pattern("a/*").literal(), None);
    }

    #[test]
    fn image_patterns_respect_hosts() {
        let pattern = ImagePattern::new("Harbor.example.com:443/a/**").unwrap();
        assert!(pattern.matches_name("harbor.example.com/a/b"));
        assert!(pattern.matches(&Host::fold("HARBOR.example.com"), "a/b"));
        assert!(!pattern.matches_name("harbor.example.com.evil.io/a/b"));
        assert!(!pattern.matches_name("harbor.example.com:80/a/b"));
    }

    #[test]
    fn a_component_that_ends_with_stars_takes_no_other_with_it() {
        let matches = |text: &str, name: &str| ImagePattern::new(text).unwrap().matches_name(name);
        assert!(matches("a.example/legacy**/*", "a.example/legacy-1/web"));
        assert!(!matches("a.example/legacy**/*", "a.example/legacy"));
        assert!(!matches("a.example/x/legacy**/*", "a.example/x/legacy"));
        assert!(
            matches("a.example/x/**", "a.example/x/legacy/web") && !matches("a.example/x/**", "a.example/x")
        );
    }

    fn patterns() -> impl Strategy<Value = String> {
        prop::collection::vec("\\*\\*|[ab]|[ab*?]{1,3}|\\{a,b[ab]?\\}", 1..5)
            .prop_map(|parts| parts.join("/"))
    }

    fn names() -> impl Strategy<Value = String> {
        "[ab]{1,2}(/[ab]{1,2}){0,3}"
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        #[test]
        fn agrees_with_a_second_matcher(text in patterns(), name in names()) {
            let theirs = GlobBuilder::new(&text).literal_separator(true).build().unwrap().compile_matcher();
            prop_assert_eq!(pattern(&text).matches(&name), theirs.is_match(&name));
            let image = ImagePattern::new(&format!("a.example/{text}")).unwrap();
            prop_assert_eq!(image.matches_name(&format!("a.example/{name}")), theirs.is_match(&name));
        }

        #[test]
        fn an_example_matches(text in patterns()) {
            let example = pattern(&text).example("word");
            prop_assert!(pattern(&text).matches(&example), "{example}");
        }

        #[test]
        fn a_common_match_means_overlap(one in patterns(), other in patterns(), name in names()) {
            let (one, other) = (pattern(&one), pattern(&other));
            prop_assert_eq!(one.may_overlap(&other), other.may_overlap(&one));
            if one.matches(&name) {
                prop_assert!(one.may_overlap(&pattern(&name)));
                if other.matches(&name) {
                    prop_assert!(one.may_overlap(&other));
                }
            } else {
                prop_assert!(!one.may_overlap(&pattern(&name)));
            }
        }

        #[test]
        fn overlap_has_a_witness(one in "[ab*?]{1,3}(/[ab*]{1,2})?", other in "[ab*?]{1,3}(/[ab*]{1,2})?") {
            let (one, other) = (pattern(&one), pattern(&other));
            let letters = || ["", "a", "b"].into_iter();
            let words: Vec<String> = letters()
                .flat_map(|x| letters().flat_map(move |y| letters().flat_map(move |z| letters().flat_map(move |u|
                    letters().map(move |v| [x, y, z, u, v].concat())))))
                .filter(|word| !word.is_empty())
                .collect();
            let both = |name: &str| one.matches(name) && other.matches(name);
            let witnessed = match (one.fixed_depth(), other.fixed_depth()) {
                (Some(1), Some(1)) => words.iter().any(|word| both(word)),
                (Some(2), Some(2)) => words.iter().any(|word| {
                    word.len() <= 5 && words.iter().filter(|tail| tail.len() <= 3).any(|tail| both(&format!("{word}/{tail}")))
                }),
                (Some(_), Some(_)) => false,
                _ => return Ok(()),
            };
            prop_assert_eq!(one.may_overlap(&other), witnessed);
        }
    }
}
