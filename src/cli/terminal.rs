//! The terminal: how wide it is, and whether it gets colours.

use std::io::IsTerminal;
use std::os::fd::AsFd;

use anstream::ColorChoice;
use clap::ValueEnum;

/// Narrower, nothing is readable; wider, nobody reads on in the same line.
const LEAST: usize = 60;
const MOST: usize = 200;
/// The width of a terminal that does not say how wide it is.
const USUAL: usize = 100;

/// Returns how many columns of text fit into a line of standard output: 60 to 200. `None` where it is no terminal: a file or a pipe
/// gets whole lines. The variable `COLUMNS` overrides both.
pub(super) fn width() -> Option<usize> {
    width_of(&std::io::stdout())
}

/// As [`width`], of standard error.
pub(super) fn width_of_errors() -> Option<usize> {
    width_of(&std::io::stderr())
}

fn width_of(stream: &(impl IsTerminal + AsFd)) -> Option<usize> {
    let columns = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    let width = columns.or_else(|| {
        let terminal = || terminal_size::terminal_size_of(stream).map(|(width, _)| width.0.into());
        stream.is_terminal().then(|| terminal().unwrap_or(USUAL))
    })?;
    Some(width.clamp(LEAST, MOST))
}

/// When colours are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(super) enum Color {
    /// At a terminal, unless NO_COLOR is set.
    #[default]
    Auto,
    /// Also into a file or a pipe.
    Always,
    /// Never.
    Never,
}

impl Color {
    /// Has all that is printed from now on obey it.
    pub fn apply(self) {
        match self {
            Self::Auto => ColorChoice::Auto,
            Self::Always => ColorChoice::Always,
            Self::Never => ColorChoice::Never,
        }
        .write_global();
    }
}
