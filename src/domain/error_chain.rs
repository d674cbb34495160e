//! Prints an error together with its causes.

use std::error::Error;

/// Returns an error and its causes as one line. The errors of Landfall never repeat their cause in their own message, so
/// nothing is said twice.
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
