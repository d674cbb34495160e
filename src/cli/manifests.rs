//! Manifests that a command takes instead of what a cluster has.

use std::path::PathBuf;

use anyhow::{Context, bail};

use crate::domain::settings::Settings;
use crate::report::workloads::{Collection, Manifests};

/// Reads files, folders, and for `-` the standard input. `own`: the namespace of Landfall; `namespace`: where objects without one
/// would be created.
///
/// # Errors
/// If something cannot be read, or is no manifest.
pub(super) fn read(
    paths: &[PathBuf],
    settings: &Settings,
    own: &str,
    namespace: &str,
) -> anyhow::Result<Collection> {
    let mut manifests = Manifests::new(settings, own, namespace);
    for path in paths {
        if path.as_os_str() == "-" {
            manifests
                .stream("stdin", std::io::stdin().lock())
                .context("the standard input cannot be read")?;
            continue;
        }
        manifests
            .read(path)
            .map_err(|(path, error)| anyhow::anyhow!("cannot read `{}`: {error}", path.display()))?;
    }
    match manifests.done() {
        Ok(collection) => Ok(collection),
        Err(problems) => {
            let lines: Vec<String> = problems.iter().map(|problem| format!("  {problem}")).collect();
            bail!(
                "these manifests cannot be used; correct them, or name others with -f:\n{}",
                lines.join("\n")
            )
        }
    }
}
