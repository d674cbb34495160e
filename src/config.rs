//! The configuration file: read, checked as a whole, and watched for changes.
//!
//! ```text
//! text ─tree→ Tree ─decode→ raw::File ─build→ Settings
//!         └────────────┴─────────────────┴──► every Problem: line, column, path, message, hint
//! ```
//!
//! Nobody should have to start Landfall ten times to find ten mistakes, least of all while a site is down. So no stage
//! stops at a problem: each goes on with the valid rest.

mod build;
mod decode;
mod documents;
mod metrics;
mod problem;
mod raw;
mod scalar;
mod tree;
pub mod watch;

#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;

pub use self::documents::{Document, documents, is_object};
pub use self::metrics::Metrics;
pub use self::problem::{Problem, Problems, Severity};
use self::tree::Tree;
use crate::domain::policy::{Policy, Rules};
use crate::domain::settings::Settings;

/// Whether the files that the configuration names must be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Files {
    /// They must: the configuration is used here.
    Check,
    /// They need not: the configuration is only checked here.
    Skip,
}

/// A configuration that can be used.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The settings that it describes.
    pub settings: Settings,
    /// Warnings only: the file can be used, but somebody should look at it.
    pub warnings: Problems,
}

/// Reads and checks a file.
///
/// # Errors
/// All problems of the file, warnings included, if at least one is an error.
pub fn load(path: &Path, files: Files, now: Timestamp) -> Result<Loaded, Problems> {
    let name = path.display().to_string();
    match std::fs::read_to_string(path) {
        Ok(text) => parse(&text, &name, files, now),
        Err(error) => Err(unreadable(name, &error)),
    }
}

fn unreadable(file: String, error: &std::io::Error) -> Problems {
    let problem = Problem {
        severity: Severity::Error,
        line: 0,
        column: 0,
        path: String::new(),
        message: format!("cannot be read: {error}"),
        hint: Some("name a file that exists and that you may read; `landfall generate config` prints one to begin with".to_owned()),
    };
    Problems { file, problems: vec![problem] }
}

/// Checks a text. Problems name it `file`; `now` decides which exceptions have ended.
///
/// # Errors
/// All problems of the text, warnings included, if at least one is an error.
pub fn parse(text: &str, file: &str, files: Files, now: Timestamp) -> Result<Loaded, Problems> {
    let read = |tree: &mut Tree, problems: &mut Vec<Problem>| {
        let raw = decode::decode(tree, problems);
        build::settings(tree, raw, files, now, problems)
    };
    let (settings, warnings) = whole(text, file, read)?;
    Ok(Loaded { settings, warnings })
}

/// Checks the text of one LandingPolicy, in YAML or JSON. What it leaves out comes from `defaults`; it may not name an
/// `excluded` namespace.
///
/// # Errors
/// All problems of the text, warnings included, if at least one is an error.
pub fn policy(
    text: &str,
    file: &str,
    defaults: &Rules,
    excluded: &[Box<str>],
    now: Timestamp,
) -> Result<(Arc<Policy>, Problems), Problems> {
    whole(text, file, |tree, problems| {
        let raw = decode::decode(tree, problems);
        build::policy(tree, raw, defaults, excluded, now, problems)
    })
}

/// The rules where neither a configuration nor a policy says anything.
#[must_use]
pub fn built_in() -> Rules {
    build::built_in()
}

/// The value and its warnings; or all problems, if at least one is an error.
fn whole<T>(
    text: &str,
    file: &str,
    read: impl FnOnce(&mut Tree, &mut Vec<Problem>) -> Option<T>,
) -> Result<(T, Problems), Problems> {
    let mut problems = Vec::new();
    let value = match Tree::parse(text, &mut problems) {
        Ok(mut tree) => read(&mut tree, &mut problems),
        Err(problem) => {
            problems.push(problem);
            None
        }
    };
    problems.sort_by_key(|problem| (problem.line, problem.column));
    let problems = Problems { file: file.to_owned(), problems };
    match value {
        Some(value) if problems.errors().next().is_none() => Ok((value, problems)),
        _ => Err(problems),
    }
}

/// The JSON Schema of the file.
#[must_use]
pub fn schema() -> schemars::Schema {
    schemars::schema_for!(raw::File)
}
