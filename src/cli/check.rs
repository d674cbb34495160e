//! `landfall check`: whether configuration files and policies can be used.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;

use super::{Output, terminal};
use crate::config::{self, Document, Files, Problem, Problems, Severity};
use crate::domain::name::PolicyName;
use crate::domain::policy::{Policy, Rules};
use crate::domain::pull_secrets::Managed;
use crate::domain::settings::Settings;
use crate::domain::text::hanging;

/// How it is used.
const EXAMPLES: &str = "\
Examples:
  landfall check --no-files landfall.yaml
  landfall check landfall.yaml policies/*.yaml
  landfall check -o json landfall.yaml";

/// Check configuration files, and files of LandingPolicies. Reports all problems at once, each with its line and a hint.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The configuration files, and files of LandingPolicies, which may hold several documents. Policies are checked with
    /// the `defaults` of the first configuration.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The format of the output.
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
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
    /// The pull secrets that Landfall makes.
    #[serde(rename = "pullSecrets", skip_serializing_if = "Vec::is_empty")]
    managed: Vec<String>,
}

pub(super) fn run(args: &Args, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let Args { files, output, no_files, namespace } = args;
    let mode = if *no_files { Files::Skip } else { Files::Check };
    let now = Timestamp::now();
    let mut settings: Option<Settings> = None;
    let mut files: Vec<Checked<'_>> =
        files.iter().map(|path| Checked::read(path, mode, now, namespace, &mut settings)).collect();
    let mut policies = Policies::against(settings.as_ref(), namespace, now);
    for file in &mut files {
        policies.check(file);
    }
    let managed: Vec<String> = files.iter_mut().flat_map(|file| std::mem::take(&mut file.managed)).collect();
    let files: Vec<Problems> = files.into_iter().map(|file| file.problems).collect();
    let errors = files.iter().map(|file| file.errors().count()).sum();
    let warnings = files.iter().map(|file| file.warnings().count()).sum();
    let summary = Summary { errors, warnings, files, managed };
    match output {
        Output::Text => text(&summary, out)?,
        Output::Json => writeln!(out, "{}", serde_json::to_string_pretty(&summary)?)?,
    }
    Ok(if errors == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// One file, and what was found so far.
struct Checked<'a> {
    path: &'a Path,
    problems: Problems,
    /// The pull secrets that Landfall makes with it.
    managed: Vec<String>,
    /// The policies that it holds and that are not checked yet.
    documents: Vec<Document>,
}

impl<'a> Checked<'a> {
    /// Reads a file. A configuration is checked; the first good one becomes the `settings`.
    fn read(
        path: &'a Path,
        mode: Files,
        now: Timestamp,
        namespace: &str,
        settings: &mut Option<Settings>,
    ) -> Self {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let documents = config::documents(&text);
        if documents.iter().any(|document| config::is_object(&document.text)) {
            let problems = Problems { file: path.display().to_string(), problems: Vec::new() };
            return Self { path, problems, managed: Vec::new(), documents };
        }
        let mut managed = Vec::new();
        let problems = match config::load(path, mode, now) {
            Ok(loaded) => {
                managed.extend(loaded.settings.pull_secrets.iter().map(Managed::to_string));
                let mut problems = loaded.warnings;
                problems.problems.extend(own_namespace(&loaded.settings.policies, namespace));
                settings.get_or_insert(loaded.settings);
                problems
            }
            Err(problems) => problems,
        };
        Self { path, problems, managed, documents: Vec::new() }
    }
}

/// What policies of files of their own are checked against.
struct Policies<'a> {
    defaults: Arc<Rules>,
    excluded: Vec<Box<str>>,
    /// The policies of the configuration.
    configured: &'a [Arc<Policy>],
    namespace: &'a str,
    now: Timestamp,
    /// Where each name was used first.
    seen: BTreeMap<PolicyName, String>,
}

impl<'a> Policies<'a> {
    fn against(settings: Option<&'a Settings>, namespace: &'a str, now: Timestamp) -> Self {
        Self {
            defaults: settings
                .map_or_else(|| Arc::new(config::built_in()), |settings| settings.defaults.clone()),
            excluded: settings.map(|settings| settings.exclude.namespaces.clone()).unwrap_or_default(),
            configured: settings.map(|settings| &*settings.policies).unwrap_or_default(),
            namespace,
            now,
            seen: BTreeMap::new(),
        }
    }

    fn check(&mut self, file: &mut Checked<'_>) {
        let name = file.path.display().to_string();
        for Document { line, text } in std::mem::take(&mut file.documents) {
            let read = config::policy(&text, &name, &self.defaults, &self.excluded, self.now);
            let found = match read {
                Ok((policy, warnings)) => {
                    let names = self.names(&policy, &name, line);
                    warnings.problems.into_iter().chain(names).collect()
                }
                Err(problems) => problems.problems,
            };
            file.problems.problems.extend(found);
        }
    }

    /// Problems of a policy with what is said elsewhere.
    fn names(&mut self, policy: &Policy, file: &str, line: usize) -> Vec<Problem> {
        let problem = |severity, path: &str, message: String, hint: &str| Problem {
            severity,
            line,
            column: 1,
            path: path.to_owned(),
            message,
            hint: Some(hint.to_owned()),
        };
        let (name, mut found) = (&policy.name, Vec::new());
        if policy.selector.names(self.namespace) {
            let message =
                format!("the policy names the namespace `{}`, in which Landfall runs", self.namespace);
            found.push(problem(Severity::Error, "spec.namespaceSelector", message, OWN_NAMESPACE));
        }
        if self.configured.iter().any(|other| other.name == *name) {
            let message =
                format!("the configuration has a policy `{name}`, too, which applies instead of this one");
            let hint = "remove one of them; while both are there, the configuration's counts";
            found.push(problem(Severity::Warning, "metadata.name", message, hint));
        }
        let here = format!("{file}:{line}");
        if let Some(first) = self.seen.get(name) {
            let message = format!("the policy name `{name}` is used twice; it is first used in {first}");
            let hint =
                "a later object of the same name replaces the earlier one: give each policy its own name";
            found.push(problem(Severity::Error, "metadata.name", message, hint));
        } else {
            self.seen.insert(name.clone(), here);
        }
        found
    }
}

/// What would be right where a policy names our own namespace.
const OWN_NAMESPACE: &str = "Landfall leaves its own namespace alone: name other namespaces";

/// Policies that name our own namespace. Its Pods are left alone: Landfall must come up before anybody can be judged.
fn own_namespace(policies: &[Arc<Policy>], namespace: &str) -> impl Iterator<Item = Problem> {
    let naming = policies.iter().enumerate().filter(|(_, policy)| policy.selector.names(namespace));
    naming.map(move |(n, _)| Problem {
        severity: Severity::Error,
        line: 0,
        column: 0,
        path: format!("policies[{n}].spec.namespaceSelector"),
        message: format!("the policy names the namespace `{namespace}`, in which Landfall runs"),
        hint: Some(OWN_NAMESPACE.to_owned()),
    })
}

/// The column of a hint's text.
const HINT: usize = 8;

fn text(summary: &Summary, out: &mut impl Write) -> std::io::Result<()> {
    let Summary { errors, warnings, files, managed } = summary;
    let width = terminal::width();
    for file in files.iter().filter(|file| !file.problems.is_empty()) {
        for line in file.to_string().lines() {
            let indent = if line.starts_with("  ") { HINT } else { 2 };
            writeln!(out, "{}", hanging(line, indent, width))?;
        }
        writeln!(out)?;
    }
    for managed in managed {
        writeln!(out, "Landfall makes {managed}")?;
    }
    let count = |number: usize, what: &str| format!("{number} {what}{}", if number == 1 { "" } else { "s" });
    let files = count(files.len(), "file");
    writeln!(out, "{files} checked: {}, {}", count(*errors, "error"), count(*warnings, "warning"))
}
