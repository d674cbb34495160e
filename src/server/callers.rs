//! Who may call: anyone, or only those who show a certificate of a known authority.
//!
//! The authorities are in a file, which is read again as the server's own certificate is: the authority of an API server is
//! rotated, too. A change affects new connections only.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme,
};
use tokio::time::MissedTickBehavior;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use crate::domain::error_chain::error_chain;

use super::conditions::{Condition, ConditionName, Conditions};
use super::error::TlsError;

/// Who may call.
#[derive(Debug, Clone, Default)]
pub enum Callers {
    /// Anyone who can reach the port. A NetworkPolicy may limit that.
    #[default]
    Anyone,
    /// Those whose client certificate passes the check: the API server.
    Known(Arc<CallerCheck>),
}

/// Checks the certificates of callers. The authorities may change while the server runs.
#[derive(Debug)]
pub struct CallerCheck {
    provider: CryptoProvider,
    signed_by: ArcSwap<Arc<dyn ClientCertVerifier>>,
    /// One of these must be in the certificate, as its CN or as a DNS name. If there are none, nobody may call.
    names: Vec<String>,
}

impl CallerCheck {
    /// With these authorities (PEM) and names.
    ///
    /// # Errors
    /// If there is no authority, the text is not PEM, or one of the certificates cannot be used as an authority.
    pub fn new(authorities: &[u8], names: Vec<String>) -> Result<Self, TlsError> {
        let signed_by = ArcSwap::from_pointee(verifier(authorities)?);
        Ok(Self { provider: aws_lc_rs::default_provider(), signed_by, names })
    }

    /// Uses these authorities from the next handshake on.
    ///
    /// # Errors
    /// As [`new`](Self::new). Then the old ones stay.
    pub fn trust(&self, authorities: &[u8]) -> Result<(), TlsError> {
        self.signed_by.store(Arc::new(verifier(authorities)?));
        Ok(())
    }

    fn has_a_good_name(&self, certificate: &CertificateDer<'_>) -> bool {
        let Ok((_, read)) = X509Certificate::from_der(certificate) else { return false };
        let is_good = |name: &str| self.names.iter().any(|good| good == name);
        let common = read.subject().iter_common_name().any(|name| name.as_str().is_ok_and(is_good));
        let alternatives = read.subject_alternative_name().ok().flatten();
        common
            || alternatives.is_some_and(|names| {
                let mut names = names.value.general_names.iter();
                names.any(|name| matches!(name, GeneralName::DNSName(name) if is_good(name)))
            })
    }
}

fn verifier(authorities: &[u8]) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let mut roots = RootCertStore::empty();
    for authority in CertificateDer::pem_slice_iter(authorities) {
        let authority = authority.map_err(|source| TlsError::Pem { part: "callers' authority", source })?;
        roots.add(authority).map_err(|source| TlsError::Setup { source })?;
    }
    if roots.is_empty() {
        return Err(TlsError::NoAuthority);
    }
    let provider = Arc::new(aws_lc_rs::default_provider());
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .map_err(|source| TlsError::Callers { source })
}

impl ClientCertVerifier for CallerCheck {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // They may change while this is borrowed. Without hints a client shows the only certificate that it has.
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.signed_by.load().verify_client_cert(end_entity, intermediates, now)?;
        if self.has_a_good_name(end_entity) {
            return Ok(verified);
        }
        Err(CertificateError::ApplicationVerificationFailure.into())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// The authorities of callers in a file (PEM).
#[derive(Debug)]
pub struct CallerFile {
    path: PathBuf,
    check: Arc<CallerCheck>,
    /// The last good content.
    content: Vec<u8>,
}

impl CallerFile {
    /// Reads it for the first time.
    ///
    /// # Errors
    /// If it cannot be read, or holds no authority.
    pub fn open(path: PathBuf, names: Vec<String>) -> Result<Self, TlsError> {
        let content = std::fs::read(&path).map_err(|source| TlsError::Read { path: path.clone(), source })?;
        let check = Arc::new(CallerCheck::new(&content, names)?);
        Ok(Self { path, check, content })
    }

    /// Who may call.
    pub fn callers(&self) -> Callers {
        Callers::Known(Arc::clone(&self.check))
    }

    /// Reads it for ever and keeps the condition `Callers`. A file that cannot be used changes nothing but that.
    pub async fn watch(mut self, conditions: &Conditions, every: Duration) {
        let mut ticks = tokio::time::interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            conditions.set(
                ConditionName::Callers,
                match self.poll().await {
                    Ok(()) => Condition::good("callers must show a certificate of a known authority"),
                    Err(error) => Condition::degraded(format!(
                        "the old authorities stay in use: {}",
                        error_chain(&error)
                    )),
                },
            );
        }
    }

    async fn poll(&mut self) -> Result<(), TlsError> {
        let content = tokio::fs::read(&self.path)
            .await
            .map_err(|source| TlsError::Read { path: self.path.clone(), source })?;
        if content != self.content {
            self.check.trust(&content)?;
            self.content = content;
        }
        Ok(())
    }
}
