//! `landfall generate harbor-webhook`: has a Harbor notify us.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::ValueEnum;
use jiff::Timestamp;
use prometheus_client::registry::Registry as Page;
use serde_json::Value;
use tokio::time::Instant;
use url::Url;

use crate::config::{self, Files};
use crate::domain::name::RegistryName;
use crate::domain::registry::{CredentialSource, Kind, Registry};
use crate::domain::settings::Settings;
use crate::harbor::Harbor;
use crate::harbor::webhook::{Call, Target, Verify};
use crate::registry::{Client, Metrics, Tasks};

/// The most time for one project.
const PATIENCE: Duration = Duration::from_secs(20);

/// What stands for the secret in what is printed.
const MASKED: &str = "<the content of secretFile>";

/// Set up the webhook policy `landfall` in projects of a Harbor, so that it notifies Landfall of pushes, deletions and scans.
///
/// It changes what differs and leaves the rest, so it may run again and again. The header `Authorization` is the content of the
/// registry's `notifications.secretFile`. Without `--credentials` the registry's own credentials are used: they need the rights
/// notification-policy list, create and update in the projects.
///
/// Exit status: 0, all projects have the policy, or --dry-run has said what is missing; 1, not all could be set up; 2, it could
/// not be begun.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  landfall generate harbor-webhook --config landfall.yaml --registry ams --address https://landfall.ams.example.com:8444/hooks/harbor --dry-run"
)]
pub(super) struct Args {
    /// The configuration.
    #[arg(long, env = "LANDFALL_CONFIG", value_name = "FILE")]
    config: PathBuf,
    /// The Harbor, by its name in the configuration.
    #[arg(long, value_name = "NAME")]
    registry: String,
    /// Only these projects, instead of all that the routes name there.
    #[arg(long = "project", value_name = "NAME")]
    projects: Vec<String>,
    /// Where the Harbor reaches the port of notifications: `https://…/hooks/harbor`.
    #[arg(long, value_name = "URL")]
    address: Url,
    /// The format of notifications.
    #[arg(long, value_enum, default_value_t = Format::CloudEvents)]
    format: Format,
    /// Have the Harbor not verify the certificate of that port. Who stands between the two may then read the secret, and with
    /// it have registries asked more often, but no more than that.
    #[arg(long)]
    skip_cert_verify: bool,
    /// A folder with the files `username` and `password` of who may set it up.
    #[arg(long, value_name = "DIR")]
    credentials: Option<PathBuf>,
    /// Print what would be changed, and change nothing. Policies are read.
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// The CNCF's CloudEvents 1.0.
    #[value(name = "CloudEvents")]
    CloudEvents,
    /// Harbor's own.
    #[value(name = "Default")]
    Default,
}

pub(super) fn run(args: &Args, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    // Before anything uses TLS. It fails if a provider is installed already, which can only be the same.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let text = std::fs::read_to_string(&args.config)
        .with_context(|| format!("cannot read `{}`", args.config.display()))?;
    let file = args.config.display().to_string();
    let settings = config::parse(&text, &file, Files::Skip, Timestamp::now())?.settings;
    let name = RegistryName::new(&*args.registry);
    let Some(registry) = settings.registries.get(&name) else {
        bail!("{file} has no registry `{name}`");
    };
    if registry.kind != Kind::Harbor {
        bail!("`{name}` is no Harbor");
    }
    let Some(secret) = settings.notifications.get(&name) else {
        bail!(
            "{file} has no registries.{name}.notifications.secretFile: without it, what this Harbor sends is refused"
        );
    };
    if args.address.scheme() != "https" || args.address.path() != "/hooks/harbor" {
        bail!("--address {}: write `https://<host>:<port>/hooks/harbor`", args.address);
    }
    let secret =
        std::fs::read_to_string(secret).with_context(|| format!("cannot read `{}`", secret.display()))?;
    let target = Target {
        address: args.address.to_string(),
        authorization: secret.trim_end_matches(['\r', '\n']).to_owned(),
        format: match args.format {
            Format::CloudEvents => "CloudEvents",
            Format::Default => "Default",
        },
        verify: if args.skip_cert_verify { Verify::Nothing } else { Verify::Certificate },
    };
    let projects = match args.projects.as_slice() {
        [] => projects(&settings, &name)?,
        named => named.iter().cloned().collect(),
    };
    let registry = match &args.credentials {
        Some(folder) => Arc::new(Registry {
            credentials: CredentialSource::Dir(folder.clone()),
            ..Registry::clone(registry)
        }),
        None => registry.clone(),
    };
    let runtime = tokio::runtime::Runtime::new().context("the async runtime cannot be started")?;
    runtime.block_on(async {
        let client = Client::new(&registry, Metrics::register(&mut Page::default()), Tasks::default())?;
        set_up(&Harbor::new(Arc::new(client)), &projects, &target, args.dry_run, out).await
    })
}

/// The projects of all Places at this registry.
fn projects(settings: &Settings, at: &RegistryName) -> anyhow::Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    for route in settings.routes.iter() {
        let of_primary = (route.primary.name == *at).then(|| Some(route.repositories.clone()));
        let replicas = route.replicas.iter().filter(|replica| replica.registry.name == *at);
        let of_replicas = replicas.map(|replica| replica.mapping.targets(&route.repositories));
        for repositories in of_primary.into_iter().chain(of_replicas) {
            let leading = repositories.as_ref().and_then(|pattern| pattern.leading().first().copied());
            match leading {
                Some(project) => drop(found.insert(project.to_owned())),
                None => bail!(
                    "the route `{}` does not tell which projects of `{at}` it uses: name them with --project",
                    route.name
                ),
            }
        }
    }
    if found.is_empty() {
        bail!("no route uses `{at}`: name the projects with --project");
    }
    Ok(found)
}

async fn set_up(
    harbor: &Harbor,
    projects: &BTreeSet<String>,
    target: &Target,
    dry_run: bool,
    out: &mut impl Write,
) -> anyhow::Result<ExitCode> {
    let mut outcome = ExitCode::SUCCESS;
    for project in projects {
        let deadline = Instant::now() + PATIENCE;
        let done = match harbor.webhook_call(project, target, deadline).await {
            Ok(None) => Ok(format!("{project}: the policy is as it should be")),
            Ok(Some(call)) if dry_run => Ok(shown(&call)),
            Ok(Some(call)) => harbor.webhook_carry_out(project, &call, deadline).await.map(|()| {
                let did = if call.method == http::Method::POST { "made" } else { "changed" };
                format!("{project}: {did} the policy `{}`", call.name())
            }),
            Err(error) => Err(error),
        };
        match done {
            Ok(said) => writeln!(out, "{said}")?,
            Err(error) => {
                writeln!(out, "{project}: {error}")?;
                outcome = ExitCode::FAILURE;
            }
        }
    }
    Ok(outcome)
}

/// A call, without the secret.
fn shown(Call { method, path, body }: &Call) -> String {
    let mut body = body.clone();
    if let Some(secret) = body.pointer_mut("/targets/0/auth_header") {
        *secret = Value::from(MASKED);
    }
    format!("{method} {path}\n{body:#}")
}
