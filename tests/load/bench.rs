//! What an admission costs, beside the least that it could, and how Landfall stands a storm: see `README.md`.
//!
//! ```text
//! driver (this process) ── TLS, 32 connections ──┬► bare      a process of its own: the physical limit
//!   └ embedded registries ◄──────────────────────┴─ landfall  likewise: `landfall serve`
//! ```
#![expect(clippy::print_stdout, clippy::indexing_slicing, reason = "a bench prints, and may stop at once")]

#[path = "../support/api_server.rs"]
mod api_server;
mod bare;
#[path = "../storm/blackhole.rs"]
mod blackhole;
#[path = "../storm/cold.rs"]
mod cold;
mod copy;
mod driver;
mod flat;
mod inventory;
#[path = "../storm/known.rs"]
mod known;
mod memory;
#[path = "../support/metrics.rs"]
#[expect(dead_code, clippy::panic, clippy::unwrap_used, reason = "the suites look at more of it")]
mod metrics;
mod open;
#[path = "../storm/plan.rs"]
mod plan;
mod process;
mod review;
mod served;
mod site;
#[path = "../storm/storm.rs"]
mod storm;
mod sweep;
mod table;
mod trouble;
mod warm;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use clap::{Parser, ValueEnum};
use tokio::runtime::Runtime;

use crate::table::{Row, mib, table};

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// CPU per warm request, beside the bare server
    Warm,
    /// Latencies and CPU at 1,000 and 200 requests a second, beside the bare server
    Open,
    /// Anonymous memory: idle, full, and over a soak
    Memory,
    /// CPU per warm request with few and many routes, few and many images
    Flat,
    /// 500 Pods of one unknown image at once
    Cold,
    /// A replica that accepts and says nothing
    Blackhole,
    /// The restart storm, and the one with an outage and a policy
    Storm,
    /// The sweep over 5,000 and over 50,000 Pods
    Sweep,
    /// The inventory of a storm's images, and of many
    Inventory,
    /// `landfall copy` beside `skopeo copy`; it needs both `skopeo` and `docker-registry`
    Copy,
    /// The release binaries
    Size,
}

/// One table of ratios with their spread.
#[derive(Debug, Parser)]
struct Args {
    /// What to measure; everything where nothing is named
    parts: Vec<Part>,
    /// Fewer rounds and smaller fillings: a look, not a figure
    #[arg(long)]
    quick: bool,
    /// How long the soak of `memory` lasts, in seconds; 600, with --quick 30
    #[arg(long, value_name = "SECONDS")]
    soak: Option<u64>,
    /// Play the bare server (what the bench starts itself)
    #[arg(long, value_name = "FOLDER", hide = true)]
    bare: Option<PathBuf>,
    /// What cargo says to every bench
    #[arg(long, hide = true)]
    bench: bool,
}

/// How thoroughly.
#[derive(Debug, Clone, Copy)]
struct Scale {
    /// Pairs of measurements; which server goes first alternates, so that a drift of the machine falls on both.
    rounds: usize,
    /// Requests of one measurement, as a share of the full number.
    share: usize,
    /// For each distinct image of a filling, so many are left out.
    thin: usize,
    soak: u64,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let runtime = Runtime::new()?;
    if let Some(folder) = args.bare {
        return runtime.block_on(bare::serve(&folder));
    }
    let scale = match args.quick {
        true => Scale { rounds: 3, share: 3, thin: 10, soak: args.soak.unwrap_or(30) },
        false => Scale { rounds: 9, share: 1, thin: 1, soak: args.soak.unwrap_or(600) },
    };
    let parts = if args.parts.is_empty() { Part::value_variants() } else { &args.parts };
    let (mut rows, mut failed) = (Vec::new(), 0);
    for part in parts {
        eprintln!("{part:?} …");
        let measured = match part {
            Part::Warm => runtime.block_on(warm::cpu(scale)),
            Part::Open => runtime.block_on(warm::latency(scale)),
            Part::Memory => runtime.block_on(memory::rows(scale)),
            Part::Flat => runtime.block_on(flat::rows(scale)),
            Part::Cold => runtime.block_on(trouble::cold()),
            Part::Blackhole => runtime.block_on(trouble::blackhole()),
            Part::Storm => runtime.block_on(trouble::storm()),
            Part::Sweep => runtime.block_on(sweep::rows(scale)),
            Part::Inventory => runtime.block_on(inventory::rows(scale)),
            Part::Copy => runtime.block_on(copy::rows(scale)),
            Part::Size => sizes(),
        };
        // One part that fails does not take the figures of the others with it.
        rows.extend(measured.unwrap_or_else(|error| {
            failed += 1;
            eprintln!("{part:?} failed: {error:#}");
            vec![Row::alone(format!("{part:?}"), "failed", "")]
        }));
    }
    println!("{}", table(&rows));
    ensure!(failed == 0, "{failed} of {} parts failed", parts.len());
    Ok(())
}

/// The release binary as it is built by default, and as it goes into the image.
fn sizes() -> Result<Vec<Row>> {
    let size = |features: &[&str]| {
        let cargo = std::env::var_os("CARGO").context("run it by cargo")?;
        let mut build = Command::new(cargo);
        build.args(["build", "--quiet", "--locked", "--release", "--bin", "landfall"]).args(features);
        ensure!(build.current_dir(env!("CARGO_MANIFEST_DIR")).status()?.success(), "{build:?} failed");
        anyhow::Ok(std::fs::metadata(Path::new(env!("CARGO_BIN_EXE_landfall")))?.len() / 1024)
    };
    // In this order, so that what lies there in the end is what lies there by default.
    let without = size(&["--no-default-features"])?;
    let with = size(&[])?;
    Ok(vec![
        Row::alone("binary of the image", mib(without), ""),
        Row::alone("binary with the demo", mib(with), ""),
    ])
}
