//! The figures as a person reads them: one row each, what it is compared with, the quotient and its spread.

use std::time::Duration;

use comfy_table::{CellAlignment, Table, presets};

/// One figure.
pub struct Row {
    /// What was measured.
    pub figure: String,
    /// What it is compared with: the bare server, or the smaller case.
    pub least: String,
    /// What Landfall has.
    pub ours: String,
    /// The second by the first.
    pub quotient: Option<Spread>,
    /// What DESIGN wants.
    pub bound: String,
}

impl Row {
    /// A figure that stands alone.
    pub fn alone(figure: impl Into<String>, ours: impl Into<String>, bound: impl Into<String>) -> Self {
        let (figure, ours, bound) = (figure.into(), ours.into(), bound.into());
        Self { figure, least: String::new(), ours, quotient: None, bound }
    }

    /// A figure over rounds, of which each has measured both.
    pub fn compared(
        figure: impl Into<String>,
        unit: &str,
        rounds: &[(f64, f64)],
        bound: impl Into<String>,
    ) -> Self {
        let of = |which: fn(&(f64, f64)) -> f64| Spread::of(rounds.iter().map(which));
        let shown = |spread: Spread| {
            format!("{:.1} ({:.1} … {:.1}) {unit}", spread.median, spread.least, spread.most)
        };
        Self {
            figure: figure.into(),
            least: shown(of(|round| round.0)),
            ours: shown(of(|round| round.1)),
            quotient: Some(of(|round| round.1 / round.0)),
            bound: bound.into(),
        }
    }
}

/// All of them.
pub fn table(rows: &[Row]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header(["figure", "beside", "landfall", "× (min … max)", "bound"]);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    for Row { figure, least, ours, quotient, bound } in rows {
        let quotient = quotient
            .as_ref()
            .map(|spread| format!("{:.2} ({:.2} … {:.2})", spread.median, spread.least, spread.most));
        table.add_row([figure, least, ours, &quotient.unwrap_or_default(), bound]);
    }
    table
}

/// A figure over the rounds.
#[derive(Clone, Copy)]
pub struct Spread {
    least: f64,
    median: f64,
    most: f64,
}

impl Spread {
    /// Known already.
    pub fn given(least: f64, median: f64, most: f64) -> Self {
        Self { least, median, most }
    }

    fn of(figures: impl Iterator<Item = f64>) -> Self {
        let mut all: Vec<f64> = figures.collect();
        all.sort_unstable_by(f64::total_cmp);
        Self { least: all[0], median: all[all.len() / 2], most: all[all.len() - 1] }
    }
}

/// In microseconds.
pub fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

/// KiB in MiB.
pub fn mib(kib: u64) -> String {
    format!("{:.1} MiB", kib as f64 / 1024.0)
}
