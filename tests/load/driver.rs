//! The caller: keep-alive connections over TLS, each with one request at a time, as an API server is one.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use futures::future::try_join_all;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Whom to call.
#[derive(Clone)]
pub struct Target {
    address: SocketAddr,
    tls: TlsConnector,
}

/// What a loop saw.
pub struct Seen {
    /// From the first request to the last answer.
    pub elapsed: Duration,
    /// One for each request, in ascending order.
    pub latencies: Vec<Duration>,
}

impl Seen {
    /// The latency under which this share (0 to 1) of the requests stayed.
    pub fn quantile(&self, share: f64) -> Duration {
        let at = (share * self.latencies.len() as f64) as usize;
        self.latencies.get(at).or(self.latencies.last()).copied().unwrap_or_default()
    }
}

/// One connection.
pub struct Connection {
    tls: TlsStream<TcpStream>,
    answer: Vec<u8>,
}

/// What becomes of a connection after an answer.
#[derive(PartialEq, Eq)]
enum Next {
    Again,
    Closed,
}

impl Target {
    /// The server at `address`, trusted by this authority (PEM).
    pub fn new(address: SocketAddr, authority: &Path) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(authority)?)?;
        let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { address, tls: TlsConnector::from(Arc::new(config)) })
    }

    /// A connection, its handshake done.
    pub async fn connect(&self) -> Result<Connection> {
        let tcp = TcpStream::connect(self.address).await?;
        tcp.set_nodelay(true)?;
        let tls = self.tls.connect(ServerName::from(self.address.ip()), tcp).await?;
        Ok(Connection { tls, answer: Vec::with_capacity(64 * 1024) })
    }

    /// Closed loop: each connection sends its next request when it has the answer to the last one. Every answer
    /// must be `expected`, byte for byte: what is measured is the admission that was looked at before.
    pub async fn closed_loop(
        &self,
        connections: &mut [Connection],
        request: &[u8],
        requests: usize,
        expected: &[u8],
    ) -> Result<Seen> {
        let each = requests / connections.len();
        let began = Instant::now();
        let loops = connections.iter_mut().map(async |connection| {
            let mut latencies = Vec::with_capacity(each);
            for _ in 0..each {
                let sent = Instant::now();
                let next = connection.exchange(request).await?;
                latencies.push(sent.elapsed());
                ensure!(connection.body() == expected, "another answer: {}", connection.text());
                if next == Next::Closed {
                    *connection = self.connect().await?;
                }
            }
            Ok(latencies)
        });
        let mut latencies = try_join_all(loops).await?.concat();
        let elapsed = began.elapsed();
        latencies.sort_unstable();
        Ok(Seen { elapsed, latencies })
    }
}

impl Connection {
    /// Sends the request once, and gives the body of the answer.
    pub async fn ask(&mut self, request: &[u8]) -> Result<Vec<u8>> {
        self.exchange(request).await?;
        Ok(self.body().to_vec())
    }

    async fn exchange(&mut self, request: &[u8]) -> Result<Next> {
        self.tls.write_all(request).await?;
        // What the socket had no room for waits in the TLS session until somebody pushes it.
        self.tls.flush().await?;
        self.answer.clear();
        loop {
            let read = self.tls.read_buf(&mut self.answer).await?;
            ensure!(read > 0, "the connection was closed within an answer");
            let Some(head) = head(&self.answer) else { continue };
            let text = std::str::from_utf8(&self.answer[..head])?;
            ensure!(text.starts_with("HTTP/1.1 200 "), "no 200: {}", self.text());
            let length: usize = header(text, "content-length").context("no Content-Length")?.parse()?;
            match self.answer.len() - head {
                have if have < length => continue,
                have if have > length => bail!("more than one answer to one request"),
                _ => {}
            }
            let closes = header(text, "connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
            return Ok(if closes { Next::Closed } else { Next::Again });
        }
    }

    fn body(&self) -> &[u8] {
        &self.answer[head(&self.answer).unwrap_or(0)..]
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.answer).into_owned()
    }
}

/// A POST of this body, ready for the wire.
pub fn post(path: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nhost: landfall\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

/// Where the head of an answer ends, if it is complete.
fn head(answer: &[u8]) -> Option<usize> {
    answer.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4)
}

fn header<'a>(head: &'a str, wanted: &str) -> Option<&'a str> {
    let mut fields = head.lines().filter_map(|line| line.split_once(':'));
    fields.find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value.trim())
}
