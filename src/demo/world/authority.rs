//! A certificate authority for one world.

use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

/// Why a certificate could not be made.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// It could not be signed.
    #[error("the certificate could not be signed")]
    Sign(#[from] rcgen::Error),
    /// The TLS library rejected it.
    #[error("the certificate cannot be served")]
    Serve(#[from] rustls::Error),
}

/// When a certificate is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Validity {
    /// From the past until far in the future.
    Current,
    /// Until the end of 2001.
    Expired,
}

/// An authority with its own key; clients trust it by its [`pem`](Self::pem).
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A server's certificate and key.
pub struct Identity {
    /// The certificate (PEM).
    pub certificate_pem: String,
    /// Its private key (PEM, PKCS #8).
    pub key_pem: String,
    server: Arc<ServerConfig>,
}

impl Authority {
    /// A new authority of that common name.
    ///
    /// # Errors
    /// If the key or the certificate cannot be made.
    pub fn new(common_name: &str) -> Result<Self, AuthorityError> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        Ok(Self { issuer: CertifiedIssuer::self_signed(params, KeyPair::generate()?)? })
    }

    /// The authority's certificate (PEM).
    #[must_use]
    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// Issues a server certificate for these DNS names and IP addresses.
    ///
    /// # Errors
    /// If a name is invalid, or signing fails.
    pub fn issue(&self, names: &[&str], validity: Validity) -> Result<Identity, AuthorityError> {
        let names: Vec<String> = names.iter().map(|name| (*name).into()).collect();
        let mut params = CertificateParams::new(names)?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        if validity == Validity::Expired {
            params.not_before = rcgen::date_time_ymd(2001, 1, 1);
            params.not_after = rcgen::date_time_ymd(2001, 12, 31);
        }
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        let secret = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let server = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], secret)?;
        Ok(Identity {
            certificate_pem: certificate.pem(),
            key_pem: key.serialize_pem(),
            server: Arc::new(server),
        })
    }
}

impl Identity {
    /// How a server serves it. HTTP/1.1 only, as the nginx that Harbor ships.
    #[must_use]
    pub fn server_config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.server)
    }
}
