//! Who may call: anyone, or those who show a certificate that an authority of theirs signed.
//!
//! The authorities are a file, read again as the server's own certificate is: an API server's authority is rotated, too.
//! Connections that live keep what they have proved.

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
use super::tls::TlsError;

/// Who may call.
#[derive(Debug, Clone, Default)]
pub enum Callers {
    /// Whoever reaches us; keep others out with a NetworkPolicy.
    #[default]
    Anyone,
    /// Those whose client certificate passes: the API server's.
    Known(Arc<CallerCheck>),
}

impl Callers {
    /// From the authorities' certificates in PEM; whatever name they signed is good.
    ///
    /// # Errors
    /// When there is none, it is no PEM, or one of them cannot be an authority.
    pub fn signed_by_pem(authorities: &[u8]) -> Result<Self, TlsError> {
        Ok(Self::Known(Arc::new(CallerCheck::new(authorities, Vec::new())?)))
    }
}

/// Checks callers' certificates, by authorities that may change.
#[derive(Debug)]
pub struct CallerCheck {
    provider: CryptoProvider,
    signed_by: ArcSwap<Arc<dyn ClientCertVerifier>>,
    /// The names of which a caller must bear one, as its CN or as a DNS name; none: any name is good.
    names: Vec<String>,
}

impl CallerCheck {
    /// By these authorities (PEM) and names.
    ///
    /// # Errors
    /// When there is no authority, it is no PEM, or one of them cannot be an authority.
    pub fn new(authorities: &[u8], names: Vec<String>) -> Result<Self, TlsError> {
        let signed_by = ArcSwap::from_pointee(verifier(authorities)?);
        Ok(Self { provider: aws_lc_rs::default_provider(), signed_by, names })
    }

    /// By these authorities from the next handshake on.
    ///
    /// # Errors
    /// As [`new`](Self::new); then the old ones stay.
    pub fn trust(&self, authorities: &[u8]) -> Result<(), TlsError> {
        self.signed_by.store(Arc::new(verifier(authorities)?));
        Ok(())
    }

    fn bears_a_name(&self, certificate: &CertificateDer<'_>) -> bool {
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
        // They may change while this is borrowed. Without hints a client shows the certificate that it has.
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.signed_by.load().verify_client_cert(end_entity, intermediates, now)?;
        if self.names.is_empty() || self.bears_a_name(end_entity) {
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
    /// What it said when it was last good.
    content: Vec<u8>,
}

impl CallerFile {
    /// Reads it for the first time.
    ///
    /// # Errors
    /// When it cannot be read, or holds no authority.
    pub fn open(path: PathBuf, names: Vec<String>) -> Result<Self, TlsError> {
        let content = std::fs::read(&path).map_err(|source| TlsError::Read { path: path.clone(), source })?;
        let check = Arc::new(CallerCheck::new(&content, names)?);
        Ok(Self { path, check, content })
    }

    /// Who may call by it.
    pub fn callers(&self) -> Callers {
        Callers::Known(Arc::clone(&self.check))
    }

    /// Reads it again and again, for ever, and keeps the condition `callers`. What cannot be used changes nothing else.
    pub async fn watch(mut self, conditions: &Conditions, every: Duration) {
        let mut ticks = tokio::time::interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            conditions.set(
                ConditionName::Callers,
                match self.poll().await {
                    Ok(()) => Condition::good("must show a certificate of a known authority"),
                    Err(error) => {
                        Condition::degraded(format!("keeping the old authorities: {}", error_chain(&error)))
                    }
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
