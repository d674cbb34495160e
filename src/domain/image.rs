//! Image references as a Pod writes them, parsed as distribution and containerd parse them.
//!
//! The grammar is distribution/reference v0.6.0, `ParseNormalizedNamed` (`normalize.go`, `regexp.go`): the kubelet
//! and containerd parse a Pod's image with it. `tests/vectors/references.json` holds its results.

use std::borrow::Cow;
use std::fmt;

use super::digest::{Digest, DigestError};
use super::name::name;

/// The host of Docker Hub in references.
const DOCKER_HUB: &str = "docker.io";
/// Docker Hub's older name. Only this exact spelling is replaced by [`DOCKER_HUB`].
const DOCKER_HUB_LEGACY: &str = "index.docker.io";
/// The longest path, in characters; the host does not count.
const PATH_LIMIT: usize = 255;
/// The longest tag, in characters.
const TAG_LIMIT: usize = 128;

name! {
    /// A repository's path at one registry: `project/team/app`, without host, tag and digest.
    Repository
}
name! {
    /// The tag of an image, without the colon.
    Tag
}

impl Repository {
    /// Returns the first component of the path: a Harbor's project, a namespace or group elsewhere. A path with one
    /// component stands for itself.
    #[must_use]
    pub fn project(&self) -> &str {
        let path = self.as_str();
        path.split_once('/').map_or(path, |(project, _)| project)
    }
}

/// A reference as written, and its parts.
///
/// It borrows from the Pod and allocates nothing, except for an implied `library/`. It keeps the text as written,
/// because Landfall leaves a reference that it does not change exactly as it is. `Display` prints the canonical form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference<'a> {
    /// The text in the Pod.
    pub written: &'a str,
    /// The registry host with its port, as written. It is `docker.io` where no host is written, and for
    /// `index.docker.io`. It is empty where the first component only looks like a host (`re_g.io/app`): runtimes disagree
    /// where such a reference is pulled from, so it is never judged.
    pub host: &'a str,
    /// The repository path, including Docker Hub's implied `library/`.
    pub path: Cow<'a, str>,
    /// The tag as written; `None` where no tag is written (never an implied `latest`).
    pub tag: Option<&'a str>,
    /// The digest as written; `None` where no digest is written.
    pub digest: Option<Digest>,
}

/// Why a text is not a reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// The text is empty.
    #[error("the reference is empty; write `host/project/repository:tag`")]
    Empty,
    /// The text is a URL.
    #[error("a reference has no scheme; remove everything up to and including `://`")]
    Scheme,
    /// The first component is read as a host, but it is not a valid host.
    #[error(
        "the host is malformed; write `name.example.com`, an IPv4 address or `[IPv6]`, optionally followed by `:port`"
    )]
    Host,
    /// No repository follows the host.
    #[error("the repository is missing; write `host/project/repository`")]
    NoPath,
    /// The repository contains an upper-case letter.
    #[error("the repository must be lower case")]
    UpperCase,
    /// A component of the repository is malformed.
    #[error(
        "the repository is malformed; each component is letters and digits, joined by one `.`, one or two `_`, or dashes"
    )]
    Path,
    /// The repository is too long.
    #[error("the repository has {length} characters; at most 255 are allowed")]
    PathTooLong {
        /// The number of characters, including an implied `library/`.
        length: usize,
    },
    /// The text is 64 hex digits, which container runtimes take for an image identifier.
    #[error(
        "64 hex digits alone are an image identifier; write `repository@sha256:…`, or put a host in front"
    )]
    Identifier,
    /// The tag is malformed.
    #[error(
        "the tag is malformed; it has 1 to 128 letters, digits, `_`, `.` and `-`, and does not begin with `.` or `-`"
    )]
    Tag,
    /// The digest is malformed.
    #[error("the text after `@` is not a digest")]
    Digest {
        /// What is wrong with the digest.
        #[source]
        source: DigestError,
    },
}

impl<'a> Reference<'a> {
    /// Parses a reference as written in a Pod.
    ///
    /// ```
    /// use landfall::facade::domain::image::{Reference, ReferenceError};
    ///
    /// let reference = Reference::parse("nginx:1.27")?;
    /// assert_eq!((reference.host, reference.tag), ("docker.io", Some("1.27")));
    /// assert_eq!(reference.to_string(), "docker.io/library/nginx:1.27");
    /// assert_eq!(Reference::parse("harbor.example.com/Shop/web"), Err(ReferenceError::UpperCase));
    /// # Ok::<(), ReferenceError>(())
    /// ```
    ///
    /// # Errors
    /// Exactly where distribution/reference refuses the text. The error says what would be right.
    pub fn parse(written: &'a str) -> Result<Self, ReferenceError> {
        if written.is_empty() {
            return Err(ReferenceError::Empty);
        }
        if is_identifier(written) {
            return Err(ReferenceError::Identifier);
        }
        let (host, remainder) = split_host(written);
        // Neither a path nor a tag can contain `@` or `:`, so the first of each ends the part before it.
        let (named, digest) = cut(remainder, '@');
        let (path, tag) = cut(named, ':');

        if let Err(error) = check_path(path) {
            return Err(if written.contains("://") { ReferenceError::Scheme } else { error });
        }
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return Err(ReferenceError::Tag);
        }
        let digest =
            digest.map(str::parse).transpose().map_err(|source| ReferenceError::Digest { source })?;

        let (host, path) = if is_host(host) {
            match host {
                DOCKER_HUB if !path.contains('/') => (host, Cow::Owned(format!("library/{path}"))),
                _ => (host, Cow::Borrowed(path)),
            }
        } else if check_path(host).is_ok() {
            // The dot makes the first component look like a host, but `_` is not allowed in a host. The grammar then
            // reads the whole name as a path without a host.
            let length = host.len() + 1 + path.len();
            ("", Cow::Borrowed(written.get(..length).unwrap_or(written)))
        } else {
            return Err(ReferenceError::Host);
        };
        if path.len() > PATH_LIMIT {
            return Err(ReferenceError::PathTooLong { length: path.len() });
        }
        Ok(Self { written, host, path, tag, digest })
    }

    /// Returns the image's canonical name: host and path, without tag and digest.
    #[must_use]
    pub fn name(&self) -> String {
        if self.host.is_empty() { self.path.to_string() } else { format!("{}/{}", self.host, self.path) }
    }

    /// Returns the path as an owned [`Repository`].
    #[must_use]
    pub fn repository(&self) -> Repository {
        Repository::new(&*self.path)
    }

    /// Returns the tag as an owned [`Tag`].
    #[must_use]
    pub fn owned_tag(&self) -> Option<Tag> {
        self.tag.map(Tag::new)
    }
}

/// The canonical form: `host/path[:tag][@digest]`.
impl fmt::Display for Reference<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.host.is_empty() {
            write!(out, "{}/", self.host)?;
        }
        out.write_str(&self.path)?;
        if let Some(tag) = self.tag {
            write!(out, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(out, "@{digest}")?;
        }
        Ok(())
    }
}

/// Splits at the first `separator`.
fn cut(text: &str, separator: char) -> (&str, Option<&str>) {
    text.split_once(separator).map_or((text, None), |(before, after)| (before, Some(after)))
}

/// Splits the host from everything after it, like distribution's `splitDockerDomain`.
fn split_host(written: &str) -> (&str, &str) {
    let Some((first, rest)) = written.split_once('/') else {
        return (DOCKER_HUB, written);
    };
    match first {
        DOCKER_HUB_LEGACY => (DOCKER_HUB, rest),
        _ if looks_like_host(first) => (first, rest),
        _ => (DOCKER_HUB, written),
    }
}

/// Whether a first component is a host and not a project: it contains a dot, a colon or an upper-case letter.
pub(crate) fn looks_like_host(first: &str) -> bool {
    first == "localhost" || first.bytes().any(|byte| matches!(byte, b'.' | b':' | b'A'..=b'Z'))
}

/// Whether the text is 64 lower-case hex digits.
fn is_identifier(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// The grammar's `domainAndPort`: a DNS name, an IPv4 or a bracketed IPv6 address, optionally with a port of digits.
pub(crate) fn is_host(text: &str) -> bool {
    if let Some(rest) = text.strip_prefix('[') {
        return rest.split_once(']').is_some_and(|(address, port)| {
            !address.is_empty()
                && address.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b':')
                && (port.is_empty() || port.strip_prefix(':').is_some_and(is_port))
        });
    }
    let (name, port) = cut(text, ':');
    port.is_none_or(is_port) && name.split('.').all(is_label)
}

fn is_port(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_label(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.first().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.last().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-')
}

/// The grammar's `tag`: `[\w][\w.-]{0,127}`, ASCII only.
fn is_tag(text: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    text.len() <= TAG_LIMIT
        && text.bytes().next().is_some_and(word)
        && text.bytes().all(|byte| word(byte) || matches!(byte, b'.' | b'-'))
}

/// The grammar's `remoteName`: components separated by `/`; each is letters and digits, joined by `.`, `_`, `__` or
/// dashes.
fn check_path(path: &str) -> Result<(), ReferenceError> {
    if path.is_empty() {
        return Err(ReferenceError::NoPath);
    }
    let mut shape = Ok(());
    for component in path.split('/') {
        if component.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(ReferenceError::UpperCase);
        }
        if !is_component(component) {
            shape = Err(ReferenceError::Path);
        }
    }
    shape
}

fn is_component(component: &str) -> bool {
    let alphanumeric = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9');
    let mut rest = component.as_bytes();
    loop {
        let word = rest.iter().take_while(|byte| alphanumeric(**byte)).count();
        if word == 0 {
            return false;
        }
        rest = rest.get(word..).unwrap_or_default();
        let width = rest.iter().take_while(|byte| !alphanumeric(**byte)).count();
        let (separator, after) = rest.split_at_checked(width).unwrap_or_default();
        rest = after;
        match separator {
            b"" => return true,
            b"." | b"_" | b"__" => {}
            dashes if dashes.iter().all(|byte| *byte == b'-') => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use container_image_dist_ref::ImgRef;
    use proptest::prelude::*;
    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize)]
    struct Row {
        input: String,
        ok: bool,
        domain: Option<String>,
        path: Option<String>,
        tag: Option<String>,
        digest: Option<String>,
        canonical: Option<String>,
    }

    #[test]
    fn parses_what_distribution_parses() {
        let rows: Vec<Row> =
            serde_json::from_str(include_str!("../../tests/vectors/references.json")).unwrap();
        assert_eq!(rows.len(), 169);
        for row in rows {
            let parsed = Reference::parse(&row.input);
            assert_eq!(parsed.is_ok(), row.ok, "{}: {parsed:?}", row.input);
            let Ok(reference) = parsed else { continue };
            assert_eq!(Some(reference.host), row.domain.as_deref(), "{}", row.input);
            assert_eq!(Some(&*reference.path), row.path.as_deref(), "{}", row.input);
            assert_eq!(reference.tag, row.tag.as_deref(), "{}", row.input);
            assert_eq!(reference.digest.map(|digest| digest.to_string()), row.digest, "{}", row.input);
            assert_eq!(Some(reference.to_string()), row.canonical, "{}", row.input);
            assert!(reference.to_string().starts_with(&reference.name()), "{}", row.input);
        }
    }

    #[test]
    fn refusals_say_what_is_wrong() {
        let long = format!("h.io/{}", "a".repeat(256));
        let identifier = "a".repeat(64);
        for (text, error) in [
            ("", ReferenceError::Empty),
            ("https://h.io/a/b", ReferenceError::Scheme),
            ("-h.io/a", ReferenceError::Host),
            ("h.io:x/a", ReferenceError::Host),
            ("h.io/", ReferenceError::NoPath),
            ("h.io/a/B", ReferenceError::UpperCase),
            ("h.io/a//b", ReferenceError::Path),
            ("h.io/a._b", ReferenceError::Path),
            (&long, ReferenceError::PathTooLong { length: 256 }),
            (&identifier, ReferenceError::Identifier),
            ("h.io/a:", ReferenceError::Tag),
            ("h.io/a:.b", ReferenceError::Tag),
            ("h.io/a@", ReferenceError::Digest { source: DigestError::NoAlgorithm }),
        ] {
            assert_eq!(Reference::parse(text), Err(error), "{text}");
        }
    }

    #[test]
    fn allocates_only_an_implied_library() {
        for (text, borrowed) in [("a", false), ("docker.io/a:1", false), ("b/a", true), ("h.io/b", true)] {
            let path = Reference::parse(text).unwrap().path;
            assert_eq!(matches!(path, Cow::Borrowed(_)), borrowed, "{text}");
        }
    }

    /// Texts near the grammar: mostly references, often with one thing wrong.
    fn texts() -> impl Strategy<Value = String> {
        let host = "([a-cA-C0-9]{1,3}(-[a-c]{1,2})?(\\.[a-c]{1,3}){0,2}|localhost|\\[(::1|fc00::|2001:db8::[0-9a-f]{1,4})\\]|[a._-]{1,4})(:[0-9]{1,4})?";
        let path = "[a-c0-9]{1,3}(([._]|__|-{1,2}|_\\.)[a-c]{1,2})?(/[a-cA]{1,3}([._-]{1,2}[a-c0-9])?){0,2}";
        let tag = "(:[a-zA-Z0-9_.-]{0,4})?";
        let digest = "(@sha256:[0-9a-f]{64}|@sha512:[0-9a-f]{128}|@sha256:[0-9a-g]{62,65})?";
        (prop::option::weighted(0.7, host), path, tag, digest).prop_map(|(host, path, tag, digest)| {
            let host = host.map(|host| host + "/").unwrap_or_default();
            format!("{host}{path}{tag}{digest}")
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1024))]

        #[test]
        fn agrees_with_a_second_parser(text in texts()) {
            let ours = Reference::parse(&text);
            let theirs = ImgRef::new(&text);
            // The other parser knows the grammar alone, not Docker Hub's names: compare what the grammar decides,
            // where the first component is a host for both. An upper-case host without dot or port is a host
            // for distribution only, and it counts the host into the limit of 255.
            let first = text.split_once('/').map_or("", |(first, _)| first);
            let named = first == "localhost" || first.contains(['.', ':']);
            if !named || !is_host(first) || first == DOCKER_HUB || first == DOCKER_HUB_LEGACY {
                return Ok(());
            }
            match (ours, theirs) {
                (Ok(ours), Ok(theirs)) => {
                    prop_assert_eq!(Some(ours.host), theirs.domain().map(|domain| domain.to_str()));
                    prop_assert_eq!(&*ours.path, theirs.path().to_str());
                    prop_assert_eq!(ours.tag, theirs.tag());
                    prop_assert_eq!(
                        ours.digest.map(|digest| digest.to_string()),
                        theirs.digest().map(|digest| digest.to_str().to_owned())
                    );
                }
                (ours, theirs) => prop_assert_eq!(ours.is_ok(), theirs.is_ok(), "{}: {:?}", text, ours),
            }
        }

        #[test]
        fn canonical_form_is_stable(text in texts()) {
            if let Ok(reference) = Reference::parse(&text) {
                let canonical = reference.to_string();
                let again = Reference::parse(&canonical).unwrap();
                prop_assert_eq!(again.to_string(), canonical.clone());
                prop_assert_eq!(
                    (again.host, &again.path, again.tag, again.digest),
                    (reference.host, &reference.path, reference.tag, reference.digest)
                );
            }
        }

        #[test]
        fn never_panics(text in ".{0,80}") {
            if let Ok(reference) = Reference::parse(&text) {
                prop_assert!(text.is_ascii());
                prop_assert_eq!(reference.written, text.as_str());
            }
        }
    }
}
