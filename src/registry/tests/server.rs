//! Small servers on 127.0.0.1, on a port of the system's choice, that answer what a test tells them to.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::header::HeaderMap;
use http::{Method, Request, Response, Version};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use url::Url;

/// A request as it arrived.
#[derive(Debug, Clone)]
pub struct Seen {
    pub version: Version,
    pub method: Method,
    pub path: String,
    pub query: String,
    pub headers: HeaderMap,
    pub body: String,
}

impl Seen {
    /// A header, empty where it is missing.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
    }

    pub fn authorization(&self) -> &str {
        self.header("authorization")
    }

    /// This server, as the client named it.
    pub fn host(&self) -> &str {
        self.header("host")
    }
}

/// What a test answers.
pub type Reply = Response<String>;

/// An answer without a body.
pub fn status(status: u16) -> Reply {
    reply(status, &[], "")
}

pub fn reply(status: u16, headers: &[(&str, &str)], body: &str) -> Reply {
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(*name, *value);
    }
    response.body(body.to_owned()).unwrap()
}

/// A server, and what it saw. It ends with its value.
pub struct Server {
    pub url: Url,
    seen: Arc<Mutex<Vec<Seen>>>,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    /// Plain HTTP.
    pub async fn http(handler: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        let (handler, seen): (Arc<_>, Arc<Mutex<Vec<_>>>) = (Arc::new(handler), Arc::default());
        let log = seen.clone();
        Self::listen(seen, move |stream| connection(stream, handler.clone(), log.clone())).await
    }

    /// HTTPS.
    #[cfg(feature = "demo")]
    pub async fn https(
        tls: rustls::ServerConfig,
        handler: impl Fn(&Seen) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(tls));
        let (handler, seen): (Arc<_>, Arc<Mutex<Vec<_>>>) = (Arc::new(handler), Arc::default());
        let log = seen.clone();
        let serve = move |stream| {
            let (acceptor, handler, log) = (acceptor.clone(), handler.clone(), log.clone());
            async move {
                // A handshake that fails is what some tests want.
                if let Ok(stream) = acceptor.accept(stream).await {
                    connection(stream, handler, log).await;
                }
            }
        };
        let mut server = Self::listen(seen, serve).await;
        server.url.set_scheme("https").unwrap();
        server
    }

    /// Whatever a test does with a connection.
    pub async fn raw<F>(serve: impl Fn(TcpStream) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Self::listen(Arc::default(), serve).await
    }

    async fn listen<F>(seen: Arc<Mutex<Vec<Seen>>>, serve: impl Fn(TcpStream) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream));
            }
        });
        Self { url, seen, task }
    }

    /// The requests so far, in the order in which they arrived.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// `METHOD /path` of each request, the token's path among them.
    pub fn lines(&self) -> Vec<String> {
        self.seen().iter().map(|seen| format!("{} {}", seen.method, seen.path)).collect()
    }
}

async fn connection<S>(
    stream: S,
    handler: Arc<impl Fn(&Seen) -> Reply + Send + Sync + 'static>,
    log: Arc<Mutex<Vec<Seen>>>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request: Request<Incoming>| {
        let (handler, log) = (handler.clone(), log.clone());
        async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            let seen = Seen {
                version: parts.version,
                method: parts.method,
                path: parts.uri.path().to_owned(),
                query: parts.uri.query().unwrap_or_default().to_owned(),
                headers: parts.headers,
                body: String::from_utf8(body.to_vec()).unwrap(),
            };
            log.lock().unwrap().push(seen.clone());
            Ok::<_, std::convert::Infallible>(handler(&seen).map(|body| Full::new(Bytes::from(body))))
        }
    });
    // A client that goes away is no failure of the server.
    let _gone =
        auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
}
