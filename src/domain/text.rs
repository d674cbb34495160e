//! Texts from outside: what registries and users wrote, made fit for denials, warnings, audit annotations and logs.

use std::borrow::Cow;

/// The most characters of a text from outside.
pub const MOST_CHARACTERS: usize = 300;

/// Returns a text from outside as one short line: at most [`MOST_CHARACTERS`], without characters that nobody sees or that
/// change the direction of what follows. A control character or a line separator becomes a space.
///
/// ```
/// use landfall::facade::domain::text::plain;
///
/// assert_eq!(plain("denied:\n\u{202e}elpmaxe"), "denied: elpmaxe");
/// assert_eq!(plain(&"x".repeat(60_000)).chars().count(), 300);
/// ```
#[must_use]
pub fn plain(text: &str) -> Cow<'_, str> {
    if text.len() <= MOST_CHARACTERS && text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return Cow::Borrowed(text);
    }
    let mut seen = text.chars().filter(|character| !is_hidden(*character)).map(|character| {
        let breaks = character.is_control() || matches!(character, '\u{2028}' | '\u{2029}');
        if breaks { ' ' } else { character }
    });
    let mut line: String = seen.by_ref().take(MOST_CHARACTERS).collect();
    if seen.next().is_some() {
        line.pop();
        line.push('…');
    }
    Cow::Owned(line)
}

/// Returns a line broken at spaces, so that no line is longer than `width`; the lines after the first begin with `indent` spaces.
/// What has no space is not broken: the name of an image can then still be copied. Without a `width` it stays one line.
///
/// ```
/// use landfall::facade::domain::text::hanging;
///
/// assert_eq!(hanging("ok  the registry answers", 4, Some(16)), "ok  the registry\n    answers");
/// ```
#[must_use]
pub fn hanging(line: &str, indent: usize, width: Option<usize>) -> String {
    let Some(width) = width else { return line.to_owned() };
    let mut text = String::new();
    // The characters of the current line, and whether it has a word that may stand alone.
    let (mut used, mut begun) = (0, false);
    for word in line.split_inclusive(' ') {
        let long = word.trim_end_matches(' ').chars().count();
        if begun && used > indent && used + long > width && long > 0 {
            text.truncate(text.trim_end_matches(' ').len());
            text.push('\n');
            text.extend(std::iter::repeat_n(' ', indent));
            used = indent;
        }
        text.push_str(word);
        used += word.chars().count();
        begun |= long > 0;
    }
    text
}

/// Whether a character is not visible: the category Cf of Unicode 16, which has all marks of direction, and the others that
/// are ignored where a font does not know them.
fn is_hidden(character: char) -> bool {
    matches!(character,
        '\u{ad}' | '\u{34f}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}'
        | '\u{890}'..='\u{891}' | '\u{8e2}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}'
        | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}'
        | '\u{fff0}'..='\u{fffb}' | '\u{110bd}' | '\u{110cd}' | '\u{13430}'..='\u{1343f}'
        | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_sees_is_left_out_and_lines_are_joined() {
        for (text, expected) in [
            ("web:1.27", "web:1.27"),
            ("é 漢字 😀", "é 漢字 😀"),
            ("a\r\nb\tc\u{85}d\u{2028}e\u{2029}f\0", "a  b c d e f "),
            ("\u{1b}[31mred\u{7f}", " [31mred "),
            ("\u{feff}a\u{200b}b\u{200d}c\u{2060}d\u{ad}e", "abcde"),
            (
                "\u{202a}\u{202b}\u{202c}\u{202d}\u{202e}\u{2066}\u{2067}\u{2068}\u{2069}\u{200e}\u{200f}\u{61c}",
                "",
            ),
            ("\u{e0041}\u{e0100}\u{fe0f}x", "x"),
        ] {
            assert_eq!(plain(text), expected, "{text:?}");
            assert_eq!(plain(&plain(text)), expected, "a second time changes nothing");
        }
    }

    #[test]
    fn it_is_cut_at_a_character() {
        let fits = "é".repeat(MOST_CHARACTERS);
        assert_eq!(plain(&fits), fits);
        assert_eq!(plain(&format!("{fits}\u{202e}")), fits, "only what is seen counts");
        assert_eq!(plain(&format!("{fits}é")), format!("{}…", "é".repeat(MOST_CHARACTERS - 1)));
        assert_eq!(plain(&"x".repeat(60_000)), format!("{}…", "x".repeat(MOST_CHARACTERS - 1)));
    }

    #[test]
    fn lines_are_broken_at_spaces_and_words_never() {
        for (line, indent, width, expected) in [
            ("a b c", 2, 3, "a b\n  c"),
            ("    a b", 4, 5, "    a\n    b"),
            ("ok      it is", 8, 10, "ok      it\n        is"),
            // A break would gain nothing.
            ("a sha256:0123456789 b", 2, 6, "a sha256:0123456789\n  b"),
            ("sha256:0123456789", 2, 6, "sha256:0123456789"),
            ("é é é", 0, 3, "é é\né"),
            ("", 2, 60, ""),
        ] {
            assert_eq!(hanging(line, indent, Some(width)), expected, "{line}");
            assert_eq!(hanging(line, indent, None), line);
        }
    }
}
