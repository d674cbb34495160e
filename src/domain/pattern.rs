//! Patterns over repositories, tags and image names: `**`, `*`, `?`, `{a,b}`, as Harbor's filters have them.

/// A compiled pattern. `*` and `?` stay within one path component, `**` crosses them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    text: Box<str>,
}

/// How specific a pattern is: compared by literal leading components first, then by literal characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Specificity {
    /// Whole path components before the first wildcard.
    pub leading_components: u16,
    /// Characters that are no wildcard, in the whole pattern.
    pub literal_characters: u16,
}

/// A pattern over full image names: a host, compared folded, and a pattern over repositories.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImagePattern {
    host: super::registry::Host,
    repositories: Pattern,
}
