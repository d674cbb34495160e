//! One connection: HTTP/1.1 over it, one request after the other, and how it ends.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use http::header::CONTENT_LENGTH;
use http::{Method, Response};
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::{Protocol, Shared, lock};
use crate::demo::world::distribution::{Bodiless, Streamed};
use crate::demo::world::faults::{Ending, MOVED};
use crate::demo::world::log::{Authorization, PathClass, Request};
use crate::demo::world::message::{Answer, Ask, Presented};
use crate::demo::world::object::{Object, Spool};
use crate::demo::world::{harbor, registry};
use crate::domain::digest::Digest;

/// Whether the connection ends with a reset instead of an orderly close.
#[derive(Clone, Default)]
pub(super) struct ResetFlag(Arc<AtomicBool>);

/// A TCP stream that obeys a [`ResetFlag`] when it is dropped.
pub(super) struct Wire {
    stream: TcpStream,
    reset: ResetFlag,
}

impl Wire {
    pub fn new(stream: TcpStream, reset: ResetFlag) -> Self {
        Self { stream, reset }
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        if self.reset.0.load(Ordering::Relaxed) {
            let _ = self.stream.set_zero_linger();
        }
    }
}

/// Serves the requests of one connection until it ends.
pub(super) async fn serve<S>(shared: Arc<Shared>, stream: S, reset: ResetFlag)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let service = service_fn(move |request| {
        let (shared, reset) = (Arc::clone(&shared), reset.clone());
        async move { respond(&shared, request, &reset).await }
    });
    // An error means that the client went away, or it is one of our own faults.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

async fn respond(
    shared: &Shared,
    request: http::Request<Incoming>,
    reset: &ResetFlag,
) -> Result<Response<BoxBody<Bytes, io::Error>>, io::Error> {
    let (parts, body) = request.into_parts();
    let (body, spooled) = match parts.method {
        Method::PATCH => (Bytes::new(), Some(spool(body).await?)),
        _ => (body.collect().await.map_err(io::Error::other)?.to_bytes(), None),
    };
    let sent = parts.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
    let mut ask = Ask {
        method: parts.method,
        path: parts.uri.path().to_owned(),
        query: url::form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes())
            .into_owned()
            .collect(),
        headers: parts.headers,
        body,
        spooled,
    };
    let served = ask.path.strip_prefix(MOVED).unwrap_or(&ask.path).to_owned();
    let class = PathClass::of(&served);
    let entry = shared.log.begin(Request {
        method: ask.method.clone(),
        path: sent.clone(),
        class,
        authorization: match ask.presented() {
            Presented::Nothing => Authorization::Absent,
            Presented::Basic { .. } => Authorization::Basic,
            Presented::Bearer(_) => Authorization::Bearer,
            Presented::Unreadable => Authorization::Unreadable,
        },
        user: None,
        status: None,
    });
    shared.thawed().await;
    let wait = lock(&shared.faults).wait(class, &sent);
    if !wait.is_zero() {
        tokio::time::sleep(wait).await;
    }
    let instead = lock(&shared.faults).instead(class, &ask, &sent);
    let answer = match instead {
        Some(answer) => answer,
        None => {
            ask.path = served;
            let mut user = None;
            let url = shared.url();
            let answer = match &shared.protocol {
                Protocol::Harbor => harbor::answer(&shared.store, &url, &ask, &mut user).await,
                Protocol::Distribution(login) => {
                    registry::answer(&mut lock(&shared.store), login, &url, &ask, &mut user)
                }
            };
            if let Some(user) = &user {
                entry.recognised(user);
            }
            answer
        }
    };
    shared.thawed().await;
    let (answer, ending) = lock(&shared.faults).spoil(class, &sent, answer);
    if ending == Ending::Unsent {
        return Err(fault());
    }
    entry.answered(answer.status());
    Ok(deliver(answer, &ask.method, ending, reset))
}

/// Turns an answer into the response that is sent, with its fault.
fn deliver(
    answer: Answer,
    method: &Method,
    ending: Ending,
    reset: &ResetFlag,
) -> Response<BoxBody<Bytes, io::Error>> {
    let (mut parts, bytes) = answer.into_parts();
    if parts.status != http::StatusCode::NOT_MODIFIED {
        parts.headers.entry(CONTENT_LENGTH).or_insert_with(|| bytes.len().into());
    }
    if method == Method::HEAD {
        return Response::from_parts(parts, whole(Bytes::new()));
    }
    if let Some(Streamed { object, first, end }) = parts.extensions.remove::<Streamed>() {
        return Response::from_parts(parts, streamed(object, first, end, ending));
    }
    let body = match ending {
        _ if parts.extensions.get::<Bodiless>().is_some() => broken(&Bytes::new()),
        Ending::Whole | Ending::Unsent => whole(bytes),
        Ending::Slow(pause) => slow(&bytes, pause),
        Ending::Truncated => broken(&bytes),
        Ending::Reset => {
            reset.0.store(true, Ordering::Relaxed);
            broken(&bytes)
        }
    };
    Response::from_parts(parts, body)
}

/// Reads a part of an upload, without holding it.
async fn spool(mut body: Incoming) -> io::Result<(Object, Digest)> {
    let mut spool = Spool::new();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame.map_err(io::Error::other)?.into_data() {
            spool.add(&data)?;
        }
    }
    Ok(spool.finish())
}

/// An object, as it is read. A fault ends it in the middle, or lets it wait there.
fn streamed(object: Object, first: u64, end: u64, ending: Ending) -> BoxBody<Bytes, io::Error> {
    let middle = first + (end - first) / 2;
    let frames = futures::stream::try_unfold(first, move |at| {
        let (object, ending) = (object.clone(), ending);
        async move {
            if at >= end {
                return Ok(None);
            }
            let before = at < middle;
            let mut chunk = object.read(at)?;
            let stop = if before { middle } else { end };
            chunk.truncate(usize::try_from(stop - at).unwrap_or(usize::MAX));
            if at == middle {
                match ending {
                    Ending::Slow(pause) => tokio::time::sleep(pause).await,
                    Ending::Truncated | Ending::Reset => return Err(fault()),
                    Ending::Whole | Ending::Unsent => {}
                }
            }
            let next = at + u64::try_from(chunk.len()).unwrap_or_default();
            Ok(Some((Frame::data(chunk), next)))
        }
    });
    BodyExt::boxed(StreamBody::new(frames))
}

fn whole(bytes: Bytes) -> BoxBody<Bytes, io::Error> {
    Full::new(bytes).map_err(|never| match never {}).boxed()
}

/// The first half, and then an error, after which the server drops the connection.
fn broken(bytes: &Bytes) -> BoxBody<Bytes, io::Error> {
    let (half, _) = halves(bytes);
    let first = futures::stream::once(async move { Ok(Frame::data(half)) });
    let second = futures::stream::once(async {
        // What came before is sent while the body is not ready.
        tokio::task::yield_now().await;
        Err(fault())
    });
    BodyExt::boxed(StreamBody::new(first.chain(second)))
}

/// The first half, and after a pause the rest.
fn slow(bytes: &Bytes, pause: Duration) -> BoxBody<Bytes, io::Error> {
    let (half, rest) = halves(bytes);
    let first = futures::stream::once(async move { Ok(Frame::data(half)) });
    let second = futures::stream::once(async move {
        tokio::time::sleep(pause).await;
        Ok(Frame::data(rest))
    });
    BodyExt::boxed(StreamBody::new(first.chain(second)))
}

fn halves(bytes: &Bytes) -> (Bytes, Bytes) {
    let middle = bytes.len() / 2;
    (bytes.slice(..middle), bytes.slice(middle..))
}

fn fault() -> io::Error {
    io::Error::other("a fault of the demo")
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
