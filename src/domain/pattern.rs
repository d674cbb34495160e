//! Patterns over repositories, tags and image names: `**`, `*`, `?`, `{a,b}`, as Harbor's filters have them.
//!
//! Harbor matches with bmatcuk/doublestar v1 (`src/pkg/reg/util/pattern.go` imports it without `/v4`), component by
//! component: a final `**` takes one component or more, so that `a/**` does not match `a` (v4 would); any other
//! `**` takes none or more; a `**` that is only part of a component is a `*`. No regex: a pattern is its braces
//! spelled out, each a list of components, and the same lists answer what two patterns have in common.

use std::fmt;

use super::image::{is_host, looks_like_host};
use super::registry::{Host, folded};

/// The most alternatives that the braces of one pattern may spell out to.
const ALTERNATIVES: usize = 256;

/// The most characters of one alternative: twice what a registry takes for a name, for wildcards take room, too.
const LONGEST: usize = 512;

/// The most characters of a pattern with its braces. Without bounds two patterns would take minutes to compare.
const LONGEST_TEXT: usize = 16 * 1024;

/// A compiled pattern. `*` and `?` stay within one path component, `**` crosses them. Case counts.
#[derive(Clone, PartialEq, Eq)]
pub struct Pattern {
    text: Box<str>,
    /// The braces spelled out; at least one.
    alternatives: Box<[Path]>,
}

/// One alternative, component by component.
pub(super) type Path = Box<[Component]>;

/// A component of an alternative.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Component {
    /// `**`: any number of components, none included.
    Any,
    /// One component, as it stands.
    Literal(Box<str>),
    /// One component with `*` and `?`.
    Glob(Box<str>),
}

/// How specific a pattern is: compared by literal leading components first, then by literal characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Specificity {
    /// Whole path components before the first wildcard.
    pub leading_components: u16,
    /// Characters that are no wildcard and no `/`, in the whole pattern.
    pub literal_characters: u16,
}

/// Why a text is no pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// Nothing is there.
    #[error("the pattern is empty; `**` matches everything")]
    Empty,
    /// Two slashes meet, or one stands at an end.
    #[error("a component is empty; write components joined by single slashes, as in `project/**`")]
    EmptyComponent,
    /// A character that no name has and that is no wildcard here.
    #[error("`{character}` matches nothing in a name; the wildcards are `**`, `*`, `?` and `{{a,b}}`")]
    Character {
        /// The first such character.
        character: char,
    },
    /// Braces do not pair.
    #[error("the braces do not pair; alternatives read `{{a,b}}`")]
    Braces,
    /// The braces are too many, or multiply to too many alternatives.
    #[error(
        "there are more than {ALTERNATIVES} braces, or alternatives that they spell out to; split the pattern"
    )]
    Alternatives,
    /// It is longer than what it could match.
    #[error(
        "the pattern is too long: {LONGEST} characters an alternative, {LONGEST_TEXT} in all; names are shorter"
    )]
    Long,
    /// An image pattern without a host.
    #[error("there is no host in front; write `host[:port]/project/**`")]
    NoHost,
    /// An image pattern whose host is malformed or has wildcards.
    #[error("the host is malformed; it has no wildcards and reads `name.example.com[:port]`")]
    Host,
}

impl Pattern {
    /// Compiles a pattern.
    ///
    /// # Errors
    /// Where the text is no pattern; the variant says what would be right.
    pub fn new(text: &str) -> Result<Self, PatternError> {
        if text.is_empty() {
            return Err(PatternError::Empty);
        }
        let foreign = |character: &char| {
            !(character.is_ascii_alphanumeric()
                || matches!(character, '.' | '_' | '-' | '/' | '*' | '?' | '{' | '}' | ','))
        };
        if let Some(character) = text.chars().find(foreign) {
            return Err(PatternError::Character { character });
        }
        if text.len() > LONGEST_TEXT {
            return Err(PatternError::Long);
        }
        // Each pair is a step deeper.
        if text.bytes().filter(|byte| *byte == b'{').count() > ALTERNATIVES {
            return Err(PatternError::Alternatives);
        }
        let mut spelled = Vec::new();
        spell_out(text, &mut spelled)?;
        if spelled.iter().any(|text| text.len() > LONGEST) {
            return Err(PatternError::Long);
        }
        let alternatives = spelled.iter().map(|text| path(text)).collect::<Result<_, _>>()?;
        Ok(Self { text: text.into(), alternatives })
    }

    /// Whether the whole of `name` (a repository's path, or a tag) matches.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        self.alternatives.iter().any(|path| path_matches(path, name))
    }

    /// The text as written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// How specific it is; of several alternatives, the weakest counts.
    #[must_use]
    pub fn specificity(&self) -> Specificity {
        self.alternatives
            .iter()
            .map(|path| specificity(path))
            .min()
            .unwrap_or(Specificity { leading_components: 0, literal_characters: 0 })
    }

    /// The literal components before the first wildcard that all alternatives share: every match begins with them.
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
    #[must_use]
    pub fn fixed_depth(&self) -> Option<usize> {
        let mut depths =
            self.alternatives.iter().map(|path| (!path.contains(&Component::Any)).then_some(path.len()));
        let first = depths.next()??;
        depths.all(|depth| depth == Some(first)).then_some(first)
    }

    /// The fewest components that a match has.
    #[must_use]
    pub fn least_depth(&self) -> usize {
        let depth = |path: &Path| path.iter().filter(|component| **component != Component::Any).count();
        self.alternatives.iter().map(depth).min().unwrap_or_default()
    }

    /// The one name that matches, where there are no wildcards.
    #[must_use]
    pub fn literal(&self) -> Option<&str> {
        (!self.text.contains(['*', '?', '{'])).then_some(&self.text)
    }

    /// One name that matches, `word` wherever the pattern leaves it open.
    #[must_use]
    pub fn example(&self, word: &str) -> String {
        let component = |component: &Component| match component {
            Component::Any => word.to_owned(),
            Component::Literal(text) => text.to_string(),
            Component::Glob(glob) => glob.replace('*', word).replace('?', "x"),
        };
        self.alternatives().next().unwrap_or_default().iter().map(component).collect::<Vec<_>>().join("/")
    }

    /// Whether some name matches both.
    #[must_use]
    pub fn may_overlap(&self, other: &Self) -> bool {
        self.alternatives.iter().any(|ours| other.alternatives.iter().any(|theirs| paths_meet(ours, theirs)))
    }

    /// The pattern of all names that one of `alternatives` matches; `None` where there are none.
    pub(super) fn of(alternatives: Vec<Path>) -> Option<Self> {
        let texts: Vec<String> = alternatives.iter().map(|path| written(path)).collect();
        let text = match &*texts {
            [] => return None,
            [text] => text.as_str().into(),
            texts => format!("{{{}}}", texts.join(",")).into(),
        };
        Some(Self { text, alternatives: alternatives.into() })
    }

    /// The alternatives, for reasoning about what becomes of the matches.
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

/// A pattern over full image names: a host, compared folded, and a pattern over repositories.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImagePattern {
    host: Host,
    repositories: Pattern,
}

impl ImagePattern {
    /// Compiles `host[:port]/pattern`.
    ///
    /// # Errors
    /// Where there is no host, or the rest is no [`Pattern`].
    pub fn new(text: &str) -> Result<Self, PatternError> {
        let (host, repositories) = text.split_once('/').ok_or(PatternError::NoHost)?;
        if !looks_like_host(host) {
            return Err(PatternError::NoHost);
        }
        if !is_host(host) {
            return Err(PatternError::Host);
        }
        Ok(Self { host: Host::fold(host), repositories: Pattern::new(repositories)? })
    }

    /// Whether an image's host and repository match.
    #[must_use]
    pub fn matches(&self, host: &Host, repository: &str) -> bool {
        self.host == *host && self.repositories.matches(repository)
    }

    /// Whether `host/repository` matches.
    #[must_use]
    pub fn matches_name(&self, name: &str) -> bool {
        name.split_once('/').is_some_and(|(host, repository)| {
            folded(host) == self.host.as_str() && self.repositories.matches(repository)
        })
    }
}

impl fmt::Display for ImagePattern {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", self.host.as_str(), self.repositories)
    }
}

/// Spells out the first pair of braces, then those of every result.
fn spell_out(text: &str, spelled: &mut Vec<String>) -> Result<(), PatternError> {
    let Some(open) = text.find(['{', '}']) else {
        if spelled.len() == ALTERNATIVES {
            return Err(PatternError::Alternatives);
        }
        spelled.push(text.to_owned());
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
                        .try_for_each(|choice| spell_out(&format!("{before}{choice}{after}"), spelled));
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

/// A path as [`path`] reads it.
fn written(path: &[Component]) -> String {
    let texts = path.iter().map(|component| match component {
        Component::Any => "**",
        Component::Literal(text) | Component::Glob(text) => text,
    });
    let text = texts.collect::<Vec<_>>().join("/");
    text.strip_suffix("**/*").map_or(text.clone(), |before| format!("{before}**"))
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
    wild_matches(
        path.iter(),
        name.split('/'),
        |component| *component == Component::Any,
        |component, text| match component {
            Component::Any => false,
            Component::Literal(literal) => **literal == **text,
            Component::Glob(glob) => glob_matches(glob, text),
        },
    )
}

fn glob_matches(glob: &str, text: &str) -> bool {
    wild_matches(
        glob.as_bytes().iter(),
        text.bytes(),
        |byte| *byte == b'*',
        |byte, text| *byte == b'?' || byte == text,
    )
}

/// Matches a sequence with stars against another: of bytes in a component, and of components in a path.
///
/// Only the last star is ever tried again: an earlier one that took more would leave less for the rest.
fn wild_matches<'p, P: 'p, T: Iterator + Clone>(
    mut pattern: std::slice::Iter<'p, P>,
    mut text: T,
    star: impl Fn(&P) -> bool,
    one: impl Fn(&P, &T::Item) -> bool,
) -> bool {
    let mut last_star: Option<(std::slice::Iter<'p, P>, T)> = None;
    loop {
        let rest = text.clone();
        match (pattern.next(), text.next()) {
            (Some(wanted), _) if star(wanted) => {
                text = rest;
                last_star = Some((pattern.clone(), text.clone()));
            }
            (None, None) => return true,
            (Some(wanted), Some(found)) if one(wanted, &found) => {}
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

/// Whether some path matches both.
pub(super) fn paths_meet(ours: &[Component], theirs: &[Component]) -> bool {
    // Most patterns that are compared part here: each route with all others.
    let parted = ours.iter().zip(theirs).map_while(|pair| match pair {
        (Component::Literal(ours), Component::Literal(theirs)) => Some(ours != theirs),
        _ => None,
    });
    if parted.into_iter().any(|parted| parted) {
        return false;
    }
    wild_meet(
        ours,
        theirs,
        |component| *component == Component::Any,
        |ours, theirs| match (ours, theirs) {
            (Component::Literal(ours), Component::Literal(theirs)) => ours == theirs,
            (Component::Glob(glob), Component::Literal(text))
            | (Component::Literal(text), Component::Glob(glob)) => glob_matches(glob, text),
            (Component::Glob(ours), Component::Glob(theirs)) => wild_meet(
                ours.as_bytes(),
                theirs.as_bytes(),
                |byte| *byte == b'*',
                |ours, theirs| ours == theirs || *ours == b'?' || *theirs == b'?',
            ),
            (Component::Any, _) | (_, Component::Any) => false,
        },
    )
}

/// Whether two sequences with stars have a match in common: a table over their suffixes, from the back.
fn wild_meet<P>(ours: &[P], theirs: &[P], star: impl Fn(&P) -> bool, both: impl Fn(&P, &P) -> bool) -> bool {
    // `below[n]`: the last `n` of theirs meet what follows our current one.
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
            (&"a".repeat(LONGEST + 1), PatternError::Long),
            (&format!("{{a,{}}}", "*a".repeat(LONGEST)), PatternError::Long),
            (&"{a}".repeat(LONGEST_TEXT), PatternError::Long),
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
        let longest = "a".repeat(LONGEST);
        assert!(pattern(&longest).matches(&longest));
        assert!(pattern(&"{a}".repeat(256)).matches(&"a".repeat(256)));
        let stars = pattern(&"*a".repeat(LONGEST / 2));
        assert!(stars.may_overlap(&pattern(&"a*".repeat(LONGEST / 2))));
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
