//! Landfall as `landfall serve` puts it together, on any free ports.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, bail};
use landfall::cli::serve::{Ended, Parts};
use landfall::server::logging::{self, LogFormat};
use landfall::server::{Callers, CertificateFiles, TlsVersions};
use tokio::net::TcpListener;

use crate::process::{CERTIFICATE, CONFIGURATION, KEY, announce};

/// Serves until its task is dropped.
pub async fn serve(folder: &Path) -> Result<()> {
    // The way a decision takes past a log that is not interested is part of its cost.
    logging::init(LogFormat::Json, "warn")?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    announce(listener.local_addr()?)?;
    let parts = Parts {
        config: folder.join(CONFIGURATION),
        listener,
        admin: TcpListener::bind("127.0.0.1:0").await?,
        certificate: CertificateFiles { certificate: folder.join(CERTIFICATE), key: folder.join(KEY) },
        versions: TlsVersions::Tls13,
        callers: Callers::Anyone,
        own_namespace: None,
        propagation: Duration::ZERO,
    };
    match parts.run(std::future::pending()).await? {
        Ended::Refused(problems) => bail!("{problems}"),
        Ended::Left(_) => bail!("nobody asked it to leave"),
    }
}
