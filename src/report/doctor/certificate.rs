//! The certificate that a replica shows, judged as the API server judges it: by the `caBundle`, for the Service's name.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{CertificateError, ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use x509_parser::prelude::{FromDer, X509Certificate};

/// How long a replica may take to greet.
const PATIENCE: Duration = Duration::from_secs(5);

/// What came of a greeting.
#[derive(Debug)]
pub(super) enum Greeting {
    /// The bundle verifies it, until then.
    Verified(Option<Timestamp>),
    /// It does not.
    Refused(CertificateError),
    /// We did not come as far as that.
    Unreachable(String),
}

/// The authorities of a bundle; what is no certificate is passed over.
pub(super) fn roots(bundle: &[u8]) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(CertificateDer::pem_slice_iter(bundle).filter_map(Result::ok));
    roots
}

/// Greets whoever listens there as the API server would greet `name`.
pub(super) async fn greet(address: SocketAddr, name: &str, roots: RootCertStore) -> Greeting {
    match timeout(PATIENCE, shake(address, name, roots)).await {
        Ok(Ok(until)) => Greeting::Verified(until),
        Ok(Err(error)) => match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            Some(rustls::Error::InvalidCertificate(refused)) => Greeting::Refused(refused.clone()),
            _ => Greeting::Unreachable(error.to_string()),
        },
        Err(_) => Greeting::Unreachable(format!("no answer within {PATIENCE:?}")),
    }
}

async fn shake(address: SocketAddr, name: &str, roots: RootCertStore) -> io::Result<Option<Timestamp>> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?;
    let config = config.with_root_certificates(roots).with_no_client_auth();
    let name = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
    let stream = TcpStream::connect(address).await?;
    // Where a certificate is asked of callers, what we lack is said only after this.
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
    let (_, connection) = stream.get_ref();
    Ok(connection.peer_certificates().and_then(<[_]>::first).and_then(end))
}

fn end(leaf: &CertificateDer<'_>) -> Option<Timestamp> {
    let (_, read) = X509Certificate::from_der(leaf).ok()?;
    Timestamp::from_second(read.validity().not_after.timestamp()).ok()
}
