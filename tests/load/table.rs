//! The figures as a person reads them.

use std::time::Duration;

use comfy_table::{CellAlignment, Table, presets};

use crate::driver::Seen;

/// One server, one round.
pub struct Sample {
    cpu_per_request: Duration,
    requests_per_second: f64,
    p50: Duration,
    p99: Duration,
}

impl Sample {
    /// What the server used, and what the driver saw.
    pub fn of(cpu: Duration, seen: &Seen) -> Self {
        let requests = seen.latencies.len() as u32;
        Self {
            cpu_per_request: cpu / requests,
            requests_per_second: f64::from(requests) / seen.elapsed.as_secs_f64(),
            p50: seen.quantile(0.5),
            p99: seen.quantile(0.99),
        }
    }
}

/// Both servers, one after the other.
pub struct Round {
    /// The physical limit.
    pub bare: Sample,
    /// What we have.
    pub landfall: Sample,
}

/// All rounds with one review. Sizes in bytes.
pub struct Compared {
    /// Of the review.
    pub name: &'static str,
    /// Of the review.
    pub body: usize,
    /// The same from both.
    pub patch: usize,
    /// Whole, from the bare server and from Landfall.
    pub answers: (usize, usize),
    /// In the order of time.
    pub rounds: Vec<Round>,
}

/// A binary.
pub struct Size {
    /// Which.
    pub name: &'static str,
    /// How large.
    pub bytes: u64,
}

/// What an admission costs.
pub fn admissions(compared: &[Compared]) -> Table {
    let mut table = right(&[
        "review",
        "server",
        "answer (patch) B",
        "CPU µs",
        "CPU × bare (min … max)",
        "requests/s",
        "p50 µs",
        "p99 µs",
    ]);
    for Compared { name, body, patch, answers, rounds } in compared {
        let ratio = Spread::of(rounds, |round| {
            micros(round.landfall.cpu_per_request) / micros(round.bare.cpu_per_request)
        });
        let row = |server: &str, answer: usize, ratio: String, sample: fn(&Round) -> &Sample| {
            let median =
                |figure: fn(&Sample) -> f64| Spread::of(rounds, |round| figure(sample(round))).median;
            let cpu = Spread::of(rounds, |round| micros(sample(round).cpu_per_request));
            vec![
                format!("{name}, {body} B"),
                server.to_owned(),
                format!("{answer} ({patch})"),
                format!("{:.1} ({:.1} … {:.1})", cpu.median, cpu.least, cpu.most),
                ratio,
                format!("{:.0}", median(|sample| sample.requests_per_second)),
                format!("{:.0}", median(|sample| micros(sample.p50))),
                format!("{:.0}", median(|sample| micros(sample.p99))),
            ]
        };
        table.add_row(row("bare", answers.0, String::new(), |round| &round.bare));
        let ratio = format!("{:.2} ({:.2} … {:.2})", ratio.median, ratio.least, ratio.most);
        table.add_row(row("landfall", answers.1, ratio, |round| &round.landfall));
    }
    table
}

/// Anonymous memory in KiB, idle and after all rounds.
pub fn memory(bare: (u64, u64), landfall: (u64, u64)) -> Table {
    let mut table = right(&["server", "anonymous MiB idle", "after"]);
    for (server, (idle, after)) in [("bare", bare), ("landfall", landfall)] {
        let mib = |kib: u64| format!("{:.1}", kib as f64 / 1024.0);
        table.add_row([server.to_owned(), mib(idle), mib(after)]);
    }
    table
}

/// Binaries.
pub fn sizes(sizes: &[Size]) -> Table {
    let mut table = right(&["release binary", "MiB"]);
    for Size { name, bytes } in sizes {
        table.add_row([(*name).to_owned(), format!("{:.1}", *bytes as f64 / 1024.0 / 1024.0)]);
    }
    table
}

/// A figure over the rounds.
struct Spread {
    least: f64,
    median: f64,
    most: f64,
}

impl Spread {
    fn of(rounds: &[Round], figure: impl Fn(&Round) -> f64) -> Self {
        let mut all: Vec<f64> = rounds.iter().map(figure).collect();
        all.sort_unstable_by(f64::total_cmp);
        Self { least: all[0], median: all[all.len() / 2], most: all[all.len() - 1] }
    }
}

fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

/// Words to the left, figures to the right.
fn right(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN).set_header(header.iter().copied());
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}
