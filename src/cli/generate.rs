//! `landfall generate`: files that are made from the code, and what other programs must be told.

mod harbor_webhook;

use std::io::Write;
use std::process::ExitCode;

use clap::Subcommand;
use serde_json::json;

use crate::{cluster, config};

/// Print a file that is generated from the code, or set up what Landfall needs elsewhere.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// The JSON Schema of the configuration file, for editors and for Helm.
    Schema,
    /// The definitions of the resources LandingPolicy and ReplicationGap, which the chart and the manifests have, too.
    Crd,
    HarborWebhook(harbor_webhook::Args),
}

pub(super) fn run(args: &Args, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let text = match &args.what {
        What::HarborWebhook(args) => return harbor_webhook::run(args, out),
        What::Schema => serde_json::to_string_pretty(&config::schema())?,
        What::Crd => {
            let list = json!({"apiVersion": "v1", "kind": "List", "items": cluster::definitions()});
            serde_json::to_string_pretty(&list)?
        }
    };
    writeln!(out, "{text}")?;
    Ok(ExitCode::SUCCESS)
}
