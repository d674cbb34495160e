//! Where a command takes the configuration, the policies and the labels of a namespace from: files, or a cluster.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use jiff::Timestamp;

use super::plugin::Target;
use crate::cluster::Cluster;
use crate::config::{self, Document, Files, Loaded, Problems};
use crate::domain::error_chain::error_chain;
use crate::domain::policy::{Labels, NAMESPACE_NAME, Policy};
use crate::domain::settings::Settings;
use crate::report::sheet::Input;

/// The key of the ConfigMap that the chart renders.
const KEY: &str = "landfall.yaml";

/// Whose configuration and policies count.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Sources {
    /// The configuration. Without it, that of the release in the cluster, whose files of credentials and authorities are then
    /// looked for here under the same paths.
    #[arg(long, env = "LANDFALL_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// A file of LandingPolicies, which may hold several documents. With one or more of these, those of the cluster do not
    /// count.
    #[arg(long, value_name = "FILE")]
    policy: Vec<PathBuf>,
    /// A label of the namespace, for selectors of policies. With one or more of these, those that the cluster knows do not count.
    #[arg(long, value_name = "KEY=VALUE", value_parser = label)]
    label: Vec<(String, String)>,
    /// Ask no cluster: neither for policies nor for the labels of the namespace.
    #[arg(long, requires = "config")]
    offline: bool,
    /// The name of the release.
    #[arg(long, env = "LANDFALL_RELEASE", value_name = "NAME", default_value = "landfall")]
    release: String,
    /// The namespace of the release.
    #[arg(long, env = "LANDFALL_NAMESPACE", value_name = "NAME", default_value = "landfall")]
    release_namespace: String,
    #[command(flatten)]
    target: Target,
}

pub(super) fn label(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned()));
    pair.ok_or_else(|| format!("`{text}` is no label such as `tier=regulated`"))
}

/// What was found in them.
pub(super) struct Found {
    /// The settings, with the policies that count.
    pub settings: Settings,
    /// The cluster; `None`: none is asked.
    pub cluster: Option<Cluster>,
    /// What a reader of the result should know.
    pub notes: Vec<String>,
    labels: Vec<(String, String)>,
}

impl Sources {
    /// The files that were named, with their hashes: evidence of what a report rests on.
    ///
    /// # Errors
    /// If one of them cannot be read.
    pub fn inputs(&self) -> anyhow::Result<Vec<Input>> {
        let read = |file: &PathBuf| {
            let bytes = std::fs::read(file).with_context(|| format!("cannot read `{}`", file.display()))?;
            Ok(Input::of(file, &bytes))
        };
        self.config.iter().chain(&self.policy).map(read).collect()
    }

    /// The namespace of the release.
    pub fn release_namespace(&self) -> &str {
        &self.release_namespace
    }

    /// Reads them. It reads files, and asks the cluster.
    ///
    /// # Errors
    /// If the configuration or a policy cannot be used, or a cluster is needed and cannot be asked.
    pub async fn read(&self, now: Timestamp) -> anyhow::Result<Found> {
        let Self { config, policy, label, offline, release, release_namespace, target } = self;
        let mut notes = Vec::new();
        let cluster = match (*offline, target.cluster()) {
            (true, _) => None,
            (false, Ok(cluster)) => Some(cluster),
            (false, Err(error)) if config.is_some() => {
                notes.push(format!("no cluster is asked: {}", error_chain(&error)));
                None
            }
            (false, Err(error)) => {
                return Err(error).context(
                    "there is no configuration: name a file with --config, or a cluster with --kubeconfig or KUBECONFIG",
                );
            }
        };
        let loaded = match (config, &cluster) {
            (Some(file), _) => configured(file, now)?,
            (None, Some(cluster)) => released(cluster, release_namespace, release, now).await?,
            (None, None) => bail!("there is no configuration: name a file with --config"),
        };
        let mut settings = loaded.settings;
        let more = match (policy.as_slice(), &cluster) {
            ([], Some(cluster)) => of_cluster(cluster, &settings, now, &mut notes).await,
            (files, _) => of_files(files, &settings, now)?,
        };
        let named = |one: &Arc<Policy>| settings.policies.iter().any(|known| known.name == one.name);
        // The configuration's count where both have a policy of that name.
        let more: Vec<_> = more.into_iter().filter(|one| !named(one)).collect();
        let all = settings.policies.iter().cloned().chain(more).collect();
        settings = settings.with_policies(all);
        Ok(Found { settings, cluster, notes, labels: label.clone() })
    }
}

impl Found {
    /// The labels of a namespace: those that were given, else the cluster's, else its name alone.
    ///
    /// # Errors
    /// If the cluster does not know the namespace.
    pub async fn labels(&mut self, namespace: &str) -> anyhow::Result<Labels> {
        match self.asked(namespace).await {
            Ok(labels) => Ok(labels),
            Err(Unlabelled::Absent) => bail!("the cluster has no namespace `{namespace}`"),
            Err(Unlabelled::Unread(why)) => {
                self.notes.push(not_known(namespace, &why));
                Ok(at_least(namespace))
            }
        }
    }

    /// As [`labels`](Self::labels), for somebody who looks at many namespaces, some of which may not be there yet: what is not
    /// known is a note.
    pub async fn labels_if_known(&self, namespace: &str) -> (Labels, Option<String>) {
        let why = match self.asked(namespace).await {
            Ok(labels) => return (labels, None),
            Err(Unlabelled::Absent) => "it is not there yet".to_owned(),
            Err(Unlabelled::Unread(why)) => why,
        };
        (at_least(namespace), Some(not_known(namespace, &why)))
    }

    async fn asked(&self, namespace: &str) -> Result<Labels, Unlabelled> {
        let name = (NAMESPACE_NAME.to_owned(), namespace.to_owned());
        if !self.labels.is_empty() {
            return Ok(self.labels.iter().cloned().chain([name]).collect());
        }
        let Some(cluster) = &self.cluster else { return Ok([name].into_iter().collect()) };
        match cluster.labels_of(namespace).await {
            Ok(labels) => labels.ok_or(Unlabelled::Absent),
            Err(error) => Err(Unlabelled::Unread(error_chain(&error))),
        }
    }
}

/// Why the labels of a namespace are not known.
enum Unlabelled {
    /// The cluster has no such namespace.
    Absent,
    /// It could not be asked, for this reason.
    Unread(String),
}

fn at_least(namespace: &str) -> Labels {
    Labels::at_least([(NAMESPACE_NAME.to_owned(), namespace.to_owned())])
}

fn not_known(namespace: &str, why: &str) -> String {
    format!(
        "the labels of namespace `{namespace}` are not known, so every policy that may select it counts: {why}"
    )
}

fn configured(file: &Path, now: Timestamp) -> anyhow::Result<Loaded> {
    config::load(file, Files::Check, now).map_err(unusable)
}

async fn released(
    cluster: &Cluster,
    namespace: &str,
    release: &str,
    now: Timestamp,
) -> anyhow::Result<Loaded> {
    let found = cluster.config_map_key(namespace, release, KEY).await?;
    let text = found.with_context(|| {
        format!(
            "namespace `{namespace}` has no ConfigMap `{release}` with a key `{KEY}`: name the release with --release and --release-namespace, or a file with --config"
        )
    })?;
    let name = format!("ConfigMap {namespace}/{release}");
    config::parse(&text, &name, Files::Skip, now).map_err(unusable)
}

fn unusable(problems: Problems) -> anyhow::Error {
    anyhow::anyhow!("the configuration cannot be used:\n{problems}")
}

async fn of_cluster(
    cluster: &Cluster,
    settings: &Settings,
    now: Timestamp,
    notes: &mut Vec<String>,
) -> Vec<Arc<Policy>> {
    let objects = match cluster.policies().list().await {
        Ok(objects) => objects.unwrap_or_default(),
        Err(error) => {
            notes.push(format!(
                "the LandingPolicies of the cluster do not count here: {}",
                error_chain(&error)
            ));
            return Vec::new();
        }
    };
    let mut policies = Vec::new();
    for object in objects {
        let name = object.name.as_str();
        match config::policy(&object.text, name, &settings.defaults, &[], now) {
            Ok((policy, _)) => policies.push(policy),
            Err(problems) => notes.push(format!(
                "LandingPolicy `{name}` cannot be understood and does not count here; a Landfall that runs keeps what it said before, or takes it as strictly as it can:\n{problems}"
            )),
        }
    }
    policies
}

fn of_files(files: &[PathBuf], settings: &Settings, now: Timestamp) -> anyhow::Result<Vec<Arc<Policy>>> {
    let mut policies: BTreeMap<String, Arc<Policy>> = BTreeMap::new();
    for file in files {
        let name = file.display().to_string();
        let text = std::fs::read_to_string(file).with_context(|| format!("cannot read `{name}`"))?;
        for Document { text, .. } in config::documents(&text) {
            let read = config::policy(&text, &name, &settings.defaults, &settings.exclude.namespaces, now);
            let (policy, _) =
                read.map_err(|problems| anyhow::anyhow!("a policy cannot be used:\n{problems}"))?;
            policies.insert(policy.name.to_string(), policy);
        }
    }
    Ok(policies.into_values().collect())
}
