//! `landfall demo`: a world of registries, the real doors in front of it, and stories about both.

mod page;

use std::io::Write;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context;
use jiff::Timestamp;
use serde::Serialize;

use super::Output;
use crate::demo::story::{Act, Pages, Performance, Stage, Told, ToldAct, example_reviews, script};
use crate::domain::gap::GapKey;
use crate::ledger::Record;
use crate::report::gaps::{Row, Selection, rows};
use crate::server::Signals;
use page::Page;

/// How it is used.
const EXAMPLES: &str = "\
Examples:
  landfall demo
  landfall demo --serve
  landfall demo -o json";

/// Watch Landfall work: three embedded registries, the real server, some eighty Pods, and a site that goes dark.
///
/// Needs no Kubernetes, no network, no root. The exit status says whether every story ended as told.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// How to tell the stories.
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
    /// Afterwards, keep everything up until Ctrl-C, and print commands to try it with.
    #[arg(long)]
    serve: bool,
}

/// What `--output json` prints.
#[derive(Debug, Serialize)]
struct Report<'a> {
    summary: Summary<'a>,
    acts: &'a [ToldAct],
}

/// The result of the performance.
#[derive(Debug, Serialize)]
struct Summary<'a> {
    stories: usize,
    as_told: usize,
    /// The names of the stories that ended in an unexpected way.
    otherwise: Vec<&'a str>,
    seconds: f64,
    /// The ledger in the end.
    gaps: &'a [Row],
}

impl<'a> Summary<'a> {
    fn of(performance: &'a Performance, gaps: &'a [Row], took: Duration) -> Self {
        let otherwise: Vec<&str> =
            performance.stories().filter(|told| !told.as_told).map(|told: &Told| told.story).collect();
        let stories = performance.stories().count();
        let seconds = (took.as_secs_f64() * 10.0).round() / 10.0;
        Self { stories, as_told: stories - otherwise.len(), otherwise, seconds, gaps }
    }
}

/// The exit status after Ctrl-C, as shells report it.
const INTERRUPTED: u8 = 130;

pub(super) fn run(args: &Args, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Runtime::new().context("no runtime for the demo")?;
    runtime.block_on(async {
        // First, so that a signal at any time does not leave the folder of the world behind.
        let mut signals = Signals::take().context("cannot listen for signals")?;
        let stage = Stage::build().await?;
        let performance = tokio::select! {
            performance = perform(&stage, script(), args.output, out) => performance?,
            _ = signals.next() => return Ok(INTERRUPTED.into()),
        };
        if args.serve {
            let pages = Pages::open().await?;
            serve(&stage, &pages, args.output, out)?;
            tokio::select! {
                () = stage.serve(pages) => {}
                _ = signals.next() => {}
            }
        }
        stage.close().await;
        Ok(exit(&performance))
    })
}

/// Plays all stories without a word, and returns the ledger in the end.
///
/// # Errors
/// If the world cannot be built, or its server does not answer.
pub(super) async fn ledger() -> anyhow::Result<Vec<(GapKey, Record)>> {
    let stage = Stage::build().await?;
    for act in script() {
        stage.play(act).await?;
    }
    let entries = stage.ledger().await;
    stage.close().await;
    Ok(entries)
}

/// Whether every story ended as expected.
fn exit(performance: &Performance) -> ExitCode {
    if performance.as_told() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Plays these acts, and prints them.
async fn perform(
    stage: &Stage,
    acts: Vec<Act>,
    output: Output,
    out: &mut impl Write,
) -> anyhow::Result<Performance> {
    let began = Instant::now();
    let page = Page::new();
    let mut performance = Performance::default();
    if output == Output::Text {
        page.opening(out)?;
    }
    for (n, act) in acts.into_iter().enumerate() {
        if output == Output::Text {
            page.heading(n + 1, act.title, act.narration, out)?;
            out.flush()?;
        }
        // What will not start is said before, and the act shows whether that was right.
        if let (Output::Text, Some(forecast)) = (output, stage.drill(&act).await?) {
            page.forecast(&forecast, out)?;
            out.flush()?;
        }
        let told = stage.play(act).await?;
        if output == Output::Text {
            told.stories.iter().try_for_each(|story| page.story(story, out))?;
        }
        performance.acts.push(told);
    }
    let all = Selection { closed: true, ..Selection::default() };
    let gaps = rows(&stage.ledger().await, &all, Timestamp::now());
    let summary = Summary::of(&performance, &gaps, began.elapsed());
    match output {
        Output::Text => page.closing(&summary, out)?,
        Output::Json => {
            let report = Report { summary, acts: &performance.acts };
            writeln!(out, "{}", serde_json::to_string_pretty(&report)?)?;
        }
    }
    out.flush()?;
    Ok(performance)
}

/// Prints how to try the running demo, and waits for Ctrl-C.
fn serve(stage: &Stage, pages: &Pages, output: Output, out: &mut impl Write) -> anyhow::Result<()> {
    let commands = commands(stage, pages)?;
    match output {
        Output::Text => write!(out, "{commands}")?,
        // Standard output must hold one JSON object and nothing else.
        Output::Json => anstream::eprint!("{commands}"),
    }
    Ok(out.flush()?)
}

/// Commands that can be pasted into a shell.
fn commands(stage: &Stage, pages: &Pages) -> anyhow::Result<String> {
    let ca = stage.ca_file();
    let curl = format!("curl --silent --write-out '\\n' --cacert '{}'", ca.display());
    let file = stage.demo.world.write("demo.yaml", &stage.configuration)?;
    let Pages { status, world, .. } = pages;
    let mut text = format!(
        "\nThe status page:                   {status}\nLet registries go dark, and back:  {world}\n\nEverything is up until Ctrl-C. The configuration: {}\n",
        file.display()
    );
    for (file, about, review) in example_reviews() {
        let path = stage.demo.world.write(file, &serde_json::to_string_pretty(&review)?)?;
        let post = format!("-H 'Content-Type: application/json' --data @'{}'", path.display());
        text += &format!("\n# {about}\n{curl} {post} '{}?timeout=5s'\n", stage.url());
    }
    let ams = stage.demo.ams.url();
    text += &format!(
        "\n# Amsterdam itself, as Landfall asks it.\n{curl} --head --user 'robot$landfall:landfall-Secret1' \
         -H 'Accept: application/vnd.oci.image.manifest.v1+json' '{ams}/v2/production/shop/web/manifests/1.4.2'\n\n"
    );
    Ok(text)
}

#[cfg(test)]
mod tests;
