//! `landfall doctor`: whether an installation works, and what to do if not.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anstyle::AnsiColor;
use anyhow::Context;
use jiff::Timestamp;
use serde::Serialize;

use super::plugin::Target;
use super::{Output, terminal};
use crate::admission::{MARGIN, MUTATE};
use crate::config::{self, Files, Loaded, Problem, Problems};
use crate::domain::error_chain::error_chain;
use crate::domain::settings::Settings;
use crate::domain::text::hanging;
use crate::report::doctor::{self, Found, Installation, Line, TestImage};

/// How it is used.
const EXAMPLES: &str = "\
Examples:
  landfall doctor --config landfall.yaml --pods-in shop
  landfall doctor --config landfall.yaml --no-files -o json
  kubectl -n landfall exec deploy/landfall -- /landfall doctor --image harbor.fra.example.com/production/shop/web:1.4.2";

/// Examine an installation: configuration, registries, webhook, certificate, and a Pod created as a dry run.
///
/// Each line says `ok`, or what is wrong and what to do. `helm test` runs it in a Pod of the cluster with the files that
/// Landfall itself has mounted. Elsewhere checks that are not possible from there are skipped.
///
/// Exit status: 0, all is well; 1, something is wrong; 2, nothing is wrong, but something was skipped.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The configuration.
    #[arg(long, env = "LANDFALL_CONFIG", value_name = "FILE")]
    config: PathBuf,
    /// Skip the registries: the credentials and CA files that the configuration names are not here.
    #[arg(long)]
    no_files: bool,
    /// The name of the release, which its webhook configuration, Service and Deployment have.
    #[arg(long, env = "LANDFALL_RELEASE", value_name = "NAME", default_value = "landfall")]
    release: String,
    /// The namespace of the release.
    #[arg(long, env = "LANDFALL_NAMESPACE", value_name = "NAME", default_value = "landfall")]
    namespace: String,
    /// A namespace whose Pods go through Landfall. Pods are created there, as dry runs.
    #[arg(long, value_name = "NAMESPACE", default_value = "default")]
    pods_in: String,
    /// An image that has a copy at this site, as Pods name it. Without one, it is not tested that images are rewritten.
    #[arg(long, value_name = "IMAGE")]
    image: Option<String>,
    /// The format of the output.
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
    #[command(flatten)]
    target: Target,
}

/// What `--output json` prints.
#[derive(Debug, Serialize)]
struct Summary {
    ok: usize,
    wrong: usize,
    skipped: usize,
    lines: Vec<Line>,
}

impl Summary {
    fn of(lines: Vec<Line>) -> Self {
        let (mut ok, mut wrong, mut skipped) = (0, 0, 0);
        for line in &lines {
            *match line.found {
                Found::Ok { .. } => &mut ok,
                Found::Wrong { .. } => &mut wrong,
                Found::Skipped { .. } => &mut skipped,
            } += 1;
        }
        Self { ok, wrong, skipped, lines }
    }

    fn exit(&self) -> ExitCode {
        match (self.wrong, self.skipped) {
            (0, 0) => ExitCode::SUCCESS,
            (0, _) => ExitCode::from(2),
            _ => ExitCode::FAILURE,
        }
    }
}

pub(super) fn run(args: &Args, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    // Before anything uses TLS. It fails if a provider is installed already, which can only be the same.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = tokio::runtime::Runtime::new().context("the async runtime cannot be started")?;
    let summary = Summary::of(runtime.block_on(examine(args)));
    match args.output {
        Output::Text => text(&summary, out)?,
        Output::Json => writeln!(out, "{}", serde_json::to_string_pretty(&summary)?)?,
    }
    Ok(summary.exit())
}

async fn examine(args: &Args) -> Vec<Line> {
    let Args { config, no_files, release, namespace, pods_in, image, output: _, target } = args;
    let (mode, now) = (if *no_files { Files::Skip } else { Files::Check }, Timestamp::now());
    let loaded = config::load(config, mode, now);
    let mut lines = configuration(&loaded);
    let settings = loaded.as_ref().ok().map(|loaded| &loaded.settings);
    let mut test_image = match settings {
        Some(settings) => TestImage::of(settings, image.as_deref(), now),
        None => Err("without a configuration there is no image to try".to_owned()),
    };
    if let (Some(settings), Some(_), Err(why)) = (settings, image, &test_image) {
        let todo = "name an image that has a copy at this site, as Pods write it";
        lines.push(Line::wrong("image", why, todo));
        // The rest can be checked with another.
        test_image = TestImage::of(settings, None, now);
    }
    match settings {
        None => lines.push(Line::skipped("registries", "there is no usable configuration")),
        Some(_) if *no_files => {
            lines.push(Line::skipped("registries", "--no-files: there are no credentials"));
        }
        Some(settings) => lines.extend(doctor::registries(settings, test_image.as_ref().ok()).await),
    }
    let installation =
        Installation { release: release.clone(), namespace: namespace.clone(), path: MUTATE, margin: MARGIN };
    match target.cluster() {
        Ok(cluster) => {
            let image = test_image.as_ref().map_err(String::as_str);
            lines.extend(doctor::cluster(&cluster, &installation, settings, image, pods_in).await);
        }
        Err(error) => lines.push(Line::skipped("cluster", error_chain(&error))),
    }
    lines
}

fn configuration(loaded: &Result<Loaded, Problems>) -> Vec<Line> {
    let about = "configuration";
    match loaded {
        Ok(Loaded { settings: Settings { site, registries, routes, .. }, warnings }) => {
            let registries = count(registries.len(), "registry", "registries");
            let routes = count(routes.len(), "route", "routes");
            let Problems { file, problems } = warnings;
            let more = match problems.len() {
                0 => String::new(),
                many => format!("; {}: see `landfall check`", count(many, "warning", "warnings")),
            };
            vec![Line::ok(about, format!("{file}: site {site}, {registries}, {routes}{more}"))]
        }
        Err(problems) => problems.errors().map(|problem| problematic(&problems.file, problem)).collect(),
    }
}

fn count(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

fn problematic(file: &str, Problem { line, path, message, hint, .. }: &Problem) -> Line {
    let place = if *line > 0 { format!("{file}:{line}: ") } else { format!("{file}: ") };
    let path = if path.is_empty() { String::new() } else { format!("{path}: ") };
    let todo = hint.clone().unwrap_or_else(|| "run `landfall check` for all details".to_owned());
    Line::wrong("configuration", format!("{place}{path}{message}"), todo)
}

/// How wide the state of a line is.
const STATE: usize = 7;

fn text(summary: &Summary, out: &mut impl Write) -> std::io::Result<()> {
    let Summary { ok, wrong, skipped, lines } = summary;
    let terminal = terminal::width();
    let width = lines.iter().map(|line| line.about.len()).max().unwrap_or_default();
    for Line { about, found } in lines {
        let (state, color, said, todo) = match found {
            Found::Ok { said } => ("ok", AnsiColor::Green, said, None),
            Found::Wrong { said, todo } => ("WRONG", AnsiColor::Red, said, Some(todo)),
            Found::Skipped { said } => ("skipped", AnsiColor::Yellow, said, None),
        };
        let (color, column) = (color.on_default(), STATE + width + 4);
        let said = hanging(&format!("{:STATE$}  {about:width$}  {said}", ""), column, terminal);
        // The colour is no text that takes room.
        let said = said.get(STATE..).unwrap_or_default();
        writeln!(out, "{color}{state:STATE$}{color:#}{said}")?;
        if let Some(todo) = todo {
            writeln!(out, "{}", hanging(&format!("{:column$}→ {todo}", ""), column + 2, terminal))?;
        }
    }
    writeln!(out, "{ok} ok, {wrong} wrong, {skipped} skipped")
}
