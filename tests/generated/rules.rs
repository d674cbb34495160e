//! `helm/landfall/rules/landfall.yaml`: the alerts as a rules file of Prometheus, and their sections in RUNBOOKS.md.

use std::fmt::Write as _;

use super::alerts::ALERTS;
use super::promql::{Samples, check, check_text};

/// The rules, with each name in them held against what pages show.
///
/// # Panics
/// Where a rule names what is on no page, or a text shows a label that the expression does not keep.
pub fn file(samples: &Samples) -> String {
    let mut text = HEAD.to_owned();
    for alert in ALERTS {
        let (name, expression) = (alert.name, alert.expression());
        let grouped = check(&expression, samples).unwrap_or_else(|why| panic!("{name}: {why}"));
        for said in [alert.summary, alert.description] {
            check_text(said, &grouped).unwrap_or_else(|why| panic!("{name}: {why}"));
            assert!(!said.contains('\n'), "{name}: {said}");
        }
        let severity: &str = alert.severity.into();
        let (pending, anchor) = (alert.pending, name.to_lowercase());
        writeln!(text, "      - alert: {name}").unwrap();
        writeln!(text, "        expr: |-").unwrap();
        expression.lines().for_each(|line| writeln!(text, "          {line}").unwrap());
        writeln!(text, "        for: {pending}").unwrap();
        writeln!(text, "        labels:\n          severity: {severity}").unwrap();
        writeln!(text, "        annotations:").unwrap();
        let quoted = |said: &str| said.replace('\'', "''");
        writeln!(text, "          summary: '{}'", quoted(alert.summary)).unwrap();
        writeln!(text, "          description: '{}'", quoted(alert.description)).unwrap();
        writeln!(text, "          runbook_url: RUNBOOKS.md#{anchor}").unwrap();
    }
    text
}

const HEAD: &str = "# Made from the code by `LANDFALL_GENERATE=1 cargo test --test generated`. A rules file of Prometheus; with
# `metrics.rules.enabled` the chart makes a PrometheusRule of it. What to do about each alert stands in RUNBOOKS.md.
groups:
  - name: landfall
    rules:
";

/// Looks at the runbooks: each alert has a section of its own with all parts, and no section is about anything else.
///
/// # Panics
/// Where one is missing.
pub fn look_at_runbooks(page: &str) {
    let chapter = page.split_once("\n## Alerts\n").unwrap().1.split("\n## ").next().unwrap();
    let sections: Vec<(&str, &str)> =
        chapter.split("\n### ").skip(1).map(|section| section.split_once('\n').unwrap()).collect();
    let headings: Vec<&str> = sections.iter().map(|(heading, _)| *heading).collect();
    let alerts: Vec<&str> = ALERTS.iter().map(|alert| alert.name).collect();
    assert_eq!(headings, alerts, "left: sections of RUNBOOKS.md, right: alerts, in this order");
    for (heading, text) in sections {
        for part in ["**Symptom.**", "**Meaning.**", "**Look.**", "**Remedy.**", "**Over** when"] {
            assert_eq!(text.matches(part).count(), 1, "{heading}: {part}");
        }
        assert!(text.contains("```console\n"), "{heading}: no command");
    }
}
