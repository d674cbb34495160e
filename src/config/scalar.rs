//! The leaves of the file: each text is read once, here, into what it means.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::path::PathBuf;
use std::time::Duration;

use serde::de::{self, Deserialize, Deserializer, Visitor};
use url::Url;

use crate::domain::image::{is_host, looks_like_host};
use crate::domain::mapping::Flatten;
use crate::domain::pattern::{ImagePattern, Pattern, PatternError};
use crate::domain::platform::PlatformPattern;

/// What a text means, or what is wrong with it: the first line of the error says what is wrong, the
/// second what would be right.
trait Read: Sized {
    /// `expected …` where the node is no text.
    const EXPECTED: &'static str;
    fn read(text: &str) -> Result<Self, String>;
}

struct Reading<T>(PhantomData<T>);

impl<T: Read> Visitor<'_> for Reading<T> {
    type Value = T;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(T::EXPECTED)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        T::read(text).map_err(E::custom)
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<T, E> {
        // `10` where `10m` is meant deserves the leaf's own words; so does `flatten: 1`.
        match T::read(&number.to_string()) {
            Ok(_) if T::EXPECTED == "text" => Err(E::invalid_type(de::Unexpected::Unsigned(number), &self)),
            read => read.map_err(E::custom),
        }
    }
}

macro_rules! leaf {
    ($(#[doc = $doc:literal])* $name:ident($inner:ty), $expected:literal, $schema:tt, $read:expr) => {
        $(#[doc = $doc])*
        #[derive(Debug, Clone)]
        pub(super) struct $name(pub(super) $inner);

        impl Read for $name {
            const EXPECTED: &'static str = $expected;

            fn read(text: &str) -> Result<Self, String> {
                let read: fn(&str) -> Result<$inner, String> = $read;
                read(text).map(Self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                from.deserialize_any(Reading(PhantomData))
            }
        }

        impl schemars::JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                let description = concat!($($doc),*).trim();
                let mut schema = schemars::json_schema!($schema);
                schema.insert("description".to_owned(), description.into());
                schema
            }
        }
    };
}

leaf! {
    /// Any text.
    Text(Box<str>), "text", { "type": "string" }, |text| Ok(text.into())
}

leaf! {
    /// A name: letters, digits, `.`, `_` and `-`, at most 63.
    Name(Box<str>), "text", { "type": "string", "pattern": "^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$" }, name
}

leaf! {
    /// The name of a Kubernetes object: lower-case letters, digits, `.` and `-`.
    ObjectName(Box<str>), "text",
    { "type": "string", "maxLength": 253, "pattern": "^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$" }, object_name
}

leaf! {
    /// A registry host as references name it, `host[:port]`: no scheme, no path.
    HostName(Box<str>), "text", { "type": "string", "pattern": "^[^/@?#]*[.:][^/@?#]*$|^localhost$" }, host
}

leaf! {
    /// Where a registry is asked: an http or https URL, perhaps with a path prefix.
    Address(Url), "text", { "type": "string", "format": "uri", "pattern": "^https?://" }, address
}

leaf! {
    /// The path of a file or folder.
    FilePath(PathBuf), "text", { "type": "string", "minLength": 1 },
    |text| if text.is_empty() { Err("an empty path".to_owned()) } else { Ok(text.into()) }
}

leaf! {
    /// A pattern of repositories or tags: `*` and `?` within one component, `**` across, `{a,b}` either.
    Glob(Pattern), "text", { "type": "string", "minLength": 1 },
    |text| Pattern::new(text).map_err(|error| no_pattern(text, &error))
}

leaf! {
    /// A pattern of images, `host/repository pattern`, by the name at their primary.
    ImageGlob(ImagePattern), "text", { "type": "string", "pattern": "^[^/]+/.+$" },
    |text| ImagePattern::new(text).map_err(|error| no_pattern(text, &error))
}

leaf! {
    /// A destination namespace of a replication rule; empty keeps every path as it is.
    Namespace(Box<str>), "text", { "type": "string", "pattern": "^([a-z0-9]+([._-]+[a-z0-9]+)*(/[a-z0-9]+([._-]+[a-z0-9]+)*)*)?$" }, namespace
}

leaf! {
    /// How many leading components the namespace replaces: a number from 0, or `all`.
    Levels(Flatten), "a number of levels, or `all`",
    { "oneOf": [{ "const": "all" }, { "type": "integer", "minimum": 0, "maximum": 255 }] }, levels
}

leaf! {
    /// A duration with its units: `250ms`, `10m`, `1h30m`, `720h`.
    Length(Duration), "a duration such as `10m`", { "type": "string", "pattern": "^([0-9]+(ms|s|m|h))+$" }, length
}

leaf! {
    /// A platform, `os/architecture[/variant]`.
    Platform(PlatformPattern), "text", { "type": "string", "pattern": "^[^/]+/[^/]+(/[^/]+)?$" },
    |text| text.parse().map_err(|error| format!("`{text}` is no platform\n{error}"))
}

leaf! {
    /// A moment, RFC 3339.
    Timestamp(jiff::Timestamp), "text", { "type": "string", "format": "date-time" },
    |text| text.parse().map_err(|_| format!("`{text}` is no moment\nwrite RFC 3339, as in \"2027-01-31T00:00:00Z\""))
}

leaf! {
    /// A Kubernetes label key: `[prefix/]name`.
    LabelKey(Box<str>), "text", { "type": "string", "minLength": 1, "maxLength": 317 }, label_key
}

leaf! {
    /// A Kubernetes label value.
    LabelValue(Box<str>), "text", { "type": "string", "maxLength": 63, "pattern": "^([A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?)?$" },
    |text| {
        let fine = text.is_empty() || is_label_name(text);
        if fine { Ok(text.into()) } else { Err(format!("`{text}` cannot be a label's value")) }
    }
}

/// A [`PatternError`] says what would be right behind its semicolon.
fn no_pattern(text: &str, error: &PatternError) -> String {
    format!("`{text}` is no pattern: {}", error.to_string().replacen("; ", "\n", 1))
}

fn is_label_name(text: &str) -> bool {
    let edge = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
    text.len() <= 63
        && edge(text.bytes().next())
        && edge(text.bytes().last())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

fn is_subdomain(text: &str) -> bool {
    let label = |label: &str| {
        let edge =
            |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        edge(label.bytes().next())
            && edge(label.bytes().last())
            && label.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    };
    text.len() <= 253 && text.split('.').all(label)
}

fn name(text: &str) -> Result<Box<str>, String> {
    if is_label_name(text) {
        return Ok(text.into());
    }
    Err(format!(
        "`{text}` is no name\nletters, digits, `.`, `_` and `-`, a letter or digit at both ends, at most 63"
    ))
}

fn object_name(text: &str) -> Result<Box<str>, String> {
    if is_subdomain(text) {
        return Ok(text.into());
    }
    Err(format!(
        "`{text}` cannot be the name of a Kubernetes object\nlower-case letters, digits, `.` and `-`"
    ))
}

fn label_key(text: &str) -> Result<Box<str>, String> {
    let fine = match text.split_once('/') {
        Some((prefix, name)) => is_subdomain(prefix) && is_label_name(name),
        None => is_label_name(text),
    };
    if fine { Ok(text.into()) } else { Err(format!("`{text}` cannot be a label's key")) }
}

/// The grammar of references, and their rule for what is a host at all.
fn host(text: &str) -> Result<Box<str>, String> {
    if let Some((scheme, rest)) = text.split_once("://") {
        let rest = rest.split('/').next().unwrap_or_default();
        return Err(format!(
            "a host has no scheme (`{scheme}://`)\nwrite `{rest}`; where to ask goes to `url`"
        ));
    }
    if let Some((host, _)) = text.split_once('/') {
        return Err(format!("a host has no path\nwrite `{host}`; paths belong to the patterns of routes"));
    }
    let port = text.rsplit_once(':').map(|(_, port)| port).filter(|port| !port.ends_with(']'));
    if !is_host(text) || port.is_some_and(|port| !port.parse::<u16>().is_ok_and(|port| port > 0)) {
        return Err(format!(
            "`{text}` is no host\nwrite `host` or `host:port`, as references name the registry"
        ));
    }
    if !looks_like_host(text) {
        return Err(format!(
            "in an image's name, `{text}` reads as a path on the default registry, not as a host\n\
             a host has a `.` or a `:port`, or is `localhost`"
        ));
    }
    Ok(text.into())
}

fn address(text: &str) -> Result<Url, String> {
    const HINT: &str = "write `https://host[:port]`, as in `https://harbor-core.harbor.svc`";
    let url: Url = text.parse().map_err(|error| format!("`{text}` is no URL ({error})\n{HINT}"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(format!("`{}` is no scheme to ask a registry with\n{HINT}", url.scheme()));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("a URL with credentials\nput them in a file and name it under `credentials`".to_owned());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(format!("a URL with a query or a fragment\n{HINT}"));
    }
    Ok(url)
}

fn namespace(text: &str) -> Result<Box<str>, String> {
    let component = |part: &str| {
        let edge =
            |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        edge(part.bytes().next())
            && edge(part.bytes().last())
            && part
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte))
    };
    if text.is_empty() || text.split('/').all(component) {
        return Ok(text.into());
    }
    Err(format!(
        "`{text}` is no path of a repository\nlower case, components between `/`, as Harbor's \"Destination namespace\" has it"
    ))
}

fn levels(text: &str) -> Result<Flatten, String> {
    if text == "all" {
        return Ok(Flatten::All);
    }
    let hint = "the number of Harbor's \"Flatten n levels\" (`0` for \"No flattening\"), or `all`";
    text.parse().map(Flatten::Levels).map_err(|_| format!("`{text}` is no number of levels\n{hint}"))
}

fn length(text: &str) -> Result<Duration, String> {
    let fail = || {
        format!(
            "`{text}` is no duration\na number with its unit (ms, s, m, h), as in `250ms`, `10m` or `1h30m`"
        )
    };
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() || text.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, after) = rest.split_at_checked(digits).ok_or_else(fail)?;
        let letters = after.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (unit, after) = after.split_at_checked(letters).ok_or_else(fail)?;
        let number: u64 = number.parse().map_err(|_| fail())?;
        let millis = match unit {
            "ms" => Some(number),
            "s" => number.checked_mul(1_000),
            "m" => number.checked_mul(60_000),
            "h" => number.checked_mul(3_600_000),
            _ => None,
        };
        let part = Duration::from_millis(millis.ok_or_else(fail)?);
        total = total.checked_add(part).ok_or_else(fail)?;
        rest = after;
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_needs_its_units() {
        for (text, millis) in
            [("250ms", 250), ("10m", 600_000), ("1h30m", 5_400_000), ("720h", 2_592_000_000), ("0s", 0)]
        {
            assert_eq!(length(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in [
            "",
            "10",
            "m",
            "10 m",
            "1.5h",
            "-1s",
            "7d",
            "10mm",
            "5h3",
            "99999999999999999999s",
            "18446744073709551615h",
        ] {
            assert!(length(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_host_is_what_references_read_as_one() {
        for text in
            ["harbor.example.com", "localhost", "registry.edge:5000", "10.0.0.1", "[::1]:5000", "a:80"]
        {
            assert_eq!(host(text).as_deref(), Ok(text));
        }
        for text in
            ["", "harbor", "a b.c", "https://a.b", "a.b/c", "a.b:0", "a.b:65536", "a.b:", ".a", "a..b", "*.a"]
        {
            assert!(host(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_url_is_http_or_https_and_holds_no_secret() {
        for text in ["https://a.b", "http://a.b:5000/prefix"] {
            assert!(address(text).is_ok(), "{text}");
        }
        for text in [
            "a.b",
            "ftp://a.b",
            "https://",
            "https://u:p@a.b",
            "https://u@a.b",
            "https://a.b?x",
            "https://a.b#x",
        ] {
            assert!(address(text).is_err(), "{text}");
        }
    }
}
