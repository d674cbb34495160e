//! `landfall open`: the status page of a replica, in a browser.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, ExitCode, Stdio};

use anyhow::{Context, bail};

use super::plugin::Target;

/// How it is used.
const EXAMPLES: &str = "\
Examples:
  landfall open
  landfall open --release-namespace platform --no-browser";

/// Open the status page of a Landfall that runs in a cluster: what needs attention, the registries, the gaps, the last
/// decisions and why.
///
/// A port of this machine is forwarded to the replica by `kubectl port-forward`, with your own rights (`create
/// pods/portforward`), until Ctrl-C. Nobody else can reach the page.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The name of the release.
    #[arg(long, env = "LANDFALL_RELEASE", value_name = "NAME", default_value = "landfall")]
    release: String,
    /// The namespace of the release.
    #[arg(long, env = "LANDFALL_NAMESPACE", value_name = "NAME", default_value = "landfall")]
    release_namespace: String,
    /// A replica by the name of its Pod; else any of them.
    #[arg(long, value_name = "NAME")]
    pod: Option<String>,
    /// The port of this machine; else a free one.
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    port: u16,
    /// Only print the address.
    #[arg(long)]
    no_browser: bool,
    #[command(flatten)]
    target: Target,
}

/// The port of the admin endpoints in the Pod, by its name in the chart.
const ADMIN: &str = "admin";

pub(super) fn run(args: &Args, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let Args { release, release_namespace, pod, port, no_browser, target: cluster } = args;
    let target = pod.as_ref().map_or_else(|| format!("deployment/{release}"), |pod| format!("pod/{pod}"));
    let mut forward = Command::new("kubectl")
        .args(cluster.flags())
        .args(["--namespace", release_namespace, "port-forward", "--address", "127.0.0.1", &target])
        .arg(format!("{port}:{ADMIN}"))
        .stdout(Stdio::piped())
        .spawn()
        .context("`kubectl` cannot be started: it forwards the port; put it on your PATH")?;
    let said = forward.stdout.take().context("what `kubectl` says cannot be read")?;
    let mut lines = BufReader::new(said).lines();
    // `Forwarding from 127.0.0.1:38211 -> 8080`
    let Some(url) = lines.by_ref().map_while(Result::ok).find_map(|line| address(&line)) else {
        return failed(&mut forward, &target, release_namespace);
    };
    writeln!(out, "{url}\nCtrl-C ends it.")?;
    out.flush()?;
    if !no_browser {
        browse(&url);
    }
    // It prints a line for each connection, and must not wait until somebody reads it.
    lines.for_each(drop);
    failed(&mut forward, &target, release_namespace)
}

/// The address in what `kubectl port-forward` says.
fn address(line: &str) -> Option<String> {
    let (_, rest) = line.split_once("Forwarding from ")?;
    let (address, _) = rest.split_once(" -> ")?;
    Some(format!("http://{address}/"))
}

fn failed(forward: &mut Child, target: &str, namespace: &str) -> anyhow::Result<ExitCode> {
    let status = forward.wait().context("`kubectl` did not end")?;
    if status.success() {
        return Ok(ExitCode::SUCCESS);
    }
    bail!(
        "no port could be forwarded to {target} in namespace `{namespace}` (see what kubectl said above): name the release with --release and --release-namespace, and check that you may `create pods/portforward` there"
    )
}

/// Asks the desktop to open an address. Where there is none, the address stands on the terminal.
fn browse(url: &str) {
    let program = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };
    let _ = Command::new(program)
        .arg(url)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_what_kubectl_says() {
        let said = address("Forwarding from 127.0.0.1:38211 -> 8080");
        assert_eq!(said.as_deref(), Some("http://127.0.0.1:38211/"));
        assert_eq!(address("Handling connection for 38211"), None);
    }
}
