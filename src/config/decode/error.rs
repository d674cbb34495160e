//! serde's errors, in words for the person who wrote the file.

use std::fmt;

use serde::de;

use crate::config::tree::NodeId;

/// What is wrong, where, and what would be right.
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

    /// Keeps the innermost position: it is the most precise one.
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
    /// Our own convention: the first line says what is wrong, the other lines say what would be right.
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

    /// A value out of range, such as `-1` for a `u32`, is reported as one of the wrong type.
    fn invalid_value(found: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::invalid_type(found, expected)
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        let message = format!("`{}` is not a valid value", shorten(variant));
        Self::new(message, Some(choose(variant, expected)))
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        let hint = match nearest(field, expected.iter().copied()) {
            _ if field == "<<" => "YAML 1.2 has no merge keys: write each field out".to_owned(),
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("the fields here are {}", list(expected)),
        };
        Self::new(format!("unknown field `{}`", shorten(field)), Some(hint))
    }
}

fn choose(word: &str, expected: &'static [&'static str]) -> String {
    match nearest(word, expected.iter().copied()) {
        Some(near) => format!("did you mean `{near}`? Use one of {}", list(expected)),
        None if expected.len() == 1 => format!("write {}", list(expected)),
        None => format!("use one of {}", list(expected)),
    }
}

pub(super) fn list(words: &[&str]) -> String {
    words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}

/// Quotes at most 80 characters.
fn shorten(text: &str) -> String {
    match text.char_indices().nth(80) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// The word that was probably meant: it differs only in case, or by one or two typing mistakes.
pub(in crate::config) fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase();
    let length = word.chars().count();
    if length > 64 {
        return None;
    }
    let most = usize::from(length > 3).max(length / 3);
    let distance = |known: &'a str| {
        // Each character that one of them has more is a mistake: that alone rules most words out.
        let near = known.chars().count().abs_diff(length) <= most;
        near.then(|| (strsim::osa_distance(&word, &known.to_lowercase()), known))
    };
    known.filter_map(distance).min().filter(|(mistakes, _)| *mistakes <= most).map(|(_, known)| known)
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
}
