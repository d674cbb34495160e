//! Landfall as a plug-in of kubectl: by which name it was called, and which cluster it asks.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use crate::cluster::{Cluster, ClusterError};

/// By which name the program was called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Called {
    /// `landfall`
    Landfall,
    /// `kubectl landfall`: kubectl runs the file `kubectl-landfall`.
    Kubectl,
    /// kubectl asks `kubectl_complete-landfall` how a command line goes on.
    Completion,
}

impl Called {
    /// Returns how this process was called.
    pub fn now() -> Self {
        std::env::args_os().next().map_or(Self::Landfall, |name| Self::by(Path::new(&name)))
    }

    fn by(program: &Path) -> Self {
        match program.file_name().and_then(|name| name.to_str()) {
            Some("kubectl-landfall") => Self::Kubectl,
            Some("kubectl_complete-landfall") => Self::Completion,
            _ => Self::Landfall,
        }
    }
}

/// What a person types.
impl fmt::Display for Called {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Landfall => "landfall",
            Self::Kubectl | Self::Completion => "kubectl landfall",
        })
    }
}

/// Which cluster a command asks.
#[derive(Debug, Clone, Default, clap::Args)]
pub(super) struct Target {
    /// The kubeconfig, instead of KUBECONFIG; `kubectl landfall`, or a --context, takes that of the home directory where
    /// neither is given.
    #[arg(long, value_name = "FILE", help_heading = "Cluster")]
    kubeconfig: Option<PathBuf>,
    /// The context in the kubeconfig, instead of the current one.
    #[arg(long, value_name = "NAME", help_heading = "Cluster")]
    context: Option<String>,
}

impl Target {
    /// The same as flags of kubectl.
    pub fn flags(&self) -> Vec<OsString> {
        let file = self.kubeconfig.as_ref().map(|file| file.clone().into_os_string());
        let flags = [("--kubeconfig", file), ("--context", self.context.as_ref().map(OsString::from))];
        let given = flags.into_iter().filter_map(|(flag, value)| Some([flag.into(), value?]));
        given.flatten().collect()
    }

    /// Returns the cluster. Nothing is sent to it yet.
    ///
    /// # Errors
    /// If there is none, or what is wrong with the kubeconfig.
    pub fn cluster(&self) -> Result<Cluster, ClusterError> {
        let set = std::env::var_os("KUBECONFIG").is_some_and(|value| !value.is_empty());
        // Whoever types `kubectl landfall`, or the name of a context, means the clusters that kubectl knows.
        let person = self.context.is_some() || Called::now() == Called::Kubectl;
        let home = || {
            let file = PathBuf::from(std::env::var_os("HOME")?).join(".kube/config");
            (person && !set && file.exists()).then_some(file)
        };
        let file = self.kubeconfig.clone().or_else(home);
        Cluster::named(file.as_deref(), self.context.as_deref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_says_how_it_was_called() {
        for (program, called, shown) in [
            ("/usr/bin/landfall", Called::Landfall, "landfall"),
            ("landfall-0.1", Called::Landfall, "landfall"),
            ("/opt/krew/bin/kubectl-landfall", Called::Kubectl, "kubectl landfall"),
            ("kubectl_complete-landfall", Called::Completion, "kubectl landfall"),
        ] {
            assert_eq!(Called::by(Path::new(program)), called);
            assert_eq!(called.to_string(), shown);
        }
    }
}
