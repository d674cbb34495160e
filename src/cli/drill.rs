//! `landfall drill`: what could not start again without some registries.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use anyhow::{Context, bail};
use jiff::Timestamp;
use prometheus_client::registry::Registry as Page;

use super::sources::{Found, Sources};
use super::{Output, terminal};
use crate::cluster::Cluster;
use crate::domain::error_chain::error_chain;
use crate::domain::gap::GapKey;
use crate::domain::name::RegistryName;
use crate::evidence::Observatory;
use crate::ledger::Record;
use crate::report::drill::{Bandwidth, Drill, Forecast, Keys, Prospect, Subject, text, without};

/// Forecast which workloads could start again if some registries were lost: every Pod is created anew, on nodes that hold no
/// image.
///
/// Each image is judged as at the doors, with the lost registries known to be down. Then the registry that a node would ask is
/// asked for the manifest, the platforms of the Pod and every blob, with the pull secrets that the kubelet would use: those of
/// the Pod, else of its ServiceAccount, and the one that Landfall adds. Nothing is changed and nothing is pulled; Harbor counts
/// what is asked as pulls. What could not be learned never counts as a start.
///
/// KUBECONFIG names the cluster, and your own rights count: to list workloads, and to get ServiceAccounts and Secrets. Secrets
/// that you may not read are taken for good ones, and the report says so.
///
///   landfall drill --lose fra
///   landfall drill --lose fra,edge -n shop -o json
///   helm template shop ./chart | landfall drill --lose fra -f - --config landfall.yaml --offline
///
/// Exit status: 0, all workloads would start; 1, some would not, or it could not be told; 2, the drill could not be done.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Args {
    /// The registries that are taken to be lost, by their names in the configuration.
    #[arg(long, value_name = "NAME,…", required = true, value_delimiter = ',')]
    lose: Vec<String>,
    /// Only workloads of this namespace; of manifests without one, the namespace that they would be created in.
    #[arg(short, long, value_name = "NAME")]
    namespace: Option<String>,
    /// Manifests instead of what a cluster has: a file, a folder, or `-` for standard input. Secrets and ServiceAccounts among
    /// them are read as well.
    #[arg(short, long, value_name = "PATH")]
    filename: Vec<std::path::PathBuf>,
    /// How fast a node pulls, such as `100MiB/s`. Without it, at most 64 MiB are read for at most 10 s to measure that.
    #[arg(long, value_name = "RATE", value_parser = rate)]
    bandwidth: Option<u64>,
    #[command(flatten)]
    sources: Sources,
    /// The format of the output.
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

fn rate(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is no rate such as `100MiB/s`");
    let amount = text.strip_suffix("/s").ok_or_else(wrong)?;
    let digits = amount.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = amount.split_at(digits);
    let unit = match unit {
        "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "kB" => 1000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        _ => return Err(wrong()),
    };
    let rate = number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit)).filter(|rate| *rate > 0);
    rate.ok_or_else(wrong)
}

pub(super) fn run(args: &Args, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    // Before anything uses TLS. It fails if a provider is installed already, which can only be the same.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = tokio::runtime::Runtime::new().context("the async runtime cannot be started")?;
    let now = Timestamp::now();
    let forecast = runtime.block_on(drill(args, now))?;
    match args.output {
        Output::Json => writeln!(out, "{}", serde_json::to_string_pretty(&forecast)?)?,
        Output::Text => write!(out, "{}", text(&forecast, now, terminal::width()))?,
    }
    let all = forecast.workloads.iter().all(|one| one.prospect == Prospect::Starts);
    Ok(if all { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
