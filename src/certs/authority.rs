//! A certificate authority: a certificate that signs others, and its key.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use jiff::Timestamp;
use pem::{EncodeConfig, LineEnding, Pem};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use x509_parser::prelude::{AttributeTypeAndValue, FromDer, X509Certificate};

use super::leaf::{Leaf, LeafDates};
use super::{CertsError, Periods, earlier, later};

/// The organisation in the name of each of our authorities. We recognise our own in a bundle by it.
const ORGANISATION: &str = crate::domain::api_group::API_GROUP;

/// The certificate of an authority.
#[derive(Clone, PartialEq, Eq)]
pub struct Certificate {
    der: CertificateDer<'static>,
    not_before: Timestamp,
    not_after: Timestamp,
    ours: bool,
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificate({} – {})", self.not_before, self.not_after)
    }
}

impl Certificate {
    /// All certificates in a PEM text. What cannot be read is skipped.
    pub fn all_in(pem: &[u8]) -> Vec<Self> {
        CertificateDer::pem_slice_iter(pem).filter_map(|der| Self::read(der.ok()?).ok()).collect()
    }

    fn read(der: CertificateDer<'static>) -> Result<Self, String> {
        let (_, read) = X509Certificate::from_der(&der).map_err(|error| error.to_string())?;
        let moment = |seconds| Timestamp::from_second(seconds).map_err(|error| error.to_string());
        let validity = read.validity();
        let (not_before, not_after) =
            (moment(validity.not_before.timestamp())?, moment(validity.not_after.timestamp())?);
        let is_us = |name: &AttributeTypeAndValue<'_>| name.as_str().is_ok_and(|name| name == ORGANISATION);
        let ours = read.subject().iter_organization().any(is_us);
        Ok(Self { der, not_before, not_after, ours })
    }

    /// As PEM.
    pub fn pem(&self) -> String {
        pem("CERTIFICATE", &self.der)
    }

    /// As DER.
    pub fn der(&self) -> &CertificateDer<'static> {
        &self.der
    }

    /// The end of its validity.
    pub fn not_after(&self) -> Timestamp {
        self.not_after
    }

    /// Whether we made it.
    pub(super) fn is_ours(&self) -> bool {
        self.ours
    }

    /// Whether it is valid at `now`.
    pub(super) fn holds(&self, now: Timestamp) -> bool {
        self.not_before <= now && now < self.not_after
    }
}

/// An authority: a certificate and the key that belongs to it.
#[derive(Clone)]
pub struct Authority {
    certificate: Certificate,
    key: Arc<PrivatePkcs8KeyDer<'static>>,
}

impl PartialEq for Authority {
    fn eq(&self, other: &Self) -> bool {
        self.certificate == other.certificate
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Authority({:?})", self.certificate)
    }
}

impl Authority {
    /// Makes one (ECDSA P-256) at `now`.
    ///
    /// # Errors
    /// If the machine has no randomness.
    pub fn new(now: Timestamp, periods: &Periods) -> Result<Self, CertsError> {
        let failed = |source| CertsError::Make { what: "authority", source };
        let key = KeyPair::generate().map_err(failed)?;
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, ORGANISATION);
        // Each has a name of its own: of two authorities with the same name, some verifiers try only the first.
        let name = format!("landfall authority {:x}", now.as_millisecond());
        params.distinguished_name.push(DnType::CommonName, name);
        params.not_before = SystemTime::from(earlier(now, Periods::BACKDATED)).into();
        params.not_after = SystemTime::from(later(now, periods.authority)).into();
        let certificate = params.self_signed(&key).map_err(failed)?;
        let certificate = Certificate::read(certificate.der().clone())
            .map_err(|reason| CertsError::Damaged { key: "a new authority", reason })?;
        Ok(Self { certificate, key: Arc::new(PrivatePkcs8KeyDer::from(key.serialize_der())) })
    }

    /// Reads one from the values of two keys of the Secret.
    pub(super) fn read(
        names: [&'static str; 2],
        certificate: Certificate,
        key: &[u8],
    ) -> Result<Self, CertsError> {
        let [of_certificate, of_key] = names;
        let damaged = |key, reason: String| CertsError::Damaged { key, reason };
        let key =
            PrivatePkcs8KeyDer::from_pem_slice(key).map_err(|error| damaged(of_key, error.to_string()))?;
        let pair = KeyPair::try_from(&key).map_err(|error| damaged(of_key, error.to_string()))?;
        let (_, read) = X509Certificate::from_der(&certificate.der)
            .map_err(|error| damaged(of_certificate, error.to_string()))?;
        if read.public_key().subject_public_key.data != pair.public_key_raw() {
            return Err(damaged(of_key, format!("it does not belong to `{of_certificate}`")));
        }
        if !read.is_ca() {
            return Err(damaged(of_certificate, "it is not an authority".to_owned()));
        }
        Ok(Self { certificate, key: Arc::new(key) })
    }

    /// Its certificate.
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// Its key as PEM.
    pub(super) fn key_pem(&self) -> String {
        pem("PRIVATE KEY", self.key.secret_pkcs8_der())
    }

    /// Issues a leaf (ECDSA P-256) for these DNS names at `now`. It never outlives its authority.
    ///
    /// # Errors
    /// If a name is not a DNS name, or the machine has no randomness.
    pub fn issue(&self, names: &[String], now: Timestamp, periods: &Periods) -> Result<Leaf, CertsError> {
        let failed = |source| CertsError::Make { what: "leaf", source };
        let signing = KeyPair::try_from(&*self.key).map_err(failed)?;
        let issuer = Issuer::from_ca_cert_der(&self.certificate.der, signing).map_err(failed)?;
        let not_after = later(now, periods.leaf).min(self.certificate.not_after);
        let mut params = CertificateParams::new(names).map_err(failed)?;
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, ORGANISATION);
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        params.not_before = SystemTime::from(earlier(now, Periods::BACKDATED)).into();
        params.not_after = SystemTime::from(not_after).into();
        let key = KeyPair::generate().map_err(failed)?;
        let certificate = params.signed_by(&key, &issuer).map_err(failed)?;
        Ok(Leaf {
            certificate: certificate.der().clone(),
            key: PrivatePkcs8KeyDer::from(key.serialize_der()),
            dates: LeafDates { issuer: self.certificate.clone(), issued: now, not_after },
        })
    }
}

fn pem(label: &str, der: &[u8]) -> String {
    let lines = EncodeConfig::new().set_line_ending(LineEnding::LF);
    pem::encode_config(&Pem::new(label, der), lines)
}

#[cfg(test)]
impl Authority {
    /// One for models, without a real certificate. `n` tells it from others.
    pub(super) fn model(n: u32, now: Timestamp, periods: &Periods) -> Self {
        let certificate = Certificate {
            der: CertificateDer::from(n.to_be_bytes().to_vec()),
            not_before: earlier(now, Periods::BACKDATED),
            not_after: later(now, periods.authority),
            ours: true,
        };
        Self { certificate, key: Arc::new(PrivatePkcs8KeyDer::from(Vec::new())) }
    }
}
