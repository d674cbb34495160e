//! The problems of a file: what is wrong, where, and what would be right.

use std::fmt;

use serde::Serialize;

/// Whether a problem makes the file unusable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The file is refused.
    Error,
    /// The file is used, but somebody should look at it.
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

/// One problem of one file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Whether it makes the file unusable.
    pub severity: Severity,
    /// The line, from 1; 0 if the problem is the file itself (it cannot be read).
    pub line: usize,
    /// The column, from 1; 0 likewise.
    pub column: usize,
    /// The path of the value: `routes[0].replicas[1].flatten`; empty for the whole file.
    pub path: String,
    /// What is wrong.
    pub message: String,
    /// What would be right, if that is known.
    pub hint: Option<String>,
}

/// The problems of one file, in the order of its lines. As the `Err` of a result it holds at least one error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
pub struct Problems {
    /// The file, as the caller named it.
    pub file: String,
    /// Its problems, by line.
    pub problems: Vec<Problem>,
}

impl Problems {
    /// Only the errors.
    pub fn errors(&self) -> impl Iterator<Item = &Problem> {
        self.problems.iter().filter(|problem| problem.severity == Severity::Error)
    }

    /// Only the warnings.
    pub fn warnings(&self) -> impl Iterator<Item = &Problem> {
        self.problems.iter().filter(|problem| problem.severity == Severity::Warning)
    }
}

/// In the format of compilers, so that editors can jump to the place: `file:line:column: error: path: message`, and the
/// hint on its own line.
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
