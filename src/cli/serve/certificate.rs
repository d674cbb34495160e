//! Where the certificate comes from that is served: files, or an authority of our own.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use jiff::Timestamp;
use prometheus_client::registry::Registry as Page;
use rustls::pki_types::PrivateKeyDer;
use tokio::sync::watch;

use crate::certs::{Metrics, Periods};
use crate::cluster::{Cluster, Term};
use crate::controllers::certificates::{Certificates, Names, Served};
use crate::server::{
    CertificateFiles, Condition, ConditionName, Conditions, Drain, Pair, ServingCertificate,
};

/// Exactly one of `--tls-cert` and `--certificate-secret` says which.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("certificate").required(true).args(["tls_cert", "certificate_secret"]))]
pub(super) struct Flags {
    /// The certificate chain that is served (PEM, leaf first); read again when its content changes.
    #[arg(long, env = "LANDFALL_TLS_CERT", value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The key of the certificate (PEM).
    #[arg(long, env = "LANDFALL_TLS_KEY", value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Certificates of our own instead: the Secret, empty at first, that keeps their authority.
    #[arg(
        long,
        env = "LANDFALL_CERTIFICATE_SECRET",
        value_name = "NAME",
        requires_all = ["service", "webhook", "lease", "pod_name", "namespace"]
    )]
    certificate_secret: Option<String>,
    /// The Service that they are for.
    #[arg(long, env = "LANDFALL_SERVICE", value_name = "NAME", requires = "certificate_secret")]
    service: Option<String>,
    /// The MutatingWebhookConfiguration whose caBundle they are verified by.
    #[arg(long, env = "LANDFALL_WEBHOOK", value_name = "NAME", requires = "certificate_secret")]
    webhook: Option<String>,
    /// The Lease of the replica that rotates their authority.
    #[arg(long, env = "LANDFALL_LEASE", value_name = "NAME", requires = "certificate_secret")]
    lease: Option<String>,
    /// Our Pod: who we are to the Lease.
    #[arg(long, env = "LANDFALL_POD_NAME", value_name = "NAME")]
    pod_name: Option<String>,
}

impl Flags {
    /// What they say.
    ///
    /// # Errors
    /// Where they say nothing whole, which clap keeps from happening.
    pub(super) fn source(self, namespace: Option<&str>) -> anyhow::Result<Source> {
        let Self { tls_cert, tls_key, certificate_secret, service, webhook, lease, pod_name } = self;
        Ok(match (tls_cert.zip(tls_key), certificate_secret) {
            (Some((certificate, key)), None) => Source::Files(CertificateFiles { certificate, key }),
            (None, Some(secret)) => {
                let own = || {
                    Some(Names {
                        namespace: namespace?.to_owned(),
                        pod: pod_name?,
                        service: service?,
                        secret,
                        webhook: webhook?,
                        lease: lease?,
                    })
                };
                let names = own().context("--certificate-secret needs the other names, too")?;
                Source::Own { names, periods: Periods::default(), term: Term::default() }
            }
            _ => bail!("either --tls-cert or --certificate-secret"),
        })
    }
}

/// Where the certificate comes from.
#[derive(Debug)]
pub enum Source {
    /// Somebody else lays it down: cert-manager, or a person.
    Files(CertificateFiles),
    /// We issue it ourselves.
    Own {
        /// The objects it takes.
        names: Names,
        /// How long everything lasts.
        periods: Periods,
        /// The leader's term.
        term: Term,
    },
}

/// A source that is ready to be watched.
pub(super) enum CertificateSource {
    Files(CertificateFiles),
    Own { certificates: Box<Certificates>, lead: Duration },
}

impl Source {
    /// Makes it ready.
    ///
    /// # Errors
    /// Where it takes a cluster, and there is none.
    pub(super) fn source(
        self,
        cluster: Option<&Cluster>,
        page: &mut Page,
    ) -> anyhow::Result<CertificateSource> {
        Ok(match self {
            Self::Files(files) => CertificateSource::Files(files),
            Self::Own { names, periods, term } => {
                let cluster = cluster
                    .context("--certificate-secret: certificates of our own take an API server to reach")?;
                let metrics = Metrics::register(page);
                // Periods for tests are shorter than what the news takes to spread.
                let lead = CertificateFiles::LEAD.min(periods.leaf / 10);
                let certificates =
                    Certificates::new(cluster.clone(), names, periods, term, metrics, Timestamp::now);
                CertificateSource::Own { certificates: Box::new(certificates), lead }
            }
        })
    }
}

impl CertificateSource {
    /// Looks once, where that needs nobody but ourselves.
    pub(super) async fn first(&self, serving: &ServingCertificate) -> Condition {
        match self {
            Self::Files(files) => files.poll(serving, Timestamp::now()).await,
            Self::Own { .. } => Condition::unready("none is issued yet"),
        }
    }

    /// Keeps a certificate in force until the drain begins, and longer from files.
    pub(super) async fn keep(self, serving: &ServingCertificate, conditions: &Conditions, drain: &Drain) {
        match self {
            Self::Files(files) => files.watch(serving, conditions, CertificateFiles::EVERY).await,
            Self::Own { certificates, lead } => {
                let (served, news) = watch::channel(Served::default());
                tokio::join!(
                    certificates.run(&served, drain.begun()),
                    show(news, serving, conditions, lead, drain)
                );
            }
        }
    }
}

/// Brings every leaf into force, and says how we stand.
async fn show(
    mut news: watch::Receiver<Served>,
    serving: &ServingCertificate,
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
            if let Some((leaf, since)) = &served.leaf {
                // A clock that was set back makes no leaf younger.
                now = now.max(leaf.dates.issued.saturating_add(since.elapsed()).unwrap_or(now));
                if shown != Some(*since) {
                    let key = PrivateKeyDer::Pkcs8(leaf.key.clone_key());
                    match Pair::from_der(vec![leaf.certificate.clone()], key) {
                        Ok(pair) => serving.install(pair),
                        Err(error) => problem = Some(crate::domain::error_chain::error_chain(&error)),
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
