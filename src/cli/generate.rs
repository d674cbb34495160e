//! `landfall generate`: files that are made from the code.

use std::io::Write;
use std::process::ExitCode;

use clap::ValueEnum;
use serde_json::json;

use crate::{cluster, config};

/// Print a file that is generated from the code.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The file.
    #[arg(value_enum)]
    what: What,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum What {
    /// The JSON Schema of the configuration file, for editors and for Helm.
    Schema,
    /// The definitions of the resources LandingPolicy and ReplicationGap, which the chart and the manifests have, too.
    Crd,
}

pub(super) fn run(args: &Args, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let text = match args.what {
        What::Schema => serde_json::to_string_pretty(&config::schema())?,
        What::Crd => {
            let list = json!({"apiVersion": "v1", "kind": "List", "items": cluster::definitions()});
            serde_json::to_string_pretty(&list)?
        }
    };
    writeln!(out, "{text}")?;
    Ok(ExitCode::SUCCESS)
}
