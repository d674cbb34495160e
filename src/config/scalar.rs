//! The scalars of the file. Each text is parsed here, once, into its type.

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
use crate::domain::policy::bounds;

/// Parses a text. The first line of an error says what is wrong, the second line what would be right.
trait Parse: Sized {
    /// Completes `expected …` if the node has another type.
    const EXPECTED: &'static str;
    fn parse(text: &str) -> Result<Self, String>;
}

struct ScalarVisitor<T>(PhantomData<T>);

impl<T: Parse> Visitor<'_> for ScalarVisitor<T> {
    type Value = T;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(T::EXPECTED)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        T::parse(text).map_err(E::custom)
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<T, E> {
        // A number is parsed as text: `10` instead of `10m` gets the message about durations, and `flatten: 1` is valid.
        match T::parse(&number.to_string()) {
            Ok(_) if T::EXPECTED == "text" => Err(E::invalid_type(de::Unexpected::Unsigned(number), &self)),
            parsed => parsed.map_err(E::custom),
        }
    }
}

/// Defines a scalar: its doc comment, `Name(Inner)`, what is expected, its JSON Schema, and the parser.
macro_rules! scalar {
    ($(#[doc = $doc:literal])* $name:ident($inner:ty), $expected:literal, $schema:tt, $parse:expr) => {
        $(#[doc = $doc])*
        #[derive(Debug, Clone)]
        pub(super) struct $name(pub(super) $inner);

        impl Parse for $name {
            const EXPECTED: &'static str = $expected;

            fn parse(text: &str) -> Result<Self, String> {
                let parse: fn(&str) -> Result<$inner, String> = $parse;
                parse(text).map(Self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                from.deserialize_any(ScalarVisitor(PhantomData))
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

scalar! {
    /// Any text.
    Text(Box<str>), "text", { "type": "string" }, |text| Ok(text.into())
}

scalar! {
    /// Why something was done: at most 1024 characters.
    Reason(Box<str>), "text", { "type": "string", "minLength": 1, "maxLength": bounds::REASON_LENGTH },
    |text| within(text, bounds::REASON_LENGTH, "write why, in a sentence")
}

scalar! {
    /// Whom to ask: a channel, a mail address; at most 256 characters.
    Contact(Box<str>), "text", { "type": "string", "minLength": 1, "maxLength": bounds::CONTACT_LENGTH },
    |text| within(text, bounds::CONTACT_LENGTH, "write a channel or a mail address")
}

scalar! {
    /// The name of a vulnerability, as in `CVE-2026-1234`; at most 128 characters.
    Vulnerability(Box<str>), "text", { "type": "string", "minLength": 1, "maxLength": bounds::VULNERABILITY_LENGTH },
    |text| within(text, bounds::VULNERABILITY_LENGTH, "write a name such as `CVE-2026-1234`")
}

scalar! {
    /// The name of an environment variable.
    Variable(Box<str>), "text", { "type": "string", "pattern": "^[^=]+$" },
    |text| match text {
        _ if text.is_empty() || text.contains(['=', '\0']) => {
            Err(format!("`{text}` is not the name of a variable\nwrite a name without `=`"))
        }
        _ => Ok(text.into()),
    }
}

scalar! {
    /// A name: letters, digits, `.`, `_` and `-`, at most 63.
    Name(Box<str>), "text", { "type": "string", "pattern": "^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$" }, name
}

scalar! {
    /// The name of a Kubernetes object: lower-case letters, digits, `.` and `-`.
    ObjectName(Box<str>), "text",
    { "type": "string", "maxLength": 253, "pattern": "^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$" }, object_name
}

scalar! {
    /// The name of a namespace: lower-case letters, digits and `-`, at most 63.
    NamespaceName(Box<str>), "text",
    { "type": "string", "maxLength": bounds::NAME_LENGTH, "pattern": bounds::NAMESPACE },
    |text| match is_subdomain(text) && !text.contains('.') && text.len() <= bounds::NAME_LENGTH {
        true => Ok(text.into()),
        false => Err(format!("`{text}` is not the name of a namespace\nuse lower-case letters, digits and `-`, at most 63")),
    }
}

scalar! {
    /// A registry's host as image references name it, `host[:port]`: no scheme, no path.
    HostName(Box<str>), "text", { "type": "string", "pattern": "^[^/@?#]*[.:][^/@?#]*$|^localhost$" }, host
}

scalar! {
    /// Where a registry is asked: an http or https URL, optionally with a path prefix.
    Address(Url), "text", { "type": "string", "format": "uri", "pattern": "^https?://" }, address
}

scalar! {
    /// The path of a file or folder.
    FilePath(PathBuf), "text", { "type": "string", "minLength": 1 },
    |text| if text.is_empty() { Err("the path is empty\nwrite the path of the file".to_owned()) } else { Ok(text.into()) }
}

scalar! {
    /// A pattern of repositories or tags: `*` and `?` match within one component, `**` matches across components, `{a,b}` matches `a` or `b`.
    Glob(Pattern), "text", { "type": "string", "minLength": 1 },
    |text| Pattern::new(text).map_err(|error| no_pattern(text, &error))
}

scalar! {
    /// A pattern of images, `host/repository pattern`, compared with their name at the primary.
    ImageGlob(ImagePattern), "text", { "type": "string", "pattern": "^[^/]+/.+$" },
    |text| ImagePattern::new(text).map_err(|error| no_pattern(text, &error))
}

scalar! {
    /// A pattern of images for a policy: as for an image, with at most two pairs of braces, 8 commas and 256 characters.
    PolicyImage(ImagePattern), "text",
    { "type": "string", "maxLength": bounds::IMAGE_LENGTH, "pattern": bounds::IMAGE }, policy_image
}

scalar! {
    /// The destination namespace of a replication rule; if it is empty, every path stays as it is.
    Namespace(Box<str>), "text", { "type": "string", "pattern": "^([a-z0-9]+([._-]+[a-z0-9]+)*(/[a-z0-9]+([._-]+[a-z0-9]+)*)*)?$" }, namespace
}

scalar! {
    /// How many leading components the namespace replaces: a number from 0, or `all`.
    Levels(Flatten), "a number of levels, or `all`",
    { "oneOf": [{ "const": "all" }, { "type": "integer", "minimum": 0, "maximum": 255 }] }, levels
}

scalar! {
    /// A duration with its units: `250ms`, `10m`, `1h30m`, `720h`.
    Length(Duration), "a duration such as `10m`", { "type": "string", "maxLength": bounds::DURATION_LENGTH, "pattern": bounds::DURATION }, length
}

scalar! {
    /// A platform, `os/architecture[/variant]`.
    Platform(PlatformPattern), "text", { "type": "string", "pattern": "^[^/]+/[^/]+(/[^/]+)?$" },
    |text| text.parse().map_err(|error| format!("`{text}` is not a platform\n{error}"))
}

scalar! {
    /// A time in RFC 3339 format, from the year 2000 on.
    Timestamp(jiff::Timestamp), "text",
    { "type": "string", "format": "date-time", "maxLength": bounds::TIME_LENGTH, "pattern": bounds::TIME },
    |text| timestamp(text).ok_or_else(|| format!("`{text}` is not an RFC 3339 time\nwrite date, time and offset, as in \"2027-01-31T00:00:00Z\""))
}

scalar! {
    /// A Kubernetes label key: `[prefix/]name`.
    LabelKey(Box<str>), "text", { "type": "string", "maxLength": bounds::KEY_LENGTH, "pattern": bounds::KEY }, label_key
}

scalar! {
    /// A Kubernetes label value.
    LabelValue(Box<str>), "text", { "type": "string", "maxLength": bounds::NAME_LENGTH, "pattern": bounds::VALUE },
    |text| {
        let fine = text.is_empty() || is_label_name(text);
        if fine { Ok(text.into()) } else { Err(format!("`{text}` is not a valid label value\n{LABEL_RULE}, or leave it empty")) }
    }
}

/// A list with a bound.
#[derive(Debug, Clone)]
pub(super) struct Few<T, const MOST: usize>(pub(super) Vec<T>);

impl<T, const MOST: usize> Default for Few<T, MOST> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>, const MOST: usize> Deserialize<'de> for Few<T, MOST> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let list = Vec::deserialize(from)?;
        if list.len() > MOST {
            let many = list.len();
            return Err(de::Error::custom(format!("the list has {many} entries\nuse at most {MOST}")));
        }
        Ok(Self(list))
    }
}

impl<T: schemars::JsonSchema, const MOST: usize> schemars::JsonSchema for Few<T, MOST> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("At_most_{MOST}_of_{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let items = generator.subschema_for::<T>();
        schemars::json_schema!({ "type": "array", "items": items, "maxItems": MOST })
    }
}

/// A [`PatternError`] says what would be right after its semicolon.
fn no_pattern(text: &str, error: &PatternError) -> String {
    format!("`{text}` is not a valid pattern: {}", error.to_string().replacen("; ", "\n", 1))
}

/// A text that says something, and not too much.
fn within(text: &str, most: usize, hint: &str) -> Result<Box<str>, String> {
    match text.chars().count() {
        0 => Err(format!("the text is empty\n{hint}")),
        length if length > most => Err(format!("the text has {length} characters\nuse at most {most}")),
        _ => Ok(text.into()),
    }
}

/// An [`ImagePattern`] in the form of [`bounds::IMAGE`], which a resource can be checked for in the API server.
fn policy_image(text: &str) -> Result<ImagePattern, String> {
    let pattern = ImagePattern::new(text).map_err(|error| no_pattern(text, &error))?;
    let (host, repositories) = text.split_once('/').unwrap_or_default();
    if host != "localhost" && !host.contains(['.', ':']) {
        return Err(no_pattern(text, &PatternError::NoHost));
    }
    let is_simple = {
        let (mut inside, mut filled) = (false, false);
        let fits = repositories.chars().all(|character| {
            let fits = match character {
                '{' => !std::mem::replace(&mut inside, true),
                '}' => std::mem::replace(&mut inside, false) && filled,
                ',' => inside && filled,
                '/' => filled,
                _ => true,
            };
            filled = !matches!(character, '{' | ',' | '/');
            fits
        });
        fits && filled && !inside
    };
    let count = |wanted: char| text.chars().filter(|character| *character == wanted).count();
    if !is_simple {
        return Err(format!(
            "`{text}` is not a valid pattern of a policy\nuse commas only within braces, no braces within braces, and no empty alternative: write several patterns instead"
        ));
    }
    if count('{') > bounds::BRACES || count(',') > bounds::COMMAS || text.len() > bounds::IMAGE_LENGTH {
        return Err(format!(
            "`{text}` is too long for a pattern of a policy\nuse at most {} pairs of braces, {} commas and {} characters, or several patterns",
            bounds::BRACES,
            bounds::COMMAS,
            bounds::IMAGE_LENGTH
        ));
    }
    Ok(pattern)
}

/// A time in the form of [`bounds::TIME`]; jiff knows which days there are.
fn timestamp(text: &str) -> Option<jiff::Timestamp> {
    let like = |text: &str, shape: &str| {
        text.len() == shape.len()
            && text.bytes().zip(shape.bytes()).all(|(byte, like)| match like {
                b'0' => byte.is_ascii_digit(),
                b'5' => matches!(byte, b'0'..=b'5'),
                like => byte == like,
            })
    };
    let (moment, rest) = text.split_at_checked(19)?;
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let zone = match rest.strip_prefix('.') {
        Some(rest) => {
            rest.split_at_checked(digits(rest)).filter(|(part, _)| (1..=9).contains(&part.len()))?.1
        }
        None => rest,
    };
    let is_zone =
        zone == "Z" || zone.strip_prefix(['+', '-']).is_some_and(|zone| like(zone, "00:50") && zone < "24");
    (like(moment, "2000-00-00T00:50:50") && is_zone).then(|| text.parse().ok())?
}

/// The rule of [`is_label_name`], for hints.
const LABEL_RULE: &str =
    "use letters, digits, `.`, `_` and `-`, at most 63 characters, with a letter or digit at both ends";

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
    Err(format!("`{text}` is not a valid name\n{LABEL_RULE}"))
}

fn object_name(text: &str) -> Result<Box<str>, String> {
    if is_subdomain(text) {
        return Ok(text.into());
    }
    Err(format!(
        "`{text}` is not a valid name for a Kubernetes object\nuse lower-case letters, digits, `.` and `-`"
    ))
}

fn label_key(text: &str) -> Result<Box<str>, String> {
    let fine = match text.split_once('/') {
        Some((prefix, name)) => is_subdomain(prefix) && is_label_name(name),
        None => is_label_name(text),
    };
    if fine {
        Ok(text.into())
    } else {
        Err(format!(
            "`{text}` is not a valid label key\n{LABEL_RULE}; a prefix before a `/` must be a DNS name"
        ))
    }
}

/// Follows the grammar of image references, and their rule for what counts as a host.
fn host(text: &str) -> Result<Box<str>, String> {
    if let Some((scheme, rest)) = text.split_once("://") {
        let rest = rest.split('/').next().unwrap_or_default();
        return Err(format!(
            "a host must not contain a scheme (`{scheme}://`)\nwrite `{rest}`; the address to ask goes to `url`"
        ));
    }
    if let Some((host, _)) = text.split_once('/') {
        return Err(format!(
            "a host must not contain a path\nwrite `{host}`; paths belong to the patterns of routes"
        ));
    }
    let port = text.rsplit_once(':').map(|(_, port)| port).filter(|port| !port.ends_with(']'));
    if !is_host(text) || port.is_some_and(|port| !port.parse::<u16>().is_ok_and(|port| port > 0)) {
        return Err(format!(
            "`{text}` is not a valid host\nwrite `host` or `host:port`, as image references name the registry"
        ));
    }
    if !looks_like_host(text) {
        return Err(format!(
            "`{text}` is not a host: in an image reference it is read as a path on the default registry\n\
             a host contains a `.` or a `:port`, or is `localhost`"
        ));
    }
    Ok(text.into())
}

fn address(text: &str) -> Result<Url, String> {
    const HINT: &str = "write `https://host[:port]`, as in `https://harbor-core.harbor.svc`";
    let url: Url = text.parse().map_err(|error| format!("`{text}` is not a valid URL ({error})\n{HINT}"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(format!("the scheme `{}` is not supported\n{HINT}", url.scheme()));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(
            "the URL contains credentials\nput them in a file, and name the file under `credentials`"
                .to_owned(),
        );
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(format!("the URL contains a query or a fragment\n{HINT}"));
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
        "`{text}` is not a valid repository path\nuse lower case, with `/` between components, as in Harbor's \"Destination namespace\""
    ))
}

fn levels(text: &str) -> Result<Flatten, String> {
    if text == "all" {
        return Ok(Flatten::All);
    }
    let hint = "write the number of Harbor's \"Flatten n levels\" (`0` for \"No flattening\"), or `all`";
    text.parse().map(Flatten::Levels).map_err(|_| format!("`{text}` is not a number of levels\n{hint}"))
}

fn length(text: &str) -> Result<Duration, String> {
    let fail = || {
        format!(
            "`{text}` is not a duration\nwrite numbers with their units (ms, s, m, h), as in `250ms`, `10m` or `1h30m`"
        )
    };
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() || text.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        if digits > 9 || text.len() > bounds::DURATION_LENGTH {
            return Err(fail());
        }
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
