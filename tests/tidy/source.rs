//! Reading Rust source far enough for the law book: words without comments and literals, the paths they
//! spell, and which of it is test code. A lexer, not a parser: what it cannot know (macro expansion, types)
//! the rules do not ask.

use std::ops::Range;

/// One source file, read.
pub struct Source {
    /// Path from the root of the package, with `/`.
    pub path: String,
    /// The lines as written.
    pub lines: Vec<String>,
    /// Words and signs, comments and literals left out.
    pub tokens: Vec<Token>,
    /// The whole file is test code: it is declared as `#[cfg(test)] mod …;`.
    pub all_test: bool,
}

/// An identifier, a `::`, a one-character sign, or `""` for a literal.
pub struct Token {
    /// The text.
    pub text: String,
    /// Its line, from 1.
    pub line: usize,
    /// Inside a `#[cfg(test)]` item or a test function.
    pub test: bool,
    /// Inside an attribute, `#[…]` or `#![…]`.
    pub attribute: bool,
}

/// A path as spelled, made absolute where it begins with `crate`, `self` or `super`.
#[derive(Debug, PartialEq)]
pub struct Spelled {
    /// `["crate", "domain", "image"]` or `["tokio", "spawn"]`; a glob ends in `*`.
    pub segments: Vec<String>,
    /// Its line, from 1.
    pub line: usize,
    /// In test code.
    pub test: bool,
    /// In a `use` declaration that others can see.
    pub reexport: bool,
}

impl Source {
    /// Reads `text`, the content of `path`.
    pub fn read(path: &str, text: &str) -> Self {
        let mut tokens = lex(text);
        mark_attributes(&mut tokens);
        mark_tests(&mut tokens);
        Self { path: path.into(), lines: text.lines().map(str::to_owned).collect(), tokens, all_test: false }
    }

    /// The folder under `src/`: `domain` for `src/domain.rs` and all below `src/domain/`, none for a crate root.
    pub fn folder(&self) -> Option<&str> {
        let inner = self.path.strip_prefix("src/")?;
        let first = inner.split('/').next()?;
        let name = first.strip_suffix(".rs").unwrap_or(first);
        (name != "lib" && name != "main").then_some(name)
    }

    /// The module the file is, below the crate: `["domain", "image"]`.
    pub fn module(&self) -> Vec<String> {
        let inner = self.path.strip_prefix("src/").unwrap_or(&self.path);
        let mut path: Vec<String> = inner.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
        if path.last().is_some_and(|last| last == "lib" || last == "main" || last == "mod") {
            path.pop();
        }
        path
    }

    /// The text of the token at `i`, empty beyond the end.
    pub fn word(&self, i: usize) -> &str {
        self.tokens.get(i).map_or("", |token| &token.text)
    }

    /// The same, `back` tokens before `i`.
    pub fn before(&self, i: usize, back: usize) -> &str {
        i.checked_sub(back).map_or("", |i| self.word(i))
    }

    /// Is the token at `i` test code?
    pub fn is_test(&self, i: usize) -> bool {
        self.all_test || self.tokens.get(i).is_some_and(|token| token.test)
    }

    /// Lines that hold code, tests, comments and blanks not counted.
    pub fn code_lines(&self) -> usize {
        let mut lines: Vec<usize> =
            self.tokens.iter().filter(|t| !t.test && !self.all_test).map(|t| t.line).collect();
        lines.dedup();
        lines.len()
    }

    /// The modules declared as `#[cfg(test)] mod name;`, as paths below the crate.
    pub fn test_children(&self) -> Vec<Vec<String>> {
        let declared = (0..self.tokens.len()).filter(|&i| {
            self.word(i) == "mod" && self.word(i + 2) == ";" && self.tokens.get(i).is_some_and(|t| t.test)
        });
        declared.map(|i| [self.module(), vec![self.word(i + 1).to_owned()]].concat()).collect()
    }

    /// Every path in the file, those of `use` trees and those in code.
    pub fn paths(&self) -> Vec<Spelled> {
        let (mut found, mut inline, mut depth, mut i) = (Vec::new(), Vec::<(String, usize)>::new(), 0, 0);
        while i < self.tokens.len() {
            match self.word(i) {
                "{" => {
                    depth += 1;
                    if self.before(i, 2) == "mod" {
                        inline.push((self.before(i, 1).to_owned(), depth));
                    }
                }
                "}" => {
                    inline.pop_if(|(_, opened)| *opened == depth);
                    depth = depth.saturating_sub(1);
                }
                "use" if !matches!(self.before(i, 1), "::" | ".") && self.word(i + 1) != "<" => {
                    let reexport = matches!(self.before(i, 1), "pub" | ")");
                    let mut spelled = Vec::new();
                    let end = self.use_tree(i + 1, &[], &mut spelled);
                    found.extend(
                        spelled.into_iter().map(|(path, at)| self.absolute(&inline, path, at, reexport)),
                    );
                    i = end;
                    continue;
                }
                word if is_ident(word) && self.word(i + 1) == "::" && !self.continues(i) => {
                    let (mut path, start) = (vec![word.to_owned()], i);
                    while self.word(i + 1) == "::" && is_ident(self.word(i + 2)) {
                        path.push(self.word(i + 2).to_owned());
                        i += 2;
                    }
                    found.push(self.absolute(&inline, path, start, false));
                }
                _ => {}
            }
            i += 1;
        }
        found
    }

    /// Does the word at `i` go on a path that began before it? (`::name` at the front begins one.)
    fn continues(&self, i: usize) -> bool {
        let front = self.before(i, 2);
        self.before(i, 1) == "::" && (is_ident(front) && front != "use" || front == ">")
    }

    /// Reads the `use` tree at `i` below `prefix`; returns where it ends.
    fn use_tree(&self, mut i: usize, prefix: &[String], found: &mut Vec<(Vec<String>, usize)>) -> usize {
        let (start, mut path) = (i, prefix.to_vec());
        loop {
            match self.word(i) {
                "::" => {}
                "{" => {
                    i += 1;
                    while !matches!(self.word(i), "}" | "") {
                        i = self.use_tree(i, &path, found);
                        if self.word(i) == "," {
                            i += 1;
                        }
                    }
                    return i + 1;
                }
                "as" => i += 1,
                "self" if !path.is_empty() => {}
                word if word == "*" || is_ident(word) => path.push(word.to_owned()),
                _ => {
                    found.push((path, start));
                    // A sign no tree holds (a macro's `$`) is stepped over, or reading would stand still.
                    return if i == start { i + 1 } else { i };
                }
            }
            i += 1;
        }
    }

    fn absolute(&self, inline: &[(String, usize)], path: Vec<String>, at: usize, reexport: bool) -> Spelled {
        let mut module = self.module();
        module.extend(inline.iter().map(|(name, _)| name.clone()));
        let mut rest = path.as_slice();
        let relative = matches!(rest.first().map(String::as_str), Some("self" | "super"));
        while let Some((first, more)) = rest.split_first() {
            match first.as_str() {
                "self" => {}
                "super" => drop(module.pop()),
                _ => break,
            }
            rest = more;
        }
        let segments =
            if relative { [vec!["crate".to_owned()], module, rest.to_vec()].concat() } else { rest.to_vec() };
        let line = self.tokens.get(at).map_or(0, |token| token.line);
        Spelled { segments, line, test: self.is_test(at), reexport }
    }
}

/// A word, not a sign.
fn is_ident(text: &str) -> bool {
    text.chars().next().is_some_and(|c| c.is_alphabetic() || c == '_')
}

/// Cuts the text into tokens.
fn lex(text: &str) -> Vec<Token> {
    let chars: Vec<char> = text.chars().collect();
    let at = |i: usize| chars.get(i).copied().unwrap_or('\0');
    let (mut tokens, mut i, mut line) = (Vec::new(), 0, 1);
    while i < chars.len() {
        let start = i;
        let mut word = String::new();
        match at(i) {
            '/' if at(i + 1) == '/' => {
                while i < chars.len() && at(i) != '\n' {
                    i += 1;
                }
            }
            '/' if at(i + 1) == '*' => {
                let mut depth = 0;
                while i < chars.len() {
                    match (at(i), at(i + 1)) {
                        ('/', '*') => (depth, i) = (depth + 1, i + 1),
                        ('*', '/') => (depth, i) = (depth - 1, i + 1),
                        _ => {}
                    }
                    i += 1;
                    if depth == 0 {
                        break;
                    }
                }
            }
            '"' => (word, i) = ("\"\"".into(), quoted(&chars, i)),
            // A lifetime has no closing quote behind its first letter.
            '\'' if at(i + 1) == '\\' || at(i + 2) == '\'' => {
                i += if at(i + 1) == '\\' { 3 } else { 2 };
                while i < chars.len() && at(i) != '\'' {
                    i += 1;
                }
                (word, i) = ("\"\"".into(), i + 1);
            }
            c if c.is_alphanumeric() || c == '_' => {
                while at(i).is_alphanumeric() || at(i) == '_' {
                    i += 1;
                }
                word = chars.get(start..i).unwrap_or_default().iter().collect();
                let hashes = (i..).take_while(|&j| at(j) == '#').count();
                if matches!(word.as_str(), "r" | "br" | "cr") && at(i + hashes) == '"' {
                    let close: Vec<char> =
                        std::iter::once('"').chain(std::iter::repeat_n('#', hashes)).collect();
                    i += hashes + 1;
                    while i < chars.len() && !chars.get(i..).unwrap_or_default().starts_with(&close) {
                        i += 1;
                    }
                    (word, i) = ("\"\"".into(), i + close.len());
                } else if word == "r" && hashes == 1 {
                    (word, i) = (String::new(), i + 1);
                } else if matches!(word.as_str(), "b" | "c") && at(i) == '"' {
                    (word, i) = ("\"\"".into(), quoted(&chars, i));
                }
            }
            ':' if at(i + 1) == ':' => (word, i) = ("::".into(), i + 2),
            c => {
                i += 1;
                if !c.is_whitespace() {
                    word = c.into();
                }
            }
        }
        if !word.is_empty() {
            tokens.push(Token { text: word, line, test: false, attribute: false });
        }
        line += chars.get(start..i).unwrap_or_default().iter().filter(|c| **c == '\n').count();
    }
    tokens
}

/// Where the string literal that begins at `i` ends.
fn quoted(chars: &[char], mut i: usize) -> usize {
    i += 1;
    while let Some(c) = chars.get(i) {
        match c {
            '"' => return i + 1,
            '\\' => i += 2,
            _ => i += 1,
        }
    }
    i
}

/// Where the bracket at `open` closes (one past it).
fn closing(tokens: &[Token], open: usize) -> usize {
    let mut depth = 0_usize;
    for (i, token) in tokens.iter().enumerate().skip(open) {
        match token.text.as_str() {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth = depth.saturating_sub(1),
            _ => continue,
        }
        if depth == 0 {
            return i + 1;
        }
    }
    tokens.len()
}

/// The attributes, each from its `#` to one past its `]`.
fn attributes(tokens: &[Token]) -> Vec<Range<usize>> {
    let text = |i: usize| tokens.get(i).map_or("", |token| token.text.as_str());
    let opens = |i: usize| match (text(i), text(i + 1), text(i + 2)) {
        ("#", "[", _) => Some(i + 1),
        ("#", "!", "[") => Some(i + 2),
        _ => None,
    };
    (0..tokens.len()).filter_map(|i| Some(i..closing(tokens, opens(i)?))).collect()
}

fn mark_attributes(tokens: &mut [Token]) {
    for range in attributes(tokens) {
        tokens.iter_mut().take(range.end).skip(range.start).for_each(|token| token.attribute = true);
    }
}

/// Marks every item under `#[cfg(test)]` (or `all(test, …)`, never `not(test)`) and every `#[test]` function.
fn mark_tests(tokens: &mut [Token]) {
    for range in attributes(tokens) {
        let words: Vec<&str> =
            tokens.iter().take(range.end).skip(range.start).map(|token| token.text.as_str()).collect();
        let condition = words.contains(&"cfg") && !words.contains(&"not");
        let harness = words.windows(2).any(|w| matches!(w, ["test", "]" | "("]));
        if !words.contains(&"test") || !(condition || harness) {
            continue;
        }
        let inner = words.get(1) == Some(&"!");
        let mut end = if inner { tokens.len() } else { range.end };
        while let Some(token) = tokens.get(end) {
            let sign = token.text.clone();
            end = if matches!(sign.as_str(), "(" | "[" | "{") { closing(tokens, end) } else { end + 1 };
            if matches!(sign.as_str(), ";" | "{") {
                break;
            }
        }
        tokens.iter_mut().take(end).skip(range.start).for_each(|token| token.test = true);
    }
}
