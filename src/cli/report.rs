//! `landfall report`: what has changed from one drill to the next, and drills of many sites side by side.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Subcommand;
use serde::Serialize;

use super::Output;
use crate::domain::text::plain;
use crate::report::changes::{Changes, Deficiency, changes};
use crate::report::drill::{Forecast, Prospect};
use crate::report::sheet::{self, Input};
use crate::report::sites::{Sites, sites};

const EXAMPLES: &str = "\
Examples:
  landfall drill --lose fra --html monday.html      # writes monday.json, too
  landfall report diff monday.json tuesday.json --html lessons.html
  landfall report merge ams.json lon.json mad.json --html sites.html";

const DIFF: &str = "\
Examples:
  landfall report diff monday.json tuesday.json
  landfall report diff monday.json tuesday.json --html lessons.html";

const MERGE: &str = "\
Examples:
  landfall report merge ams.json lon.json mad.json
  landfall report merge sites/*.json --html sites.html";

/// Compare the JSON of drills: two of one site, or one of each of many sites.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    Diff(Diff),
    Merge(Merge),
}

/// What was mended from one drill to the next, what is new, and what still stands. Exit status: 0, nothing is new; 1, something
/// is; 2, a file cannot be used.
#[derive(Debug, clap::Args)]
#[command(after_help = DIFF)]
struct Diff {
    /// The JSON of the older drill.
    old: PathBuf,
    /// The JSON of the newer one.
    new: PathBuf,
    /// Write it as a page, too.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// The format of the output.
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

/// Which image would not start at which site, the worst first. Exit status: 0, all start everywhere; 1, some do not; 2, a file
/// cannot be used.
#[derive(Debug, clap::Args)]
#[command(after_help = MERGE)]
struct Merge {
    /// The JSON of a drill of each site.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Write it as a page, too.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// The format of the output.
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

pub(super) fn run(args: &Args, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    match &args.what {
        What::Diff(args) => diff(args, out),
        What::Merge(args) => merge(args, out),
    }
}

fn diff(args: &Diff, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let ((old, before), (new, now)) = (read(&args.old)?, read(&args.new)?);
    let changes = changes(&old, &new);
    if let Some(file) = &args.html {
        write(file, &sheet::changes(&changes, &[before, now]))?;
    }
    match args.output {
        Output::Json => writeln!(out, "{}", serde_json::to_string_pretty(&changes)?)?,
        Output::Text => told(&changes, out)?,
    }
    Ok(if changes.new.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn told(changes: &Changes, out: &mut impl Write) -> anyhow::Result<()> {
    let Changes { mended, gone, new, still, notes, .. } = changes;
    for note in notes {
        writeln!(out, "note: {}", plain(note))?;
    }
    for (name, these) in [("mended", mended), ("new", new), ("still there", still), ("gone", gone)] {
        writeln!(out, "{name}: {}", these.len())?;
        for Deficiency { workload, obstacles, why } in these {
            writeln!(out, "  {}  {}  {}", plain(workload), obstacles.join(", "), plain(why))?;
        }
    }
    Ok(())
}

fn merge(args: &Merge, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let read = args.files.iter().map(|file| read(file)).collect::<Result<Vec<_>, _>>()?;
    let (forecasts, inputs): (Vec<Forecast>, Vec<Input>) = read.into_iter().unzip();
    let sites = sites(&forecasts);
    if let Some(file) = &args.html {
        write(file, &sheet::sites(&sites, &inputs))?;
    }
    match args.output {
        Output::Json => writeln!(out, "{}", serde_json::to_string_pretty(&sites)?)?,
        Output::Text => side_by_side(&sites, out)?,
    }
    let all = sites.sites.iter().all(|site| site.start == site.total);
    Ok(if all { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn side_by_side(sites: &Sites, out: &mut impl Write) -> anyhow::Result<()> {
    for site in &sites.sites {
        let lost = site.lost.join(", ");
        writeln!(
            out,
            "{}: {} of {} workloads would start without {lost} ({})",
            site.name, site.start, site.total, site.at
        )?;
    }
    for one in &sites.images {
        writeln!(out, "{}", plain(&one.image))?;
        for (site, cell) in sites.sites.iter().zip(&one.cells) {
            let Some(cell) = cell.filter(|cell| cell.prospect != Prospect::Starts) else { continue };
            let why = cell.obstacle.map(|why| why.to_string()).unwrap_or_default();
            writeln!(out, "  {}  {why}", plain(&site.name))?;
        }
    }
    Ok(())
}

/// Reads the JSON of a drill.
///
/// # Errors
/// If the file cannot be read, or is something else.
pub(super) fn read(file: &Path) -> anyhow::Result<(Forecast, Input)> {
    let name = file.display();
    let text = fs::read(file).with_context(|| format!("cannot read `{name}`"))?;
    match serde_json::from_slice(&text) {
        Ok(forecast) => Ok((forecast, Input::of(file, &text))),
        Err(error) => bail!(
            "`{name}` is not the JSON of a drill ({error}): `landfall drill --html FILE` writes one beside its page, and `landfall drill -o json` prints one"
        ),
    }
}

/// Writes a report as a page, and beside it the same as JSON, whose hash stands on the page with those of `inputs`.
///
/// # Errors
/// If a file cannot be written.
pub(super) fn write_page(
    file: &Path,
    report: &impl Serialize,
    mut inputs: Vec<Input>,
    page: impl FnOnce(&[Input]) -> String,
) -> anyhow::Result<()> {
    let json = file.with_extension("json");
    let text = serde_json::to_string_pretty(report)? + "\n";
    inputs.push(Input::of(&json, text.as_bytes()));
    write(&json, &text)?;
    write(file, &page(&inputs))
}

/// Writes a file.
///
/// # Errors
/// If it cannot be written.
fn write(file: &Path, text: &str) -> anyhow::Result<()> {
    fs::write(file, text).with_context(|| format!("cannot write `{}`", file.display()))
}
