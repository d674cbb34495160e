//! The rules and the dashboard of the chart, as Prometheus sees them: promtool reads every expression, runs a case in which
//! each alert fires and one in which it does not, and reads a page of `landfall serve`.
//!
//! promtool is of Debian's package `prometheus`; where it is not, the tests say so. Whether the names are right is tested in
//! `generated.rs`, which makes both files.
#![cfg(feature = "demo")]
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test says what is wrong by failing")]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

#[path = "generated/alerts.rs"]
#[expect(dead_code, reason = "what a person reads is written by tests/generated.rs")]
mod alerts;
#[path = "load/process.rs"]
#[expect(dead_code, reason = "here nobody measures it")]
mod process;
#[path = "load/site.rs"]
#[expect(dead_code, reason = "here nobody asks which Landfall asked")]
mod site;

use alerts::{ALERTS, Alert, Case, REPLICAS};

fn chart(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("helm/landfall").join(file)
}

/// Where promtool is: in the path, or unpacked in the cache folder. Says that a test did not run where it is nowhere.
fn promtool(test: &str) -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let cache = set("LANDFALL_CACHE").or_else(|| {
        let cache = set("XDG_CACHE_HOME").or_else(|| Some(set("HOME")?.join(".cache")));
        Some(cache?.join("landfall"))
    });
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(cache.map(|cache| cache.join("tools/prometheus")));
    let found = folders.map(|folder| folder.join("promtool")).find(|program| program.is_file());
    if found.is_none() {
        // Past the capture of a passing test's output.
        let _ = writeln!(std::io::stderr(), "skipped: observability {test}: no promtool here");
    }
    found
}

fn told(output: &Output) -> String {
    let said = [&output.stdout[..], &output.stderr[..]].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(output.status.success(), "{said}");
    said
}

fn check_rules(promtool: &Path, file: &Path) -> String {
    told(&Command::new(promtool).args(["check", "rules", "--lint-fatal"]).arg(file).output().unwrap())
}

#[test]
fn the_rules_are_rules_of_prometheus() {
    let Some(promtool) = promtool("check rules") else { return };
    let said = check_rules(&promtool, &chart("rules/landfall.yaml"));
    assert!(said.contains(&format!("{} rules found", ALERTS.len())), "{said}");
}

/// The rules with nothing but the summary, which the cases compare.
fn for_the_cases() -> String {
    let mut text = "groups:\n- name: landfall\n  rules:\n".to_owned();
    for alert in ALERTS {
        let severity: &str = alert.severity.into();
        let quoted = |text: &str| serde_json::to_string(text).unwrap();
        writeln!(
            text,
            "  - {{alert: {}, for: {}, labels: {{severity: {severity}}}, expr: {}, annotations: {{summary: {}}}}}",
            alert.name,
            alert.pending,
            quoted(&alert.expression()),
            quoted(alert.summary),
        )
        .unwrap();
    }
    text
}

/// One case as promtool reads it, with what must fire.
fn case(alert: &Alert, case: &Case, fires: bool) -> String {
    let quoted = |text: &str| serde_json::to_string(text).unwrap();
    let mut text = "- interval: 1m\n  input_series:\n".to_owned();
    for (series, values) in case.series {
        let series =
            REPLICAS.iter().fold((*series).to_owned(), |text, (short, long)| text.replace(short, long));
        writeln!(text, "  - {{series: {}, values: {}}}", quoted(&series), quoted(values)).unwrap();
    }
    write!(text, "  alert_rule_test:\n  - {{eval_time: {}, alertname: {}", case.at, alert.name).unwrap();
    if fires {
        let severity: &str = alert.severity.into();
        let ours: &[(&str, &str)] =
            if alert.fires.ours { &[("namespace", "landfall"), ("job", "landfall")] } else { &[] };
        let labels = [("severity", severity)];
        let labels = labels.iter().chain(ours).chain(alert.fires.labels);
        let labels: Vec<_> = labels.map(|(name, value)| format!("{name}: {}", quoted(value))).collect();
        write!(
            text,
            ", exp_alerts: [{{exp_labels: {{{}}}, exp_annotations: {{summary: {}}}}}]",
            labels.join(", "),
            quoted(alert.fires.says)
        )
        .unwrap();
    }
    text + "}\n"
}

#[test]
fn each_alert_fires_when_it_should_and_not_when_it_should_not() {
    let Some(promtool) = promtool("test rules") else { return };
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("rules.yaml"), for_the_cases()).unwrap();
    let mut text = "rule_files: [rules.yaml]\ntests:\n".to_owned();
    for alert in ALERTS {
        text += &case(alert, &alert.fires.case, true);
        text += &case(alert, &alert.quiet, false);
        assert!(!alert.quiet.series.is_empty(), "{}: nothing at all is no case", alert.name);
    }
    let file = folder.path().join("cases.yaml");
    std::fs::write(&file, text).unwrap();
    told(&Command::new(&promtool).args(["test", "rules"]).arg(&file).output().unwrap());
}

/// All panels of the dashboard but its rows, and all of them.
fn dashboard() -> (Value, Vec<Value>) {
    let text = std::fs::read_to_string(chart("dashboards/landfall.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&text).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().clone();
    (dashboard, panels)
}

#[test]
fn the_dashboard_can_be_imported() {
    let (dashboard, panels) = dashboard();
    let schema = dashboard["schemaVersion"].as_u64().unwrap();
    assert!(
        (36..=41).contains(&schema),
        "Grafana 10 would refuse it, or 12 migrate it in an unknown way: {schema}"
    );
    assert!(
        dashboard.get("uid").is_none() && dashboard.get("id").is_none(),
        "it would replace another dashboard"
    );
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    assert_eq!((&variables[0]["name"], &variables[0]["type"]), (&"datasource".into(), &"datasource".into()));
    let ids: BTreeSet<u64> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len());
    let mut taken = BTreeSet::new();
    for panel in &panels {
        let at = |key: &str| panel["gridPos"][key].as_u64().unwrap();
        assert!(at("w") > 0 && at("h") > 0 && at("x") + at("w") <= 24, "{panel}");
        for x in at("x")..at("x") + at("w") {
            for y in at("y")..at("y") + at("h") {
                assert!(taken.insert((x, y)), "it lies on another one: {panel}");
            }
        }
        if panel["type"] == "row" {
            continue;
        }
        assert!(panel["description"].as_str().is_some_and(|text| text.ends_with('.')), "{panel}");
        let targets = panel["targets"].as_array().unwrap();
        for source in targets.iter().map(|target| &target["datasource"]).chain([&panel["datasource"]]) {
            assert_eq!(source["uid"], "${datasource}", "{panel}");
        }
        let names: BTreeSet<_> = targets.iter().map(|target| target["refId"].as_str().unwrap()).collect();
        assert_eq!(names.len(), targets.len(), "{panel}");
    }
}

#[test]
fn prometheus_reads_every_expression_of_the_dashboard() {
    let Some(promtool) = promtool("expressions of the dashboard") else { return };
    let (_, panels) = dashboard();
    let mut text = "groups:\n- name: dashboard\n  rules:\n".to_owned();
    let targets = panels.iter().filter_map(|panel| panel["targets"].as_array()).flatten();
    let (mut number, replaced) =
        (0, [("$__rate_interval", "5m"), ("$__range", "6h"), ("$namespace", ".*"), ("$job", ".*")]);
    for target in targets {
        let expr = target["expr"].as_str().unwrap().to_owned();
        let expr = replaced.iter().fold(expr, |expr, (variable, value)| expr.replace(variable, value));
        assert!(!expr.contains('$'), "{expr}");
        writeln!(text, "  - {{record: 'panel:{number}', expr: {}}}", serde_json::to_string(&expr).unwrap())
            .unwrap();
        number += 1;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("dashboard.yaml");
    std::fs::write(&file, text).unwrap();
    let said = check_rules(&promtool, &file);
    assert!(number > 30 && said.contains(&format!("{number} rules found")), "{said}");
}

/// What promtool thinks of the page of a running replica, read in Prometheus' own format.
#[tokio::test(flavor = "multi_thread")]
async fn prometheus_reads_the_page_of_a_replica() {
    let Some(promtool) = promtool("check metrics") else { return };
    let site = site::Site::start().await.unwrap();
    let config = site.configure("promtool", site::ROUTES).unwrap();
    let process = process::Process::landfall(&config, &site.folder().unwrap()).await.unwrap();
    let url = format!("http://{}/metrics", process.admin_address().unwrap());
    let page = reqwest::get(&url).await.unwrap().text().await.unwrap();
    assert!(page.contains("landfall_registry_health{") && page.ends_with("# EOF\n"), "{page}");
    let mut child = Command::new(promtool)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(for_promtool(&page).as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = [&output.stdout[..], &output.stderr[..]].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(said.is_empty() && output.status.success(), "{said}");
}

/// promtool reads the older text format only: there HELP and TYPE name the sample, and there is no UNIT, no EOF and no type `info`.
fn for_promtool(page: &str) -> String {
    let mut text = String::new();
    let (mut kinds, mut help) = (std::collections::BTreeMap::new(), std::collections::BTreeMap::new());
    for line in page.lines() {
        let words: Vec<&str> = line.splitn(4, ' ').collect();
        match words.as_slice() {
            ["#", "TYPE", name, kind] => drop(kinds.insert(*name, *kind)),
            ["#", "HELP", name, said] => drop(help.insert(*name, *said)),
            _ => {}
        }
    }
    for line in page.lines() {
        let words: Vec<&str> = line.splitn(4, ' ').collect();
        match words.as_slice() {
            ["#", "TYPE", name, kind] => {
                let (sample, kind) = match *kind {
                    "counter" => (format!("{name}_total"), "counter"),
                    "info" => (format!("{name}_info"), "gauge"),
                    other => ((*name).to_owned(), other),
                };
                writeln!(text, "# HELP {sample} {}\n# TYPE {sample} {kind}", help[name]).unwrap();
            }
            ["#", ..] => {}
            _ => writeln!(text, "{line}").unwrap(),
        }
    }
    text
}

/// The health that Argo CD's script gives an object.
fn health(lua: &Path, object: &Value) -> String {
    fn table(value: &Value) -> String {
        match value {
            Value::Object(fields) => {
                let fields = fields
                    .iter()
                    .map(|(key, value)| format!("[{}]={}", Value::from(key.as_str()), table(value)));
                format!("{{{}}}", fields.collect::<Vec<_>>().join(","))
            }
            Value::Array(items) => format!("{{{}}}", items.iter().map(table).collect::<Vec<_>>().join(",")),
            Value::Null => "nil".to_owned(),
            other => other.to_string(),
        }
    }
    let script = std::fs::read_to_string(chart("argocd-health.lua")).unwrap();
    let program = format!(
        "obj = {}\nlocal function health()\n{script}\nend\nlocal said = health()\nprint(said.status .. \": \" .. said.message)",
        table(object)
    );
    let output = Command::new(lua).args(["-e", &program]).output().unwrap();
    told(&output).trim().to_owned()
}

#[test]
fn argo_cd_shows_how_policies_and_gaps_stand() {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let names = ["lua5.4", "lua5.3", "lua"];
    let mut programs = std::env::split_paths(&path).flat_map(|folder| names.map(|name| folder.join(name)));
    let Some(lua) = programs.find(|program| program.is_file()) else {
        let _ = writeln!(std::io::stderr(), "skipped: observability health scripts: no Lua here");
        return;
    };
    let policy = |generation: u64, accepted: &str, (enforcing, reason): (&str, &str)| {
        let condition = |kind: &str, status: &str, reason: &str| json!({"type": kind, "status": status, "reason": reason, "message": kind});
        let conditions = [condition("Accepted", accepted, "-"), condition("Enforcing", enforcing, reason)];
        json!({"kind": "LandingPolicy", "metadata": {"generation": generation},
            "status": {"observedGeneration": 2, "conditions": conditions}})
    };
    for (accepted, enforcing, expected) in [
        ("True", ("True", "Enforced"), "Healthy: Enforcing"),
        ("True", ("False", "Observing"), "Healthy: Enforcing"),
        ("True", ("False", "BreakGlass"), "Suspended: Enforcing"),
        ("True", ("False", "WaitingForReplicas"), "Progressing: Enforcing"),
        ("True", ("Unknown", "Unknown"), "Progressing: Enforcing"),
        ("True", ("False", "FileApplies"), "Degraded: Enforcing"),
        ("True", ("False", "NoReplicas"), "Degraded: Enforcing"),
        ("False", ("False", "EarlierGeneration"), "Degraded: Accepted"),
    ] {
        assert_eq!(health(&lua, &policy(2, accepted, enforcing)), expected, "{enforcing:?}");
    }
    let changed = health(&lua, &policy(3, "True", ("True", "Enforced")));
    assert_eq!(changed, "Progressing: Landfall has not looked at it yet");
    let new = json!({"kind": "LandingPolicy", "metadata": {"generation": 1}});
    assert_eq!(health(&lua, &new), "Progressing: Landfall has not looked at it yet");
    let gap =
        |status: Value| json!({"kind": "ReplicationGap", "metadata": {"generation": 1}, "status": status});
    for (status, expected) in [
        (json!({"state": "Open", "message": "m", "presence": {"finding": "Missing"}}), "Degraded: m"),
        (
            json!({"state": "Open", "message": "m", "presence": {"was": "Missing"}, "scan": {"finding": "Unscanned"}}),
            "Degraded: m",
        ),
        (json!({"state": "Open", "message": "m", "risk": {"finding": "RuleIdle"}}), "Suspended: m"),
        (json!({"state": "Healing", "message": "m", "presence": {"finding": "Missing"}}), "Progressing: m"),
        (json!({"state": "Closed", "message": "m", "presence": {"was": "Missing"}}), "Healthy: m"),
        (Value::Null, "Progressing: nothing is recorded yet"),
    ] {
        assert_eq!(health(&lua, &gap(status)), expected);
    }
}
