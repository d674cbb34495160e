//! `landfall audit`: what is not here, of all that runs or of manifests before they are merged.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use clap::ValueEnum;
use futures::StreamExt;
use jiff::Timestamp;
use prometheus_client::registry::Registry as Page;

use super::progress::Progress;
use super::report::write_page;
use super::sources::{Found, Sources};
use super::{manifests, terminal};
use crate::domain::error_chain::error_chain;
use crate::domain::policy::Labels;
use crate::domain::text::plain;
use crate::evidence::Observatory;
use crate::report::audit::{
    Audit, Depth, FailOn, Ground, Target, audit, csv, junit, namespaces, sarif, table,
};
use crate::report::sheet;
use crate::report::workloads::{Collection, live};

/// How many namespaces are asked for their labels at once.
const LABELS_AT_ONCE: usize = 8;

/// How the report is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people.
    #[value(alias = "text")]
    Table,
    /// One JSON object: `manifests/schemas/audit.json`.
    Json,
    /// SARIF 2.1.0, which code hosts show beside the lines of a change.
    Sarif,
    /// JUnit XML, which CI servers draw.
    Junit,
    /// A line for each image of each workload, for spreadsheets.
    Csv,
}

const EXAMPLES: &str = "\
Examples:
  landfall audit                                   # all that runs and would run
  landfall audit -n shop --deep                    # one namespace: layers, signatures and tags, too
  landfall audit --on-fallback                     # what to restart after an outage
  landfall audit -f deploy/ --fail-on missing      # a pipeline: may this be merged?
  helm template shop ./chart | landfall audit -f - -o sarif > landfall.sarif";

/// Tell which images are not here: of all that runs and would run in a cluster, or of manifests before they are merged.
///
/// Each different image is judged once, by the same code as at the doors, for what a new Pod would get now. The worst stand
/// first: what would be denied, what is missing or lost, what could not be learned, what was not scanned as it should be. What
/// could not be learned is never called fine.
///
/// Exit status: 0, nothing of --fail-on was found; 1, something was; 2, it could not be done; 130, it was interrupted, and the
/// report has what was judged until then.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Only this namespace. With -f: where objects without a namespace would be created (if not given: `default`).
    #[arg(short, long, value_name = "NAME", value_parser = namespace)]
    namespace: Option<String>,
    /// All namespaces, as if no --namespace was given.
    #[arg(short = 'A', long, conflicts_with = "namespace")]
    all_namespaces: bool,
    /// Manifests instead of what runs: a file, a directory, or `-` for the standard input. Charts and kustomizations are
    /// rendered first. May be repeated.
    #[arg(short, long, value_name = "FILE|DIR|-")]
    file: Vec<PathBuf>,
    /// Look at layers, at signatures and other accessories, and at whether a tag holds the copy against garbage collection.
    #[arg(long)]
    deep: bool,
    /// Show only Pods that still run from elsewhere though the copy is here. They are to be restarted.
    #[arg(long, conflicts_with = "file")]
    on_fallback: bool,
    /// What makes the exit status 1: deny, missing, scan, unknown, any, none, or findings such as `Stale`, `LayerMissing`,
    /// `Untagged`.
    #[arg(long, value_name = "WHAT", value_delimiter = ',', default_value = "deny")]
    fail_on: Vec<FailOn>,
    #[command(flatten)]
    sources: Sources,
    /// Write the report as a page, too, and beside it the same as JSON: `audit.html` and `audit.json`.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// The format of the output.
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

fn namespace(text: &str) -> Result<String, String> {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if text.is_empty() || text.len() > 63 || !text.bytes().all(fits) {
        return Err(format!("`{text}` is no name of a namespace such as `shop`"));
    }
    Ok(text.to_owned())
}

pub(super) fn run(args: &Args, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    // Before anything uses TLS. It fails if a provider is installed already, which can only be the same.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = tokio::runtime::Runtime::new().context("the async runtime cannot be started")?;
    let (mut audit, interrupted) = runtime.block_on(audited(args, Timestamp::now()))?;
    let fails = FailOn::is_met(&args.fail_on, &audit);
    if args.on_fallback {
        audit.rows.retain(|row| row.findings.iter().any(|found| found == "RunsElsewhere"));
        for row in &mut audit.rows {
            row.workloads.retain(|user| user.runs_elsewhere());
        }
    }
    if let Some(file) = &args.html {
        write_page(file, &audit, args.sources.inputs()?, |inputs| sheet::audit(&audit, inputs))?;
    }
    match args.output {
        Format::Table => write!(out, "{}", table(&audit, terminal::width()))?,
        Format::Json => writeln!(out, "{}", serde_json::to_string_pretty(&audit)?)?,
        Format::Sarif => writeln!(out, "{}", serde_json::to_string_pretty(&sarif(&audit))?)?,
        Format::Junit => write!(out, "{}", junit(&audit, &args.fail_on)?)?,
        Format::Csv => write!(out, "{}", csv(&audit)?)?,
    }
    Ok(match (interrupted, fails) {
        (true, _) => ExitCode::from(130),
        (false, true) => ExitCode::FAILURE,
        (false, false) => ExitCode::SUCCESS,
    })
}

/// The audit, and whether somebody interrupted it.
async fn audited(args: &Args, now: Timestamp) -> anyhow::Result<(Audit, bool)> {
    let found = args.sources.read(now).await?;
    let own = args.sources.release_namespace();
    let namespace = args.namespace.as_deref();
    let (target, mut collection) = if args.file.is_empty() {
        let cluster = found.cluster.as_ref().context(
            "what runs is read from a cluster: set KUBECONFIG, without --offline; or name manifests with -f",
        )?;
        let read = live(cluster, &found.settings, own, namespace).await;
        let read =
            read.context("what runs cannot be read: with rights in one namespace alone, name it with -n")?;
        (Target::Cluster { namespace: namespace.map(str::to_owned) }, read)
    } else {
        let named = |path: &PathBuf| match path.to_str() {
            Some("-") => "stdin".to_owned(),
            _ => plain(&path.display().to_string()).into_owned(),
        };
        let target = Target::Manifests { paths: args.file.iter().map(named).collect() };
        (target, manifests::read(&args.file, &found.settings, own, namespace.unwrap_or("default"))?)
    };
    // Without a policy that should count, what is said is too mild.
    collection.partial |= found.cluster.is_some() && !found.notes.is_empty();
    collection.notes.extend(found.notes.iter().cloned());
    if collection.is_empty() {
        collection.notes.push("there is no workload to look at".to_owned());
    }
    let labels = labels(&found, &mut collection).await;
    let settings = Arc::new(found.settings);
    let observatory = {
        let settings = settings.clone();
        tokio::task::spawn_blocking(move || Observatory::new(&settings, &mut Page::default())).await?
    };
    for problem in observatory.problems() {
        let why = error_chain(&problem.error);
        collection.notes.push(format!("registry `{}` cannot be asked from here: {why}", problem.registry));
    }
    let depth = if args.deep { Depth::Deep } else { Depth::AsTheDoors };
    let ground = Ground { settings: &settings, observatory: &observatory, labels: &labels, now, depth };
    let progress = Progress::begin("{bar:30} {pos} of {len} images, {per_sec}, {eta} left");
    let interrupted = std::cell::Cell::new(false);
    let stop = async {
        // Where signals cannot be had, nobody can interrupt it.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
        interrupted.set(true);
    };
    let audit = audit(ground, (target, &collection), stop, |done, all| progress.tell(done, all)).await;
    progress.end();
    if !interrupted.get() {
        observatory.close().await;
    }
    Ok((audit, interrupted.get()))
}

/// The labels of each namespace: those of its manifest, else those that the sources know.
async fn labels(found: &Found, collection: &mut Collection) -> BTreeMap<Box<str>, Labels> {
    let names: Vec<String> = namespaces(collection).into_iter().map(str::to_owned).collect();
    let unknown: Vec<String> =
        names.into_iter().filter(|name| !collection.namespaces.contains_key(&**name)).collect();
    let asked = futures::stream::iter(unknown).map(async |name| {
        let (labels, note) = found.labels_if_known(&name).await;
        (Box::<str>::from(name), labels, note)
    });
    let asked: Vec<_> = asked.buffered(LABELS_AT_ONCE).collect().await;
    let mut all = collection.namespaces.clone();
    for (name, labels, note) in asked {
        all.insert(name, labels);
        collection.notes.extend(note);
    }
    all
}
