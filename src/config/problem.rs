//! What is wrong with a file: every problem, where it is, and what would be right.

use std::fmt;

use serde::Serialize;

/// Does a problem refuse the file?
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The file is refused.
    Error,
    /// The file is taken; somebody should look all the same.
    Warning,
}

impl fmt::Display for Severity {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
        })
    }
}

/// One thing that is wrong, or looks wrong, in one file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Whether it refuses the file.
    pub severity: Severity,
    /// The line, from 1; 0 where the problem is the file itself (it cannot be read).
    pub line: usize,
    /// The column, from 1; 0 likewise.
    pub column: usize,
    /// Where it is in the file's own terms: `routes[0].replicas[1].flatten`; empty for the whole file.
    pub path: String,
    /// What is wrong.
    pub message: String,
    /// What would be right, where we can say it.
    pub hint: Option<String>,
}

/// The problems of one file, in the order of its lines. At least one of them is an error where this
/// is the `Err` of a result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
pub struct Problems {
    /// The file, as the caller named it.
    pub file: String,
    /// The problems, by line.
    pub problems: Vec<Problem>,
}

impl Problems {
    /// Only those that refuse the file.
    pub fn errors(&self) -> impl Iterator<Item = &Problem> {
        self.problems.iter().filter(|problem| problem.severity == Severity::Error)
    }

    /// Only those that do not.
    pub fn warnings(&self) -> impl Iterator<Item = &Problem> {
        self.problems.iter().filter(|problem| problem.severity == Severity::Warning)
    }
}

/// As compilers print it, so that editors can jump there: `file:line:column: error: path: message`,
/// and the hint on a line of its own.
impl fmt::Display for Problems {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            let Problem { severity, line, column, path, message, hint } = problem;
            if index > 0 {
                out.write_str("\n")?;
            }
            write!(out, "{}", self.file)?;
            if *line > 0 {
                write!(out, ":{line}:{column}")?;
            }
            write!(out, ": {severity}: ")?;
            if !path.is_empty() {
                write!(out, "{path}: ")?;
            }
            write!(out, "{message}")?;
            if let Some(hint) = hint {
                write!(out, "\n  hint: {}", hint.replace('\n', "\n        "))?;
            }
        }
        Ok(())
    }
}
