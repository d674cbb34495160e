//! Whether a PromQL expression asks only for what pages show: names of metrics, of labels, and values of closed sets.
//!
//! No parser: promtool is one (`tests/observability.rs`). This looks at every name that stands in the text.

use std::collections::{BTreeMap, BTreeSet};

use super::metrics::Values;

/// What can be asked for.
pub type Samples = BTreeMap<String, Vec<(&'static str, Values)>>;

/// Labels that Prometheus adds, or that tell the cluster.
const TARGET: [&str; 5] = ["cluster", "namespace", "job", "pod", "instance"];

/// What the API server shows of webhooks (its own metrics, stable in name since Kubernetes 1.25).
const FOREIGN: [(&str, &[&str]); 2] = [
    ("apiserver_admission_webhook_fail_open_count", &["name", "type"]),
    (
        "apiserver_admission_webhook_rejection_count",
        &["name", "type", "operation", "error_type", "rejection_code"],
    ),
];

const GROUPING: [&str; 6] = ["by", "without", "on", "ignoring", "group_left", "group_right"];

/// Looks at one expression; returns the labels that it groups by.
///
/// # Errors
/// If it names what is on no page.
pub fn check(expr: &str, samples: &Samples) -> Result<BTreeSet<String>, String> {
    let mut grouped = BTreeSet::new();
    let mut known: BTreeSet<&str> = TARGET.into();
    let mut rest = expr;
    while let Some(first) = rest.chars().next() {
        match first {
            '"' => rest = after(&rest[1..], '"')?.1,
            '[' => rest = after(&rest[1..], ']')?.1,
            'a'..='z' | 'A'..='Z' | '_' => {
                let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
                let (word, more) = rest.split_at(end);
                rest = more.trim_start();
                if GROUPING.contains(&word) {
                    let (labels, more) =
                        after(rest.strip_prefix('(').ok_or(format!("`{word}` of what?"))?, ')')?;
                    let labels = labels.split(',').map(|label| label.trim().to_owned());
                    grouped.extend(labels.filter(|label| !label.is_empty()));
                    rest = more;
                } else if ["and", "or", "unless", "bool", "offset"].contains(&word)
                    || ["(", "by ", "without "].iter().any(|next| rest.starts_with(next))
                {
                    // Operators, functions and aggregations: promtool knows them.
                } else {
                    let labels = labels_of(word, samples)?;
                    known.extend(labels.iter().map(|(label, _)| *label));
                    if let Some(selector) = rest.strip_prefix('{') {
                        let (matchers, more) = after(selector, '}')?;
                        rest = more;
                        matchers_of(word, matchers, &labels)?;
                    }
                }
            }
            '0'..='9' => rest = rest.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == '.'),
            _ => rest = &rest[first.len_utf8()..],
        }
    }
    match grouped.iter().find(|label| !known.contains(label.as_str())) {
        Some(label) => Err(format!("no metric in it has the label `{label}`")),
        None => Ok(grouped),
    }
}

/// Looks at the labels that a text or a legend shows (`{{ $labels.registry }}`, `{{registry}}`).
///
/// # Errors
/// If the expression does not group by one of them.
pub fn check_text(text: &str, grouped: &BTreeSet<String>) -> Result<(), String> {
    for shown in text.split("{{").skip(1).filter_map(|rest| rest.split("}}").next()) {
        let label = shown.trim().trim_start_matches("$labels.");
        if !label.starts_with("$value") && !grouped.contains(label) {
            return Err(format!("`{{{{{shown}}}}}`: the expression does not group by it"));
        }
    }
    Ok(())
}

fn after(text: &str, end: char) -> Result<(&str, &str), String> {
    text.split_once(end).ok_or_else(|| format!("no `{end}` behind {text}"))
}

fn labels_of(metric: &str, samples: &Samples) -> Result<Vec<(&'static str, Option<Values>)>, String> {
    if let Some(labels) = samples.get(metric) {
        return Ok(labels.iter().map(|(label, values)| (*label, Some(values.clone()))).collect());
    }
    let foreign = FOREIGN.iter().find(|(name, _)| *name == metric);
    let (_, labels) = foreign.ok_or_else(|| format!("no page shows `{metric}`"))?;
    Ok(labels.iter().map(|label| (*label, None)).collect())
}

fn matchers_of(metric: &str, text: &str, labels: &[(&str, Option<Values>)]) -> Result<(), String> {
    for matcher in text.split(',').map(str::trim).filter(|matcher| !matcher.is_empty()) {
        let (label, value) = matcher.split_once(['=', '!']).ok_or(format!("no matcher: {matcher}"))?;
        let value = value.trim_start_matches(['=', '~']).trim_matches('"');
        if TARGET.contains(&label) {
            continue;
        }
        let known = labels.iter().find(|(name, _)| *name == label);
        let (_, values) = known.ok_or_else(|| format!("`{metric}` has no label `{label}`"))?;
        let Some(values) = values else { continue };
        if let Some(wrong) = value.split('|').find(|word| !values.allow(word)) {
            return Err(format!("`{metric}`: `{label}` is never `{wrong}`"));
        }
    }
    Ok(())
}

#[cfg(feature = "demo")]
#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_is_on_no_page_is_found() {
    let samples = super::metrics::samples().await;
    for (good, grouped) in [
        ("sum by (registry) (landfall_gaps{finding=~\"Missing|Stale\", namespace=~\"$n\"}) > 0", "registry"),
        (
            "histogram_quantile(0.9, sum by (le, door) (rate(landfall_admission_duration_seconds_bucket[5m])))",
            "door",
        ),
        ("time() - max by (job) (landfall_sweep_ended_timestamp_seconds offset 1h) > 1e3", "job"),
        ("apiserver_admission_webhook_fail_open_count{name=\"x\"} unless on (name) landfall_leader", "name"),
    ] {
        assert!(check(good, &samples).unwrap().contains(grouped), "{good}");
    }
    for (wrong, why) in [
        ("landfall_gap", "no page shows `landfall_gap`"),
        ("landfall_admissions", "no page shows `landfall_admissions`"),
        ("rate(landfall_admission_duration_seconds[5m])", "no page shows"),
        ("landfall_gaps{kind=\"Missing\"}", "has no label `kind`"),
        ("landfall_gaps{finding=~\"Missing|Lost\"}", "`finding` is never `Lost`"),
        ("landfall_gaps{finding!=\"missing\"}", "`finding` is never `missing`"),
        ("landfall_condition{state=\"Bad\"} == 1", "`state` is never `Bad`"),
        ("sum by (route) (landfall_gaps)", "no metric in it has the label `route`"),
        ("up", "no page shows `up`"),
    ] {
        let said = check(wrong, &samples).unwrap_err();
        assert!(said.contains(why), "{wrong}: {said}");
    }
    let grouped = check("sum by (registry) (landfall_gaps)", &samples).unwrap();
    assert!(check_text("{{ $labels.registry }}: {{ $value | humanize }}", &grouped).is_ok());
    assert!(check_text("{{ $labels.route }}", &grouped).is_err());
    assert!(check_text("{{finding}}", &grouped).is_err());
}
