//! One connection, from its handshake to its last answer.

use std::convert::Infallible;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use axum::body::Body;
use http::header::{CONNECTION, RETRY_AFTER};
use http::{HeaderValue, Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use super::answer::Net;
use super::drain::Drain;
use super::limits::Limits;
use super::metrics::{HandshakeFailure, ServerMetrics};

/// What all connections of a listener share.
pub(super) struct Shared {
    pub(super) acceptor: TlsAcceptor,
    pub(super) net: Net,
    pub(super) limits: Limits,
    pub(super) drain: Drain,
    /// Cancelled when requests in flight have had their time.
    pub(super) abandon: CancellationToken,
    pub(super) metrics: ServerMetrics,
}

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// By itself.
    Finished,
    /// Cut off at the end of the drain.
    Abandoned,
}

/// The protocol that was agreed on in the handshake (ALPN). hyper could guess it from the first bytes, but would wait for
/// them without a timeout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Http1,
    Http2,
}

/// Serves one connection to its end.
pub(super) async fn run(tcp: TcpStream, shared: Arc<Shared>) -> Ended {
    match shared.abandon.run_until_cancelled(handshake(tcp, &shared)).await {
        Some(Ok(tls)) => {
            let protocol = match tls.get_ref().1.alpn_protocol() {
                Some(b"h2") => Protocol::Http2,
                _ => Protocol::Http1,
            };
            serve(tls, protocol, shared).await
        }
        Some(Err(reason)) => {
            shared.metrics.handshake_failed(reason);
            Ended::Finished
        }
        None => Ended::Abandoned,
    }
}

async fn handshake(tcp: TcpStream, shared: &Shared) -> Result<TlsStream<TcpStream>, HandshakeFailure> {
    // An answer is one small write. Without this it might wait for the acknowledgement of the one before.
    if let Err(error) = tcp.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY cannot be set");
    }
    match timeout(shared.limits.handshake, shared.acceptor.accept(tcp)).await {
        Ok(Ok(tls)) => Ok(tls),
        Ok(Err(error)) => {
            tracing::debug!(%error, "handshake failed");
            // Errors of rustls have the kind InvalidData; all others are the socket's.
            Err(match error.kind() {
                io::ErrorKind::InvalidData => HandshakeFailure::Tls,
                _ => HandshakeFailure::Closed,
            })
        }
        Err(_) => Err(HandshakeFailure::Timeout),
    }
}

async fn serve<I>(io: I, protocol: Protocol, shared: Arc<Shared>) -> Ended
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    // ± 20 %, so that connections that were opened together do not end together.
    let age = shared.limits.recycle_age.mul_f64(0.8 + 0.4 * fastrand::f64());
    let life = Arc::new(Life {
        shared: Arc::clone(&shared),
        until: Instant::now() + age,
        answers: AtomicU32::new(0),
    });
    let until = life.until;
    let service = service_fn(move |request| {
        let life = Arc::clone(&life);
        async move { Ok::<_, Infallible>(life.answer(request).await) }
    });
    let builder = builder(protocol, &shared.limits);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(io), service));
    // An HTTP/1.1 connection ends with an answer that says so; here it is closed only when accepting ends. h2 has GOAWAY.
    let goodbye = async {
        match protocol {
            Protocol::Http1 => shared.drain.closed().await,
            Protocol::Http2 => tokio::select! {
                () = shared.drain.begun() => (),
                () = sleep_until(until) => (),
            },
        }
    };
    let ended = tokio::select! {
        biased;
        ended = connection.as_mut() => Some(ended),
        () = goodbye => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            connection.as_mut().graceful_shutdown();
            match shared.abandon.run_until_cancelled(connection).await {
                Some(ended) => ended,
                None => return Ended::Abandoned,
            }
        }
    };
    if let Err(error) = ended {
        // Resets, idle timeouts and bad requests: the peer caused them, and hyper has answered where it could.
        tracing::debug!(%error, "connection ended");
    }
    Ended::Finished
}

fn builder(protocol: Protocol, limits: &Limits) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        // This timer also runs between two requests.
        .header_read_timeout(limits.idle)
        .max_buf_size(limits.head);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(Limits::PING_EVERY)
        .keep_alive_timeout(Limits::PING_ANSWER)
        .max_header_list_size(u32::try_from(limits.head).unwrap_or(u32::MAX))
        .max_concurrent_streams(Limits::STREAMS);
    match protocol {
        Protocol::Http1 => builder.http1_only(),
        Protocol::Http2 => builder.http2_only(),
    }
}

/// The end of one connection, and the number of its answers.
struct Life {
    shared: Arc<Shared>,
    until: Instant,
    answers: AtomicU32,
}

impl Life {
    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let version = request.version();
        let mut response = self.shared.net.answer(request).await;
        if version < Version::HTTP_2 && self.is_last(&response) {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }

    /// Whether this answer is the last on its connection. Asked when it is ready, so that a drain that began meanwhile
    /// counts.
    fn is_last(&self, response: &Response<Body>) -> bool {
        let answers = self.answers.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        let body_left = match response.status() {
            StatusCode::PAYLOAD_TOO_LARGE | StatusCode::REQUEST_TIMEOUT | StatusCode::BAD_REQUEST => true,
            // With this header there was no room for the body. Without it, a door did not answer in time, and the body
            // was read.
            StatusCode::SERVICE_UNAVAILABLE => response.headers().contains_key(RETRY_AFTER),
            _ => false,
        };
        body_left
            || self.shared.drain.has_begun()
            || answers >= self.shared.limits.recycle_answers
            || Instant::now() >= self.until
    }
}
