//! The caller: keep-alive connections over TLS, each with one request at a time, as an API server is one.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
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

/// One caller with one connection, which is opened when it is first needed, and again after it was closed.
pub struct Caller {
    target: Target,
    connection: Option<TlsStream<TcpStream>>,
    answer: Vec<u8>,
}

/// What becomes of a connection after an answer.
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

    /// So many callers, not yet connected.
    pub fn callers(&self, number: usize) -> Vec<Caller> {
        let caller = || Caller { target: self.clone(), connection: None, answer: Vec::new() };
        std::iter::repeat_with(caller).take(number).collect()
    }

    async fn connect(&self) -> Result<TlsStream<TcpStream>> {
        let tcp = TcpStream::connect(self.address).await?;
        tcp.set_nodelay(true)?;
        Ok(self.tls.connect(ServerName::from(self.address.ip()), tcp).await?)
    }
}

impl Caller {
    /// Opens the connection, where there is none.
    pub async fn connect(&mut self) -> Result<()> {
        if self.connection.is_none() {
            self.connection = Some(self.target.connect().await?);
        }
        Ok(())
    }

    /// Sends the request, and gives the body of the answer, which must be a 200.
    pub async fn call(&mut self, request: &[u8]) -> Result<&[u8]> {
        self.connect().await?;
        let mut connection = self.connection.take().context("it was opened a moment ago")?;
        // One that failed, or was abandoned in the middle of an answer, is not used again.
        if let Next::Again = exchange(&mut connection, request, &mut self.answer).await? {
            self.connection = Some(connection);
        }
        Ok(&self.answer[head(&self.answer).unwrap_or(0)..])
    }
}

async fn exchange(tls: &mut TlsStream<TcpStream>, request: &[u8], answer: &mut Vec<u8>) -> Result<Next> {
    tls.write_all(request).await?;
    // What the socket had no room for waits in the TLS session until somebody pushes it.
    tls.flush().await?;
    answer.clear();
    loop {
        let read = tls.read_buf(answer).await?;
        ensure!(read > 0, "the connection was closed within an answer");
        let Some(head) = head(answer) else { continue };
        let text = std::str::from_utf8(&answer[..head])?;
        ensure!(text.starts_with("HTTP/1.1 200 "), "no 200: {}", String::from_utf8_lossy(answer));
        let length: usize = header(text, "content-length").context("no Content-Length")?.parse()?;
        match answer.len() - head {
            have if have < length => continue,
            have if have > length => bail!("more than one answer to one request"),
            _ => {}
        }
        let closes = header(text, "connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
        return Ok(if closes { Next::Closed } else { Next::Again });
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
