//! `landfall drill`: what could not start again without some registries.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use jiff::Timestamp;
use prometheus_client::registry::Registry as Page;

use super::progress::Progress;
use super::report::{read, write_page};
use super::sources::{Found, Sources};
use super::{Output, manifests, terminal};
use crate::domain::error_chain::error_chain;
use crate::domain::gap::GapKey;
use crate::domain::name::RegistryName;
use crate::domain::policy::NAMESPACE_NAME;
use crate::evidence::Observatory;
use crate::ledger::Record;
use crate::report::changes::changes;
use crate::report::drill::{
    Bandwidth, Drill, Forecast, Keys, ManifestKeys, Prospect, Subject, text, without,
};
use crate::report::sheet;
use crate::report::workloads::{Collection, live};

const EXAMPLES: &str = "\
Examples:
  landfall drill --lose fra
  landfall drill --lose fra,edge -n shop -o json
  landfall drill --lose fra --html tuesday.html --previous monday.json
  helm template shop ./chart | landfall drill --lose fra -f - --config landfall.yaml --offline";

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
/// Exit status: 0, all workloads would start; 1, some would not, or it could not be told; 2, the drill could not be done.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
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
    filename: Vec<PathBuf>,
    /// How fast a node pulls, such as `100MiB/s`. Without it, at most 64 MiB are read for at most 10 s to measure that.
    #[arg(long, value_name = "RATE", value_parser = rate)]
    bandwidth: Option<u64>,
    #[command(flatten)]
    sources: Sources,
    /// Write the report as a page, too, and beside it the same as JSON: `drill.html` and `drill.json`.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// The JSON of the last drill: the page says what was mended since.
    #[arg(long, value_name = "FILE", requires = "html")]
    previous: Option<PathBuf>,
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
    let rate =
        number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit)).filter(|rate| *rate > 0);
    rate.ok_or_else(wrong)
}

pub(super) fn run(args: &Args, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    // Before anything uses TLS. It fails if a provider is installed already, which can only be the same.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = tokio::runtime::Runtime::new().context("the async runtime cannot be started")?;
    let now = Timestamp::now();
    // Before the work: a file that cannot be read should not cost it.
    let previous = args.previous.as_deref().map(read).transpose()?;
    let forecast = runtime.block_on(drill(args, now))?;
    if let Some(file) = &args.html {
        let mut inputs = args.sources.inputs()?;
        inputs.extend(previous.as_ref().map(|(_, input)| input.clone()));
        let since = previous.map(|(old, _)| changes(&old, &forecast));
        write_page(file, &forecast, inputs, |inputs| sheet::drill(&forecast, since.as_ref(), inputs))?;
    }
    match args.output {
        Output::Json => writeln!(out, "{}", serde_json::to_string_pretty(&forecast)?)?,
        Output::Text => write!(out, "{}", text(&forecast, now, terminal::width()))?,
    }
    let all = forecast.workloads.iter().all(|one| one.prospect == Prospect::Starts);
    Ok(if all { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn drill(args: &Args, now: Timestamp) -> anyhow::Result<Forecast> {
    let mut found = args.sources.read(now).await?;
    let lost: BTreeSet<RegistryName> = args.lose.iter().map(|name| RegistryName::new(name.trim())).collect();
    let settings = without(&found.settings, &lost).map_err(|why| anyhow::anyhow!("--lose: {why}"))?;
    let collection = collected(args, &found).await?;
    if collection.is_empty() {
        bail!("there is no workload to drill: name another namespace with -n, or other manifests with -f");
    }
    let keys = match (&found.cluster, args.filename.is_empty()) {
        (Some(cluster), true) => Keys::of(cluster.clone()),
        (cluster, _) => {
            let mut keys = ManifestKeys::beside(cluster.clone());
            for object in &collection.keys {
                keys.take(object, args.namespace.as_deref().unwrap_or("default"));
            }
            Keys::Manifests(keys)
        }
    };
    let mut labels = BTreeMap::new();
    for name in collection.iter().map(|one| one.namespace.to_string()).collect::<BTreeSet<_>>() {
        let known = match collection.namespaces.get(&*name) {
            Some(known) => known.clone(),
            None => found.labels(&name).await.unwrap_or_else(|_| {
                found
                    .notes
                    .push(format!("the cluster has no namespace `{name}`: it is known by its name alone"));
                [(NAMESPACE_NAME.to_owned(), name.clone())].into_iter().collect()
            }),
        };
        labels.insert(name, known);
    }
    let gaps = gaps(&mut found).await;
    let observatory = {
        let settings = settings.clone();
        tokio::task::spawn_blocking(move || Observatory::new(&settings, &mut Page::default())).await?
    };
    for problem in observatory.problems().iter().filter(|problem| !lost.contains(&problem.registry)) {
        let why = error_chain(&problem.error);
        found.notes.push(format!("registry `{}` cannot be asked from here: {why}", problem.registry));
    }
    let subjects: Vec<Subject> = collection
        .iter()
        .map(|one| Subject {
            kind: one.kind.to_string(),
            namespace: one.namespace.to_string(),
            name: one.name.to_string(),
            pods: one.to_create().map(str::to_owned).collect(),
        })
        .collect();
    let drill = Drill {
        settings: &settings,
        observatory: &observatory,
        lost: &lost,
        keys: &keys,
        labels: &labels,
        own_namespace: Some(args.sources.release_namespace()),
        gaps: &gaps,
        now,
    };
    let bandwidth = args.bandwidth.map_or(Bandwidth::Measured, Bandwidth::Given);
    let progress = match args.output {
        Output::Text => Progress::begin("{pos} of {len} images asked for, {per_sec}, {eta} left"),
        Output::Json => Progress::none(),
    };
    let mut forecast = drill.forecast(&subjects, bandwidth, |done, all| progress.tell(done, all)).await;
    progress.end();
    observatory.close().await;
    forecast.notes.append(&mut found.notes);
    forecast.notes.extend(collection.notes.iter().cloned());
    if collection.left_out > 0 {
        forecast
            .notes
            .push(format!("{} Pods and templates could not be read, or are too many", collection.left_out));
    }
    if !collection.left_alone.is_empty() {
        let names: Vec<String> =
            collection.left_alone.iter().map(|(name, number)| format!("{name} ({number})")).collect();
        forecast.not_covered.push(format!("the workloads of namespaces that Landfall leaves alone, whose images nodes ask for as written: {}", names.join(", ")));
    }
    if !collection.custom.is_empty() {
        let names: Vec<&str> = collection.custom.keys().map(|name| &**name).collect();
        forecast.not_covered.push(format!("custom resources, some of which make Pods: {}", names.join(", ")));
    }
    Ok(forecast)
}

/// What makes Pods, of the cluster or of manifests.
async fn collected(args: &Args, found: &Found) -> anyhow::Result<Collection> {
    let own = args.sources.release_namespace();
    if args.filename.is_empty() {
        let cluster = found.cluster.as_ref().context(
            "workloads are read from a cluster: set KUBECONFIG, without --offline, or name manifests with -f",
        )?;
        return Ok(live(cluster, &found.settings, own, args.namespace.as_deref()).await?);
    }
    manifests::read(&args.filename, &found.settings, own, args.namespace.as_deref().unwrap_or("default"))
}

/// The gaps that the cluster records.
async fn gaps(found: &mut Found) -> Vec<(GapKey, Record)> {
    let Some(cluster) = &found.cluster else { return Vec::new() };
    match cluster.gaps().records().await {
        Ok(recorded) => recorded.unwrap_or_default(),
        Err(error) => {
            let why = error_chain(&error);
            found.notes.push(format!("since when copies are lacking is not known: {why}"));
            Vec::new()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_with_their_unit() {
        for (text, expected) in [
            ("100MiB/s", Some(100 << 20)),
            ("1GB/s", Some(1_000_000_000)),
            ("5B/s", Some(5)),
            ("0MiB/s", None),
            ("100", None),
            ("MiB/s", None),
            ("-1MiB/s", None),
            ("1MiB", None),
            ("99999999999GiB/s", None),
        ] {
            assert_eq!(rate(text).ok(), expected, "{text}");
        }
    }
}
