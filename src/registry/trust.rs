//! Whom we trust: authorities, and the very certificates of a CA file.
//!
//! Go's `x509.Certificate.Verify` accepts a server's certificate that is itself among the trusted ones, whether it may
//! sign others or not. So every node pulls from a Harbor that was set up with `openssl req -x509` and whose certificate
//! is handed out as its CA file. webpki refuses that certificate, because it is an authority's (`CA:TRUE`).

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, OtherError, RootCertStore, SignatureScheme};
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// Verifies a server's certificate.
#[derive(Debug)]
pub(super) struct Trust {
    /// The CA file's certificates, as they are.
    listed: Vec<CertificateDer<'static>>,
    authorities: Arc<WebPkiServerVerifier>,
}

/// The server's certificate may sign others, and is not in the CA file.
#[derive(Debug, thiserror::Error)]
#[error(
    "its certificate is an authority's own (CA:TRUE): add that very certificate to `caFile`, or let the authority issue one for the server"
)]
struct AuthorityItself;

impl Trust {
    /// Trusts the public authorities that are built in. What a machine adds to its own bundle is not for registries: their
    /// `caFile` says whom to trust.
    pub fn public() -> Result<Self, String> {
        let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        Self::with(Vec::new(), roots)
    }

    /// Trusts these certificates only.
    ///
    /// # Errors
    /// There is none, or one cannot be read: for people.
    pub fn only(certificates: Vec<CertificateDer<'static>>) -> Result<Self, String> {
        if certificates.is_empty() {
            return Err("it holds no PEM certificate".to_owned());
        }
        let mut roots = RootCertStore::empty();
        for certificate in &certificates {
            roots.add(certificate.clone()).map_err(|error| error.to_string())?;
        }
        Self::with(certificates, roots)
    }

    fn with(listed: Vec<CertificateDer<'static>>, roots: RootCertStore) -> Result<Self, String> {
        let authorities = WebPkiServerVerifier::builder(Arc::new(roots)).build();
        Ok(Self { listed, authorities: authorities.map_err(|error| error.to_string())? })
    }
}

impl ServerCertVerifier for Trust {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.listed.iter().any(|listed| listed == end_entity) {
            return listed(end_entity, server_name, now);
        }
        let verified =
            self.authorities.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        verified.map_err(|error| match error {
            Error::InvalidCertificate(CertificateError::Other(_)) if is_authority(end_entity) => {
                CertificateError::Other(OtherError(Arc::new(AuthorityItself))).into()
            }
            error => error,
        })
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.authorities.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.authorities.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.authorities.supported_verify_schemes()
    }
}

/// Verifies a certificate that is trusted itself: its names, its dates and its purpose. That the server has its key is
/// verified by the signature of the handshake.
fn listed(
    der: &CertificateDer<'_>,
    name: &ServerName<'_>,
    now: UnixTime,
) -> Result<ServerCertVerified, Error> {
    rustls::client::verify_server_name(&ParsedCertificate::try_from(der)?, name)?;
    let (_, certificate) = X509Certificate::from_der(der).map_err(|_| CertificateError::BadEncoding)?;
    let time = |time: x509_parser::time::ASN1Time| {
        UnixTime::since_unix_epoch(std::time::Duration::from_secs(
            u64::try_from(time.timestamp()).unwrap_or_default(),
        ))
    };
    let (not_before, not_after) =
        (time(certificate.validity().not_before), time(certificate.validity().not_after));
    if now < not_before {
        return Err(CertificateError::NotValidYetContext { time: now, not_before }.into());
    }
    if now > not_after {
        return Err(CertificateError::ExpiredContext { time: now, not_after }.into());
    }
    match certificate.extended_key_usage() {
        Ok(Some(usage)) if !usage.value.any && !usage.value.server_auth => {
            Err(CertificateError::InvalidPurpose.into())
        }
        Ok(_) => Ok(ServerCertVerified::assertion()),
        Err(_) => Err(CertificateError::BadEncoding.into()),
    }
}

fn is_authority(der: &CertificateDer<'_>) -> bool {
    X509Certificate::from_der(der).is_ok_and(|(_, certificate)| certificate.is_ca())
}
