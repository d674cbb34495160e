//! `landfall serve`: the webhook server.
//!
//! ```text
//! configuration ─controllers::settings─► Settings ──► /mutate, /validate ──► Observatory ──► registries
//! certificate ─files or controllers::certificates─► TLS listener ─┘  conditions, metrics ──► admin port
//! Lease ─controllers::leader─► what only one replica does            SIGTERM ──► drain
//! ```

pub mod certificate;
mod entries;
mod hooks;
mod inventory;
mod leadership;
mod ledger;
mod namespaces;
mod parts;
mod policies;
mod probe;
mod pull_secrets;
mod rules;
mod status;
mod sweep;
mod tasks;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use tokio::net::TcpListener;

use certificate::Source;
pub use parts::{Ended, Parts};

use crate::cluster::Cluster;
use crate::controllers::leader::{Candidate, Term};
use crate::controllers::sweep::{Templates, Terms};
use crate::domain::error_chain::error_chain;
use crate::server::logging::{self, LogFormat};
use crate::server::{CallerFile, Drain, Signals, TlsVersions};

/// How it is used.
const EXAMPLES: &str = "\
Examples:
  landfall serve --config landfall.yaml --tls-cert tls.crt --tls-key tls.key";

/// The most threads. More only cost memory: one core answers tens of thousands of reviews a second.
const MOST_THREADS: usize = 4;

/// Serve the admission webhook.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The configuration. It is read again when it changes.
    #[arg(long, env = "LANDFALL_CONFIG", value_name = "FILE")]
    config: PathBuf,
    #[command(flatten)]
    certificate: certificate::Flags,
    /// The address that the API server calls to have Pods changed; `[::]:8443` in an IPv6 cluster.
    #[arg(long, env = "LANDFALL_LISTEN", value_name = "ADDR", default_value = "0.0.0.0:8443")]
    listen: SocketAddr,
    /// The address that the API server calls to have Pods validated; `[::]:8444` in an IPv6 cluster.
    #[arg(long, env = "LANDFALL_VALIDATE_LISTEN", value_name = "ADDR", default_value = "0.0.0.0:8444")]
    validate_listen: SocketAddr,
    /// The address of /livez, /readyz and /metrics, and of the status page, without TLS. The page is shown to those alone who
    /// come from this machine, as a forwarded port does.
    #[arg(long, env = "LANDFALL_ADMIN_LISTEN", value_name = "ADDR", default_value = "0.0.0.0:8080")]
    admin_listen: SocketAddr,
    /// The address at which Harbors notify us, `POST /hooks/harbor`, such as `0.0.0.0:8445`. Without it, nothing listens.
    #[arg(long, env = "LANDFALL_HOOKS_LISTEN", value_name = "ADDR")]
    hooks_listen: Option<SocketAddr>,
    /// The oldest version of TLS that is accepted.
    #[arg(long, env = "LANDFALL_TLS_MIN", value_enum, default_value_t)]
    tls_min: TlsVersions,
    /// Certificate authorities (PEM). If given, callers must show a certificate that one of them signed: that of the
    /// API server. The file is read again when it changes.
    #[arg(long, env = "LANDFALL_CLIENT_CA", value_name = "FILE", requires = "client_name")]
    client_ca: Option<PathBuf>,
    /// A name that must be in a caller's certificate, as its CN or as a DNS name. If several are given, one of them. An
    /// authority signs others, too: that of a cluster every node.
    #[arg(
        long,
        env = "LANDFALL_CLIENT_NAME",
        value_name = "NAME",
        requires = "client_ca",
        value_delimiter = ','
    )]
    client_name: Vec<String>,
    /// How long new connections are accepted after SIGTERM, until the API server no longer sends any.
    #[arg(long, env = "LANDFALL_DRAIN_DELAY", value_name = "DURATION", default_value = "20s", value_parser = duration)]
    drain_delay: Duration,
    /// Our own namespace. Its Pods are never changed; the Lease and the Secret are in it.
    #[arg(long, env = "LANDFALL_NAMESPACE", value_name = "NAME")]
    namespace: Option<Box<str>>,
    /// The name of our Pod: the Lease is held by it.
    #[arg(long, env = "LANDFALL_POD_NAME", value_name = "NAME")]
    pod_name: Option<String>,
    /// The Lease of the replica that leads: it does what only one replica may do, such as to rotate certificates.
    #[arg(long, env = "LANDFALL_LEASE", value_name = "NAME", requires_all = ["namespace", "pod_name"])]
    lease: Option<String>,
    /// Read LandingPolicies from the cluster, and say in their status how they stand. The name is that of our Service and of
    /// our webhook configurations; the ConfigMap `<NAME>-replicas` keeps what each replica has in force.
    #[arg(long, env = "LANDFALL_POLICIES", value_name = "NAME", requires = "lease")]
    policies: Option<String>,
    /// The time from one sweep to the next: what runs is read and judged, so that what is missing is known before anything
    /// starts again. `0s`: never.
    #[arg(long, env = "LANDFALL_SWEEP_EVERY", value_name = "DURATION", default_value = "15m", value_parser = duration)]
    sweep_every: Duration,
    /// How long the inspection of a copy counts: whether all its layers are there, and what its primary has beside it.
    #[arg(long, env = "LANDFALL_INSPECT_EVERY", value_name = "DURATION", default_value = "6h", value_parser = duration)]
    inspect_every: Duration,
    /// Let the sweep read the templates of workloads too, so that it knows what is scaled down or runs at night only.
    #[arg(long, env = "LANDFALL_SWEEP_TEMPLATES")]
    sweep_templates: bool,
    /// How long closed ReplicationGaps are kept.
    #[arg(long, env = "LANDFALL_GAP_RETENTION", value_name = "DURATION", default_value = "168h", value_parser = duration)]
    gap_retention: Duration,
    /// The format of log lines.
    #[arg(long, env = "LANDFALL_LOG_FORMAT", value_enum, default_value_t)]
    log_format: LogFormat,
    /// What is logged: a level, or a filter such as `info,landfall=debug`.
    #[arg(long, env = "LANDFALL_LOG", value_name = "FILTER", default_value = "info")]
    log: String,
}

/// `20s`, `1m`.
fn duration(text: &str) -> Result<Duration, String> {
    let wanted = || format!("`{text}` is no duration such as `20s`");
    let span: jiff::SignedDuration = text.parse().map_err(|_| wanted())?;
    Duration::try_from(span).map_err(|_| wanted())
}

/// Serves until a signal asks us to leave. Exit codes: 0, we left as asked; 1, the configuration cannot be used; 2, we
/// could not serve.
pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    // Before anything uses TLS. It fails if a provider is installed already, which can only be the same.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    logging::init(args.log_format, &args.log)?;
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(MOST_THREADS);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build()?;
    runtime.block_on(serve(args))
}

async fn serve(args: Args) -> anyhow::Result<ExitCode> {
    let Args {
        config,
        certificate,
        listen,
        validate_listen,
        admin_listen,
        hooks_listen,
        tls_min,
        client_ca,
        client_name,
        drain_delay,
        namespace,
        pod_name,
        lease,
        policies,
        sweep_every,
        inspect_every,
        sweep_templates,
        gap_retention,
        log_format: _,
        log: _,
    } = args;
    // First, so that a signal during the start is not lost.
    let mut signals = Signals::take().context("cannot listen for signals")?;
    let callers = client_ca
        .map(|path| {
            let what = format!("cannot use `{}`", path.display());
            CallerFile::open(path, client_name).context(what)
        })
        .transpose()?;
    let bind = async |address: SocketAddr| {
        TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))
    };
    let entries = certificate.entries(namespace.as_deref());
    let certificate = certificate.source(namespace.as_deref())?;
    let cluster = match Cluster::from_environment() {
        Ok(cluster) => Some(cluster),
        // Without labels of namespaces and without a leader we still serve.
        Err(error) if matches!(certificate, Source::Files(_)) => {
            tracing::warn!(
                error = error_chain(&error),
                "only the names of namespaces are known, and this replica never leads"
            );
            None
        }
        Err(error) => return Err(error).context("--certificate-secret needs an API server"),
    };
    let candidate = match (&namespace, lease, pod_name) {
        (Some(namespace), Some(lease), Some(pod)) => {
            Some(Candidate { namespace: namespace.to_string(), lease, pod, term: Term::default() })
        }
        _ => None,
    };
    let parts = Parts {
        config,
        listener: bind(listen).await?,
        validate: bind(validate_listen).await?,
        admin: bind(admin_listen).await?,
        hooks: match hooks_listen {
            Some(address) => Some(bind(address).await?),
            None => None,
        },
        certificate,
        entries,
        versions: tls_min,
        callers,
        own_namespace: namespace,
        cluster,
        candidate,
        policies,
        sweep: (!sweep_every.is_zero()).then_some(Terms {
            every: sweep_every,
            inspect: inspect_every,
            templates: if sweep_templates { Templates::Read } else { Templates::Left },
        }),
        gap_retention,
        propagation: drain_delay,
    };
    match parts.run(async move { signals.next().await }).await? {
        Ended::Refused(problems) => {
            anstream::eprintln!("{problems}");
            Ok(ExitCode::FAILURE)
        }
        Ended::Left(served) => {
            tracing::info!(connections.abandoned = served.abandoned, "left");
            Ok(ExitCode::SUCCESS)
        }
    }
}

// The default is defined in `server/`; the text of the flag must say the same.
const _: () = assert!(Drain::PROPAGATION.as_secs() == 20, "the default of --drain-delay");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_people_write_them() {
        assert_eq!(duration("20s"), Ok(Duration::from_secs(20)));
        assert_eq!(duration("1m30s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("0s"), Ok(Duration::ZERO));
        for wrong in ["", "20", "-1s", "soon"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
