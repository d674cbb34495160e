//! A server in a process of its own: this very binary under another role, watched from outside through `/proc`.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};

/// The served certificate (PEM), in the folder that every process is given.
pub const CERTIFICATE: &str = "tls.crt";
/// Its key (PEM).
pub const KEY: &str = "tls.key";
/// Landfall's configuration.
pub const CONFIGURATION: &str = "landfall.yaml";

/// A running server. Dropping it ends it.
pub struct Process {
    child: Child,
    /// Closed, it tells the process to end, however we do.
    stdin: Option<ChildStdin>,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Process {
    /// Starts the role, and waits until it says where it listens.
    pub fn start(role: &str, folder: &Path) -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg(role)
            .arg(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start `{role}`"))?;
        let stdin = child.stdin.take();
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("a piped stdout")?).read_line(&mut line)?;
        let address =
            line.trim().parse().with_context(|| format!("`{role}` did not say where it listens"))?;
        Ok(Self { child, stdin, address })
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
        let status = self.proc("status")?;
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).context("no RssAnon")?;
        Ok(line.trim().trim_end_matches(" kB").parse()?)
    }

    fn proc(&self, file: &str) -> Result<String> {
        Ok(std::fs::read_to_string(format!("/proc/{}/{file}", self.child.id()))?)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.stdin.take());
        // Ended already, most likely; then there is nothing to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Inside such a process: tells the parent where we listen.
pub fn announce(address: SocketAddr) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{address}")?;
    Ok(stdout.flush()?)
}

/// Inside such a process: ends it when the parent is gone or done with us.
pub fn end_with_parent() {
    std::thread::spawn(|| {
        // Nothing is ever written there: it ends, whether well or not.
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0)
    });
}
