//! TLS: which certificate is served, and how a new one replaces it while connections are open.
//!
//! A certificate and its key are a [`Pair`], which exists only if they belong together. [`ServingCertificate`] holds the
//! pair that is served. [`CertificateFiles`] installs pairs from files, `controllers/certificates.rs` those of our own
//! authority.
//!
//! Files are read again every few seconds and compared by content. The kubelet replaces the directory behind the symlink
//! `..data`: a watch on the file would see nothing after the second replacement. The directory may also be replaced
//! between our reading the certificate and the key. So a pair that does not match is normal: the old one stays, and the
//! next reading decides.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use jiff::Timestamp;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, SupportedProtocolVersion};
use tokio::time::MissedTickBehavior;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::callers::Callers;
use super::conditions::{Condition, ConditionName, Conditions};
use super::error::TlsError;
use super::metrics::ServerMetrics;
use crate::domain::error_chain::error_chain;

/// A certificate chain and the key that belongs to it.
#[derive(Debug, Clone)]
pub struct Pair {
    certified: Arc<CertifiedKey>,
    not_before: Timestamp,
    not_after: Timestamp,
}

impl Pair {
    /// From PEM text: the chain, leaf first, and the key (PKCS#8, PKCS#1 or SEC1).
    ///
    /// # Errors
    /// If one of them is not PEM, or they do not belong together. The dates are not checked here.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, TlsError> {
        let chain = CertificateDer::pem_slice_iter(chain)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|source| TlsError::Pem { part: "certificate", source })?;
        let key =
            PrivateKeyDer::from_pem_slice(key).map_err(|source| TlsError::Pem { part: "key", source })?;
        Self::from_der(chain, key)
    }

    /// From DER: the chain, leaf first, and the key.
    ///
    /// # Errors
    /// If they do not belong together. The dates are not checked here.
    pub fn from_der(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<Self, TlsError> {
        let (not_before, not_after) = validity(chain.first())?;
        let certified = CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider())
            .map_err(|source| TlsError::Unpaired { source })?;
        Ok(Self { certified: Arc::new(certified), not_before, not_after })
    }

    /// The end of its validity.
    pub fn not_after(&self) -> Timestamp {
        self.not_after
    }

    fn usable(self, now: Timestamp) -> Result<Self, TlsError> {
        match () {
            () if now > self.not_after => Err(TlsError::Expired { not_after: self.not_after }),
            () if now < self.not_before => Err(TlsError::NotYetValid { not_before: self.not_before }),
            () => Ok(self),
        }
    }
}

fn validity(leaf: Option<&CertificateDer<'_>>) -> Result<(Timestamp, Timestamp), TlsError> {
    let unreadable = |reason: String| TlsError::Unreadable { reason };
    let leaf = leaf.ok_or_else(|| unreadable("there is none".to_owned()))?;
    let (_, leaf) = X509Certificate::from_der(leaf).map_err(|error| unreadable(error.to_string()))?;
    let moment = |seconds| Timestamp::from_second(seconds).map_err(|error| unreadable(error.to_string()));
    let validity = leaf.validity();
    Ok((moment(validity.not_before.timestamp())?, moment(validity.not_after.timestamp())?))
}

/// The certificate that is served: rustls asks for it in every handshake. Without one, handshakes fail.
#[derive(Debug)]
pub struct ServingCertificate {
    pair: ArcSwapOption<Pair>,
    metrics: ServerMetrics,
}

impl ServingCertificate {
    /// Without a certificate.
    pub fn new(metrics: ServerMetrics) -> Arc<Self> {
        Arc::new(Self { pair: ArcSwapOption::empty(), metrics })
    }

    /// Serves `pair` from the next handshake on. Open connections are not affected.
    pub fn install(&self, pair: Pair) {
        self.metrics.certificate_not_after.set(pair.not_after.as_second());
        self.pair.store(Some(Arc::new(pair)));
    }

    /// The chain that is served, leaf first; empty: none is.
    pub fn chain(&self) -> Vec<CertificateDer<'static>> {
        self.pair.load().as_ref().map(|pair| pair.certified.cert.clone()).unwrap_or_default()
    }

    /// The end of the validity of what is served.
    pub fn not_after(&self) -> Option<Timestamp> {
        self.pair.load().as_ref().map(|pair| pair.not_after)
    }

    /// The condition at `now`. `problem` is what is wrong with a newer pair. A certificate that ends within `lead` counts
    /// as expired: it takes that long until the API server sends no more requests.
    pub fn judge(&self, now: Timestamp, lead: Duration, problem: Option<String>) -> Condition {
        let now = now.saturating_add(lead).unwrap_or(Timestamp::MAX);
        match (self.not_after(), problem) {
            (None, problem) => {
                Condition::unready(problem.unwrap_or_else(|| "there is no certificate".to_owned()))
            }
            (Some(end), None) if now <= end => Condition::good(format!("valid until {end}")),
            (Some(end), Some(problem)) if now <= end => {
                Condition::degraded(format!("the old one stays, valid until {end}: {problem}"))
            }
            (Some(end), None) => Condition::unready(format!("it ends at {end}")),
            (Some(end), Some(problem)) => {
                Condition::unready(format!("it ends at {end}; the newer one: {problem}"))
            }
        }
    }

    fn serves(&self, pair: &Pair) -> bool {
        self.pair.load().as_ref().is_some_and(|current| current.certified.cert == pair.certified.cert)
    }
}

impl ResolvesServerCert for ServingCertificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.pair.load().as_ref().map(|pair| Arc::clone(&pair.certified))
    }
}

/// A certificate and a key in files (PEM), as cert-manager and the kubelet write them.
#[derive(Debug, Clone)]
pub struct CertificateFiles {
    /// The chain, leaf first.
    pub certificate: PathBuf,
    /// The key.
    pub key: PathBuf,
}

impl CertificateFiles {
    /// How often the files are read. To read and check a pair costs a fraction of a millisecond.
    pub const EVERY: Duration = Duration::from_secs(10);

    /// How long before its end a certificate makes us unready. It must be long enough for the next look at the files and
    /// for the endpoints to be updated, so that no call meets an expired certificate.
    pub const LEAD: Duration = Duration::from_secs(30);

    /// Reads the files once, installs a new pair that is valid at `now`, and returns the condition. An expired pair, or one
    /// that is not valid yet, never replaces another.
    pub async fn poll(&self, serving: &ServingCertificate, now: Timestamp) -> Condition {
        let problem = match self.read().await.and_then(|pair| pair.usable(now)) {
            Ok(pair) => {
                if !serving.serves(&pair) {
                    serving.install(pair);
                }
                None
            }
            Err(problem) => Some(problem),
        };
        serving.judge(now, Self::LEAD, problem.map(|error| error_chain(&error)))
    }

    /// Reads them for ever and keeps the condition `Certificate`, which also shows that a certificate ends. The wall
    /// clock decides.
    pub async fn watch(&self, serving: &ServingCertificate, conditions: &Conditions, every: Duration) {
        let mut ticks = tokio::time::interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let condition = self.poll(serving, Timestamp::now()).await;
            conditions.set(ConditionName::Certificate, condition);
        }
    }

    async fn read(&self) -> Result<Pair, TlsError> {
        Pair::from_pem(&read(&self.certificate).await?, &read(&self.key).await?)
    }
}

async fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    tokio::fs::read(path).await.map_err(|source| TlsError::Read { path: path.to_owned(), source })
}

/// The accepted versions of TLS. Every supported API server speaks 1.3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum TlsVersions {
    /// 1.3 only.
    #[default]
    #[value(name = "1.3")]
    Tls13,
    /// 1.2, too, for a proxy in between that cannot do 1.3.
    #[value(name = "1.2")]
    Tls12AndTls13,
}

impl TlsVersions {
    fn spoken(self) -> &'static [&'static SupportedProtocolVersion] {
        static TLS13: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13];
        static BOTH: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13, &rustls::version::TLS12];
        match self {
            Self::Tls13 => TLS13,
            Self::Tls12AndTls13 => BOTH,
        }
    }
}

/// The TLS configuration of the server: ALPN `h2` and `http/1.1`, and no session resumption, so that every new connection
/// sees the current certificate. The API server's client never resumes: Go's client has no session cache by default.
///
/// # Errors
/// If rustls refuses it.
pub fn server_config(
    serving: Arc<ServingCertificate>,
    versions: TlsVersions,
    callers: Callers,
) -> Result<ServerConfig, TlsError> {
    let provider: Arc<CryptoProvider> = Arc::new(aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions.spoken())
        .map_err(|source| TlsError::Setup { source })?;
    let builder = match callers {
        Callers::Anyone => builder.with_no_client_auth(),
        Callers::Known(check) => builder.with_client_cert_verifier(check),
    };
    let mut config = builder.with_cert_resolver(serving);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}
