//! `landfall generate`: files that are made from the code, and what other programs must be told.

mod config;
mod guard_rails;
mod harbor_webhook;
mod hosts_toml;
mod policy;
mod routes;

use std::io::Write;
use std::process::ExitCode;

use clap::Subcommand;
use clap_complete::Shell;
use serde_json::json;

use super::plugin::Called;
use super::terminal::width_of_errors;
use crate::cluster;
use crate::domain::text::hanging;

/// How it is used.
const EXAMPLES: &str = "\
Examples:
  landfall generate config > landfall.yaml
  landfall generate policy --name regulated --namespace-label tier=regulated --require-scan --block-missing
  landfall generate routes --from-harbor https://harbor.fra.example.com --credentials admin/ --site ams
  landfall generate hosts-toml --config landfall.yaml --out /etc/containerd/certs.d
  source <(landfall generate completions bash)";

/// Print a file that is generated from the code, or set up what Landfall needs elsewhere.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// The completions of a shell.
    ///
    /// `kubectl landfall` is completed by kubectl itself: link the program as `kubectl_complete-landfall` into the PATH.
    #[command(after_help = COMPLETIONS)]
    Completions {
        /// The shell.
        shell: Shell,
    },
    Config(config::Args),
    /// The definitions of the resources LandingPolicy and ReplicationGap, which the chart and the manifests have, too.
    #[command(after_help = "Examples:\n  landfall generate crd | kubectl apply --server-side -f -")]
    Crd,
    GuardRails(guard_rails::Args),
    HarborWebhook(harbor_webhook::Args),
    HostsToml(hosts_toml::Args),
    Policy(policy::Args),
    Routes(routes::Args),
    /// The JSON Schema of the configuration file, for editors and for Helm.
    #[command(after_help = "Examples:\n  landfall generate schema > landfall.schema.json")]
    Schema,
}

/// How completions are used.
const COMPLETIONS: &str = "\
Examples:
  source <(landfall generate completions bash)
  landfall generate completions zsh > \"${fpath[1]}/_landfall\"
  landfall generate completions fish > ~/.config/fish/completions/landfall.fish
  landfall generate completions powershell >> $PROFILE";

pub(super) fn run(args: &Args, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    match &args.what {
        What::Completions { shell } => {
            // It panics where a reader has gone.
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut super::command(), "landfall", &mut script);
            out.write_all(&script)?;
        }
        What::Config(args) => config::run(args, out)?,
        What::Crd => {
            let list = json!({"apiVersion": "v1", "kind": "List", "items": cluster::definitions()});
            writeln!(out, "{}", serde_json::to_string_pretty(&list)?)?;
        }
        What::GuardRails(args) => guard_rails::run(args, out)?,
        What::HarborWebhook(args) => return harbor_webhook::run(args, out),
        What::HostsToml(args) => hosts_toml::run(args, out)?,
        What::Policy(args) => policy::run(args, out)?,
        What::Routes(args) => routes::run(args, out)?,
        What::Schema => writeln!(out, "{}", serde_json::to_string_pretty(&crate::config::schema())?)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Tells a person what a generated file lacks, beside the comment in the file.
fn note(text: &str) {
    let text = format!("{}: {text}", Called::now());
    anstream::eprintln!("{}", hanging(&text, 2, width_of_errors()));
}
