//! `landfall gaps`: what this cluster's site lacks.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use anyhow::Context;
use jiff::Timestamp;
use serde::Serialize;

use super::Output;
use crate::cluster::{Cluster, GapState};
use crate::domain::gap::{GapKey, GapKind};
use crate::ledger::Record;
use crate::report::gaps::{Row, Selection, rows, table};

/// The width of a terminal that does not say how wide it is.
const WIDTH: usize = 100;

/// List the open gaps of a cluster: copies, scans and replication rules that are not as they should be, the worst first.
///
/// KUBECONFIG names the cluster, and your own rights count: to list ReplicationGaps.
///
/// Exit status: 0, there is none; 1, there is one; 2, they could not be read.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Closed ones, too.
    #[arg(long)]
    all: bool,
    /// Only this finding, such as `Missing` or `RuleDisabled`.
    #[arg(long, value_name = "FINDING", value_parser = finding)]
    finding: Option<GapKind>,
    /// Only at this registry, by its name in the configuration.
    #[arg(long, value_name = "NAME")]
    registry: Option<String>,
    /// Only images that Pods of this namespace use.
    #[arg(short, long, value_name = "NAME")]
    namespace: Option<String>,
    /// Those of the demo, whose stories are played first, instead of a cluster's.
    #[cfg(feature = "demo")]
    #[arg(long)]
    demo: bool,
    /// The format of the output.
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

fn finding(word: &str) -> Result<GapKind, String> {
    word.parse().map_err(|_| {
        format!("`{word}` is no finding that can be a gap; write one as REASONS.md has it, such as `Missing`")
    })
}

/// What `--output json` prints.
#[derive(Debug, Serialize)]
struct Printed<'a> {
    gaps: &'a [Row],
}

pub(super) fn run(args: &Args, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    // Before anything uses TLS. It fails if a provider is installed already, which can only be the same.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = tokio::runtime::Runtime::new().context("the async runtime cannot be started")?;
    // A file or a pipe gets whole names.
    let width = std::io::stdout().is_terminal().then(|| {
        let columns = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
        columns.unwrap_or(WIDTH)
    });
    // Its client needs the runtime from the start.
    runtime.block_on(async {
        #[cfg(feature = "demo")]
        if args.demo {
            let entries = super::demo::ledger().await?;
            return show(args, &entries, Timestamp::now(), width, out);
        }
        show(args, &listed(&Cluster::from_environment()?).await?, Timestamp::now(), width, out)
    })
}

/// What the objects of a cluster say.
async fn listed(cluster: &Cluster) -> anyhow::Result<Vec<(GapKey, Record)>> {
    let listed = cluster.gaps().list().await;
    let forbidden = listed.as_ref().err().is_some_and(|error| error.is_forbidden());
    let listed = if forbidden {
        listed.context("you lack the right to list replicationgaps.landfall.dev")
    } else {
        listed.map_err(Into::into)
    };
    let found = listed?.context(
        "the cluster does not know the resource ReplicationGap: it comes with the chart or the manifests, and nothing is recorded without it",
    )?;
    Ok(found.into_iter().filter_map(|object| Some((object.key, object.record?))).collect())
}

fn show(
    args: &Args,
    entries: &[(GapKey, Record)],
    now: Timestamp,
    width: Option<usize>,
    out: &mut impl Write,
) -> anyhow::Result<ExitCode> {
    let Args { all, finding, registry, namespace, output, .. } = args;
    let (finding, registry, namespace) = (*finding, registry.clone(), namespace.clone());
    let selection = Selection { closed: *all, finding, registry, namespace };
    let rows = rows(entries, &selection, now);
    match output {
        Output::Json => writeln!(out, "{}", serde_json::to_string_pretty(&Printed { gaps: &rows })?)?,
        Output::Text if rows.is_empty() => writeln!(out, "no gaps")?,
        Output::Text => {
            write!(out, "{}", table(&rows, now, width))?;
            if let Some(worst) = rows.first() {
                writeln!(out, "\n{}", worst.message)?;
            }
        }
    }
    let is_open = |row: &Row| row.state != GapState::Closed;
    Ok(if rows.iter().any(is_open) { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
