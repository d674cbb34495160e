//! Verifies the certificate of a replica as the API server does: by the `caBundle`, for the Service's name.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{CertificateError, ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use x509_parser::prelude::{FromDer, X509Certificate};

/// The longest time of one TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// The result of a TLS handshake.
#[derive(Debug)]
pub(super) enum Handshake {
    /// The bundle verifies the certificate. Holds the end of its validity.
    Verified(Option<Timestamp>),
    /// The bundle does not verify the certificate.
    Refused(CertificateError),
    /// There was no connection, or no certificate.
    Unreachable(String),
}

/// The authorities of a bundle. Anything that is not a certificate is skipped.
pub(super) fn roots(bundle: &[u8]) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(CertificateDer::pem_slice_iter(bundle).filter_map(Result::ok));
    roots
}

/// Makes a TLS handshake with `address`, as the API server would do with the server `name`.
pub(super) async fn handshake(address: SocketAddr, name: &str, roots: RootCertStore) -> Handshake {
    match timeout(HANDSHAKE_TIMEOUT, connect(address, name, roots)).await {
        Ok(Ok(stream)) => {
            let (_, connection) = stream.get_ref();
            let leaf = connection.peer_certificates().and_then(<[_]>::first);
            Handshake::Verified(leaf.and_then(not_after))
        }
        Ok(Err(error)) => match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            Some(rustls::Error::InvalidCertificate(refused)) => Handshake::Refused(refused.clone()),
            _ => Handshake::Unreachable(error.to_string()),
        },
        Err(_) => Handshake::Unreachable(format!("no answer within {HANDSHAKE_TIMEOUT:?}")),
    }
}

async fn connect(address: SocketAddr, name: &str, roots: RootCertStore) -> io::Result<TlsStream<TcpStream>> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?;
    let config = config.with_root_certificates(roots).with_no_client_auth();
    let name = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
    let stream = TcpStream::connect(address).await?;
    // A server that requires client certificates refuses us only after this point, so its own certificate is seen.
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

/// Whom a server answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Caller {
    /// Whoever calls.
    Anyone,
    /// Who shows a certificate that it knows.
    Known,
}

/// Whom the server at `address` answers: we call without a certificate. `None` where we cannot reach it or do not trust it.
pub(super) async fn caller(address: SocketAddr, name: &str, roots: RootCertStore) -> Option<Caller> {
    let ask = async {
        let mut stream = connect(address, name, roots).await.ok()?;
        let request = format!("GET / HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n");
        // In TLS 1.3 a server refuses a client's certificate after the handshake.
        let answered = match stream.write_all(request.as_bytes()).await {
            Ok(()) => stream.read_u8().await.is_ok(),
            Err(_) => false,
        };
        Some(if answered { Caller::Anyone } else { Caller::Known })
    };
    timeout(HANDSHAKE_TIMEOUT, ask).await.ok().flatten()
}

fn not_after(leaf: &CertificateDer<'_>) -> Option<Timestamp> {
    let (_, read) = X509Certificate::from_der(leaf).ok()?;
    Timestamp::from_second(read.validity().not_after.timestamp()).ok()
}
