//! Where the certificate that is served comes from: files, or an authority of our own.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use arc_swap::ArcSwap;
use jiff::Timestamp;
use prometheus_client::registry::Registry as Page;
use rustls::pki_types::PrivateKeyDer;
use tokio::sync::watch;

use super::leadership::Leadership;
use crate::certs::{Certificate, Metrics, Periods};
use crate::cluster::Cluster;
use crate::controllers::certificates::{Certificates, Names, Served};
use crate::controllers::entries::{self, Issuer};
use crate::domain::error_chain::error_chain;
use crate::server::{
    CertificateFiles, Condition, ConditionName, Conditions, Drain, Pair, ServingCertificate,
};

/// Exactly one of `--tls-cert` and `--certificate-secret` is given.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("certificate").required(true).args(["tls_cert", "certificate_secret"]))]
pub(super) struct Flags {
    /// The certificate chain that is served (PEM, leaf first). It is read again when it changes.
    #[arg(long, env = "LANDFALL_TLS_CERT", value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The key of the certificate (PEM).
    #[arg(long, env = "LANDFALL_TLS_KEY", value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Issue certificates ourselves: the Secret, empty at first, that keeps the certificate authority.
    #[arg(
        long,
        env = "LANDFALL_CERTIFICATE_SECRET",
        value_name = "NAME",
        requires_all = ["service", "webhook", "lease", "pod_name", "namespace"]
    )]
    certificate_secret: Option<String>,
    /// The Service that the API server calls: entries of the validating webhook name it, and our own certificates are issued
    /// for it.
    #[arg(long, env = "LANDFALL_SERVICE", value_name = "NAME", requires_all = ["webhook", "lease"])]
    service: Option<String>,
    /// The MutatingWebhookConfiguration and the ValidatingWebhookConfiguration. The leader writes the entries of the second
    /// one and, where certificates are our own, the caBundle of both.
    #[arg(long, env = "LANDFALL_WEBHOOK", value_name = "NAME", requires_all = ["service", "lease"])]
    webhook: Option<String>,
}

impl Flags {
    /// The objects of the validating webhook, if they are named.
    pub(super) fn entries(&self, namespace: Option<&str>) -> Option<entries::Names> {
        Some(entries::Names {
            namespace: namespace?.to_owned(),
            service: self.service.clone()?,
            webhook: self.webhook.clone()?,
            issuer: if self.certificate_secret.is_some() { Issuer::Us } else { Issuer::Others },
        })
    }

    /// The source that they name.
    ///
    /// # Errors
    /// If they name none. clap prevents that.
    pub(super) fn source(self, namespace: Option<&str>) -> anyhow::Result<Source> {
        let Self { tls_cert, tls_key, certificate_secret, service, webhook } = self;
        Ok(match (tls_cert.zip(tls_key), certificate_secret) {
            (Some((certificate, key)), None) => Source::Files(CertificateFiles { certificate, key }),
            (None, Some(secret)) => {
                let own = || {
                    let namespace = namespace?.to_owned();
                    Some(Names { namespace, service: service?, secret, webhook: webhook? })
                };
                let names = own().context("--certificate-secret needs the other names, too")?;
                Source::Own { names, periods: Periods::default() }
            }
            _ => bail!("either --tls-cert or --certificate-secret"),
        })
    }
}

/// Where the certificate comes from.
#[derive(Debug)]
pub enum Source {
    /// Files, written by cert-manager or by a person.
    Files(CertificateFiles),
    /// An authority of our own.
    Own {
        /// The objects that it needs.
        names: Names,
        /// How long authorities and leaves live.
        periods: Periods,
    },
}

/// A source that is set up.
pub(super) enum CertificateSource {
    Files(CertificateFiles),
    Own { certificates: Box<Certificates>, lead: Duration },
}

impl Source {
    /// Sets it up.
    ///
    /// # Errors
    /// If it needs a cluster or a Lease, and there is none.
    pub(super) fn source(
        self,
        cluster: Option<&Cluster>,
        leadership: Option<&Leadership>,
        page: &mut Page,
    ) -> anyhow::Result<CertificateSource> {
        Ok(match self {
            Self::Files(files) => CertificateSource::Files(files),
            Self::Own { names, periods } => {
                let cluster = cluster.context("--certificate-secret needs an API server")?;
                let Leadership { leading, events } =
                    leadership.context("--certificate-secret needs a Lease: only the leader rotates")?;
                let metrics = Metrics::register(page);
                // The periods of tests are shorter than the default.
                let lead = CertificateFiles::LEAD.min(periods.leaf / 10);
                let (leading, events) = (leading.clone(), events.clone());
                let certificates =
                    Certificates::new(cluster, names, periods, leading, events, metrics, Timestamp::now);
                CertificateSource::Own { certificates: Box::new(certificates), lead }
            }
        })
    }
}

impl CertificateSource {
    /// The first look: at the files, if it is files. It never waits for the API server.
    pub(super) async fn first(&self, serving: &ServingCertificate) -> Condition {
        match self {
            Self::Files(files) => files.poll(serving, Timestamp::now()).await,
            Self::Own { .. } => Condition::unready("none is issued yet"),
        }
    }

    /// Keeps the certificate up to date: one from files for ever, one of our own until the drain begins.
    ///
    /// `authorities` gets those of our own that other replicas' leaves may have.
    pub(super) async fn keep(
        self,
        serving: Arc<ServingCertificate>,
        authorities: Arc<ArcSwap<Vec<Certificate>>>,
        conditions: Conditions,
        drain: Drain,
    ) {
        match self {
            Self::Files(files) => files.watch(&serving, &conditions, CertificateFiles::EVERY).await,
            Self::Own { certificates, lead } => {
                let (served, news) = watch::channel(Served::default());
                tokio::join!(
                    certificates.run(&served, drain.begun()),
                    show(news, &serving, &authorities, &conditions, lead, &drain)
                );
            }
        }
    }
}

/// Serves every new leaf, and keeps the condition `Certificate`.
async fn show(
    mut news: watch::Receiver<Served>,
    serving: &ServingCertificate,
    authorities: &ArcSwap<Vec<Certificate>>,
    conditions: &Conditions,
    lead: Duration,
    drain: &Drain,
) {
    let mut shown = None;
    loop {
        let condition = {
            let served = news.borrow_and_update();
            let mut now = Timestamp::now();
            let mut problem = served.problem.clone();
            if **authorities.load() != served.authorities {
                authorities.store(Arc::new(served.authorities.clone()));
            }
            if let Some((leaf, since)) = &served.leaf {
                // The wall clock may have been set back since the leaf was issued.
                now = now.max(leaf.dates.issued.saturating_add(since.elapsed()).unwrap_or(now));
                if shown != Some(*since) {
                    let key = PrivateKeyDer::Pkcs8(leaf.key.clone_key());
                    match Pair::from_der(vec![leaf.certificate.clone()], key) {
                        Ok(pair) => serving.install(pair),
                        Err(error) => problem = Some(error_chain(&error)),
                    }
                    shown = Some(*since);
                }
            }
            serving.judge(now, lead, problem)
        };
        conditions.set(ConditionName::Certificate, condition);
        tokio::select! {
            _ = news.changed() => {}
            () = tokio::time::sleep(lead / 3) => {}
            () = drain.begun() => return,
        }
    }
}
