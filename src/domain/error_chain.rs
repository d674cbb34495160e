//! Errors as people read them.

use std::error::Error;

/// An error and its causes in one line: an error's own words never repeat its cause.
#[must_use]
pub fn error_chain(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        line += &format!(": {error}");
        cause = error.source();
    }
    line
}
