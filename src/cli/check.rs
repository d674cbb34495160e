//! `landfall check`: whether configuration files can be used.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;

use super::Output;
use crate::config::{self, Files, Problem, Problems, Severity};
use crate::domain::policy::Policy;

/// Check configuration files. Reports all problems at once, each with its line and a hint.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The configuration files.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The format of the output.
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
    /// Do not check that the files named in a configuration exist. Use it outside the Pod, where nothing is mounted.
    #[arg(long)]
    no_files: bool,
    /// The namespace that Landfall runs in. No policy may name it.
    #[arg(long, value_name = "NAME", default_value = "landfall")]
    namespace: String,
}

/// What `--output json` prints.
#[derive(Debug, Serialize)]
struct Summary {
    errors: usize,
    warnings: usize,
    files: Vec<Problems>,
}

pub(super) fn run(args: &Args, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let Args { files, output, no_files, namespace } = args;
    let mode = if *no_files { Files::Skip } else { Files::Check };
    let now = Timestamp::now();
    let checked = files.iter().map(|path| match config::load(path, mode, now) {
        Ok(loaded) => {
            let mut problems = loaded.warnings;
            problems.problems.extend(own_namespace(&loaded.settings.policies, namespace));
            problems
        }
        Err(problems) => problems,
    });
    let files: Vec<Problems> = checked.collect();
    let errors = files.iter().map(|file| file.errors().count()).sum();
    let warnings = files.iter().map(|file| file.warnings().count()).sum();
    let summary = Summary { errors, warnings, files };
    match output {
        Output::Text => text(&summary, out)?,
        Output::Json => writeln!(out, "{}", serde_json::to_string_pretty(&summary)?)?,
    }
    Ok(if errors == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Policies that name our own namespace. Its Pods are left alone: Landfall must come up before anybody can be judged.
fn own_namespace(policies: &[Arc<Policy>], namespace: &str) -> impl Iterator<Item = Problem> {
    let naming = policies.iter().enumerate().filter(|(_, policy)| policy.selector.names(namespace));
    naming.map(move |(n, _)| Problem {
        severity: Severity::Error,
        line: 0,
        column: 0,
        path: format!("policies[{n}].spec.namespaceSelector"),
        message: format!("the policy names the namespace `{namespace}`, in which Landfall runs"),
        hint: Some("Landfall leaves its own namespace alone: name other namespaces".to_owned()),
    })
}

fn text(summary: &Summary, out: &mut impl Write) -> std::io::Result<()> {
    let Summary { errors, warnings, files } = summary;
    for file in files.iter().filter(|file| !file.problems.is_empty()) {
        writeln!(out, "{file}\n")?;
    }
    let count = |number: usize, what: &str| format!("{number} {what}{}", if number == 1 { "" } else { "s" });
    let files = count(files.len(), "file");
    writeln!(out, "{files} checked: {}, {}", count(*errors, "error"), count(*warnings, "warning"))
}
