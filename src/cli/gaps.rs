//! `landfall gaps`: what this cluster's site lacks.

use std::io::Write;
use std::process::ExitCode;

use anyhow::Context;
use jiff::Timestamp;
use serde::Serialize;

use super::plugin::Target;
use super::{Output, terminal};
use crate::cluster::{Cluster, GapState};
use crate::domain::gap::{GapKey, GapKind};
use crate::domain::text::hanging;
use crate::ledger::Record;
use crate::report::gaps::{Row, Selection, rows, table};

/// How it is used.
const EXAMPLES: &str = "\
Examples:
  landfall gaps
  landfall gaps --finding Missing --registry ams -n shop
  landfall gaps --all -o json";

/// List the open gaps of a cluster: copies, scans and replication rules that are not as they should be, the worst first.
///
/// Your own rights count: to list ReplicationGaps.
///
/// Exit status: 0, there is none; 1, there is one; 2, they could not be read.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Closed ones, too.
    #[arg(long)]
    all: bool,
    /// Only this finding, such as `Missing` or `RuleDisabled`.
    #[arg(long, value_name = "FINDING", value_parser = finding)]
    finding: Option<GapKind>,
    /// Only at this registry, by its name in the configuration.
    #[arg(long, value_name = "NAME")]
    registry: Option<String>,
    /// Only images that Pods of this namespace use.
    #[arg(short, long, value_name = "NAME")]
    namespace: Option<String>,
    /// Those of the demo, whose stories are played first, instead of a cluster's.
    #[cfg(feature = "demo")]
    #[arg(long)]
    demo: bool,
    /// The format of the output.
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
    #[command(flatten)]
    target: Target,
}

fn finding(word: &str) -> Result<GapKind, String> {
    word.parse().map_err(|_| {
        format!("`{word}` is no finding that can be a gap; write one as REASONS.md has it, such as `Missing`")
    })
}

/// What `--output json` prints.
#[derive(Debug, Serialize)]
struct Printed<'a> {
    gaps: &'a [Row],
}

pub(super) fn run(args: &Args, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    // Before anything uses TLS. It fails if a provider is installed already, which can only be the same.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = tokio::runtime::Runtime::new().context("the async runtime cannot be started")?;
    let width = terminal::width();
    // Its client needs the runtime from the start.
    runtime.block_on(async {
        #[cfg(feature = "demo")]
        if args.demo {
            let entries = super::demo::ledger().await?;
            return show(args, &entries, Timestamp::now(), width, out);
        }
        show(args, &listed(&args.target.cluster()?).await?, Timestamp::now(), width, out)
    })
}

/// What the objects of a cluster say.
async fn listed(cluster: &Cluster) -> anyhow::Result<Vec<(GapKey, Record)>> {
    let listed = cluster.gaps().records().await;
    let forbidden = listed.as_ref().err().is_some_and(|error| error.is_forbidden());
    let listed = if forbidden {
        listed.context("you lack the right to list replicationgaps.landfall.dev")
    } else {
        listed.map_err(Into::into)
    };
    listed?.context(
        "the cluster does not know the resource ReplicationGap: it comes with the chart or the manifests, and nothing is recorded without it",
    )
}

fn show(
    args: &Args,
    entries: &[(GapKey, Record)],
    now: Timestamp,
    width: Option<usize>,
    out: &mut impl Write,
) -> anyhow::Result<ExitCode> {
    let Args { all, finding, registry, namespace, output, .. } = args;
    let (finding, registry, namespace) = (*finding, registry.clone(), namespace.clone());
    let selection = Selection { closed: *all, finding, registry, namespace };
    let rows = rows(entries, &selection, now);
    match output {
        Output::Json => writeln!(out, "{}", serde_json::to_string_pretty(&Printed { gaps: &rows })?)?,
        Output::Text if rows.is_empty() => writeln!(out, "no gaps")?,
        Output::Text => {
            write!(out, "{}", table(&rows, now, width))?;
            if let Some(worst) = rows.first() {
                writeln!(out, "\n{}", hanging(&worst.message, 0, width))?;
            }
        }
    }
    let is_open = |row: &Row| row.state != GapState::Closed;
    Ok(if rows.iter().any(is_open) { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use http::StatusCode;
    use serde_json::{Value, json};

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn object(image: &str, registry: &str, status: Value) -> Value {
        let mut whole = json!({"state": "Open", "firstSeen": "2026-11-27T09:00:00Z",
                               "lastSeen": "2026-11-27T11:59:00Z", "message": ""});
        whole.as_object_mut().unwrap().extend(status.as_object().unwrap().clone());
        json!({"metadata": {"name": image, "resourceVersion": "1"},
               "spec": {"image": image, "registry": registry}, "status": whole})
    }

    fn axis(finding: &str) -> Value {
        json!({"finding": finding, "since": "2026-11-27T09:00:00Z", "lastSeen": "2026-11-27T11:59:00Z"})
    }

    fn gaps() -> Vec<Value> {
        let shop = |name: &str, tag: &str| format!("harbor.fra.example.com/shop/{name}:{tag}");
        vec![
            object(&shop("signed", "1"), "ams", json!({"risk": axis("AccessoryMissing")})),
            object(
                &shop("web", "1.4.2"),
                "ams",
                json!({"presence": axis("Missing"), "pods": 12,
                "namespaces": ["shop"], "denied": 3}),
            ),
            object(
                &shop("a-name-that-is-much-too-long-for-a-terminal-of-80-columns", "1"),
                "ams",
                json!({"presence": axis("LayerMissing"), "scan": axis("Unscanned"), "pods": 40}),
            ),
            object(&shop("search", "2"), "edge", json!({"scan": axis("ScanFailed"), "pods": 90})),
            object(
                &shop("old", "1"),
                "ams",
                json!({"state": "Closed", "closedAt": "2026-11-27T11:00:00Z",
                "presence": {"was": "Missing", "since": "2026-11-27T09:00:00Z",
                             "lastSeen": "2026-11-27T10:00:00Z", "closedAt": "2026-11-27T11:00:00Z"}}),
            ),
            // Of another version of Landfall.
            object(&shop("later", "1"), "ams", json!({"presence": axis("Eaten")})),
        ]
    }

    /// What is printed, and the exit status.
    async fn printed(line: &[&str], answer: (StatusCode, Value)) -> Result<(String, ExitCode), String> {
        let line = std::iter::once(&"gaps").chain(line);
        let args = Line::try_parse_from(line).map_err(|error| error.to_string())?.args;
        let cluster = Cluster::answered_by(move |_, _| {
            let (status, body) = (answer.0, answer.1.to_string());
            async move { (status, body) }
        });
        let (now, mut out) = ("2026-11-27T12:00:00Z".parse().unwrap(), Vec::new());
        let entries = listed(&cluster).await.map_err(|error| format!("{error:#}"))?;
        let exit = show(&args, &entries, now, Some(80), &mut out).map_err(|error| format!("{error:#}"))?;
        Ok((String::from_utf8(out).unwrap(), exit))
    }

    fn list(items: Vec<Value>) -> (StatusCode, Value) {
        (
            StatusCode::OK,
            json!({"kind": "ReplicationGapList", "apiVersion": "landfall.dev/v1alpha1",
                                "metadata": {"resourceVersion": "1"}, "items": items}),
        )
    }

    #[tokio::test]
    async fn the_worst_stand_first_and_the_table_fits_a_terminal() {
        let (text, exit) = printed(&[], list(gaps())).await.unwrap();
        assert_eq!(exit, ExitCode::FAILURE);
        insta::assert_snapshot!(text);
        let table = text.split("\n\n").next().unwrap();
        assert!(table.lines().all(|line| line.chars().count() <= 80), "{table}");
        let cluster = Cluster::answered_by(move |_, _| {
            let (status, body) = list(gaps());
            async move { (status, body.to_string()) }
        });
        let entries = listed(&cluster).await.unwrap();
        for width in [60, 80, 200] {
            let (args, mut out) = (Line::try_parse_from(["gaps", "--all"]).unwrap().args, Vec::new());
            show(&args, &entries, "2026-11-27T12:00:00Z".parse().unwrap(), Some(width), &mut out).unwrap();
            let text = String::from_utf8(out).unwrap();
            let table = text.split("\n\n").next().unwrap();
            assert!(table.lines().all(|line| line.chars().count() <= width), "{width}: {text}");
            insta::assert_snapshot!(format!("gaps-{width}"), text);
        }
        let (text, _) = printed(&["--all"], list(gaps())).await.unwrap();
        assert!(text.contains("Closed") && text.contains("shop/old:1"), "{text}");
        for (line, expected) in [
            (&["--registry=edge"][..], "search"),
            (&["--finding=Missing"], "web"),
            (&["-n", "shop"], "web"),
            (&["--finding=AccessoryMissing"], "signed"),
        ] {
            let (text, _) = printed(line, list(gaps())).await.unwrap();
            let rows: Vec<&str> = text.split("\n\n").next().unwrap().lines().skip(1).collect();
            assert!(rows.len() == 1 && rows[0].contains(expected), "{line:?}: {text}");
        }
    }

    #[tokio::test]
    async fn scripts_get_json_and_an_exit_status() {
        let (text, exit) = printed(&["-o", "json"], list(gaps())).await.unwrap();
        assert_eq!(exit, ExitCode::FAILURE);
        let value: Value = serde_json::from_str(&text).unwrap();
        let first = &value["gaps"][0];
        assert_eq!(
            (&first["presence"], &first["scan"], &first["pods"]),
            (&"LayerMissing".into(), &"Unscanned".into(), &40.into())
        );
        let (text, exit) =
            printed(&["-o", "table", "--all", "--finding=Missing", "--registry=ams", "-n=x"], list(gaps()))
                .await
                .unwrap();
        assert_eq!((&*text, exit), ("no gaps\n", ExitCode::SUCCESS));
    }

    #[tokio::test]
    async fn what_hinders_it_is_said() {
        let failure = |code: u16, reason: &str| {
            let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                                "message": reason, "reason": reason, "code": code});
            (StatusCode::from_u16(code).unwrap(), status)
        };
        let said = async |answer| printed(&[], answer).await.unwrap_err();
        assert!(said(failure(404, "NotFound")).await.contains("does not know the resource ReplicationGap"));
        assert!(said(failure(403, "Forbidden")).await.contains("you lack the right to list"));
        assert!(said(failure(500, "InternalError")).await.contains("cannot list the ReplicationGaps"));
        let said = printed(&["--finding=Gone"], list(Vec::new())).await.unwrap_err();
        assert!(said.contains("`Gone` is no finding that can be a gap"), "{said}");
    }
}
