//! One connection, from its handshake to its last answer.

use std::convert::Infallible;
use std::io;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use axum::body::Body;
use http::header::{CONNECTION, RETRY_AFTER};
use http::{HeaderValue, Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::answer::Net;
use super::drain::Drain;
use super::limits::Limits;
use super::metrics::{Closed, HandshakeFailure, ServerMetrics};
use super::stall::Impatient;

/// What all connections of a listener share.
pub(super) struct Shared {
    /// `None`: HTTP/1.1 without TLS.
    pub(super) acceptor: Option<TlsAcceptor>,
    pub(super) net: Net,
    pub(super) limits: Limits,
    pub(super) drain: Drain,
    pub(super) metrics: ServerMetrics,
}

/// The protocol that was agreed on in the handshake (ALPN). hyper could guess it from the first bytes, but would wait for
/// them without a timeout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Http1,
    Http2,
}

/// Why a connection is told to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Goodbye {
    /// The server leaves. Who started us ends what does not finish.
    Drain,
    /// It is old.
    Age,
    /// No request came.
    NeverAsked,
}

/// Serves one connection to its end. Cancel safe: if it is dropped, the connection is cut off.
pub(super) async fn run(tcp: TcpStream, peer: IpAddr, shared: Arc<Shared>) {
    let first_request = Instant::now() + shared.limits.first_request;
    // An answer is one small write. Without this it might wait for the acknowledgement of the one before.
    if let Err(error) = tcp.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY cannot be set");
    }
    let tcp = Impatient::new(tcp, shared.limits.stall, shared.metrics.closed(Closed::Stalled));
    let Some(acceptor) = &shared.acceptor else {
        return serve(tcp, Protocol::Http1, peer, first_request, shared).await;
    };
    match handshake(tcp, acceptor, shared.limits.handshake).await {
        Ok(tls) => {
            let protocol = match tls.get_ref().1.alpn_protocol() {
                Some(b"h2") => Protocol::Http2,
                _ => Protocol::Http1,
            };
            serve(tls, protocol, peer, first_request, shared).await;
        }
        Err(reason) => shared.metrics.handshake_failed(reason),
    }
}

type Tcp = Impatient<TcpStream>;

async fn handshake(
    tcp: Tcp,
    acceptor: &TlsAcceptor,
    within: Duration,
) -> Result<TlsStream<Tcp>, HandshakeFailure> {
    match timeout(within, acceptor.accept(tcp)).await {
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

async fn serve<I>(io: I, protocol: Protocol, peer: IpAddr, first_request: Instant, shared: Arc<Shared>)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    // ± 20 %, so that connections that were opened together do not end together.
    let age = shared.limits.recycle_age.mul_f64(0.8 + 0.4 * fastrand::f64());
    let life = Arc::new(Life {
        shared: Arc::clone(&shared),
        peer,
        until: Instant::now() + age,
        asked: Notify::new(),
        requests: AtomicU32::new(0),
    });
    let lived = Arc::clone(&life);
    let service = service_fn(move |request| {
        let life = Arc::clone(&life);
        async move { Ok::<_, Infallible>(life.answer(request).await) }
    });
    let builder = builder(protocol, &shared.limits);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(io), service));
    let never_asked = async {
        if timeout_at(first_request, lived.asked.notified()).await.is_ok() {
            std::future::pending::<()>().await;
        }
    };
    // An HTTP/1.1 connection ends with an answer that says so; here it is closed only when accepting ends. h2 has GOAWAY.
    let goodbye = async {
        match protocol {
            Protocol::Http1 => tokio::select! {
                () = shared.drain.closed() => Goodbye::Drain,
                () = never_asked => Goodbye::NeverAsked,
            },
            Protocol::Http2 => tokio::select! {
                () = shared.drain.begun() => Goodbye::Drain,
                () = never_asked => Goodbye::NeverAsked,
                () = sleep_until(lived.until) => Goodbye::Age,
            },
        }
    };
    let ended = tokio::select! {
        biased;
        ended = connection.as_mut() => Ok(ended),
        why = goodbye => Err(why),
    };
    let ended = match ended {
        Ok(ended) => ended,
        Err(why) => {
            connection.as_mut().graceful_shutdown();
            // A peer may leave its requests open, or take no answer of h2, for ever.
            let within = match why {
                Goodbye::Drain => None,
                Goodbye::Age => Some(shared.limits.finish),
                Goodbye::NeverAsked => {
                    shared.metrics.closed(Closed::FirstRequest).inc();
                    Some(Limits::GOODBYE)
                }
            };
            match within {
                None => connection.await,
                Some(within) => timeout(within, connection).await.unwrap_or(Ok(())),
            }
        }
    };
    if let Err(error) = ended {
        // Resets, idle timeouts and bad requests: the peer caused them, and hyper has answered where it could.
        tracing::debug!(%error, "connection ended");
    }
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
        .max_concurrent_streams(Limits::STREAMS)
        .initial_stream_window_size(Limits::WINDOW)
        .initial_connection_window_size(Limits::WINDOW)
        .max_send_buf_size(Limits::SEND_BUFFER);
    match protocol {
        Protocol::Http1 => builder.http1_only(),
        Protocol::Http2 => builder.http2_only(),
    }
}

/// Who asks on one connection, until when, and how many requests there were.
struct Life {
    shared: Arc<Shared>,
    peer: IpAddr,
    until: Instant,
    /// Told once, of the first request.
    asked: Notify,
    requests: AtomicU32,
}

impl Life {
    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let number = self.requests.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        if number == 1 {
            self.asked.notify_one();
        }
        let version = request.version();
        let mut response = self.shared.net.answer(self.peer, request).await;
        if version < Version::HTTP_2 && self.is_last(number, &response) {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }

    /// Whether this answer is the last on its connection. Asked when it is ready, so that a drain that began meanwhile
    /// counts.
    fn is_last(&self, number: u32, response: &Response<Body>) -> bool {
        let body_left = match response.status() {
            StatusCode::PAYLOAD_TOO_LARGE | StatusCode::REQUEST_TIMEOUT | StatusCode::BAD_REQUEST => true,
            // With this header there was no room for the body. Without it, a door did not answer in time, and the body
            // was read.
            StatusCode::SERVICE_UNAVAILABLE => response.headers().contains_key(RETRY_AFTER),
            _ => false,
        };
        body_left
            || self.shared.drain.has_begun()
            || number >= self.shared.limits.recycle_answers
            || Instant::now() >= self.until
    }
}
