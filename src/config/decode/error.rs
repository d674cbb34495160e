//! What serde says is wrong, in words for whoever wrote the file.

use std::fmt;

use serde::de;

use crate::config::tree::NodeId;

/// What serde did not like, and where.
#[derive(Debug)]
pub(super) struct Error {
    pub(super) at: Option<NodeId>,
    pub(super) message: String,
    pub(super) hint: Option<String>,
}

impl Error {
    pub(super) fn new(message: String, hint: Option<String>) -> Self {
        Self { at: None, message, hint }
    }

    /// The innermost place is the right one.
    pub(super) fn at(mut self, node: NodeId) -> Self {
        self.at.get_or_insert(node);
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

impl de::Error for Error {
    /// By our own custom: the first line says what is wrong, the others what would be right.
    fn custom<T: fmt::Display>(text: T) -> Self {
        let text = text.to_string();
        match text.split_once('\n') {
            Some((message, hint)) => Self::new(message.to_owned(), Some(hint.to_owned())),
            None => Self::new(text, None),
        }
    }

    fn invalid_type(found: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        let expected = expected.to_string();
        let expected = match expected.as_str() {
            text if text.strip_prefix("struct ").is_some() => "a mapping",
            "a map" => "a mapping",
            "a sequence" => "a list",
            "u8" | "u32" | "u64" => "a whole number from 0",
            text => text,
        };
        let found_text = matches!(found, de::Unexpected::Str(_));
        let (found, is_scalar) = match found {
            de::Unexpected::Bool(value) => (format!("the boolean `{value}`"), true),
            de::Unexpected::Unsigned(value) => (format!("the number `{value}`"), true),
            de::Unexpected::Signed(value) => (format!("the number `{value}`"), true),
            de::Unexpected::Float(value) => (format!("the number `{value}`"), true),
            de::Unexpected::Str(text) => (format!("the text `{}`", shorten(text)), false),
            de::Unexpected::Unit => ("nothing".to_owned(), false),
            de::Unexpected::Seq => ("a list".to_owned(), false),
            de::Unexpected::Map => ("a mapping".to_owned(), false),
            other => (other.to_string(), false),
        };
        let wants_text = !matches!(expected, "a mapping" | "a list" | "a boolean" | "a whole number from 0");
        let hint = match expected {
            "a boolean" => Some("write `true` or `false`, without quotes".to_owned()),
            "a list" if found_text => Some("write it in brackets, as in `[one, two]`".to_owned()),
            _ => (is_scalar && wants_text).then(|| "if it is meant as text, quote it".to_owned()),
        };
        Self::new(format!("expected {expected}, found {found}"), hint)
    }

    /// `-1` for a `u32`, too, is of the wrong type to whoever wrote it.
    fn invalid_value(found: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::invalid_type(found, expected)
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        Self::new(format!("`{}` is no word for this", shorten(variant)), Some(choose(variant, expected)))
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        let hint = match nearest(field, expected.iter().copied()) {
            _ if field == "<<" => "YAML 1.2 has no merge keys: write the fields out".to_owned(),
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("known here: {}", list(expected)),
        };
        Self::new(format!("unknown field `{}`", shorten(field)), Some(hint))
    }
}

fn choose(word: &str, expected: &'static [&'static str]) -> String {
    match nearest(word, expected.iter().copied()) {
        Some(near) => format!("did you mean `{near}`? One of {}", list(expected)),
        None if expected.len() == 1 => format!("write {}", list(expected)),
        None => format!("one of {}", list(expected)),
    }
}

pub(super) fn list(words: &[&str]) -> String {
    words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}

/// What is quoted in a message is bounded.
fn shorten(text: &str) -> String {
    match text.char_indices().nth(80) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// The word that was probably meant: equal but for case, or with a slip or two in it.
pub(in crate::config) fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let word: Vec<char> = word.to_lowercase().chars().collect();
    let length = word.len();
    if length > 64 {
        return None;
    }
    let most = usize::from(length > 3).max(length / 3);
    let near = |known: &'a str| {
        let theirs: Vec<char> = known.to_lowercase().chars().collect();
        // Each letter that one has more is a slip: most words are told apart by that.
        (theirs.len().abs_diff(length) <= most).then(|| (distance(&word, &theirs), known))
    };
    let near = known.filter_map(near).min()?;
    (near.0 <= most).then_some(near.1)
}

/// How many letters must be changed, put in, left out or swapped with their neighbour.
fn distance(a: &[char], b: &[char]) -> usize {
    let cell = |row: &[usize], at: usize| row.get(at).copied().unwrap_or(usize::MAX);
    // The rows of the table that are still looked at: that before the last, the last, and the one that is filled.
    let (mut earlier, mut above) = (Vec::new(), (0..=b.len()).collect::<Vec<_>>());
    let mut before_ours = None;
    for (i, ours) in a.iter().enumerate() {
        let mut row = Vec::with_capacity(b.len() + 1);
        row.push(i + 1);
        let (mut left, mut before_theirs) = (i + 1, None);
        for (j, theirs) in b.iter().enumerate() {
            let swapped = before_ours == Some(theirs) && before_theirs == Some(ours);
            let swap = if swapped { cell(&earlier, j.wrapping_sub(1)) } else { usize::MAX };
            let least = cell(&above, j + 1).min(left).min(swap).saturating_add(1);
            left = least.min(cell(&above, j).saturating_add(usize::from(ours != theirs)));
            row.push(left);
            before_theirs = Some(theirs);
        }
        before_ours = Some(ours);
        earlier = std::mem::replace(&mut above, row);
    }
    above.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_recognised_and_a_stranger_is_not() {
        let known = ["drain", "flatten", "pullSecret", "In", "edge"];
        for (word, meant) in [
            ("drian", Some("drain")),
            ("Flaten", Some("flatten")),
            ("pull_secret", Some("pullSecret")),
            ("egde", Some("edge")),
            ("in", Some("In")),
            ("is", None),
            ("namespace", None),
            ("edg", Some("edge")),
            ("uedge", Some("edge")),
            ("edxy", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, known.into_iter()), meant, "{word}");
        }
    }

    #[test]
    fn slips_are_counted() {
        for (a, b, slips) in
            [("", "", 0), ("", "ab", 2), ("kitten", "sitting", 3), ("ab", "ba", 1), ("abcd", "acbe", 2)]
        {
            let letters = |word: &str| word.chars().collect::<Vec<_>>();
            assert_eq!(distance(&letters(a), &letters(b)), slips, "{a} {b}");
            assert_eq!(distance(&letters(b), &letters(a)), slips, "{b} {a}");
        }
    }
}
