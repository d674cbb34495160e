//! `landfall generate hosts-toml`: the same routes for containerd.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;
use jiff::Timestamp;

use super::note;
use crate::config::{self, Files};
use crate::domain::settings::Settings;
use crate::report::hosts_toml::{Hosts, Tags, hosts};

/// How it is used.
const EXAMPLES: &str = "\
Examples:
  landfall generate hosts-toml --config landfall.yaml
  landfall generate hosts-toml --config landfall.yaml --out /etc/containerd/certs.d
  landfall generate hosts-toml --config landfall.yaml --resolve --out certs.d";

/// Print mirrors for containerd (`/etc/containerd/certs.d/<host>/hosts.toml`): the local replicas of each primary first, then the
/// primary.
///
/// For static Pods, `kube-system` and whatever else Landfall leaves alone. What containerd cannot express is said and left out: it knows
/// mirrors of a whole host, without filters, and can only put something before a path. A Harbor's scan and a policy mean nothing to it.
///
/// Try it on one node: `crictl pull IMAGE`. containerd must be allowed to pull from the replica.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The configuration.
    #[arg(long, env = "LANDFALL_CONFIG", value_name = "FILE")]
    config: PathBuf,
    /// Write into this folder, a folder for each host, with the authorities of `caFile` where they can be read here.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Replicas may tell which digest a tag names, too. What names a tag then starts without the primary, but perhaps an older image.
    #[arg(long)]
    resolve: bool,
}

pub(super) fn run(args: &Args, out: &mut impl Write) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(&args.config)
        .with_context(|| format!("cannot read `{}`", args.config.display()))?;
    let file = args.config.display().to_string();
    let settings = config::parse(&text, &file, Files::Skip, Timestamp::now())?.settings;
    let tags = if args.resolve { Tags::FromReplicas } else { Tags::FromPrimary };
    let readable = |file: &Path| std::fs::metadata(file).is_ok_and(|file| file.is_file());
    let with_authority =
        settings.registries.values().filter(|one| one.ca_file.as_deref().is_some_and(readable));
    let beside: BTreeSet<_> = match args.out {
        Some(_) => with_authority.map(|one| one.name.clone()).collect(),
        None => BTreeSet::new(),
    };
    let name = args.config.file_name().unwrap_or_default().to_string_lossy();
    let Hosts { files, notes } = hosts(&settings, &format!("{name} (site {})", settings.site), tags, &beside);
    for text in &notes {
        note(text);
    }
    if files.is_empty() {
        note("no primary has a replica on this site that containerd could use: nothing is written");
    }
    for (host, text) in &files {
        match &args.out {
            None => write!(out, "# {host}/hosts.toml\n{text}\n")?,
            Some(folder) => {
                let folder = folder.join(host);
                written(&folder, text, &settings)
                    .with_context(|| format!("cannot write into `{}`", folder.display()))?;
                writeln!(out, "{}", folder.join("hosts.toml").display())?;
            }
        }
    }
    Ok(())
}

/// Writes a file, and the authorities that it names before it.
fn written(folder: &Path, text: &str, settings: &Settings) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    for registry in settings.registries.values() {
        let name = format!("{}.pem", registry.name);
        if let Some(file) = registry.ca_file.as_ref().filter(|_| {
            text.contains(&format!("\nca = \"{name}\"")) || text.contains(&format!("  ca = \"{name}\""))
        }) {
            std::fs::copy(file, folder.join(&name))?;
        }
    }
    std::fs::write(folder.join("hosts.toml"), text)
}
