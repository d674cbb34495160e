//! The parser of `WWW-Authenticate` (RFC 9110 §11.6.1).
//!
//! A header value may hold several challenges, and an answer several such headers. At the first malformed byte the parser
//! stops with that header value, and keeps what it has read. A malformed header is never an error: the status of the
//! answer decides.

use std::collections::BTreeMap;

/// One challenge: how the server wants us to authenticate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    /// The scheme.
    pub scheme: Scheme,
    /// The parameters by name in lower case. If one is repeated, the last one counts.
    pub parameters: BTreeMap<String, String>,
}

/// An authentication scheme.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scheme {
    /// User name and password.
    Basic,
    /// A token, which is fetched from the `realm`.
    Bearer,
    /// Another one, in lower case.
    Other(Box<str>),
}

impl Challenge {
    /// The value of a parameter, by its name in lower case. `None`: it is missing or empty.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }
}

impl Scheme {
    fn of(token: &[u8]) -> Self {
        match text(token).to_ascii_lowercase().as_str() {
            "basic" => Self::Basic,
            "bearer" => Self::Bearer,
            other => Self::Other(other.into()),
        }
    }
}

/// Parses the values of an answer's `WWW-Authenticate` headers into challenges, in order.
///
/// ```
/// use landfall::facade::registry::{Scheme, challenges};
///
/// let header = br#"Bearer realm="https://auth.example.com/token",service="registry.example.com""#;
/// let found = challenges([&header[..]]);
/// assert_eq!(found[0].scheme, Scheme::Bearer);
/// assert_eq!(found[0].parameter("realm"), Some("https://auth.example.com/token"));
/// assert_eq!(found[0].parameter("scope"), None);
/// ```
pub fn challenges<'a>(headers: impl IntoIterator<Item = &'a [u8]>) -> Vec<Challenge> {
    let mut all = Vec::new();
    for header in headers {
        let mut own = Vec::new();
        // `None`: the header is malformed from some byte on. What was read before counts.
        let _end = read(&mut Cursor(header), &mut own);
        all.append(&mut own);
    }
    all
}

/// Parses one header value: `#challenge`. Commas separate challenges as well as the parameters of one challenge.
fn read(rest: &mut Cursor<'_>, challenges: &mut Vec<Challenge>) -> Option<()> {
    loop {
        rest.skip(|byte| is_blank(byte) || byte == b',');
        let name = rest.token()?;
        let blanks = rest.blanks();
        if rest.eat(b'=') {
            let value = rest.value();
            challenges.last_mut()?.parameters.insert(text(name).to_ascii_lowercase(), value?);
        } else {
            challenges.push(Challenge { scheme: Scheme::of(name), parameters: BTreeMap::new() });
            if blanks > 0 && !rest.at_separator() && !rest.token68() {
                // There is no comma between a scheme and its first parameter.
                let name = rest.token()?;
                rest.blanks();
                let value = if rest.eat(b'=') { rest.value()? } else { return None };
                challenges.last_mut()?.parameters.insert(text(name).to_ascii_lowercase(), value);
            }
        }
        rest.blanks();
        if !rest.at_separator() || rest.0.is_empty() {
            return None;
        }
    }
}

/// The rest of a header value.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    /// Takes the leading bytes that satisfy `wanted`.
    fn skip(&mut self, wanted: impl Fn(u8) -> bool) -> &'a [u8] {
        let length = self.0.iter().position(|byte| !wanted(*byte)).unwrap_or(self.0.len());
        let (taken, rest) = self.0.split_at(length);
        self.0 = rest;
        taken
    }

    fn blanks(&mut self) -> usize {
        self.skip(is_blank).len()
    }

    fn token(&mut self) -> Option<&'a [u8]> {
        Some(self.skip(is_token)).filter(|token| !token.is_empty())
    }

    fn eat(&mut self, wanted: u8) -> bool {
        let rest = self.0.strip_prefix(&[wanted]);
        self.0 = rest.unwrap_or(self.0);
        rest.is_some()
    }

    fn at_separator(&self) -> bool {
        self.0.first().is_none_or(|byte| *byte == b',')
    }

    /// A value: a token or a quoted string. `None`: it is neither, or the closing quote is missing.
    fn value(&mut self) -> Option<String> {
        // Blanks around `=` are not allowed, but a recipient must accept them (RFC 9110 §5.6.3).
        self.blanks();
        if self.eat(b'"') {
            return self.quoted();
        }
        let token = self.skip(is_token);
        // `realm=,` is an empty value, as all clients read it. `realm=/…` is malformed.
        (!token.is_empty() || self.at_separator()).then(|| text(token))
    }

    /// The rest of a quoted string (RFC 9110 §5.6.4): a backslash stands for the byte after it.
    fn quoted(&mut self) -> Option<String> {
        let mut value = Vec::new();
        loop {
            let (byte, rest) = self.0.split_first()?;
            self.0 = rest;
            match byte {
                b'"' => return Some(text(&value)),
                b'\\' => {
                    let (escaped, rest) = self.0.split_first()?;
                    self.0 = rest;
                    value.push(*escaped);
                }
                byte => value.push(*byte),
            }
        }
    }

    /// Skips a token68, if there is one here. The grammar allows `name=` both as a parameter without a value and as a
    /// token68 with padding. It is taken for a parameter, because no registry sends a token68.
    fn token68(&mut self) -> bool {
        let mut ahead = Cursor(self.0);
        let body = ahead.skip(|byte| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte));
        let padding = ahead.skip(|byte| byte == b'=').len();
        ahead.blanks();
        let parameter = padding == 1 && body.iter().copied().all(is_token);
        let found = !body.is_empty() && ahead.at_separator() && !parameter;
        if found {
            self.0 = ahead.0;
        }
        found
    }
}

/// Bytes above 0x7f are allowed in quoted strings, but have no defined encoding (RFC 9110 §5.5).
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn is_blank(byte: u8) -> bool {
    byte == b' ' || byte == b'\t'
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize)]
    struct Row {
        name: String,
        headers: Vec<String>,
        challenges: Vec<Expected>,
        regclient: Option<serde_json::Value>,
    }

    #[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
    struct Expected {
        scheme: String,
        parameters: BTreeMap<String, String>,
    }

    fn one(scheme: &str, parameters: &[(&str, &str)]) -> Expected {
        let parameters = parameters.iter().map(|(name, value)| (name.to_string(), value.to_string()));
        Expected { scheme: scheme.into(), parameters: parameters.collect() }
    }

    /// The rows where the oracle is odd: what we read instead, and why.
    fn deviation(row: &Row) -> Option<Vec<Expected>> {
        let realm = ("realm", "https://r.example/token");
        let regclient = || serde_json::from_value(row.regclient.clone().unwrap()).unwrap();
        Some(match row.name.as_str() {
            // RFC 9110 §11.6.1: one header value may hold several challenges.
            "one-header-bearer-basic"
            | "one-header-basic-bearer"
            | "one-header-negotiate-basic"
            | "one-header-three" => regclient(),
            // An empty value is a value (§5.6.4); the parameters after it count.
            "empty-realm" | "empty-middle-param" | "no-value" => regclient(),
            // Blanks before the first element (§5.6.1.2); HTTP libraries trim them anyway.
            "leading-space" => regclient(),
            // §5.6.3: a recipient must parse blanks around `=`.
            "spaces-around-equals" => vec![one("bearer", &[realm, ("service", "r")])],
            // §5.6.1.2: empty list elements are ignored.
            "double-comma" => vec![one("bearer", &[realm, ("service", "r")])],
            "leading-comma" => vec![one("bearer", &[realm])],
            _ => return None,
        })
    }

    fn read_all(headers: &[String]) -> Vec<Expected> {
        let challenges = challenges(headers.iter().map(String::as_bytes));
        let expected = |Challenge { scheme, parameters }: Challenge| {
            let scheme = match scheme {
                Scheme::Basic => "basic".into(),
                Scheme::Bearer => "bearer".into(),
                Scheme::Other(other) => other.into(),
            };
            Expected { scheme, parameters }
        };
        challenges.into_iter().map(expected).collect()
    }

    #[test]
    fn reads_what_other_clients_read() {
        let rows: Vec<Row> =
            serde_json::from_str(include_str!("../../tests/vectors/challenges.json")).unwrap();
        assert_eq!(rows.len(), 62);
        let mut deviations = 0;
        for row in rows {
            let read = read_all(&row.headers);
            let deviation = deviation(&row);
            if let Some(deviation) = &deviation {
                assert_ne!(*deviation, row.challenges, "{}: no deviation", row.name);
                deviations += 1;
            }
            assert_eq!(read, deviation.unwrap_or(row.challenges), "{}", row.name);
        }
        assert_eq!(deviations, 11);
    }

    #[test]
    fn a_token68_is_no_parameter_and_hides_nothing() {
        let read = read_all(&[r#"Negotiate YII/QwE+xyz==, Basic realm="corp""#.into()]);
        assert_eq!(read, [one("negotiate", &[]), one("basic", &[("realm", "corp")])]);
    }

    #[test]
    fn bytes_beyond_ascii_are_kept_as_text() {
        let read = challenges([&b"Basic realm=\"h\xe5rbor\""[..]]);
        assert_eq!(read[0].parameter("realm"), Some("h\u{fffd}rbor"));
    }

    proptest! {
        #[test]
        fn never_panics(headers in proptest::collection::vec(
            proptest::collection::vec(any::<u8>(), 0..40), 0..4))
        {
            challenges(headers.iter().map(Vec::as_slice));
        }

        #[test]
        fn near_misses_never_panic(
            header in r#"(Basic|Bearer|[a-z]{1,3}|[ \t,=\"\\/]|realm=|\"x\"){0,12}"#
        ) {
            challenges([header.as_bytes()]);
        }

        #[test]
        fn reads_back_what_was_quoted(
            written in proptest::collection::vec(
                ("[a-z]{1,8}", proptest::collection::btree_map("[a-z]{1,8}", "[ -~]{0,12}", 1..4)), 1..4)
        ) {
            let quoted = |value: &str| value.replace('\\', "\\\\").replace('"', "\\\"");
            let header: Vec<String> = written.iter().map(|(scheme, parameters)| {
                let list: Vec<_> = parameters.iter()
                    .map(|(name, value)| format!("{name}=\"{}\"", quoted(value)))
                    .collect();
                format!("{scheme} {}", list.join(","))
            }).collect();
            let read = read_all(&[header.join(", ")]);
            let written: Vec<_> = written.into_iter()
                .map(|(scheme, parameters)| Expected { scheme, parameters })
                .collect();
            prop_assert_eq!(read, written);
        }
    }
}
