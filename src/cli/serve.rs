//! `landfall serve`: the webhook server, put together.
//!
//! ```text
//! configuration ─reload─► Settings ──► the door /mutate ──► Observatory ──► registries
//! certificate files ─watch─► TLS listener ─┘        conditions, metrics ──► admin port
//! SIGTERM ──► drain
//! ```

pub mod certificate;
mod namespaces;
mod parts;
mod probe;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use tokio::net::TcpListener;

use certificate::Source;
pub use parts::{Ended, Parts};

use crate::cluster::Cluster;
use crate::domain::error_chain::error_chain;
use crate::server::logging::{self, LogFormat};
use crate::server::{CallerFile, Drain, Signals, TlsVersions};

/// More threads than this only cost memory: one core answers tens of thousands of reviews a second.
const MOST_THREADS: usize = 4;

/// Serve the admission webhook.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The configuration; read again when its content changes.
    #[arg(long, env = "LANDFALL_CONFIG", value_name = "FILE")]
    config: PathBuf,
    #[command(flatten)]
    certificate: certificate::Flags,
    /// Where the API server finds us. `[::]:8443` in a cluster that speaks IPv6.
    #[arg(long, env = "LANDFALL_LISTEN", value_name = "ADDR", default_value = "0.0.0.0:8443")]
    listen: SocketAddr,
    /// Where the kubelet and Prometheus find us: /livez, /readyz, /metrics. Without TLS.
    #[arg(long, env = "LANDFALL_ADMIN_LISTEN", value_name = "ADDR", default_value = "0.0.0.0:8080")]
    admin_listen: SocketAddr,
    /// The oldest TLS that is spoken.
    #[arg(long, env = "LANDFALL_TLS_MIN", value_enum, default_value_t)]
    tls_min: TlsVersions,
    /// The authorities (PEM) of which callers must show a certificate: those of the API server; read again when its
    /// content changes.
    #[arg(long, env = "LANDFALL_CLIENT_CA", value_name = "FILE")]
    client_ca: Option<PathBuf>,
    /// A name that a caller's certificate must bear, as its CN or as a DNS name; several: one of them.
    #[arg(
        long,
        env = "LANDFALL_CLIENT_NAME",
        value_name = "NAME",
        requires = "client_ca",
        value_delimiter = ','
    )]
    client_name: Vec<String>,
    /// How long after SIGTERM new connections are still accepted, while the news spreads that we leave.
    #[arg(long, env = "LANDFALL_DRAIN_DELAY", value_name = "DURATION", default_value = "20s", value_parser = duration)]
    drain_delay: Duration,
    /// Our own namespace, which is left alone; self-managed certificates live there.
    #[arg(long, env = "LANDFALL_NAMESPACE", value_name = "NAME")]
    namespace: Option<Box<str>>,
    /// How log lines look.
    #[arg(long, env = "LANDFALL_LOG_FORMAT", value_enum, default_value_t)]
    log_format: LogFormat,
    /// What is logged: a level, or `info,landfall=debug`.
    #[arg(long, env = "LANDFALL_LOG", value_name = "FILTER", default_value = "info")]
    log: String,
}

/// `20s`, `1m`.
fn duration(text: &str) -> Result<Duration, String> {
    let wanted = || format!("`{text}` is no duration such as `20s`");
    let span: jiff::SignedDuration = text.parse().map_err(|_| wanted())?;
    Duration::try_from(span).map_err(|_| wanted())
}

/// Serves until a signal asks us to leave. 0: we left as asked; 1: the configuration cannot be used; 2: we could not
/// serve.
pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    // Before anything asks for TLS. Whoever was here before us installed the same: there is only one to choose.
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
        admin_listen,
        tls_min,
        client_ca,
        client_name,
        drain_delay,
        namespace,
        log_format: _,
        log: _,
    } = args;
    // First, so that a signal while we start is not lost.
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
    let certificate = certificate.source(namespace.as_deref())?;
    let cluster = match Cluster::from_environment().await {
        Ok(cluster) => Some(cluster),
        // Labels of namespaces are worth a warning, not a server that does not start.
        Err(error) if matches!(certificate, Source::Files(_)) => {
            tracing::warn!(error = error_chain(&error), "namespaces are known by their names alone");
            None
        }
        Err(error) => return Err(error).context("certificates of our own take an API server to reach"),
    };
    let parts = Parts {
        config,
        listener: bind(listen).await?,
        admin: bind(admin_listen).await?,
        certificate,
        versions: tls_min,
        callers,
        own_namespace: namespace,
        cluster,
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

/// How long the drain takes by default is said once, in `server/`; the command line must say the same.
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
