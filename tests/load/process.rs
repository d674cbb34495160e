//! A server in a process of its own, watched from outside through `/proc`.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

use crate::site::{CERTIFICATE, KEY};

/// For a server to listen and to be ready.
const START: Duration = Duration::from_secs(20);

/// A running server. Dropping it ends it.
pub struct Process {
    child: Child,
    /// Where it listens.
    pub address: SocketAddr,
    /// Where its validating door listens; a bare server has none.
    pub validate: Option<SocketAddr>,
    admin: Option<SocketAddr>,
}

/// The line that says where it listens: Landfall's own log.
#[derive(Deserialize)]
struct Serving {
    listen: SocketAddr,
    #[serde(rename = "validate.listen")]
    validate: Option<SocketAddr>,
    #[serde(rename = "admin.listen")]
    admin: Option<SocketAddr>,
}

impl Process {
    /// Starts `landfall serve` on any free ports, and waits until it is ready. Its certificate lies in `folder`.
    pub async fn landfall(config: &Path, folder: &Path) -> Result<Self> {
        Self::landfall_in(Command::new("env"), config, folder).await
    }

    /// The same, started by a command that becomes what its last arguments say.
    pub async fn landfall_in(mut command: Command, config: &Path, folder: &Path) -> Result<Self> {
        command.arg(env!("CARGO_BIN_EXE_landfall"));
        command.args([
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--validate-listen",
            "127.0.0.1:0",
            "--admin-listen",
            "127.0.0.1:0",
            "--log-format",
        ]);
        // The way that a decision takes past a log which is not interested is part of its cost.
        command.args(["json", "--log", "error,landfall::cli::serve::parts=info", "--drain-delay", "0s"]);
        command.arg("--config").arg(config);
        command.arg("--tls-cert").arg(folder.join(CERTIFICATE)).arg("--tls-key").arg(folder.join(KEY));
        let process = Self::start(&mut command)?;
        ensure!(process.validate.is_some(), "it does not say where its validating door listens");
        let late = Instant::now() + START;
        while !process.admin("/readyz").await?.starts_with("HTTP/1.1 200 ") {
            ensure!(Instant::now() < late, "not ready: {}", process.admin("/readyz?verbose").await?);
            sleep(Duration::from_millis(20)).await;
        }
        Ok(process)
    }

    /// Starts a server, and waits until its standard error says where it listens.
    pub fn start(command: &mut Command) -> Result<Self> {
        let mut child = command
            // Closed when this process is gone, however it went: the bare server ends by it.
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {command:?}"))?;
        let mut lines = BufReader::new(child.stderr.take().context("a piped stderr")?).lines();
        let mut said = Vec::new();
        let serving = loop {
            let Some(line) = lines.next().transpose()? else {
                bail!("it ended before it listened ({}): {said:?}", child.wait()?);
            };
            match serde_json::from_str::<Serving>(&line) {
                Ok(serving) => break serving,
                Err(_) => said.push(line),
            }
        };
        // It must not block on a full pipe; what it says now is an error.
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(|line| eprintln!("{line}")));
        let Serving { listen, validate, admin } = serving;
        Ok(Self { child, address: listen, validate, admin })
    }

    /// Where its admin port is.
    pub fn admin_address(&self) -> Result<SocketAddr> {
        self.admin.context("no admin port")
    }

    /// The whole answer to a GET on the admin port.
    pub async fn admin(&self, path: &str) -> Result<String> {
        let mut tcp = TcpStream::connect(self.admin_address()?).await?;
        let request = format!("GET {path} HTTP/1.1\r\nhost: landfall\r\nconnection: close\r\n\r\n");
        tcp.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        tcp.read_to_string(&mut answer).await?;
        Ok(answer)
    }

    /// The CPU time it has used, all threads, in user and kernel mode. The kernel counts in steps of 10 ms.
    pub fn cpu(&self) -> Result<Duration> {
        let stat = self.proc("stat")?;
        // The second field, the name in parentheses, may hold anything; the rest are numbers. proc_pid_stat(5)
        let (_, rest) = stat.rsplit_once(") ").context("stat has a name")?;
        let ticks = rest.split(' ').skip(11).take(2).map(str::parse::<u64>).sum::<Result<u64, _>>()?;
        Ok(Duration::from_millis(ticks * 10)) // USER_HZ is 100 on Linux, whatever the kernel's own tick
    }

    /// Its anonymous memory, in KiB: heap and stacks; the binary's own pages, which it shares, are not in it.
    pub fn anonymous_kib(&self) -> Result<u64> {
        self.memory("RssAnon:")
    }

    /// A line of its status, in KiB. It has none of memory once it is dead.
    pub fn memory(&self, line: &str) -> Result<u64> {
        let status = self.proc("status")?;
        let line = status.lines().find_map(|said| said.strip_prefix(line)).context("no such line")?;
        Ok(line.trim().trim_end_matches(" kB").parse()?)
    }

    fn proc(&self, file: &str) -> Result<String> {
        Ok(std::fs::read_to_string(format!("/proc/{}/{file}", self.child.id()))?)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Ended already, perhaps; then there is nothing to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
