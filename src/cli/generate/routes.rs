//! `landfall generate routes`: a configuration from the replication rules of a Harbor.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use jiff::Timestamp;
use prometheus_client::registry::Registry as Page;
use serde_json::json;
use tokio::time::Instant;
use url::Url;

use super::note;
use crate::config::{self, Files};
use crate::domain::name::RegistryName;
use crate::domain::replication::Rule;
use crate::domain::text::plain;
use crate::harbor::{Allowed, Harbor, MOST_PAGES};
use crate::registry::{Client, Metrics, Tasks};
use crate::report::routes::{Copied, Rules, read};

/// The most time for one page of rules.
const PATIENCE: Duration = Duration::from_secs(20);

/// How it is used.
const EXAMPLES: &str = "\
Examples:
  landfall generate routes --from-harbor https://harbor.fra.example.com --credentials admin/ > landfall.yaml
  landfall generate routes --from-harbor https://harbor.fra.example.com --credentials admin/ --site ams --ca-file ca.pem
  landfall check --no-files landfall.yaml";

/// Print a configuration with the routes that the replication rules of a Harbor say: registries, namespaces, flattening, filters.
///
/// What a route cannot express is said and left out: filters by label, disabled rules, registries without an address. Nothing is
/// written to the Harbor. To read rules, a user needs the right `replication-policy:list` of the system, or is an administrator.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The Harbor.
    #[arg(long, value_name = "URL")]
    from_harbor: Url,
    /// A folder with the files `username` and `password` of who may read its rules.
    #[arg(long, value_name = "DIR")]
    credentials: Option<PathBuf>,
    /// The authorities to trust for it, instead of the public ones.
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// What it is to be called in the configuration; else a part of its host.
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// The site of the cluster: the name of one of the registries. Else that of the first that copies come to.
    #[arg(long, value_name = "NAME")]
    site: Option<String>,
}

pub(super) fn run(args: &Args, out: &mut impl Write) -> anyhow::Result<()> {
    // Before anything uses TLS. It fails if a provider is installed already, which can only be the same.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = tokio::runtime::Runtime::new().context("the async runtime cannot be started")?;
    let rules = runtime.block_on(rules(args))?;
    let mut found = read(&args.from_harbor, args.name.as_deref(), &rules).map_err(anyhow::Error::msg)?;
    let site = match &args.site {
        Some(site) if found.registries.iter().any(|one| one.name == *site) => site.clone(),
        Some(site) => {
            let names: Vec<_> = found.registries.iter().map(|one| &*one.name).collect();
            bail!("--site {site}: the rules name no such registry; there are: {}", names.join(", "));
        }
        None => {
            let first = found.copied.first().map(|one| &one.to);
            first.or(found.registries.first().map(|one| &one.name)).cloned().unwrap_or_default()
        }
    };
    let text = usable(&mut found, &site);
    let from = plain(args.from_harbor.host_str().unwrap_or_default()).into_owned();
    writeln!(out, "# Made by `landfall generate routes` from the replication rules of {from}.")?;
    writeln!(
        out,
        "# Look at `site` and the sites, and at credentials; then: landfall check --no-files FILE"
    )?;
    for text in &found.left_out {
        writeln!(out, "# Left out: {text}")?;
        note(text);
    }
    Ok(write!(out, "{text}")?)
}

/// The text with each copy that a configuration takes; the others are left out, with the reason.
fn usable(found: &mut Rules, site: &str) -> String {
    let all: Vec<Copied> = found.copied.clone();
    let mut taken: Vec<&Copied> = Vec::new();
    let mut text = found.yaml(site, &taken);
    for one in &all {
        taken.push(one);
        let more = found.yaml(site, &taken);
        match config::parse(&more, "", Files::Skip, Timestamp::UNIX_EPOCH) {
            Ok(_) => text = more,
            Err(problems) => {
                taken.pop();
                let why = problems.errors().next().map(|problem| {
                    let hint = problem.hint.as_ref().map(|hint| format!(" ({hint})")).unwrap_or_default();
                    format!("{}{hint}", problem.message)
                });
                found.left_out.push(format!("rule `{}`: {}", one.rule, plain(&why.unwrap_or_default())));
            }
        }
    }
    text
}

/// All rules.
async fn rules(args: &Args) -> anyhow::Result<Vec<Rule>> {
    let Args { from_harbor, credentials, ca_file, .. } = args;
    let url = from_harbor.as_str();
    let host =
        from_harbor.host_str().with_context(|| format!("{url} has no host: write `https://<host>`"))?;
    let mut registry = json!({"host": format!("{host}:{}", from_harbor.port_or_known_default().unwrap_or(443)),
                              "url": url, "site": "here", "kind": "harbor"});
    if let Some(keys) = registry.as_object_mut() {
        if let Some(folder) = credentials {
            keys.insert("credentials".into(), json!({"dir": folder}));
        }
        if let Some(file) = ca_file {
            keys.insert("caFile".into(), json!(file));
        }
    }
    let text = json!({"site": "here", "registries": {"harbor": registry}}).to_string();
    let settings = config::parse(&text, "the command line", Files::Check, Timestamp::UNIX_EPOCH)?.settings;
    let registry = settings.registries.get(&RegistryName::new("harbor")).context("there is no registry")?;
    let client = Client::new(registry, Metrics::register(&mut Page::default()), Tasks::default())?;
    let harbor = Harbor::new(Arc::new(client));
    let mut rules = Vec::new();
    for page in 1..=MOST_PAGES {
        let read = harbor.rules(page, Instant::now() + PATIENCE).await;
        let read = read.map_err(|unknown| anyhow::anyhow!("{url} does not tell its rules: {unknown}"))?;
        let Allowed::Granted(read) = read else {
            bail!(
                "{url} refuses to tell its rules: name an administrator, or a robot with the system right replication-policy:list, with --credentials"
            );
        };
        rules.extend(read.rules);
        if !read.full {
            return Ok(rules);
        }
    }
    note(&format!("only the first {} rules were read", rules.len()));
    Ok(rules)
}
