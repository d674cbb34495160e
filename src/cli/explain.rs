//! `landfall explain`: why a Pod gets that image.

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use jiff::Timestamp;
use prometheus_client::registry::Registry as Page;
use serde_json::json;

use super::sources::{Found, Sources};
use super::{Output, terminal};
use crate::evidence::Observatory;
use crate::pod::Pod;
use crate::report::explain::{Circumstance, Explained, line, text};

/// How it is used.
const EXAMPLES: &str = "\
Examples:
  landfall explain harbor.fra.example.com/production/shop/web:1.4.2 -n shop
  landfall explain --pod shop/web-7d4b9
  landfall explain IMAGE --offline --config landfall.yaml --policy policies.yaml --label tier=regulated -o json";

/// Explain why a Pod gets an image, or is denied: each question that a judgement asks, its answer, what became of each copy,
/// which policy spoke, and the patch.
///
/// Which Pods the API server sends to the first door at all (labels of namespaces, `namespaces` of the chart) is not looked at:
/// `landfall doctor --pods-in NAMESPACE` tries that. The judgement is made here and now, by the same code as at the doors, with the configuration and the policies that count.
/// Where the credentials of the registries are not at hand, ask in a Pod of Landfall:
///
///   kubectl -n landfall exec deploy/landfall -- /landfall explain IMAGE -n shop
///
/// Exit status: 0, the image would be admitted; 1, it would be denied; 2, it could not be judged.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
#[command(verbatim_doc_comment)]
#[command(group(clap::ArgGroup::new("what").required(true).args(["image", "pod"])))]
pub(super) struct Args {
    /// The image, as a Pod writes it.
    #[arg(value_name = "IMAGE")]
    image: Option<String>,
    /// A Pod that exists: what was decided when it was created, and what would be decided now.
    #[arg(long, value_name = "NAMESPACE/NAME", value_parser = pod)]
    pod: Option<(String, String)>,
    /// The namespace of the Pod.
    #[arg(short, long, value_name = "NAME", default_value = "default", conflicts_with = "pod")]
    namespace: String,
    /// The platform that the Pod asks for, such as `linux/arm64`; else those of the configuration.
    #[arg(long, value_name = "OS/ARCH", value_parser = platform, conflicts_with = "pod")]
    platform: Option<(String, String)>,
    #[command(flatten)]
    sources: Sources,
    /// The format of the output.
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

fn pod(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('/').filter(|(namespace, name)| !namespace.is_empty() && !name.is_empty());
    let pair = pair.map(|(namespace, name)| (namespace.to_owned(), name.to_owned()));
    pair.ok_or_else(|| format!("`{text}` is no Pod such as `shop/web-7d4b9`"))
}

fn platform(text: &str) -> Result<(String, String), String> {
    let pair =
        text.split_once('/').filter(|(os, arch)| !os.is_empty() && !arch.is_empty() && !arch.contains('/'));
    let pair = pair.map(|(os, arch)| (os.to_owned(), arch.to_owned()));
    pair.ok_or_else(|| format!("`{text}` is no platform such as `linux/arm64`"))
}

pub(super) fn run(args: &Args, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    // Before anything uses TLS. It fails if a provider is installed already, which can only be the same.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = tokio::runtime::Runtime::new().context("the async runtime cannot be started")?;
    let explained = runtime.block_on(explain(args, Timestamp::now()))?;
    match args.output {
        Output::Json => writeln!(out, "{}", serde_json::to_string_pretty(&explained)?)?,
        Output::Text => {
            let width = terminal::width();
            for note in &explained.notes {
                writeln!(out, "{}", line("note", note, width))?;
            }
            let texts: Vec<String> = explained.images.iter().map(|one| text(one, width)).collect();
            write!(out, "{}", texts.join("\n"))?;
        }
    }
    Ok(if explained.is_denied() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

async fn explain(args: &Args, now: Timestamp) -> anyhow::Result<Explained> {
    let mut found = args.sources.read(now).await?;
    let (namespace, body) = match &args.pod {
        Some((namespace, name)) => (namespace, running(&found, namespace, name).await?),
        None => (&args.namespace, written(args)),
    };
    let labels = found.labels(namespace).await?;
    let settings = Arc::new(found.settings.clone());
    let observatory = {
        let settings = settings.clone();
        tokio::task::spawn_blocking(move || Observatory::new(&settings, &mut Page::default())).await?
    };
    for problem in observatory.problems() {
        let why = crate::domain::error_chain::error_chain(&problem.error);
        found.notes.push(format!("registry `{}` cannot be asked from here: {why}", problem.registry));
    }
    let pod: Pod<'_> = serde_json::from_str(&body).context("the Pod cannot be read")?;
    let circumstance =
        Circumstance { settings: &settings, observatory: &observatory, labels: &labels, namespace, now };
    let images = match args.pod {
        Some(_) => circumstance.running_pod(&pod).await,
        None => circumstance.new_pod(&pod).await,
    };
    observatory.close().await;
    Ok(Explained { images, notes: found.notes })
}

/// A Pod with this image alone.
fn written(args: &Args) -> String {
    let image = args.image.as_deref().unwrap_or_default();
    let selector = args
        .platform
        .as_ref()
        .map_or_else(|| json!({}), |(os, arch)| json!({"kubernetes.io/os": os, "kubernetes.io/arch": arch}));
    let container = json!({"name": "main", "image": image});
    json!({"metadata": {}, "spec": {"containers": [container], "nodeSelector": selector}}).to_string()
}

async fn running(found: &Found, namespace: &str, name: &str) -> anyhow::Result<String> {
    let cluster =
        found.cluster.as_ref().context("a Pod is read from a cluster: set KUBECONFIG, without --offline")?;
    let pod = cluster.pod_as_json(namespace, name).await?;
    pod.with_context(|| format!("namespace `{namespace}` has no Pod `{name}`"))
}
