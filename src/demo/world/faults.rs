//! Faults between a registry and its clients. They can be changed while it runs.
//!
//! These are slow, wrong and broken answers. [`Embedded::down`] closes the port, [`Embedded::freeze`] stops all answers; the
//! faults *inside* a Harbor (database, scanner, storage) are in its [`Store`].
//!
//! [`Embedded::down`]: super::Embedded::down
//! [`Embedded::freeze`]: super::Embedded::freeze
//! [`Store`]: super::Store

use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http::header::{CONTENT_TYPE, LOCATION, RETRY_AFTER, WWW_AUTHENTICATE};
use tokio::time::Instant;

use super::distribution::CONTENT_DIGEST;
use super::log::PathClass;
use super::message::{Answer, Ask, body, empty, error, with};

/// The prefix that [`Redirect::SameHost`] redirects to. Paths with it are served as without it.
pub(super) const MOVED: &str = "/moved";

/// The requests that a fault applies to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// All.
    Everything,
    /// Those of one class.
    Only(PathClass),
    /// Those for manifests of repositories whose path begins so.
    ManifestsOf(&'static str),
}

/// A fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The answer comes this much later.
    Delay(Duration),
    /// At most so many answers a second: other requests wait in a queue, as in front of a busy Harbor.
    Pace(u32),
    /// At most so many requests a second; others are answered 429 with `Retry-After: 1`.
    Limit(u32),
    /// This status, with an error in the JSON form that registries use.
    Status(StatusCode),
    /// 429 or 503 with this `Retry-After` in seconds.
    RetryAfter(StatusCode, u64),
    /// This status with an HTML page, as from proxies and captive portals.
    Html(StatusCode),
    /// 401 for everybody, with this value of `WWW-Authenticate`, which may be empty or malformed.
    Challenge(String),
    /// This status, media type (none if it is empty) and body.
    Instead(StatusCode, &'static str, Bytes),
    /// The second half of the body comes this much later than the first.
    SlowBody(Duration),
    /// The body ends after its first half.
    Truncate,
    /// The connection is reset in the middle of the body.
    Reset,
    /// The connection is closed without an answer.
    HangUp,
    /// `Docker-Content-Digest` names another digest.
    WrongDigest,
    /// `Docker-Content-Digest` is missing.
    NoDigest,
    /// 307 instead of an answer.
    Redirect(Redirect),
}

/// Where a redirect leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Redirect {
    /// To another path of the same host, which answers.
    SameHost,
    /// To the same path at another base URL (`https://host:port`).
    To(String),
    /// To itself.
    Loop,
}

/// The faults of one registry.
#[derive(Default)]
pub struct Faults {
    active: Vec<(Scope, Fault)>,
    next_free: Option<Instant>,
    window: Option<(Instant, u32)>,
}

/// How the body of an answer is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    Whole,
    Slow(Duration),
    Truncated,
    Reset,
    /// Nothing of it is sent.
    Unsent,
}

impl Faults {
    /// Adds a fault.
    pub fn add(&mut self, scope: Scope, fault: Fault) {
        self.active.push((scope, fault));
    }

    /// Removes all faults.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// How long this request waits before anything else happens to it.
    pub(super) fn wait(&mut self, class: PathClass, path: &str) -> Duration {
        let now = Instant::now();
        let mut wait = Duration::ZERO;
        let meets: Vec<Fault> = self.meets(class, path).cloned().collect();
        for fault in meets {
            match fault {
                Fault::Delay(delay) => wait += delay,
                Fault::Pace(rate) => {
                    let start = self.next_free.filter(|free| *free > now).unwrap_or(now);
                    let done = start + Duration::from_secs(1) / rate.max(1);
                    self.next_free = Some(done);
                    wait += done - now;
                }
                _ => {}
            }
        }
        wait
    }

    /// The answer that replaces the registry's own, if a fault has one.
    pub(super) fn instead(&mut self, class: PathClass, ask: &Ask, path_and_query: &str) -> Option<Answer> {
        let meets: Vec<Fault> = self.meets(class, path_and_query).cloned().collect();
        meets.into_iter().find_map(|fault| match fault {
            Fault::Status(status) => Some(error(status, code(status), "a fault of the demo")),
            Fault::RetryAfter(status, seconds) => {
                let answer = error(status, code(status), "a fault of the demo");
                Some(with(answer, RETRY_AFTER, &seconds.to_string()))
            }
            Fault::Html(status) => Some(body(status, "text/html", page(status))),
            Fault::Challenge(challenge) => {
                let answer = error(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", "a fault of the demo");
                Some(with(answer, WWW_AUTHENTICATE, &challenge))
            }
            Fault::Instead(status, media_type, bytes) => {
                let mut answer = body(status, media_type, bytes);
                if media_type.is_empty() {
                    answer.headers_mut().remove(CONTENT_TYPE);
                }
                Some(answer)
            }
            Fault::Limit(rate) => self.exceeded(rate).then(|| {
                let answer = error(StatusCode::TOO_MANY_REQUESTS, "TOOMANYREQUESTS", "rate exceeded");
                with(answer, RETRY_AFTER, "1")
            }),
            Fault::Redirect(redirect) => {
                let already = ask.path.split('/').nth(1) == MOVED.split('/').nth(1);
                let location = match redirect {
                    Redirect::SameHost if already => return None,
                    Redirect::SameHost => format!("{MOVED}{path_and_query}"),
                    Redirect::To(base) => format!("{base}{path_and_query}"),
                    Redirect::Loop => path_and_query.to_owned(),
                };
                Some(with(empty(StatusCode::TEMPORARY_REDIRECT), LOCATION, &location))
            }
            _ => None,
        })
    }

    /// Changes the registry's own answer as the faults say.
    pub(super) fn spoil(&self, class: PathClass, path: &str, mut answer: Answer) -> (Answer, Ending) {
        let mut ending = Ending::Whole;
        for fault in self.meets(class, path) {
            match fault {
                Fault::SlowBody(pause) => ending = Ending::Slow(*pause),
                Fault::Truncate => ending = Ending::Truncated,
                Fault::Reset => ending = Ending::Reset,
                Fault::HangUp => ending = Ending::Unsent,
                Fault::NoDigest => {
                    answer.headers_mut().remove(CONTENT_DIGEST);
                }
                Fault::WrongDigest if answer.headers().contains_key(CONTENT_DIGEST) => {
                    let wrong = super::content::sha256(b"something else").to_string();
                    answer = with(answer, CONTENT_DIGEST, &wrong);
                }
                _ => {}
            }
        }
        (answer, ending)
    }

    fn meets(&self, class: PathClass, path: &str) -> impl Iterator<Item = &Fault> {
        self.active
            .iter()
            .filter(move |(scope, _)| match scope {
                Scope::Everything => true,
                Scope::Only(only) => *only == class,
                Scope::ManifestsOf(repositories) => {
                    let repository = path.strip_prefix("/v2/");
                    class == PathClass::Manifests
                        && repository.is_some_and(|path| path.starts_with(repositories))
                }
            })
            .map(|(_, fault)| fault)
    }

    fn exceeded(&mut self, rate: u32) -> bool {
        let now = Instant::now();
        let (since, count) = self
            .window
            .filter(|(since, _)| now.duration_since(*since) < Duration::from_secs(1))
            .unwrap_or((now, 0));
        self.window = Some((since, count + 1));
        count >= rate
    }
}

/// The error code that registries give with a status.
fn code(status: StatusCode) -> &'static str {
    match status {
        StatusCode::UNAUTHORIZED => "UNAUTHORIZED",
        StatusCode::FORBIDDEN => "DENIED",
        StatusCode::TOO_MANY_REQUESTS => "TOOMANYREQUESTS",
        _ => "UNKNOWN",
    }
}

/// nginx's error page.
fn page(status: StatusCode) -> String {
    format!(
        "<html>\r\n<head><title>{status}</title></head>\r\n<body>\r\n<center><h1>{status}</h1></center>\r\n\
         <hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"
    )
}
