//! A server under load.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::time::timeout;

use crate::driver::{Caller, Target};
use crate::metrics::{Page, name};
use crate::open::open_loop;
use crate::process::Process;
use crate::site::Site;

/// As many as an API server keeps, and a few more.
pub const CONNECTIONS: usize = 32;
/// For one measurement, which takes seconds; a filling takes a minute.
const PATIENCE: Duration = Duration::from_secs(300);

/// A server and how it is talked to.
pub struct Served {
    /// The server.
    pub process: Process,
    /// Its address.
    pub target: Target,
}

impl Served {
    /// Landfall with this configuration.
    pub async fn landfall(site: &Site, config: &Path) -> Result<Self> {
        Self::of(Process::landfall(config, &site.folder()?).await?, site).await
    }

    /// The same, started by a command that becomes what its last arguments say.
    pub async fn landfall_in(command: Command, site: &Site, config: &Path) -> Result<Self> {
        Self::of(Process::landfall_in(command, config, &site.folder()?).await?, site).await
    }

    /// The bare server.
    pub async fn bare(site: &Site) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        Self::of(Process::start(command.arg("--bare").arg(site.folder()?))?, site).await
    }

    async fn of(process: Process, site: &Site) -> Result<Self> {
        let target = Target::new(process.address, &site.authority())?;
        // After a handshake the server is put together, and has done nothing yet.
        target.callers(1)[0].connect().await?;
        Ok(Self { process, target })
    }

    /// Callers, connected and warm.
    pub async fn callers(&self, request: &[u8]) -> Result<Vec<Caller>> {
        let mut callers = self.target.callers(CONNECTIONS);
        for caller in &mut callers {
            caller.call(request).await?;
        }
        Ok(callers)
    }

    /// The page of its metrics.
    pub async fn metrics(&self) -> Result<Page> {
        let answer = self.process.admin("/metrics").await?;
        let (_, page) = answer.split_once("\r\n\r\n").context("the answer has a body")?;
        Ok(Page::read(page))
    }

    /// How many verdicts it made, instead of telling those that it had made before.
    pub async fn judged_anew(&self) -> Result<u64> {
        let page = self.metrics().await?;
        Ok(page.metric(name::VERDICTS, &[("source", "Judged")]).context("no count of verdicts")? as u64)
    }

    /// The CPU time for each of so many requests. Closed loop: each caller sends its next request when it has the
    /// answer to its last one.
    pub async fn cpu(
        &self,
        callers: Vec<Caller>,
        requests: usize,
        call: impl AsyncFn(&mut Caller, usize) -> Result<()>,
    ) -> Result<Duration> {
        let due = vec![Duration::ZERO; requests];
        let before = self.process.cpu()?;
        let called = timeout(PATIENCE, open_loop(&due, callers, call))
            .await
            .context("the server no longer answers")?;
        let cpu = self.process.cpu()? - before;
        called.into_iter().try_for_each(|called| called.answer)?;
        Ok(cpu / u32::try_from(requests)?)
    }
}

/// Sends the request, whose answer must be the one that was looked at before, byte for byte.
pub async fn same(caller: &mut Caller, request: &[u8], expected: &[u8]) -> Result<()> {
    let answer = caller.call(request).await?;
    ensure!(answer == expected, "another answer: {}", String::from_utf8_lossy(answer));
    Ok(())
}
