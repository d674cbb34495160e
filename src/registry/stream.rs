//! Blobs as streams: read from one registry, written to another. Nothing holds more than some chunks of them.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_RANGE, HeaderValue, RANGE};
use http::{Method, StatusCode};
use hyper::body::{Body, Frame, SizeHint};
use tokio::sync::mpsc;
use tokio::time::timeout;
use url::Url;

use crate::domain::digest::Digest;
use crate::domain::image::Repository;
use crate::domain::unknown::{Cause, Unknown};

use super::answer::Answer;
use super::client::{Client, Endpoint, Request};
use super::failure::failure;
use super::layers::{Blob, otherwise};
use super::transport::{Reads, host_port};

/// For so long a registry may send nothing in the middle of a blob.
const STALL: Duration = Duration::from_secs(60);

/// For so long it may think about what it was sent: a storage may copy it.
const THOUGHT: Duration = Duration::from_secs(300);

/// The most bytes of an error that are read.
const ERROR_LIMIT: usize = 64 * 1024;

/// So many chunks may wait to be written. One has at most some hundred kilobytes.
const WAITING: usize = 2;

/// A blob that is being read.
pub struct Opened {
    answer: reqwest::Response,
    host: String,
    /// The place of its first byte in the blob: 0, if the registry does not begin where it was asked to.
    pub start: u64,
}

impl Opened {
    /// The next bytes; `None` at the end.
    ///
    /// # Errors
    /// The connection broke, or nothing comes.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Unknown> {
        let Ok(chunk) = timeout(STALL, self.answer.chunk()).await else {
            let detail =
                format!("{} sent nothing for {} s in the middle of a blob", self.host, STALL.as_secs());
            return Err(Unknown::new(Cause::Deadline, detail));
        };
        chunk.map_err(|error| failure(&self.host, error))
    }
}

/// What a registry says to a request for a blob.
pub enum Open {
    /// Its bytes.
    Blob(Opened),
    /// It does not have it.
    Absent,
}

/// Where chunks are put that are to be written.
pub struct Feed(mpsc::Sender<io::Result<Bytes>>);

/// A body that is written as it is fed.
pub struct Part {
    fed: mpsc::Receiver<io::Result<Bytes>>,
    left: Option<u64>,
}

/// A body of this size, and where its chunks are put. Without a size, it ends when the feed is dropped.
#[must_use]
pub fn part(size: Option<u64>) -> (Feed, Part) {
    let (feed, fed) = mpsc::channel(WAITING);
    (Feed(feed), Part { fed, left: size })
}

impl Feed {
    /// Waits until there is room. `false`: nobody writes it any more.
    pub async fn put(&self, chunk: Bytes) -> bool {
        self.0.send(Ok(chunk)).await.is_ok()
    }

    /// Breaks the body off: it must not look as if it were whole. Where nothing of it is taken any more there is no room to say
    /// so, and whoever writes it must give it up.
    pub fn abort(self) {
        let _no_room = self.0.try_send(Err(io::Error::other("the source ended early")));
    }
}

impl Body for Part {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if self.left == Some(0) {
            return Poll::Ready(None);
        }
        self.fed.poll_recv(cx).map(|fed| {
            let chunk = match fed {
                None if self.left.is_some() => Err(io::Error::other("the source ended early")),
                fed => return fed.map(|chunk| chunk.map(|chunk| self.counted(chunk))),
            };
            Some(chunk)
        })
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl Part {
    fn counted(&mut self, chunk: Bytes) -> Frame<Bytes> {
        let length = u64::try_from(chunk.len()).unwrap_or(u64::MAX);
        self.left = self.left.map(|left| left.saturating_sub(length));
        Frame::data(chunk)
    }
}

impl Client {
    /// Begins to read a blob, from this byte on if the registry obeys ranges. A registry may redirect to its storage, which
    /// never sees our credentials.
    ///
    /// # Errors
    /// It could not be learned.
    pub async fn open(&self, repository: &Repository, digest: &Digest, from: u64) -> Result<Open, Unknown> {
        let path = format!("/v2/{repository}/blobs/{digest}");
        let request = self.request(Method::GET, &path, Endpoint::Repository(repository));
        let current = self.credentials.current(Some(repository.as_str())).await?;
        let mut proof = self.first_proof(request.endpoint, &current);
        let mut again = true;
        loop {
            let mut ask = self.ask(&request, &proof)?;
            let range = HeaderValue::from_str(&format!("bytes={from}-")).ok();
            ask.header = range.filter(|_| from > 0).map(|range| (RANGE, range));
            let begun = timeout(STALL, self.transport.begin(&ask, None)).await;
            let (answer, url) = begun.unwrap_or_else(|_| Err(silent(&ask.url, STALL)))?;
            if answer.status().is_success() {
                let start = start(&answer);
                return Ok(Open::Blob(Opened { answer, host: host_port(&url), start }));
            }
            let read = timeout(STALL, self.transport.read(answer, Reads::Whole(ERROR_LIMIT), url)).await;
            let reply = read.unwrap_or_else(|_| Err(silent(&ask.url, STALL)))?;
            if std::mem::take(&mut again)
                && let Some(other) = self.second_proof(&request, &current, &proof, &reply).await?
            {
                proof = other;
                continue;
            }
            let answer = self.answer(reply, &proof);
            return match answer.status {
                StatusCode::NOT_FOUND => Ok(Open::Absent),
                _ => match otherwise(&answer)? {
                    Blob::Refused(why) => Err(Unknown::new(Cause::Forbidden, why)),
                    _ => Err(answer.unexpected()),
                },
            };
        }
    }

    /// Writes a part of an upload as it is fed. Its credentials are those with which the upload was begun; a body that is
    /// fed cannot be sent again.
    ///
    /// # Errors
    /// There was no answer. It is given up when nothing was written for long, or the answer does not come.
    pub async fn write(&self, repository: &Repository, session: &str, part: Part) -> Result<Answer, Unknown> {
        let request =
            self.request(Method::PATCH, session, Endpoint::Push(repository, "application/octet-stream"));
        let current = self.credentials.current(Some(repository.as_str())).await?;
        let proof = self.first_proof(request.endpoint, &current);
        let ask = self.ask(&request, &proof)?;
        let body = reqwest::Body::wrap(part);
        let (answer, url) = self.transport.begin(&ask, Some(body)).await?;
        let read = timeout(STALL, self.transport.read(answer, ask.reads, url)).await;
        Ok(self.answer(read.unwrap_or_else(|_| Err(silent(&ask.url, STALL)))?, &proof))
    }

    /// How long a registry may take to answer when it has all of what it was sent.
    #[must_use]
    pub fn thought() -> Duration {
        THOUGHT
    }

    /// The path and query of the `Location` of an upload. Uploads to other hosts than the registry's are not followed, because our
    /// credentials must not go there.
    ///
    /// # Errors
    /// It is missing, or leads to another host.
    pub fn session(&self, answer: &Answer) -> Result<String, Unknown> {
        let url = &self.registry().url;
        let odd = |what: String| Unknown::new(Cause::NotRegistry, what);
        let location = answer.headers.get(http::header::LOCATION).and_then(|value| value.to_str().ok());
        let location = location.ok_or_else(|| odd("the answer to an upload has no `Location`".to_owned()))?;
        let base = url.join("/v2/").map_err(|error| odd(error.to_string()))?;
        let next =
            base.join(location).map_err(|error| odd(format!("the `Location` of the upload: {error}")))?;
        if next.origin() != url.origin() && !super::address::is_own(self.registry(), &next) {
            let detail = format!("the upload is to go to another host, {}", host_port(&next));
            return Err(Unknown::new(Cause::Redirect, detail));
        }
        // Behind a proxy that ends TLS, registries may name themselves `http`, or by another of their names: it is asked at `url`.
        let prefix = url.path().trim_end_matches('/');
        let path = next.path().strip_prefix(prefix).unwrap_or(next.path());
        Ok(next.query().map_or_else(|| path.to_owned(), |query| format!("{path}?{query}")))
    }

    fn request<'a>(&self, method: Method, path: &'a str, endpoint: Endpoint<'a>) -> Request<'a> {
        Request { method, path_and_query: path, endpoint, accept: None, body: None, body_limit: ERROR_LIMIT }
    }
}

fn start(answer: &reqwest::Response) -> u64 {
    let range =
        answer.headers().get(CONTENT_RANGE).filter(|_| answer.status() == StatusCode::PARTIAL_CONTENT);
    let range =
        range.and_then(|range| range.to_str().ok()?.strip_prefix("bytes ")?.split('-').next()?.parse().ok());
    range.unwrap_or_default()
}

fn silent(url: &Url, given: Duration) -> Unknown {
    Unknown::new(Cause::Deadline, format!("{} gave no answer within {} s", host_port(url), given.as_secs()))
}
