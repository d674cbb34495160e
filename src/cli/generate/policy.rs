//! `landfall generate policy`: a LandingPolicy by what it is to require.

use std::io::{self, Write};

use crate::domain::api_group::{API_GROUP, MODE};

/// How it is used.
const EXAMPLES: &str = "\
Examples:
  landfall generate policy --name trial --require-scan --block-missing --observe
  landfall generate policy --name regulated --namespace-label tier=regulated --require-scan 168h --max-severity Medium --block-missing --block-unknown
  landfall generate policy --name regulated --namespace-label tier=regulated --block-missing | kubectl apply -f -";

/// Print a LandingPolicy, with a comment on each line.
///
/// It acts in the namespaces with all of the labels that --namespace-label names, or in all where none is named. Begin with --observe:
/// the policy then only counts what it would deny (`kubectl get lpol`).
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Its name.
    #[arg(long, value_name = "NAME", value_parser = name)]
    name: String,
    /// A label of the namespaces in which it acts. May be given several times: then all of them are needed.
    #[arg(long = "namespace-label", value_name = "KEY=VALUE", value_parser = super::super::sources::label)]
    labels: Vec<(String, String)>,
    /// It only counts and reports what it would deny.
    #[arg(long)]
    observe: bool,
    /// Deny what has no copy at this site, or one that is not current.
    #[arg(long)]
    block_missing: bool,
    /// Deny what has no finished scan here; with a duration such as `168h`, also what was scanned longer ago.
    #[arg(long, value_name = "MAX-AGE", num_args = 0..=1, default_missing_value = "")]
    require_scan: Option<String>,
    /// Deny what has a vulnerability that is more severe than this.
    #[arg(long, value_name = "SEVERITY", value_parser = ["None", "Unknown", "Negligible", "Low", "Medium", "High"])]
    max_severity: Option<String>,
    /// Deny images that no route covers.
    #[arg(long)]
    block_unrouted: bool,
    /// Deny also what cannot be learned, because a registry does not answer for example. It is implied where anything is denied.
    #[arg(long, conflicts_with = "allow_unknown")]
    block_unknown: bool,
    /// Let pass what cannot be learned: another site's copy is used.
    #[arg(long)]
    allow_unknown: bool,
    /// Whom a developer may ask about a denial: a channel, a mail address.
    #[arg(long, value_name = "TEXT")]
    contact: Option<String>,
}

/// The name of an object.
fn name(text: &str) -> Result<String, String> {
    let fits = |character: char| {
        character.is_ascii_lowercase() || character.is_ascii_digit() || "-.".contains(character)
    };
    let ends = |text: &str| {
        text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text.ends_with(|c: char| c.is_ascii_alphanumeric())
    };
    if text.len() <= 253 && text.chars().all(fits) && ends(text) {
        return Ok(text.to_owned());
    }
    Err(format!(
        "`{text}` is no name of an object: write lower-case letters, digits, `-` and `.`, such as `regulated`"
    ))
}

pub(super) fn run(args: &Args, out: &mut impl Write) -> anyhow::Result<()> {
    let text = text(args)?;
    // What is printed must be what Landfall takes.
    let now = jiff::Timestamp::now();
    crate::config::policy(&text, "this policy", &std::sync::Arc::new(crate::config::built_in()), &[], now)
        .map_err(|problems| anyhow::anyhow!("the policy would not be accepted:\n{problems}"))?;
    Ok(out.write_all(text.as_bytes())?)
}

fn text(args: &Args) -> io::Result<String> {
    let Args {
        name,
        labels,
        observe,
        block_missing,
        require_scan,
        max_severity,
        block_unrouted,
        block_unknown,
        allow_unknown,
        contact,
    } = args;
    // As JSON, which is YAML: whatever stands in it.
    let quoted = |text: &str| serde_json::to_string(text).map_err(io::Error::from);
    let mut lines = vec![
        "# Whoever may edit a namespace can change the labels that a policy selects by: `guard.namespaceLabels` of the chart, or".to_owned(),
        "# `landfall generate guard-rails`, keeps them. Check it: landfall check landfall.yaml FILE".to_owned(),
        format!("apiVersion: {API_GROUP}/v1alpha1"),
        "kind: LandingPolicy".to_owned(),
        "metadata:".to_owned(),
        format!("  name: {}", quoted(name)?),
        "spec:".to_owned(),
    ];
    lines.push("  namespaceSelector:".to_owned());
    if !labels.is_empty() {
        lines.push("    matchLabels: # a namespace needs all of them".to_owned());
        for (key, value) in labels {
            lines.push(format!("      {}: {}", quoted(key)?, quoted(value)?));
        }
    }
    lines.push("    # Where Landfall rewrites nothing, nothing pins a tag either.".to_owned());
    lines.push(format!("    matchExpressions: [{{key: {MODE}, operator: NotIn, values: [Skip]}}]"));
    let mut key = |text: &str, why: &str| lines.push(format!("  {text} # {why}"));
    if *observe {
        key("enforcement: Observe", "it counts what it would deny; write Enforce when the number stays 0");
    } else {
        key("enforcement: Enforce", "it acts; with Observe it would only count what it would deny");
    }
    if *block_missing {
        key("onMissing: Block", "no usable copy at this site");
        key("onStale: Block", "the tag means something else at the primary");
        key("onUnproved: Block", "it was not compared with the primary");
    }
    if require_scan.is_some() {
        key("onUnscanned: Block", "no finished scan here, or too old a one");
    }
    if max_severity.is_some() {
        key("onVulnerable: Block", "the scan found something more severe than `scan.maxSeverity`");
    }
    if *block_unrouted {
        key("onUnrouted: Block", "no route of the configuration covers it");
    }
    let blocks = *block_missing || require_scan.is_some() || max_severity.is_some() || *block_unrouted;
    if *allow_unknown {
        key("onUnknown: Fallback", "a registry does not answer: another site's copy is used");
    } else if *block_unknown || blocks {
        key("onUnknown: Block", "a registry does not answer: nothing is proved");
    }
    let mut scan = Vec::new();
    if require_scan.is_some() {
        scan.push("required: Always".to_owned());
    }
    if let Some(age) = require_scan.as_ref().filter(|age| !age.is_empty()) {
        scan.push(format!("maxAge: {}", quoted(age)?));
    }
    if let Some(severity) = max_severity {
        scan.push(format!("maxSeverity: {severity}"));
    }
    if !scan.is_empty() {
        lines.push(format!("  scan: {{{}}}", scan.join(", ")));
    }
    if let Some(contact) = contact {
        lines.push(format!("  contact: {} # shown to whom is denied", quoted(contact)?));
    }
    Ok(lines.join("\n") + "\n")
}
