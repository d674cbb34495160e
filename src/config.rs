//! The one configuration file: read, checked whole, and watched.
//!
//! ```text
//! text ─tree→ Tree ─decode→ raw::File ─build→ Settings
//!         └────────────┴─────────────────┴──► every Problem: line, column, path, message, hint
//! ```
//!
//! Nobody should have to start Landfall ten times to learn of ten mistakes, least of all while a site is
//! down. So no stage stops at what it finds; each works on with what is right.

mod build;
mod decode;
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

pub use self::metrics::Metrics;
pub use self::problem::{Problem, Problems, Severity};
use self::tree::Tree;
use crate::domain::policy::{Policy, Rules};
use crate::domain::settings::Settings;

/// Whether the files that the configuration names must be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Files {
    /// They must: we are where the configuration will be used.
    Check,
    /// We are elsewhere.
    Skip,
}

/// A configuration that can be used.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// What it says.
    pub settings: Settings,
    /// What somebody should look at: warnings only.
    pub warnings: Problems,
}

/// Reads and checks a file.
///
/// # Errors
/// Every problem of the file, warnings included, where one of them is an error.
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
        hint: None,
    };
    Problems { file, problems: vec![problem] }
}

/// Checks a text; `file` is what problems call it, `now` tells which exceptions have ended.
///
/// # Errors
/// Every problem of the text, warnings included, where one of them is an error.
pub fn parse(text: &str, file: &str, files: Files, now: Timestamp) -> Result<Loaded, Problems> {
    let read = |tree: &mut Tree, problems: &mut Vec<Problem>| {
        let raw = decode::decode(tree, problems);
        build::settings(tree, raw, files, now, problems)
    };
    let (settings, warnings) = whole(text, file, read)?;
    Ok(Loaded { settings, warnings })
}

/// Checks the text of one LandingPolicy, YAML or JSON; what it leaves out comes from `defaults`.
///
/// # Errors
/// Every problem of the text, warnings included, where one of them is an error.
pub fn policy(
    text: &str,
    file: &str,
    defaults: &Rules,
    now: Timestamp,
) -> Result<(Arc<Policy>, Problems), Problems> {
    whole(text, file, |tree, problems| {
        let raw = decode::decode(tree, problems);
        build::policy(tree, raw, defaults, now, problems)
    })
}

/// All or nothing: what was read, and warnings, or every problem.
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
